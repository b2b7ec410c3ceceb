"""Wakes those who wait for a change of a job; they then read from the database what has changed."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Collection, Iterable

_KEPT_JOBS = 20_000


class Changes:
    """Versions of jobs, counted up by whoever changes one. Thread-safe.

    Versions of the jobs that changed least recently are forgotten (they read 0 again): somebody who waits
    for one of these wakes up once without a change.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._versions: OrderedDict[str, int] = OrderedDict()
        self._listeners: list[Callable[[Collection[str]], None]] = []
        self._waiting: defaultdict[str, set[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = defaultdict(set)

    def listen(self, heard: Callable[[Collection[str]], None]) -> None:
        """Have this called with the ids of the jobs at every change, in the thread that makes it; it must be quick."""
        self._listeners.append(heard)

    def notify(self, job_id: str) -> None:
        """Say that a job has changed."""
        self.notify_all((job_id,))

    def notify_all(self, job_ids: Iterable[str]) -> None:
        """Say that several jobs have changed."""
        changed = list(job_ids)
        with self._lock:
            woken = set()
            for job_id in changed:
                self._count += 1
                self._versions[job_id] = self._count
                self._versions.move_to_end(job_id)
                woken |= self._waiting.get(job_id, set())
            while len(self._versions) > _KEPT_JOBS:
                self._versions.popitem(last=False)
        for loop, event in woken:
            with contextlib.suppress(RuntimeError):  # its loop was closed: nobody waits any more
                loop.call_soon_threadsafe(event.set)
        for heard in self._listeners:
            heard(changed)

    def version(self, job_id: str) -> int:
        """A number that grows with every change of the job."""
        with self._lock:
            return self._versions.get(job_id, 0)

    async def wait(self, job_id: str, version: int, timeout_s: float) -> None:
        """Return when the job's version is no longer this one, or when the time is over."""
        waiter = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            if self._versions.get(job_id, 0) != version:
                return
            self._waiting[job_id].add(waiter)
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(waiter[1].wait(), timeout_s)
        finally:
            with self._lock:
                self._waiting[job_id].discard(waiter)
                if not self._waiting[job_id]:
                    del self._waiting[job_id]
