"""The processes that compile and simulate."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Future
from functools import partial
from typing import Any

from qjobs.backends.aer.worker import import_aer, start_worker

__all__ = ["WorkerEnded", "Workers"]

_TRIES = 2


class WorkerEnded(Exception):
    """A worker process ended under the call (killed, or out of memory)."""


class Workers:
    """Worker processes, started by the first call. They die with this process, however it ends.

    Args:
        count: How many.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._executor: Any = None

    def warm(self) -> None:
        """Have the processes started and Aer imported, in the background."""
        self._submit(import_aer)

    def call(
        self, function: Callable[[Any], Any], task: Any, done: Callable[[Any, BaseException | None], None]
    ) -> None:
        """Run a function in a worker; `done` gets its result or its error, in another thread.

        Not thread-safe: one thread calls it.
        """
        self._submit(function, task).add_done_callback(partial(_report, done))

    def reset(self) -> None:
        """Take new processes for the next call: one of the present ones has ended."""
        self._stop()

    def close(self) -> None:
        """End the processes now. Idempotent."""
        self._stop()

    def _submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        failed: Future[Any] = Future()
        for _ in range(_TRIES):  # the last pool may have broken while it was idle
            try:
                if self._executor is None:
                    self._executor = self._start()
                future: Future[Any] = self._executor.submit(function, *arguments)
            except BrokenExecutor as error:
                broken: BaseException = error
                self._stop()
            except Exception as error:  # no process, no memory: the call's own error
                failed.set_exception(error)
                return failed
            else:
                return future
        failed.set_exception(broken)
        return failed

    def _start(self) -> Any:
        from loky.process_executor import ProcessPoolExecutor

        return ProcessPoolExecutor(
            max_workers=self.count,
            initializer=start_worker,
            initargs=(os.getpid(),),
            env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )

    def _stop(self) -> None:
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=True, kill_workers=True)


def _report(done: Callable[[Any, BaseException | None], None], future: Future[Any]) -> None:
    error = CancelledError() if future.cancelled() else future.exception()
    if isinstance(error, BrokenExecutor | CancelledError):
        error = WorkerEnded(str(error))
    done(future.result() if error is None else None, error)
