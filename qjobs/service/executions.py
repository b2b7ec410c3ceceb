"""Circuits of another protocol's jobs as jobs of the service: they wait in its queues and run in its worker processes.

The id of such a job is made from the id of the other job. Whoever starts it a second time, because the service ended
between two writes, finds the first one and starts nothing.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid5

import sqlalchemy as sa

from qjobs.ledger.database import parts
from qjobs.lifecycle import JobStatus
from qjobs.service import tables as schema
from qjobs.service.accounts.accounts import User
from qjobs.service.assembly import Service
from qjobs.service.devices import Device
from qjobs.service.errors import Conflict, NotFound
from qjobs.service.execution.packing import EXPECTATIONS
from qjobs.service.store.content import NewCircuit
from qjobs.service.store.definitions import ItemObservables

__all__ = ["Execution", "Executions", "StoredResult", "counts_of", "execution_id", "expectations_of"]

_IDS = UUID("5b0f7c5e-6f0a-4c35-9d0f-1f2c64c1a7d3")
_LEVEL = 2


def execution_id(job_id: int | str, what: str) -> str:
    """The id of the job of the service that does something for a job of another protocol.

    >>> execution_id(17, "execute") == execution_id(17, "execute") != execution_id(17, "compile")
    True
    """
    return str(uuid5(_IDS, f"{job_id} {what}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How far a job of the service is; `message` says why it failed."""

    status: JobStatus
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResult:
    """The result of an item, from 1, of a job of the service, as it is stored."""

    job_id: str
    item_id: int
    body: bytes = field(repr=False)


