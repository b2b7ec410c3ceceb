"""Tables of the ledger.

One schema serves SQLite and PostgreSQL. Invariants are constraints of the database: a status is one
of the known words, a job has one live attempt at the most, an item one result per epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event as sa_event

from qjobs.errors import InvalidInput
from qjobs.lifecycle import LIVE, JobStatus
from qjobs.model import JobKind, ProgramFormat, RemoteRetryStrategy
from qjobs.redaction import kept

SCHEMA_VERSION = 9
"""Raised with every change of a table, which needs a migration of the same number (`qjobs.ledger.migrations`)."""
OLDEST_VERSION = 4
"""The oldest schema that can be migrated."""

_TIMES_KEPT = 1024

_Word = TypeVar("_Word", bound=StrEnum)

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

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[Any], Any] | None:
        """The items of a job share their times: each is worked out once."""
        process = super().bind_processor(dialect)
        return None if process is None else lru_cache(maxsize=_TIMES_KEPT)(process)

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """As `bind_processor`."""
        process = super().result_processor(dialect, coltype)
        return None if process is None else lru_cache(maxsize=_TIMES_KEPT)(process)


class StorableText(sa.types.TypeDecorator[str]):
    """Text that may hold what PostgreSQL does not store: NUL, and half of a surrogate pair."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """Leave out what cannot be stored."""
        return None if value is None else storable(value)


class Words(sa.types.TypeDecorator[str]):
    """Words of others: a poll must not fail over them, and no secret of theirs or of ours is kept."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """Leave out what cannot be stored, what is secret and what nobody reads to the end."""
        return None if value is None else as_stored(value)


class AtDeadline(StrEnum):
    """What is done when a wait reaches its deadline."""

    NOTIFY = "notify"
    """An event is recorded, and the wait goes on."""
    CANCEL = "cancel"
    """The jobs that are still open are cancelled."""
    GO_ON = "go on"
    """The run goes on with what there is."""


class Until(StrEnum):
    """What a run waits for."""

    ALL = "all"
    """All of its jobs are done."""
    ANY = "any"
    """Any of its jobs is done."""
    ROOM = "room"
    """Any of its jobs has left its place at the device."""


def storable(text: str) -> str:
    """The text without what PostgreSQL cannot store."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def as_stored(text: str) -> str:
    """The words of others, as a column of type `Words` keeps them; a second call changes nothing."""
    return kept(storable(text)) if text else text


def _words(statuses: frozenset[JobStatus] | tuple[JobStatus, ...]) -> str:
    return ", ".join(f"'{status}'" for status in sorted(statuses))


def _one_of(words: type[_Word], check: str, *, length: int = 16) -> sa.Enum:
    """A column's type for a closed set of words; the database itself refuses any other."""
    return sa.Enum(
        words,
        name=f"{check}_check",
        native_enum=False,
        create_constraint=True,
        length=length,
        values_callable=lambda kind: [str(word.value) for word in kind],
    )


LEDGER_META = sa.Table(
    "ledger_meta",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

LEDGER_REVISION = sa.Table(  # Alembic's own: the migration that made the other tables
    "ledger_revision",
    metadata,
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="ledger_revision_pkc"),
)

