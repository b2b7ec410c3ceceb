"""Jobs of suspended runs that wait for a place at their device, and who sends them next.

A run that is suspended writes down which of its jobs are still to be submitted, and on what terms. Whoever sends one
takes its entry first, and counts the entry before anything else: one that is killed in the middle of it is entered
again as a stage that failed is, and never as if it were the first time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from qjobs.ledger.database import Database, log_after_commit, parts
from qjobs.ledger.liveness import display_owner, has_ended
from qjobs.ledger.tables import DISPATCH, DISPATCH_TERMS, JOB, LIVE_WORDS
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId, JsonValue, ProgramHash, RemoteRetryStrategy

__all__ = ["Dispatches", "Entry", "Lane", "Terms", "Turn", "add_entries", "forget_entries", "forget_job"]

_HELD_S = 600.0
"""How long an entry is held whose process neither settles it nor is proved to have ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How jobs are to be submitted: the name that opens their backend, the strategy of the first entry, and the rest.

    `policy` is that of the retries and the caps, as `qjobs.operations.retry.RetryPolicy.as_json` has it. `programs` are
    the circuits that a restart sends instead.
    """

    opened_as: str
    strategy: RemoteRetryStrategy
    policy: Mapping[str, JsonValue]
    programs: Mapping[ProgramHash, ProgramHash] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """A device behind one opened backend, for which jobs wait; `failures` and `trouble` are those since a job was sent.

    `due_at` is when something may be sent to it again; None for at once.
    """

    backend: str
    device: str
    opened_as: str
    failures: int = 0
    due_at: datetime | None = None
    trouble: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A run of which jobs wait in a lane; `served_at` is when one of them was sent last."""

    flow_run_id: str
    registered_at: datetime
    served_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A job that waits, on which terms, and how its job stands; `entries` is how often its submission was entered."""

    flow_run_id: str
    job_id: JobId
    terms: Terms
    entries: int
    status: JobStatus


class Dispatches:
    """`Ledger.dispatches`: the jobs that wait for a place at their device, in the order in which they are sent."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def lanes(self) -> list[Lane]:
        """The lanes in which a job waits, in the order of their names."""
        terms = DISPATCH_TERMS.c
        names = (terms.backend, terms.device, terms.opened_as)
        query = (
            sa.select(
                *names,
                sa.func.max(terms.failures).label("failures"),
                sa.func.max(terms.due_at).label("due_at"),
                sa.func.max(terms.trouble).label("trouble"),
            )
            .where(_has_entries())
            .group_by(*names)
            .order_by(*names)
        )
        return [
            Lane(
                backend=row.backend,
                device=row.device,
                opened_as=row.opened_as,
                failures=row.failures,
                due_at=row.due_at,
                trouble=row.trouble or None,
            )
            for row in self._db.rows(query)
        ]

    def turns(self, lane: Lane) -> list[Turn]:
        """The runs of a lane, the next one first: the one that was served longest ago, then the longest waiting."""
        terms = DISPATCH_TERMS.c
        query = (
            sa.select(
                terms.flow_run_id,
                sa.func.min(terms.registered_at).label("registered_at"),
                sa.func.max(terms.served_at).label("served_at"),
            )
            .where(_of_lane(lane), _has_entries())
            .group_by(terms.flow_run_id)
        )
        found = []
        for row in self._db.rows(query):
            found.append(Turn(flow_run_id=row.flow_run_id, registered_at=row.registered_at, served_at=row.served_at))
        return sorted(found, key=_order)

    def due(self, lane: Lane, flow_run_id: str, *, now: datetime, limit: int) -> list[Entry]:
        """The next jobs of a run that need a place and are to be entered now, in the order of submission."""
        terms = self._terms_of(lane, [flow_run_id])
        numbers = [number for _, number in terms]
        # The place comes from the index where all have the same terms: a run may have 100,000 jobs.
        query = (
            sa.select(DISPATCH, JOB.c.status)
            .join(JOB, JOB.c.job_id == DISPATCH.c.job_id)
            .where(DISPATCH.c.flow_run_id == flow_run_id, _is_one_of(DISPATCH.c.terms, numbers))
            .where(JOB.c.status.not_in(LIVE_WORDS), _is_free(self._dead_owners(), now))
            .order_by(DISPATCH.c.place)
            .limit(limit)
        )
        return [_entry_of(row, terms) for row in self._db.rows(query)]

    def due_in_place(self, lane: Lane, *, now: datetime) -> list[Entry]:
        """The jobs that have a place at the device already and are to be entered now: somebody has sent them.

        It may be a reply that was lost, a sensor that was killed, or another run that waits for the same job.
        """
        query = (
            sa.select(DISPATCH, JOB.c.status)
            .join(JOB, JOB.c.job_id == DISPATCH.c.job_id)
            .where(JOB.c.backend == lane.backend, JOB.c.device == lane.device, JOB.c.status.in_(LIVE_WORDS))
            .where(_is_free(self._dead_owners(), now))
            .order_by(DISPATCH.c.flow_run_id, DISPATCH.c.place)
        )
        rows = self._db.rows(query)
        terms = self._terms_of(lane, sorted({row.flow_run_id for row in rows}))
        return [_entry_of(row, terms) for row in rows if (row.flow_run_id, row.terms) in terms]

    def _terms_of(self, lane: Lane, runs: Sequence[str]) -> dict[tuple[str, int], Terms]:
        query = sa.select(DISPATCH_TERMS).where(_of_lane(lane)).order_by(DISPATCH_TERMS.c.number)
        found = {}
        for row in self._db.rows_among(query, DISPATCH_TERMS.c.flow_run_id, runs):
            programs = {ProgramHash(given): ProgramHash(sent) for given, sent in row.programs.items()}
            found[row.flow_run_id, row.number] = Terms(
                opened_as=row.opened_as,
                strategy=RemoteRetryStrategy(row.strategy),
                policy=row.policy,
                programs=programs,
            )
        return found

    def _dead_owners(self) -> list[str]:
        """Processes that took an entry and are proved to have ended."""
        query = sa.select(DISPATCH.c.taken_by).where(DISPATCH.c.taken_by.is_not(None)).distinct()
        return [row.taken_by for row in self._db.rows(query) if has_ended(row.taken_by)]

    def take(self, entry: Entry, *, owner: str, now: datetime) -> bool:
        """Take an entry to submit its job, and count it; False where another process was faster, or the run is over.

        Nobody else gets it within ten minutes, unless `owner` (`qjobs.ledger.liveness.lease_owner`) is proved to have
        ended.
        """
        free = _is_free(self._dead_owners(), now)
        values = {"entries": entry.entries + 1, "due_at": now + timedelta(seconds=_HELD_S), "taken_by": owner}
        with self._db.write() as connection:
            update = DISPATCH.update().where(_one(entry), DISPATCH.c.entries == entry.entries, free)
            if connection.execute(update.values(**values)).rowcount == 0:
                return False
            line = "%s: %s sends it for the flow run %s, entry %d"
            log_after_commit(connection, line, entry.job_id, display_owner(owner), entry.flow_run_id, entry.entries + 1)
        return True

    def is_held(self, entry: Entry, owner: str) -> bool:
        """Whether a process still has an entry that it took: it has not, once its run is awake, or over."""
        query = sa.select(DISPATCH.c.job_id).where(_one(entry), DISPATCH.c.taken_by == owner)
        return bool(self._db.rows(query))

    def release(self, lane: Lane, owner: str) -> None:
        """Free the entries that a process took in an earlier pass over this lane, which failed."""
        held = (DISPATCH.c.taken_by == owner) & sa.exists().where(_terms_of_entry(), _of_lane(lane))
        if self._db.rows(sa.select(DISPATCH.c.job_id).where(held).limit(1)):
            with self._db.write() as connection:
                connection.execute(DISPATCH.update().where(held).values(due_at=None, taken_by=None))

    def put_back(self, entry: Entry, *, due_at: datetime | None, counts: bool) -> None:
        """The job waits on, and is entered again at `due_at`, None for at once; the entry `counts`, or it does not."""
        values = {"entries": entry.entries + counts, "due_at": due_at, "taken_by": None}
        with self._db.write() as connection:
            connection.execute(DISPATCH.update().where(_one(entry)).values(**values))

    def finish(self, entry: Entry) -> None:
        """The job waits no longer: it is sent, or nothing more is to be done about it. Idempotent."""
        with self._db.write() as connection:
            connection.execute(sa.delete(DISPATCH).where(_one(entry)))

    def serve(self, lane: Lane, runs: Collection[str], *, now: datetime) -> None:
        """Record that jobs of these runs were sent: the lane has no trouble, and it is the turn of others."""
        if not runs:
            return
        chosen = _of_lane(lane)
        with self._db.write() as connection:
            served = chosen & DISPATCH_TERMS.c.flow_run_id.in_(sorted(runs))
            connection.execute(DISPATCH_TERMS.update().where(served).values(served_at=now))
            troubled = chosen & ((DISPATCH_TERMS.c.failures > 0) | DISPATCH_TERMS.c.due_at.is_not(None))
            connection.execute(DISPATCH_TERMS.update().where(troubled).values(failures=0, due_at=None, trouble=None))

    def park(self, lane: Lane, *, due_at: datetime, trouble: str) -> None:
        """Send nothing to a lane before `due_at`, because of this trouble."""
        values = {"due_at": due_at, "trouble": trouble, "failures": DISPATCH_TERMS.c.failures + 1}
        with self._db.write() as connection:
            connection.execute(DISPATCH_TERMS.update().where(_of_lane(lane)).values(**values))
            log_after_commit(connection, "nothing is sent to %s until %s: %s", lane.opened_as, due_at, trouble)

    def is_waited_for(self, backend: str, device: str) -> bool:
        """Whether a job waits for a place at this device."""
        chosen = (DISPATCH_TERMS.c.backend == backend) & (DISPATCH_TERMS.c.device == device)
        return bool(self._db.rows(sa.select(DISPATCH_TERMS.c.number).where(chosen, _has_entries()).limit(1)))

    def waiting(self, job_ids: Sequence[JobId]) -> set[JobId]:
        """Those of these jobs that wait to be sent."""
        query = sa.select(DISPATCH.c.job_id)
        return {JobId(row.job_id) for row in self._db.rows_among(query, DISPATCH.c.job_id, job_ids)}

    def counts(self) -> dict[str, int]:
        """How many jobs wait to be sent, by their device."""
        query = (
            sa.select(JOB.c.device, sa.func.count(sa.distinct(DISPATCH.c.job_id)).label("found"))
            .join(JOB, JOB.c.job_id == DISPATCH.c.job_id)
            .group_by(JOB.c.device)
            .order_by(JOB.c.device)
        )
        return {row.device: row.found for row in self._db.rows(query)}


