"""Resources of the portal: whether one is online, and what a compiler needs to know of it."""

from __future__ import annotations

import ast
import functools
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from qjobs.errors import ProtocolError
from qjobs.model import Target

logger = logging.getLogger(__name__)

_LONGEST: Final = 1_000_000
"""Characters of a literal that are read: an object of Python takes some hundred times as much memory."""
_NO_GATES: Final = frozenset({"measure", "reset", "barrier", "delay"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A resource as the portal shows it; `connectivity` and `instructions` are None where nobody can read them."""

    name: str
    online: bool
    n_qubits: int | None
    connectivity: object
    instructions: object


def resource_in(body: object) -> Resource:
    """A resource in an answer.

    Raises:
        ProtocolError: It has no name, or does not say whether it is online.
    """
    if not isinstance(body, Mapping) or not isinstance(body.get("name"), str):
        raise ProtocolError("the portal answered a resource without a name")
    online = body.get("online")
    if not isinstance(online, bool):
        raise ProtocolError(f"the portal does not say whether {body['name']} is online")
    qubits = body.get("qubits")
    return Resource(
        name=body["name"],
        online=online,
        n_qubits=qubits if type(qubits) is int and qubits > 0 else None,
        connectivity=literal(body.get("connectivity")),
        instructions=literal(body.get("instructions")),
    )


def literal(text: object) -> Any:
    """The value of a Python literal in a text, as the portal writes lists; None for what is none.

    >>> literal("[[0, 1], [1, 2]]"), literal("None"), literal("__import__('os')")
    ([[0, 1], [1, 2]], None, None)
    """
    if not isinstance(text, str):
        return text
    if len(text) > _LONGEST:
        return None
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def target_of(resource: Resource) -> Target:
    """A resource as a compiler sees it; what cannot be read is left open."""
    instructions = _instructions_in(resource.instructions)
    coupling = _pairs_in(resource.connectivity)
    if coupling is None:
        coupling = _pairs_of(instructions)
    gates = []
    for name in instructions:
        if name in _NO_GATES:
            continue
        if name in _known_gates():
            gates.append(name)
        else:
            logger.info("%s: its gate %.100s is not known to qiskit, and is not compiled for", resource.name, name)
    return Target(
        name=resource.name,
        n_qubits=resource.n_qubits,
        basis_gates=tuple(gates) or None,
        coupling=coupling or None,
        calibration=_properties_in(instructions),
    )


@functools.cache
def _known_gates() -> frozenset[str]:
    from qiskit.circuit.library import get_standard_gate_name_mapping

    return frozenset(get_standard_gate_name_mapping())


def _instructions_in(value: object) -> dict[str, object]:
    """The instructions by their names, each with the qubits that it acts on: `[(name, {qubits: properties})]`."""
    found: dict[str, object] = {}
    for each in value if isinstance(value, list | tuple) else ():
        if isinstance(each, list | tuple) and len(each) == 2 and isinstance(each[0], str):
            found[each[0]] = each[1]
    return found


def _properties_in(instructions: Mapping[str, object]) -> dict[str, object]:
    """What the portal shows of each instruction on each of its places, where it shows anything."""
    found: dict[str, object] = {}
    for name, places in instructions.items():
        if isinstance(places, Mapping):
            shown = {place: properties for place, properties in places.items() if properties is not None}
            found.update({name: shown} if shown else {})
    return found


def _pairs_in(value: object) -> tuple[tuple[int, int], ...] | None:
    """Directed pairs of qubits; None where it is no list of them."""
    if not isinstance(value, list | tuple):
        return None
    pairs = set()
    for each in value:
        match each:
            case [int(one), int(other)] if one >= 0 and other >= 0:
                pairs.add((one, other))
            case _:
                return None
    return tuple(sorted(pairs))


def _pairs_of(instructions: Mapping[str, object]) -> tuple[tuple[int, int], ...] | None:
    """The pairs of qubits that instructions name; None where they name none."""
    pairs: set[tuple[int, int]] = set()
    for places in instructions.values():
        if isinstance(places, Mapping):
            wide = [place for place in places if isinstance(place, tuple) and len(place) == 2]
            pairs.update(_pairs_in(wide) or ())
    return tuple(sorted(pairs)) or None
