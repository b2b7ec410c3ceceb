"""The attempts to submit a job, from the intent to the remote id (write-ahead).

`claim` writes the intent before anything is sent, and the database itself forbids a second live attempt. The process
that claimed the job holds a lease. It may `renew` the lease while it prepares, and it must, with `sending`, right
before the request leaves after which a remote job can exist. Where a provider gives an id before anything can run, it
may `reserve` that. It settles the attempt in one of four ways. `accept`: there is a remote job. `reject`: the provider
refused. `release`: nothing was sent. `mark_unknown`: the reply was lost. A process that does not settle its attempt
loses the lease: the attempt becomes UNKNOWN, or is released where it is proved that nothing was sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from qjobs.errors import StaleJob
from qjobs.ledger import transitions as moves
from qjobs.ledger.cancellation import cancel_requested_items, cancel_unsent
from qjobs.ledger.database import Database
from qjobs.ledger.liveness import display_owner, has_ended
from qjobs.ledger.money import check_caps
from qjobs.ledger.rows import attempt_of
from qjobs.ledger.strays import claim_stray, record_stray
from qjobs.ledger.tables import ATTEMPT, EVENT, ITEM, JOB
from qjobs.lifecycle import JobStatus, roll_up
from qjobs.model import Attempt, JobId, Price, ProgramHash, RemoteId, RemoteRetryStrategy

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
        programs: Mapping[ProgramHash, ProgramHash] | None = None,
        max_live_jobs: int | None = None,
        max_account_jobs: int | None = None,
        others_on_device: int = 0,
        others_of_account: int = 0,
        price: Price | None = None,
        max_run_cost: float | None = None,
        compiled_on: str | None = None,
        submitted_on: str | None = None,
        cause: str = "submit",
    ) -> Attempt:
        """Write the intent to submit: open an attempt in SUBMITTING and take its lease.

        `expected` is the status in which the caller saw the job. The lease lasts `lease_s` seconds; an attempt whose
        lease ran out is released, or UNKNOWN once it was being sent. `items` are the indices that are sent, None for
        all. `new_epoch` starts all anew; the results of older epochs stay readable. The circuits in `programs` are
        replaced by those that they are mapped to (stored before, by `Ledger.add_programs`); without `new_epoch` only
        for a job that was never sent. `compiled_on` and `submitted_on` are as in `Attempt`. Where the device has
        `max_live_jobs` live jobs already, or all devices of the account together have `max_account_jobs`, it is
        refused: of processes that claim at once, no more get through than there is room for. Jobs that others have at
        the provider count too: `others_on_device` of the device, and `others_of_account` of the account.

        `price` is what it will cost. That is reserved by the same transaction, unless a cap leaves no money for it
        (`qjobs.ledger.money`), nor `max_run_cost`, which caps all submissions of the job's logical run together. What
        was reserved for an earlier one of the same key is part of it.

        Raises:
            StaleJob: The job has moved, or another attempt of it is live: nothing was written.
            Busy: The device, or the account, has as many live jobs as it takes.
            OverCap: A cap does not leave enough money now.
            PolicyLimit: A cap never will, or nobody can tell what it would cost.
            JobNotFound: There is no such job.
        """
        with self._db.write() as connection:
            row = moves.locked_job(connection, job_id)
            if max_live_jobs is not None:
                self._db.lock(connection, f"qjobs-device-{row.backend}-{row.device}")
                moves.check_room(connection, row, max_live_jobs, others_on_device)
            if max_account_jobs is not None:  # always locked after the device
                self._db.lock(connection, f"qjobs-account-{row.backend}")
                moves.check_account_room(connection, row, max_account_jobs, others_of_account)
            price = price or Price()
            if price.amount:
                price = replace(price, amount=max(0.0, price.amount - moves.reserved_before(connection, job_id)))
            check_caps(self._db, connection, row, price, max_run_cost, now)
            epoch = row.epoch + 1 if new_epoch else row.epoch
            number = moves.next_number(connection, job_id)
            values = {
                "job_id": job_id,
                "number": number,
                "epoch": epoch,
                "strategy": strategy,
                "items": None if items is None else list(items),
                "status": JobStatus.SUBMITTING,
                "lease_owner": owner,
                "lease_until": now + timedelta(seconds=lease_s),
                "claimed_at": now,
                "reserved": price.amount,
                "cost_unit": price.unit,
                "compiled_on": compiled_on,
                "submitted_on": submitted_on,
            }
            try:
                with connection.begin_nested():
                    connection.execute(moves.INSERT_ATTEMPT, values)
            except IntegrityError as error:
                raise StaleJob(f"{job_id} has a live attempt already", job_id=job_id) from error
            if new_epoch:
                moves.reset_items(connection, job_id, programs)
            else:
                if programs:
                    moves.replace_programs(connection, job_id, programs)
                moves.withdraw_cancellations(connection, job_id, items)
                if number > 1:  # before the first one nobody has said so
                    moves.forget_no_results(connection, job_id, items)
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
                trouble=None,
            )
            return moves.read_attempt(connection, job_id, number)

    def renew(self, attempt: Attempt, *, lease_s: float, now: datetime, sending: bool = False) -> None:
        """Extend the lease of a submission: it ends `lease_s` seconds from now.

        `sending` says that the request leaves next after which something can run or be billed: from then on a remote
        job may exist.

        Raises:
            StaleJob: The attempt is no longer in SUBMITTING, or another process has it.
        """
        values: dict[str, Any] = {"lease_until": now + timedelta(seconds=lease_s)}
        if sending:
            values["sent_at"] = now
        held = {"at_job": attempt.job_id, "at_number": attempt.number, "held_by": attempt.lease_owner}
        with self._db.write() as connection:
            if connection.execute(_renewed(tuple(values)), held | values).rowcount == 0:
                raise StaleJob(
                    f"attempt {attempt.number} of {attempt.job_id} lost its lease; it is not sent",
                    job_id=attempt.job_id,
                )

    def reserve(self, attempt: Attempt, remote_id: RemoteId, *, now: datetime) -> None:
        """Write an id that the provider gave before anything of the job can run or be billed.

        The attempt stays as it is. A second call with the same id changes nothing.

        Raises:
            StaleJob: The attempt is settled, or has another id: this one is recorded as a stray.
        """
        with self._db.write() as connection:
            row = moves.locked_job(connection, attempt.job_id)
            known = moves.read_attempt(connection, attempt.job_id, attempt.number)
            if known.remote_id == remote_id:
                return
            free = known.status in moves.UNSETTLED and known.remote_id is None
            if free:
                moves.settle_attempt(connection, known, known.status, remote_id=remote_id)
                detail = f"attempt {known.number} is {remote_id}, and nothing of it runs yet"
                moves.record_event(connection, row, remote_id, "reserved", detail, now)
            else:
                _record_late_id(connection, row, known, remote_id, now)
        if not free:
            raise _too_late(known, remote_id)

    def take_over(self, attempt: Attempt, *, owner: str, lease_s: float, now: datetime) -> Attempt:
        """Claim an attempt that is reserved, to go on with it: it is SUBMITTING again, under this lease.

        Raises:
            StaleJob: It is not reserved any more, or another process has it.
        """
        with self._db.write() as connection:
            moves.locked_job(connection, attempt.job_id)
            known = moves.read_attempt(connection, attempt.job_id, attempt.number)
            if not known.is_reserved or known.status is not JobStatus.UNKNOWN:
                raise StaleJob(
                    f"attempt {known.number} of {known.job_id} is {known.status} and cannot be gone on with",
                    job_id=known.job_id,
                )
            until = now + timedelta(seconds=lease_s)
            submitting = JobStatus.SUBMITTING
            moves.settle_attempt(connection, known, submitting, lease_owner=owner, lease_until=until)
            detail = f"attempt {known.number} goes on with {known.remote_id}"
            moves.move_job(connection, known.job_id, known.status, submitting, "resume", detail, now)
            return moves.read_attempt(connection, known.job_id, known.number)

    def accept(self, attempt: Attempt, remote_id: RemoteId, *, now: datetime, cause: str = "submit") -> None:
        """Write the remote id, the moment it exists: the attempt, the job and its items are SUBMITTED.

        Also settles an UNKNOWN attempt whose remote job was found (`cause="reconcile"`). A second call
        with the same id changes nothing.

        Raises:
            StaleJob: The attempt is settled otherwise: the id is recorded as a stray, with an event.
        """
        with self._db.write() as connection:
            row = moves.locked_job(connection, attempt.job_id)
            known = moves.read_attempt(connection, attempt.job_id, attempt.number)
            if known.remote_id == remote_id and known.accepted_at is not None:
                return
            detail = f"attempt {attempt.number} is {remote_id}"
            settled = known.status not in moves.UNSETTLED
            if settled:  # the id must not be lost with the error
                _record_late_id(connection, row, known, remote_id, now)
            else:
                if known.remote_id not in {None, remote_id}:
                    detail = f"{detail}, and was reserved as {known.remote_id}"
                claim_stray(connection, row, remote_id, known.number, now)  # its event has the status of `row`
                moves.accept_attempt(connection, known, remote_id, cause, detail, now)
        if settled:
            raise _too_late(known, remote_id)

    def reject(self, attempt: Attempt, message: str, *, now: datetime) -> None:
        """The provider refused: attempt, job and items are ERROR with its words.

        Raises:
            StaleJob: The attempt is settled otherwise.
        """
        error = JobStatus.ERROR
        with self._db.write() as connection:
            row = moves.locked_job(connection, attempt.job_id)
            known = moves.unsettled(connection, attempt)
            _give_up_lost(connection, row, now)
            values: dict[str, Any] = {"message": message, "finished_at": now}
            moves.settle_attempt(connection, known, error, lease_until=None, reserved=0.0, **values)
            moves.take_over_money(connection, attempt.job_id, None)
            moves.set_sent_items(
                connection, known, except_in=JobStatus.COMPLETED, status=error, message=message, error_at=now
            )
            moves.move_job(connection, attempt.job_id, known.status, error, "rejected", message, now, **values)

    def release(
        self,
        attempt: Attempt,
        message: str,
        *,
        now: datetime,
        cause: str = "not sent",
        is_proved: bool = True,
        same_key: bool = False,
    ) -> None:
        """No remote job came of this attempt: it is closed, and the job is as it was before.

        For an attempt that is proved never sent, and one whose lost reply, or whose lost job, was decided (`cause` says
        how). A job, or an item, that was never sent and whose cancellation was requested meanwhile is CANCELLED. Items
        that were LOST are CREATED again.

        Where it is not `is_proved` that no remote job came of it, it goes on to hold its money; with `same_key` the
        next submission has the same key, so that it holds it for both.

        Raises:
            StaleJob: The attempt is settled otherwise.
        """
        with self._db.write() as connection:
            row = moves.locked_job(connection, attempt.job_id)
            known = moves.unsettled(connection, attempt, JobStatus.LOST)
            _release(connection, row, known, message, now, cause, is_proved=is_proved, same_key=same_key)
            if is_proved and known.status is not JobStatus.SUBMITTING:  # it was looked for, and so were those before it
                moves.take_over_money(connection, attempt.job_id, None)

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
            is_sent = known.sent_at is not None or known.remote_id is not None
            _make_unknown(connection, known, message, cause, now, sent_at=known.sent_at if is_sent else now)

    def expire_leases(self, *, now: datetime, job_ids: Sequence[JobId] | None = None) -> list[JobId]:
        """End submissions that their process did not settle within its lease, or can no longer settle.

        One that was never sent, and has no remote id, is released; every other one becomes UNKNOWN. A process that is
        proved to have ended (`qjobs.ledger.liveness`) loses its lease at once.

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
                    _expire(connection, attempt, message, cause, now)
            except StaleJob:
                continue  # it was settled meanwhile, or its lease was renewed
            expired.append(attempt.job_id)
        return expired


