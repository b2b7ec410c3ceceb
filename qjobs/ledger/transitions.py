"""How the ledger's moves are made: functions that work inside one transaction.

A move is one guarded UPDATE plus one event. Each of these functions locks nothing but what `locked_job` locked,
and raises `StaleJob` where the row is no longer as the caller saw it; the transaction then changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qjobs.errors import Busy, InvalidInput, JobNotFound, StaleJob
from qjobs.ledger.database import log_after_commit
from qjobs.ledger.rows import attempt_of
from qjobs.ledger.tables import ATTEMPT, EVENT, ITEM, JOB, LIVE_WORDS, TIMED_STATUSES
from qjobs.lifecycle import FINAL, JobStatus
from qjobs.model import Attempt, AttemptNumber, JobId

UNSETTLED = frozenset({JobStatus.SUBMITTING, JobStatus.UNKNOWN})
"""Statuses of an attempt of which nobody has said yet what came of it."""
_MOST_LOGGED = 200
"""Characters of a reason in the log; the event has all of it."""


def locked_job(connection: sa.Connection, job_id: JobId) -> sa.Row[Any]:
    """The job's row, locked until the transaction ends (SQLite's writer lock does it there)."""
    row = connection.execute(sa.select(JOB).where(JOB.c.job_id == job_id).with_for_update()).one_or_none()
    if row is None:
        raise JobNotFound(f"the ledger has no job {job_id}; see: qjobs jobs list", job_id=job_id)
    return row


def check_room(connection: sa.Connection, row: sa.Row[Any], max_live_jobs: int) -> None:
    """Raise `Busy` when the job's device has `max_live_jobs` other live jobs."""
    same_device = (JOB.c.backend == row.backend) & (JOB.c.device == row.device)
    live = connection.scalar(
        sa.select(sa.func.count()).where(same_device, JOB.c.status.in_(LIVE_WORDS), JOB.c.job_id != row.job_id)
    )
    if (live or 0) >= max_live_jobs:
        raise Busy(f"{row.device} has {live} live jobs and takes {max_live_jobs} at a time", job_id=row.job_id)


def read_attempt(connection: sa.Connection, job_id: JobId, number: AttemptNumber) -> Attempt:
    """One attempt, as it is now."""
    query = sa.select(ATTEMPT).where(ATTEMPT.c.job_id == job_id, ATTEMPT.c.number == number)
    return attempt_of(connection.execute(query).one())


def unsettled(connection: sa.Connection, attempt: Attempt) -> Attempt:
    """The attempt as it is now; raises `StaleJob` unless it is SUBMITTING or UNKNOWN (its lease may have run out)."""
    known = read_attempt(connection, attempt.job_id, attempt.number)
    if known.status not in UNSETTLED:
        raise StaleJob(f"attempt {known.number} of {known.job_id} is {known.status} already", job_id=known.job_id)
    return known


def settle_attempt(connection: sa.Connection, attempt: Attempt, status: JobStatus, **values: Any) -> None:
    """Guarded move of an attempt; `attempt.status` is the status it must still have."""
    moved = connection.execute(
        ATTEMPT.update()
        .where(
            ATTEMPT.c.job_id == attempt.job_id,
            ATTEMPT.c.number == attempt.number,
            ATTEMPT.c.status == attempt.status,
        )
        .values(status=status, **values)
    )
    if moved.rowcount != 1:
        raise StaleJob(
            f"attempt {attempt.number} of {attempt.job_id} is no longer {attempt.status}", job_id=attempt.job_id
        )


def set_sent_items(connection: sa.Connection, attempt: Attempt, *, but: JobStatus | None = None, **values: Any) -> None:
    """Write the same to every item that `attempt` sent, except those in status `but`."""
    chosen = ITEM.c.job_id == attempt.job_id
    if but is not None:
        chosen &= ITEM.c.status != but
    if attempt.items is not None:
        chosen &= ITEM.c.item_index.in_(attempt.items)
    connection.execute(ITEM.update().where(chosen).values(**values))


def is_replaced(connection: sa.Connection, attempt: Attempt, epoch: int) -> bool:
    """Whether the items are a later attempt's: a newer epoch has begun, or something was sent since."""
    later = sa.select(sa.func.count()).where(
        ATTEMPT.c.job_id == attempt.job_id,
        ATTEMPT.c.number > attempt.number,
        ATTEMPT.c.sent_at.is_not(None),
    )
    return attempt.epoch != epoch or bool(connection.scalar(later))


def move_job(
    connection: sa.Connection,
    job_id: JobId,
    old: JobStatus,
    new: JobStatus,
    cause: str,
    detail: str,
    now: datetime,
    **values: Any,
) -> None:
    """Guarded move of a job, and its event."""
    moved = connection.execute(
        JOB.update().where(JOB.c.job_id == job_id, JOB.c.status == old).values(status=new, **values)
    )
    if moved.rowcount != 1:
        raise StaleJob(f"{job_id} is no longer {old}", job_id=job_id)
    connection.execute(EVENT.insert(), event_row(job_id, old, new, cause, detail, now))
    log_after_commit(connection, f"{job_id}: {old} -> {new} ({cause}): {detail[:_MOST_LOGGED]}")


