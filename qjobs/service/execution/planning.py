"""Which items go to a free worker next."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from qjobs.lifecycle import JobStatus
from qjobs.service import tables as schema
from qjobs.service.accounts.quotas import Quotas
from qjobs.service.devices import DeviceKind
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
        suspects: Mapping[str, int],
        now: datetime,
    ) -> tuple[list[Chunk], dict[str, str]]:
        """Chunks for the free workers: the queues in turn, each in its order.

        `occupied` names the job that each hardware device works on. Each of the `suspects`, the items under which a
        worker has ended, runs alone.

        Returns:
            The chunks, and the jobs that may not run because a quota is used up, with its name.
        """
        if any(not suspects.keys().isdisjoint(each.items) for each in running):
            return [], {}
        picker = _Picker(connection, occupied, now, suspects)
        if suspects and (chunk := picker.suspect(queues)) is not None:
            return ([], {}) if running else ([chunk], {})
        chunks: list[Chunk] = []
        depleted: dict[str, str] = {}
        free = self._workers + _AHEAD - len(running)
        candidates = [picker.jobs(queue) for queue in self._rotated(queues)]
        while free > 0 and candidates:
            for candidate in list(candidates):
                entry = next(candidate, None)
                if entry is None:
                    candidates.remove(candidate)
                    continue
                queue, job_id, owner_id, left = entry
                if quota := self._used_up(queue, owner_id):
                    depleted[job_id] = quota
                    picker.skip(job_id)
                    continue
                chunks.append(picker.take(queue, job_id, owner_id, self._size(job_id, left)))
                free -= 1
                if free <= 0:
                    break
        return [chunk for chunk in chunks if chunk.uuids], depleted

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
        suspects: Mapping[str, int],
    ) -> None:
        self._connection = connection
        self._occupied = occupied
        self._now = now
        self._suspects = suspects
        self._uuids: dict[str, list[str]] = {}
        self._skipped: set[str] = set()

    def jobs(self, queue: Queue) -> Iterator[tuple[Queue, str, str, int]]:
        """The first job with items that may start, and their number, until the queue has no more."""
        busy = self._occupied.get(queue.device.name) if queue.device is not None and queue.one_at_a_time else None
        for job in queue.order:
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
        """The next items of a job."""
        left = self._left(job_id)
        self._uuids[job_id] = left[size:]
        return self._chunk(queue, job_id, owner_id, left[:size])

    def suspect(self, queues: Sequence[Queue]) -> Chunk | None:
        """One item under which a worker has ended, alone."""
        item = schema.job_item
        query = (
            sa.select(item.c.item_uuid, item.c.job_id)
            .where(item.c.item_uuid.in_(sorted(self._suspects)), item.c.status == JobStatus.QUEUED.value)
            .order_by(item.c.job_id, item.c.item_id)
        )
        for row in self._connection.execute(query):
            for queue in queues:
                for job in queue.order:
                    if job.job_id == row.job_id and queue.ready[job.job_id]:
                        return self._chunk(queue, row.job_id, job.owner_id, [row.item_uuid])
        return None

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
