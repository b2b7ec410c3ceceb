"""Worker processes of the Aer backend, and processes that use it, are killed, forked and forgotten."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aer_batches import (
    DEADLINE_S,
    batch_of,
    children_of,
    entries,
    heavy,
    run,
    snapshot_of,
    submit,
    superposition,
    until,
    wait,
)

from qjobs.backends.aer import AerBackend
from qjobs.backends.base import MissingResult
from qjobs.lifecycle import JobStatus

ROOT = Path(__file__).parents[2]
linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")


@pytest.fixture(scope="module")
def aer() -> Iterator[AerBackend]:
    with AerBackend(n_workers=2) as backend:
        backend.warm()
        yield backend


@linux
def test_killed_worker_costs_no_result():
    """What it had runs again, and every result is there."""
    before = set(children_of(os.getpid()))
    with AerBackend(n_workers=2) as backend:
        remote_id = submit(backend, heavy(5))
        until(lambda: JobStatus.RUNNING in {i.status for i in snapshot_of(backend, remote_id).items})
        workers = until(lambda: set(children_of(os.getpid())) - before)
        os.kill(workers.pop(), signal.SIGKILL)
        assert wait(backend, remote_id).status is JobStatus.COMPLETED
        assert [sum(each.counts.values()) for each in entries(backend, remote_id)] == [50_000] * 5
    assert set(children_of(os.getpid())) <= before


@linux
def test_second_death_terminates():
    """Items under which a worker ends twice are TERMINATED; the others go on."""
    before = set(children_of(os.getpid()))
    with AerBackend(n_workers=1) as backend:
        remote_id = submit(backend, heavy(2))

        def first() -> JobStatus:
            return snapshot_of(backend, remote_id).items[0].status

        while not first().is_final:
            for worker in set(children_of(os.getpid())) - before:
                if first() is JobStatus.RUNNING:
                    os.kill(worker, signal.SIGKILL)
            time.sleep(0.005)
        snapshot = wait(backend, remote_id)
        assert [item.status for item in snapshot.items] == [JobStatus.TERMINATED, JobStatus.COMPLETED]
        assert "a worker process ended 2 times" in entries(backend, remote_id)[0].reason


@pytest.mark.slow
@linux
def test_idle_deaths_are_mended():
    """Workers that were killed while idle are replaced."""
    before = set(children_of(os.getpid()))
    with AerBackend(n_workers=1) as backend:
        run(backend, batch_of((superposition(1), 1)))
        for worker in set(children_of(os.getpid())) - before:
            os.kill(worker, signal.SIGKILL)
        assert run(backend, batch_of((superposition(1), 1)))


HEAD = """
import json, os, sys
sys.path.insert(0, "tests")
import aer_batches as t
"""
WORKS = """
backend = t.AerBackend(n_workers=2)
remote_id = t.submit(backend, t.heavy(100))
t.until(lambda: "COMPLETED" in {i.status for i in t.snapshot_of(backend, remote_id).items})
print(json.dumps([remote_id, t.children_of(os.getpid())]), flush=True)
"""
FORKS = """
b = t.AerBackend(n_workers=1); r = t.submit(b, t.batch_of((t.superposition(1), 5))); t.wait(b, r)
pid = os.fork()
if pid: sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
ok = t.snapshot_of(b, r).message.startswith('runs in process')
own = t.submit(b, t.batch_of((t.superposition(1), 5)))
ok = ok and str(os.getpid()) in own and t.wait(b, own).status == 'COMPLETED'
b.close(); os._exit(0 if ok else 3)
"""


def child(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HEAD + code],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@linux
def test_other_process_sees_the_end(aer):
    """Another process learns where a job runs, and that it ended with kill -9."""
    with child(WORKS + "sys.stdin.read()") as process:
        remote_id, workers = json.loads(process.stdout.readline())
        assert len(workers) == 2
        snapshot = snapshot_of(aer, remote_id)
        assert snapshot.status is JobStatus.RUNNING
        assert f"process {process.pid} on {socket.gethostname()}" in snapshot.message
        results = entries(aer, remote_id)
        assert len(results) == 100
        assert "alone can return its results" in results[0].reason
        aer.cancel(remote_id)
        process.kill()
        process.wait()
        until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), "workers live on")
    snapshot = snapshot_of(aer, remote_id)
    assert snapshot.status is JobStatus.TERMINATED
    assert snapshot.message.startswith("the process that simulated it has ended")
    assert entries(aer, remote_id) == [MissingResult(reason=snapshot.message, permanent=True)] * 100


@pytest.mark.slow
@linux
def test_workers_end_with_their_parent():
    """A process that ends takes its workers along."""
    with child(WORKS) as process:
        _, workers = json.loads(process.stdout.readline())
        assert process.wait(DEADLINE_S) == 0
    until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), "workers live on")


@pytest.mark.slow
@linux
def test_dropped_backend_drains(aer):
    """A backend that nobody holds finishes its jobs and ends its workers."""
    before = set(children_of(os.getpid()))
    remote_id = submit(AerBackend(n_workers=1), batch_of((superposition(1), 5)))
    assert wait(aer, remote_id).status is JobStatus.COMPLETED
    assert entries(aer, remote_id)[0].counts
    until(lambda: set(children_of(os.getpid())) <= before, "its workers live on")


@pytest.mark.slow
@linux
def test_fork_owns_no_jobs(aer):
    """A forked child does not take the jobs of its parent for its own."""
    with child(FORKS) as process:
        _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, said
