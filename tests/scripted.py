"""A backend that does as a test says, with a store of remote jobs that it counts; and a clock."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from support import NOW

from qjobs.backends.base import ItemSnapshot, Limits, LostReply, MissingResult, Snapshot, Target, nothing
from qjobs.lifecycle import FINAL, JobStatus, roll_up
from qjobs.model import Batch, ItemResult, JobKind, Key, ProgramHash, RemoteId

NO_LIMITS = Limits()


class Clock:
    """Time that only sleeping (or a test) moves."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0
        self.naps_s: list[float] = []
        self.alarms: list[tuple[float, Callable[[], None]]] = []

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.elapsed_s)

    def monotonic(self) -> float:
        return self.elapsed_s

    def sleep(self, seconds: float) -> None:
        assert len(self.naps_s) < 100_000, "the wait does not end"
        self.naps_s.append(seconds)
        self.elapsed_s += seconds
        due = [act for at_s, act in self.alarms if at_s <= self.elapsed_s]
        self.alarms = [(at_s, act) for at_s, act in self.alarms if at_s > self.elapsed_s]
        for act in due:
            act()

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        self.alarms.append((self.elapsed_s + seconds, act))


@dataclass(slots=True)
class Fault:
    """An error of one submission: before the job exists, after (the id is lost), or once the id was accepted."""

    error: BaseException
    when: str = "before"


@dataclass(slots=True)
class Remote:
    """A job at the provider."""

    remote_id: RemoteId
    key: Key
    batch: Batch
    items: list[JobStatus]
    messages: dict[int, str] = field(default_factory=dict)
    late: bool = False
    place: int | None = None
    cancels: int = 0
    cancelled_items: list[int] = field(default_factory=list)

    @property
    def status(self) -> JobStatus:
        return roll_up(self.items)


class ScriptedBackend:
    """Remote jobs stay QUEUED until `report` says otherwise.

    `faults` are taken one per submission, `troubles` one per request (status, results, find, cancel).
    `most_live` is the greatest number of unfinished remote jobs of equal labels that ever existed at once.
    """

    exact_expvals = False
    compiles = True
    outlives_us = True
    settle_s = 0.0

    def __init__(
        self,
        lost_reply: LostReply = LostReply.FINDABLE,
        *,
        limits: Limits = NO_LIMITS,
        name: str = "fake",
        poll_interval_s: tuple[float, float] = (1.0, 10.0),
        confirms_cancel: bool = True,
        cancels_items: bool = False,
    ) -> None:
        self.name, self.device, self.limits, self.lost_reply = name, "device", limits, lost_reply
        self.poll_interval_s, self.confirms_cancel = poll_interval_s, confirms_cancel
        self.cancels_items = cancels_items
        self.jobs: dict[RemoteId, Remote] = {}
        self.faults: deque[Fault | None] = deque()
        self.troubles: deque[BaseException | None] = deque()
        self.asked: list[tuple[RemoteId, ...]] = []
        self.hidden: set[RemoteId] = set()
        self.before_submit: Callable[[], None] = lambda: None
        self.answer: Callable[[list[ItemResult | MissingResult]], list[ItemResult | MissingResult]] = lambda r: r
        self.most_live = 0
        self._lock = threading.Lock()

    def submit(
        self, batch: Batch, key: Key, created: Callable[[RemoteId], None], sending: Callable[[], None] = nothing
    ) -> None:
        self.before_submit()
        sending()
        assert batch.items, "an empty job was sent"
        fault = self.faults.popleft() if self.faults else None
        if fault and fault.when == "before":
            raise fault.error
        with self._lock:
            remote_id = self._known(key) if self.lost_reply is LostReply.DEDUPLICATED else None
            if remote_id is None:
                remote_id = RemoteId(f"remote-{len(self.jobs) + 1}")
                self.jobs[remote_id] = Remote(remote_id, key, batch, [JobStatus.QUEUED] * len(batch.items))
            labels = {item.label for item in batch.items}
            overlapping = [j for j in self.live() if labels & {item.label for item in j.batch.items}]
            self.most_live = max(self.most_live, len(overlapping))
        if fault and fault.when == "after":
            raise fault.error
        created(remote_id)
        if fault:
            raise fault.error

    def _known(self, key: Key) -> RemoteId | None:
        return next((job.remote_id for job in self.jobs.values() if job.key == key), None)

    def _trouble(self) -> None:
        if self.troubles and (error := self.troubles.popleft()) is not None:
            raise error

    def live(self) -> list[Remote]:
        return [job for job in self.jobs.values() if job.status not in FINAL]

    def find(self, key: Key) -> RemoteId | None:
        self._trouble()
        return None if self.lost_reply is LostReply.OPAQUE else self._known(key)

    def status(self, remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Snapshot]:
        self._trouble()
        self.asked.append(tuple(remote_ids))
        return {each: self.snapshot(each) for each in remote_ids if each not in self.hidden}

    def snapshot(self, remote_id: RemoteId) -> Snapshot:
        job = self.jobs[remote_id]
        items = tuple(ItemSnapshot(status=s, message=job.messages.get(n, "")) for n, s in enumerate(job.items))
        return Snapshot(status=job.status, remote_status=f"their {job.status}", items=items, queue_position=job.place)

    def results(self, remote_id: RemoteId) -> list[ItemResult | MissingResult]:
        self._trouble()
        job = self.jobs[remote_id]
        return self.answer(
            [
                self.result(job, n)
                if status is JobStatus.COMPLETED and not job.late
                else MissingResult(reason=f"it is {status}")
                for n, status in enumerate(job.items)
            ]
        )

    def result(self, job: Remote, n: int) -> ItemResult:
        item = job.batch.items[n]
        if job.batch.kind is JobKind.COMPILE:
            given = job.batch.programs[item.program]
            return ItemResult(program=replace(given, hash=ProgramHash(f"{job.remote_id}/{n}"), payload=b"compiled"))
        return ItemResult(counts={"00": item.shots, job.remote_id: 1})

    def remote_jobs(self) -> None:
        return None

    def cancel(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> None:
        self._trouble()
        job = self.jobs[remote_id]
        job.cancels += 1
        to = JobStatus.CANCELLED if self.confirms_cancel else JobStatus.CANCELLING
        job.cancelled_items += items or []
        chosen = range(len(job.items)) if items is None else items
        job.items = [to if i in chosen and status not in FINAL else status for i, status in enumerate(job.items)]

    def target(self) -> Target:
        return Target(name=self.device)

    def close(self) -> None:
        pass

    def report(self, *statuses: JobStatus, of: int = -1, messages: Iterable[tuple[int, str]] = ()) -> None:
        """Let the newest remote job (or the `of`-th) be in these statuses, one per item."""
        job = list(self.jobs.values())[of]
        assert len(statuses) == len(job.items)
        job.items, job.messages = list(statuses), dict(messages)


class TellingBackend(ScriptedBackend):
    """A provider that tells at once; asking is worth nothing for an hour."""

    def __init__(self) -> None:
        super().__init__(poll_interval_s=(3600.0, 3600.0))
        self.watched: list[RemoteId] = []
        self.tell = threading.Event()

    def watch(
        self, remote_id: RemoteId, *, timeout_s: float, changed: Callable[[Snapshot], None] = lambda _: None
    ) -> Snapshot | None:
        self.watched.append(remote_id)
        assert self.tell.wait(min(timeout_s, 20.0))
        changed(self.snapshot(remote_id))
        return self.snapshot(remote_id)
