"""A small Qoro on a real socket, which misbehaves as it is told; it shares no code with the adapter.

It serves the REST interface of the published client, and takes what that sends. Jobs are kept and run by the store of
the scripted provider, so that faults and habits are told as they are there. Its own refusals are `{"error"}`.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as Path

from qjobs.testing.answers import dropped, echoed, faulty
from qjobs.testing.faults import Action, Fault, Route
from qjobs.testing.served import Served
from qjobs.testing.store import Habits, Refused, Store, StoredJob

TOKEN = "the-api-key-of-an-account"
CLUSTER = "qoro_maestro"
SYSTEM = "iqm_pair"
WORDS = {
    "OPEN": "PENDING",
    "WAITING": "PENDING",
    "ACTIVE": "RUNNING",
    "STOPPING": "RUNNING",
    "DONE": "COMPLETED",
    "STOPPED": "CANCELLED",
    "BROKEN": "FAILED",
}
MAX_BYTES = int(0.95 * 1024 * 1024)


@dataclass
class Sent:
    """A job as it was sent: the body of its first step, and the label of each circuit."""

    body: dict[str, Any]
    labels: list[str] = field(default_factory=list)
    fragments: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Ways:
    """How this cloud behaves, as far as providers differ."""

    balance: object = "500.00"
    words: dict[str, str] = field(default_factory=dict)
    """Other words than `WORDS` has, by word of the store."""
    clusters: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {"name": CLUSTER, "access_level": "PUBLIC", "minimum_tier": "FREE", "supports_expval": True}
        ]
    )
    answers_nothing: bool = False
    """Whether the answer to a fragment has no body."""
    plain_counts: bool = False
    """Whether counts are not packed."""
    entries: dict[int, object] = field(default_factory=dict)
    """What the results say of an item instead, by its place."""
    page_size: int | None = None
    """How many results a page has; as many as were asked for if None."""
    uncancellable: frozenset[str] = frozenset()
    """Words of jobs whose cancellation is refused."""


class QoroCloud:
    """The cloud in a thread, on a free port of 127.0.0.1; `ids` are those of the jobs that it has let run."""

    def __init__(self, *, queue_s: float = 0.0, run_s: float = 0.0) -> None:
        self.store = Store("opaque", queue_s=queue_s, run_s=run_s, clock=time.monotonic, token=TOKEN)
        self.reset()
        self._served = Served(Starlette(routes=_routes(self)), name="qoro")
        self.url = f"{self._served.url}/api"

    def reset(self) -> None:
        """Forget all jobs, faults and ways."""
        self.store.reset()
        self.ways = Ways()
        self.sent: dict[str, Sent] = {}
        self.let_run: list[str] = []
        self.before_cancel: Callable[[], object] | None = None
        self.deleted: list[str] = []

    @property
    def ids(self) -> list[str]:
        self.store.run_due()
        return list(self.let_run)

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

    def close(self) -> None:
        self._served.close()

    def __enter__(self) -> QoroCloud:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def init(self, body: dict[str, Any]) -> dict[str, Any]:
        named = [body[name] for name in ("simulator_cluster", "qpu_system_name") if name in body]
        if named not in ([CLUSTER], [SYSTEM]) or body["job_type"] not in {"EXECUTE", "EXPECTATION"}:
            raise Refused(400, f"there is no target {named}")
        job_id = self.store.init()
        self.sent[job_id] = Sent(body=body)
        return {"job_id": job_id}

    def add(self, job_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Add a fragment; the last one lets the job run."""
        if body["finalized"] not in {"true", "false"} or body["mode"] != "append":
            raise Refused(400, "finalized is a text")
        sent = self.sent.get(job_id)
        if sent is None:
            raise Refused(404, f"there is no job {job_id}")
        expects = sent.body["job_type"] == "EXPECTATION"
        if expects != ("observables" in body):
            raise Refused(400, "observables belong to expectation values")
        circuits = circuits_in(body)
        programs = {}
        items = []
        for number, (text, shots) in enumerate(circuits.values()):
            payload = base64.b64encode(text.encode()).decode()
            programs[str(number)] = {"format": "openqasm2", "payload": payload}
            items.append({"program": str(number), "parameters": {}, "shots": shots})
        if set(circuits) & set(sent.labels):
            raise Refused(400, "a label comes twice")
        self.store.add(job_id, {"programs": programs, "items": items, "final": body["finalized"] == "true"})
        job = self.store.job(job_id)
        if expects:
            terms = terms_in(body["observables"])
            for place, (text, _) in enumerate(circuits.values(), start=len(sent.labels)):
                job.outcomes[place] = {"counts": values_of(text, terms)}
        sent.labels += circuits
        sent.fragments.append(body)
        if body["finalized"] == "true":
            self.let_run.append(job_id)
        return {"status": "added"}

    def word(self, job: StoredJob) -> str:
        word = self.store.word(job)
        return self.ways.words.get(word, WORDS[word])

    def cancel(self, job_id: str) -> dict[str, Any]:
        if self.before_cancel is not None:
            self.before_cancel()
        job = self.store.job(job_id, "cancel")
        if self.word(job) in self.ways.uncancellable:
            raise Refused(409, "Can only cancel a PENDING or RUNNING job")
        self.store.stop(job, None)
        return {"status": "cancelled", "job_id": job_id, "circuits_cancelled": len(job.outcomes)}

    def delete(self, job_id: str) -> dict[str, Any]:
        job = self.store.job(job_id)
        if self.store.is_live(job) or job.is_open:
            self.store.stop(job, None)
        self.store.forget(job_id)
        self.deleted.append(job_id)
        return {}

    def results(self, job_id: str, limit: int, offset: int) -> dict[str, Any]:
        """A page of what is there; 400 while nothing is."""
        job = self.store.job(job_id, "results")
        is_late = self.word(job) == "COMPLETED" and self.store.clock() < job.ends_at + self.store.results_late_s
        if self.word(job) not in {"COMPLETED", "FAILED", "CANCELLED"} or is_late:
            raise Refused(400, "the results are not there yet")
        expects = self.sent[job_id].body["job_type"] == "EXPECTATION"
        rows = []
        for place, entry in enumerate(self.store.results(job)):
            if place in self.ways.entries:
                rows.append({"label": self.sent[job_id].labels[place], "results": self.ways.entries[place]})
            elif "counts" in entry:
                found = entry["counts"]
                found = found if expects or self.ways.plain_counts else packed(found)
                rows.append({"label": self.sent[job_id].labels[place], "results": found})
        if not rows and self.word(job) != "COMPLETED":
            raise Refused(400, "there are no results")
        end = offset + min(limit, self.ways.page_size or limit)
        return {"count": len(rows), "next": "more" if end < len(rows) else None, "results": rows[offset:end]}


