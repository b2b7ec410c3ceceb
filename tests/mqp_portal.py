"""A small Munich Quantum Portal on a real socket, which misbehaves as it is told; it shares no code with the adapter.

It serves the REST interface of the published clients, and the portal's own list (`/login`, `/jobs`). Jobs are kept and
run by the store of the scripted provider, so that faults and habits are told as they are there. Its own refusals are
`{"detail", "code"}`.
"""

from __future__ import annotations

import ast
import base64
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as Path

from qjobs.testing.answers import dropped, echoed, faulty
from qjobs.testing.faults import Action, Fault, Route
from qjobs.testing.served import Served
from qjobs.testing.store import Habits, Refused, Store, StoredJob

TOKEN = "the-token-of-an-account"
IDENTITY = "somebody"
SECRET = "correct horse battery"
WORDS = {
    "WAITING": "PENDING",
    "ACTIVE": "WAITING",
    "STOPPING": "WAITING",
    "DONE": "COMPLETED",
    "STOPPED": "CANCELLED",
    "BROKEN": "FAILED",
}
FORMATS = {"qasm": "openqasm2", "qasm3": "openqasm3"}
MAX_SHOTS = 10_000
_ENDLESS = 10**9
_NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)


@dataclass
class Sent:
    """A job as it was sent."""

    body: dict[str, Any]
    at: float


@dataclass
class Ways:
    """How this portal behaves, as far as providers differ."""

    online: bool = True
    cancel_reason: object = "cancelled by the user"
    connectivity: object = "[[0, 1], [1, 0], [1, 2], [2, 1]]"
    instructions: object = "[('r', {(0,): None}), ('cz', {(0, 1): None, (1, 2): None}), ('measure', {(0,): None})]"
    scheduled: object = None
    """What `timestamp_scheduled` says; None for the moment."""
    result: object = None
    """What `result` says instead of the result; None for that."""
    id_as: Callable[[str], object] = str
    own_words: dict[int, str] = field(default_factory=dict)
    """What a 404 says, by code."""
    drops_comments: bool = False
    """Whether the list shows circuits without their comments."""
    rows: Callable[[list[dict[str, Any]], int, int], list[dict[str, Any]]] = lambda rows, page, size: rows[
        page * size : (page + 1) * size
    ]
    """Which rows a page of the list has, of all in the order that was asked for."""
    access_ttl_s: float = 900.0
    ignores_filter: bool = False
    """Whether the list shows jobs of all statuses, whatever is asked for."""
    lists_hidden: bool = False
    """Whether the list shows jobs without their circuits."""


