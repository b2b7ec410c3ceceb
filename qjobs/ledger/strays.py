"""Remote jobs of ours that no attempt claims: each is recorded when it is found, and ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qjobs.ledger import transitions as moves
from qjobs.ledger.database import Database
from qjobs.ledger.tables import ATTEMPT, JOB, STRAY
from qjobs.model import JobId, Key, RemoteId

__all__ = ["Stray", "Strays", "claim_stray", "record_stray"]

_CAUSE = "stray"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """A remote job that was made for a job of ours and is to be cancelled, because no attempt of it counts on it."""

    job_id: JobId
    remote_id: RemoteId
    why: str
    found_at: datetime
    ended_at: datetime | None
    outcome: str | None


class Strays:
    """`Ledger.strays`: remote jobs that are to be cancelled, each written down until that is done."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def record(self, job_id: JobId, remote_id: RemoteId, *, why: str, now: datetime, again: bool = False) -> bool:
        """Record a remote job that is to be cancelled, with an event; one that is recorded already stays as it is.

        With `again` one that had ended, and was seen alive since, is to be cancelled once more.

        Returns:
            Whether it is new.
        """
        with self._db.write() as connection:
            row = moves.locked_job(connection, job_id)
            return record_stray(connection, row, remote_id, why, now, again=again)

    def pending(self, job_ids: Sequence[JobId] | None = None) -> list[Stray]:
        """Those that nobody has ended yet, the oldest first; of all jobs, or of these."""
        query = sa.select(STRAY).where(STRAY.c.ended_at.is_(None)).order_by(STRAY.c.found_at, STRAY.c.remote_id)
        rows = self._db.rows(query) if job_ids is None else self._db.rows_among(query, STRAY.c.job_id, job_ids)
        return [_stray_of(row) for row in rows]

    def ended(self, keys: Sequence[Key]) -> set[RemoteId]:
        """Remote ids of those of the jobs with these keys that have ended."""
        query = sa.select(STRAY.c.remote_id).join(JOB, JOB.c.job_id == STRAY.c.job_id)
        rows = self._db.rows_among(query.where(STRAY.c.ended_at.is_not(None)), JOB.c.key, keys)
        return {RemoteId(row.remote_id) for row in rows}

    def end(self, stray: Stray, *, outcome: str, now: datetime, cost: float | None = None) -> None:
        """Record what came of it, with an event, and what its provider says that it cost. Done once."""
        one = (STRAY.c.job_id == stray.job_id) & (STRAY.c.remote_id == stray.remote_id)
        values = {"ended_at": now, "outcome": outcome, "cost": cost}
        with self._db.write() as connection:
            row = moves.locked_job(connection, stray.job_id)
            if connection.execute(STRAY.update().where(one, STRAY.c.ended_at.is_(None)).values(**values)).rowcount:
                if cost is not None:  # one that was LOST is an attempt too
                    itself = (ATTEMPT.c.job_id == stray.job_id) & (ATTEMPT.c.remote_id == stray.remote_id)
                    connection.execute(ATTEMPT.update().where(itself).values(cost=cost))
                detail = f"{stray.remote_id}: {outcome}"
                moves.record_event(connection, row, stray.remote_id, _CAUSE, detail, now)


def record_stray(
    connection: sa.Connection,
    row: sa.Row[Any],
    remote_id: RemoteId,
    why: str,
    now: datetime,
    *,
    again: bool = False,
) -> bool:
    """Record a stray of the job of `row`, which the caller has locked; whether it is new."""
    one = (STRAY.c.job_id == row.job_id) & (STRAY.c.remote_id == remote_id)
    known = connection.execute(sa.select(STRAY.c.ended_at).where(one)).one_or_none()
    values: dict[str, object] = {"job_id": row.job_id, "remote_id": remote_id, "why": why, "found_at": now}
    if known is None:
        unit = sa.select(ATTEMPT.c.cost_unit).where(ATTEMPT.c.job_id == row.job_id).order_by(ATTEMPT.c.number.desc())
        money = {"reserved": row.cost_estimate, "cost_unit": connection.scalar(unit.limit(1)) or ""}
        connection.execute(STRAY.insert(), values | money)
    elif again and known.ended_at is not None:
        connection.execute(STRAY.update().where(one).values(**values, ended_at=None, outcome=None))
    else:
        return False
    detail = f"{remote_id} is to be cancelled: {why}"
    moves.record_event(connection, row, remote_id, _CAUSE, detail, now)
    return True


def claim_stray(
    connection: sa.Connection, row: sa.Row[tuple[object, ...]], remote_id: RemoteId, number: int, now: datetime
) -> None:
    """Keep a stray that an attempt turns out to be: its provider gave two submissions of one key the same id."""
    one = (STRAY.c.job_id == row.job_id) & (STRAY.c.remote_id == remote_id) & STRAY.c.ended_at.is_(None)
    outcome = f"it is attempt {number}, and is kept"
    if connection.execute(STRAY.update().where(one).values(ended_at=now, outcome=outcome)).rowcount:
        moves.record_event(connection, row, remote_id, _CAUSE, f"{remote_id}: {outcome}", now)


def _stray_of(row: sa.Row[tuple[object, ...]]) -> Stray:
    return Stray(
        job_id=JobId(row.job_id),
        remote_id=RemoteId(row.remote_id),
        why=row.why,
        found_at=row.found_at,
        ended_at=row.ended_at,
        outcome=row.outcome,
    )