def add_entries(
    connection: sa.Connection,
    flow_run_id: str,
    to_send: Sequence[tuple[Terms, Sequence[JobId]]],
    now: datetime,
) -> None:
    """Write down which jobs of a run are to be sent, and on what terms; the order given is that of submission."""
    terms_rows: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for terms, job_ids in to_send:
        for (backend, device), chosen in _by_device(connection, job_ids).items():
            number = len(terms_rows)
            terms_rows.append(
                {
                    "flow_run_id": flow_run_id,
                    "number": number,
                    "backend": backend,
                    "device": device,
                    "opened_as": terms.opened_as,
                    "strategy": terms.strategy,
                    "policy": dict(terms.policy),
                    "programs": dict(terms.programs),
                    "registered_at": now,
                }
            )
            for job_id in chosen:
                row = {"flow_run_id": flow_run_id, "job_id": job_id, "terms": number, "place": len(rows)}
                rows.append(row)
    if rows:
        connection.execute(DISPATCH_TERMS.insert(), terms_rows)
        connection.execute(DISPATCH.insert(), rows)


def _by_device(connection: sa.Connection, job_ids: Sequence[JobId]) -> dict[tuple[str, str], list[JobId]]:
    """Jobs by what they were planned for, in their order."""
    places: dict[JobId, tuple[str, str]] = {}
    query = sa.select(JOB.c.job_id, JOB.c.backend, JOB.c.device)
    for part in parts(list(job_ids)):
        for row in connection.execute(query.where(JOB.c.job_id.in_(part))):
            places[JobId(row.job_id)] = (row.backend, row.device)
    found: dict[tuple[str, str], list[JobId]] = {}
    for job_id in job_ids:
        found.setdefault(places[job_id], []).append(job_id)
    return found


