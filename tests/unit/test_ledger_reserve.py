"""Ids that a provider gives before anything runs, ids that come too late, and the remote jobs that nobody claims."""

from __future__ import annotations

import pytest
from support import (
    LEASE_S,
    NOW,
    all_of,
    at,
    check_history,
    claim,
    create,
    ended_owner,
    item_statuses,
    job_moves,
    observe,
    sending,
    sent,
    unsettled,
    whole,
)

from qjobs.errors import StaleJob
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Attempt, JobId, RemoteId

S = JobStatus
R = RemoteId("r")


@pytest.fixture
def reserved(ledger: Ledger) -> tuple[JobId, Attempt]:
    """A job of which the provider gave an id, and of which nothing runs."""
    job_id = create(ledger)
    ledger.submissions.reserve(claim(ledger, job_id), R, now=at(1))
    return job_id, ledger.attempts(job_id)[0]


def strays(ledger: Ledger) -> list[tuple[str, str]]:
    return [(stray.remote_id, stray.why) for stray in ledger.strays.pending()]


def test_reserve(ledger: Ledger, reserved: tuple[JobId, Attempt]) -> None:
    """A reserved id is written at once, moves nothing, and is accepted when the job runs."""
    job_id, known = reserved
    assert (known.status, known.remote_id, known.sent_at, known.accepted_at) == (S.SUBMITTING, R, None, None)
    assert known.is_reserved
    assert job_moves(ledger, job_id)[-1] == (S.SUBMITTING, S.SUBMITTING, "reserved")
    before = all_of(ledger, job_id)
    ledger.submissions.reserve(known, R, now=at(2))
    observe(ledger, job_id, known.number, whole(S.QUEUED), now=at(2))
    observe(ledger, job_id, known.number, None, now=at(2))
    assert all_of(ledger, job_id) == before
    sending(ledger, known, now=at(3))
    ledger.submissions.accept(known, R, now=at(4))
    (after,) = ledger.attempts(job_id)
    assert (after.status, after.sent_at, after.accepted_at) == (S.SUBMITTED, at(3), at(4))
    check_history(ledger, job_id)


def test_report_before_the_reply(ledger: Ledger, reserved: tuple[JobId, Attempt]) -> None:
    """A reserved job that is reported before its submission returns is not taken for another."""
    job_id, known = reserved
    sending(ledger, known, now=at(2))
    observe(ledger, job_id, known.number, whole(S.RUNNING), now=at(3))
    ledger.submissions.accept(known, R, now=at(4))
    assert ledger.job(job_id).status is S.RUNNING
    assert strays(ledger) == []
    check_history(ledger, job_id)


def test_abandon(ledger: Ledger, reserved: tuple[JobId, Attempt]) -> None:
    """A reservation that was abandoned leaves an attempt that was never sent."""
    job_id, known = reserved
    ledger.submissions.release(known, "abandoned", now=at(3))
    (after,) = ledger.attempts(job_id)
    assert (after.status, after.sent_at, after.is_reserved) == (S.CANCELLED, None, False)
    assert ledger.job(job_id).status is S.CREATED
    check_history(ledger, job_id)


def test_take_over(ledger: Ledger, reserved: tuple[JobId, Attempt]) -> None:
    """A process goes on with what another one reserved and left, and that one cannot send it any more."""
    job_id, left = reserved

    def take_over() -> Attempt:
        return ledger.submissions.take_over(left, owner="another", lease_s=LEASE_S, now=at(99))

    with pytest.raises(StaleJob, match="cannot be gone on with"):
        take_over()
    ledger.submissions.expire_leases(now=at(LEASE_S + 1))
    taken = take_over()
    assert (taken.status, taken.remote_id, taken.lease_owner) == (S.SUBMITTING, R, "another")
    with pytest.raises(StaleJob, match="lost its lease"):
        sending(ledger, left, now=at(100))
    with pytest.raises(StaleJob):
        take_over()
    ledger.submissions.accept(sending(ledger, taken, now=at(100)), R, now=at(101))
    assert ledger.job(job_id).status is S.SUBMITTED
    check_history(ledger, job_id)


@pytest.mark.parametrize("verb", ["accept", "reserve"])
@pytest.mark.parametrize("settled_by", ["accept", "reject", "release"])
def test_late_id(ledger: Ledger, settled_by: str, verb: str) -> None:
    """A remote id that comes after the attempt was settled moves nothing, and is to be cancelled."""
    job_id, attempt = unsettled(ledger)
    getattr(ledger.submissions, settled_by)(attempt, "first", now=NOW)
    before = (ledger.job(job_id), ledger.attempts(job_id))
    for _ in range(2):
        with pytest.raises(StaleJob, match="late-id") as caught:
            getattr(ledger.submissions, verb)(attempt, RemoteId("late-id"), now=NOW)
    assert caught.value.job_id == job_id
    assert (ledger.job(job_id), ledger.attempts(job_id)) == before
    assert strays(ledger) == [("late-id", "late id of attempt 1")]
    (event,) = [event for event in ledger.events(job_id) if event.cause == "stray"]
    assert "late-id" in event.detail
    check_history(ledger, job_id)


