"""What providers report of jobs, as the ledger writes it down: final stays final, and every move is an event."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qjobs.errors import ProtocolError, StaleJob
from qjobs.ledger.tables import ATTEMPT, EVENT, ITEM, JOB, TIMED_STATUSES
from qjobs.ledger.transitions import (
    event_row,
    is_replaced,
    item_statuses,
    locked_job,
    move_job,
    read_attempt,
    record_event,
    settle_attempt,
)
from qjobs.lifecycle import JobStatus, can_move, roll_up
from qjobs.model import Attempt, AttemptNumber, ItemSnapshot, JobId, Snapshot

__all__ = ["Report", "record_report"]

_REPORTED: tuple[sa.Column[Any], ...] = (
    ITEM.c.item_index,
    ITEM.c.status,
    ITEM.c.message,
    ITEM.c.error_detail,
    ITEM.c.queue_position,
    ITEM.c.cost,
)
"""Columns that a report can change; reading the others costs more than all the rest of a poll."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a provider says of one attempt."""

    job_id: JobId
    number: AttemptNumber
    snapshot: Snapshot


def record_report(connection: sa.Connection, report: Report, now: datetime, cause: str) -> JobStatus:
    """Write what a provider reports of an attempt; final stays final.

    A report of an attempt that a later one has replaced changes that attempt only.

    Returns:
        The job's status afterwards.

    Raises:
        ProtocolError: The report has another number of items than were sent; nothing was written.
        StaleJob: The attempt has no remote id, so that no report can be about it.
    """
    number, snapshot = report.number, report.snapshot
    row = locked_job(connection, report.job_id)
    known = read_attempt(connection, report.job_id, number)
    _check(known, row.n_items, snapshot)
    status = roll_up(s.status for s in snapshot.items) if snapshot.items else snapshot.status
    contradicts = status is not known.status and not can_move(known.status, status)
    if contradicts:
        detail = f"attempt {number} is {known.status}; a later report of {status} changes nothing"
        record_event(connection, row, "contradiction", detail, now)
    replaced = is_replaced(connection, known, row.epoch)
    if not replaced and (snapshot.items or not contradicts):
        status = _record_items(connection, known, snapshot, status, now, cause)
    if not contradicts or can_move(known.status, status):
        _record_attempt(connection, known, snapshot, status, now)
        if not replaced:
            return _record_job(connection, row, snapshot, now, cause)
        if status is not known.status:
            record_event(connection, row, "late report", f"attempt {number} is {status}", now)
    return JobStatus(row.status)


def _check(attempt: Attempt, n_items: int, snapshot: Snapshot) -> None:
    """Refuse a report that cannot be about `attempt`."""
    if attempt.remote_id is None:
        raise StaleJob(f"attempt {attempt.number} of {attempt.job_id} has no remote id", job_id=attempt.job_id)
    sent = n_items if attempt.items is None else len(attempt.items)
    if snapshot.items and len(snapshot.items) != sent:
        raise ProtocolError(
            f"the provider reports {len(snapshot.items)} items of {attempt.remote_id} and {sent} were sent; "
            "the job keeps its last status"
        )


def _record_attempt(
    connection: sa.Connection, attempt: Attempt, snapshot: Snapshot, status: JobStatus, now: datetime
) -> None:
    """Write what a report changes of the attempt itself."""
    cost = _cost_of(snapshot)
    values = {
        "remote_status": snapshot.remote_status,
        "message": snapshot.message,
        "cost": attempt.cost if cost is None else cost,
    }
    if can_move(attempt.status, status):
        settle_attempt(connection, attempt, status, **values, **({"finished_at": now} if status.is_final else {}))
    elif status is attempt.status and (attempt.remote_status, attempt.message, attempt.cost) != tuple(values.values()):
        settle_attempt(connection, attempt, status, **values)


def _cost_of(snapshot: Snapshot) -> float | None:
    """What the provider says that a remote job costs: its own sum, or that of its items."""
    costs = [item.cost for item in snapshot.items or () if item.cost is not None]
    return snapshot.cost if snapshot.cost is not None else sum(costs) if costs else None


