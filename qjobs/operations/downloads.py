"""Downloads: bring the results of many jobs, a few at a time from each backend, the runs of a backend in turns.

What waits is known by its job alone, so that a hundred thousand of them take little room. A run with many results holds
up no run with few, and a slow backend no other.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeAlias

from qjobs.model import JobId

__all__ = ["Download", "Downloads"]

AT_ONCE: Final = 4
"""Jobs of one backend whose results are brought at the same time; an adapter reads several items of each."""

Download: TypeAlias = Callable[[JobId], None]


class _Queue:
    """The jobs of one backend that wait, by their runs; and its threads, which start when they are needed."""

    def __init__(self, at_once: int) -> None:
        self.pool = ThreadPoolExecutor(at_once)
        self.n_workers = 0
        self._runs: dict[str, deque[tuple[JobId, Download]]] = {}

    def put(self, run: str, job_id: JobId, download: Download) -> None:
        self._runs.setdefault(run, deque()).append((job_id, download))

    def take(self) -> tuple[JobId, Download] | None:
        """The next job of the run whose turn it is."""
        for run, jobs in self._runs.items():
            found = jobs.popleft()
            del self._runs[run]
            if jobs:
                self._runs[run] = jobs  # behind the others
            return found
        return None

    def __len__(self) -> int:
        return sum(len(jobs) for jobs in self._runs.values())


class Downloads:
    """Downloads side by side. Safe to use from many threads; close it when done.

    Args:
        ended: Called with each job when its download is over, and with what it raised, if anything.
        at_once: How many of one backend run at a time.
    """

    def __init__(self, ended: Callable[[JobId, Exception | None], None], *, at_once: int = AT_ONCE) -> None:
        self._ended = ended
        self._at_once = at_once
        self._lock = threading.Lock()
        self._queues: dict[str, _Queue] = {}
        self._pending: set[JobId] = set()
        self._is_over = False

    @property
    def pending(self) -> int:
        """How many jobs wait, or are being downloaded."""
        with self._lock:
            return len(self._pending)

    def add(self, backend: str, jobs: Iterable[tuple[str, JobId]], download: Download) -> set[JobId]:
        """Download jobs, given with their runs, as soon as it is their turn; those that are under way already are not.

        Returns:
            Those that were added.
        """
        added: set[JobId] = set()
        with self._lock:
            queue = self._queues.get(backend)
            if queue is None:
                queue = self._queues[backend] = _Queue(self._at_once)
            for run, job_id in jobs:
                if job_id not in self._pending and not self._is_over:
                    queue.put(run, job_id, download)
                    added.add(job_id)
            self._pending |= added
            n_more = min(self._at_once - queue.n_workers, len(queue))
            queue.n_workers += n_more
        for _ in range(n_more):
            queue.pool.submit(self._work, queue)
        return added

    def close(self) -> set[JobId]:
        """Begin no download any more, and wait for those that are under way.

        Returns:
            The jobs whose downloads had not begun.
        """
        with self._lock:
            self._is_over = True
            queues = list(self._queues.values())
        for queue in queues:
            queue.pool.shutdown(wait=True)
        with self._lock:
            left = self._pending
            self._pending = set()
        return left

    def _work(self, queue: _Queue) -> None:
        while (found := self._take(queue)) is not None:
            job_id, download = found
            problem: Exception | None = None
            try:
                download(job_id)
            except Exception as error:  # told to whoever asked for it
                problem = error
            with self._lock:
                self._pending.discard(job_id)
            self._ended(job_id, problem)

    def _take(self, queue: _Queue) -> tuple[JobId, Download] | None:
        with self._lock:
            found = None if self._is_over else queue.take()
            if found is None:
                queue.n_workers -= 1
            return found
