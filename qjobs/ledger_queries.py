"""Reading the ledger. `qjobs.ledger.Ledger` adds the moves."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import sqlalchemy as sa

from qjobs import ledger_rows as r
from qjobs import schema as t
from qjobs.database import Database
from qjobs.errors import JobNotFound
from qjobs.lifecycle import FINAL, LIVE, JobStatus
from qjobs.model import Attempt, Event, Item, ItemResult, Job, JobId, JobKind, Program, ProgramHash, RemoteId

__all__ = ["LedgerQueries", "parts"]

_T = TypeVar("_T")
_CHUNK = 500
"""Values in one IN list; SQLite's own limit is higher, PostgreSQL plans long lists badly."""


def parts(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Cut a long list of values into lists that fit one query."""
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]


class LedgerQueries:
    """Every question the ledger answers; none of them changes it."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.url = db.shown_url

    def job(self, job_id: JobId) -> Job:
        """One job.

        Raises:
            JobNotFound: There is no such job.
        """
        with self._db.read() as connection:
            row = connection.execute(sa.select(t.job).where(t.job.c.job_id == job_id)).one_or_none()
        if row is None:
            raise JobNotFound(f"the ledger {self.url} has no job {job_id}; see: qjobs jobs list", job_id=job_id)
        return r.job_of(row)

    def jobs(
        self,
        *,
        job_ids: Sequence[JobId] | None = None,
        statuses: Iterable[JobStatus] | None = None,
        experiment: str | None = None,
        run: str | None = None,
        backend: str | None = None,
        device: str | None = None,
        kind: JobKind | None = None,
        limit: int | None = None,
    ) -> list[Job]:
        """Jobs that match every filter given, newest first (or in the order of `job_ids`)."""
        query = sa.select(t.job).order_by(t.job.c.created_at.desc(), t.job.c.job_id)
        filters = {"experiment": experiment, "run": run, "backend": backend, "device": device, "kind": kind}
        for name, value in filters.items():
            if value is not None:
                query = query.where(t.job.c[name] == value)
        if statuses is not None:
            query = query.where(t.job.c.status.in_(sorted(statuses)))
        if limit is not None:
            query = query.limit(limit)
        with self._db.read() as connection:
            if job_ids is None:
                return [r.job_of(row) for row in connection.execute(query)]
            found = {
                row.job_id: r.job_of(row)
                for part in parts(job_ids)
                for row in connection.execute(query.where(t.job.c.job_id.in_(part)))
            }
        return [found[job_id] for job_id in job_ids if job_id in found]

    def open_jobs(self, *, job_ids: Sequence[JobId] | None = None) -> list[Job]:
        """Jobs that may still change at a provider."""
        return self.jobs(job_ids=job_ids, statuses=LIVE)

    def items(self, job_id: JobId) -> list[Item]:
        """Items of a job, in submission order."""
        query = sa.select(t.item).where(t.item.c.job_id == job_id).order_by(t.item.c.item_index)
        with self._db.read() as connection:
            return [r.item_of(row) for row in connection.execute(query)]

    def attempts(self, job_id: JobId) -> list[Attempt]:
        """Attempts of a job, first to last."""
        query = sa.select(t.attempt).where(t.attempt.c.job_id == job_id).order_by(t.attempt.c.number)
        with self._db.read() as connection:
            return [r.attempt_of(row) for row in connection.execute(query)]

    def last_attempts(self, job_ids: Sequence[JobId]) -> dict[JobId, Attempt]:
        """The newest attempt of each job that has one."""
        found: dict[JobId, Attempt] = {}
        with self._db.read() as connection:
            for part in parts(job_ids):
                query = sa.select(t.attempt).where(t.attempt.c.job_id.in_(part)).order_by(t.attempt.c.number)
                found.update({JobId(row.job_id): r.attempt_of(row) for row in connection.execute(query)})
        return found

    def results(self, job_id: JobId, *, epoch: int | None = None) -> dict[int, ItemResult]:
        """Results by item index, of the present epoch unless another is named."""
        with self._db.read() as connection:
            if epoch is None:
                epoch = connection.scalar(sa.select(t.job.c.epoch).where(t.job.c.job_id == job_id))
            query = (
                sa.select(t.result.c.item_index, t.result.c.payload)
                .where(t.result.c.job_id == job_id, t.result.c.epoch == epoch)
                .order_by(t.result.c.item_index)
            )
            return {row.item_index: r.decode_result(row.payload) for row in connection.execute(query)}

    def result_counts(self, job_ids: Sequence[JobId]) -> dict[JobId, int]:
        """How many items of each job have a result in the present epoch."""
        found = dict.fromkeys(job_ids, 0)
        with self._db.read() as connection:
            for part in parts(job_ids):
                query = (
                    sa.select(t.result.c.job_id, sa.func.count())
                    .join(t.job, (t.job.c.job_id == t.result.c.job_id) & (t.job.c.epoch == t.result.c.epoch))
                    .where(t.result.c.job_id.in_(part))
                    .group_by(t.result.c.job_id)
                )
                found.update({JobId(job_id): count for job_id, count in connection.execute(query)})
        return found

    def missing_items(self, job_id: JobId) -> tuple[int, ...]:
        """Indices of the items without a result in the present epoch."""
        with self._db.read() as connection:
            query = (
                sa.select(t.item.c.item_index)
                .join(t.job, t.job.c.job_id == t.item.c.job_id)
                .outerjoin(t.result, _result_of_item())
                .where(t.item.c.job_id == job_id, t.result.c.job_id.is_(None))
                .order_by(t.item.c.item_index)
            )
            return tuple(connection.scalars(query))

    def items_to_cancel(self, job_ids: Sequence[JobId]) -> dict[JobId, tuple[int, ...]]:
        """Open items whose cancellation was asked for and is not known to the provider yet, by their job."""
        told = [*FINAL, JobStatus.CANCELLING]
        found: dict[JobId, list[int]] = defaultdict(list)
        with self._db.read() as connection:
            for part in parts(job_ids):
                query = sa.select(t.item.c.job_id, t.item.c.item_index).where(
                    t.item.c.cancel_requested_at.is_not(None),
                    t.item.c.job_id.in_(part),
                    t.item.c.status.not_in(sorted(told)),
                )
                for job_id, index in connection.execute(query.order_by(t.item.c.item_index)):
                    found[JobId(job_id)].append(index)
        return {job_id: tuple(indices) for job_id, indices in found.items()}

    def programs(self, hashes: Iterable[ProgramHash]) -> dict[ProgramHash, Program]:
        """Stored circuits by their hash."""
        with self._db.read() as connection:
            rows = [
                row
                for part in parts(list(hashes))
                for row in connection.execute(sa.select(t.program).where(t.program.c.hash.in_(part)))
            ]
        return {ProgramHash(row.hash): r.program_of(row) for row in rows}

    def events(self, job_id: JobId, *, of_items: bool = True) -> list[Event]:
        """History of a job, oldest first."""
        query = sa.select(t.event).where(t.event.c.job_id == job_id).order_by(t.event.c.id)
        if not of_items:
            query = query.where(t.event.c.item_index.is_(None))
        with self._db.read() as connection:
            return [r.event_of(row) for row in connection.execute(query)]

    def remote_ids(self, backend: str) -> set[RemoteId]:
        """Every remote id that an attempt on this backend ever had."""
        query = sa.select(t.attempt.c.remote_id).join(t.job, t.job.c.job_id == t.attempt.c.job_id)
        with self._db.read() as connection:
            found = connection.scalars(query.where(t.job.c.backend == backend, t.attempt.c.remote_id.is_not(None)))
            return {RemoteId(remote_id) for remote_id in found}

    def job_of_remote(self, backend: str, remote_id: RemoteId) -> JobId | None:
        """The job that has this remote id, if any."""
        query = sa.select(t.attempt.c.job_id).join(t.job, t.job.c.job_id == t.attempt.c.job_id)
        with self._db.read() as connection:
            found = connection.scalar(query.where(t.job.c.backend == backend, t.attempt.c.remote_id == remote_id))
        return None if found is None else JobId(found)

    def item_counts(self, job_ids: Sequence[JobId]) -> dict[JobStatus, int]:
        """How many items of these jobs are in each status."""
        counts: Counter[JobStatus] = Counter()
        with self._db.read() as connection:
            for part in parts(job_ids):
                query = (
                    sa.select(t.item.c.status, sa.func.count())
                    .where(t.item.c.job_id.in_(part))
                    .group_by(t.item.c.status)
                )
                counts.update({JobStatus(status): count for status, count in connection.execute(query)})
        return dict(counts)

    def labels(self, job_id: JobId) -> dict[str, bool]:
        """Labels of a job's items, each with whether it has a result in the present epoch."""
        with self._db.read() as connection:
            query = (
                sa.select(t.item.c.label, t.result.c.job_id.is_not(None))
                .join(t.job, t.job.c.job_id == t.item.c.job_id)
                .outerjoin(t.result, _result_of_item())
                .where(t.item.c.job_id == job_id)
            )
            return {label: bool(has_result) for label, has_result in connection.execute(query)}

    def program_pairs(self, job_id: JobId) -> list[tuple[ProgramHash | None, ProgramHash, int]]:
        """Circuits of a job: hash as given, hash as sent, and how many items have them."""
        columns = (t.item.c.source_hash, t.item.c.program_hash)
        query = sa.select(*columns, sa.func.count()).where(t.item.c.job_id == job_id).group_by(*columns)
        with self._db.read() as connection:
            rows = connection.execute(query.order_by(*columns))
            return [(source and ProgramHash(source), ProgramHash(sent), count) for source, sent, count in rows]


def _result_of_item() -> sa.ColumnElement[bool]:
    return (
        (t.result.c.job_id == t.item.c.job_id)
        & (t.result.c.item_index == t.item.c.item_index)
        & (t.result.c.epoch == t.job.c.epoch)
    )
