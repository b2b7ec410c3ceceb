"""Attempts to submit a job: claimed once, settled once, and UNKNOWN where nobody settles them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from support import (
    LEASE_S,
    NOW,
    a_program,
    a_spec,
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
    sending,
    sent,
    unsettled,
    whole,
)

from qjobs.errors import Busy, StaleJob
from qjobs.ledger import Ledger
from qjobs.ledger.database import Database
from qjobs.lifecycle import JobStatus
from qjobs.model import RemoteId, RemoteRetryStrategy

S = JobStatus
either_way = pytest.mark.parametrize("status", [S.SUBMITTING, S.UNKNOWN])


def test_claim(ledger: Ledger) -> None:
    """The intent to submit is written with its lease before anything is sent."""
    job_id = create(ledger)
    attempt = claim(ledger, job_id, owner="me", strategy=RemoteRetryStrategy.ALLOW_RESUBMIT, items=(1,), now=at(3))
    assert attempt == ledger.attempts(job_id)[0]
    assert (attempt.number, attempt.epoch, attempt.status, attempt.items) == (1, 1, S.SUBMITTING, (1,))
    assert (attempt.strategy, attempt.lease_owner) == (RemoteRetryStrategy.ALLOW_RESUBMIT, "me")
    assert (attempt.claimed_at, attempt.sent_at, attempt.remote_id) == (at(3), None, None)
    assert attempt.lease_until == at(3 + LEASE_S)
    assert job_moves(ledger, job_id) == [(None, S.CREATED, "plan"), (S.CREATED, S.SUBMITTING, "submit")]
    check_history(ledger, job_id)


def test_stale_claim(ledger: Ledger) -> None:
    """A claim of a job in another status than the caller saw writes nothing, also where no attempt is live."""
    job_id = create(ledger)
    settled, attempt = unsettled(ledger, key="settled")
    ledger.submissions.reject(attempt, "no", now=NOW)
    before = (all_of(ledger, job_id), all_of(ledger, settled))
    for expected in set(JobStatus) - {S.CREATED}:
        with pytest.raises(StaleJob) as caught:
            claim(ledger, job_id, expected)
        assert caught.value.job_id == job_id
    with pytest.raises(StaleJob, match="no longer CREATED"):
        claim(ledger, settled, S.CREATED, new_epoch=True)
    assert (all_of(ledger, job_id), all_of(ledger, settled)) == before


@pytest.mark.parametrize("new_epoch", [False, True])
def test_second_claim(ledger: Ledger, new_epoch: bool) -> None:
    """A job with a live attempt is not claimed again, whatever its status."""
    job_id, attempt = unsettled(ledger, S.UNKNOWN)
    refused_in = []

    def check() -> None:
        refused_in.append(ledger.job(job_id).status)
        with pytest.raises(StaleJob, match="live attempt"):
            claim(ledger, job_id, refused_in[-1], new_epoch=new_epoch)

    check()
    ledger.submissions.accept(attempt, RemoteId("r"), now=NOW)
    check()
    for status in (S.QUEUED, S.RUNNING, S.RETRYING, S.CANCELLING):
        observe(ledger, job_id, attempt.number, whole(status), now=NOW)
        check()
    assert refused_in == [S.UNKNOWN, S.SUBMITTED, S.QUEUED, S.RUNNING, S.RETRYING, S.CANCELLING]
    assert len(ledger.attempts(job_id)) == 1
    check_history(ledger, job_id)


def test_device_limit(ledger: Ledger) -> None:
    """A device takes so many live jobs at a time, UNKNOWN ones included, and other devices do not count."""
    ids = ledger.create([a_spec(f"k{n}") for n in range(4)], now=NOW)
    elsewhere = ledger.create([a_spec("x", device="other"), a_spec("y", backend="other")], now=NOW)
    first = claim(ledger, ids[0], max_live_jobs=2)
    ledger.submissions.mark_unknown(claim(ledger, ids[1], max_live_jobs=2), "lost", now=NOW)
    with pytest.raises(Busy, match="has 2 live jobs and takes 2") as caught:
        claim(ledger, ids[2], max_live_jobs=2)
    assert (caught.value.job_id, caught.value.retry_after_s > 0) == (ids[2], True)
    assert ledger.attempts(ids[2]) == []
    for job_id in elsewhere:
        claim(ledger, job_id, max_live_jobs=2)
    ledger.submissions.reject(first, "no", now=NOW)
    claim(ledger, ids[2], max_live_jobs=2)
    claim(ledger, ids[3])


def test_account_limit(ledger: Ledger) -> None:
    """An account has so many live jobs at a time on all of its devices together; other accounts do not count."""
    here = ledger.create([a_spec(f"k{n}", device=f"device-{n}") for n in range(3)], now=NOW)
    (elsewhere,) = ledger.create([a_spec("x", backend="other")], now=NOW)
    first = claim(ledger, here[0], max_account_jobs=2)
    claim(ledger, elsewhere, max_account_jobs=2)
    claim(ledger, here[1], max_live_jobs=1, max_account_jobs=2)
    with pytest.raises(Busy, match="the account fake has 2 live jobs and may have 2") as caught:
        claim(ledger, here[2], max_live_jobs=1, max_account_jobs=2)
    assert caught.value.job_id == here[2]
    assert ledger.attempts(here[2]) == []
    ledger.submissions.reject(first, "no", now=NOW)
    claim(ledger, here[2], max_live_jobs=1, max_account_jobs=2)
    check_history(ledger, here[2])


def test_new_epoch(ledger: Ledger) -> None:
    """A new epoch starts all anew, and the results of the old one stay readable."""
    job_id, attempt = sent(ledger)
    observe(ledger, job_id, attempt.number, report(S.COMPLETED, S.ERROR), now=NOW)
    ledger.store_results(job_id, attempt, {0: counts(b00=5)}, now=NOW)
    anew = claim(ledger, job_id, S.ERROR, new_epoch=True, strategy=RemoteRetryStrategy.FULL_RESTART, now=at(9))
    job = ledger.job(job_id)
    assert (anew.number, anew.epoch, job.epoch, job.status, job.finished_at) == (2, 2, 2, S.SUBMITTING, None)
    assert item_statuses(ledger, job_id) == [S.CREATED, S.CREATED]
    assert all(set(item.times) == {S.CREATED} for item in ledger.items(job_id))
    assert (ledger.results(job_id), ledger.missing_items(job_id)) == ({}, (0, 1))
    assert ledger.result_counts([job_id]) == {job_id: 0}
    ledger.submissions.accept(anew, RemoteId("remote-2"), now=at(9))
    ledger.store_results(job_id, anew, {0: counts(b11=7)}, now=at(9))
    assert ledger.results(job_id) == {0: counts(b11=7)}
    assert ledger.results(job_id, epoch=1) == {0: counts(b00=5)}
    check_history(ledger, job_id)


def test_some_items(ledger: Ledger) -> None:
    """An attempt of some items moves no other item."""
    job_id, attempt = sent(ledger, n_items=3)
    observe(ledger, job_id, attempt.number, report(S.COMPLETED, S.ERROR, S.ERROR), now=NOW)
    again = claim(ledger, job_id, S.ERROR, items=(1, 2))
    ledger.submissions.accept(again, RemoteId("remote-2"), now=NOW)
    assert item_statuses(ledger, job_id) == [S.COMPLETED, S.SUBMITTED, S.SUBMITTED]
    assert observe(ledger, job_id, again.number, report(S.QUEUED, S.COMPLETED), now=NOW) is S.RUNNING
    assert item_statuses(ledger, job_id) == [S.COMPLETED, S.QUEUED, S.COMPLETED]
    assert observe(ledger, job_id, again.number, whole(S.COMPLETED), now=NOW) is S.COMPLETED
    check_history(ledger, job_id)


@either_way
def test_accept(ledger: Ledger, status: JobStatus) -> None:
    """The remote id is written once; to write it again changes nothing."""
    job_id, attempt = unsettled(ledger, status)
    ledger.submissions.accept(attempt, RemoteId("r"), now=at(2))
    (known,) = ledger.attempts(job_id)
    assert (known.status, known.remote_id, known.accepted_at, known.lease_until) == (S.SUBMITTED, "r", at(2), None)
    assert ledger.job(job_id).status is S.SUBMITTED
    assert [item.times[S.SUBMITTED] for item in ledger.items(job_id)] == [at(2), at(2)]
    before = all_of(ledger, job_id)
    for given in (attempt, known):
        ledger.submissions.accept(given, RemoteId("r"), now=at(4))
    assert all_of(ledger, job_id) == before
    check_history(ledger, job_id)


@either_way
def test_reject(ledger: Ledger, status: JobStatus) -> None:
    """A refusal ends the job with the provider's words, also when it comes after the lease."""
    job_id, attempt = unsettled(ledger, status)
    words = "qubits: 200 > 100"
    ledger.submissions.reject(attempt, words, now=at(2))
    job = ledger.job(job_id)
    (known,) = ledger.attempts(job_id)
    assert (job.status, job.message, job.finished_at) == (S.ERROR, words, at(2))
    assert (known.status, known.message, known.finished_at, known.remote_id) == (S.ERROR, words, at(2), None)
    assert known.sent_at == NOW
    assert item_statuses(ledger, job_id) == [S.ERROR, S.ERROR]
    assert job_moves(ledger, job_id)[-1] == (status, S.ERROR, "rejected")
    check_history(ledger, job_id)


