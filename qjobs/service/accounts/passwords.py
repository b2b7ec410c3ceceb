"""Passwords: hashed by argon2 within bounds of memory and time, and slow to guess."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from qjobs.service.errors import TooManyRequests

logger = logging.getLogger(__name__)

_MOST_HASHES = 2
"""Hashes at the same time: each takes 64 MiB and a core for some 50 ms."""

_MOST_WAITING = 16
_FREE_FAILURES = 20
"""More than `_MOST_WAITING`: that many correct tries at the same moment do not slow each other down."""

_LONGEST_WAIT_S = 60.0
_MOST_NAMES = 10_000


class Passwords:
    """Hashes and checks passwords."""

    def __init__(self, throttle: Throttle | None = None) -> None:
        self._throttle = throttle or Throttle()
        self._hasher = PasswordHasher()
        self._running = threading.BoundedSemaphore(_MOST_HASHES)
        self._waiting = threading.BoundedSemaphore(_MOST_WAITING)
        self._nobodys = self._hasher.hash("nobody has this password")

    def hash(self, password: str) -> str:
        """What is stored of a password."""
        with self._running:
            return self._hasher.hash(password)

    def fits(self, stored: str, password: str) -> bool:
        """Whether a password is the one whose hash is stored."""
        with self._running:
            try:
                return self._hasher.verify(stored, password.encode("utf-8", "surrogatepass"))
            except (VerificationError, InvalidHashError):
                return False

    def sign_in(self, name: str, stored: str | None, password: str) -> bool:
        """As `fits`, for somebody who may be guessing.

        It takes equally long where there is no such user (`stored` is empty): the time gives nothing away.

        Raises:
            TooManyRequests: Too many people sign in at this moment, or too many tries for this name failed.
        """
        if not self._waiting.acquire(blocking=False):
            raise TooManyRequests("too many people sign in at this moment; try again in a second", 1.0)
        try:
            self._throttle.start(name)
            if not (self.fits(stored or self._nobodys, password) and stored):
                return False
            self._throttle.forget(name)
            return True
        finally:
            self._waiting.release()


class Throttle:
    """Slows down the guessing of a password: after twenty failures in a row a name waits 1 s, 2 s, 4 s ... 60 s.

    A try counts as a failure from its start, so that tries at the same moment gain nothing. Names that
    do not exist are treated alike.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def start(self, name: str) -> None:
        """Count the beginning of a try.

        Raises:
            TooManyRequests: It is too early.
        """
        now = self._monotonic()
        with self._lock:
            failures, until = self._failures.get(name, (0, now))
            if until > now:
                logger.warning("sign-in of %r refused: too many failed tries", name)
                raise TooManyRequests(
                    f"too many failed tries for this account; try again in {max(1, round(until - now))} s", until - now
                )
            failures += 1
            late = failures - _FREE_FAILURES
            wait_s = min(_LONGEST_WAIT_S, 2.0 ** min(late, 10)) if late >= 0 else 0.0
            self._failures[name] = (failures, now + wait_s)
            self._failures.move_to_end(name)
            if len(self._failures) > _MOST_NAMES:
                self._failures.popitem(last=False)

    def forget(self, name: str) -> None:
        """Forget the failures of a name: a try succeeded."""
        with self._lock:
            self._failures.pop(name, None)