def _record_items(
    connection: sa.Connection,
    attempt: Attempt,
    snapshot: Snapshot,
    status: JobStatus,
    now: datetime,
    cause: str,
) -> JobStatus:
    """Write what a report changes of the items that `attempt` sent, one event per status that moved.

    Returns:
        The status of the attempt: `status`, or the roll-up of its items where the provider tells them apart
        (one that is final stays so, whatever a later report says).
    """
    query = sa.select(*_REPORTED).where(ITEM.c.job_id == attempt.job_id).order_by(ITEM.c.item_index)
    rows: dict[int, sa.Row[Any]] = {row.item_index: row for row in connection.execute(query)}
    sent = attempt.items if attempt.items is not None else tuple(rows)
    reports = tuple(_with_place(each, snapshot.queue_position) for each in snapshot.items or ()) or tuple(
        ItemSnapshot(status=status, message=snapshot.message, queue_position=snapshot.queue_position) for _ in sent
    )
    updates: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    events: list[dict[str, Any]] = []
    after: list[JobStatus] = []
    denied: dict[int, ItemSnapshot] = {}
    for index, report in zip(sent, reports, strict=True):
        old = JobStatus(rows[index].status)
        values = _item_changes(rows[index], report, now)
        after.append(values.get("status", old))
        if "status" in values:
            events.append(event_row(attempt.job_id, old, report.status, cause, report.message, now, index))
        elif report.status is not old:
            denied[index] = report
        if values:
            updates[tuple(values)].append({"at_index": index, **values})
    if snapshot.items and not attempt.status.is_final:
        events += _contradictions(connection, attempt.job_id, rows, denied, now)
    for names, changes in updates.items():
        statement = (
            ITEM.update()
            .where(ITEM.c.job_id == attempt.job_id, ITEM.c.item_index == sa.bindparam("at_index"))
            .values({name: sa.bindparam(name) for name in names})
        )
        connection.execute(statement, changes)
    if events:
        connection.execute(EVENT.insert(), events)
    return roll_up(after) if snapshot.items else status


def _contradictions(
    connection: sa.Connection,
    job_id: JobId,
    rows: Mapping[int, sa.Row[Any]],
    denied: Mapping[int, ItemSnapshot],
    now: datetime,
) -> list[dict[str, Any]]:
    """Events of reports against a final item; the same report is recorded once, however often it is polled."""
    if not denied:
        return []
    cause = "contradiction"
    query = sa.select(EVENT.c.item_index, EVENT.c.detail).where(EVENT.c.job_id == job_id, EVENT.c.cause == cause)
    told = {(row.item_index, row.detail) for row in connection.execute(query)}
    found = []
    for index, report in denied.items():
        status = JobStatus(rows[index].status)
        detail = f"item {index} is {status}; a later report of {report.status} changes nothing"
        if (index, detail) not in told:
            found.append(event_row(job_id, status, status, cause, detail, now, index))
    return found


def _record_job(
    connection: sa.Connection, row: sa.Row[Any], snapshot: Snapshot, now: datetime, cause: str
) -> JobStatus:
    """Roll the items up into the job; returns the job's status afterwards."""
    old = JobStatus(row.status)
    new = roll_up(item_statuses(connection, JobId(row.job_id)))
    values: dict[str, Any] = {}
    if snapshot.message != row.message:
        values["message"] = snapshot.message
    cost = connection.scalar(sa.select(sa.func.sum(ATTEMPT.c.cost)).where(ATTEMPT.c.job_id == row.job_id))
    if cost is not None and cost != row.cost:
        values["cost"] = cost
    if new is not old and can_move(old, new):
        if new.is_final:
            values |= {"finished_at": now, "next_poll_at": now}  # its results are still to be fetched
        detail = snapshot.message or snapshot.remote_status
        move_job(connection, JobId(row.job_id), old, new, cause, detail, now, **values)
        return new
    if values:
        connection.execute(JOB.update().where(JOB.c.job_id == row.job_id).values(**values))
    return old


def _with_place(item: ItemSnapshot, place: int | None) -> ItemSnapshot:
    """An item that waits is where its job is in the queue, if nothing is told of the item."""
    if place is None or item.queue_position is not None or item.status is not JobStatus.QUEUED:
        return item
    return replace(item, queue_position=place)


def _item_changes(row: sa.Row[Any], report: ItemSnapshot, now: datetime) -> dict[str, Any]:
    """What of an item's row a report changes; nothing once the item is final, but for a lost race."""
    old = JobStatus(row.status)
    if old is not report.status and not can_move(old, report.status):
        return {}
    values: dict[str, Any] = {
        name: getattr(report, name)
        for name in ("message", "error_detail", "queue_position", "cost")
        if getattr(report, name) != getattr(row, name) and (name != "cost" or report.cost is not None)
    }
    if old is not report.status:
        values["status"] = report.status
        times = {report.status: now, **report.times}
        values.update({f"{s.lower()}_at": at for s, at in times.items() if s in TIMED_STATUSES})
    return values
