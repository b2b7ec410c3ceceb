"""Programs as Nexus takes them: pytket's JSON with values in place of symbols."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytket.circuit import CircBox, Circuit, OpType
from pytket.circuit import PauliExpBox as PauliBox
from pytket.pauli import Pauli
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import Operator
from sympy import Symbol, cos

from qjobs.backends.nexus.programs import Templates, program_of
from qjobs.circuits.programs import bind, read_circuit, to_qiskit
from qjobs.circuits.pytket import load_pytket, pytket_to_qiskit
from qjobs.circuits.templates import PytketTemplate
from qjobs.errors import InvalidCircuit

X = Parameter("x")
Y = Parameter("t[0]")
T = Parameter("pi")


def expressions() -> QuantumCircuit:
    circuit = QuantumCircuit(3, 2)
    circuit.global_phase = X / 5
    circuit.h(0)
    circuit.rx(2 * X + 0.25, 0)
    circuit.rz(X * Y - 1, 1)
    circuit.ry(Y.sin() + T**2, 2)
    circuit.rx(0.5, 2)
    circuit.u(X, 0.125, T.exp() / 9, 1)
    circuit.rzz(X / T, 0, 2)
    circuit.cp(-Y, 1, 2)
    circuit.p(Y.abs() + X.conjugate(), 0)
    return circuit


def unitary_of(payload: str) -> np.ndarray:
    circuit = load_pytket(payload.encode())
    assert not circuit.free_symbols()
    return Operator(pytket_to_qiskit(circuit)).data


@settings(max_examples=25, deadline=None)
@given(values=st.tuples(*[st.floats(-50, 50)] * 3).filter(lambda v: abs(v[2]) > 1e-3 and v[2] < 5))
def test_bound(values: tuple[float, ...]) -> None:
    """A bound payload is the circuit with the values."""
    program = read_circuit(expressions())
    parameters = dict(zip(("x", "t[0]", "pi"), values, strict=True))
    expected = Operator(bind(program, parameters)).data
    assert np.allclose(unitary_of(PytketTemplate(program).bound(parameters)), expected, atol=1e-7)


def test_converted_once() -> None:
    """A program is converted once, and its template keeps the symbols."""
    program = read_circuit(expressions())
    templates = Templates()
    template = templates.of(program)
    assert template is templates.of(program)
    assert template._text, "binding puts text between these, and converts nothing"
    assert len(load_pytket(template.unbound.encode()).free_symbols()) == 3


def test_conditions() -> None:
    """Angles under conditions are bound too."""
    circuit = Circuit(2, 2)
    circuit.Measure(0, 0)
    circuit.Rx(Symbol("a") / 3, 1, condition_bits=[0], condition_value=1)
    circuit.add_gate(OpType.Rz, [cos(Symbol("a"))], [0])
    bound = load_pytket(PytketTemplate(read_circuit(circuit)).bound({"a": 0.5}).encode())
    found = sorted(
        (c.op.op if c.op.type == OpType.Conditional else c.op).params[0]
        for c in bound.get_commands()
        if c.op.type != OpType.Measure
    )
    assert found == pytest.approx(sorted((0.5 / 3, math.cos(0.5))))


def test_boxes() -> None:
    """Symbols inside boxes are bound too."""
    inner = Circuit(1)
    inner.Rx(Symbol("a"), 0)
    circuit = Circuit(2)
    circuit.add_circbox(CircBox(inner), [0])
    circuit.add_pauliexpbox(PauliBox([Pauli.X, Pauli.Z], Symbol("a") * 2), [0, 1])
    circuit.Rz(Symbol("b"), 0)
    program = read_circuit(circuit)
    expected = Operator(bind(program, {"a": 0.3, "b": 0.7})).data
    assert np.allclose(unitary_of(PytketTemplate(program).bound({"a": 0.3, "b": 0.7})), expected)


@pytest.mark.parametrize("values", [{"x": 0.0}, {"x": -1.0}, {"x": math.inf}, {"x": math.nan}, {}])
def test_no_value(values: dict[str, float]) -> None:
    """An angle without a finite value is refused."""
    circuit = QuantumCircuit(1)
    circuit.rx(1 / X + X**0.5, 0)
    with pytest.raises(InvalidCircuit):
        PytketTemplate(read_circuit(circuit)).bound(values)


def test_names_stay_data() -> None:
    """No name that a user chose gets into code."""
    name = "__import__('os').abort()"
    circuit = QuantumCircuit(1)
    circuit.rx(Parameter(name), 0)
    circuit.rx(Parameter("p0") * 2, 0)
    bound = PytketTemplate(read_circuit(circuit)).bound({name: math.pi / 2, "p0": math.pi})
    expected = QuantumCircuit(1)
    expected.rx(math.pi / 2, 0)
    expected.rx(2 * math.pi, 0)
    assert np.allclose(unitary_of(bound), Operator(expected).data)


def test_read_back() -> None:
    """A circuit comes back from Nexus as it was."""
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [1, 0])
    attributes = json.loads(PytketTemplate(read_circuit(circuit)).bound({}))
    attributes |= {"name": "theirs", "description": None, "properties": {}, "timestamps": {"created": "now"}}
    assert to_qiskit(program_of(attributes)) == circuit


@pytest.mark.parametrize("attributes", [{}, {"commands": 3}, {"commands": [{}]}, {"commands": [], "qubits": 1}])
def test_not_a_circuit(attributes: dict[str, object]) -> None:
    """Whatever is not a circuit is refused."""
    with pytest.raises(InvalidCircuit):
        program_of(attributes)
