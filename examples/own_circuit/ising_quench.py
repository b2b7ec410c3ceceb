"""A circuit built in Python, which sweeps name as the builder `ising-quench`."""

from __future__ import annotations

from qiskit import QuantumCircuit
from qiskit.circuit import Parameter


def ising_quench(n_spins: int, steps: int, field: float = 1.0) -> QuantumCircuit:
    """Spins that all point up, and from then on feel H = - sum Z Z - field sum X along an open chain.

    The parameter `time` is that of the evolution, in units of 1 / coupling; it is cut into `steps` steps of second
    order (half a step of the field, one of the coupling, half a step of the field).

    Raises:
        ValueError: There are fewer than two spins, or no steps.
    """
    if n_spins < 2 or steps < 1:
        raise ValueError("a chain has two spins or more, and an evolution at least one step")
    step = Parameter("time") / steps
    circuit = QuantumCircuit(n_spins, name=f"ising-quench-{n_spins}-{steps}")
    for _ in range(steps):
        circuit.rx(-field * step, range(n_spins))
        for spin in range(n_spins - 1):
            circuit.rzz(-2 * step, spin, spin + 1)
        circuit.rx(-field * step, range(n_spins))
    return circuit
