"""Rows of the ledger as values, and values as rows."""

from __future__ import annotations

import base64
import json
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qjobs.circuits.counts import PackedCounts, packed
from qjobs.ledger.tables import TIMED_STATUSES
from qjobs.lifecycle import JobStatus
from qjobs.model import (
    Attempt,
    AttemptNumber,
    Event,
    ExecuteOptions,
    Item,
    ItemResult,
    ItemSpec,
    Job,
    JobId,
    JobKind,
    JobSpec,
    Key,
    Observable,
    Program,
    ProgramFormat,
    ProgramHash,
    RemoteId,
    RemoteRetryStrategy,
)

_PACKED = b"\x01"
"""First byte of packed counts; compressed JSON begins with another one (RFC 1950, section 2.2: 0x78)."""
_DURATION = struct.Struct("<d")


def encode_options(options: ExecuteOptions) -> dict[str, Any]:
    """JSON form of a job's options."""
    found = {
        "seed": options.seed,
        "observables": [[observable.name, observable.terms] for observable in options.observables],
        "level": options.level,
    }
    return found if options.batch_id is None else {**found, "batch_id": options.batch_id}


def decode_options(spec: Mapping[str, Any]) -> ExecuteOptions:
    """The inverse of `encode_options`."""
    observables = []
    for name, terms in spec["observables"]:
        observables.append(Observable(name=name, terms=tuple((pauli, factor) for pauli, factor in terms)))
    return ExecuteOptions(
        seed=spec["seed"], observables=tuple(observables), level=spec["level"], batch_id=spec.get("batch_id")
    )


def encode_result(value: ItemResult) -> bytes:
    """One result as bytes: counts as columns of numbers, anything else as compressed JSON."""
    if value.counts is not None and value.expvals is None and value.program is None:
        columns = packed(value.counts)
        if columns is not None:
            duration_s = math.nan if value.duration_s is None else value.duration_s
            return _PACKED + _DURATION.pack(duration_s) + columns.to_bytes()
    body = {
        "counts": None if value.counts is None else dict(value.counts),
        "expvals": None if value.expvals is None else dict(value.expvals),
        "program": None if value.program is None else _encode_program(value.program),
        "duration_s": value.duration_s,
    }
    return zlib.compress(json.dumps(body, separators=(",", ":")).encode(), 1)


def decode_result(payload: bytes) -> ItemResult:
    """The inverse of `encode_result`."""
    if payload[:1] == _PACKED:
        (duration_s,) = _DURATION.unpack_from(payload, 1)
        counts = PackedCounts.from_bytes(payload[1 + _DURATION.size :])
        return ItemResult(counts=counts, duration_s=None if math.isnan(duration_s) else duration_s)
    body = json.loads(zlib.decompress(payload))
    if body["program"] is not None:
        body["program"] = _decode_program(body["program"])
    return ItemResult(**body)


def _encode_program(value: Program) -> dict[str, Any]:
    return {**program_values(value), "payload": base64.b64encode(value.payload).decode()}


def _decode_program(values: dict[str, Any]) -> Program:
    return Program(
        **{
            **values,
            "format": ProgramFormat(values["format"]),
            "payload": base64.b64decode(values["payload"]),
            "parameters": tuple(values["parameters"]),
        }
    )


def program_values(value: Program) -> dict[str, Any]:
    """Row of a program."""
    return {
        "hash": value.hash,
        "format": value.format,
        "payload": value.payload,
        "n_qubits": value.n_qubits,
        "n_bits": value.n_bits,
        "measured": value.measured,
        "parameters": list(value.parameters),
    }


def program_of(row: sa.Row[Any]) -> Program:
    """A program from its row."""
    return Program(
        hash=ProgramHash(row.hash),
        format=ProgramFormat(row.format),
        payload=row.payload,
        n_qubits=row.n_qubits,
        n_bits=row.n_bits,
        measured=row.measured,
        parameters=tuple(row.parameters),
    )


def job_of(row: sa.Row[Any]) -> Job:
    """A job from its row."""
    return Job(
        job_id=JobId(row.job_id),
        key=Key(row.key),
        kind=JobKind(row.kind),
        backend=row.backend,
        device=row.device,
        name=row.name,
        experiment=row.experiment,
        run=row.run,
        logical_run=row.logical_run,
        project=row.project,
        owner=row.owner,
        status=JobStatus(row.status),
        message=row.message,
        epoch=row.epoch,
        n_items=row.n_items,
        options=decode_options(row.spec),
        opened_as=row.opened_as or row.backend,
        fingerprint=row.fingerprint,
        definition=row.definition,
        compiled_with=row.compiled_with,
        properties=row.properties,
        cost_estimate=row.cost_estimate,
        cost=row.cost,
        cancel_requested_at=row.cancel_requested_at,
        next_poll_at=row.next_poll_at,
        trouble=row.trouble,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )


