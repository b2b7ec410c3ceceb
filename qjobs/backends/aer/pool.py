"""Worker processes with Aer imported: one for each CPU, each with one thread unless a call asks for more.

Threads of OpenMP wait for each other after every gate. On a loaded machine, waiting in a loop costs a factor of ten and
more, so they wait asleep (`OMP_WAIT_POLICY`). What the user has set of these variables stands.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Future
from functools import cached_property, partial
from typing import Any

from qjobs.backends.aer.engine import import_aer

logger = logging.getLogger(__name__)

_TRIES = 2


class WorkerEnded(Exception):
    """A worker process ended under the call (killed, or out of memory), and the others with it."""


class WorkerPool:
    """Worker processes, started by the first call. They die with this process, however it ends.

    One thread uses it: no method is thread-safe.

    Args:
        count: How many; None for as many as there are CPUs to use.
        preload: Modules that each process imports before its first call, beside Aer.
    """

    def __init__(self, count: int | None = None, *, preload: tuple[str, ...] = ()) -> None:
        self._wanted = count
        self._preload = preload
        self._executor: Any = None

    @cached_property
    def count(self) -> int:
        """How many processes there are, or will be."""
        if self._wanted is not None:
            return self._wanted
        from loky import cpu_count  # knows of affinity and of a container's quota

        return int(cpu_count())

    @property
    def threads(self) -> int:
        """How many threads one call may use that runs alone: the CPUs of all processes, within OMP_NUM_THREADS."""
        own = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
        return min(self.count, int(own)) if own.isdecimal() and int(own) else self.count

    def warm(self) -> None:
        """Have the processes started, in the background."""
        self._submit(import_aer)

    def call(
        self, function: Callable[[Any], Any], task: Any, done: Callable[[Any, BaseException | None], None]
    ) -> None:
        """Run a function in a worker.

        The function is one at the top level of a module. `done` gets its result, or its error: `WorkerEnded`, or what
        the function or the start of the processes raised. It runs in another thread, or in this one when nothing could
        be started.
        """
        self._submit(function, task).add_done_callback(partial(_report, done))

    def close(self) -> None:
        """End the processes now, with whatever they compute; the next call starts new ones. Idempotent."""
        executor = self._executor
        self._executor = None
        if executor is not None:
            executor.shutdown(wait=True, kill_workers=True)
            logger.info("worker processes of process %d ended", os.getpid())

    def _submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        failed: Future[Any] = Future()
        for _ in range(_TRIES):  # the processes may have ended while they were idle
            try:
                if self._executor is None:
                    self._executor = self._start()
                future: Future[Any] = self._executor.submit(function, *arguments)
            except BrokenExecutor as error:
                broken: BaseException = error
                self.close()
            except Exception as error:  # no process, no memory, interpreter ending: the error of this call
                failed.set_exception(error)
                return failed
            else:
                return future
        failed.set_exception(broken)
        return failed

    def _environment(self) -> dict[str, str]:
        """Variables that are read when Aer and numpy are imported."""
        ours = {"OMP_WAIT_POLICY": "passive", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        found = {name: os.environ.get(name) or value for name, value in ours.items()}
        return {**found, "OMP_NUM_THREADS": str(self.threads)}

    def _start(self) -> Any:
        from loky.process_executor import ProcessPoolExecutor

        logger.info("process %d starts %d worker processes", os.getpid(), self.count)
        return ProcessPoolExecutor(
            max_workers=self.count,
            initializer=_begin,
            initargs=(os.getpid(), self._preload),
            env=self._environment(),
        )


def _report(done: Callable[[Any, BaseException | None], None], future: Future[Any]) -> None:
    error = CancelledError() if future.cancelled() else future.exception()
    if isinstance(error, BrokenExecutor | CancelledError):
        logger.info("a worker process ended under its call: %s", error)
        error = WorkerEnded(str(error))
    done(future.result() if error is None else None, error)


def _begin(parent_pid: int, preload: tuple[str, ...]) -> None:
    """Begin a worker: die with the parent, ignore Ctrl-C, import Aer, leave the imports to no GC."""
    import gc
    import importlib
    import signal
    import warnings

    _die_with_parent(parent_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    warnings.simplefilter("ignore")  # failures travel as data; nobody reads a worker's stderr
    import_aer()
    for name in preload:
        importlib.import_module(name)
    gc.freeze()


def _die_with_parent(parent_pid: int) -> None:
    """End this process when the parent ends, however it ends.

    Linux kills us itself (prctl PR_SET_PDEATHSIG = 1), in the middle of a simulation too. Elsewhere a
    thread looks twice a second; it gets the GIL between two calls of Aer.
    """
    import ctypes
    import signal
    import sys
    import threading

    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(1, int(signal.SIGKILL), 0, 0, 0)

    def watch() -> None:
        while os.getppid() == parent_pid:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, name="qjobs-aer-watch", daemon=True).start()
