"""Who is next: order of the jobs in a queue, without a clock and without a database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

__all__ = ["Waiting", "fair_order", "fifo_order", "positions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A job that waits in a queue.

    Args:
        job_id: Its id.
        owner_id: Whose it is.
        sequence: Order of arrival.
        arrived_at: When it arrived.
    """

    job_id: str
    owner_id: str
    sequence: int
    arrived_at: datetime


def fifo_order(jobs: Iterable[Waiting]) -> list[Waiting]:
    """First come, first served."""
    return sorted(jobs, key=lambda job: job.sequence)


def fair_order(jobs: Iterable[Waiting], last_start: Mapping[str, datetime]) -> list[Waiting]:
    """Users take turns; each user's own jobs keep their order.

    The next turn is that of the user who has waited longest: since the start of their last job, or
    since their oldest waiting job arrived, if that was later. So two users with long queues
    alternate, whoever comes with a first job goes before everybody's second one, and no later
    arrival passes the oldest job of a user who waits: everybody is served in the end.

    Args:
        jobs: All that wait for the device.
        last_start: When the device last started a job of a user; those it never served are missing.
    """
    queues: defaultdict[str, list[Waiting]] = defaultdict(list)
    for job in fifo_order(jobs):
        queues[job.owner_id].append(job)
    turn = {
        owner: (max(queue[0].arrived_at, last_start.get(owner, queue[0].arrived_at)), queue[0].sequence)
        for owner, queue in queues.items()
    }
    ranked = [(rank, turn[owner], job) for owner, queue in queues.items() for rank, job in enumerate(queue)]
    return [job for _, _, job in sorted(ranked, key=lambda entry: entry[:2])]


def positions(order: Iterable[Waiting]) -> dict[str, int]:
    """Place of each job in its queue: 1 is the next one."""
    return {job.job_id: place for place, job in enumerate(order, start=1)}
