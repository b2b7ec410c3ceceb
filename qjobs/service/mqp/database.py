"""The job database of the Munich Quantum Portal: where it is, whose clock it goes by, and which one functions mean."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from qjobs.errors import InvalidInput, JobNotFound
from qjobs.ledger.database import Database
from qjobs.ledger.liveness import lease_owner
from qjobs.ledger.tables import storable
from qjobs.service.mqp.checks import job_number
from qjobs.service.mqp.records import Kind
from qjobs.service.tables import SERVICE, mqp_job

__all__ = ["JobDatabase", "bind", "bound", "using"]


def _real_now() -> datetime:
    return datetime.now(UTC)


class JobDatabase:
    """The tables of the portal in a database of the service.

    Args:
        db: The database; the service has it open already.
        now: The present moment, aware UTC.
        claimant: Who takes jobs: the calling process, as `qjobs.ledger.liveness` writes it.
    """

    def __init__(
        self,
        db: Database,
        *,
        now: Callable[[], datetime] = _real_now,
        claimant: Callable[[], str] = lease_owner,
    ) -> None:
        self.db = db
        self.now = now
        self.claimant = claimant

    @classmethod
    @contextlib.contextmanager
    def open(cls, url: str, *, now: Callable[[], datetime] = _real_now) -> Iterator[JobDatabase]:
        """A database at a URL of SQLAlchemy, without the service; it is made where there is none.

        Raises:
            LedgerError: It cannot be opened.
        """
        db = Database(url, SERVICE)
        try:
            yield cls(db, now=now)
        finally:
            db.close()

    def among(self, column: sa.ColumnElement[Any], values: Sequence[str] | Sequence[int]) -> sa.ColumnElement[bool]:
        """Whether a column has one of the values, however many they are: they are one parameter."""
        if self.db.is_sqlite:
            listed = sa.func.json_each(sa.bindparam(None, list(values), sa.JSON)).table_valued("value")
            return column.in_(sa.select(listed.c.value))
        kind = ARRAY(sa.BigInteger if isinstance(column.type, sa.Integer) else sa.Text)
        plain = [storable(value) if isinstance(value, str) else value for value in values]
        return column == sa.any_(sa.bindparam(None, plain, kind))

    def among_selected(self, column: sa.ColumnElement[Any], query: sa.Select[Any]) -> sa.ColumnElement[bool]:
        """Whether a column has one of the values that a query finds, which is asked once.

        PostgreSQL may ask the query of an IN again for each row, where it knows nothing of the table's size yet.
        """
        if self.db.is_sqlite:
            return column.in_(query)
        return column == sa.any_(sa.func.array(query.scalar_subquery()))

    def locked(self, connection: sa.Connection, job_id: int, kind: Kind) -> sa.Row[Any]:
        """The row of a job, locked until the transaction ends.

        Raises:
            JobNotFound: There is no such job of that kind.
        """
        number = job_number(job_id)
        found = None
        if number is not None:
            query = sa.select(mqp_job).where(mqp_job.c.id == number, mqp_job.c.kind == kind).with_for_update()
            found = connection.execute(query).one_or_none()
        if found is None:
            shown = str(job_id)[:40]
            raise JobNotFound(f"there is no {kind} job {shown!r}", job_id=shown)
        return found


_default: JobDatabase | None = None
_current: ContextVar[JobDatabase | None] = ContextVar("qjobs_mqp_job_database", default=None)


def bind(database: JobDatabase | None) -> None:
    """Make this the database that the functions of `qjobs.service.mqp.jobs` mean, in all threads; None: none."""
    global _default  # noqa: PLW0603 - the seed's functions take no database
    _default = database


@contextlib.contextmanager
def using(database: JobDatabase) -> Iterator[JobDatabase]:
    """Make this the database that they mean inside the block, in this thread or task alone."""
    token = _current.set(database)
    try:
        yield database
    finally:
        _current.reset(token)


def bound(given: JobDatabase | None = None) -> JobDatabase:
    """The database that is meant: the given one, that of the block, or the one that was bound.

    Raises:
        InvalidInput: None was bound.
    """
    found = given or _current.get() or _default
    if found is None:
        raise InvalidInput(
            "no job database is bound; say: from qjobs.service.mqp.database import JobDatabase, bind (docs/mqp.md)"
        )
    return found
