"""From a template and a matrix of parameters to what is sent: milliseconds a circuit, by backend. Run with: make bench

Each way gets a batch of so many circuits and makes the bodies that leave the process, its template included, with
nothing kept from before. "slow" binds and converts circuit by circuit, in the same bodies; it is timed on fewer
circuits, and "of slow" is the time over that.

- Nexus: pytket's JSON, one body a circuit;
- portal: OpenQASM 2, one body for all;
- Qoro: templates with rows of numbers, and bound circuits, which it gets where items differ in their shots;
- Divi: OpenQASM 2 by label, as an object of its protocol takes it;
- Aer: tasks as they are handed to workers, and there the columns of numbers that Aer binds.

Times are CPU times, the least of several. Exit code 1: a way takes more than 0.3 ms a circuit.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bounds import verdict
from qiskit import QuantumCircuit, qasm2
from qiskit.circuit import Parameter

from qjobs.backends.aer import AerMethod
from qjobs.backends.aer.tasks import cut
from qjobs.backends.async_job import backend as async_job
from qjobs.backends.mqp import circuits as mqp_circuits
from qjobs.backends.mqp import wire as mqp_wire
from qjobs.backends.nexus import wire as nexus_wire
from qjobs.backends.nexus.programs import Templates
from qjobs.backends.qoro import circuits as qoro_circuits
from qjobs.backends.qoro.fragments import fragments_of, packed
from qjobs.circuits import templates
from qjobs.circuits.builders import qaoa_maxcut
from qjobs.circuits.openqasm import flat
from qjobs.circuits.programs import bind, program_from_qiskit
from qjobs.circuits.pytket import qiskit_to_pytket
from qjobs.compiling.compiler import CompileOptions, compile_program
from qjobs.experiments.sweep import expand_sweep, load_sweep
from qjobs.model import Batch, ItemSpec, Program, Target

BOUND_MS = 0.3
EXAMPLE = Path(__file__).parents[2] / "examples" / "qaoa_maxcut" / "sweep.yaml"
_SLOW = 60
"""Circuits that the slow way is timed on."""

Way = Callable[[Batch], object]


def programs() -> dict[str, Program]:
    """The circuits, compiled for a device that takes any gate, and for one that has its own."""
    example = load_sweep(EXAMPLE)
    (small,) = expand_sweep(example).templates.values()
    ring = [[qubit, (qubit + step) % 20] for step in (1, 5) for qubit in range(20)]
    wide = program_from_qiskit(qaoa_maxcut(ring))
    ions = Target(name="ions", basis_gates=("rz", "r", "rzz"))
    chip = Target(name="chip", basis_gates=("rz", "sx", "x", "cx"))
    options = CompileOptions()
    return {
        "8 qubits, the example": compile_program(small, Target(name="any"), example.compile_options()),
        "20 qubits, the same on a ring, for ions": compile_program(wide, ions, options),
        "20 qubits, 80 symbols, for a chip": compile_program(program_from_qiskit(layers(20, 2)), chip, options),
    }


def layers(n_qubits: int, n_layers: int) -> QuantumCircuit:
    """Rotations with a symbol each, and a ladder of gates on two qubits behind them."""
    circuit = QuantumCircuit(n_qubits, n_qubits)
    for layer in range(n_layers):
        for qubit in range(n_qubits):
            circuit.ry(Parameter(f"y[{layer},{qubit}]"), qubit)
            circuit.rz(Parameter(f"z[{layer},{qubit}]"), qubit)
        for qubit in range(n_qubits - 1):
            circuit.cx(qubit, qubit + 1)
    circuit.measure(range(n_qubits), range(n_qubits))
    return circuit


def batch_of(program: Program, size: int) -> Batch:
    """So many circuits of a program, no two alike."""
    items = []
    for number in range(size):
        row = tuple((name, 0.001 * number + 0.1 * place - 1) for place, name in enumerate(program.parameters))
        items.append(ItemSpec(label=f"{number}", program=program.hash, shots=1000, parameters=row))
    return Batch(number=0, items=tuple(items), programs={program.hash: program})


def for_nexus(batch: Batch) -> object:
    known = Templates()
    bodies = []
    for item in batch.items:
        circuit = known.of(batch.programs[item.program]).bound(dict(item.parameters))
        bodies.append(nexus_wire.circuit_body(circuit, name=item.label, project_id="project"))
    return bodies


def for_nexus_slow(batch: Batch) -> object:
    bodies = []
    for item in batch.items:
        circuit = json.dumps(qiskit_to_pytket(_bound(batch, item)).to_dict(), separators=(",", ":"))
        bodies.append(nexus_wire.circuit_body(circuit, name=item.label, project_id="project"))
    return bodies


def for_portal(batch: Batch) -> object:
    return _portal_body(mqp_circuits.written(batch, None)[1])


def for_portal_slow(batch: Batch) -> object:
    return _portal_body(_texts_slow(batch))


def _portal_body(texts: Sequence[str]) -> str:
    body = mqp_wire.job_body(
        resource="any", circuits=texts, circuit_format="qasm", shots=1000, no_modify=False, queued=False
    )
    return json.dumps(body)


def for_qoro(batch: Batch) -> object:
    return [json.dumps(body) for body in fragments_of(batch)]


def for_qoro_bound(batch: Batch) -> object:
    first = replace(batch.items[0], shots=999)
    return for_qoro(replace(batch, items=(first, *batch.items[1:])))


def for_qoro_slow(batch: Batch) -> object:
    return json.dumps([packed(text) for text in _texts_slow(batch)])


def for_divi(batch: Batch) -> object:
    return {item.label: async_job._text(batch, item) for item in batch.items}


def for_aer(batch: Batch) -> object:
    found = []
    for task in cut(batch, AerMethod.AUTOMATIC, None):
        rows = [values for _, values in pickle.loads(pickle.dumps(task)).items]
        found.append([list(column) for column in zip(*rows, strict=True)])
    return found


def for_aer_slow(batch: Batch) -> object:
    return [_bound(batch, item) for item in batch.items]


def _bound(batch: Batch, item: ItemSpec) -> QuantumCircuit:
    return bind(batch.programs[item.program], dict(item.parameters))


def _texts_slow(batch: Batch) -> list[str]:
    return [qasm2.dumps(flat(_bound(batch, item))) for item in batch.items]


WAYS: dict[str, tuple[Way, Way]] = {
    "Nexus": (for_nexus, for_nexus_slow),
    "portal": (for_portal, for_portal_slow),
    "Qoro, rows": (for_qoro, for_qoro_slow),
    "Qoro, bound": (for_qoro_bound, for_qoro_slow),
    "Divi": (for_divi, _texts_slow),
    "Aer": (for_aer, for_aer_slow),
}


def ms_a_circuit(way: Way, batch: Batch, repeat: int) -> float:
    """The least CPU time of several, with no template kept from before."""
    found = []
    for _ in range(repeat):
        templates._openqasm2_of.cache_clear()
        qoro_circuits._template_of.cache_clear()
        start = time.process_time()
        way(batch)
        found.append((time.process_time() - start) * 1e3 / len(batch.items))
    return min(found)


def main() -> int:
    """Measure and print; 1 if a bound is broken."""
    parser = argparse.ArgumentParser(description="Milliseconds a circuit, from a template to what is sent.")
    trial = os.environ.get("QJOBS_BENCH_POINTS", "")  # other sizes, of which nothing is judged
    sizes = [int(size) for size in (trial or "300 3000").split()]
    parser.add_argument("sizes", nargs="*", type=int, default=sizes, help="circuits")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    broken = []
    print(f"payloads: ms a circuit, CPU time, least of {options.repeat}; the bound is {BOUND_MS}")
    for name, program in programs().items():
        print(f"{name}")
        print(f"  {'':12}{'slow':>9}" + "".join(f"{size:>11,}{'of bound':>10}{'of slow':>9}" for size in options.sizes))
        few = batch_of(program, _SLOW)
        for label, (way, slow_way) in WAYS.items():
            way(few)  # imports
            slow = ms_a_circuit(slow_way, few, options.repeat)
            line = f"  {label:12}{slow:>9.3f}"
            for size in options.sizes:
                taken = ms_a_circuit(way, batch_of(program, size), options.repeat)
                line += f"{taken:>11.3f}{taken / BOUND_MS:>10.2f}{taken / slow:>9.3f}"
                if taken > BOUND_MS:
                    broken.append(f"{label}, {name}, {size:,} circuits: {taken:.3f} ms a circuit")
            print(line)
    code = verdict(broken)
    return 0 if trial else code


if __name__ == "__main__":
    sys.exit(main())
