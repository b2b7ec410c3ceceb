"""Moves of jobs and items, inside the transaction of whoever decides on them.

Before items are moved, the rows of their jobs are locked (`locked`) and the items read in the same transaction: two
threads never decide on the same item at once. SQLite has one writer anyway. A move is logged when it is written; if
its transaction then fails, that is logged after it.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qjobs.lifecycle import FINAL, JobStatus, roll_up
from qjobs.service import tables as schema
from qjobs.service.store.job_records import ItemRecord, item_record, time_column
from qjobs.service.tables import TIMED

logger = logging.getLogger(__name__)

_CHUNK = 500
"""Values in one IN (...): SQLite and PostgreSQL take tens of thousands, but short statements are cached better."""

JOB_WORDS = {
    JobStatus.SUBMITTED: "Job has been submitted to Nexus.",
    JobStatus.QUEUED: "The job is queued.",
    JobStatus.RETRYING: "The job is being retried.",
    JobStatus.CANCELLING: "Cancellation has been requested.",
    JobStatus.COMPLETED: "The job is completed.",
    JobStatus.CANCELLED: "The job is cancelled.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One item's new status, and the columns that change with it."""

    item: ItemRecord
    status: JobStatus
    message: str
    values: dict[str, Any] = field(default_factory=dict)
    forget_times: bool = False
    """Whether it starts again: the moments of its former tries are forgotten."""


def locked(connection: sa.Connection, job_ids: Collection[str]) -> dict[str, sa.Row[Any]]:
    """Lock these jobs until the transaction ends; their rows without definitions, those that exist."""
    job = schema.job
    found = {}
    columns = [column for column in job.columns if column.name not in {"definition", "properties", "description"}]
    for part in _parts(sorted(job_ids)):
        query = sa.select(*columns).where(job.c.job_id.in_(part)).order_by(job.c.job_id).with_for_update()
        found.update({row.job_id: row for row in connection.execute(query)})
    return found


def read_items(
    connection: sa.Connection, job_ids: Collection[str], *, uuids: Collection[str] | None = None
) -> list[ItemRecord]:
    """Items of these jobs in order, all or only those with these uuids."""
    item = schema.job_item
    found = []
    column = item.c.job_id if uuids is None else item.c.item_uuid
    for part in _parts(sorted(job_ids if uuids is None else uuids)):
        query = sa.select(item).where(column.in_(part)).order_by(item.c.job_id, item.c.item_id)
        found += [item_record(row, {}) for row in connection.execute(query)]
    return found


def _parts(values: Sequence[str]) -> Iterable[Sequence[str]]:
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))


def apply_moves(connection: sa.Connection, moves: Sequence[Move], now: datetime) -> None:
    """Write the moves: one statement for all that change the same columns.

    Each names the status and the try that it was decided on, and moves nothing if these have changed.
    """
    item = schema.job_item
    groups: defaultdict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for move in moves:
        values = {"status": move.status.value, "message": move.message, **move.values}
        if move.forget_times:
            values.update(dict.fromkeys(map(time_column, TIMED)))
        values[time_column(move.status)] = now
        row = {f"new_{name}": value for name, value in values.items()}
        row |= {"uuid": move.item.item_uuid, "old_status": move.item.status.value, "old_tries": move.item.tries}
        groups[tuple(values)].append(row)
    for names, rows in groups.items():
        statement = (
            item.update()
            .where(
                item.c.item_uuid == sa.bindparam("uuid"),
                item.c.status == sa.bindparam("old_status"),
                item.c.tries == sa.bindparam("old_tries"),
            )
            .values({name: sa.bindparam(f"new_{name}") for name in names})
        )
        connection.execute(statement, rows)
    for move in moves:
        level = logging.INFO if move.status.is_final else logging.DEBUG
        words = (move.item.item_id, move.item.job_id, move.item.status, move.status, move.message)
        logger.log(level, "item %s of job %s: %s -> %s: %s", *words)


def roll_up_jobs(connection: sa.Connection, jobs: Iterable[sa.Row[Any]], now: datetime) -> list[str]:
    """Give each job the status, message and cost that follow from its items; the ids of those that changed."""
    changed = []
    wanted = {job.job_id: job for job in jobs}
    counts = _counted(connection, list(wanted))
    for job_id, job in wanted.items():
        of_job = counts.get(job_id)
        if not of_job:
            continue
        status = roll_up(JobStatus(word) for word in of_job)
        values = _job_values(connection, job, status, of_job)
        if all(getattr(job, name) == value for name, value in values.items()):
            continue
        if status != job.status:
            values[time_column(status)] = now
            logger.info("job %s: %s -> %s: %s", job_id, job.status, status, values["message"])
        changed.append(job_id)
        connection.execute(schema.job.update().where(schema.job.c.job_id == job_id).values(modified_at=now, **values))
    return changed


def _counted(connection: sa.Connection, job_ids: list[str]) -> dict[str, dict[str, tuple[int, float | None]]]:
    """Number and cost of the items of each job, by status."""
    item = schema.job_item
    found: dict[str, dict[str, tuple[int, float | None]]] = defaultdict(dict)
    for part in _parts(job_ids):
        query = (
            sa.select(item.c.job_id, item.c.status, sa.func.count().label("number"), sa.func.sum(item.c.cost))
            .where(item.c.job_id.in_(part))
            .group_by(item.c.job_id, item.c.status)
        )
        for job_id, status, number, cost in connection.execute(query):
            found[job_id][status] = (number, cost)
    return found


def _job_values(
    connection: sa.Connection, job: sa.Row[Any], status: JobStatus, counts: dict[str, tuple[int, float | None]]
) -> dict[str, Any]:
    detail = None
    message = JOB_WORDS.get(status, "")
    total = 0
    done = 0
    cost = None
    for word, (number, cost_of_items) in counts.items():
        total += number
        if word in FINAL:
            done += number
        if cost_of_items is not None:
            cost = (cost or 0.0) + cost_of_items
    if status is JobStatus.RUNNING:
        message = f"The job is running: {done} of {total} items are done."
    elif status in FINAL - {JobStatus.COMPLETED, JobStatus.CANCELLED}:
        item_id, words, detail = _first(connection, job.job_id, status)
        message = f"Item {item_id} of {total}: {words}"
    return {"status": status.value, "message": message, "error_detail": detail, "cost": cost}


def _first(connection: sa.Connection, job_id: str, status: JobStatus) -> tuple[int, str, str | None]:
    item = schema.job_item
    query = (
        sa.select(item.c.item_id, item.c.message, item.c.error_detail)
        .where(item.c.job_id == job_id, item.c.status == status.value)
        .order_by(item.c.item_id)
        .limit(1)
    )
    item_id, message, detail = connection.execute(query).one()
    return item_id, message, detail
