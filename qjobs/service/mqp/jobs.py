"""The job module of the Munich Quantum Portal: what its schedulers, services and websites call.

The functions have the names and signatures of MQP-Database-Access and work on the database that was bound
(docs/mqp.md, "Binding"). Parameters by keyword alone, and the functions from `fail_job` on, are our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from qjobs.errors import InvalidInput
from qjobs.service.mqp import claims, moves
from qjobs.service.mqp.catalogue import identity_of, resource_named
from qjobs.service.mqp.checks import (
    check_circuits,
    check_hamiltonian,
    check_shots,
    job_number,
    plain_text,
    statuses_of,
    whole,
)
from qjobs.service.mqp.claims import Reaped
from qjobs.service.mqp.database import JobDatabase, bind, bound, using
from qjobs.service.mqp.reasons import Reason
from qjobs.service.mqp.records import (
    MAX_ACTIVE_JOBS_PER_USER_PER_RESOURCE,
    MAX_QUEUING_TIME,
    CircuitJob,
    HamiltonianJob,
    KeyReused,
    Kind,
    MqpStatus,
    Resource,
    job_of,
)
from qjobs.service.tables import mqp_job

__all__ = [
    "MAX_ACTIVE_JOBS_PER_USER_PER_RESOURCE",
    "MAX_QUEUING_TIME",
    "CircuitJob",
    "HamiltonianJob",
    "JobDatabase",
    "KeyReused",
    "Kind",
    "MqpStatus",
    "Reaped",
    "Reason",
    "Resource",
    "adopt_job",
    "bind",
    "cancel_hamiltonian_job",
    "cancel_job",
    "complete_hamiltonian_job_with_result",
    "complete_job_with_result",
    "count_pending_jobs",
    "create_hamiltonian_job",
    "create_job",
    "fail_hamiltonian_job",
    "fail_job",
    "fetch_all_pending_hamiltonian_jobs",
    "fetch_all_pending_jobs",
    "fetch_all_pending_jobs_except_for_resource_not_from_users",
    "fetch_all_pending_jobs_except_for_resources",
    "fetch_all_pending_jobs_for_resource_from_users",
    "fetch_all_pending_jobs_for_resource_not_from_users",
    "fetch_all_pending_jobs_from_users",
    "fetch_all_waiting_hamiltonian_jobs",
    "fetch_all_waiting_jobs",
    "fetch_by_identity",
    "fetch_by_identity_pages",
    "fetch_hamiltonian_job_by_identity",
    "fetch_hamiltonian_job_by_task_id",
    "fetch_hamiltonian_result_by_job_id_and_identity",
    "fetch_result_by_job_id_and_identity",
    "filter_queued_if_offline_and_fetch",
    "is_within_active_job_limit",
    "mark_dispatched",
    "reap",
    "release_job",
    "update_hybrid_job",
    "using",
]

_SORTED_BY = (
    "id",
    "status",
    "budget",
    "target_specification",
    "circuit_format",
    "shots",
    "cost",
    "executed_resource",
    "timestamp_submitted",
    "timestamp_scheduled",
    "timestamp_completed",
)
"""Columns by which a page may be ordered."""
_LONGEST_PAGE = 1_000
_LAST = 2**31 - 1


def create_job(
    shots: int,
    circuit: str,
    owner: str,
    budget: str,
    target_spec: str,
    circuit_format: str,
    no_modify: bool = False,
    queued: bool = False,
    *,
    key: str | None = None,
) -> CircuitJob:
    """Create a circuit job: PENDING, at cost 0.

    Args:
        shots: Of each circuit.
        circuit: OpenQASM; one text, or a list of texts as Python or JSON writes it.
        owner: A user, by address.
        budget: The name of a budget of the owner.
        target_spec: The name of a resource.
        circuit_format: `qasm` for OpenQASM 2, `qasm3` for OpenQASM 3.
        no_modify: Whether the circuits run as they are.
        queued: Whether the job waits for up to a day while the resource is away.
        key: An idempotency key of the owner; a second call with it returns the job of the first.

    Raises:
        InvalidInput: The user, budget or resource is not there, or the resource cannot take it; nothing is stored.
        InvalidCircuit: A circuit cannot be read or has too many qubits; nothing is stored.
        KeyReused: The key has made another job.
    """
    jobs = bound()
    resource = _resource(jobs, target_spec)
    body = {
        "shots": check_shots(shots, resource),
        "circuit": circuit,
        "target_specification": resource.name,
        "circuit_format": circuit_format,
        "no_modify": bool(no_modify),
        "queued": bool(queued),
    }
    check_circuits(plain_text(circuit, "circuit"), plain_text(circuit_format, "circuit_format"), resource)
    return _circuit(job_of(moves.create(jobs, Kind.CIRCUIT, owner, budget, body, key)))


def create_hamiltonian_job(
    interaction_str: str,
    coefficients_str: str,
    owner: str,
    budget: str,
    target_spec: str,
    *,
    key: str | None = None,
    task_id: int | None = None,
) -> HamiltonianJob:
    """Create a Hamiltonian job: PENDING, at cost 0.

    Args:
        interaction_str: The qubits of each term, `"0 1; 1 2;"`.
        coefficients_str: A real number for each term, `"0.5 0.1;"`.
        owner: A user, by address.
        budget: The name of a budget of the owner.
        target_spec: The name of a resource.
        key: An idempotency key of the owner; a second call with it returns the job of the first.
        task_id: The task of the owner's to which it belongs; without it, it is the first of a task of its own.

    Raises:
        InvalidInput: Anything named is not there, or the Hamiltonian cannot be read; nothing is stored.
        KeyReused: The key has made another job.
    """
    jobs = bound()
    resource = _resource(jobs, target_spec)
    check_hamiltonian(interaction_str, coefficients_str, resource)
    body: dict[str, Any] = {
        "interaction_str": interaction_str,
        "coefficients_str": coefficients_str,
        "target_specification": resource.name,
    }
    if task_id is not None:
        body["task_id"] = moves.first_of_task(jobs, whole(task_id, "task_id", 1, 2**63 - 1), identity_of(owner))
    return _hamiltonian(job_of(moves.create(jobs, Kind.HAMILTONIAN, owner, budget, body, key)))


def fetch_all_pending_jobs() -> list[CircuitJob]:
    """Claim all pending circuit jobs that may go now: they are WAITING for this process, in order of arrival."""
    return _claimed(sa.true())


def fetch_all_pending_jobs_from_users(userids: list[str]) -> list[CircuitJob]:
    """As `fetch_all_pending_jobs`, of these users."""
    return _claimed(_from(userids))


def fetch_all_pending_jobs_except_for_resources(resources: list[str]) -> list[CircuitJob]:
    """As `fetch_all_pending_jobs`, but for these resources."""
    return _claimed(~bound().among(mqp_job.c.target_specification, _texts(resources, "resources")))


def fetch_all_pending_jobs_for_resource_from_users(resource: str, userids: list[str]) -> list[CircuitJob]:
    """As `fetch_all_pending_jobs`, for this resource and of these users."""
    return _claimed(_for(resource) & _from(userids))


def fetch_all_pending_jobs_for_resource_not_from_users(resource: str, userids: list[str]) -> list[CircuitJob]:
    """As `fetch_all_pending_jobs`, for this resource and of everybody but these users."""
    return _claimed(_for(resource) & ~_from(userids))


def fetch_all_pending_jobs_except_for_resource_not_from_users(resource: str, userids: list[str]) -> list[CircuitJob]:
    """As `fetch_all_pending_jobs`, but for this resource only of these users."""
    return _claimed(~_for(resource) | _from(userids))


def filter_queued_if_offline_and_fetch(qdb: JobDatabase | None, jobs: list[CircuitJob]) -> list[CircuitJob]:
    """As `fetch_all_pending_jobs`, among these jobs; `qdb` is the database, None: the bound one."""
    database = bound(qdb)
    return _circuits(claims.claim(database, database.among(mqp_job.c.id, [each.id for each in jobs])))


def is_within_active_job_limit(qdb: JobDatabase | None, job: CircuitJob) -> bool:
    """Whether the job's owner has fewer than two *other* WAITING circuit jobs at its resource."""
    others = sa.and_(
        mqp_job.c.kind == Kind.CIRCUIT,
        mqp_job.c.status == MqpStatus.WAITING,
        mqp_job.c.owner == job.owner,
        mqp_job.c.target_specification == job.target_specification,
        mqp_job.c.id != job.id,
    )
    return _count(bound(qdb), others) < MAX_ACTIVE_JOBS_PER_USER_PER_RESOURCE


