"""Which errors make Prefect run a stage again, and by which rung of the ladder."""

from __future__ import annotations

from typing import Any

from prefect.runtime import task_run

from qjobs.errors import BackendUnavailable, Busy
from qjobs.model import LostReply
from qjobs.retry import RetryPolicy

__all__ = ["DEFAULT_POLICY", "READ_DELAYS_S", "is_transient", "run_count"]

DEFAULT_POLICY = RetryPolicy.for_backend(LostReply.FINDABLE)
"""Ladder of the decorator; a flow puts the backend's own in with `with_options`."""

READ_DELAYS_S = [2.0, 10.0, 60.0, 300.0]
"""Pauses of stages that only read, in seconds; they have no way to submit and may be retried freely."""


def is_transient(_task: Any, _run: Any, state: Any) -> bool:
    """Retry condition: errors that are transient by class, and no others."""
    try:
        state.result()
    except (BackendUnavailable, Busy):
        return True
    except Exception:  # noqa: BLE001, RUF100  # whatever else a task raised is not to be retried
        return False
    return False


def run_count() -> int:
    """1 in the first run of the present task, 2 in its first retry; 1 outside of a run."""
    return max(1, int(task_run.run_count or 1))
