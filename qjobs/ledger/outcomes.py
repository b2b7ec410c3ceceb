"""What became of items, read for reports: where each label is, and outcomes with their results, some at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from qjobs.ledger.database import Database, parts
from qjobs.ledger.rows import decode_result
from qjobs.ledger.tables import ITEM, ITEMS_WITH_RESULTS, RESULT
from qjobs.lifecycle import JobStatus
from qjobs.model import ItemResult, JobId

__all__ = ["ItemOutcome", "Outcomes", "Place"]

_HAS_RESULT = RESULT.c.job_id.is_not(None).label("has_result")
_SPARSE = 2
"""Items that are not wanted are read too while they are fewer than the others: one query costs as much as 50 items."""


class Place(NamedTuple):
    """Where an item is: its job, and its index there."""

    job_id: JobId
    item: int


class ItemOutcome(NamedTuple):
    """What became of one item: what a report says of it, and its result in the job's present epoch."""

    label: str
    shots: int
    status: JobStatus
    message: str
    error_detail: str | None
    cost: float | None
    no_result: str | None
    submitted_at: datetime | None
    completed_at: datetime | None
    result: ItemResult | None


_COLUMNS = (
    ITEM.c.job_id,
    ITEM.c.item_index,
    ITEM.c.label,
    ITEM.c.shots,
    ITEM.c.status,
    ITEM.c.message,
    ITEM.c.error_detail,
    ITEM.c.cost,
    ITEM.c.no_result,
    ITEM.c.submitted_at,
    ITEM.c.completed_at,
    RESULT.c.payload,
)


class Outcomes:
    """`Ledger.outcomes`: reads items with their results, as many at a time as the caller wants in memory."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def places(self, job_ids: Sequence[JobId]) -> dict[str, Place]:
        """Where the items of jobs are, by label, in the order of the jobs and their items.

        Where two jobs have the same label, the last one with a result counts, or the first one.
        """
        query = sa.select(ITEM.c.item_index, ITEM.c.label, _HAS_RESULT, ITEM.c.job_id)
        query = query.select_from(ITEMS_WITH_RESULTS).order_by(ITEM.c.job_id, ITEM.c.item_index)
        found: dict[str, Place] = {}
        for part in parts(job_ids):
            of_job: dict[JobId, list[sa.Row[Any]]] = defaultdict(list)
            for row in self._db.rows(query.where(ITEM.c.job_id.in_(part))):
                of_job[row.job_id].append(row)
            for job_id in part:
                for row in of_job.get(job_id, ()):
                    if row.has_result or row.label not in found:
                        found[row.label] = Place(job_id, row.item_index)
        return found

    def read(self, places: Iterable[Place]) -> dict[Place, ItemOutcome]:
        """The outcomes of items."""
        wanted: dict[JobId, list[int]] = defaultdict(list)
        for job_id, index in places:
            wanted[job_id].append(index)
        alone: dict[int, list[JobId]] = defaultdict(list)
        found: dict[Place, ItemOutcome] = {}
        for job_id, indices in wanted.items():
            if len(indices) == 1:
                alone[indices[0]].append(job_id)
                continue
            for first, last in _stretches(sorted(indices)):
                chosen = (ITEM.c.job_id == job_id) & ITEM.c.item_index.between(first, last)
                found.update(self._read(chosen))
        for index, job_ids in alone.items():
            for part in parts(job_ids):
                found.update(self._read(ITEM.c.job_id.in_(part) & (ITEM.c.item_index == index)))
        return found

    def _read(self, chosen: sa.ColumnElement[bool]) -> Iterator[tuple[Place, ItemOutcome]]:
        for row in self._db.rows(sa.select(*_COLUMNS).select_from(ITEMS_WITH_RESULTS).where(chosen)):
            result = None if row.payload is None else decode_result(row.payload)
            yield Place(row.job_id, row.item_index), ItemOutcome._make((*row[2:-1], result))


def _stretches(indices: Sequence[int]) -> list[tuple[int, int]]:
    """First and last of stretches that hold all of the indices, and fewer others; `indices` are in order."""
    stretches: list[tuple[int, int]] = []
    first = indices[0]
    last = first
    count = 0
    for index in indices:
        if index - first + 1 > _SPARSE * (count + 1):
            stretches.append((first, last))
            first = index
            count = 0
        last = index
        count += 1
    return [*stretches, (first, last)]
