"""What jobs cost: the estimates that were made beside what providers said, in groups."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from qjobs.ledger.job_filter import JobFilter, query_of
from qjobs.ledger.tables import ATTEMPT
from qjobs.lifecycle import JobStatus

__all__ = ["CostGroup", "CostLine", "statement_of", "statement_query"]


class CostGroup(StrEnum):
    """What the lines of a statement tell apart, beside the backend."""

    MONTH = "month"
    """The month in which a job was made, in UTC."""
    DEVICE = "device"
    OWNER = "owner"
    PROJECT = "project"
    EXPERIMENT = "experiment"


@dataclass(frozen=True, slots=True, kw_only=True)
class CostLine:
    """One line of a statement, in the unit of its backend's provider (HQC, credits).

    Args:
        backend: Its name.
        groups: The words that were asked for, in order.
        jobs: How many there are.
        submissions: What was sent to the provider, also where nobody knows whether it arrived.
        circuits: Those of all jobs.
        estimate: Sum over the jobs that have one; None where none has.
        no_estimate: Jobs that have none.
        cost: What the provider told, in all; None where it told nothing.
        told_of: The estimates of those jobs whose cost was told, to compare it with; None where there are none.
        unknown: Jobs that were sent and have ended, and whose cost nobody told. Free ones (estimate 0) do not count.
        unfinished: Jobs that were sent and may still cost more.
    """

    backend: str
    groups: tuple[str, ...]
    jobs: int
    submissions: int
    circuits: int
    estimate: float | None
    no_estimate: int
    cost: float | None
    told_of: float | None
    unknown: int
    unfinished: int

    def named(self, by: Sequence[CostGroup]) -> dict[str, str | int | float | None]:
        """The line with the names of its groups, as `by` has them, before the others."""
        found: dict[str, str | int | float | None] = {}
        for group, word in zip(by, self.groups, strict=True):
            found[group.value] = word
        found.update((name, value) for name, value in asdict(self).items() if name != "groups")
        return found


def statement_query(chosen: JobFilter) -> sa.Select[Any]:
    """Rows for `statement_of`, one a job."""
    jobs = query_of(chosen).subquery()
    sent = (
        sa.select(ATTEMPT.c.job_id, sa.func.count().label("sent"))
        .where(ATTEMPT.c.sent_at.is_not(None))
        .group_by(ATTEMPT.c.job_id)
        .subquery()
    )
    names = ("backend", "device", "owner", "project", "experiment", "created_at", "status", "n_items")
    columns = (*(jobs.c[name] for name in names), jobs.c.cost_estimate, jobs.c.cost, sent.c.sent)
    return sa.select(*columns).select_from(jobs.outerjoin(sent, sent.c.job_id == jobs.c.job_id))


@dataclass(slots=True)
class _Sums:
    jobs: int = 0
    submissions: int = 0
    circuits: int = 0
    estimates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    told_of: list[float] = field(default_factory=list)
    unknown: int = 0
    unfinished: int = 0

    def add(self, row: sa.Row[Any]) -> None:
        sent = row.sent or 0
        self.jobs += 1
        self.submissions += sent
        self.circuits += row.n_items
        if row.cost_estimate is not None:
            self.estimates.append(row.cost_estimate)
        if row.cost is not None:
            self.costs.append(row.cost)
            if row.cost_estimate is not None:
                self.told_of.append(row.cost_estimate)
        if sent and not JobStatus(row.status).is_final:
            self.unfinished += 1
        elif sent and row.cost is None and row.cost_estimate != 0:
            self.unknown += 1


def statement_of(rows: Iterable[sa.Row[Any]], by: Sequence[CostGroup]) -> list[CostLine]:
    """The lines of a statement, in the order of their groups and then of the backends."""
    found: dict[tuple[tuple[str, ...], str], _Sums] = {}
    for row in rows:
        groups = tuple(_word(row, group) for group in by)
        found.setdefault((groups, row.backend), _Sums()).add(row)
    return [_line(groups, backend, sums) for (groups, backend), sums in sorted(found.items(), key=lambda pair: pair[0])]


def _word(row: sa.Row[Any], group: CostGroup) -> str:
    if group is CostGroup.MONTH:
        return f"{row.created_at.astimezone(UTC):%Y-%m}"
    return str(getattr(row, group.value))


def _line(groups: tuple[str, ...], backend: str, sums: _Sums) -> CostLine:
    return CostLine(
        backend=backend,
        groups=groups,
        jobs=sums.jobs,
        submissions=sums.submissions,
        circuits=sums.circuits,
        estimate=_sum(sums.estimates),
        no_estimate=sums.jobs - len(sums.estimates),
        cost=_sum(sums.costs),
        told_of=_sum(sums.told_of),
        unknown=sums.unknown,
        unfinished=sums.unfinished,
    )


def _sum(values: Sequence[float]) -> float | None:
    return math.fsum(values) if values else None
