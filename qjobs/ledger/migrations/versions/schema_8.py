"""Schema 8: caps on what may be spent, and what each submission was to cost when it was claimed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "8"
down_revision = "7"


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "cap",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("amount", sa.Float, nullable=False),
        sa.Column("unit", sa.Text, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("logical_run", sa.Text),
        sa.Column("backend", sa.Text),
        sa.Column("device", sa.Text),
        sa.Column("monthly", sa.Boolean, nullable=False),
        sa.Column("allows_unknown", sa.Boolean, nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("amount >= 0", name="cap_amount_check"),
    )
    for table in ("attempt", "stray"):
        if table == "stray":
            op.add_column(table, sa.Column("cost", sa.Float))
        op.add_column(table, sa.Column("reserved", sa.Float))
        op.add_column(table, sa.Column("cost_unit", sa.Text, nullable=False, server_default=""))
    op.add_column("attempt", sa.Column("may_arrive", sa.Boolean, nullable=False, server_default=sa.false()))
