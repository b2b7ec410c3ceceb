"""Schema 5: what opens a job's backend again is a column, jobs can be LOST, and closed sets of words are checked."""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "5"
down_revision = "4"

_STATUSES = (
    "CREATED",
    "SUBMITTING",
    "UNKNOWN",
    "LOST",
    "SUBMITTED",
    "QUEUED",
    "RUNNING",
    "RETRYING",
    "CANCELLING",
    "COMPLETED",
    "CANCELLED",
    "ERROR",
    "DEPLETED",
    "TERMINATED",
)
_STRATEGIES = ("DEFAULT", "ALLOW_RESUBMIT", "FORCE_RESUBMIT", "FULL_RESTART")
_CHUNK = 1000
_MOVED = {"backend_name": "opened_as", "definition": "definition"}
"""Keys of `job.properties` that become columns."""


def _moment(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True))


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def _add(table: str, columns: Sequence[sa.Column[Any]]) -> None:
    """Add columns to a table."""
    for column in columns:
        op.add_column(table, column)


def _remake(
    table: str, words: Mapping[str, Sequence[str]], *, not_null: str = "", text: str = "", shots: bool = False
) -> None:
    """Say which words the columns of a table take, that one is never null, and that another is text of any length.

    SQLite makes the table anew, without the checks that it had, so each table is done once and last.
    PostgreSQL had named the checks that had no name.
    """
    checks = {}
    for column, each in words.items():
        listed = ", ".join(f"'{word}'" for word in each)
        checks[f"{table}_{column}_check"] = f"{column} IN ({listed})"
    if shots:
        checks["item_shots_check"] = "shots >= 0"
    connection = op.get_bind()
    named = {check["name"] for check in sa.inspect(connection).get_check_constraints(table)}
    with warnings.catch_warnings(), op.batch_alter_table(table) as batch:
        warnings.filterwarnings("ignore", message="Unnamed CHECK constraint")
        if not_null:
            batch.alter_column(not_null, existing_type=sa.DateTime(timezone=True), nullable=False)
        if text:
            batch.alter_column(text, existing_type=sa.String(64), type_=sa.Text, existing_nullable=False)
        for name, rule in checks.items():
            if name in named:
                batch.drop_constraint(name, type_="check")
            batch.create_check_constraint(name, sa.text(rule))


def upgrade() -> None:
    """Make the changes."""
    _remake("program", {"format": ("openqasm2", "openqasm3", "qpy", "pytket")})
    _upgrade_job()
    _upgrade_attempt()
    _upgrade_item()
    _upgrade_wait()
    _remake("event", {"old": _STATUSES, "new": _STATUSES})
    op.create_table(
        "stray",
        sa.Column("job_id", sa.String(40), sa.ForeignKey("job.job_id"), primary_key=True),
        sa.Column("remote_id", sa.Text, primary_key=True),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        _moment("ended_at"),
        sa.Column("outcome", sa.Text),
    )
    is_open = sa.text("ended_at IS NULL")
    op.create_index("stray_to_end", "stray", ["job_id"], sqlite_where=is_open, postgresql_where=is_open)
    meta = sa.table("ledger_meta", sa.column("name"), sa.column("value"))
    op.execute(meta.insert().values(name="ledger_id", value=secrets.token_hex(16)))


def _upgrade_job() -> None:
    names = ("logical_run", "opened_as", "fingerprint", "definition", "compiled_with")
    kinds = ("compile", "execute", "hamiltonian")
    _add("job", [_text(name) for name in names])
    _remake("job", {"status": _STATUSES, "kind": kinds})
    op.create_index("job_by_logical_run", "job", ["logical_run"])
    op.create_index("job_by_definition", "job", ["definition"])
    job = sa.table(
        "job",
        sa.column("job_id", sa.String),
        sa.column("run", sa.Text),
        sa.column("logical_run", sa.Text),
        sa.column("opened_as", sa.Text),
        sa.column("definition", sa.Text),
        sa.column("properties", sa.JSON),
    )
    op.execute(job.update().values(logical_run=job.c.run))
    connection = op.get_bind()
    last = ""
    while True:
        query = sa.select(job.c.job_id, job.c.properties).where(job.c.job_id > last).order_by(job.c.job_id)
        rows = connection.execute(query.limit(_CHUNK)).all()
        if not rows:
            return
        for row in rows:
            found = {column: row.properties[key] for key, column in _MOVED.items() if row.properties.get(key)}
            left = {key: value for key, value in row.properties.items() if key not in _MOVED}
            if left != row.properties:
                statement = job.update().where(job.c.job_id == row.job_id).values(properties=left, **found)
                connection.execute(statement)
        last = rows[-1].job_id


def _upgrade_attempt() -> None:
    columns = [
        _moment("claimed_at"),
        sa.Column("by_item", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("awaited", sa.String(16)),
        _moment("awaited_since"),
        _moment("awaited_at"),
        sa.Column("awaited_times", sa.Integer, nullable=False, server_default="0"),
    ]
    _add("attempt", columns)
    op.execute(
        "UPDATE attempt SET claimed_at = "
        "coalesce(sent_at, (SELECT created_at FROM job WHERE job.job_id = attempt.job_id))"
    )
    words = {"status": _STATUSES, "strategy": _STRATEGIES, "awaited": _STATUSES}
    _remake("attempt", words, not_null="claimed_at")


def _upgrade_item() -> None:
    _add("item", [sa.Column("no_result", sa.Text), _moment("lost_at")])
    _remake("item", {"status": _STATUSES}, shots=True)


def _upgrade_wait() -> None:
    _add("wait", [sa.Column("held_by", sa.Text)])
    words = {"until": ("all", "any", "room"), "at_deadline": ("notify", "cancel", "go on")}
    _remake("wait", words, text="flow_run_id")
