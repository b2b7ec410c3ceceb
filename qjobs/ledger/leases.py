"""Leases of the ledger: who is submitting, for how long, and what it means when nobody is any more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from qjobs.errors import StaleJob
from qjobs.ledger import transitions as moves
from qjobs.ledger.liveness import has_ended, shown
from qjobs.ledger.rows import attempt_of
from qjobs.ledger.tables import ATTEMPT
from qjobs.ledger.waits import LedgerWaits
from qjobs.lifecycle import JobStatus
from qjobs.model import Attempt, JobId

__all__ = ["LedgerLeases"]


class LedgerLeases(LedgerWaits):
    """Holding, losing and expiring the lease of a submission."""

    def renew(self, attempt: Attempt, *, lease_s: float, now: datetime) -> None:
        """Hold the lease of a submission for so long from now, in seconds.

        Raises:
            StaleJob: The attempt is no longer in SUBMITTING: another process has settled it.
        """
        held = (ATTEMPT.c.job_id == attempt.job_id) & (ATTEMPT.c.number == attempt.number)
        with self._db.write() as connection:
            until = now + timedelta(seconds=lease_s)
            update = ATTEMPT.update().where(held, ATTEMPT.c.status == JobStatus.SUBMITTING)
            if connection.execute(update.values(lease_until=until)).rowcount == 0:
                raise StaleJob(
                    f"attempt {attempt.number} of {attempt.job_id} lost its lease before it was sent",
                    job_id=attempt.job_id,
                )

    def lose(self, attempt: Attempt, message: str, *, now: datetime, cause: str = "lost reply") -> None:
        """The reply was lost: attempt and job are UNKNOWN until a poll, a reconcile or a person says more.

        An attempt that is UNKNOWN already stays so.

        Raises:
            StaleJob: The attempt is settled otherwise.
        """
        with self._db.write() as connection:
            moves.locked_job(connection, attempt.job_id)
            known = moves.unsettled(connection, attempt)
            if known.status is JobStatus.UNKNOWN:
                return
            unknown = JobStatus.UNKNOWN
            moves.settle_attempt(connection, known, unknown, message=message, lease_until=None)
            moves.move_job(connection, attempt.job_id, known.status, unknown, cause, message, now, message=message)

    def expire_leases(self, *, now: datetime, job_ids: Sequence[JobId] | None = None) -> list[JobId]:
        """Submissions that their process did not settle in time, or can no longer settle, become UNKNOWN.

        A process that is proved to have ended (`qjobs.ledger.liveness`) loses its lease at once.
        """
        is_late = (ATTEMPT.c.lease_until < now).label("is_late")
        query = sa.select(ATTEMPT, is_late).where(ATTEMPT.c.status == JobStatus.SUBMITTING)
        if job_ids is not None:
            query = query.where(ATTEMPT.c.job_id.in_(job_ids))
        with self._db.read() as connection:
            held = [(attempt_of(row), bool(row.is_late)) for row in connection.execute(query)]
        expired = []
        for attempt, late in held:
            if not late and not has_ended(attempt.lease_owner):
                continue
            how = "did not settle it within its lease" if late else "ended without settling it"
            message = f"attempt {attempt.number}: {shown(attempt.lease_owner)} {how}"
            try:
                self.lose(attempt, message, now=now, cause="lease expired" if late else "owner ended")
            except StaleJob:
                continue
            expired.append(attempt.job_id)
        return expired
