"""What Alembic runs, under the name `env_py`: the migrations, on the connection that it was given."""

from __future__ import annotations

from alembic import context


def run() -> None:
    """Run the migrations in the transaction that is open."""
    context.configure(connection=context.config.attributes["connection"], version_table="ledger_revision")
    context.run_migrations()


if __name__ == "env_py":
    run()
