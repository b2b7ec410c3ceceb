"""How fast a provider is asked: not while it asks for a pause, not faster than agreed, and more slowly while it fails.

All clients of one account in a process share one limiter, whatever tasks and threads they serve.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable

from qjobs.errors import InvalidInput

__all__ = ["LONGEST_HOLD_S", "Limiter", "back_off_s", "limiter_for"]

LONGEST_HOLD_S = 3600.0
"""A provider that asks for more (or answers nonsense) is asked again after this."""
_BURST_S = 10.0
"""How long a client that has been quiet may send as fast as it can: it then has so many seconds' worth to spend."""
_LONGEST_NAP_S = 0.5
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


class Limiter:
    """Holds back every request of a process to one account.

    A request waits in two cases: the provider asked for a pause (`hold`), or requests came faster than `max_per_s`
    for longer than ten seconds' worth of them (a token bucket). Safe to use from many threads.

    Args:
        sleep: How to pause; never called for longer than half a second.
        max_per_s: The most requests a second, sustained; None for no limit.

    Raises:
        InvalidInput: The rate is not above 0.
    """

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        max_per_s: float | None = None,
    ) -> None:
        self._monotonic = monotonic
        self._sleep = sleep
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
            self._open_at = max(self._open_at, self._monotonic() + min(seconds, LONGEST_HOLD_S))

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

    The lowest `max_per_s` of all that share the limiter holds.

    Raises:
        InvalidInput: The rate is not above 0.
    """
    import httpx  # a run on the simulator has no use for it

    parsed = httpx.URL(url)
    place = f"{parsed.scheme}://{parsed.netloc.decode()}"
    with _limiters_lock:
        limiter = _limiters.setdefault((place, account), Limiter())
    limiter.slow_down_to(max_per_s)
    return limiter
