"""What providers report of jobs: every move is recorded once, and final stays final."""

from __future__ import annotations

from itertools import pairwise

import pytest
from support import (
    NOW,
    all_of,
    at,
    check_history,
    claim,
    counts,
    item_statuses,
    job_moves,
    observe,
    report,
    sent,
    unsettled,
    whole,
)

from qjobs.backends.base import ItemSnapshot, Snapshot
from qjobs.errors import ProtocolError, StaleJob
from qjobs.ledger import Ledger
from qjobs.ledger import ledger as ledger_module
from qjobs.ledger.provider_reports import Report
from qjobs.lifecycle import FINAL, JobStatus
from qjobs.model import JobId, RemoteId

S = JobStatus


def test_report(ledger: Ledger) -> None:
    """A report moves items, attempt and job, with its words, places, times and costs."""
    job_id, attempt = sent(ledger)
    done = ItemSnapshot(status=S.COMPLETED, cost=1.5, times={S.RUNNING: at(3), S.COMPLETED: at(4)})
    waiting = ItemSnapshot(status=S.QUEUED, queue_position=3, message="in line", times={S.QUEUED: at(2)})
    snapshot = Snapshot(status=S.RUNNING, remote_status="busy", message="half", items=(done, waiting))
    assert observe(ledger, job_id, attempt.number, snapshot, now=at(5)) is S.RUNNING
    first, second = ledger.items(job_id)
    assert (first.status, first.cost, second.status, second.queue_position) == (S.COMPLETED, 1.5, S.QUEUED, 3)
    assert (first.times[S.RUNNING], first.times[S.COMPLETED], second.times[S.QUEUED]) == (at(3), at(4), at(2))
    assert second.message == "in line"
    (known,) = ledger.attempts(job_id)
    assert (known.status, known.remote_status, known.message) == (S.RUNNING, "busy", "half")
    assert (ledger.job(job_id).cost, ledger.job(job_id).message) == (1.5, "half")
    failed = ItemSnapshot(status=S.ERROR, message="boom", error_detail="trace", cost=0.5)
    snapshot = Snapshot(status=S.ERROR, remote_status="failed", items=(done, failed))
    assert observe(ledger, job_id, attempt.number, snapshot, now=at(8)) is S.ERROR
    job = ledger.job(job_id)
    assert (job.status, job.finished_at, job.cost) == (S.ERROR, at(8), 2.0)
    second = ledger.items(job_id)[1]
    assert (second.error_detail, second.message) == ("trace", "boom")
    assert ledger.attempts(job_id)[0].finished_at == at(8)
    of_items = [(event.index, event.old, event.new) for event in ledger.events(job_id) if event.index is not None]
    assert of_items == [(0, S.SUBMITTED, S.COMPLETED), (1, S.SUBMITTED, S.QUEUED), (1, S.QUEUED, S.ERROR)]
    check_history(ledger, job_id)


def test_same_report_again(ledger: Ledger) -> None:
    """A report that brings nothing new writes nothing."""
    job_id, attempt = sent(ledger)
    for snapshot in (whole(S.QUEUED, "m"), whole(S.RUNNING), whole(S.COMPLETED)):
        observe(ledger, job_id, attempt.number, snapshot, now=at(1))
        before = all_of(ledger, job_id)
        observe(ledger, job_id, attempt.number, snapshot, now=at(2))
        assert all_of(ledger, job_id) == before


def test_queue_positions(ledger: Ledger) -> None:
    """A place in the queue is recorded at the items that are QUEUED, and a job is where its foremost item is."""
    job_id, attempt = sent(ledger, n_items=3)
    observe(ledger, job_id, attempt.number, report(S.COMPLETED, S.QUEUED, S.QUEUED), now=at(1))
    assert ledger.queue_positions([job_id]) == {}
    ledger.record_queue_positions({job_id: 7, JobId("unheard-of"): 1})
    ledger.record_queue_positions({})
    assert [item.queue_position for item in ledger.items(job_id)] == [None, 7, 7]
    placed = ItemSnapshot(status=S.QUEUED, queue_position=4)
    items = (ItemSnapshot(status=S.COMPLETED), ItemSnapshot(status=S.QUEUED), placed)
    snapshot = Snapshot(status=S.RUNNING, remote_status="theirs", items=items, queue_position=5)
    observe(ledger, job_id, attempt.number, snapshot, now=at(2))
    assert [item.queue_position for item in ledger.items(job_id)] == [None, 5, 4]
    assert ledger.queue_positions([job_id]) == {job_id: 4}


