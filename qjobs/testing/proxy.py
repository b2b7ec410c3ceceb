"""A proxy in front of a service that speaks as Nexus does; it misbehaves as it is told.

    with FaultyProxy("https://127.0.0.1:8470") as proxy:
        proxy.inject(Fault(route=Route.SUBMIT, action=Action.DROP_AFTER))
        backend = NexusBackend("Aer", url=proxy.url, token=token)

What it lets through is really carried out. It speaks plain HTTP, counts the requests by their route, and keeps the
ids of the jobs that the service created. It refuses web sockets with 503, as proxies do that have none.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from qjobs.testing.faults import Action, Fault, FaultScript, Route

__all__ = ["FaultyProxy", "route_of"]

_JOB = re.compile(r"/api/jobs/v1beta3/[^/]+")
_PASSED_ON = ("content-type", "cookie", "accept")
_GIVEN_BACK = ("content-type", "set-cookie", "retry-after")


def route_of(method: str, target: str) -> Route | None:
    """What a request asks Nexus for; None for a request that no fault is about.

    >>> route_of("GET", "/api/jobs/v1beta3?filter%5Bname_exact%5D=k"), route_of("GET", "/api/users/v1beta2/me")
    (<Route.FIND: 'find'>, None)
    """
    url = httpx.URL(target)
    path = url.path.rstrip("/")
    match method, path:
        case "POST", "/api/jobs/v1beta3":
            return Route.SUBMIT
        case "GET", "/api/jobs/v1beta3":
            return Route.FIND if "filter[name_exact]" in url.params else Route.LISTING
        case "POST", "/api/circuits/v1beta2":
            return Route.UPLOAD
        case "POST", "/auth/tokens/refresh":
            return Route.TOKENS
        case "POST", _ if path.endswith("/rpc/cancel"):
            return Route.CANCEL
        case "GET", _ if _JOB.fullmatch(path):
            return Route.STATUS
        case "GET", _ if path.startswith(("/api/results/", "/api/compilations/")):
            return Route.RESULTS
        case _:
            return None


@dataclass(frozen=True, slots=True)
class _Request:
    """One request, as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class FaultyProxy:
    """The proxy in a thread, on a free port of 127.0.0.1.

    Args:
        target: Where the service is; its certificate is not verified.
        clock: The clock of DONE_LATE, in seconds; answers are late by the real one.
    """

    def __init__(self, target: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._client = httpx.Client(base_url=target, verify=False, timeout=60.0)  # noqa: S501
        self._script = FaultScript()
        self._created: list[str] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                size = int(self.headers.get("content-length") or 0)
                headers = {name: value for name in _PASSED_ON if (value := self.headers.get(name)) is not None}
                body = self.rfile.read(size)
                if self.headers.get("upgrade"):
                    _answer(self, httpx.Response(503, json={"message": "no web sockets here"}))
                    return
                proxy._serve(self, _Request(self.command, self.path, headers, body))

            do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815 - http.server's names

            def log_message(self, *_: object) -> None:
                """Stay silent."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="faulty-proxy", daemon=True
        )
        self._thread.start()

    def inject(self, *faults: Fault) -> None:
        """Have these faults from now on, instead of the earlier ones."""
        self._script.inject(*faults)

    def reset(self) -> None:
        """Forget faults, counts and the ids of created jobs; the service keeps what it has."""
        self._script.reset()
        self._created = []

    @property
    def created(self) -> list[str]:
        """Ids of the jobs that the service created, in their order."""
        self._script.run_due(self.clock())
        return list(self._created)

    @property
    def asked(self) -> Counter[str]:
        """How many requests came, by route."""
        return self._script.asked

    def close(self) -> None:
        """Stop. Idempotent."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
        self._client.close()

    def __enter__(self) -> FaultyProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self, handler: BaseHTTPRequestHandler, request: _Request) -> None:
        """Carry a request out, with whatever fault is due."""
        self._script.run_due(self.clock())
        route = route_of(request.method, request.target)
        fault = self._script.fault_for(route) if route is not None else None
        if fault is None:
            _answer(handler, self._pass_on(request))
            return
        match fault.action:
            case Action.DROP_BEFORE:
                _drop(handler, reset=False)
            case Action.DONE_LATE:
                self._script.do_at(self.clock() + fault.seconds, lambda: self._pass_on(request))
                _drop(handler, reset=False)
            case Action.CODE_BEFORE:
                _answer(handler, _coded(fault))
            case Action.DROP_AFTER:
                self._pass_on(request)
                _drop(handler, reset=True)
            case _:
                _answer(handler, _faulty(fault, self._pass_on(request)))

    def _pass_on(self, request: _Request) -> httpx.Response:
        self._client.cookies.clear()
        try:
            response = self._client.request(
                request.method, request.target, headers=request.headers, content=request.body
            )
        except httpx.HTTPError as error:
            return httpx.Response(502, json={"message": f"the service does not answer: {error!r}"})
        if route_of(request.method, request.target) is Route.SUBMIT and response.is_success:
            self._created.append(str(response.json()["data"]["id"]))
        return response


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """Stay silent: a client that goes away is what faults are about."""


def _answer(handler: BaseHTTPRequestHandler, response: httpx.Response) -> None:
    handler.send_response(response.status_code)
    for name in _GIVEN_BACK:
        for value in response.headers.get_list(name):
            handler.send_header(name, value)
    if response.status_code != httpx.codes.NO_CONTENT:
        handler.send_header("content-length", str(len(response.content)))
    handler.end_headers()
    handler.wfile.write(response.content)


def _drop(handler: BaseHTTPRequestHandler, *, reset: bool) -> None:
    """Close the connection without an answer, with a TCP reset or (another error at the client) without."""
    if reset:
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True


def _coded(fault: Fault) -> httpx.Response:
    headers = {"retry-after": fault.retry_after} if fault.retry_after else {}
    return httpx.Response(fault.code, json={"message": f"scripted {fault.code}"}, headers=headers)


def _faulty(fault: Fault, response: httpx.Response) -> httpx.Response:
    """The answer to a request that was carried out, gone wrong."""
    match fault.action:
        case Action.CODE_AFTER:
            return _coded(fault)
        case Action.LATE:
            time.sleep(fault.seconds)
            return response
        case Action.CUT:
            cut = response.content[: max(1, len(response.content) // 2)]
            return httpx.Response(response.status_code, content=cut, headers={"content-type": "application/json"})
        case Action.NOT_JSON:
            return httpx.Response(response.status_code, html="<html>gateway</html>")
        case Action.UNKNOWN_WORD:
            return httpx.Response(response.status_code, json=_with_unknown_word(response.json()))
        case Action.NOTHING:
            body = response.json()
            if isinstance(body["data"], list):
                body["data"] = []
            return httpx.Response(response.status_code, json=body)
        case _:
            return response


def _with_unknown_word(body: Any) -> Any:
    """The same jobs with a status that no contract knows."""
    data = body.get("data")
    for job in data if isinstance(data, list) else [data]:
        if isinstance(job, dict):
            job["attributes"]["status"]["status"] = "PONDERING"
    return body
