"""Wait in this process until jobs are final, polling backends side by side, each at its own pace.

Nothing here can submit.
"""

from __future__ import annotations

import contextlib
import logging
import math
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import datetime
from queue import Empty, SimpleQueue

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

__all__ = ["Progress", "pause", "wait"]

logger = logging.getLogger(__name__)

_MAX_BACK_OFF_S = 60.0
_SLICE_S = 0.5
"""Every sleep is cut into slices: Prefect cannot time out one long sleep."""
_left_behind: dict[int, threading.Thread] = {}
"""By the identity of a backend: the thread that still asks it for a wait that is over, and keeps it alive."""
_left_behind_lock = threading.Lock()


def pause(seconds: float, sleep: Callable[[float], object] = time.sleep) -> None:
    """Sleep in slices; `sleep` is called at least once a second, and what it raises ends the pause."""
    n_slices = math.ceil(seconds / _SLICE_S)
    for _ in range(n_slices):
        sleep(seconds / n_slices)


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
    sleep: Callable[[float], object] | None = None,
    rng: random.Random | None = None,
) -> dict[JobId, JobStatus]:
    """Wait in this process until jobs are final; results are stored as soon as their items have them.

    An unreachable provider, refused credentials, an answer outside the contract or a ledger that restarts never end
    the wait: they are reported, and it goes on with back-off. What is wrong with one job delays no other, and a backend
    that answers slowly delays none of another: it may still be asked when the wait is over. Waiting does
    not move jobs in CREATED, UNKNOWN or LOST; they count as settled. `backends` may have any names: a job is polled at
    the backend of its device. With `until` "any" it returns as soon as one job has become final; with "room" as soon
    as one no longer takes a place on its device, for which jobs in UNKNOWN are looked up. It gives up after
    `timeout_s` seconds; None waits for ever. `report` is called after every pass that changed something, and `passed`
    after each. `now` is the clock of what is recorded, `monotonic` that of the pauses; `sleep` is called at least once
    a second, and what it raises ends the wait. Without one a pause ends as soon as a provider says that a job changed.

    Returns:
        The status of each job.

    Raises:
        WaitTimeout: The time is over; the jobs go on.
    """
    rng = rng or random.Random()  # noqa: S311
    settles = _leaves_room if until == "room" else _settled
    state = _Wait(ledger, backends, ledger.jobs(job_ids=job_ids), settles, now, monotonic, rng)
    with contextlib.closing(state):
        return _until_settled(state, until, timeout_s, report, passed, monotonic, sleep or state.pause)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Passed:
    """What a pass over one backend brought: how its jobs are now, and why it could not be asked; or what ended it."""

    statuses: Mapping[JobId, JobStatus] = field(default_factory=dict)
    trouble: str | None = None
    error: BaseException | None = None


