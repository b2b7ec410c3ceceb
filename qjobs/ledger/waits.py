"""What the sensor needs of the ledger: which jobs are due, who waits for what, and what has not been told yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa

from qjobs.ledger.heartbeats import LedgerRunners
from qjobs.ledger.liveness import has_ended
from qjobs.ledger.queries import parts
from qjobs.ledger.rows import event_of, job_of
from qjobs.ledger.tables import EVENT, ITEM, JOB, LEDGER_META, LIVE_WORDS, WAIT, UtcDateTime
from qjobs.lifecycle import JobStatus
from qjobs.model import Event, Job, JobId

__all__ = ["AtDeadline", "LedgerWaits", "Waiting"]

_TOLD = "events_told"
_LONGEST_PAUSE_S = 2 * 3600.0
"""More than anything is ever put off: providers may ask for an hour."""
_UNMOVED_BY_WAITING = (JobStatus.CREATED, JobStatus.UNKNOWN)


class AtDeadline(StrEnum):
    """What is done about a wait that takes too long."""

    NOTIFY = "notify"
    """An event says so; the wait goes on."""
    CANCEL = "cancel"
    """The jobs that are still open are cancelled."""
    GO_ON = "go on"
    """The run goes on with what there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A run that waits for jobs; `open_ids` are those that waiting can still move."""

    flow_run_id: str
    job_ids: tuple[JobId, ...]
    open_ids: tuple[JobId, ...]
    until: str
    server: str
    registered_at: datetime
    deadline_at: datetime | None
    at_deadline: AtDeadline | None

    @property
    def is_over(self) -> bool:
        """Whether what it waits for has come."""
        return not self.open_ids or (self.until == "any" and len(self.open_ids) < len(self.job_ids))


class LedgerWaits(LedgerRunners):
    """The sensor's part of the ledger."""

    def claim_due(self, *, now: datetime, lease_s: float, limit: int, owner: str) -> list[Job]:
        """Take jobs that are due to be asked for; nobody else gets them within the lease.

        `owner` (`qjobs.ledger.liveness.lease_owner`) holds them until they are scheduled. What it held before is free
        again: it was kept from scheduling it. So is what a process held that is proved to have ended.

        Due are open jobs whose `next_poll_at` has come (or is not set), and final ones whose results are
        still to be fetched. The longest due come first. What is to be asked for in hours from now was put off
        before the clock was set back: it is due too.
        """
        due = JOB.c.next_poll_at.is_not(None) & (
            (JOB.c.next_poll_at <= now) | (JOB.c.next_poll_at > now + timedelta(seconds=_LONGEST_PAUSE_S))
        )
        fresh = JOB.c.next_poll_at.is_(None) & JOB.c.status.in_(LIVE_WORDS)
        query = (
            sa.select(JOB)
            .where(due | fresh)
            .order_by(sa.func.coalesce(JOB.c.next_poll_at, JOB.c.created_at), JOB.c.job_id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        with self._db.write() as connection:
            _free_held(connection, owner, now)
            jobs = [job_of(row) for row in connection.execute(query)]
            for part in parts([job.job_id for job in jobs]):
                chosen = JOB.c.job_id.in_(part)
                until = now + timedelta(seconds=lease_s)
                connection.execute(JOB.update().where(chosen).values(next_poll_at=until, polled_by=owner))
        return jobs

    def schedule(self, due: Mapping[JobId, datetime | None], trouble: str | None = None) -> None:
        """Say when jobs are to be asked for next (None where nothing is left to be asked), and what was in the way."""
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

    def hasten(self, backend: str, device: str, *, foremost: int, at: datetime) -> None:
        """Have the foremost jobs of a device's queue asked for at `at`, where they are not before that.

        Foremost by the places that were told last: when the queue moves, they all move. Jobs that a pass holds, or
        that something was in the way of, are left alone.
        """
        place = sa.func.min(ITEM.c.queue_position)
        queued = (
            sa.select(JOB.c.job_id)
            .join(ITEM, ITEM.c.job_id == JOB.c.job_id)
            .where(JOB.c.backend == backend, JOB.c.device == device, JOB.c.status == JobStatus.QUEUED)
            .where(ITEM.c.queue_position.is_not(None), ITEM.c.status.in_(LIVE_WORDS))
            .group_by(JOB.c.job_id)
            .order_by(place)
            .limit(foremost)
        )
        free = (JOB.c.next_poll_at > at) & JOB.c.polled_by.is_(None) & JOB.c.trouble.is_(None)
        with self._db.write() as connection:
            for part in parts(connection.scalars(queued).all()):
                connection.execute(JOB.update().where(free, JOB.c.job_id.in_(part)).values(next_poll_at=at))

    def queue_positions(self, job_ids: Sequence[JobId]) -> dict[JobId, int]:
        """The foremost queue position of each job's items, where the provider tells it."""
        found: dict[JobId, int] = {}
        with self._db.read() as connection:
            for part in parts(job_ids):
                query = (
                    sa.select(ITEM.c.job_id, sa.func.min(ITEM.c.queue_position))
                    .where(ITEM.c.job_id.in_(part), ITEM.c.status.in_(LIVE_WORDS))
                    .group_by(ITEM.c.job_id)
                )
                found.update({JobId(job_id): place for job_id, place in connection.execute(query) if place is not None})
        return found

    def register_wait(
        self,
        flow_run_id: str,
        job_ids: Iterable[JobId],
        *,
        until: str,
        now: datetime,
        server: str = "",
        deadline_at: datetime | None = None,
        at_deadline: AtDeadline | None = None,
    ) -> None:
        """A run waits for these jobs from now on, and for no others. Idempotent.

        `server` is where Prefect knows the run: its API's URL.
        """
        rows = [
            {
                "flow_run_id": flow_run_id,
                "job_id": job_id,
                "until": until,
                "server": server,
                "registered_at": now,
                "deadline_at": deadline_at,
                "at_deadline": at_deadline,
            }
            for job_id in dict.fromkeys(job_ids)
        ]
        with self._db.write() as connection:
            connection.execute(sa.delete(WAIT).where(WAIT.c.flow_run_id == flow_run_id))
            connection.execute(WAIT.insert(), rows)

    def end_wait(self, flow_run_id: str) -> None:
        """A run waits no longer. Idempotent."""
        with self._db.write() as connection:
            connection.execute(sa.delete(WAIT).where(WAIT.c.flow_run_id == flow_run_id))

    def waits(self, *, flow_run_id: str | None = None) -> list[Waiting]:
        """Every run that waits, the longest waiting first; a job with results to be fetched still counts as open."""
        moves = JOB.c.status.in_(LIVE_WORDS) & JOB.c.status.not_in(sorted(_UNMOVED_BY_WAITING))
        is_open = sa.case((moves, True), else_=JOB.c.next_poll_at.is_not(None) & _final()).label("is_open")
        query = (
            sa.select(WAIT, is_open)
            .join(JOB, JOB.c.job_id == WAIT.c.job_id)
            .order_by(WAIT.c.registered_at, WAIT.c.flow_run_id, WAIT.c.job_id)
        )
        if flow_run_id is not None:
            query = query.where(WAIT.c.flow_run_id == flow_run_id)
        found: dict[str, list[sa.Row[tuple[object, ...]]]] = defaultdict(list)
        with self._db.read() as connection:
            for row in connection.execute(query):
                found[row.flow_run_id].append(row)
        return [_waiting(rows) for rows in found.values()]

    def runs_to_cancel_for(self) -> list[str]:
        """Who made jobs that are not final and that nobody wishes to cancel."""
        words = [*LIVE_WORDS, JobStatus.CREATED]
        query = sa.select(JOB.c.run).where(JOB.c.status.in_(words), JOB.c.cancel_requested_at.is_(None))
        with self._db.read() as connection:
            return [row.run for row in connection.execute(query.distinct().order_by(JOB.c.run))]

    def noted(self, job_ids: Sequence[JobId], cause: str, detail: str | None = None) -> set[JobId]:
        """The jobs whose history has an event of that cause, and of that detail if one is given."""
        found: set[JobId] = set()
        with self._db.read() as connection:
            for part in parts(job_ids):
                query = sa.select(EVENT.c.job_id).where(EVENT.c.job_id.in_(part), EVENT.c.cause == cause)
                if detail is not None:
                    query = query.where(EVENT.c.detail == detail)
                found.update(JobId(row.job_id) for row in connection.execute(query.distinct()))
        return found

    def untold_events(self, *, before: datetime, limit: int = 1000) -> list[Event]:
        """Events of jobs (not of their items) that have not been told to anybody, oldest first.

        `before` leaves out the newest: on PostgreSQL an event with a smaller id may become visible later.
        """
        with self._db.read() as connection:
            told = int(connection.scalar(sa.select(LEDGER_META.c.value).where(LEDGER_META.c.name == _TOLD)) or 0)
            query = sa.select(EVENT).where(EVENT.c.id > told, EVENT.c.item_index.is_(None), EVENT.c.at < before)
            return [event_of(row) for row in connection.execute(query.order_by(EVENT.c.id).limit(limit))]

    def told(self, events: Sequence[Event]) -> None:
        """These events, and all before them, have been told."""
        if not events:
            return
        newest = max(event.event_id for event in events)
        with self._db.write() as connection:
            self._db.lock(connection, _TOLD)
            meta = LEDGER_META
            old = connection.scalar(sa.select(meta.c.value).where(meta.c.name == _TOLD))
            if old is None:
                connection.execute(meta.insert(), {"name": _TOLD, "value": str(newest)})
            elif int(old) < newest:
                connection.execute(meta.update().where(meta.c.name == _TOLD).values(value=str(newest)))


def _free_held(connection: sa.Connection, owner: str, now: datetime) -> None:
    """Let go of the jobs that a pass holds which is over."""
    held = JOB.c.polled_by.is_not(None) & (JOB.c.next_poll_at > now)
    owners = connection.scalars(sa.select(JOB.c.polled_by).where(held).distinct()).all()
    if over := [each for each in owners if each == owner or has_ended(each)]:
        connection.execute(JOB.update().where(held, JOB.c.polled_by.in_(over)).values(next_poll_at=now))


def _final() -> sa.ColumnElement[bool]:
    return JOB.c.status.not_in([*LIVE_WORDS, JobStatus.CREATED])


def _waiting(rows: Sequence[sa.Row[tuple[object, ...]]]) -> Waiting:
    first = rows[0]._mapping
    return Waiting(
        flow_run_id=first["flow_run_id"],
        job_ids=tuple(JobId(row._mapping["job_id"]) for row in rows),
        open_ids=tuple(JobId(row._mapping["job_id"]) for row in rows if row._mapping["is_open"]),
        until=first["until"],
        server=first["server"],
        registered_at=first["registered_at"],
        deadline_at=first["deadline_at"],
        at_deadline=None if first["at_deadline"] is None else AtDeadline(first["at_deadline"]),
    )
