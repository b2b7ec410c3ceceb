"""The runs that wait for jobs.

A suspended one has no process meanwhile, and the sensor resumes it. Another waits itself, inline: what it waits for is
written down too, so that nobody cancels it as if it were their own.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qjobs.errors import LedgerError
from qjobs.ledger.database import Database, log_after_commit
from qjobs.ledger.dispatches import Terms, add_entries, forget_entries
from qjobs.ledger.liveness import has_ended, lease_owner
from qjobs.ledger.tables import DISPATCH, ITEM, JOB, RESULT, WAIT, AtDeadline, Until
from qjobs.lifecycle import FINAL, LIVE, NOT_MOVED_BY_WAITING, JobStatus
from qjobs.model import JobId

__all__ = ["AtDeadline", "SuspendedRun", "SuspendedRuns", "Until"]

_HAS_RESULT = (
    sa.exists()
    .where(RESULT.c.job_id == ITEM.c.job_id, RESULT.c.item_index == ITEM.c.item_index, RESULT.c.epoch == JOB.c.epoch)
    .correlate(ITEM, JOB)  # a select two further out is not correlated by itself: it would be all jobs
)
_AWAITS_RESULTS = (
    JOB.c.status.in_(sorted(FINAL))
    & JOB.c.next_poll_at.is_not(None)
    & sa.exists()
    .where(
        ITEM.c.job_id == JOB.c.job_id, ITEM.c.status == JobStatus.COMPLETED, ITEM.c.no_result.is_(None), ~_HAS_RESULT
    )
    .correlate(JOB)
)
"""A final job is polled on for its results, and also for the end of a stray, which no run waits for."""
_TO_BE_SENT = sa.exists().where(DISPATCH.c.flow_run_id == WAIT.c.flow_run_id, DISPATCH.c.job_id == WAIT.c.job_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspendedRun:
    """A flow run that waits for jobs; `open_ids` are those that are not done yet.

    Done is what waiting no longer moves, or, until there is room, what takes no place at its device. A job that is
    still to be sent for the run is open.
    """

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
        """Whether the jobs that it waits for are done, or have left their places: all of them, or any."""
        return not self.open_ids or (self.until != Until.ALL and len(self.open_ids) < len(self.job_ids))


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
        held_by: str | None = None,
        to_send: Sequence[tuple[Terms, Sequence[JobId]]] = (),
    ) -> None:
        """Record that a run waits for these jobs from now on, and for no others. Idempotent.

        `until` is a word of `Until`. `server` is where Prefect knows the run: its API's URL. `held_by` is the process
        that waits (`qjobs.ledger.liveness.lease_owner`), None for a run that is suspended. Those of its jobs in
        `to_send` wait for a place at their device, and are to be sent for it on these terms, in this order.
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
                "held_by": held_by,
            }
            for job_id in dict.fromkeys(job_ids)
        ]
        names = ", ".join(str(row["job_id"]) for row in rows)
        with self._db.write() as connection:
            connection.execute(sa.delete(WAIT).where(WAIT.c.flow_run_id == flow_run_id))
            forget_entries(connection, flow_run_id)
            if rows:
                connection.execute(WAIT.insert(), rows)
            add_entries(connection, flow_run_id, to_send, now)
            log_after_commit(
                connection, "flow run %s waits for %s of %d jobs: %s", flow_run_id, until, len(rows), names
            )

    def end(self, flow_run_id: str, *, registered_before: datetime | None = None, held_by: str | None = None) -> None:
        """Record that a run waits no longer. Idempotent.

        A wait that was registered after `registered_before` is left: the run waits again. With `held_by` only a wait
        in that process ends, and a run that is suspended goes on waiting.
        """
        chosen = WAIT.c.flow_run_id == flow_run_id
        if held_by is not None:
            chosen &= WAIT.c.held_by == held_by
        if registered_before is not None:
            chosen &= WAIT.c.registered_at <= registered_before
        with self._db.write() as connection:
            ended = connection.execute(sa.delete(WAIT).where(chosen))
            if ended.rowcount:
                forget_entries(connection, flow_run_id)
                log_after_commit(connection, "flow run %s waits no longer", flow_run_id)

    @contextlib.contextmanager
    def attended(self, run: str) -> Iterator[None]:
        """What a run does with its jobs in this process, from the plan to the results being where they belong.

        Meanwhile it counts as waiting for its jobs: nobody else's cancellation cancels them, and a run that is killed
        is known by it. A run that is suspended goes on waiting.
        """
        try:
            yield
        finally:
            with contextlib.suppress(LedgerError):  # a ledger that is away: the process ends soon, and is known to have
                self.end(run, held_by=lease_owner())

    def jobs_of_others(self, job_ids: Sequence[JobId], run: str) -> set[JobId]:
        """Those of these jobs that another run waits for: suspended, or in a process that may still live."""
        query = sa.select(WAIT.c.job_id, WAIT.c.held_by).where(WAIT.c.flow_run_id != run)
        rows = self._db.rows_among(query, WAIT.c.job_id, job_ids)
        return {JobId(row.job_id) for row in rows if row.held_by is None or not has_ended(row.held_by)}

    def jobs_of(self, run: str) -> list[JobId]:
        """The jobs that a run waits for, suspended or in a process."""
        query = sa.select(WAIT.c.job_id).where(WAIT.c.flow_run_id == run).order_by(WAIT.c.job_id)
        return [JobId(row.job_id) for row in self._db.rows(query)]

    def are_attended(self, runs: Sequence[str]) -> bool:
        """Whether one of these runs waits: suspended, or in a process that may still live."""
        return any(held_by is None or not has_ended(held_by) for held_by in self._holders(runs))

    def are_left_behind(self, runs: Sequence[str]) -> bool:
        """Whether one of these runs was waiting in a process that is proved to have ended."""
        return any(held_by is not None and has_ended(held_by) for held_by in self._holders(runs))

    def _holders(self, runs: Sequence[str]) -> set[str | None]:
        query = sa.select(WAIT.c.held_by).distinct()
        return {row.held_by for row in self._db.rows_among(query, WAIT.c.flow_run_id, runs)}

    def runs(self, *, flow_run_id: str | None = None) -> list[SuspendedRun]:
        """Every run that is suspended, the longest waiting first; a job whose results are to be fetched is open too."""
        moves = JOB.c.status.in_(sorted(LIVE - NOT_MOVED_BY_WAITING)) | _AWAITS_RESULTS | _TO_BE_SENT
        takes_a_place = JOB.c.status.in_(sorted(LIVE))
        is_open = sa.case((WAIT.c.until == Until.ROOM, takes_a_place), else_=moves)
        query = (
            sa.select(WAIT, is_open.label("is_open"))
            .join(JOB, JOB.c.job_id == WAIT.c.job_id)
            .where(WAIT.c.held_by.is_(None))
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
