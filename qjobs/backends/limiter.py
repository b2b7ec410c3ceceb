"""How fast a provider may be asked: never while it asks for a pause, and never faster than agreed.

All clients of one account in a process share one limiter, whatever tasks and threads they serve.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

import httpx

from qjobs.errors import InvalidInput

__all__ = ["LONGEST_HOLD_S", "Limiter", "limiter_for"]

LONGEST_HOLD_S = 3600.0
"""A provider that asks for more (or answers nonsense) is asked again after this."""
_BURST_S = 10.0
"""How long a client that has been quiet may send as fast as it can: it then has so many seconds' worth to spend."""


class Limiter:
    """Holds back every request of a process to one account.

    Two things hold one back: the provider asked for a pause (`hold`), or requests came faster than `max_per_s` for
    longer than ten seconds' worth of them (a token bucket).

    Args:
        monotonic: Clock.
        sleep: How to pause; never longer than half a second at a time.
        max_per_s: Requests a second, sustained; None for as many as there are.

    Raises:
        InvalidInput: A rate that is not above 0.
    """

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        max_per_s: float | None = None,
    ) -> None:
        self._monotonic, self._sleep = monotonic, sleep
        self._lock = threading.Lock()
        self._open_at = -math.inf
        self._per_s = math.inf
        self._spent_until = -math.inf
        """When all that was let through so far would have been sent at an even pace."""
        self.slow_down_to(max_per_s)

    def slow_down_to(self, max_per_s: float | None) -> None:
        """Let no more than this through from now on; a higher rate than the present one changes nothing."""
        if max_per_s is not None and not max_per_s > 0:
            raise InvalidInput(f"a rate of {max_per_s:g} requests a second sends nothing; give more", field="max_per_s")
        with self._lock:
            self._per_s = min(self._per_s, math.inf if max_per_s is None else max_per_s)

    def hold(self, seconds: float) -> None:
        """Let nothing through for so long from now, an hour at the most; a shorter hold never shortens one."""
        with self._lock:
            self._open_at = max(self._open_at, self._monotonic() + min(seconds, LONGEST_HOLD_S))

    def remaining_s(self) -> float:
        """How long the provider has asked for a pause yet."""
        with self._lock:
            return max(0.0, self._open_at - self._monotonic())

    def wait(self, at_most_s: float) -> bool:
        """Wait for the turn of one request; False as soon as the pause would take longer than `at_most_s` in all.

        Only the provider's pause counts for `at_most_s`: whoever is too fast by himself waits for his turn.
        """
        give_up_at = self._monotonic() + at_most_s
        while (left := self.remaining_s()) > 0:
            if self._monotonic() + left > give_up_at:
                return False
            self._sleep(min(0.5, left))
        while (left := self._take()) > 0:
            self._sleep(min(0.5, left))
        return self.remaining_s() <= 0 or self.wait(max(0.0, give_up_at - self._monotonic()))

    def _take(self) -> float:
        """Take a turn and return 0; or how long it is until there is one."""
        with self._lock:
            present = self._monotonic()
            one_s = 1.0 / self._per_s
            spent_until = max(self._spent_until, present - max(_BURST_S, one_s)) + one_s
            if spent_until > present:
                return spent_until - present
            self._spent_until = spent_until
            return 0.0


_limiters: dict[tuple[str, str], Limiter] = {}
_limiters_lock = threading.Lock()


def limiter_for(url: str, account: str = "", max_per_s: float | None = None) -> Limiter:
    """The one limiter of this process for an account of the provider at `url`, whose path makes no difference.

    Args:
        url: Where the provider is.
        account: The name that the account goes by.
        max_per_s: The rate that is wanted; the lowest of all that share the limiter holds.
    """
    parsed = httpx.URL(url)
    place = f"{parsed.scheme}://{parsed.netloc.decode()}"
    with _limiters_lock:
        limiter = _limiters.setdefault((place, account), Limiter())
    limiter.slow_down_to(max_per_s)
    return limiter
