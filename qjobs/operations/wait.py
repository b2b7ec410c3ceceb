"""Wait in this process until jobs are final, polling each backend at its own pace. Nothing here can submit."""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from qjobs.backends.base import Backend, Snapshot
from qjobs.backends.limiter import back_off_s
from qjobs.errors import LedgerAway, LedgerError, QJobsError, WaitTimeout
from qjobs.ledger import Ledger
from qjobs.lifecycle import LIVE, NOT_MOVED_BY_WAITING, JobStatus
from qjobs.model import Job, JobId, RemoteId
from qjobs.operations.collect import store_ready
from qjobs.operations.look_up import LookUp
from qjobs.operations.poll import poll_each, utc_now
from qjobs.operations.watch import MAX_WATCHED, CanWatch, Watchers

__all__ = ["Progress", "wait"]

logger = logging.getLogger(__name__)

_MAX_BACK_OFF_S = 60.0
_SLICE_S = 0.5
"""Every sleep is cut into slices: Prefect cannot time out one long sleep."""


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


@dataclass(slots=True)
class _Pace:
    """When a backend is polled next: soon after a change, later while nothing happens, latest after errors."""

    backend: Backend
    rng: random.Random
    delay_s: float = 0.0
    due: float = 0.0
    failures: int = 0

    def changed(self, at: float, took_s: float, *, any_change: bool) -> None:
        """Schedule the next pass: with many jobs a pass takes long, and at most half of the time goes into passes."""
        shortest, longest = self.backend.poll_interval_s
        self.failures = 0
        self.delay_s = shortest if any_change else min(longest, max(shortest, self.delay_s * 1.5))
        self.due = at + max(self.delay_s, took_s)

    def failed(self, at: float, retry_after_s: float | None) -> None:
        self.failures += 1
        first_s = 2 * max(0.5, self.backend.poll_interval_s[0])
        back_off = back_off_s(self.failures, first_s=first_s, longest_s=_MAX_BACK_OFF_S, rng=self.rng)
        self.due = at + (retry_after_s or 0.0) + back_off


def wait(
    ledger: Ledger,
    backends: Mapping[str, Backend],
    job_ids: Sequence[JobId],
    *,
    until: str = "all",
    timeout_s: float | None = None,
    report: Callable[[Progress], None] = lambda _: None,
    passed: Callable[[], object] = lambda: None,
    now: Callable[[], datetime] = utc_now,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
    rng: random.Random | None = None,
) -> dict[JobId, JobStatus]:
    """Wait in this process until jobs are final; results are stored as soon as their items have them.

    An unreachable provider, refused credentials, an answer outside the contract or a ledger that restarts never end
    the wait: they are reported, and it goes on with back-off. What is wrong with one job delays no other. Waiting does
    not move jobs in CREATED, UNKNOWN or LOST; they count as settled. `backends` may have any names: a job is polled at
    the backend of its device. With `until` "any" it returns as soon as one job has become final; with "room" as soon
    as one no longer takes a place on its device, for which jobs in UNKNOWN are looked up. It gives up after
    `timeout_s` seconds; None waits for ever. `report` is called after every pass that changed something, and `passed`
    after each. `now` is the clock of what is recorded, `monotonic` that of the pauses; `sleep` is called at least once
    a second, and what it raises ends the wait.

    Returns:
        The status of each job.

    Raises:
        WaitTimeout: The time is over; the jobs go on.
    """
    rng = rng or random.Random()  # noqa: S311
    settles = _leaves_room if until == "room" else _settled
    state = _Wait(ledger, backends, ledger.jobs(job_ids=job_ids), settles, now, monotonic, rng)
    with contextlib.closing(state):
        return _until_settled(state, until, timeout_s, report, passed, monotonic, sleep)


