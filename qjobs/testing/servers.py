"""A scripted provider: a real HTTP server with a store of its own, which misbehaves as it is told.

It shares no code with the adapters. It counts what it created and what it was asked, and comes in three
variants, one for each thing that can be done about a lost reply:

- deduplicated: a second POST with the same `Idempotency-Key` answers the first job;
- findable: `GET /jobs?key=...` finds the job by its key;
- opaque: it keeps no key at all.

    POST   /jobs                 {"key"?, "programs": {name: {"format", "payload"}},
                                  "items": [{"program", "parameters", "shots"}]}          201 {"id"}
    GET    /jobs?ids=a,b         {"jobs": [{"id", "key", "status", "items"?: [{"status", "message", "detail"?}]}
                                           or {"id", "error": {"code", "message"}}], "next"?}
    GET    /jobs?key=k           the same, of the job with this key      (not where it is opaque)
    GET    /jobs?keys=1          the same, of all jobs with a key
    GET    /jobs?...&after=NEXT  the next page
    GET    /jobs/{id}            one job as in a list, with its items
    GET    /jobs/{id}/results    {"results": [{"item": index, "counts" or "error" or "gone"}], "next"?}; ?items=0,3
    POST   /jobs/{id}/cancel     {"items"?: [index]}                     202, 409 for a final job
    POST   /steps                a job in steps                          201 {"id"}
    POST   /steps/{id}           {"programs", "items", "final": bool}    202; it runs after the final one
    DELETE /steps/{id}           ends it                                 202, 409 if it has run, or runs
    GET    /control              {"created": [id], "live": [id], "asked": {route: count}}
    POST   /control              {"faults"?, "habits"?, "revive"?: [id], "forget"?: [id], "remember"?: [id],
                                  "refuse"?: {id: {route: code}}, "refuse_lists"?: [id], "broken"?, "queue_s"?,
                                  "run_s"?, "stop_s"?, "results_late_s"?, "results_kept_s"?, "list_items"?,
                                  "page_size"?, "token"?, "reset"?}

Its own refusals have the body `{"refused": true, "message": ...}`, which is the proof that nothing was done: what a
gateway answers (the CODE actions of a fault, unless they are `proved`) has no such field. An entry "gone" is a result
that will never come. `payload` is base64 of OpenQASM 2 or 3 or QPY, and is really run. Status words: WAITING, ACTIVE,
STOPPING, DONE, STOPPED, BROKEN; OPEN for a job in steps before its final one.

What becomes of jobs (`qjobs.testing.store.Habits`), and what people do to them there, can be told too: they fail, are
queued again by themselves or by a person, are forgotten, keep an item open or a result back. Ids are r1, r2, ... at
every provider, so that a second one is another server with the same ids. `python -m qjobs.testing.servers` runs it
alone; `ScriptedProvider` runs it in a thread of the test. It needs starlette and uvicorn, which come with the extra
`prefect`.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from qjobs.testing.answers import coded, dropped, echoed, faulty, refused
from qjobs.testing.faults import Action, Fault, Route
from qjobs.testing.served import Served
from qjobs.testing.store import Habits, Refused, Store

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route as Path

__all__ = ["ScriptedProvider", "provider_app"]


def provider_app(store: Store) -> Starlette:
    """The provider as an ASGI application; it needs uvicorn below it to cut connections."""
    from starlette.applications import Starlette
    from starlette.routing import Route as Path

    async def create(request: Request) -> Response:
        body = await request.json()
        key = request.headers.get("idempotency-key", "") or body.get("key", "")
        return await _answer(store, request, Route.SUBMIT, 201, lambda: {"id": store.create(body, key)})

    async def listing(request: Request) -> Response:
        ids = request.query_params.get("ids")
        key = request.query_params.get("key")
        after = request.query_params.get("after")
        route = Route.FIND if ids is None else Route.STATUS
        act = partial(_listed, store, ids, key, after)
        return await _answer(store, request, route, 200, act)

    async def one(request: Request) -> Response:
        job_id = request.path_params["id"]
        return await _answer(store, request, Route.JOB, 200, lambda: store.shown(store.job(job_id, "status")))

    async def results(request: Request) -> Response:
        job_id = request.path_params["id"]
        chosen = request.query_params.get("items")
        after = request.query_params.get("after")

        def act() -> dict[str, Any]:
            return store.page("results", store.results(store.job(job_id, "results"), chosen), after)

        return await _answer(store, request, Route.RESULTS, 200, act)

    async def cancel(request: Request) -> Response:
        job_id = request.path_params["id"]
        raw = await request.body()
        chosen = json.loads(raw).get("items") if raw else None

        def act() -> dict[str, Any]:
            store.stop(store.job(job_id, "cancel"), chosen)
            return {}

        return await _answer(store, request, Route.CANCEL, 202, act)

    async def control(request: Request) -> Response:
        from starlette.responses import JSONResponse

        if request.method == "POST":
            try:
                _configure(store, await request.json())
            except Refused as error:
                return refused(error.code, str(error))
        return JSONResponse(_summary(store))

    return Starlette(
        routes=[
            Path("/jobs", create, methods=["POST"]),
            Path("/jobs", listing, methods=["GET"]),
            Path("/jobs/{id}", one, methods=["GET"]),
            Path("/jobs/{id}/results", results, methods=["GET"]),
            Path("/jobs/{id}/cancel", cancel, methods=["POST"]),
            Path("/control", control, methods=["GET", "POST"]),
            *_step_routes(store),
        ]
    )


def _step_routes(store: Store) -> list[Path]:
    """The routes of jobs in steps."""
    from starlette.routing import Route as Path

    async def init(request: Request) -> Response:
        return await _answer(store, request, Route.INIT, 201, lambda: {"id": store.init()})

    async def add(request: Request) -> Response:
        job_id = request.path_params["id"]
        body = await request.json()

        def act() -> dict[str, Any]:
            store.add(job_id, body)
            return {}

        return await _answer(store, request, Route.FINALISE if body.get("final") else Route.ADD, 202, act)

    async def abandon(request: Request) -> Response:
        job_id = request.path_params["id"]

        def act() -> dict[str, Any]:
            store.abandon(job_id)
            return {}

        return await _answer(store, request, Route.ABANDON, 202, act)

    return [
        Path("/steps", init, methods=["POST"]),
        Path("/steps/{id}", add, methods=["POST"]),
        Path("/steps/{id}", abandon, methods=["DELETE"]),
    ]


def _listed(store: Store, ids: str | None, key: str | None, after: str | None) -> dict[str, Any]:
    return store.page("jobs", store.listed(ids=ids, key=key), after)


def _configure(store: Store, wishes: Mapping[str, Any]) -> None:
    """Do what the body of a request to /control says; what it does not name stays as it is."""
    if wishes.get("reset"):
        store.reset()
    if "faults" in wishes:
        store.script.inject(*[Fault(**rule) for rule in wishes["faults"]])
    if "habits" in wishes:
        store.habits = _habits(wishes["habits"])
    if "broken" in wishes:
        store.broken = _by_position(wishes["broken"])
    for name in (
        "queue_s",
        "run_s",
        "stop_s",
        "results_late_s",
        "results_kept_s",
        "list_items",
        "page_size",
        "token",
    ):
        setattr(store, name, wishes.get(name, getattr(store, name)))
    for job_id in wishes.get("revive", ()):
        store.revive(job_id)
    for job_id in wishes.get("forget", ()):
        store.forget(job_id)
    for job_id in wishes.get("remember", ()):
        store.forget(job_id, forgotten=False)
    for job_id, codes in wishes.get("refuse", {}).items():
        store.refuse(job_id, codes, lists=job_id in wishes.get("refuse_lists", ()))


def _habits(wishes: Mapping[str, Any]) -> Habits:
    """Habits from JSON, whose names are all texts."""
    return Habits(
        broken=_by_position(wishes.get("broken", {})),
        details=_by_position(wishes.get("details", {})),
        withheld=_by_position(wishes.get("withheld", {})),
        stuck=set(wishes.get("stuck", ())),
        requeues=wishes.get("requeues", 0),
        requeue_s=wishes.get("requeue_s", 0.0),
    )


def _by_position(words: Mapping[str, str]) -> dict[int, str]:
    return {int(index): each for index, each in words.items()}


def _summary(store: Store) -> dict[str, Any]:
    store.run_due()
    with store.lock:
        live = [job.id for job in store.jobs.values() if store.is_live(job)]
        return {"created": list(store.jobs), "live": live, "asked": dict(store.script.asked)}


async def _answer(
    store: Store, request: Request, route: Route, code: int, act: Callable[[], dict[str, Any]]
) -> Response:
    """Carry a request out, with whatever fault is due."""
    from starlette.responses import JSONResponse

    store.run_due()
    fault = store.script.fault_for(route, store.clock())
    if store.token and request.headers.get("authorization") != f"Bearer {store.token}":
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
            case _:
                pass
    try:
        body = act()
    except Refused as error:
        return refused(error.code, str(error))
    if fault is None:
        return JSONResponse(body, code)
    if fault.action is Action.ECHO:
        return echoed(fault, request)
    return await faulty(fault, body, code)


class ScriptedProvider:
    """The provider in a thread, on a free port of 127.0.0.1.

    Args:
        variant: "deduplicated", "findable" or "opaque"; jobs in steps are taken by each.
        queue_s: How long a job waits, in seconds.
        run_s: How long it then runs, in seconds.
        port: 0 for a free one.
        clock: The provider's clock; answers are late by the real one.
        token: What requests must carry as a bearer token; empty for nothing.
    """

    def __init__(
        self,
        variant: str,
        *,
        queue_s: float = 0.0,
        run_s: float = 0.0,
        port: int = 0,
        clock: Callable[[], float] = time.monotonic,
        token: str = "",
    ) -> None:
        self.store = Store(variant, queue_s=queue_s, run_s=run_s, clock=clock, token=token)
        self._served = Served(provider_app(self.store), name="scripted-provider", port=port)
        self.port = self._served.port
        self.url = self._served.url

    def inject(self, *faults: Fault) -> None:
        """Have these faults from now on, instead of the earlier ones."""
        self.store.script.inject(*faults)

    def break_items(self, broken: Mapping[int, str]) -> None:
        """Let these items of every new job fail, each with its words."""
        self.store.broken = dict(broken)

    def have(self, **habits: Any) -> None:
        """Give every new job these habits (`qjobs.testing.store.Habits`), instead of the earlier ones."""
        self.store.habits = Habits(**habits)

    def revive(self, job_id: str) -> None:
        """Press Retry at the provider: a final job is queued again, and what failed will do now."""
        self.store.run_due()
        self.store.revive(job_id)

    def forget(self, job_id: str, *, forgotten: bool = True) -> None:
        """Let the provider know a job no longer, or again; it goes on all the same."""
        self.store.forget(job_id, forgotten=forgotten)

    def refuse(self, job_id: str, codes: Mapping[str, int], *, lists: bool = False) -> None:
        """Let requests about one job be refused, by route, as `Store.refuse` says."""
        self.store.refuse(job_id, codes, lists=lists)

    def reset(self) -> None:
        """Forget all jobs, faults and counts."""
        self.store.reset()

    @property
    def created(self) -> int:
        """How many jobs were created."""
        self.store.run_due()
        return len(self.store.jobs)

    @property
    def asked(self) -> Counter[str]:
        """How many requests came, by route."""
        return self.store.script.asked

    def close(self) -> None:
        """Stop. Idempotent."""
        self._served.close()

    def __enter__(self) -> ScriptedProvider:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the provider alone until the process is ended; its route /control tells it what to do."""
    parser = argparse.ArgumentParser(prog="python -m qjobs.testing.servers", description="A scripted provider.")
    parser.add_argument("--variant", default="findable", choices=["deduplicated", "findable", "opaque"])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--queue-s", type=float, default=0.0)
    parser.add_argument("--run-s", type=float, default=0.0)
    parser.add_argument("--token", default="")
    options = parser.parse_args(arguments)
    with ScriptedProvider(
        options.variant, queue_s=options.queue_s, run_s=options.run_s, port=options.port, token=options.token
    ) as provider:
        print(provider.url, flush=True)  # noqa: T201
        threading.Event().wait()


if __name__ == "__main__":
    main()
