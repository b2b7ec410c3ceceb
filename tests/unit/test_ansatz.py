"""Ansatz circuits: what their parameters do, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import Operator, SparsePauliOp, Statevector
from scipy.linalg import expm

from qjobs.circuits.ansatz import hamiltonian_variational, hardware_efficient
from qjobs.circuits.programs import bind, program_from_qiskit

TERMS = {"XYZ": 0.5, "YXZ": -0.25, "ZZI": -2.0, "IZZ": 1.0, "IIX": 0.3, "XII": -0.3, "III": 9.0}


def bound(circuit: QuantumCircuit, values: np.ndarray) -> QuantumCircuit:
    names = program_from_qiskit(circuit).parameters
    return bind(program_from_qiskit(circuit), dict(zip(names, map(float, values), strict=True)))


@pytest.mark.parametrize(("n_qubits", "layers"), [(1, 1), (2, 1), (5, 3), (4, 12)])
def test_hardware_efficient(n_qubits: int, layers: int) -> None:
    """A rotation per qubit and layer, in the sorted order of their names; the state is real."""
    circuit = hardware_efficient(n_qubits, layers)
    names = [parameter.name for parameter in circuit.parameters]
    assert names == sorted(names)
    assert len(names) == n_qubits * (layers + 1)
    assert not circuit.clbits
    values = np.linspace(-1, 2, len(names))
    state = Statevector(bound(circuit, values)).data
    assert np.abs(state.imag).max() < 1e-12
    assert Statevector(bound(circuit, 0 * values)).probabilities()[0] == pytest.approx(1)


def test_hamiltonian_variational() -> None:
    """After the product state, each group of terms acts as its exponential, and the larger ones first."""
    circuit = hamiltonian_variational(TERMS)
    names = [parameter.name for parameter in circuit.parameters]
    assert names == sorted(names)
    assert len(names) == 3 + 4
    values = np.array([0.3, -0.2, 0.9, 0.4, -0.7, 1.1, 0.6])
    wanted = np.eye(8)
    for qubit in range(3):
        y = SparsePauliOp.from_list([("".join("Y" if 2 - n == qubit else "I" for n in range(3)), 1)]).to_matrix()
        wanted = expm(-0.5j * values[qubit] * y) @ wanted
    groups = [[("XYZ", 1.0)], [("YXZ", -1.0)], [("ZZI", -1.0), ("IZZ", 0.5)], [("IIX", 1.0), ("XII", -1.0)]]
    made = wanted
    for angle, group in zip(values[3:], groups, strict=True):
        made = expm(-0.5j * angle * SparsePauliOp.from_list(group).to_matrix()) @ made
    assert np.allclose(made, Operator(bound(circuit, values)).data)


def test_ising_groups() -> None:
    """An Ising chain has two angles a layer: all bonds, then all fields."""
    chain = {"IZZ": -1.0, "ZZI": -1.0, "IIX": -2.0, "IXI": -2.0, "XII": -2.0}
    circuit = hamiltonian_variational(chain, layers=3)
    assert len(circuit.parameters) == 3 + 2 * 3
    names = [instruction.operation.name for instruction in circuit.data]
    assert names.index("rzz") < names.index("rz")


@pytest.mark.parametrize(
    ("build", "arguments", "words"),
    [
        (hardware_efficient, {"n_qubits": 0}, "1 to 100 qubits"),
        (hardware_efficient, {"n_qubits": 101}, "1 to 100 qubits"),
        (hardware_efficient, {"n_qubits": 2, "layers": 0}, "at least one layer"),
        (hardware_efficient, {"n_qubits": 2.0}, "1 to 100 qubits"),
        (hardware_efficient, {"n_qubits": 100, "layers": 100}, "would have 10100"),
        (hamiltonian_variational, {"terms": {}}, "one width"),
        (hamiltonian_variational, {"terms": {"ZZ": 1.0, "Z": 1.0}}, "one width"),
        (hamiltonian_variational, {"terms": {"II": 1.0}}, "must have a letter"),
        (hamiltonian_variational, {"terms": {"ZZ": 0.0}}, "must have a letter"),
        (hamiltonian_variational, {"terms": {"ZZ": 1.0}, "layers": 10**6}, "2000 parameters"),
    ],
)
def test_refused(build: object, arguments: dict[str, object], words: str) -> None:
    """What makes no circuit, or too large a one, is refused."""
    with pytest.raises(ValueError, match=words):
        build(**arguments)
