"""How the ledger moves its rows: functions that work inside one transaction.

A move is one guarded UPDATE plus one event, and one line in the log. These functions lock nothing but what
`locked_job` locks, and raise `StaleJob` where the row is no longer as the caller saw it: then nothing is changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from qjobs.errors import Busy, JobNotFound, StaleJob
from qjobs.ledger.database import is_logged, log_after_commit
from qjobs.ledger.rows import attempt_of
from qjobs.ledger.tables import ATTEMPT, EVENT, ITEM, JOB, LIVE_WORDS, TIMED_STATUSES, as_stored
from qjobs.lifecycle import JobStatus
from qjobs.model import Attempt, AttemptNumber, JobId, ProgramHash, RemoteId

UNSETTLED = frozenset({JobStatus.SUBMITTING, JobStatus.UNKNOWN})
"""Statuses of an attempt whose outcome is not known yet."""


# Statements of every move are made once: to make one anew costs as much as to run it.
_LOCKED_JOB = sa.select(JOB).where(JOB.c.job_id == sa.bindparam("at_job")).with_for_update()
_OF_JOB = ATTEMPT.c.job_id == sa.bindparam("at_job")
_ONE_ATTEMPT = sa.select(ATTEMPT).where(_OF_JOB, ATTEMPT.c.number == sa.bindparam("at_number"))
_LATER_ATTEMPTS = (
    sa.select(ATTEMPT)
    .where(
        _OF_JOB,
        ATTEMPT.c.number > sa.bindparam("at_number"),
        ~((ATTEMPT.c.status == JobStatus.CANCELLED) & ATTEMPT.c.sent_at.is_(None)),  # it was released
    )
    .order_by(ATTEMPT.c.number)
)
_ITEM_STATUSES = sa.select(ITEM.c.status).where(ITEM.c.job_id == sa.bindparam("at_job")).distinct()
_NEWEST_NUMBER = sa.select(sa.func.max(ATTEMPT.c.number)).where(_OF_JOB)
_RESERVED_BEFORE = sa.select(sa.func.sum(ATTEMPT.c.reserved)).where(_OF_JOB, ATTEMPT.c.may_arrive)
INSERT_EVENT = EVENT.insert()
INSERT_ATTEMPT = ATTEMPT.insert()


@lru_cache(maxsize=256)
def _settled(names: tuple[str, ...]) -> sa.Update:
    """The guarded move of an attempt that writes these columns."""
    as_it_was = (
        _OF_JOB
        & (ATTEMPT.c.number == sa.bindparam("at_number"))
        & (ATTEMPT.c.status == sa.bindparam("was_status"))
        & ATTEMPT.c.lease_until.is_not_distinct_from(sa.bindparam("was_lease_until"))
        & ATTEMPT.c.sent_at.is_not_distinct_from(sa.bindparam("was_sent_at"))
    )
    return ATTEMPT.update().where(as_it_was).values({name: sa.bindparam(name) for name in names})


@lru_cache(maxsize=256)
def _moved(names: tuple[str, ...]) -> sa.Update:
    """The guarded move of a job that writes these columns."""
    as_it_was = (JOB.c.job_id == sa.bindparam("at_job")) & (JOB.c.status == sa.bindparam("was_status"))
    return JOB.update().where(as_it_was).values({name: sa.bindparam(name) for name in names})


def locked_job(connection: sa.Connection, job_id: JobId) -> sa.Row[Any]:
    """The job's row, locked until the transaction ends (SQLite's writer lock does it there)."""
    row = connection.execute(_LOCKED_JOB, {"at_job": job_id}).one_or_none()
    if row is None:
        raise JobNotFound(f"the ledger has no job {job_id}; see: qjobs jobs list", job_id=job_id)
    return row


def check_room(connection: sa.Connection, row: sa.Row[Any], max_live_jobs: int, of_others: int) -> None:
    """Raise `Busy` when the job's device has `max_live_jobs` other live jobs, with those that others have there."""
    live = _n_other_live(connection, row, (JOB.c.backend == row.backend) & (JOB.c.device == row.device))
    if live + of_others >= max_live_jobs:
        raise Busy(
            f"{row.device} has {_live_words(live, of_others)} and takes {max_live_jobs} at a time; submit it when one "
            "is done",
            job_id=row.job_id,
        )


def check_account_room(connection: sa.Connection, row: sa.Row[Any], max_account_jobs: int, of_others: int) -> None:
    """Raise `Busy` when the job's account has `max_account_jobs` other live jobs, on whatever devices."""
    live = _n_other_live(connection, row, JOB.c.backend == row.backend)
    if live + of_others >= max_account_jobs:
        raise Busy(
            f"the account {row.backend} has {_live_words(live, of_others)} and may have {max_account_jobs} at a time "
            "on all of its devices; submit it when one is done",
            job_id=row.job_id,
        )


def _live_words(live: int, of_others: int) -> str:
    return f"{live} live jobs" + (f", and {of_others} that this ledger does not have," if of_others else "")


