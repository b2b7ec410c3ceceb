"""Registered circuit builders. Entry-point group `qjobs.circuits`.

A builder takes JSON arguments and returns a circuit in any form that `read_circuit` takes. A flow
parameter names a builder; it never names code to import.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from qjobs import plugins as registry
from qjobs.circuits.programs import read_circuit
from qjobs.model import JsonValue, Program

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

__all__ = ["build_circuit", "ghz", "qaoa_maxcut", "registered"]

GROUP = "qjobs.circuits"
_MOST_QUBITS = 10_000
_MOST_GATES = 1_000_000


def registered() -> dict[str, str]:
    """Names of the registered builders, with where each is from."""
    return registry.registered(GROUP)


def build_circuit(name: str, arguments: Mapping[str, JsonValue]) -> Program:
    """Build a circuit by the name of its registered builder.

    Raises:
        InvalidInput: There is none of that name, or it does not take these arguments.
    """
    circuit = registry.build_registered(
        GROUP,
        name,
        arguments,
        what="circuit builder",
        name_field="circuit.builder",
        arguments_field="circuit.arguments",
    )
    return read_circuit(circuit, field="circuit.builder")


def ghz(n_qubits: int) -> QuantumCircuit:
    """A GHZ state of `n_qubits` qubits, all measured.

    Raises:
        ValueError: Fewer than two qubits, or more than a circuit may have.
    """
    from qiskit import QuantumCircuit

    if not 2 <= n_qubits <= _MOST_QUBITS:
        raise ValueError(f"a GHZ state has 2 to {_MOST_QUBITS} qubits")
    circuit = QuantumCircuit(n_qubits, name=f"ghz-{n_qubits}")
    circuit.h(0)
    for qubit in range(1, n_qubits):
        circuit.cx(qubit - 1, qubit)
    circuit.measure_all()
    return circuit


def qaoa_maxcut(edges: Sequence[Sequence[int]], layers: int = 1) -> QuantumCircuit:
    """The QAOA ansatz for MaxCut, all qubits measured.

    Parameters are `gamma` and `beta` for one layer, else `gamma_0`, `beta_0`, `gamma_1`, ...: phases
    exp(-i gamma C) with C the cut, mixer exp(-i beta sum X).

    Args:
        edges: Pairs of vertices; vertex i is qubit i.
        layers: Depth p.

    Raises:
        ValueError: No edges, an edge from a vertex to itself, an edge twice, no layers, or a circuit too large.
    """
    from qiskit import QuantumCircuit
    from qiskit.circuit import Parameter

    pairs = [tuple(edge) for edge in edges]
    if not pairs or any(len(pair) != 2 or type(v) is not int or v < 0 for pair in pairs for v in pair):
        raise ValueError("edges must be pairs of vertices, numbered from 0")
    if len({frozenset(pair) for pair in pairs if pair[0] != pair[1]}) != len(pairs):
        raise ValueError("edges must be pairs of different vertices, each pair once")
    n_qubits = 1 + max(max(pair) for pair in pairs)
    if layers < 1 or n_qubits > _MOST_QUBITS or layers * (len(pairs) + n_qubits) > _MOST_GATES:
        raise ValueError(f"layers must be 1 or more, with {_MOST_QUBITS} qubits and {_MOST_GATES} gates at the most")
    circuit = QuantumCircuit(n_qubits, name=f"qaoa-{layers}")
    circuit.h(range(n_qubits))
    for layer in range(layers):
        suffix = "" if layers == 1 else f"_{layer}"
        gamma, beta = Parameter(f"gamma{suffix}"), Parameter(f"beta{suffix}")
        for u, v in pairs:
            circuit.rzz(-gamma, u, v)
        circuit.rx(2 * beta, range(n_qubits))
    circuit.measure_all()
    return circuit
