"""The jobs of one Aer backend, and the thread that gives them to its workers.

The thread hands out one chunk for each worker, no more, so that RUNNING means running. It takes the
jobs in turn, so that a small job does not wait for the whole of a large one. A wide circuit that nothing
else runs or waits beside gets the threads of all workers. A chunk whose worker ends is run again, and is TERMINATED
when that happens a second time; the other workers go on.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from qjobs.backends.aer.jobs import AerJob, Chunk
from qjobs.backends.aer.pool import WorkerEnded, WorkerPool
from qjobs.backends.aer.tasks import Outcome, failed_task, run_task
from qjobs.lifecycle import JobStatus

logger = logging.getLogger(__name__)

KEPT_JOBS = 256
"""Finished jobs whose results are kept; those that were read go first."""
KEPT_BYTES = 1 << 30
"""Size of the results above which those that were read are dropped."""

_TRIES = 2
_WAKE_S = 0.5
_DROPPED = (
    f"the results were dropped: this process keeps those of its last {KEPT_JOBS} finished jobs; "
    "run the job again, and collect each job when it finishes"
)
_CLOSED = "the backend was closed before the item ran; run the job again"
_CLOSED_AFTER = "the backend was closed, and its results with it; run the job again"
_LOST = (
    "a worker process ended {tries} times while it simulated this item and its neighbours "
    "(killed, or out of memory); send smaller circuits, or fewer at a time"
)


class JobQueue:
    """Jobs and the workers that run them, which the first chunk or `warm` starts."""

    def __init__(self, n_workers: int | None = None) -> None:
        self.pid = os.getpid()
        self.lock = threading.Condition()
        self._workers = WorkerPool(n_workers, preload=("qjobs.circuits.programs",))  # the thread's own
        self._queue: deque[tuple[AerJob, deque[Chunk]]] = deque()
        self._again: deque[Chunk] = deque()
        self._running: dict[int, Chunk] = {}
        self._finished: deque[AerJob] = deque()
        self._jobs: list[AerJob] = []
        self._thread: threading.Thread | None = None
        self._warm = False
        self._state = "open"

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._state == "closed"

    def warm(self) -> None:
        """Have the workers started and Aer imported, in the background."""
        with self.lock:
            self._warm = True
            self._wake()

    def add(self, job: AerJob) -> None:
        """Queue a job's chunks."""
        with self.lock:
            if self.is_closed:
                self._end(job)
                return
            self._jobs.append(job)
            if not job.is_open:  # another thread cancelled it already
                self._settle(job)
                return
            self._queue.append((job, deque(job.chunks)))
            logger.info("job %s is queued in %d chunks", job.remote_id, len(job.chunks))
            self._wake()

    def cancel(self, job: AerJob) -> None:
        """Cancel the chunks that no worker has; what runs ends by itself and its results are kept."""
        with self.lock:
            logger.info("job %s is cancelled", job.remote_id)
            for chunk in job.chunks:
                if chunk.status is JobStatus.QUEUED:
                    chunk.task = None
                    chunk.move(JobStatus.CANCELLED, "cancelled before it ran")
                elif chunk.status is JobStatus.RUNNING:
                    chunk.move(JobStatus.CANCELLING, "runs; it cannot be interrupted and its result is kept")
            self._settle(job)

    def drain(self) -> None:
        """Take nothing new, finish what is queued, then end the workers. Does not wait."""
        with self.lock:
            if self._state == "open":
                self._state = "draining"
            self.lock.notify_all()

    def close(self, timeout_s: float = 10.0) -> None:
        """End the workers now, and every open job with them. Idempotent."""
        with self.lock:
            self._state = "closed"
            for job in (*self._jobs, *self._finished):
                self._end(job)
            self._queue.clear()
            self._again.clear()
            self._jobs.clear()
            self._finished.clear()
            self.lock.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="qjobs-aer", daemon=True)
            self._thread.start()
        self.lock.notify_all()

    def _serve(self) -> None:
        try:
            n_workers = self._workers.count
            while (step := self._next(n_workers)) is not None:
                step()
        finally:
            if self._state == "open":  # the interpreter is ending: nobody will serve these jobs
                self.close()
            self._workers.close()

    def _next(self, n_workers: int) -> Callable[[], None] | None:
        """What to do next, its chunk marked RUNNING; None when the thread is to end."""
        with self.lock:
            while not self.is_closed and threading.main_thread().is_alive():
                if self._warm:
                    self._warm = False
                    return self._workers.warm
                if (chunk := self._pick(n_workers)) is not None:
                    threads = self._workers.threads if self._is_alone() else 1
                    self._running[id(chunk)] = chunk
                    chunk.move(JobStatus.RUNNING)
                    return partial(self._send, chunk, threads)
                if self._state == "draining" and not (self._queue or self._again or self._running):
                    return None
                if not self.lock.wait(_WAKE_S) and self._running:
                    return self._workers.tend  # a process may have ended before it was given anything
            return None

    def _pick(self, n_workers: int) -> Chunk | None:
        while self._again and self._again[0].status is not JobStatus.QUEUED:
            self._again.popleft()
        if len(self._running) >= n_workers:
            return None
        if self._again:
            return self._again.popleft()
        while self._queue:
            job, chunks = self._queue.popleft()
            while chunks and chunks[0].status is not JobStatus.QUEUED:
                chunks.popleft()
            if chunks:
                chunk = chunks.popleft()
                self._queue.append((job, chunks))
                return chunk
        return None

    def _is_alone(self) -> bool:
        """Whether no chunk runs or waits beside the one that was picked."""
        return not (self._running or self._again or any(chunks for _, chunks in self._queue))

    def _send(self, chunk: Chunk, threads: int) -> None:
        if (task := chunk.task) is not None:  # None: closed meanwhile
            if threads > 1 and task.is_wide:
                logger.debug("job %s: a wide circuit runs alone, in %d threads", chunk.job.remote_id, threads)
                task = replace(task, threads=threads)
            self._workers.call(run_task, task, partial(self._done, chunk))

    def _done(self, chunk: Chunk, outcome: Outcome | None, error: BaseException | None) -> None:
        """Take what came back; in another thread."""
        with self.lock:
            self._running.pop(id(chunk), None)
            if chunk.is_open:
                if outcome is not None:
                    chunk.finish(outcome)
                elif isinstance(error, WorkerEnded):
                    self._worker_ended(chunk)
                elif error is not None:
                    chunk.finish(failed_task(chunk.n_items, error))
            self._settle(chunk.job)
            self.lock.notify_all()

    def _worker_ended(self, chunk: Chunk) -> None:
        chunk.tries += 1
        if chunk.status is JobStatus.CANCELLING:
            chunk.task = None
            chunk.move(JobStatus.CANCELLED, "cancelled; its worker process ended")
        elif chunk.tries < _TRIES:
            chunk.move(JobStatus.QUEUED, "its worker process ended; it runs again")
            self._again.append(chunk)
        else:
            chunk.task = None
            chunk.move(JobStatus.TERMINATED, _LOST.format(tries=chunk.tries))
        logger.warning("job %s: a worker process ended; a chunk is %s", chunk.job.remote_id, chunk.status)

    def _settle(self, job: AerJob) -> None:
        """Move a job that is final to the finished ones, and drop the oldest results beyond what is kept."""
        if job.is_open or job not in self._jobs:
            return
        self._finished.append(job)
        self._jobs.remove(job)
        logger.info("job %s is %s", job.remote_id, job.snapshot().status)
        size = sum(each.size_bytes for each in self._finished)
        while len(self._finished) > KEPT_JOBS or size > KEPT_BYTES:
            read = next((each for each in self._finished if each.was_read), None)
            if read is None and len(self._finished) <= KEPT_JOBS:
                return
            dropped = read or self._finished[0]
            size -= dropped.size_bytes
            self._finished.remove(dropped)
            dropped.drop(_DROPPED)
            logger.info("job %s: its results are dropped", dropped.remote_id)

    def _end(self, job: AerJob) -> None:
        for chunk in job.chunks:
            if chunk.is_open:
                chunk.move(JobStatus.TERMINATED, _CLOSED)
        job.drop(_CLOSED_AFTER)