class MqpPortal:
    """The portal in a thread, on a free port of 127.0.0.1; `ids` are those of its jobs."""

    def __init__(self, *, queue_s: float = 0.0, run_s: float = 0.0) -> None:
        self.store = Store("findable", queue_s=queue_s, run_s=run_s, clock=time.monotonic, token=TOKEN)
        self.reset()
        self._served = Served(Starlette(routes=_routes(self)), name="mqp-portal")
        self.url = self._served.url
        self.list_url = f"{self.url}/dashboard"

    def reset(self) -> None:
        """Forget all jobs, faults, counts and ways."""
        self.store.reset()
        self.ways = Ways()
        self.sent: dict[str, Sent] = {}
        self.access: dict[str, float] = {}
        self.given = 0
        self.reasons_asked = 0

    @property
    def ids(self) -> list[str]:
        self.store.run_due()
        return [job.removeprefix("r") for job in self.store.jobs]

    @property
    def created(self) -> int:
        return len(self.ids)

    @property
    def asked(self) -> Counter[str]:
        return self.store.script.asked

    @property
    def n_asked(self) -> int:
        return self.asked.total()

    def inject(self, *faults: Fault) -> None:
        self.store.script.inject(*faults)

    def end_faults(self) -> None:
        self.inject()

    def have(self, **habits: Any) -> None:
        self.store.habits = Habits(**habits)

    def to_all(self, act: Callable[[str], object]) -> None:
        """Do something to each job, by the store's id."""
        for job_id in list(self.store.jobs):
            act(job_id)

    def go_offline(self, reason: str) -> None:
        """Cancel what is not final, for a reason; jobs with such a habit are queued again."""
        self.ways.cancel_reason = reason
        for job in self.store.jobs.values():
            if self.store.is_live(job):
                self.store.stop(job, None)

    def close(self) -> None:
        self._served.close()

    def __enter__(self) -> MqpPortal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def resource(self) -> dict[str, Any]:
        ways = self.ways
        shown = {"name": "QExa", "qubits": 3, "online": ways.online}
        if ways.connectivity is not None:
            shown["connectivity"] = ways.connectivity
        if ways.instructions is not None:
            shown["instructions"] = ways.instructions
        return shown

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        """Make a job of the circuits in a body, as the interface has it."""
        if body["resource_name"] != "QExa":
            raise Refused(404, f"there is no resource {body['resource_name']}")
        if not (self.ways.online or body["queued"]):
            raise Refused(400, "the resource is offline")
        try:
            texts = ast.literal_eval(body["circuit"])
        except (ValueError, SyntaxError) as error:
            raise Refused(422, f"the circuit is no list of texts: {error}") from error
        programs = {}
        items = []
        for number, text in enumerate(texts):
            payload = base64.b64encode(text.encode()).decode()
            programs[str(number)] = {"format": FORMATS[body["circuit_format"]], "payload": payload}
            items.append({"program": str(number), "parameters": {}, "shots": body["shots"]})
        job_id = self.store.create({"programs": programs, "items": items}, "")
        self.sent[job_id] = Sent(body=body, at=self.store.clock())
        return {"uuid": self.ways.id_as(job_id.removeprefix("r"))}

    def job(self, number: str, route: str = "") -> StoredJob:
        try:
            return self.store.job(f"r{number}", route)
        except Refused as error:
            if error.code in self.ways.own_words:
                raise Refused(error.code, self.ways.own_words[error.code]) from error
            raise

    def word(self, job: StoredJob) -> str:
        return WORDS[self.store.word(job)]

    def result(self, job: StoredJob) -> dict[str, Any]:
        """The result of a job: its counts in one JSON text, or null."""
        sent = self.sent[job.id]
        found: object = None
        is_late = self.store.clock() < job.ends_at + self.store.results_late_s
        if self.word(job) == "COMPLETED" and not is_late:
            counts = [entry.get("counts") for entry in self.store.results(job)]
            found = json.dumps(counts if len(counts) > 1 else counts[0])
        if self.ways.result is not None:
            found = self.ways.result
        is_done = self.word(job) == "COMPLETED"
        return {
            "result": found,
            "timestamp_submitted": self.moment(sent.at),
            "timestamp_scheduled": self.ways.scheduled or self.moment(job.starts_at),
            "timestamp_completed": self.moment(job.ends_at) if is_done else "",
        }

    def moment(self, at: float) -> str:
        return (_NOON + timedelta(seconds=at % 86_400)).strftime("%Y-%m-%d %H:%M:%S.%f")

    def login(self, body: Mapping[str, Any]) -> dict[str, Any]:
        if (body.get("identity"), body.get("secret")) != (IDENTITY, SECRET):
            raise Refused(401, "there is no such login")
        self.given += 1
        token = f"access-{self.given}"
        self.access[token] = self.store.clock() + self.ways.access_ttl_s
        return {"access_token": token}

    def listed(self, params: Mapping[str, str]) -> dict[str, Any]:
        """A page of the list."""
        rows = []
        for job in self.store.jobs.values():
            row = self.row(job)
            is_asked_for = not params["filter"] or row["status"] in params["filter"].split(",")
            if not job.is_forgotten and (is_asked_for or self.ways.ignores_filter):
                rows.append(row)
        if params["order"] == "DESC":
            rows.reverse()
        return {"jobs": self.ways.rows(rows, int(params["p"]), int(params["jpp"])), "totaljob_nr": len(rows)}

    def row(self, job: StoredJob) -> dict[str, Any]:
        sent = self.sent[job.id]
        circuit = sent.body["circuit"]
        if self.ways.drops_comments:
            circuit = "\n".join(line for line in circuit.split("\\n") if not line.startswith("//"))
        return {
            "id": int(job.id.removeprefix("r")),
            "status": self.word(job),
            "circuit": None if self.ways.lists_hidden else circuit,
            "timestamp_submitted": self.moment(sent.at),
            "note": "",
            "cost": 0,
        }


def refused(code: int, words: str, retry_after: str = "") -> Response:
    """The portal's own refusal."""
    headers = {"retry-after": retry_after} if retry_after else None
    return JSONResponse({"detail": words, "code": f"SCRIPTED_{code}"}, code, headers)


