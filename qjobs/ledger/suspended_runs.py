"""The flow runs that wait for jobs: nothing of them runs meanwhile, and the sensor resumes them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa

from qjobs.ledger.database import Database
from qjobs.ledger.tables import JOB, LIVE_WORDS, WAIT
from qjobs.lifecycle import NOT_MOVED_BY_WAITING, JobStatus
from qjobs.model import JobId

__all__ = ["AtDeadline", "SuspendedRun", "SuspendedRuns"]


class AtDeadline(StrEnum):
    """What is done about a wait that takes too long."""

    NOTIFY = "notify"
    """An event says so; the wait goes on."""
    CANCEL = "cancel"
    """The jobs that are still open are cancelled."""
    GO_ON = "go on"
    """The run goes on with what there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspendedRun:
    """A flow run that waits for jobs; `open_ids` are those that waiting can still move."""

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


class SuspendedRuns:
    """`Ledger.waits`: which run waits for which jobs."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def register(
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
        """Record that a run waits for these jobs from now on, and for no others. Idempotent.

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

    def end(self, flow_run_id: str) -> None:
        """Record that a run waits no longer. Idempotent."""
        with self._db.write() as connection:
            connection.execute(sa.delete(WAIT).where(WAIT.c.flow_run_id == flow_run_id))

    def runs(self, *, flow_run_id: str | None = None) -> list[SuspendedRun]:
        """Every run that waits, the longest waiting first; a job with results to be fetched still counts as open."""
        moves = JOB.c.status.in_(LIVE_WORDS) & JOB.c.status.not_in(sorted(NOT_MOVED_BY_WAITING))
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
        return [_suspended_run(rows) for rows in found.values()]


def _final() -> sa.ColumnElement[bool]:
    return JOB.c.status.not_in([*LIVE_WORDS, JobStatus.CREATED])


def _suspended_run(rows: Sequence[sa.Row[tuple[object, ...]]]) -> SuspendedRun:
    first = rows[0]._mapping
    return SuspendedRun(
        flow_run_id=first["flow_run_id"],
        job_ids=tuple(JobId(row._mapping["job_id"]) for row in rows),
        open_ids=tuple(JobId(row._mapping["job_id"]) for row in rows if row._mapping["is_open"]),
        until=first["until"],
        server=first["server"],
        registered_at=first["registered_at"],
        deadline_at=first["deadline_at"],
        at_deadline=None if first["at_deadline"] is None else AtDeadline(first["at_deadline"]),
    )
