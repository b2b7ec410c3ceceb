"""Workers that compute for nobody: their items were cancelled, deleted or started anew.

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

__all__ = ["Abandoned"]

_GRACE_S = 5.0
"""New processes take a second or two; what ends soon is waited for."""

_LOOK_S = 1.0


class Abandoned:
    """Notices when all workers are lost to such items.

    Args:
        db: The service's database.
        n_workers: How many there are.
    """

    def __init__(self, db: Database, n_workers: int) -> None:
        self._db = db
        self._n_workers = n_workers
        self._seen: tuple[tuple[int, ...], float] = ((), 0.0)
        self._looked_at = 0.0

    def block(self, flights: Iterable[Started]) -> bool:
        """Whether every worker has computed for nobody for some seconds.

        Then ending them all costs nobody anything: other chunks only wait.

        Args:
            flights: What the workers have, in the order in which they were given it and take it.
        """
        first = list(flights)[: self._n_workers]
        now = time.monotonic()
        if len(first) < self._n_workers or now - self._looked_at < _LOOK_S:
            return False
        self._looked_at = now
        which = tuple(id(each) for each in first)
        if self._is_wanted(first):
            self._seen = ((), now)
        elif which != self._seen[0]:
            self._seen = (which, now)
        else:
            return now - self._seen[1] >= _GRACE_S
        return False

    def _is_wanted(self, flights: Sequence[Started]) -> bool:
        item, open_ones = schema.job_item, (JobStatus.RUNNING.value, JobStatus.CANCELLING.value)
        tries = {uuid: each.tries[uuid] for each in flights for uuid in each.items}
        query = sa.select(item.c.item_uuid, item.c.tries).where(
            item.c.item_uuid.in_(sorted(tries)), item.c.status.in_(open_ones)
        )
        with self._db.read() as connection:
            return any(tries[uuid] == number for uuid, number in connection.execute(query))
