"""The ledger: what was wanted, what was sent, what came back, and every move in between.

Every method is one short transaction. A move is one guarded UPDATE plus one event; a lost race
raises `StaleJob` and changes nothing. The row of the job is locked first in each of them, so that
moves of one job follow one another on every database.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from qjobs.errors import InvalidInput, StaleJob
from qjobs.ledger import cancel_wishes as wishes
from qjobs.ledger import transitions as moves
from qjobs.ledger.database import Database, Schema
from qjobs.ledger.reports import LedgerReports
from qjobs.ledger.rows import encode_result, program_values
from qjobs.ledger.tables import ATTEMPT, EVENT, ITEM, JOB, LEDGER_META, PROGRAM, RESULT, SCHEMA_VERSION, metadata
from qjobs.lifecycle import JobStatus, roll_up
from qjobs.model import (
    Attempt,
    AttemptNumber,
    ItemResult,
    Job,
    JobId,
    JobSpec,
    Program,
    RemoteId,
    RemoteRetryStrategy,
)

__all__ = ["LEDGER", "Ledger"]
from qjobs.paths import ledger_url

LEDGER = Schema(
    what="ledger",
    metadata=metadata,
    meta=LEDGER_META,
    version=SCHEMA_VERSION,
    setting="QJOBS_LEDGER",
    older="finish its open jobs with the qjobs that wrote it and start a new ledger",
)


class Ledger(LedgerReports):
    """Jobs, attempts, items, results and events in one database.

    Safe to use from many threads and processes at once.

    Args:
        url: SQLAlchemy URL; None takes `ledger_url()`.
        busy_timeout_s: How long a writer waits for another one, in seconds.

    Raises:
        LedgerUnavailable: It cannot be opened.
        LedgerSchemaMismatch: It was written by another version of qjobs.
    """

    def __init__(self, url: str | None = None, *, busy_timeout_s: float = 30.0) -> None:
        super().__init__(Database(url or ledger_url(), LEDGER, busy_timeout_s=busy_timeout_s))

    def close(self) -> None:
        """Close all connections. Idempotent."""
        self._db.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Planning

    def add_programs(self, programs: Iterable[Program]) -> None:
        """Store circuits; those that are there already are left alone."""
        rows = [program_values(program) for program in programs]
        if rows:
            with self._db.write() as connection:
                connection.execute(self._insert_or_ignore(PROGRAM), rows)

    def create(self, specs: Sequence[JobSpec], *, now: datetime) -> list[JobId]:
        """Store jobs with their items and programs, all in one transaction.

        A key that is there already keeps its job: calling this twice makes nothing new.

        Returns:
            One job id per spec, in order.

        Raises:
            InvalidInput: Two of the specs have the same key.
        """
        keys = [spec.key for spec in specs]
        if len(set(keys)) != len(keys):
            raise InvalidInput("two of the jobs are the same; give them different batch numbers")
        with self._db.write() as connection:
            self._db.lock(connection, "qjobs-create")
            known = moves.ids_by_key(connection, keys)
            fresh = {spec.key: spec for spec in specs if spec.key not in known}
            programs = {h: p for spec in fresh.values() for h, p in spec.batch.programs.items()}
            if programs:
                connection.execute(self._insert_or_ignore(PROGRAM), [program_values(p) for p in programs.values()])
            made = {key: JobId(f"job-{uuid.uuid4().hex}") for key in fresh}
            if fresh:
                jobs = [(made[key], spec) for key, spec in fresh.items()]
                connection.execute(JOB.insert(), [moves.job_row(job_id, spec, now) for job_id, spec in jobs])
                connection.execute(
                    ITEM.insert(), [r for k, s in fresh.items() for r in moves.item_rows(made[k], s, now)]
                )
                created = JobStatus.CREATED
                connection.execute(
                    EVENT.insert(),
                    [moves.event_row(made[k], None, created, "plan", s.name, now) for k, s in fresh.items()],
                )
        return [known.get(key) or made[key] for key in keys]

    # Submitting

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

        Args:
            job_id: The job.
            expected: The status in which the caller saw it.
            strategy: Kept with the attempt.
            owner: Who holds the lease.
            lease_s: For how long, in seconds; an attempt whose lease ran out counts as UNKNOWN.
            now: The present.
            items: Indices that are sent, None for all.
            new_epoch: Start all anew; the results of older epochs stay readable.
            max_live_jobs: Refuse when the device has that many live jobs already.
            cause: Kept in the event.

        Raises:
            StaleJob: The job has moved, or another attempt of it is live: nothing was written.
            Busy: The device's live-job limit is reached.
            JobNotFound: There is no such job.
        """
        with self._db.write() as connection:
            row = moves.locked_job(connection, job_id)
            if max_live_jobs is not None:
                self._db.lock(connection, f"qjobs-device-{row.backend}-{row.device}")
                moves.check_room(connection, row, max_live_jobs)
            epoch = row.epoch + 1 if new_epoch else row.epoch
            number = 1 + (
                connection.scalar(sa.select(sa.func.max(ATTEMPT.c.number)).where(ATTEMPT.c.job_id == job_id)) or 0
            )
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
            detail = f"attempt {number}, {strategy}"
            if new_epoch:
                moves.reset_items(connection, job_id)
            else:
                moves.forget_wishes(connection, job_id, items)
            moves.move_job(
                connection,
                job_id,
                expected,
                JobStatus.SUBMITTING,
                cause,
                detail,
                now,
                epoch=epoch,
                finished_at=None,
                cancel_requested_at=None,
                message="",
            )
            return moves.read_attempt(connection, job_id, AttemptNumber(number))

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
                moves.note(connection, row, "contradiction", f"{detail}, and was settled as {known.status}", now)
            else:
                values = {"remote_id": remote_id, "accepted_at": now, "lease_until": None}
                moves.settle_attempt(connection, known, JobStatus.SUBMITTED, **values)
                moves.move_job(connection, attempt.job_id, known.status, JobStatus.SUBMITTED, cause, detail, now)
                moves.set_sent_items(connection, known, status=JobStatus.SUBMITTED, submitted_at=now, message="")
        if settled:
            raise StaleJob(
                f"{detail}, and the ledger had settled it as {known.status}: look at the job's history",
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
            values = {"message": message, "finished_at": now}
            moves.settle_attempt(connection, known, error, lease_until=None, **values)
            moves.set_sent_items(
                connection, known, but=JobStatus.COMPLETED, status=error, message=message, error_at=now
            )
            moves.move_job(connection, attempt.job_id, known.status, error, "rejected", message, now, **values)

    def unsend(self, attempt: Attempt, message: str, *, now: datetime, cause: str = "not sent") -> None:
        """No remote job came of this attempt: it is closed and the job is as it was before.

        For an attempt that is proved never sent, or one whose lost reply was decided (`cause` says how).
        What nobody ever sent and somebody wished to cancel meanwhile is CANCELLED.

        Raises:
            StaleJob: The attempt is settled otherwise.
        """
        with self._db.write() as connection:
            row = moves.locked_job(connection, attempt.job_id)
            known = moves.unsettled(connection, attempt)
            values = {"message": message, "sent_at": None, "finished_at": now, "lease_until": None}
            moves.settle_attempt(connection, known, JobStatus.CANCELLED, **values)
            before = roll_up(moves.item_statuses(connection, attempt.job_id))
            again = {"message": message, "finished_at": now if before.is_final else None}
            moves.move_job(connection, attempt.job_id, known.status, before, cause, message, now, **again)
            if before is JobStatus.CREATED and row.cancel_requested_at is not None:
                wishes.cancel_unsent(connection, attempt.job_id, now)
            elif before is JobStatus.CREATED:
                wishes.cancel_wished(connection, attempt.job_id, now)

    # Observing

    def store_results(
        self, job_id: JobId, attempt: Attempt, results: Mapping[int, ItemResult], *, now: datetime
    ) -> int:
        """Keep results by item index; one that is there already is kept and the new one is not saved.

        Returns:
            How many were new.
        """
        rows = [
            {
                "job_id": job_id,
                "epoch": attempt.epoch,
                "item_index": index,
                "attempt": attempt.number,
                "payload": encode_result(value),
                "received_at": now,
            }
            for index, value in results.items()
        ]
        if not rows:
            return 0
        with self._db.write() as connection:
            moves.locked_job(connection, job_id)
            count = sa.select(sa.func.count()).where(RESULT.c.job_id == job_id, RESULT.c.epoch == attempt.epoch)
            before = connection.scalar(count) or 0
            connection.execute(self._insert_or_ignore(RESULT), rows)
            return (connection.scalar(count) or 0) - before

    def request_cancel(self, job_id: JobId, *, items: Sequence[int] | None = None, now: datetime) -> Job:
        """Write the wish to cancel a job, or some of its items; what was never sent is CANCELLED at once.

        What is final is left alone.

        Raises:
            InvalidInput: The job has no such item.
        """
        with self._db.write() as connection:
            row = moves.locked_job(connection, job_id)
            if items is None:
                wishes.wish_for_job(connection, row, now)
            else:
                wishes.wish_for_items(connection, row, items, now)
        return self.job(job_id)

    def note(self, job_id: JobId, cause: str, detail: str, *, now: datetime) -> None:
        """Write an event that moves nothing."""
        with self._db.write() as connection:
            row = moves.locked_job(connection, job_id)
            moves.note(connection, row, cause, detail, now)

    def _insert_or_ignore(self, table: sa.Table) -> sa.Insert:
        insert = sqlite.insert(table) if self._db.is_sqlite else postgresql.insert(table)
        return insert.on_conflict_do_nothing()
