"""A provider that keeps circuits by their labels, and an object with Divi's protocol that talks to it over HTTP.

The object knows nothing of qjobs. Jobs are kept and run by the store of the scripted provider, so that faults and
habits are told as they are there.
"""

from __future__ import annotations

import base64
import dataclasses
import time
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as Path

from qjobs.testing.answers import coded, dropped, echoed, faulty, refused
from qjobs.testing.faults import Action, Fault, Route
from qjobs.testing.served import Served
from qjobs.testing.store import Habits, Refused, Store

TOKEN = "the-token-of-an-account"
WORDS = {
    "WAITING": "PENDING",
    "ACTIVE": "RUNNING",
    "STOPPING": "RUNNING",
    "DONE": "COMPLETED",
    "STOPPED": "CANCELLED",
    "BROKEN": "FAILED",
}


class JobStatus(Enum):
    """As `divi.backends` has it, 0.13."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@dataclasses.dataclass(frozen=True)
class Handle:
    """As `ExecutionResult` of `divi.backends`, 0.13."""

    results: list[dict[str, Any]] | None = None
    job_id: str | None = None


class HttpObject:
    """An object with the protocol `AsyncJobBackend`, in which every circuit may have its own shots."""

    def __init__(self, url: str, *, token: str = TOKEN, timeout_s: float = 30.0, shots: int = 1000) -> None:
        self.shots = shots
        headers = {"authorization": f"Bearer {token}"}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)

    def submit_circuits(
        self,
        circuits: Mapping[str, str],
        *,
        shot_groups: list[list[int]] | None = None,
        cancellation_event: object = None,
        **kwargs: object,
    ) -> Handle:
        shots = dict.fromkeys(circuits, self.shots)
        for first, end, number in shot_groups or []:
            shots.update(dict.fromkeys(list(circuits)[first:end], number))
        answer = self.http.post("/runs", json={"circuits": dict(circuits), "shots": shots}).raise_for_status()
        return Handle(job_id=answer.json()["id"])

    def poll_job_status(
        self, execution_result: Any, loop_until_complete: bool = False, verbose: bool = True
    ) -> JobStatus:
        assert not loop_until_complete
        assert not verbose
        answer = self.http.get(f"/runs/{execution_result.job_id}").raise_for_status()
        return JobStatus(answer.json()["status"])

    def get_job_results(self, execution_result: Any) -> Any:
        answer = self.http.get(f"/runs/{execution_result.job_id}/counts").raise_for_status()
        return execution_result.with_results(answer.json()["results"])

    def cancel_job(self, execution_result: Any) -> httpx.Response:
        return self.http.post(f"/runs/{execution_result.job_id}/cancel").raise_for_status()


class FindingObject(HttpObject):
    """One that can look for a label."""

    def find_job(self, label: str) -> str | None:
        found: str | None = self.http.get("/labels", params={"label": label}).raise_for_status().json()["id"]
        return found


class OneNumberObject(HttpObject):
    """One that runs every circuit as often."""

    def submit_circuits(
        self, circuits: Mapping[str, str], *, cancellation_event: object = None, **kwargs: object
    ) -> Handle:
        assert not kwargs
        return super().submit_circuits(circuits)


class AsyncProvider:
    """The provider in a thread, on a free port of 127.0.0.1."""

    def __init__(self, *, queue_s: float = 0.0, run_s: float = 0.0) -> None:
        self.store = Store("opaque", queue_s=queue_s, run_s=run_s, clock=time.monotonic, token=TOKEN)
        self.reset()
        self._served = Served(Starlette(routes=_routes(self)), name="async-provider")
        self.url = self._served.url

    def reset(self) -> None:
        """Forget all jobs, faults and counts."""
        self.store.reset()
        self.labels: dict[str, list[str]] = {}

    @property
    def ids(self) -> list[str]:
        self.store.run_due()
        return list(self.store.jobs)

    @property
    def created(self) -> int:
        return len(self.ids)

    @property
    def n_asked(self) -> int:
        return self.store.script.asked.total()

    def inject(self, *faults: Fault) -> None:
        self.store.script.inject(*faults)

    def end_faults(self) -> None:
        self.inject()

    def have(self, **habits: Any) -> None:
        self.store.habits = Habits(**habits)

    def close(self) -> None:
        self._served.close()

    def __enter__(self) -> AsyncProvider:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        programs = {}
        items = []
        for label, text in body["circuits"].items():
            programs[label] = {"format": "openqasm2", "payload": base64.b64encode(text.encode()).decode()}
            items.append({"program": label, "parameters": {}, "shots": body["shots"][label]})
        job_id = self.store.create({"programs": programs, "items": items}, "")
        self.labels[job_id] = list(body["circuits"])
        return {"id": job_id}

    def counts(self, job_id: str) -> dict[str, Any]:
        """All counts of a job that is done; in an order of this provider's own."""
        job = self.store.job(job_id, "results")
        if self.store.word(job) != "DONE":
            raise Refused(409, f"{job_id} is not done")
        found = []
        for label, entry in zip(self.labels[job_id], self.store.results(job), strict=True):
            found.append({"label": label, "results": entry.get("counts", {})})
        return {"results": found[::-1]}

    def labelled(self, label: str) -> dict[str, Any]:
        for job_id, labels in self.labels.items():
            if label in labels:
                return {"id": job_id}
        return {"id": None}


def _routes(provider: AsyncProvider) -> list[Path]:
    store = provider.store

    async def create(request: Request) -> Response:
        body = await request.json()
        return await _answer(store, request, Route.SUBMIT, lambda: provider.create(body))

    async def status(request: Request) -> Response:
        job_id = request.path_params["id"]
        return await _answer(
            store, request, Route.STATUS, lambda: {"status": WORDS[store.word(store.job(job_id, "status"))]}
        )

    async def counts(request: Request) -> Response:
        return await _answer(store, request, Route.RESULTS, lambda: provider.counts(request.path_params["id"]))

    async def cancel(request: Request) -> Response:
        def act() -> dict[str, Any]:
            store.stop(store.job(request.path_params["id"], "cancel"), None)
            return {}

        return await _answer(store, request, Route.CANCEL, act)

    async def labels(request: Request) -> Response:
        return await _answer(store, request, Route.FIND, lambda: provider.labelled(request.query_params["label"]))

    return [
        Path("/runs", create, methods=["POST"]),
        Path("/runs/{id}", status),
        Path("/runs/{id}/counts", counts),
        Path("/runs/{id}/cancel", cancel, methods=["POST"]),
        Path("/labels", labels),
    ]


async def _answer(store: Store, request: Request, route: Route, act: Callable[[], dict[str, Any]]) -> Response:
    """Carry a request out, with whatever fault is due."""
    store.run_due()
    fault = store.script.fault_for(route, store.clock())
    if request.headers.get("authorization") != f"Bearer {store.token}":
        return refused(401, "this token is not valid")
    if fault is not None:
        match fault.action:
            case Action.DROP_BEFORE:
                return dropped()
            case Action.CODE_BEFORE:
                return coded(fault)
            case Action.DONE_LATE:
                store.do_late(fault.seconds, act)
                return dropped()
            case Action.NOTHING if route is Route.STATUS:
                return refused(404, "there is no such job")
            case _:
                pass
    try:
        with store.lock:
            body = act()
    except Refused as error:
        return refused(error.code, str(error))
    if fault is None:
        return JSONResponse(body)
    if fault.action is Action.ECHO:
        return echoed(fault, request)
    if fault.action is Action.NOTHING and "id" in body:
        return JSONResponse({"id": None})
    return await faulty(fault, body, 200)
