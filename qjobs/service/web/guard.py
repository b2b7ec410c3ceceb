"""Checks that every request passes first: where it comes from, who sent it, and the size and content of its body.

Who sends a body to a route that needs a sign-in is asked for the token before a byte of the body is read, and strangers
may send 16 kB where they may send anything. A body has a deadline, and all bodies together a budget (`Budget`). A body
that is not UTF-8 is refused, because JSON is UTF-8; so are NUL characters and halves of surrogate pairs, because
PostgreSQL and SQLite each store only some of them, and NaN and infinite numbers, because JSON has none. After this no
route has to think of them. What the page of another site makes a browser send is refused too.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

import anyio.to_thread
from starlette.requests import HTTPConnection

from qjobs.errors import QJobsError
from qjobs.service.assembly import Service
from qjobs.service.errors import ServiceError
from qjobs.service.web.budget import Budget
from qjobs.service.web.cookies import SENDER
from qjobs.service.web.error_answers import error_body
from qjobs.service.web.json_checks import Refused, check_json, weight_of
from qjobs.service.web.sign_in_first import OPEN, SIGN_IN, address_of, sender_of
from qjobs.service.web.turns import Turns

__all__ = ["STRANGERS_BYTES", "Guard"]

STRANGERS_BYTES: Final = 16 * 1024
"""The longest body that is read before it is known who sent it."""

_ORDINARY_BYTES: Final = 1024 * 1024
_DRAINED: Final = 4
"""A body up to this many times too long is read and thrown away, so that its sender sees the answer."""

_THREAD_BYTES: Final = 64 * 1024
_BODY_S: Final = 10.0
_SLOWEST_BYTES_S: Final = 50_000
_FORM: Final = b"application/x-www-form-urlencoded"
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_FOREIGN: Final = frozenset({b"cross-site", b"same-site"})
"""Other ports of this machine are `same-site`, and a browser sends our cookies along."""
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_SAFE: Final = {b"cache-control": b"no-store", b"x-content-type-options": b"nosniff"}
"""Headers of every answer that has none of its own of that name."""
_HSTS: Final = (b"strict-transport-security", b"max-age=31536000")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Guard:
    """ASGI middleware around the whole application.

    Args:
        service: Whose users send requests.
        limits: The longest body at addresses that begin so; elsewhere it is 1 MiB.
    """

    def __init__(self, app: App, service: Service, limits: Mapping[str, int]) -> None:
        self._app = app
        self._service = service
        self._limits = limits
        self._budget = Budget()
        self._turns = Turns(service.throttle.pause_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or pass it on."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        if scope["type"] == "http":
            send = self._with_safe_headers(scope, send)
        try:
            scope = _checked(scope)
            if scope["type"] == "websocket" or not _has_body(scope):
                await self._app(scope, receive, send)
            else:
                await self._with_body(scope, receive, send)
        except Refused as refused:
            await _refuse(scope, send, refused)

    async def _with_body(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        who = ""
        most = STRANGERS_BYTES
        if path not in OPEN:
            who = await self._sender(scope)
            most = self._most(path)
        body = _Body(scope, receive, most, self._budget, who)
        try:
            if not await body.read():
                return
            n_values = 0
            if body.content and not _is_form(scope):
                if len(body.content) > _THREAD_BYTES:
                    n_values = await anyio.to_thread.run_sync(check_json, body.content)
                else:
                    n_values = check_json(body.content)
            if path in SIGN_IN and scope["method"] == "POST":
                await self._sign_in(scope, body, send)
                return
            async with self._budget.working(weight_of(body.content, n_values) if who else 0):
                await self._app(scope, body.again, send)
        finally:
            body.forget()

    async def _sender(self, scope: Scope) -> str:
        """The id of the user who sent it, whom the route finds in its state."""
        connection = HTTPConnection(scope)
        try:
            user = await anyio.to_thread.run_sync(sender_of, self._service, connection)
        except ServiceError as error:
            raise Refused(error.status_code, error.message) from None
        except QJobsError:
            raise Refused(503, "the service cannot reach its database; try again later") from None
        setattr(connection.state, SENDER, user)
        return user.user_id

    async def _sign_in(self, scope: Scope, body: _Body, send: Send) -> None:
        async with self._turns.of(address_of(HTTPConnection(scope)), body.gone) as is_there:
            if is_there:
                await self._app(scope, body.again, send)

    def _most(self, path: str) -> int:
        for begin, most in self._limits.items():
            if f"{path}/".startswith(begin):
                return most
        return _ORDINARY_BYTES

    def _with_safe_headers(self, scope: Scope, send: Send) -> Send:
        own_tls = scope["scheme"] == "https" and not self._service.settings.http
        # A browser would keep it for every program of this machine that has a page at `localhost`.
        names = {value.partition(b":")[0] for name, value in scope["headers"] if name == b"host"}
        more = [_HSTS] if own_tls and b"localhost" not in names else []

        async def safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                known = {name.lower() for name, _ in given}
                added = [(name, value) for name, value in _SAFE.items() if name not in known]
                message = {**message, "headers": [*given, *added, *more]}
            await send(message)

        return safely


class _Body:
    """The body of one request, read within its limits."""

    def __init__(self, scope: Scope, receive: Receive, most: int, budget: Budget, who: str) -> None:
        self._receive = receive
        self._most = most
        self._budget = budget
        self._who = who
        self._kept = 0
        self._given = False
        self.content = b""
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or len(announced) > 18 or int(announced) > _DRAINED * most:
            raise _too_long(most)
        self._announced = int(announced)

    async def read(self) -> bool:
        """Read the whole body; False if the client hung up."""
        chunks: list[bytes] = []
        size = 0
        begin = time.monotonic()
        ended = False
        while not ended:
            left_s = _BODY_S + size / _SLOWEST_BYTES_S - (time.monotonic() - begin)
            try:
                async with asyncio.timeout(max(0.0, left_s)):
                    message = await self._receive()
            except TimeoutError:
                raise Refused(408, "the body did not come in time") from None
            if message["type"] != "http.request":
                return False
            chunk = message.get("body", b"")
            size += len(chunk)
            ended = not message.get("more_body", False)
            if max(size, self._announced) <= self._most:
                self._keep(len(chunk))
                chunks.append(chunk)
            elif size > _DRAINED * self._most:
                raise _too_long(self._most)
            else:
                chunks.clear()
        if max(size, self._announced) > self._most:
            raise _too_long(self._most)
        self.content = b"".join(chunks)
        return True

    def _keep(self, size: int) -> None:
        if self._who:  # those of strangers are short
            self._budget.keep(self._who, size)
            self._kept += size

    def forget(self) -> None:
        """Give its part of the budget back."""
        if self._kept:
            self._budget.drop(self._who, self._kept)

    async def again(self) -> Message:
        """What the application receives: the whole body at once."""
        if self._given:
            return await self._receive()
        self._given = True
        return {"type": "http.request", "body": self.content, "more_body": False}

    async def gone(self) -> None:
        """Return when the client hangs up."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


