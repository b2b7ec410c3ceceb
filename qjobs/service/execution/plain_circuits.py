"""A quick way from a stored circuit to Aer, for plain ones: usual gates, numbers as angles, no conditions.

It takes about a quarter of the time of the way through pytket. Whatever it does not know, or finds
odd, it leaves to that way, which also has the words for what is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

__all__ = ["PlainCircuit", "read_plain"]

_MAX_QUBITS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainCircuit:
    """A circuit that measures at its end only.

    Args:
        gates: It without its measurements.
        bits: Its bits as pytket writes them, in pytket's order.
        measured: (qubit, bit) of each measurement, by qubit.
    """

    gates: QuantumCircuit = field(repr=False)
    bits: tuple[Any, ...]
    measured: tuple[tuple[int, int], ...]


class _NotPlain(Exception):
    """Take the other way."""


@cache
def _gates() -> Mapping[str, tuple[Any, int, int]]:
    """Of each of pytket's names qiskit's class, its angles and its qubits."""
    from qiskit.circuit import library as gates

    return {
        **{name: (getattr(gates, f"{name}Gate"), 0, 1) for name in ("H", "X", "Y", "Z", "S", "Sdg", "T", "Tdg", "SX")},
        **{name: (getattr(gates, f"{name.upper()}Gate"), 1, 1) for name in ("Rx", "Ry", "Rz")},
        **{name: (getattr(gates, f"{name}Gate"), 0, 2) for name in ("CX", "CY", "CZ")},
        "SWAP": (gates.SwapGate, 0, 2),
        "CCX": (gates.CCXGate, 0, 3),
        "U1": (gates.PhaseGate, 1, 1),
        "U3": (gates.UGate, 3, 1),
        "PhasedX": (gates.RGate, 2, 1),
        "XXPhase": (gates.RXXGate, 1, 2),
        "YYPhase": (gates.RYYGate, 1, 2),
        "ZZPhase": (gates.RZZGate, 1, 2),
    }


def read_plain(content: Any) -> PlainCircuit | None:
    """The circuit of pytket's JSON; None if it is not a plain one, or not a circuit."""
    try:
        return _read(content)
    except (_NotPlain, KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError):
        return None


def _read(content: Any) -> PlainCircuit:
    from qiskit import QuantumCircuit
    from qiskit.circuit import CircuitInstruction, Clbit, Qubit

    if content.get("created_qubits") or content.get("discarded_qubits") or content.get("number_of_ws"):
        raise _NotPlain
    qubit_of, bit_of = _places(content["qubits"]), _places(content["bits"])
    if not 0 < len(qubit_of) <= _MAX_QUBITS:
        raise _NotPlain
    wires = [Qubit() for _ in qubit_of]
    table, instructions = _gates(), []
    measured: dict[int, int] = {}
    for command in content["commands"]:
        op, args = command["op"], command["args"]
        kind = op["type"]
        if kind == "Barrier":
            continue
        if kind == "Measure":
            qubit, bit = qubit_of[_key(args[0])], bit_of[_key(args[1])]
            if len(args) != 2 or qubit in measured or bit in measured.values():
                raise _NotPlain
            measured[qubit] = bit
            continue
        gate, n_angles, n_qubits = table[kind]
        angles = [_radians(text) for text in op.get("params", ())]
        on = [qubit_of[_key(wire)] for wire in args]
        if not op.keys() <= {"type", "params"} or len(angles) != n_angles or len(on) != n_qubits:
            raise _NotPlain
        if len(set(on)) != n_qubits or not measured.keys().isdisjoint(on):
            raise _NotPlain
        instructions.append(CircuitInstruction(gate(*angles), [wires[place] for place in on], ()))
    if not measured:
        raise _NotPlain
    gates = QuantumCircuit.from_instructions(instructions, qubits=wires, clbits=[Clbit() for _ in bit_of])
    return PlainCircuit(gates=gates, bits=tuple(content["bits"]), measured=tuple(sorted(measured.items())))


def _key(wire: Any) -> tuple[str, int]:
    name, (index,) = wire
    return name, index


def _places(wires: Any) -> dict[tuple[str, int], int]:
    """Place of each wire; pytket sorts them, and so must the JSON."""
    keys = [_key(wire) for wire in wires]
    if any(type(name) is not str or type(index) is not int or index < 0 for name, index in keys):
        raise _NotPlain
    if keys != sorted(set(keys)):
        raise _NotPlain
    return {key: place for place, key in enumerate(keys)}


def _radians(text: Any) -> float:
    """Of pytket's half turns, which it writes as text; a symbol raises ValueError."""
    value = float(text) * math.pi
    if not math.isfinite(value):
        raise _NotPlain
    return value
