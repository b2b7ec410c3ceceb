"""Schema 9: how devices were calibrated when circuits were compiled, sent and their results fetched."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "9"
down_revision = "8"


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "device_snapshot",
        sa.Column("fingerprint", sa.String(16), primary_key=True),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("calibrated", sa.Text),
        sa.Column("facts", sa.JSON, nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "compiled",
        sa.Column("program_hash", sa.String(64), primary_key=True),
        sa.Column("backend", sa.Text, primary_key=True),
        sa.Column("device", sa.Text, primary_key=True),
        sa.Column("fingerprint", sa.String(16), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    for name in ("compiled_on", "submitted_on", "results_on"):
        op.add_column("attempt", sa.Column(name, sa.String(16)))