def circuits_in(body: Mapping[str, Any]) -> dict[str, tuple[str, int]]:
    """The text and the shots of each circuit of a fragment, by its label."""
    texts: dict[str, str] = {}
    if "circuits" in body:
        for label, packed_text in body["circuits"].items():
            texts[label] = unpacked(packed_text)
    else:
        template = unpacked(body["circuit_template"])
        for row in body["parameter_sets"]:
            values = dict(zip(body["parameter_names"], map(str, row["values"]), strict=True))
            names = re.compile(rf"\b({'|'.join(map(re.escape, values))})\b")
            texts[row["label"]] = names.sub(lambda match, values=values: values[match[0]], template)
    shots = [body.get("shots", 1)] * len(texts)
    for start, end, number in body.get("shot_groups", ()):
        shots[start:end] = [number] * (end - start)
    if len(shots) != len(texts) or ("shots" in body) + ("shot_groups" in body) + ("observables" in body) != 1:
        raise Refused(400, "shots are as many as circuits, and are said in one way")
    return {label: (text, number) for (label, text), number in zip(texts.items(), shots, strict=True)}


def unpacked(text: str) -> str:
    return gzip.decompress(base64.b64decode(text)).decode()


def terms_in(text: str) -> list[str]:
    """The terms of a group, dense, with qubit 0 on the left."""
    head, _, body = text.partition(":")
    width = int(head.removeprefix("@gzs"))
    found = []
    for term in unpacked(body).split(";"):
        letters = ["I"] * width
        for letter, qubit in re.findall(r"([XYZ])(\d+)", term):
            letters[int(qubit)] = letter
        found.append("".join(letters))
    return found


def values_of(text: str, terms: list[str]) -> dict[str, float]:
    from qiskit import qasm2
    from qiskit.quantum_info import Pauli, Statevector

    state = Statevector(qasm2.loads(text, custom_instructions=qasm2.LEGACY_CUSTOM_INSTRUCTIONS))
    return {term: float(state.expectation_value(Pauli(term[::-1])).real) for term in terms}


def packed(counts: Mapping[str, int]) -> dict[str, Any]:
    """Counts as `qh1`, or `qh2` where they are wide."""
    rows = sorted((int(word, 2), number) for word, number in counts.items())
    width = len(next(iter(counts)))
    gaps = [index - before for (index, _), before in zip(rows, [0, *(index for index, _ in rows)], strict=False)]
    are_one = [number == 1 for _, number in rows]
    runs = [len(list(run)) for _, run in groupby(are_one)]
    inner = uleb(len(runs)) + bytes([are_one[0]]) + b"".join(map(uleb, runs))
    extras = [number - 2 for _, number in rows if number > 1]
    head = b"QH1" + bytes([width]) if width < 256 else b"QH2" + uleb(width)
    head += uleb(len(rows)) + uleb(sum(number for _, number in rows))
    body = b"".join(map(uleb, [len(gaps), *gaps, len(inner)])) + inner + b"".join(map(uleb, [len(extras), *extras]))
    payload = base64.b64encode(head + body).decode()
    return {"encoding": "qh1" if width < 256 else "qh2", "n_bits": width, "payload": payload}


