"""Schema 4: the last one that could not migrate, and so the first one that migrations start from."""

from __future__ import annotations

revision = "4"
down_revision = None


def upgrade() -> None:
    """Nothing: no ledger is made this way."""
