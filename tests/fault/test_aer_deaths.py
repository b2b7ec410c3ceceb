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
from aer_batches import DEADLINE_S, batch_of, children_of, heavy, run, snapshot_of, submit, superposition, until, wait

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
def test_a_killed_worker_costs_a_retry_and_no_result():
    before = set(children_of(os.getpid()))
    with AerBackend(n_workers=2) as backend:
        remote_id = submit(backend, heavy(5))
        until(lambda: JobStatus.RUNNING in {i.status for i in snapshot_of(backend, remote_id).items})
        workers = until(lambda: set(children_of(os.getpid())) - before)
        os.kill(workers.pop(), signal.SIGKILL)
        assert wait(backend, remote_id).status is JobStatus.COMPLETED
        assert [sum(each.counts.values()) for each in backend.results(remote_id)] == [50_000] * 5
    assert set(children_of(os.getpid())) <= before


@linux
def test_a_chunk_that_kills_its_worker_twice_is_terminated_and_the_others_go_on():
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
        assert "a worker process ended 2 times" in backend.results(remote_id)[0].reason


@linux
def test_idle_workers_that_were_killed_are_replaced():
    before = set(children_of(os.getpid()))
    with AerBackend(n_workers=1) as backend:
        run(backend, batch_of((superposition(1), 1)))
        for worker in set(children_of(os.getpid())) - before:
            os.kill(worker, signal.SIGKILL)
        assert run(backend, batch_of((superposition(1), 1)))


CHILD = """
import json, os, sys
sys.path.insert(0, "tests")
import aer_batches as t
backend = t.AerBackend(n_workers=2)
remote_id = t.submit(backend, t.heavy(100))
t.until(lambda: "COMPLETED" in {i.status for i in t.snapshot_of(backend, remote_id).items})
print(json.dumps([remote_id, t.children_of(os.getpid())]), flush=True)
sys.stdin.read() if sys.argv[1] == "stay" else None
"""


def child(mode: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, mode],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


@linux
def test_another_process_is_told_where_a_job_runs_and_that_it_ended_with_kill_9(aer):
    with child("stay") as process:
        remote_id, workers = json.loads(process.stdout.readline())
        assert len(workers) == 2
        snapshot = snapshot_of(aer, remote_id)
        assert snapshot.status is JobStatus.RUNNING
        assert f"process {process.pid} on {socket.gethostname()}" in snapshot.message
        results = aer.results(remote_id)
        assert len(results) == 100
        assert "alone can return its results" in results[0].reason
        aer.cancel(remote_id)
        process.kill()
        process.wait()
        until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), "workers live on")
    snapshot = snapshot_of(aer, remote_id)
    assert snapshot.status is JobStatus.TERMINATED
    assert snapshot.message.startswith("the process that simulated it has ended")
    assert aer.results(remote_id) == [MissingResult(reason=snapshot.message)] * 100


@linux
def test_a_process_that_ends_takes_its_workers_along():
    with child("leave") as process:
        _, workers = json.loads(process.stdout.readline())
        assert process.wait(DEADLINE_S) == 0
    until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), "workers live on")


@linux
def test_an_object_that_is_dropped_finishes_its_jobs_and_ends_its_workers(aer):
    before = set(children_of(os.getpid()))
    remote_id = submit(AerBackend(n_workers=1), batch_of((superposition(1), 5)))
    assert wait(aer, remote_id).status is JobStatus.COMPLETED
    assert aer.results(remote_id)[0].counts
    until(lambda: set(children_of(os.getpid())) <= before, "its workers live on")


@linux
def test_a_forked_child_does_not_take_the_parents_jobs_for_its_own(aer):
    code = (
        "import os, sys; sys.path.insert(0, 'tests'); import aer_batches as t\n"
        "b = t.AerBackend(n_workers=1); r = t.submit(b, t.batch_of((t.superposition(1), 5))); t.wait(b, r)\n"
        "pid = os.fork()\n"
        "if pid: sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
        "ok = t.snapshot_of(b, r).message.startswith('runs in process')\n"
        "own = t.submit(b, t.batch_of((t.superposition(1), 5)))\n"
        "ok = ok and str(os.getpid()) in own and t.wait(b, own).status == 'COMPLETED'\n"
        "b.close(); os._exit(0 if ok else 3)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=DEADLINE_S,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
