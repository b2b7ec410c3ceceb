"""Stores what came back from the workers: results, compilations, failures, and what was used of a quota."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qjobs.lifecycle import JobStatus
from qjobs.service import tables as schema
from qjobs.service.devices import DeviceKind
from qjobs.service.execution.compiling import CompileOutcome, CompileTask
from qjobs.service.execution.simulate import ExecuteOutcome
from qjobs.service.execution.starting import Started, by_id
from qjobs.service.store.job_moves import Move, apply_moves, locked, read_items, roll_up_jobs
from qjobs.service.store.job_records import ItemRecord

_S = JobStatus
_COST_CONFIDENCE = 1.0
"""The price of a circuit is known, not estimated.

The client reads it from each item of a checker's job (`qnexus.jobs.cost_confidence`) and takes -1 where it is missing.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DueOutcome:
    """The outcome of one item, and the try that it belongs to."""

    started: Started
    outcome: CompileOutcome | ExecuteOutcome

    @property
    def uuid(self) -> str:
        """The item."""
        return self.outcome.item_uuid


class _Rows:
    """Rows to insert, table by table, in the order in which they refer to each other."""

    def __init__(self) -> None:
        order = (schema.result, schema.document, schema.compilation, schema.compilation_pass, schema.usage)
        self.of: dict[sa.Table, list[dict[str, Any]]] = {table: [] for table in order}

    def add(self, table: sa.Table, **values: Any) -> None:
        """One row."""
        self.of[table].append(values)


def store_outcomes(connection: sa.Connection, due: Sequence[DueOutcome], now: datetime) -> list[str]:
    """Store outcomes in one transaction.

    The outcome of an item that has been deleted, cancelled or started anew meanwhile is dropped. One
    that was asked to stop and had finished is COMPLETED.

    Returns:
        The ids of the jobs that changed.
    """
    jobs = locked(connection, {each.started.chunk.job_id for each in due})
    found = {item.item_uuid: item for item in read_items(connection, (), uuids={each.uuid for each in due})}
    names = _names(connection, {item.program_id for item in found.values()}, due)
    rows = _Rows()
    moves: list[Move] = []
    for each in due:
        item = found.get(each.uuid)
        job = jobs.get(each.started.chunk.job_id)
        if job is None or item is None:
            continue
        if item.status not in {_S.RUNNING, _S.CANCELLING} or item.tries != each.started.tries[each.uuid]:
            continue
        moves.append(_move(rows, each, item, job, names, now))
    _add_usage(rows, due, jobs, now)
    for table, values in rows.of.items():
        if values:
            connection.execute(table.insert(), values)
    apply_moves(connection, moves, now)
    projects = {job.project_id for job in jobs.values()}
    if any(isinstance(each.outcome, CompileOutcome) for each in due):
        project = schema.project
        connection.execute(
            project.update().where(project.c.project_id.in_(sorted(projects))).values(contents_modified_at=now)
        )
    return roll_up_jobs(connection, jobs.values(), now)


def put_back(
    connection: sa.Connection, uuids: Collection[str], status: JobStatus, message: str, now: datetime
) -> list[str]:
    """Take RUNNING items from where they run; those that were asked to stop are CANCELLED instead.

    Returns:
        The ids of the jobs that changed.
    """
    items = read_items(connection, (), uuids=uuids)
    jobs = locked(connection, {item.job_id for item in items})
    moves = []
    for item in read_items(connection, (), uuids=uuids):
        stopping = item.status is _S.CANCELLING or jobs[item.job_id].cancel_requested_at is not None
        if item.status in {_S.RUNNING, _S.CANCELLING} and stopping:
            moves.append(Move(item=item, status=_S.CANCELLED, message="The item was cancelled."))
        elif item.status is _S.RUNNING:
            moves.append(Move(item=item, status=status, message=message))
    apply_moves(connection, moves, now)
    return roll_up_jobs(connection, jobs.values(), now)


