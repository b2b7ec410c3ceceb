"""What a job may choose of a device: methods of simulation and two-qubit gates. Worker processes read it, too."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

SIMULATION_METHODS: Final = (
    "automatic",
    "statevector",
    "density_matrix",
    "stabilizer",
    "extended_stabilizer",
    "matrix_product_state",
)
"""Methods of Aer: https://qiskit.github.io/qiskit-aer/stubs/qiskit_aer.AerSimulator.html."""

_ONE_QUBIT_NATIVE = ("PhasedX", "Rz")
_TWO_QUBIT_NATIVE = ("ZZPhase", "ZZMax", "TK2")


def two_qubit_choices(gate_set: Collection[str], *, native_only: bool) -> tuple[str, ...]:
    """The two-qubit gates of an ion trap, of which a job may choose one; none for other devices.

    >>> two_qubit_choices(["PhasedX", "Rz", "ZZMax", "ZZPhase"], native_only=True)
    ('ZZPhase', 'ZZMax')
    """
    if not native_only or not set(_ONE_QUBIT_NATIVE).issubset(gate_set):
        return ()
    return tuple(name for name in _TWO_QUBIT_NATIVE if name in gate_set)
