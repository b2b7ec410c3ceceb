"""Pytket's JSON of usual circuits to qiskit, quickly: gates of our table, numbers as angles, measurements at the end.

It takes about a quarter of the time of `load_pytket`. Circuits that differ in their angles alone, as the points of a
sweep do, become one circuit with parameters.
"""

from __future__ import annotations

import json
import marshal
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from qiskit import QuantumCircuit
from qiskit.circuit import CircuitInstruction, Clbit, Parameter, Qubit
from qiskit.circuit import library as gates

from qjobs.circuits.pytket import GATES

__all__ = ["PlainCircuit", "PlainGroup", "read_alike", "read_plain"]

_MAX_QUBITS: Final = 64
_NO_REFERENCES: Final = 2
"""The version of marshal that writes equal contents alike, and 1 and True not, in an eighth of the time of JSON."""
_ODD: Final = (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainGroup:
    """Circuits that differ in their angles alone.

    Args:
        circuit: All of them, with a parameter for every angle in which they differ.
        names: The names of its parameters.
        rows: Their values in radians, by the place of each circuit in what was given.
    """

    circuit: PlainCircuit
    names: tuple[str, ...]
    rows: Mapping[int, tuple[float, ...]]


class _NotPlain(Exception):
    """Pytket has to read it."""


def read_plain(payload: bytes) -> PlainCircuit | None:
    """The circuit of pytket's JSON; None for `load_pytket` to read it, or to say what is wrong.

    Whatever is unknown or odd is not read.
    """
    return next((group.circuit for group in read_alike([payload])), None)


def read_alike(payloads: Sequence[bytes]) -> list[PlainGroup]:
    """The circuits of several texts of pytket's JSON, those together that are alike.

    A circuit that `read_plain` would not read is in no group.
    """
    alike: dict[bytes, tuple[Any, dict[int, list[float]]]] = {}
    for place, payload in enumerate(payloads):
        try:
            content, angles = _taken_apart(payload)
            form = marshal.dumps(content, _NO_REFERENCES)
        except (_NotPlain, *_ODD):
            continue
        _, members = alike.setdefault(form, (content, {}))
        members[place] = angles
    groups = []
    for content, members in alike.values():
        try:
            groups.append(_group(content, members))
        except (_NotPlain, *_ODD):
            continue
    return groups


def _taken_apart(payload: bytes) -> tuple[Any, list[float]]:
    """The content of a text with the number of angles in the place of each gate's angles, and these in order."""
    content = json.loads(payload)
    content.pop("phase", None)  # nothing that is measured depends on it
    angles: list[float] = []
    for command in content["commands"]:
        op = command["op"]
        if "params" in op:
            texts = op["params"]
            if type(texts) is not list:
                raise _NotPlain
            angles += [_radians(text) for text in texts]
            op["params"] = len(texts)
    return content, angles


def _group(content: Any, members: Mapping[int, list[float]]) -> PlainGroup:
    columns = list(zip(*members.values(), strict=True))
    differ = [place for place, column in enumerate(columns) if len(set(column)) > 1]
    angles: list[float | Parameter] = [column[0] for column in columns]
    for place in differ:
        angles[place] = Parameter(f"angle_{place:06}")
    rows = {}
    for member, values in members.items():
        rows[member] = tuple([values[place] for place in differ])
    names = tuple(f"angle_{place:06}" for place in differ)
    return PlainGroup(circuit=_circuit(content, iter(angles)), names=names, rows=rows)


def _circuit(content: Any, angles: Iterator[float | Parameter]) -> PlainCircuit:
    if content.get("created_qubits") or content.get("discarded_qubits") or content.get("number_of_ws"):
        raise _NotPlain
    qubit_of = _places(content["qubits"])
    bit_of = _places(content["bits"])
    if not 0 < len(qubit_of) <= _MAX_QUBITS:
        raise _NotPlain
    wires = [Qubit() for _ in qubit_of]
    table = _table()
    instructions = []
    measured: dict[int, int] = {}
    for command in content["commands"]:
        op = command["op"]
        args = command["args"]
        kind = op["type"]
        own = [next(angles) for _ in range(op.get("params", 0))]
        if kind == "Barrier":
            continue
        if kind == "Measure":
            qubit, bit = args
            place = qubit_of[_key(qubit)]
            into = bit_of[_key(bit)]
            if place in measured or into in measured.values():
                raise _NotPlain
            measured[place] = into
            continue
        gate, n_angles, n_qubits = table[kind]
        on = [qubit_of[_key(wire)] for wire in args]
        if not op.keys() <= {"type", "params"} or len(own) != n_angles or len(on) != n_qubits:
            raise _NotPlain
        if len(set(on)) != n_qubits or not measured.keys().isdisjoint(on):
            raise _NotPlain
        instructions.append(CircuitInstruction(gate(*own), [wires[place] for place in on], ()))
    if not measured:
        raise _NotPlain
    circuit = QuantumCircuit.from_instructions(instructions, qubits=wires, clbits=[Clbit() for _ in bit_of])
    return PlainCircuit(gates=circuit, bits=tuple(content["bits"]), measured=tuple(sorted(measured.items())))


@cache
def _table() -> Mapping[str, tuple[Any, int, int]]:
    """Of each gate of the table, by pytket's name: qiskit's class, its angles and its qubits."""
    known = gates.get_standard_gate_name_mapping()
    return {kind.name: (gate, len(known[name].params), known[name].num_qubits) for name, kind, gate in GATES}


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
