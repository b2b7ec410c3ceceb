"""Checks that every request passes first: the size, the depth and the characters of what was sent.

A body that is too long is never kept. A body that is not UTF-8 is refused, because JSON is UTF-8; so are NUL
characters and halves of surrogate pairs, because PostgreSQL and SQLite each store only some of them, and NaN and
infinite numbers, because JSON has none. After this no route has to think of them. What the page of another site makes
a browser send is refused too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from types import MappingProxyType
from typing import Any, NoReturn

import anyio.to_thread
import numpy as np

from qjobs.service.web.error_answers import error_body

MAX_DEPTH = 100
"""Lists and objects inside each other; each box in a circuit adds about 6."""

_DRAINED = 4
"""A body up to this many times too long is read and thrown away, so that its sender sees the answer."""

_THREAD_BYTES = 64 * 1024
_FORM = b"application/x-www-form-urlencoded"
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_FOREIGN = frozenset({b"cross-site", b"same-site"})
"""Other ports of this machine are `same-site`, and a browser sends our cookies along."""
_HOST = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # as signed bytes: one in, one out
_CHUNK = 1_000_000
_SUSPECT = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])|NaN|Infinity|[eE]\+?[0-9]{3}|[0-9]{300}")
_SURROGATE = re.compile("[\ud800-\udfff]")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Refused(Exception):
    """The request goes no further."""

    def __init__(self, status_code: int, message: str) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.message = message


def check_json(body: bytes) -> None:
    """Refuse what no route can work with; whether it is JSON at all is for the route's parser to say.

    Raises:
        Refused: It is not UTF-8, is nested too deeply, or holds a character or a number that cannot be stored.
    """
    try:
        body.decode("utf-8")  # json.loads also takes UTF-16, UTF-32 and halves of pairs, which hide from the patterns
    except UnicodeDecodeError:
        raise Refused(400, "the body is not UTF-8") from None
    if b"\x00" in body:
        raise Refused(400, "the body is not JSON")
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _depth(body) > MAX_DEPTH:
        raise Refused(400, f"the body is nested more than {MAX_DEPTH} deep")
    if _SUSPECT.search(body):
        try:
            _walk(json.loads(body, parse_constant=_no_number, parse_float=_finite, parse_int=_whole))
        except (ValueError, RecursionError):
            raise Refused(400, "the body is not JSON") from None


def _depth(body: bytes) -> int:
    """How deep lists and objects lie inside each other, also in what is not JSON."""
    steps = _STRINGS.sub(b"", body).translate(_STEPS, _NO_BRACKETS)
    deepest = level = 0
    for start in range(0, len(steps), _CHUNK):
        levels = level + np.cumsum(np.frombuffer(steps[start : start + _CHUNK], np.int8), dtype=np.int64)
        deepest = max(deepest, int(levels.max()))
        level = int(levels[-1])
    return deepest


def _no_number(word: str) -> NoReturn:
    raise Refused(422, f"the body holds {word}, which is not a number in JSON")


def _finite(word: str) -> float:
    number = float(word)
    if number in {float("inf"), float("-inf")}:
        raise Refused(422, "the body holds a number that is too large")
    return number


def _whole(word: str) -> int:
    _finite(word)
    return int(word)


def _walk(found: Any) -> None:
    waiting = [found]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            if "\x00" in value or _SURROGATE.search(value):
                raise Refused(422, "the body holds a character that cannot be stored (NUL, or half of a pair)")
        elif isinstance(value, dict):
            waiting.extend(value)
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


class Guard:
    """ASGI middleware around the whole application; a body longer than `max_body_bytes` is refused.

    `limits` has another length for addresses that begin so.
    """

    def __init__(self, app: App, max_body_bytes: int, limits: Mapping[str, int] = MappingProxyType({})) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or pass it on."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        try:
            scope = _checked(scope)
            if scope["type"] == "http":
                receive = await self._read(scope, receive)
        except Refused as refused:
            await _refuse(scope, send, refused)
            return
        await self._app(scope, receive, send)

    async def _read(self, scope: Scope, receive: Receive) -> Receive:
        """The whole body, checked; the application receives it again."""
        most = self._most(scope["path"])
        headers = dict(scope["headers"])
        announced = headers.get(b"content-length", b"0")
        if not announced.isdigit() or len(announced) > 18 or int(announced) > _DRAINED * most:
            raise _too_long(most)
        chunks: list[bytes] = []
        size = 0
        ended = False
        while not ended:
            message = await receive()
            if message["type"] != "http.request":
                return _gone
            chunk = message.get("body", b"")
            size += len(chunk)
            ended = not message.get("more_body", False)
            if max(size, int(announced)) <= most:
                chunks.append(chunk)
            elif size > _DRAINED * most:
                raise _too_long(most)
            else:
                chunks.clear()
        if max(size, int(announced)) > most:
            raise _too_long(most)
        body = b"".join(chunks)
        if body and not _is_form(scope):
            if len(body) > _THREAD_BYTES:
                await anyio.to_thread.run_sync(check_json, body)
            else:
                check_json(body)
        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        return again

    def _most(self, path: str) -> int:
        for begin, most in self._limits.items():
            if path.startswith(f"{begin}/"):
                return most
        return self._max_body_bytes


def _too_long(most: int) -> Refused:
    return Refused(413, f"the body is longer than {most} bytes")


def _is_form(scope: Scope) -> bool:
    """Whether no route can take the body for JSON; FastAPI takes `...-urlencoded+json` for JSON."""
    types = {value for name, value in scope["headers"] if name == b"content-type"}
    return bool(types) and {value.partition(b";")[0].strip().lower() for value in types} == {_FORM}


async def _gone() -> Message:
    return {"type": "http.disconnect"}


def _checked(scope: Scope) -> Scope:
    """The scope without a slash at the end of its path; clients of Nexus send both forms."""
    path = scope["path"]
    query = scope.get("query_string", b"")
    if "\x00" in path or b"\x00" in query or b"%00" in query:
        raise Refused(400, "the address holds a NUL character")
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) > 1 or not all(_HOST.fullmatch(host) for host in hosts):
        raise Refused(400, "the Host header does not name a host")
    sites = {value.strip().lower() for name, value in scope["headers"] if name == b"sec-fetch-site"}
    if scope.get("method") not in _READING and not sites.isdisjoint(_FOREIGN):  # a web socket has no method
        raise Refused(403, "a page of another site sent this request")
    return {**scope, "path": path.rstrip("/") or "/"}


async def _refuse(scope: Scope, send: Send, refused: Refused) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": refused.message})
        return
    body = json.dumps(error_body(str(scope["path"]), refused.status_code, refused.message)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refused.status_code == 413:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": refused.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
