"""Mirror circuits: one right bit string, by exact simulation; random; not undone by a compiler."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qiskit import QuantumCircuit, qasm2
from qiskit.quantum_info import Clifford, Statevector

from qjobs.circuits.builders import build_circuit
from qjobs.circuits.mirror import _UP_TO_PAULIS, MirrorCircuit, _paulis, mirror, mirror_circuit
from qjobs.circuits.programs import program_from_qiskit, read_circuit, to_qiskit
from qjobs.compiling.compiler import CompileOptions, Compiler, compile_program
from qjobs.model import Target

LINE = Target(
    name="line",
    n_qubits=4,
    basis_gates=("rz", "sx", "x", "cz"),
    coupling=((0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2)),
)


def made(n_qubits: int, depth: int, seed: int) -> MirrorCircuit:
    return mirror_circuit(n_qubits, depth, random.Random(seed))


def outcomes(circuit: QuantumCircuit) -> dict[str, float]:
    """Exact probabilities of the measured bits, bit 0 rightmost."""
    bare = circuit.remove_final_measurements(inplace=False)
    return Statevector(bare).probabilities_dict(decimals=9)


def n_cx(circuit: QuantumCircuit) -> int:
    return circuit.count_ops().get("cx", 0)


@given(n_qubits=st.integers(1, 7), half=st.integers(0, 6), seed=st.integers(0, 2**32))
def test_one_bit_string_is_right(n_qubits: int, half: int, seed: int) -> None:
    """An ideal device gives the expected bit string with certainty."""
    one = made(n_qubits, 2 * half, seed)
    assert outcomes(one.circuit) == {one.expected: pytest.approx(1.0)}
    assert len(one.expected) == one.circuit.num_qubits == one.circuit.num_clbits == n_qubits


def test_bit_0_is_rightmost() -> None:
    """Qubit i is measured into bit i, and the bit strings are not palindromes only."""
    for seed in range(20):
        one = made(3, 2, seed)
        measured = [i for i in one.circuit.data if i.operation.name == "measure"]
        places = [(one.circuit.find_bit(i.qubits[0]).index, one.circuit.find_bit(i.clbits[0]).index) for i in measured]
        assert places == [(0, 0), (1, 1), (2, 2)]
        if one.expected != one.expected[::-1]:
            assert list(outcomes(one.circuit)) != [one.expected[::-1]]
    assert {made(2, 2, seed).expected for seed in range(40)} == {"00", "01", "10", "11"}


def test_openqasm() -> None:
    """The circuit survives the way through OpenQASM 2."""
    one = made(4, 6, 11)
    read = to_qiskit(read_circuit(qasm2.dumps(one.circuit)))
    assert outcomes(read) == {one.expected: pytest.approx(1.0)}
    assert read.count_ops() == one.circuit.count_ops()


@given(seed=st.integers(0, 2**32))
def test_seeds(seed: int) -> None:
    """One seed is one circuit."""
    assert made(4, 4, seed).circuit == made(4, 4, seed).circuit == mirror(4, 4, seed)
    assert made(4, 4, seed).circuit != made(4, 4, seed + 1).circuit


def test_all_cliffords_are_drawn() -> None:
    """6 classes times 4 Paulis are the 24 one-qubit Clifford gates, drawn in equal shares."""
    found = set()
    for gates in _UP_TO_PAULIS:
        for pauli in ("id", "x", "y", "z"):
            circuit = QuantumCircuit(1)
            for gate in (pauli, *gates):
                getattr(circuit, gate)(0)
            found.add(Clifford(circuit).tableau.tobytes())
    assert len(found) == 24
    rng = random.Random(0)
    drawn = [_paulis(1, rng).data for _ in range(400)]
    names = [data[0].operation.name if data else "id" for data in drawn]
    assert all(70 < names.count(name) < 130 for name in ("id", "x", "y", "z"))


@pytest.mark.parametrize(("n_qubits", "depth", "count"), [(1, 8, 0), (2, 8, 8), (3, 4, 4), (4, 2, 4), (4, 8, 12)])
def test_gate_counts(n_qubits: int, depth: int, count: int) -> None:
    """Circuits of one size and depth have the same number of CX gates, all on neighbours."""
    assert {n_cx(made(n_qubits, depth, seed).circuit) for seed in range(10)} == {count}
    for instruction in made(n_qubits, depth, 0).circuit.get_instructions("cx"):
        first, second = instruction.qubits
        assert abs(first._index - second._index) == 1


@pytest.mark.parametrize(
    ("compiler", "level"), [(Compiler.QISKIT, 0), (Compiler.QISKIT, 1), (Compiler.QISKIT, 3), (Compiler.TKET, 2)]
)
@pytest.mark.parametrize("target", [Target(name="any", basis_gates=("rz", "sx", "x", "cz")), LINE], ids=["all", "line"])
def test_compilers_do_not_undo_it(compiler: Compiler, level: int, target: Target) -> None:
    """Compilation keeps the gates and the right bit string."""
    one = made(4, 8, 5)
    options = CompileOptions(compiler=compiler, level=level)
    compiled = to_qiskit(compile_program(program_from_qiskit(one.circuit), target, options))
    assert compiled.count_ops()["cz"] >= n_cx(one.circuit)
    if target is not LINE:
        assert compiled.count_ops()["cz"] == n_cx(one.circuit)
    measured = {
        compiled.find_bit(i.clbits[0]).index: compiled.find_bit(i.qubits[0]).index
        for i in compiled.get_instructions("measure")
    }
    bare = QuantumCircuit(compiled.num_qubits)
    for i in compiled.data:
        if i.operation.name not in {"measure", "barrier"}:
            bare.append(i.operation, [compiled.find_bit(q).index for q in i.qubits])
    qubits = [measured[bit] for bit in range(4)]
    assert Statevector(bare).probabilities_dict(qargs=qubits, decimals=9) == {one.expected: pytest.approx(1.0)}


@pytest.mark.parametrize(("n_qubits", "depth"), [(0, 2), (-1, 2), (2, 3), (2, -2), (1001, 2), (1000, 1000)])
def test_impossible_sizes(n_qubits: int, depth: int) -> None:
    """An odd or negative depth and a size out of bounds are refused."""
    with pytest.raises(ValueError, match="mirror circuit"):
        made(n_qubits, depth, 0)


def test_registered() -> None:
    """A sweep can name the builder."""
    assert build_circuit("mirror", {"n_qubits": 2, "depth": 4}).measured
