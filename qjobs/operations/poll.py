"""Asking backends and writing down what they say: poll, fetch, wait. Nothing here can submit."""

from __future__ import annotations

import contextlib
import random
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from qjobs.backends.base import Backend, MissingResult, Snapshot
from qjobs.errors import BackendUnavailable, CredentialsRejected, ProtocolError, WaitTimeout
from qjobs.ledger import Ledger
from qjobs.ledger.provider_reports import Report
from qjobs.lifecycle import JobStatus
from qjobs.model import Attempt, Job, JobId, RemoteId
from qjobs.operations.watch import MOST, Watchers, Watches

__all__ = ["Progress", "fetch", "poll", "utc_now", "wait"]

_MAX_BACK_OFF_S = 60.0
_MAX_DOUBLINGS = 10
_SLICE_S = 0.5
"""Every sleep is cut into slices: Prefect cannot time out one long sleep."""
_TROUBLE = (BackendUnavailable, CredentialsRejected, ProtocolError)
"""What never ends a wait."""


def utc_now() -> datetime:
    """The present, aware UTC: the default clock of all operations."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a wait is.

    `statuses` holds every job waited for; `trouble` says why a backend could not be asked, by its
    name, and is empty when all is well.
    """

    statuses: Mapping[JobId, JobStatus]
    trouble: Mapping[str, str] = field(default_factory=dict)

    @property
    def open(self) -> tuple[JobId, ...]:
        """Jobs that are not final."""
        return tuple(job_id for job_id, status in self.statuses.items() if not status.is_final)


def poll(
    ledger: Ledger,
    backend: Backend,
    job_ids: Sequence[JobId],
    *,
    now: Callable[[], datetime] = utc_now,
    seen: dict[RemoteId, Snapshot] | None = None,
) -> dict[JobId, JobStatus]:
    """Ask once for the status of all these jobs of one backend, and write it down.

    A wish to cancel that the provider does not know of yet is passed on. Jobs that were never sent,
    are UNKNOWN or final are not asked for.

    Args:
        ledger: Where they are.
        backend: The backend that has them.
        job_ids: Which.
        now: The clock.
        seen: What was reported last; a report that says nothing new is not written again. Updated.

    Returns:
        The status of each job afterwards.

    Raises:
        BackendUnavailable: The provider cannot be asked now; the ledger is as it was.
        CredentialsRejected: The same, until a person renews the credentials.
        ProtocolError: The provider left its contract; the jobs keep their last status.
    """
    statuses, failure = ask(ledger, backend, job_ids, now, {} if seen is None else seen)
    if failure is not None:
        raise failure
    return statuses


def ask(
    ledger: Ledger,
    backend: Backend,
    job_ids: Sequence[JobId],
    now: Callable[[], datetime],
    seen: dict[RemoteId, Snapshot],
) -> tuple[dict[JobId, JobStatus], ProtocolError | None]:
    """As `poll`; a report that cannot be about its job does not keep those of the others from being written."""
    jobs = {job.job_id: job for job in ledger.jobs(job_ids=job_ids)}
    statuses = {job_id: job.status for job_id, job in jobs.items()}
    live = {
        attempt.remote_id: attempt
        for job_id, attempt in ledger.last_attempts(job_ids).items()
        if attempt.remote_id is not None and not attempt.status.is_final and attempt.epoch == jobs[job_id].epoch
    }
    if not live:
        return statuses, None
    _pass_wishes_on(ledger, backend, jobs, live)
    answers = backend.status(list(live))
    said: dict[RemoteId, Snapshot] = {}
    placed: dict[RemoteId, Snapshot] = {}
    for remote_id, attempt in live.items():
        snapshot = answers.get(remote_id)
        if snapshot is None or (seen.get(remote_id) == snapshot and not snapshot.status.is_final):
            continue
        if _says_nothing_new(attempt, snapshot):
            if snapshot.queue_position is not None:
                placed[remote_id] = snapshot
            continue
        said[remote_id] = snapshot
    reports = [
        Report(job_id=live[remote_id].job_id, number=live[remote_id].number, snapshot=snapshot)
        for remote_id, snapshot in said.items()
    ]
    written, failure = ledger.record_reports(reports, now=now())
    statuses.update(written)
    seen.update({remote_id: snapshot for remote_id, snapshot in said.items() if live[remote_id].job_id in written})
    _write_places(ledger, {live[remote_id].job_id: each.queue_position for remote_id, each in placed.items()})
    seen.update(placed)
    return statuses, failure