class _Passes:
    """The passes over one backend, one after the other.

    Each asks for its jobs and stores the results of what has them; a failure delays the next one.
    """

    def __init__(
        self,
        ledger: Ledger,
        name: str,
        backend: Backend,
        job_ids: Sequence[JobId],
        watchers: Watchers,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self.name = name
        self.backend = backend
        self.job_ids = job_ids
        self.pace = _Pace(backend, rng)
        self._ledger = ledger
        self._watchers = watchers
        self._now = now
        self._monotonic = monotonic
        self._seen: dict[RemoteId, Snapshot] = {}
        # Of other jobs nothing new was reported since it was seen that they have no result to be fetched.
        self._may_have_results = set(job_ids)
        self._trouble_of: dict[JobId, str] = {}
        self.is_asked_for = False
        """Whether one of its jobs has changed, so that it is due."""
        self.thread: threading.Thread | None = None

    def begin(
        self,
        waiting: Mapping[JobId, JobStatus],
        settles: Callable[[JobStatus], bool],
        answers: SimpleQueue[tuple[_Passes, _Passed]],
    ) -> None:
        """As `run`, in a thread that ends with the process; what came of it goes to `answers`."""

        def run() -> None:
            answers.put((self, self.run(waiting, settles)))

        self.thread = threading.Thread(target=copy_context().run, args=(run,), daemon=True)
        self.thread.start()

    def run(self, waiting: Mapping[JobId, JobStatus], settles: Callable[[JobStatus], bool]) -> _Passed:
        """Ask for the jobs that are waited for, which are as `waiting` says; nothing is raised."""
        try:
            return self._run(waiting, settles)
        except BaseException as error:  # it may be in a thread of its own
            return _Passed(error=error)

    def _run(self, waiting: Mapping[JobId, JobStatus], settles: Callable[[JobStatus], bool]) -> _Passed:
        started = self._monotonic()
        submitting = [job_id for job_id, status in waiting.items() if status is JobStatus.SUBMITTING]
        if submitting:  # their process may have ended: nobody else would ever settle them
            self._ledger.submissions.expire_leases(now=self._now(), job_ids=submitting)
        seen = dict(self._seen)
        statuses: dict[JobId, JobStatus] = {}
        troubles: dict[JobId, QJobsError] = {}
        try:
            self._look_up_unknown(waiting, troubles)
            statuses = self._poll(waiting, troubles)
        except LedgerError:
            raise
        except QJobsError as error:
            troubles = dict.fromkeys(waiting, error)
        self._record_troubles(troubles)
        if not troubles:
            now_waiting = {**waiting, **statuses}
            self._watch([job_id for job_id, status in now_waiting.items() if not settles(status)])
        if len(troubles) == len(waiting):
            longest = max((getattr(each, "retry_after_s", None) or 0.0 for each in troubles.values()), default=0.0)
            self.pace.failed(self._monotonic(), longest)
        else:
            ended = self._monotonic()
            self.pace.changed(ended, ended - started, any_change=self._seen != seen)
        return _Passed(statuses=statuses, trouble=str(next(iter(troubles.values()))) if troubles else None)

    def _poll(self, waiting: Mapping[JobId, JobStatus], troubles: dict[JobId, QJobsError]) -> dict[JobId, JobStatus]:
        polled = poll_each(self._ledger, self.backend, list(waiting), self._now, self._seen)
        troubles.update(polled.troubles)
        self._may_have_results |= polled.news
        chosen = []
        for job_id, status in polled.statuses.items():  # another process may have moved it too
            if job_id in self._may_have_results or status is not waiting[job_id]:
                chosen.append(job_id)
        late = store_ready(self._ledger, self.backend, chosen, now=self._now)
        troubles.update(late)
        # A final job counts as open until its results are stored, and while one of them is still to come.
        self._may_have_results = set(self._ledger.jobs_awaiting_results(chosen))
        statuses = {}
        for job_id, status in polled.statuses.items():
            if not (status.is_final and (job_id in late or job_id in self._may_have_results)):
                statuses[job_id] = status
        return statuses

    def _look_up_unknown(self, waiting: Mapping[JobId, JobStatus], troubles: dict[JobId, QJobsError]) -> None:
        """Look up jobs in UNKNOWN that are waited for, because they take a place on the device."""
        unknown = [job_id for job_id, status in waiting.items() if status is JobStatus.UNKNOWN]
        for job in self._ledger.jobs(job_ids=unknown, statuses=[JobStatus.UNKNOWN]):
            attempts = self._ledger.attempts(job.job_id)
            try:
                if attempts[-1].remote_id is None:
                    LookUp(self._ledger, self.backend, job, attempts, self._now).adopt(attempts[-1])
            except LedgerError:
                raise
            except QJobsError as error:  # StaleJob too: another process has decided
                troubles[job.job_id] = error

    def _record_troubles(self, troubles: Mapping[JobId, QJobsError]) -> None:
        """Record what is wrong, once for each job and each reason."""
        for job_id, trouble in troubles.items():
            if self._trouble_of.get(job_id) == str(trouble):
                continue
            self._trouble_of[job_id] = str(trouble)
            self._ledger.record_event(job_id, type(trouble).__name__, str(trouble), now=self._now())
            logger.warning("%s: %s cannot be asked for: %s", self.name, job_id, trouble)
        for job_id in [each for each in self._trouble_of if each not in troubles]:
            del self._trouble_of[job_id]

    def _watch(self, waiting: Sequence[JobId]) -> None:
        if 0 < len(waiting) <= MAX_WATCHED and isinstance(self.backend, CanWatch):
            attempts = self._ledger.last_attempts(waiting).values()
            self._watchers.watch(self.backend, [each.remote_id for each in attempts if each.remote_id is not None])


class _Wait:
    """The state of one wait: the status of every job, and what asks each backend, all of them side by side.

    A backend that takes long is not waited for. What a wait that is over has left behind asks on, and until it has an
    answer its backend is not asked by another wait.
    """

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
        self._settles = settles
        self._monotonic = monotonic
        self._wake = threading.Event()
        self._watchers = Watchers(self._wake)
        # One account may serve several devices: their backends share a name, and each polls its own jobs.
        of_device = {(backend.name, backend.device): name for name, backend in backends.items()}
        of_name = {backend.name: name for name, backend in backends.items()}
        groups: dict[str, list[JobId]] = defaultdict(list)
        for job in jobs:
            name = of_device.get((job.backend, job.device)) or of_name[job.backend]
            groups[name].append(job.job_id)
        self._passes = [
            _Passes(ledger, name, backends[name], job_ids, self._watchers, now, monotonic, rng)
            for name, job_ids in groups.items()
        ]
        self._trouble: dict[str, str] = {}
        self._under_way: set[str] = set()
        self._answers: SimpleQueue[tuple[_Passes, _Passed]] = SimpleQueue()
        self.statuses = {job.job_id: job.status for job in jobs}
        self.n_passes = 0

    def close(self) -> None:
        """Leave behind what is still asked."""
        self._watchers.end()
        with _left_behind_lock:
            for one in self._passes:
                if one.name in self._under_way and one.thread is not None and one.thread.is_alive():
                    _left_behind[id(one.backend)] = one.thread

    def pause(self, longest_s: float) -> None:
        """Sleep until a watched job changes."""
        self._wake.wait(longest_s)
        self._wake.clear()

    def settled(self) -> set[JobId]:
        """Jobs that waiting cannot move."""
        return {job_id for job_id, status in self.statuses.items() if self._settles(status)}

    def progress(self) -> Progress:
        return Progress(statuses=dict(self.statuses), trouble=dict(self._trouble))

    def next_due(self) -> float:
        """When a backend is to be asked, or has perhaps answered."""
        answered = self._monotonic() + _SLICE_S
        return min(self._due(one) or answered for one in self._passes if self._waiting(one))

    def poll_due(self) -> bool:
        """Ask every backend that is due, and take what has come; whether a status or a trouble is another than before.

        Raises:
            LedgerAway: A pass has ended by it; what the others brought is kept.
        """
        before = dict(self.statuses)
        trouble = dict(self._trouble)
        if self._watchers.changed():
            for one in self._passes:
                one.is_asked_for = True
        begun = []
        for one in self._passes:
            due = self._due(one)
            if due is not None and self._monotonic() >= due and self._waiting(one):
                begun.append(one)
        errors = []
        for one, passed in self._run(begun):
            self._under_way.discard(one.name)
            self.n_passes += 1
            if passed.error is not None:
                errors.append(passed.error)
                continue
            self._trouble.pop("ledger", None)
            self._trouble.pop(one.name, None)
            if passed.trouble is not None:
                self._trouble[one.name] = passed.trouble
            self.statuses.update(passed.statuses)
        for error in sorted(errors, key=lambda error: isinstance(error, LedgerAway)):
            raise error
        return self.statuses != before or self._trouble != trouble

    def is_away(self, error: LedgerAway) -> bool:
        """The ledger cannot be used now: everybody waits for it; whether that is news."""
        for one in self._passes:
            if one.name not in self._under_way and self._waiting(one):
                one.pace.failed(self._monotonic(), None)
        is_news = self._trouble.get("ledger") != str(error)
        self._trouble["ledger"] = str(error)
        if is_news:
            logger.warning("the wait goes on when the ledger is back: %s", error)
        return is_news

    def _waiting(self, one: _Passes) -> dict[JobId, JobStatus]:
        found = {job_id: self.statuses[job_id] for job_id in one.job_ids}
        return {job_id: status for job_id, status in found.items() if not self._settles(status)}

    def _due(self, one: _Passes) -> float | None:
        """When a backend is to be asked; None while it is asked, by this wait or for one before it."""
        if one.name in self._under_way:
            return None
        with _left_behind_lock:
            thread = _left_behind.get(id(one.backend))
            if thread is not None and thread.is_alive():
                return None
            _left_behind.pop(id(one.backend), None)
        return -math.inf if one.is_asked_for else one.pace.due

    def _run(self, begun: Sequence[_Passes]) -> list[tuple[_Passes, _Passed]]:
        """Begin with passes, and give them a moment; what has come, also of earlier ones."""
        for one in begun:
            one.is_asked_for = False
        if len(self._passes) == 1:
            return [(one, one.run(self._waiting(one), self._settles)) for one in begun]
        for one in begun:
            self._under_way.add(one.name)
            one.begin(self._waiting(one), self._settles, self._answers)
        come = []
        awaited = {one.name for one in begun}
        ends_at = time.monotonic() + _SLICE_S
        while True:
            left_s = ends_at - time.monotonic() if awaited else 0.0
            try:
                come.append(self._answers.get(timeout=left_s) if left_s > 0 else self._answers.get_nowait())
            except Empty:
                return come
            awaited.discard(come[-1][0].name)


def _settled(status: JobStatus) -> bool:
    """Whether waiting cannot move a job in this status."""
    return status.is_final or status in NOT_MOVED_BY_WAITING


def _leaves_room(status: JobStatus) -> bool:
    """Whether a job in this status takes no place on its device."""
    return status not in LIVE
