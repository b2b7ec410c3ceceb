"""How the ledger records what providers report of jobs: final stays final, and every move is an event."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
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
    log_job,
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
"""Columns that a report can change; to read the others would cost more than the rest of a poll."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a provider says of one attempt."""

    job_id: JobId
    number: AttemptNumber
    snapshot: Snapshot


def record_report(connection: sa.Connection, report: Report, now: datetime, cause: str) -> JobStatus:
    """Record what a provider reports of an attempt; final stays final.

    A report of an attempt that a later one has replaced changes that attempt only.

    Returns:
        The job's status afterwards.

    Raises:
        ProtocolError: The report has another number of items than were sent; nothing was written.
        StaleJob: The attempt has no remote id, so that no report can be about it.
    """
    number = report.number
    snapshot = report.snapshot
    row = locked_job(connection, report.job_id)
    known = read_attempt(connection, report.job_id, number)
    _check(known, row.n_items, snapshot)
    status = roll_up(item.status for item in snapshot.items) if snapshot.items else snapshot.status
    contradicts = status is not known.status and not can_move(known.status, status)
    if contradicts:
        detail = f"attempt {number} is {known.status}; a later report of {status} changes nothing"
        record_event(connection, row, known.remote_id, "contradiction", detail, now)
    replaced = is_replaced(connection, known, row.epoch)
    if not replaced and (snapshot.items or not contradicts):
        status = _record_items(connection, known, snapshot, status, now, cause)
    if not contradicts or can_move(known.status, status):
        _record_attempt(connection, known, snapshot, status, now)
        if not replaced:
            return _record_job(connection, row, known, snapshot, now, cause)
        if status is not known.status:
            record_event(connection, row, known.remote_id, "late report", f"attempt {number} is {status}", now)
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
    values: dict[str, Any] = {
        "remote_status": snapshot.remote_status,
        "message": snapshot.message,
        "cost": attempt.cost if cost is None else cost,
    }
    known = (attempt.remote_status, attempt.message, attempt.cost)
    moves = can_move(attempt.status, status)
    if moves and status.is_final:
        values["finished_at"] = now
    if moves or (status is attempt.status and known != tuple(values.values())):
        settle_attempt(connection, attempt, status, **values)


