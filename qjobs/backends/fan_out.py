"""Requests side by side, a bounded number at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Final, TypeVar

from qjobs.backends.base import Answer
from qjobs.errors import BackendUnavailable, CredentialsRejected, QJobsError
from qjobs.model import RemoteId

__all__ = ["FanOut", "ask_each", "raise_if_all_failed"]

_WIDTH: Final = 8
_AHEAD: Final = 3 * _WIDTH
_AWAY: Final = 8
"""After so many jobs in a row that the provider could not be asked for, the rest are not tried: it is away."""
_A = TypeVar("_A")
_R = TypeVar("_R")


class FanOut:
    """Runs requests eight at a time, however many threads ask for some. Its threads start when they are needed.

    What is called may be called from several threads at once, and must not use the same `FanOut`.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_WIDTH, thread_name_prefix="requests")

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

        No more than two dozen calls are ahead of what was taken from the stream, and what was taken is not kept. When
        the stream is closed early, no call begins any more.
        """
        waiting = iter(arguments)
        futures: dict[Future[_R], _A] = {}
        try:
            while True:
                for argument in itertools.islice(waiting, _AHEAD - len(futures)):
                    futures[self._pool.submit(call, argument)] = argument
                if not futures:
                    return
                done, _ = wait(futures, return_when=FIRST_COMPLETED)
                for future in done:
                    yield futures.pop(future), future.result()
        finally:
            for future in futures:
                future.cancel()

    def close(self) -> None:
        """Let no call begin any more. Idempotent."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def ask_each(
    fan_out: FanOut, remote_ids: Sequence[RemoteId], ask: Callable[[RemoteId], Answer | None]
) -> dict[RemoteId, Answer]:
    """What `ask` answers for each job; one that it answers None for is left out.

    After eight answers in a row that are `BackendUnavailable`, the last of them stands for the rest: each request to a
    provider that is away takes several tries and time-outs.
    """
    failed: list[BackendUnavailable] = []

    def ask_one(remote_id: RemoteId) -> Answer | None:
        in_a_row = list(failed)  # another thread may clear it meanwhile
        if len(in_a_row) >= _AWAY:
            return in_a_row[-1]
        answer = ask(remote_id)
        if isinstance(answer, BackendUnavailable):
            failed.append(answer)
        else:
            failed.clear()
        return answer

    found: dict[RemoteId, Answer] = {}
    for remote_id, answer in zip(remote_ids, fan_out.map(ask_one, remote_ids), strict=True):
        if answer is not None:
            found[remote_id] = answer
    return found


def raise_if_all_failed(found: Mapping[RemoteId, Answer], n_asked: int) -> None:
    """Raise what stands for all of `n_asked` jobs, where none could be asked for.

    Raises:
        BackendUnavailable, CredentialsRejected: The first of them among the answers.
    """
    if len(found) == n_asked and all(isinstance(answer, QJobsError) for answer in found.values()):
        for answer in found.values():
            if isinstance(answer, BackendUnavailable | CredentialsRejected):
                raise answer