def item_statuses(connection: sa.Connection, job_id: JobId) -> list[JobStatus]:
    """Statuses of a job's items, in no particular order."""
    return [JobStatus(s) for s in connection.scalars(sa.select(ITEM.c.status).where(ITEM.c.job_id == job_id))]


def reset_items(connection: sa.Connection, job_id: JobId) -> None:
    """Make all items of a job CREATED again, for a new epoch."""
    blank = {f"{status.lower()}_at": None for status in TIMED_STATUSES if status is not JobStatus.CREATED}
    connection.execute(
        ITEM.update()
        .where(ITEM.c.job_id == job_id)
        .values(
            status=JobStatus.CREATED,
            message="",
            error_detail=None,
            queue_position=None,
            cost=None,
            cancel_requested_at=None,
            **blank,
        )
    )


def withdraw_cancellations(connection: sa.Connection, job_id: JobId, items: tuple[int, ...] | None) -> None:
    """Items that are sent again are wanted again."""
    chosen = (ITEM.c.job_id == job_id) & ITEM.c.cancel_requested_at.is_not(None)
    if items is not None:
        chosen &= ITEM.c.item_index.in_(items)
    connection.execute(ITEM.update().where(chosen).values(cancel_requested_at=None))


def record_event(connection: sa.Connection, row: sa.Row[Any], cause: str, detail: str, now: datetime) -> None:
    """Write an event that moves nothing."""
    status = JobStatus(row.status)
    connection.execute(EVENT.insert(), event_row(JobId(row.job_id), status, status, cause, detail, now))
    log_after_commit(connection, f"{row.job_id}: {status}, {cause}: {detail[:_MOST_LOGGED]}")


def event_row(
    job_id: JobId,
    old: JobStatus | None,
    new: JobStatus,
    cause: str,
    detail: str,
    now: datetime,
    index: int | None = None,
) -> dict[str, Any]:
    """Row of one event."""
    return {
        "job_id": job_id,
        "item_index": index,
        "at": now,
        "old": old,
        "new": new,
        "cause": cause,
        "detail": detail,
    }


def request_job_cancellation(connection: sa.Connection, row: sa.Row[Any], now: datetime) -> None:
    """Write the wish to cancel a job; one that was never sent is CANCELLED at once, a final one is left alone."""
    status = JobStatus(row.status)
    if status is JobStatus.CREATED:
        cancel_unsent(connection, JobId(row.job_id), now)
    elif status not in FINAL and row.cancel_requested_at is None:
        connection.execute(JOB.update().where(JOB.c.job_id == row.job_id).values(cancel_requested_at=now))
        record_event(connection, row, "cancel", "cancellation was asked for", now)


def request_item_cancellation(connection: sa.Connection, row: sa.Row[Any], items: Sequence[int], now: datetime) -> None:
    """Write the wish to cancel items of a job, by the state of each: final ones are left alone, unsent ones end.

    Raises:
        InvalidInput: The job has no such item.
    """
    if unknown := sorted(set(items) - set(range(row.n_items))):
        raise InvalidInput(f"{row.job_id} has items 0 to {row.n_items - 1}, and no item {unknown[0]}", field="items")
    if JobStatus(row.status) in FINAL:
        return
    chosen = (
        (ITEM.c.job_id == row.job_id)
        & ITEM.c.item_index.in_(items)
        & ITEM.c.status.not_in(sorted(FINAL))
        & ITEM.c.cancel_requested_at.is_(None)
    )
    found = connection.execute(sa.select(ITEM.c.item_index, ITEM.c.status).where(chosen)).all()
    connection.execute(ITEM.update().where(chosen).values(cancel_requested_at=now))
    for index, word in found:
        status, detail = JobStatus(word), "cancellation was asked for"
        connection.execute(EVENT.insert(), event_row(row.job_id, status, status, "cancel", detail, now, index))
    if JobStatus(row.status) is JobStatus.CREATED:
        cancel_requested_items(connection, JobId(row.job_id), now)


def cancel_requested_items(connection: sa.Connection, job_id: JobId, now: datetime) -> None:
    """Items of a CREATED job whose cancellation was asked for are CANCELLED; with the last of them the job is."""
    chosen = (ITEM.c.job_id == job_id) & (ITEM.c.status == JobStatus.CREATED) & ITEM.c.cancel_requested_at.is_not(None)
    found = connection.scalars(sa.select(ITEM.c.item_index).where(chosen)).all()
    if not found:
        return
    connection.execute(ITEM.update().where(chosen).values(status=JobStatus.CANCELLED, cancelled_at=now))
    for index in found:
        row = event_row(job_id, JobStatus.CREATED, JobStatus.CANCELLED, "cancel", "never sent", now, index)
        connection.execute(EVENT.insert(), row)
    if set(item_statuses(connection, job_id)) == {JobStatus.CANCELLED}:
        cancel_unsent(connection, job_id, now)


def cancel_unsent(connection: sa.Connection, job_id: JobId, now: datetime) -> None:
    """Make a job that is CREATED, and its items, CANCELLED."""
    values = {"finished_at": now, "cancel_requested_at": now}
    move_job(connection, job_id, JobStatus.CREATED, JobStatus.CANCELLED, "cancel", "never sent", now, **values)
    connection.execute(
        ITEM.update()
        .where(ITEM.c.job_id == job_id, ITEM.c.status == JobStatus.CREATED)
        .values(status=JobStatus.CANCELLED, cancelled_at=now)
    )