def fetch_all_pending_hamiltonian_jobs() -> list[HamiltonianJob]:
    """Claim all pending Hamiltonian jobs, without limit or queue: they are WAITING for this process."""
    return _hamiltonians(claims.claim_all(bound(), Kind.HAMILTONIAN))


def fetch_all_waiting_jobs() -> list[CircuitJob]:
    """All WAITING circuit jobs, in order of arrival, whoever has them."""
    return _circuits(_found(Kind.CIRCUIT, mqp_job.c.status == MqpStatus.WAITING))


def fetch_all_waiting_hamiltonian_jobs() -> list[HamiltonianJob]:
    """All WAITING Hamiltonian jobs, in order of arrival, whoever has them."""
    return _hamiltonians(_found(Kind.HAMILTONIAN, mqp_job.c.status == MqpStatus.WAITING))


def fetch_by_identity(identity: str) -> list[CircuitJob]:
    """All circuit jobs of a user, in order of arrival; none where there is no such user."""
    return _circuits(_found(Kind.CIRCUIT, mqp_job.c.owner == identity_of(identity)))


def fetch_by_identity_pages(
    identity: str, page: int, jobs_per_page: int, order: str, order_by: str, filter_query: str
) -> dict[str, list[CircuitJob] | int]:
    """One page of the circuit jobs of a user.

    Args:
        identity: The user.
        page: From 0; a page behind the last one is empty.
        jobs_per_page: At most 1,000.
        order: `asc` or `desc`, in any case; one is the exact reverse of the other.
        order_by: A column; ties are broken by id, and what has no value comes last when ascending.
        filter_query: Statuses, parted by commas; empty: all.

    Returns:
        `jobs`, and `totaljob_nr`: how many jobs the filter lets through.

    Raises:
        InvalidInput: Anything else.
    """
    database = bound()
    number = whole(page, "page", 0, _LAST)
    size = whole(jobs_per_page, "jobs_per_page", 1, _LONGEST_PAGE)
    which = (mqp_job.c.owner == identity_of(identity)) & (mqp_job.c.kind == Kind.CIRCUIT)
    statuses = statuses_of(filter_query)
    if statuses:
        which &= mqp_job.c.status.in_(statuses)
    query = sa.select(mqp_job).where(which).order_by(*_order(order, order_by)).limit(size).offset(number * size)
    with database.db.read() as connection:
        total = connection.scalar(sa.select(sa.func.count()).select_from(mqp_job).where(which)) or 0
        rows = connection.execute(query).all()
    return {"jobs": _circuits([job_of(row) for row in rows]), "totaljob_nr": total}


