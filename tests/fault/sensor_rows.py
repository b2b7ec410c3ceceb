"""The fault table of suspended runs: the run submits and ends, and passes of the sensor do everything else.

The rows are those of each adapter, and some that last for hours of the virtual clock, or in which the clock jumps.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import provider_rows
import table
from driving import Run, Seen
from dying import SENSORS
from killed_rows import SENSOR_ROWS
from provider_rows import Row, coded, fault

from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId
from qjobs.operations.sensor_pass import sensor_pass
from qjobs.testing.faults import Action, Fault, Route

_EVERY_S = 5.0
_SELDOM_S = 30.0
_LONGEST_S = 120.0
"""How long the sensor is not looked at while nothing is due."""
_MOST_S = 8 * 3600.0
_HOUR_S = 3600.0
_FOR_EVER = 1_000_000
_LISTS_FIRST = frozenset({"mqp-list"})
"""Adapters that ask for the jobs of the account before they send: asked to wait for 600 s, they send nothing."""


@dataclass(frozen=True, kw_only=True)
class LongRow(Row):
    """A fault that is over after so many virtual seconds, or a clock that jumps by so many ten seconds in."""

    for_s: float = 0.0
    jump_s: float = 0.0


def _everywhere(code: int, retry_after: str = "") -> tuple[Fault, ...]:
    routes = (Route.STATUS, Route.RESULTS, Route.FIND)
    return tuple(coded(route, code, _FOR_EVER, retry_after) for route in routes)


_DOWN = tuple(fault(route, Action.DROP_BEFORE, _FOR_EVER) for route in (Route.STATUS, Route.RESULTS, Route.FIND))
LONG_ROWS = (
    LongRow(name="the provider is down for an hour", faults=_DOWN, for_s=_HOUR_S, recorded="BackendUnavailable"),
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
    *(LongRow(name=f"killed: {moment}", killed=moment) for moment in SENSORS),
)
ROWS = (*provider_rows.ROWS, *LONG_ROWS)


def of_sensor(adapter: str, rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows of an adapter that are played with the sensor: what would be shown twice is left out.

    `findable` has all of them. Of the others, what comes before the job is there is as without the sensor, but for a
    lost reply that nobody can look up: there is nothing that the sensor could ask for. One that takes jobs in steps is
    away for hours as `findable` is.
    """
    if adapter == "killed":
        return SENSOR_ROWS
    if adapter == "opaque":
        return tuple(row for row in rows if row.lost)
    if adapter != "findable":
        rows = [row for row in rows if _is_followed(row)]
    long = [row for row in LONG_ROWS if row.killed or adapter != "stepped"]
    if adapter in _LISTS_FIRST:
        long = [replace(row, faults=_but_for(row, Route.FIND)) if "Retry-After" in row.name else row for row in long]
    return (*rows, *long)


def _but_for(row: Row, route: Route) -> tuple[Fault, ...]:
    return tuple(fault for fault in row.faults if fault.route is not route)


def _is_followed(row: Row) -> bool:
    routes = {fault.route for fault in row.faults}
    return not row.killed and (not routes or not routes.isdisjoint({Route.STATUS, Route.RESULTS}))


def follow(run: Run, job_id: JobId) -> None:
    """The run has ended: passes of the sensor until nothing is left to be asked; then it is resumed, and collects."""
    ledger, clock = run.ledger, run.clock
    others = {job.job_id: None for job in ledger.jobs() if job.job_id != job_id}
    ledger.schedule.set_next(others)  # rows before this one are not asked for
    long = run.row if isinstance(run.row, LongRow) else LongRow(name="")
    rng = random.Random(1)
    if run.row.killed in SENSORS:
        clock.sleep(_EVERY_S * 4)  # by then the job is final there
        time.sleep(run.clock.moment_s * 100)
        run.die(job_id, run.row.killed)
    ends_at = clock.elapsed_s + _MOST_S
    while clock.elapsed_s < ends_at:
        if long.for_s and clock.elapsed_s >= long.for_s:
            run.provider.end_faults()
        sensor_pass(ledger, lambda _: run.reading, now=clock.now, rng=rng)
        job = ledger.job(job_id)
        if job.status is JobStatus.LOST or (job.status.is_final and job.next_poll_at is None):
            break
        if job.status in {JobStatus.UNKNOWN, JobStatus.CREATED} and clock.elapsed_s > 1800.0:
            return  # it is left to a person
        due_s = (job.next_poll_at - clock.now()).total_seconds() if job.next_poll_at else 0.0
        clock.sleep(max(_SELDOM_S if long.for_s else _EVERY_S, min(due_s, _LONGEST_S)))
    if ledger.job(job_id).status.is_final:
        run.collect(job_id)


def play(row: Row, provider: object, ledger: Ledger, play_one: Callable[..., Seen] = table.play) -> Seen:
    """Run one row as `play_one` does, but for what follows the submission."""
    jump_s = row.jump_s if isinstance(row, LongRow) else 0.0
    seen = play_one(row, provider, ledger, jump_s=jump_s, follow=follow)
    return replace(seen, adapter=f"{seen.adapter[:6]}. sensor")
