"""What the fields of all blocks have in common: a name that is misspelt is refused."""

from __future__ import annotations

import difflib
from typing import Any

__all__ = ["ACCOUNT_JOBS", "DEVICE_JOBS", "only_known"]

DEVICE_JOBS = "The most jobs at a time on this device, over all processes of one ledger; no limit if empty."
ACCOUNT_JOBS = (
    "The most jobs at a time of this account on all of its devices together, over all processes of one ledger; no "
    "limit if empty. Give it to each block of the account."
)
_PREFECTS = frozenset({"block_type_slug"})
"""What Prefect adds to the fields of a block."""


def only_known(cls: type[Any], values: Any) -> Any:
    """Refuse fields that a block does not have: Prefect keeps them, and a limit that is misspelt would be none.

    A validator of pydantic, of the mode "before".

    Raises:
        ValueError: There is one; the message names the field that may be meant.
    """
    if not isinstance(values, dict):
        return values
    for name in values:
        if name in cls.model_fields or name in _PREFECTS:
            continue
        near = difflib.get_close_matches(name, cls.model_fields, n=1)
        meant = f"; is {near[0]} meant?" if near else ""
        raise ValueError(f"{cls.__name__} has no field {name!r}{meant}")
    return values
