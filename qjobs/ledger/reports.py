"""What providers report of jobs, as the ledger writes it down: final stays final, and every move is an event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from qjobs.errors import ProtocolError
from qjobs.ledger import transitions as moves
from qjobs.ledger.leases import LedgerLeases
from qjobs.ledger.queries import parts
from qjobs.ledger.tables import ITEM
from qjobs.lifecycle import JobStatus, can_move, roll_up
from qjobs.model import AttemptNumber, JobId, Snapshot

__all__ = ["LedgerReports", "Report"]

_TOGETHER = 100
"""Reports of one transaction: a commit costs as much as a report, and others wait for the lock meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a provider says of one attempt."""

    job_id: JobId
    number: AttemptNumber
    snapshot: Snapshot


class LedgerReports(LedgerLeases):
    """The part of the ledger that listens to providers."""

    def observe(
        self, job_id: JobId, number: AttemptNumber, snapshot: Snapshot, *, now: datetime, cause: str = "poll"
    ) -> JobStatus:
        """Write what the provider reports of an attempt; final stays final.

        A report of an attempt that a later one has replaced changes that attempt only.

        Returns:
            The job's status afterwards.

        Raises:
            ProtocolError: The report has another number of items than were sent; nothing was written.
            StaleJob: The attempt has no remote id, so that no report can be about it.
        """
        with self._db.write() as connection:
            return _observe(connection, Report(job_id=job_id, number=number, snapshot=snapshot), now, cause)

    def observe_all(
        self, reports: Sequence[Report], *, now: datetime, cause: str = "poll"
    ) -> tuple[dict[JobId, JobStatus], ProtocolError | None]:
        """As `observe`, many to a transaction; a report that cannot be about its job keeps no other from being written.

        Returns:
            The status of each job afterwards, and the last error; its job is not among them.

        Raises:
            StaleJob: As `observe`; what is lost of the others is asked for again.
        """
        statuses: dict[JobId, JobStatus] = {}
        failure: ProtocolError | None = None
        ordered = sorted(reports, key=lambda report: report.job_id)  # two sensors lock in the same order
        for start in range(0, len(ordered), _TOGETHER):
            part: dict[JobId, JobStatus] = {}
            with self._db.write() as connection:
                for report in ordered[start : start + _TOGETHER]:
                    try:
                        part[report.job_id] = _observe(connection, report, now, cause)
                    except ProtocolError as error:  # it is raised before anything is written of its job
                        failure = error
            statuses.update(part)
        return statuses, failure

    def place_in_queue(self, places: Mapping[JobId, int]) -> None:
        """Write where jobs stand in their provider's queue, from 1, on those of their items that are QUEUED."""
        rows = [{"at_job": job_id, "place": place} for job_id, place in sorted(places.items())]
        queued = (ITEM.c.job_id == sa.bindparam("at_job")) & (ITEM.c.status == JobStatus.QUEUED)
        statement = ITEM.update().where(queued).values(queue_position=sa.bindparam("place"))
        for part in parts(rows):
            with self._db.write() as connection:
                connection.execute(statement, part)


def _observe(connection: sa.Connection, report: Report, now: datetime, cause: str) -> JobStatus:
    number, snapshot = report.number, report.snapshot
    row = moves.locked_job(connection, report.job_id)
    known = moves.read_attempt(connection, report.job_id, number)
    moves.check_report(known, row.n_items, snapshot)
    status = roll_up(s.status for s in snapshot.items) if snapshot.items else snapshot.status
    contradicts = status is not known.status and not can_move(known.status, status)
    if contradicts:
        detail = f"attempt {number} is {known.status}; a later report of {status} changes nothing"
        moves.note(connection, row, "contradiction", detail, now)
    replaced = moves.is_replaced(connection, known, row.epoch)
    if not replaced and (snapshot.items or not contradicts):
        status = moves.observe_items(connection, known, snapshot, status, now, cause)
    if not contradicts or can_move(known.status, status):
        moves.observe_attempt(connection, known, snapshot, status, now)
        if not replaced:
            return moves.observe_job(connection, row, snapshot, now, cause)
        if status is not known.status:
            moves.note(connection, row, "late report", f"attempt {number} is {status}", now)
    return JobStatus(row.status)
