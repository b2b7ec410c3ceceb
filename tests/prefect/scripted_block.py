"""A backend that does what a test wrote down, behind a real block: `script("name", ...)` is "scripted/name"."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import ClassVar

from prefect.blocks.core import Block
from pydantic import Field

from qjobs.backends.base import ItemSnapshot, Limits, LostReply, MissingResult, Snapshot, Target, nothing
from qjobs.errors import NotSent, SubmissionRejected, SubmissionUnknown
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, ItemResult, Key, RemoteId

SCRIPTS: dict[str, ScriptedBackend] = {}


class Died(BaseException):
    """The process ends here, as far as Prefect and our own code can tell."""


class ScriptedBackend:
    """Jobs that run for `polls` polls and give zeros.

    Args:
        name: Name of backend and device.
        on_submit: What happens to the first submissions, one word each: "not sent"; "lost" (no job, no reply);
            "lost reply" (a job, no reply); "refused"; "dies" (a job, its id, then `Died`); "ok".
        limits: What a job may hold.
        lost_reply: What can be done about a lost reply.
        polls: A job is final at its so-many-th poll; None never ends.
        fail_items: Indices of items that fail.
        dies_at_poll: `Died` at this poll of the backend.
    """

    exact_expvals = False
    compiles = False
    outlives_us = True
    cancels_items = False
    settle_s = 0.0
    poll_interval_s = (0.005, 0.02)

    def __init__(
        self,
        name: str,
        *,
        on_submit: Sequence[str] = (),
        limits: Limits | None = None,
        lost_reply: LostReply = LostReply.FINDABLE,
        polls: int | None = 1,
        fail_items: Sequence[int] = (),
        dies_at_poll: int | None = None,
    ) -> None:
        self.name = self.device = name
        self.limits, self.lost_reply, self.polls = limits or Limits(), lost_reply, polls
        self.fail_items, self.dies_at_poll = set(fail_items), dies_at_poll
        self.words = list(on_submit)
        self.jobs: dict[RemoteId, tuple[Key, Batch]] = {}
        self.polled: dict[RemoteId, int] = {}
        self.cancelled: set[RemoteId] = set()
        self.n_submissions = self.n_polls = self.most_live = 0
        self.lock = threading.Lock()

    def submit(
        self, batch: Batch, key: Key, created: Callable[[RemoteId], None], sending: Callable[[], None] = nothing
    ) -> None:
        sending()
        with self.lock:
            self.n_submissions += 1
            word = self.words.pop(0) if self.words else "ok"
            if word == "not sent":
                raise NotSent("no route to the provider")
            if word == "refused":
                raise SubmissionRejected("refused", detail="the provider says: too deep")
            if word == "lost":
                raise SubmissionUnknown("the connection broke")
            remote_id = RemoteId(f"{self.name}-{len(self.jobs)}")
            self.jobs[remote_id] = (key, batch)
            self.most_live = max(self.most_live, sum(not self._status(r).is_final for r in self.jobs))
            if word == "lost reply":
                raise SubmissionUnknown("the connection broke")
        created(remote_id)
        if word == "dies":
            raise Died

    def find(self, key: Key) -> RemoteId | None:
        with self.lock:
            return next((remote_id for remote_id, (known, _) in self.jobs.items() if known == key), None)

    def _status(self, remote_id: RemoteId) -> JobStatus:
        if remote_id in self.cancelled:
            return JobStatus.CANCELLED
        if self.polls is None or self.polled.get(remote_id, 0) < self.polls:
            return JobStatus.RUNNING
        return JobStatus.ERROR if self.fail_items else JobStatus.COMPLETED

    def status(self, remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Snapshot]:
        with self.lock:
            self.n_polls += 1
            if self.n_polls == self.dies_at_poll:
                raise Died
            for remote_id in remote_ids:
                self.polled[remote_id] = self.polled.get(remote_id, 0) + 1
            return {remote_id: self._snapshot(remote_id) for remote_id in remote_ids if remote_id in self.jobs}

    def _snapshot(self, remote_id: RemoteId) -> Snapshot:
        status = self._status(remote_id)
        items = tuple(
            ItemSnapshot(status=JobStatus.COMPLETED)
            if status is JobStatus.ERROR and index not in self.fail_items
            else ItemSnapshot(status=status, message="laser off" if status is JobStatus.ERROR else "")
            for index, _ in enumerate(self.jobs[remote_id][1].items)
        )
        return Snapshot(status=status, remote_status=status.lower(), items=items)

    def results(self, remote_id: RemoteId) -> list[ItemResult | MissingResult]:
        _, batch = self.jobs[remote_id]
        if self._status(remote_id) not in {JobStatus.COMPLETED, JobStatus.ERROR}:
            return [MissingResult(reason="not finished") for _ in batch.items]
        return [
            MissingResult(reason="laser off")
            if index in self.fail_items
            else ItemResult(counts={"0" * batch.programs[item.program].n_bits: item.shots})
            for index, item in enumerate(batch.items)
        ]

    def remote_jobs(self) -> None:
        return None

    def cancel(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> None:
        with self.lock:
            if not self._status(remote_id).is_final:
                self.cancelled.add(remote_id)

    def target(self) -> Target:
        return Target(name=self.device)

    def close(self) -> None:
        pass


class Scripted(Block):
    """Gives a task the backend that a test wrote."""

    _block_type_name: ClassVar[str] = "Scripted"
    _block_type_slug: ClassVar[str] = "scripted"

    script: str = Field(description="Key in SCRIPTS.")

    def get_backend(self) -> ScriptedBackend:
        return SCRIPTS[self.script]


def script(name: str, **options: object) -> tuple[str, ScriptedBackend]:
    """Save a block for a new backend; the name that a flow takes, and the backend itself."""
    SCRIPTS[name] = ScriptedBackend(name, **options)
    Scripted(script=name).save(name)
    return f"scripted/{name}", SCRIPTS[name]
