"""Watching the few jobs that are about to change, beside a sensor that asks for all of them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from qjobs.backends.base import Backend
from qjobs.errors import QJobsError
from qjobs.ledger import Ledger
from qjobs.model import JobId, RemoteId
from qjobs.operations.poll import utc_now
from qjobs.operations.watch import MOST, Watchers, Watches

__all__ = ["Following"]


class Following:
    """Follows jobs that run or are next in their queue, where their provider can tell; `MOST` at a time.

    What is told only makes the sensor ask sooner.

    Args:
        ledger: Where the jobs are.
        open_backend: From the name of a backend to the backend.
        wake: Set when a job has changed: it is time for a pass.
        now: The clock.
    """

    def __init__(
        self,
        ledger: Ledger,
        open_backend: Callable[[str], Backend],
        wake: threading.Event,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._ledger, self._open_backend, self._now = ledger, open_backend, now
        self._watchers = Watchers(wake)
        self._job_of: dict[RemoteId, JobId] = {}

    def make_due(self) -> None:
        """Before a pass: what was told to have changed is asked for in it."""
        changed = [self._job_of[remote_id] for remote_id in self._watchers.noticed()]
        for job in self._ledger.open_jobs(job_ids=changed) if changed else []:
            self._ledger.schedule.set_next({job.job_id: self._now()}, trouble=job.trouble)

    def follow(self, soon: Mapping[str, Sequence[JobId]]) -> None:
        """After a pass: watch what will change soon, as far as there is room."""
        for name, job_ids in soon.items():
            room, known = MOST - self._watchers.active, set(self._job_of.values())
            others = [job_id for job_id in job_ids if job_id not in known]
            if room <= 0 or not others:
                continue
            with contextlib.suppress(QJobsError):
                backend = self._open_backend(name)
                if isinstance(backend, Watches):
                    self._follow(backend, others[:room])

    def _follow(self, backend: Watches, job_ids: Sequence[JobId]) -> None:
        for job_id, attempt in self._ledger.last_attempts(job_ids).items():
            if attempt.remote_id is not None:
                self._job_of[attempt.remote_id] = job_id
                self._watchers.follow(backend, [attempt.remote_id])

    def end(self) -> None:
        """Watch nothing any more. Idempotent."""
        self._watchers.end()