PROGRAM = sa.Table(
    "program",
    metadata,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("format", _one_of(ProgramFormat, "program_format"), nullable=False),
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
    sa.Column("kind", _one_of(JobKind, "job_kind"), nullable=False),
    sa.Column("backend", sa.Text, nullable=False),
    sa.Column("device", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("experiment", sa.Text, nullable=False),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("logical_run", sa.Text, nullable=False, server_default=""),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("opened_as", sa.Text, nullable=False, server_default=""),
    sa.Column("fingerprint", sa.Text, nullable=False, server_default=""),
    sa.Column("definition", sa.Text, nullable=False, server_default=""),
    sa.Column("compiled_with", sa.Text, nullable=False, server_default=""),
    sa.Column("spec", sa.JSON, nullable=False),
    sa.Column("status", _one_of(JobStatus, "job_status"), nullable=False),
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
    sa.Index("job_by_status", "status", "next_poll_at"),
    sa.Index("job_by_experiment", "experiment", "created_at"),
    sa.Index("job_by_run", "run"),
    sa.Index("job_by_logical_run", "logical_run"),
    sa.Index("job_by_definition", "definition"),
    sa.Index("job_by_device", "backend", "device", "status"),
)

WAIT = sa.Table(  # which run waits for which jobs; several runs may wait for one job
    "wait",
    metadata,
    sa.Column("flow_run_id", sa.Text, primary_key=True),
    sa.Column("job_id", sa.ForeignKey("job.job_id"), primary_key=True),
    sa.Column("until", _one_of(Until, "wait_until", length=8), nullable=False),
    sa.Column("server", sa.Text, nullable=False, server_default=""),  # where Prefect knows the run
    sa.Column("registered_at", UtcDateTime, nullable=False),
    sa.Column("deadline_at", UtcDateTime),
    sa.Column("at_deadline", _one_of(AtDeadline, "wait_at_deadline", length=8)),
    sa.Column("held_by", sa.Text),  # the process that waits for them itself; null for a run that is suspended
    sa.Index("wait_by_job", "job_id"),
)

DISPATCH_TERMS = sa.Table(  # how jobs of a suspended run are to be submitted; most runs have one row for each backend
    "dispatch_terms",
    metadata,
    sa.Column("flow_run_id", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("backend", sa.Text, nullable=False),
    sa.Column("device", sa.Text, nullable=False),
    sa.Column("opened_as", sa.Text, nullable=False),
    sa.Column("strategy", _one_of(RemoteRetryStrategy, "dispatch_terms_strategy"), nullable=False),
    sa.Column("policy", sa.JSON, nullable=False),
    sa.Column("programs", sa.JSON, nullable=False),
    sa.Column("registered_at", UtcDateTime, nullable=False),
    sa.Column("served_at", UtcDateTime),  # when a job of it was sent last: runs take turns
    sa.Column("due_at", UtcDateTime),  # nothing of it is sent before; null for at once
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),  # since a job of it was sent
    sa.Column("trouble", Words),
    sa.Index("dispatch_terms_by_device", "backend", "device"),
)

DISPATCH = sa.Table(  # jobs of suspended runs that wait for a place at their device, until the sensor has sent them
    "dispatch",
    metadata,
    sa.Column("flow_run_id", sa.Text, primary_key=True),
    sa.Column("job_id", sa.ForeignKey("job.job_id"), primary_key=True),
    sa.Column("terms", sa.Integer, nullable=False),
    sa.Column("place", sa.Integer, nullable=False),  # in the order of submission
    sa.Column("entries", sa.Integer, nullable=False, server_default="0"),  # how often its submission was entered
    sa.Column("due_at", UtcDateTime),
    sa.Column("taken_by", sa.Text),  # the process that enters it now
    sa.Index("dispatch_in_order", "flow_run_id", "terms", "place"),
    sa.Index("dispatch_by_job", "job_id"),
)
sa.Index(
    "dispatch_taken",
    DISPATCH.c.taken_by,
    sqlite_where=DISPATCH.c.taken_by.is_not(None),
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
    sa.Column("strategy", _one_of(RemoteRetryStrategy, "attempt_strategy"), nullable=False),
    sa.Column("items", sa.JSON(none_as_null=True)),
    sa.Column("status", _one_of(JobStatus, "attempt_status"), nullable=False),
    sa.Column("remote_id", sa.Text),
    sa.Column("remote_status", Words),
    sa.Column("message", Words, nullable=False, default=""),
    sa.Column("cost", sa.Float),
    sa.Column(
        "reserved", sa.Float
    ),  # what it was to cost when it was claimed; 0 once it is known that nothing was sent
    sa.Column("cost_unit", sa.Text, nullable=False, server_default=""),
    sa.Column("may_arrive", sa.Boolean, nullable=False, server_default=sa.false()),  # given up for one of the same key
    sa.Column("lease_owner", sa.Text),
    sa.Column("lease_until", UtcDateTime),
    sa.Column("claimed_at", UtcDateTime, nullable=False),
    sa.Column("sent_at", UtcDateTime),
    sa.Column("accepted_at", UtcDateTime),
    sa.Column("finished_at", UtcDateTime),
    sa.Column("by_item", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("awaited", _one_of(JobStatus, "attempt_awaited")),
    sa.Column("awaited_since", UtcDateTime),
    sa.Column("awaited_at", UtcDateTime),
    sa.Column("awaited_times", sa.Integer, nullable=False, server_default="0"),
    sa.Column("compiled_on", sa.String(16)),  # fingerprints of the device, as in device_snapshot
    sa.Column("submitted_on", sa.String(16)),
    sa.Column("results_on", sa.String(16)),
    sa.Index("attempt_by_remote_id", "remote_id"),
)
sa.Index(
    "one_live_attempt_per_job",
    ATTEMPT.c.job_id,
    unique=True,
    sqlite_where=sa.text(f"status IN ({_words(LIVE)})"),
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
    sa.Column("status", _one_of(JobStatus, "item_status"), nullable=False),
    sa.Column("queue_position", sa.Integer),
    sa.Column("message", Words, nullable=False, default=""),
    sa.Column("error_detail", Words),
    sa.Column("cost", sa.Float),
    sa.Column("cancel_requested_at", UtcDateTime),
    sa.Column("no_result", Words),  # why its result will never come
    *(sa.Column(f"{status.lower()}_at", UtcDateTime) for status in TIMED_STATUSES),
    sa.CheckConstraint("shots >= 0", name="item_shots_check"),
    sa.UniqueConstraint("job_id", "label"),
)
sa.Index(
    "item_to_cancel",
    ITEM.c.job_id,
    sqlite_where=ITEM.c.cancel_requested_at.is_not(None),
)

STRAY = sa.Table(  # remote jobs of ours that no attempt claims
    "stray",
    metadata,
    sa.Column("job_id", sa.ForeignKey("job.job_id"), primary_key=True),
    sa.Column("remote_id", sa.Text, primary_key=True),
    sa.Column("why", Words, nullable=False),
    sa.Column("found_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("outcome", Words),
    sa.Column("cost", sa.Float),
    sa.Column("reserved", sa.Float),
    sa.Column("cost_unit", sa.Text, nullable=False, server_default=""),
)
sa.Index(
    "stray_to_end",
    STRAY.c.job_id,
    sqlite_where=STRAY.c.ended_at.is_(None),
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
ITEMS_WITH_RESULTS = ITEM.join(JOB, JOB.c.job_id == ITEM.c.job_id).outerjoin(
    RESULT,
    (RESULT.c.job_id == ITEM.c.job_id) & (RESULT.c.item_index == ITEM.c.item_index) & (RESULT.c.epoch == JOB.c.epoch),
)
"""Items, each with its job, and with its result in the job's present epoch if it has one."""

EVENT = sa.Table(
    "event",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("job_id", sa.ForeignKey("job.job_id"), nullable=False),
    sa.Column("item_index", sa.Integer),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("old", _one_of(JobStatus, "event_old")),
    sa.Column("new", _one_of(JobStatus, "event_new"), nullable=False),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("detail", Words, nullable=False, default=""),
    sa.Index("event_by_job", "job_id", "id"),
)

HYBRID_EPOCH = sa.Table(  # batches of hybrid runs; the column `epoch` of other tables counts full restarts of a job
    "hybrid_epoch",
    metadata,
    sa.Column("logical_run", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("experiment", sa.Text, nullable=False),
    sa.Column("definition", sa.Text, nullable=False),
    sa.Column("params", sa.JSON, nullable=False),
    sa.Column("energy", sa.Float, nullable=False),
    sa.Column("std_error", sa.Float),
    sa.Column("points", sa.JSON, nullable=False),
    sa.Column("energies", sa.JSON, nullable=False),
    sa.Column("std_errors", sa.JSON, nullable=False),
    sa.Column("optimiser_state", sa.JSON, nullable=False),
    sa.Column("circuit_hash", sa.ForeignKey("program.hash"), nullable=False),
    sa.Column("job_ids", sa.JSON, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.CheckConstraint("number >= 1", name="hybrid_epoch_number_check"),
)

PACE = sa.Table(  # how fast all processes together ask the provider of an account
    "pace",
    metadata,
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("spent_until", UtcDateTime),  # up to when the account's time is handed out
    sa.Column("open_at", UtcDateTime),  # when the pause is over that the provider asked for
    sa.Column("max_per_s", sa.Float),  # the lowest rate that a process has
    sa.Column("rated_at", UtcDateTime),  # when that one told it last
)

CAP = sa.Table(  # what may be spent, of the jobs that have these words; null for any
    "cap",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("amount", sa.Float, nullable=False),
    sa.Column("unit", sa.Text, nullable=False),
    sa.Column("owner", sa.Text),
    sa.Column("logical_run", sa.Text),
    sa.Column("backend", sa.Text),
    sa.Column("device", sa.Text),
    sa.Column("monthly", sa.Boolean, nullable=False),
    sa.Column("allows_unknown", sa.Boolean, nullable=False),
    sa.Column("set_at", UtcDateTime, nullable=False),
    sa.CheckConstraint("amount >= 0", name="cap_amount_check"),
)

DEVICE_SNAPSHOT = sa.Table(  # devices as their providers showed them, each once
    "device_snapshot",
    metadata,
    sa.Column("fingerprint", sa.String(16), primary_key=True),
    sa.Column("device", sa.Text, nullable=False),
    sa.Column("calibrated", Words),
    sa.Column("facts", sa.JSON, nullable=False),
    sa.Column("seen_at", UtcDateTime, nullable=False),
)

COMPILED = sa.Table(  # for which snapshot of a device a circuit is what the compiler made, the newest
    "compiled",
    metadata,
    sa.Column("program_hash", sa.String(64), primary_key=True),
    sa.Column("backend", sa.Text, primary_key=True),
    sa.Column("device", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.String(16), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)

LIVE_WORDS = sorted(LIVE)


@sa_event.listens_for(metadata, "before_create")
def _partial_on_postgresql(_target: sa.MetaData, connection: sa.Connection, **_: Any) -> None:
    """Indexes of some rows only are so on PostgreSQL too; said here, its dialect is imported where it is used."""
    if connection.dialect.name != "postgresql":
        return
    for table in metadata.tables.values():
        for index in table.indexes:
            index.dialect_options["postgresql"]["where"] = index.dialect_options["sqlite"].get("where")
