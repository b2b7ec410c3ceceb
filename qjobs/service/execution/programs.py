"""Stored circuits in a worker process, and the checks that every device makes."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from qjobs.backends.aer import NoiseSpec
from qjobs.errors import InvalidCircuit
from qjobs.service.execution.cost import gate_name

_CLASSICAL = frozenset(
    {
        "Barrier",
        "ClExpr",
        "ClassicalTransform",
        "CopyBits",
        "ExplicitModifier",
        "ExplicitPredicate",
        "Measure",
        "MultiBit",
        "Phase",
        "RangePredicate",
        "Reset",
        "SetBits",
    }
)
"""Operations that the check of the gate set allows everywhere: they are no gates on qubits."""

_SHOWN = 5
_NO_MEMORY = ("bad_alloc", "cannot allocate memory", "unable to allocate", "insufficient memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a worker process has to know of a device."""

    name: str
    result: str
    is_checker: bool
    priced: bool
    n_qubits: int
    gate_set: frozenset[str]
    native_only: bool
    connectivity: frozenset[tuple[int, int]] | None
    noise: NoiseSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFailure:
    """Why one item failed: its final status, a sentence, and the words of the software below."""

    status: str
    message: str
    detail: str = field(default="")


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error, Python's or Aer's, says that there was not enough memory."""
    words = str(getattr(error, "message", "") or error).lower()
    return isinstance(error, MemoryError) or any(each in words for each in _NO_MEMORY)


def out_of_memory(machine: Machine, error: Exception) -> ItemFailure:
    """The failure of an item that needs more memory than it may have."""
    return ItemFailure(
        status="ERROR",
        message=f"the item needs more memory than {machine.name} gives an item (item_memory_mb in the device file); "
        "run a smaller circuit, or take fewer shots",
        detail=f"{type(error).__name__}: {error}",
    )


def load_circuit(body: bytes) -> Any:
    """The pytket circuit of a stored document.

    Raises:
        InvalidCircuit: It is no circuit, or it was deleted (an empty body).
    """
    from qjobs.circuits.pytket import load_pytket

    if not body:
        raise InvalidCircuit("the item's program was deleted before it ran")
    return load_pytket(zlib.decompress(body))


def check_circuit(circuit: Any, machine: Machine, *, n_qubits: int | None = None) -> None:
    """Check that a circuit of pytket can be run as it is; `n_qubits` is the user's own limit, where it is smaller.

    Raises:
        InvalidCircuit: It cannot.
    """
    if symbols := sorted(str(symbol) for symbol in circuit.free_symbols()):
        raise InvalidCircuit(
            f"the circuit has free symbols ({_some(symbols)}); give them values (symbol_substitution) before you run it"
        )
    limit = machine.n_qubits if n_qubits is None else min(n_qubits, machine.n_qubits)
    if circuit.n_qubits > limit:
        raise InvalidCircuit(f"the circuit has {circuit.n_qubits} qubits, and {machine.name} runs at most {limit}")
    if machine.native_only:
        _check_gates(circuit, machine)
    if machine.connectivity is not None:
        _check_pairs(circuit, machine.connectivity, machine.name)


def _check_gates(circuit: Any, machine: Machine) -> None:
    found = {gate_name(command.op) for command in circuit.get_commands()}
    if foreign := sorted(found - machine.gate_set - _CLASSICAL):
        native = ", ".join(sorted(machine.gate_set - _CLASSICAL))
        raise InvalidCircuit(
            f"{machine.name} cannot run {_some(foreign)}: its native gates are {native}; "
            "compile the circuit for it first"
        )


def _check_pairs(circuit: Any, connectivity: frozenset[tuple[int, int]], name: str) -> None:
    place = {qubit: number for number, qubit in enumerate(circuit.qubits)}
    if all(qubit.reg_name == "node" and len(qubit.index) == 1 for qubit in place):
        place = {qubit: qubit.index[0] for qubit in place}
    for command in circuit.get_commands():
        pair = tuple(place[qubit] for qubit in command.qubits)
        if gate_name(command.op) == "Barrier" or len(pair) < 2:
            continue
        if len(pair) > 2 or not (pair in connectivity or pair[::-1] in connectivity):
            raise InvalidCircuit(
                f"{name} cannot couple qubits {', '.join(map(str, pair))} (in {command}); "
                "compile the circuit for it first"
            )


def _some(words: Collection[str]) -> str:
    shown = list(words)[:_SHOWN]
    return ", ".join(shown) + (f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else "")
