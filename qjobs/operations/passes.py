"""Passes: the jobs that are due, by their backends, which are asked side by side, each for as long as it takes.

A pass need not wait for all of them. What a slow backend still does goes on beside the passes that follow, and one of
these tells of it.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from qjobs.errors import LedgerError
from qjobs.ledger import Ledger
from qjobs.ledger.liveness import lease_owner
from qjobs.lifecycle import JobStatus
from qjobs.model import Job, JobId
from qjobs.operations.downloads import Downloads
from qjobs.operations.poll import utc_now

__all__ = ["BackendPass", "PassReport", "Passes"]

logger = logging.getLogger(__name__)

LEASE_S = 600.0
"""How long a pass may hold a job; a sensor that dies delays its jobs by so much where its death cannot be proved."""
_BACKENDS_AT_ONCE = 32
_SLICE_S = 0.5


@dataclass(slots=True)
class PassReport:
    """What one pass did: jobs that were polled, jobs that moved, and the trouble by backend.

    `stored` are jobs whose results were brought. `soon` holds, by backend, the jobs that are about to change: those
    that run or are next in their queue, and all of a device at which others wait for a place. `again_at` is when such a
    device is worth the next pass.
    """

    asked: set[JobId] = field(default_factory=set)
    moved: dict[JobId, JobStatus] = field(default_factory=dict)
    stored: set[JobId] = field(default_factory=set)
    trouble: dict[str, str] = field(default_factory=dict)
    soon: dict[str, list[JobId]] = field(default_factory=dict)
    again_at: dict[str, datetime] = field(default_factory=dict)

    def add(self, other: PassReport) -> None:
        """Take in what another one says."""
        self.asked |= other.asked
        self.moved |= other.moved
        self.stored |= other.stored
        self.trouble |= other.trouble
        self.soon |= other.soon
        self.again_at |= other.again_at


class BackendPass(Protocol):
    """The pass over jobs of one backend."""

    @property
    def name(self) -> str:
        """The name that opens the backend."""

    @property
    def jobs(self) -> Sequence[Job]:
        """The jobs that it has to poll."""

    def run(self) -> list[tuple[str, JobId]]:
        """Poll the jobs, and schedule those that have nothing to be downloaded; the others, with their runs.

        Raises:
            LedgerError: The ledger cannot be used; nothing else is raised.
        """

    def download(self, job_id: JobId) -> None:
        """Store the results of one of them that are ready, and schedule its next poll.

        Raises:
            LedgerError: As `run`.
        """


class Passes:
    """Passes over one ledger, one after the other, in which a slow backend holds up no other. Close it when done.

    Args:
        of_backend: Makes the pass over jobs of one backend, from its name, the jobs, and what it is to tell.
        limit: How many jobs are begun with in one pass, at the most.
        news: Called when a backend that a pass did not wait for has ended, so that another pass is worth while.
    """

    def __init__(
        self,
        ledger: Ledger,
        of_backend: Callable[[str, Sequence[Job], Callable[[PassReport], None]], BackendPass],
        *,
        now: Callable[[], datetime] = utc_now,
        limit: int = 20_000,
        news: Callable[[], object] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._of_backend = of_backend
        self._now = now
        self._limit = limit
        self._tell_news = news
        self._monotonic = monotonic
        self._owner = lease_owner()
        self._polls = ThreadPoolExecutor(_BACKENDS_AT_ONCE)
        self._downloads = Downloads(self._downloaded)
        self._changed = threading.Condition()
        self._polling: set[str] = set()
        self._under_way: dict[JobId, str] = {}
        """Jobs that this holds, with the backends that they wait for."""
        self._n_left: Counter[str] = Counter()
        """How many these are, by backend."""
        self._failed: set[JobId] = set()
        """Jobs whose pass ended halfway, because the ledger was away."""
        self._error: Exception | None = None
        self._report = PassReport()
        self._held_until: datetime | None = None
        self._is_waited_for = False

    def run_pass(self, patience_s: float | None = None) -> PassReport:
        """Poll every job that is due, as `sensor_pass` does.

        A backend that takes longer than `patience_s` seconds is not waited for; it goes on, and a later pass tells what
        came of it. Meanwhile none of its jobs is polled twice. None waits for all.

        Raises:
            LedgerError: The ledger cannot be used; what was under way is done again.
        """
        self._is_waited_for = True
        try:
            began = self._begin()
            self._wait_for(began, patience_s)
        finally:
            self._is_waited_for = False
        with self._changed:
            report = self._report
            error = self._error
            self._error = None
            if error is None:
                self._report = PassReport()
        if error is not None:
            raise error
        logger.log(
            logging.INFO if report.moved or report.trouble else logging.DEBUG,
            "polled %d jobs, %d moved, trouble: %s",
            len(report.asked),
            len(report.moved),
            report.trouble or "none",
        )
        return report

    def close(self) -> None:
        """Begin nothing more, wait for what is under way, and release the jobs that it had not come to. Idempotent."""
        self._downloads.close()
        self._polls.shutdown(wait=True)
        left = self._failed | set(self._under_way)
        self._failed = set()
        self._under_way = {}
        if left:
            with contextlib.suppress(LedgerError):  # then they are due when the lease, or this process, has ended
                self._ledger.schedule.release(left, owner=self._owner, now=self._now())

    def _begin(self) -> set[str]:
        """Claim what is due and begin with it; the names of the backends that have begun."""
        present = self._now()
        self._ledger.submissions.expire_leases(now=present)
        with self._changed:
            failed = set(self._failed)
            busy = set(self._polling)
            holds = bool(self._under_way)
        if failed:
            self._ledger.schedule.release(failed, owner=self._owner, now=present)
            self._failed -= failed
        self._hold(present)
        groups: dict[str, list[Job]] = defaultdict(list)
        for job in self._ledger.schedule.claim_due(
            now=present, lease_s=LEASE_S, limit=self._limit, owner=self._owner, busy=busy, holds=holds
        ):
            groups[job.opened_as].append(job)
        with self._changed:
            for name, jobs in groups.items():
                self._polling.add(name)
                for job in jobs:
                    self._report.asked.add(job.job_id)
                    if job.job_id not in self._under_way:
                        self._under_way[job.job_id] = name
                        self._n_left[name] += 1
            if groups and not holds:
                self._held_until = present + timedelta(seconds=LEASE_S)
        for name, jobs in groups.items():
            self._polls.submit(self._poll, self._of_backend(name, jobs, self._tell))
        return set(groups)

    def _hold(self, present: datetime) -> None:
        """Keep other passes from the jobs that are under way for longer than a lease."""
        if not self._under_way or self._held_until is None:
            return
        if self._held_until - present < timedelta(seconds=LEASE_S / 2):
            until = present + timedelta(seconds=LEASE_S)
            self._ledger.schedule.renew(owner=self._owner, until=until, now=present)
            self._held_until = until

    def _wait_for(self, began: Collection[str], patience_s: float | None) -> None:
        """Wait until these backends have polled and brought results; without `patience_s` for all that is under way."""
        ends_at = math.inf if patience_s is None else self._monotonic() + patience_s
        while True:
            with self._changed:
                names = self._polling | {name for name, n_left in self._n_left.items() if n_left}
                left_s = ends_at - self._monotonic()
                if left_s <= 0 or not (names if patience_s is None else names.intersection(began)):
                    return
                self._changed.wait(min(_SLICE_S, left_s))
            self._hold(self._now())

    def _poll(self, one: BackendPass) -> None:
        """Poll one backend, and have the results brought that are ready."""
        job_ids = [job.job_id for job in one.jobs]
        wanted: list[tuple[str, JobId]] = []
        problem: Exception | None = None
        try:
            wanted = one.run()
        except Exception as error:  # the ledger is away, so that its jobs are as they were claimed
            problem = error
        waits = {job_id for _, job_id in wanted}
        with self._changed:
            for job_id in job_ids:
                if job_id not in waits:
                    self._let_go(job_id)
                    if problem is not None:
                        self._failed.add(job_id)
            self._error = self._error or problem
        self._downloads.add(one.name, wanted, one.download)
        with self._changed:
            self._polling.discard(one.name)
        self._say_ended(one.name)

    def _downloaded(self, job_id: JobId, problem: Exception | None) -> None:
        with self._changed:
            name = self._let_go(job_id)
            if problem is None:
                self._report.stored.add(job_id)
            else:
                self._failed.add(job_id)
                self._error = self._error or problem
        self._say_ended(name)

    def _let_go(self, job_id: JobId) -> str:
        """A job is not under way any more; its backend."""
        name = self._under_way.pop(job_id, "")
        if name:  # else a pass before this one has let go of it, which took until now
            self._n_left[name] -= 1
        return name

    def _say_ended(self, name: str) -> None:
        """Wake who waits for a backend, if it has ended; nobody else needs to know while a pass waits."""
        with self._changed:
            has_ended = name not in self._polling and self._n_left[name] <= 0
            if has_ended:
                self._changed.notify_all()
        if has_ended and not self._is_waited_for:
            self._tell_news()

    def _tell(self, report: PassReport) -> None:
        with self._changed:
            self._report.add(report)
