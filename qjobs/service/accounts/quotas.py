"""What a user has used of what they may use."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from qjobs.ledger.database import Database
from qjobs.lifecycle import FINAL
from qjobs.service import tables as schema
from qjobs.service.accounts.accounts import User
from qjobs.service.errors import Forbidden
from qjobs.service.settings import QUOTAS, Settings

if TYPE_CHECKING:
    from qjobs.service.clock import ServiceClock

DATABASE_USAGE = "database_usage"
_BYTES_IN_MB = 1_000_000
_COUNTED_AGAIN_S = 30.0
_MOST_USERS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """A limit and what is used of it: seconds in this month, or megabytes in all."""

    name: str
    limit: float | None
    used: float

    @property
    def left(self) -> bool:
        """Whether there is anything left."""
        return self.limit is None or self.used < self.limit


class Quotas:
    """Quotas of users; a quota of time is one of a calendar month of the service's clock."""

    def __init__(self, db: Database, clock: ServiceClock, settings: Settings) -> None:
        self._db = db
        self._clock = clock
        self._limits = {**QUOTAS, **settings.quotas}
        self._max_open_jobs = settings.max_open_jobs
        self._counted: dict[tuple[str, str], tuple[float, float]] = {}
        """What a user has, counted some seconds ago, with what came since; and when it was counted."""
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """The names of all quotas."""
        return list(self._limits)

    def of(self, user_id: str, name: str) -> Quota:
        """One quota of a user.

        Raises:
            KeyError: There is no such quota.
        """
        limit = self._limits[name]
        with self._db.read() as connection:
            used = (
                self._stored_mb(connection, user_id)
                if name == DATABASE_USAGE
                else self._spent(connection, user_id, name, self._clock.now())
            )
        return Quota(name=name, limit=limit, used=used)

    def take_storage(self, user_id: str, size_bytes: int) -> None:
        """Count bytes that a user is about to store.

        Raises:
            Forbidden: They would have more than they may.
        """
        limit = self._limits[DATABASE_USAGE]
        more = size_bytes / _BYTES_IN_MB
        if limit is not None and not self._take(user_id, DATABASE_USAGE, more, limit, self._stored_mb):
            raise Forbidden(
                f"the quota {DATABASE_USAGE} is used up: you may store {limit:g} MB; delete what you no longer need"
            )

    def take_job(self, user: User) -> None:
        """Count a job that a user is about to make.

        Raises:
            Forbidden: They have too many that are not final.
        """
        most = self._max_open_jobs
        if most is not None and not self._take(user.user_id, "jobs", 1, most, lambda at, _: _open_jobs(at, user)):
            raise Forbidden(f"you have {most} jobs that are not final, and may not have more; wait, or cancel some")

    def _take(
        self,
        user_id: str,
        what: str,
        more: float,
        limit: float,
        count: Callable[[sa.Connection, str], float],
    ) -> bool:
        now = time.monotonic()
        with self._lock:
            known, at = self._counted.get((user_id, what), (0.0, -math.inf))
        if now - at > _COUNTED_AGAIN_S or known + more > limit:
            with self._db.read() as connection:
                known, at = count(connection, user_id), now
        if known + more > limit:
            return False
        with self._lock:
            if len(self._counted) > _MOST_USERS:
                self._counted.clear()
            self._counted[user_id, what] = (known + more, at)
        return True

    @staticmethod
    def _spent(connection: sa.Connection, user_id: str, name: str, now: datetime) -> float:
        table = schema.usage
        month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        total = connection.scalar(
            sa.select(sa.func.sum(table.c.amount)).where(
                table.c.user_id == user_id, table.c.quota == name, table.c.at >= month
            )
        )
        return float(total or 0.0)

    @staticmethod
    def _stored_mb(connection: sa.Connection, user_id: str) -> float:
        size = 0
        for table in (schema.document, schema.result):
            of_table = sa.select(sa.func.sum(sa.func.length(table.c.body))).where(table.c.owner_id == user_id)
            size += int(connection.scalar(of_table) or 0)
        return size / _BYTES_IN_MB


def _open_jobs(connection: sa.Connection, user: User) -> int:
    """Jobs of a user that are not final, whichever protocol made them."""
    ours = (schema.job.c.owner_id == user.user_id, schema.job.c.status.not_in(FINAL))
    portal = (schema.mqp_job.c.owner == user.email, schema.mqp_job.c.status.not_in(_final(schema.MqpStatus)))
    qoro = (schema.qoro_job.c.owner_id == user.user_id, schema.qoro_job.c.status.not_in(_final(schema.QoroStatus)))
    total = 0
    for table, mine in ((schema.job, ours), (schema.mqp_job, portal), (schema.qoro_job, qoro)):
        total += int(connection.scalar(sa.select(sa.func.count()).select_from(table).where(*mine)) or 0)
    return total


def _final(statuses: type[schema.MqpStatus] | type[schema.QoroStatus]) -> list[str]:
    return [status.value for status in statuses if status.is_final]
