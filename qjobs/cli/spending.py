"""`qjobs caps`: list, set and remove."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from qjobs.cli.options import Shared
from qjobs.cli.tables import print_json, print_table
from qjobs.errors import InvalidInput
from qjobs.ledger import Ledger
from qjobs.ledger.money import Cap, CapStanding
from qjobs.operations.poll import utc_now

_COLUMNS = ("cap", "counts", "amount", "unit", "spent", "reserved", "left", "unknown")


def list_caps(shared: Shared) -> int:
    """Print every cap with how far it is used."""
    with Ledger(shared.url) as ledger:
        standings = ledger.caps.all(now=utc_now())
    if shared.as_json:
        print_json([_plain(standing) for standing in standings])
        return 0
    rows = []
    for standing in standings:
        cap = standing.cap
        left = f"{standing.left:,.2f}" if standing.left >= 0 else f"over by {-standing.left:,.2f}"
        amounts = [f"{cap.amount:,.2f}", cap.unit, _spent(standing), f"{standing.reserved:,.2f}", left]
        rows.append([cap.name, cap.scope, *amounts, standing.unknown or ""])
    print_table(_COLUMNS, rows, empty="no caps are set; set one with: qjobs caps set NAME AMOUNT UNIT")
    return 0


def _spent(standing: CapStanding) -> str:
    told = f"{standing.told:,.2f}"
    return f"{told} + {standing.estimated:,.2f} estimated" if standing.estimated else told


def _plain(standing: CapStanding) -> dict[str, Any]:
    names = ("told", "estimated", "reserved", "unknown", "left")
    return {**asdict(standing.cap), **{name: getattr(standing, name) for name in names}}


def set_cap(name: str, amount: float, unit: str, changes: Mapping[str, Any], shared: Shared, *, any_names: bool) -> int:
    """Set a cap; one that exists keeps what is not named."""
    named = {field: value for field, value in changes.items() if value is not None}
    with Ledger(shared.url) as ledger:
        known = ledger.caps.get(name)
        if known is None and not unit:
            raise InvalidInput(
                f"there is no cap {name} yet, so that it needs a unit: {_example(name, amount)}", field="unit"
            )
        if known is not None and unit not in {"", known.unit}:
            raise InvalidInput(
                f"the cap {name} counts {known.unit}, and what is spent of it cannot be counted in {unit}; take "
                f"another name, or first: qjobs caps remove {name}",
                field="unit",
            )
        cap = Cap(name=name, amount=amount, unit=unit) if known is None else replace(known, amount=amount)
        cap = replace(cap, **named)
        ledger.caps.put(cap, now=utc_now(), any_names=any_names)
    if shared.as_json:
        print_json(asdict(cap))
    else:
        print(f"the cap {cap.name} is {cap.amount:,.2f} {cap.unit}, for {cap.scope}")
    return 0


def _example(name: str, amount: float) -> str:
    return f"qjobs caps set {name} {amount:g} HQC"


def remove_cap(name: str, shared: Shared) -> int:
    """Remove a cap."""
    with Ledger(shared.url) as ledger:
        if not ledger.caps.remove(name):
            raise InvalidInput(f"there is no cap {name}; see: qjobs caps list", field="name")
    print(f"the cap {name} is removed")
    return 0