@either_way
def test_release(ledger: Ledger, status: JobStatus) -> None:
    """An attempt that was never sent leaves the job as it was, free to be claimed."""
    job_id, attempt = unsettled(ledger, status)
    ledger.submissions.release(attempt, "no route to host", now=at(2), cause="because")
    job = ledger.job(job_id)
    (known,) = ledger.attempts(job_id)
    assert (job.status, job.message, job.finished_at) == (S.CREATED, "no route to host", None)
    assert (known.status, known.sent_at, known.finished_at) == (S.CANCELLED, None, at(2))
    assert job_moves(ledger, job_id)[-1] == (status, S.CREATED, "because")
    check_history(ledger, job_id)
    assert claim(ledger, job_id).number == 2


def test_release_of_a_retry(ledger: Ledger) -> None:
    """A second attempt that was never sent leaves a failed job failed."""
    job_id, attempt = sent(ledger)
    observe(ledger, job_id, attempt.number, report(S.COMPLETED, S.ERROR), now=NOW)
    ledger.submissions.release(claim(ledger, job_id, S.ERROR, items=(1,)), "no route", now=at(7))
    job = ledger.job(job_id)
    assert (job.status, job.finished_at) == (S.ERROR, at(7))
    assert item_statuses(ledger, job_id) == [S.COMPLETED, S.ERROR]
    check_history(ledger, job_id)