class Executions:
    """Jobs of the service that do the work of another protocol's jobs, in one project of each user.

    Args:
        project: Its name.
    """

    def __init__(self, service: Service, project: str) -> None:
        self._service = service
        self._project = project

    def execute(
        self,
        job_id: str,
        user: User,
        device: Device,
        bodies: Sequence[bytes],
        shots: Sequence[int],
        *,
        name: str,
        observables: ItemObservables | None = None,
    ) -> None:
        """Run circuits, given as pytket's JSON, each with its shots; nothing happens where the job exists.

        With `observables` their exact expectation values are computed instead, whatever the shots.

        Raises:
            ServiceError: The device cannot take them.
        """
        items = [{"n_shots": each} for each in shots]
        self._start(job_id, "execute", user, device, bodies, items, name, observables)

    def compile(self, job_id: str, user: User, device: Device, bodies: Sequence[bytes], *, name: str) -> None:
        """Compile circuits for a device; nothing happens where the job exists."""
        items: list[dict[str, Any]] = [{} for _ in bodies]
        more = {"optimisation_level": _LEVEL, "skip_store_intermediate_passes": True}
        self._start(job_id, "compile", user, device, bodies, items, name, None, **more)

    def _start(
        self,
        job_id: str,
        job_type: str,
        user: User,
        device: Device,
        bodies: Sequence[bytes],
        items: Sequence[dict[str, Any]],
        name: str,
        observables: ItemObservables | None,
        **more: Any,
    ) -> None:
        project_id = self._project_of(user)
        writable = self._service.accounts.projects_with(user.user_id, "WRITE")
        circuits = [
            NewCircuit(document_id=str(uuid5(UUID(job_id), str(number))), name=f"{name}, circuit {number}", body=body)
            for number, body in enumerate(bodies, start=1)
        ]
        self._service.content.store_circuits(user, writable, project_id, circuits)
        for item, circuit in zip(items, circuits, strict=True):
            item["program_id"] = circuit.document_id
        config = {"type": device.config, "device_name": device.name}
        self._service.jobs.create(
            user,
            project_id,
            name=name,
            job_type=job_type,
            definition={"backend_config": config, "items": list(items), **more},
            observables=observables,
            job_id=job_id,
            delay_s=0.0,
        )

    def _project_of(self, user: User) -> str:
        found = self._find_project(user)
        if found is None:
            try:
                return self._service.content.create_project(user, name=self._project).project_id
            except Conflict:  # made meanwhile
                found = self._find_project(user)
        if found is None:
            raise NotFound(f"the project {self._project!r} was removed meanwhile")
        return found

    def _find_project(self, user: User) -> str | None:
        table = schema.project
        query = sa.select(table.c.project_id).where(table.c.owner_id == user.user_id, table.c.name == self._project)
        with self._service.db.read() as connection:
            found: str | None = connection.scalar(query)
        return found

    def states(self, job_ids: Collection[str]) -> dict[str, Execution]:
        """How far these jobs are, those that exist."""
        job = schema.job
        query = sa.select(job.c.job_id, job.c.status, job.c.message)
        rows = self._service.db.rows_among(query, job.c.job_id, sorted(job_ids))
        return {row.job_id: Execution(status=JobStatus(row.status), message=row.message) for row in rows}

    def counts(self, job_id: str) -> list[dict[str, int]]:
        """The histograms of a job that is COMPLETED, in the order of its circuits."""
        item = schema.job_item
        result = schema.result
        query = (
            sa.select(result.c.body)
            .join(item, item.c.result_id == result.c.result_id)
            .where(item.c.job_id == job_id)
            .order_by(item.c.item_id)
        )
        with self._service.db.read() as connection:
            return [counts_of(body) for body in connection.scalars(query)]

    def results(self, job_ids: Sequence[str], offset: int, limit: int) -> tuple[int, list[StoredResult]]:
        """How many results jobs have, and a page of these: job after job, by their items."""
        item = schema.job_item
        result = schema.result
        counting = sa.select(result.c.job_id, sa.func.count().label("number")).group_by(result.c.job_id)
        rows = self._service.db.rows_among(counting, result.c.job_id, job_ids)
        numbers = {row.job_id: int(row.number) for row in rows}
        found: list[StoredResult] = []
        first = 0
        with self._service.db.read() as connection:
            for job_id in job_ids:
                skipped = max(0, offset - first)
                first += numbers.get(job_id, 0)
                if first <= offset or len(found) >= limit:
                    continue
                query = (
                    sa.select(item.c.item_id, result.c.body)
                    .join(result, result.c.result_id == item.c.result_id)
                    .where(item.c.job_id == job_id)
                    .order_by(item.c.item_id)
                )
                for row in connection.execute(query.offset(skipped).limit(limit - len(found))):
                    found.append(StoredResult(job_id=job_id, item_id=row.item_id, body=row.body))
        return first, found

    def compiled(self, job_id: str) -> list[bytes]:
        """What a compile job that is COMPLETED made of its circuits, in order, as pytket's JSON."""
        item = schema.job_item
        made = schema.compilation
        document = schema.document
        query = (
            sa.select(document.c.body)
            .join(made, made.c.compiled_id == document.c.document_id)
            .join(item, item.c.compilation_id == made.c.compilation_id)
            .where(item.c.job_id == job_id)
            .order_by(item.c.item_id)
        )
        with self._service.db.read() as connection:
            return [zlib.decompress(body) for body in connection.scalars(query)]

    def cancel(self, job_ids: Collection[str]) -> None:
        """Cancel these jobs, as far as they exist and are not final."""
        every = sa.select(schema.project.c.project_id)
        for job_id, state in self.states(job_ids).items():
            if not state.status.is_final:
                self._service.jobs.cancel(every, job_id)

    def delete(self, job_ids: Collection[str]) -> None:
        """Delete these jobs, as far as they exist, with their results and circuits."""
        every = sa.select(schema.project.c.project_id)
        document = schema.document
        for job_id in self.states(job_ids):
            programs = [item.program_id for item in self._service.jobs.items(job_id)]
            self._service.jobs.delete(every, job_id)
            with self._service.db.write() as connection:
                for ids in parts(programs):
                    connection.execute(document.delete().where(document.c.document_id.in_(ids)))


def counts_of(body: bytes) -> dict[str, int]:
    """The histogram of a stored result: bit 0 is rightmost, registers are not parted.

    >>> counts_of(zlib.compress(b'{"bits": [], "shots": {"width": 2, "array": [[128], [128], [0]]}}'))
    {'01': 2, '00': 1}
    """
    import numpy as np

    shots: Mapping[str, Any] = json.loads(zlib.decompress(body))["shots"]
    width = int(shots["width"])
    packed = np.array(shots["array"], dtype=np.uint8)
    rows, numbers = np.unique(packed, axis=0, return_counts=True)
    bits = np.unpackbits(rows, axis=1)[:, :width][:, ::-1]
    found = {"".join(map(str, row)): int(number) for row, number in zip(bits.tolist(), numbers, strict=True)}
    return dict(sorted(found.items(), key=lambda entry: (-entry[1], entry[0])))


def expectations_of(body: bytes) -> dict[str, float]:
    """The expectation values of a stored result, by observable."""
    values: dict[str, float] = json.loads(zlib.decompress(body))[EXPECTATIONS]
    return values