def fetch_result_by_job_id_and_identity(job_id: str, identity: str) -> CircuitJob | None:
    """A circuit job of a user; None for an empty id or identity, an unknown id, or another owner's job."""
    found = _one_of(Kind.CIRCUIT, job_id, identity)
    return None if found is None else _circuit(found)


def fetch_hamiltonian_job_by_identity(identity: str) -> list[HamiltonianJob]:
    """All Hamiltonian jobs of a user, in order of arrival; none where there is no such user."""
    return _hamiltonians(_found(Kind.HAMILTONIAN, mqp_job.c.owner == identity_of(identity)))


def fetch_hamiltonian_job_by_task_id(task_id: int) -> list[HamiltonianJob]:
    """All Hamiltonian jobs of a task, its first one first; none where there is no such task."""
    number = job_number(task_id)
    if number is None:
        return []
    first = (mqp_job.c.id == number) & mqp_job.c.task_id.is_(None)
    return _hamiltonians(_found(Kind.HAMILTONIAN, first | (mqp_job.c.task_id == number)))


def complete_job_with_result(
    job_id: int, result: str, executed_resource: str, executed_circuit: str, note: str = ""
) -> None:
    """WAITING -> COMPLETED; `result` is the JSON of one histogram, or of a list with one for each circuit.

    Raises:
        JobNotFound: There is no such circuit job.
        StaleJob: It is not WAITING: it was not claimed, or it is final.
        InvalidInput: A histogram does not sum to the job's shots, or there is not one for each circuit.
    """
    moves.complete(bound(), job_id, Kind.CIRCUIT, result, executed_resource, executed_circuit, note)