@pytest.mark.parametrize("items", [None, [0, 1]])
def test_release_after_cancel(ledger: Ledger, items: list[int] | None) -> None:
    """A job whose cancellation was requested while it was submitted is CANCELLED once it is proved never sent."""
    job_id, attempt = unsettled(ledger)
    ledger.request_cancel(job_id, items=items, now=at(1))
    ledger.submissions.release(attempt, "no route", now=at(2))
    job = ledger.job(job_id)
    assert (job.status, job.finished_at) == (S.CANCELLED, at(2))
    assert job.cancel_requested_at is not None
    assert item_statuses(ledger, job_id) == [S.CANCELLED, S.CANCELLED]
    check_history(ledger, job_id)


def test_mark_unknown(ledger: Ledger) -> None:
    """A lost reply leaves attempt and job UNKNOWN, with the first reason."""
    job_id, attempt = unsettled(ledger)
    ledger.submissions.mark_unknown(attempt, "502", now=at(2))
    ledger.submissions.mark_unknown(attempt, "502 again", now=at(3))
    job = ledger.job(job_id)
    (known,) = ledger.attempts(job_id)
    assert (job.status, job.message, job.finished_at) == (S.UNKNOWN, "502", None)
    assert (known.status, known.message, known.lease_until, known.sent_at) == (S.UNKNOWN, "502", None, NOW)
    assert job_moves(ledger, job_id)[2:] == [(S.SUBMITTING, S.UNKNOWN, "lost reply")]
    check_history(ledger, job_id)


