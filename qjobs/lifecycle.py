"""Statuses, the moves between them, and how items roll up into a job.

One vocabulary serves jobs, items and attempts. The first four statuses are ours, the others are
the providers' (StatusEnum and JobStatusEnum of the Nexus client API, plus the two final ones that its
newer clients know: credits exhausted, stopped by the platform).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

__all__ = [
    "FINAL",
    "LIVE",
    "NOT_MOVED_BY_WAITING",
    "TRANSITIONS",
    "UNDER_WAY",
    "JobStatus",
    "can_move",
    "roll_up",
]


class JobStatus(StrEnum):
    """Status of a job, an item or an attempt."""

    CREATED = "CREATED"
    """Planned and stored; nothing was sent."""
    SUBMITTING = "SUBMITTING"
    """The intent is on disk and the call is under way."""
    UNKNOWN = "UNKNOWN"
    """The reply to the submission was lost: a remote job may or may not exist."""
    LOST = "LOST"
    """The provider has confirmed, several times and over time, that it does not know the job."""
    SUBMITTED = "SUBMITTED"
    """The provider has it."""
    QUEUED = "QUEUED"
    """It waits for the device."""
    RUNNING = "RUNNING"
    """It runs."""
    RETRYING = "RETRYING"
    """The provider itself tries again."""
    CANCELLING = "CANCELLING"
    """Cancellation was asked for and is not confirmed."""
    COMPLETED = "COMPLETED"
    """Results are ready."""
    CANCELLED = "CANCELLED"
    """Cancelled before it finished."""
    ERROR = "ERROR"
    """It failed."""
    DEPLETED = "DEPLETED"
    """Credits or quota ran out."""
    TERMINATED = "TERMINATED"
    """Stopped by the platform or the device."""

    @property
    def is_final(self) -> bool:
        """Whether no provider will report anything else for it."""
        return self in FINAL


_S = JobStatus

FINAL: frozenset[JobStatus] = frozenset({_S.COMPLETED, _S.CANCELLED, _S.ERROR, _S.DEPLETED, _S.TERMINATED})
"""Statuses that no later report changes."""

UNDER_WAY: frozenset[JobStatus] = frozenset({_S.SUBMITTED, _S.QUEUED, _S.RUNNING, _S.RETRYING, _S.CANCELLING})
"""Statuses of a job that its provider has and has not finished: those that waiting moves."""

LIVE: frozenset[JobStatus] = UNDER_WAY | {_S.SUBMITTING, _S.UNKNOWN}
"""Statuses of an attempt behind which a remote job may be alive: at most one per job."""

NOT_MOVED_BY_WAITING: frozenset[JobStatus] = frozenset({_S.CREATED, _S.UNKNOWN, _S.LOST})
"""Statuses, besides the final ones, that no waiting moves: nothing was sent, or nobody knows what came of it."""

_AT_PROVIDER = UNDER_WAY | FINAL

TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    _S.CREATED: frozenset({_S.SUBMITTING, _S.CANCELLED}),
    _S.SUBMITTING: _AT_PROVIDER | {_S.CREATED, _S.UNKNOWN},
    _S.UNKNOWN: _AT_PROVIDER | {_S.CREATED, _S.LOST},
    _S.LOST: _AT_PROVIDER | {_S.CREATED},
    # A provider may requeue (Munich Quantum Portal) and may answer from a stale replica: any order is taken.
    _S.SUBMITTED: _AT_PROVIDER - {_S.SUBMITTED} | {_S.LOST},
    _S.QUEUED: _AT_PROVIDER - {_S.QUEUED} | {_S.LOST},
    _S.RUNNING: _AT_PROVIDER - {_S.RUNNING} | {_S.LOST},
    _S.RETRYING: _AT_PROVIDER - {_S.RETRYING} | {_S.LOST},
    _S.CANCELLING: _AT_PROVIDER - {_S.CANCELLING} | {_S.LOST},
    _S.COMPLETED: frozenset(),
    _S.CANCELLED: frozenset({_S.COMPLETED}),
    _S.ERROR: frozenset(),
    _S.DEPLETED: frozenset(),
    _S.TERMINATED: frozenset(),
}
"""Moves that a report may make. COMPLETED wins over a cancellation that lost the race. There are two other ways on from
a final status, and both are a caller's decision, never a report's: a new attempt (`Ledger.submissions.claim`), and
asking for the job once more before anything is sent, which reopens it if it is alive there again (`REOPENS`)."""

REOPENS: frozenset[JobStatus] = FINAL - {_S.COMPLETED}
"""Final statuses that a job may leave when it was asked for once more and is alive: a person pressed Retry there, or
the provider queued it again."""


def can_move(old: JobStatus, new: JobStatus) -> bool:
    """Whether a report may move a row from `old` to `new`.

    >>> can_move(JobStatus.QUEUED, JobStatus.RUNNING), can_move(JobStatus.ERROR, JobStatus.RUNNING)
    (True, False)
    """
    return new in TRANSITIONS[old]


_WAITING_ORDER = (
    _S.CANCELLING,
    _S.RUNNING,
    _S.RETRYING,
    _S.QUEUED,
    _S.SUBMITTED,
    _S.UNKNOWN,
    _S.SUBMITTING,
    _S.LOST,
    _S.CREATED,
)
_FINAL_ORDER = (_S.ERROR, _S.DEPLETED, _S.TERMINATED, _S.CANCELLED, _S.COMPLETED)


def roll_up(statuses: Iterable[JobStatus]) -> JobStatus:
    """Status of a job, from the statuses of its items.

    While any item is open the job is as far as its most advanced open item, and RUNNING once some
    items are final while others wait. When all are final the worst one names the job, so that some
    COMPLETED and some ERROR is ERROR.

    Args:
        statuses: One per item; at least one.

    Raises:
        ValueError: There are no items.

    >>> roll_up([JobStatus.COMPLETED, JobStatus.ERROR]).value
    'ERROR'
    """
    seen = set(statuses)
    if not seen:
        raise ValueError("a job without items has no status")
    open_ones = seen - FINAL
    if not open_ones:
        return next(status for status in _FINAL_ORDER if status in seen)
    furthest = next(status for status in _WAITING_ORDER if status in open_ones)
    if seen & FINAL and furthest in {_S.QUEUED, _S.SUBMITTED}:
        return _S.RUNNING
    return furthest
