"""What people register under an entry-point group and name in a spec. A name is never code to import."""

from __future__ import annotations

import difflib
import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from qiskit.exceptions import QiskitError

from qjobs.errors import InvalidInput

__all__ = ["Registry", "nearest"]

logger = logging.getLogger(__name__)


def nearest(name: str, known: Iterable[str]) -> str:
    """Words that ask whether a known name was meant; none where none is like it.

    >>> nearest("rabbi", ["rabi", "t1"])
    "; did you mean 'rabi'?"
    """
    for like in difflib.get_close_matches(name, list(known), n=1):
        return f"; did you mean {like!r}?"
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """Functions that people register to be called by name with JSON arguments.

    `what` is what such a function makes, for messages; `name_field` and `arguments_field` are the fields of a spec that
    have its name and its arguments.
    """

    group: str
    what: str
    name_field: str
    arguments_field: str

    def names(self) -> list[str]:
        """The registered names, sorted."""
        return sorted({entry.name for entry in entry_points(group=self.group)})

    def build(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Call what is registered under a name.

        Raises:
            InvalidInput: There is none of that name, it cannot be loaded, or it does not take these arguments.
        """
        build = self._load(name)
        try:
            return build(**arguments)
        except (TypeError, ValueError, KeyError, QiskitError) as error:
            raise InvalidInput(
                f"the {self.what} {name!r} does not take these arguments: {error}", field=self.arguments_field
            ) from error

    def arguments(self, name: str) -> frozenset[str]:
        """The names of the arguments that the function under a name takes; of one without a signature, none.

        Raises:
            InvalidInput: There is none of that name, or it cannot be loaded.
        """
        try:
            found = inspect.signature(self._load(name)).parameters.values()
        except (TypeError, ValueError):
            return frozenset()
        return frozenset(each.name for each in found if each.kind in {each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY})

    def _load(self, name: str) -> Callable[..., Any]:
        found = {entry.name: entry for entry in entry_points(group=self.group)}
        if name not in found:
            known = ", ".join(sorted(found)) or "none"
            meant = nearest(name, found) or ";"
            raise InvalidInput(
                f"there is no {self.what} {name!r}{meant} registered are: {known}", field=self.name_field
            )
        try:
            build: Callable[..., Any] = found[name].load()
        except (ImportError, AttributeError) as error:
            raise InvalidInput(f"the {self.what} {name!r} cannot be loaded: {error}", field=self.name_field) from error
        logger.debug("%s %s is %s", self.what, name, found[name].value)
        return build
