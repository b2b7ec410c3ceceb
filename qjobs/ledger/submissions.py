"""The attempts to submit a job, from the intent to the remote id (write-ahead).

`claim` writes the intent before anything is sent, and the database itself forbids a second live attempt. The process
that claimed the job holds a lease. It may `renew` the lease before it sends, and it settles the attempt in one of four
ways. `accept`: there is a remote job. `reject`: the provider refused. `release`: nothing was sent. `mark_unknown`: the
reply was lost. A process that does not settle its attempt loses the lease, and the attempt becomes UNKNOWN.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from qjobs.errors import StaleJob
from qjobs.ledger import transitions as moves
from qjobs.ledger.database import Database
from qjobs.ledger.liveness import display_owner, has_ended
from qjobs.ledger.rows import attempt_of
from qjobs.ledger.tables import ATTEMPT
from qjobs.lifecycle import JobStatus, roll_up
from qjobs.model import Attempt, AttemptNumber, JobId, RemoteId, RemoteRetryStrategy

__all__ = ["Submissions"]


class Submissions:
    """`Ledger.submissions`: claiming a job, holding the claim, and settling it."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def claim(
        self,
        job_id: JobId,
        *,
        expected: JobStatus,
        strategy: RemoteRetryStrategy,
        owner: str,
        lease_s: float,
        now: datetime,
        items: tuple[int, ...] | None = None,
        new_epoch: bool = False,
        max_live_jobs: int | None = None,
        cause: str = "submit",
    ) -> Attempt:
        """Write the intent to submit: open an attempt in SUBMITTING and take its lease.

        `expected` is the status in which the caller saw the job. The lease lasts `lease_s` seconds; an attempt whose
        lease ran out counts as UNKNOWN. `items` are the indices that are sent, None for all. `new_epoch` starts all
        anew; the results of older epochs stay readable. Where the device has `max_live_jobs` live jobs already, it is
        refused.

        Raises:
            StaleJob: The job has moved, or another attempt of it is live: nothing was written.
            Busy: The device has as many live jobs as it takes.
            JobNotFound: There is no such job.
        """
        with self._db.write() as connection:
            row = moves.locked_job(connection, job_id)
            if max_live_jobs is not None:
                self._db.lock(connection, f"qjobs-device-{row.backend}-{row.device}")
                moves.check_room(connection, row, max_live_jobs)
            epoch = row.epoch + 1 if new_epoch else row.epoch
            last = connection.scalar(sa.select(sa.func.max(ATTEMPT.c.number)).where(ATTEMPT.c.job_id == job_id)) or 0
            number = AttemptNumber(last + 1)
            values = {
                "job_id": job_id,
                "number": number,
                "epoch": epoch,
                "strategy": strategy,
                "items": None if items is None else list(items),
                "status": JobStatus.SUBMITTING,
                "lease_owner": owner,
                "lease_until": now + timedelta(seconds=lease_s),
                "sent_at": now,
            }
            try:
                with connection.begin_nested():
                    connection.execute(ATTEMPT.insert(), values)
            except IntegrityError as error:
                raise StaleJob(f"{job_id} has a live attempt already", job_id=job_id) from error
            if new_epoch:
                moves.reset_items(connection, job_id)
            else:
                moves.withdraw_cancellations(connection, job_id, items)
            moves.move_job(
                connection,
                job_id,
                expected,
                JobStatus.SUBMITTING,
                cause,
                f"attempt {number}, {strategy}",
                now,
                epoch=epoch,
                finished_at=None,
                cancel_requested_at=None,
                message="",
            )
            return moves.read_attempt(connection, job_id, number)

    def renew(self, attempt: Attempt, *, lease_s: float, now: datetime) -> None:
        """Extend the lease of a submission: it ends `lease_s` seconds from now.

        Raises:
            StaleJob: The attempt is no longer in SUBMITTING: another process has settled it.
        """
        held = (ATTEMPT.c.job_id == attempt.job_id) & (ATTEMPT.c.number == attempt.number)
        with self._db.write() as connection:
            until = now + timedelta(seconds=lease_s)
            update = ATTEMPT.update().where(held, ATTEMPT.c.status == JobStatus.SUBMITTING)
            if connection.execute(update.values(lease_until=until)).rowcount == 0:
                raise StaleJob(
                    f"attempt {attempt.number} of {attempt.job_id} lost its lease; it is not sent",
                    job_id=attempt.job_id,
                )

    def accept(self, attempt: Attempt, remote_id: RemoteId, *, now: datetime, cause: str = "submit") -> None:
        """Write the remote id, the moment it exists: the attempt, the job and its items are SUBMITTED.

        Also settles an UNKNOWN attempt whose remote job was found (`cause="reconcile"`). A second call
        with the same id changes nothing.

        Raises:
            StaleJob: The attempt is settled otherwise; the id is kept in an event.
        """
        with self._db.write() as connection:
            row = moves.locked_job(connection, attempt.job_id)
            known = moves.read_attempt(connection, attempt.job_id, attempt.number)
            if known.remote_id == remote_id:
                return
            detail = f"attempt {attempt.number} is {remote_id}"
            settled = known.status not in moves.UNSETTLED
            if settled:  # the id must not be lost with the error
                words = f"{detail}, and was settled as {known.status}"
                moves.record_event(connection, row, remote_id, "contradiction", words, now)
            else:
                values = {"remote_id": remote_id, "accepted_at": now, "lease_until": None}
                submitted = JobStatus.SUBMITTED
                moves.settle_attempt(connection, known, submitted, **values)
                moves.set_sent_items(connection, known, status=submitted, submitted_at=now, message="")
                moves.move_job(
                    connection, attempt.job_id, known.status, submitted, cause, detail, now, remote_id=remote_id
                )
        if settled:
            raise StaleJob(
                f"{detail}, and the ledger had settled it as {known.status}; "
                f"see the job's history: qjobs jobs show {attempt.job_id}",
                job_id=attempt.job_id,
            )

    def reject(self, attempt: Attempt, message: str, *, now: datetime) -> None:
        """The provider refused: attempt, job and items are ERROR with its words.

        Raises:
            StaleJob: The attempt is settled otherwise.
        """
        error = JobStatus.ERROR
        with self._db.write() as connection:
            moves.locked_job(connection, attempt.job_id)
            known = moves.unsettled(connection, attempt)
            values: dict[str, Any] = {"message": message, "finished_at": now}
            moves.settle_attempt(connection, known, error, lease_until=None, **values)
            moves.set_sent_items(
                connection, known, except_in=JobStatus.COMPLETED, status=error, message=message, error_at=now
            )
            moves.move_job(connection, attempt.job_id, known.status, error, "rejected", message, now, **values)

    def release(self, attempt: Attempt, message: str, *, now: datetime, cause: str = "not sent") -> None:
        """No remote job came of this attempt: it is closed, and the job is as it was before.

        For an attempt that is proved never sent, or one whose lost reply was decided (`cause` says how). A job, or
        an item, that was never sent and whose cancellation was requested meanwhile is CANCELLED.

        Raises:
            StaleJob: The attempt is settled otherwise.
        """
        with self._db.write() as connection:
            row = moves.locked_job(connection, attempt.job_id)
            known = moves.unsettled(connection, attempt)
            values = {"message": message, "sent_at": None, "finished_at": now, "lease_until": None}
            moves.settle_attempt(connection, known, JobStatus.CANCELLED, **values)
            before = roll_up(moves.item_statuses(connection, attempt.job_id))
            again: dict[str, Any] = {"message": message, "finished_at": now if before.is_final else None}
            moves.move_job(connection, attempt.job_id, known.status, before, cause, message, now, **again)
            if before is JobStatus.CREATED and row.cancel_requested_at is not None:
                moves.cancel_unsent(connection, attempt.job_id, now)
            elif before is JobStatus.CREATED:
                moves.cancel_requested_items(connection, attempt.job_id, now)

    def mark_unknown(self, attempt: Attempt, message: str, *, now: datetime, cause: str = "lost reply") -> None:
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
            _make_unknown(connection, known, message, cause, now)

    def expire_leases(self, *, now: datetime, job_ids: Sequence[JobId] | None = None) -> list[JobId]:
        """Make submissions UNKNOWN that their process did not settle within its lease, or can no longer settle.

        A process that is proved to have ended (`qjobs.ledger.liveness`) loses its lease at once.

        Returns:
            Their jobs.
        """
        is_late = (ATTEMPT.c.lease_until < now).label("is_late")
        query = sa.select(ATTEMPT, is_late).where(ATTEMPT.c.status == JobStatus.SUBMITTING)
        rows = self._db.rows(query) if job_ids is None else self._db.rows_among(query, ATTEMPT.c.job_id, job_ids)
        expired = []
        for row in rows:
            attempt = attempt_of(row)
            if row.is_late:
                how = "did not settle it within its lease"
                cause = "lease expired"
            elif has_ended(attempt.lease_owner):
                how = "ended without settling it"
                cause = "owner ended"
            else:
                continue
            message = f"attempt {attempt.number}: {display_owner(attempt.lease_owner)} {how}"
            try:
                with self._db.write() as connection:
                    moves.locked_job(connection, attempt.job_id)
                    _make_unknown(connection, attempt, message, cause, now)
            except StaleJob:
                continue  # it was settled meanwhile, or its lease was renewed
            expired.append(attempt.job_id)
        return expired


def _make_unknown(connection: sa.Connection, attempt: Attempt, message: str, cause: str, now: datetime) -> None:
    """Move an attempt and its job to UNKNOWN, if the attempt is still as it was read."""
    unknown = JobStatus.UNKNOWN
    moves.settle_attempt(connection, attempt, unknown, message=message, lease_until=None)
    moves.move_job(connection, attempt.job_id, attempt.status, unknown, cause, message, now, message=message)