@lru_cache(maxsize=4)
def _renewed(names: tuple[str, ...]) -> sa.Update:
    """Writes these columns of an attempt that is still in SUBMITTING, and still that process's."""
    held = (
        (ATTEMPT.c.job_id == sa.bindparam("at_job"))
        & (ATTEMPT.c.number == sa.bindparam("at_number"))
        & ATTEMPT.c.lease_owner.is_not_distinct_from(sa.bindparam("held_by"))
        & (ATTEMPT.c.status == JobStatus.SUBMITTING)
    )
    return ATTEMPT.update().where(held).values({name: sa.bindparam(name) for name in names})


def _too_late(known: Attempt, remote_id: RemoteId) -> StaleJob:
    return StaleJob(
        f"attempt {known.number} is {remote_id}, and the ledger had settled it as {known.status}; "
        f"see the job's history: qjobs jobs show {known.job_id}",
        job_id=known.job_id,
    )


def _record_late_id(
    connection: sa.Connection, row: sa.Row[Any], known: Attempt, remote_id: RemoteId, now: datetime
) -> None:
    """Record the id of a remote job that came after its attempt was settled: it is to be cancelled.

    But not where another attempt has that id: a provider that deduplicates gives it to each submission of a key.
    """
    query = sa.select(ATTEMPT.c.job_id, ATTEMPT.c.number).join(JOB, JOB.c.job_id == ATTEMPT.c.job_id)
    itself = (ATTEMPT.c.job_id == known.job_id) & (ATTEMPT.c.number == known.number)
    claimed = query.where(JOB.c.backend == row.backend, ATTEMPT.c.remote_id == remote_id, ~itself).limit(1)
    other = connection.execute(claimed).one_or_none()
    if other is None:
        record_stray(connection, row, remote_id, f"late id of attempt {known.number}", now)
        if known.status is JobStatus.CANCELLED:  # it was given up: what it held, the stray holds
            connection.execute(ATTEMPT.update().where(itself).values(reserved=0.0, may_arrive=False))
    else:
        words = f"attempt {known.number} is {remote_id} too, as attempt {other.number} of {other.job_id} is"
        moves.record_event(connection, row, remote_id, "contradiction", words, now)


