"""What a report changes of the items of a job: decided once for items that are alike, and written by spans of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from qjobs.ledger.judgement import Judgement
from qjobs.ledger.tables import EVENT, ITEM, TIMED_STATUSES
from qjobs.lifecycle import REOPENS, JobStatus, can_move
from qjobs.model import ItemSnapshot, JobId

__all__ = ["ALIVE_AGAIN", "REPORTED", "Change", "Changes", "Known", "change_of"]

ALIVE_AGAIN = "alive again"
"""Cause of the event of what was final and is not."""
REPORTED: tuple[sa.ColumnElement[Any], ...] = (
    ITEM.c.item_index,
    sa.type_coerce(ITEM.c.status, sa.String).label("status"),
    ITEM.c.message,
    ITEM.c.error_detail,
    ITEM.c.queue_position,
    ITEM.c.cost,
)
"""Columns that a report can change; to read the others would cost more than the rest of a poll."""


class Known(NamedTuple):
    """The columns `REPORTED` of an item, but for its index."""

    status: str
    message: str
    error_detail: str | None
    queue_position: int | None
    cost: float | None


class _Event(NamedTuple):
    """The event of a move, but for the item's index."""

    old: JobStatus
    new: JobStatus
    cause: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a report changes of an item: its columns, its status afterwards, and the event of its move.

    `refuses` says that the item is final and that the report of another status counts for nothing.
    """

    after: JobStatus
    values: tuple[tuple[str, Any], ...] = ()
    event: _Event | None = None
    refuses: bool = False


def change_of(known: Known, report: ItemSnapshot, judgement: Judgement, now: datetime, cause: str) -> Change:
    """What a report changes of an item; nothing once it is final, unless COMPLETED won over a cancellation."""
    old = JobStatus(known.status)
    new = report.status
    if not judgement.may_touch(old, new):
        return Change(after=old)
    if old is not new and not judgement.may_move(old, new):
        return Change(after=old, refuses=True)
    values: dict[str, Any] = {}
    if report.message != known.message:
        values["message"] = report.message
    if report.error_detail != known.error_detail:
        values["error_detail"] = report.error_detail
    if report.queue_position != known.queue_position:
        values["queue_position"] = report.queue_position
    if report.cost is not None and report.cost != known.cost:
        values["cost"] = report.cost
    if old is new:
        return Change(after=old, values=tuple(values.items()))
    values["status"] = new
    for status, at in {new: now, **report.times}.items():
        if status in TIMED_STATUSES:
            values[f"{status.lower()}_at"] = at
    if old in REOPENS:
        values |= {"cancel_requested_at": None, "no_result": None}
    why = cause if can_move(old, new) else ALIVE_AGAIN
    return Change(after=new, values=tuple(values.items()), event=_Event(old, new, why, report.message))


@dataclass(slots=True)
class Changes:
    """The changes of a job's items, collected in the order of their indices and written together."""

    moved: Counter[JobStatus] = field(default_factory=Counter)
    """How many items move to each status."""
    cause: str = ""
    """Cause of the first move."""
    _updates: dict[tuple[tuple[str, Any], ...], list[int]] = field(default_factory=lambda: defaultdict(list))
    _events: dict[_Event, list[int]] = field(default_factory=lambda: defaultdict(list))

    def add(self, index: int, change: Change) -> None:
        """Take the change of one item."""
        if change.values:
            self._updates[change.values].append(index)
        if change.event is not None:
            self.cause = self.cause or change.event.cause
            self.moved[change.event.new] += 1
            self._events[change.event].append(index)

    def write(self, connection: sa.Connection, job_id: JobId, now: datetime) -> None:
        """Write them, and one event for each item that moves. The job's row is locked."""
        rows: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
        for values, indices in self._updates.items():
            named = dict(values)
            for first, last in _spans(indices):
                rows[tuple(named)].append({"at_job": job_id, "first": first, "last": last, **named})
        for names, changes in rows.items():
            connection.execute(_update(names), changes)
        events = []
        for event, indices in self._events.items():
            for first, last in _spans(indices):
                events.append({"at_job": job_id, "first": first, "last": last, "at": now, **event._asdict()})
        if events:
            connection.execute(_INSERT_EVENTS, events)


def _insert_events() -> sa.Insert:
    """One event for each item of a span of a job's items; what it says is bound."""
    bound = [sa.bindparam(name, type_=EVENT.c[name].type) for name in ("at", *_Event._fields)]
    chosen = sa.select(ITEM.c.job_id, ITEM.c.item_index, *bound).where(_SPAN).order_by(ITEM.c.item_index)
    return EVENT.insert().from_select(["job_id", "item_index", "at", *_Event._fields], chosen)


_SPAN = (ITEM.c.job_id == sa.bindparam("at_job")) & ITEM.c.item_index.between(
    sa.bindparam("first"), sa.bindparam("last")
)
_INSERT_EVENTS = _insert_events()


@lru_cache(maxsize=256)
def _update(names: tuple[str, ...]) -> sa.Update:
    """Writes these columns of a span of a job's items."""
    return ITEM.update().where(_SPAN).values({name: sa.bindparam(name) for name in names})


def _spans(indices: Sequence[int]) -> list[tuple[int, int]]:
    """The first and the last of each run of consecutive numbers.

    >>> _spans([0, 1, 2, 5, 7, 8])
    [(0, 2), (5, 5), (7, 8)]
    """
    spans: list[tuple[int, int]] = []
    first = last = indices[0]
    for index in indices[1:]:
        if index != last + 1:
            spans.append((first, last))
            first = index
        last = index
    return [*spans, (first, last)]
