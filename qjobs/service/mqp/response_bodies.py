"""Bodies of answers, in the words that the portal's clients read (docs/mqp.md)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from qjobs.service.mqp.records import CircuitJob, HamiltonianJob, Kind, MqpStatus, Resource

__all__ = ["listed_body", "moment", "portal_row", "resource_body", "result_body"]

ROUTES = {Kind.CIRCUIT: "job", Kind.HAMILTONIAN: "hamiltonian_job"}


def moment(time: datetime | None) -> str:
    """A moment in UTC, always with six digits of a second, which both clients want; empty for none.

    >>> moment(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    '2026-01-02 03:04:05.000000'
    """
    return "" if time is None else time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def resource_body(resource: Resource, now: datetime) -> dict[str, Any]:
    """A resource as it is now; connectivity and instructions are literals of Python in a text, or "None"."""
    return {
        "name": resource.name,
        "qubits": resource.qubits,
        "online": not resource.is_away(now),
        "connectivity": resource.connectivity or "None",
        "instructions": resource.instructions or "None",
    }


def result_body(job: CircuitJob | HamiltonianJob) -> dict[str, Any]:
    """The result as a JSON text, null where there is none.

    The clients cannot read an empty `timestamp_scheduled`: a job that nobody has scheduled shows when it was submitted.
    """
    return {
        "result": job.result if job.status is MqpStatus.COMPLETED else None,
        "timestamp_submitted": moment(job.timestamp_submitted),
        "timestamp_scheduled": moment(job.timestamp_scheduled or job.timestamp_submitted),
        "timestamp_completed": moment(job.timestamp_completed),
    }


def portal_row(job: CircuitJob) -> dict[str, Any]:
    """A row of the list of the portal's website."""
    return {
        "id": job.id,
        "status": job.status.value,
        "shots": job.shots,
        "circuit": job.circuit,
        "circuit_format": job.circuit_format,
        "no_modify": job.no_modify,
        "queued": job.queued,
        "owner": job.owner,
        "budget": job.budget,
        "target_specification": job.target_specification,
        "executed_resource": job.executed_resource,
        "executed_circuit": job.executed_circuit,
        "cost": job.cost,
        "note": job.note,
        "result": job.result,
        "timestamp_submitted": moment(job.timestamp_submitted),
        "timestamp_scheduled": moment(job.timestamp_scheduled),
        "timestamp_completed": moment(job.timestamp_completed),
    }


def listed_body(row: sa.Row[Any]) -> dict[str, Any]:
    """A row of `GET /v1/jobs`: either kind of job, without its circuits and its result."""
    return {
        "uuid": str(row.id),
        "type": ROUTES[Kind(row.kind)],
        "status": row.status,
        "resource_name": row.target_specification,
        "idempotency_key": row.key,
        "note": row.note,
        "timestamp_submitted": moment(row.timestamp_submitted),
        "timestamp_scheduled": moment(row.timestamp_scheduled),
        "timestamp_completed": moment(row.timestamp_completed),
    }