def _says_nothing_new(attempt: Attempt, snapshot: Snapshot) -> bool:
    """Whether a report that tells no items apart is what was written down last, but for the place in the queue."""
    told = (attempt.status, attempt.remote_status, attempt.message)
    plain = not snapshot.items and snapshot.cost is None
    plain &= snapshot.queue_position is None or snapshot.status is JobStatus.QUEUED
    return plain and told == (snapshot.status, snapshot.remote_status, snapshot.message)


def _write_places(ledger: Ledger, places: Mapping[JobId, int | None]) -> None:
    """Keep the places in the queue that have changed, all at once: when one job ends, thousands move up."""
    known = ledger.queue_positions(list(places))
    changed = {job_id: place for job_id, place in places.items() if place is not None and place != known.get(job_id)}
    ledger.record_queue_positions(changed)


def _pass_wishes_on(
    ledger: Ledger, backend: Backend, jobs: Mapping[JobId, Job], live: Mapping[RemoteId, Attempt]
) -> None:
    """Ask the provider for every cancellation that it does not know of yet."""
    items = ledger.items_to_cancel([attempt.job_id for attempt in live.values()])
    for remote_id, attempt in live.items():
        job = jobs[attempt.job_id]
        if job.cancel_requested_at is not None and job.status is not JobStatus.CANCELLING:
            backend.cancel(remote_id)
        elif job.cancel_requested_at is None and job.job_id in items:
            sent = attempt.items if attempt.items is not None else tuple(range(job.n_items))
            chosen = [sent.index(index) for index in items[job.job_id] if index in sent]
            if len(chosen) == len(sent):
                backend.cancel(remote_id)
            elif chosen and backend.cancels_items:
                backend.cancel(remote_id, chosen)


def fetch(ledger: Ledger, backend: Backend, job: Job, *, now: Callable[[], datetime] = utc_now) -> dict[int, str]:
    """Store the results of a job that are there; what is stored already is kept.

    Asked for are the attempts of the present epoch, the newest first, as long as an item has none.

    Returns:
        Item index to reason, for every item that still has no result.

    Raises:
        BackendUnavailable, CredentialsRejected, ProtocolError: As `Backend.results`.
    """
    reasons = dict.fromkeys(ledger.missing_items(job.job_id), job.message or f"the job is {job.status}")
    attempts = [a for a in ledger.attempts(job.job_id) if a.epoch == job.epoch and a.remote_id is not None]
    for attempt in reversed(attempts):
        if not reasons:
            break
        try:
            reasons = _fetch_from(ledger, backend, job, attempt, reasons, now())
        except ProtocolError:
            if attempt is attempts[-1]:
                raise  # an older one may be forgotten by now
    if job.status.is_final and job.next_poll_at is not None and not _are_late(ledger, job, reasons):
        ledger.schedule.set_next({job.job_id: None})
    return reasons


def _are_late(ledger: Ledger, job: Job, reasons: Mapping[int, str]) -> bool:
    """Whether an item is COMPLETED and its result is not there yet."""
    return bool(reasons) and any(
        item.status is JobStatus.COMPLETED for item in ledger.items(job.job_id) if item.index in reasons
    )


