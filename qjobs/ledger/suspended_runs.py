"""The flow runs that wait for jobs: no process of them runs meanwhile, and the sensor resumes them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from qjobs.ledger.database import Database, log_after_commit
from qjobs.ledger.tables import JOB, WAIT
from qjobs.lifecycle import FINAL, LIVE, NOT_MOVED_BY_WAITING
from qjobs.model import JobId

__all__ = ["AtDeadline", "SuspendedRun", "SuspendedRuns"]


class AtDeadline(StrEnum):
    """What is done when a wait reaches its deadline."""

    NOTIFY = "notify"
    """An event is recorded, and the wait goes on."""
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
        """Whether the jobs that it waits for are done: all of them, or any."""
        return not self.open_ids or (self.until == "any" and len(self.open_ids) < len(self.job_ids))


class SuspendedRuns:
    """`Ledger.waits`: records which run waits for which jobs."""

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
        names = ", ".join(str(row["job_id"]) for row in rows)
        with self._db.write() as connection:
            connection.execute(sa.delete(WAIT).where(WAIT.c.flow_run_id == flow_run_id))
            connection.execute(WAIT.insert(), rows)
            log_after_commit(
                connection, "flow run %s waits for %s of %d jobs: %s", flow_run_id, until, len(rows), names
            )

    def end(self, flow_run_id: str) -> None:
        """Record that a run waits no longer. Idempotent."""
        with self._db.write() as connection:
            ended = connection.execute(sa.delete(WAIT).where(WAIT.c.flow_run_id == flow_run_id))
            if ended.rowcount:
                log_after_commit(connection, "flow run %s waits no longer", flow_run_id)

    def runs(self, *, flow_run_id: str | None = None) -> list[SuspendedRun]:
        """Every run that waits, the longest waiting first; a job whose results are still to be fetched is open too."""
        moves = JOB.c.status.in_(sorted(LIVE - NOT_MOVED_BY_WAITING))
        awaits_results = JOB.c.status.in_(sorted(FINAL)) & JOB.c.next_poll_at.is_not(None)
        query = (
            sa.select(WAIT, (moves | awaits_results).label("is_open"))
            .join(JOB, JOB.c.job_id == WAIT.c.job_id)
            .order_by(WAIT.c.registered_at, WAIT.c.flow_run_id, WAIT.c.job_id)
        )
        if flow_run_id is not None:
            query = query.where(WAIT.c.flow_run_id == flow_run_id)
        found: dict[str, list[sa.Row[Any]]] = defaultdict(list)
        for row in self._db.rows(query):
            found[row.flow_run_id].append(row)
        return [_suspended_run(rows) for rows in found.values()]


def _suspended_run(rows: Sequence[sa.Row[Any]]) -> SuspendedRun:
    first = rows[0]
    return SuspendedRun(
        flow_run_id=first.flow_run_id,
        job_ids=tuple(JobId(row.job_id) for row in rows),
        open_ids=tuple(JobId(row.job_id) for row in rows if row.is_open),
        until=first.until,
        server=first.server,
        registered_at=first.registered_at,
        deadline_at=first.deadline_at,
        at_deadline=None if first.at_deadline is None else AtDeadline(first.at_deadline),
    )
