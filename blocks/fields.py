"""What the fields of all blocks have in common: a misspelt name is refused, and an account is a block of its own."""

from __future__ import annotations

import difflib
from typing import Any

__all__ = ["ACCOUNT_JOBS", "DEVICE_JOBS", "only_known", "with_account"]

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


def with_account(cls: type[Any], values: Any) -> Any:
    """The fields of a device, with those of its account in `credentials`; then as `only_known`.

    Blocks that earlier versions saved have the fields of the account among those of the device, and so may code have.
    Where such a block is saved again, Prefect keeps the earlier fields beside the new ones: `credentials` holds.
    A validator of pydantic, of the mode "before".

    Raises:
        ValueError: There is a field that neither block has.
    """
    if not isinstance(values, dict):
        return values
    account = cls.model_fields["credentials"].annotation
    assert account is not None  # noqa: S101  # for the type checker
    apart: dict[str, Any] = {}
    device: dict[str, Any] = {}
    for name, value in values.items():
        is_of_account = name in account.model_fields and name not in cls.model_fields
        (apart if is_of_account else device)[name] = value
    if apart and device.get("credentials") is None:
        device["credentials"] = account(**apart)
    return only_known(cls, device)
