"""The ledger's verbs on both databases; tests/property drives them at random and at the same time."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import subprocess
import traceback
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from support import (
    LEASE_S,
    NOW,
    a_program,
    a_spec,
    an_item,
    at,
    check_history,
    claim,
    counts,
    create,
    job_moves,
    observe,
    raw,
    report,
    sent,
    whole,
)

from qjobs.backends.base import ItemSnapshot, Snapshot
from qjobs.errors import (
    Busy,
    InvalidInput,
    JobNotFound,
    LedgerSchemaMismatch,
    LedgerUnavailable,
    ProtocolError,
    StaleJob,
    StorageFull,
)
from qjobs.ledger import Ledger, tables
from qjobs.ledger import ledger as ledger_module
from qjobs.ledger.provider_reports import Report
from qjobs.lifecycle import FINAL, LIVE, JobStatus
from qjobs.model import ExecuteOptions, ItemResult, JobId, Observable, RemoteId, RemoteRetryStrategy

CREATED, SUBMITTING, UNKNOWN = JobStatus.CREATED, JobStatus.SUBMITTING, JobStatus.UNKNOWN
SUBMITTED, QUEUED, RUNNING = JobStatus.SUBMITTED, JobStatus.QUEUED, JobStatus.RUNNING
COMPLETED, CANCELLED, ERROR = JobStatus.COMPLETED, JobStatus.CANCELLED, JobStatus.ERROR
UNSETTLED_WAYS = ["SUBMITTING", "UNKNOWN"]


def statuses_of(ledger: Ledger, job_id: JobId) -> list[JobStatus]:
    return [item.status for item in ledger.items(job_id)]


def unsettled(ledger: Ledger, way: str, **values: object) -> tuple[JobId, object]:
    """A job whose attempt nobody has settled, SUBMITTING or UNKNOWN."""
    job_id = create(ledger, **values)
    attempt = claim(ledger, job_id)
    if way == "UNKNOWN":
        ledger.submissions.mark_unknown(attempt, "no reply", now=NOW)
    return job_id, attempt


# create


def test_a_created_job_reads_back(ledger: Ledger) -> None:
    options = ExecuteOptions(seed=7, observables=(Observable(name="zz", terms=(("ZZ", 0.5), ("XI", -1.25))),))
    spec = a_spec(n_items=3, experiment="sweep", options=options, properties={"a": [1, 2.5, None, {"b": True}]})
    items = (replace(spec.batch.items[0], parameters=(("θ", 0.1), ("b", -2.0))), *spec.batch.items[1:])
    spec = replace(spec, batch=replace(spec.batch, items=items), cost_estimate=1.5, project="p", owner="o")
    job_id = ledger.create([spec], now=NOW)[0]
    job = ledger.job(job_id)
    assert (job.key, job.status, job.epoch, job.n_items) == (spec.key, CREATED, 1, 3)
    assert (job.backend, job.device, job.name) == (spec.backend, spec.device, spec.name)
    assert (job.experiment, job.run, job.project, job.owner) == ("sweep", "run", "p", "o")
    assert (job.options, job.properties, job.cost_estimate) == (options, spec.properties, 1.5)
    assert (job.created_at, job.finished_at, job.cancel_requested_at) == (NOW, None, None)
    read = ledger.items(job_id)
    assert [item.index for item in read] == [0, 1, 2]
    assert [item.label for item in read] == ["item-0", "item-1", "item-2"]
    assert read[0].parameters == (("θ", 0.1), ("b", -2.0))
    assert all(item.times == {CREATED: NOW} for item in read)
    assert ledger.programs([a_program().hash]) == {a_program().hash: a_program()}
    assert ledger.attempts(job_id) == []
    assert ledger.missing_items(job_id) == (0, 1, 2)
    check_history(ledger, job_id)


def test_create_is_idempotent_by_key(ledger: Ledger) -> None:
    first = ledger.create([a_spec("a"), a_spec("b")], now=NOW)
    again = ledger.create([a_spec("b"), a_spec("c"), a_spec("a")], now=at(5))
    assert again[0] == first[1]
    assert again[2] == first[0]
    assert len(set(again)) == 3
    assert len(ledger.jobs()) == 3
    assert ledger.job(first[0]).created_at == NOW
    for job_id in again:
        assert len(ledger.events(job_id)) == 1
        assert len(ledger.items(job_id)) == 2


def test_create_leaves_a_job_that_has_moved_alone(ledger: Ledger) -> None:
    job_id, _ = sent(ledger, "a")
    assert ledger.create([a_spec("a")], now=at(5)) == [job_id]
    assert ledger.job(job_id).status is SUBMITTED


def test_the_same_key_twice_in_one_call_is_refused(ledger: Ledger) -> None:
    with pytest.raises(InvalidInput, match="the same"):
        ledger.create([a_spec("a"), a_spec("a")], now=NOW)
    assert ledger.jobs() == []


def test_nothing_to_create(ledger: Ledger) -> None:
    assert ledger.create([], now=NOW) == []


def test_ten_thousand_items_in_one_transaction(ledger: Ledger) -> None:
    programs = [a_program(f"program {n}") for n in range(100)]
    items = tuple(an_item(f"item-{n}", program=programs[n % 100]) for n in range(10_000))
    small = a_spec()
    batch = replace(small.batch, items=items, programs={program.hash: program for program in programs})
    job_id = ledger.create([replace(small, batch=batch)], now=NOW)[0]
    read = ledger.items(job_id)
    assert [item.label for item in read] == [item.label for item in items]
    assert len(ledger.programs(program.hash for program in programs)) == 100
    attempt = claim(ledger, job_id)
    ledger.submissions.accept(attempt, RemoteId("r"), now=NOW)
    assert observe(ledger, job_id, attempt.number, report(*[COMPLETED] * 10_000), now=NOW) is COMPLETED
    attempt = ledger.attempts(job_id)[-1]
    assert ledger.store_results(job_id, attempt, dict.fromkeys(range(10_000), counts(b00=1)), now=NOW) == 10_000
    assert ledger.missing_items(job_id) == ()


def test_a_thousand_jobs_in_one_transaction(ledger: Ledger) -> None:
    ids = ledger.create([a_spec(f"k{n}", n_items=1) for n in range(1_200)], now=NOW)
    assert [job.job_id for job in ledger.jobs(job_ids=ids)] == ids
    assert ledger.create([a_spec(f"k{n}", n_items=1) for n in range(1_200)], now=NOW) == ids
    assert ledger.result_counts(ids) == dict.fromkeys(ids, 0)


def bad_shots(key: str) -> object:
    return a_spec(key, shots=-1)


def bad_label(key: str) -> object:
    spec = a_spec(key)
    return replace(spec, batch=replace(spec.batch, items=(spec.batch.items[0],) * 2))


def bad_program(key: str) -> object:
    spec = a_spec(key, program=a_program("nobody stored this"))
    return replace(spec, batch=replace(spec.batch, programs={}))


@pytest.mark.parametrize("bad", [bad_shots, bad_label, bad_program])
def test_create_is_all_or_nothing(ledger: Ledger, bad: object) -> None:
    earlier = create(ledger, "earlier", program=a_program("earlier"))
    new = a_program("new")
    with pytest.raises(IntegrityError):
        ledger.create([a_spec("a", program=new), bad("b"), a_spec("c")], now=NOW)
    assert [job.job_id for job in ledger.jobs()] == [earlier]
    assert ledger.programs([new.hash]) == {}
    with ledger._db.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(tables.EVENT)) == 1
        assert connection.scalar(sa.select(sa.func.count()).select_from(tables.ITEM)) == 2
    assert len(ledger.create([a_spec("a", program=new), a_spec("b"), a_spec("c")], now=NOW)) == 3


def test_programs_are_stored_once(ledger: Ledger) -> None:
    ledger.add_programs([a_program("a"), a_program("b")])
    ledger.add_programs([a_program("b"), a_program("c")])
    ledger.add_programs([])
    hashes = [a_program(text).hash for text in "abcd"]
    assert set(ledger.programs(hashes)) == set(hashes[:3])


# claim


def test_claim_writes_the_intent(ledger: Ledger) -> None:
    job_id = create(ledger)
    attempt = claim(ledger, job_id, owner="me", strategy=RemoteRetryStrategy.ALLOW_RESUBMIT, items=(1,), now=at(3))
    assert attempt == ledger.attempts(job_id)[0]
    assert (attempt.number, attempt.epoch, attempt.status, attempt.items) == (1, 1, SUBMITTING, (1,))
    assert (attempt.strategy, attempt.lease_owner) == (RemoteRetryStrategy.ALLOW_RESUBMIT, "me")
    assert (attempt.sent_at, attempt.lease_until) == (at(3), at(3 + LEASE_S))
    assert attempt.remote_id is None
    assert ledger.job(job_id).status is SUBMITTING
    assert job_moves(ledger, job_id) == [(None, CREATED, "plan"), (CREATED, SUBMITTING, "submit")]
    check_history(ledger, job_id)


def test_claim_with_a_stale_status_writes_nothing(ledger: Ledger) -> None:
    job_id = create(ledger)
    for expected in set(JobStatus) - {CREATED}:
        with pytest.raises(StaleJob) as caught:
            claim(ledger, job_id, expected)
        assert caught.value.job_id == job_id
    assert ledger.attempts(job_id) == []
    assert len(ledger.events(job_id)) == 1
    assert ledger.job(job_id).status is CREATED


def test_a_stale_claim_of_a_settled_job_writes_nothing(ledger: Ledger) -> None:
    """Nothing is live here, so the partial index does not help: the guard alone must."""
    job_id = create(ledger)
    ledger.submissions.reject(claim(ledger, job_id), "no", now=NOW)
    with pytest.raises(StaleJob, match="no longer CREATED"):
        claim(ledger, job_id, CREATED, new_epoch=True)
    assert len(ledger.attempts(job_id)) == 1
    assert ledger.job(job_id).epoch == 1
    check_history(ledger, job_id)


def test_a_job_has_one_live_attempt(ledger: Ledger) -> None:
    job_id = create(ledger)
    attempt = claim(ledger, job_id)
    for move in (
        lambda: None,
        lambda: ledger.submissions.mark_unknown(attempt, "lost", now=NOW),
        lambda: ledger.submissions.accept(attempt, RemoteId("r"), now=NOW),
        lambda: observe(ledger, job_id, attempt.number, whole(QUEUED), now=NOW),
        lambda: observe(ledger, job_id, attempt.number, whole(RUNNING), now=NOW),
        lambda: observe(ledger, job_id, attempt.number, whole(JobStatus.RETRYING), now=NOW),
        lambda: observe(ledger, job_id, attempt.number, whole(JobStatus.CANCELLING), now=NOW),
    ):
        move()
        for new_epoch in (False, True):
            with pytest.raises(StaleJob, match="live attempt"):
                claim(ledger, job_id, ledger.job(job_id).status, new_epoch=new_epoch)
        check_history(ledger, job_id)
    assert len(ledger.attempts(job_id)) == 1


def test_claim_of_no_job(ledger: Ledger) -> None:
    with pytest.raises(JobNotFound, match="job-0") as caught:
        claim(ledger, JobId("job-0"))
    assert caught.value.job_id == "job-0"
    with pytest.raises(JobNotFound):
        ledger.job(JobId("job-0"))
    with pytest.raises(JobNotFound):
        ledger.request_cancel(JobId("job-0"), now=NOW)
    assert ledger.results(JobId("job-0")) == {}


def test_the_devices_limit_of_live_jobs(ledger: Ledger) -> None:
    ids = ledger.create([a_spec(f"k{n}") for n in range(4)], now=NOW)
    elsewhere = ledger.create([a_spec("x", device="other"), a_spec("y", backend="other")], now=NOW)
    first = claim(ledger, ids[0], max_live_jobs=2)
    claim(ledger, ids[1], max_live_jobs=2)
    with pytest.raises(Busy, match="has 2 live jobs and takes 2") as caught:
        claim(ledger, ids[2], max_live_jobs=2)
    assert caught.value.job_id == ids[2]
    assert caught.value.retry_after_s > 0
    assert ledger.attempts(ids[2]) == []
    for job_id in elsewhere:
        claim(ledger, job_id, max_live_jobs=2)
    ledger.submissions.reject(first, "no", now=NOW)
    claim(ledger, ids[2], max_live_jobs=2)
    claim(ledger, ids[3])


def test_an_unknown_job_counts_as_live(ledger: Ledger) -> None:
    ids = ledger.create([a_spec("a"), a_spec("b")], now=NOW)
    ledger.submissions.mark_unknown(claim(ledger, ids[0]), "lost", now=NOW)
    with pytest.raises(Busy):
        claim(ledger, ids[1], max_live_jobs=1)


def test_a_new_epoch_starts_all_anew_and_keeps_what_was(ledger: Ledger) -> None:
    job_id, attempt = sent(ledger)
    observe(ledger, job_id, attempt.number, report(COMPLETED, ERROR), now=NOW)
    ledger.store_results(job_id, attempt, {0: counts(b00=5)}, now=NOW)
    anew = claim(ledger, job_id, ERROR, new_epoch=True, strategy=RemoteRetryStrategy.FULL_RESTART, now=at(9))
    job = ledger.job(job_id)
    assert (anew.number, anew.epoch, job.epoch, job.status, job.finished_at) == (2, 2, 2, SUBMITTING, None)
    assert statuses_of(ledger, job_id) == [CREATED, CREATED]
    assert all(set(item.times) == {CREATED} for item in ledger.items(job_id))
    assert ledger.results(job_id) == {}
    assert ledger.missing_items(job_id) == (0, 1)
    assert ledger.result_counts([job_id]) == {job_id: 0}
    assert ledger.results(job_id, epoch=1) == {0: counts(b00=5)}
    ledger.submissions.accept(anew, RemoteId("remote-2"), now=at(9))
    ledger.store_results(job_id, anew, {0: counts(b11=7)}, now=at(9))
    assert ledger.results(job_id) == {0: counts(b11=7)}
    assert ledger.results(job_id, epoch=1) == {0: counts(b00=5)}
    check_history(ledger, job_id)


def test_only_the_missing_items_are_sent_again(ledger: Ledger) -> None:
    job_id, attempt = sent(ledger, n_items=3)
    observe(ledger, job_id, attempt.number, report(COMPLETED, ERROR, ERROR), now=NOW)
    again = claim(ledger, job_id, ERROR, items=(1, 2))
    ledger.submissions.accept(again, RemoteId("remote-2"), now=NOW)
    assert statuses_of(ledger, job_id) == [COMPLETED, SUBMITTED, SUBMITTED]
    assert observe(ledger, job_id, again.number, report(QUEUED, COMPLETED), now=NOW) is RUNNING
    assert statuses_of(ledger, job_id) == [COMPLETED, QUEUED, COMPLETED]
    assert observe(ledger, job_id, again.number, whole(COMPLETED), now=NOW) is COMPLETED
    check_history(ledger, job_id)


# settling a submission


@pytest.mark.parametrize("way", UNSETTLED_WAYS)
def test_accept(ledger: Ledger, way: str) -> None:
    job_id, attempt = unsettled(ledger, way)
    ledger.submissions.accept(attempt, RemoteId("r"), now=at(2))
    now_is = ledger.attempts(job_id)[0]
    assert (now_is.status, now_is.remote_id, now_is.accepted_at, now_is.lease_until) == (SUBMITTED, "r", at(2), None)
    assert ledger.job(job_id).status is SUBMITTED
    assert [item.times[SUBMITTED] for item in ledger.items(job_id)] == [at(2), at(2)]
    events = ledger.events(job_id)
    ledger.submissions.accept(attempt, RemoteId("r"), now=at(4))
    ledger.submissions.accept(now_is, RemoteId("r"), now=at(4))
    assert ledger.events(job_id) == events
    assert ledger.attempts(job_id)[0].accepted_at == at(2)
    check_history(ledger, job_id)


def test_a_second_remote_id_never_replaces_the_first_and_is_not_lost(ledger: Ledger) -> None:
    job_id, attempt = sent(ledger, remote_id="first")
    with pytest.raises(StaleJob, match="second") as caught:
        ledger.submissions.accept(attempt, RemoteId("second"), now=NOW)
    assert caught.value.job_id == job_id
    assert ledger.attempts(job_id)[0].remote_id == "first"
    assert "second" in ledger.events(job_id)[-1].detail
    assert ledger.events(job_id)[-1].cause == "contradiction"
    check_history(ledger, job_id)


@pytest.mark.parametrize("how", ["reject", "release"])
def test_an_id_that_comes_after_the_end_is_kept_in_the_history(ledger: Ledger, how: str) -> None:
    job_id, attempt = unsettled(ledger, "SUBMITTING")
    getattr(ledger.submissions, how)(attempt, "settled", now=NOW)
    before = ledger.job(job_id)
    with pytest.raises(StaleJob, match="late-id"):
        ledger.submissions.accept(attempt, RemoteId("late-id"), now=NOW)
    assert ledger.job(job_id) == before
    assert ledger.attempts(job_id)[0].remote_id is None
    assert "late-id" in ledger.events(job_id)[-1].detail
    check_history(ledger, job_id)


@pytest.mark.parametrize("way", UNSETTLED_WAYS)
def test_reject(ledger: Ledger, way: str) -> None:
    """Also after the lease ran out: a refusal that comes late is still the truth."""
    job_id, attempt = unsettled(ledger, way)
    ledger.submissions.reject(attempt, "qubits: 200 > 100", now=at(2))
    job, now_is = ledger.job(job_id), ledger.attempts(job_id)[0]
    assert (job.status, job.message, job.finished_at) == (ERROR, "qubits: 200 > 100", at(2))
    assert (now_is.status, now_is.message, now_is.finished_at, now_is.remote_id) == (
        ERROR,
        "qubits: 200 > 100",
        at(2),
        None,
    )
    assert now_is.sent_at == NOW
    assert statuses_of(ledger, job_id) == [ERROR, ERROR]
    assert job_moves(ledger, job_id)[-1] == (JobStatus(way), ERROR, "rejected")
    check_history(ledger, job_id)


@pytest.mark.parametrize("way", UNSETTLED_WAYS)
def test_unsend(ledger: Ledger, way: str) -> None:
    job_id, attempt = unsettled(ledger, way)
    ledger.submissions.release(attempt, "no route to host", now=at(2), cause="because")
    job, now_is = ledger.job(job_id), ledger.attempts(job_id)[0]
    assert (job.status, job.message, job.finished_at) == (CREATED, "no route to host", None)
    assert (now_is.status, now_is.sent_at, now_is.finished_at) == (CANCELLED, None, at(2))
    assert job_moves(ledger, job_id)[-1] == (JobStatus(way), CREATED, "because")
    check_history(ledger, job_id)
    assert claim(ledger, job_id).number == 2


def test_unsend_of_a_second_attempt_puts_a_failed_job_back(ledger: Ledger) -> None:
    job_id, attempt = sent(ledger)
    observe(ledger, job_id, attempt.number, report(COMPLETED, ERROR), now=NOW)
    ledger.submissions.release(claim(ledger, job_id, ERROR, items=(1,)), "no route", now=at(7))
    job = ledger.job(job_id)
    assert (job.status, job.finished_at) == (ERROR, at(7))
    assert statuses_of(ledger, job_id) == [COMPLETED, ERROR]
    check_history(ledger, job_id)


def test_a_wish_to_cancel_outlives_a_submission_that_was_never_sent(ledger: Ledger) -> None:
    job_id, attempt = unsettled(ledger, "SUBMITTING")
    ledger.request_cancel(job_id, now=at(1))
    ledger.submissions.release(attempt, "no route", now=at(2))
    job = ledger.job(job_id)
    assert (job.status, job.finished_at) == (CANCELLED, at(2))
    assert job.cancel_requested_at is not None
    assert statuses_of(ledger, job_id) == [CANCELLED, CANCELLED]
    check_history(ledger, job_id)


def test_lose(ledger: Ledger) -> None:
    job_id, attempt = unsettled(ledger, "SUBMITTING")
    ledger.submissions.mark_unknown(attempt, "502", now=at(2))
    ledger.submissions.mark_unknown(attempt, "502 again", now=at(3))
    job, now_is = ledger.job(job_id), ledger.attempts(job_id)[0]
    assert (job.status, job.message, job.finished_at) == (UNKNOWN, "502", None)
    assert (now_is.status, now_is.message, now_is.lease_until, now_is.sent_at) == (UNKNOWN, "502", None, NOW)
    assert job_moves(ledger, job_id)[-1] == (SUBMITTING, UNKNOWN, "lost reply")
    assert len(job_moves(ledger, job_id)) == 3
    check_history(ledger, job_id)


@pytest.mark.parametrize("verb", ["reject", "release", "mark_unknown"])
@pytest.mark.parametrize("settled_by", ["reject", "release", "accept", "observe"])
def test_what_is_settled_is_not_settled_again(ledger: Ledger, verb: str, settled_by: str) -> None:
    job_id, attempt = unsettled(ledger, "SUBMITTING")
    if settled_by in {"accept", "observe"}:
        ledger.submissions.accept(attempt, RemoteId("r"), now=NOW)
    if settled_by == "observe":
        observe(ledger, job_id, attempt.number, whole(COMPLETED), now=NOW)
    elif settled_by != "accept":
        getattr(ledger.submissions, settled_by)(attempt, "settled", now=NOW)
    before = (ledger.job(job_id), ledger.attempts(job_id), ledger.items(job_id), ledger.events(job_id))
    for given in (attempt, ledger.attempts(job_id)[0]):
        with pytest.raises(StaleJob):
            getattr(ledger.submissions, verb)(given, "too late", now=NOW)
    assert (ledger.job(job_id), ledger.attempts(job_id), ledger.items(job_id), ledger.events(job_id)) == before


def test_a_lease_that_ran_out_leaves_unknown(ledger: Ledger) -> None:
    ids = ledger.create([a_spec(f"k{n}") for n in range(4)], now=NOW)
    first = claim(ledger, ids[0], owner="host:1")
    claim(ledger, ids[1], lease_s=2 * LEASE_S)
    ledger.submissions.accept(claim(ledger, ids[2]), RemoteId("r"), now=NOW)
    assert ledger.submissions.expire_leases(now=at(LEASE_S)) == []
    assert ledger.submissions.expire_leases(now=at(LEASE_S + 1), job_ids=[ids[1], ids[3]]) == []
    assert ledger.submissions.expire_leases(now=at(LEASE_S + 1)) == [ids[0]]
    assert ledger.submissions.expire_leases(now=at(LEASE_S + 1)) == []
    assert [job.status for job in ledger.jobs(job_ids=ids)] == [UNKNOWN, SUBMITTING, SUBMITTED, CREATED]
    assert "host:1" in ledger.job(ids[0]).message
    assert job_moves(ledger, ids[0])[-1] == (SUBMITTING, UNKNOWN, "lease expired")
    ledger.submissions.accept(first, RemoteId("late"), now=at(LEASE_S + 2))
    assert ledger.job(ids[0]).status is SUBMITTED
    for job_id in ids:
        check_history(ledger, job_id)


# observe


def test_places_in_the_queue_are_written_on_what_is_queued(ledger: Ledger) -> None:
    job_id, attempt = sent(ledger)
    snapshot = report(COMPLETED, QUEUED)
    observe(ledger, job_id, attempt.number, snapshot, now=at(1))
    ledger.record_queue_positions({job_id: 7, JobId("unheard-of"): 1})
    ledger.record_queue_positions({})
    assert [item.queue_position for item in ledger.items(job_id)] == [None, 7]
    assert ledger.queue_positions([job_id]) == {job_id: 7}


def test_a_report_moves_items_attempt_and_job(ledger: Ledger) -> None:
    job_id, attempt = sent(ledger)
    done = ItemSnapshot(status=COMPLETED, cost=1.5, times={RUNNING: at(3), COMPLETED: at(4)})
    waiting = ItemSnapshot(status=QUEUED, queue_position=3, message="in line", times={QUEUED: at(2)})
    snapshot = Snapshot(status=RUNNING, remote_status="busy", message="half", items=(done, waiting))
    assert observe(ledger, job_id, attempt.number, snapshot, now=at(5)) is RUNNING
    first, second = ledger.items(job_id)
    assert (first.status, first.cost, second.status, second.queue_position) == (COMPLETED, 1.5, QUEUED, 3)
    assert (first.times[RUNNING], first.times[COMPLETED], second.times[QUEUED]) == (at(3), at(4), at(2))
    assert second.message == "in line"
    now_is = ledger.attempts(job_id)[0]
    assert (now_is.status, now_is.remote_status, now_is.message) == (RUNNING, "busy", "half")
    assert (ledger.job(job_id).cost, ledger.job(job_id).message) == (1.5, "half")
    failed = ItemSnapshot(status=ERROR, message="boom", error_detail="trace", cost=0.5)
    snapshot = Snapshot(status=ERROR, remote_status="failed", items=(done, failed))
    assert observe(ledger, job_id, attempt.number, snapshot, now=at(8)) is ERROR
    job = ledger.job(job_id)
    assert (job.status, job.finished_at, job.cost) == (ERROR, at(8), 2.0)
    assert (ledger.items(job_id)[1].error_detail, ledger.items(job_id)[1].message) == ("trace", "boom")
    assert ledger.attempts(job_id)[0].finished_at == at(8)
    of_items = [(event.index, event.old, event.new) for event in ledger.events(job_id) if event.index is not None]
    assert of_items == [(0, SUBMITTED, COMPLETED), (1, SUBMITTED, QUEUED), (1, QUEUED, ERROR)]
    check_history(ledger, job_id)


def test_the_same_report_again_writes_nothing(ledger: Ledger) -> None:
    job_id, attempt = sent(ledger)
    for snapshot in (whole(QUEUED, "m"), whole(RUNNING), whole(COMPLETED)):
        observe(ledger, job_id, attempt.number, snapshot, now=at(1))
        before = (ledger.job(job_id), ledger.attempts(job_id), ledger.items(job_id), ledger.events(job_id))
        observe(ledger, job_id, attempt.number, snapshot, now=at(2))
        assert (ledger.job(job_id), ledger.attempts(job_id), ledger.items(job_id), ledger.events(job_id)) == before


@pytest.mark.parametrize("old", sorted(FINAL))
@pytest.mark.parametrize("of_items", [False, True])
def test_final_is_final(ledger: Ledger, old: JobStatus, of_items: bool) -> None:
    job_id, attempt = sent(ledger)
    observe(ledger, job_id, attempt.number, whole(old), now=NOW)
    before = (ledger.job(job_id), ledger.attempts(job_id), ledger.items(job_id))
    events = len(ledger.events(job_id))
    contradictions = 0
    for new in JobStatus:
        if new is old or (old, new) == (CANCELLED, COMPLETED):
            continue
        snapshot = report(new, new) if of_items else whole(new)
        assert observe(ledger, job_id, attempt.number, snapshot, now=at(9)) is old
        contradictions += 1
        assert (ledger.job(job_id), ledger.attempts(job_id), ledger.items(job_id)) == before
        last = ledger.events(job_id)[-1]
        assert (last.cause, last.old, last.new, last.index) == ("contradiction", old, old, None)
        assert str(new) in last.detail
    assert len(ledger.events(job_id)) == events + contradictions
    check_history(ledger, job_id)


@pytest.mark.parametrize("of_items", [False, True])
def test_completed_wins_over_a_cancellation_that_lost_the_race(ledger: Ledger, of_items: bool) -> None:
    job_id, attempt = sent(ledger)
    ledger.request_cancel(job_id, now=NOW)
    observe(ledger, job_id, attempt.number, whole(CANCELLED), now=at(1))
    assert ledger.job(job_id).finished_at == at(1)
    snapshot = report(COMPLETED, COMPLETED) if of_items else whole(COMPLETED)
    assert observe(ledger, job_id, attempt.number, snapshot, now=at(2)) is COMPLETED
    assert statuses_of(ledger, job_id) == [COMPLETED, COMPLETED]
    assert ledger.attempts(job_id)[0].status is COMPLETED
    assert job_moves(ledger, job_id)[-1] == (CANCELLED, COMPLETED, "poll")
    check_history(ledger, job_id)


def test_completed_wins_item_by_item(ledger: Ledger) -> None:
    job_id, attempt = sent(ledger)
    observe(ledger, job_id, attempt.number, report(CANCELLED, CANCELLED), now=NOW)
    assert observe(ledger, job_id, attempt.number, report(COMPLETED, ERROR), now=NOW) is CANCELLED
    assert statuses_of(ledger, job_id) == [COMPLETED, CANCELLED]
    assert ledger.events(job_id)[-1].index == 0
    check_history(ledger, job_id)


def test_a_report_against_a_final_item_is_recorded_once(ledger: Ledger) -> None:
    """A stale replica tells of item 0 as RUNNING, after it failed: the attempt must not stay open for it."""
    job_id, attempt = sent(ledger)
    observe(ledger, job_id, attempt.number, report(ERROR, RUNNING), now=NOW)
    for _ in range(3):
        assert observe(ledger, job_id, attempt.number, report(RUNNING, RUNNING), now=NOW) is RUNNING
    told = [event for event in ledger.events(job_id) if event.cause == "contradiction"]
    assert [(event.index, event.old, event.new) for event in told] == [(0, ERROR, ERROR)]
    assert observe(ledger, job_id, attempt.number, report(RUNNING, COMPLETED), now=NOW) is ERROR
    assert ledger.attempts(job_id)[0].status is ERROR
    check_history(ledger, job_id)


def test_a_report_with_another_number_of_items_is_refused(ledger: Ledger) -> None:
    job_id, attempt = sent(ledger, n_items=3)
    for given in ([COMPLETED] * 2, [COMPLETED] * 4):
        with pytest.raises(ProtocolError, match=f"{len(given)} items of remote-1 and 3 were sent"):
            observe(ledger, job_id, attempt.number, report(*given), now=NOW)
    assert ledger.job(job_id).status is SUBMITTED
    assert statuses_of(ledger, job_id) == [SUBMITTED] * 3


def test_many_reports_at_once_are_written_as_one_by_one_and_a_bad_one_stops_no_other(ledger: Ledger) -> None:
    ids = [sent(ledger, f"key-{n}", f"remote-{n}", n_items=1)[0] for n in range(105)]
    attempts = ledger.last_attempts(ids)
    snapshots = {job_id: whole(QUEUED if n % 2 else COMPLETED) for n, job_id in enumerate(ids)}
    snapshots[ids[7]] = report(QUEUED, QUEUED)  # it has one item
    written, failure = ledger.record_reports(
        [Report(job_id=each, number=attempts[each].number, snapshot=snapshots[each]) for each in reversed(ids)],
        now=at(1),
    )
    assert "2 items of remote-7 and 1 were sent" in str(failure)
    assert written == {job_id: snapshots[job_id].status for n, job_id in enumerate(ids) if n != 7}
    assert {job.job_id: job.status for job in ledger.jobs()} == {**written, ids[7]: SUBMITTED}
    assert job_moves(ledger, ids[0])[-1] == (SUBMITTED, COMPLETED, "poll")
    assert job_moves(ledger, ids[7])[-1][1] is SUBMITTED
    assert ledger.record_reports([], now=at(2)) == ({}, None)


@pytest.mark.parametrize("way", UNSETTLED_WAYS)
def test_there_is_no_report_without_a_remote_id(ledger: Ledger, way: str) -> None:
    job_id, attempt = unsettled(ledger, way)
    with pytest.raises(StaleJob, match="no remote id"):
        observe(ledger, job_id, attempt.number, whole(RUNNING), now=NOW)
    check_history(ledger, job_id)


@pytest.mark.parametrize("new_epoch", [False, True])
@pytest.mark.parametrize("first", [CANCELLED, ERROR])
def test_late_reports_of_a_replaced_attempt_leave_the_job_alone(
    ledger: Ledger, first: JobStatus, new_epoch: bool
) -> None:
    """Two pollers read the same answer; one writes it only after the job was sent again."""
    for late in JobStatus:
        check_late_report(ledger, first, late, new_epoch=new_epoch)


def check_late_report(ledger: Ledger, first: JobStatus, late: JobStatus, *, new_epoch: bool) -> None:
    job_id, attempt = sent(ledger, key=late, remote_id=f"first {late}")
    observe(ledger, job_id, attempt.number, whole(first), now=NOW)
    again = claim(ledger, job_id, first, new_epoch=new_epoch)
    for settle in (lambda: None, lambda: ledger.submissions.accept(again, RemoteId(f"second {late}"), now=NOW)):
        settle()
        before, items = ledger.job(job_id), ledger.items(job_id)
        for snapshot in (whole(late), report(late, late)):
            assert observe(ledger, job_id, attempt.number, snapshot, now=NOW) is before.status
            assert ledger.job(job_id) == before
            assert ledger.items(job_id) == items
            check_history(ledger, job_id)
    if (first, late) == (CANCELLED, COMPLETED):
        assert ledger.attempts(job_id)[0].status is COMPLETED
        assert "late report" in {event.cause for event in ledger.events(job_id)}
        assert ledger.store_results(job_id, attempt, {0: counts(b00=1)}, now=NOW) == 1
        assert ledger.results(job_id, epoch=1) == {0: counts(b00=1)}


def test_text_that_a_database_cannot_store_does_not_stop_a_poll(ledger: Ledger) -> None:
    job_id, attempt = sent(ledger)
    bad = ItemSnapshot(status=ERROR, message="nul \x00", error_detail="half \ud800 pair")
    snapshot = Snapshot(status=ERROR, remote_status="\x00", message="\udfff and \x00", items=(bad, bad))
    assert observe(ledger, job_id, attempt.number, snapshot, now=NOW) is ERROR
    assert ledger.job(job_id).message == "? and "
    assert ledger.items(job_id)[0].error_detail == "half ? pair"


# results


def test_results_read_back(ledger: Ledger) -> None:
    job_id, attempt = sent(ledger, n_items=3)
    given = {
        2: ItemResult(counts={"00": 5, "11": 2**40}, duration_s=0.25),
        0: ItemResult(expvals={"zz": -0.1}),
        1: ItemResult(counts={}),
    }
    assert ledger.store_results(job_id, attempt, given, now=NOW) == 3
    assert ledger.results(job_id) == given
    assert list(ledger.results(job_id)) == [0, 1, 2]


def test_a_duplicate_result_is_not_saved(ledger: Ledger) -> None:
    job_id, attempt = sent(ledger)
    assert ledger.store_results(job_id, attempt, {0: counts(b00=1)}, now=NOW) == 1
    assert ledger.store_results(job_id, attempt, {0: counts(b11=9), 1: counts(b01=2)}, now=at(1)) == 1
    assert ledger.store_results(job_id, attempt, {}, now=at(1)) == 0
    assert ledger.results(job_id) == {0: counts(b00=1), 1: counts(b01=2)}
    observe(ledger, job_id, attempt.number, whole(ERROR), now=NOW)
    again = claim(ledger, job_id, ERROR)
    assert ledger.store_results(job_id, again, {0: counts(b11=9)}, now=at(2)) == 0
    assert ledger.results(job_id)[0] == counts(b00=1)


def test_missing_items(ledger: Ledger) -> None:
    job_id, attempt = sent(ledger, n_items=4)
    ledger.store_results(job_id, attempt, {1: counts(b0=1), 3: counts(b0=1)}, now=NOW)
    assert ledger.missing_items(job_id) == (0, 2)
    assert ledger.result_counts([job_id, JobId("job-0")]) == {job_id: 2, "job-0": 0}


# cancel


def test_a_job_that_was_never_sent_is_cancelled_at_once(ledger: Ledger) -> None:
    job_id = create(ledger)
    job = ledger.request_cancel(job_id, now=at(1))
    assert (job.status, job.finished_at, job.cancel_requested_at) == (CANCELLED, at(1), at(1))
    assert statuses_of(ledger, job_id) == [CANCELLED, CANCELLED]
    assert ledger.request_cancel(job_id, now=at(2)) == job
    check_history(ledger, job_id)


@pytest.mark.parametrize("way", [*UNSETTLED_WAYS, "SUBMITTED"])
def test_the_wish_is_a_column_and_no_status(ledger: Ledger, way: str) -> None:
    job_id = sent(ledger)[0] if way == "SUBMITTED" else unsettled(ledger, way)[0]
    job = ledger.request_cancel(job_id, now=at(1))
    assert (job.status, job.cancel_requested_at, job.finished_at) == (JobStatus(way), at(1), None)
    assert ledger.request_cancel(job_id, now=at(2)) == job
    assert [cause for _, _, cause in job_moves(ledger, job_id)].count("cancel") == 1
    check_history(ledger, job_id)


@pytest.mark.parametrize("status", sorted(FINAL))
def test_a_final_job_is_left_alone_by_a_cancel(ledger: Ledger, status: JobStatus) -> None:
    job_id, attempt = sent(ledger)
    observe(ledger, job_id, attempt.number, whole(status), now=NOW)
    before = ledger.job(job_id)
    assert ledger.request_cancel(job_id, now=at(1)) == before


def test_a_note_moves_nothing(ledger: Ledger) -> None:
    job_id, _ = sent(ledger)
    ledger.record_event(job_id, "ProtocolError", "an unknown word", now=at(1))
    assert job_moves(ledger, job_id)[-1] == (SUBMITTED, SUBMITTED, "ProtocolError")
    check_history(ledger, job_id)


# questions


def test_filters(ledger: Ledger) -> None:
    ids = ledger.create(
        [a_spec("a", experiment="e"), a_spec("b", run="other"), a_spec("c", device="d"), a_spec("d", backend="b")],
        now=NOW,
    )
    claim(ledger, ids[1])
    assert [job.job_id for job in ledger.jobs(experiment="e")] == [ids[0]]
    assert [job.job_id for job in ledger.jobs(run="other")] == [ids[1]]
    assert [job.job_id for job in ledger.jobs(device="d")] == [ids[2]]
    assert [job.job_id for job in ledger.jobs(backend="b")] == [ids[3]]
    assert [job.job_id for job in ledger.jobs(statuses=[SUBMITTING])] == [ids[1]]
    assert [job.job_id for job in ledger.open_jobs()] == [ids[1]]
    assert ledger.open_jobs(job_ids=[ids[0]]) == []
    assert ledger.jobs(statuses=[]) == []
    assert len(ledger.jobs(limit=3)) == 3
    assert [job.job_id for job in ledger.jobs(job_ids=[ids[3], JobId("job-0"), ids[0]])] == [ids[3], ids[0]]
    newest = create(ledger, "e")
    raw(ledger, tables.JOB.update().where(tables.JOB.c.job_id == newest).values(created_at=at(1)))
    assert ledger.jobs()[0].job_id == newest


def test_last_attempts(ledger: Ledger) -> None:
    job_id, attempt = sent(ledger)
    other = create(ledger, "other")
    observe(ledger, job_id, attempt.number, whole(ERROR), now=NOW)
    again = claim(ledger, job_id, ERROR)
    assert ledger.last_attempts([job_id, other]) == {job_id: again}


# what the database itself forbids


def attempt_row(job_id: JobId, number: int, status: str) -> dict[str, object]:
    return {"job_id": job_id, "number": number, "epoch": 1, "strategy": "DEFAULT", "status": status}


def test_the_database_forbids_a_second_live_attempt(ledger: Ledger) -> None:
    job_id, _ = sent(ledger)
    for second in LIVE:
        with pytest.raises(IntegrityError):
            raw(ledger, tables.ATTEMPT.insert(), attempt_row(job_id, 2, second))
    with pytest.raises(IntegrityError):
        raw(ledger, tables.ATTEMPT.insert(), attempt_row(job_id, 1, "ERROR"))
    raw(ledger, tables.ATTEMPT.insert(), attempt_row(job_id, 2, "ERROR"))
    for second in LIVE:
        with pytest.raises(IntegrityError):
            raw(ledger, tables.ATTEMPT.update().where(tables.ATTEMPT.c.number == 2).values(status=second))


@pytest.mark.parametrize("table", [tables.JOB, tables.ITEM, tables.ATTEMPT])
def test_the_database_knows_the_words_of_a_status(ledger: Ledger, table: sa.Table) -> None:
    job_id, _ = sent(ledger)
    for word in ("running", "RUNNING ", "", "DONE"):
        with pytest.raises(IntegrityError):
            raw(ledger, table.update().where(table.c.job_id == job_id).values(status=word))


def test_the_database_forbids_negative_shots(ledger: Ledger) -> None:
    job_id = create(ledger)
    with pytest.raises(IntegrityError):
        raw(ledger, tables.ITEM.update().where(tables.ITEM.c.job_id == job_id).values(shots=-1))


def test_the_database_forbids_orphans_and_doubles(ledger: Ledger) -> None:
    job_id, _ = sent(ledger)
    with pytest.raises(IntegrityError):
        raw(ledger, tables.ATTEMPT.insert(), attempt_row(JobId("job-0"), 1, "ERROR"))
    with pytest.raises(IntegrityError):
        raw(ledger, tables.ITEM.update().where(tables.ITEM.c.job_id == job_id).values(label="the same"))
    result = {"job_id": job_id, "epoch": 1, "item_index": 0, "attempt": 1, "payload": b"", "received_at": NOW}
    raw(ledger, tables.RESULT.insert(), result)
    with pytest.raises(IntegrityError):
        raw(ledger, tables.RESULT.insert(), result)


# time


def test_naive_datetimes_are_refused(ledger: Ledger) -> None:
    naive = datetime(2025, 1, 1)  # noqa: DTZ001
    job_id, attempt = sent(ledger)
    times = ItemSnapshot(status=RUNNING, times={RUNNING: naive})
    for call in (
        lambda: ledger.create([a_spec("n")], now=naive),
        lambda: observe(ledger, job_id, attempt.number, whole(RUNNING), now=naive),
        lambda: observe(ledger, job_id, attempt.number, replace(whole(RUNNING), items=(times, times)), now=NOW),
        lambda: ledger.store_results(job_id, attempt, {0: counts(b0=1)}, now=naive),
        lambda: ledger.request_cancel(job_id, now=naive),
        lambda: ledger.submissions.expire_leases(now=naive),
    ):
        with pytest.raises(InvalidInput, match="naive datetime"):
            call()
    assert [job.job_id for job in ledger.jobs()] == [job_id]
    assert ledger.job(job_id).status is SUBMITTED


def test_any_time_zone_reads_back_as_utc(ledger: Ledger) -> None:
    import zoneinfo

    there = NOW.astimezone(zoneinfo.ZoneInfo("Asia/Kathmandu"))
    job_id = ledger.create([a_spec()], now=there)[0]
    created = ledger.job(job_id).created_at
    assert created == NOW
    assert created.utcoffset() == timedelta(0)


# opening


def test_opening_again_finds_everything(ledger_url: str) -> None:
    with Ledger(ledger_url) as first:
        job_id = create(first)
        with Ledger(ledger_url) as second:
            assert second.job(job_id) == first.job(job_id)
    with Ledger(ledger_url) as third:
        assert third.job(job_id).status is CREATED
        third.close()
        third.close()


@pytest.mark.parametrize("version", [0, tables.SCHEMA_VERSION - 1, tables.SCHEMA_VERSION + 1, 99])
def test_another_schema_version_is_refused(ledger_url: str, version: int) -> None:
    advice = "start a new ledger" if version < tables.SCHEMA_VERSION else "upgrade qjobs"
    with Ledger(ledger_url) as ledger:
        raw(ledger, tables.LEDGER_META.update().values(value=str(version)))
    with pytest.raises(LedgerSchemaMismatch, match=f"schema version {version} .*{advice}") as caught:
        Ledger(ledger_url)
    assert (caught.value.found, caught.value.expected) == (version, tables.SCHEMA_VERSION)


def test_prefects_database_is_refused_and_left_as_it_was(ledger_url: str) -> None:
    engine = sa.create_engine(ledger_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        for name in ("flow_run", "block_document"):
            connection.exec_driver_sql(f"CREATE TABLE {name} (id INTEGER)")
    with pytest.raises(LedgerUnavailable, match="Prefect's own database"):
        Ledger(ledger_url)
    assert sorted(sa.inspect(engine).get_table_names()) == ["block_document", "flow_run"]


def test_another_programs_database_is_refused_and_left_as_it_was(ledger_url: str) -> None:
    engine = sa.create_engine(ledger_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE job (id INTEGER)")
    with pytest.raises(LedgerUnavailable, match=r"another program.*job"):
        Ledger(ledger_url)
    assert sa.inspect(engine).get_table_names() == ["job"]


def _open_at_once(url: str, barrier: object, replies: object) -> None:
    try:
        barrier.wait(60)
        with Ledger(url) as ledger:
            replies.put(ledger.create([a_spec("the same")], now=NOW)[0])
    except BaseException:
        replies.put(traceback.format_exc())
        raise


def test_processes_that_open_a_new_ledger_at_once(ledger_url: str) -> None:
    context = multiprocessing.get_context("fork")
    barrier, replies = context.Barrier(4), context.Queue()
    workers = [context.Process(target=_open_at_once, args=(ledger_url, barrier, replies)) for _ in range(4)]
    for worker in workers:
        worker.start()
    found = [replies.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert len(set(found)) == 1, found
    assert found[0].startswith("job-"), found[0]
    with Ledger(ledger_url) as ledger:
        assert len(ledger.jobs()) == 1


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:hunter2@127.0.0.1:1/db",
        "postgresql+psycopg://user:hunter2@127.0.0.1:1/db?sslmode=disable",
        "postgresql+psycopg://user@127.0.0.1:1/db?password=hunter2",
        "nosuchdatabase://user:hunter2@host/db",
        "postgresql://user:hunter2@host:notaport/db",
        "user:hunter2@host",
    ],
)
def test_no_message_shows_the_password(url: str) -> None:
    with pytest.raises(LedgerUnavailable) as caught:
        Ledger(url)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    assert str(caught.value)


def test_no_message_of_a_real_server_shows_the_password(postgresql_url: str) -> None:
    url = sa.make_url(postgresql_url).set(password="hunter2", database="no_such_database")
    with pytest.raises(LedgerUnavailable, match="no_such_database") as caught:
        Ledger(url.render_as_string(hide_password=False))
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    url = sa.make_url(postgresql_url).set(password="hunter2")
    with Ledger(url.render_as_string(hide_password=False)) as ledger:
        assert "hunter2" not in ledger.url
        with pytest.raises(JobNotFound) as lost:
            ledger.job(JobId("job-0"))
    assert "hunter2" not in str(lost.value)


def test_the_default_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("QJOBS_LEDGER", "QJOBS_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert ledger_module.ledger_url().startswith("sqlite:////")
    monkeypatch.setenv("QJOBS_HOME", str(tmp_path / "home"))
    assert ledger_module.ledger_url() == f"sqlite:///{tmp_path}/home/ledger.db"
    monkeypatch.setenv("QJOBS_LEDGER", str(tmp_path / "a" / "b.db"))
    with Ledger() as ledger:
        create(ledger)
    assert (tmp_path / "a" / "b.db").exists()
    monkeypatch.setenv("QJOBS_LEDGER", "postgresql://host/db")
    assert ledger_module.ledger_url() == "postgresql://host/db"


# files that are no ledger


def refused(path: Path, words: str, **values: float) -> None:
    with pytest.raises(LedgerUnavailable, match=words) as caught:
        Ledger(f"sqlite:///{path}", **values)
    assert str(path) in str(caught.value)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"a shopping list\n" * 100)
    refused(path, "is not a qjobs ledger")
    assert path.read_bytes() == b"a shopping list\n" * 100


def test_a_directory(tmp_path: Path) -> None:
    refused(tmp_path, "cannot be written.*permissions")


def test_a_path_under_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerUnavailable, match=r"folder .*/file cannot be made: .*QJOBS_LEDGER"):
        Ledger(f"sqlite:///{tmp_path / 'file' / 'ledger.db'}")


def test_a_read_only_ledger(tmp_path: Path) -> None:
    """SQLite's own read-only mode, which holds for root too."""
    path = tmp_path / "ledger.db"
    with Ledger(f"sqlite:///{path}") as ledger:
        job_id = create(ledger)
    url = f"sqlite:///file:{path}?mode=ro&uri=true"
    with pytest.raises(LedgerUnavailable, match="cannot be written"), Ledger(url) as ledger:
        create(ledger, "more")
    with Ledger(f"sqlite:///{path}") as ledger:
        assert [job.job_id for job in ledger.jobs()] == [job_id]


