"""The types of Divi that a backend of it meets: Divi's own where it is installed, and stand-ins of ours where not.

Divi 0.13 and 0.15 differ in what they have. Nothing of Divi is imported before the first backend is made.
"""

from __future__ import annotations

import functools
import json
import threading
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from qjobs.errors import QJobsError
from qjobs.lifecycle import JobStatus
from qjobs.model import JsonValue

__all__ = ["DiviJobStatus", "DiviTypes", "ExecutionCancelledError", "ExecutionResult", "Response", "divi_types"]


class DiviJobStatus(StrEnum):
    """The statuses that every version of Divi has."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class ExecutionCancelledError(QJobsError):
    """The program has set the cancellation event. The jobs that were sent go on until `cancel_job` is called."""


@dataclass(frozen=True)
class ExecutionResult:
    """A handle, and later what it stands for.

    `results` has `{"label": ..., "results": ...}` for each circuit, None before they are fetched.
    """

    results: list[dict[str, Any]] | None = None
    job_id: str | None = None

    def is_async(self) -> bool:
        """Whether the results are still to be fetched."""
        return self.job_id is not None and self.results is None

    def with_results(self, results: list[dict[str, Any]]) -> ExecutionResult:
        """The same handle with its results."""
        return replace(self, results=results)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What stands for an HTTP response where a job has none of its own, or several.

    It has what programs read of one of `requests`: the status code, and `json()` with `job_id` and `status`, in Divi's
    words.
    """

    status_code: int
    body: dict[str, JsonValue] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the status code is below 400."""
        return self.status_code < 400

    @property
    def text(self) -> str:
        """The body as JSON."""
        return json.dumps(self.body)

    def json(self) -> dict[str, JsonValue]:
        """The body."""
        return dict(self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiviTypes:
    """Divi's classes, or ours in their place.

    `runner` is the abstract class that its programs ask for, None without Divi. `raises` says that its protocol wants
    an unsuccessful end of a wait to be raised instead of returned.
    """

    status: Any
    result: Any
    cancelled: type[Exception]
    runner: Any = None
    raises: bool = False

    def status_of(self, status: JobStatus) -> Any:
        """A status of ours as one of Divi's."""
        match status:
            case JobStatus.CREATED | JobStatus.SUBMITTING | JobStatus.SUBMITTED | JobStatus.QUEUED:
                return self.status.PENDING
            case JobStatus.UNKNOWN | JobStatus.LOST:
                return self.status.PENDING  # never a final one: the job may live, and a program would ask for another
            case JobStatus.RUNNING | JobStatus.RETRYING | JobStatus.CANCELLING:
                return self.status.RUNNING
            case JobStatus.COMPLETED:
                return self.status.COMPLETED
            case JobStatus.CANCELLED:
                return self.status.CANCELLED
            case JobStatus.DEPLETED:
                return getattr(self.status, "INSUFFICIENT_CREDITS", self.status.FAILED)
            case _:
                return self.status.FAILED

    def with_results(self, handle: Any, results: list[dict[str, Any]], run_time_s: float) -> Any:
        """The handle with its results, and with the run time where this version of Divi has one."""
        if hasattr(handle, "run_time"):
            return handle.with_results(results, run_time=run_time_s)
        return handle.with_results(results)


_lock = threading.Lock()


def divi_types() -> DiviTypes:
    """Divi's types where Divi is installed, else ours."""
    with _lock:
        return _found()


@functools.cache
def _found() -> DiviTypes:
    try:
        from divi import backends  # type: ignore[import-not-found]
        from divi.exceptions import ExecutionCancelledError as Cancelled  # type: ignore[import-not-found]
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "divi":
            raise  # Divi is there, and something that it needs is not
        return DiviTypes(status=DiviJobStatus, result=ExecutionResult, cancelled=ExecutionCancelledError)
    return DiviTypes(
        status=backends.JobStatus,
        result=backends.ExecutionResult,
        cancelled=Cancelled,
        runner=backends.CircuitRunner,
        raises=hasattr(backends, "QoroJobError"),
    )
