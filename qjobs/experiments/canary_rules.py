"""Rules by which the first circuits of a sweep are judged before the others are sent.

`full-shots` and `outcome` are here; others are registered under the entry-point group `qjobs.canary_rules`: functions
of the rule's arguments that return a function from `Tried` to what is wrong with it, empty if nothing is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from qjobs.errors import InvalidInput
from qjobs.model import ItemResult, JsonValue
from qjobs.plugins import Registry

__all__ = ["CANARY_RULES", "Rule", "Tried", "load_rule"]

CANARY_RULES: Final = Registry(
    group="qjobs.canary_rules", what="canary rule", name_field="canary.rule", arguments_field="canary.arguments"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One of the first circuits: its label, the shots that it was sent with, its parameters, and what came back."""

    label: str
    shots: int
    parameters: Mapping[str, float]
    result: ItemResult


Rule: TypeAlias = Callable[[Tried], str]
"""What is wrong with a circuit's result, in words; empty if nothing is."""


def full_shots() -> Rule:
    """There are as many counts as shots; an exact expectation value has none."""

    def rule(tried: Tried) -> str:
        if tried.result.counts is None:
            return "" if tried.result.expvals else "it has neither counts nor expectation values"
        got = sum(tried.result.counts.values())
        return "" if got == tried.shots else f"it has {got:,} counts of {tried.shots:,} shots"

    return rule


def outcome(bits: str, at_least: float = 0.0, at_most: float = 1.0) -> Rule:
    """The fraction of the shots in which `bits` came out, bit 0 rightmost, is from `at_least` to `at_most`.

    Raises:
        ValueError: It can never be, or `bits` are none.
    """
    if not bits or set(bits) - set("01"):
        raise ValueError(f"bits are 0 and 1, as in 00, and not {bits!r}")
    if not 0 <= at_least <= at_most <= 1:
        raise ValueError(f"give 0 <= at_least <= at_most <= 1, and not {at_least} and {at_most}")

    def rule(tried: Tried) -> str:
        counts = tried.result.counts
        if not counts:
            return "it has no counts"
        if any(len(found) != len(bits) for found in counts):
            return f"its outcomes have {len(next(iter(counts)))} bits, and the rule asks for {bits!r}"
        fraction = counts.get(bits, 0) / sum(counts.values())
        if at_least <= fraction <= at_most:
            return ""
        return f"{bits} came out in {fraction:.3g} of the shots, and from {at_least:g} to {at_most:g} are sane"

    return rule


_OWN: Final[Mapping[str, Callable[..., Rule]]] = {"full-shots": full_shots, "outcome": outcome}


def load_rule(name: str, arguments: Mapping[str, JsonValue]) -> Rule:
    """A rule by its name.

    Raises:
        InvalidInput: There is none of that name, or it does not take these arguments.
    """
    if name not in _OWN:
        if name not in CANARY_RULES.names():
            known = ", ".join([*_OWN, *CANARY_RULES.names()])
            raise InvalidInput(f"there is no canary rule {name!r}; there are: {known}", field="canary.rule")
        rule: Rule = CANARY_RULES.build(name, arguments)
        return rule
    try:
        return _OWN[name](**arguments)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"the canary rule {name!r} does not take these arguments: {error}", field="canary.arguments"
        ) from error
