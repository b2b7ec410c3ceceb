"""How jobs and items are cancelled in the ledger: at once where nothing runs, else as a wish that a poll passes on.

Functions that work inside one transaction, as those of `transitions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qjobs.errors import InvalidInput
from qjobs.ledger.dispatches import forget_job
from qjobs.ledger.strays import record_stray
from qjobs.ledger.tables import ATTEMPT, EVENT, ITEM, JOB
from qjobs.ledger.transitions import event_row, item_statuses, log_job, move_job, newest_remote_id, record_event
from qjobs.lifecycle import FINAL, JobStatus, roll_up
from qjobs.model import JobId

__all__ = ["cancel_requested_items", "cancel_unsent", "request_item_cancellation", "request_job_cancellation"]

_REQUESTED = "cancellation was requested"
_NEVER_SENT = "never sent"
_NOT_THERE = "its provider does not know it, so there is nothing to cancel"
_GIVEN_UP = "it was LOST and was given up"


def request_job_cancellation(connection: sa.Connection, row: sa.Row[Any], now: datetime) -> None:
    """Record that a job is to be cancelled: it is CANCELLED at once if it was never sent or is LOST.

    A final one is left alone.
    """
    status = JobStatus(row.status)
    job_id = JobId(row.job_id)
    if status is JobStatus.CREATED:
        cancel_unsent(connection, job_id, now)
    elif status is JobStatus.LOST:
        connection.execute(JOB.update().where(JOB.c.job_id == job_id).values(cancel_requested_at=now))
        _cancel_lost(connection, row, now)
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
    elif JobStatus(row.status) is JobStatus.LOST:
        _cancel_lost(connection, row, now, items)


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
    """Make a job that is CREATED, and its items, CANCELLED; it waits for no place any more."""
    values: dict[str, Any] = {"finished_at": now, "cancel_requested_at": now}
    move_job(connection, job_id, JobStatus.CREATED, JobStatus.CANCELLED, "cancel", _NEVER_SENT, now, **values)
    connection.execute(
        ITEM.update()
        .where(ITEM.c.job_id == job_id, ITEM.c.status == JobStatus.CREATED)
        .values(status=JobStatus.CANCELLED, cancelled_at=now)
    )
    forget_job(connection, job_id)


def _cancel_lost(
    connection: sa.Connection, row: sa.Row[Any], now: datetime, items: Sequence[int] | None = None
) -> None:
    """Make items of a LOST job, or all, CANCELLED; with the last open one its attempt and the job are over.

    Its remote job is a stray from then on: it is cancelled if it comes back.
    """
    job_id = JobId(row.job_id)
    chosen = (ITEM.c.job_id == job_id) & ITEM.c.status.not_in(sorted(FINAL))
    if items is not None:
        chosen &= ITEM.c.item_index.in_(items)
    cancelled = JobStatus.CANCELLED
    found = connection.execute(sa.select(ITEM.c.item_index, ITEM.c.status).where(chosen)).all()
    connection.execute(ITEM.update().where(chosen).values(status=cancelled, cancelled_at=now))
    events = [
        event_row(job_id, JobStatus(each.status), cancelled, "cancel", _NOT_THERE, now, each.item_index)
        for each in found
    ]
    if events:
        connection.execute(EVENT.insert(), events)
    after = roll_up(item_statuses(connection, job_id))
    if after.is_final:
        lost = (ATTEMPT.c.job_id == job_id) & (ATTEMPT.c.status == JobStatus.LOST)
        for remote_id in connection.scalars(sa.select(ATTEMPT.c.remote_id).where(lost)).all():
            record_stray(connection, row, remote_id, _GIVEN_UP, now)
        connection.execute(ATTEMPT.update().where(lost).values(status=cancelled, finished_at=now))
        values = {"finished_at": now, "next_poll_at": None}
        remote_id = newest_remote_id(connection, job_id)
        move_job(connection, job_id, JobStatus.LOST, after, "cancel", _NOT_THERE, now, remote_id=remote_id, **values)
