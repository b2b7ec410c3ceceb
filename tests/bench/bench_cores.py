"""Processes and threads of the simulator, from which "Cores and threads" in the docs chooses. Takes two minutes.

    PYTHONPATH=.:tests python tests/bench/bench_cores.py

For each width the same circuits run in worker processes of Aer, as many at a time as there are processes: a process for
every core with one thread each, one process with all threads, and a process for every core with all threads each. Then
once more with a busy process for every core beside them (`loaded`). Seconds a circuit; the smallest is best.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

from by_hand import CORES, environment

WAYS = ((CORES, 1), (1, CORES), (CORES, CORES))


def run(n_qubits: int, n_circuits: int, threads: int) -> float:
    """CPU seconds of some QAOA circuits, each in a call of its own."""
    from qiskit import QuantumCircuit
    from qiskit_aer import AerSimulator

    circuit = QuantumCircuit(n_qubits)
    circuit.h(range(n_qubits))
    for first in range(n_qubits):
        circuit.rzz(0.3 + first, first, (first + 1) % n_qubits)
        circuit.rx(0.7 + first, first)
    circuit.measure_all()
    simulator = AerSimulator(method="statevector", max_parallel_threads=threads)
    began = time.process_time()
    for _ in range(n_circuits):
        simulator.run(circuit, shots=1000).result()
    return time.process_time() - began


def measure(n_qubits: int, n_circuits: int, processes: int, threads: int, policy: str) -> tuple[float, float]:
    """Wall and CPU seconds a circuit."""
    context = multiprocessing.get_context("spawn")
    with (
        environment(OMP_NUM_THREADS=str(threads), OMP_WAIT_POLICY=policy, OPENBLAS_NUM_THREADS="1"),
        ProcessPoolExecutor(processes, mp_context=context) as pool,
    ):
        for ready in [pool.submit(run, 4, 1, threads) for _ in range(2 * processes)]:
            ready.result()
        began = time.perf_counter()
        running = [pool.submit(run, n_qubits, n_circuits // processes, threads) for _ in range(processes)]
        cpu = sum(each.result() for each in running)
        return (time.perf_counter() - began) / n_circuits, cpu / n_circuits


def spin() -> None:
    """Be busy."""
    while True:
        pass


@contextmanager
def busy(number: int) -> Iterator[None]:
    """So many busy processes."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=spin, daemon=True) for _ in range(number)]
    for each in processes:
        each.start()
    try:
        yield
    finally:
        for each in processes:
            each.kill()
            each.join()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qubits", type=int, nargs="*", default=[8, 16, 20, 22])
    options = parser.parse_args()
    print(f"{CORES} cores, load {os.getloadavg()[0]:.1f}; ms a circuit, wall (CPU)")
    for loaded in (0, CORES):
        with busy(loaded):
            for n_qubits in options.qubits:
                n_circuits = CORES * max(1, min(100, 2 ** (20 - n_qubits)))
                cells = []
                for processes, threads in WAYS:
                    for policy in ("active", "passive") if threads > 1 else ("passive",):
                        wall, cpu = measure(n_qubits, n_circuits, processes, threads, policy)
                        cells.append(f"{processes}x{threads} {policy} {1000 * wall:.1f} ({1000 * cpu:.1f})")
                print(f"{n_qubits:3} qubits{', loaded' if loaded else ''}: {'; '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