@pytest.mark.parametrize("old", sorted(FINAL))
@pytest.mark.parametrize("of_items", [False, True])
def test_final_is_final(ledger: Ledger, old: JobStatus, of_items: bool) -> None:
    """A later report against a final status changes nothing and is an event."""
    job_id, attempt = sent(ledger)
    observe(ledger, job_id, attempt.number, whole(old), now=NOW)
    before = all_of(ledger, job_id)[:3]
    denied = [new for new in JobStatus if new is not old and (old, new) != (S.CANCELLED, S.COMPLETED)]
    for new in denied:
        snapshot = report(new, new) if of_items else whole(new)
        assert observe(ledger, job_id, attempt.number, snapshot, now=at(9)) is old
    assert all_of(ledger, job_id)[:3] == before
    events = ledger.events(job_id)[-len(denied) :]
    for event, new in zip(events, denied, strict=True):
        assert (event.cause, event.old, event.new, event.index) == ("contradiction", old, old, None)
        assert str(new) in event.detail
    check_history(ledger, job_id)


@pytest.mark.parametrize("of_items", [False, True])
def test_completed_wins(ledger: Ledger, of_items: bool) -> None:
    """COMPLETED wins over a cancellation that lost the race."""
    job_id, attempt = sent(ledger)
    ledger.request_cancel(job_id, now=NOW)
    observe(ledger, job_id, attempt.number, whole(S.CANCELLED), now=at(1))
    assert ledger.job(job_id).finished_at == at(1)
    snapshot = report(S.COMPLETED, S.COMPLETED) if of_items else whole(S.COMPLETED)
    assert observe(ledger, job_id, attempt.number, snapshot, now=at(2)) is S.COMPLETED
    assert item_statuses(ledger, job_id) == [S.COMPLETED, S.COMPLETED]
    assert ledger.attempts(job_id)[0].status is S.COMPLETED
    assert job_moves(ledger, job_id)[-1] == (S.CANCELLED, S.COMPLETED, "poll")
    check_history(ledger, job_id)


def test_completed_item_wins(ledger: Ledger) -> None:
    """COMPLETED wins item by item, and no other status does."""
    job_id, attempt = sent(ledger)
    observe(ledger, job_id, attempt.number, report(S.CANCELLED, S.CANCELLED), now=NOW)
    assert observe(ledger, job_id, attempt.number, report(S.COMPLETED, S.ERROR), now=NOW) is S.CANCELLED
    assert item_statuses(ledger, job_id) == [S.COMPLETED, S.CANCELLED]
    assert ledger.events(job_id)[-1].index == 0
    check_history(ledger, job_id)


def test_contradicted_item(ledger: Ledger) -> None:
    """A report against a final item is recorded once and keeps its attempt from nothing: a replica may be stale."""
    job_id, attempt = sent(ledger)
    observe(ledger, job_id, attempt.number, report(S.ERROR, S.RUNNING), now=NOW)
    for _ in range(3):
        assert observe(ledger, job_id, attempt.number, report(S.RUNNING, S.RUNNING), now=NOW) is S.RUNNING
    recorded = [event for event in ledger.events(job_id) if event.cause == "contradiction"]
    assert [(event.index, event.old, event.new) for event in recorded] == [(0, S.ERROR, S.ERROR)]
    assert observe(ledger, job_id, attempt.number, report(S.RUNNING, S.COMPLETED), now=NOW) is S.ERROR
    assert ledger.attempts(job_id)[0].status is S.ERROR
    check_history(ledger, job_id)


@pytest.mark.parametrize("n_items", [2, 4])
def test_wrong_number_of_items(ledger: Ledger, n_items: int) -> None:
    """A report with another number of items than were sent is refused."""
    job_id, attempt = sent(ledger, n_items=3)
    before = all_of(ledger, job_id)
    with pytest.raises(ProtocolError, match=f"{n_items} items of remote-1 and 3 were sent"):
        observe(ledger, job_id, attempt.number, report(*[S.COMPLETED] * n_items), now=NOW)
    assert all_of(ledger, job_id) == before


