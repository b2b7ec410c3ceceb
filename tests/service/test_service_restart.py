"""A service that is killed: what waited waits, what ran runs again, and every result is there once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from aer_batches import children_of
from own_service import AER, EVERYTHING, OwnService, layered
from pytket.circuit import Circuit

from qjobs.lifecycle import JobStatus
from qjobs.service import tables as schema

DEVICES = """
devices:
  - {name: Aer, kind: nexus-hosted, backend: AerBackend, config: AerConfig, n_qubits: 20}
  - {name: machine, kind: hardware, backend: B, config: MachineConfig, n_qubits: 5, shots_per_s: 100}
"""
pytestmark = pytest.mark.slow
PROGRAM = Path(__file__).with_name("killed_service.py")


@pytest.fixture
def own(tmp_path):
    """The store of the service; what works on it is another process."""
    own = OwnService(tmp_path, devices=DEVICES)
    yield own
    own.close()


def start(folder: Path, speed: float = 1.0) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, PROGRAM, folder, folder / "devices.yaml", str(speed)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


def kill(process: subprocess.Popen) -> None:
    process.kill()
    process.wait(30)
    process.stdout.close()


def circuit(n: int = 12) -> Circuit:
    return layered(n, 12).measure_all()


def statuses(own: OwnService, job: str) -> Counter:
    return Counter(item.status.value for item in own.items(job))


def test_kills_lose_and_double_nothing(own: OwnService, tmp_path: Path) -> None:
    """Every result is stored once, however often the service is killed."""
    job = own.submit([own.upload(circuit())] * 120, AER, shots=300)
    compile_job = own.submit([own.upload(circuit(6))] * 20, AER, job_type="compile")
    workers: list[int] = []
    for least in (1, 30):
        process = start(tmp_path)
        own.until(lambda least=least: statuses(own, job)["COMPLETED"] >= least and statuses(own, job)["RUNNING"])
        workers += children_of(process.pid)
        kill(process)
        done = {item.item_uuid: item.result_id for item in own.items(job) if item.result_id}
        stored = {row.item_uuid: row.result_id for row in own.rows(schema.result, job_id=job)}
        assert stored == done, "an item is COMPLETED without its result, or the other way round"
    assert 30 <= len(done) < 120
    process = start(tmp_path)
    try:
        own.finish(job, 120)
        own.finish(compile_job, 120)
    finally:
        kill(process)
    rows = own.rows(schema.result, job_id=job)
    items = own.items(job)
    assert statuses(own, job) == {"COMPLETED": 120}
    assert sorted(row.item_uuid for row in rows) == sorted(item.item_uuid for item in items)
    assert {row.result_id for row in rows} == {item.result_id for item in items}
    assert all(item.result_id == done[item.item_uuid] for item in items if item.item_uuid in done)
    assert any(item.tries > 1 for item in items), "nothing ran when the service was killed"
    assert len(own.rows(schema.compilation, job_id=compile_job)) == 20
    assert len({item.compilation_id for item in own.items(compile_job)}) == 20
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline, "worker processes outlive the service"
        time.sleep(0.05)


def test_handles_survive_a_kill(own: OwnService, tmp_path: Path) -> None:
    """What ran on hardware keeps its handle and its device, and runs again."""
    flip = own.upload(Circuit(1, 1).X(0).Measure(0, 0))
    running = own.submit([flip, flip], {"type": "MachineConfig"}, shots=10_000)
    waiting = own.submit([flip], {"type": "MachineConfig"}, shots=1)
    stopping = own.submit([flip], AER, job_type="compile")
    process = start(tmp_path)
    own.until(lambda: statuses(own, running)["RUNNING"] == 2 and own.job(waiting).status == "QUEUED")
    own.finish(stopping)
    handles = [item.external_handle for item in own.items(running)]
    kill(process)
    assert statuses(own, running) == {"RUNNING": 2}
    service = own.service
    service.executor.start()
    own.until(lambda: own.items(running)[0].tries == 2)
    assert [item.external_handle for item in own.items(running)] == handles
    assert own.job(waiting).times.get(JobStatus.RUNNING) is None, "the job that had the device lost it"
    own.store.cancel(EVERYTHING, running)
    assert own.finish(running).status == "CANCELLED"
    assert own.finish(waiting).status == "COMPLETED"


def test_deadly_item(own: OwnService, tmp_path: Path) -> None:
    """An item under which two workers end is given up, and its job goes on."""
    long = own.upload(layered(18, 400).measure_all())
    short = own.upload(circuit(4))
    job = own.submit([long, short], AER, shots=10)
    process = start(tmp_path)
    try:
        for tries in (1, 2):
            own.until(lambda tries=tries: state_of(own, job) == ("RUNNING", tries))
            time.sleep(0.5)  # the worker has it now, not the queue before it
            for pid in children_of(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            own.until(lambda tries=tries: state_of(own, job) != ("RUNNING", tries))
        own.finish(job, 120)
        first, second = own.items(job)
        assert (first.status, second.status) == ("TERMINATED", "COMPLETED")
        assert first.message.startswith("A worker process ended 2 times while it ran this item")
        assert own.job(job).status == "TERMINATED"
    finally:
        kill(process)


def state_of(own: OwnService, job: str) -> tuple[str, int]:
    item = own.items(job)[0]
    return item.status.value, item.tries
