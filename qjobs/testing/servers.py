"""A scripted provider: a real HTTP server with a store of its own, which misbehaves as it is told.

It shares no code with the adapters. It counts what it created and what it was asked, and comes in three
variants, one for each thing that can be done about a lost reply:

- deduplicated: a second POST with the same `Idempotency-Key` answers the first job;
- findable: `GET /jobs?key=...` finds the job by its key;
- opaque: it keeps no key at all.

    POST   /jobs                 {"key"?, "programs": {name: {"format", "payload"}},
                                  "items": [{"program", "parameters", "shots"}]}          201 {"id"}
    GET    /jobs?ids=a,b         {"jobs": [{"id", "key", "status", "items": [{"status", "message"}]}]}
    GET    /jobs?key=k           the same, of the job with this key      (not where it is opaque)
    GET    /jobs?keys=1          the same, of all jobs with a key
    GET    /jobs/{id}/results    {"results": [{"counts"} or {"error"}]}, also while it runs
    POST   /jobs/{id}/cancel     {"items"?: [index]}                     202, 409 for a final job
    GET    /control              {"created": [id], "live": [id], "asked": {route: count}}
    POST   /control              {"faults"?, "broken"?, "queue_s"?, "run_s"?, "stop_s"?, "token"?, "reset"?,
                                  "delete"?: [id], "retry"?: [id]}

`payload` is base64 of OpenQASM 2 or 3 or QPY, and is really run. Status words: WAITING, ACTIVE, STOPPING,
DONE, STOPPED, BROKEN. `python -m qjobs.testing.servers` runs it alone; `ScriptedProvider` runs it in a
thread of the test. It needs starlette and uvicorn, which come with the extra `prefect`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qjobs.testing.faults import Action, Fault, Route
from qjobs.testing.store import Refused, Store

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["ScriptedProvider", "provider_app"]

_TRANSPORT = "qjobs.transport"
_START_TIMEOUT_S = 30.0


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
        route = Route.FIND if ids is None else Route.STATUS
        return await _answer(store, request, route, 200, lambda: {"jobs": store.listed(ids=ids, key=key)})

    async def results(request: Request) -> Response:
        job_id = request.path_params["id"]
        return await _answer(store, request, Route.RESULTS, 200, lambda: {"results": store.results(store.job(job_id))})

    async def cancel(request: Request) -> Response:
        job_id = request.path_params["id"]
        raw = await request.body()
        chosen = json.loads(raw).get("items") if raw else None

        def act() -> dict[str, Any]:
            store.stop(store.job(job_id), chosen)
            return {}

        return await _answer(store, request, Route.CANCEL, 202, act)

    async def control(request: Request) -> Response:
        from starlette.responses import JSONResponse

        if request.method == "POST":
            _configure(store, await request.json())
        return JSONResponse(_summary(store))

    return Starlette(
        routes=[
            Path("/jobs", create, methods=["POST"]),
            Path("/jobs", listing, methods=["GET"]),
            Path("/jobs/{id}/results", results, methods=["GET"]),
            Path("/jobs/{id}/cancel", cancel, methods=["POST"]),
            Path("/control", control, methods=["GET", "POST"]),
        ]
    )


def _configure(store: Store, wishes: Mapping[str, Any]) -> None:
    """Do what the body of a request to /control says; what it does not name stays as it is."""
    if wishes.get("reset"):
        store.reset()
    if "faults" in wishes:
        store.script.inject(*[Fault(**rule) for rule in wishes["faults"]])
    if "broken" in wishes:
        store.broken = {int(index): words for index, words in wishes["broken"].items()}
    for act, name in ((store.delete, "delete"), (store.retry, "retry")):
        for job_id in wishes.get(name, ()):
            act(store.job(job_id))
    for name in ("queue_s", "run_s", "stop_s", "token"):
        setattr(store, name, wishes.get(name, getattr(store, name)))


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
    fault = store.script.fault_for(route)
    if store.token and request.headers.get("authorization") != f"Bearer {store.token}":
        return JSONResponse({"message": "this token is not valid"}, 401)
    if fault is not None:
        match fault.action:
            case Action.DROP_BEFORE:
                return _dropped()
            case Action.CODE_BEFORE:
                return _coded(fault)
            case Action.DONE_LATE:
                store.do_late(fault.seconds, act)
                return _dropped()
            case _:
                pass
    try:
        body = act()
    except Refused as error:
        return JSONResponse({"message": str(error)}, error.code)
    return JSONResponse(body, code) if fault is None else await _faulty(fault, body, code)


async def _faulty(fault: Fault, body: dict[str, Any], code: int) -> Response:
    """The answer to a request that was carried out, gone wrong."""
    from starlette.responses import JSONResponse, Response

    text = json.dumps(body)
    match fault.action:
        case Action.DROP_AFTER:
            return _dropped(reset=True)
        case Action.CODE_AFTER:
            return _coded(fault)
        case Action.LATE:
            await asyncio.sleep(fault.seconds)
        case Action.CUT:
            return Response(text[: max(1, len(text) // 2)], code, media_type="application/json")
        case Action.NOT_JSON:
            return Response("<html>gateway</html>", code, media_type="text/html")
        case Action.UNKNOWN_WORD:
            for job in body.get("jobs", []):
                job["status"] = "PONDERING"
                for item in job["items"]:
                    item["status"] = "PONDERING"
        case Action.NOTHING:
            for name in ("jobs", "results"):
                if name in body:
                    body[name] = []
        case _:
            pass
    return JSONResponse(body, code)


def _coded(fault: Fault) -> Response:
    from starlette.responses import JSONResponse

    headers = {"retry-after": fault.retry_after} if fault.retry_after else None
    return JSONResponse({"message": f"scripted {fault.code}"}, fault.code, headers)


def _dropped(*, reset: bool = False) -> Response:
    """An answer that closes the connection instead, with a TCP reset or (another error at the client) without."""
    from starlette.responses import Response

    class Dropped(Response):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            transport = scope[_TRANSPORT]
            if reset:
                no_linger = struct.pack("ii", 1, 0)
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
            transport.abort()
            while (await receive())["type"] != "http.disconnect":  # else uvicorn answers 500 by itself
                pass

    return Dropped()


def _with_transport(app: Any) -> Any:
    """Give the application its connection: `send` is a method of uvicorn's cycle, which has the transport."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, _TRANSPORT: send.__self__.transport}, receive, send)

    return serve


