"""What cancelling and retrying mean for one item: decided from its state alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, assert_never

from qjobs.lifecycle import FINAL, JobStatus
from qjobs.service.errors import BadRequest
from qjobs.service.store.job_moves import Move
from qjobs.service.store.job_records import ItemRecord

__all__ = ["Strategy", "cancel_move", "chosen_for_retry", "restart_move"]

_S = JobStatus


class Strategy(StrEnum):
    """RemoteRetryStrategy of the Nexus client."""

    DEFAULT = "DEFAULT"
    """Only look again: nothing runs, and nothing is saved twice."""
    ALLOW_RESUBMIT = "ALLOW_RESUBMIT"
    """Run what has no handle at the third party and no result."""
    FORCE_RESUBMIT = "FORCE_RESUBMIT"
    """Run what has no result, with a handle or without."""
    FULL_RESTART = "FULL_RESTART"
    """Run anew, whatever there is."""

    @classmethod
    def of(cls, word: str | None) -> Strategy:
        """The strategy of a word; DEFAULT for none.

        Raises:
            BadRequest: There is no such strategy.
        """
        try:
            return cls(word) if word is not None else cls.DEFAULT
        except ValueError:
            raise BadRequest(f"there is no retry strategy {word!r}; there are {', '.join(cls)}") from None


def chosen_for_retry(
    items: Sequence[ItemRecord], strategy: Strategy, statuses: frozenset[JobStatus] | None
) -> list[ItemRecord]:
    """The items that a retry runs again.

    Args:
        items: All items of the job.
        strategy: How far to go.
        statuses: Which to consider; None is ERROR, and with FULL_RESTART all.
    """
    if statuses is None:
        statuses = frozenset(_S) if strategy is Strategy.FULL_RESTART else frozenset({_S.ERROR})
    asked = [item for item in items if item.status in statuses]
    match strategy:
        case Strategy.DEFAULT:
            return []
        case Strategy.ALLOW_RESUBMIT:
            return [item for item in asked if _is_over(item) and item.external_handle is None]
        case Strategy.FORCE_RESUBMIT:
            return [item for item in asked if _is_over(item)]
        case Strategy.FULL_RESTART:
            return asked
        case _:
            assert_never(strategy)


def _is_over(item: ItemRecord) -> bool:
    """Whether it is final and left nothing."""
    return item.status in FINAL - {_S.COMPLETED} and not item.has_result


def restart_move(item: ItemRecord, strategy: Strategy, ready_at: datetime) -> Move:
    """The item as new. What a worker still has of its former try is dropped when it comes back."""
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
    """What a cancellation does to the item; None where it changes nothing."""
    match item.status:
        case _S.SUBMITTED | _S.QUEUED | _S.RETRYING:
            return Move(item=item, status=_S.CANCELLED, message="The item was cancelled before it ran.")
        case _S.RUNNING if job_type != "compile":
            return Move(item=item, status=_S.CANCELLING, message="Cancellation has been requested.")
        case _:
            return None
