"""The fault table of suspended runs: the run submits and ends, and passes of the sensor do everything else.

The rows are those of `table.py`, and some that last for hours of the virtual clock, or in which the clock jumps.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import table
from provider_rows import coded, fault
from table import Clock, Row, Seen

from qjobs.backends.base import Backend
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId
from qjobs.operations.sensor_pass import sensor_pass
from qjobs.testing.faults import Action, Fault, Route
from qjobs.testing.servers import ScriptedProvider

_EVERY_S = 5.0
_SELDOM_S = 30.0
"""How often the sensor passes while a fault lasts for an hour."""
_MOST_S = 8 * 3600.0
_HOUR_S = 3600.0
_FOR_EVER = 1_000_000


@dataclass(frozen=True, kw_only=True)
class LongRow(Row):
    """A fault that is over after so many virtual seconds, or a clock that jumps by so many ten seconds in."""

    for_s: float = 0.0
    jump_s: float = 0.0


def _everywhere(code: int, retry_after: str = "") -> tuple[Fault, ...]:
    routes = (Route.STATUS, Route.RESULTS, Route.FIND)
    return tuple(coded(route, code, _FOR_EVER, retry_after) for route in routes)


LONG_ROWS = (
    LongRow(name="401 for an hour", faults=_everywhere(401), for_s=_HOUR_S, recorded="CredentialsRejected"),
    LongRow(name="429 for an hour", faults=_everywhere(429), for_s=_HOUR_S, recorded="BackendUnavailable"),
    LongRow(
        name="429 for an hour, Retry-After 600",
        faults=_everywhere(429, "600"),
        for_s=_HOUR_S,
        recorded="BackendUnavailable",
    ),
    LongRow(name="503 for an hour", faults=_everywhere(503), for_s=_HOUR_S, recorded="BackendUnavailable"),
    LongRow(
        name="tells of nothing for an hour",
        faults=(fault(Route.STATUS, Action.NOTHING, _FOR_EVER),),
        for_s=_HOUR_S,
    ),
    LongRow(name="the clock jumps forward 10 days", jump_s=10 * 86400.0),
    LongRow(name="the clock jumps back 10 days", jump_s=-10 * 86400.0),
)
ROWS = (*table.ROWS, *LONG_ROWS)


class _Jumping(Clock):
    """A clock of which what is written down may jump; pauses and the provider go on evenly."""

    def __init__(self, row: Row) -> None:
        super().__init__()
        self.jump_s = row.jump_s if isinstance(row, LongRow) else 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.jump_s if self.elapsed_s >= 2 * _EVERY_S else 0.0)


class _Suspended(table._Run):
    """A run that submits and ends; passes of the sensor until nothing is left to be asked."""

    def __init__(self, row: Row, provider: ScriptedProvider, ledger: Ledger, _clock: Clock) -> None:
        clock = _Jumping(row)
        provider.store.clock = clock.monotonic
        super().__init__(row, provider, ledger, clock)
        ledger.schedule.set_next({job.job_id: None for job in ledger.jobs()})  # rows before this one are not asked for

    def follow(self, job_id: JobId) -> None:
        long = self.row if isinstance(self.row, LongRow) else LongRow(name="")
        rng = random.Random(1)
        ends_at = self.clock.elapsed_s + _MOST_S
        while self.clock.elapsed_s < ends_at:
            if long.for_s and self.clock.elapsed_s >= long.for_s:
                self.provider.inject()
            sensor_pass(self.ledger, self._open, now=self.clock.now, rng=rng)
            job = self.ledger.job(job_id)
            if (job.status.is_final and job.next_poll_at is None) or self._is_left_to_a_person(job.status):
                return
            self.clock.sleep(_SELDOM_S if long.for_s else _EVERY_S)

    def _is_left_to_a_person(self, status: JobStatus) -> bool:
        return status in {JobStatus.UNKNOWN, JobStatus.CREATED} and self.clock.elapsed_s > 1800.0

    def _open(self, _name: str) -> Backend:
        return self.reading

    def _causes(self, job_id: JobId) -> frozenset[str]:
        parked = {event.detail.split(":")[0] for event in self.ledger.events(job_id) if event.cause == "parked"}
        return super()._causes(job_id) | parked


def play(row: Row, provider: ScriptedProvider, ledger: Ledger) -> Seen:
    """Run one row."""
    seen = table.play(row, provider, ledger, _Suspended)
    return replace(seen, adapter=f"{seen.variant[:6]}. sensor")