class ScriptedProvider:
    """The provider in a thread, on a free port of 127.0.0.1.

    Args:
        variant: "deduplicated", "findable" or "opaque".
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
        import uvicorn

        self.store = Store(variant, queue_s=queue_s, run_s=run_s, clock=clock, token=token)
        config = uvicorn.Config(
            _with_transport(provider_app(self.store)),
            host="127.0.0.1",
            port=port,
            http="h11",
            ws="none",
            lifespan="off",
            proxy_headers=False,
            log_level="critical",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="scripted-provider", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise RuntimeError(f"the scripted provider did not start on port {port}")
            time.sleep(0.005)
        self.port: int = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def inject(self, *faults: Fault) -> None:
        """Have these faults from now on, instead of the earlier ones."""
        self.store.script.inject(*faults)

    def break_items(self, broken: Mapping[int, str]) -> None:
        """Let these items of every new job fail, each with its words."""
        self.store.broken = dict(broken)

    def reset(self) -> None:
        """Forget all jobs, faults and counts."""
        self.store.reset()

    @property
    def created(self) -> int:
        """How many jobs were created."""
        self.store.run_due()
        return len(self.store.jobs) + len(self.store.deleted)

    @property
    def asked(self) -> Counter[str]:
        """How many requests came, by route."""
        return self.store.script.asked

    def close(self) -> None:
        """Stop. Idempotent."""
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(10)

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
