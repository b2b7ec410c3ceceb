"""How long devices take: results that are not due yet, and the device that one job has for itself."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import count

import sqlalchemy as sa

from qjobs.lifecycle import JobStatus
from qjobs.service import tables as schema
from qjobs.service.clock import ServiceClock
from qjobs.service.devices import DeviceKind
from qjobs.service.execution.compiling import CompileOutcome
from qjobs.service.execution.outcomes import DueOutcome
from qjobs.service.execution.simulate import ExecuteOutcome
from qjobs.service.execution.starting import Started

_S = JobStatus
_OPEN = [status.value for status in (_S.QUEUED, _S.RUNNING, _S.CANCELLING)]


class Pacing:
    """What the executor remembers of devices while it works.

    `occupied` names the job that each hardware device works on.
    """

    def __init__(self, clock: ServiceClock) -> None:
        self._clock = clock
        self._numbers = count()
        self._held: list[tuple[datetime, int, DueOutcome]] = []
        self._due: dict[tuple[str, int], datetime] = {}
        self._free_at: dict[str, datetime] = {}
        self.occupied: dict[str, str] = {}

    def begin(self, started: Iterable[Started], now: datetime) -> None:
        """Record when each item is done, by the speed of its device, and which job has the device."""
        for each in started:
            device = each.chunk.device
            if each.chunk.is_compile:
                continue
            serial = device.kind is DeviceKind.HARDWARE
            if serial:
                self.occupied[device.name] = each.chunk.job_id
            if device.shots_per_s is None:
                continue
            for uuid, item in each.items.items():
                begins = max(now, self._free_at.get(device.name, now)) if serial else now
                due = begins + timedelta(seconds=min((item.n_shots or 0) / device.shots_per_s, 1e9))
                self._due[uuid, each.tries[uuid]] = due
                if serial:
                    self._free_at[device.name] = due

    def hold(self, started: Started, outcomes: Sequence[CompileOutcome | ExecuteOutcome]) -> None:
        """Keep outcomes until they are due."""
        now = self._clock.now()
        for outcome in outcomes:
            key = (outcome.item_uuid, started.tries[outcome.item_uuid])
            held = DueOutcome(started=started, outcome=outcome)
            heapq.heappush(self._held, (self._due.get(key, now), next(self._numbers), held))

    def due_outcomes(self, now: datetime) -> list[DueOutcome]:
        """The outcomes that are due; they stay until `forget`."""
        return [held for due, _, held in self._held if due <= now]

    def forget(self, stored: Sequence[DueOutcome]) -> None:
        """Drop outcomes that are stored."""
        if not stored:
            return
        gone = {id(each) for each in stored}
        self._held = [entry for entry in self._held if id(entry[2]) not in gone]
        heapq.heapify(self._held)
        for each in stored:
            self._due.pop((each.uuid, each.started.tries[each.uuid]), None)

    def held(self) -> set[tuple[str, int]]:
        """Item and try of each outcome that is not stored yet."""
        return {(held.uuid, held.started.tries[held.uuid]) for _, _, held in self._held}

    def next_due(self) -> datetime | None:
        """When the next outcome is due."""
        return self._held[0][0] if self._held else None

    def release(self, connection: sa.Connection) -> None:
        """Free the devices whose job has nothing left to run, and is not about to go on."""
        if not self.occupied:
            return
        item = schema.job_item
        query = (
            sa.select(item.c.job_id)
            .where(item.c.job_id.in_(sorted(self.occupied.values())), item.c.status.in_(_OPEN))
            .distinct()
        )
        busy = set(connection.scalars(query))
        for device, job_id in list(self.occupied.items()):
            if job_id not in busy:
                del self.occupied[device]
                self._free_at.pop(device, None)

    def keep(self, connection: sa.Connection, job_ids: Iterable[str]) -> None:
        """Give devices back to the jobs that had them when the service ended."""
        job = schema.job
        query = (
            sa.select(job.c.job_id, job.c.device)
            .where(job.c.job_id.in_(sorted(job_ids)), job.c.job_type == "execute")
            .order_by(job.c.sequence.desc())
        )
        self.occupied.update({row.device: row.job_id for row in connection.execute(query)})

    def last_starts(self, connection: sa.Connection, device: str, owners: set[str]) -> Mapping[str, datetime]:
        """When the device last started a job of each of these users."""
        job = schema.job
        query = (
            sa.select(job.c.owner_id, sa.func.max(job.c.running_at).label("started"))
            .where(job.c.device == device, job.c.job_type == "execute", job.c.owner_id.in_(sorted(owners)))
            .group_by(job.c.owner_id)
        )
        return {row.owner_id: row.started for row in connection.execute(query) if row.started is not None}
