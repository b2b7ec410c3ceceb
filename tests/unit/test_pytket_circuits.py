"""Circuits between qiskit and pytket: unitaries, symbols and names survive; what does not fit is named."""

import numpy as np
import pytest
import sympy
from pytket.circuit import Circuit as TketCircuit
from pytket.circuit import OpType
from qiskit import QuantumCircuit
from qiskit.circuit import Gate, Parameter, ParameterVector
from qiskit.circuit import library as gates
from qiskit.quantum_info import Operator, random_unitary

from qjobs.circuits.parameter_names import decode, encode_for_pytket
from qjobs.circuits.programs import bind, read_circuit, to_pytket, to_qiskit
from qjobs.circuits.pytket import pytket_to_qiskit, qiskit_to_pytket
from qjobs.errors import InvalidCircuit

QISKIT_GATES = [
    gates.HGate(),
    gates.SXdgGate(),
    gates.CHGate(),
    gates.ECRGate(),
    gates.iSwapGate(),
    gates.CSwapGate(),
    gates.CCZGate(),
    gates.CSdgGate(),
    gates.DCXGate(),
    gates.RCCXGate(),
    gates.C3XGate(),
    gates.PauliGate("XYZ"),
    gates.RGate(0.3, 1.1),
    gates.UGate(0.3, 0.2, 0.1),
    gates.U2Gate(0.3, 0.1),
    gates.CU3Gate(0.3, 0.2, 0.1),
    gates.CUGate(0.4, 0.3, 0.2, 0.1),
    gates.RZXGate(0.3),
    gates.RYYGate(0.3),
    gates.GlobalPhaseGate(0.3),
    gates.XGate().control(3, ctrl_state=2),
    *(gates.UnitaryGate(random_unitary(2**n, seed=n)) for n in (1, 2, 3, 4)),
]


@pytest.mark.parametrize("gate", QISKIT_GATES, ids=lambda gate: gate.name)
def test_gates_of_qiskit(gate):
    """A gate of qiskit has the same unitary in pytket, and again when it comes back."""
    circuit = QuantumCircuit(max(gate.num_qubits, 1))
    circuit.append(gate, range(gate.num_qubits)[::-1])
    there = qiskit_to_pytket(circuit)
    assert np.allclose(there.get_unitary(), Operator(circuit.reverse_bits()).data)
    assert np.allclose(Operator(pytket_to_qiskit(there)).data, Operator(circuit).data)


PYTKET_GATES = [
    ("TK1", 3, 1),
    ("TK2", 3, 2),
    ("ZZMax", 0, 2),
    ("ISWAP", 1, 2),
    ("FSim", 2, 2),
    ("CV", 0, 2),
    ("CnX", 0, 4),
    ("CnRy", 1, 3),
    ("PhaseGadget", 1, 3),
    ("XXPhase3", 1, 3),
    ("GPI2", 1, 1),
]


@pytest.mark.parametrize(("name", "n_angles", "n_qubits"), PYTKET_GATES)
def test_gates_of_pytket(name, n_angles, n_qubits):
    """A gate that only pytket has keeps its unitary in qiskit."""
    circuit = TketCircuit(n_qubits)
    circuit.add_gate(OpType.from_name(name), [0.3, 0.7, 1.1][:n_angles], list(range(n_qubits)))
    back = pytket_to_qiskit(circuit)
    assert np.allclose(Operator(back.reverse_bits()).data, circuit.get_unitary())


def test_implicit_swaps():
    """Swaps that pytket keeps as a permutation of its outputs are not lost."""
    circuit = TketCircuit(2).SWAP(0, 1).H(0)
    circuit.replace_SWAPs()
    assert np.allclose(Operator(pytket_to_qiskit(circuit).reverse_bits()).data, circuit.get_unitary())


def test_conditions_of_pytket():
    """A conditional gate of pytket is an if_else of qiskit."""
    conditional = TketCircuit(1, 2).Measure(0, 1)
    conditional.X(0, condition_bits=[0, 1], condition_value=2)
    assert "if_else" in to_qiskit(read_circuit(conditional)).count_ops()


def opaque():
    circuit = QuantumCircuit(1)
    circuit.append(Gate("mystery", 1, []), [0])
    return circuit


def delayed():
    circuit = QuantumCircuit(1)
    circuit.delay(100, 0)
    return circuit


def branching():
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(0)
    return circuit


@pytest.mark.parametrize(
    ("circuit", "words"),
    [
        (opaque(), "mystery has no definition"),
        (delayed(), "delay"),
        (branching(), "if_else; compile it with qiskit"),
    ],
)
def test_what_pytket_cannot_hold(circuit, words):
    """What pytket cannot hold is refused by name."""
    with pytest.raises(InvalidCircuit, match=words):
        to_pytket(read_circuit(circuit))


def test_symbols_go_there_and_back():
    """Expressions of symbols mean the same in pytket, under the same names."""
    t = ParameterVector("t", 3)
    x = Parameter("x")
    circuit = QuantumCircuit(2)
    circuit.rx(t[0] * 2 + x.sin() / 3, 0)
    circuit.ry(t[2], 1)
    circuit.cp(x / (t[0] + 4), 0, 1)
    program = read_circuit(circuit)
    other = read_circuit(to_pytket(program))
    assert other.parameters == program.parameters == ("t[0]", "t[2]", "x")
    values = {"t[0]": 0.3, "t[2]": -1.2, "x": 0.7}
    assert np.allclose(Operator(bind(other, values)).data, Operator(bind(program, values)).data)


def test_symbols_of_pytket():
    """A symbol that pytket's JSON cannot hold is read under its own name, in half-turns."""
    symbol = sympy.Symbol("t[0]")
    program = read_circuit(TketCircuit(1, 1).Rx(symbol / 2, 0).Measure(0, 0))
    assert program.parameters == ("t[0]",)
    assert bind(program, {"t[0]": 1.0}).data[0].operation.params[0] == pytest.approx(np.pi / 2)


@pytest.mark.parametrize("name", ["theta", "t[0]", "x", "pi", "E", "θ", "a b", "1st", "_u005b_", "lambda"])
def test_names_are_escaped(name):
    """An escaped name is a plain identifier, and is the same name when it comes back."""
    escaped = encode_for_pytket(name)
    assert escaped.isidentifier()
    assert escaped.isascii()
    assert decode(escaped) == name


def test_hostile_names():
    """A parameter's name is never run as code."""
    name = "__import__('os').abort()"
    circuit = QuantumCircuit(1)
    circuit.rx(2 * Parameter(name) + 1, 0)
    program = read_circuit(circuit)
    assert read_circuit(to_pytket(program)).parameters == (name,)
