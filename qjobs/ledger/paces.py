"""How fast the processes of one ledger may ask the provider of an account, all together.

An account's time is a line that is handed out in slices of about a second. A process takes one, and sends what belongs
to it, without asking again. So a process that is killed costs the others no more than its slice, and nothing has to be
released.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from qjobs.errors import LedgerUnavailable
from qjobs.ledger.database import Database
from qjobs.ledger.planning import insert_or_ignore
from qjobs.ledger.tables import PACE
from qjobs.model import PaceSlice

__all__ = ["Paces"]

SLICE_S = 1.0
_FARTHEST_S = 30.0
"""No slice is handed out that begins later than this: so a row with a later time is of a clock that was set back."""
_RATE_KEPT_S = 600.0
"""How long the rate of a process holds for those that know none, or a higher one, after it was last told."""
_LONGEST_HOLD_S = 3600.0
"""As `qjobs.backends.limiter` has it."""
_PATIENCE_S = 1.0
"""How long a request waits for the ledger before it goes its own way, in seconds."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Paces:
    """`Ledger.paces`: hands out slices of an account's pace, and passes on what its provider asks for.

    It has a connection of its own, and waits for the database for a second at most. Times are those of the machines'
    clocks; those that differ by seconds shift a slice by as much.

    Every method raises `LedgerError` where the ledger cannot be used now.
    """

    def __init__(self, db: Database, now: Callable[[], datetime] = _utc_now) -> None:
        self._ledger_db = db
        self._now = now
        self._lock = threading.Lock()
        self._own_db: Database | None = None
        self._is_closed = False

    def close(self) -> None:
        """Close its connection. Idempotent."""
        with self._lock:
            self._is_closed = True
            if self._own_db is not None:
                self._own_db.close()

    def take(self, account: str, *, max_per_s: float | None, burst_s: float, unused: int = 0) -> PaceSlice:
        """Take the next slice of an account's pace: a second of it, or one request where that takes longer.

        The lowest rate holds that a process has told within ten minutes. An account that was quiet has `burst_s`
        seconds of its pace to spend at once. `unused` requests of an earlier slice are given back. There are no turns
        where no rate is known, or where half a minute is handed out already; `start_in_s` then is the time to wait.
        """
        present = self._now()
        with self._opened().write() as connection:
            row = _locked(self._opened(), connection, account)
            per_s, rated_at = _lowest(row, max_per_s, present)
            closed_for_s = _closed_for_s(row, present)
            if per_s is None:
                return PaceSlice(closed_for_s=closed_for_s)
            one_s = 1.0 / per_s
            farthest_s = max(_FARTHEST_S, one_s)
            quiet_s = max(burst_s, one_s)
            ahead_s = -quiet_s if row.spent_until is None else (row.spent_until - present).total_seconds()
            if ahead_s > 2 * farthest_s:
                ahead_s = 0.0
            ahead_s = max(ahead_s - unused * one_s, -quiet_s)
            turns = max(1, int(per_s * SLICE_S)) if ahead_s <= farthest_s else 0
            spent_until = present + timedelta(seconds=ahead_s + turns * one_s)
            values = {"spent_until": spent_until, "max_per_s": per_s, "rated_at": rated_at}
            connection.execute(PACE.update().where(PACE.c.account == account).values(**values))
        start_in_s = ahead_s if turns else ahead_s - farthest_s
        return PaceSlice(turns=turns, start_in_s=start_in_s, per_s=per_s, closed_for_s=closed_for_s)

    def look(self, account: str) -> PaceSlice:
        """What is known of an account; takes nothing."""
        present = self._now()
        rows = self._opened().rows(sa.select(PACE).where(PACE.c.account == account))
        if not rows:
            return PaceSlice()
        per_s, _ = _lowest(rows[0], None, present)
        return PaceSlice(per_s=per_s, closed_for_s=_closed_for_s(rows[0], present))

    def hold(self, account: str, seconds: float) -> None:
        """Have no process ask for so long from now, an hour at most; a shorter hold never shortens a longer one."""
        present = self._now()
        with self._opened().write() as connection:
            row = _locked(self._opened(), connection, account)
            seconds = max(min(seconds, _LONGEST_HOLD_S), _closed_for_s(row, present))
            open_at = present + timedelta(seconds=seconds)
            connection.execute(PACE.update().where(PACE.c.account == account).values(open_at=open_at))

    def _opened(self) -> Database:
        with self._lock:
            if self._is_closed:
                raise LedgerUnavailable(f"the ledger {self._ledger_db.shown_url} was closed")
            if self._own_db is None:
                self._own_db = self._ledger_db.opened_again(busy_timeout_s=_PATIENCE_S)
            return self._own_db


def _locked(db: Database, connection: sa.Connection, account: str) -> sa.Row[Any]:
    """The row of an account, locked until the transaction ends; it is made if there is none."""
    query = sa.select(PACE).where(PACE.c.account == account).with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None:
        connection.execute(insert_or_ignore(db, PACE), {"account": account})
        row = connection.execute(query).one()
    return row


def _lowest(row: sa.Row[Any], max_per_s: float | None, present: datetime) -> tuple[float | None, datetime | None]:
    """The rate that holds, and when it was told."""
    is_known = row.rated_at is not None and abs(present - row.rated_at) < timedelta(seconds=_RATE_KEPT_S)
    if is_known and (max_per_s is None or row.max_per_s < max_per_s):
        return row.max_per_s, row.rated_at
    return max_per_s, None if max_per_s is None else present


def _closed_for_s(row: sa.Row[Any], present: datetime) -> float:
    """What is left of the provider's pause; one that is longer than any was told before the clock was set back."""
    if row.open_at is None:
        return 0.0
    left_s: float = (row.open_at - present).total_seconds()
    return max(0.0, left_s) if left_s <= _LONGEST_HOLD_S + _FARTHEST_S else 0.0
