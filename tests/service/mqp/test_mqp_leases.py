"""Leases: marks of dispatch, and the jobs of schedulers that have died."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from mqp_parts import ROOT, Parts, a_dead_owner, a_hamiltonian, a_job, claimed, ids, now_of

from qjobs.errors import JobNotFound, StaleJob
from qjobs.service.mqp import jobs
from qjobs.service.mqp.jobs import CircuitJob, Kind, MqpStatus, Reason, using


@pytest.fixture(scope="session")
def dead() -> str:
    """The name of a process that has ended."""
    return a_dead_owner()


@pytest.fixture
def other() -> Iterator[str]:
    """The name of another process that lives."""
    code = (
        "import sys; from qjobs.ledger.liveness import lease_owner; print(lease_owner(), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield process.stdout.readline().strip()
        process.stdin.close()


def claimed_as(parts: Parts, owner: str) -> CircuitJob:
    """A job that another process has."""
    parts.owner = owner
    job = claimed()
    parts.owner = None
    return job


def test_dead_gives_back(parts: Parts, dead: str) -> None:
    """A job that a dead process never sent is PENDING again, as if nobody had had it, and is claimed anew."""
    job = claimed_as(parts, dead)
    reaped = jobs.reap()
    assert (ids(reaped.requeued), reaped.dispatched, reaped.unproved) == ([job.id], [], [])
    again = now_of(job)
    assert (again.status, again.reason, again.claimed_by) == (MqpStatus.PENDING, Reason.CLAIMANT_DEAD, None)
    assert again.timestamp_scheduled is None
    assert ids(jobs.fetch_all_pending_jobs()) == [job.id]


def test_dead_hamiltonian(parts: Parts, dead: str) -> None:
    """Hamiltonian jobs of a dead process go back too."""
    a_hamiltonian()
    parts.owner = dead
    (job,) = jobs.fetch_all_pending_hamiltonian_jobs()
    assert ids(jobs.reap().requeued) == [job.id]
    assert now_of(job).status == MqpStatus.PENDING


def test_sent_is_told(parts: Parts, dead: str) -> None:
    """A job that a dead process had sent stays as it is, and is told at each pass until it is taken over."""
    parts.owner = dead
    job = claimed()
    jobs.mark_dispatched(job.id, "remote-1")
    parts.owner = None
    for _ in range(2):
        reaped = jobs.reap()
        assert (reaped.requeued, ids(reaped.dispatched)) == ([], [job.id])
    found = now_of(job)
    assert (found.status, found.remote, found.claimed_by) == (MqpStatus.WAITING, "remote-1", dead)
    adopted = jobs.adopt_job(job.id)
    assert (adopted.status, adopted.remote) == (MqpStatus.WAITING, "remote-1")
    assert jobs.reap().dispatched == []


def test_one_adopts(parts: Parts, dead: str) -> None:
    """Of many that adopt a job, one gets it."""
    parts.owner = dead
    job = claimed()
    jobs.mark_dispatched(job.id)
    parts.owner = None
    outcomes: list[str] = []

    def work() -> None:
        with using(parts.database):
            try:
                jobs.adopt_job(job.id)
            except StaleJob:
                outcomes.append("late")
            else:
                outcomes.append("adopted")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["adopted", "late", "late", "late"]


def test_adopt_refused(parts: Parts, dead: str, other: str) -> None:
    """What was never sent, is final, or has a claimant that lives, is not adopted."""
    unsent = claimed_as(parts, dead)
    theirs = claimed_as(parts, other)
    for job in (unsent, theirs, a_job("bob")):
        with pytest.raises(StaleJob):
            jobs.adopt_job(job.id)
    with pytest.raises(JobNotFound):
        jobs.adopt_job(10**6)


def test_living_keeps(parts: Parts, other: str) -> None:
    """A job of a process that lives is left alone, however long it has had it."""
    job = claimed_as(parts, other)
    parts.later(days=30)
    reaped = jobs.reap()
    assert (reaped.requeued, reaped.dispatched, reaped.unproved) == ([], [], [])
    assert now_of(job) == job


@pytest.mark.parametrize("owner", ["elsewhere:1:1 boot/1/2/abc/99", "elsewhere:1:1"])
def test_unproved_is_left(parts: Parts, owner: str) -> None:
    """A job of a process of which nothing is proved is told and left; who knows more gives it back."""
    job = claimed_as(parts, owner)
    reaped = jobs.reap()
    assert (reaped.requeued, ids(reaped.unproved)) == ([], [job.id])
    assert now_of(job) == job
    jobs.release_job(job.id)
    assert now_of(job).status == MqpStatus.PENDING


def test_final_is_not_reaped(parts: Parts, dead: str) -> None:
    """A final job of a dead process is left alone."""
    job = claimed_as(parts, dead)
    jobs.fail_job(job.id, "broken")
    assert jobs.reap().requeued == []
    assert now_of(job).status == MqpStatus.FAILED


def test_mark_adds_the_name(parts: Parts) -> None:
    """A mark keeps the moment of the first call, and the name of the last one that had one."""
    job = claimed()
    parts.later(seconds=3)
    jobs.mark_dispatched(job.id)
    first = now_of(job)
    parts.later(seconds=3)
    jobs.mark_dispatched(job.id, "remote-1")
    jobs.mark_dispatched(job.id)
    found = now_of(job)
    assert (found.dispatched_at, found.remote) == (first.dispatched_at, "remote-1")
    assert first.dispatched_at is not None


def test_mark_from_another_thread(parts: Parts) -> None:
    """Another thread of the process that claimed may send."""
    job = claimed()

    def work() -> None:
        with using(parts.database):
            jobs.mark_dispatched(job.id, "remote-1")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert now_of(job).remote == "remote-1"


def test_mark_refused(parts: Parts, other: str) -> None:
    """Only the process that has a job may mark it: what was given back or taken by another is not sent."""
    theirs = claimed_as(parts, other)
    pending = a_job("bob")
    given_back = claimed("bob")
    jobs.release_job(given_back.id)
    final = claimed("bob")
    jobs.cancel_job(final.id, "enough")
    for job in (theirs, pending, given_back, final):
        with pytest.raises(StaleJob):
            jobs.mark_dispatched(job.id)
        assert now_of(job).dispatched_at is None
    with pytest.raises(JobNotFound):
        jobs.mark_dispatched(theirs.id, kind=Kind.HAMILTONIAN)


def test_release(parts: Parts) -> None:
    """A job that was not sent can be given back; one that was, or that nobody has, cannot."""
    job = claimed()
    jobs.release_job(job.id)
    found = now_of(job)
    assert (found.status, found.reason, found.claimed_by) == (MqpStatus.PENDING, Reason.RELEASED, None)
    with pytest.raises(StaleJob):
        jobs.release_job(job.id)
    (job,) = jobs.fetch_all_pending_jobs()
    jobs.mark_dispatched(job.id)
    with pytest.raises(StaleJob, match="sent"):
        jobs.release_job(job.id)


def test_few_statements_to_reap(parts: Parts, dead: str) -> None:
    """A pass over many jobs of dead processes takes a handful of statements."""
    for _ in range(3):
        for name in ("ada", "bob"):
            for target in ("Q5", "Q20"):
                a_job(name, target)
    parts.owner = dead
    assert len(jobs.fetch_all_pending_jobs()) == 8
    parts.owner = None
    with parts.statements() as asked:
        assert len(jobs.reap().requeued) == 8
    assert len(asked) <= 5
