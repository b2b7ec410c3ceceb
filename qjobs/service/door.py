"""Connections before they speak HTTP, and while they do: so many an address, with a deadline for what they send."""

from __future__ import annotations

import asyncio
import logging
import resource
import ssl
import time
from collections import OrderedDict
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from qjobs.service.web.sign_in_first import counted_address

__all__ = ["Door", "Limits"]

logger = logging.getLogger(__name__)

_HEADERS_S: Final = 10.0
_HANDSHAKE_S: Final = 10.0
_SENDING_S: Final = 60.0
_SHUTDOWN_S: Final = 5.0
_MOST_CONNECTIONS: Final = 1000
_OTHER_FILES: Final = 200
_HANDSHAKES: Final = 400
_HANDSHAKES_PER_S: Final = 200.0
_REFUSED_HEADERS: Final = [
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"connection", b"close"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
]


class Limits:
    """How many connections there are, and of which address. Used by one event loop.

    Args:
        most_an_address: Connections of one address at the same time; others are closed unheard.
    """

    def __init__(self, most_an_address: int) -> None:
        self.most_an_address = most_an_address
        self._open: dict[str, set[asyncio.BaseTransport]] = {}
        self._handshakes: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Handshakes that an address may still make at once, and when that was so."""
        _allow_files(_MOST_CONNECTIONS + _OTHER_FILES)

    def admit(self, transport: asyncio.Transport) -> bool:
        """Count a new connection, unless there are too many."""
        address = _address(transport)
        self._open = {known: found for known, found in ((a, _still_open(t)) for a, t in self._open.items()) if found}
        theirs = self._open.setdefault(address, set())
        if len(theirs) >= self.most_an_address or sum(map(len, self._open.values())) >= _MOST_CONNECTIONS:
            logger.debug("a connection of %s is refused: there are %d", address, len(theirs))
            return False
        theirs.add(transport)
        return True

    def handshake_in_s(self, transport: asyncio.Transport) -> float:
        """How long the handshake of a connection waits: an address makes 200 a second, after 400 at once."""
        address = _address(transport)
        now = time.monotonic()
        left, since = self._handshakes.get(address, (float(_HANDSHAKES), now))
        left = min(_HANDSHAKES, left + (now - since) * _HANDSHAKES_PER_S) - 1.0
        self._handshakes[address] = (left, now)
        self._handshakes.move_to_end(address)
        if len(self._handshakes) > _MOST_CONNECTIONS:
            self._handshakes.popitem(last=False)
        return max(0.0, -left / _HANDSHAKES_PER_S)


def _still_open(transports: set[asyncio.BaseTransport]) -> set[asyncio.BaseTransport]:
    return {transport for transport in transports if not transport.is_closing()}


def _address(transport: asyncio.BaseTransport) -> str:
    peer = transport.get_extra_info("peername")
    return counted_address(str(peer[0])) if peer else ""


def _allow_files(number: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < number:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (number if hard == resource.RLIM_INFINITY else min(number, hard), hard)
        )


class Door(asyncio.Protocol):
    """A connection until it speaks HTTP: counted for its address, then TLS within a deadline, where there is TLS."""

    def __init__(self, limits: Limits, tls: ssl.SSLContext | None, **parts: Any) -> None:
        self._limits = limits
        self._tls = tls
        self._parts = parts
        self._early: list[bytes] = []
        self._handshake: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let it in, or close it."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type
        if not self._limits.admit(transport):
            transport.abort()
        elif self._tls is None:
            self._open(transport)
        else:
            self._handshake = asyncio.get_running_loop().create_task(self._shake_hands(transport, self._tls))

    def data_received(self, data: bytes) -> None:
        """Keep what comes with the end of the handshake."""
        self._early.append(data)

    async def _shake_hands(self, transport: asyncio.Transport, tls: ssl.SSLContext) -> None:
        transport.pause_reading()  # not before: asyncio begins to read after `connection_made`
        wait_s = self._limits.handshake_in_s(transport)
        if wait_s > _HANDSHAKE_S:
            transport.abort()
            return
        await asyncio.sleep(wait_s)
        try:
            secure = await asyncio.get_running_loop().start_tls(
                transport,
                self,
                tls,
                server_side=True,
                ssl_handshake_timeout=_HANDSHAKE_S,
                ssl_shutdown_timeout=_SHUTDOWN_S,
            )
        except (OSError, ssl.SSLError) as error:
            logger.debug("no TLS with %s: %s", _address(transport), error)
            transport.abort()
            return
        if secure is not None:
            self._open(secure)

    def _open(self, transport: asyncio.Transport) -> None:
        spoken = _Spoken(**self._parts)
        transport.set_protocol(spoken)
        spoken.connection_made(transport)
        for data in self._early:
            spoken.data_received(data)


class _Spoken(H11Protocol):
    """HTTP, with a deadline for the headers of each request, and for a client that reads no answer."""

    _headers_due: asyncio.TimerHandle | None = None
    _reading_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The connection begins."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Something was sent."""
        super().data_received(data)
        self._watch()

    def handle_websocket_upgrade(self, event: Any) -> None:
        """From here on it is a web socket, whose pings find out whether somebody is there."""
        self._forget()
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._forget()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read as fast as it is answered."""
        super().pause_writing()
        if self._reading_due is None:
            self._reading_due = self.loop.call_later(_SENDING_S, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if self._reading_due is not None:
            self._reading_due.cancel()
            self._reading_due = None

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP is told so, and no more."""
        parts = (
            h11.Response(status_code=400, headers=_REFUSED_HEADERS, reason=b"Bad Request"),
            h11.Data(data=msg.encode("ascii")),
            h11.EndOfMessage(),
        )
        for part in parts:
            self.transport.write(self.conn.send(part) or b"")
        self.transport.close()

    def _watch(self) -> None:
        is_idle = self.cycle is None or self.cycle.response_complete
        if not is_idle:
            self._forget_headers()
        elif self._headers_due is None and self.transport.get_protocol() is self:
            self._headers_due = self.loop.call_later(_HEADERS_S, self._late)

    def _late(self) -> None:
        self._headers_due = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()

    def _forget_headers(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None

    def _forget(self) -> None:
        self._forget_headers()
        if self._reading_due is not None:
            self._reading_due.cancel()
            self._reading_due = None
