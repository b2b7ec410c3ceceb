"""How fast a provider is asked: not while it asks for a pause, not faster than agreed, and more slowly while it fails.

All clients of one account in a process share one limiter, whatever tasks and threads they serve. The limiters of
several processes share their pace through a `SharedPace`, which the ledger has.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable
from typing import Protocol

from qjobs.errors import InvalidInput, QJobsError
from qjobs.model import PaceSlice

__all__ = ["LONGEST_HOLD_S", "Limiter", "SharedPace", "back_off_s", "limiter_for", "share_paces"]

logger = logging.getLogger(__name__)

LONGEST_HOLD_S = 3600.0
"""A provider that asks for more (or answers nonsense) is asked again after this."""
_BURST_S = 10.0
"""How long a client that has been quiet may send as fast as it can: it then has so many seconds' worth to spend."""
_LONGEST_NAP_S = 0.5
_NEWS_S = 1.0
"""How old what a process knows of the others may be: a pause that one was asked for holds for all after so long."""
_KEPT_S = 5.0
"""How long turns that were not used are kept; then they are given back."""
_ALONE_S = 5.0
"""After so long a process that could not ask for its share tries again."""
_MAX_DOUBLINGS = 60
"""An outage of days must not overflow a float."""
_JITTER = random.Random()  # noqa: S311 - it spreads requests, it protects nothing


def back_off_s(failures: int, *, first_s: float, longest_s: float, rng: random.Random = _JITTER) -> float:
    """How long to pause after one or more failures in a row, in seconds: doubled with each, and spread by jitter.

    The pause is drawn evenly from the upper half of `first_s`, 2 `first_s`, 4 `first_s`, ... up to `longest_s`.

    >>> 0.5 <= back_off_s(1, first_s=1.0, longest_s=60.0) <= 1.0 <= back_off_s(2, first_s=1.0, longest_s=60.0) <= 2.0
    True
    """
    doublings = min(failures - 1, _MAX_DOUBLINGS)
    return min(longest_s, first_s * 2.0**doublings) * rng.uniform(0.5, 1.0)


class SharedPace(Protocol):
    """What the processes that ask for one account have agreed on. Safe to use from many threads.

    Every method raises `QJobsError` where nobody can be asked now: then each process keeps to its own pace.
    """

    def take(self, account: str, *, max_per_s: float | None, burst_s: float, unused: int = 0) -> PaceSlice:
        """Take the next slice of the account's pace, at the lowest rate that is known, and give back `unused` turns.

        An account that was quiet has `burst_s` seconds of its pace to spend at once.
        """

    def look(self, account: str) -> PaceSlice:
        """What is known of the account; takes nothing."""

    def hold(self, account: str, seconds: float) -> None:
        """Have no process ask for so long; a shorter hold never shortens a longer one."""


