"""What a user has used of what they may use."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from qjobs.ledger.database import Database
from qjobs.service import tables as schema
from qjobs.service.settings import QUOTAS, Settings

if TYPE_CHECKING:
    from qjobs.service.clock import ServiceClock

DATABASE_USAGE = "database_usage"
_BYTES_IN_MB = 1_000_000


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
