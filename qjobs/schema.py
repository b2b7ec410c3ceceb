"""Tables of the ledger, and the conversion of their rows to values.

One schema serves SQLite and PostgreSQL. Invariants are constraints of the database: a status is one
of the known words, a job has one live attempt at the most, an item one result per epoch.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from qjobs.errors import InvalidInput
from qjobs.lifecycle import LIVE, JobStatus
from qjobs.model import (
    Attempt,
    AttemptNumber,
    Event,
    ExecuteOptions,
    Item,
    ItemResult,
    Job,
    JobId,
    JobKind,
    Key,
    Observable,
    Program,
    ProgramFormat,
    ProgramHash,
    RemoteId,
    RemoteRetryStrategy,
)

SCHEMA_VERSION = 2
"""Raised with every change of a table; `Ledger.open` refuses any other number."""

TIMED_STATUSES = tuple(s for s in JobStatus if s not in {JobStatus.SUBMITTING, JobStatus.UNKNOWN})
"""An item keeps one timestamp for each of these."""

metadata = sa.MetaData()


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """Aware UTC datetimes on databases with and without time zones."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Refuse naive values; store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise InvalidInput("a naive datetime cannot be stored: give it a time zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Return UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Words(sa.types.TypeDecorator[str]):
    """Text of others: PostgreSQL stores no NUL and no half of a surrogate pair, and a poll must not fail over one."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """Leave out what cannot be stored."""
        return None if value is None else value.replace("\x00", "").encode("utf-8", "replace").decode()


def _words(statuses: frozenset[JobStatus] | tuple[JobStatus, ...]) -> str:
    return ", ".join(f"'{status}'" for status in sorted(statuses))


def _status(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(16), nullable=nullable)


def _known(column: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(f"{column} IN ({_words(tuple(JobStatus))})")


ledger_meta = sa.Table(
    "ledger_meta",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

program = sa.Table(
    "program",
    metadata,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("format", sa.String(16), nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("n_qubits", sa.Integer, nullable=False),
    sa.Column("n_bits", sa.Integer, nullable=False),
    sa.Column("measured", sa.Boolean, nullable=False),
    sa.Column("parameters", sa.JSON, nullable=False),
)

job = sa.Table(
    "job",
    metadata,
    sa.Column("job_id", sa.String(40), primary_key=True),
    sa.Column("key", sa.String(64), nullable=False, unique=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("backend", sa.Text, nullable=False),
    sa.Column("device", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("experiment", sa.Text, nullable=False),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("spec", sa.JSON, nullable=False),
    _status("status"),
    sa.Column("message", Words, nullable=False, default=""),
    sa.Column("epoch", sa.Integer, nullable=False, default=1),
    sa.Column("n_items", sa.Integer, nullable=False),
    sa.Column("cancel_requested_at", UtcDateTime),
    sa.Column("next_poll_at", UtcDateTime),
    sa.Column("trouble", Words),
    sa.Column("cost_estimate", sa.Float),
    sa.Column("cost", sa.Float),
    sa.Column("properties", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("finished_at", UtcDateTime),
    _known("status"),
    sa.Index("job_by_status", "status", "next_poll_at"),
    sa.Index("job_by_experiment", "experiment", "created_at"),
    sa.Index("job_by_run", "run"),
    sa.Index("job_by_device", "backend", "device", "status"),
)

wait = sa.Table(  # which run waits for which jobs; several runs may wait for one job
    "wait",
    metadata,
    sa.Column("flow_run_id", sa.String(64), primary_key=True),
    sa.Column("job_id", sa.ForeignKey("job.job_id"), primary_key=True),
    sa.Column("until", sa.String(8), nullable=False),
    sa.Column("registered_at", UtcDateTime, nullable=False),
    sa.Column("deadline_at", UtcDateTime),
    sa.Column("at_deadline", sa.String(8)),
    sa.CheckConstraint("until IN ('all', 'any')"),
    sa.Index("wait_by_job", "job_id"),
)

attempt = sa.Table(
    "attempt",
    metadata,
    sa.Column("job_id", sa.ForeignKey("job.job_id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("strategy", sa.String(16), nullable=False),
    sa.Column("items", sa.JSON(none_as_null=True)),
    _status("status"),
    sa.Column("remote_id", sa.Text),
    sa.Column("remote_status", Words),
    sa.Column("message", Words, nullable=False, default=""),
    sa.Column("cost", sa.Float),
    sa.Column("lease_owner", sa.Text),
    sa.Column("lease_until", UtcDateTime),
    sa.Column("sent_at", UtcDateTime),
    sa.Column("accepted_at", UtcDateTime),
    sa.Column("finished_at", UtcDateTime),
    _known("status"),
    sa.Index("attempt_by_remote_id", "remote_id"),
)
sa.Index(
    "one_live_attempt_per_job",
    attempt.c.job_id,
    unique=True,
    sqlite_where=sa.text(f"status IN ({_words(LIVE)})"),
    postgresql_where=sa.text(f"status IN ({_words(LIVE)})"),
)

item = sa.Table(
    "item",
    metadata,
    sa.Column("job_id", sa.ForeignKey("job.job_id"), primary_key=True),
    sa.Column("item_index", sa.Integer, primary_key=True),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("program_hash", sa.ForeignKey("program.hash"), nullable=False),
    sa.Column("source_hash", sa.String(64)),
    sa.Column("parameters", sa.JSON, nullable=False),
    sa.Column("shots", sa.Integer, nullable=False),
    _status("status"),
    sa.Column("queue_position", sa.Integer),
    sa.Column("message", Words, nullable=False, default=""),
    sa.Column("error_detail", Words),
    sa.Column("cost", sa.Float),
    sa.Column("cancel_requested_at", UtcDateTime),
    *(sa.Column(f"{status.lower()}_at", UtcDateTime) for status in TIMED_STATUSES),
    _known("status"),
    sa.CheckConstraint("shots >= 0"),
    sa.UniqueConstraint("job_id", "label"),
)
sa.Index(
    "item_to_cancel",
    item.c.job_id,
    sqlite_where=item.c.cancel_requested_at.is_not(None),
    postgresql_where=item.c.cancel_requested_at.is_not(None),
)

result = sa.Table(
    "result",
    metadata,
    sa.Column("job_id", sa.ForeignKey("job.job_id"), primary_key=True),
    sa.Column("epoch", sa.Integer, primary_key=True),
    sa.Column("item_index", sa.Integer, primary_key=True),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("received_at", UtcDateTime, nullable=False),
)

event = sa.Table(
    "event",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("job_id", sa.ForeignKey("job.job_id"), nullable=False),
    sa.Column("item_index", sa.Integer),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("old", sa.String(16)),
    sa.Column("new", sa.String(16), nullable=False),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("detail", Words, nullable=False, default=""),
    sa.Index("event_by_job", "job_id", "id"),
)


def encode_options(options: ExecuteOptions) -> dict[str, Any]:
    """JSON form of a job's options."""
    return {
        "seed": options.seed,
        "observables": [[o.name, [[p, c] for p, c in o.terms]] for o in options.observables],
        "level": options.level,
    }