def test_many_reports(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many reports at once are recorded as one by one, and a bad one keeps no other from it."""
    monkeypatch.setattr(ledger_module, "_REPORTS_TOGETHER", 3)
    ids = [sent(ledger, f"key-{n}", f"remote-{n}", n_items=1)[0] for n in range(8)]
    attempts = ledger.last_attempts(ids)
    snapshots = {job_id: whole(S.QUEUED if n % 2 else S.COMPLETED) for n, job_id in enumerate(ids)}
    snapshots[ids[7]] = report(S.QUEUED, S.QUEUED)  # it has one item
    reports = [Report(job_id=each, number=attempts[each].number, snapshot=snapshots[each]) for each in reversed(ids)]
    written, failures = ledger.record_reports(reports, now=at(1))
    assert "2 items of remote-7 and 1 were sent" in str(failures[ids[7]])
    assert written == {job_id: snapshots[job_id].status for job_id in ids[:7]}
    assert {job.job_id: job.status for job in ledger.jobs()} == {**written, ids[7]: S.SUBMITTED}
    assert job_moves(ledger, ids[0])[-1] == (S.SUBMITTED, S.COMPLETED, "poll")
    assert job_moves(ledger, ids[7])[-1][1] is S.SUBMITTED
    assert ledger.record_reports([], now=at(2)) == ({}, {})


@pytest.mark.parametrize("status", [S.SUBMITTING, S.UNKNOWN])
def test_no_remote_id(ledger: Ledger, status: JobStatus) -> None:
    """No report can be about an attempt that has no remote id."""
    job_id, attempt = unsettled(ledger, status)
    with pytest.raises(StaleJob, match="no remote id"):
        observe(ledger, job_id, attempt.number, whole(S.RUNNING), now=NOW)
    check_history(ledger, job_id)


@pytest.mark.parametrize("new_epoch", [False, True])
@pytest.mark.parametrize("first", [S.CANCELLED, S.ERROR])
@pytest.mark.parametrize("late", [S.QUEUED, S.COMPLETED, S.CANCELLED, S.ERROR])
def test_late_report(ledger: Ledger, first: JobStatus, late: JobStatus, new_epoch: bool) -> None:
    """A report of an attempt that a later one replaced leaves the job and its items alone."""
    job_id, attempt = sent(ledger)
    observe(ledger, job_id, attempt.number, whole(first), now=NOW)
    again = claim(ledger, job_id, first, new_epoch=new_epoch)

    def check() -> None:
        before = (ledger.job(job_id), ledger.items(job_id))
        for snapshot in (whole(late), report(late, late)):
            assert observe(ledger, job_id, attempt.number, snapshot, now=NOW) is before[0].status
            assert (ledger.job(job_id), ledger.items(job_id)) == before
        check_history(ledger, job_id)

    check()
    ledger.submissions.accept(again, RemoteId("remote-2"), now=NOW)
    check()
    if (first, late) == (S.CANCELLED, S.COMPLETED):
        assert ledger.attempts(job_id)[0].status is S.COMPLETED
        assert "late report" in {event.cause for event in ledger.events(job_id)}
        assert ledger.store_results(job_id, attempt, {0: counts(b00=1)}, now=NOW) == 1
        assert ledger.results(job_id, epoch=1) == {0: counts(b00=1)}


def test_words_that_cannot_be_stored(ledger: Ledger) -> None:
    """Text that a database cannot store does not stop a poll."""
    job_id, attempt = sent(ledger)
    bad = ItemSnapshot(status=S.ERROR, message="nul \x00", error_detail="half \ud800 pair")
    snapshot = Snapshot(status=S.ERROR, remote_status="\x00", message="\udfff and \x00", items=(bad, bad))
    assert observe(ledger, job_id, attempt.number, snapshot, now=NOW) is S.ERROR
    assert ledger.job(job_id).message == "? and "
    assert ledger.items(job_id)[0].error_detail == "half ? pair"


def test_item_chains(ledger: Ledger) -> None:
    """The events of an item follow one another without a gap."""
    job_id, attempt = sent(ledger)
    for statuses in ((S.QUEUED, S.RUNNING), (S.RUNNING, S.RUNNING), (S.QUEUED, S.COMPLETED), (S.ERROR, S.COMPLETED)):
        observe(ledger, job_id, attempt.number, report(*statuses), now=NOW)
    for item in ledger.items(job_id):
        chain = [event for event in ledger.events(job_id) if event.index == item.index]
        assert chain[0].old is S.SUBMITTED
        assert all(after.old is before.new for before, after in pairwise(chain))
        assert chain[-1].new is item.status