def _fetch_from(
    ledger: Ledger, backend: Backend, job: Job, attempt: Attempt, reasons: Mapping[int, str], present: datetime
) -> dict[int, str]:
    """Store what an attempt has of the items that lack a result (`reasons`); the reasons for those that still do."""
    sent = attempt.items if attempt.items is not None else tuple(range(job.n_items))
    if attempt.remote_id is None or not set(sent) & set(reasons):
        return dict(reasons)
    answers = backend.results(attempt.remote_id)
    if len(answers) != len(sent):
        raise ProtocolError(
            f"{backend.name} gave {len(answers)} results for the {len(sent)} items of {attempt.remote_id}; "
            "nothing was stored of it, ask again later"
        )
    by_index = dict(zip(sent, answers, strict=True))
    found = {index: answer for index, answer in by_index.items() if not isinstance(answer, MissingResult)}
    ledger.store_results(job.job_id, attempt, found, now=present)
    told = {index: answer.reason for index, answer in by_index.items() if isinstance(answer, MissingResult)}
    return {index: told.get(index, reason) for index, reason in reasons.items() if index not in found}


@dataclass(slots=True)
class _Pace:
    """When a backend is asked next: quick after a change, slower while nothing happens, slow after errors."""

    backend: Backend
    rng: random.Random
    delay_s: float = 0.0
    due: float = 0.0
    failures: int = 0

    def changed(self, at: float, *, any_change: bool) -> None:
        shortest, longest = self.backend.poll_interval_s
        self.failures = 0
        self.delay_s = shortest if any_change else min(longest, max(shortest, self.delay_s * 1.5))
        self.due = at + self.delay_s

    def failed(self, at: float, retry_after_s: float | None) -> None:
        self.failures += 1
        doublings = min(self.failures, _MAX_DOUBLINGS)  # an outage of days must not overflow a float
        back_off = min(_MAX_BACK_OFF_S, max(0.5, self.backend.poll_interval_s[0]) * 2**doublings)
        self.due = at + (retry_after_s or 0.0) + back_off * self.rng.uniform(0.5, 1.0)


def wait(
    ledger: Ledger,
    backends: Mapping[str, Backend],
    job_ids: Sequence[JobId],
    *,
    until: str = "all",
    timeout_s: float | None = None,
    report: Callable[[Progress], None] = lambda _: None,
    now: Callable[[], datetime] = utc_now,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    rng: random.Random | None = None,
) -> dict[JobId, JobStatus]:
    """Wait in this process until jobs are final; results are stored as soon as they exist.

    An unreachable provider, refused credentials or an answer outside the contract never end the
    wait: they are reported, and asked again with back-off. Jobs in CREATED or UNKNOWN do not move by
    waiting and count as settled.

    Args:
        ledger: Where the jobs are.
        backends: Every backend that is needed, by any name; a job is asked for at the backend of its device.
        job_ids: What to wait for.
        until: "all", or "any": return as soon as one job has become final.
        timeout_s: Give up after so many seconds; None waits for ever.
        report: Called after every pass that changed something.
        now: The clock of what is written down.
        monotonic: The clock of the pauses.
        sleep: How to pause.
        rng: Source of jitter.

    Returns:
        The status of each job.

    Raises:
        WaitTimeout: The time is over; the jobs go on.
    """
    state = _Wait(ledger, backends, ledger.jobs(job_ids=job_ids), now, monotonic, rng or random.Random())  # noqa: S311
    with contextlib.closing(state):
        return _until_settled(state, until, timeout_s, report, monotonic, sleep)


def _until_settled(
    state: _Wait,
    until: str,
    timeout_s: float | None,
    report: Callable[[Progress], None],
    monotonic: Callable[[], float],
    sleep: Callable[[float], None],
) -> dict[JobId, JobStatus]:
    started = monotonic()
    settled_before = state.settled()
    while True:
        if state.ask():
            report(state.progress())
        settled = state.settled()
        if len(settled) == len(state.statuses) or (until == "any" and settled > settled_before):
            return state.statuses
        if timeout_s is not None and monotonic() - started >= timeout_s:
            late = tuple(job_id for job_id in state.statuses if job_id not in settled)
            raise WaitTimeout(
                f"{len(late)} of {len(state.statuses)} jobs are not final after {timeout_s:g} s; "
                "they go on, wait again",
                job_ids=late,
            )
        sleep(max(0.001, min(_SLICE_S, state.next_due() - monotonic())))