def uleb(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + uleb(rest) if rest else bytes([low])


def refused(code: int, words: str, retry_after: str = "") -> Response:
    """Qoro's own refusal."""
    return JSONResponse({"error": words}, code, {"retry-after": retry_after} if retry_after else None)


def _routes(cloud: QoroCloud) -> list[Path]:
    store = cloud.store

    async def balance(request: Request) -> Response:
        body = {"balance": cloud.ways.balance, "total_used": "0", "created_at": "", "updated_at": ""}
        return await _answer(cloud, request, None, lambda: body)

    async def clusters(request: Request) -> Response:
        return await _answer(cloud, request, Route.RESOURCE, lambda: cloud.ways.clusters)

    async def systems(request: Request) -> Response:
        shared = {"status": "ONLINE", "system_kind": "x"}  # the published client refuses a list without these
        qpus = [{"nickname": "a", "q_bits": 5, **shared}, {"nickname": "b", "q_bits": 20, **shared}]
        found = [{"name": SYSTEM, "qpus": qpus, "access_level": "PUBLIC"}]
        return await _answer(cloud, request, Route.RESOURCE, lambda: found)

    async def init(request: Request) -> Response:
        body = await request.json()
        return await _answer(cloud, request, Route.INIT, lambda: cloud.init(body), code=201)

    async def add(request: Request) -> Response:
        text = await request.body()
        body = json.loads(text)
        route = Route.FINALISE if body.get("finalized") == "true" else Route.ADD

        def act() -> dict[str, Any]:
            if len(text) > MAX_BYTES:
                raise Refused(413, "the fragment is too big")
            return cloud.add(request.path_params["id"], body)

        answer = await _answer(cloud, request, route, act)
        is_done = isinstance(answer, JSONResponse) and answer.status_code == 200
        return Response(status_code=200) if cloud.ways.answers_nothing and is_done else answer

    async def status(request: Request) -> Response:
        job_id = request.path_params["id"]
        return await _answer(
            cloud, request, Route.STATUS, lambda: {"status": cloud.word(store.job(job_id, "status")), "run_time": 1.5}
        )

    async def results(request: Request) -> Response:
        limit, offset = int(request.query_params["limit"]), int(request.query_params["offset"])
        return await _answer(
            cloud, request, Route.RESULTS, lambda: cloud.results(request.path_params["id"], limit, offset)
        )

    async def cancel(request: Request) -> Response:
        return await _answer(cloud, request, Route.CANCEL, lambda: cloud.cancel(request.path_params["id"]))

    async def delete(request: Request) -> Response:
        answer = await _answer(cloud, request, Route.ABANDON, lambda: cloud.delete(request.path_params["id"]))
        return Response(status_code=204) if isinstance(answer, JSONResponse) and answer.status_code == 200 else answer

    return [
        Path("/api/credits/", balance),
        Path("/api/simulatorcluster/", clusters),
        Path("/api/qpusystem/", systems),
        Path("/api/job/init/", init, methods=["POST"]),
        Path("/api/job/{id}/add_circuits/", add, methods=["POST"]),
        Path("/api/job/{id}/status/", status),
        Path("/api/job/{id}/resultsV2/", results),
        Path("/api/job/{id}/cancel/", cancel, methods=["POST"]),
        Path("/api/job/{id}", delete, methods=["DELETE"]),
    ]


async def _answer(
    cloud: QoroCloud, request: Request, route: Route | None, act: Callable[[], Any], *, code: int = 200
) -> Response:
    """Carry a request out, with whatever fault is due."""
    store = cloud.store
    store.run_due()
    fault = store.script.fault_for(route, store.clock()) if route is not None else None
    if request.headers.get("authorization") != f"Bearer {store.token}":
        return refused(401, "this key is not valid")
    if fault is not None and (answer := _instead(fault, store, act)) is not None:
        return answer
    try:
        with store.lock:
            body = act()
    except Refused as error:
        return refused(error.code, str(error))
    if fault is None:
        return JSONResponse(body, code)
    if fault.action is Action.ECHO:
        return echoed(fault, request)
    if fault.action is Action.ENDLESS:
        return JSONResponse({**body, "next": "more"})
    return await faulty(fault, body, code)


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
