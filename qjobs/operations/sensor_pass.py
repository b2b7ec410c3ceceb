"""Sensor pass: poll every open job that is due, store results, settle UNKNOWN jobs. Sends nothing.

The same pass serves a scheduled flow and a long-lived process. Two of them at once share the work: each claims the
jobs that are due for the length of a lease. Backends are asked side by side (`qjobs.operations.passes`).
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from qjobs.backends.base import Backend
from qjobs.errors import (
    BackendUnavailable,
    CredentialsRejected,
    LedgerError,
    ProtocolError,
    QJobsError,
    StaleJob,
)
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Job, JobId
from qjobs.operations.cancel import end_strays
from qjobs.operations.collect import store_ready, store_results
from qjobs.operations.passes import Passes, PassReport
from qjobs.operations.poll import poll_each, utc_now
from qjobs.operations.recover import Finding, reconcile

__all__ = ["PassReport", "passes_over", "pause_s", "sensor_pass", "together"]

logger = logging.getLogger(__name__)

DEEPEST_PAUSE_S = 1200.0
_PARKED_S = {BackendUnavailable: 60.0, CredentialsRejected: 300.0, ProtocolError: 300.0}
_UNDECIDED_S = 600.0
"""After how long a job that its provider does not find is looked up again."""
_LOST_S = 3600.0
"""How often a job that its provider no longer knows is asked for: it may come back."""
_STRAY_S = (60.0, 3600.0)
"""A remote job that is to be ended is asked for again after a tenth of its age, within these bounds."""
_NEAR = 3
_S_PER_PLACE = 10.0
_FOREMOST = 3
"""For each job that has left a device's queue, so many of the foremost in it are brought forward; a fast queue is
caught up with in a few passes."""
_BROUGHT_FORWARD_S = 3.0
_PART_OF_AGE = 50
"""Where jobs wait for a place at a device, the ones that have it are polled after this part of their age: so that a
place is idle for 2 % of the time at the most."""
_IN_QUEUE = (JobStatus.SUBMITTED, JobStatus.QUEUED)
_TOGETHER_S = 60.0
"""Jobs with longer pauses than this come due together, because a list costs the same for one of its jobs as for all."""


def pause_s(status: JobStatus, age_s: float, place: int | None, bounds_s: tuple[float, float]) -> float:
    """The pause before a job is polled again.

    Seconds while it runs, minutes deep in a queue, sooner when its turn is near; a tenth of its age where
    nothing better is known. All times are in seconds. `place` is its place in the queue, from 1, if the provider tells;
    `bounds_s` are the shortest and longest useful pause of the backend.

    >>> pause_s(JobStatus.QUEUED, 86400.0, None, (1.0, 1200.0)), pause_s(JobStatus.QUEUED, 86400.0, 2, (1.0, 1200.0))
    (1200.0, 30.0)
    >>> pause_s(JobStatus.RUNNING, 50.0, None, (1.0, 1200.0))
    5.0
    """
    shortest, longest = bounds_s
    pause = age_s / 10
    if status is JobStatus.QUEUED and place is not None:
        pause = _NEAR * _S_PER_PLACE if place <= _NEAR else max(pause, place * _S_PER_PLACE)
        if place <= _NEAR:
            longest = min(longest, pause)
    elif status is not JobStatus.QUEUED:
        pause = min(pause, 60.0)
    return min(max(pause, shortest), longest, DEEPEST_PAUSE_S)


def together(present: datetime, pause: float) -> datetime | None:
    """When a job with a long pause is due: at most a quarter of it sooner, at a moment that others share.

    >>> from datetime import UTC
    >>> noon = datetime(2025, 1, 1, 12, tzinfo=UTC)
    >>> [f"{together(noon + timedelta(minutes=n), 1200.0):%H:%M:%S}" for n in (0, 1, 3)]
    ['12:16:00', '12:20:16', '12:20:16']
    """
    if pause < _TOGETHER_S:
        return None
    grid = 2 ** math.floor(math.log2(pause / 4))
    return datetime.fromtimestamp((present.timestamp() + pause) // grid * grid, tz=present.tzinfo)


def sensor_pass(
    ledger: Ledger,
    open_backend: Callable[[str], Backend],
    *,
    now: Callable[[], datetime] = utc_now,
    rng: random.Random | None = None,
    limit: int = 20_000,
) -> PassReport:
    """Poll every job that is due, many per request; store results; settle UNKNOWN jobs where possible.

    A provider that cannot be reached, a credential that ran out or an answer outside the contract parks the
    jobs it concerns, with the reason, and stops no other. Takes at most `limit` jobs. `open_backend` takes the name of
    a backend, as the job's `opened_as` has it.
    """
    with contextlib.closing(passes_over(ledger, open_backend, now=now, rng=rng, limit=limit)) as passes:
        return passes.run_pass()


def passes_over(
    ledger: Ledger,
    open_backend: Callable[[str], Backend],
    *,
    now: Callable[[], datetime] = utc_now,
    rng: random.Random | None = None,
    limit: int = 20_000,
    news: Callable[[], object] = lambda: None,
) -> Passes:
    """Passes as those of `sensor_pass`, one after the other, which need not wait for a slow backend."""
    rng = rng or random.Random()  # noqa: S311
    of_backend = functools.partial(_BackendPass, ledger, open_backend, now, rng)
    return Passes(ledger, of_backend, now=now, limit=limit, news=news)


@dataclass(slots=True)
class _BackendPass:
    """The pass over the jobs of one backend."""

    ledger: Ledger
    open_backend: Callable[[str], Backend]
    now: Callable[[], datetime]
    rng: random.Random
    name: str
    jobs: Sequence[Job]
    tell: Callable[[PassReport], None]
    report: PassReport = field(default_factory=PassReport)
    polled: list[JobId] = field(default_factory=list)
    accepted: dict[JobId, datetime] = field(default_factory=dict)
    """When their provider took jobs, as far as that was read with their attempts."""
    parked: set[JobId] = field(default_factory=set)
    strays_s: dict[JobId, float] = field(default_factory=dict)
    """Jobs with a stray, and after how long it is asked for."""
    due: dict[JobId, datetime] = field(default_factory=dict)
    """When open jobs are polled next."""
    backend: Backend | None = None
    known: dict[JobId, str] = field(init=False)
    """The trouble that jobs had before."""
    before: dict[JobId, JobStatus] = field(init=False)

    def __post_init__(self) -> None:
        self.known = {job.job_id: job.trouble for job in self.jobs if job.trouble is not None}
        self.before = {job.job_id: job.status for job in self.jobs}

    def run(self) -> list[tuple[str, JobId]]:
        """Poll the jobs, and schedule those that have nothing to be downloaded; the others, with their runs."""
        wanted: list[Job] = []
        try:
            self.backend = self.open_backend(self.name)
            wanted = self._run(self.backend)
        except LedgerError:
            raise
        except Exception as error:  # whatever an adapter does, it concerns its own jobs alone
            self._park([job.job_id for job in self.jobs if job.job_id not in self.parked], error)
        finally:
            self.tell(self.report)
        return self._let_go(wanted)

    def _let_go(self, wanted: Sequence[Job]) -> list[tuple[str, JobId]]:
        """Keep of the jobs only what their downloads need, of which there may be very many."""
        self.jobs = ()
        self.before = {}
        self.polled = []
        self.accepted = {}
        self.report = PassReport()
        self.known = {job.job_id: job.trouble for job in wanted if job.trouble is not None}
        self.due = {job.job_id: self.due[job.job_id] for job in wanted if job.job_id in self.due}
        return [(job.run, job.job_id) for job in wanted]

    def download(self, job_id: JobId) -> None:
        """Store the results of one job that are ready, and schedule its next poll."""
        try:
            assert self.backend is not None  # noqa: S101 - `run` has opened it
            self._store(self.backend, self.ledger.job(job_id))
        except LedgerError:
            raise
        except Exception as error:
            self._park([job_id], error)

    def _run(self, backend: Backend) -> list[Job]:
        by_status: dict[JobStatus, list[JobId]] = defaultdict(list)
        for job in self.jobs:
            by_status[job.status].append(job.job_id)
        self._settle_unknown(backend, by_status.pop(JobStatus.UNKNOWN, []))
        self._end_strays(backend)
        under_way: list[JobId] = []
        for status, job_ids in by_status.items():
            if not status.is_final:
                under_way += job_ids
        self._poll(backend, under_way)
        return self._schedule(backend, [job.job_id for job in self.jobs])

    def _settle_unknown(self, backend: Backend, job_ids: Sequence[JobId]) -> None:
        for job_id in job_ids:
            try:
                settled = reconcile(self.ledger, {backend.name: backend}, job_ids=[job_id], now=self.now)
            except QJobsError as error:
                self._park([job_id], error)
                continue
            if settled and settled[0].finding is not Finding.ADOPTED:
                self._put_off([job_id], _UNDECIDED_S, settled[0].words)

    def _end_strays(self, backend: Backend) -> None:
        try:
            end_strays(self.ledger, backend, [job.job_id for job in self.jobs], now=self.now)
        except LedgerError:
            raise
        except QJobsError as error:
            self.tell(PassReport(trouble={self.name: f"{type(error).__name__}: {error}"}))
            return
        present = self.now()
        shortest_s, longest_s = _STRAY_S
        for stray in self.ledger.strays.pending([job.job_id for job in self.jobs]):
            age_s = (present - stray.found_at).total_seconds()
            pause = min(max(age_s / 10, shortest_s), longest_s)
            self.strays_s[stray.job_id] = min(pause, self.strays_s.get(stray.job_id, pause))

    def _poll(self, backend: Backend, job_ids: Sequence[JobId]) -> None:
        """Poll all at once; where the answer breaks the contract, find the job that it is about by halves."""
        if not job_ids:
            return
        try:
            polled = poll_each(self.ledger, backend, job_ids, self.now, {})
        except ProtocolError as error:
            if len(job_ids) == 1:
                self._park(job_ids, error)
                return
            middle = len(job_ids) // 2
            self._poll(backend, job_ids[:middle])
            self._poll(backend, job_ids[middle:])
            return
        except StaleJob:  # another process moved it: the next pass sees how
            return
        except LedgerError:
            raise
        except QJobsError as error:
            self._park(job_ids, error)
            return
        for job_id, trouble in polled.troubles.items():
            self._park([job_id], trouble)
        for job_id, status in polled.statuses.items():
            if status is not self.before[job_id]:
                self.report.moved[job_id] = status
        self.polled += job_ids
        self.accepted |= polled.accepted

    def _schedule(self, backend: Backend, job_ids: Sequence[JobId]) -> list[Job]:
        """Schedule the next poll of each open job; those jobs that have something to be downloaded."""
        jobs = [job for job in self.ledger.jobs(job_ids=job_ids) if job.job_id not in self.parked]
        ready = set(self.ledger.jobs_awaiting_results(self.polled))
        wanted = [job for job in jobs if job.status.is_final or job.job_id in ready]
        held = [job for job in jobs if not job.status.is_final]
        places = self.ledger.queue_positions([job.job_id for job in held])
        unknown = [job.job_id for job in held if job.job_id not in self.accepted]
        accepted = self.accepted | (self.ledger.accepted_at(unknown) if unknown else {})
        waited_for = self.ledger.dispatches.is_waited_for(backend.name, backend.device)
        present = self.now()
        for job in held:
            age_s = (present - accepted.get(job.job_id, job.created_at)).total_seconds()
            self.due[job.job_id] = self._next(
                job, places.get(job.job_id), age_s, backend, present, waited_for=waited_for
            )
        self.ledger.schedule.set_next({job_id: at for job_id, at in self.due.items() if job_id not in ready})
        if waited_for and self.due:
            self.report.again_at[self.name] = min(self.due.values())
        gone = sum(job.job_id in self.report.moved and job.status not in _IN_QUEUE for job in jobs)
        if gone:  # the queue goes on, perhaps faster than was thought
            soon = present + timedelta(seconds=max(_BROUGHT_FORWARD_S, backend.poll_interval_s[0]))
            self.ledger.schedule.bring_forward(backend.name, backend.device, foremost=_FOREMOST * gone, at=soon)
        self.report.soon[self.name] = [
            job.job_id
            for job in held
            if job.status is JobStatus.RUNNING or places.get(job.job_id, _NEAR + 1) <= _NEAR or waited_for
        ]
        return wanted

    def _store(self, backend: Backend, job: Job) -> None:
        job_id = job.job_id
        if not job.status.is_final:
            for trouble in store_ready(self.ledger, backend, [job_id], now=self.now).values():
                raise trouble
            self.ledger.schedule.set_next({job_id: self.due.get(job_id, self.now())})
        elif store_results(self.ledger, backend, job, now=self.now) and self.ledger.job(job_id).next_poll_at:
            self._put_off([job_id], _PARKED_S[BackendUnavailable], "COMPLETED, and no results yet")
        elif job_id in self.strays_s:
            self._put_off([job_id], self.strays_s[job_id], "another remote job of it is not ended yet")

    def _next(
        self, job: Job, place: int | None, age_s: float, backend: Backend, present: datetime, *, waited_for: bool
    ) -> datetime:
        """When a job is polled next; `age_s` is how long its provider has it."""
        if job.status is JobStatus.LOST:
            return present + timedelta(seconds=_LOST_S * self.rng.uniform(0.9, 1.1))
        if job.job_id in self.strays_s:
            return present + timedelta(seconds=self.strays_s[job.job_id])
        pause = pause_s(job.status, age_s, place, backend.poll_interval_s)
        if waited_for:
            return present + timedelta(seconds=min(pause, max(backend.poll_interval_s[0], age_s / _PART_OF_AGE)))
        return together(present, pause) or present + timedelta(seconds=pause * self.rng.uniform(0.9, 1.1))

    def _park(self, job_ids: Sequence[JobId], error: Exception) -> None:
        words = f"{type(error).__name__}: {error}"
        asked_for_s = getattr(error, "retry_after_s", None) or 0.0
        for job_id in job_ids:
            if self.known.get(job_id) != words:
                logger.warning("%s: parked: %s", job_id, words)
                self.ledger.record_event(job_id, "parked", words, now=self.now())
        self._put_off(job_ids, max(asked_for_s, _PARKED_S.get(type(error), 300.0)), words)
        self.tell(PassReport(trouble={self.name: words}))

    def _put_off(self, job_ids: Sequence[JobId], seconds: float, words: str) -> None:
        at = self.now() + timedelta(seconds=seconds * self.rng.uniform(1.0, 1.2))
        self.ledger.schedule.set_next(dict.fromkeys(job_ids, at), trouble=words)
        self.parked.update(job_ids)