def forget_entries(connection: sa.Connection, flow_run_id: str) -> None:
    """Forget what was to be sent for a run: it is awake, or it is over."""
    for table in (DISPATCH, DISPATCH_TERMS):
        connection.execute(sa.delete(table).where(table.c.flow_run_id == flow_run_id))


def forget_job(connection: sa.Connection, job_id: JobId) -> None:
    """Forget that a job was to be sent: it was cancelled."""
    connection.execute(sa.delete(DISPATCH).where(DISPATCH.c.job_id == job_id))


def _terms_of_entry() -> sa.ColumnElement[bool]:
    return (DISPATCH_TERMS.c.flow_run_id == DISPATCH.c.flow_run_id) & (DISPATCH_TERMS.c.number == DISPATCH.c.terms)


def _has_entries() -> sa.ColumnElement[bool]:
    return sa.exists().where(_terms_of_entry())


def _of_lane(lane: Lane) -> sa.ColumnElement[bool]:
    return (
        (DISPATCH_TERMS.c.backend == lane.backend)
        & (DISPATCH_TERMS.c.device == lane.device)
        & (DISPATCH_TERMS.c.opened_as == lane.opened_as)
    )


def _one(entry: Entry) -> sa.ColumnElement[bool]:
    return (DISPATCH.c.flow_run_id == entry.flow_run_id) & (DISPATCH.c.job_id == entry.job_id)


def _is_free(dead: Collection[str], now: datetime) -> sa.ColumnElement[bool]:
    """Entries whose time has come, and those whose process has ended."""
    has_come = DISPATCH.c.due_at.is_(None) | (DISPATCH.c.due_at <= now)
    return has_come | DISPATCH.c.taken_by.in_(sorted(dead)) if dead else has_come


def _order(turn: Turn) -> tuple[bool, datetime, datetime, str]:
    return (turn.served_at is not None, turn.served_at or turn.registered_at, turn.registered_at, turn.flow_run_id)


def _is_one_of(column: sa.ColumnElement[int], numbers: Sequence[int]) -> sa.ColumnElement[bool]:
    return column == numbers[0] if len(numbers) == 1 else column.in_(numbers)


def _entry_of(row: sa.Row[Any], terms: Mapping[tuple[str, int], Terms]) -> Entry:
    return Entry(
        flow_run_id=row.flow_run_id,
        job_id=JobId(row.job_id),
        terms=terms[row.flow_run_id, row.terms],
        entries=row.entries,
        status=JobStatus(row.status),
    )
