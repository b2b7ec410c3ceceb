"""The schema of a flow's parameters as Prefect's interfaces draw it best.

Both interfaces show the titles of models and enums, which are names of classes, in place of those of the fields; and
tabs with the words `Property is type "None"` for a field that may be empty. So every model is put in the place where it
is used, under a title of that place, and an optional field becomes one that may be left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["drawn"]

_REFERENCE = "#/definitions/"
_FIRST = ("name", "label")
_LAST = (
    *("shots", "shots_per", "seed", "backend", "backends"),
    *("compiler", "level", "compile_on", "compile", "strategy", "fresh", "retries"),
)
"""Below what is run stands how and where, and what people change least stands at the end."""
_UNITS = {"s": "s", "hours": "hours", "rad": "rad"}
_TITLES = {
    "spec": "Experiment",
    "logical_run": "Earlier run to go on with",
    "n_qubits": "Qubits",
    "openqasm": "OpenQASM",
    "compile": "Compiling",
    "compile_on": "Where it is compiled",
    "level": "Optimisation level (0 to 3)",
    "goal": "Better is",
    "resend_unfound": "Send again what is lost",
    "on_recalibration": "If the device was recalibrated",
    "ladder": "Strategies of the retries",
    "delays_s": "Pauses before the retries (s)",
    "max_total_s": "Longest time of trying (s)",
    "max_submissions": "Most submissions",
    "max_cost": "Highest cost of the run (provider's unit)",
    "for_s": "How long (s)",
    "pause_s": "Pause between passes (s)",
    "keep_hours": "Keep finished runs (hours)",
    "min_success": "Lowest success probability (0 to 1)",
    "at_deadline": "At the deadline",
    "deadline_hours": "Deadline (hours)",
}


def drawn(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of parameters, with every model in its place and titles that people read.

    What is left of its definitions are the forms in lists, and those that may be missing: Prefect takes an empty value
    for an optional field, but does not look for optional fields there.
    """
    form = _Form(schema.get("definitions") or {})
    properties = form.properties(schema.get("properties", {}))
    kept = {key: value for key, value in schema.items() if key not in {"definitions", "$defs"}}
    return {**kept, "properties": properties, "definitions": form.definitions}


class _Form:
    """A schema that is being rewritten; `definitions` are those of the new one."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given
        self.definitions: dict[str, Any] = {}

    def properties(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a form in the order in which they are shown."""
        order = sorted(fields, key=_place)
        found = {}
        for position, name in enumerate(order):
            found[name] = {**self._field(fields[name], _title(name)), "position": position}
        return found

    def _field(self, field: Mapping[str, Any], title: str) -> dict[str, Any]:
        """A field with what it refers to in its place, under a title."""
        field = dict(field)
        reference = field.pop("$ref", None)
        if reference is not None:
            field = {**self._given[reference.removeprefix(_REFERENCE)], **field}
        field = {**self._without_none(field, title), "title": title}
        if "properties" in field:
            field["properties"] = self.properties(field["properties"])
        if isinstance(values := field.get("additionalProperties"), Mapping):
            reference = values.get("$ref", "").removeprefix(_REFERENCE)
            field["additionalProperties"] = self._given.get(reference, values)
        if "items" in field:
            field["items"] = self._part(field["items"], {"Axes": "Axis"}.get(title, title.removesuffix("s")))
        return field

    def _without_none(self, field: dict[str, Any], title: str) -> dict[str, Any]:
        """An optional field as one that may be left out; a form that may be missing stays a choice, with a title."""
        some = [part for part in field.get("anyOf", []) if part.get("type") != "null"]
        if len(some) != 1 or len(some) == len(field["anyOf"]):
            return field
        rest = {key: value for key, value in field.items() if key != "anyOf"}
        part = self._part(some[0], title)
        if "$ref" in part:
            return {**rest, "anyOf": [part, {"type": "null"}]}
        if rest.get("default", ...) is None:
            del rest["default"]
        return {**part, **rest}

    def _part(self, part: Mapping[str, Any], title: str) -> dict[str, Any]:
        """What stands in a list or in a choice: of a form, a reference to a definition with this title."""
        found = self._field(part, title)
        if "properties" not in found:
            return found
        name = part["$ref"].removeprefix(_REFERENCE)
        self.definitions[name] = found
        return {"$ref": f"{_REFERENCE}{name}"}


def _place(name: str) -> int:
    """Where a field stands among those of its form; those of one place stay in their order."""
    if name in _FIRST:
        return -1
    return 1 + _LAST.index(name) if name in _LAST else 0


def _title(name: str) -> str:
    """The title of a field, with the unit that its name ends with.

    >>> _title("shots_per"), _title("gamma_max_rad")
    ('Shots per', 'Gamma max (rad)')
    """
    if name in _TITLES:
        return _TITLES[name]
    words, _, last = name.rpartition("_")
    if words and last in _UNITS:
        return f"{words.replace('_', ' ').capitalize()} ({_UNITS[last]})"
    return name.replace("_", " ").capitalize()