class Limiter:
    """Holds back every request of a process to one account.

    A request waits in two cases: the provider asked for a pause (`hold`), or requests came faster than `max_per_s`
    for longer than ten seconds' worth of them (a token bucket). Both hold for all processes together that share their
    paces: a slice of the rate is taken for about a second's requests, and what others were asked for is known within a
    second. Where they cannot be reached, each process goes on at the rate by itself. Safe to use from many threads.

    Args:
        sleep: How to pause; never called for longer than half a second.
        max_per_s: The most requests a second, sustained; None for no limit.
        account: What processes know the account by; one without a name is of this process alone.
        pace: What it shares its pace through, instead of what `share_paces` has for the process.

    Raises:
        InvalidInput: The rate is not above 0.
    """

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        max_per_s: float | None = None,
        account: str = "",
        pace: SharedPace | None = None,
    ) -> None:
        self._monotonic = monotonic
        self._sleep = sleep
        self._account = account
        self._pace = pace
        self._asking = threading.Lock()
        self._turns: int | None = None
        """What is left of the slice of this process; None where there is no need for one."""
        self._turns_until = -math.inf
        self._others_per_s = math.inf
        self._heard_at = -math.inf
        self._alone_until = -math.inf
        self._lock = threading.Lock()
        self._open_at = -math.inf
        self._per_s = math.inf
        self._spent_until = -math.inf
        """When all that was let through so far would have been sent at an even pace."""
        self.slow_down_to(max_per_s)

    def slow_down_to(self, max_per_s: float | None) -> None:
        """Let no more than this many through a second from now on; a rate above the present one changes nothing.

        Raises:
            InvalidInput: The rate is not above 0.
        """
        if max_per_s is None:
            return
        if not max_per_s > 0:
            raise InvalidInput(f"a rate of {max_per_s:g} requests a second sends nothing; give more", field="max_per_s")
        with self._lock:
            self._per_s = min(self._per_s, max_per_s)

    def hold(self, seconds: float) -> None:
        """Let nothing through for so long from now, an hour at most; a shorter hold never shortens a longer one."""
        with self._lock:
            open_at = self._monotonic() + min(seconds, LONGEST_HOLD_S)
            is_news = open_at > self._open_at
            self._open_at = max(self._open_at, open_at)
        pace = self._shared_pace()
        if pace is not None and is_news:
            try:
                pace.hold(self._account, seconds)
            except QJobsError as error:
                logger.warning("%s: other processes are not told of a pause: %.200s", self._account, error)

    def remaining_s(self) -> float:
        """How much is left of the pause that the provider asked for, in seconds; 0 without one."""
        with self._lock:
            return max(0.0, self._open_at - self._monotonic())

    def wait(self, at_most_s: float) -> bool:
        """Wait for the turn of one request.

        Only the provider's pause counts against `at_most_s`: a client that is too fast by itself waits for its turn.

        Returns:
            True when it is its turn; False as soon as it is plain that the provider's pause takes longer.
        """
        give_up_at = self._monotonic() + at_most_s
        while True:
            while (left := self.remaining_s()) > 0:
                if self._monotonic() + left > give_up_at:
                    return False
                self._sleep(min(_LONGEST_NAP_S, left))
            while (left := self._take_turn()) > 0:
                self._sleep(min(_LONGEST_NAP_S, left))
            if self.remaining_s() <= 0:
                return True

    def _take_turn(self) -> float:
        """Take a turn and return 0; or return how long it is until there is one."""
        with self._asking:
            self._agree()
            with self._lock:
                present = self._monotonic()
                one_s = 1.0 / min(self._per_s, self._others_per_s)
                spent_until = max(self._spent_until, present - max(_BURST_S, one_s)) + one_s
                if spent_until > present:
                    return spent_until - present
                if self._turns is not None:
                    if self._turns < 1:
                        return _LONGEST_NAP_S  # all is handed out for the next half a minute
                    self._turns -= 1
                self._spent_until = spent_until
                return 0.0

    def _shared_pace(self) -> SharedPace | None:
        """What this limiter shares its pace through, if anything."""
        if not self._account:
            return None
        return self._pace or _shared

    def _agree(self) -> None:
        """Ask for a slice where one is needed, and for news of the others where the last are old."""
        pace = self._shared_pace()
        if pace is None or self._monotonic() < self._alone_until:
            self._turns = None
            return
        try:
            if not self._needs_turns() and self._monotonic() >= self._heard_at + _NEWS_S:
                self._hear(pace.look(self._account))
            if self._needs_turns():
                self._take_slice(pace)
        except QJobsError as error:
            logger.warning("%s: this process keeps to the pace by itself for now: %.200s", self._account, error)
            self._alone_until = self._monotonic() + _ALONE_S
            self._turns = None

    def _needs_turns(self) -> bool:
        if math.isinf(min(self._per_s, self._others_per_s)):
            return False
        return not self._turns or self._monotonic() >= self._turns_until

    def _take_slice(self, pace: SharedPace) -> None:
        """Take a slice, and give back what is left of the one before."""
        unused = self._turns or 0
        self._turns = 0
        own = None if math.isinf(self._per_s) else self._per_s
        found = pace.take(self._account, max_per_s=own, burst_s=_BURST_S, unused=unused)
        self._hear(found)
        if found.per_s is None:
            return
        with self._lock:
            present = self._monotonic()
            self._turns = found.turns
            if found.turns:
                self._spent_until = max(self._spent_until, present + found.start_in_s)
            lasts_s = found.start_in_s + found.turns / found.per_s
            self._turns_until = present + max(0.0, lasts_s) + _KEPT_S

    def _hear(self, found: PaceSlice) -> None:
        """Remember what is known of the account in all processes."""
        with self._lock:
            self._heard_at = self._monotonic()
            self._others_per_s = math.inf if found.per_s is None else found.per_s
            if math.isinf(min(self._per_s, self._others_per_s)):
                self._turns = None
            if found.closed_for_s > 0:
                self._open_at = max(self._open_at, self._heard_at + min(found.closed_for_s, LONGEST_HOLD_S))


_shared: SharedPace | None = None


def share_paces(pace: SharedPace | None) -> None:
    """Let all limiters of this process with an account share their pace through this from now on; None for nothing."""
    global _shared  # noqa: PLW0603 - the limiters are the process's, too
    _shared = pace


_limiters: dict[tuple[str, str], Limiter] = {}
_limiters_lock = threading.Lock()


def limiter_for(url: str, account: str = "", max_per_s: float | None = None) -> Limiter:
    """The one limiter of this process for an account of the provider at `url`, whose path makes no difference.

    The lowest `max_per_s` of all that share the limiter holds.

    Raises:
        InvalidInput: The rate is not above 0.
    """
    import httpx  # a run on the simulator has no use for it

    parsed = httpx.URL(url)
    place = f"{parsed.scheme}://{parsed.netloc.decode()}"
    with _limiters_lock:
        limiter = _limiters.setdefault((place, account), Limiter(account=f"{place} as {account}"))
    limiter.slow_down_to(max_per_s)
    return limiter
