"""Jobs of the Munich Quantum Portal, and its resources, as values."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from qjobs.errors import InvalidInput
from qjobs.service.mqp.reasons import Reason
from qjobs.service.tables import MqpStatus

__all__ = [
    "MAX_ACTIVE_JOBS_PER_USER_PER_RESOURCE",
    "MAX_QUEUING_TIME",
    "CircuitJob",
    "HamiltonianJob",
    "KeyReused",
    "Kind",
    "MqpStatus",
    "Resource",
    "job_of",
]

MAX_QUEUING_TIME = 86_400
"""Seconds for which a queued job is kept while its resource is away."""
MAX_ACTIVE_JOBS_PER_USER_PER_RESOURCE = 2
"""WAITING circuit jobs of one owner at one resource."""
QUEUING_TIME = timedelta(seconds=MAX_QUEUING_TIME)


class Kind(StrEnum):
    """What a job asks for."""

    CIRCUIT = "circuit"
    HAMILTONIAN = "hamiltonian"


class KeyReused(InvalidInput):
    """The owner has used the idempotency key for another job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A device of the portal. Times are aware UTC.

    Args:
        qubits: How many it has.
        online: Whether it takes jobs at all.
        maintenance: Whether maintenance was begun by hand; it lasts until it is ended by hand.
        maintenance_from: When planned maintenance begins.
        maintenance_until: When it ends; without it, it lasts.
        connectivity: Pairs of qubits as a literal of Python, `"[[0, 1], [1, 2]]"`.
        instructions: Its gates as a literal of Python.
        max_shots: Most shots of a circuit.
        max_circuits: Most circuits of a job.
    """

    name: str
    qubits: int
    online: bool = True
    maintenance: bool = False
    maintenance_from: datetime | None = None
    maintenance_until: datetime | None = None
    connectivity: str | None = None
    instructions: str | None = None
    max_shots: int = 100_000
    max_circuits: int = 300

    def in_maintenance(self, now: datetime) -> bool:
        """Whether it is maintained at that moment."""
        if self.maintenance:
            return True
        begun = self.maintenance_from is not None and self.maintenance_from <= now
        return begun and (self.maintenance_until is None or now < self.maintenance_until)

    def is_away(self, now: datetime) -> bool:
        """Whether it runs nothing at that moment."""
        return not self.online or self.in_maintenance(now)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What both kinds of job have. Times are aware UTC.

    Args:
        owner: The address of its user, in lower case.
        target_specification: The name of a resource.
        cost: In the portal's unit; 0 until somebody says what it costs.
        result: What came back, as text; None before.
        reason: Why it was cancelled, has failed or was put back.
        claimed_by: The process that has it, as `qjobs.ledger.liveness` writes it.
        dispatched_at: From when on it may run; None while it is proved that it does not.
        remote: Its name where it runs.
    """

    id: int
    owner: str
    budget: str
    target_specification: str
    status: MqpStatus
    cost: float
    result: str | None
    note: str
    reason: Reason | None
    executed_resource: str | None
    executed_circuit: str | None
    timestamp_submitted: datetime
    timestamp_scheduled: datetime | None
    timestamp_completed: datetime | None
    claimed_by: str | None
    dispatched_at: datetime | None
    remote: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitJob(_Job):
    """A job of circuits: `circuit` is their text as it was posted, and `shots` are those of each circuit."""

    circuit: str
    circuit_format: str
    shots: int
    no_modify: bool
    queued: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HamiltonianJob(_Job):
    """A job that minimises a Hamiltonian; what the loop has reached is in `epochs`, `params`, `parametric_circuit`.

    `task_id` is the id of the first job of its task; a job that stands alone is its own first.
    """

    interaction_str: str
    coefficients_str: str
    task_id: int
    epochs: int | None
    params: str | None
    parametric_circuit: str | None


_NAMES = {kind: tuple(each.name for each in fields(kind)) for kind in (CircuitJob, HamiltonianJob)}


def job_of(row: sa.Row[Any]) -> CircuitJob | HamiltonianJob:
    """The value of a row of `mqp_job`."""
    kind = CircuitJob if row.kind == Kind.CIRCUIT else HamiltonianJob
    stored = row._mapping
    values = {name: stored[name] for name in _NAMES[kind]}
    values["status"] = MqpStatus(row.status)
    values["cost"] = float(row.cost)  # SQLite's RETURNING gives back a whole number as one
    values["reason"] = None if row.reason is None else Reason(row.reason)
    if kind is HamiltonianJob:
        values["task_id"] = row.id if row.task_id is None else row.task_id
    return kind(**values)