def decode_options(spec: Mapping[str, Any]) -> ExecuteOptions:
    """The inverse of `encode_options`."""
    observables = tuple(
        Observable(name=name, terms=tuple((p, c) for p, c in terms)) for name, terms in spec["observables"]
    )
    return ExecuteOptions(seed=spec["seed"], observables=observables, level=spec["level"])


def encode_result(value: ItemResult) -> bytes:
    """Compressed JSON of one result; bit strings keep their width."""
    body = {
        "counts": None if value.counts is None else dict(value.counts),
        "expvals": None if value.expvals is None else dict(value.expvals),
        "program": None if value.program is None else _encode_program(value.program),
        "duration_s": value.duration_s,
    }
    return zlib.compress(json.dumps(body, separators=(",", ":")).encode(), 1)


def decode_result(payload: bytes) -> ItemResult:
    """The inverse of `encode_result`."""
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
        project=row.project,
        owner=row.owner,
        status=JobStatus(row.status),
        message=row.message,
        epoch=row.epoch,
        n_items=row.n_items,
        options=decode_options(row.spec),
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
        sent_at=row.sent_at,
        accepted_at=row.accepted_at,
        finished_at=row.finished_at,
    )


def item_of(row: sa.Row[Any]) -> Item:
    """An item from its row."""
    mapping = row._mapping
    times: dict[JobStatus, datetime] = {s: at for s in TIMED_STATUSES if (at := mapping[f"{s.lower()}_at"]) is not None}
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
        times=times,
    )


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


LIVE_WORDS = sorted(LIVE)
