"""When each job is polled next, and which pass of a sensor holds it until then."""

from __future__ import annotations

from datetime import datetime

import pytest
from support import NOW, a_spec, at, claim, create, ended_owner, observe, raw, report, sent, unsettled, whole

from qjobs.ledger import Ledger, tables
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId, RemoteId

S = JobStatus
LEASE_S = 120.0


@pytest.fixture
def ids(ledger: Ledger) -> list[JobId]:
    """Six jobs that the provider has."""
    ids = ledger.create([a_spec(f"key-{n}") for n in range(6)], now=NOW)
    for job_id in ids:
        ledger.submissions.accept(claim(ledger, job_id), RemoteId(f"remote of {job_id}"), now=NOW)
    return ids


def claimed(ledger: Ledger, owner: str = "one", *, limit: int = 99, now: datetime = NOW) -> list[JobId]:
    jobs = ledger.schedule.claim_due(now=now, lease_s=LEASE_S, limit=limit, owner=owner)
    return [job.job_id for job in jobs]


def test_due(ledger: Ledger) -> None:
    """Due are open jobs, and final ones whose results are still to be fetched; not what was never sent."""
    create(ledger, "unsent")
    unknown, _ = unsettled(ledger, S.UNKNOWN, key="unknown")
    queued, _ = sent(ledger, "queued", "remote-1")
    done, attempt = sent(ledger, "done", "remote-2")
    observe(ledger, done, attempt.number, whole(S.COMPLETED), now=NOW)
    assert set(claimed(ledger)) == {unknown, queued, done}
    ledger.schedule.set_next({done: None, queued: at(10), unknown: at(20)})
    assert claimed(ledger, now=at(9)) == []
    assert claimed(ledger, now=at(20)) == [queued, unknown], "the longest due comes first"


def test_shared(ledger: Ledger, ids: list[JobId]) -> None:
    """Two passes share the jobs, and a lease that runs out frees them."""
    first = claimed(ledger, "one", limit=4)
    second = claimed(ledger, "two", limit=4)
    assert sorted(first + second) == sorted(ids)
    assert claimed(ledger, "three") == []
    assert sorted(claimed(ledger, "three", now=at(LEASE_S + 1))) == sorted(ids)


def test_ended_owner(ledger: Ledger, ids: list[JobId]) -> None:
    """What a process held that is proved to have ended is free at once."""
    held = claimed(ledger, ended_owner(), limit=4)
    ledger.schedule.set_next({held[0]: at(50)})  # it got so far
    assert sorted(claimed(ledger)) == sorted(set(ids) - {held[0]})


def test_new_pass(ledger: Ledger, ids: list[JobId]) -> None:
    """What an earlier pass of the same process held is free when the next begins."""
    assert len(claimed(ledger)) == 6
    assert claimed(ledger, "two") == []
    assert len(claimed(ledger)) == 6
    ledger.schedule.set_next(dict.fromkeys(ids, at(50)))
    assert claimed(ledger) == []


def test_clock_set_back(ledger: Ledger) -> None:
    """A job is not forgotten when the clock is set back after its next poll was set."""
    job_id, _ = sent(ledger)
    ledger.schedule.set_next({job_id: at(86_400)})
    assert claimed(ledger) == [job_id]


def test_trouble(ledger: Ledger, ids: list[JobId]) -> None:
    """What was in the way of a poll is kept until the next one."""
    ledger.schedule.set_next({ids[0]: at(50)}, trouble="429")
    assert [ledger.job(job_id).trouble for job_id in ids[:2]] == ["429", None]
    ledger.schedule.set_next({ids[0]: at(60)})
    ledger.schedule.set_next({})
    assert (ledger.job(ids[0]).trouble, ledger.job(ids[0]).next_poll_at) == (None, at(60))


def test_bring_forward(ledger: Ledger, ids: list[JobId]) -> None:
    """The foremost of a device's queue are polled earlier; not what is held, had trouble or is due before."""
    for place, job_id in enumerate(ids, start=1):
        observe(ledger, job_id, ledger.attempts(job_id)[0].number, report(S.QUEUED, S.QUEUED), now=NOW)
        ledger.record_queue_positions({job_id: place})
    held, troubled, soon, second, third, last = ids
    ledger.schedule.set_next(dict.fromkeys(ids, at(50)))
    ledger.schedule.set_next({held: NOW})
    assert claimed(ledger) == [held]
    ledger.schedule.set_next({troubled: at(50)}, trouble="429")
    ledger.schedule.set_next({soon: at(1)})
    ledger.schedule.bring_forward("fake", "another device", foremost=99, at=at(2))
    ledger.schedule.bring_forward("fake", "device", foremost=5, at=at(3))
    due = {held: at(LEASE_S), troubled: at(50), soon: at(1), second: at(3), third: at(3), last: at(50)}
    assert {job.job_id: job.next_poll_at for job in ledger.jobs()} == due


def test_many(ledger: Ledger) -> None:
    """More jobs than one list of values takes are claimed and scheduled at once."""
    ids = ledger.create([a_spec(f"k{n}", n_items=1) for n in range(600)], now=NOW)
    raw(ledger, tables.JOB.update().values(status=S.QUEUED))
    assert len(claimed(ledger, limit=999)) == 600
    ledger.schedule.set_next(dict.fromkeys(ids, at(5)))
    assert {job.next_poll_at for job in ledger.jobs()} == {at(5)}