@pytest.mark.parametrize("verb", ["reject", "release", "mark_unknown"])
@pytest.mark.parametrize("settled_by", ["reject", "release", "accept"])
def test_settled_once(ledger: Ledger, verb: str, settled_by: str) -> None:
    """An attempt that is settled is not settled again."""
    job_id, attempt = unsettled(ledger)
    getattr(ledger.submissions, settled_by)(attempt, "settled", now=NOW)
    if settled_by == "accept":
        observe(ledger, job_id, attempt.number, whole(S.COMPLETED), now=NOW)
    before = all_of(ledger, job_id)
    for given in (attempt, ledger.attempts(job_id)[0]):
        with pytest.raises(StaleJob, match="settled before"):
            getattr(ledger.submissions, verb)(given, "too late", now=NOW)
    assert all_of(ledger, job_id) == before


def test_expired_leases(ledger: Ledger) -> None:
    """A submission that is not settled within its lease becomes UNKNOWN, and can still be accepted."""
    ids = ledger.create([a_spec(f"k{n}") for n in range(4)], now=NOW)
    first = sending(ledger, claim(ledger, ids[0], owner="host:1"))
    claim(ledger, ids[1], lease_s=2 * LEASE_S)
    ledger.submissions.accept(claim(ledger, ids[2]), RemoteId("r"), now=NOW)
    assert ledger.submissions.expire_leases(now=at(LEASE_S)) == []
    assert ledger.submissions.expire_leases(now=at(LEASE_S + 1), job_ids=[ids[1], ids[3]]) == []
    assert ledger.submissions.expire_leases(now=at(LEASE_S + 1)) == [ids[0]]
    assert ledger.submissions.expire_leases(now=at(LEASE_S + 1)) == []
    assert [job.status for job in ledger.jobs(job_ids=ids)] == [S.UNKNOWN, S.SUBMITTING, S.SUBMITTED, S.CREATED]
    assert "host:1" in ledger.job(ids[0]).message
    assert job_moves(ledger, ids[0])[-1] == (S.SUBMITTING, S.UNKNOWN, "lease expired")
    ledger.submissions.accept(first, RemoteId("late"), now=at(LEASE_S + 2))
    assert ledger.job(ids[0]).status is S.SUBMITTED
    for job_id in ids:
        check_history(ledger, job_id)


@pytest.mark.parametrize("reserved", [False, True])
def test_expired_before_it_was_sent(ledger: Ledger, reserved: bool) -> None:
    """A claim whose request never left is released, unless its provider has given it an id."""
    job_id = create(ledger)
    attempt = claim(ledger, job_id, owner="host:1")
    if reserved:
        ledger.submissions.reserve(attempt, RemoteId("r"), now=NOW)
    assert ledger.submissions.expire_leases(now=at(LEASE_S + 1)) == [job_id]
    (known,) = ledger.attempts(job_id)
    job = ledger.job(job_id)
    assert (job.status, known.sent_at) == (S.UNKNOWN if reserved else S.CREATED, None)
    assert known.status is (S.UNKNOWN if reserved else S.CANCELLED)
    assert "host:1 did not settle it" in job.message
    assert ("nothing was sent" in job.message) is not reserved
    assert job_moves(ledger, job_id)[-1] == (S.SUBMITTING, job.status, "lease expired")
    with pytest.raises(StaleJob, match="lost its lease; it is not sent"):
        ledger.submissions.renew(attempt, lease_s=LEASE_S, now=at(99), sending=True)
    check_history(ledger, job_id)


def test_sending(ledger: Ledger) -> None:
    """The moment at which the request leaves is written with the lease, and to renew alone does not write it."""
    job_id = create(ledger)
    attempt = claim(ledger, job_id)
    ledger.submissions.renew(attempt, lease_s=LEASE_S, now=at(5))
    assert ledger.attempts(job_id)[0].sent_at is None
    known = sending(ledger, attempt, now=at(9))
    assert (known.claimed_at, known.sent_at, known.lease_until) == (NOW, at(9), at(9 + LEASE_S))


