"""The ledger: what was wanted, what was sent, what came back, and every move in between.

Every method is one short transaction. A move is one guarded UPDATE plus one event; a lost race raises `StaleJob` and
changes nothing. A transaction that moves a job locks its row first, so that its moves follow one another on every
database.
"""

from __future__ import annotations

import secrets
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qjobs.errors import JobNotFound, ProtocolError
from qjobs.ledger import migrations
from qjobs.ledger import transitions as moves
from qjobs.ledger.calibrations import Calibrations
from qjobs.ledger.cancellation import request_item_cancellation, request_job_cancellation
from qjobs.ledger.costs import CostGroup, CostLine, statement_of, statement_query
from qjobs.ledger.database import Database, Schema, parts
from qjobs.ledger.dispatches import Dispatches
from qjobs.ledger.epochs import Epochs
from qjobs.ledger.heartbeats import Heartbeats
from qjobs.ledger.job_filter import JobFilter, query_of
from qjobs.ledger.money import Caps
from qjobs.ledger.outbox import Outbox
from qjobs.ledger.outcomes import Outcomes
from qjobs.ledger.paces import Paces
from qjobs.ledger.planning import Seen, create_jobs, insert_or_ignore, insert_programs
from qjobs.ledger.poll_schedule import PollSchedule
from qjobs.ledger.provider_reports import Report, record_presence, record_report
from qjobs.ledger.rows import (
    attempt_of,
    decode_result,
    event_of,
    item_of,
    item_specs_of,
    job_of,
    program_of,
    result_row,
)
from qjobs.ledger.strays import Strays
from qjobs.ledger.submissions import Submissions
from qjobs.ledger.suspended_runs import SuspendedRuns
from qjobs.ledger.tables import (
    ATTEMPT,
    EVENT,
    ITEM,
    ITEMS_WITH_RESULTS,
    JOB,
    LEDGER_META,
    LEDGER_REVISION,
    LIVE_WORDS,
    OLDEST_VERSION,
    PROGRAM,
    RESULT,
    SCHEMA_VERSION,
    metadata,
)
from qjobs.lifecycle import FINAL, LIVE, JobStatus
from qjobs.model import (
    Attempt,
    Event,
    Item,
    ItemResult,
    ItemSpec,
    Job,
    JobId,
    JobKind,
    JobSpec,
    Key,
    Program,
    ProgramHash,
    RemoteId,
)
from qjobs.paths import ledger_url

__all__ = ["LEDGER", "Ledger"]


def _made(connection: sa.Connection) -> None:
    """What every new ledger has: an id of its own, and the revision for its next migration."""
    connection.execute(LEDGER_META.insert(), {"name": _LEDGER_ID, "value": secrets.token_hex(16)})
    connection.execute(LEDGER_REVISION.insert(), {"version_num": str(SCHEMA_VERSION)})


LEDGER = Schema(
    what="ledger",
    metadata=metadata,
    meta=LEDGER_META,
    version=SCHEMA_VERSION,
    setting="QJOBS_LEDGER",
    older="finish its open jobs with the qjobs that wrote it and start a new ledger",
    made=_made,
    upgrade=migrations.upgrade,
    oldest=OLDEST_VERSION,
)
_LEDGER_ID = "ledger_id"
_KEY_PREFIX = 8
"""Digits of the id in the keys of jobs."""

