"""A sensor watches the few jobs that are about to change, and polls them as soon as their provider says so."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import pytest
from scripted import Clock, ScriptedBackend, TellingBackend
from support import create

import qjobs
from qjobs.backends.base import Backend
from qjobs.errors import InvalidInput
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId
from qjobs.operations.sensor_pass import PassReport, sensor_pass
from qjobs.operations.watch import MAX_WATCHED, JobWatch

S = JobStatus


class Followed:
    """A sensor with an eye on the jobs of one provider; the clock stands still."""

    def __init__(self, ledger: Ledger, backend: ScriptedBackend) -> None:
        self.ledger, self.backend, self.clock, self.wake = ledger, backend, Clock(), threading.Event()
        self.following = JobWatch(ledger, self.open, self.wake, self.clock.now)

    def open(self, name: str) -> Backend:
        if name != self.backend.name:
            raise InvalidInput("there is no such backend", field="backend")
        return self.backend

    def sent(self, count: int) -> list[JobId]:
        ids = [create(self.ledger, f"soon-{n}") for n in range(count)]
        for job_id in ids:
            qjobs.submit(self.ledger, self.backend, job_id, now=self.clock.now)
        return ids

    def run_pass(self) -> PassReport:
        self.wake.clear()
        self.following.make_due()
        report = sensor_pass(self.ledger, self.open, now=self.clock.now, rng=random.Random(1))
        self.following.watch(report.soon)
        return report


@pytest.fixture
def followed(ledger: Ledger) -> Callable[[ScriptedBackend], Followed]:
    return lambda backend: Followed(ledger, backend)


def test_watched_job(followed: Callable[[ScriptedBackend], Followed]) -> None:
    """A running job is due as soon as its provider says that it has changed."""
    backend = TellingBackend()
    sensor = followed(backend)
    (job_id,) = sensor.sent(1)
    backend.report(S.RUNNING, S.RUNNING)
    sensor.run_pass()
    assert sensor.run_pass().asked == set(), "it is not due for an hour"
    backend.report(S.COMPLETED, S.COMPLETED)
    backend.tell.set()
    assert sensor.wake.wait(20.0)
    assert sensor.run_pass().moved == {job_id: S.COMPLETED}
    assert sensor.ledger.result_counts([job_id]) == {job_id: 2}
    assert backend.watched == ["remote-1"]
    sensor.following.end()


def test_how_many(
    followed: Callable[[ScriptedBackend], Followed],
) -> None:
    """A few jobs are watched, and none that waits deep in a queue."""
    backend = TellingBackend()
    sensor = followed(backend)
    sensor.sent(MAX_WATCHED + 3)
    sensor.run_pass()
    assert backend.watched == []
    backend.report(S.RUNNING, S.RUNNING)
    sensor.clock.elapsed_s += 7200.0
    sensor.run_pass()
    sensor.following.watch({"fake": [job.job_id for job in sensor.ledger.open_jobs()], "nobody": [JobId("x")]})
    deadline = time.monotonic() + 20.0
    while len(backend.watched) < MAX_WATCHED and time.monotonic() < deadline:  # each by a thread of its own
        time.sleep(0.01)
    assert len(set(backend.watched)) == len(backend.watched) == MAX_WATCHED
    backend.tell.set()
    sensor.following.end()


def test_cannot_watch(followed: Callable[[ScriptedBackend], Followed]) -> None:
    """A provider that cannot be watched is polled at its own pace."""
    backend = ScriptedBackend()
    sensor = followed(backend)
    sensor.sent(1)
    backend.report(S.RUNNING, S.RUNNING)
    assert [len(sensor.run_pass().asked) for _ in range(2)] == [1, 0]
    assert not sensor.wake.is_set()
