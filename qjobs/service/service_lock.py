"""The lock that lets one service work on a database: two would run the same jobs twice.

On PostgreSQL it is a lock of the database, held as long as one connection lives. On SQLite `serve` locks a file beside
the database instead, and this lock is always free.
"""

from __future__ import annotations

import logging
import time

import sqlalchemy as sa

from qjobs.errors import InvalidInput
from qjobs.ledger.database import Database

logger = logging.getLogger(__name__)

_NAME = "qjobs-service"
_AFTER_KILL_S = 5.0
"""PostgreSQL may take this long to notice that the last service was killed."""

_TRY_S = 0.1


class ServiceLock:
    """The right to work on a database.

    A service that loses its connection may lose the lock to another service, and asks for it again. What was running
    meanwhile is stored once: an outcome names the try that it belongs to.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._connection: sa.Connection | None = None

    def try_acquire(self) -> bool:
        """Whether this service may work now; a lock that was lost is asked for again. Not thread-safe."""
        if self._db.is_sqlite:
            return True
        if self._connection is not None:
            try:
                self._connection.scalar(sa.select(1))
            except sa.exc.DBAPIError:
                logger.warning("lost the connection that holds the lock on %s", self._db.shown_url)
                self.release()
            else:
                return True
        self._connection = self._db.hold(_NAME)
        return self._connection is not None

    def acquire(self) -> None:
        """Get the lock.

        Raises:
            InvalidInput: Another service works on the database.
        """
        deadline = time.monotonic() + _AFTER_KILL_S
        while not self.try_acquire():
            if time.monotonic() > deadline:
                raise InvalidInput(
                    f"another service works on {self._db.shown_url}; stop it, or give another --database"
                )
            time.sleep(_TRY_S)

    def release(self) -> None:
        """Let another service have it. Idempotent."""
        connection = self._connection
        self._connection = None
        if connection is not None:
            connection.close()