def _too_long(most: int) -> Refused:
    return Refused(413, f"the body is longer than {most} bytes")


def _has_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


def _is_form(scope: Scope) -> bool:
    """Whether no route can take the body for JSON; FastAPI takes `...-urlencoded+json` for JSON."""
    types = {value for name, value in scope["headers"] if name == b"content-type"}
    return bool(types) and {value.partition(b";")[0].strip().lower() for value in types} == {_FORM}


def _checked(scope: Scope) -> Scope:
    """The scope without a slash at the end of its path; clients of Nexus send both forms."""
    path = scope["path"]
    query = scope.get("query_string", b"")
    if "\x00" in path or b"\x00" in query or b"%00" in query:
        raise Refused(400, "the address holds a NUL character")
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) > 1 or not all(_HOST.fullmatch(host) for host in hosts):
        raise Refused(400, "the Host header does not name a host")
    if scope.get("method") not in _READING:  # a web socket has no method
        sites = {value.strip().lower() for name, value in scope["headers"] if name == b"sec-fetch-site"}
        origins = {value.strip().lower() for name, value in scope["headers"] if name == b"origin"}
        ours = {b"%s://%s" % (scheme, host.lower()) for scheme in (b"http", b"https") for host in hosts}
        if not sites.isdisjoint(_FOREIGN) or not origins <= ours:
            raise Refused(403, "a page of another site sent this request")
    return {**scope, "path": path.rstrip("/") or "/"}


async def _refuse(scope: Scope, send: Send, refused: Refused) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": refused.message})
        return
    body = json.dumps(error_body(str(scope["path"]), refused.status_code, refused.message)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refused.status_code in {408, 413}:
        headers.append((b"connection", b"close"))
    if refused.status_code in {429, 503}:
        headers.append((b"retry-after", b"5"))
    await send({"type": "http.response.start", "status": refused.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
