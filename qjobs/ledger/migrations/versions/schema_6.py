"""Schema 6: a table for the epochs of hybrid runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "6"
down_revision = "5"


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "hybrid_epoch",
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
        sa.Column("circuit_hash", sa.String(64), sa.ForeignKey("program.hash"), nullable=False),
        sa.Column("job_ids", sa.JSON, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("number >= 1", name="hybrid_epoch_number_check"),
    )