def _n_other_live(connection: sa.Connection, row: sa.Row[Any], there: sa.ColumnElement[bool]) -> int:
    """How many other jobs of these are live."""
    others = sa.select(sa.func.count()).where(there, JOB.c.status.in_(LIVE_WORDS), JOB.c.job_id != row.job_id)
    return connection.scalar(others) or 0


def reserved_before(connection: sa.Connection, job_id: JobId) -> float:
    """What submissions of a job still hold that were given up for one of the same key."""
    return float(connection.scalar(_RESERVED_BEFORE, {"at_job": job_id}) or 0.0)


def take_over_money(connection: sa.Connection, job_id: JobId, number: AttemptNumber | None) -> None:
    """What is said of a submission is said of all that were given up for one of the same key: they hold nothing more.

    Their money is that of the submission `number`; None frees it.
    """
    kept = reserved_before(connection, job_id)
    if not kept:
        return
    given_up = (ATTEMPT.c.job_id == job_id) & ATTEMPT.c.may_arrive
    connection.execute(ATTEMPT.update().where(given_up).values(reserved=0.0, may_arrive=False))
    if number is not None:
        one = (ATTEMPT.c.job_id == job_id) & (ATTEMPT.c.number == number)
        connection.execute(ATTEMPT.update().where(one).values(reserved=sa.func.coalesce(ATTEMPT.c.reserved, 0) + kept))


def read_attempt(connection: sa.Connection, job_id: JobId, number: AttemptNumber) -> Attempt:
    """One attempt, as it is now."""
    return attempt_of(connection.execute(_ONE_ATTEMPT, {"at_job": job_id, "at_number": number}).one())


def unsettled(connection: sa.Connection, attempt: Attempt, *also: JobStatus) -> Attempt:
    """The attempt as it is now; raises `StaleJob` unless it is SUBMITTING, UNKNOWN or one of `also`."""
    known = read_attempt(connection, attempt.job_id, attempt.number)
    if known.status not in UNSETTLED and known.status not in also:
        raise StaleJob(
            f"attempt {known.number} of {known.job_id} was settled before: it is {known.status}", job_id=known.job_id
        )
    return known


def settle_attempt(connection: sa.Connection, attempt: Attempt, status: JobStatus, **values: Any) -> None:
    """Guarded move of an attempt: it must still have the status, the lease and the `sent_at` that `attempt` has."""
    values["status"] = status
    known = {
        "at_job": attempt.job_id,
        "at_number": attempt.number,
        "was_status": attempt.status,
        "was_lease_until": attempt.lease_until,
        "was_sent_at": attempt.sent_at,
    }
    moved = connection.execute(_settled(tuple(values)), known | values)
    if moved.rowcount != 1:
        raise StaleJob(
            f"attempt {attempt.number} of {attempt.job_id} is no longer {attempt.status} with the same lease",
            job_id=attempt.job_id,
        )


def sent_items(attempt: Attempt) -> sa.ColumnElement[bool]:
    """The items that `attempt` sent."""
    chosen = ITEM.c.job_id == attempt.job_id
    return chosen if attempt.items is None else chosen & ITEM.c.item_index.in_(attempt.items)


def set_sent_items(
    connection: sa.Connection, attempt: Attempt, *, except_in: JobStatus | None = None, **values: Any
) -> None:
    """Write the same to every item that `attempt` sent, except to those in status `except_in`."""
    chosen = sent_items(attempt)
    if except_in is not None:
        chosen &= ITEM.c.status != except_in
    connection.execute(ITEM.update().where(chosen).values(**values))


def accept_attempt(
    connection: sa.Connection, known: Attempt, remote_id: RemoteId, cause: str, detail: str, now: datetime
) -> None:
    """Make an attempt that was not settled, its job and its items SUBMITTED."""
    submitted = JobStatus.SUBMITTED
    values = {"remote_id": remote_id, "sent_at": known.sent_at or now, "accepted_at": now, "lease_until": None}
    settle_attempt(connection, known, submitted, **values)
    take_over_money(connection, known.job_id, known.number)
    set_sent_items(connection, known, status=submitted, submitted_at=now, message="")
    move_job(connection, known.job_id, known.status, submitted, cause, detail, now, remote_id=remote_id)


def later_attempts(connection: sa.Connection, attempt: Attempt) -> list[Attempt]:
    """Later attempts that were not released: sent, about to be, or refused."""
    later = {"at_job": attempt.job_id, "at_number": attempt.number}
    return [attempt_of(row) for row in connection.execute(_LATER_ATTEMPTS, later)]


