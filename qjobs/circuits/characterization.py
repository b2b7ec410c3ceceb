"""Circuits that characterise one qubit: T1, Ramsey, randomized benchmarking. Their arguments can be axes of a sweep."""

from __future__ import annotations

import functools
import math
import random
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qiskit import QuantumCircuit

    Matrix: TypeAlias = NDArray[np.complex128]

__all__ = ["ramsey", "randomized_benchmarking", "t1"]

_LONGEST: Final = 100_000
_LONGEST_US: Final = 1e9


def t1(delay_us: float) -> QuantumCircuit:
    """The qubit is excited and waits `delay_us` microseconds: the probability of 1 falls as exp(-delay / T1).

    Raises:
        ValueError: The delay is negative, or more than 1000 s.
    """
    from qiskit import QuantumCircuit

    circuit = QuantumCircuit(1, name="t1")
    circuit.x(0)
    circuit.delay(_checked(delay_us), 0, "us")
    circuit.measure_all()
    return circuit


def ramsey(delay_us: float, detuning_mhz: float = 0.0) -> QuantumCircuit:
    """Two quarter turns with a wait of `delay_us` microseconds between them.

    The second turn is ahead by the phase that a drive detuned by `detuning_mhz` megahertz gains meanwhile. The
    probability of 1 is (1 - exp(-delay / T2) cos(2 pi detuning delay)) / 2.

    Raises:
        ValueError: The delay is negative, or more than 1000 s.
    """
    from qiskit import QuantumCircuit

    circuit = QuantumCircuit(1, name="ramsey")
    circuit.h(0)
    circuit.delay(_checked(delay_us), 0, "us")
    circuit.rz(2 * math.pi * detuning_mhz * delay_us, 0)
    circuit.h(0)
    circuit.measure_all()
    return circuit


def randomized_benchmarking(length: int, seed: int = 0) -> QuantumCircuit:
    """`length` uniformly random Clifford gates on one qubit and the gate that undoes them all; ideally 0 is measured.

    Each Clifford gate is one gate `u`, the identity too, with a barrier after it. Run them as they are (`compiler:
    none`) or with a compiler, which works on each gate alone. Sequences of different lengths have nothing in common.
    After E. Magesan, J. M. Gambetta, J. Emerson, "Scalable and robust randomized benchmarking of quantum processes",
    Phys. Rev. Lett. 106, 180504 (arXiv:1009.3639).

    Raises:
        ValueError: The length is negative, or more than 100,000.
    """
    from qiskit import QuantumCircuit

    if not 0 <= length <= _LONGEST:
        raise ValueError(f"a sequence has 0 to {_LONGEST} Clifford gates")
    rng = random.Random(f"{length}/{seed}")  # noqa: S311
    matrices = [_turn(*angles) for angles in _cliffords()]
    total = np.eye(2, dtype=np.complex128)
    circuit = QuantumCircuit(1, name=f"rb-{length}-{seed}")
    for _ in range(length):
        chosen = rng.randrange(len(matrices))
        circuit.u(*_cliffords()[chosen], 0)
        circuit.barrier()
        total = matrices[chosen] @ total
    undoing = max(range(len(matrices)), key=lambda number: abs(np.trace(matrices[number] @ total)))
    circuit.u(*_cliffords()[undoing], 0)
    circuit.measure_all()
    return circuit


def _checked(delay_us: float) -> float:
    if not 0 <= delay_us <= _LONGEST_US:
        raise ValueError("delay_us must be a time from 0 to 1e9 microseconds")
    return float(delay_us)


def _turn(theta: float, phi: float, lam: float) -> Matrix:
    """The matrix of the gate `u`."""
    cosine, sine = math.cos(theta / 2), math.sin(theta / 2)
    return np.array(
        [
            [cosine, -np.exp(1j * lam) * sine],
            [np.exp(1j * phi) * sine, np.exp(1j * (phi + lam)) * cosine],
        ]
    )


@functools.cache
def _cliffords() -> tuple[tuple[float, float, float], ...]:
    """The 24 Clifford gates of one qubit as angles of `u`: where the pole goes, and a quarter turn about it."""
    quarter = math.pi / 2
    found = []
    for lam in range(4):
        found += [(0.0, 0.0, lam * quarter), (math.pi, 0.0, lam * quarter)]
        found += [(quarter, phi * quarter, lam * quarter) for phi in range(4)]
    return tuple(found)