def test_late_id_of_another_attempt(ledger: Ledger) -> None:
    """A provider that deduplicates gives one id to both attempts: the job that counts is not cancelled."""
    job_id, first = unsettled(ledger)
    ledger.submissions.release(first, "not found", now=NOW)
    ledger.submissions.accept(claim(ledger, job_id), R, now=NOW)
    with pytest.raises(StaleJob):
        ledger.submissions.accept(first, R, now=at(1))
    assert strays(ledger) == []
    assert ledger.events(job_id)[-1].cause == "contradiction"


def test_second_id(ledger: Ledger, reserved: tuple[JobId, Attempt]) -> None:
    """A second id for one attempt is a second remote job."""
    job_id, known = reserved
    with pytest.raises(StaleJob):
        ledger.submissions.reserve(known, RemoteId("other"), now=at(2))
    assert strays(ledger) == [("other", "late id of attempt 1")]
    assert ledger.attempts(job_id)[0].remote_id == R


def test_strays(ledger: Ledger) -> None:
    """A stray is recorded once, listed with its job until it is ended, and both are events."""
    job_id, _ = sent(ledger)
    other, _ = sent(ledger, "other", "remote-2")
    assert ledger.strays.record(job_id, RemoteId("s"), why="found Bearer abcdefghijkl", now=at(1))
    assert not ledger.strays.record(job_id, RemoteId("s"), why="again", now=at(2))
    (stray,) = ledger.strays.pending()
    assert (stray.job_id, stray.remote_id, stray.found_at, stray.ended_at) == (job_id, "s", at(1), None)
    assert "abcdefghijkl" not in stray.why
    assert ledger.strays.pending([other]) == []
    for _ in range(2):
        ledger.strays.end(stray, outcome="cancelled", now=at(3))
    assert ledger.strays.pending([job_id]) == []
    assert not ledger.strays.record(job_id, RemoteId("s"), why="again", now=at(4))
    events = [event.detail for event in ledger.events(job_id) if event.cause == "stray"]
    assert [detail.split()[0] for detail in events] == ["s", "s:"]
    check_history(ledger, job_id)


def test_due_for_a_stray(ledger: Ledger) -> None:
    """A final job is polled on for its stray, and no run waits for that."""
    job_id, attempt = sent(ledger)
    observe(ledger, job_id, attempt.number, whole(S.ERROR), now=NOW)
    ledger.waits.register("run", [job_id], until="all", now=NOW)
    ledger.schedule.set_next({job_id: None})

    def due(now: object) -> list[JobId]:
        return [job.job_id for job in ledger.schedule.claim_due(now=now, lease_s=60.0, limit=9, owner="one")]

    assert due(at(1)) == []
    ledger.strays.record(job_id, RemoteId("s"), why="late", now=at(1))
    assert due(at(2)) == [job_id]
    assert [run.is_over for run in ledger.waits.runs()] == [True]
    ledger.strays.end(ledger.strays.pending()[0], outcome="cancelled", now=at(3))
    ledger.schedule.set_next({job_id: None})
    assert due(at(3)) == []


def test_wait_of_another(ledger: Ledger) -> None:
    """A job that another run waits for is known, suspended or not, until that run's process is proved to have ended."""
    ids = [create(ledger, name) for name in "abcd"]
    ledger.waits.register("suspended", ids[:1], until="all", now=NOW)
    ledger.waits.register("inline", ids[1:2], until="room", now=NOW, held_by="elsewhere:1:1")
    ledger.waits.register("ended", ids[2:3], until="all", now=NOW, held_by=ended_owner())
    assert ledger.waits.jobs_of_others(ids, "mine") == set(ids[:2])
    assert ledger.waits.jobs_of_others(ids, "inline") == {ids[0]}
    assert [run.flow_run_id for run in ledger.waits.runs()] == ["suspended"]
    ledger.waits.register("r" * 200, [], until="all", now=NOW)


def test_release_of_a_lost_job(ledger: Ledger) -> None:
    """A LOST attempt that a person gives up leaves its open items to be sent again."""
    job_id, attempt = sent(ledger)
    for seconds in (0, 1800, 3600):
        observe(ledger, job_id, attempt.number, None, now=at(seconds))
    assert ledger.job(job_id).status is S.LOST
    ledger.submissions.release(attempt, "given up", now=at(3700), cause="discarded")
    assert (ledger.job(job_id).status, item_statuses(ledger, job_id)) == (S.CREATED, [S.CREATED, S.CREATED])
    assert job_moves(ledger, job_id)[-1] == (S.LOST, S.CREATED, "discarded")
    assert ledger.attempts(job_id)[0].remote_id == "remote-1"
    check_history(ledger, job_id)


def test_released_and_running(ledger: Ledger, reserved: tuple[JobId, Attempt]) -> None:
    """A reserved job that runs after its attempt was given up is to be cancelled."""
    _, known = reserved
    ledger.submissions.release(known, "abandoned", now=at(2))
    with pytest.raises(StaleJob):
        ledger.submissions.accept(known, R, now=at(3))
    assert strays(ledger) == [(R, "late id of attempt 1")]
