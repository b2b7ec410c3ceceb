"""The objects that are wrapped: the protocol of Divi, what makes one, and which are refused."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from numbers import Integral
from typing import Any, Final, Protocol

from qjobs.backends.async_job.answers import meaning
from qjobs.errors import InvalidInput
from qjobs.model import JsonValue

__all__ = [
    "AsyncJobObject",
    "ExecutionResult",
    "check_protocol",
    "check_sends_once",
    "object_of",
    "parameters_of",
]

_METHODS: Final = ("submit_circuits", "poll_job_status", "get_job_results", "cancel_job")
_SENDS_ONCE: Final = (0, 15)
"""The first version of `qoro-divi` whose `QoroService` sends its POSTs once."""


class AsyncJobObject(Protocol):
    """What an object must have: the protocol `AsyncJobBackend` of `divi.backends`, versions 0.13 and 0.15.

    It may have more. A parameter `shot_groups` of `submit_circuits` says that each circuit may have its own number of
    shots. A method `find_job(label)` returns the id of the oldest job that has a circuit with exactly this label, or
    None if there surely is none, and raises if it cannot tell: with it, a lost reply can be looked up.
    """

    @property
    def shots(self) -> int:
        """How often each circuit is run."""

    def submit_circuits(self, circuits: Mapping[str, str], /, **options: Any) -> Any:
        """Make a job of the circuits, by label, each in OpenQASM 2; the answer has its `job_id`."""

    def poll_job_status(self, execution_result: Any, /, loop_until_complete: bool = ..., *, verbose: bool = ...) -> Any:
        """The present status, by its word or as an enum."""

    def get_job_results(self, execution_result: Any, /) -> Any:
        """An answer whose `results` is a list of `{"label", "results"}`."""

    def cancel_job(self, execution_result: Any, /) -> Any:
        """Ask for cancellation."""


@dataclass(frozen=True, kw_only=True)
class ExecutionResult:
    """A handle of a job, as an object of the protocol takes it: the same fields and methods as Divi's."""

    results: list[dict[str, Any]] | None = None
    job_id: str | None = None
    backend_jobs: int = 1
    run_time: float = 0.0

    def is_async(self) -> bool:
        """Whether it has no results yet."""
        return self.job_id is not None and self.results is None

    def with_results(self, results: list[dict[str, Any]], run_time: float = 0.0) -> ExecutionResult:
        """The same with results; `run_time` is in seconds."""
        return replace(self, results=results, run_time=run_time)


def object_of(factory: str, arguments: Mapping[str, JsonValue]) -> AsyncJobObject:
    """Make the object that is registered under a name in the entry-point group `qjobs.async_jobs`.

    Raises:
        InvalidInput: There is none of that name, or it does not take these arguments.
        BackendUnavailable, CredentialsRejected, ProtocolError: Its provider was asked, and did not answer as it should.
    """
    from qjobs.plugins import Registry  # with it comes qiskit: 2 s and 60 MB

    makers = Registry(
        group="qjobs.async_jobs",
        what="maker of an AsyncJobBackend",
        name_field="factory",
        arguments_field="arguments",
    )
    try:
        made: AsyncJobObject = makers.build(factory, arguments)
    except Exception as error:
        raise meaning(error, f"{factory} cannot be made") from error
    return made


def check_protocol(target: object) -> None:
    """Refuse what cannot be driven by the protocol.

    Raises:
        InvalidInput: It lacks something, or gives no job ids.
    """
    kind = type(target).__name__
    missing = [name for name in _METHODS if not callable(getattr(target, name, None))]
    shots = getattr(target, "shots", None)
    if missing or not isinstance(shots, Integral) or int(shots) < 1:
        lacks = ", ".join(missing or ["a number of shots"])
        raise InvalidInput(f"{kind} is no AsyncJobBackend of Divi: it lacks {lacks}", field="target")
    if getattr(target, "is_async", True) is False:
        raise InvalidInput(
            f"{kind} runs circuits at once and gives no job id, so that nothing could be found again; use the backend "
            "aer to simulate",
            field="target",
        )


def check_sends_once(target: object) -> None:
    """Refuse an object that is known to repeat its POST: then one lost reply makes several jobs.

    Raises:
        InvalidInput: It is one.
    """
    for each in type(target).__mro__:
        if each.__name__ == "QoroService" and each.__module__.partition(".")[0] == "divi":
            version = _installed("qoro-divi")
            numbers = re.match(r"(\d+)\.(\d+)", version)
            if numbers is not None and (int(numbers[1]), int(numbers[2])) >= _SENDS_ONCE:
                continue
            raise InvalidInput(
                f"QoroService of qoro-divi {version or '(of an unknown version)'} sends a POST again when its reply is "
                "lost (measured with 0.13.0: 3 jobs for one submission), so that no job of it is safe. Use the backend "
                "qoro/TARGET, which loses no job; or qoro-divi 0.15 or newer, which sends once",
                field="target",
            )


def _installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def parameters_of(function: Callable[..., object]) -> Mapping[str, inspect.Parameter]:
    """The parameters of a function by name; none where Python cannot see them."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # of C
        return {}
