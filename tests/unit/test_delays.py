"""Delays keep their lengths in QPY, which alone would read them back in samples."""

from __future__ import annotations

import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from qjobs.circuits.content_hash import content_hash
from qjobs.circuits.delays import lengths_aside
from qjobs.circuits.programs import read_circuit, to_qiskit
from qjobs.errors import InvalidCircuit


def lengths(circuit: QuantumCircuit) -> list[tuple[float, str]]:
    return [(each.operation.duration, each.operation.unit) for each in circuit.data if each.name == "delay"]


def waiting() -> QuantumCircuit:
    """Delays in several units, one of them in a block."""
    circuit = QuantumCircuit(1, 1, metadata={"mine": 1})
    circuit.x(0)
    for length, unit in ((12.345678901234567, "us"), (8e-5, "s"), (100, "dt"), (3, "ns")):
        circuit.delay(length, 0, unit)
    circuit.measure(0, 0)
    with circuit.if_test((0, 1)):
        circuit.delay(2.5, 0, "us")
    return circuit


def test_kept() -> None:
    """Lengths and units are those that were given, to the last digit, in blocks too; so are hash and metadata."""
    circuit = waiting()
    program = read_circuit(circuit)
    found = to_qiskit(program)
    assert lengths(found) == lengths(circuit) == [(12.345678901234567, "us"), (8e-5, "s"), (100, "dt"), (3, "ns")]
    (block,) = found.data[-1].operation.blocks
    assert lengths(block) == [(2.5, "us")]
    assert program.hash == content_hash(circuit)
    assert found.metadata == circuit.metadata == {"mine": 1}


def test_untouched() -> None:
    """A circuit without delays in seconds is written as it is."""
    circuit = QuantumCircuit(1)
    circuit.delay(100, 0, "dt")
    assert lengths_aside(circuit) is circuit


def test_refused() -> None:
    """What would be lost is refused: a symbol, and a delay inside a gate of one's own."""
    symbol = QuantumCircuit(1)
    symbol.delay(Parameter("t"), 0, "us")
    with pytest.raises(InvalidCircuit, match="the length of a delay is the symbol t, which cannot be kept"):
        read_circuit(symbol)
    own = QuantumCircuit(1)
    inner = QuantumCircuit(1, name="idle")
    inner.delay(5, 0, "us")
    own.append(inner.to_instruction(), [0])
    with pytest.raises(InvalidCircuit, match="the gate 'idle' has a delay in seconds inside"):
        read_circuit(own)


def test_bad_metadata() -> None:
    """A list of lengths that is none is refused."""
    circuit = QuantumCircuit(1, metadata={"qjobs_delays": [["a", "b"]]})
    circuit.delay(0, 0, "dt")
    with pytest.raises(InvalidCircuit, match="does not say how long its delays are"):
        read_circuit(circuit)
