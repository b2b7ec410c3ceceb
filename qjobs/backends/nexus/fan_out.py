"""Requests side by side, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, as_completed, wait
from typing import Final, TypeVar

_WIDTH: Final = 8
_A = TypeVar("_A")
_R = TypeVar("_R")


class FanOut:
    """Runs requests eight at a time, however many threads ask for some. Its threads start when they are needed.

    What is called may be called from several threads at once, and must not use the same `FanOut`.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_WIDTH, thread_name_prefix="nexus")

    def map(
        self, call: Callable[[_A], _R], arguments: Iterable[_A], tick: Callable[[], None] = lambda: None
    ) -> list[_R]:
        """What `call` returns for each argument, in their order.

        The first error is raised when the calls that had begun are over; none begins after it. `tick` is called in this
        thread once a second meanwhile; what it raises counts as an error.
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

    def stream(self, call: Callable[[_A], _R], arguments: Iterable[_A]) -> Iterator[tuple[_A, _R]]:
        """Each argument with what `call` returns for it, as soon as it does.

        When the stream is closed early, no call begins any more.
        """
        futures = {self._pool.submit(call, argument): argument for argument in arguments}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            for future in futures:
                future.cancel()

    def close(self) -> None:
        """Let no call begin any more. Idempotent."""
        self._pool.shutdown(wait=False, cancel_futures=True)
