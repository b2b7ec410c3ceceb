"""Tables of the ledger.

One schema serves SQLite and PostgreSQL. Invariants are constraints of the database: a status is one
of the known words, a job has one live attempt at the most, an item one result per epoch.
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa

from qjobs.errors import InvalidInput
from qjobs.lifecycle import LIVE, JobStatus

SCHEMA_VERSION = 4
"""Raised with every change of a table; `Ledger` refuses any other number."""

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


LEDGER_META = sa.Table(
    "ledger_meta",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

PROGRAM = sa.Table(
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

JOB = sa.Table(
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
    sa.Column("polled_by", sa.Text),  # which pass of a sensor holds it until next_poll_at
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

WAIT = sa.Table(  # which run waits for which jobs; several runs may wait for one job
    "wait",
    metadata,
    sa.Column("flow_run_id", sa.String(64), primary_key=True),
    sa.Column("job_id", sa.ForeignKey("job.job_id"), primary_key=True),
    sa.Column("until", sa.String(8), nullable=False),
    sa.Column("server", sa.Text, nullable=False, server_default=""),  # where Prefect knows the run
    sa.Column("registered_at", UtcDateTime, nullable=False),
    sa.Column("deadline_at", UtcDateTime),
    sa.Column("at_deadline", sa.String(8)),
    sa.CheckConstraint("until IN ('all', 'any')"),
    sa.Index("wait_by_job", "job_id"),
)

RUNNER = sa.Table(  # which process runs which flow run, as long as it says so
    "runner",
    metadata,
    sa.Column("flow_run_id", sa.String(64), primary_key=True),
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("flow", sa.Text, nullable=False),
    sa.Column("server", sa.Text, nullable=False),
    sa.Column("since", UtcDateTime, nullable=False),
    sa.Column("beat_at", UtcDateTime, nullable=False),
)

ATTEMPT = sa.Table(
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
    ATTEMPT.c.job_id,
    unique=True,
    sqlite_where=sa.text(f"status IN ({_words(LIVE)})"),
    postgresql_where=sa.text(f"status IN ({_words(LIVE)})"),
)

ITEM = sa.Table(
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
    ITEM.c.job_id,
    sqlite_where=ITEM.c.cancel_requested_at.is_not(None),
    postgresql_where=ITEM.c.cancel_requested_at.is_not(None),
)

RESULT = sa.Table(
    "result",
    metadata,
    sa.Column("job_id", sa.ForeignKey("job.job_id"), primary_key=True),
    sa.Column("epoch", sa.Integer, primary_key=True),
    sa.Column("item_index", sa.Integer, primary_key=True),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("received_at", UtcDateTime, nullable=False),
)

EVENT = sa.Table(
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

LIVE_WORDS = sorted(LIVE)