class _Wait:
    """What one wait knows: the status of every job, and when each backend is asked next."""

    def __init__(
        self,
        ledger: Ledger,
        backends: Mapping[str, Backend],
        jobs: Sequence[Job],
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._ledger, self._now, self._monotonic = ledger, now, monotonic
        # One account may serve several devices: their backends share a name, and each asks for its own jobs.
        of_device = {(backend.name, backend.device): name for name, backend in backends.items()}
        of_name = {backend.name: name for name, backend in backends.items()}
        self._groups: dict[str, list[JobId]] = defaultdict(list)
        for job in jobs:
            name = of_device.get((job.backend, job.device)) or of_name[job.backend]
            self._groups[name].append(job.job_id)
        self._paces = {name: _Pace(backends[name], rng) for name in self._groups}
        self._seen: dict[RemoteId, Snapshot] = {}
        self._trouble: dict[str, str] = {}
        self._watchers = Watchers()
        self.statuses = {job.job_id: job.status for job in jobs}

    def close(self) -> None:
        self._watchers.end()

    def settled(self) -> set[JobId]:
        """Jobs that waiting cannot move."""
        return {job_id for job_id, status in self.statuses.items() if _settled(status)}

    def progress(self) -> Progress:
        return Progress(statuses=dict(self.statuses), trouble=dict(self._trouble))

    def next_due(self) -> float:
        return min(pace.due for name, pace in self._paces.items() if self._waiting(name))

    def _waiting(self, name: str) -> list[JobId]:
        return [job_id for job_id in self._groups[name] if not _settled(self.statuses[job_id])]

    def ask(self) -> bool:
        """Ask every backend that is due; returns whether a status or a trouble is another than before."""
        before, trouble = dict(self.statuses), dict(self._trouble)
        told = bool(self._watchers.noticed())
        for name, pace in self._paces.items():
            waiting = self._waiting(name)
            if waiting and (told or self._monotonic() >= pace.due):
                self._pass(name, pace, waiting)
        return self.statuses != before or self._trouble != trouble

    def _pass(self, name: str, pace: _Pace, waiting: Sequence[JobId]) -> None:
        """Ask one backend once and store the results of what is final; a failure is noted and paces the next pass."""
        submitting = [job_id for job_id in waiting if self.statuses[job_id] is JobStatus.SUBMITTING]
        if submitting:  # their process may have ended: nobody else would ever settle them
            self._ledger.submissions.expire_leases(now=self._now(), job_ids=submitting)
        seen = dict(self._seen)
        failure: BackendUnavailable | CredentialsRejected | ProtocolError | None
        try:
            statuses, failure = ask(self._ledger, pace.backend, waiting, self._now, self._seen)
        except _TROUBLE as error:
            statuses, failure = {}, error
        for job in self._ledger.jobs(job_ids=[job_id for job_id, status in statuses.items() if status.is_final]):
            try:
                fetch(self._ledger, pace.backend, job, now=self._now)
            except _TROUBLE as error:  # it counts as open until its results are stored
                statuses.pop(job.job_id)
                failure = error
        self.statuses.update(statuses)
        if failure is None:
            self._trouble.pop(name, None)
            self._watch(pace.backend, self._waiting(name))
            pace.changed(self._monotonic(), any_change=self._seen != seen)
            return
        if self._trouble.get(name) != str(failure):
            for job_id in waiting:
                self._ledger.record_event(job_id, type(failure).__name__, str(failure), now=self._now())
        self._trouble[name] = str(failure)
        pace.failed(self._monotonic(), getattr(failure, "retry_after_s", None))

    def _watch(self, backend: Backend, waiting: Sequence[JobId]) -> None:
        if 0 < len(waiting) <= MOST and isinstance(backend, Watches):
            attempts = self._ledger.last_attempts(waiting).values()
            self._watchers.follow(backend, [each.remote_id for each in attempts if each.remote_id is not None])


def _settled(status: JobStatus) -> bool:
    """Whether waiting cannot move it."""
    return status.is_final or status in {JobStatus.CREATED, JobStatus.UNKNOWN}
