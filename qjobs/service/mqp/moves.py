"""Creating jobs, and their guarded moves: PENDING -> WAITING -> COMPLETED, FAILED or CANCELLED, and back to PENDING.

Final is final. Each move locks the job's row, decides on what it reads there, and writes in the same transaction.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qjobs.errors import InvalidInput, StaleJob
from qjobs.ledger.database import log_after_commit
from qjobs.service.mqp.catalogue import check_owner
from qjobs.service.mqp.checks import check_histograms, circuits_of, plain_text
from qjobs.service.mqp.claims import FREE
from qjobs.service.mqp.database import JobDatabase
from qjobs.service.mqp.reasons import AWAY, Reason, reason_of
from qjobs.service.mqp.records import QUEUING_TIME, KeyReused, Kind, MqpStatus
from qjobs.service.tables import mqp_budget
from qjobs.service.tables import mqp_job as job

__all__ = ["cancel", "complete", "create", "fail", "first_of_task", "update_loop"]

_LONGEST_KEY = 200


def create(
    jobs: JobDatabase, kind: Kind, owner: str, budget: str, body: Mapping[str, Any], key: str | None
) -> sa.Row[Any]:
    """Store a new job, or find the one that this key has made; `body` is what the job asks for.

    Raises:
        InvalidInput: There is no such user, or they have no such budget.
        KeyReused: The key has made another job.
    """
    if key is not None and not (0 < len(plain_text(key, "key")) <= _LONGEST_KEY and key.isprintable()):
        raise InvalidInput(f"a key has 1 to {_LONGEST_KEY} characters that can be seen", field="key")
    asked = json.dumps({"kind": kind, "budget": budget, **body}, sort_keys=True)
    digest = hashlib.sha256(asked.encode()).hexdigest()
    with jobs.db.write() as connection:
        identity = check_owner(connection, owner)
        _check_budget(connection, identity, plain_text(budget, "budget"))
        if key is not None:
            jobs.db.lock(connection, f"mqp-key {identity} {key}")
            earlier = connection.execute(sa.select(job).where(job.c.owner == identity, job.c.key == key)).one_or_none()
            if earlier is not None:
                if earlier.body_hash != digest:
                    raise KeyReused(f"the key {key[:40]!r} has made another job; use a new key", field="key")
                return earlier
        row = {
            "kind": kind,
            "owner": identity,
            "budget": budget,
            "status": MqpStatus.PENDING,
            "cost": 0.0,
            "note": "",
            "timestamp_submitted": jobs.now(),
            "key": key,
            "body_hash": digest,
            **body,
        }
        made = connection.execute(job.insert().values(row).returning(*job.columns)).one()
        words = "mqp job %s: PENDING, a %s job of %s for %s"
        log_after_commit(connection, words, made.id, kind, identity, made.target_specification)
    return made


def _check_budget(connection: sa.Connection, identity: str, budget: str) -> None:
    theirs = (mqp_budget.c.owner == identity) & (mqp_budget.c.name == budget)
    if connection.scalar(sa.select(sa.func.count()).where(theirs)) == 0:
        raise InvalidInput(f"{identity} has no budget {budget[:80]!r}", field="budget")


def first_of_task(jobs: JobDatabase, task_id: int, owner: str) -> int:
    """The id of the first job of a task that belongs to the owner.

    Raises:
        InvalidInput: There is no such task, or it is another owner's.
    """
    query = sa.select(job.c.id, job.c.task_id).where(
        job.c.id == task_id, job.c.kind == Kind.HAMILTONIAN, job.c.owner == owner
    )
    found = jobs.db.rows(query)
    if not found:
        raise InvalidInput(f"{owner} has no task {task_id}", field="task_id")
    return int(found[0].task_id or found[0].id)


def complete(
    jobs: JobDatabase, job_id: int, kind: Kind, result: str, executed_resource: str, executed_circuit: str, note: str
) -> None:
    """WAITING -> COMPLETED, with what came back.

    Raises:
        JobNotFound: There is no such job.
        StaleJob: It is not WAITING.
        InvalidInput: A histogram does not sum to the shots, or there is not one for each circuit.
    """
    plain_text(result, "result")
    with jobs.db.write() as connection:
        row = jobs.locked(connection, job_id, kind)
        _guard(row, MqpStatus.COMPLETED, MqpStatus.WAITING)
        if kind is Kind.CIRCUIT:
            check_histograms(result, row.shots, len(circuits_of(row.circuit)))
        values = {
            "result": result,
            "note": note,
            "reason": None,
            "executed_resource": executed_resource,
            "executed_circuit": executed_circuit,
        }
        _end(connection, row, MqpStatus.COMPLETED, jobs.now(), values)


def fail(jobs: JobDatabase, job_id: int, kind: Kind, note: str, reason: Reason) -> None:
    """WAITING -> FAILED.

    Raises:
        JobNotFound: There is no such job.
        StaleJob: It is not WAITING.
    """
    with jobs.db.write() as connection:
        row = jobs.locked(connection, job_id, kind)
        _guard(row, MqpStatus.FAILED, MqpStatus.WAITING)
        _end(connection, row, MqpStatus.FAILED, jobs.now(), {"note": plain_text(note, "note"), "reason": reason})


def cancel(jobs: JobDatabase, job_id: int, kind: Kind, note: str, reason: Reason | None) -> None:
    """PENDING or WAITING -> CANCELLED; or back to PENDING, where the resource of a young queued job is away.

    Raises:
        JobNotFound: There is no such job.
        StaleJob: It is final.
    """
    why = reason_of(plain_text(note, "note")) if reason is None else reason
    now = jobs.now()
    with jobs.db.write() as connection:
        row = jobs.locked(connection, job_id, kind)
        _guard(row, MqpStatus.CANCELLED, MqpStatus.PENDING, MqpStatus.WAITING)
        values = {"note": note, "reason": why}
        if row.queued and why in AWAY and now - row.timestamp_submitted < QUEUING_TIME:
            moved = job.update().where(job.c.id == row.id)
            connection.execute(moved.values({"status": MqpStatus.PENDING, **FREE, **values}))
            log_after_commit(connection, "mqp job %s: %s -> PENDING, %s: %r", row.id, row.status, why, note)
            return
        _end(connection, row, MqpStatus.CANCELLED, now, values)


def update_loop(jobs: JobDatabase, job_id: int, epochs: int, params: str, parametric_circuit: str, note: str) -> None:
    """Store how far the loop of a WAITING Hamiltonian job is.

    Raises:
        JobNotFound: There is no such job.
        StaleJob: It is not WAITING.
    """
    with jobs.db.write() as connection:
        row = jobs.locked(connection, job_id, Kind.HAMILTONIAN)
        _guard(row, MqpStatus.WAITING, MqpStatus.WAITING)
        values = {"epochs": epochs, "params": params, "parametric_circuit": parametric_circuit, "note": note}
        connection.execute(job.update().where(job.c.id == row.id).values(values))
        log_after_commit(connection, "mqp job %s: epoch %s, %r", row.id, epochs, note)


def _guard(row: sa.Row[Any], new: MqpStatus, *allowed: MqpStatus) -> None:
    """Raise `StaleJob` unless the job is in one of these statuses."""
    status = MqpStatus(row.status)
    if status in allowed:
        return
    why = "final is final" if status.is_final else "it was not claimed"
    raise StaleJob(f"mqp job {row.id} is {status} and does not become {new}: {why}", job_id=str(row.id))


def _end(
    connection: sa.Connection, row: sa.Row[Any], status: MqpStatus, now: datetime, values: Mapping[str, Any]
) -> None:
    moved = job.update().where(job.c.id == row.id)
    connection.execute(moved.values({"status": status, "timestamp_completed": now, **values}))
    words = "mqp job %s: %s -> %s, %r"
    log_after_commit(connection, words, row.id, row.status, status, values["note"])
