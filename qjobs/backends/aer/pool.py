"""Worker processes with Aer imported: one for each CPU, each with one thread unless a call asks for more.

Each has a queue of its own, so that one that ends takes nothing but its own call with it, and one that is ended stops
nobody else.

Threads of OpenMP wait for each other after every gate. On a loaded machine, waiting in a loop costs a factor of ten and
more, so they wait asleep (`OMP_WAIT_POLICY`). What the user has set of these variables stands.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Future
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from qjobs.backends.aer.engine import import_aer
from qjobs.heap import limit_memory

logger = logging.getLogger(__name__)

Done = Callable[[Any, BaseException | None], None]


class WorkerEnded(Exception):
    """The worker process of a call ended under it (killed, or out of memory)."""


class OverTime(WorkerEnded):
    """The worker process of a call was ended because the call took longer than it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """What one call may use.

    Args:
        seconds: Of the clock on the wall, in its process; None for any number.
        memory_bytes: Beyond what the process itself holds; None for any number. A call that asks for more meets a
            MemoryError, or Aer's own words for it. The kernel counts what it asks for (RLIMIT_DATA), so that nothing
            is taken before somebody looks; macOS counts nothing.
    """

    seconds: float | None = None
    memory_bytes: int | None = None


class Call:
    """One call of a function in a worker: it waits, it runs, or it is over."""

    def __init__(self, function: Callable[[Any], Any], task: Any, done: Done, limits: CallLimits) -> None:
        self.function = function
        self.task = task
        self.done = done
        self.limits = limits
        self.worker: _Worker | None = None
        self.sent_at = 0.0
        self.ended: WorkerEnded | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether no process has it yet."""
        return self.worker is None

    @property
    def ran_s(self) -> float:
        """For how long it has run in its process, in seconds; 0 before that."""
        return 0.0 if self.worker is None else time.monotonic() - self.sent_at


class _Worker:
    """One process, with loky's queue before it."""

    def __init__(self, executor: Any) -> None:
        self.executor = executor
        self.call: Call | None = None
        self.is_ready = False
        self.is_doomed = False

    def kill(self) -> None:
        """End the process now; its call gets to know."""
        self.is_doomed = True
        for pid in list(self.executor._processes):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class WorkerPool:
    """Worker processes, started by the first call. They die with this process, however it ends.

    One thread uses it: no method is thread-safe, and the processes end with that thread.

    Args:
        count: How many; None for as many as there are CPUs to use.
        preload: Modules that each process imports before its first call, beside Aer.
    """

    def __init__(self, count: int | None = None, *, preload: tuple[str, ...] = ()) -> None:
        self._wanted = count
        self._preload = preload
        self._lock = threading.RLock()
        self._workers: list[_Worker] = []
        self._gone: list[_Worker] = []
        self._waiting: deque[Call] = deque()
        self._has_spare = False

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
        self._fill()

    def keep_spare(self) -> None:
        """From now on have one process more, idle, so that one that ends is replaced at once."""
        self._has_spare = True
        self.tend()

    def call(self, function: Callable[[Any], Any], task: Any, done: Done, limits: CallLimits | None = None) -> Call:
        """Run a function in a worker.

        The function is one at the top level of a module. `done` gets its result, or its error: `WorkerEnded`, or what
        the function or the start of the processes raised. It runs in another thread, or in this one when nothing could
        be started.
        """
        call = Call(function, task, done, limits or CallLimits())
        with self._lock:
            self._waiting.append(call)
        self.tend()
        return call

    def end(self, call: Call, error: WorkerEnded) -> None:
        """End a call, whose `done` gets the error: from where it waits, or with its process."""
        with self._lock:
            if call in self._waiting:
                self._waiting.remove(call)
            elif call.worker is not None and call.worker.call is call:
                call.ended = error
                call.worker.kill()
                return
            else:
                return
        call.done(None, error)

    def tend(self) -> None:
        """End the calls that take too long, start the processes that are missing, and hand out what waits."""
        for worker in list(self._workers):
            call = worker.call
            if call is not None and call.limits.seconds is not None and call.ran_s > call.limits.seconds:
                self.end(call, OverTime(f"it ran for more than {call.limits.seconds:g} s"))
        with self._lock:
            gone = self._gone
            self._gone = []
        for worker in gone:
            worker.executor.shutdown(wait=True, kill_workers=True)
        whole = False
        while not whole:  # the processes may have ended while they were idle
            if (error := self._fill()) is not None:
                self._fail_waiting(error)
            whole = self._hand_out()

    def close(self) -> None:
        """End the processes now, with whatever they compute; the next call starts new ones. Idempotent."""
        with self._lock:
            workers = [*self._workers, *self._gone]
            self._workers = []
            self._gone = []
        self._fail_waiting(WorkerEnded("the workers were ended"))
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.executor.shutdown(wait=True, kill_workers=True)
        if workers:
            logger.info("worker processes of process %d ended", os.getpid())

    def _fill(self) -> Exception | None:
        """Start the processes that are missing; the error if that fails."""
        while len(self._workers) < self.count + self._has_spare:
            try:
                worker = _Worker(self._start())
                future = worker.executor.submit(import_aer)
            except Exception as error:  # no process, no memory, interpreter ending: the error of the calls that wait
                return error
            with self._lock:
                self._workers.append(worker)
            future.add_done_callback(partial(self._started, worker))
        return None

    def _hand_out(self) -> bool:
        """Give calls that wait to idle workers; False where processes turned out to have ended."""
        sent: list[tuple[_Worker, Call, Future[Any]]] = []
        whole = True
        with self._lock:
            while self._waiting and (worker := self._idle()) is not None:
                call = self._waiting[0]
                try:
                    future = worker.executor.submit(_run, call.function, call.task, call.limits.memory_bytes)
                except (BrokenExecutor, RuntimeError):  # RuntimeError: it was shut down meanwhile
                    self._drop(worker)
                    whole = False
                    continue
                self._waiting.popleft()
                call.worker = worker
                call.sent_at = time.monotonic()
                worker.call = call
                sent.append((worker, call, future))
        for worker, call, future in sent:
            future.add_done_callback(partial(self._finished, worker, call))
        return whole

    def _idle(self) -> _Worker | None:
        """A worker for the next call."""
        busy = sum(worker.call is not None for worker in self._workers)
        if busy >= self.count:
            return None
        idle = (each for each in self._workers if each.call is None and each.is_ready and not each.is_doomed)
        return next(idle, None)

    def _started(self, worker: _Worker, future: Future[Any]) -> None:
        """A process has imported what it needs, or could not; in another thread."""
        error = CancelledError() if future.cancelled() else future.exception()
        if error is None:
            worker.is_ready = True
            self._hand_out()
            return
        with self._lock:
            self._drop(worker)
            others = bool(self._workers)
        if not others:  # nobody is left to take the calls
            self._fail_waiting(WorkerEnded(f"a worker process did not start: {error}"))

    def _finished(self, worker: _Worker, call: Call, future: Future[Any]) -> None:
        """Take what came back, and give the worker its next call; in another thread."""
        error = CancelledError() if future.cancelled() else future.exception()
        has_ended = error is not None and (worker.is_doomed or isinstance(error, BrokenExecutor | CancelledError))
        with self._lock:
            worker.call = None
            if has_ended or worker.is_doomed:
                self._drop(worker)
        if has_ended:
            words = str(error).partition("\n")[0]
            logger.info("a worker process ended under its call: %s", call.ended or words)
            error = call.ended or WorkerEnded(words)
        else:
            self._hand_out()
        call.done(future.result() if error is None else None, error)

    def _drop(self, worker: _Worker) -> None:
        worker.is_doomed = True
        if worker in self._workers:
            self._workers.remove(worker)
            self._gone.append(worker)

    def _fail_waiting(self, error: BaseException) -> None:
        with self._lock:
            waiting = list(self._waiting)
            self._waiting.clear()
        for call in waiting:
            call.done(None, error)

    def _environment(self) -> dict[str, str]:
        """Variables that are read when Aer and numpy are imported."""
        ours = {"OMP_WAIT_POLICY": "passive", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        found = {name: os.environ.get(name) or value for name, value in ours.items()}
        return {**found, "OMP_NUM_THREADS": str(self.threads)}

    def _start(self) -> Any:
        from loky.process_executor import ProcessPoolExecutor

        logger.info("process %d starts a worker process", os.getpid())
        return ProcessPoolExecutor(
            max_workers=1,
            initializer=_begin,
            initargs=(os.getpid(), self._preload),
            env=self._environment(),
        )


def _run(function: Callable[[Any], Any], task: Any, memory_bytes: int | None) -> Any:
    """In the worker: the call itself, within its memory."""
    if memory_bytes is not None:
        limit_memory(memory_bytes)
    return function(task)


def _begin(parent_pid: int, preload: tuple[str, ...]) -> None:
    """Begin a worker: die with the parent, ignore Ctrl-C, import Aer, leave the imports to no GC."""
    import gc
    import importlib
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
    import sys

    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(1, int(signal.SIGKILL), 0, 0, 0)

    def watch() -> None:
        while os.getppid() == parent_pid:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, name="qjobs-aer-watch", daemon=True).start()
