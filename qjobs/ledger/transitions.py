"""How the ledger moves its rows: functions that work inside one transaction.

A move is one guarded UPDATE plus one event, and one line in the log. These functions lock nothing but what
`locked_job` locks, and raise `StaleJob` where the row is no longer as the caller saw it: then nothing is changed.
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
from qjobs.model import Attempt, AttemptNumber, JobId, RemoteId

UNSETTLED = frozenset({JobStatus.SUBMITTING, JobStatus.UNKNOWN})
"""Statuses of an attempt whose outcome is not known yet."""
_REQUESTED = "cancellation was requested"
_NEVER_SENT = "never sent"


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
        raise Busy(
            f"{row.device} has {live} live jobs and takes {max_live_jobs} at a time; submit it when one is done",
            job_id=row.job_id,
        )


def read_attempt(connection: sa.Connection, job_id: JobId, number: AttemptNumber) -> Attempt:
    """One attempt, as it is now."""
    query = sa.select(ATTEMPT).where(ATTEMPT.c.job_id == job_id, ATTEMPT.c.number == number)
    return attempt_of(connection.execute(query).one())


def unsettled(connection: sa.Connection, attempt: Attempt) -> Attempt:
    """The attempt as it is now; raises `StaleJob` unless it is SUBMITTING or UNKNOWN (its lease may have run out)."""
    known = read_attempt(connection, attempt.job_id, attempt.number)
    if known.status not in UNSETTLED:
        raise StaleJob(
            f"attempt {known.number} of {known.job_id} was settled before: it is {known.status}", job_id=known.job_id
        )
    return known


def settle_attempt(connection: sa.Connection, attempt: Attempt, status: JobStatus, **values: Any) -> None:
    """Guarded move of an attempt: it must still have the status and the lease that `attempt` has."""
    moved = connection.execute(
        ATTEMPT.update()
        .where(
            ATTEMPT.c.job_id == attempt.job_id,
            ATTEMPT.c.number == attempt.number,
            ATTEMPT.c.status == attempt.status,
            ATTEMPT.c.lease_until.is_not_distinct_from(attempt.lease_until),
        )
        .values(status=status, **values)
    )
    if moved.rowcount != 1:
        raise StaleJob(
            f"attempt {attempt.number} of {attempt.job_id} is no longer {attempt.status} with the same lease",
            job_id=attempt.job_id,
        )


def set_sent_items(
    connection: sa.Connection, attempt: Attempt, *, except_in: JobStatus | None = None, **values: Any
) -> None:
    """Write the same to every item that `attempt` sent, except to those in status `except_in`."""
    chosen = ITEM.c.job_id == attempt.job_id
    if except_in is not None:
        chosen &= ITEM.c.status != except_in
    if attempt.items is not None:
        chosen &= ITEM.c.item_index.in_(attempt.items)
    connection.execute(ITEM.update().where(chosen).values(**values))


def is_replaced(connection: sa.Connection, attempt: Attempt, epoch: int) -> bool:
    """Whether the items belong to a later attempt: a newer epoch has begun, or something was sent since."""
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
    *,
    remote_id: RemoteId | None = None,
    **values: Any,
) -> None:
    """Guarded move of a job, and its event; `remote_id` is for the log."""
    moved = connection.execute(
        JOB.update().where(JOB.c.job_id == job_id, JOB.c.status == old).values(status=new, **values)
    )
    if moved.rowcount != 1:
        raise StaleJob(f"{job_id} is no longer {old}", job_id=job_id)
    connection.execute(EVENT.insert(), event_row(job_id, old, new, cause, detail, now))
    log_job(connection, job_id, remote_id, f"{old} -> {new}", f"{cause}: {detail}")


def log_job(connection: sa.Connection, job_id: JobId, remote_id: RemoteId | None, what: str, reason: str) -> None:
    """Log what was done to a job, once it has landed."""
    name = job_id if remote_id is None else f"{job_id} (remote {remote_id})"
    log_after_commit(connection, "%s: %s, %s", name, what, reason)


def newest_remote_id(connection: sa.Connection, job_id: JobId) -> RemoteId | None:
    """The remote id of a job's newest attempt, if it has one."""
    query = sa.select(ATTEMPT.c.remote_id).where(ATTEMPT.c.job_id == job_id)
    found = connection.scalar(query.order_by(ATTEMPT.c.number.desc()).limit(1))
    return None if found is None else RemoteId(found)