def move_job(
    connection: sa.Connection,
    job_id: JobId,
    old: JobStatus,
    new: JobStatus,
    cause: str,
    detail: str,
    now: datetime,
    *,
    remote_id: RemoteId | None = None,
    **values: Any,
) -> None:
    """Guarded move of a job, and its event; `remote_id` is for the log."""
    values["status"] = new
    moved = connection.execute(_moved(tuple(values)), {"at_job": job_id, "was_status": old, **values})
    if moved.rowcount != 1:
        raise StaleJob(f"{job_id} is no longer {old}", job_id=job_id)
    connection.execute(INSERT_EVENT, event_row(job_id, old, new, cause, detail, now))
    log_job(connection, job_id, remote_id, f"{old} -> {new}", f"{cause}: {detail}")


def log_job(connection: sa.Connection, job_id: JobId, remote_id: RemoteId | None, what: str, reason: str) -> None:
    """Log what was done to a job, once it has landed."""
    if not is_logged():
        return
    reason = as_stored(reason)
    name = job_id if remote_id is None else f"{job_id} (remote {remote_id})"
    log_after_commit(connection, "%s: %s, %s", name, what, reason)


def newest_remote_id(connection: sa.Connection, job_id: JobId) -> RemoteId | None:
    """The remote id of a job's newest attempt, if it has one."""
    query = sa.select(ATTEMPT.c.remote_id).where(ATTEMPT.c.job_id == job_id)
    found = connection.scalar(query.order_by(ATTEMPT.c.number.desc()).limit(1))
    return None if found is None else RemoteId(found)


def item_statuses(connection: sa.Connection, job_id: JobId) -> list[JobStatus]:
    """The statuses that a job's items have, each once, in no particular order."""
    return [JobStatus(status) for status in connection.scalars(_ITEM_STATUSES, {"at_job": job_id})]


def reset_items(
    connection: sa.Connection, job_id: JobId, programs: Mapping[ProgramHash, ProgramHash] | None = None
) -> None:
    """Make all items of a job CREATED again, for a new epoch; `programs` says which circuits are sent instead."""
    blank = {f"{status.lower()}_at": None for status in TIMED_STATUSES if status is not JobStatus.CREATED}
    of_job = ITEM.c.job_id == job_id
    connection.execute(
        ITEM.update()
        .where(of_job)
        .values(
            status=JobStatus.CREATED,
            message="",
            error_detail=None,
            queue_position=None,
            cost=None,
            cancel_requested_at=None,
            no_result=None,
            **blank,
        )
    )
    if programs:
        replace_programs(connection, job_id, programs)


def replace_programs(connection: sa.Connection, job_id: JobId, programs: Mapping[ProgramHash, ProgramHash]) -> None:
    """Let other circuits take the place of those of a job's items; `programs` says which."""
    of_job = ITEM.c.job_id == job_id
    present = connection.execute(sa.select(ITEM.c.item_index, ITEM.c.program_hash).where(of_job)).all()
    changed = [
        {"at_index": row.item_index, "other": programs[row.program_hash]}
        for row in present
        if row.program_hash in programs
    ]
    if changed:
        statement = ITEM.update().where(of_job, ITEM.c.item_index == sa.bindparam("at_index"))
        connection.execute(statement.values(program_hash=sa.bindparam("other")), changed)


def next_number(connection: sa.Connection, job_id: JobId) -> AttemptNumber:
    """The number of a job's next attempt."""
    return AttemptNumber((connection.scalar(_NEWEST_NUMBER, {"at_job": job_id}) or 0) + 1)


def forget_no_results(connection: sa.Connection, job_id: JobId, items: tuple[int, ...] | None) -> None:
    """Forget that no result would come of items, as they are sent again."""
    chosen = (ITEM.c.job_id == job_id) & ITEM.c.no_result.is_not(None)
    if items is not None:
        chosen &= ITEM.c.item_index.in_(items)
    connection.execute(ITEM.update().where(chosen).values(no_result=None))


def withdraw_cancellations(connection: sa.Connection, job_id: JobId, items: tuple[int, ...] | None) -> None:
    """Forget that items were to be cancelled, as they are sent again."""
    chosen = (ITEM.c.job_id == job_id) & ITEM.c.cancel_requested_at.is_not(None)
    if items is not None:
        chosen &= ITEM.c.item_index.in_(items)
    connection.execute(ITEM.update().where(chosen).values(cancel_requested_at=None))


def record_event(
    connection: sa.Connection, row: sa.Row[Any], remote_id: RemoteId | None, cause: str, detail: str, now: datetime
) -> None:
    """Write an event that moves nothing; `remote_id` is for the log."""
    status = JobStatus(row.status)
    job_id = JobId(row.job_id)
    connection.execute(INSERT_EVENT, event_row(job_id, status, status, cause, detail, now))
    log_job(connection, job_id, remote_id, status, f"{cause}: {detail}")


def event_row(
    job_id: JobId,
    old: JobStatus | None,
    new: JobStatus,
    cause: str,
    detail: str,
    now: datetime,
    index: int | None = None,
) -> dict[str, Any]:
    """Row of one event."""
    return {
        "job_id": job_id,
        "item_index": index,
        "at": now,
        "old": old,
        "new": new,
        "cause": cause,
        "detail": detail,
    }