def _expire(connection: sa.Connection, attempt: Attempt, message: str, cause: str, now: datetime) -> None:
    """End an attempt whose process cannot be waited for, if it is still as it was read."""
    row = moves.locked_job(connection, attempt.job_id)
    if attempt.sent_at is None and attempt.remote_id is None:
        _release(connection, row, attempt, f"{message}; nothing was sent", now, cause)
    else:
        _make_unknown(connection, attempt, message, cause, now)


def _release(
    connection: sa.Connection,
    row: sa.Row[Any],
    known: Attempt,
    message: str,
    now: datetime,
    cause: str,
    *,
    is_proved: bool = True,
    same_key: bool = False,
) -> None:
    """Close an attempt that counts as never sent, if it is still as it was read; its job is as it was before."""
    values: dict[str, Any] = {"message": message, "sent_at": None, "finished_at": now, "lease_until": None}
    values |= {"reserved": 0.0} if is_proved else {"may_arrive": same_key}
    moves.settle_attempt(connection, known, JobStatus.CANCELLED, **values)
    if known.status is JobStatus.LOST:
        if known.epoch != row.epoch or moves.later_attempts(connection, known):  # the items are another's now
            detail = f"attempt {known.number} was LOST and is given up: {message}"
            moves.record_event(connection, row, known.remote_id, cause, detail, now)
            return
        _forget_lost_items(connection, known, message, now, cause)
    before = roll_up(moves.item_statuses(connection, known.job_id))
    again: dict[str, Any] = {"message": message, "finished_at": now if before.is_final else None}
    if before is JobStatus.CREATED:
        _give_up_lost(connection, row, now)
    moves.move_job(connection, known.job_id, known.status, before, cause, message, now, **again)
    if before is JobStatus.CREATED and row.cancel_requested_at is not None:
        cancel_unsent(connection, known.job_id, now)
    elif before is JobStatus.CREATED:
        cancel_requested_items(connection, known.job_id, now)


