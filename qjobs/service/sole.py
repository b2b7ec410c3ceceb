"""One service works on a database at a time: two would run the same jobs twice.

Of SQLite the lock of a file tells (`serve`); on PostgreSQL it is a lock that lives as long as a connection.
"""

from __future__ import annotations

import time

import sqlalchemy as sa

from qjobs.errors import InvalidInput
from qjobs.ledger.database import Database

__all__ = ["Sole"]

_LOCK = "qjobs-service"
_AFTER_KILL_S = 5.0
"""So long PostgreSQL may take to notice that the last service was killed."""

_TRY_S = 0.1


class Sole:
    """The right to work on a database.

    Whoever has it and loses its connection may lose it to another service, and asks for it again. What was
    running meanwhile is stored once: an outcome names the try that it belongs to (`settling`).

    Args:
        db: The service's database.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._connection: sa.Connection | None = None

    def hold(self) -> bool:
        """Whether this service may work now; asks again for what was lost. Not thread-safe."""
        if self._db.is_sqlite:
            return True
        if self._connection is not None:
            try:
                self._connection.scalar(sa.select(1))
            except sa.exc.DBAPIError:
                self.release()
            else:
                return True
        self._connection = self._db.hold(_LOCK)
        return self._connection is not None

    def require(self) -> None:
        """Get it, or say who has it.

        Raises:
            InvalidInput: Another service works on the database.
        """
        deadline = time.monotonic() + _AFTER_KILL_S
        while not self.hold():
            if time.monotonic() > deadline:
                raise InvalidInput(
                    f"another service works on {self._db.shown_url}; stop it, or give another --database"
                )
            time.sleep(_TRY_S)

    def release(self) -> None:
        """Let another one have it. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
