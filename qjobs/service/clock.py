"""The service's own clock: real time, or faster, so that a queue of weeks can be rehearsed in minutes."""

from __future__ import annotations

import json
import math
import time
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from qjobs.errors import InvalidInput
from qjobs.ledger.database import Database
from qjobs.service import tables as schema

_ANCHOR = "clock_anchor"
_LATEST = datetime(9000, 1, 1, tzinfo=UTC)


class ServiceClock:
    """Virtual time, of which `speed` seconds pass in one real second.

    It runs on at the same speed while the service is down, and never goes back: a restart with another speed
    continues from the moment that was reached.

    Raises:
        InvalidInput: The speed is not a positive number.
    """

    def __init__(self, db: Database, speed: float = 1.0) -> None:
        if not (math.isfinite(speed) and speed > 0):
            raise InvalidInput(f"the speed of a clock must be a positive number, not {speed!r}")
        self.speed = float(speed)
        real = datetime.now(UTC)
        self._started = time.monotonic()
        with db.write() as connection:
            db.lock(connection, _ANCHOR)
            self._anchor = _resume(connection, real)
            value = json.dumps({"real": real.isoformat(), "virtual": self._anchor.isoformat(), "speed": self.speed})
            meta = schema.service_meta
            if not connection.execute(meta.update().where(meta.c.name == _ANCHOR).values(value=value)).rowcount:
                connection.execute(meta.insert().values(name=_ANCHOR, value=value))

    def now(self) -> datetime:
        """The present moment, aware UTC."""
        return _add(self._anchor, (time.monotonic() - self._started) * self.speed)

    def real_s(self, virtual_s: float) -> float:
        """Seconds of this clock as real seconds."""
        return virtual_s / self.speed

    def virtual_s(self, real_s: float) -> float:
        """Real seconds as seconds of this clock."""
        return real_s * self.speed


def _resume(connection: sa.Connection, real: datetime) -> datetime:
    meta = schema.service_meta
    text = connection.scalar(sa.select(meta.c.value).where(meta.c.name == _ANCHOR))
    if text is None:
        return real
    stored = json.loads(text)
    # The computer's clock may have been set back meanwhile; ours stands still then.
    elapsed_s = max(0.0, (real - datetime.fromisoformat(stored["real"])).total_seconds())
    return _add(datetime.fromisoformat(stored["virtual"]), elapsed_s * stored["speed"])


def _add(moment: datetime, seconds: float) -> datetime:
    """The sum; a fast clock that ran for years stops near the last year of the calendar."""
    room_s = (_LATEST - moment).total_seconds()
    return moment + timedelta(seconds=min(seconds, max(0.0, room_s)))
