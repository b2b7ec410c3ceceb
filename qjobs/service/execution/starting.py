"""Reads the queues, and moves items of jobs to RUNNING with what a worker needs to run them."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qjobs.backends.aer import NoiseSpec
from qjobs.lifecycle import JobStatus
from qjobs.service import tables as schema
from qjobs.service.devices import Device, DeviceKind, Devices
from qjobs.service.execution.compiling import CompileItem, CompileTask
from qjobs.service.execution.programs import Machine
from qjobs.service.execution.scheduling import QueuedJob, fair_order, fifo_order
from qjobs.service.execution.simulate import ExecuteItem, ExecuteTask
from qjobs.service.store.definitions import DEFAULT_LEVEL, item_observables
from qjobs.service.store.job_moves import Move, apply_moves, locked, read_items, roll_up_jobs
from qjobs.service.store.job_records import ItemRecord

_S = JobStatus
_COMPILE = "compile"


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue and the jobs that wait in it, the next one first.

    Args:
        device: The device behind it; None for the queue of compilations.
        devices: The device of each job, which compilations are for.
        order: The jobs with items that wait.
        ready: Number of items that may start now, by job.
    """

    device: Device | None
    devices: Mapping[str, Device]
    order: tuple[QueuedJob, ...]
    ready: Mapping[str, int]

    @property
    def one_at_a_time(self) -> bool:
        """Whether a job has the device for itself."""
        return self.device is not None and self.device.kind is DeviceKind.HARDWARE


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Items of one job to start together."""

    job_id: str
    owner_id: str
    device: Device
    is_compile: bool
    uuids: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Started:
    """A chunk that is RUNNING: its items as they were before, and what a worker has to do."""

    chunk: Chunk
    project_id: str
    items: dict[str, ItemRecord]
    tries: dict[str, int]
    task: CompileTask | ExecuteTask = field(repr=False)


def read_queues(
    connection: sa.Connection,
    devices: Devices,
    now: datetime,
    last_start: Callable[[str, set[str]], Mapping[str, datetime]],
) -> list[Queue]:
    """The queues that are not empty.

    Jobs of a device that the device file no longer has wait, and a closed device starts nothing. `last_start` gives,
    for a device and users, when it last started a job of each.
    """
    job = schema.job
    item = schema.job_item
    waiting = (
        sa.select(
            item.c.job_id,
            sa.func.sum(sa.case((item.c.ready_at > now, 0), else_=1)).label("ready"),
        )
        .where(item.c.status == _S.QUEUED.value)
        .group_by(item.c.job_id)
        .subquery()
    )
    columns = (job.c.job_id, job.c.owner_id, job.c.sequence, job.c.job_type, job.c.device, job.c.created_at)
    query = sa.select(*columns, job.c.queued_at, waiting.c.ready).join(waiting, waiting.c.job_id == job.c.job_id)
    groups: defaultdict[str, list[tuple[QueuedJob, Device, int]]] = defaultdict(list)
    for row in connection.execute(query):
        device = devices.get(row.device)
        if device is None:
            continue
        is_open = row.job_type == _COMPILE or device.is_open(now)
        name = _COMPILE if row.job_type == _COMPILE else f"execute {row.device}"
        entry = QueuedJob(
            job_id=row.job_id, owner_id=row.owner_id, sequence=row.sequence, arrived_at=row.queued_at or row.created_at
        )
        groups[name].append((entry, device, int(row.ready) if is_open else 0))
    return [_queue(entries, last_start, is_compile=name == _COMPILE) for name, entries in sorted(groups.items())]


def _queue(
    entries: list[tuple[QueuedJob, Device, int]],
    last_start: Callable[[str, set[str]], Mapping[str, datetime]],
    *,
    is_compile: bool,
) -> Queue:
    jobs = [entry for entry, _, _ in entries]
    device = None if is_compile else entries[0][1]
    if device is not None and device.kind is DeviceKind.HARDWARE:
        order = fair_order(jobs, last_start(device.name, {each.owner_id for each in jobs}))
    else:
        order = fifo_order(jobs)
    return Queue(
        device=device,
        devices={entry.job_id: its_device for entry, its_device, _ in entries},
        order=tuple(order),
        ready={entry.job_id: ready for entry, _, ready in entries},
    )


def start_items(connection: sa.Connection, chunks: Sequence[Chunk], now: datetime) -> tuple[list[Started], list[str]]:
    """Move the chunks' items to RUNNING, those that still wait.

    Returns:
        What to hand to the workers, and the ids of the jobs that changed.
    """
    jobs = locked(connection, {chunk.job_id for chunk in chunks})
    wanted: set[str] = set()
    for chunk in chunks:
        wanted.update(chunk.uuids)
    found = {
        item.item_uuid: item
        for item in read_items(connection, (), uuids=wanted)
        if item.status is _S.QUEUED and item.job_id in jobs
    }
    definitions = by_id(connection, schema.job.c.job_id, schema.job.c.definition, jobs)
    programs = {item.program_id for item in found.values()}
    bodies = by_id(connection, schema.document.c.document_id, schema.document.c.body, programs)
    moves: list[Move] = []
    started: list[Started] = []
    for chunk in chunks:
        items = [found[uuid] for uuid in chunk.uuids if uuid in found]
        if not items:
            continue
        moves += [_start(item, chunk) for item in items]
        task = _task(chunk, items, definitions[chunk.job_id], bodies)
        started.append(
            Started(
                chunk=chunk,
                project_id=jobs[chunk.job_id].project_id,
                items={item.item_uuid: item for item in items},
                tries={item.item_uuid: item.tries + 1 for item in items},
                task=task,
            )
        )
    apply_moves(connection, moves, now)
    return started, roll_up_jobs(connection, jobs.values(), now)


def _start(item: ItemRecord, chunk: Chunk) -> Move:
    values: dict[str, Any] = {"tries": item.tries + 1, "external_handle": item.external_handle}
    if chunk.device.is_vendors and not chunk.is_compile and item.external_handle is None:
        values["external_handle"] = str(uuid.uuid4())
    return Move(item=item, status=_S.RUNNING, message="The item is running.", values=values)


def by_id(
    connection: sa.Connection, key: sa.Column[str], value: sa.Column[Any], ids: Collection[str]
) -> dict[str, Any]:
    """One column of the rows with these ids."""
    query = sa.select(key, value).where(key.in_(sorted(ids)))
    return {row[0]: row[1] for row in connection.execute(query)}


def _task(
    chunk: Chunk, items: Sequence[ItemRecord], definition: Mapping[str, Any], bodies: Mapping[str, bytes]
) -> CompileTask | ExecuteTask:
    """What a worker has to do; a program that was deleted meanwhile has an empty body."""
    config = definition["backend_config"]
    if chunk.is_compile:
        level = definition.get("optimisation_level")
        return CompileTask(
            machine=machine_of(chunk.device),
            config=config,
            level=DEFAULT_LEVEL if level is None else int(level),
            record=not definition.get("skip_store_intermediate_passes"),
            items=tuple(CompileItem(item_uuid=item.item_uuid, body=bodies.get(item.program_id, b"")) for item in items),
        )
    return ExecuteTask(
        machine=machine_of(chunk.device),
        config=config,
        items=tuple(_execute_items(items, definition, bodies)),
    )


def _execute_items(
    items: Sequence[ItemRecord], definition: Mapping[str, Any], bodies: Mapping[str, bytes]
) -> Iterator[ExecuteItem]:
    seed = definition["backend_config"].get("seed")
    for item in items:
        yield ExecuteItem(
            item_uuid=item.item_uuid,
            body=bodies.get(item.program_id, b""),
            n_shots=item.n_shots,
            max_cost=item.max_cost,
            n_qubits=item.n_qubits,
            seed_text=f"{item.item_uuid} {item.tries + 1}" if seed is None else f"{seed} {item.item_id}",
            observables=item_observables(definition, item.item_id),
        )


def machine_of(device: Device) -> Machine:
    """What a worker has to know of a device."""
    return Machine(
        name=device.name,
        result=device.result.value,
        is_checker=device.kind is DeviceKind.SYNTAX_CHECKER,
        priced=device.costs == "hqc" or device.kind is DeviceKind.SYNTAX_CHECKER,
        n_qubits=device.n_qubits,
        gate_set=frozenset(device.gate_set),
        native_only=device.native_only,
        connectivity=None if device.connectivity is None else frozenset(device.connectivity),
        noise=NoiseSpec(**device.noise.model_dump()),
    )