_REPORTS_TOGETHER = 100
"""Reports in one transaction: a commit costs as much as a report, and others wait for the lock meanwhile."""
# What is asked for of every job is made once: to make a statement anew costs as much as to run it.
_AT_JOB: sa.BindParameter[Any] = sa.bindparam("at_job")
_JOB = sa.select(JOB).where(JOB.c.job_id == _AT_JOB)
_ATTEMPTS = sa.select(ATTEMPT).where(ATTEMPT.c.job_id == _AT_JOB).order_by(ATTEMPT.c.number)
_ITEM_CANCELLED = (
    sa.select(ITEM.c.item_index).where(ITEM.c.job_id == _AT_JOB, ITEM.c.cancel_requested_at.is_not(None)).limit(1)
)
_ITEM_SPECS = (
    sa.select(
        ITEM.c.label,
        ITEM.c.program_hash,
        ITEM.c.source_hash,
        ITEM.c.shots,
        sa.cast(ITEM.c.parameters, sa.Text).label("parameters"),
    )
    .where(ITEM.c.job_id == _AT_JOB)
    .order_by(ITEM.c.item_index)
)
_WITHOUT_RESULT = (
    sa.select(ITEM.c.item_index, ITEM.c.completed_at)
    .select_from(ITEMS_WITH_RESULTS)
    .where(ITEM.c.job_id == _AT_JOB, RESULT.c.job_id.is_(None))
    .order_by(ITEM.c.item_index)
)
_MISSING = _WITHOUT_RESULT.with_only_columns(ITEM.c.item_index)
_AWAITED = _WITHOUT_RESULT.where(ITEM.c.no_result.is_(None), ITEM.c.status == JobStatus.COMPLETED)
_IN_PRESENT_EPOCH = (RESULT.c.job_id == JOB.c.job_id) & (RESULT.c.epoch == JOB.c.epoch)


