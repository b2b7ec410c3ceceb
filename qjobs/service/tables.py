"""Tables of the job service. One schema serves SQLite and PostgreSQL.

Every row that belongs to a user names the user in `owner_id`. Ids are UUIDs in their text form; moments are UTC of the
service's own clock, which may run faster than real time, except where a name says `real`.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from qjobs.ledger.database import Schema
from qjobs.ledger.tables import StorableText, UtcDateTime
from qjobs.lifecycle import JobStatus

SCHEMA_VERSION = 1
"""Increased with every change of a table."""

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

SERVICE = Schema(
    what="service's database",
    metadata=metadata,
    meta=service_meta,
    version=SCHEMA_VERSION,
    setting="--database",
    older="finish its open jobs with the qjobs that wrote it and start with an empty data folder",
)
