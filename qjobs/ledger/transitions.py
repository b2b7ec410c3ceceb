"""How the ledger's moves are made: functions that work inside one transaction of `qjobs.ledger.Ledger`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qjobs.errors import Busy, JobNotFound, ProtocolError, StaleJob
from qjobs.ledger.queries import parts
from qjobs.ledger.rows import attempt_of, encode_options
from qjobs.ledger.tables import ATTEMPT, EVENT, ITEM, JOB, LIVE_WORDS, TIMED_STATUSES
from qjobs.lifecycle import JobStatus, can_move, roll_up
from qjobs.model import Attempt, AttemptNumber, ItemSnapshot, JobId, JobSpec, Key, Snapshot

UNSETTLED = frozenset({JobStatus.SUBMITTING, JobStatus.UNKNOWN})
"""Statuses of an attempt of which nobody has said yet what came of it."""

_OBSERVED: tuple[sa.Column[Any], ...] = (
    ITEM.c.item_index,
    ITEM.c.status,
    ITEM.c.message,
    ITEM.c.error_detail,
    ITEM.c.queue_position,
    ITEM.c.cost,
)
"""Columns that a report can change; reading the others costs more than all the rest of a poll."""


def ids_by_key(connection: sa.Connection, keys: Sequence[Key]) -> dict[Key, JobId]:
    """Jobs that exist already, by their key."""
    rows = (
        row
        for part in parts(keys)
        for row in connection.execute(sa.select(JOB.c.key, JOB.c.job_id).where(JOB.c.key.in_(part)))
    )
    return {Key(row.key): JobId(row.job_id) for row in rows}


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


def check_report(attempt: Attempt, n_items: int, snapshot: Snapshot) -> None:
    """Refuse a report that cannot be about `attempt`."""
    if attempt.remote_id is None:
        raise StaleJob(f"attempt {attempt.number} of {attempt.job_id} has no remote id", job_id=attempt.job_id)
    sent = n_items if attempt.items is None else len(attempt.items)
    if snapshot.items and len(snapshot.items) != sent:
        raise ProtocolError(
            f"the provider reports {len(snapshot.items)} items of {attempt.remote_id} and {sent} were sent; "
            "the job keeps its last status"
        )


def observe_attempt(
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


def forget_wishes(connection: sa.Connection, job_id: JobId, items: tuple[int, ...] | None) -> None:
    """Items that are sent again are wanted again."""
    chosen = (ITEM.c.job_id == job_id) & ITEM.c.cancel_requested_at.is_not(None)
    if items is not None:
        chosen &= ITEM.c.item_index.in_(items)
    connection.execute(ITEM.update().where(chosen).values(cancel_requested_at=None))


def observe_items(
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
    query = sa.select(*_OBSERVED).where(ITEM.c.job_id == attempt.job_id).order_by(ITEM.c.item_index)
    rows: dict[int, sa.Row[Any]] = {row.item_index: row for row in connection.execute(query)}
    sent = attempt.items if attempt.items is not None else tuple(rows)
    reports = tuple(_placed(each, snapshot.queue_position) for each in snapshot.items or ()) or tuple(
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


def observe_job(
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


def _placed(item: ItemSnapshot, place: int | None) -> ItemSnapshot:
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


def note(connection: sa.Connection, row: sa.Row[Any], cause: str, detail: str, now: datetime) -> None:
    """Write an event that moves nothing."""
    status = JobStatus(row.status)
    connection.execute(EVENT.insert(), event_row(JobId(row.job_id), status, status, cause, detail, now))


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


def job_row(job_id: JobId, spec: JobSpec, now: datetime) -> dict[str, Any]:
    """Row of a new job."""
    return {
        "job_id": job_id,
        "key": spec.key,
        "kind": spec.kind,
        "backend": spec.backend,
        "device": spec.device,
        "name": spec.name,
        "experiment": spec.experiment,
        "run": spec.run,
        "project": spec.project,
        "owner": spec.owner,
        "spec": encode_options(spec.batch.options),
        "status": JobStatus.CREATED,
        "epoch": 1,
        "n_items": len(spec.batch.items),
        "cost_estimate": spec.cost_estimate,
        "properties": dict(spec.properties),
        "created_at": now,
    }


def item_rows(job_id: JobId, spec: JobSpec, now: datetime) -> list[dict[str, Any]]:
    """Rows of a new job's items."""
    return [
        {
            "job_id": job_id,
            "item_index": index,
            "label": item.label,
            "program_hash": item.program,
            "source_hash": item.source,
            "parameters": item.parameters,
            "shots": item.shots,
            "status": JobStatus.CREATED,
            "created_at": now,
        }
        for index, item in enumerate(spec.batch.items)
    ]