class Ledger:
    """Jobs, attempts, items, results and events in one database.

    Safe to use from many threads and processes at once. Its parts:

    - `submissions`: the attempts to submit a job, from the intent to the remote id.
    - `strays`: remote jobs that no attempt claims, and that are to be cancelled.
    - `schedule`: when each job is polled next, and by whom.
    - `waits`: the flow runs that wait for jobs.
    - `dispatches`: the jobs of suspended runs that wait for a place at their device.
    - `outbox`: the events that are still to be sent on.
    - `heartbeats`: which process runs which flow run.
    - `epochs`: the epochs of hybrid runs.
    - `caps`: what may be spent, and the jobs that wait for money.
    - `paces`: how fast all processes together ask the provider of an account.
    - `calibrations`: how devices were calibrated when circuits were compiled, sent and their results fetched.
    - `outcomes`: what became of items, for reports of any size.

    Args:
        url: SQLAlchemy URL; None takes `qjobs.paths.ledger_url()`.
        busy_timeout_s: How long a writer waits for another one, in seconds.

    Raises:
        LedgerUnavailable: It cannot be opened.
        LedgerSchemaMismatch: It was written by another version of qjobs.
    """

    def __init__(self, url: str | None = None, *, busy_timeout_s: float = 30.0) -> None:
        self._compose(Database(url or ledger_url(), LEDGER, busy_timeout_s=busy_timeout_s))

    def _compose(self, db: Database) -> None:
        self._db = db
        self.url = db.shown_url
        self.submissions = Submissions(db)
        self.strays = Strays(db)
        self.schedule = PollSchedule(db)
        self.waits = SuspendedRuns(db)
        self.dispatches = Dispatches(db)
        self.outbox = Outbox(db)
        self.heartbeats = Heartbeats(db)
        self.epochs = Epochs(db)
        self.caps = Caps(db)
        self.paces = Paces(db)
        self.outcomes = Outcomes(db)
        self.calibrations = Calibrations(db)
        query = sa.select(LEDGER_META.c.value).where(LEDGER_META.c.name == _LEDGER_ID)
        self.ledger_id: str = db.rows(query)[0].value

    @property
    def key_prefix(self) -> str:
        """What the keys of this ledger's jobs begin with, so that two ledgers on one account share none."""
        return self.ledger_id[:_KEY_PREFIX]

    def newest_event_id(self) -> int:
        """Id of the newest event, 0 before the first; smaller in a ledger that was restored from an older copy."""
        (row,) = self._db.rows(sa.select(sa.func.max(EVENT.c.id).label("newest")))
        return int(row.newest or 0)

    def event_at(self, event_id: int) -> datetime | None:
        """When an event was written, None where there is none of this id; another time tells of another history."""
        rows = self._db.rows(sa.select(EVENT.c.at).where(EVENT.c.id == event_id))
        at: datetime | None = rows[0].at if rows else None
        return at

    def close(self) -> None:
        """Close all connections. Idempotent."""
        self.paces.close()
        self._db.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_programs(self, programs: Iterable[Program]) -> None:
        """Store circuits; those that are there already are left alone."""
        with self._db.write() as connection:
            insert_programs(self._db, connection, programs)

    def create(self, specs: Sequence[JobSpec], *, now: datetime, seen: Seen | None = None) -> list[JobId]:
        """Store jobs with their items and programs, all in one transaction.

        A key that is there already keeps its job: calling this twice makes nothing new. With `seen` nothing is made
        if others made jobs of that description since the caller counted them.

        Returns:
            One job id per spec, in order.

        Raises:
            InvalidInput: Two of the specs have the same key.
            StaleJob: The number of jobs is no longer what was seen (`job_id` is empty): look again what is missing.
        """
        return create_jobs(self._db, specs, now, seen)

    def record_reports(
        self, reports: Sequence[Report], *, now: datetime, cause: str = "poll"
    ) -> tuple[dict[JobId, JobStatus], dict[JobId, ProtocolError]]:
        """Record what providers report, many reports to a transaction (`qjobs.ledger.provider_reports`).

        A report that cannot be about its job keeps no other from being recorded.

        Returns:
            The status of each job afterwards; and the errors, by the jobs that are not among them.

        Raises:
            StaleJob: An attempt has no remote id, so that no report can be about it; or its job has moved since it was
                asked for again. The other reports of its transaction are not recorded; the next poll brings them again.
        """
        statuses: dict[JobId, JobStatus] = {}
        failures: dict[JobId, ProtocolError] = {}
        ordered = sorted(reports, key=lambda report: report.job_id)  # two sensors lock in the same order
        for start in range(0, len(ordered), _REPORTS_TOGETHER):
            part: dict[JobId, JobStatus] = {}
            with self._db.write() as connection:
                for report in ordered[start : start + _REPORTS_TOGETHER]:
                    try:
                        part[report.job_id] = record_report(connection, report, now, cause)
                    except ProtocolError as error:  # nothing of its job is written yet
                        failures[report.job_id] = error
            statuses.update(part)
        return statuses, failures

    def record_presence(self, attempts: Sequence[Attempt]) -> None:
        """Record that their provider knows these: earlier answers without them no longer count."""
        with self._db.write() as connection:
            record_presence(connection, attempts)

    def record_queue_positions(self, places: Mapping[JobId, int]) -> None:
        """Record where jobs stand in their provider's queue, from 1, at those of their items that are QUEUED."""
        rows = [{"at_job": job_id, "place": place} for job_id, place in sorted(places.items())]
        queued = (ITEM.c.job_id == sa.bindparam("at_job")) & (ITEM.c.status == JobStatus.QUEUED)
        statement = ITEM.update().where(queued).values(queue_position=sa.bindparam("place"))
        for part in parts(rows):
            with self._db.write() as connection:
                connection.execute(statement, part)

    def store_results(
        self,
        job_id: JobId,
        attempt: Attempt,
        results: Mapping[int, ItemResult],
        *,
        now: datetime,
        results_on: str | None = None,
    ) -> int:
        """Store results by item index; a result that is there already stays as it is.

        `results_on` is as in `Attempt`.

        Returns:
            How many were new.
        """
        if not results:
            return 0
        rows = [result_row(job_id, attempt, index, value, now) for index, value in results.items()]
        insert = insert_or_ignore(self._db, RESULT).execution_options(preserve_rowcount=True)
        with self._db.write() as connection:
            moves.locked_job(connection, job_id)
            new = connection.execute(insert, rows).rowcount
            if new and results_on not in {None, attempt.results_on}:
                fetched = (ATTEMPT.c.job_id == job_id) & (ATTEMPT.c.number == attempt.number)
                connection.execute(ATTEMPT.update().where(fetched).values(results_on=results_on))
            if new:
                moves.log_job(
                    connection, job_id, attempt.remote_id, f"results stored: {new}", f"attempt {attempt.number}"
                )
        return new

    def settle_missing(self, job_id: JobId, attempt: Attempt, reasons: Mapping[int, str], *, now: datetime) -> int:
        """Record that the results of items will never come, and why; one event tells of all.

        An item that has a result, or of which this is known, stays as it is; so does every item once a newer epoch
        has begun.

        Returns:
            How many were new.
        """
        with self._db.write() as connection:
            row = moves.locked_job(connection, job_id)
            if attempt.epoch != row.epoch:
                return 0
            open_ones = connection.scalars(_MISSING.where(ITEM.c.no_result.is_(None)), {"at_job": job_id})
            found = sorted(set(open_ones) & set(reasons))
            if not found:
                return 0
            statement = ITEM.update().where(ITEM.c.job_id == job_id, ITEM.c.item_index == sa.bindparam("at_index"))
            changes = [{"at_index": index, "reason": reasons[index]} for index in found]
            connection.execute(statement.values(no_result=sa.bindparam("reason")), changes)
            words = "; ".join(dict.fromkeys(reasons[index] for index in found))
            detail = f"{len(found)} of {row.n_items} items will never have a result: {words}"
            moves.record_event(connection, row, attempt.remote_id, "no result", detail, now)
        return len(found)

    def request_cancel(self, job_id: JobId, *, items: Sequence[int] | None = None, now: datetime) -> Job:
        """Record that a job, or some of its items, are to be cancelled.

        What was never sent, or is LOST, is CANCELLED at once, and what is final is left alone. A poll passes the
        request on to the provider.

        Raises:
            InvalidInput: The job has no such item.
        """
        with self._db.write() as connection:
            row = moves.locked_job(connection, job_id)
            if items is None:
                request_job_cancellation(connection, row, now)
            else:
                request_item_cancellation(connection, row, items, now)
        return self.job(job_id)

    def record_event(self, job_id: JobId, cause: str, detail: str, *, now: datetime) -> None:
        """Write an event that moves nothing."""
        with self._db.write() as connection:
            row = moves.locked_job(connection, job_id)
            remote_id = moves.newest_remote_id(connection, job_id)
            moves.record_event(connection, row, remote_id, cause, detail, now)

    def record_events(self, job_ids: Sequence[JobId], cause: str, detail: str, *, now: datetime) -> None:
        """Write the same event, which moves nothing, to the history of many jobs, many to a transaction."""
        ordered = sorted(job_ids)
        for start in range(0, len(ordered), _REPORTS_TOGETHER):
            part = ordered[start : start + _REPORTS_TOGETHER]
            query = sa.select(JOB.c.job_id, JOB.c.status).where(JOB.c.job_id.in_(part))
            with self._db.write() as connection:
                rows = []
                for job_id, status in connection.execute(query.order_by(JOB.c.job_id).with_for_update()):
                    rows.append(moves.event_row(job_id, status, status, cause, detail, now))
                    moves.log_job(connection, job_id, None, status, f"{cause}: {detail}")
                if rows:
                    connection.execute(moves.INSERT_EVENT, rows)

    def job(self, job_id: JobId) -> Job:
        """One job.

        Raises:
            JobNotFound: There is no such job.
        """
        found = self._db.rows(_JOB, {"at_job": job_id})
        if not found:
            raise JobNotFound(f"the ledger {self.url} has no job {job_id}; see: qjobs jobs list", job_id=job_id)
        return job_of(found[0])

    def jobs(
        self,
        *,
        job_ids: Sequence[JobId] | None = None,
        statuses: Iterable[JobStatus] | None = None,
        experiment: str | None = None,
        run: str | None = None,
        logical_run: str | None = None,
        definition: str | None = None,
        backend: str | None = None,
        device: str | None = None,
        kind: JobKind | None = None,
        limit: int | None = None,
    ) -> list[Job]:
        """Jobs that match every filter given, newest first (or in the order of `job_ids`)."""
        query = sa.select(JOB).order_by(JOB.c.created_at.desc(), JOB.c.job_id)
        filters = {
            "experiment": experiment,
            "run": run,
            "logical_run": logical_run,
            "definition": definition,
            "backend": backend,
            "device": device,
            "kind": kind,
        }
        for name, value in filters.items():
            if value is not None:
                query = query.where(JOB.c[name] == value)
        if statuses is not None:
            query = query.where(JOB.c.status.in_(sorted(statuses)))
        if limit is not None:
            query = query.limit(limit)
        if job_ids is None:
            return [job_of(row) for row in self._db.rows(query)]
        found = {row.job_id: job_of(row) for row in self._db.rows_among(query, JOB.c.job_id, job_ids)}
        return [found[job_id] for job_id in job_ids if job_id in found]

    def search(self, chosen: JobFilter) -> list[Job]:
        """Jobs that a filter means, in its order."""
        return [job_of(row) for row in self._db.rows(query_of(chosen))]

    def costs(self, chosen: JobFilter, by: Sequence[CostGroup]) -> list[CostLine]:
        """What the jobs cost that a filter means, in groups. Costs of different backends are never added up."""
        return statement_of(self._db.rows(statement_query(chosen)), by)

    def open_jobs(self, *, job_ids: Sequence[JobId] | None = None) -> list[Job]:
        """Jobs that may still change at a provider."""
        return self.jobs(job_ids=job_ids, statuses=LIVE)

    def items(self, job_id: JobId) -> list[Item]:
        """Items of a job, in submission order."""
        query = sa.select(ITEM).where(ITEM.c.job_id == job_id).order_by(ITEM.c.item_index)
        return [item_of(row) for row in self._db.rows(query)]

    def item_specs(self, job_id: JobId, *, unless_cancelled: bool = False) -> list[ItemSpec]:
        """What is wanted of the items of a job, in submission order: all that is sent of them, and no more is read.

        With `unless_cancelled` there are none where the cancellation of an item was ever requested.
        """
        with self._db.read() as connection:
            if unless_cancelled and connection.execute(_ITEM_CANCELLED, {"at_job": job_id}).first() is not None:
                return []
            return item_specs_of(connection.execute(_ITEM_SPECS, {"at_job": job_id}).all())

    def attempts(self, job_id: JobId) -> list[Attempt]:
        """Attempts of a job, first to last."""
        return [attempt_of(row) for row in self._db.rows(_ATTEMPTS, {"at_job": job_id})]

    def last_attempts(self, job_ids: Sequence[JobId]) -> dict[JobId, Attempt]:
        """The newest attempt of each job that has one; one that was released hides none that was sent in its epoch."""
        rows = self._db.rows_among(sa.select(ATTEMPT).order_by(ATTEMPT.c.number), ATTEMPT.c.job_id, job_ids)
        found: dict[JobId, Attempt] = {}
        for attempt in map(attempt_of, rows):
            before = found.get(attempt.job_id)
            counts = attempt.sent_at is not None or not attempt.status.is_final
            if counts or before is None or before.epoch != attempt.epoch or before.sent_at is None:
                found[attempt.job_id] = attempt
        return found

    def accepted_at(self, job_ids: Sequence[JobId]) -> dict[JobId, datetime]:
        """When the provider took each job that it took, the last time."""
        newest = sa.func.max(ATTEMPT.c.accepted_at).label("newest")
        query = sa.select(ATTEMPT.c.job_id, newest).where(ATTEMPT.c.accepted_at.is_not(None)).group_by(ATTEMPT.c.job_id)
        return {JobId(row.job_id): row.newest for row in self._db.rows_among(query, ATTEMPT.c.job_id, job_ids)}

    def lost_and_replaced(self, job_ids: Sequence[JobId]) -> list[Attempt]:
        """Attempts that are LOST and whose items were sent again since: their remote jobs may come back."""
        later = ATTEMPT.alias()
        sent_since = sa.exists().where(
            later.c.job_id == ATTEMPT.c.job_id, later.c.number > ATTEMPT.c.number, later.c.sent_at.is_not(None)
        )
        query = sa.select(ATTEMPT).where(ATTEMPT.c.status == JobStatus.LOST, sent_since)
        return [attempt_of(row) for row in self._db.rows_among(query, ATTEMPT.c.job_id, job_ids)]

    def events(self, job_id: JobId, *, of_items: bool = True) -> list[Event]:
        """History of a job, oldest first; without that of its items if `of_items` is False."""
        query = sa.select(EVENT).where(EVENT.c.job_id == job_id).order_by(EVENT.c.id)
        if not of_items:
            query = query.where(EVENT.c.item_index.is_(None))
        return [event_of(row) for row in self._db.rows(query)]

    def last_event(self, job_id: JobId) -> int | None:
        """The number of a job's newest event; they count up."""
        query = sa.select(sa.func.max(EVENT.c.id).label("number")).where(EVENT.c.job_id == job_id)
        number: int | None = self._db.rows(query)[0].number
        return number

    def first_event_at(self, job_id: JobId, cause: str, *, since: datetime | None = None) -> datetime | None:
        """When a job first had an event of that cause, since a time if one is given; None if never."""
        query = sa.select(sa.func.min(EVENT.c.at).label("at")).where(EVENT.c.job_id == job_id, EVENT.c.cause == cause)
        if since is not None:
            query = query.where(EVENT.c.at >= since)
        at: datetime | None = self._db.rows(query)[0].at
        return at

    def jobs_with_event(self, job_ids: Sequence[JobId], cause: str, detail: str | None = None) -> set[JobId]:
        """The jobs whose history has an event of that cause, and of that detail if one is given."""
        query = sa.select(EVENT.c.job_id).where(EVENT.c.cause == cause).distinct()
        if detail is not None:
            query = query.where(EVENT.c.detail == detail)
        return {JobId(row.job_id) for row in self._db.rows_among(query, EVENT.c.job_id, job_ids)}

    def runs_with_open_jobs(self) -> list[str]:
        """Runs that made jobs which are not final and whose cancellation nobody has requested."""
        is_open = JOB.c.status.in_([*LIVE_WORDS, JobStatus.CREATED]) & JOB.c.cancel_requested_at.is_(None)
        query = sa.select(JOB.c.run).where(is_open).distinct().order_by(JOB.c.run)
        return [row.run for row in self._db.rows(query)]

    def results(self, job_id: JobId, *, epoch: int | None = None) -> dict[int, ItemResult]:
        """Results by item index, of the present epoch unless another is named."""
        query = sa.select(RESULT.c.item_index, RESULT.c.payload).where(RESULT.c.job_id == job_id)
        query = query.join(JOB, _IN_PRESENT_EPOCH) if epoch is None else query.where(RESULT.c.epoch == epoch)
        rows = self._db.rows(query.order_by(RESULT.c.item_index))
        return {row.item_index: decode_result(row.payload) for row in rows}

    def result_counts(self, job_ids: Sequence[JobId]) -> dict[JobId, int]:
        """How many items of each job have a result in the present epoch."""
        query = sa.select(RESULT.c.job_id, sa.func.count().label("found")).join(JOB, _IN_PRESENT_EPOCH)
        counts = dict.fromkeys(job_ids, 0)
        for row in self._db.rows_among(query.group_by(RESULT.c.job_id), RESULT.c.job_id, job_ids):
            counts[JobId(row.job_id)] = row.found
        return counts

    def missing_items(self, job_id: JobId) -> tuple[int, ...]:
        """Indices of the items without a result in the present epoch."""
        return tuple(row.item_index for row in self._db.rows(_MISSING, {"at_job": job_id}))

    def awaited_items(self, job_id: JobId) -> tuple[int, ...]:
        """Indices of the items that are COMPLETED and whose result is still to come."""
        return tuple(self.awaited_since(job_id))

    def awaited_since(self, job_id: JobId) -> dict[int, datetime | None]:
        """As `awaited_items`, with the time at which each was COMPLETED."""
        return {row.item_index: row.completed_at for row in self._db.rows(_AWAITED, {"at_job": job_id})}

    def jobs_awaiting_results(self, job_ids: Sequence[JobId]) -> list[JobId]:
        """Those of these jobs that have an item which is COMPLETED and whose result is still to come."""
        query = sa.select(ITEM.c.job_id).select_from(ITEMS_WITH_RESULTS).distinct()
        query = query.where(RESULT.c.job_id.is_(None), ITEM.c.no_result.is_(None), ITEM.c.status == JobStatus.COMPLETED)
        return [JobId(row.job_id) for row in self._db.rows_among(query, ITEM.c.job_id, job_ids)]

    def labels(self, job_ids: Sequence[JobId]) -> dict[JobId, dict[str, bool]]:
        """Labels of the items of jobs, each with whether it has a result in the present epoch."""
        query = sa.select(ITEM.c.job_id, ITEM.c.label, RESULT.c.job_id.is_not(None).label("has_result"))
        found: dict[JobId, dict[str, bool]] = defaultdict(dict)
        for row in self._db.rows_among(query.select_from(ITEMS_WITH_RESULTS), ITEM.c.job_id, job_ids):
            found[JobId(row.job_id)][row.label] = bool(row.has_result)
        return dict(found)

    def item_counts(self, job_ids: Sequence[JobId]) -> dict[JobStatus, int]:
        """How many items of these jobs are in each status."""
        query = sa.select(ITEM.c.status, sa.func.count().label("found")).group_by(ITEM.c.status)
        counts: Counter[JobStatus] = Counter()
        for row in self._db.rows_among(query, ITEM.c.job_id, job_ids):
            counts[JobStatus(row.status)] += row.found
        return dict(counts)

    def queue_positions(self, job_ids: Sequence[JobId]) -> dict[JobId, int]:
        """The foremost queue position of each job's items, where the provider reports it."""
        query = sa.select(ITEM.c.job_id, sa.func.min(ITEM.c.queue_position).label("place"))
        waiting = query.where(ITEM.c.status.in_(LIVE_WORDS), ITEM.c.queue_position.is_not(None))
        rows = self._db.rows_among(waiting.group_by(ITEM.c.job_id), ITEM.c.job_id, job_ids)
        return {JobId(row.job_id): row.place for row in rows}

    def items_to_cancel(self, job_ids: Sequence[JobId]) -> dict[JobId, tuple[int, ...]]:
        """Open items whose cancellation was requested and is not known to the provider yet, by their job."""
        query = (
            sa.select(ITEM.c.job_id, ITEM.c.item_index)
            .where(ITEM.c.cancel_requested_at.is_not(None))
            .where(ITEM.c.status.not_in(sorted({*FINAL, JobStatus.CANCELLING})))
            .order_by(ITEM.c.item_index)
        )
        found: dict[JobId, list[int]] = defaultdict(list)
        for row in self._db.rows_among(query, ITEM.c.job_id, job_ids):
            found[JobId(row.job_id)].append(row.item_index)
        return {job_id: tuple(indices) for job_id, indices in found.items()}

    def programs(self, hashes: Iterable[ProgramHash]) -> dict[ProgramHash, Program]:
        """Stored circuits by their hash."""
        rows = self._db.rows_among(sa.select(PROGRAM), PROGRAM.c.hash, list(hashes))
        return {ProgramHash(row.hash): program_of(row) for row in rows}

    def program_pairs(self, job_id: JobId) -> list[tuple[ProgramHash | None, ProgramHash, int]]:
        """Circuits of a job: hash as given, hash as sent, and how many items have them."""
        return self.programs_of_jobs([job_id]).get(job_id, [])

    def programs_of_jobs(
        self, job_ids: Sequence[JobId]
    ) -> dict[JobId, list[tuple[ProgramHash | None, ProgramHash, int]]]:
        """As `program_pairs`, of many jobs."""
        columns = (ITEM.c.job_id, ITEM.c.source_hash, ITEM.c.program_hash)
        query = sa.select(*columns, sa.func.count().label("found")).group_by(*columns).order_by(*columns)
        pairs: dict[JobId, list[tuple[ProgramHash | None, ProgramHash, int]]] = defaultdict(list)
        for row in self._db.rows_among(query, ITEM.c.job_id, job_ids):
            source = ProgramHash(row.source_hash) if row.source_hash else None
            pairs[JobId(row.job_id)].append((source, ProgramHash(row.program_hash), row.found))
        return dict(pairs)

    def known_keys(self, keys: Sequence[Key]) -> set[Key]:
        """Those of these keys that a job has."""
        return {Key(row.key) for row in self._db.rows_among(sa.select(JOB.c.key), JOB.c.key, keys)}

    def remote_ids(self, keys: Sequence[Key]) -> set[RemoteId]:
        """Every remote id that an attempt of the jobs with these keys ever had."""
        query = sa.select(ATTEMPT.c.remote_id).join(JOB, JOB.c.job_id == ATTEMPT.c.job_id)
        rows = self._db.rows_among(query.where(ATTEMPT.c.remote_id.is_not(None)), JOB.c.key, keys)
        return {RemoteId(row.remote_id) for row in rows}

    def job_of_remote(self, backend: str, remote_id: RemoteId) -> JobId | None:
        """The job that has this remote id, if any."""
        query = sa.select(ATTEMPT.c.job_id).join(JOB, JOB.c.job_id == ATTEMPT.c.job_id)
        rows = self._db.rows(query.where(JOB.c.backend == backend, ATTEMPT.c.remote_id == remote_id))
        return JobId(rows[0].job_id) if rows else None
