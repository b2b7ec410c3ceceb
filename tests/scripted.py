"""A backend that does as a test says, with a store of remote jobs that it counts; and a clock."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from support import NOW

from qjobs.backends.base import (
    Answer,
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
from qjobs.errors import AlreadyRuns, QJobsError, SubmissionRejected
from qjobs.lifecycle import FINAL, JobStatus, roll_up
from qjobs.model import Batch, ItemResult, JobKind, Key, ProgramHash, RemoteId

NO_LIMITS = Limits()
DEDUPLICATED = Lookup(token_lifetime_s=math.inf, by_key=True)
FINDABLE = Lookup(by_key=True)
OPAQUE = Lookup()
AT_ONCE = Confirmation(absent_times=1, absent_apart_s=0.0)


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
    """An error of one submission: while "preparing", "before" the job exists, "after" (the id is lost), or once the id
    was "accepted"; of one in steps also once it is "reserved".
    """

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

    `faults` are taken one per submission, `troubles` one per request (status, results, find, cancel). Of single jobs,
    `hidden` ones are not known, `errors` are what status answers for them, `refusals` what cancel raises. `gone` are
    items whose results never come. `most_live` is the greatest number of unfinished remote jobs of equal labels that
    ever existed at once. `shown` is the device as a compiler sees it, and `n_looks` how often it was asked for.
    """

    settle_s = 0.0

    def __init__(
        self,
        lookup: Lookup = FINDABLE,
        *,
        limits: Limits = NO_LIMITS,
        name: str = "fake",
        place: str = "there",
        poll_interval_s: tuple[float, float] = (1.0, 10.0),
        confirm: Confirmation = AT_ONCE,
        confirms_cancel: bool = True,
        cancels_items: bool = False,
        price: float | None = None,
    ) -> None:
        self.name, self.device, self.limits, self.lookup, self.confirm = name, "device", limits, lookup, confirm
        self.poll_interval_s, self.confirms_cancel, self.price = poll_interval_s, confirms_cancel, price
        self.fingerprint = Fingerprint(place=place, settings=self.device)
        self.capabilities = frozenset({Capability.COMPILE, Capability.DURABLE})
        if cancels_items:
            self.capabilities |= {Capability.CANCEL_ITEMS}
        self.jobs: dict[RemoteId, Remote] = {}
        self.faults: deque[Fault | None] = deque()
        self.troubles: deque[BaseException | None] = deque()
        self.asked: list[tuple[RemoteId, ...]] = []
        self.hidden: set[RemoteId] = set()
        self.errors: dict[RemoteId, QJobsError] = {}
        self.refusals: dict[RemoteId, QJobsError] = {}
        self.gone: dict[int, str] = {}
        self.tells_items = True
        self.before_submit: Callable[[], None] = lambda: None
        self.answer: Callable[[list[Result]], list[Result]] = lambda r: r
        self.most_live = 0
        self.shown: Target | QJobsError = Target(name=self.device)
        self.n_looks = 0
        self._lock = threading.Lock()

    def submit(self, batch: Batch, key: Key, journal: Journal) -> None:
        self.before_submit()
        journal.preparing()
        fault = self.faults.popleft() if self.faults else None
        self._fail(fault, "preparing")
        journal.sending()
        assert batch.items, "an empty job was sent"
        self._fail(fault, "before")
        with self._lock:
            remote_id = self._known(key) if self.lookup.token_lifetime_s is not None else None
            if remote_id is None:
                remote_id = RemoteId(f"remote-{len(self.jobs) + 1}")
                self._make(remote_id, batch, key)
        self._fail(fault, "after")
        journal.accepted(remote_id)
        self._fail(fault, "accepted")

    def _fail(self, fault: Fault | None, when: str) -> None:
        if fault and fault.when == when:
            raise fault.error

    def _make(self, remote_id: RemoteId, batch: Batch, key: Key) -> None:
        self.jobs[remote_id] = Remote(remote_id, key, batch, [JobStatus.QUEUED] * len(batch.items))
        labels = {item.label for item in batch.items}
        overlapping = [j for j in self.live() if labels & {item.label for item in j.batch.items}]
        self.most_live = max(self.most_live, len(overlapping))

    def _known(self, key: Key) -> RemoteId | None:
        return next((job.remote_id for job in self.jobs.values() if job.key == key), None)

    def _trouble(self) -> None:
        if self.troubles and (error := self.troubles.popleft()) is not None:
            raise error

    def live(self) -> list[Remote]:
        return [job for job in self.jobs.values() if job.status not in FINAL]

    def find(self, key: Key) -> RemoteId | None:
        self._trouble()
        return self._known(key) if self.lookup.can_find else None

    def status(self, remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Answer]:
        self._trouble()
        self.asked.append(tuple(remote_ids))
        known = [each for each in remote_ids if each in self.jobs and each not in self.hidden]
        return {each: self.errors.get(each) or self.snapshot(each) for each in known}

    def snapshot(self, remote_id: RemoteId) -> Snapshot:
        job = self.jobs[remote_id]
        items = tuple(ItemSnapshot(status=s, message=job.messages.get(n, "")) for n, s in enumerate(job.items))
        return Snapshot(
            status=job.status,
            remote_status=f"their {job.status}",
            items=items if self.tells_items else None,
            queue_position=job.place,
        )

    def results(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> Iterator[tuple[int, Result]]:
        self._trouble()
        if remote_id not in self.jobs:  # it was reserved and never ran
            yield from ((position, MissingResult(reason="it never ran")) for position in items or ())
            return
        job = self.jobs[remote_id]
        if remote_id in self.hidden:
            found: list[Result] = [MissingResult(reason="404: no such job", permanent=True)] * len(job.items)
        else:
            found = self.answer([self._entry(job, n) for n in range(len(job.items))])
        for position, entry in enumerate(found):  # `answer` may give fewer than there are, or more
            if items is None or position in items or position >= len(job.items):
                yield position, entry

    def _entry(self, job: Remote, n: int) -> Result:
        if n in self.gone:
            return MissingResult(reason=self.gone[n], permanent=True)
        if job.items[n] is JobStatus.COMPLETED and not job.late:
            return self.result(job, n)
        return MissingResult(reason=f"it is {job.items[n]}")

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
        if remote_id in self.refusals:
            raise self.refusals[remote_id]
        job.cancels += 1
        to = JobStatus.CANCELLED if self.confirms_cancel else JobStatus.CANCELLING
        job.cancelled_items += items or []
        chosen = range(len(job.items)) if items is None else items
        job.items = [to if i in chosen and status not in FINAL else status for i, status in enumerate(job.items)]

    def estimate(self, batch: Batch) -> float | None:
        return None if self.price is None else self.price * len(batch.items)

    def target(self) -> Target:
        self.n_looks += 1
        if isinstance(self.shown, QJobsError):
            raise self.shown
        return self.shown

    def link(self, remote_id: RemoteId) -> str | None:
        return f"http://provider.test/{remote_id}"

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


class SteppedBackend(ScriptedBackend):
    """A provider that takes a job in steps. `reserved` are the ids that were not gone on with; they never run."""

    def __init__(self, lookup: Lookup = OPAQUE, **options: object) -> None:
        super().__init__(lookup, **options)  # type: ignore[arg-type]
        self.reserved: dict[RemoteId, Key] = {}
        self.abandoned: list[RemoteId] = []

    def submit(self, batch: Batch, key: Key, journal: Journal) -> None:
        self.before_submit()
        journal.preparing()
        fault = self.faults.popleft() if self.faults else None
        self._fail(fault, "preparing")
        with self._lock:
            remote_id = RemoteId(f"remote-{len(self.jobs) + len(self.reserved) + len(self.abandoned) + 1}")
            self.reserved[remote_id] = key
        journal.reserved(remote_id)
        self._fail(fault, "reserved")
        self._finalise(remote_id, batch, key, journal, fault)

    def resume(self, remote_id: RemoteId, batch: Batch, key: Key, journal: Journal) -> None:
        if remote_id not in self.reserved and remote_id not in self.jobs:
            raise SubmissionRejected(f"{remote_id} is gone", detail="no such reservation")
        self._finalise(remote_id, batch, key, journal, self.faults.popleft() if self.faults else None)

    def _finalise(self, remote_id: RemoteId, batch: Batch, key: Key, journal: Journal, fault: Fault | None) -> None:
        journal.sending()
        self._fail(fault, "before")
        with self._lock:
            if self.reserved.pop(remote_id, None) is not None:
                self._make(remote_id, batch, key)
        self._fail(fault, "after")
        journal.accepted(remote_id)
        self._fail(fault, "accepted")

    def abandon(self, remote_id: RemoteId) -> None:
        self._trouble()
        if remote_id in self.jobs:
            raise AlreadyRuns(f"{remote_id} runs")
        if self.reserved.pop(remote_id, None) is not None:
            self.abandoned.append(remote_id)

    def cancel(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> None:
        if remote_id not in self.reserved:
            super().cancel(remote_id, items)
        elif remote_id in self.refusals:
            raise self.refusals[remote_id]
        else:
            self.abandon(remote_id)

    def status(self, remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Answer]:
        waiting = Snapshot(status=JobStatus.SUBMITTED, remote_status="OPEN")
        known = {each: waiting for each in remote_ids if each in self.reserved and each not in self.hidden}
        ended = Snapshot(status=JobStatus.CANCELLED, remote_status="ABANDONED")
        known.update({each: ended for each in remote_ids if each in self.abandoned})
        return {**known, **super().status(remote_ids)}


class ShowingBackend(ScriptedBackend):
    """A provider that shows the live jobs of the account: ours, and `strangers`, of which some are `elsewhere`.

    `silences` are taken one per question.
    """

    def __init__(self, lookup: Lookup = FINDABLE, **options: Any) -> None:
        super().__init__(lookup, **options)
        self.strangers: list[str] = []
        self.elsewhere: set[str] = set()
        self.silences: deque[QJobsError] = deque()
        self.n_shown = 0

    def live_jobs(self) -> list[LiveJob]:
        self.n_shown += 1
        if self.silences:
            raise self.silences.popleft()
        ids = [*(remote.remote_id for remote in self.live()), *self.strangers]
        return [LiveJob(remote_id=RemoteId(each), elsewhere=each in self.elsewhere) for each in ids]
