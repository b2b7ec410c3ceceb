"""What cancelling and retrying do to one item: decided from its status and its results alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, assert_never

from qjobs.lifecycle import FINAL, JobStatus
from qjobs.model import RemoteRetryStrategy
from qjobs.service.store.job_moves import Move
from qjobs.service.store.job_records import ItemRecord

_S = JobStatus


def chosen_for_retry(
    items: Sequence[ItemRecord], strategy: RemoteRetryStrategy, statuses: frozenset[JobStatus]
) -> list[ItemRecord]:
    """The items that a retry runs again.

    Args:
        items: All items of the job.
        strategy: DEFAULT runs none; ALLOW_RESUBMIT what has no handle at the third party and no result;
            FORCE_RESUBMIT what has no result; FULL_RESTART everything.
        statuses: Which to consider; empty is ERROR, and with FULL_RESTART all.
    """
    if not statuses:
        statuses = frozenset(_S) if strategy is RemoteRetryStrategy.FULL_RESTART else frozenset({_S.ERROR})
    asked = [item for item in items if item.status in statuses]
    match strategy:
        case RemoteRetryStrategy.DEFAULT:
            return []
        case RemoteRetryStrategy.ALLOW_RESUBMIT:
            return [item for item in asked if _is_over(item) and item.external_handle is None]
        case RemoteRetryStrategy.FORCE_RESUBMIT:
            return [item for item in asked if _is_over(item)]
        case RemoteRetryStrategy.FULL_RESTART:
            return asked
        case _:
            assert_never(strategy)


def _is_over(item: ItemRecord) -> bool:
    """Whether it is final and has no result."""
    return item.status in FINAL - {_S.COMPLETED} and not item.has_result


def restart_move(item: ItemRecord, strategy: RemoteRetryStrategy, ready_at: datetime) -> Move:
    """Make the item new. What a worker still has of its former try is dropped when it comes back."""
    values: dict[str, Any] = {
        "ready_at": ready_at,
        "error_detail": None,
        "cost": None,
        "cost_confidence": None,
        "external_handle": None,
        "result_id": None,
        "result_type": None,
        "compilation_id": None,
        "tries": item.tries + 1,
    }
    words = f"The item is being retried ({strategy})."
    return Move(item=item, status=_S.RETRYING, message=words, values=values, forget_times=True)


def cancel_move(item: ItemRecord, job_type: str) -> Move | None:
    """The move that a cancellation makes; None where it changes nothing."""
    match item.status:
        case _S.SUBMITTED | _S.QUEUED | _S.RETRYING:
            return Move(item=item, status=_S.CANCELLED, message="The item was cancelled before it ran.")
        case _S.RUNNING if job_type != "compile":
            return Move(item=item, status=_S.CANCELLING, message="Cancellation has been requested.")
        case _:
            return None
