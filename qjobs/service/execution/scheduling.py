"""The order of the jobs in a queue, without a clock and without a database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedJob:
    """A job that waits in a queue."""

    job_id: str
    owner_id: str
    sequence: int
    arrived_at: datetime


def fifo_order(jobs: Iterable[QueuedJob]) -> list[QueuedJob]:
    """First come, first served."""
    return sorted(jobs, key=lambda job: job.sequence)


def fair_order(jobs: Collection[QueuedJob], last_start: Mapping[str, datetime]) -> list[QueuedJob]:
    """Users take turns; each user's own jobs keep their order.

    The next turn is that of the user who has waited longest: since the start of their last job, or
    since their oldest waiting job arrived, if that was later. So two users with long queues
    alternate, whoever comes with a first job goes before everybody's second one, and no later
    arrival passes the oldest job of a user who waits: everybody is served in the end. A user whom the
    device never served is missing in `last_start`.
    """
    queues: defaultdict[str, list[QueuedJob]] = defaultdict(list)
    for job in fifo_order(jobs):
        queues[job.owner_id].append(job)
    places: dict[str, tuple[int, datetime, int]] = {}
    for owner, queue in queues.items():
        oldest = queue[0]
        waits_since = max(oldest.arrived_at, last_start.get(owner, oldest.arrived_at))
        for turn, job in enumerate(queue):
            places[job.job_id] = (turn, waits_since, oldest.sequence)
    return sorted(jobs, key=lambda job: places[job.job_id])
