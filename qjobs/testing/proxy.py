"""A proxy in front of a service that speaks as Nexus does; it misbehaves as it is told.

    with FaultyProxy("https://127.0.0.1:8470") as proxy:
        proxy.inject(Fault(route=Route.SUBMIT, action=Action.DROP_AFTER))
        backend = NexusBackend("Aer", url=proxy.url, token=token)

What it lets through is really carried out. It speaks plain HTTP, counts the requests by their route, and keeps the
ids of the jobs that the service created. It refuses web sockets with 503, as proxies do that have none. Besides the
faults of requests it has `whims` about single jobs: it knows them no longer, refuses them, says other statuses than the
service does (a job that was queued again, an item that stays open), or keeps results back.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from qjobs.testing.faults import Action, Fault, FaultScript, Route

__all__ = ["FaultyProxy", "Whims", "route_of"]

_PAGE = re.compile(r"page(%5B|\[)number(%5D|\])=\d+")
_JOB = re.compile(r"/api/jobs/v1beta3/[^/]+")
_ENDLESS = 10**9
"""The number of pages of a list without an end."""
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


@dataclass(slots=True, kw_only=True)
class Whims:
    """What the proxy says of single jobs, by their ids."""

    forgotten: set[str] = field(default_factory=set)
    """Jobs that are not known (404, and in no list); the service goes on with them."""
    refused: dict[str, dict[Route, int]] = field(default_factory=dict)
    """Codes by which the requests STATUS and CANCEL about a job are refused."""
    words: dict[str, str] = field(default_factory=dict)
    """Statuses that are said instead of the service's, in lists too."""
    item_words: dict[str, dict[int, str]] = field(default_factory=dict)
    """Statuses of items, by their positions, that are said instead of the service's."""
    withheld: set[int] = field(default_factory=set)
    """Positions of items, in every job, whose results are gone (410) as soon as the job has shown their ids."""
    gone: set[str] = field(default_factory=set)
    """The ids of these results."""

    def refusal(self, route: Route | None, target: str) -> httpx.Response | None:
        """What is answered instead of asking the service, if anything is."""
        parts = httpx.URL(target).path.rstrip("/").split("/")
        if not self.gone.isdisjoint(parts):
            return httpx.Response(410, json={"message": "this result was deleted"})
        if not self.forgotten.isdisjoint(parts):
            return httpx.Response(404, json={"message": "there is no such job"})
        for job_id, codes in self.refused.items():
            if job_id in parts and route in codes:
                return httpx.Response(codes[route], json={"message": f"you may not see the job {job_id}"})
        return None

    def told(self, route: Route | None, response: httpx.Response) -> httpx.Response:
        """The service's answer about jobs, as it is told on."""
        if route not in {Route.STATUS, Route.LISTING, Route.FIND} or not response.is_success:
            return response
        if not (self.forgotten or self.words or self.item_words or self.withheld):
            return response
        body = response.json()
        if isinstance(body["data"], list):
            body["data"] = [self._job(job) for job in body["data"] if job["id"] not in self.forgotten]
        else:
            body["data"] = self._job(body["data"])
        return httpx.Response(response.status_code, json=body)

    def _job(self, job: Any) -> Any:
        attributes = job["attributes"]
        if job["id"] in self.words:
            attributes["status"]["status"] = self.words[job["id"]]
        items = attributes["definition"].get("items", [])
        for position, word in self.item_words.get(job["id"], {}).items():
            if position < len(items):
                items[position]["status"]["status"] = word
        for position in self.withheld:
            if position < len(items) and "result_id" in items[position]:
                self.gone.add(items[position]["result_id"])
        return job


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
        self.whims = Whims()
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

    def do_at(self, moment: float, act: Callable[[], object]) -> None:
        """Have something done at a moment of the clock, before the first request from then on."""
        self._script.do_at(moment, act)

    def reset(self) -> None:
        """Forget faults, whims, counts and the ids of created jobs; the service keeps what it has."""
        self._script.reset()
        self.whims = Whims()
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
        fault = self._script.fault_for(route, self.clock()) if route is not None else None
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
            case Action.ECHO:
                self._pass_on(request)
                _answer(handler, _echoed(fault, dict(handler.headers.items())))
            case Action.ENDLESS:
                first = _PAGE.sub("page%5Bnumber%5D=0", request.target)
                again = _Request(request.method, first, request.headers, request.body)
                _answer(handler, _faulty(fault, self._pass_on(again)))
            case _:
                _answer(handler, _faulty(fault, self._pass_on(request)))

    def _pass_on(self, request: _Request) -> httpx.Response:
        route = route_of(request.method, request.target)
        if (refusal := self.whims.refusal(route, request.target)) is not None:
            return refusal
        self._client.cookies.clear()
        try:
            response = self._client.request(
                request.method, request.target, headers=request.headers, content=request.body
            )
        except httpx.HTTPError as error:
            return httpx.Response(502, json={"message": f"the service does not answer: {error!r}"})
        if route is Route.SUBMIT and response.is_success:
            self._created.append(str(response.json()["data"]["id"]))
        return self.whims.told(route, response)


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
    """An HTTP error: of a gateway, as a page; or, if it is proved, of Nexus itself, as its errors are."""
    headers = {"retry-after": fault.retry_after} if fault.retry_after else {}
    if fault.proved:
        words = f"you may read this project, and no more ({fault.code})"  # begins as a refusal of `qjobs serve`
        return httpx.Response(fault.code, json={"message": words}, headers=headers)
    return httpx.Response(fault.code, html=f"<html>scripted {fault.code}</html>", headers=headers)


def _echoed(fault: Fault, headers: dict[str, str]) -> httpx.Response:
    """The page of a gateway that repeats the headers of the request, those with credentials too."""
    lines = [f"<li>{name}: {value}</li>" for name, value in headers.items()]
    padding = "<!-- -->" * (fault.size // 8)
    return httpx.Response(fault.code, html=f"<html><h1>Bad gateway</h1><ul>{''.join(lines)}</ul>{padding}</html>")


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
        case Action.ENDLESS:
            body = response.json()
            body.setdefault("meta", {})["total_pages"] = _ENDLESS
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