def complete_hamiltonian_job_with_result(
    job_id: int, result: str, executed_resource: str, executed_circuit: str, note: str = ""
) -> None:
    """WAITING -> COMPLETED, with what the loop has found.

    Raises:
        JobNotFound: There is no such Hamiltonian job.
        StaleJob: It is not WAITING: it was not claimed, or it is final.
    """
    moves.complete(bound(), job_id, Kind.HAMILTONIAN, result, executed_resource, executed_circuit, note)


def cancel_job(job_id: int, note: str, *, reason: Reason | None = None) -> None:
    """PENDING or WAITING -> CANCELLED; back to PENDING where a queued job's resource is away.

    That is where the job is `queued`, younger than a day, and the reason is that the resource is offline, in
    maintenance or down. Without `reason`, the words of the note are understood (`qjobs.service.mqp.reasons`).

    Raises:
        JobNotFound: There is no such circuit job.
        StaleJob: It is final.
    """
    moves.cancel(bound(), job_id, Kind.CIRCUIT, note, reason)


def cancel_hamiltonian_job(job_id: int, note: str, *, reason: Reason | None = None) -> None:
    """PENDING or WAITING -> CANCELLED.

    Raises:
        JobNotFound: There is no such Hamiltonian job.
        StaleJob: It is final.
    """
    moves.cancel(bound(), job_id, Kind.HAMILTONIAN, note, reason)


def update_hybrid_job(job_id: int, epochs: int, params: str, parametric_circuit: str, note: str) -> None:
    """Store how far the loop of a WAITING Hamiltonian job is.

    Raises:
        JobNotFound: There is no such Hamiltonian job.
        StaleJob: It is not WAITING: it was not claimed, or it is final.
        InvalidInput: `epochs` is not a whole number from 0.
    """
    epochs = whole(epochs, "epochs", 0, _LAST)
    moves.update_loop(bound(), job_id, epochs, params, parametric_circuit, note)


def fail_job(job_id: int, note: str, *, reason: Reason = Reason.EXECUTION) -> None:
    """WAITING -> FAILED.

    Raises:
        JobNotFound: There is no such circuit job.
        StaleJob: It is not WAITING: it was not claimed, or it is final.
    """
    moves.fail(bound(), job_id, Kind.CIRCUIT, note, reason)


def fail_hamiltonian_job(job_id: int, note: str, *, reason: Reason = Reason.EXECUTION) -> None:
    """As `fail_job`, for a Hamiltonian job."""
    moves.fail(bound(), job_id, Kind.HAMILTONIAN, note, reason)


def mark_dispatched(job_id: int, remote: str = "", *, kind: Kind = Kind.CIRCUIT) -> None:
    """Record that this process sends a job now; once more with its name where it runs.

    Call it before the request after which the job can run: a marked job is never claimed by another.

    Raises:
        JobNotFound: There is no such job.
        StaleJob: It is no longer this process's: do not send it.
    """
    claims.mark_dispatched(bound(), job_id, kind, remote)


def release_job(job_id: int, *, kind: Kind = Kind.CIRCUIT) -> None:
    """Give a WAITING job that was not sent back to the queue.

    Raises:
        JobNotFound: There is no such job.
        StaleJob: It is not WAITING, or it was sent.
    """
    claims.release(bound(), job_id, kind)


