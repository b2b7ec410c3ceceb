"""Passwords: hashed by argon2 within bounds of memory and time, and slow to guess."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from qjobs.errors import InvalidInput

logger = logging.getLogger(__name__)

_K = TypeVar("_K")
_V = TypeVar("_V")

SHORTEST: Final = 8
LONGEST: Final = 256
"""Characters of a password."""

_MOST_HASHES: Final = 2
"""Hashes at the same time: each takes 64 MiB and a core for some 50 ms."""

_FREE_FAILURES: Final = 20
_MANY_FAILURES: Final = 1000
_PAUSE_S: Final = 0.1
_LONG_PAUSE_S: Final = 0.25
_ATTACKED: Final = 100
"""So many failures for one account, from wherever, and addresses that never signed in to it wait longer."""

_ATTACKED_PAUSE_S: Final = 1.0
_FORGOTTEN_S: Final = 900.0
_MOST_NAMES: Final = 10_000


def check_password(password: str) -> None:
    """Refuse a password that nobody should have.

    Raises:
        InvalidInput: It is too short or too long, or holds a NUL character.
    """
    if not SHORTEST <= len(password) <= LONGEST or "\x00" in password:
        raise InvalidInput(f"a password has {SHORTEST} to {LONGEST} characters, and none of them is NUL")


class Passwords:
    """Hashes and checks passwords."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._running = threading.BoundedSemaphore(_MOST_HASHES)
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

    def fits_somebody(self, stored: str | None, password: str) -> bool:
        """As `fits`, for somebody who may be guessing.

        It takes equally long where there is no such user (`stored` is empty): the time gives nothing away.
        """
        return self.fits(stored or self._nobodys, password) and bool(stored)


class Throttle:
    """Slows down the guessing of a password: who fails waits before the next try, and nobody is turned away.

    After twenty failures the next try of that address waits 0.1 s, after a thousand 0.25 s. Where an account is guessed
    at from many addresses, the next try of one that never signed in to it waits 1 s. A success ends it. All of it is
    forgotten after a quarter of an hour without a failure.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._failures: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._slow: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def failed(self, address: str, name: str) -> None:
        """Count a wrong try from an address for an account, whether or not there is such an account."""
        with self._lock:
            own = self._count(("address", address))
            others = self._count(("account", name)) - own
            if others >= _ATTACKED and (address, name) not in self._known:
                _remember(self._slow, address, self._monotonic() + _FORGOTTEN_S)

    def succeeded(self, address: str, name: str) -> None:
        """Forget the failures of an address: its try was right."""
        with self._lock:
            self._failures.pop(("address", address), None)
            self._slow.pop(address, None)
            _remember(self._known, (address, name), None)

    def pause_s(self, address: str) -> float:
        """How long the next try of an address waits, in seconds after the one before."""
        with self._lock:
            if self._slow.get(address, 0.0) > self._monotonic():
                return _ATTACKED_PAUSE_S
            failures = self._failures_of(("address", address))
        if failures < _FREE_FAILURES:
            return 0.0
        return _PAUSE_S if failures < _MANY_FAILURES else _LONG_PAUSE_S

    def _failures_of(self, what: tuple[str, str]) -> int:
        failures, last = self._failures.get(what, (0, 0.0))
        return failures if self._monotonic() - last < _FORGOTTEN_S else 0

    def _count(self, what: tuple[str, str]) -> int:
        failures = self._failures_of(what) + 1
        _remember(self._failures, what, (failures, self._monotonic()))
        if failures in {_FREE_FAILURES, _MANY_FAILURES}:
            logger.warning("%d failed sign-ins in a row: %s %r", failures, *what)
        return failures


def _remember(kept: OrderedDict[_K, _V], key: _K, value: _V) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > _MOST_NAMES:
        kept.popitem(last=False)
