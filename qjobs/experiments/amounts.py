"""Amounts of money, as people write them: a number, with its unit if they wish."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

__all__ = ["Amount", "ApproveAbove"]

_AMOUNT = re.compile(r"(?P<value>\d+(\.\d+)?)( (?P<unit>[A-Za-z]+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """An amount; an empty unit is that of whatever it is compared with."""

    value: float
    unit: str = ""

    @classmethod
    def read(cls, text: str) -> Amount:
        """An amount from its text.

        Raises:
            ValueError: It is none.

        >>> Amount.read("100 HQC")
        Amount(value=100.0, unit='HQC')
        """
        found = _AMOUNT.fullmatch(text.strip())
        if found is None:
            raise ValueError("give an amount of 0 or more, with its unit if you wish, as in 100 or 100 HQC")
        return cls(value=float(found["value"]), unit=found["unit"] or "")

    def __str__(self) -> str:
        return f"{self.value:,.10g} {self.unit}".strip()


def _text(value: object) -> object:
    """The text of an amount that is a number in its file; None for a field of a form that was cleared."""
    if value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return f"{value:f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _checked(text: str | None) -> str | None:
    if text is not None:
        Amount.read(text)
    return text


ApproveAbove = Annotated[
    str | None,
    BeforeValidator(_text),
    AfterValidator(_checked),
    Field(description="A person must approve what would cost more than this, as in 100 HQC; nobody is asked if empty."),
]
"""An amount as a form has it, in files also as a number."""
