"""Rows of the simulator that runs in this process: its workers are killed, and the process itself."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aer_batches import children_of, heavy, until

import qjobs
from qjobs.backends.aer import AerBackend
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId, RemoteRetryStrategy
from qjobs.operations.recover import retry

_DYING = Path(__file__).with_name("dying.py")


@dataclass(frozen=True, kw_only=True)
class AerSeen:
    """What a row came to: remote jobs that were made, results that lack, and what breaks the rule."""

    name: str
    created: int
    lost: int
    status: JobStatus
    broken: tuple[str, ...]

    def line(self) -> str:
        """Its line of the table."""
        return f"{self.name:42} {'aer':13} {self.created:7} {self.lost:4}  {self.status:9}"

    def problems(self) -> list[str]:
        """Where it breaks the rule."""
        return [f"{self.name}, aer: {words}" for words in self.broken]


@dataclass
class _Case:
    ledger: Ledger
    backend: AerBackend
    run: str

    def plan(self) -> JobId:
        batch = heavy(2)
        (job_id,) = qjobs.plan(
            self.ledger, self.backend, batch.items, batch.programs, run=self.run, name="row", opened_as="aer"
        )
        return job_id

    def finish(self, job_id: JobId) -> None:
        qjobs.wait(self.ledger, {"aer": self.backend}, [job_id], timeout_s=60.0)
        qjobs.collect(self.ledger, self.backend, job_id, partial=True)

    def seen(self, job_id: JobId, created: int, lost: int, status: JobStatus, words: str = "") -> AerSeen:
        job = self.ledger.job(job_id)
        made = sum(attempt.remote_id is not None for attempt in self.ledger.attempts(job_id))
        missing = job.n_items - len(self.ledger.results(job_id))
        messages = " ".join(item.message for item in self.ledger.items(job_id))
        wanted = {"remote jobs": (made, created), "results lost": (missing, lost), "status": (job.status, status)}
        broken = [f"{what}: {found}, not {right}" for what, (found, right) in wanted.items() if found != right]
        if words not in f"{job.message} {messages}":
            broken.append(f"{words!r} is not in: {job.message} {messages}")
        return AerSeen(name=self.run, created=made, lost=missing, status=job.status, broken=tuple(broken))


def worker_killed(case: _Case, before: set[int]) -> AerSeen:
    """A worker that is killed costs no result."""
    job_id = case.plan()
    qjobs.submit(case.ledger, case.backend, job_id)
    os.kill(until(lambda: set(children_of(os.getpid())) - before).pop(), signal.SIGKILL)
    case.finish(job_id)
    return case.seen(job_id, 1, 0, JobStatus.COMPLETED)


def workers_killed(case: _Case, before: set[int]) -> AerSeen:
    """Items whose worker is killed twice are TERMINATED, and are sent again only on demand."""
    job_id = case.plan()
    qjobs.submit(case.ledger, case.backend, job_id)

    def first() -> JobStatus:
        qjobs.poll(case.ledger, case.backend, [job_id])
        return case.ledger.items(job_id)[0].status

    while not first().is_final:
        for worker in set(children_of(os.getpid())) - before:
            if first() is JobStatus.RUNNING:
                os.kill(worker, signal.SIGKILL)
        time.sleep(0.005)
    case.finish(job_id)
    return case.seen(job_id, 1, 1, JobStatus.TERMINATED, "a worker process ended 2 times")


def _die(case: _Case, moment: str) -> JobId:
    job_id = case.plan()
    words = [moment, case.ledger.url, job_id, str(time.time()), "aer", json.dumps({})]
    environment = {**os.environ, "PYTHONPATH": str(_DYING.parents[2])}
    done = subprocess.run([sys.executable, str(_DYING), *words], capture_output=True, text=True, env=environment)
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    return job_id


def process_killed(case: _Case, _: set[int]) -> AerSeen:
    """The process is killed with its job: that is TERMINATED, and says why."""
    job_id = _die(case, "written down")
    qjobs.submit(case.ledger, case.backend, job_id)
    case.finish(job_id)
    return case.seen(job_id, 1, 2, JobStatus.TERMINATED, "has ended")


def sent_again(case: _Case, _: set[int]) -> AerSeen:
    """Such a job is sent again on demand."""
    job_id = _die(case, "written down")
    qjobs.submit(case.ledger, case.backend, job_id)
    force = RemoteRetryStrategy.FORCE_RESUBMIT
    retry(case.ledger, case.backend, job_id, statuses=[JobStatus.TERMINATED], strategy=force)
    case.finish(job_id)
    return case.seen(job_id, 2, 0, JobStatus.COMPLETED)


def killed_while_sending(case: _Case, _: set[int]) -> AerSeen:
    """A job whose process was killed before its id was written down is found to be gone with it, and sent."""
    job_id = _die(case, "made")
    for _ in range(3):
        with contextlib.suppress(qjobs.QJobsError):
            qjobs.submit(case.ledger, case.backend, job_id, strategy=RemoteRetryStrategy.ALLOW_RESUBMIT)
    case.finish(job_id)
    return case.seen(job_id, 1, 0, JobStatus.COMPLETED)


ROWS: dict[str, Callable[[_Case, set[int]], AerSeen]] = {
    "a worker is killed": worker_killed,
    "the workers of an item are killed twice": workers_killed,
    "killed: while it runs here": process_killed,
    "killed: while it runs here, then sent again": sent_again,
    "killed: made": killed_while_sending,
}


def play(name: str, ledger: Ledger) -> AerSeen:
    """Run one row."""
    before = set(children_of(os.getpid()))
    with AerBackend(n_workers=1) as backend:
        return ROWS[name](_Case(ledger, backend, name), before)


def play_all(ledger: Ledger) -> Iterator[AerSeen]:
    for name in ROWS:
        yield play(name, ledger)