def test_sent_without_a_word(ledger: Ledger) -> None:
    """What is UNKNOWN or accepted counts as sent, whether or not its adapter said so before."""
    lost = claim(ledger, create(ledger, "lost"))
    ledger.submissions.mark_unknown(lost, "no reply", now=at(3))
    taken = claim(ledger, create(ledger, "taken"))
    ledger.submissions.accept(taken, RemoteId("r"), now=at(4))
    assert [ledger.attempts(attempt.job_id)[0].sent_at for attempt in (lost, taken)] == [at(3), at(4)]


def test_other_circuits(ledger: Ledger) -> None:
    """A new epoch sends the circuits that were compiled anew, for the items whose circuit was replaced."""
    old = a_program("old")
    new = a_program("new")
    job_id, attempt = sent(ledger, program=old)
    other = create(ledger, "other", program=old)
    observe(ledger, job_id, attempt.number, whole(S.ERROR), now=NOW)
    ledger.add_programs([new])
    claim(ledger, job_id, S.ERROR, new_epoch=True, programs={old.hash: new.hash, new.hash: old.hash})
    assert [item.program for item in ledger.items(job_id)] == [new.hash] * 2
    assert [item.program for item in ledger.items(other)] == [old.hash] * 2


def test_renew(ledger: Ledger) -> None:
    """A lease is extended while the submission is under way, and never after."""
    job_id, attempt = unsettled(ledger)
    ledger.submissions.renew(attempt, lease_s=LEASE_S, now=at(50))
    assert ledger.submissions.expire_leases(now=at(LEASE_S + 1)) == []
    assert ledger.submissions.expire_leases(now=at(50 + LEASE_S + 1)) == [job_id]
    with pytest.raises(StaleJob, match="lost its lease"):
        ledger.submissions.renew(attempt, lease_s=LEASE_S, now=at(200))


class SlowDatabase:
    """A database in which others write something between a reading transaction and the next writing one."""

    def __init__(self, db: Database, meanwhile: Callable[[], None]) -> None:
        self._db = db
        self._meanwhile = meanwhile

    def __getattr__(self, name: str) -> object:
        return getattr(self._db, name)

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        self._meanwhile()
        with self._db.write() as connection:
            yield connection


class SlowLedger(Ledger):
    """The ledger of a process that is slow to write what it decided."""

    def __init__(self, ledger: Ledger, meanwhile: Callable[[], None]) -> None:
        self._compose(SlowDatabase(ledger._db, meanwhile))


@pytest.mark.parametrize("status", [S.SUBMITTING, S.SUBMITTED])
def test_meanwhile(ledger: Ledger, status: JobStatus) -> None:
    """What is renewed or accepted while another process expires its lease must not become UNKNOWN."""
    job_id, attempt = unsettled(ledger)
    late = at(LEASE_S + 1)

    def meanwhile() -> None:
        if status is S.SUBMITTED:
            ledger.submissions.accept(attempt, RemoteId("r"), now=late)
        else:
            ledger.submissions.renew(attempt, lease_s=LEASE_S, now=late)

    assert SlowLedger(ledger, meanwhile).submissions.expire_leases(now=late) == []
    assert ledger.job(job_id).status is status
    check_history(ledger, job_id)


def test_sent_meanwhile(ledger: Ledger) -> None:
    """What begins to be sent while another process expires its lease must not be released."""
    job_id = create(ledger)
    attempt = claim(ledger, job_id)
    late = at(LEASE_S + 1)

    def meanwhile() -> None:  # with the same lease: a clock may stand still
        ledger.submissions.renew(attempt, lease_s=-1.0, now=late, sending=True)

    assert SlowLedger(ledger, meanwhile).submissions.expire_leases(now=late) == []
    assert ledger.job(job_id).status is S.SUBMITTING
    check_history(ledger, job_id)
