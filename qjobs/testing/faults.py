"""Faults that a provider of the kit can be told to have, one rule at a time."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

__all__ = ["Action", "Fault", "FaultScript", "Route"]


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
    """A new access token (Nexus; of the portal's list: MQP)."""
    JOB = "job"
    """One job by its id, where lists do not tell its items (the scripted provider)."""
    INIT = "init"
    """An id for a job in steps."""
    ADD = "add"
    """Items of a job in steps."""
    FINALISE = "finalise"
    """The last items of a job in steps, after which it runs."""
    RESOURCE = "resource"
    """The device, before a job is sent to it (MQP)."""
    ABANDON = "abandon"
    """The end of a job in steps that was not finalised."""


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
    """The status in the answer is a word that no contract knows."""
    NOTHING = "nothing"
    """The answer is as it should be, and its list is empty."""
    NO_ITEMS = "no items"
    """The answer is as it should be, but tells no items of the jobs."""
    ENDLESS = "endless"
    """The answer is as it should be, and promises one more page, as that page does again."""
    ECHO = "echo"
    """It is done, and a gateway answers an HTML page that repeats the headers of the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One rule: after `skip` requests of `route`, the next `times` go wrong by `action`.

    With `for_s`, all go wrong for so many seconds of the provider's clock from the first one on, however many. `code`
    and `retry_after` (seconds or a date, as the header has it; empty for none) belong to the two CODE actions and
    ECHO, `seconds` to LATE and DONE_LATE. A CODE action is the answer of a gateway, unless it is `proved`: then it has
    the provider's own mark of a refusal. An ECHO is `size` characters long, or longer.
    """

    route: Route
    action: Action
    skip: int = 0
    times: int = 1
    code: int = 502
    retry_after: str = ""
    seconds: float = 0.0
    for_s: float = 0.0
    proved: bool = False
    size: int = 0

    def as_json(self) -> dict[str, Any]:
        """The rule as the provider's control route takes it."""
        return asdict(self)


@dataclass(slots=True)
class _Rule:
    fault: Fault
    seen: int = 0
    due_since: float | None = None

    def is_due(self, now: float) -> bool:
        """Count a request, and say whether it goes wrong."""
        self.seen += 1
        if self.seen <= self.fault.skip:
            return False
        if not self.fault.for_s:
            return self.seen <= self.fault.skip + self.fault.times
        if self.due_since is None:
            self.due_since = now
        return now < self.due_since + self.fault.for_s


class FaultScript:
    """The faults that a provider has now, what it was asked, and what it does late. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        with self._lock:
            self._rules: list[_Rule] = []
            self._late: list[tuple[float, Callable[[], object]]] = []
            self._asked: Counter[str] = Counter()

    def inject(self, *faults: Fault) -> None:
        """Have these faults from now on, instead of the earlier ones."""
        with self._lock:
            self._rules = [_Rule(fault) for fault in faults]

    def fault_for(self, route: Route, now: float = 0.0) -> Fault | None:
        """Count a request at a moment of the provider's clock, and say what goes wrong with it.

        Every rule of a route counts every request of it; of several rules that are due, the first one decides.
        """
        with self._lock:
            self._asked[route] += 1
            due = None
            for rule in self._rules:
                if rule.fault.route == route and rule.is_due(now) and due is None:
                    due = rule.fault
            return due

    @property
    def asked(self) -> Counter[str]:
        """How many requests came, by route."""
        with self._lock:
            return Counter(self._asked)

    def do_at(self, moment: float, act: Callable[[], object]) -> None:
        """Have something done at a moment of the provider's clock, by the first `run_due` from then on."""
        with self._lock:
            self._late.append((moment, act))

    def run_due(self, now: float) -> None:
        """Do what is due; to be called before anything is looked at, so that nobody can tell when it was done."""
        due = []
        later = []
        with self._lock:
            for moment, act in self._late:
                if moment <= now:
                    due.append(act)
                else:
                    later.append((moment, act))
            self._late = later
        for act in due:
            act()
