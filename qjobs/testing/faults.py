"""Faults that a scripted provider can be told to have, one rule at a time."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

__all__ = ["Action", "Fault", "Route"]


class Route(StrEnum):
    """What a request asks the provider for."""

    SUBMIT = "submit"
    FIND = "find"
    STATUS = "status"
    RESULTS = "results"
    CANCEL = "cancel"
    UPLOAD = "upload"
    """A program, before its job (Nexus)."""
    LISTING = "listing"
    """The status of many jobs, where that is another route than that of one (Nexus)."""
    TOKENS = "tokens"
    """A new access token (Nexus)."""


class Action(StrEnum):
    """What goes wrong."""

    DROP_BEFORE = "drop before"
    """The connection closes before anything is done."""
    DROP_AFTER = "drop after"
    """The request is carried out and the connection closes without an answer."""
    CODE_BEFORE = "code before"
    """An HTTP error instead of doing it."""
    CODE_AFTER = "code after"
    """It is done and an HTTP error is answered."""
    LATE = "late"
    """It is done at once and answered after `seconds`."""
    DONE_LATE = "done late"
    """The connection closes at once and it is done after `seconds` of the provider's clock."""
    CUT = "cut"
    """It is done and the JSON of the answer breaks off."""
    NOT_JSON = "not json"
    """It is done and the answer is an HTML page."""
    UNKNOWN_WORD = "unknown word"
    """The status is a word that no contract knows."""
    NOTHING = "nothing"
    """The answer is a list, and tells of no job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One rule: the requests of `route` from the `skip`-th on, `times` of them, go wrong by `action`.

    `code` and `retry_after` (seconds or a date, as the header has it; empty for none) belong to the two
    CODE actions, `seconds` to LATE and DONE_LATE. The first rule that is due decides; every rule of a
    route counts every request of it.
    """

    route: Route
    action: Action
    skip: int = 0
    times: int = 1
    code: int = 502
    retry_after: str = ""
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The rule as the provider's control route takes it."""
        return asdict(self)
