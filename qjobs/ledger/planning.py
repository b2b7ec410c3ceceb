"""Writing down the jobs that are wanted, so that each is wanted once."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qjobs.errors import InvalidInput, StaleJob
from qjobs.ledger import transitions as moves
from qjobs.ledger.database import Database, parts
from qjobs.ledger.rows import item_rows, job_row, program_values
from qjobs.ledger.tables import EVENT, ITEM, JOB, PROGRAM
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId, JobSpec, Key, Program, ProgramHash

__all__ = ["Seen", "create_jobs", "insert_or_ignore", "insert_programs"]

_LOCK = "qjobs-create"
_ROWS_TOGETHER = 3000
"""Rows of items in one statement: what is written is not all in memory at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How many jobs of a description there were when a caller decided which are still to be made.

    `logical_run` None is any.
    """

    experiment: str
    backend: str
    device: str
    definition: str
    n_jobs: int
    logical_run: str | None = None


def create_jobs(db: Database, specs: Sequence[JobSpec], now: datetime, seen: Seen | None) -> list[JobId]:
    """Store jobs with their items and programs, all in one transaction; a key that is there already keeps its job.

    Raises:
        InvalidInput: Two of the specs have the same key.
        StaleJob: Others have made jobs of the same description since they were counted: nothing was written.
    """
    keys = [spec.key for spec in specs]
    if len(set(keys)) != len(keys):
        raise InvalidInput("two of the jobs are the same; give them different batch numbers")
    with db.write() as connection:
        db.lock(connection, _LOCK)
        job_ids = _ids_by_key(connection, keys)
        fresh: dict[JobId, JobSpec] = {}
        for spec in specs:
            if spec.key not in job_ids:
                job_id = JobId(f"job-{uuid.uuid4().hex}")
                job_ids[spec.key] = job_id
                fresh[job_id] = spec
        if fresh and seen is not None:
            _check_seen(connection, seen)
        _insert(db, connection, fresh, now)
    return [job_ids[key] for key in keys]


def insert_programs(db: Database, connection: sa.Connection, programs: Iterable[Program]) -> None:
    """Store circuits; those that are there already are left alone."""
    rows = [program_values(program) for program in programs]
    if rows:
        connection.execute(insert_or_ignore(db, PROGRAM), rows)


def insert_or_ignore(db: Database, table: sa.Table) -> sa.Insert:
    """An INSERT that leaves alone what is there already."""
    from sqlalchemy.dialects import postgresql, sqlite  # a tenth of what `qjobs jobs list` takes

    insert = sqlite.insert(table) if db.is_sqlite else postgresql.insert(table)
    return insert.on_conflict_do_nothing()


def _check_seen(connection: sa.Connection, seen: Seen) -> None:
    described = (
        (JOB.c.experiment == seen.experiment)
        & (JOB.c.backend == seen.backend)
        & (JOB.c.device == seen.device)
        & (JOB.c.definition == seen.definition)
    )
    if seen.logical_run is not None:
        described &= JOB.c.logical_run == seen.logical_run
    n_jobs = connection.scalar(sa.select(sa.func.count()).where(described)) or 0
    if n_jobs != seen.n_jobs:
        raise StaleJob(
            f"{seen.experiment or 'this experiment'} on {seen.device} had {seen.n_jobs} jobs and has {n_jobs} now: "
            "another run plans the same points; look again which are missing",
            job_id="",
        )


def _insert(db: Database, connection: sa.Connection, specs: Mapping[JobId, JobSpec], now: datetime) -> None:
    programs: dict[ProgramHash, Program] = {}
    for spec in specs.values():
        programs.update(spec.batch.programs)
    insert_programs(db, connection, programs.values())
    jobs: list[dict[str, Any]] = []
    items: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    for job_id, spec in specs.items():
        jobs.append(job_row(job_id, spec, now))
        items += item_rows(job_id, spec, now)
        events.append(moves.event_row(job_id, None, JobStatus.CREATED, "plan", spec.name, now))
        moves.log_job(connection, job_id, None, "CREATED", f"{len(spec.batch.items)} items for {spec.device}")
        if len(items) >= _ROWS_TOGETHER:
            _insert_rows(connection, jobs, items, events)
    _insert_rows(connection, jobs, items, events)


def _insert_rows(connection: sa.Connection, *rows: list[dict[str, Any]]) -> None:
    """Insert rows of jobs, items and events, and forget them."""
    for table, some in zip((JOB, ITEM, EVENT), rows, strict=True):
        if some:
            connection.execute(table.insert(), some)
            some.clear()


def _ids_by_key(connection: sa.Connection, keys: Sequence[Key]) -> dict[Key, JobId]:
    """Jobs that exist already, by their key."""
    found: dict[Key, JobId] = {}
    for part in parts(keys):
        rows = connection.execute(sa.select(JOB.c.key, JOB.c.job_id).where(JOB.c.key.in_(part)))
        found.update({Key(row.key): JobId(row.job_id) for row in rows})
    return found
