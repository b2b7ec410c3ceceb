"""How many bytes of requests the service holds at the same time, and whose they are."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from qjobs.service.web.json_checks import Refused

__all__ = ["Budget"]

_MIB: Final = 1024 * 1024
_READ_BYTES: Final = 96 * _MIB
_WORK_BYTES: Final = 192 * _MIB
_FREE_BYTES: Final = 16 * 1024
_LONGEST_WAIT_S: Final = 20.0


class Budget:
    """Bytes in flight: of bodies that are being read, and of memory that it takes to work on them.

    Bodies of up to 16 kB count for nothing: there are no more of them than connections. One user reads at most half of
    the bytes. Used by one event loop.

    Args:
        read_bytes: Bytes of bodies that are kept at the same time; more are refused at once.
        work_bytes: Bytes of memory to work on them; who needs more waits for their turn.
    """

    def __init__(self, read_bytes: int = _READ_BYTES, work_bytes: int = _WORK_BYTES) -> None:
        self._read_bytes = read_bytes
        self._work_bytes = work_bytes
        self._read: Counter[str] = Counter()
        self._working = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def keep(self, who: str, size: int) -> None:
        """Count bytes of somebody's body; `drop` gives them back.

        Raises:
            Refused: There are too many.
        """
        if self._read[who] + size > self._read_bytes // 2 or self._read.total() + size > self._read_bytes:
            raise Refused(429, "too many large requests are on their way; send this one again in some seconds")
        self._read[who] += size

    def drop(self, who: str, size: int) -> None:
        """The bytes are kept no longer."""
        self._read[who] -= size
        if not self._read[who]:
            del self._read[who]

    @asynccontextmanager
    async def working(self, weight: int) -> AsyncIterator[None]:
        """Work on a body that takes so much memory, when there is room; first come, first served.

        Raises:
            Refused: It would take more than there is, or there was no room in time.
        """
        if weight <= _FREE_BYTES:
            yield
            return
        if weight > self._work_bytes:
            raise Refused(413, "to work on this body would take too much memory; send it in smaller parts")
        await self._enter(weight)
        try:
            yield
        finally:
            self._working -= weight
            self._let_in()

    async def _enter(self, weight: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (weight, turn)
        self._waiting.append(entry)
        self._let_in()
        try:
            async with asyncio.timeout(_LONGEST_WAIT_S):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._working -= weight
            elif entry in self._waiting:
                self._waiting.remove(entry)
            self._let_in()
            if isinstance(error, TimeoutError):
                raise Refused(429, "too many large requests are worked on; send this one again later") from None
            raise

    def _let_in(self) -> None:
        while self._waiting:
            weight, turn = self._waiting[0]
            if not turn.done() and self._working + weight > self._work_bytes:
                return
            self._waiting.popleft()
            if not turn.done():
                self._working += weight
                turn.set_result(None)
