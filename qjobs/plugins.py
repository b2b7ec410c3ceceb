"""What people register by entry point and name in a spec. A name never is code to import."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from qiskit.exceptions import QiskitError

from qjobs.errors import InvalidInput
from qjobs.model import JsonValue

__all__ = ["build_registered", "registered"]


def registered(group: str) -> dict[str, str]:
    """Names in an entry-point group, with where each is from."""
    return {entry.name: entry.value for entry in entry_points(group=group)}


def build_registered(
    group: str, name: str, arguments: Mapping[str, JsonValue], *, what: str, name_field: str, arguments_field: str
) -> Any:
    """Call what is registered under a name with JSON arguments.

    Args:
        group: Entry-point group.
        name: Name in it.
        arguments: Keyword arguments.
        what: What such a thing is called, for messages.
        name_field: Where the name stands in the input.
        arguments_field: Where the arguments stand in the input.

    Raises:
        InvalidInput: There is none of that name, it cannot be loaded, or it does not take these arguments.
    """
    found = {entry.name: entry for entry in entry_points(group=group)}
    if name not in found:
        known = ", ".join(sorted(found)) or "none"
        raise InvalidInput(f"there is no {what} {name!r}; registered are: {known}", field=name_field)
    try:
        build = found[name].load()
    except (ImportError, AttributeError) as error:
        raise InvalidInput(f"the {what} {name!r} cannot be loaded: {error}", field=name_field) from error
    try:
        return build(**arguments)
    except (TypeError, ValueError, KeyError, QiskitError) as error:
        raise InvalidInput(
            f"the {what} {name!r} does not take these arguments: {error}", field=arguments_field
        ) from error