def _until_settled(
    state: _Wait,
    until: str,
    timeout_s: float | None,
    report: Callable[[Progress], None],
    passed: Callable[[], object],
    monotonic: Callable[[], float],
    sleep: Callable[[float], object],
) -> dict[JobId, JobStatus]:
    started = monotonic()
    n_passes = 0
    settled_before = set() if until == "room" else state.settled()  # a place that is free by now is room
    while True:
        try:
            if state.poll_due():
                report(state.progress())
        except LedgerAway as error:  # its server restarts, or another program has locked it
            if state.is_away(error):
                with contextlib.suppress(LedgerAway):
                    report(state.progress())
        if state.n_passes > n_passes:
            n_passes = state.n_passes
            passed()
        settled = state.settled()
        if len(settled) == len(state.statuses) or (until != "all" and settled > settled_before):
            return state.statuses
        if timeout_s is not None and monotonic() - started >= timeout_s:
            late = tuple(job_id for job_id in state.statuses if job_id not in settled)
            raise WaitTimeout(
                f"{len(late)} of {len(state.statuses)} jobs are not final after {timeout_s:g} s; "
                "they go on; wait again",
                job_ids=late,
            )
        sleep(max(0.001, min(_SLICE_S, state.next_due() - monotonic())))


class _Wait:
    """The state of one wait: the status of every job, and when each backend is polled next."""

    def __init__(
        self,
        ledger: Ledger,
        backends: Mapping[str, Backend],
        jobs: Sequence[Job],
        settles: Callable[[JobStatus], bool],
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._ledger = ledger
        self._settles = settles
        self._now = now
        self._monotonic = monotonic
        # One account may serve several devices: their backends share a name, and each polls its own jobs.
        of_device = {(backend.name, backend.device): name for name, backend in backends.items()}
        of_name = {backend.name: name for name, backend in backends.items()}
        self._groups: dict[str, list[JobId]] = defaultdict(list)
        for job in jobs:
            name = of_device.get((job.backend, job.device)) or of_name[job.backend]
            self._groups[name].append(job.job_id)
        self._paces = {name: _Pace(backends[name], rng) for name in self._groups}
        self._seen: dict[RemoteId, Snapshot] = {}
        # Of other jobs nothing new was reported since it was seen that they have no result to be fetched.
        self._may_have_results = {name: set(job_ids) for name, job_ids in self._groups.items()}
        self._trouble: dict[str, str] = {}
        self._trouble_of: dict[str, dict[JobId, str]] = defaultdict(dict)
        self._watchers = Watchers()
        self.statuses = {job.job_id: job.status for job in jobs}
        self.n_passes = 0

    def close(self) -> None:
        self._watchers.end()

    def settled(self) -> set[JobId]:
        """Jobs that waiting cannot move."""
        return {job_id for job_id, status in self.statuses.items() if self._settles(status)}

    def progress(self) -> Progress:
        return Progress(statuses=dict(self.statuses), trouble=dict(self._trouble))

    def next_due(self) -> float:
        return min(pace.due for name, pace in self._paces.items() if self._waiting(name))

    def _waiting(self, name: str) -> list[JobId]:
        return [job_id for job_id in self._groups[name] if not self._settles(self.statuses[job_id])]

    def poll_due(self) -> bool:
        """Poll every backend that is due; returns whether a status or a trouble is another than before."""
        before = dict(self.statuses)
        trouble = dict(self._trouble)
        has_changed = bool(self._watchers.changed())
        for name, pace in self._paces.items():
            waiting = self._waiting(name)
            if waiting and (has_changed or self._monotonic() >= pace.due):
                self._pass(name, pace, waiting)
        return self.statuses != before or self._trouble != trouble

    def is_away(self, error: LedgerAway) -> bool:
        """The ledger cannot be used now: everybody waits for it; whether that is news."""
        for name, pace in self._paces.items():
            if self._waiting(name):
                pace.failed(self._monotonic(), None)
        is_news = self._trouble.get("ledger") != str(error)
        self._trouble["ledger"] = str(error)
        if is_news:
            logger.warning("the wait goes on when the ledger is back: %s", error)
        return is_news

    def _pass(self, name: str, pace: _Pace, waiting: Sequence[JobId]) -> None:
        """Poll one backend and store the results of what has them; a failure delays the next pass."""
        self.n_passes += 1
        started = self._monotonic()
        submitting = [job_id for job_id in waiting if self.statuses[job_id] is JobStatus.SUBMITTING]
        if submitting:  # their process may have ended: nobody else would ever settle them
            self._ledger.submissions.expire_leases(now=self._now(), job_ids=submitting)
        seen = dict(self._seen)
        troubles: dict[JobId, QJobsError] = {}
        try:
            self._look_up_unknown(pace.backend, waiting, troubles)
            polled = poll_each(self._ledger, pace.backend, waiting, self._now, self._seen)
            troubles.update(polled.troubles)
            self._may_have_results[name] |= polled.news
            chosen = []
            for job_id, status in polled.statuses.items():  # another process may have moved it too
                if job_id in self._may_have_results[name] or status is not self.statuses[job_id]:
                    chosen.append(job_id)
            late = store_ready(self._ledger, pace.backend, chosen, now=self._now)
            troubles.update(late)
            for job_id in late:  # it counts as open until its results are stored
                if polled.statuses[job_id].is_final:
                    del polled.statuses[job_id]
            self._forget_late(name, chosen, polled.statuses)
            self.statuses.update(polled.statuses)
        except LedgerError:
            raise
        except QJobsError as error:
            troubles = dict.fromkeys(waiting, error)
        self._trouble.pop("ledger", None)
        self._report_troubles(name, troubles)
        if not troubles:
            self._watch(pace.backend, self._waiting(name))
        if len(troubles) == len(waiting) and troubles:
            longest = max((getattr(each, "retry_after_s", None) or 0.0 for each in troubles.values()), default=0.0)
            pace.failed(self._monotonic(), longest)
        else:
            ended = self._monotonic()
            pace.changed(ended, ended - started, any_change=self._seen != seen)

    def _look_up_unknown(self, backend: Backend, waiting: Sequence[JobId], troubles: dict[JobId, QJobsError]) -> None:
        """Look up jobs in UNKNOWN that are waited for, because they take a place on the device."""
        unknown = [job_id for job_id in waiting if self.statuses[job_id] is JobStatus.UNKNOWN]
        for job in self._ledger.jobs(job_ids=unknown, statuses=[JobStatus.UNKNOWN]):
            attempts = self._ledger.attempts(job.job_id)
            try:
                if attempts[-1].remote_id is None:
                    LookUp(self._ledger, backend, job, attempts, self._now).adopt(attempts[-1])
            except LedgerError:
                raise
            except QJobsError as error:  # StaleJob too: another process has decided
                troubles[job.job_id] = error

    def _forget_late(self, name: str, chosen: Sequence[JobId], statuses: dict[JobId, JobStatus]) -> None:
        """Leave out final jobs of which a result is still to come: they count as open."""
        self._may_have_results[name] = set(self._ledger.jobs_awaiting_results(chosen))
        for job_id in self._may_have_results[name]:
            if job_id in statuses and statuses[job_id].is_final:
                del statuses[job_id]

    def _report_troubles(self, name: str, troubles: Mapping[JobId, QJobsError]) -> None:
        """Record what is wrong, once for each job and each reason."""
        if not troubles:
            self._trouble.pop(name, None)
        for job_id, trouble in troubles.items():
            if self._trouble_of[name].get(job_id) == str(trouble):
                continue
            self._trouble_of[name][job_id] = str(trouble)
            self._ledger.record_event(job_id, type(trouble).__name__, str(trouble), now=self._now())
            logger.warning("%s: %s cannot be asked for: %s", name, job_id, trouble)
        if troubles:
            self._trouble[name] = str(next(iter(troubles.values())))
        for job_id in [each for each in self._trouble_of[name] if each not in troubles]:
            del self._trouble_of[name][job_id]

    def _watch(self, backend: Backend, waiting: Sequence[JobId]) -> None:
        if 0 < len(waiting) <= MAX_WATCHED and isinstance(backend, CanWatch):
            attempts = self._ledger.last_attempts(waiting).values()
            self._watchers.watch(backend, [each.remote_id for each in attempts if each.remote_id is not None])


def _settled(status: JobStatus) -> bool:
    """Whether waiting cannot move a job in this status."""
    return status.is_final or status in NOT_MOVED_BY_WAITING


def _leaves_room(status: JobStatus) -> bool:
    """Whether a job in this status takes no place on its device."""
    return status not in LIVE
