"""The quick way from a stored circuit to Aer gives what pytket gives, or leaves the circuit to pytket."""

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

from qjobs.service.execution.plain_circuits import read_plain

ANGLES = st.floats(-4, 4, allow_nan=False).map(lambda value: round(value, 6))
ONE = [OpType.H, OpType.X, OpType.Y, OpType.Z, OpType.S, OpType.Sdg, OpType.T, OpType.Tdg, OpType.SX]
TURNS = [OpType.Rx, OpType.Ry, OpType.Rz, OpType.U1]
TWO = [OpType.CX, OpType.CY, OpType.CZ, OpType.SWAP]
PHASES = [OpType.XXPhase, OpType.YYPhase, OpType.ZZPhase]


@st.composite
def circuits(draw: st.DrawFn) -> Circuit:
    """Circuits of the gates that are read quickly, with two registers, measured at the end."""
    circuit = Circuit()
    wires = [Qubit("b", 0), Qubit("b", 1), Qubit("a", 3), Qubit("c", 0)]
    for wire in wires:
        circuit.add_qubit(wire)
    for _ in range(draw(st.integers(0, 12))):
        first, second, third = draw(st.permutations(wires))[:3]
        match draw(st.integers(0, 6)):
            case 0:
                circuit.add_gate(draw(st.sampled_from(ONE)), [first])
            case 1:
                circuit.add_gate(draw(st.sampled_from(TURNS)), [draw(ANGLES)], [first])
            case 2:
                circuit.add_gate(draw(st.sampled_from(TWO)), [first, second])
            case 3:
                circuit.add_gate(draw(st.sampled_from(PHASES)), [draw(ANGLES)], [first, second])
            case 4:
                circuit.add_gate(OpType.PhasedX, [draw(ANGLES), draw(ANGLES)], [first])
            case 5:
                circuit.add_gate(OpType.U3, [draw(ANGLES), draw(ANGLES), draw(ANGLES)], [first])
            case _:
                circuit.add_gate(OpType.CCX, [first, second, third])
    return circuit


@settings(max_examples=60)
@given(circuits(), st.lists(st.sampled_from([0, 1, 2, 3]), min_size=1, max_size=4, unique=True))
def test_gates_bits_and_measurements_are_pytkets(circuit: Circuit, chosen: list[int]) -> None:
    expected = circuit.get_statevector()
    for number, place in enumerate(chosen):
        bit = Bit("z" if number % 2 else "m", number)
        circuit.add_bit(bit)
        circuit.Measure(circuit.qubits[place], bit)
    plain = read_plain(json.loads(json.dumps(circuit.to_dict())))
    assert plain is not None, "this circuit should have been read quickly"
    n = circuit.n_qubits
    state = np.asarray(Statevector(plain.gates)).reshape([2] * n).transpose(range(n)[::-1]).reshape(-1)
    assert np.allclose(abs(np.vdot(state, expected)), 1, atol=1e-6)
    assert list(plain.bits) == [bit.to_list() for bit in circuit.bits]
    place_of = {wire: place for place, wire in enumerate(circuit.qubits)}
    bit_of = {wire: place for place, wire in enumerate(circuit.bits)}
    wanted = {
        place_of[command.qubits[0]]: bit_of[command.bits[0]]
        for command in circuit.get_commands()
        if command.op.type == OpType.Measure
    }
    assert dict(plain.measured) == wanted


ODD = {
    "a symbol": Circuit(1, 1).Rx(Symbol("a"), 0).Measure(0, 0),
    "a gate after a measurement": Circuit(1, 1).Measure(0, 0).X(0),
    "two measurements of a qubit": Circuit(1, 2).Measure(0, 0).Measure(0, 1),
    "two measurements into a bit": Circuit(2, 1).Measure(0, 0).Measure(1, 0),
    "a condition": Circuit(1, 2).X(0, condition_bits=[0], condition_value=1).Measure(0, 1),
    "a reset": Circuit(1, 1).Reset(0).Measure(0, 0),
    "a rare gate": Circuit(2, 1).ZZMax(0, 1).Measure(0, 0),
    "no measurement": Circuit(1, 1).X(0),
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_not_plain_is_left_to_pytket(name: str) -> None:
    assert read_plain(ODD[name].to_dict()) is None


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
        changed(["qubits"], [["q", [1]], ["q", [0]]]),
        changed(["qubits"], [["q", [0]], ["q", [0]]]),
        changed(["bits"], [["c", [1]], ["c", [0]]]),
        changed(["qubits"], [["q", [True]], ["q", [1]]]),
        changed(["created_qubits"], [["q", [0]]]),
    ],
)
def test_what_is_odd_is_left_to_pytket(content: object) -> None:
    assert read_plain(PLAIN) is not None
    assert read_plain(content) is None
