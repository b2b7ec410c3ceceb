"""A Dask cluster whose workers compile. They may be other machines: they get circuits and give circuits back.

The cluster is trusted as this machine is: Dask runs whatever its clients send, and its answers are unpickled here.
"""

from __future__ import annotations

import copyreg
import logging
import os
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from types import TracebackType
from typing import Any, Self, TypeVar

from qjobs.errors import BackendUnavailable, InvalidInput, QJobsError

__all__ = ["SCHEDULER", "DaskCluster"]

logger = logging.getLogger(__name__)

SCHEDULER = "QJOBS_DASK_SCHEDULER"
"""The environment variable with the address of the scheduler."""

T = TypeVar("T")
R = TypeVar("R")

_CONNECT_S = 10.0
_WORKERS_S = 30.0
"""How long to wait for the first worker, and for another one when all have gone."""


class DaskCluster:
    """A connection to a cluster, from entering to leaving.

    Args:
        address: Of its scheduler, for example `tcp://10.0.0.7:8786`.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._client: Any = None

    @classmethod
    def from_environment(cls) -> Self:
        """The cluster whose scheduler `QJOBS_DASK_SCHEDULER` names.

        Raises:
            InvalidInput: It names none.
        """
        address = os.environ.get(SCHEDULER, "").strip()
        if not address:
            raise InvalidInput(
                f"to compile by Dask, set {SCHEDULER} to the address of its scheduler, such as tcp://10.0.0.7:8786",
                field="compile_on",
            )
        return cls(address)

    def __enter__(self) -> Self:
        try:
            from distributed import Client
        except ImportError as error:
            raise InvalidInput(
                "to compile by Dask, install it with: pip install 'qjobs[dask]'", field="compile_on"
            ) from error
        _pickle_errors_as_before()
        try:
            self._client = Client(self._address, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, TimeoutError) as error:
            raise self._lost(f"does not answer ({error})") from error
        except ValueError as error:
            raise InvalidInput(f"{SCHEDULER} is {self._address!r}: {error}", field="compile_on") from error
        try:
            self._client.wait_for_workers(1, timeout=_WORKERS_S)
        except TimeoutError as error:
            self._close()
            raise self._lost("has no workers") from error
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._close()

    @property
    def count(self) -> int:
        """How many parts it compiles at a time."""
        return max(1, sum(map(int, self._client.nthreads().values())))

    def outcomes(self, function: Callable[[T], R], parts: Sequence[T]) -> Iterator[tuple[int, R]]:
        """What a function of ours makes of each part, with its place, as they come.

        Raises:
            BackendUnavailable: Workers were lost again and again under a part, all workers, or the scheduler.
            InvalidInput: A worker cannot run it.
        """
        logger.info("%d parts are compiled by the Dask cluster %s", len(parts), self._address)
        done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        places = {}
        for place, part in enumerate(parts):
            future = self._client.submit(function, part, pure=False)
            places[future] = place
            future.add_done_callback(done.put)
        try:
            while places:
                future = self._next(done)
                yield places.pop(future), self._result(future)
        finally:
            if places and self._client.status == "running":
                self._client.cancel(list(places))

    def _next(self, done: queue.SimpleQueue[Any]) -> Any:
        empty_s = 0.0
        while True:
            try:
                return done.get(timeout=1.0)  # Prefect cannot time out a thread that sleeps for longer
            except queue.Empty:
                empty_s = empty_s + 1.0 if self._has_no_workers() else 0.0
            if empty_s >= _WORKERS_S:
                raise self._lost("has lost all of its workers")

    def _has_no_workers(self) -> bool:
        if self._client.status != "running":
            raise self._lost("is gone")
        try:
            return not self._client.nthreads()
        except (OSError, TimeoutError) as error:
            raise self._lost(f"does not answer ({error})") from error

    def _result(self, future: Any) -> Any:
        from distributed import KilledWorker

        try:
            return future.result(timeout=_CONNECT_S)
        except QJobsError:
            raise
        except (KilledWorker, CancelledError, OSError, TimeoutError) as error:
            raise self._lost(f"lost a part ({type(error).__name__})") from error
        except Exception as error:  # boundary: whatever a worker meets that has other software
            words = " ".join(str(error).split())
            raise InvalidInput(
                f"a worker of the Dask cluster {self._address} cannot compile: {type(error).__name__}: {words}; "
                "install the same qjobs there",
                field="compile_on",
            ) from error

    def _lost(self, what: str) -> BackendUnavailable:
        return BackendUnavailable(
            f"the Dask cluster {self._address} {what}; what it has compiled is kept, and entering it again compiles "
            "the rest"
        )

    def _close(self) -> None:
        client = self._client
        self._client = None
        if client is not None:
            client.close(timeout=_CONNECT_S)


def _pickle_errors_as_before(kind: type[QJobsError] = QJobsError) -> None:
    """Pickle our errors without their causes: `distributed` brings tblib, which adds these, whatever they hold."""
    copyreg.dispatch_table.pop(kind, None)
    for each in kind.__subclasses__():
        _pickle_errors_as_before(each)
