"""The options that all stages share: which errors make Prefect run one again, when, and by which rung of the ladder."""

from __future__ import annotations

from typing import Any

from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run

from qjobs.errors import BackendUnavailable, Busy, LedgerAway, OverCap, ProtocolError
from qjobs.model import Lookup
from qjobs.operations.retry import RetryPolicy

DEFAULT_POLICY = RetryPolicy.for_backend(Lookup(by_key=True))
"""Ladder of the decorator; a flow puts the backend's own in with `with_options`."""

READ_DELAYS_S = [2.0, 10.0, 60.0, 300.0]
"""Pauses of stages that only read, in seconds; they have no way to submit and may be retried freely."""
COMPILE_DELAYS_S = [2.0, 10.0, 20.0]
"""Pauses of the compile stage, in seconds: a person waits for it, and nothing is lost when it is entered again."""


def is_transient(_task: Any, _run: Any, state: Any) -> bool:
    """Retry condition: errors that are transient by class, and no others; a job that a cap holds waits elsewhere."""
    return _raises(state, (BackendUnavailable, Busy, LedgerAway))


def is_transient_read(_task: Any, _run: Any, state: Any) -> bool:
    """Retry condition of stages that only read: also what a provider may say otherwise the next time."""
    return _raises(state, (BackendUnavailable, Busy, LedgerAway, ProtocolError))


def _raises(state: Any, kinds: tuple[type[Exception], ...]) -> bool:
    try:
        state.result()
    except OverCap:
        return False
    except kinds:
        return True
    except Exception:  # any other error of a task is not to be retried
        return False
    return False


_STAGE: dict[str, Any] = {
    "tags": ["qjobs"],
    "retry_jitter_factor": 0.2,
    "retry_condition_fn": is_transient,
    "persist_result": False,
    "cache_policy": NO_CACHE,
    "cache_result_in_memory": True,
    "log_prints": False,
}
SUBMITS: dict[str, Any] = {
    **_STAGE,
    "retries": len(DEFAULT_POLICY.rungs),
    "retry_delay_seconds": DEFAULT_POLICY.delays_s,
}
"""Options of the one stage that can submit; a flow puts the number and the delays of its backend's ladder in."""
READS: dict[str, Any] = {
    **_STAGE,
    "retry_condition_fn": is_transient_read,
    "retries": len(READ_DELAYS_S),
    "retry_delay_seconds": READ_DELAYS_S,
}
"""Options of the stages that only read."""
COMPILES: dict[str, Any] = {
    **READS,
    "retries": len(COMPILE_DELAYS_S),
    "retry_delay_seconds": COMPILE_DELAYS_S,
}
"""Options of the compile stage."""


def run_count() -> int:
    """1 in the first run of the present task, 2 in its first retry; 1 outside of a run."""
    return max(1, int(task_run.run_count or 1))