def adopt_job(job_id: int, *, kind: Kind = Kind.CIRCUIT) -> CircuitJob | HamiltonianJob:
    """Take over a job that a dead process had sent, to look it up and to end it; one process gets it.

    Raises:
        JobNotFound: There is no such job.
        StaleJob: It was never sent, it is final, or its process is not proved to have ended.
    """
    return claims.adopt(bound(), job_id, kind)


def reap() -> Reaped:
    """Give back the jobs of dead processes that were never sent; those that were are told."""
    return claims.reap(bound())


def count_pending_jobs(resource: str) -> int:
    """PENDING jobs of both kinds for a resource."""
    return _count(bound(), (mqp_job.c.target_specification == resource) & (mqp_job.c.status == MqpStatus.PENDING))


def fetch_hamiltonian_result_by_job_id_and_identity(job_id: str, identity: str) -> HamiltonianJob | None:
    """As `fetch_result_by_job_id_and_identity`, of a Hamiltonian job."""
    found = _one_of(Kind.HAMILTONIAN, job_id, identity)
    return None if found is None else _hamiltonian(found)


def _resource(jobs: JobDatabase, name: str) -> Resource:
    with jobs.db.read() as connection:
        return resource_named(connection, plain_text(name, "target_spec"))


def _claimed(which: sa.ColumnElement[bool]) -> list[CircuitJob]:
    return _circuits(claims.claim(bound(), which))


def _from(userids: Sequence[str]) -> sa.ColumnElement[bool]:
    return bound().among(mqp_job.c.owner, [identity_of(each) for each in _texts(userids, "userids")])


def _for(resource: str) -> sa.ColumnElement[bool]:
    return mqp_job.c.target_specification == plain_text(resource, "resource")


def _texts(values: Sequence[str], what: str) -> list[str]:
    if isinstance(values, str):
        raise InvalidInput(f"{what} is a list of texts, not one text", field=what)
    return [plain_text(each, what) for each in values]


def _order(order: str, order_by: str) -> tuple[sa.UnaryExpression[Any], ...]:
    direction = str(order).strip().lower()
    if direction not in {"asc", "desc"}:
        raise InvalidInput(f"order is asc or desc, not {str(order)[:40]!r}", field="order")
    if order_by not in _SORTED_BY:
        raise InvalidInput(f"order_by is one of {', '.join(_SORTED_BY)}, not {str(order_by)[:40]!r}", field="order_by")
    column = mqp_job.c[order_by]
    if direction == "asc":
        return column.asc().nulls_last(), mqp_job.c.id.asc()
    return column.desc().nulls_first(), mqp_job.c.id.desc()


def _found(kind: Kind, which: sa.ColumnElement[bool]) -> list[CircuitJob | HamiltonianJob]:
    query = sa.select(mqp_job).where(mqp_job.c.kind == kind, which).order_by(mqp_job.c.id)
    return [job_of(row) for row in bound().db.rows(query)]


def _one_of(kind: Kind, job_id: str, identity: str) -> CircuitJob | HamiltonianJob | None:
    number = job_number(job_id)
    owner = identity_of(identity)
    if number is None or not owner:
        return None
    found = _found(kind, (mqp_job.c.id == number) & (mqp_job.c.owner == owner))
    return found[0] if found else None


def _count(jobs: JobDatabase, which: sa.ColumnElement[bool]) -> int:
    with jobs.db.read() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(mqp_job).where(which)) or 0


def _circuit(found: CircuitJob | HamiltonianJob) -> CircuitJob:
    assert isinstance(found, CircuitJob)  # noqa: S101 - for the type
    return found


def _hamiltonian(found: CircuitJob | HamiltonianJob) -> HamiltonianJob:
    assert isinstance(found, HamiltonianJob)  # noqa: S101 - for the type
    return found


def _circuits(found: Sequence[CircuitJob | HamiltonianJob]) -> list[CircuitJob]:
    return [_circuit(each) for each in found]


def _hamiltonians(found: Sequence[CircuitJob | HamiltonianJob]) -> list[HamiltonianJob]:
    return [_hamiltonian(each) for each in found]
