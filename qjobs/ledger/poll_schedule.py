"""When each job is polled next, and which pass of a sensor holds it until then."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

import sqlalchemy as sa

from qjobs.ledger.database import Database, log_after_commit, parts
from qjobs.ledger.liveness import display_owner, has_ended
from qjobs.ledger.rows import job_of
from qjobs.ledger.tables import ITEM, JOB, LIVE_WORDS, STRAY, UtcDateTime
from qjobs.lifecycle import JobStatus
from qjobs.model import Job, JobId

__all__ = ["PollSchedule"]

_LONGEST_PAUSE_S = 2 * 3600.0
"""Longer than any pause between two polls: providers may ask for an hour."""


class PollSchedule:
    """`Ledger.schedule`: claims the jobs that are due, and sets when each is due again."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def claim_due(
        self,
        *,
        now: datetime,
        lease_s: float,
        limit: int,
        owner: str,
        busy: Collection[str] = (),
        holds: bool = False,
    ) -> list[Job]:
        """Claim jobs that are due to be polled; no other pass gets them within the lease.

        Due are open jobs, LOST ones and those with a stray that is still to be ended, whose `next_poll_at` has come or
        is not set, and final ones whose results are still to be fetched. The longest due come first. A job whose next
        poll is hours away is due too: its time was set before the clock was set back.

        `owner` (`qjobs.ledger.liveness.lease_owner`) holds them until `set_next`. What it held before is free again,
        as its earlier pass failed, unless it still `holds` that; so is what a process held that is proved to have
        ended. Jobs of the backends in `busy`, by the names that open them, are left alone.
        """
        due = JOB.c.next_poll_at.is_not(None) & (
            (JOB.c.next_poll_at <= now) | (JOB.c.next_poll_at > now + timedelta(seconds=_LONGEST_PAUSE_S))
        )
        has_stray = sa.exists().where(STRAY.c.job_id == JOB.c.job_id, STRAY.c.ended_at.is_(None))
        fresh = JOB.c.next_poll_at.is_(None) & (JOB.c.status.in_([*LIVE_WORDS, JobStatus.LOST]) | has_stray)
        opened_as = sa.func.coalesce(sa.func.nullif(JOB.c.opened_as, ""), JOB.c.backend)
        query = (
            sa.select(JOB)
            .where(due | fresh, opened_as.not_in(sorted(busy)))
            .order_by(sa.func.coalesce(JOB.c.next_poll_at, JOB.c.created_at), JOB.c.job_id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        with self._db.write() as connection:
            _release_held(connection, None if holds else owner, now)
            jobs = [job_of(row) for row in connection.execute(query)]
            for part in parts([job.job_id for job in jobs]):
                chosen = JOB.c.job_id.in_(part)
                until = now + timedelta(seconds=lease_s)
                connection.execute(JOB.update().where(chosen).values(next_poll_at=until, polled_by=owner))
        return jobs

    def set_next(self, due: Mapping[JobId, datetime | None], trouble: str | None = None) -> None:
        """Set when jobs are polled next (None: never), and what was in the way of this poll; releases them."""
        rows = [{"at_job": job_id, "next_poll_at": at} for job_id, at in sorted(due.items())]
        if not rows:
            return
        statement = (
            JOB.update()
            .where(JOB.c.job_id == sa.bindparam("at_job"))
            .values(next_poll_at=sa.bindparam("next_poll_at", type_=UtcDateTime()), trouble=trouble, polled_by=None)
        )
        with self._db.write() as connection:
            connection.execute(statement, rows)

    def renew(self, *, owner: str, until: datetime, now: datetime) -> None:
        """Hold on to the jobs that `owner` holds, until then."""
        held = (JOB.c.polled_by == owner) & (JOB.c.next_poll_at > now)
        with self._db.write() as connection:
            connection.execute(JOB.update().where(held).values(next_poll_at=until))

    def release(self, job_ids: Collection[JobId], *, owner: str, now: datetime) -> None:
        """Make those of these jobs due that `owner` still holds."""
        with self._db.write() as connection:
            for part in parts(sorted(job_ids)):
                held = JOB.c.job_id.in_(part) & (JOB.c.polled_by == owner)
                connection.execute(JOB.update().where(held).values(next_poll_at=now, polled_by=None))

    def bring_forward(self, backend: str, device: str, *, foremost: int, at: datetime) -> None:
        """Poll the foremost jobs of a device's queue at `at`, where they are not due before that.

        Foremost are those whose reported place was the lowest: when the queue moves, they all move. Jobs that a pass
        holds, or that had trouble, are left alone.
        """
        queued = (
            sa.select(JOB.c.job_id)
            .join(ITEM, ITEM.c.job_id == JOB.c.job_id)
            .where(JOB.c.backend == backend, JOB.c.device == device, JOB.c.status == JobStatus.QUEUED)
            .where(ITEM.c.queue_position.is_not(None), ITEM.c.status.in_(LIVE_WORDS))
            .group_by(JOB.c.job_id)
            .order_by(sa.func.min(ITEM.c.queue_position))
            .limit(foremost)
        )
        free = (JOB.c.next_poll_at > at) & JOB.c.polled_by.is_(None) & JOB.c.trouble.is_(None)
        with self._db.write() as connection:
            connection.execute(JOB.update().where(free, JOB.c.job_id.in_(queued)).values(next_poll_at=at))


def _release_held(connection: sa.Connection, owner: str | None, now: datetime) -> None:
    """Release the jobs of passes that are over: of `owner`, and of processes that have ended."""
    held = JOB.c.polled_by.is_not(None) & (JOB.c.next_poll_at > now)
    owners = connection.scalars(sa.select(JOB.c.polled_by).where(held).distinct()).all()
    for each in owners:
        if each == owner or has_ended(each):
            freed = connection.execute(JOB.update().where(held, JOB.c.polled_by == each).values(next_poll_at=now))
            line = "jobs due again: %d, which %s claimed and did not schedule"
            log_after_commit(connection, line, freed.rowcount, display_owner(each))