def _give_up_lost(connection: sa.Connection, row: sa.Row[Any], now: datetime) -> None:
    """A job that was to be sent again counts on none of its LOST remote jobs: what comes back is cancelled."""
    query = sa.select(ATTEMPT.c.number, ATTEMPT.c.remote_id).order_by(ATTEMPT.c.number)
    lost = query.where(
        ATTEMPT.c.job_id == row.job_id, ATTEMPT.c.status == JobStatus.LOST, ATTEMPT.c.remote_id.is_not(None)
    )
    for attempt in connection.execute(lost).all():
        why = f"attempt {attempt.number} was LOST, and the job was to be sent again"
        record_stray(connection, row, attempt.remote_id, why, now)


def _forget_lost_items(connection: sa.Connection, attempt: Attempt, message: str, now: datetime, cause: str) -> None:
    """Make the LOST items of an attempt CREATED again."""
    lost = moves.sent_items(attempt) & (ITEM.c.status == JobStatus.LOST)
    indices = connection.scalars(sa.select(ITEM.c.item_index).where(lost)).all()
    if indices:
        connection.execute(ITEM.update().where(lost).values(status=JobStatus.CREATED, message=""))
        rows = [
            moves.event_row(attempt.job_id, JobStatus.LOST, JobStatus.CREATED, cause, message, now, index)
            for index in indices
        ]
        connection.execute(EVENT.insert(), rows)


def _make_unknown(
    connection: sa.Connection, attempt: Attempt, message: str, cause: str, now: datetime, **values: Any
) -> None:
    """Move an attempt and its job to UNKNOWN, if the attempt is still as it was read."""
    unknown = JobStatus.UNKNOWN
    moves.settle_attempt(connection, attempt, unknown, message=message, lease_until=None, **values)
    moves.move_job(connection, attempt.job_id, attempt.status, unknown, cause, message, now, message=message)