def attempt_of(row: sa.Row[Any]) -> Attempt:
    """An attempt from its row."""
    return Attempt(
        job_id=JobId(row.job_id),
        number=AttemptNumber(row.number),
        epoch=row.epoch,
        strategy=RemoteRetryStrategy(row.strategy),
        items=None if row._mapping["items"] is None else tuple(row._mapping["items"]),
        status=JobStatus(row.status),
        remote_id=None if row.remote_id is None else RemoteId(row.remote_id),
        remote_status=row.remote_status,
        message=row.message,
        cost=row.cost,
        lease_owner=row.lease_owner,
        lease_until=row.lease_until,
        claimed_at=row.claimed_at,
        sent_at=row.sent_at,
        accepted_at=row.accepted_at,
        finished_at=row.finished_at,
        by_item=row.by_item,
        awaited=None if row.awaited is None else JobStatus(row.awaited),
        awaited_since=row.awaited_since,
        awaited_at=row.awaited_at,
        awaited_times=row.awaited_times,
        reserved=row.reserved,
        cost_unit=row.cost_unit,
        compiled_on=row.compiled_on,
        submitted_on=row.submitted_on,
        results_on=row.results_on,
    )


def item_of(row: sa.Row[Any]) -> Item:
    """An item from its row."""
    times: dict[JobStatus, datetime] = {}
    for status in TIMED_STATUSES:
        at = row._mapping[f"{status.lower()}_at"]
        if at is not None:
            times[status] = at
    return Item(
        job_id=JobId(row.job_id),
        index=row.item_index,
        label=row.label,
        program=ProgramHash(row.program_hash),
        source=None if row.source_hash is None else ProgramHash(row.source_hash),
        parameters=tuple((name, value) for name, value in row.parameters),
        shots=row.shots,
        status=JobStatus(row.status),
        queue_position=row.queue_position,
        message=row.message,
        error_detail=row.error_detail,
        cost=row.cost,
        cancel_requested_at=row.cancel_requested_at,
        no_result=row.no_result,
        times=times,
    )


def item_specs_of(rows: Sequence[sa.Row[Any]]) -> list[ItemSpec]:
    """What is wanted of items, from rows that have their parameters as text: all of it is read as one JSON text."""
    parameters = json.loads(f"[{','.join([row.parameters for row in rows])}]")
    specs = []
    for row, values in zip(rows, parameters, strict=True):
        spec = ItemSpec(
            label=row.label,
            program=row.program_hash,
            shots=row.shots,
            parameters=tuple([(name, value) for name, value in values]),
            source=row.source_hash,
        )
        specs.append(spec)
    return specs


def event_of(row: sa.Row[Any]) -> Event:
    """An event from its row."""
    return Event(
        event_id=row.id,
        job_id=JobId(row.job_id),
        index=row.item_index,
        at=row.at,
        old=None if row.old is None else JobStatus(row.old),
        new=JobStatus(row.new),
        cause=row.cause,
        detail=row.detail,
    )


def job_row(job_id: JobId, spec: JobSpec, now: datetime) -> dict[str, Any]:
    """Row of a new job."""
    return {
        "job_id": job_id,
        "key": spec.key,
        "kind": spec.kind,
        "backend": spec.backend,
        "device": spec.device,
        "name": spec.name,
        "experiment": spec.experiment,
        "run": spec.run,
        "logical_run": spec.logical_run,
        "project": spec.project,
        "owner": spec.owner,
        "opened_as": spec.opened_as,
        "fingerprint": spec.fingerprint,
        "definition": spec.definition,
        "compiled_with": spec.compiled_with,
        "spec": encode_options(spec.batch.options),
        "status": JobStatus.CREATED,
        "epoch": 1,
        "n_items": len(spec.batch.items),
        "cost_estimate": spec.cost_estimate,
        "properties": dict(spec.properties),
        "created_at": now,
    }


def item_rows(job_id: JobId, spec: JobSpec, now: datetime) -> list[dict[str, Any]]:
    """Rows of a new job's items."""
    return [
        {
            "job_id": job_id,
            "item_index": index,
            "label": item.label,
            "program_hash": item.program,
            "source_hash": item.source,
            "parameters": item.parameters,
            "shots": item.shots,
            "status": JobStatus.CREATED,
            "created_at": now,
        }
        for index, item in enumerate(spec.batch.items)
    ]


def result_row(job_id: JobId, attempt: Attempt, index: int, value: ItemResult, now: datetime) -> dict[str, Any]:
    """Row of a result."""
    return {
        "job_id": job_id,
        "epoch": attempt.epoch,
        "item_index": index,
        "attempt": attempt.number,
        "payload": encode_result(value),
        "received_at": now,
    }
