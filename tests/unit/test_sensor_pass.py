"""Sensor pass: what is due is asked for, many at once; results are kept; trouble parks jobs and stops no other."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from scripted import FINDABLE, OPAQUE, Clock, Fault, ScriptedBackend
from support import LEASE_S, claim, create, job_moves, sending

import qjobs
from qjobs.backends.base import Backend, Lookup, Snapshot
from qjobs.errors import BackendUnavailable, CredentialsRejected, InvalidInput, ProtocolError, SubmissionUnknown
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId, RemoteId
from qjobs.operations.sensor_pass import PassReport, pause_s, sensor_pass

S = JobStatus


class Watched:
    """A ledger, a clock, and providers by their names."""

    def __init__(self, ledger: Ledger, *backends: ScriptedBackend) -> None:
        self.ledger, self.clock = ledger, Clock()
        self.backends = {backend.name: backend for backend in backends}

    def open(self, name: str) -> Backend:
        if name not in self.backends:
            raise InvalidInput(f"there is no backend {name!r}", field="backend")
        return self.backends[name]

    def sent(self, count: int, backend: str = "fake") -> list[JobId]:
        ids = [create(self.ledger, f"{backend}-{n}", backend=backend) for n in range(count)]
        for job_id in ids:
            qjobs.submit(self.ledger, self.backends[backend], job_id, now=self.clock.now)
        return ids

    def run_pass(self, after_s: float = 0.0) -> PassReport:
        self.clock.elapsed_s += after_s
        return sensor_pass(self.ledger, self.open, now=self.clock.now, rng=random.Random(1))

    def status(self, job_id: JobId) -> JobStatus:
        return self.ledger.job(job_id).status


@pytest.fixture
def watched(ledger: Ledger, backend: ScriptedBackend) -> Watched:
    return Watched(ledger, backend)


def test_one_request(watched: Watched, backend: ScriptedBackend) -> None:
    """Many jobs are asked for at once, and results are stored."""
    ids = watched.sent(12)
    for n in range(12):
        backend.report(S.COMPLETED, S.COMPLETED, of=n)
    report = watched.run_pass()
    assert (len(report.asked), len(backend.asked), len(backend.asked[0])) == (12, 1, 12)
    assert report.moved == dict.fromkeys(ids, S.COMPLETED)
    assert watched.ledger.result_counts(ids) == dict.fromkeys(ids, 2)
    assert len(watched.run_pass(86400.0).asked) == 0  # nothing is left to be asked


def test_due(watched: Watched, backend: ScriptedBackend) -> None:
    """A job is asked for again when it is due."""
    (job_id,) = watched.sent(1)
    assert len(watched.run_pass().asked) == 1
    assert len(watched.run_pass().asked) == 0
    assert len(watched.run_pass(12.0).asked) == 1
    backend.report(S.COMPLETED, S.COMPLETED)
    assert watched.run_pass(3600.0).moved == {job_id: S.COMPLETED}


@pytest.mark.parametrize(
    ("error", "within_s"),
    [
        (BackendUnavailable("down"), 80.0),
        (CredentialsRejected("401"), 400.0),
        (ProtocolError("a new word"), 400.0),
        (KeyError("a mistake in an adapter"), 400.0),
    ],
)
def test_parked(watched: Watched, backend: ScriptedBackend, error: Exception, within_s: float) -> None:
    """Trouble parks jobs with the reason, said once, and they are asked for again."""
    (job_id,) = watched.sent(1)
    for _ in range(2):
        backend.troubles.append(error)
        report = watched.run_pass(within_s)
        assert list(report.trouble) == ["fake"]
    job = watched.ledger.job(job_id)
    assert str(error) in str(job.trouble)
    assert not job.status.is_final
    assert [cause for _, _, cause in job_moves(watched.ledger, job_id)].count("parked") == 1  # said once
    assert len(watched.run_pass().asked) == 0
    backend.report(S.COMPLETED, S.COMPLETED)
    assert watched.run_pass(within_s).moved == {job_id: S.COMPLETED}
    assert watched.ledger.job(job_id).trouble is None


def test_moving_queue(ledger: Ledger) -> None:
    """When a queue moves, its foremost jobs are asked for soon."""
    backend = ScriptedBackend(poll_interval_s=(1.0, 1200.0))
    watched = Watched(ledger, backend)
    ids = watched.sent(5)
    for remote, place in zip(backend.jobs.values(), (1, 2, 3, 4, 60), strict=True):
        remote.place = place
    watched.run_pass(60.0)
    assert watched.run_pass(5.0).asked == set(), "place 2 is left alone for half a minute"
    backend.jobs[RemoteId("remote-1")].place = None
    backend.report(S.RUNNING, S.RUNNING, of=0)
    ledger.schedule.set_next({ids[0]: None})
    assert watched.run_pass().moved == {ids[0]: S.RUNNING}
    assert watched.run_pass(3.5).asked >= {ids[1], ids[2]}
    assert ids[4] not in watched.run_pass(3.5).asked, "it is too deep in the queue to be in a hurry"


def test_fast_queue(ledger: Ledger) -> None:
    """A queue that moves fast is caught up with in some passes."""
    backend = ScriptedBackend(poll_interval_s=(1.0, 1200.0))
    watched = Watched(ledger, backend)
    ids = watched.sent(60)
    for place, remote in enumerate(backend.jobs.values(), start=1):
        remote.place = place
    watched.run_pass(60.0)
    for n in range(60):
        backend.report(S.COMPLETED, S.COMPLETED, of=n)
    passes = 1
    while not all(ledger.job(job_id).status.is_final for job_id in ids):
        watched.run_pass(30.0 if passes == 1 else 3.5)  # the first of them is due when its place says so
        passes += 1
    assert passes <= 6, "the last of them were to be asked for in ten minutes"
    assert ledger.result_counts(ids) == dict.fromkeys(ids, 2)


def test_due_together(ledger: Ledger) -> None:
    """Jobs deep in a queue come due together."""
    backend = ScriptedBackend(poll_interval_s=(1.0, 1200.0))
    watched = Watched(ledger, backend)
    watched.clock.elapsed_s = 7.0
    ids = [create(ledger, f"deep-{n}") for n in range(6)]
    for n, job_id in enumerate(ids):
        watched.clock.elapsed_s += 5.0 * n
        qjobs.submit(ledger, backend, job_id, now=watched.clock.now)
    watched.run_pass(86400.0)
    for job_id in ids[:3]:  # asked for at another moment
        ledger.schedule.set_next({job_id: None})
    watched.run_pass(20.0)
    due = {job.next_poll_at for job in ledger.jobs()}
    assert len(due) <= 2
    pauses_s = [(at - watched.clock.now()).total_seconds() for at in due]
    assert all(900 - 20 <= pause <= 1200 for pause in pauses_s)


def test_retry_after(watched: Watched, backend: ScriptedBackend) -> None:
    """Retry-After is kept."""
    watched.sent(1)
    backend.troubles.append(BackendUnavailable("slow down", retry_after_s=900.0))
    watched.run_pass()
    assert len(watched.run_pass(850.0).asked) == 0
    assert len(watched.run_pass(250.0).asked) == 1


def test_bad_provider(ledger: Ledger) -> None:
    """A provider in trouble, or a name that stands for none, stops no other."""
    good, bad = ScriptedBackend(name="good"), ScriptedBackend(name="bad")
    watched = Watched(ledger, good, bad)
    (fine,), (poor,) = watched.sent(1, "good"), watched.sent(1, "bad")
    good.report(S.COMPLETED, S.COMPLETED)
    bad.troubles.append(BackendUnavailable("down"))
    report = watched.run_pass()
    assert (watched.status(fine), watched.status(poor)) == (S.COMPLETED, S.SUBMITTED)
    assert set(report.trouble) == {"bad"}
    del watched.backends["bad"]
    assert "there is no backend" in watched.run_pass(100.0).trouble["bad"]


def test_bad_row(ledger: Ledger) -> None:
    """One bad row stops no other; it is found by halves."""

    class Picky(ScriptedBackend):
        def status(self, remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Snapshot]:
            if RemoteId("remote-5") in remote_ids:
                self.asked.append(tuple(remote_ids))
                raise ProtocolError("the status of remote-5 is no status")
            return super().status(remote_ids)

    picky = Picky()
    watched = Watched(ledger, picky)
    ids = watched.sent(16)
    for n in range(16):
        picky.report(S.COMPLETED, S.COMPLETED, of=n)
    watched.run_pass()
    assert [job_id for job_id in ids if watched.status(job_id) is not S.COMPLETED] == [ids[4]]
    assert "remote-5" in str(ledger.job(ids[4]).trouble)
    assert len(picky.asked) <= 10  # by halves, not one by one


@pytest.mark.parametrize("lookup", [FINDABLE, OPAQUE])
@pytest.mark.parametrize("exists", [True, False])
def test_unknown(ledger: Ledger, lookup: Lookup, exists: bool) -> None:
    """UNKNOWN jobs are looked up where their provider can be asked."""
    backend = ScriptedBackend(lookup)
    watched = Watched(ledger, backend)
    job_id = create(ledger)
    backend.faults.append(Fault(SubmissionUnknown("gone"), "after" if exists else "before"))
    with pytest.raises((BackendUnavailable, SubmissionUnknown)):
        qjobs.submit(ledger, backend, job_id, now=watched.clock.now)
    watched.run_pass()
    found = exists and lookup is FINDABLE
    assert watched.status(job_id) is (S.QUEUED if found else S.UNKNOWN)
    assert bool(ledger.job(job_id).trouble) == (not found)
    assert bool(watched.run_pass(60.0).asked) == found
    assert len(backend.jobs) == exists


def test_stray_of_unknown(ledger: Ledger) -> None:
    """A remote job that is to be cancelled is so, though a person has to decide about its job."""
    backend = ScriptedBackend(OPAQUE)
    watched = Watched(ledger, backend)
    job_id = create(ledger)
    backend.faults.append(Fault(SubmissionUnknown("gone"), "after"))
    with pytest.raises(SubmissionUnknown):
        qjobs.submit(ledger, backend, job_id, now=watched.clock.now)
    ledger.strays.record(job_id, RemoteId("remote-1"), why="its sender woke up late", now=watched.clock.now())
    watched.run_pass()
    assert (watched.status(job_id), backend.jobs[RemoteId("remote-1")].cancels) == (S.UNKNOWN, 1)


def test_cancellation(watched: Watched, backend: ScriptedBackend) -> None:
    """A cancellation is passed on and confirmed."""
    (job_id,) = watched.sent(1)
    watched.ledger.request_cancel(job_id, now=watched.clock.now())
    assert watched.run_pass().moved == {job_id: S.CANCELLED}
    assert backend.jobs[RemoteId("remote-1")].cancels == 1


def test_late_results(watched: Watched, backend: ScriptedBackend) -> None:
    """Results that come late are stored by a later pass."""
    (job_id,) = watched.sent(1)
    backend.report(S.COMPLETED, S.COMPLETED)
    backend.jobs[RemoteId("remote-1")].late = True
    watched.run_pass()
    assert (watched.status(job_id), "no results yet" in str(watched.ledger.job(job_id).trouble)) == (S.COMPLETED, True)
    backend.jobs[RemoteId("remote-1")].late = False
    watched.run_pass(100.0)
    assert watched.ledger.result_counts([job_id]) == {job_id: 2}
    assert watched.ledger.job(job_id).trouble is None


def test_dead_submitter(watched: Watched, ledger: Ledger) -> None:
    """A submission whose lease ran out becomes UNKNOWN."""
    job_id = create(ledger)
    sending(ledger, claim(ledger, job_id))
    watched.run_pass(LEASE_S + 1)
    assert watched.status(job_id) is S.UNKNOWN


@pytest.mark.parametrize("status", [S.SUBMITTED, S.QUEUED, S.RUNNING, S.CANCELLING])
@pytest.mark.parametrize("age_s", [0.0, 1.0, 60.0, 3600.0, 1e7])
@pytest.mark.parametrize("place", [None, 1, 3, 4, 100, 10**6])
def test_pause_bounds(status: JobStatus, age_s: float, place: int | None) -> None:
    """Every pause is within its bounds."""
    assert 2.0 <= pause_s(status, age_s, place, (2.0, 1e9)) <= 1200.0
    assert pause_s(status, age_s, place, (0.05, 1.0)) <= 1.0
    near = pause_s(S.QUEUED, age_s, 1, (2.0, 1200.0))
    assert near <= pause_s(S.QUEUED, age_s, 50, (2.0, 1200.0))
