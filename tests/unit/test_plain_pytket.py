"""The quick reader of pytket's JSON gives what pytket gives, or leaves the circuit to pytket."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytket.circuit import Bit, Circuit, OpType, Qubit
from qiskit.quantum_info import Statevector
from sympy import Symbol

from qjobs.circuits.plain_pytket import read_alike, read_plain

ANGLES = st.floats(-4, 4, allow_nan=False).map(lambda value: round(value, 6))
ONE = "noop X Y Z H S Sdg T Tdg SX SXdg Rx Ry Rz U1 U3 PhasedX"
TWO = "CX CY CZ CH CS CSdg CSX CRx CRy CRz CU1 CU3 SWAP ISWAPMax ECR XXPhase YYPhase ZZPhase"
GATES = dict.fromkeys(ONE.split(), 1) | dict.fromkeys(TWO.split(), 2) | {"CCX": 3, "CSWAP": 3}
N_ANGLES = dict.fromkeys(["Rx", "Ry", "Rz", "U1", "CRx", "CRy", "CRz", "CU1", "XXPhase", "YYPhase", "ZZPhase"], 1)
N_ANGLES |= {"PhasedX": 2, "U3": 3, "CU3": 3}


@st.composite
def circuits(draw: st.DrawFn) -> Circuit:
    """Circuits of every gate that is read quickly, on several registers."""
    circuit = Circuit()
    wires = [Qubit("b", 0), Qubit("b", 1), Qubit("a", 3), Qubit("c", 0)]
    for wire in wires:
        circuit.add_qubit(wire)
    for _ in range(draw(st.integers(0, 12))):
        name = draw(st.sampled_from(sorted(GATES)))
        on = draw(st.permutations(wires))[: GATES[name]]
        angles = [draw(ANGLES) for _ in range(N_ANGLES.get(name, 0))]
        circuit.add_gate(OpType.from_name(name), angles, on)
    return circuit


def read(content: object):
    return read_plain(json.dumps(content).encode())


@settings(max_examples=60)
@given(circuits(), st.lists(st.sampled_from([0, 1, 2, 3]), min_size=1, max_size=4, unique=True))
def test_is_pytkets_circuit(circuit: Circuit, chosen: list[int]) -> None:
    """State, bits and measurements are those that pytket reads."""
    expected = circuit.get_statevector()
    bits = [Bit("z" if number % 2 else "m", number) for number in range(len(chosen))]
    for place, bit in zip(chosen, bits, strict=True):
        circuit.add_bit(bit)
        circuit.Measure(circuit.qubits[place], bit)
    plain = read(circuit.to_dict())
    assert plain is not None, "this circuit should have been read quickly"
    n = circuit.n_qubits
    state = np.asarray(Statevector(plain.gates)).reshape([2] * n).transpose(range(n)[::-1]).reshape(-1)
    assert np.allclose(abs(np.vdot(state, expected)), 1, atol=1e-6)
    assert list(plain.bits) == [bit.to_list() for bit in circuit.bits]
    assert dict(plain.measured) == {place: circuit.bits.index(bit) for place, bit in zip(chosen, bits, strict=True)}


NOT_PLAIN = {
    "a symbol": Circuit(1, 1).Rx(Symbol("a"), 0).Measure(0, 0),
    "a gate after a measurement": Circuit(1, 1).Measure(0, 0).X(0),
    "two measurements of a qubit": Circuit(1, 2).Measure(0, 0).Measure(0, 1),
    "two measurements into a bit": Circuit(2, 1).Measure(0, 0).Measure(1, 0),
    "a condition": Circuit(1, 2).X(0, condition_bits=[0], condition_value=1).Measure(0, 1),
    "a reset": Circuit(1, 1).Reset(0).Measure(0, 0),
    "a rare gate": Circuit(2, 1).ZZMax(0, 1).Measure(0, 0),
    "no measurement": Circuit(1, 1).X(0),
}


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_leaves_rare_things(name: str) -> None:
    """A circuit with anything else is not read."""
    assert read(NOT_PLAIN[name].to_dict()) is None


PLAIN = Circuit(2, 2).H(0).Rx(0.5, 1).CX(0, 1).Measure(0, 0).Measure(1, 1).to_dict()


def changed(path: list, value: object) -> dict:
    content = copy.deepcopy(PLAIN)
    place = content
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return content


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        "text",
        {},
        {"commands": []},
        changed(["commands"], [3]),
        changed(["commands", 0, "op"], {"type": "H", "params": ["0.5"]}),
        changed(["commands", 0, "op"], {"type": ["H"]}),
        changed(["commands", 0, "op"], {"type": "H", "box": {}}),
        changed(["commands", 0, "args"], [["q", [2]]]),
        changed(["commands", 0, "args"], [["q", [0]], ["q", [1]]]),
        changed(["commands", 1, "op", "params"], ["nan"]),
        changed(["commands", 1, "op", "params"], ["1e400"]),
        changed(["commands", 1, "op", "params"], ["0.5", "0.5"]),
        changed(["commands", 2, "args"], [["q", [0]], ["q", [0]]]),
        changed(["commands", 3, "args"], [["q", [0]]]),
        changed(["qubits"], [["q", [1]], ["q", [0]]]),
        changed(["qubits"], [["q", [0]], ["q", [0]]]),
        changed(["bits"], [["c", [1]], ["c", [0]]]),
        changed(["qubits"], [["q", [True]], ["q", [1]]]),
        changed(["created_qubits"], [["q", [0]]]),
    ],
)
def test_leaves_odd_json(content: object) -> None:
    """Odd JSON is not read: pytket has the words for what is wrong with it."""
    assert read(PLAIN) is not None
    assert read(content) is None


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b"[" * 100_000])
def test_leaves_no_json(payload: bytes) -> None:
    """Neither is what is no JSON."""
    assert read_plain(payload) is None


@settings(max_examples=40)
@given(circuits(), st.data())
def test_alike(circuit: Circuit, data: st.DataObject) -> None:
    """Circuits that differ in their angles alone are one circuit; with its values it is each of them."""
    circuit.add_bit(Bit("m", 0))
    circuit.Measure(circuit.qubits[0], Bit("m", 0))
    contents = [circuit.to_dict() for _ in range(4)]
    for content in contents:
        content["phase"] = str(data.draw(ANGLES))
        for command in content["commands"]:
            if "params" in command["op"] and data.draw(st.booleans()):
                command["op"]["params"] = [str(data.draw(ANGLES)) for _ in command["op"]["params"]]
    contents[2]["qubits"] = None
    payloads = [json.dumps(content).encode() for content in contents]
    (group,) = read_alike(payloads)
    assert sorted(group.rows) == [0, 1, 3]
    assert {parameter.name for parameter in group.circuit.gates.parameters} == set(group.names)
    for place, row in group.rows.items():
        alone = read_plain(payloads[place])
        assert alone is not None, "this circuit should have been read quickly"
        bound = group.circuit.gates.assign_parameters(dict(zip(group.names, row, strict=True)))
        assert np.allclose(Statevector(bound), Statevector(alone.gates), atol=1e-12)
        assert (alone.bits, alone.measured) == (group.circuit.bits, group.circuit.measured)


@pytest.mark.parametrize(
    "other",
    [
        changed(["commands", 0, "op", "type"], "X"),
        changed(["commands", 2, "args"], [["q", [1]], ["q", [0]]]),
        changed(["commands", 2, "args"], [["q", [False]], ["q", [1]]]),
        changed(["bits"], [["c", [0]], ["c", [1]], ["c", [2]]]),
    ],
)
def test_not_alike(other: object) -> None:
    """Circuits that differ in anything else are not put together."""
    groups = read_alike([json.dumps(content).encode() for content in (PLAIN, other, PLAIN)])
    assert sorted(groups[0].rows) == [0, 2]