def item_statuses(connection: sa.Connection, job_id: JobId) -> list[JobStatus]:
    """Statuses of a job's items, in no particular order."""
    query = sa.select(ITEM.c.status).where(ITEM.c.job_id == job_id)
    return [JobStatus(status) for status in connection.scalars(query)]


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
    """Forget that items were to be cancelled, as they are sent again."""
    chosen = (ITEM.c.job_id == job_id) & ITEM.c.cancel_requested_at.is_not(None)
    if items is not None:
        chosen &= ITEM.c.item_index.in_(items)
    connection.execute(ITEM.update().where(chosen).values(cancel_requested_at=None))


def record_event(
    connection: sa.Connection, row: sa.Row[Any], remote_id: RemoteId | None, cause: str, detail: str, now: datetime
) -> None:
    """Write an event that moves nothing; `remote_id` is for the log."""
    status = JobStatus(row.status)
    job_id = JobId(row.job_id)
    connection.execute(EVENT.insert(), event_row(job_id, status, status, cause, detail, now))
    log_job(connection, job_id, remote_id, status, f"{cause}: {detail}")


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
    """Record that a job is to be cancelled: it is CANCELLED at once if it was never sent, and left alone if final."""
    status = JobStatus(row.status)
    job_id = JobId(row.job_id)
    if status is JobStatus.CREATED:
        cancel_unsent(connection, job_id, now)
    elif status not in FINAL and row.cancel_requested_at is None:
        connection.execute(JOB.update().where(JOB.c.job_id == job_id).values(cancel_requested_at=now))
        record_event(connection, row, newest_remote_id(connection, job_id), "cancel", _REQUESTED, now)


def request_item_cancellation(connection: sa.Connection, row: sa.Row[Any], items: Sequence[int], now: datetime) -> None:
    """Record that items of a job are to be cancelled: unsent ones are CANCELLED at once, final ones are left alone.

    Raises:
        InvalidInput: The job has no such item.
    """
    unknown = sorted(set(items) - set(range(row.n_items)))
    if unknown:
        raise InvalidInput(f"{row.job_id} has items 0 to {row.n_items - 1}, and no item {unknown[0]}", field="items")
    if JobStatus(row.status) in FINAL:
        return
    job_id = JobId(row.job_id)
    chosen = (
        (ITEM.c.job_id == job_id)
        & ITEM.c.item_index.in_(items)
        & ITEM.c.status.not_in(sorted(FINAL))
        & ITEM.c.cancel_requested_at.is_(None)
    )
    found = connection.execute(sa.select(ITEM.c.item_index, ITEM.c.status).where(chosen)).all()
    if found:
        connection.execute(ITEM.update().where(chosen).values(cancel_requested_at=now))
        events = []
        for index, word in found:
            status = JobStatus(word)
            events.append(event_row(job_id, status, status, "cancel", _REQUESTED, now, index))
        connection.execute(EVENT.insert(), events)
        remote_id = newest_remote_id(connection, job_id)
        log_job(connection, job_id, remote_id, f"items: {len(found)} of {row.n_items}", f"cancel: {_REQUESTED}")
    if JobStatus(row.status) is JobStatus.CREATED:
        cancel_requested_items(connection, job_id, now)


def cancel_requested_items(connection: sa.Connection, job_id: JobId, now: datetime) -> None:
    """Make the items of a CREATED job that are to be cancelled CANCELLED, and with the last of them the job."""
    chosen = (ITEM.c.job_id == job_id) & (ITEM.c.status == JobStatus.CREATED) & ITEM.c.cancel_requested_at.is_not(None)
    found = connection.scalars(sa.select(ITEM.c.item_index).where(chosen)).all()
    if not found:
        return
    connection.execute(ITEM.update().where(chosen).values(status=JobStatus.CANCELLED, cancelled_at=now))
    events = [event_row(job_id, JobStatus.CREATED, JobStatus.CANCELLED, "cancel", _NEVER_SENT, now, i) for i in found]
    connection.execute(EVENT.insert(), events)
    log_job(connection, job_id, None, f"items: {len(found)} CREATED -> CANCELLED", f"cancel: {_NEVER_SENT}")
    if set(item_statuses(connection, job_id)) == {JobStatus.CANCELLED}:
        cancel_unsent(connection, job_id, now)


def cancel_unsent(connection: sa.Connection, job_id: JobId, now: datetime) -> None:
    """Make a job that is CREATED, and its items, CANCELLED."""
    values: dict[str, Any] = {"finished_at": now, "cancel_requested_at": now}
    move_job(connection, job_id, JobStatus.CREATED, JobStatus.CANCELLED, "cancel", _NEVER_SENT, now, **values)
    connection.execute(
        ITEM.update()
        .where(ITEM.c.job_id == job_id, ITEM.c.status == JobStatus.CREATED)
        .values(status=JobStatus.CANCELLED, cancelled_at=now)
    )