def _routes(portal: MqpPortal) -> list[Path]:
    store = portal.store

    async def resources(request: Request) -> Response:
        return await _answer(portal, request, Route.RESOURCE, lambda: {"QExa": portal.resource()})

    async def resource(request: Request) -> Response:
        def act() -> dict[str, Any]:
            if request.path_params["name"] != "QExa":
                raise Refused(404, "there is no such resource")
            return portal.resource()

        return await _answer(portal, request, Route.RESOURCE, act)

    async def create(request: Request) -> Response:
        body = await request.json()
        return await _answer(portal, request, Route.SUBMIT, lambda: portal.create(body))

    async def status(request: Request) -> Response:
        number = request.path_params["id"]
        return await _answer(
            portal, request, Route.STATUS, lambda: {"status": portal.word(portal.job(number, "status"))}
        )

    async def result(request: Request) -> Response:
        number = request.path_params["id"]
        return await _answer(portal, request, Route.RESULTS, lambda: portal.result(portal.job(number)))

    async def reason(request: Request) -> Response:
        def act() -> dict[str, Any]:
            if portal.word(portal.job(request.path_params["id"])) != "CANCELLED":
                raise Refused(400, "the job is not cancelled")
            portal.reasons_asked += 1
            return {"cancel_reason": portal.ways.cancel_reason}

        return await _answer(portal, request, None, act)

    async def cancel(request: Request) -> Response:
        def act() -> dict[str, Any]:
            store.stop(portal.job(request.path_params["id"]), None)
            return {}

        return await _answer(portal, request, Route.CANCEL, act)

    async def login(request: Request) -> Response:
        body = await request.json()
        return await _answer(portal, request, Route.TOKENS, lambda: portal.login(body), is_open=True)

    async def listing(request: Request) -> Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        is_open = portal.access.get(token, 0.0) > store.clock()
        params = dict(request.query_params)
        return await _answer(portal, request, Route.FIND, lambda: portal.listed(params), is_open=is_open)

    return [
        Path("/v1/resources", resources),
        Path("/v1/resources/{name}", resource),
        Path("/v1/job", create, methods=["POST"]),
        Path("/v1/job/{id}/status", status),
        Path("/v1/job/{id}/result", result),
        Path("/v1/job/{id}/cancel_reason", reason),
        Path("/v1/job/{id}", cancel, methods=["DELETE"]),
        Path("/dashboard/login", login, methods=["POST"]),
        Path("/dashboard/jobs", listing),
    ]


async def _answer(
    portal: MqpPortal,
    request: Request,
    route: Route | None,
    act: Callable[[], dict[str, Any]],
    *,
    is_open: bool | None = None,
) -> Response:
    """Carry a request out, with whatever fault is due."""
    store = portal.store
    store.run_due()
    fault = store.script.fault_for(route, store.clock()) if route is not None else None
    if is_open is None:
        is_open = request.headers.get("authorization") == f"Bearer {store.token}"
    if not is_open:
        return refused(401, "this token is not valid")
    if fault is not None and (answer := _instead(fault, store, act)) is not None:
        return answer
    try:
        with store.lock:
            body = act()
    except Refused as error:
        return refused(error.code, str(error))
    if fault is None:
        return JSONResponse(body)
    if fault.action is Action.ECHO:
        return echoed(fault, request)
    return await faulty(fault, _spoiled(fault, body), 200)


def _instead(fault: Fault, store: Store, act: Callable[[], object]) -> Response | None:
    """What is answered without doing anything, if it is that."""
    match fault.action:
        case Action.DROP_BEFORE:
            return dropped()
        case Action.CODE_BEFORE if fault.proved:
            return refused(fault.code, f"scripted {fault.code}", fault.retry_after)
        case Action.CODE_BEFORE:
            headers = {"retry-after": fault.retry_after} if fault.retry_after else None
            return JSONResponse({"message": f"scripted {fault.code}"}, fault.code, headers)
        case Action.DONE_LATE:
            store.do_late(fault.seconds, act)
            return dropped()
        case Action.NOTHING if fault.route is Route.STATUS:
            return refused(404, "there is no such job")
        case _:
            return None


def _spoiled(fault: Fault, body: dict[str, Any]) -> dict[str, Any]:
    if fault.action is Action.NOTHING and "jobs" in body:
        return {"jobs": [], "totaljob_nr": 0}
    if fault.action is Action.ENDLESS and "totaljob_nr" in body:
        return {**body, "totaljob_nr": _ENDLESS}
    return body
