"""A backend that does what a test wrote down, behind a real block: `script("name", ...)` is "scripted/name"."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar

from prefect.blocks.core import Block
from pydantic import Field

from qjobs.backends.base import (
    Capability,
    Confirmation,
    Fingerprint,
    ItemSnapshot,
    Journal,
    Limits,
    LiveJob,
    Lookup,
    MissingResult,
    Result,
    Snapshot,
    Target,
)
from qjobs.errors import BackendUnavailable, NotSent, ProtocolError, SubmissionRejected, SubmissionUnknown
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, ItemResult, Key, RemoteId

FINDABLE = Lookup(by_key=True)
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
        lookup: How a submission whose reply was lost can be looked up.
        polls: A job is final at its so-many-th poll; None never ends.
        fail_items: Indices of items that fail.
        withheld: Items that are done and whose results never come, each with the reason.
        odd_answers: So many first answers to the question for results are outside of the contract.
        cost: What each submission costs; None where nobody can tell.
        on_target: Called when the device is read.
        before_results: Called before results are read.
        dies_at_poll: `Died` at this poll of the backend.
    """

    capabilities = frozenset({Capability.DURABLE})
    confirm = Confirmation(absent_times=1, absent_apart_s=0.0)
    settle_s = 0.0
    poll_interval_s = (0.005, 0.02)

    def __init__(
        self,
        name: str,
        *,
        on_submit: Sequence[str] = (),
        limits: Limits | None = None,
        lookup: Lookup = FINDABLE,
        polls: int | None = 1,
        fail_items: Sequence[int] = (),
        withheld: Mapping[int, str] | None = None,
        odd_answers: int = 0,
        cost: float | None = None,
        on_target: Callable[[], None] = lambda: None,
        before_results: Callable[[], object] = lambda: None,
        dies_at_poll: int | None = None,
    ) -> None:
        self.name = self.device = name
        self.fingerprint = Fingerprint(place="the scripts", settings=name)
        self.limits, self.lookup, self.polls = limits or Limits(), lookup, polls
        self.fail_items, self.dies_at_poll = set(fail_items), dies_at_poll
        self.withheld, self.odd_answers = withheld or {}, odd_answers
        self.cost, self.on_target, self.before_results = cost, on_target, before_results
        self.words = list(on_submit)
        self.jobs: dict[RemoteId, tuple[Key, Batch]] = {}
        self.polled: dict[RemoteId, int] = {}
        self.cancelled: set[RemoteId] = set()
        self.n_submissions = self.n_polls = self.most_live = 0
        self.strangers: list[str] | None = None
        """Live jobs of others, where it shows them."""
        self.n_shown = 0
        self.is_blind = False
        """Whether it cannot be asked for keys now."""
        self.lock = threading.Lock()

    def submit(self, batch: Batch, key: Key, journal: Journal) -> None:
        journal.sending()
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
        journal.accepted(remote_id)
        if word == "dies":
            raise Died

    def find(self, key: Key) -> RemoteId | None:
        if self.is_blind:
            raise BackendUnavailable("the search is being repaired")
        with self.lock:
            return next((remote_id for remote_id, (known, _) in self.jobs.items() if known == key), None)

    def live_jobs(self) -> list[LiveJob] | None:
        if self.strangers is None:
            return None
        self.n_shown += 1
        with self.lock:
            ours = [remote_id for remote_id in self.jobs if not self._status(remote_id).is_final]
        return [LiveJob(remote_id=RemoteId(each)) for each in [*ours, *self.strangers]]

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

    def results(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> Iterator[tuple[int, Result]]:
        self.before_results()
        if self.odd_answers:
            self.odd_answers -= 1
            raise ProtocolError("the provider answered the word 'humming'")
        _, batch = self.jobs[remote_id]
        is_over = self._status(remote_id) in {JobStatus.COMPLETED, JobStatus.ERROR}
        for index in range(len(batch.items)) if items is None else items:
            item = batch.items[index]
            if not is_over:
                yield index, MissingResult(reason="not finished")
            elif index in self.withheld:
                yield index, MissingResult(reason=self.withheld[index], permanent=True)
            elif index in self.fail_items:
                yield index, MissingResult(reason="laser off")
            else:
                yield index, ItemResult(counts={"0" * batch.programs[item.program].n_bits: item.shots})

    def remote_jobs(self) -> None:
        return None

    def cancel(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> None:
        with self.lock:
            if not self._status(remote_id).is_final:
                self.cancelled.add(remote_id)

    def estimate(self, batch: Batch) -> float | None:
        return self.cost

    def target(self) -> Target:
        self.on_target()
        return Target(name=self.device)

    def link(self, remote_id: RemoteId) -> str | None:
        return None

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
