"""A plain claim loop on Pony ORM, to compare with: one session, and a count and an update for each job.

It is our own code after the rules that docs/mqp.md tells, written the way an ORM invites. It needs `pony`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pony import orm

START = datetime(2026, 3, 1, 12, 0)  # noqa: DTZ001 - Pony keeps naive moments
MAX_ACTIVE = 2
MAX_QUEUING = timedelta(days=1)


class Replica:
    """Its database in a file of SQLite, with `number` pending jobs, two of each user."""

    def __init__(self, file: Path, number: int, circuit: str) -> None:
        self.db = orm.Database(provider="sqlite", filename=str(file), create_db=True)
        self.job, self.resource = _entities(self.db)
        self.db.generate_mapping(create_tables=True)
        with orm.db_session:
            self.resource(name="Q5", maintenance=False)
            for place in range(number):
                self.job(owner=f"user{place // 2}", target="Q5", circuit=circuit, submitted=START)

    def trace(self, asked: list[str]) -> None:
        """Keep what the database is asked from now on."""
        with orm.db_session:
            self.db.get_connection().set_trace_callback(asked.append)

    @orm.db_session
    def claim(self) -> Sequence[Any]:
        """The loop."""
        now = datetime.now(UTC).replace(tzinfo=None)
        found = []
        for job in list(self.job.select(lambda each: each.status == "PENDING")):
            held = job.queued and self.resource[job.target].maintenance and now - job.submitted < MAX_QUEUING
            if held or not self._is_within_limit(job):
                continue
            job.status = "WAITING"
            job.scheduled = now
            orm.flush()  # else the next count of the same user comes from Pony's cache, and lets a third job through
            found.append(job)
        return found

    def _is_within_limit(self, job: Any) -> bool:
        owner, target = job.owner, job.target
        same = self.job.select(lambda each: each.owner == owner and each.target == target)
        return bool(orm.count(same.filter(lambda each: each.status == "WAITING")) < MAX_ACTIVE)

    def close(self) -> None:
        self.db.disconnect()


def _entities(db: Any) -> tuple[Any, Any]:
    class Job(db.Entity):  # type: ignore[misc, name-defined]
        owner = orm.Required(str, index=True)
        target = orm.Required(str)
        circuit = orm.Required(orm.LongStr, lazy=False)
        status = orm.Required(str, default="PENDING", index=True)
        queued = orm.Required(bool, default=False)
        submitted = orm.Required(datetime)
        scheduled = orm.Optional(datetime)

    class Resource(db.Entity):  # type: ignore[misc, name-defined]
        name = orm.PrimaryKey(str)
        maintenance = orm.Required(bool)

    return Job, Resource
