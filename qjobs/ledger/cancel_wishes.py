"""Wishes to cancel: columns, never a status. Functions that work inside one transaction of `qjobs.ledger.Ledger`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qjobs.errors import InvalidInput
from qjobs.ledger.tables import EVENT, ITEM, JOB
from qjobs.ledger.transitions import event_row, item_statuses, move_job, note
from qjobs.lifecycle import FINAL, JobStatus
from qjobs.model import JobId

__all__ = ["cancel_unsent", "cancel_wished", "wish_for_items", "wish_for_job"]

_CREATED, _CANCELLED = JobStatus.CREATED, JobStatus.CANCELLED


def wish_for_job(connection: sa.Connection, row: sa.Row[Any], now: datetime) -> None:
    """Write the wish to cancel a job; one that was never sent is CANCELLED at once, a final one is left alone."""
    status = JobStatus(row.status)
    if status is _CREATED:
        cancel_unsent(connection, JobId(row.job_id), now)
    elif status not in FINAL and row.cancel_requested_at is None:
        connection.execute(JOB.update().where(JOB.c.job_id == row.job_id).values(cancel_requested_at=now))
        note(connection, row, "cancel", "cancellation was asked for", now)


def wish_for_items(connection: sa.Connection, row: sa.Row[Any], items: Sequence[int], now: datetime) -> None:
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
    if JobStatus(row.status) is _CREATED:
        cancel_wished(connection, JobId(row.job_id), now)


def cancel_wished(connection: sa.Connection, job_id: JobId, now: datetime) -> None:
    """Items of a CREATED job whose cancellation was asked for are CANCELLED; with the last of them the job is."""
    chosen = (ITEM.c.job_id == job_id) & (ITEM.c.status == _CREATED) & ITEM.c.cancel_requested_at.is_not(None)
    found = connection.scalars(sa.select(ITEM.c.item_index).where(chosen)).all()
    if not found:
        return
    connection.execute(ITEM.update().where(chosen).values(status=_CANCELLED, cancelled_at=now))
    rows = [event_row(job_id, _CREATED, _CANCELLED, "cancel", "never sent", now, index) for index in found]
    connection.execute(EVENT.insert(), rows)
    if set(item_statuses(connection, job_id)) == {_CANCELLED}:
        cancel_unsent(connection, job_id, now)


def cancel_unsent(connection: sa.Connection, job_id: JobId, now: datetime) -> None:
    """Make a job that is CREATED, and its items, CANCELLED."""
    values = {"finished_at": now, "cancel_requested_at": now}
    move_job(connection, job_id, _CREATED, _CANCELLED, "cancel", "never sent", now, **values)
    connection.execute(
        ITEM.update()
        .where(ITEM.c.job_id == job_id, ITEM.c.status == _CREATED)
        .values(status=_CANCELLED, cancelled_at=now)
    )
