"""Templates that cannot say a circuit: it is written bound, and what is wrong is told in words."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterExpression

from qjobs.circuits.openqasm import write_openqasm2
from qjobs.circuits.programs import bind, read_circuit, to_qiskit
from qjobs.circuits.pytket import load_pytket, qiskit_to_pytket
from qjobs.circuits.templates import PytketTemplate, openqasm2_template, written_openqasm2
from qjobs.errors import InvalidCircuit

A, B = Parameter("a"), Parameter("b")


def turned(angle: ParameterExpression | float) -> QuantumCircuit:
    circuit = QuantumCircuit(1, 1)
    circuit.rx(angle, 0)
    circuit.ry(A, 0)
    circuit.measure(0, 0)
    return circuit


def hidden() -> QuantumCircuit:
    """Its symbol is in the definition of a gate."""
    inner = QuantumCircuit(1, name="mine")
    inner.rx(A / 3, 0)
    circuit = turned(0.5)
    circuit.append(inner.to_gate(), [0])
    return circuit


@pytest.mark.parametrize("circuit", [hidden(), turned(700_000.5), turned(700_001.5)])
def test_written_bound(circuit: QuantumCircuit) -> None:
    """What a template cannot show, or would take for an angle of its own, is written bound."""
    program = read_circuit(circuit)
    assert openqasm2_template(to_qiskit(program)) is None
    assert written_openqasm2(program, {"a": 0.25}) == write_openqasm2(bind(program, {"a": 0.25}))


def test_control_flow() -> None:
    """OpenQASM 2 has no words for it, and pytket no place."""
    circuit = turned(0.5)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(0)
    program = read_circuit(circuit)
    with pytest.raises(InvalidCircuit, match="control flow"):
        written_openqasm2(program, {"a": 0.25})
    with pytest.raises(InvalidCircuit, match="if_else"):
        PytketTemplate(program).bound({"a": 0.25})


@pytest.mark.parametrize("angle", [2**A, A.sign() + 0.5])
def test_converted_bound(angle: ParameterExpression) -> None:
    """An expression that pytket lacks is converted at each row, and refused where its symbols have to stay."""
    program = read_circuit(turned(angle))
    template = PytketTemplate(program)
    assert load_pytket(template.bound({"a": 0.25}).encode()) == qiskit_to_pytket(bind(program, {"a": 0.25}))
    for get in (lambda: template.circuit, lambda: template.unbound):
        with pytest.raises(InvalidCircuit, match="cannot be written for pytket"):
            get()


@pytest.mark.parametrize(
    "row", [{}, {"a": 1.0, "b": 1.0}, {"a": math.inf}, {"a": math.nan}, {"a": True}, {"a": 0.0}, {"a": -1.0}]
)
def test_no_value(row: Mapping[str, float]) -> None:
    """A row that makes no circuit is refused as it is where a circuit is bound."""
    program = read_circuit(turned(1 / A + A**0.5))
    with pytest.raises(InvalidCircuit) as expected:
        bind(program, row)
    with pytest.raises(InvalidCircuit) as found:
        written_openqasm2(program, row)
    assert str(found.value)[:60] == str(expected.value)[:60]


def test_symbols_that_cancel() -> None:
    """A symbol that others cancelled out of is the one that is left, in every process and at every time."""
    angles = []
    hashes = set()
    for _ in range(20):
        x, y = Parameter("x"), Parameter("y")
        circuit = QuantumCircuit(1)
        circuit.rx(0 * x + y, 0)
        program = read_circuit(circuit)
        hashes.add(program.hash)
        (command,) = json.loads(PytketTemplate(program).bound({"x": 1.0, "y": 0.5 * math.pi}))["commands"]
        angles += command["op"]["params"]
    assert angles == ["0.5"] * 20
    assert len(hashes) == 1


def test_all_digits() -> None:
    """Numbers in an expression keep their digits on the way to Nexus."""
    program = read_circuit(turned(A + math.pi / 3))
    first, _, _ = json.loads(PytketTemplate(program).bound({"a": 0.1}))["commands"]
    (text,) = first["op"]["params"]
    assert float(text) == pytest.approx((0.1 + math.pi / 3) / math.pi, rel=4e-16)
