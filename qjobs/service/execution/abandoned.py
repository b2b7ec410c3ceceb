"""Finds workers that compute for nobody: their items were cancelled, deleted or started anew.

A call to a worker cannot be taken back, and a circuit may take hours: without this, one user's cancelled
job would keep everybody waiting.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from qjobs.ledger.database import Database
from qjobs.lifecycle import JobStatus
from qjobs.service import tables as schema
from qjobs.service.execution.starting import Started

_GRACE_S = 5.0
"""How long to wait before they are ended: new processes take a second or two."""

_LOOK_S = 1.0


class Abandoned:
    """Tells when every worker computes for such items."""

    def __init__(self, db: Database, n_workers: int) -> None:
        self._db = db
        self._n_workers = n_workers
        self._which: tuple[int, ...] = ()
        self._since = 0.0
        self._checked_at = 0.0

    def fill_all_workers(self, running: Iterable[Started]) -> bool:
        """Whether every worker has computed for nobody for some seconds.

        Then ending them all costs nobody anything: other chunks only wait. `running` is in the order in which the
        workers were given it and take it.
        """
        first = list(running)[: self._n_workers]
        now = time.monotonic()
        if len(first) < self._n_workers or now - self._checked_at < _LOOK_S:
            return False
        self._checked_at = now
        which = tuple(id(each) for each in first)
        if self._is_wanted(first):
            which = ()
        elif which == self._which:
            return now - self._since >= _GRACE_S
        self._which = which
        self._since = now
        return False

    def _is_wanted(self, running: Sequence[Started]) -> bool:
        tries: dict[str, int] = {}
        for each in running:
            tries.update(each.tries)
        item = schema.job_item
        query = sa.select(item.c.item_uuid, item.c.tries).where(
            item.c.item_uuid.in_(sorted(tries)),
            item.c.status.in_((JobStatus.RUNNING.value, JobStatus.CANCELLING.value)),
        )
        with self._db.read() as connection:
            return any(tries[uuid] == number for uuid, number in connection.execute(query))
