"""Finds workers that compute for nobody: their items were cancelled, deleted or started anew.

A call to a worker cannot be taken back, and a circuit may take hours: without this, one user's cancelled
job would keep everybody waiting.
"""

from __future__ import annotations

import time
from collections.abc import Collection

import sqlalchemy as sa

from qjobs.ledger.database import Database
from qjobs.lifecycle import JobStatus
from qjobs.service import tables as schema
from qjobs.service.execution.starting import Started

_GRACE_S = 5.0
"""How long to wait before one is ended: a new process takes a second or two."""

_LOOK_S = 1.0


class Abandoned:
    """Tells which chunks nobody waits for."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._since: dict[int, float] = {}
        self._checked_at = 0.0

    def among(self, running: Collection[Started]) -> list[Started]:
        """Those of the chunks that have run for nobody for some seconds."""
        now = time.monotonic()
        if not running or now - self._checked_at < _LOOK_S:
            return []
        self._checked_at = now
        wanted = self._wanted(running)
        since: dict[int, float] = {}
        found = []
        for each in running:
            if wanted.isdisjoint(each.tries.items()):
                since[id(each)] = self._since.get(id(each), now)
                if now - since[id(each)] >= _GRACE_S:
                    found.append(each)
        self._since = since
        return found

    def _wanted(self, running: Collection[Started]) -> set[tuple[str, int]]:
        """Item and try of what runs and is wanted."""
        uuids: set[str] = set()
        for each in running:
            uuids.update(each.tries)
        item = schema.job_item
        query = sa.select(item.c.item_uuid, item.c.tries).where(
            item.c.item_uuid.in_(sorted(uuids)),
            item.c.status.in_((JobStatus.RUNNING.value, JobStatus.CANCELLING.value)),
        )
        with self._db.read() as connection:
            return {(uuid, tries) for uuid, tries in connection.execute(query)}
