"""Schema 7: a table for the pace at which all processes together ask the provider of an account."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "7"
down_revision = "6"


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
