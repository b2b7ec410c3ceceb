"""Reports that do not count yet: final words that are taken back, jobs that are not known, items that never end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scripted import ScriptedBackend
from support import (
    NOW,
    all_of,
    at,
    check_history,
    claim,
    counts,
    create,
    item_statuses,
    job_moves,
    observe,
    report,
    sent,
    whole,
)

import qjobs
from qjobs.backends.base import Snapshot
from qjobs.ledger import Ledger
from qjobs.ledger.judgement import GRACE_S
from qjobs.lifecycle import FINAL, REOPENS, UNDER_WAY, JobStatus
from qjobs.model import Attempt, Confirmation, JobId, RemoteId

S = JobStatus
TWICE = Confirmation(revocable=frozenset({S.ERROR, S.CANCELLED, S.COMPLETED}), times=2, apart_s=30.0)
PATIENT = Confirmation(absent_times=3, lost_apart_s=20.0)


class Reports:
    """Reports of one job, each at its second."""

    def __init__(self, ledger: Ledger, **values: object) -> None:
        self.ledger = ledger
        self.job_id, self.attempt = sent(ledger, **values)

    def say(self, snapshot: Snapshot | None, seconds: float, **values: object) -> JobStatus:
        after = observe(self.ledger, self.job_id, self.attempt.number, snapshot, now=at(seconds), **values)
        check_history(self.ledger, self.job_id)
        return after

    @property
    def items(self) -> list[JobStatus]:
        return item_statuses(self.ledger, self.job_id)

    @property
    def known(self) -> Attempt:
        return self.ledger.attempts(self.job_id)[self.attempt.number - 1]

    @property
    def n_events(self) -> int:
        return len(self.ledger.events(self.job_id))


@pytest.fixture
def reports(ledger: Ledger) -> Reports:
    return Reports(ledger)


@pytest.mark.parametrize("of_items", [False, True])
@pytest.mark.parametrize("word", [S.ERROR, S.CANCELLED])
def test_taken_back(reports: Reports, word: JobStatus, of_items: bool) -> None:
    """A final word that may be taken back moves nothing until it was said often enough, far enough apart."""
    says = report(word, word, message="m") if of_items else whole(word, "m")
    reports.say(whole(S.QUEUED), 0)
    n_events = reports.n_events
    assert reports.say(says, 10, confirm=TWICE) is S.QUEUED
    known = reports.known
    assert (known.awaited, known.awaited_since, known.awaited_times) == (word, at(10), 1)
    assert str(word) in known.message
    assert reports.say(says, 39, confirm=TWICE) is S.QUEUED
    assert reports.known.awaited_times == 1
    assert reports.say(says, 40, confirm=TWICE) is S.QUEUED
    assert reports.say(whole(S.QUEUED), 60, confirm=TWICE) is S.QUEUED
    assert (reports.known.awaited, reports.known.awaited_at, reports.known.awaited_times) == (None, None, 0)
    assert reports.n_events == n_events
    for seconds in (70, 100):
        assert reports.say(says, seconds, confirm=TWICE) is S.QUEUED
    assert reports.items == [S.QUEUED, S.QUEUED]
    assert reports.say(says, 130, confirm=TWICE) is word
    assert reports.items == [word, word]
    assert (reports.known.status, reports.known.awaited) == (word, None)


def test_completed_is_not_taken_back(reports: Reports) -> None:
    """What is COMPLETED counts at once, whatever else has to be confirmed."""
    assert reports.say(report(S.COMPLETED, S.ERROR), 0, confirm=TWICE) is S.RUNNING
    assert reports.items == [S.COMPLETED, S.SUBMITTED]
    assert reports.say(report(S.COMPLETED, S.RUNNING), 10, confirm=TWICE) is S.RUNNING
    assert reports.say(whole(S.COMPLETED), 20, confirm=TWICE) is S.COMPLETED


def test_item_taken_back(reports: Reports) -> None:
    """An item's final word counts as little while its job is open, and once the job's counts."""
    assert reports.say(report(S.ERROR, S.RUNNING), 0, confirm=TWICE) is S.RUNNING
    assert reports.items == [S.SUBMITTED, S.RUNNING]
    reports.say(report(S.RUNNING, S.RUNNING), 10, confirm=TWICE)
    reports.say(report(S.ERROR, S.TERMINATED), 20, confirm=replace(TWICE, times=0))
    assert reports.items == [S.ERROR, S.TERMINATED]


def test_another_word(reports: Reports) -> None:
    """Another final word is counted from its own first time."""
    reports.say(whole(S.ERROR), 0, confirm=TWICE)
    reports.say(whole(S.ERROR), 30, confirm=TWICE)
    reports.say(whole(S.CANCELLED), 60, confirm=TWICE)
    assert (reports.known.awaited, reports.known.awaited_times) == (S.CANCELLED, 1)
    assert reports.say(whole(S.TERMINATED), 90, confirm=TWICE) is S.TERMINATED


def test_lost(reports: Reports) -> None:
    """A job that its provider does not know is LOST after several answers, and says since when."""
    reports.say(report(S.COMPLETED, S.RUNNING), 0)
    n_events = reports.n_events
    for seconds in (10, 20, 30, 49):
        assert reports.say(None, seconds, confirm=PATIENT) is S.RUNNING
    assert (reports.known.awaited, reports.known.awaited_since, reports.known.awaited_times) == (S.LOST, at(10), 2)
    assert "does not know remote-1" in reports.known.message
    assert reports.n_events == n_events
    assert reports.say(None, 50, confirm=PATIENT) is S.LOST
    assert (reports.known.status, reports.items) == (S.LOST, [S.COMPLETED, S.LOST])
    job = reports.ledger.job(reports.job_id)
    assert (job.finished_at, "3 answers since 2025-03-01 12:00:10" in job.message) == (None, True)
    assert job_moves(reports.ledger, reports.job_id)[-1] == (S.RUNNING, S.LOST, "lost")
    before = all_of(reports.ledger, reports.job_id)
    assert reports.say(None, 99, confirm=PATIENT) is S.LOST
    assert all_of(reports.ledger, reports.job_id) == before


def test_not_lost(reports: Reports) -> None:
    """An answer that knows the job begins the count anew, and a job that is over is not LOST."""
    for seconds in (0, 20):
        reports.say(None, seconds, confirm=PATIENT)
    reports.say(whole(S.QUEUED), 30)
    assert reports.known.awaited is None
    for seconds in (40, 60):
        assert reports.say(None, seconds, confirm=PATIENT) is S.QUEUED
    reports.say(whole(S.COMPLETED), 70)
    for seconds in (80, 100, 120):
        assert reports.say(None, seconds, confirm=PATIENT) is S.COMPLETED


def lose(reports: Reports) -> None:
    for seconds in (0, 20, 40):
        reports.say(None, seconds, confirm=PATIENT)
    assert reports.known.status is S.LOST


@pytest.mark.parametrize("by_item", [False, True])
@pytest.mark.parametrize("said", sorted(UNDER_WAY | FINAL))
def test_found_again(reports: Reports, said: JobStatus, by_item: bool) -> None:
    """A LOST job of which its provider tells again goes on."""
    if by_item:
        reports.say(report(S.QUEUED, S.QUEUED), 0)
    lose(reports)
    assert reports.say(whole(said), 60) is said
    assert reports.items == [said, said]
    assert reports.known.status is said


@pytest.mark.parametrize("said", [S.RUNNING, S.COMPLETED, S.ERROR])
def test_found_after_a_second_one(reports: Reports, said: JobStatus) -> None:
    """A LOST job that is alive after all, once another was sent, is to be cancelled, and is told."""
    ledger, job_id = reports.ledger, reports.job_id
    lose(reports)
    again = claim(ledger, job_id, S.LOST, now=at(50))
    reports.say(whole(said), 60)
    ledger.submissions.accept(again, RemoteId("remote-2"), now=at(70))
    for seconds in (80, 90):
        assert reports.say(whole(said), seconds) is S.SUBMITTED
    assert reports.known.status is (S.LOST if said is S.RUNNING else said)
    strays = [stray.remote_id for stray in ledger.strays.pending()]
    expected = {S.RUNNING: ["remote-1"], S.COMPLETED: [], S.ERROR: []}
    assert strays == expected[said]
    assert [event.cause for event in ledger.events(job_id)].count("late report") == 1


def test_completed_after_a_second_one(reports: Reports) -> None:
    """A LOST job that has its results after all makes the younger one a second job for the same circuits."""
    ledger, job_id = reports.ledger, reports.job_id
    lose(reports)
    ledger.submissions.accept(claim(ledger, job_id, S.LOST, now=at(50)), RemoteId("remote-2"), now=at(70))
    reports.say(whole(S.COMPLETED), 80)
    (stray,) = ledger.strays.pending()
    assert stray.remote_id == "remote-2"
    assert "attempt 2" in stray.why


@pytest.mark.parametrize("items", [None, [0, 1]])
def test_cancel_lost(reports: Reports, items: list[int] | None) -> None:
    """A LOST job whose cancellation is requested is CANCELLED: nothing is alive there as far as anybody knows."""
    reports.say(report(S.RUNNING, S.RUNNING), 0)
    lose(reports)
    if items:
        reports.ledger.request_cancel(reports.job_id, items=items[:1], now=at(90))
        assert (reports.ledger.job(reports.job_id).status, reports.items) == (S.LOST, [S.CANCELLED, S.LOST])
    job = reports.ledger.request_cancel(reports.job_id, items=items, now=at(90))
    assert (job.status, job.finished_at, reports.items) == (S.CANCELLED, at(90), [S.CANCELLED, S.CANCELLED])
    assert reports.known.status is S.CANCELLED
    check_history(reports.ledger, reports.job_id)


def test_two_routes(ledger: Ledger) -> None:
    """A list without items and a report with them, in turn, write no event that is no move."""
    reports = Reports(ledger, n_items=300)
    told = report(*[S.COMPLETED] * 100, *[S.RUNNING] * 100, *[S.QUEUED] * 100)
    reports.say(told, 0)
    n_events = reports.n_events
    before = ledger.items(reports.job_id)
    for second in range(8):
        assert reports.say(whole(S.QUEUED), second) is S.RUNNING
        assert reports.say(told, second) is S.RUNNING
    assert reports.n_events == n_events
    assert ledger.items(reports.job_id) == before
    assert reports.known.by_item


def test_place_of_the_whole(reports: Reports) -> None:
    """A report without items still tells the place in the queue."""
    reports.say(report(S.COMPLETED, S.QUEUED), 0)
    reports.say(whole(S.QUEUED, queue_position=7), 1)
    assert [item.queue_position for item in reports.ledger.items(reports.job_id)] == [None, 7]


@pytest.mark.parametrize("said", sorted(FINAL))
def test_end_without_items(reports: Reports, said: JobStatus) -> None:
    """A final report without items ends the open ones, and leaves the others as they were told."""
    reports.say(report(S.CANCELLED, S.RUNNING), 0)
    reports.say(whole(said), 1)
    assert reports.items == [S.CANCELLED, said]


@pytest.mark.parametrize("said", sorted(FINAL))
def test_items_that_never_end(reports: Reports, said: JobStatus) -> None:
    """The open items of a job that is final end with it after ten minutes, with a reason."""
    unended = replace(report(S.COMPLETED, S.QUEUED), status=said)
    assert reports.say(unended, 0) is S.RUNNING
    assert "has not ended 1 of its items" in reports.known.message
    reports.say(whole(S.RUNNING), 100)  # a list that is late does not stop the clock
    assert reports.say(unended, GRACE_S - 1) is S.RUNNING
    after = S.ERROR if said is S.COMPLETED else said
    assert reports.say(unended, GRACE_S) is after
    assert reports.items == [S.COMPLETED, after]
    message = reports.ledger.items(reports.job_id)[1].message
    assert message == f"the job is {said} and its provider never ended this item"
    n_events = reports.n_events
    assert reports.say(unended, GRACE_S + 60, asked_again=True) is after
    assert reports.n_events == n_events


def test_items_that_end_late(reports: Reports) -> None:
    """Items that end within those ten minutes end as they are told, and their time is counted apart."""
    unended = replace(report(S.ERROR, S.QUEUED), status=S.ERROR)
    reports.say(unended, 0, confirm=TWICE)
    for seconds in (100, 130):
        assert reports.say(report(S.ERROR, S.ERROR), seconds, confirm=TWICE) is S.QUEUED
    assert reports.known.awaited_times == 2
    assert reports.say(report(S.ERROR, S.ERROR), 160, confirm=TWICE) is S.ERROR


@pytest.mark.parametrize("of_items", [False, True])
@pytest.mark.parametrize("said", [*sorted(UNDER_WAY), S.COMPLETED])
@pytest.mark.parametrize("old", sorted(REOPENS))
def test_alive_again(reports: Reports, old: JobStatus, said: JobStatus, of_items: bool) -> None:
    """A job that is alive again is reopened when it was asked for on purpose, and is a contradiction otherwise."""
    reports.say(whole(old), 0)
    says = report(said, said) if of_items else whole(said)
    if (old, said) != (S.CANCELLED, S.COMPLETED):
        for seconds in (1, 2):
            assert reports.say(says, seconds) is old
        causes = [event.cause for event in reports.ledger.events(reports.job_id)]
        assert (causes.count("contradiction"), causes.count("alive again")) == (1, 0)
    assert reports.say(says, 3, asked_again=True) is said
    assert reports.items == [said, said]
    job = reports.ledger.job(reports.job_id)
    assert (job.finished_at is None, job.cancel_requested_at) == (not said.is_final, None)
    if said is not S.COMPLETED:
        assert job_moves(reports.ledger, reports.job_id)[-1] == (old, said, "alive again")


def test_cancelled_twice(store: Ledger) -> None:
    """What is queued again while its cancellation is being confirmed is cancelled again by the poll that sees it."""
    backend = ScriptedBackend(confirm=TWICE)
    job_id = create(store, "key")
    qjobs.submit(store, backend, job_id, now=lambda: NOW)
    (remote_id,) = backend.jobs
    qjobs.cancel(store, backend, job_id, now=lambda: NOW)
    cancels = []
    said = [
        (1, S.CANCELLED),
        (40, S.CANCELLED),
        (50, S.QUEUED),
        (60, S.CANCELLED),
        (100, S.CANCELLED),
        (140, S.CANCELLED),
    ]
    for seconds, status in said:
        backend.report(status, status)
        qjobs.poll(store, backend, [job_id], now=lambda seconds=seconds: at(seconds))
        cancels.append(backend.jobs[remote_id].cancels)
    assert (cancels, store.job(job_id).status) == ([1, 1, 2, 3, 3, 3], S.CANCELLED)


def test_items_alive_again(reports: Reports) -> None:
    """Of a job that is alive again the COMPLETED items stay, and those that failed are open."""
    reports.say(report(S.COMPLETED, S.ERROR), 0)
    reports.ledger.store_results(reports.job_id, reports.attempt, {0: counts(b0=1)}, now=NOW)
    assert reports.say(report(S.QUEUED, S.QUEUED), 1, asked_again=True) is S.RUNNING
    assert reports.items == [S.COMPLETED, S.QUEUED]
    assert reports.say(report(S.COMPLETED, S.ERROR), 2) is S.ERROR
    assert reports.say(whole(S.RUNNING), 3, asked_again=True) is S.RUNNING
    assert reports.items == [S.COMPLETED, S.RUNNING]


def test_open_job_asked_again(reports: Reports) -> None:
    """A failed item of an open job is not reopened by a report that does not tell of it."""
    reports.say(report(S.ERROR, S.RUNNING), 0)
    reports.say(whole(S.RUNNING), 1, asked_again=True)
    assert reports.items == [S.ERROR, S.RUNNING]
    reports.say(report(S.QUEUED, S.RUNNING), 2, asked_again=True)
    assert reports.items == [S.QUEUED, S.RUNNING]


@pytest.mark.parametrize("new_epoch", [False, True])
@pytest.mark.parametrize("settled_by", [None, "accept", "reject"])
def test_alive_beside_another(reports: Reports, settled_by: str | None, new_epoch: bool) -> None:
    """An older attempt is never reopened beside a newer one."""
    ledger, job_id = reports.ledger, reports.job_id
    reports.say(whole(S.ERROR), 0)
    again = claim(ledger, job_id, S.ERROR, new_epoch=new_epoch, now=at(1))
    if settled_by:
        getattr(ledger.submissions, settled_by)(again, RemoteId("remote-2"), now=at(1))
    status = ledger.job(job_id).status
    assert reports.say(whole(S.RUNNING), 2, asked_again=True) is status
    assert reports.known.status is S.ERROR


def test_alive_after_one_that_was_not_sent(reports: Reports) -> None:
    """An attempt that was never sent stands in no way."""
    ledger, job_id = reports.ledger, reports.job_id
    reports.say(whole(S.ERROR), 0)
    ledger.submissions.release(claim(ledger, job_id, S.ERROR, now=at(1)), "no route", now=at(1))
    assert reports.say(whole(S.RUNNING), 2, asked_again=True) is S.RUNNING


def test_no_result(ledger: Ledger) -> None:
    """Results that never come are written down once, with the reason, until their items are sent again."""
    job_id, attempt = sent(ledger, n_items=4)
    observe(ledger, job_id, attempt.number, report(*[S.COMPLETED] * 3, S.ERROR), now=NOW)
    ledger.store_results(job_id, attempt, {0: counts(b0=1)}, now=NOW)
    assert (ledger.awaited_items(job_id), ledger.missing_items(job_id)) == ((1, 2), (1, 2, 3))
    reasons = {0: "gone", 1: "410: gone", 3: "410: gone"}
    assert ledger.settle_missing(job_id, attempt, reasons, now=at(1)) == 2
    assert ledger.settle_missing(job_id, attempt, reasons, now=at(2)) == 0
    assert [item.no_result for item in ledger.items(job_id)] == [None, "410: gone", None, "410: gone"]
    assert (ledger.awaited_items(job_id), ledger.missing_items(job_id)) == ((2,), (1, 2, 3))
    events = [event.detail for event in ledger.events(job_id) if event.cause == "no result"]
    assert events == ["2 of 4 items will never have a result: 410: gone"]
    check_history(ledger, job_id)
    claim(ledger, job_id, S.ERROR, items=(3,))
    assert [item.no_result for item in ledger.items(job_id)] == [None, "410: gone", None, None]


def test_no_result_of_an_older_epoch(ledger: Ledger) -> None:
    """What is said of results before all began anew is not said of the new ones."""
    job_id, attempt = sent(ledger)
    observe(ledger, job_id, attempt.number, whole(S.COMPLETED), now=NOW)
    ledger.settle_missing(job_id, attempt, {0: "gone"}, now=at(1))
    claim(ledger, job_id, S.COMPLETED, new_epoch=True)
    assert ledger.settle_missing(job_id, attempt, {1: "gone"}, now=at(2)) == 0
    assert [item.no_result for item in ledger.items(job_id)] == [None, None]


def test_lost_is_due(ledger: Ledger) -> None:
    """A LOST job is polled on."""
    reports = Reports(ledger)
    lose(reports)
    create(ledger, "unsent")

    def due(seconds: float) -> list[JobId]:
        jobs = ledger.schedule.claim_due(now=at(seconds), lease_s=60.0, limit=9, owner="one")
        return [job.job_id for job in jobs]

    assert due(50) == [reports.job_id]
    ledger.schedule.set_next({reports.job_id: at(3600)})
    assert due(3599) == []
    assert due(3600) == [reports.job_id]
