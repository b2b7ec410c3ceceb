"""What the Nexus adapter's threads share: a bounded fan-out, and bounded memories."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

__all__ = ["Fan", "Recent"]

_WIDTH = 8
_A = TypeVar("_A")
_R = TypeVar("_R")
_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class Fan:
    """Runs requests eight at a time, however many threads ask for some. Threads start when they are needed."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_WIDTH, thread_name_prefix="nexus")

    def out(
        self, call: Callable[[_A], _R], arguments: Iterable[_A], tick: Callable[[], None] = lambda: None
    ) -> list[_R]:
        """What `call` returns for each argument, in their order.

        The first error is raised, after the calls that had begun; none begins after it.

        Args:
            call: May be called from several threads at once; must not call `out`.
            arguments: One for each call.
            tick: Called in this thread once a second meanwhile; what it raises counts as an error.
        """
        futures = [self._pool.submit(call, argument) for argument in arguments]
        try:
            pending = set(futures)
            while pending:
                done, pending = wait(pending, timeout=1.0, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
                tick()
        finally:
            wait([future for future in futures if not future.cancel()])
        return [future.result() for future in futures]

    def close(self) -> None:
        """Let no call begin any more. Idempotent."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Recent(Generic[_K, _V]):
    """The last values that were put in, at most so many. Safe to use from many threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._values: OrderedDict[_K, _V] = OrderedDict()

    def get(self, key: _K) -> _V | None:
        """The value of a key, or None."""
        with self._lock:
            return self._values.get(key)

    def put(self, key: _K, value: _V) -> None:
        """Keep a value, and let go of the oldest if there are too many."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self._size:
                self._values.popitem(last=False)

    def forget(self, keys: Iterable[_K]) -> None:
        """Let go of these, as far as they are here."""
        with self._lock:
            for key in keys:
                self._values.pop(key, None)
