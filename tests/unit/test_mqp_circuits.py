"""Circuits as the portal takes them, and our key in the first of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, qasm2, qasm3
from qiskit.circuit import Clbit, Parameter, Qubit
from qiskit_aer import AerSimulator

from qjobs.backends.mqp.circuits import key_in, with_key, written
from qjobs.circuits.programs import CircuitSource, read_circuit
from qjobs.errors import InvalidCircuit
from qjobs.model import Batch, ItemSpec, Key

KEY = Key("12345678-0123456789abcdef0123456789abcdef-2.89abcdef")


def batch_of(*sources: CircuitSource | tuple[CircuitSource, Mapping[str, float]]) -> Batch:
    programs = {}
    items = []
    for number, source in enumerate(sources):
        circuit, values = source if isinstance(source, tuple) else (source, {})
        program = read_circuit(circuit)
        programs[program.hash] = program
        items.append(ItemSpec(label=f"{number}", program=program.hash, shots=8, parameters=tuple(values.items())))
    return Batch(number=0, items=tuple(items), programs=programs)


def counts(text: str, load: Callable[[str], QuantumCircuit]) -> dict[str, int]:
    return AerSimulator(max_parallel_threads=1).run(load(text), shots=8).result().get_counts()


def flipped() -> QuantumCircuit:
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    circuit.measure([0, 1], [0, 1])
    return circuit


def controlled() -> QuantumCircuit:
    """OpenQASM 3 alone can write it."""
    circuit = QuantumCircuit(QuantumRegister(2, "q"), ClassicalRegister(2, "c"))
    circuit.x(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.cregs[0], 1)):
        circuit.x(1)
    circuit.measure(1, 1)
    return circuit


def test_one_version() -> None:
    """All circuits of a job are of one version: 2 where each can be written so, else 3."""
    form, texts = written(batch_of(flipped(), flipped()), None)
    assert form == "qasm"
    assert [counts(text, qasm2.loads) for text in texts] == [{"01": 8}] * 2
    form, texts = written(batch_of(flipped(), controlled()), None)
    assert form == "qasm3"
    assert [counts(text, qasm3.loads) for text in texts] == [{"01": 8}, {"11": 8}]


@pytest.mark.parametrize("version", [(flipped, qasm2.loads), (controlled, qasm3.loads)])
def test_key(version: tuple[Callable[[], QuantumCircuit], Callable[[str], QuantumCircuit]]) -> None:
    """The key stands in the first circuit alone, both versions are read with it, and it is found in the repr."""
    make, load = version
    _, texts = written(batch_of(make(), make()), KEY)
    assert [key_in(text) for text in texts] == [KEY, None]
    assert counts(texts[0], load) == counts(texts[1], load)
    assert key_in(str(texts)) == KEY
    assert key_in(str(list(reversed(texts)))) == KEY
    assert written(batch_of(make()), None)[1] == texts[1:]


@pytest.mark.parametrize("text", ["", "// qjobs", "// qjobs-", "qjobs-1", f"// qjobs-{'k' * 65}"])
def test_no_key(text: str) -> None:
    """What is no comment of ours has no key."""
    assert key_in(text) is None


def test_whole_key() -> None:
    """A key that another one begins with is not that one."""
    assert key_in(with_key("OPENQASM 3.0;\nqubit q;", Key(f"{KEY}0"))) == f"{KEY}0"


def test_no_version() -> None:
    """A text without a version takes no key."""
    with pytest.raises(InvalidCircuit):
        with_key("qreg q[1];", KEY)


def test_bound() -> None:
    """Every item has its own values, and equal ones are written once."""
    angle = Parameter("a")
    circuit = QuantumCircuit(1, 1)
    circuit.rx(angle, 0)
    circuit.measure(0, 0)
    items = [(circuit, {"a": value}) for value in (0.0, math.pi, 0.0)]
    _, texts = written(batch_of(*items), None)
    assert [counts(text, qasm2.loads) for text in texts] == [{"0": 8}, {"1": 8}, {"0": 8}]
    assert texts[0] is texts[2]


def test_one_register() -> None:
    """Registers and bits by themselves become one register, in the order of our bits."""
    circuit = QuantumCircuit([Qubit(), Qubit()], [Clbit()], ClassicalRegister(2, "late"), [Clbit()])
    circuit.x(0)
    circuit.measure(0, 2)
    _, (text,) = written(batch_of(circuit), None)
    assert text.count("creg") == text.count("qreg") == 1
    assert counts(text, qasm2.loads) == {"0100": 8}


def test_cannot_be_written() -> None:
    """A circuit that neither version can write is refused in words."""
    circuit = QuantumCircuit([Qubit()], [Clbit(), Clbit()])
    register = ClassicalRegister(bits=list(reversed(circuit.clbits)), name="other")
    circuit.add_register(register)
    circuit.measure(0, 0)
    with circuit.if_test((register, 1)):
        circuit.x(0)
    circuit.add_register(ClassicalRegister(bits=circuit.clbits, name="again"))
    with pytest.raises(InvalidCircuit, match="OpenQASM"):
        written(batch_of(circuit), None)
