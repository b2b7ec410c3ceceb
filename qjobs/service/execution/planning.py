"""Which items go to a free worker next."""

from __future__ import annotations

import math
import time
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa

from qjobs.lifecycle import JobStatus
from qjobs.service import tables as schema
from qjobs.service.accounts.quotas import Quotas
from qjobs.service.devices import DeviceKind
from qjobs.service.execution.scheduling import QueuedJob
from qjobs.service.execution.starting import Chunk, Queue, Started

_CHUNK_S = 0.4
"""How long a chunk should take: a call to a worker and what is written for it cost some milliseconds."""

_FIRST_CHUNK = 4
_LONGEST_CHUNK = 75
_QUOTA_S = 1.0
"""How long an answer about a quota holds."""

_KEPT_JOBS = 256
_AHEAD = 1
"""Chunks in addition to one for each worker, so that none waits for the executor."""


@dataclass(slots=True, kw_only=True)
class Plan:
    """What to start now.

    Args:
        chunks: What free workers get.
        depleted: Jobs that may not run because a quota is used up, with its name.
        hungry: Users who have more to run than there are free workers.
    """

    chunks: list[Chunk] = field(default_factory=list)
    depleted: dict[str, str] = field(default_factory=dict)
    hungry: set[str] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class _Line:
    """Jobs that may start, one after the other, with the first of them: queue, job, user, number of items."""

    jobs: Iterator[tuple[Queue, str, str, int]]
    first: tuple[Queue, str, str, int]


class Planner:
    """Chooses items, and learns how long a job's items take."""

    def __init__(self, workers: int, quotas: Quotas) -> None:
        self._workers = workers
        self._quotas = quotas
        self._item_s: OrderedDict[str, float] = OrderedDict()
        self._turn = 0
        self._left: dict[tuple[str, str], tuple[float, bool]] = {}

    def learn(self, job_id: str, durations_s: Sequence[float]) -> None:
        """Learn from a chunk how long the items of its job take."""
        if not durations_s:
            return
        mean = sum(durations_s) / len(durations_s)
        known = self._item_s.pop(job_id, mean)
        self._item_s[job_id] = (known + mean) / 2
        if len(self._item_s) > _KEPT_JOBS:
            self._item_s.popitem(last=False)

    def plan(
        self,
        connection: sa.Connection,
        queues: Sequence[Queue],
        occupied: Mapping[str, str],
        running: Collection[Started],
        suspects: Collection[str],
        on_parole: Collection[str],
        now: datetime,
        *,
        ahead: bool = True,
    ) -> Plan:
        """Chunks for the free workers: the user who has the fewest comes first, then the queues in turn.

        `occupied` names the job that each hardware device works on. Each of the `suspects`, the items under which a
        worker has ended, runs in a chunk of its own. The users `on_parole` have one worker each. `ahead`: whether one
        chunk more than there are workers may wait for one.
        """
        picker = _Picker(connection, occupied, now, suspects)
        shares = Counter(each.chunk.owner_id for each in running)
        plan = Plan()
        free = self._workers + _AHEAD * ahead - len(running)
        lines: list[_Line] = []
        for queue in self._rotated(queues):
            for jobs in picker.lines(queue):
                if (first := next(jobs, None)) is not None:
                    lines.append(_Line(jobs, first))
        while lines:
            line = min(lines, key=lambda each: shares[each.first[2]])
            lines.remove(line)
            queue, job_id, owner_id, left = line.first
            if quota := self._used_up(queue, owner_id):
                plan.depleted[job_id] = quota
                picker.skip(job_id)
            elif shares[owner_id] and owner_id in on_parole:
                continue
            elif free <= 0:
                plan.hungry.add(owner_id)
                continue
            else:
                chunk = picker.take(queue, job_id, owner_id, self._size(job_id, left))
                plan.chunks.append(chunk)
                shares[owner_id] += 1
                free -= 1
            if (first := next(line.jobs, None)) is not None:
                line.first = first
                lines.append(line)
        plan.chunks = [chunk for chunk in plan.chunks if chunk.uuids]
        return plan

    def _rotated(self, queues: Sequence[Queue]) -> Sequence[Queue]:
        self._turn += 1
        start = self._turn % len(queues) if queues else 0
        return [*queues[start:], *queues[:start]]

    def _size(self, job_id: str, left: int) -> int:
        """Items in the next chunk of a job: enough to be worth a call, and some for every worker."""
        item_s = self._item_s.get(job_id)
        wanted = _FIRST_CHUNK if item_s is None else math.floor(_CHUNK_S / max(item_s, 1e-6))
        return max(1, min(wanted, _LONGEST_CHUNK, math.ceil(left / self._workers)))

    def _used_up(self, queue: Queue, owner_id: str) -> str | None:
        if queue.device is not None and queue.device.kind is not DeviceKind.NEXUS_HOSTED:
            return None
        name = "compilation" if queue.device is None else "simulation"
        asked_at, left = self._left.get((owner_id, name), (-math.inf, False))
        now = time.monotonic()
        if now - asked_at > _QUOTA_S:
            left = self._quotas.of(owner_id, name).left
            self._left = {key: value for key, value in self._left.items() if now - value[0] <= _QUOTA_S}
            self._left[owner_id, name] = (now, left)
        return None if left else name


