"""Circuits and devices that tests of the executor share, and the chi-square test of counts."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from own_service import OwnService
from pytket.circuit import Circuit, OpType

MORE_DEVICES = """
  - {name: noisy, kind: nexus-hosted, backend: B, config: NoisyConfig, n_qubits: 5, max_shots: 20000,
     noise: {depolarizing_1q: 0.02, depolarizing_2q: 0.1, readout: 0.05}}
  - {name: line, kind: nexus-hosted, backend: B, config: LineConfig, n_qubits: 4, max_shots: 20000,
     gate_set: [CX, Rz, SX, X], connectivity: [[0, 1], [1, 2], [2, 3]], native_only: true}
  - {name: flaky, kind: hardware, backend: B, config: FlakyConfig, n_qubits: 5, failure_rate: 0.5}
"""


@contextlib.contextmanager
def working_service(folder: Path) -> Iterator[OwnService]:
    """A service with the usual devices and some more; a test waits for its own jobs only."""
    usual = resources.files("qjobs.service").joinpath("devices.yaml").read_text()
    own = OwnService(folder, devices=usual + MORE_DEVICES)
    with contextlib.closing(own):
        own.service.executor.start()
        yield own


def entangled(n: int = 4) -> Circuit:
    """A circuit whose qubits all differ, with some of everything."""
    circuit = Circuit(n)
    for qubit in range(n):
        circuit.Rx(0.13 * (qubit + 1), qubit).Rz(0.29 * qubit, qubit)
    circuit.CX(0, 1).CCX(0, 1, 2).CX(0, n - 1).T(1).H(2).CZ(1, n - 1).Ry(0.4, 0).SWAP(0, 2)
    return circuit


def native() -> Circuit:
    circuit = Circuit(2, 2)
    circuit.add_gate(OpType.PhasedX, [0.5, 0.5], [0]).Rz(0.3, 0).ZZMax(0, 1).ZZPhase(0.2, 0, 1)
    circuit.add_gate(OpType.PhasedX, [0.1, 0.2], [1])
    return circuit.measure_all()


def passes_chi_square(seen: Counter, expected: dict, shots: int) -> bool:
    """Whether it is within five standard deviations of what chance gives; the seeds are fixed.

    Outcomes that are hardly expected are put together.
    """
    rare = {key for key, p in expected.items() if p * shots < 8}
    rare |= set(seen) - set(expected)
    cells = [(seen[key], p * shots) for key, p in expected.items() if key not in rare]
    left = sum(expected.get(key, 0.0) for key in rare) * shots
    cells.append((sum(seen[key] for key in rare), left))
    statistic = sum((got - want) ** 2 / want for got, want in cells if want > 1e-9)
    return statistic < len(cells) - 1 + 5 * (2 * max(1, len(cells) - 1)) ** 0.5


def expected_of(circuit: Circuit) -> dict[tuple[int, ...], float]:
    """The probability of each outcome when every qubit is measured."""
    found = {}
    for index, amplitude in enumerate(circuit.get_statevector()):
        word = format(index, f"0{circuit.n_qubits}b")
        found[tuple(map(int, word))] = float(abs(amplitude) ** 2)
    return found
