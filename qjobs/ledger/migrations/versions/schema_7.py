"""Schema 7: the pace of accounts; and how jobs of suspended runs that wait for a place are to be submitted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "7"
down_revision = "6"

_STRATEGIES = "'DEFAULT', 'ALLOW_RESUBMIT', 'FORCE_RESUBMIT', 'FULL_RESTART'"


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "pace",
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("spent_until", sa.DateTime(timezone=True)),
        sa.Column("open_at", sa.DateTime(timezone=True)),
        sa.Column("max_per_s", sa.Float),
        sa.Column("rated_at", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "dispatch_terms",
        sa.Column("flow_run_id", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("backend", sa.Text, nullable=False),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("opened_as", sa.Text, nullable=False),
        sa.Column("strategy", sa.String(16), nullable=False),
        sa.Column("policy", sa.JSON, nullable=False),
        sa.Column("programs", sa.JSON, nullable=False),
        sa.Column("registered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("served_at", sa.DateTime(timezone=True)),
        sa.Column("due_at", sa.DateTime(timezone=True)),
        sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
        sa.Column("trouble", sa.Text),
        sa.CheckConstraint(f"strategy IN ({_STRATEGIES})", name="dispatch_terms_strategy_check"),
    )
    op.create_index("dispatch_terms_by_device", "dispatch_terms", ["backend", "device"])
    op.create_table(
        "dispatch",
        sa.Column("flow_run_id", sa.Text, primary_key=True),
        sa.Column("job_id", sa.String(40), sa.ForeignKey("job.job_id"), primary_key=True),
        sa.Column("terms", sa.Integer, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("entries", sa.Integer, nullable=False, server_default="0"),
        sa.Column("due_at", sa.DateTime(timezone=True)),
        sa.Column("taken_by", sa.Text),
    )
    op.create_index("dispatch_in_order", "dispatch", ["flow_run_id", "terms", "place"])
    op.create_index("dispatch_by_job", "dispatch", ["job_id"])
    is_taken = sa.text("taken_by IS NOT NULL")
    op.create_index("dispatch_taken", "dispatch", ["taken_by"], sqlite_where=is_taken, postgresql_where=is_taken)
