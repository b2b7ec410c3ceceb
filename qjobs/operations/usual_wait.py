"""Usual wait: how long jobs of a device take, from the ledger; when they are expected, and which take far longer."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Job

__all__ = ["UsualWait", "UsualWaits", "duration", "expected", "is_stalled", "usual_wait"]

_LATEST = 100
_ENOUGH = 5
"""Finished jobs below which nothing is called usual."""
_FAR_LONGER = 3.0
_KNOWN_S = 300.0
_MINUTE_S = 60.0
_HOUR_S = 3600.0
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UsualWait:
    """How long jobs of one device took from being made to their end: median, quartiles and ninth decile, in seconds."""

    n_jobs: int
    first_quartile_s: float
    median_s: float
    third_quartile_s: float
    ninth_decile_s: float


def usual_wait(ledger: Ledger, backend: str, device: str) -> UsualWait | None:
    """How long the latest finished jobs of a device took; None while there are fewer than five."""
    done = ledger.jobs(backend=backend, device=device, statuses=[JobStatus.COMPLETED], limit=_LATEST)
    taken_s = [(job.finished_at - job.created_at).total_seconds() for job in done if job.finished_at is not None]
    if len(taken_s) < _ENOUGH:
        return None
    first, median, third = statistics.quantiles(taken_s, n=4, method="inclusive")
    deciles = statistics.quantiles(taken_s, n=10, method="inclusive")
    return UsualWait(
        n_jobs=len(taken_s),
        first_quartile_s=first,
        median_s=median,
        third_quartile_s=third,
        ninth_decile_s=deciles[-1],
    )


class UsualWaits:
    """What is usual on each device, looked up again every few minutes."""

    def __init__(self, ledger: Ledger, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._ledger = ledger
        self._monotonic = monotonic
        self._known: dict[tuple[str, str], tuple[float, UsualWait | None]] = {}

    def of(self, job: Job) -> UsualWait | None:
        """What is usual on the device of a job."""
        where = (job.backend, job.device)
        present = self._monotonic()
        if where not in self._known or present - self._known[where][0] >= _KNOWN_S:
            self._known[where] = present, usual_wait(self._ledger, *where)
        return self._known[where][1]


def expected(jobs: Iterable[tuple[Job, UsualWait | None]], now: datetime) -> datetime | None:
    """When the last of some open jobs is usually done; None where that has passed, or is unknown for one of them."""
    ends = []
    for job, usual in jobs:
        if usual is None:
            return None
        ends.append(job.created_at + timedelta(seconds=usual.median_s))
    return max(ends) if ends and max(ends) > now else None


def duration(seconds: float) -> str:
    """A duration as people say it: 40 s, 12 min, 3 h, 5 days."""
    if seconds < 2 * _MINUTE_S:
        return f"{max(seconds, 1):.0f} s"
    if seconds < 2 * _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    if seconds < 2 * _DAY_S:
        return f"{seconds / _HOUR_S:.0f} h"
    return f"{seconds / _DAY_S:.0f} days"


def is_stalled(job: Job, usual: UsualWait | None, now: datetime) -> bool:
    """Whether an open job is far older than what its device usually takes."""
    if usual is None:
        return False
    return (now - job.created_at).total_seconds() > _FAR_LONGER * max(usual.ninth_decile_s, 1.0)