def _cost_of(snapshot: Snapshot) -> float | None:
    """What a remote job costs: the provider's own sum, or that of its items."""
    if snapshot.cost is not None:
        return snapshot.cost
    costs = [item.cost for item in snapshot.items or () if item.cost is not None]
    return sum(costs) if costs else None


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
        The status of the attempt: `status`, or the roll-up of its items where the provider tells them apart.
        An item that is final stays so, whatever a later report says.
    """
    query = sa.select(*_REPORTED).where(ITEM.c.job_id == attempt.job_id).order_by(ITEM.c.item_index)
    rows: dict[int, sa.Row[Any]] = {row.item_index: row for row in connection.execute(query)}
    updates: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    events: list[dict[str, Any]] = []
    after: list[JobStatus] = []
    refused: dict[int, JobStatus] = {}
    for index, report in _by_item(attempt, snapshot, status, list(rows)).items():
        old = JobStatus(rows[index].status)
        values = _item_changes(rows[index], report, now)
        after.append(values.get("status", old))
        if "status" in values:
            events.append(event_row(attempt.job_id, old, report.status, cause, report.message, now, index))
        elif report.status is not old:
            refused[index] = report.status
        if values:
            updates[tuple(values)].append({"at_index": index, **values})
    for names, changes in updates.items():
        statement = (
            ITEM.update()
            .where(ITEM.c.job_id == attempt.job_id, ITEM.c.item_index == sa.bindparam("at_index"))
            .values({name: sa.bindparam(name) for name in names})
        )
        connection.execute(statement, changes)
    if events:
        connection.execute(EVENT.insert(), events)
    if not snapshot.items:
        return status
    if events:
        counts = Counter(event["new"] for event in events)
        moved = ", ".join(f"{count} {new}" for new, count in counts.items())
        log_job(connection, attempt.job_id, attempt.remote_id, f"items: {moved}", cause)
    if refused and not attempt.status.is_final:
        _record_contradictions(connection, attempt, rows, refused, now)
    return roll_up(after)


def _by_item(
    attempt: Attempt, snapshot: Snapshot, status: JobStatus, indices: Sequence[int]
) -> dict[int, ItemSnapshot]:
    """What is reported of each item that was sent: all the same where the provider does not tell items apart."""
    sent = indices if attempt.items is None else attempt.items
    place = snapshot.queue_position
    if not snapshot.items:
        return dict.fromkeys(sent, ItemSnapshot(status=status, message=snapshot.message, queue_position=place))
    found = {}
    for index, item in zip(sent, snapshot.items, strict=True):
        has_no_place = item.status is JobStatus.QUEUED and item.queue_position is None
        found[index] = replace(item, queue_position=place) if has_no_place else item
    return found


def _record_contradictions(
    connection: sa.Connection,
    attempt: Attempt,
    rows: Mapping[int, sa.Row[Any]],
    refused: Mapping[int, JobStatus],
    now: datetime,
) -> None:
    """Record reports against a final item; the same report is recorded once, however often it is polled."""
    cause = "contradiction"
    query = sa.select(EVENT.c.item_index, EVENT.c.detail).where(
        EVENT.c.job_id == attempt.job_id, EVENT.c.cause == cause
    )
    recorded = {(row.item_index, row.detail) for row in connection.execute(query)}
    for index, reported in refused.items():
        status = JobStatus(rows[index].status)
        detail = f"item {index} is {status}; a later report of {reported} changes nothing"
        if (index, detail) not in recorded:
            row = event_row(attempt.job_id, status, status, cause, detail, now, index)
            connection.execute(EVENT.insert(), row)
            log_job(connection, attempt.job_id, attempt.remote_id, cause, detail)


def _record_job(
    connection: sa.Connection, row: sa.Row[Any], attempt: Attempt, snapshot: Snapshot, now: datetime, cause: str
) -> JobStatus:
    """Roll the items up into the job; returns the job's status afterwards."""
    job_id = JobId(row.job_id)
    old = JobStatus(row.status)
    new = roll_up(item_statuses(connection, job_id))
    values: dict[str, Any] = {}
    if snapshot.message != row.message:
        values["message"] = snapshot.message
    cost = connection.scalar(sa.select(sa.func.sum(ATTEMPT.c.cost)).where(ATTEMPT.c.job_id == job_id))
    if cost is not None and cost != row.cost:
        values["cost"] = cost
    if new is not old and can_move(old, new):
        if new.is_final:
            values |= {"finished_at": now, "next_poll_at": now}  # its results are still to be fetched
        detail = snapshot.message or snapshot.remote_status
        move_job(connection, job_id, old, new, cause, detail, now, remote_id=attempt.remote_id, **values)
        return new
    if values:
        connection.execute(JOB.update().where(JOB.c.job_id == job_id).values(**values))
    return old


def _item_changes(row: sa.Row[Any], report: ItemSnapshot, now: datetime) -> dict[str, Any]:
    """What a report changes of an item's row; nothing once it is final, unless COMPLETED won over a cancellation."""
    old = JobStatus(row.status)
    if old is not report.status and not can_move(old, report.status):
        return {}
    values: dict[str, Any] = {}
    for name in ("message", "error_detail", "queue_position"):
        value = getattr(report, name)
        if value != getattr(row, name):
            values[name] = value
    if report.cost is not None and report.cost != row.cost:
        values["cost"] = report.cost
    if old is not report.status:
        values["status"] = report.status
        times = {report.status: now, **report.times}
        for status, at in times.items():
            if status in TIMED_STATUSES:
                values[f"{status.lower()}_at"] = at
    return values
