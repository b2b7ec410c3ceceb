"""Tables of the job service. One schema serves SQLite and PostgreSQL.

Every row that belongs to a user names the user in `owner_id`. Ids are UUIDs in their text form; moments are UTC of the
service's own clock, which may run faster than real time, except where a name says `real`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from qjobs.ledger.database import Schema
from qjobs.ledger.tables import StorableText, UtcDateTime
from qjobs.lifecycle import JobStatus

SCHEMA_VERSION = 4
"""Increased with every change of a table."""
_OLDEST_VERSION = 1
"""The oldest schema that can be brought to this one."""


class MqpStatus(StrEnum):
    """The words of the Munich Quantum Portal: its clients fail on any other."""

    PENDING = "PENDING"
    """Nobody has taken it yet."""
    WAITING = "WAITING"
    """A scheduler has it; it runs, or is about to."""
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """Whether nothing moves a job from here."""
        return self in {MqpStatus.COMPLETED, MqpStatus.FAILED, MqpStatus.CANCELLED}


class QoroStatus(StrEnum):
    """The words of the Qoro service that a job has here; `SCHEDULED` is none of them, it is worked out."""

    PENDING = "PENDING"
    """It is not finalised, or nothing of it has started."""
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    INSUFFICIENT_CREDITS = "INSUFFICIENT_CREDITS"

    @property
    def is_final(self) -> bool:
        """Whether nothing moves a job from here."""
        return self not in {QoroStatus.PENDING, QoroStatus.RUNNING}


_OURS = {JobStatus.CREATED, JobStatus.SUBMITTING, JobStatus.UNKNOWN, JobStatus.LOST}
"""Statuses that no provider reports."""
TIMED = tuple(status for status in JobStatus if status not in _OURS)
"""Jobs and items keep one timestamp for each of these."""

metadata = sa.MetaData()


def _id(name: str, *, key: bool = False, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(36), primary_key=key, nullable=nullable)


def _in(what: str, *, index: bool = False) -> sa.Column[str]:
    """The column that names the row with which this one is deleted."""
    name = f"{what}_id"
    owner = sa.ForeignKey(f"service_{what}.{name}", ondelete="CASCADE")
    return sa.Column(name, owner, nullable=False, index=index)


def _status_columns() -> list[Any]:
    words = ", ".join(f"'{status}'" for status in sorted(TIMED))
    return [
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("message", StorableText, nullable=False, default=""),
        sa.Column("error_detail", StorableText),
        sa.Column("cost", sa.Float),
        *(sa.Column(f"{status.lower()}_at", UtcDateTime) for status in TIMED),
        sa.CheckConstraint(f"status IN ({words})"),
    ]


def _named_columns() -> list[Any]:
    return [
        sa.Column("name", StorableText, nullable=False),
        sa.Column("description", StorableText, nullable=False, default=""),
        sa.Column("properties", sa.JSON, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("modified_at", UtcDateTime, nullable=False),
    ]


service_meta = sa.Table(
    "service_meta",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

user = sa.Table(
    "service_user",
    metadata,
    _id("user_id", key=True),
    sa.Column("email", sa.String(320), nullable=False, unique=True),  # in lower case
    sa.Column("display_name", StorableText, nullable=False),
    sa.Column("password_hash", sa.Text, nullable=False),
    sa.Column("groups", sa.JSON, nullable=False),  # names of user groups
    sa.Column("created_real", UtcDateTime, nullable=False),
)

session = sa.Table(  # one login; its refresh token is stored hashed
    "service_session",
    metadata,
    _id("session_id", key=True),
    sa.Column("user_id", sa.ForeignKey("service_user.user_id"), nullable=False),
    sa.Column("refresh_hash", sa.String(64), nullable=False, unique=True),
    sa.Column("expires_real", UtcDateTime, nullable=False),
    sa.Column("created_real", UtcDateTime, nullable=False),
    sa.Column("rotates", sa.Boolean, nullable=False, server_default=sa.false()),  # a refresh gives another token
)

retired_token = sa.Table(  # refresh tokens that were exchanged: whoever sends one again has a copy
    "service_retired_token",
    metadata,
    sa.Column("token_hash", sa.String(64), primary_key=True),
    _in("session", index=True),
    sa.Column("retired_real", UtcDateTime, nullable=False),
)

access_token = sa.Table(
    "service_access_token",
    metadata,
    sa.Column("token_hash", sa.String(64), primary_key=True),
    sa.Column("session_id", sa.ForeignKey("service_session.session_id"), nullable=False, index=True),
    sa.Column("expires_real", UtcDateTime, nullable=False),
)

device_code = sa.Table(  # the device-code flow: a person approves `user_code` in a browser
    "service_device_code",
    metadata,
    sa.Column("code_hash", sa.String(64), primary_key=True),
    sa.Column("user_code", sa.String(16), nullable=False, unique=True),
    sa.Column("user_id", sa.ForeignKey("service_user.user_id")),  # who approved
    sa.Column("taken", sa.Boolean, nullable=False, default=False),
    sa.Column("expires_real", UtcDateTime, nullable=False),
)

team = sa.Table(
    "service_team",
    metadata,
    _id("team_id", key=True),
    sa.Column("owner_id", sa.ForeignKey("service_user.user_id"), nullable=False),
    sa.Column("name", StorableText, nullable=False),
    sa.Column("display_name", StorableText, nullable=False),
    sa.Column("description", StorableText, nullable=False, default=""),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

team_member = sa.Table(
    "service_team_member",
    metadata,
    sa.Column("team_id", sa.ForeignKey("service_team.team_id"), primary_key=True),
    sa.Column("user_id", sa.ForeignKey("service_user.user_id"), primary_key=True),
)

assignment = sa.Table(  # both empty: the public has the role
    "service_assignment",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("resource_id", sa.String(36), nullable=False, index=True),
    sa.Column("role_id", sa.String(36), nullable=False),
    sa.Column("user_id", sa.ForeignKey("service_user.user_id")),
    sa.Column("team_id", sa.ForeignKey("service_team.team_id")),
)

credential = sa.Table(
    "service_credential",
    metadata,
    _id("credential_id", key=True),
    sa.Column("owner_id", sa.ForeignKey("service_user.user_id"), nullable=False),
    sa.Column("name", StorableText, nullable=False),
    sa.Column("backend_issuer", sa.String(16), nullable=False),
    sa.Column("is_default_for_issuer", sa.Boolean, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

usage = sa.Table(  # what counts towards a quota: seconds, or megabytes
    "service_usage",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("user_id", sa.ForeignKey("service_user.user_id"), nullable=False, index=True),
    sa.Column("quota", sa.String(32), nullable=False),
    sa.Column("amount", sa.Float, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)

project = sa.Table(
    "service_project",
    metadata,
    _id("project_id", key=True),
    sa.Column("owner_id", sa.ForeignKey("service_user.user_id"), nullable=False),
    *_named_columns(),
    sa.Column("archived", sa.Boolean, nullable=False, default=False),
    sa.Column("contents_modified_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("owner_id", "name"),
)

property_definition = sa.Table(
    "service_property_definition",
    metadata,
    _id("property_id", key=True),
    _in("project"),
    sa.Column("name", StorableText, nullable=False),
    sa.Column("description", StorableText, nullable=False, default=""),
    sa.Column("property_type", sa.String(16), nullable=False),
    sa.Column("required", sa.Boolean, nullable=False),
    sa.Column("color", sa.String(16), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("modified_at", UtcDateTime, nullable=False),
)

document = sa.Table(  # circuits (JSON of pytket) and files: qir, wasm, hugr, gpu_decoder_config
    "service_document",
    metadata,
    _id("document_id", key=True),
    sa.Column("kind", sa.String(24), nullable=False),
    _in("project", index=True),
    sa.Column("owner_id", sa.ForeignKey("service_user.user_id"), nullable=False),
    *_named_columns(),
    sa.Column("body", sa.LargeBinary, nullable=False),  # zlib
    sa.Index("document_by_owner", "owner_id", "kind", "created_at"),
)

deleted = sa.Table(  # ids of what was deleted with its project or job
    "service_grave",
    metadata,
    _id("resource_id", key=True),
    sa.Column("owner_id", sa.ForeignKey("service_user.user_id"), nullable=False),
)

job = sa.Table(
    "service_job",
    metadata,
    _id("job_id", key=True),
    sa.Column("sequence", sa.BigInteger, nullable=False, unique=True),  # order of arrival
    _in("project", index=True),
    sa.Column("owner_id", sa.ForeignKey("service_user.user_id"), nullable=False),
    *_named_columns(),
    sa.Column("job_type", sa.String(16), nullable=False),  # compile, execute
    sa.Column("device", sa.Text, nullable=False),  # name of the queue: a device of the device file
    sa.Column("definition", sa.JSON, nullable=False),  # as it was posted, without its items
    sa.Column("cancel_requested_at", UtcDateTime),
    *_status_columns(),
    sa.Index("job_by_owner", "owner_id", "created_at"),
    sa.Index("job_by_device", "device", "status", "sequence"),
)

job_item = sa.Table(
    "service_job_item",
    metadata,
    _id("item_uuid", key=True),
    _in("job"),
    sa.Column("item_id", sa.Integer, nullable=False),  # 1, 2, ...
    sa.Column("program_id", sa.String(36), nullable=False),
    sa.Column("n_shots", sa.Integer),
    sa.Column("max_cost", sa.Float),
    sa.Column("n_qubits", sa.Integer),
    sa.Column("external_handle", sa.String(36)),
    sa.Column("result_id", sa.String(36)),
    sa.Column("result_type", sa.String(8)),
    sa.Column("compilation_id", sa.String(36)),
    sa.Column("cost_confidence", sa.Float),
    sa.Column("tries", sa.Integer, nullable=False, default=0),
    sa.Column("ready_at", UtcDateTime),  # it may not start before this moment
    *_status_columns(),
    sa.UniqueConstraint("job_id", "item_id"),
    sa.Index("item_by_status", "status", "ready_at"),
)

result = sa.Table(
    "service_result",
    metadata,
    _id("result_id", key=True),
    sa.Column("item_uuid", sa.String(36), nullable=False, index=True),
    _in("job", index=True),
    sa.Column("owner_id", sa.ForeignKey("service_user.user_id"), nullable=False),
    sa.Column("program_id", sa.String(36), nullable=False),
    sa.Column("result_type", sa.String(8), nullable=False),  # PYTKET, QSYS
    sa.Column("body", sa.LargeBinary, nullable=False),  # zlib of the JSON of BackendResult.to_dict()
    sa.Column("created_at", UtcDateTime, nullable=False),
)

compilation = sa.Table(
    "service_compilation",
    metadata,
    _id("compilation_id", key=True),
    _in("job", index=True),
    sa.Column("project_id", sa.String(36), nullable=False),
    sa.Column("owner_id", sa.ForeignKey("service_user.user_id"), nullable=False),
    *_named_columns(),
    sa.Column("original_id", sa.String(36), nullable=False),  # documents
    sa.Column("compiled_id", sa.String(36), nullable=False),
)

compilation_pass = sa.Table(
    "service_compilation_pass",
    metadata,
    _id("pass_id", key=True),
    _in("compilation", index=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("pass_name", StorableText, nullable=False),
    sa.Column("original_id", sa.String(36), nullable=False),
    sa.Column("compiled_id", sa.String(36), nullable=False),
)

mqp_budget = sa.Table(  # an owner is named by their address: a scheduler of somebody else's knows no other name
    "mqp_budget",
    metadata,
    sa.Column("owner", sa.ForeignKey("service_user.email"), primary_key=True),
    sa.Column("name", StorableText, primary_key=True),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

mqp_resource = sa.Table(
    "mqp_resource",
    metadata,
    sa.Column("name", StorableText, primary_key=True),
    sa.Column("qubits", sa.Integer, nullable=False),
    sa.Column("online", sa.Boolean, nullable=False),
    sa.Column("maintenance", sa.Boolean, nullable=False),  # begun by hand, until it is ended by hand
    sa.Column("maintenance_from", UtcDateTime),  # planned
    sa.Column("maintenance_until", UtcDateTime),
    sa.Column("connectivity", StorableText),  # literals of Python, as the portal serves them
    sa.Column("instructions", StorableText),
    sa.Column("max_shots", sa.Integer, nullable=False),
    sa.Column("max_circuits", sa.Integer, nullable=False),
    sa.CheckConstraint("qubits > 0 AND max_shots > 0 AND max_circuits > 0"),
)

mqp_job = sa.Table(  # the id is the order of arrival
    "mqp_job",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("kind", sa.String(12), nullable=False),
    sa.Column("owner", sa.String(320), nullable=False),
    sa.Column("budget", StorableText, nullable=False),
    sa.Column("target_specification", sa.ForeignKey("mqp_resource.name"), nullable=False),
    sa.Column("circuit", StorableText),
    sa.Column("circuit_format", sa.String(16)),
    sa.Column("shots", sa.Integer),
    sa.Column("no_modify", sa.Boolean),
    sa.Column("queued", sa.Boolean),
    sa.Column("interaction_str", StorableText),
    sa.Column("coefficients_str", StorableText),
    sa.Column("task_id", sa.ForeignKey("mqp_job.id")),  # the first job of the task; none: it is the first itself
    sa.Column("epochs", sa.Integer),
    sa.Column("params", StorableText),
    sa.Column("parametric_circuit", StorableText),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("cost", sa.Float, nullable=False),
    sa.Column("result", StorableText),
    sa.Column("note", StorableText, nullable=False),
    sa.Column("reason", sa.String(32)),  # why it was cancelled, has failed or was put back
    sa.Column("executed_resource", StorableText),
    sa.Column("executed_circuit", StorableText),
    sa.Column("timestamp_submitted", UtcDateTime, nullable=False),
    sa.Column("timestamp_scheduled", UtcDateTime),
    sa.Column("timestamp_completed", UtcDateTime),
    sa.Column("claimed_by", sa.Text),  # the process that has it, with what proves its end
    sa.Column("dispatched_at", UtcDateTime),  # from here on it may run
    sa.Column("remote", StorableText),  # its name where it runs
    sa.Column("key", StorableText),  # of whoever created it: the same key is the same job
    sa.Column("body_hash", sa.String(64)),
    sa.ForeignKeyConstraint(["owner", "budget"], ["mqp_budget.owner", "mqp_budget.name"]),
    sa.UniqueConstraint("owner", "key"),
    sa.CheckConstraint(f"status IN ({', '.join(repr(word.value) for word in MqpStatus)})"),
    sa.CheckConstraint("(status = 'WAITING' AND claimed_by IS NOT NULL) OR status <> 'WAITING'", name="held_by_one"),
    sa.CheckConstraint(
        "(status = 'PENDING' AND claimed_by IS NULL AND dispatched_at IS NULL) OR status <> 'PENDING'",
        name="pending_is_free",
    ),
    sa.CheckConstraint(
        "(kind = 'circuit' AND circuit IS NOT NULL AND shots > 0) OR "
        "(kind = 'hamiltonian' AND interaction_str IS NOT NULL AND coefficients_str IS NOT NULL)",
        name="whole_of_its_kind",
    ),
    sa.Index("mqp_job_by_status", "kind", "status", "owner", "target_specification"),
    sa.Index("mqp_job_by_owner", "owner", "kind", "timestamp_submitted"),
    sqlite_autoincrement=True,  # an id is never used again
)


qoro_job = sa.Table(
    "qoro_job",
    metadata,
    _id("job_id", key=True),
    sa.Column("owner_id", sa.ForeignKey("service_user.user_id"), nullable=False, index=True),
    sa.Column("tag", StorableText, nullable=False),
    sa.Column("job_type", sa.String(16), nullable=False),  # EXECUTE, EXPECTATION
    sa.Column("device", StorableText, nullable=False),  # that it runs on
    sa.Column("settings", sa.JSON, nullable=False),  # as they were posted; none of them changes a result
    sa.Column("part_size", sa.Integer, nullable=False),  # circuits in one job of the service
    sa.Column("observables", sa.JSON(none_as_null=True)),  # lists of Pauli strings, leftmost letter on qubit 0
    sa.Column("circuit_ham_map", sa.JSON(none_as_null=True)),  # [start, end) of circuits for each of these lists
    sa.Column("n_circuits", sa.Integer, nullable=False, default=0),
    sa.Column("last_fragment", sa.String(64)),  # hash of the body that was taken last: a repeated one adds nothing
    sa.Column("status", sa.String(24), nullable=False),
    sa.Column("message", StorableText, nullable=False, default=""),
    sa.Column("sent", sa.Integer, nullable=False, default=0),  # how many parts are jobs of the service
    sa.Column("run_time_s", sa.Float),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("finalized_at", UtcDateTime),  # from here on it may run, and takes no circuits
    sa.Column("ended_at", UtcDateTime),
    sa.CheckConstraint(f"status IN ({', '.join(repr(word.value) for word in QoroStatus)})"),
    sa.CheckConstraint(
        "finalized_at IS NOT NULL OR (sent = 0 AND status IN ('PENDING', 'CANCELLED'))", name="runs_when_finalized"
    ),
    sa.Index("qoro_job_by_status", "status", "finalized_at"),
)

qoro_circuit = sa.Table(
    "qoro_circuit",
    metadata,
    sa.Column("job_id", sa.ForeignKey("qoro_job.job_id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),  # 0, 1, ... over all fragments
    sa.Column("label", StorableText, nullable=False),
    sa.Column("n_shots", sa.Integer, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),  # zlib of OpenQASM 2
    sa.UniqueConstraint("job_id", "label"),
)


def _upgrade(connection: sa.Connection, found: int) -> None:
    """Add what a database of an older version lacks: 1 the tables of the portal, 2 those of Qoro, 3 rotation."""
    tables = [retired_token]
    if found < 3:
        tables += [qoro_job, qoro_circuit]
    if found < 2:
        tables += [mqp_budget, mqp_resource, mqp_job]
    column = sa.schema.CreateColumn(session.c.rotates).compile(dialect=connection.dialect)
    connection.execute(sa.text(f"ALTER TABLE {session.name} ADD COLUMN {column}"))
    metadata.create_all(connection, tables=tables)


SERVICE = Schema(
    what="service's database",
    metadata=metadata,
    meta=service_meta,
    version=SCHEMA_VERSION,
    setting="--database",
    older="finish its open jobs with the qjobs that wrote it and start with an empty data folder",
    upgrade=_upgrade,
    oldest=_OLDEST_VERSION,
)
