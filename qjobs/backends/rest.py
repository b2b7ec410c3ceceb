"""The reference adapter: a small REST provider, in each of the three variants of `LostReply`.

It speaks to `qjobs.testing.servers` and is the shortest complete example of an adapter: one total
status table, no state of its own, and the remote id handed over before anything else is done.
"""

from __future__ import annotations

import base64
import json
import logging
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qjobs.backends.base import (
    ItemSnapshot,
    Limits,
    LostReply,
    MissingResult,
    RemoteJob,
    Snapshot,
    Target,
    nothing,
)
from qjobs.backends.http import HttpClient
from qjobs.backends.limiter import Limiter
from qjobs.errors import ProtocolError, SubmissionUnknown
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, ItemResult, Key, RemoteId

__all__ = ["RestBackend"]

logger = logging.getLogger(__name__)

STATUSES: dict[str, JobStatus] = {
    "WAITING": JobStatus.QUEUED,
    "ACTIVE": JobStatus.RUNNING,
    "STOPPING": JobStatus.CANCELLING,
    "DONE": JobStatus.COMPLETED,
    "STOPPED": JobStatus.CANCELLED,
    "BROKEN": JobStatus.ERROR,
}
_IDS_PER_REQUEST = 200
_LIMITS = Limits(max_items=300, max_shots=10_000)


