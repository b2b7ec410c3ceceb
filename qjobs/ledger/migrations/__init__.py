"""Migrations of the ledger (Alembic): each raises the schema by one, and they run when an older ledger is opened.

A migration is history: it says in its own words what it makes, and imports nothing of `qjobs.ledger`. A change of
`qjobs.ledger.tables` needs one; `tests/unit/test_ledger_migrations.py` compares what both make.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

__all__ = ["VERSION_TABLE", "upgrade"]

VERSION_TABLE = "ledger_revision"
"""Where Alembic keeps the revision: the number of the schema, as text."""


def upgrade(connection: sa.Connection, found: int) -> None:
    """Bring the tables from schema `found` to the newest one, inside the caller's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.stamp(config, str(found), purge=True)  # the first ledgers had a number, and no revision
    command.upgrade(config, "head")
