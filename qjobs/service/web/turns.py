"""Turns at signing in: one address after the other, so that nobody keeps the others from it."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from qjobs.service.web.json_checks import Refused

__all__ = ["Turns"]

_AT_ONCE: Final = 2
_MOST_WAITING: Final = 1000
_LONGEST_WAIT_S: Final = 60.0


class Turns:
    """Who hashes a password next. An address has one turn at a time, in the order in which its tries came.

    A wrong try makes the next one of its address wait (`pause_s`), never that of another address, and nobody is turned
    away: whoever knows the password comes to it when those before them at their address have tried. Who hangs up loses
    their place. Used by one event loop.
    """

    def __init__(
        self,
        pause_s: Callable[[str], float],
        *,
        at_once: int = _AT_ONCE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pause_s = pause_s
        self._at_once = at_once
        self._monotonic = monotonic
        self._lanes: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._busy: set[str] = set()
        self._due: dict[str, float] = {}
        self._wake: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def of(self, address: str, gone: Callable[[], Awaitable[object]]) -> AsyncIterator[bool]:
        """Wait for a turn of an address; False if `gone` returns before, which it does when the client hangs up.

        Raises:
            Refused: Too many wait, or it took too long.
        """
        if sum(map(len, self._lanes.values())) >= _MOST_WAITING:
            raise Refused(429, "too many people sign in at this moment; try again in a minute")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lanes.setdefault(address, deque()).append(turn)
        self._grant()
        leaving = asyncio.ensure_future(gone())
        try:
            await asyncio.wait((turn, leaving), timeout=_LONGEST_WAIT_S, return_when=asyncio.FIRST_COMPLETED)
            if not turn.done() and not leaving.done():
                raise Refused(429, "too many people sign in from your address at this moment; try again in a minute")
            leaving.cancel()
            yield turn.done()
        finally:
            leaving.cancel()
            self._end(address, turn)

    def _end(self, address: str, turn: asyncio.Future[None]) -> None:
        if turn.done():
            self._busy.discard(address)
            self._due[address] = self._monotonic() + self._pause_s(address)
        else:
            self._lanes[address].remove(turn)
            if not self._lanes[address]:
                del self._lanes[address]
        self._grant()

    def _grant(self) -> None:
        """Give turns to the addresses that waited longest for one."""
        now = self._monotonic()
        self._due = {address: due for address, due in self._due.items() if due > now}
        for address in list(self._lanes):
            if len(self._busy) >= self._at_once:
                return
            if address in self._busy or address in self._due:
                continue
            lane = self._lanes.pop(address)
            lane.popleft().set_result(None)
            self._busy.add(address)
            if lane:
                self._lanes[address] = lane  # behind the others
        waits = [due - now for address, due in self._due.items() if address in self._lanes]
        if self._wake is not None:
            self._wake.cancel()
        self._wake = asyncio.get_running_loop().call_later(min(waits), self._grant) if waits else None
