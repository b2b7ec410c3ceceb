from __future__ import annotations

import json
import math
import random
import time

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

from qjobs.backends.nexus.programs import Template, Templates, program_of
from qjobs.circuits.builders import qaoa_maxcut
from qjobs.circuits.programs import bind, read_circuit, to_qiskit
from qjobs.circuits.pytket import load_pytket, pytket_to_qiskit, qiskit_to_pytket
from qjobs.errors import InvalidCircuit

X, Y, T = Parameter("x"), Parameter("t[0]"), Parameter("pi")


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
def test_a_bound_payload_is_the_circuit_with_the_values(values: tuple[float, ...]) -> None:
    program = read_circuit(expressions())
    parameters = dict(zip(("x", "t[0]", "pi"), values, strict=True))
    expected = Operator(bind(program, parameters)).data
    assert np.allclose(unitary_of(Template(program).bound(parameters)), expected, atol=1e-7)


def test_a_template_is_converted_once_and_keeps_its_symbols() -> None:
    program = read_circuit(expressions())
    templates = Templates()
    assert templates.of(program) is templates.of(program)
    assert len(load_pytket(templates.of(program).unbound.encode()).free_symbols()) == 3


def test_measurements_and_conditions_are_bound_too() -> None:
    circuit = Circuit(2, 2)
    circuit.Measure(0, 0)
    circuit.Rx(Symbol("a") / 3, 1, condition_bits=[0], condition_value=1)
    circuit.add_gate(OpType.Rz, [cos(Symbol("a"))], [0])
    bound = load_pytket(Template(read_circuit(circuit)).bound({"a": 0.5}).encode())
    found = sorted(
        (c.op.op if c.op.type == OpType.Conditional else c.op).params[0]
        for c in bound.get_commands()
        if c.op.type != OpType.Measure
    )
    assert found == pytest.approx(sorted((0.5 / 3, math.cos(0.5))))


def test_symbols_inside_boxes_are_bound_too() -> None:
    inner = Circuit(1)
    inner.Rx(Symbol("a"), 0)
    circuit = Circuit(2)
    circuit.add_circbox(CircBox(inner), [0])
    circuit.add_pauliexpbox(PauliBox([Pauli.X, Pauli.Z], Symbol("a") * 2), [0, 1])
    circuit.Rz(Symbol("b"), 0)
    program = read_circuit(circuit)
    expected = Operator(bind(program, {"a": 0.3, "b": 0.7})).data
    assert np.allclose(unitary_of(Template(program).bound({"a": 0.3, "b": 0.7})), expected)


@pytest.mark.parametrize("values", [{"x": 0.0}, {"x": -1.0}, {"x": math.inf}, {"x": math.nan}, {}])
def test_what_has_no_value_is_refused(values: dict[str, float]) -> None:
    circuit = QuantumCircuit(1)
    circuit.rx(1 / X + X**0.5, 0)
    with pytest.raises(InvalidCircuit):
        Template(read_circuit(circuit)).bound(values)


def test_no_name_gets_into_code() -> None:
    name = "__import__('os').abort()"
    circuit = QuantumCircuit(1)
    circuit.rx(Parameter(name), 0)
    circuit.rx(Parameter("p0") * 2, 0)
    bound = Template(read_circuit(circuit)).bound({name: math.pi / 2, "p0": math.pi})
    expected = QuantumCircuit(1)
    expected.rx(math.pi / 2, 0)
    expected.rx(2 * math.pi, 0)
    assert np.allclose(unitary_of(bound), Operator(expected).data)


def test_a_circuit_of_nexus_is_read_back() -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [1, 0])
    attributes = json.loads(Template(read_circuit(circuit)).bound({}))
    attributes |= {"name": "theirs", "description": None, "properties": {}, "timestamps": {"created": "now"}}
    assert to_qiskit(program_of(attributes)) == circuit


@pytest.mark.parametrize("attributes", [{}, {"commands": 3}, {"commands": [{}]}, {"commands": [], "qubits": 1}])
def test_what_is_no_circuit_is_refused(attributes: dict[str, object]) -> None:
    with pytest.raises(InvalidCircuit):
        program_of(attributes)


def test_binding_is_much_faster_than_converting() -> None:
    """It prints the ratio (pytest -s); the bound is far below what was measured, for a busy machine."""
    program = read_circuit(qaoa_maxcut([(n, (n + 1) % 8) for n in range(8)], layers=3))
    rng = random.Random(1)
    rows = [{name: rng.random() for name in program.parameters} for _ in range(20)]
    template = Template(program)
    started = time.perf_counter()
    for row in rows:
        template.bound(row)
    bound_s = (time.perf_counter() - started) / len(rows)
    started = time.perf_counter()
    for row in rows:
        json.dumps(qiskit_to_pytket(bind(program, row)).to_dict())
    converted_s = (time.perf_counter() - started) / len(rows)
    print(f"\nconverting {converted_s * 1e3:.2f} ms, binding {bound_s * 1e3:.3f} ms: {converted_s / bound_s:.0f} times")
    assert converted_s > 5 * bound_s
