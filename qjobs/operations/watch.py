"""Watch: let a provider say when a job changes, instead of polling; for a few jobs at a time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol, runtime_checkable

from qjobs.backends.base import Backend, Snapshot
from qjobs.errors import QJobsError
from qjobs.ledger import Ledger
from qjobs.model import JobId, RemoteId
from qjobs.operations.poll import utc_now

__all__ = ["MAX_WATCHED", "CanWatch", "JobWatch", "Watchers"]

MAX_WATCHED = 4
"""Jobs of one wait that are watched; more than these are polled in one request instead."""
_LEG_S = 30.0
"""How long a watcher outlives the wait that it serves, at the most."""


@runtime_checkable
class CanWatch(Protocol):
    """A backend whose provider says when a job changes."""

    def watch(
        self, remote_id: RemoteId, *, timeout_s: float, changed: Callable[[Snapshot], None] = lambda _: None
    ) -> Snapshot | None:
        """Wait until a job is final, calling `changed` with each new snapshot; the last one is returned."""


class Watchers:
    """Threads that say when it is worth polling. They record nothing: what counts is the poll that follows.

    `wake` is set whenever a job has changed.
    """

    def __init__(self, wake: threading.Event | None = None) -> None:
        self._lock = threading.Lock()
        self._watched: set[RemoteId] = set()  # ever; a job is watched by one thread, once
        self._active = 0
        self._changed: set[RemoteId] = set()
        self._wake = wake or threading.Event()
        self._over = threading.Event()

    def watch(self, backend: CanWatch, remote_ids: Sequence[RemoteId]) -> None:
        """Watch these jobs too; those that are watched already go on."""
        for remote_id in remote_ids:
            with self._lock:
                if remote_id in self._watched:
                    continue
                self._watched.add(remote_id)
                self._active += 1
            threading.Thread(target=self._run, args=(backend, remote_id), daemon=True).start()

    @property
    def active(self) -> int:
        """How many jobs are watched now."""
        with self._lock:
            return self._active

    def changed(self) -> set[RemoteId]:
        """The jobs that have changed since the last call."""
        with self._lock:
            changed = self._changed
            self._changed = set()
        return changed

    def end(self) -> None:
        """The wait is over. Idempotent; the threads end by themselves."""
        self._over.set()

    def _run(self, backend: CanWatch, remote_id: RemoteId) -> None:
        # A closed client raises RuntimeError; polling goes on without us in every case.
        with contextlib.suppress(QJobsError, RuntimeError):
            while not self._over.is_set():
                seen = backend.watch(remote_id, timeout_s=_LEG_S, changed=lambda _: self._mark(remote_id))
                if seen is None or seen.status.is_final:
                    break
        with self._lock:
            self._active -= 1

    def _mark(self, remote_id: RemoteId) -> None:
        with self._lock:
            self._changed.add(remote_id)
        self._wake.set()


class JobWatch:
    """Watches jobs that run or are next in their queue, where their provider can tell; `MAX_WATCHED` at a time.

    A change only makes the sensor poll sooner. `wake` is set when a job has changed: it is time for a pass.
    """

    def __init__(
        self,
        ledger: Ledger,
        open_backend: Callable[[str], Backend],
        wake: threading.Event,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._ledger = ledger
        self._open_backend = open_backend
        self._now = now
        self._watchers = Watchers(wake)
        self._job_of: dict[RemoteId, JobId] = {}

    def make_due(self) -> None:
        """Before a pass: have it poll the jobs that have changed."""
        changed = [self._job_of[remote_id] for remote_id in self._watchers.changed()]
        for job in self._ledger.open_jobs(job_ids=changed) if changed else []:
            self._ledger.schedule.set_next({job.job_id: self._now()}, trouble=job.trouble)

    def watch(self, soon: Mapping[str, Sequence[JobId]]) -> None:
        """After a pass: watch jobs that will change soon, up to `MAX_WATCHED`."""
        for name, job_ids in soon.items():
            room = MAX_WATCHED - self._watchers.active
            known = set(self._job_of.values())
            others = [job_id for job_id in job_ids if job_id not in known]
            if room <= 0 or not others:
                continue
            with contextlib.suppress(QJobsError):
                backend = self._open_backend(name)
                if isinstance(backend, CanWatch):
                    self._watch(backend, others[:room])

    def _watch(self, backend: CanWatch, job_ids: Sequence[JobId]) -> None:
        for job_id, attempt in self._ledger.last_attempts(job_ids).items():
            if attempt.remote_id is not None:
                self._job_of[attempt.remote_id] = job_id
                self._watchers.watch(backend, [attempt.remote_id])

    def end(self) -> None:
        """Watch nothing any more. Idempotent."""
        self._watchers.end()