def _names(connection: sa.Connection, program_ids: set[str], due: Sequence[DueOutcome]) -> Mapping[str, str]:
    """Names of the circuits that were compiled."""
    if not any(isinstance(each.outcome, CompileOutcome) for each in due):
        return {}
    return by_id(connection, schema.document.c.document_id, schema.document.c.name, program_ids)


def _add_usage(rows: _Rows, due: Sequence[DueOutcome], jobs: Mapping[str, sa.Row[Any]], now: datetime) -> None:
    """Seconds of the service's own workers count, whether their outcome is kept or not."""
    seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
    for each in due:
        chunk = each.started.chunk
        if chunk.job_id in jobs and (chunk.is_compile or chunk.device.kind is DeviceKind.NEXUS_HOSTED):
            seconds[chunk.owner_id, "compilation" if chunk.is_compile else "simulation"] += each.outcome.duration_s
    for (owner_id, quota), amount in seconds.items():
        rows.add(schema.usage, user_id=owner_id, quota=quota, amount=amount, at=now)


def _move(
    rows: _Rows, due: DueOutcome, item: ItemRecord, job: sa.Row[Any], names: Mapping[str, str], now: datetime
) -> Move:
    outcome = due.outcome
    if outcome.failure is not None:
        failure = outcome.failure
        detail = {"error_detail": failure.detail or failure.message}
        return Move(item=item, status=_S(failure.status), message=failure.message, values=detail)
    if isinstance(outcome, CompileOutcome):
        compilation_id = _add_compilation(rows, due, outcome, item, job, names, now)
        values: dict[str, Any] = {"compilation_id": compilation_id}
    else:
        values = {"cost": outcome.cost}
        if due.started.chunk.device.kind is DeviceKind.SYNTAX_CHECKER:
            values["cost_confidence"] = _COST_CONFIDENCE
        if outcome.body:
            values |= {"result_id": str(uuid.uuid4()), "result_type": "PYTKET"}
            rows.add(
                schema.result,
                result_id=values["result_id"],
                item_uuid=item.item_uuid,
                job_id=item.job_id,
                owner_id=job.owner_id,
                program_id=item.program_id,
                result_type="PYTKET",
                body=outcome.body,
                created_at=now,
            )
    return Move(item=item, status=_S.COMPLETED, message="The item is completed.", values=values)


def _add_compilation(
    rows: _Rows,
    due: DueOutcome,
    outcome: CompileOutcome,
    item: ItemRecord,
    job: sa.Row[Any],
    names: Mapping[str, str],
    now: datetime,
) -> str:
    """The compiled circuit and, where they were recorded, those between the passes, as documents."""
    task = due.started.task
    level = task.level if isinstance(task, CompileTask) else ""
    name = f"{names.get(item.program_id) or 'circuit'} compiled for {due.started.chunk.device.name}, level {level}"
    common = {
        "project_id": job.project_id,
        "owner_id": job.owner_id,
        "properties": {},
        "description": "",
        "created_at": now,
        "modified_at": now,
    }
    compilation_id = str(uuid.uuid4())
    compiled_id = _add_document(rows, outcome.body, name, common)
    rows.add(
        schema.compilation,
        compilation_id=compilation_id,
        job_id=item.job_id,
        name=job.name,
        original_id=item.program_id,
        compiled_id=compiled_id,
        **common,
    )
    last_change = max((number for number, step in enumerate(outcome.steps) if step.body is not None), default=None)
    at = item.program_id
    for number, step in enumerate(outcome.steps):
        before = at
        if number == last_change:
            at = compiled_id
        elif step.body is not None:
            at = _add_document(rows, step.body, f"{name}, after {step.name}", common)
        rows.add(
            schema.compilation_pass,
            pass_id=str(uuid.uuid4()),
            compilation_id=compilation_id,
            number=number,
            pass_name=step.name,
            original_id=before,
            compiled_id=at,
        )
    return compilation_id


def _add_document(rows: _Rows, body: bytes, name: str, common: Mapping[str, Any]) -> str:
    document_id = str(uuid.uuid4())
    rows.add(schema.document, document_id=document_id, kind="circuit", name=name, body=body, **common)
    return document_id
