"""Which process runs which flow run: each records a heartbeat, so that one that was killed is known by its silence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from qjobs.ledger.database import Database, log_after_commit
from qjobs.ledger.liveness import display_owner, has_ended, is_alive
from qjobs.ledger.tables import RUNNER

__all__ = ["HEARTBEAT_S", "Heartbeats", "Runner"]

HEARTBEAT_S = 30.0
"""How often a process records that it lives, in seconds."""
_AT_WORK = timedelta(seconds=3 * HEARTBEAT_S)
"""A process whose last heartbeat is younger than this is at work."""
_GONE_IF_ENDED = timedelta(seconds=2 * HEARTBEAT_S)
"""A process that is proved to have ended counts as gone after this."""
_GONE_UNPROVED = timedelta(seconds=20 * HEARTBEAT_S)
"""A process of which nothing is proved counts as gone after this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """A process that runs a flow run; `server` is the API's URL of the Prefect that knows the run.

    A long-lived sensor is one too: it runs no flow run, and its `flow_run_id` is empty.
    """

    flow_run_id: str
    owner: str
    flow: str
    server: str
    since: datetime
    heartbeat_at: datetime

    def is_at_work(self, now: datetime, server: str) -> bool:
        """Whether it works for that server, and its last heartbeat is recent."""
        same_server = self.server.rstrip("/") == server.rstrip("/")
        return same_server and now - self.heartbeat_at < _AT_WORK and not has_ended(self.owner)

    def is_gone(self, now: datetime) -> bool:
        """Whether it has ended without recording so.

        Where that is proved (`qjobs.ledger.liveness`), its worker has a minute to report it first. Elsewhere ten
        minutes without a heartbeat decide, unless the process is proved alive: one that was stopped may go on.
        """
        age = now - self.heartbeat_at
        if has_ended(self.owner):
            return age > _GONE_IF_ENDED
        return age > _GONE_UNPROVED and not is_alive(self.owner)


class Heartbeats:
    """`Ledger.heartbeats`: processes record that they run a flow run, for as long as they do."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def record(self, flow_run_id: str, owner: str, *, flow: str, server: str, now: datetime) -> None:
        """Record that the process `owner` runs this flow run now."""
        row = {"flow_run_id": flow_run_id, "owner": owner, "flow": flow, "server": server, "since": now, "beat_at": now}
        with self._db.write() as connection:
            update = RUNNER.update().where(_one(flow_run_id, owner)).values(beat_at=now)
            if connection.execute(update).rowcount == 0:
                connection.execute(RUNNER.insert(), row)
                name = flow_run_id or "of its own"
                log_after_commit(connection, "%s runs %s, flow run %s", display_owner(owner), flow, name)

    def end(self, flow_run_id: str, owner: str) -> None:
        """Record that the process runs it no longer. Idempotent."""
        with self._db.write() as connection:
            ended = connection.execute(sa.delete(RUNNER).where(_one(flow_run_id, owner)))
            if ended.rowcount:
                log_after_commit(connection, "%s ended flow run %s", display_owner(owner), flow_run_id or "of its own")

    def runners(self) -> list[Runner]:
        """All processes that run a flow run, or did at their last heartbeat; the longest running first."""
        query = sa.select(RUNNER).order_by(RUNNER.c.since, RUNNER.c.owner)
        return [_runner_of(row) for row in self._db.rows(query)]


def _one(flow_run_id: str, owner: str) -> sa.ColumnElement[bool]:
    return (RUNNER.c.flow_run_id == flow_run_id) & (RUNNER.c.owner == owner)


def _runner_of(row: sa.Row[Any]) -> Runner:
    return Runner(
        flow_run_id=row.flow_run_id,
        owner=row.owner,
        flow=row.flow,
        server=row.server,
        since=row.since,
        heartbeat_at=row.beat_at,
    )