def test_a_truncated_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with Ledger(f"sqlite:///{path}") as ledger:
        for n in range(20):
            create(ledger, f"k{n}")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(LedgerUnavailable, match="is not a qjobs ledger"), Ledger(f"sqlite:///{path}") as ledger:
        ledger.jobs()


def test_a_locked_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with Ledger(f"sqlite:///{path}", busy_timeout_s=0.05) as ledger:
        job_id = create(ledger)
        other = sqlite3.connect(path, isolation_level=None)
        try:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(LedgerUnavailable, match="locked by another program"):
                claim(ledger, job_id)
            assert ledger.job(job_id).status is CREATED
        finally:
            other.close()
        claim(ledger, job_id)


def test_a_new_ledger_that_is_locked(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN EXCLUSIVE")
        refused(path, "locked by another program", busy_timeout_s=0.05)
    finally:
        other.close()


# no room


def fill(ledger: Ledger, attempts: int = 2_000) -> list[JobId]:
    """Create jobs until there is no room."""
    made: list[JobId] = []
    for n in range(attempts):
        try:
            made.append(create(ledger, f"big-{n}", program=a_program(os.urandom(4_000).hex())))
        except StorageFull as full:
            said = str(full)
            break
    else:
        pytest.fail(f"{attempts} jobs fit")
    assert "no room to write" in said
    assert "free some space" in said
    return made


def check_intact(ledger: Ledger, job_id: JobId, made: list[JobId]) -> None:
    assert ledger.results(job_id) == {0: counts(b00=3)}
    assert {job.job_id for job in ledger.jobs()} == {job_id, *made}
    for known in (job_id, *made):
        check_history(ledger, known)


def test_no_more_pages(tmp_path: Path) -> None:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        job_id, attempt = sent(ledger)
        ledger.store_results(job_id, attempt, {0: counts(b00=3)}, now=NOW)
        engine = ledger._db._engine
        engine.dispose()
        sa.event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA max_page_count = 200").close())
        made = fill(ledger)
        check_intact(ledger, job_id, made)
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        check_intact(ledger, job_id, made)
        create(ledger, "there is room again")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "qjobs-test", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False) if os.geteuid() == 0 else None
    if done is None or done.returncode != 0:
        pytest.skip("a small file system can only be mounted by root; test_no_more_pages covers the message")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    url = f"sqlite:///{small_disk / 'ledger.db'}"
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 200_000)
    with Ledger(url) as ledger:
        job_id, attempt = sent(ledger)
        ledger.store_results(job_id, attempt, {0: counts(b00=3)}, now=NOW)
        made = fill(ledger)
        check_intact(ledger, job_id, made)
        ballast.unlink()
        made.append(create(ledger, "there is room again"))
    with Ledger(url) as ledger:
        check_intact(ledger, job_id, made)
