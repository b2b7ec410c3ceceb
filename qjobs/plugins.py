"""What people register under an entry-point group and name in a spec. A name is never code to import."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from qiskit.exceptions import QiskitError

from qjobs.errors import InvalidInput

__all__ = ["Registry"]

logger = logging.getLogger(__name__)


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
        found = {entry.name: entry for entry in entry_points(group=self.group)}
        if name not in found:
            known = ", ".join(sorted(found)) or "none"
            raise InvalidInput(f"there is no {self.what} {name!r}; registered are: {known}", field=self.name_field)
        try:
            build = found[name].load()
        except (ImportError, AttributeError) as error:
            raise InvalidInput(f"the {self.what} {name!r} cannot be loaded: {error}", field=self.name_field) from error
        logger.debug("%s %s is %s", self.what, name, found[name].value)
        try:
            return build(**arguments)
        except (TypeError, ValueError, KeyError, QiskitError) as error:
            raise InvalidInput(
                f"the {self.what} {name!r} does not take these arguments: {error}", field=self.arguments_field
            ) from error
