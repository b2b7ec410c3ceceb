"""Which jobs a list is about: the filters of the Nexus client's `jobs.get_all`, on the jobs of a ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from qjobs.ledger.tables import EVENT, ITEM, JOB
from qjobs.lifecycle import JobStatus
from qjobs.model import JobKind

__all__ = ["JobFilter", "JobOrder", "Scalar", "query_of"]

Scalar = str | int | float | bool


class JobOrder(StrEnum):
    """What a list of jobs is ordered by."""

    NEWEST = "newest"
    OLDEST = "oldest"
    NAME = "name"
    STATUS = "status"
    FINISHED = "finished"
    """Those that ended last come first, and those that have not ended at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs are meant; what is None or empty narrows nothing.

    `id_begins` is the beginning of a job id, `name_like` a part of a name in upper or lower case. `since` and `until`
    bound when a job was created, `changed_since` and `changed_until` its latest event, each included. `label` is that
    of an item. `properties` holds values that a job's own properties must have. `limit` jobs are left out `page` times
    before the first.
    """

    id_begins: str = ""
    statuses: tuple[JobStatus, ...] = ()
    kind: JobKind | None = None
    name_like: str = ""
    experiment: str = ""
    run: str = ""
    backend: str = ""
    device: str = ""
    owner: str = ""
    project: str = ""
    label: str = ""
    properties: Mapping[str, Scalar] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None
    changed_since: datetime | None = None
    changed_until: datetime | None = None
    order: JobOrder = JobOrder.NEWEST
    limit: int | None = None
    page: int = 0

    @property
    def is_narrow(self) -> bool:
        """Whether it leaves out any job of a ledger, but by its limit and page."""
        return replace(self, order=JobOrder.NEWEST, limit=None, page=0) != JobFilter()


def query_of(chosen: JobFilter) -> sa.Select[Any]:
    """The rows of the jobs that are meant, in order."""
    query = sa.select(JOB).where(*_equal(chosen), *_bounds(chosen))
    if chosen.statuses:
        query = query.where(JOB.c.status.in_(sorted(chosen.statuses)))
    if chosen.id_begins:
        query = query.where(JOB.c.job_id.startswith(chosen.id_begins, autoescape=True))
    if chosen.name_like:
        query = query.where(JOB.c.name.icontains(chosen.name_like, autoescape=True))
    if chosen.run:
        query = query.where(sa.or_(JOB.c.logical_run == chosen.run, JOB.c.run == chosen.run))
    if chosen.label:
        query = query.where(sa.exists().where(ITEM.c.job_id == JOB.c.job_id, ITEM.c.label == chosen.label))
    for name, value in chosen.properties.items():
        query = query.where(_has(name, value))
    query = query.order_by(*_order(chosen.order), JOB.c.job_id)
    if chosen.limit is not None:
        query = query.limit(chosen.limit).offset(chosen.limit * chosen.page)
    return query


def _equal(chosen: JobFilter) -> list[sa.ColumnElement[bool]]:
    found = []
    for name in ("kind", "experiment", "backend", "device", "owner", "project"):
        value = getattr(chosen, name)
        if value:
            found.append(JOB.c[name] == value)
    return found


def _bounds(chosen: JobFilter) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    later = sa.exists().where(EVENT.c.job_id == JOB.c.job_id)
    if chosen.since is not None:
        found.append(JOB.c.created_at >= chosen.since)
    if chosen.until is not None:
        found.append(JOB.c.created_at <= chosen.until)
    if chosen.changed_since is not None:
        found.append(later.where(EVENT.c.at >= chosen.changed_since))
    if chosen.changed_until is not None:
        found.append(~later.where(EVENT.c.at > chosen.changed_until))
    return found


def _has(name: str, value: Scalar) -> sa.ColumnElement[bool]:
    found = JOB.c.properties[name]
    typed: sa.ColumnElement[Any]
    match value:
        case bool():
            typed = found.as_boolean()
        case int():
            typed = found.as_integer()
        case float():
            typed = found.as_float()
        case _:
            typed = found.as_string()
    return typed == value


def _order(order: JobOrder) -> list[sa.ColumnElement[Any]]:
    match order:
        case JobOrder.NEWEST:
            return [JOB.c.created_at.desc()]
        case JobOrder.OLDEST:
            return [JOB.c.created_at]
        case JobOrder.NAME:
            return [JOB.c.name, JOB.c.created_at.desc()]
        case JobOrder.STATUS:
            return [JOB.c.status, JOB.c.created_at.desc()]
        case JobOrder.FINISHED:
            return [JOB.c.finished_at.desc().nulls_last(), JOB.c.created_at.desc()]
