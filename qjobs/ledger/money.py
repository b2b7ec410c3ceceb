"""Caps on what may be spent: what counts, what is left, and who has to wait.

What a submission is to cost is written into the row of its attempt, by the same transaction that claims the job. That
is the reservation, and nothing else is kept of it: what an attempt takes of its caps follows from its row
(`qjobs.model.Attempt.held`). While it is open, also while nobody knows whether it arrived, that is the larger of the
estimate and what the provider told so far. Once it is final it is what the provider told, or else the estimate. It is
0 where it is known that no remote job came of it. A claim locks the caps that count its job before it adds them up, so
that two of them never pass a cap together.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from qjobs.errors import InvalidInput, OverCap, PolicyLimit
from qjobs.ledger import transitions as moves
from qjobs.ledger.database import Database
from qjobs.ledger.planning import insert_or_ignore
from qjobs.ledger.tables import ATTEMPT, CAP, JOB, STRAY
from qjobs.lifecycle import FINAL, LIVE, JobStatus
from qjobs.model import JobId, Price

__all__ = ["Cap", "CapStanding", "Caps", "check_caps"]

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HELD = "held"
"""Cause of the event that a cap keeps a job from being sent."""
_SCOPE = ("owner", "logical_run", "backend", "device")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """What the submissions of some jobs may cost together, in one unit.

    Args:
        name: Letters, digits, `.`, `_` and `-`.
        amount: From 0.
        unit: As the backends call it, such as HQC.
        owner: It counts jobs of this owner only; None for all. So do the next three.
        logical_run: Of this logical run.
        backend: Of this backend, by its name.
        device: Of this device.
        monthly: It counts what was claimed in the present month, in UTC, and begins anew with the next one.
        allows_unknown: Jobs whose cost nobody can tell are sent, and counted by what their provider tells later.
    """

    name: str
    amount: float
    unit: str
    owner: str | None = None
    logical_run: str | None = None
    backend: str | None = None
    device: str | None = None
    monthly: bool = False
    allows_unknown: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidInput(
                f"{self.name!r} cannot be the name of a cap; take up to 64 letters, digits, '.', '_' and '-'",
                field="name",
            )
        if not 0 <= self.amount < math.inf:
            raise InvalidInput(f"a cap must be a number from 0, not {self.amount:g}", field="amount")
        if not self.unit.strip():
            raise InvalidInput(f"the cap {self.name} needs a unit, such as HQC", field="unit")

    @property
    def scope(self) -> str:
        """What it counts, in words."""
        words = [f"{name.replace('_', ' ')} {value}" for name in _SCOPE if (value := getattr(self, name)) is not None]
        return ", ".join([*words, *(["each month"] if self.monthly else [])]) or "all jobs"


@dataclass(frozen=True, slots=True, kw_only=True)
class CapStanding:
    """How far a cap is used, in its unit.

    Args:
        cap: The cap.
        told: What providers told of submissions that are over.
        estimated: Estimates of those that are over and of which no provider told anything.
        reserved: What may still be spent by those that are not over, also where nobody knows whether they arrived.
        unknown: Submissions whose cost nobody could tell, or whose unit nobody knows; none of it is in the sums.
    """

    cap: Cap
    told: float
    estimated: float
    reserved: float
    unknown: int

    @property
    def used(self) -> float:
        """All that counts."""
        return math.fsum((self.told, self.estimated, self.reserved))

    @property
    def left(self) -> float:
        """What is left; below 0 where a provider took more than was estimated, or the cap was lowered."""
        return self.cap.amount - self.used


def _exceeds(cost: float, amount: float) -> bool:
    """Whether a cost is above an amount by more than the rounding of sums."""
    return cost > amount + 1e-9 * max(1.0, amount)


def _spendings() -> sa.Subquery:
    """One row for each submission, and for each stray that no attempt is: what it takes, and why."""
    same = (ATTEMPT.c.job_id == STRAY.c.job_id) & (ATTEMPT.c.remote_id == STRAY.c.remote_id)
    is_ended = sa.exists().where(same, STRAY.c.ended_at.is_not(None))
    attempts = sa.select(
        ATTEMPT.c.job_id,
        ATTEMPT.c.claimed_at.label("at"),
        ATTEMPT.c.cost,
        ATTEMPT.c.reserved,
        ATTEMPT.c.cost_unit,
        (ATTEMPT.c.status.in_(sorted(FINAL)) | ((ATTEMPT.c.status == JobStatus.LOST) & is_ended)).label("is_over"),
        ATTEMPT.c.sent_at.is_not(None).label("is_sent"),
    )
    strays = sa.select(
        STRAY.c.job_id,
        STRAY.c.found_at,
        STRAY.c.cost,
        STRAY.c.reserved,
        STRAY.c.cost_unit,
        STRAY.c.ended_at.is_not(None),
        sa.true(),
    ).where(~sa.exists().where(same))
    return sa.union_all(attempts, strays).subquery()


@lru_cache(maxsize=32)
def _sums(names: tuple[str, ...], *, monthly: bool) -> sa.Select[Any]:
    """What the submissions of jobs that have the same words in these columns take: `unit`, `since`, `of_NAME`.

    Made once for each kind of cap: to make it anew costs more than to run it.
    """
    each = _spendings()
    told = each.c.cost
    larger = sa.case((told.is_(None), each.c.reserved), (told > each.c.reserved, told), else_=each.c.reserved)
    held = sa.case((each.c.is_over & told.is_not(None), told), (each.c.reserved.is_(None), told), else_=larger)
    ours = each.c.cost_unit == sa.bindparam("unit", type_=sa.Text())

    def total(value: sa.ColumnElement[Any], *conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[float]:
        return sa.func.coalesce(sa.func.sum(sa.case((sa.and_(*conditions), value), else_=0)), 0)

    has_no_unit = (each.c.cost_unit == "") & (held != 0)
    columns: list[sa.ColumnElement[Any]] = [
        total(held, ours, each.c.is_over, told.is_not(None)).label("told"),
        total(held, ours, each.c.is_over, told.is_(None), held.is_not(None)).label("estimated"),
        total(held, ours, ~each.c.is_over, held.is_not(None)).label("reserved"),
        total(sa.literal(1), each.c.is_sent, held.is_(None) | has_no_unit).label("unknown"),
    ]
    chosen = [JOB.c[name] == sa.bindparam(f"of_{name}") for name in names]
    query = sa.select(*columns).select_from(each.join(JOB, JOB.c.job_id == each.c.job_id)).where(*chosen)
    return query.where(each.c.at >= sa.bindparam("since")) if monthly else query


def _month_of(now: datetime) -> datetime:
    return now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _standing(connection: sa.Connection, cap: Cap, now: datetime) -> CapStanding:
    names = tuple(name for name in _SCOPE if getattr(cap, name) is not None)
    values: dict[str, object] = {f"of_{name}": getattr(cap, name) for name in names}
    values |= {"unit": cap.unit, "since": _month_of(now)} if cap.monthly else {"unit": cap.unit}
    row = connection.execute(_sums(names, monthly=cap.monthly), values).one()
    return CapStanding(
        cap=cap,
        told=float(row.told),
        estimated=float(row.estimated),
        reserved=float(row.reserved),
        unknown=int(row.unknown),
    )


def _cap_of(row: sa.Row[Any]) -> Cap:
    return Cap(**{field.name: getattr(row, field.name) for field in fields(Cap)})


_COUNTING = (
    sa.select(CAP)
    .where(*(CAP.c[name].is_(None) | (CAP.c[name] == sa.bindparam(f"of_{name}")) for name in _SCOPE))
    .order_by(CAP.c.name)
    .with_for_update()
)
"""The caps that count a job, locked until the transaction ends."""


def check_caps(
    db: Database,
    connection: sa.Connection,
    row: sa.Row[Any],
    price: Price,
    max_run_cost: float | None,
    now: datetime,
) -> None:
    """Refuse the claim of a job that a cap leaves no money for; the caps stay locked until the transaction ends.

    `max_run_cost` is what all submissions of the job's logical run may cost together, in the unit of `price`.

    Raises:
        OverCap: There is not enough left now.
        PolicyLimit: Nobody can tell what it will cost, or it is told in another unit; or its run has spent too much,
            and nothing of it is open that could leave some over.
    """
    words_of_job = {f"of_{name}": getattr(row, name) for name in _SCOPE}
    for found in connection.execute(_COUNTING, words_of_job).all():
        cap = _cap_of(found)
        problem = _refusal(row, cap, price)
        if problem:
            raise PolicyLimit(problem, job_id=row.job_id)
        words = _words_if_over(row, _standing(connection, cap, now), price.amount or 0.0)
        if words:
            raise OverCap(words, job_id=row.job_id)
    if max_run_cost is not None and row.logical_run and price.amount:
        db.lock(connection, f"qjobs-run-{row.logical_run}")
        words = _words_of_run(connection, row, price, max_run_cost)
        if words:
            raise OverCap(words, job_id=row.job_id)


def _refusal(row: sa.Row[Any], cap: Cap, price: Price) -> str:
    """Why a job can never be counted by a cap; empty if it can."""
    if price.amount is None:
        return (
            ""
            if cap.allows_unknown
            else (
                f"nobody can tell what {row.job_id} would cost on {row.device}, and the cap {cap.name} ({cap.scope}) "
                f"counts it; it is not sent; let such jobs pass with: qjobs caps set {cap.name} {cap.amount:g} "
                "--allow-unknown"
            )
        )
    if price.amount == 0 or price.unit == cap.unit:
        return ""
    unit = price.unit or "a unit that its backend does not name"
    return (
        f"{row.job_id} would cost {price.amount:g} in {unit}, and the cap {cap.name} ({cap.scope}) counts "
        f"{cap.unit}; it is not sent; give that cap a narrower scope, for example with: qjobs caps set {cap.name} "
        f"{cap.amount:g} --backend NAME"
    )


def _words_if_over(row: sa.Row[Any], standing: CapStanding, amount: float, before: float = 0.0) -> str:
    """Why a cap leaves no money for a job that costs `amount`, after others that take `before`; empty if it does."""
    cap = standing.cap
    used = standing.used + before
    if not _exceeds(used + amount, cap.amount) or amount == 0:
        return ""
    return (
        f"held by the cap {cap.name}: {row.job_id} would cost {amount:g} {cap.unit}, and {used:g} of {cap.amount:g} "
        f"are spent or reserved ({cap.scope}); it goes on when enough comes free, or with: qjobs caps set {cap.name} "
        f"{math.ceil(used + amount)}"
    )


def _words_of_run(connection: sa.Connection, row: sa.Row[Any], price: Price, max_run_cost: float) -> str:
    """Why its run leaves no money for a job; empty if it does.

    Raises:
        PolicyLimit: Nothing of the run is open that could leave some over.
    """
    values = {"unit": price.unit, "of_logical_run": row.logical_run}
    sums = connection.execute(_sums(("logical_run",), monthly=False), values).one()
    used = math.fsum((sums.told, sums.estimated, sums.reserved))
    cost = used + (price.amount or 0.0)
    if not _exceeds(cost, max_run_cost):
        return ""
    unit = f" {price.unit}" if price.unit else ""
    spent = f"{used:g} of {max_run_cost:g}{unit} are spent or reserved"
    if sums.reserved > 0:
        return f"held by the max_cost of its run: {row.job_id} would cost {price.amount:g}, and {spent}"
    enough = math.ceil(cost)
    raise PolicyLimit(
        f"{row.job_id} would cost {price.amount:g}{unit}, and {spent} of the max_cost of its run; allow it "
        f"with: qjobs jobs retry {row.job_id} --strategy FORCE_RESUBMIT --max-cost {enough}; or send less",
        job_id=row.job_id,
    )


class Caps:
    """`Ledger.caps`: the caps, how far each is used, and the jobs that wait for money."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def all(self, *, now: datetime) -> list[CapStanding]:
        """Every cap with how far it is used, by name."""
        with self._db.read() as connection:
            caps = [_cap_of(row) for row in connection.execute(sa.select(CAP).order_by(CAP.c.name)).all()]
            return [_standing(connection, cap, now) for cap in caps]

    def get(self, name: str) -> Cap | None:
        """The cap of a name, None where there is none."""
        rows = self._db.rows(sa.select(CAP).where(CAP.c.name == name))
        return _cap_of(rows[0]) if rows else None

    def put(self, cap: Cap, *, now: datetime, any_names: bool = False) -> None:
        """Set a cap, in the place of the one that has its name. What that one names is not checked again.

        Raises:
            InvalidInput: No job has the owner, the run, the backend or the device that it names, so that it may never
                count one; not with `any_names`.
        """
        if not any_names:
            self._check_names(cap, self.get(cap.name))
        values = {field.name: getattr(cap, field.name) for field in fields(Cap)} | {"set_at": now}
        with self._db.write() as connection:
            connection.execute(insert_or_ignore(self._db, CAP), values)
            connection.execute(CAP.update().where(CAP.c.name == cap.name).values(**values))
        logger.info("cap %s: %g %s, %s", cap.name, cap.amount, cap.unit, cap.scope)

    def _check_names(self, cap: Cap, known: Cap | None) -> None:
        for name in _SCOPE:
            value = getattr(cap, name)
            column = JOB.c[name]
            if value is None or (known is not None and getattr(known, name) == value):
                continue
            if self._db.rows(sa.select(column).where(column == value).limit(1)):
                continue
            query = sa.select(column.label("word")).where(column != "").distinct().order_by(column).limit(10)
            words = ", ".join(row.word for row in self._db.rows(query)) or "none"
            kind = name.replace("_", " ")
            raise InvalidInput(
                f"no job has the {kind} {value!r}, so that the cap {cap.name} would count nothing; there are: {words}; "
                "add --any-name if its first job is still to come",
                field=name,
            )

    def remove(self, name: str) -> bool:
        """Forget a cap; whether there was one."""
        with self._db.write() as connection:
            found = connection.execute(sa.delete(CAP).where(CAP.c.name == name)).rowcount
        if found:
            logger.info("cap %s: removed", name)
        return bool(found)

    def hold(self, job_ids: Sequence[JobId], *, now: datetime) -> set[JobId]:
        """Those of these jobs, in their order, that the caps leave no money for; each is told so.

        The claim counts once more; this keeps jobs from being entered in vain. Jobs that were sent before are left to
        it, and so are those of which nobody can tell the cost.
        """
        if not job_ids or not self._db.rows(sa.select(CAP.c.name).limit(1)):
            return set()
        query = sa.select(JOB).where(JOB.c.status == JobStatus.CREATED, JOB.c.cost_estimate > 0)
        rows = {row.job_id: row for row in self._db.rows_among(query, JOB.c.job_id, job_ids)}
        held: dict[JobId, str] = {}
        with self._db.read() as connection:
            standings = [_standing(connection, _cap_of(row), now) for row in connection.execute(sa.select(CAP)).all()]
            before = dict.fromkeys((standing.cap.name for standing in standings), 0.0)
            for job_id in job_ids:
                row = rows.get(job_id)
                if row is None:
                    continue
                counting = [each for each in standings if _counts(each.cap, row)]
                words = (_words_if_over(row, each, row.cost_estimate, before[each.cap.name]) for each in counting)
                found = next(filter(None, words), "")
                if found:
                    held[job_id] = found
                    continue
                for each in counting:
                    before[each.cap.name] += row.cost_estimate
        for job_id, why in held.items():
            self.tell(job_id, why, now=now)
        return set(held)

    def tell(self, job_id: JobId, why: str, *, now: datetime) -> None:
        """Write why a job is held into the job, and into its history where it is held by something else than before."""
        with self._db.write() as connection:
            row = moves.locked_job(connection, job_id)
            if row.status in LIVE or row.trouble == why:
                return
            connection.execute(JOB.update().where(JOB.c.job_id == job_id).values(trouble=why))
            by = why.partition(":")[0]
            if (row.trouble or "").partition(":")[0] != by:
                moves.record_event(connection, row, None, _HELD, why, now)
                logger.warning("%s", why)


def _counts(cap: Cap, row: sa.Row[Any]) -> bool:
    return all(getattr(cap, name) in {None, getattr(row, name)} for name in _SCOPE)
