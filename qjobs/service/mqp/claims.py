"""Claims: a scheduler takes pending jobs, marks those that it sends, and gives back those of schedulers that died.

A claim is one UPDATE whose subquery ranks the pending jobs, so that none is returned to two schedulers and the limit of
a user at a resource holds. Claims follow one another: PostgreSQL's SKIP LOCKED alone would let two of them, which see
different jobs at the front, exceed that limit together. A lease names the process that has a job
(`qjobs.ledger.liveness`), and ends with that process alone, never with time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qjobs.errors import StaleJob
from qjobs.ledger.database import log_after_commit
from qjobs.ledger.liveness import display_owner, has_ended, is_alive
from qjobs.service.mqp.database import JobDatabase
from qjobs.service.mqp.reasons import Reason
from qjobs.service.mqp.records import (
    MAX_ACTIVE_JOBS_PER_USER_PER_RESOURCE,
    QUEUING_TIME,
    CircuitJob,
    HamiltonianJob,
    Kind,
    MqpStatus,
    job_of,
)
from qjobs.service.tables import mqp_job as job
from qjobs.service.tables import mqp_resource as resource

__all__ = ["FREE", "Reaped", "adopt", "claim", "claim_all", "mark_dispatched", "reap", "release"]

FREE = {"claimed_by": None, "timestamp_scheduled": None, "dispatched_at": None, "remote": None}
"""What a job that goes back to PENDING forgets."""
_CLAIMS = "mqp-claims"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaped:
    """What became of the jobs whose claimant has ended, or may have; each list by id.

    Args:
        requeued: Never sent, and PENDING again.
        dispatched: They may run: look them up, `adopt` them, and complete, fail or cancel them.
        unproved: Nothing is proved of their claimant, which is of another machine or of an earlier boot, and most
            often at work. Whoever knows that it has ended gives back what was never sent, with `release`.
    """

    requeued: list[CircuitJob | HamiltonianJob]
    dispatched: list[CircuitJob | HamiltonianJob]
    unproved: list[CircuitJob | HamiltonianJob]


def claim(jobs: JobDatabase, which: sa.ColumnElement[bool]) -> list[CircuitJob | HamiltonianJob]:
    """Make those of these PENDING circuit jobs WAITING that may go now, and return them in order of arrival.

    A job may go if it is not `queued`, or its resource is there, or it is older than a day; and if its owner then has
    no more than two WAITING jobs at the resource. Older jobs go first. Two statements, and one to begin on SQLite.
    """
    now = jobs.now()
    return _take(jobs, _allowed(jobs, which, _may_go(now)), now)


def claim_all(jobs: JobDatabase, kind: Kind) -> list[CircuitJob | HamiltonianJob]:
    """Make all PENDING jobs of a kind WAITING, without a limit, and return them in order of arrival."""
    return _take(jobs, sa.select(job.c.id).where(job.c.kind == kind), jobs.now())


def _take(jobs: JobDatabase, allowed: sa.Select[tuple[int]], now: datetime) -> list[CircuitJob | HamiltonianJob]:
    ids = allowed.where(job.c.status == MqpStatus.PENDING).with_for_update(of=job, skip_locked=True).cte("chosen")
    owner = jobs.claimant()
    taken = (
        job.update()
        .where(job.c.id.in_(sa.select(ids.c.id)))
        .values(status=MqpStatus.WAITING, timestamp_scheduled=now, claimed_by=owner)
        .returning(*job.columns)
    )
    with jobs.db.write() as connection:
        jobs.db.lock(connection, _CLAIMS)
        rows = connection.execute(taken).all()
        for row in rows:
            log_after_commit(connection, "mqp job %s: PENDING -> WAITING, claimed by %s", row.id, display_owner(owner))
    return _in_order(rows)


def _may_go(now: datetime) -> sa.ColumnElement[bool]:
    """Whether the queue does not hold a job back."""
    begun = resource.c.maintenance_from <= now
    lasting = resource.c.maintenance_until.is_(None) | (resource.c.maintenance_until > now)
    planned = sa.and_(resource.c.maintenance_from.is_not(None), begun, lasting)
    away = sa.or_(~resource.c.online, resource.c.maintenance, planned)
    return sa.or_(~job.c.queued, ~away, job.c.timestamp_submitted < now - QUEUING_TIME)


def _allowed(jobs: JobDatabase, which: sa.ColumnElement[bool], may_go: sa.ColumnElement[bool]) -> sa.Select[tuple[int]]:
    """The ids of jobs within the limit of their owner and resource: WAITING ones count first, then the oldest."""
    waiting = job.c.status == MqpStatus.WAITING
    pending = sa.and_(job.c.status == MqpStatus.PENDING, may_go, which)
    first = sa.case((waiting, 0), else_=1)
    place = sa.func.row_number().over(
        partition_by=(job.c.owner, job.c.target_specification), order_by=(first, job.c.id)
    )
    ranked = (
        sa.select(job.c.id, job.c.status, place.label("place"))
        .select_from(job.join(resource, resource.c.name == job.c.target_specification))
        .where(job.c.kind == Kind.CIRCUIT, job.c.status.in_([MqpStatus.WAITING, MqpStatus.PENDING]), waiting | pending)
        .subquery("ranked")
    )
    within = sa.select(ranked.c.id).where(
        ranked.c.status == MqpStatus.PENDING, ranked.c.place <= MAX_ACTIVE_JOBS_PER_USER_PER_RESOURCE
    )
    return sa.select(job.c.id).where(jobs.among_selected(job.c.id, within))


def mark_dispatched(jobs: JobDatabase, job_id: int, kind: Kind, remote: str) -> None:
    """Record that a job of this process is sent now, and its name where it runs once that is known.

    Call it before the request after which the job can run; only what is marked is sent. A second call adds the name.

    Raises:
        JobNotFound: There is no such job.
        StaleJob: It is no longer this process's: it must not be sent.
    """
    owner = jobs.claimant()
    with jobs.db.write() as connection:
        row = jobs.locked(connection, job_id, kind)
        if row.status != MqpStatus.WAITING or _process(row.claimed_by) != _process(owner):
            raise StaleJob(
                f"mqp job {row.id} is {row.status} and {display_owner(row.claimed_by)} has it; do not send it",
                job_id=str(row.id),
            )
        values = {"dispatched_at": row.dispatched_at or jobs.now(), "remote": remote or row.remote}
        connection.execute(job.update().where(job.c.id == row.id).values(values))
        log_after_commit(connection, "mqp job %s: dispatched by %s as %r", row.id, display_owner(owner), remote)


def release(jobs: JobDatabase, job_id: int, kind: Kind) -> None:
    """Give a WAITING job that was not sent back to the queue, whoever has it.

    Raises:
        JobNotFound: There is no such job.
        StaleJob: It is not WAITING, or it was sent.
    """
    with jobs.db.write() as connection:
        row = jobs.locked(connection, job_id, kind)
        if row.status != MqpStatus.WAITING or row.dispatched_at is not None:
            sent = ", and was sent" if row.dispatched_at is not None else ""
            raise StaleJob(f"mqp job {row.id} is {row.status}{sent}; it is not given back", job_id=str(row.id))
        values = {"status": MqpStatus.PENDING, "reason": Reason.RELEASED, **FREE}
        connection.execute(job.update().where(job.c.id == row.id).values(values))
        who = display_owner(row.claimed_by)
        log_after_commit(connection, "mqp job %s: WAITING -> PENDING, released by or from %s", row.id, who)


def adopt(jobs: JobDatabase, job_id: int, kind: Kind) -> CircuitJob | HamiltonianJob:
    """Take over a job that was sent by a process that is proved to have ended; one process gets it.

    Raises:
        JobNotFound: There is no such job.
        StaleJob: It is not WAITING, was never sent, or its claimant is not proved to have ended.
    """
    with jobs.db.write() as connection:
        row = jobs.locked(connection, job_id, kind)
        sent = row.status == MqpStatus.WAITING and row.dispatched_at is not None
        if not sent or not has_ended(row.claimed_by):
            who = display_owner(row.claimed_by)
            raise StaleJob(f"mqp job {row.id} is {row.status} and {who} has it; it is not adopted", job_id=str(row.id))
        owner = jobs.claimant()
        values = job.update().where(job.c.id == row.id).values(claimed_by=owner)
        adopted = connection.execute(values.returning(*job.columns)).one()
        words = "mqp job %s: adopted by %s from %s"
        log_after_commit(connection, words, row.id, display_owner(owner), display_owner(row.claimed_by))
    return job_of(adopted)


def reap(jobs: JobDatabase) -> Reaped:
    """Give back what dead claimants never sent, and say what they did send; a few statements, whatever the number."""
    waiting = job.c.status == MqpStatus.WAITING
    claimants = [row.claimed_by for row in jobs.db.rows(sa.select(job.c.claimed_by).where(waiting).distinct())]
    dead = [owner for owner in claimants if has_ended(owner)]
    doubtful = [owner for owner in claimants if owner not in dead and not is_alive(owner)]
    if not dead and not doubtful:
        return Reaped(requeued=[], dispatched=[], unproved=[])
    requeued: list[sa.Row[Any]] = []
    with jobs.db.write() as connection:
        jobs.db.lock(connection, _CLAIMS)
        if dead:
            back = (
                job.update()
                .where(waiting, job.c.dispatched_at.is_(None), jobs.among(job.c.claimed_by, dead))
                .values(status=MqpStatus.PENDING, reason=Reason.CLAIMANT_DEAD, **FREE)
            )
            requeued += connection.execute(back.returning(*job.columns)).all()
        left = connection.execute(sa.select(job).where(waiting, jobs.among(job.c.claimed_by, dead + doubtful))).all()
        for row in requeued:
            log_after_commit(connection, "mqp job %s: WAITING -> PENDING, its claimant has ended", row.id)
    return Reaped(
        requeued=_in_order(requeued),
        dispatched=_in_order([row for row in left if row.claimed_by in dead]),
        unproved=_in_order([row for row in left if row.claimed_by in doubtful]),
    )


def _in_order(rows: Sequence[sa.Row[Any]]) -> list[CircuitJob | HamiltonianJob]:
    return [job_of(row) for row in sorted(rows, key=lambda row: row.id)]


def _process(owner: str | None) -> str:
    """An owner without its thread: another thread of the process may send what one claimed."""
    name, _, proof = (owner or "nobody").partition(" ")
    return f"{name.rpartition(':')[0]} {proof}"
