"""The events of jobs that are still to be sent on to those who listen."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from qjobs.ledger.database import Database
from qjobs.ledger.rows import event_of
from qjobs.ledger.tables import EVENT, LEDGER_META
from qjobs.model import Event

__all__ = ["Outbox"]

_SENT = "events_told"
"""Name in `ledger_meta` of the id of the newest event that was sent."""


class Outbox:
    """`Ledger.outbox`: events in the order in which they were written, each sent at least once."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def pending(self, *, before: datetime, limit: int = 1000) -> list[Event]:
        """Events of jobs (not of their items) that were not sent yet, oldest first.

        `before` leaves out the newest: on PostgreSQL an event with a smaller id may become visible later.
        """
        with self._db.read() as connection:
            query = (
                sa.select(EVENT)
                .where(EVENT.c.id > _newest_sent(connection), EVENT.c.item_index.is_(None), EVENT.c.at < before)
                .order_by(EVENT.c.id)
                .limit(limit)
            )
            return [event_of(row) for row in connection.execute(query)]

    def mark_sent(self, events: Sequence[Event]) -> None:
        """Record that these events, and all before them, were sent."""
        if not events:
            return
        newest = max(event.event_id for event in events)
        with self._db.write() as connection:
            self._db.lock(connection, _SENT)
            row = {"name": _SENT, "value": str(newest)}
            sent = _newest_sent(connection)
            if sent == 0:
                connection.execute(LEDGER_META.insert(), row)
            elif sent < newest:
                connection.execute(LEDGER_META.update().where(LEDGER_META.c.name == _SENT).values(value=str(newest)))


def _newest_sent(connection: sa.Connection) -> int:
    """Id of the newest event that was sent; 0 before the first."""
    found = connection.scalar(sa.select(LEDGER_META.c.value).where(LEDGER_META.c.name == _SENT))
    return int(found or 0)
