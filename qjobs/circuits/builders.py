"""Circuit builders: functions of JSON arguments, registered in the entry-point group `qjobs.circuits`.

A builder returns a circuit in any form that `read_circuit` takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from qjobs.circuits.programs import read_circuit
from qjobs.model import JsonValue, Program
from qjobs.plugins import Registry

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

BUILDERS: Final = Registry(
    group="qjobs.circuits",
    what="circuit builder",
    name_field="circuit.builder",
    arguments_field="circuit.arguments",
)

_MOST_QUBITS = 10_000
_MOST_GATES = 1_000_000


def build_circuit(name: str, arguments: Mapping[str, JsonValue]) -> Program:
    """Build a circuit by the name of its registered builder.

    Raises:
        InvalidInput: There is none of that name, or it does not take these arguments.
    """
    return read_circuit(BUILDERS.build(name, arguments), field=BUILDERS.name_field)


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


def read_edges(edges: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """The edges of a simple graph; vertices are numbered from 0.

    Raises:
        ValueError: There are none, one is no pair of different vertices, or one is given twice.
    """
    if not isinstance(edges, Sequence) or not edges or not all(_is_pair(edge) for edge in edges):
        raise ValueError("edges must be pairs of different vertices, numbered from 0, such as [[0, 1], [1, 2]]")
    if len({frozenset(edge) for edge in edges}) != len(edges):
        raise ValueError("an edge is given twice; give each pair of vertices once")
    return [(edge[0], edge[1]) for edge in edges]


def _is_pair(edge: object) -> bool:
    if not isinstance(edge, Sequence) or len(edge) != 2 or edge[0] == edge[1]:
        return False
    return all(type(vertex) is int and vertex >= 0 for vertex in edge)


def qaoa_maxcut(edges: Sequence[Sequence[int]], layers: int = 1) -> QuantumCircuit:
    """The QAOA ansatz for MaxCut, all qubits measured.

    Parameters are `gamma` and `beta` for one layer, else `gamma_0`, `beta_0`, `gamma_1`, ...: phases
    exp(-i gamma C) with C the cut, mixer exp(-i beta sum X).
    Vertex i is qubit i, and `layers` is the depth p.

    Raises:
        ValueError: No edges, an edge from a vertex to itself, an edge twice, no layers, or a circuit too large.
    """
    from qiskit import QuantumCircuit
    from qiskit.circuit import Parameter

    pairs = read_edges(edges)
    n_qubits = 1 + max(max(pair) for pair in pairs)
    if layers < 1 or n_qubits > _MOST_QUBITS or layers * (len(pairs) + n_qubits) > _MOST_GATES:
        raise ValueError(f"layers must be 1 or more, with {_MOST_QUBITS} qubits and {_MOST_GATES} gates at the most")
    circuit = QuantumCircuit(n_qubits, name=f"qaoa-{layers}")
    circuit.h(range(n_qubits))
    for layer in range(layers):
        suffix = "" if layers == 1 else f"_{layer}"
        gamma = Parameter(f"gamma{suffix}")
        beta = Parameter(f"beta{suffix}")
        for u, v in pairs:
            circuit.rzz(-gamma, u, v)
        circuit.rx(2 * beta, range(n_qubits))
    circuit.measure_all()
    return circuit
