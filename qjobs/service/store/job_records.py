"""Jobs and items as they are read, and their status in the form that clients get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qjobs.lifecycle import JobStatus
from qjobs.service import tables as schema
from qjobs.service.tables import TIMED

_SHOWN_TIMES = (
    JobStatus.COMPLETED,
    JobStatus.QUEUED,
    JobStatus.SUBMITTED,
    JobStatus.RUNNING,
    JobStatus.CANCELLED,
    JobStatus.ERROR,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """One job. `times` holds the moment at which it reached each of its statuses."""

    job_id: str
    sequence: int
    project_id: str
    owner_id: str
    name: str
    description: str
    properties: Mapping[str, Any]
    created_at: datetime
    modified_at: datetime
    job_type: str
    device: str
    definition: Mapping[str, Any] = field(repr=False)
    cancel_requested_at: datetime | None
    status: JobStatus
    message: str
    error_detail: str | None
    cost: float | None
    times: Mapping[JobStatus, datetime]
    queue_position: int | None = None
    """1 is the next one; None unless it is QUEUED."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRecord:
    """One item of a job."""

    item_uuid: str
    job_id: str
    item_id: int
    program_id: str
    n_shots: int | None
    max_cost: float | None
    n_qubits: int | None
    external_handle: str | None
    result_id: str | None
    result_type: str | None
    compilation_id: str | None
    cost_confidence: float | None
    tries: int
    ready_at: datetime | None
    status: JobStatus
    message: str
    error_detail: str | None
    cost: float | None
    times: Mapping[JobStatus, datetime]
    queue_position: int | None = None

    @property
    def has_result(self) -> bool:
        """Whether its result, or its compilation, is stored."""
        return self.result_id is not None or self.compilation_id is not None


def time_column(status: JobStatus) -> str:
    """Name of the column that keeps when a row reached a status."""
    return f"{status.lower()}_at"


_TIMES = [(status, time_column(status)) for status in TIMED]
_TIME_COLUMNS = {name for _, name in _TIMES}
_JOB_COLUMNS = [column.name for column in schema.job.columns if column.name not in _TIME_COLUMNS]
_ITEM_COLUMNS = [column.name for column in schema.job_item.columns if column.name not in _TIME_COLUMNS]


def job_record(row: sa.Row[Any], positions: Mapping[str, int]) -> JobRecord:
    """The job of a row of `schema.job`; `positions` are those in the queues, by job."""
    return JobRecord(**_values(row, _JOB_COLUMNS, positions))


def item_record(row: sa.Row[Any], positions: Mapping[str, int]) -> ItemRecord:
    """The item of a row of `schema.job_item`."""
    return ItemRecord(**_values(row, _ITEM_COLUMNS, positions))


def _values(row: sa.Row[Any], columns: list[str], positions: Mapping[str, int]) -> dict[str, Any]:
    found = row._mapping
    values: dict[str, Any] = {name: found[name] for name in columns}
    values["status"] = JobStatus(values["status"])
    times = {}
    for status, name in _TIMES:
        moment = found[name]
        if moment is not None:
            times[status] = moment
    values["times"] = times
    if values["status"] is JobStatus.QUEUED:
        values["queue_position"] = positions.get(values["job_id"])
    return values


def status_body(record: JobRecord | ItemRecord) -> dict[str, Any]:
    """The status object of docs/nexus.md, "Jobs"; `cost_confidence` only where there is one."""
    body: dict[str, Any] = {
        "status": record.status.value,
        "message": record.message,
        "error_detail": record.error_detail,
        "queue_position": record.queue_position,
        "cost": record.cost,
    }
    for status in _SHOWN_TIMES:
        moment = record.times.get(status)
        body[f"{status.lower()}_time"] = moment.isoformat() if moment else None
    if isinstance(record, ItemRecord) and record.cost_confidence is not None:
        body["cost_confidence"] = record.cost_confidence
    return body
