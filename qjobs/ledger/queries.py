"""Reading the ledger. `qjobs.ledger.Ledger` adds the moves."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import sqlalchemy as sa

from qjobs.errors import JobNotFound
from qjobs.ledger.database import Database
from qjobs.ledger.rows import attempt_of, decode_result, event_of, item_of, job_of, program_of
from qjobs.ledger.tables import ATTEMPT, EVENT, ITEM, JOB, PROGRAM, RESULT
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
            row = connection.execute(sa.select(JOB).where(JOB.c.job_id == job_id)).one_or_none()
        if row is None:
            raise JobNotFound(f"the ledger {self.url} has no job {job_id}; see: qjobs jobs list", job_id=job_id)
        return job_of(row)

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
        query = sa.select(JOB).order_by(JOB.c.created_at.desc(), JOB.c.job_id)
        filters = {"experiment": experiment, "run": run, "backend": backend, "device": device, "kind": kind}
        for name, value in filters.items():
            if value is not None:
                query = query.where(JOB.c[name] == value)
        if statuses is not None:
            query = query.where(JOB.c.status.in_(sorted(statuses)))
        if limit is not None:
            query = query.limit(limit)
        with self._db.read() as connection:
            if job_ids is None:
                return [job_of(row) for row in connection.execute(query)]
            found = {
                row.job_id: job_of(row)
                for part in parts(job_ids)
                for row in connection.execute(query.where(JOB.c.job_id.in_(part)))
            }
        return [found[job_id] for job_id in job_ids if job_id in found]

    def open_jobs(self, *, job_ids: Sequence[JobId] | None = None) -> list[Job]:
        """Jobs that may still change at a provider."""
        return self.jobs(job_ids=job_ids, statuses=LIVE)

    def items(self, job_id: JobId) -> list[Item]:
        """Items of a job, in submission order."""
        query = sa.select(ITEM).where(ITEM.c.job_id == job_id).order_by(ITEM.c.item_index)
        with self._db.read() as connection:
            return [item_of(row) for row in connection.execute(query)]

    def attempts(self, job_id: JobId) -> list[Attempt]:
        """Attempts of a job, first to last."""
        query = sa.select(ATTEMPT).where(ATTEMPT.c.job_id == job_id).order_by(ATTEMPT.c.number)
        with self._db.read() as connection:
            return [attempt_of(row) for row in connection.execute(query)]

    def last_attempts(self, job_ids: Sequence[JobId]) -> dict[JobId, Attempt]:
        """The newest attempt of each job that has one."""
        found: dict[JobId, Attempt] = {}
        with self._db.read() as connection:
            for part in parts(job_ids):
                query = sa.select(ATTEMPT).where(ATTEMPT.c.job_id.in_(part)).order_by(ATTEMPT.c.number)
                found.update({JobId(row.job_id): attempt_of(row) for row in connection.execute(query)})
        return found

    def results(self, job_id: JobId, *, epoch: int | None = None) -> dict[int, ItemResult]:
        """Results by item index, of the present epoch unless another is named."""
        with self._db.read() as connection:
            if epoch is None:
                epoch = connection.scalar(sa.select(JOB.c.epoch).where(JOB.c.job_id == job_id))
            query = (
                sa.select(RESULT.c.item_index, RESULT.c.payload)
                .where(RESULT.c.job_id == job_id, RESULT.c.epoch == epoch)
                .order_by(RESULT.c.item_index)
            )
            return {row.item_index: decode_result(row.payload) for row in connection.execute(query)}

    def result_counts(self, job_ids: Sequence[JobId]) -> dict[JobId, int]:
        """How many items of each job have a result in the present epoch."""
        found = dict.fromkeys(job_ids, 0)
        with self._db.read() as connection:
            for part in parts(job_ids):
                query = (
                    sa.select(RESULT.c.job_id, sa.func.count())
                    .join(
                        JOB,
                        (JOB.c.job_id == RESULT.c.job_id) & (JOB.c.epoch == RESULT.c.epoch),
                    )
                    .where(RESULT.c.job_id.in_(part))
                    .group_by(RESULT.c.job_id)
                )
                found.update({JobId(job_id): count for job_id, count in connection.execute(query)})
        return found

    def missing_items(self, job_id: JobId) -> tuple[int, ...]:
        """Indices of the items without a result in the present epoch."""
        with self._db.read() as connection:
            query = (
                sa.select(ITEM.c.item_index)
                .join(JOB, JOB.c.job_id == ITEM.c.job_id)
                .outerjoin(RESULT, _result_of_item())
                .where(ITEM.c.job_id == job_id, RESULT.c.job_id.is_(None))
                .order_by(ITEM.c.item_index)
            )
            return tuple(connection.scalars(query))

    def items_to_cancel(self, job_ids: Sequence[JobId]) -> dict[JobId, tuple[int, ...]]:
        """Open items whose cancellation was asked for and is not known to the provider yet, by their job."""
        told = [*FINAL, JobStatus.CANCELLING]
        found: dict[JobId, list[int]] = defaultdict(list)
        with self._db.read() as connection:
            for part in parts(job_ids):
                query = sa.select(ITEM.c.job_id, ITEM.c.item_index).where(
                    ITEM.c.cancel_requested_at.is_not(None),
                    ITEM.c.job_id.in_(part),
                    ITEM.c.status.not_in(sorted(told)),
                )
                for job_id, index in connection.execute(query.order_by(ITEM.c.item_index)):
                    found[JobId(job_id)].append(index)
        return {job_id: tuple(indices) for job_id, indices in found.items()}

    def programs(self, hashes: Iterable[ProgramHash]) -> dict[ProgramHash, Program]:
        """Stored circuits by their hash."""
        with self._db.read() as connection:
            rows = [
                row
                for part in parts(list(hashes))
                for row in connection.execute(sa.select(PROGRAM).where(PROGRAM.c.hash.in_(part)))
            ]
        return {ProgramHash(row.hash): program_of(row) for row in rows}

    def events(self, job_id: JobId, *, of_items: bool = True) -> list[Event]:
        """History of a job, oldest first."""
        query = sa.select(EVENT).where(EVENT.c.job_id == job_id).order_by(EVENT.c.id)
        if not of_items:
            query = query.where(EVENT.c.item_index.is_(None))
        with self._db.read() as connection:
            return [event_of(row) for row in connection.execute(query)]

    def remote_ids(self, backend: str) -> set[RemoteId]:
        """Every remote id that an attempt on this backend ever had."""
        query = sa.select(ATTEMPT.c.remote_id).join(JOB, JOB.c.job_id == ATTEMPT.c.job_id)
        with self._db.read() as connection:
            found = connection.scalars(query.where(JOB.c.backend == backend, ATTEMPT.c.remote_id.is_not(None)))
            return {RemoteId(remote_id) for remote_id in found}

    def job_of_remote(self, backend: str, remote_id: RemoteId) -> JobId | None:
        """The job that has this remote id, if any."""
        query = sa.select(ATTEMPT.c.job_id).join(JOB, JOB.c.job_id == ATTEMPT.c.job_id)
        with self._db.read() as connection:
            found = connection.scalar(query.where(JOB.c.backend == backend, ATTEMPT.c.remote_id == remote_id))
        return None if found is None else JobId(found)

    def item_counts(self, job_ids: Sequence[JobId]) -> dict[JobStatus, int]:
        """How many items of these jobs are in each status."""
        counts: Counter[JobStatus] = Counter()
        with self._db.read() as connection:
            for part in parts(job_ids):
                query = sa.select(ITEM.c.status, sa.func.count()).where(ITEM.c.job_id.in_(part)).group_by(ITEM.c.status)
                counts.update({JobStatus(status): count for status, count in connection.execute(query)})
        return dict(counts)

    def labels(self, job_id: JobId) -> dict[str, bool]:
        """Labels of a job's items, each with whether it has a result in the present epoch."""
        with self._db.read() as connection:
            query = (
                sa.select(ITEM.c.label, RESULT.c.job_id.is_not(None))
                .join(JOB, JOB.c.job_id == ITEM.c.job_id)
                .outerjoin(RESULT, _result_of_item())
                .where(ITEM.c.job_id == job_id)
            )
            return {label: bool(has_result) for label, has_result in connection.execute(query)}

    def program_pairs(self, job_id: JobId) -> list[tuple[ProgramHash | None, ProgramHash, int]]:
        """Circuits of a job: hash as given, hash as sent, and how many items have them."""
        columns = (ITEM.c.source_hash, ITEM.c.program_hash)
        query = sa.select(*columns, sa.func.count()).where(ITEM.c.job_id == job_id).group_by(*columns)
        with self._db.read() as connection:
            rows = connection.execute(query.order_by(*columns))
            return [(source and ProgramHash(source), ProgramHash(sent), count) for source, sent, count in rows]


def _result_of_item() -> sa.ColumnElement[bool]:
    return (
        (RESULT.c.job_id == ITEM.c.job_id)
        & (RESULT.c.item_index == ITEM.c.item_index)
        & (RESULT.c.epoch == JOB.c.epoch)
    )