class _Picker:
    """Takes items from queues, for one plan."""

    def __init__(
        self,
        connection: sa.Connection,
        occupied: Mapping[str, str],
        now: datetime,
        suspects: Collection[str],
    ) -> None:
        self._connection = connection
        self._occupied = occupied
        self._now = now
        self._suspects = suspects
        self._uuids: dict[str, list[str]] = {}
        self._skipped: set[str] = set()

    def lines(self, queue: Queue) -> Iterator[Iterator[tuple[Queue, str, str, int]]]:
        """The lines of a queue: one of each user, or one for all where a job has the device for itself."""
        if queue.one_at_a_time:
            yield self._jobs(queue, queue.order)
            return
        for owner in dict.fromkeys(job.owner_id for job in queue.order):
            yield self._jobs(queue, [job for job in queue.order if job.owner_id == owner])

    def _jobs(self, queue: Queue, order: Sequence[QueuedJob]) -> Iterator[tuple[Queue, str, str, int]]:
        """The first job with items that may start, and their number, until there are no more."""
        busy = self._occupied.get(queue.device.name) if queue.device is not None and queue.one_at_a_time else None
        for job in order:
            if busy is not None and job.job_id != busy:
                continue
            while queue.ready[job.job_id] and job.job_id not in self._skipped and (left := self._left(job.job_id)):
                yield queue, job.job_id, job.owner_id, len(left)
                if queue.one_at_a_time:
                    busy = job.job_id
            if queue.one_at_a_time and busy is not None:
                return

    def skip(self, job_id: str) -> None:
        """Leave a job out."""
        self._skipped.add(job_id)

    def take(self, queue: Queue, job_id: str, owner_id: str, size: int) -> Chunk:
        """The next items of a job; a suspect alone."""
        left = self._left(job_id)
        for place, uuid in enumerate(left[:size]):
            if uuid in self._suspects:
                size = max(1, place)
                break
        self._uuids[job_id] = left[size:]
        return self._chunk(queue, job_id, owner_id, left[:size])

    def _left(self, job_id: str) -> list[str]:
        if job_id not in self._uuids:
            item = schema.job_item
            query = (
                sa.select(item.c.item_uuid)
                .where(
                    item.c.job_id == job_id,
                    item.c.status == JobStatus.QUEUED.value,
                    sa.or_(item.c.ready_at.is_(None), item.c.ready_at <= self._now),
                )
                .order_by(item.c.item_id)
            )
            self._uuids[job_id] = list(self._connection.scalars(query))
        return self._uuids[job_id]

    def _chunk(self, queue: Queue, job_id: str, owner_id: str, uuids: Sequence[str]) -> Chunk:
        return Chunk(
            job_id=job_id,
            owner_id=owner_id,
            device=queue.devices[job_id],
            is_compile=queue.device is None,
            uuids=tuple(uuids),
        )