class RestBackend:
    """A backend behind a small REST interface.

    Args:
        lost_reply: What the provider can do about a submission whose reply was lost.
        timeout_s: How long an answer may take, in seconds.
        poll_interval_s: Shortest and longest pause between two polls, in seconds.
        settle_s: How long after a lost reply a submission may still arrive, in seconds.
        token: Called for every request; None sends no token.
        max_per_s: The most requests a second, sustained, of all backends of this `name`; None for no limit.
        limiter: Another limiter than the one of this process for the account.
    """

    exact_expvals = False
    cancels_items = True
    compiles = False
    outlives_us = True

    def __init__(
        self,
        url: str,
        *,
        lost_reply: LostReply,
        name: str = "rest",
        device: str = "reference",
        timeout_s: float = 30.0,
        limits: Limits = _LIMITS,
        poll_interval_s: tuple[float, float] = (0.05, 1.0),
        settle_s: float = 30.0,
        token: Callable[[], str] | None = None,
        max_per_s: float | None = None,
        limiter: Limiter | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self.device = device
        self.lost_reply = lost_reply
        self.limits = limits
        self.poll_interval_s = poll_interval_s
        self.settle_s = settle_s

        def headers() -> Mapping[str, str]:
            return {"authorization": f"Bearer {token()}"} if token else {}

        self._http = HttpClient(
            url,
            name=name,
            headers=headers,
            read_timeout_s=timeout_s,
            limiter=limiter,
            max_per_s=max_per_s,
            sleep=sleep,
        )

    def submit(
        self, batch: Batch, key: Key, created: Callable[[RemoteId], None], sending: Callable[[], None] = nothing
    ) -> None:
        """Create a job with one POST; the key goes with it where the provider keeps keys."""
        programs = {}
        for name in {item.program for item in batch.items}:
            program = batch.programs[name]
            programs[name] = {"format": program.format, "payload": base64.b64encode(program.payload).decode()}
        items = [
            {"program": item.program, "parameters": dict(item.parameters), "shots": item.shots} for item in batch.items
        ]
        body: dict[str, Any] = {"programs": programs, "items": items}
        headers = {}
        if self.lost_reply is LostReply.DEDUPLICATED:
            headers["idempotency-key"] = key
        if self.lost_reply is LostReply.FINDABLE:
            body["key"] = key
        answer = self._http.submit("/jobs", json=body, headers=headers, sending=sending)
        if not isinstance(answer, dict) or not isinstance(answer.get("id"), str):
            raise SubmissionUnknown(f"{self.name} accepted something and answered no id: {json.dumps(answer)[:200]}")
        remote_id = RemoteId(answer["id"])
        created(remote_id)
        logger.info("%s: created job %s of %d items, key %s", self.name, remote_id, len(items), key)

    def find(self, key: Key) -> RemoteId | None:
        """Find a job by its key, in one request."""
        if self.lost_reply is LostReply.OPAQUE:
            return None
        jobs = _jobs(self._http.read("GET", "/jobs", params={"key": key}))
        return RemoteId(_text(jobs[0], "id")) if jobs else None

    def remote_jobs(self) -> list[RemoteJob] | None:
        """List all jobs with a key, in one request."""
        if self.lost_reply is LostReply.OPAQUE:
            return None
        found = []
        for job in _jobs(self._http.read("GET", "/jobs", params={"keys": "1"})):
            remote_id = RemoteId(_text(job, "id"))
            found.append(RemoteJob(remote_id=remote_id, key=Key(_text(job, "key")), n_items=len(_list(job, "items"))))
        return found

    def status(self, remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Snapshot]:
        """Read the status of many jobs, 200 in a request."""
        found: dict[RemoteId, Snapshot] = {}
        for start in range(0, len(remote_ids), _IDS_PER_REQUEST):
            part = remote_ids[start : start + _IDS_PER_REQUEST]
            for job in _jobs(self._http.read("GET", "/jobs", params={"ids": ",".join(part)})):
                word = _text(job, "status")
                found[RemoteId(_text(job, "id"))] = Snapshot(
                    status=_status(word), remote_status=word, items=tuple(map(_item, _list(job, "items")))
                )
        return {remote_id: found[remote_id] for remote_id in remote_ids if remote_id in found}

    def results(self, remote_id: RemoteId) -> list[ItemResult | MissingResult]:
        """Read all results of a job in one request."""
        body = self._http.read("GET", f"/jobs/{_quoted(remote_id)}/results")
        return [_result(entry) for entry in _list(body, "results")]

    def cancel(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> None:
        """Ask for cancellation; an answer 409 says that the job is final, which is as good."""
        options = {} if items is None else {"json": {"items": list(items)}}
        self._http.read("POST", f"/jobs/{_quoted(remote_id)}/cancel", ignore={409}, **options)
        logger.info("%s: asked to cancel job %s%s", self.name, remote_id, "" if items is None else f", items {items}")

    def target(self) -> Target:
        """Name the device; it takes any gate on any qubits."""
        return Target(name=self.device)

    def close(self) -> None:
        """Close all connections. Idempotent."""
        self._http.close()


def _quoted(remote_id: RemoteId) -> str:
    return urllib.parse.quote(remote_id, safe="")


def _list(body: object, name: str) -> list[Any]:
    if not isinstance(body, dict) or not isinstance(body.get(name), list):
        raise ProtocolError(f"the provider answered without a list of {name}")
    values: list[Any] = body[name]
    return values


def _text(body: object, name: str) -> str:
    if not isinstance(body, dict) or not isinstance(body.get(name), str):
        raise ProtocolError(f"the provider answered without a {name}")
    return str(body[name])


def _jobs(body: object) -> list[Any]:
    return _list(body, "jobs")


def _status(word: str) -> JobStatus:
    if word not in STATUSES:
        raise ProtocolError(f"the provider answered the unknown status {word!r}; the job keeps its last one")
    return STATUSES[word]


def _item(item: object) -> ItemSnapshot:
    return ItemSnapshot(status=_status(_text(item, "status")), message=_text(item, "message"))


def _result(entry: object) -> ItemResult | MissingResult:
    match entry:
        case {"counts": dict(counts)} if all(type(shots) is int for shots in counts.values()):
            return ItemResult(counts=counts)
        case {"error": str(words)}:
            return MissingResult(reason=words)
        case _:
            raise ProtocolError("the provider answered a result that is neither counts nor an error")
