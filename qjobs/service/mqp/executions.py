"""Circuits of the portal's jobs as jobs of the service: they wait in its queues and run in its worker processes.

The id of such a job is made from the id of the portal's job. Whoever starts it a second time, because the service ended
between two writes, finds the first one and starts nothing.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

import sqlalchemy as sa

from qjobs.lifecycle import JobStatus
from qjobs.service import tables as schema
from qjobs.service.accounts.accounts import User
from qjobs.service.assembly import Service
from qjobs.service.devices import Device
from qjobs.service.errors import Conflict, NotFound
from qjobs.service.store.content import NewCircuit

__all__ = ["PROJECT", "Execution", "Executions", "counts_of", "execution_id"]

PROJECT = "Munich Quantum Portal"
"""The project of a user in which these jobs are."""

_IDS = UUID("5b0f7c5e-6f0a-4c35-9d0f-1f2c64c1a7d3")
_LEVEL = 2


def execution_id(job_id: int, what: str) -> str:
    """The id of the job of the service that does something for a job of the portal.

    >>> execution_id(17, "execute") == execution_id(17, "execute") != execution_id(17, "compile")
    True
    """
    return str(uuid5(_IDS, f"{job_id} {what}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How far a job of the service is; `message` says why it failed."""

    status: JobStatus
    message: str


class Executions:
    """Jobs of the service that do the work of the portal's jobs."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def execute(
        self, job_id: str, user: User, device: Device, bodies: Sequence[bytes], shots: int, *, name: str
    ) -> None:
        """Run circuits, given as pytket's JSON, each with these shots; nothing happens where the job exists.

        Raises:
            ServiceError: The device cannot take them.
        """
        items = [{"n_shots": shots} for _ in bodies]
        self._start(job_id, "execute", user, device, bodies, items, name)

    def compile(self, job_id: str, user: User, device: Device, bodies: Sequence[bytes], *, name: str) -> None:
        """Compile circuits for a device; nothing happens where the job exists."""
        items: list[dict[str, Any]] = [{} for _ in bodies]
        more = {"optimisation_level": _LEVEL, "skip_store_intermediate_passes": True}
        self._start(job_id, "compile", user, device, bodies, items, name, **more)

    def _start(
        self,
        job_id: str,
        job_type: str,
        user: User,
        device: Device,
        bodies: Sequence[bytes],
        items: Sequence[dict[str, Any]],
        name: str,
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
            job_id=job_id,
            delay_s=0.0,
        )

    def _project_of(self, user: User) -> str:
        found = self._find_project(user)
        if found is None:
            try:
                return self._service.content.create_project(user, name=PROJECT).project_id
            except Conflict:  # made meanwhile
                found = self._find_project(user)
        if found is None:
            raise NotFound(f"the project {PROJECT!r} was removed meanwhile")
        return found

    def _find_project(self, user: User) -> str | None:
        table = schema.project
        query = sa.select(table.c.project_id).where(table.c.owner_id == user.user_id, table.c.name == PROJECT)
        with self._service.db.read() as connection:
            found: str | None = connection.scalar(query)
        return found

    def states(self, job_ids: Collection[str]) -> dict[str, Execution]:
        """How far these jobs are, those that exist."""
        job = schema.job
        query = sa.select(job.c.job_id, job.c.status, job.c.message)
        rows = self._service.db.rows_among(query, job.c.job_id, sorted(job_ids))
        return {row.job_id: Execution(status=JobStatus(row.status), message=row.message) for row in rows}

    def was_deleted(self, job_id: str) -> bool:
        """Whether it existed, and somebody deleted it."""
        query = sa.select(sa.func.count()).where(schema.deleted.c.resource_id == job_id)
        with self._service.db.read() as connection:
            return bool(connection.scalar(query))

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
