"""Submissions that arrive late: when one counts as not there, and what becomes of it when it is there after all."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from listing import Listing
from scripted import DEDUPLICATED, FINDABLE, OPAQUE, Clock, Fault, ScriptedBackend
from standing import LOST, RETRY_FOR_EVER, enter
from support import NOW, a_program, at, check_history, claim, create

import qjobs
from qjobs.backends.base import Confirmation, Lookup
from qjobs.errors import BackendUnavailable, Busy, CredentialsRejected, QJobsError, StaleJob, SubmissionUnknown
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Event, JobId, RemoteId, RemoteRetryStrategy
from qjobs.operations import recover as recovery
from qjobs.operations.attempts import batch_of
from qjobs.operations.cancel import end_strays
from qjobs.operations.look_up import LookUp
from qjobs.operations.recover import Finding
from qjobs.operations.retry import Action
from qjobs.operations.sending import LEASE_S

S = JobStatus
DEFAULT, ALLOW, FORCE, FULL = RemoteRetryStrategy
FIRST, SECOND = RemoteId("remote-1"), RemoteId("remote-2")
THREE_TIMES = Confirmation(absent_times=3, absent_apart_s=20.0)


def lost(store: Ledger, backend: Listing, *, when: str = "before") -> JobId:
    """An UNKNOWN job, given up at 0 s; the provider has it with "after"."""
    backend.faults.append(Fault(LOST, when))
    job_id = create(store)
    with pytest.raises((BackendUnavailable, SubmissionUnknown)):
        enter(store, backend, job_id, after_s=0.0)
    return job_id


def arrives(store: Ledger, backend: Listing, job_id: JobId) -> RemoteId:
    """The first request of a job arrives after all."""
    job = store.job(job_id)
    return backend.arrives(batch_of(store, job), job.key)


@pytest.mark.parametrize("strategy", [ALLOW, FORCE, FULL])
def test_absence(store: Ledger, strategy: RemoteRetryStrategy) -> None:
    """A job counts as not there after three answers that are apart in time, and by a fresh look right before."""
    backend = Listing(confirm=THREE_TIMES)
    job_id = lost(store, backend)
    for seconds in (1.0, 2.0, 15.0, 22.0, 30.0, 41.0):
        with pytest.raises(Busy, match=r"by [12] of 3 answers") as refused:
            enter(store, backend, job_id, strategy, after_s=seconds)
        assert refused.value.retry_after_s >= 1.0
    backend.troubles.append(BackendUnavailable("502"))
    with pytest.raises(BackendUnavailable):  # the answers of before are not enough: it is looked for once more
        enter(store, backend, job_id, strategy, after_s=62.0)
    assert not backend.jobs
    enter(store, backend, job_id, strategy, after_s=63.0)
    assert len(backend.jobs) == 1
    check_history(store, job_id)


def test_history_is_read_once(store: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up reads a job's history once, and counts what it notes itself."""
    backend = Listing(confirm=THREE_TIMES)
    job_id = lost(store, backend)
    read: list[JobId] = []
    events = store.events

    def counted(job_id: JobId, **options: bool) -> list[Event]:
        read.append(job_id)
        return events(job_id, **options)

    monkeypatch.setattr(store, "events", counted)
    attempts = store.attempts(job_id)
    look_up = LookUp(store, backend, store.job(job_id), attempts, lambda: at(1))
    assert look_up.adopt(attempts[-1]) is None
    with pytest.raises(Busy, match="by 1 of 3 answers"):
        look_up.check_absence_is_certain(attempts[-1])
    assert read == [job_id]


@pytest.mark.parametrize("route", ["unfound", "unlisted"])
def test_two_routes(store: Ledger, route: str) -> None:
    """A job that one of two routes shows is adopted."""
    backend = Listing()
    job_id = lost(store, backend, when="after")
    getattr(backend, route).add(FIRST)
    assert enter(store, backend, job_id, ALLOW).action is Action.SYNC
    assert list(backend.jobs) == [FIRST]


def test_settles(store: Ledger) -> None:
    """However many answers agree, a request may still be on its way."""
    backend = Listing()
    backend.settle_s = 100.0
    job_id = lost(store, backend)
    for seconds in (20.0, 40.0, 60.0, 80.0):
        with pytest.raises(Busy) as refused:
            enter(store, backend, job_id, ALLOW, after_s=seconds)
        assert refused.value.retry_after_s == pytest.approx(100.0 - seconds)
    arrives(store, backend, job_id)
    assert enter(store, backend, job_id, ALLOW, after_s=99.0).action is Action.SYNC
    assert len(backend.jobs) == 1


@pytest.mark.parametrize("lookup", [FINDABLE, DEDUPLICATED, OPAQUE])
@pytest.mark.parametrize("strategy", RemoteRetryStrategy)
def test_never_again(store: Ledger, lookup: Lookup, strategy: RemoteRetryStrategy) -> None:
    """With `resend_unfound` off a lost job is never sent again; one that is found is still adopted, or restarted."""
    policy = replace(RETRY_FOR_EVER, resend_unfound=False)
    backend = Listing(lookup)
    job_id = lost(store, backend)
    for seconds in (10.0, 1000.0, 20_000.0):
        with pytest.raises(SubmissionUnknown):
            enter(store, backend, job_id, strategy, after_s=seconds, policy=policy)
    assert not backend.jobs
    if lookup is OPAQUE:
        return
    arrives(store, backend, job_id)
    enter(store, backend, job_id, strategy, after_s=30_000.0, policy=policy)
    assert len(backend.jobs) == (2 if strategy is FULL else 1)
    assert backend.most_live == 1


def test_told_and_cancelled(store: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    """A remote job that appears after its job was sent again is told once, and cancelled."""
    backend = Listing()
    job_id = lost(store, backend)
    enter(store, backend, job_id, ALLOW)
    assert recovery.reconcile(store, {"fake": backend}, now=lambda: at(2)) == []
    late = arrives(store, backend, job_id)
    (found,) = recovery.reconcile(store, {"fake": backend}, now=lambda: at(3))
    assert (found.job_id, found.finding) == (job_id, Finding.LATE)
    assert f"{late} appeared after the job was sent again" in found.words
    assert [record.levelname for record in caplog.records if late in record.getMessage()].count("ERROR") == 1
    assert [job.cancels for job in backend.jobs.values()] == [0, 1]
    assert recovery.reconcile(store, {"fake": backend}, now=lambda: at(4)) == []
    assert store.strays.pending() == []
    assert any("is to be cancelled" in event.detail for event in store.events(job_id))


def test_ended_strays_are_no_orphans(store: Ledger) -> None:
    """A late one is listed as long as it lives, and again if it comes back; not once it has ended."""
    backend = Listing()
    job_id = lost(store, backend)
    enter(store, backend, job_id, ALLOW)
    late = arrives(store, backend, job_id)

    def listed() -> list[RemoteId]:
        return [job.remote_id for job in recovery.orphans(store, backend)]

    assert listed() == [late]
    backend.refusals[late] = CredentialsRejected("403")
    recovery.reconcile(store, {"fake": backend}, now=lambda: at(3))
    assert listed() == [late], "it is to be cancelled, and lives"
    backend.refusals.clear()
    recovery.reconcile(store, {"fake": backend}, now=lambda: at(4))
    assert (listed(), backend.jobs[late].status) == ([], S.CANCELLED)
    backend.jobs[late].items = [S.QUEUED] * 2
    assert listed() == [late]


def test_late_and_refused(store: Ledger) -> None:
    """A late one that cannot be cancelled now is cancelled by a later pass."""
    backend = Listing()
    job_id = lost(store, backend)
    enter(store, backend, job_id, ALLOW)
    late = arrives(store, backend, job_id)
    backend.refusals[late] = CredentialsRejected("403")
    recovery.reconcile(store, {"fake": backend}, now=lambda: at(3))
    assert [stray.remote_id for stray in store.strays.pending()] == [late]
    backend.refusals.clear()
    assert end_strays(store, backend, [job_id], now=lambda: at(4)) == []
    assert backend.jobs[late].status is S.CANCELLED


@pytest.mark.parametrize("reply", ["comes", "is late", "is lost"])
def test_sent_at_this_moment(store: Ledger, reply: str) -> None:
    """What is being sent at this moment is never taken for a late one, whenever its reply comes."""
    backend = Listing()
    job_id = lost(store, backend)
    enter(store, backend, job_id, ALLOW)
    backend.report(S.ERROR, S.ERROR)
    qjobs.poll(store, backend, [job_id], now=lambda: at(2))
    held = claim(store, job_id, S.ERROR)
    store.submissions.renew(held, lease_s=LEASE_S, now=at(3), sending=True)
    third = backend.arrives(batch_of(store, store.job(job_id)), f"{store.job(job_id).key}-2")
    if reply == "comes":
        backend.after_listing = lambda: store.submissions.accept(held, third, now=at(3))
    elif reply == "is lost":
        backend.after_listing = lambda: store.submissions.mark_unknown(held, "no reply", now=at(3))
    found = recovery.reconcile(store, {"fake": backend}, now=lambda: at(3))
    assert [one for one in found if one.finding is Finding.LATE] == []
    assert backend.jobs[third].cancels == 0
    assert store.strays.pending() == []


def overtaken(store: Ledger, backend: Listing, refusal: QJobsError | None = None) -> JobId:
    """A job whose first process stops between its last word to the ledger and its POST, while another one sends."""
    clock = Clock()
    job_id = create(store)

    def stops() -> None:
        backend.before_post = lambda: None
        clock.sleep(LEASE_S + 1)
        qjobs.submit(store, backend, job_id, strategy=ALLOW, now=clock.now)
        if refusal is not None:
            backend.refusals[SECOND] = refusal

    backend.before_post = stops
    with pytest.raises(Busy, match="another process moved"):
        qjobs.submit(store, backend, job_id, now=clock.now)
    return job_id


def test_late_id(store: Ledger) -> None:
    """The job of a process that was stopped right before its POST, and woke after another had sent, is cancelled."""
    backend = Listing()
    job_id = overtaken(store, backend)
    assert {each: job.cancels for each, job in backend.jobs.items()} == {FIRST: 0, SECOND: 1}
    assert [attempt.remote_id for attempt in store.attempts(job_id)] == [None, FIRST]
    assert store.strays.pending() == []
    check_history(store, job_id)


@pytest.mark.parametrize("refusal", [BackendUnavailable("502"), CredentialsRejected("403")])
def test_late_id_refused(store: Ledger, refusal: QJobsError) -> None:
    """Where it cannot be cancelled at once it is a stray, which is ended later."""
    backend = Listing()
    job_id = overtaken(store, backend, refusal)
    (stray,) = store.strays.pending()
    assert (stray.job_id, stray.remote_id) == (job_id, SECOND)
    backend.refusals.clear()
    assert end_strays(store, backend, [job_id], now=lambda: at(1000)) == []
    assert [job.status for job in backend.jobs.values()] == [S.QUEUED, S.CANCELLED]


def test_late_id_of_the_same_job(store: Ledger) -> None:
    """Where the provider gives both submissions one job, the late reply ends nothing."""
    backend = Listing(DEDUPLICATED)
    job_id = overtaken(store, backend)
    assert (list(backend.jobs), backend.jobs[FIRST].cancels) == ([FIRST], 0)
    assert store.strays.pending() == []
    assert store.job(job_id).status is S.SUBMITTED


def test_late_id_of_what_is_sent(store: Ledger) -> None:
    """A late id that may be that of the submission under way is left until that is settled, and kept if it is."""
    backend = Listing(DEDUPLICATED)
    job_id = create(store)
    first = claim(store, job_id)
    store.submissions.renew(first, lease_s=LEASE_S, now=NOW, sending=True)
    store.submissions.mark_unknown(first, "no reply", now=NOW)
    store.submissions.release(first, "for this test", now=NOW, cause="same key")
    second = claim(store, job_id)
    remote_id = arrives(store, backend, job_id)
    with pytest.raises(StaleJob):
        store.submissions.accept(first, remote_id, now=at(1))
    assert [stray.remote_id for stray in end_strays(store, backend, [job_id], now=lambda: at(1))] == [remote_id]
    store.submissions.accept(second, remote_id, now=at(2))
    assert end_strays(store, backend, [job_id], now=lambda: at(3)) == []
    assert backend.jobs[remote_id].cancels == 0


def test_stray_is_found(store: Ledger) -> None:
    """A job that was to be cancelled and is found for a lost submission is kept, and the history says it in order."""
    backend = Listing()
    job_id = lost(store, backend, when="after")
    store.strays.record(job_id, FIRST, why="late id", now=at(1))
    enter(store, backend, job_id)
    assert (store.strays.pending(), store.job(job_id).status) == ([], S.QUEUED)
    check_history(store, job_id)


def test_lost_and_not_sent_again(store: Ledger) -> None:
    """A LOST job whose next submission never left is still asked for, and found when it is there again."""
    backend = Listing()
    job_id = create(store)
    enter(store, backend, job_id)
    backend.hidden.add(FIRST)
    qjobs.poll(store, backend, [job_id], now=lambda: at(1))
    assert store.job(job_id).status is S.LOST
    held = claim(store, job_id, S.LOST)
    store.submissions.release(held, "its process died", now=at(2))
    backend.hidden.clear()
    qjobs.poll(store, backend, [job_id], now=lambda: at(3))
    assert store.job(job_id).status is S.QUEUED


def given_up(store: Ledger, backend: Listing) -> JobId:
    """A job that its provider no longer knew, given up at 2 s."""
    job_id = create(store)
    enter(store, backend, job_id)
    backend.hidden.add(FIRST)
    qjobs.poll(store, backend, [job_id], now=lambda: at(1))
    assert qjobs.cancel(store, backend, job_id, now=lambda: at(2)).status is S.CANCELLED
    return job_id


@pytest.mark.parametrize("sent_again", [False, True])
def test_given_up_and_back(store: Ledger, sent_again: bool) -> None:
    """A LOST job that was given up is cancelled if it comes back; to send it again does not wait for that."""
    backend = Listing()
    job_id = given_up(store, backend)
    assert end_strays(store, backend, [job_id], now=lambda: at(3)) == []
    if sent_again:
        enter(store, backend, job_id, FORCE, after_s=10.0)
    backend.hidden.clear()
    assert end_strays(store, backend, [job_id], now=lambda: at(5000)) == []
    assert backend.jobs[FIRST].status is S.CANCELLED
    assert len([job for job in backend.jobs.values() if job.status is S.QUEUED]) == sent_again
    assert store.strays.pending() == []


def test_given_up_for_good(store: Ledger) -> None:
    """A LOST job that was given up is asked for during a day."""
    backend = Listing()
    job_id = given_up(store, backend)
    for hours, pending in ((23, 1), (25, 0)):
        assert end_strays(store, backend, [job_id], now=lambda hours=hours: at(3600 * hours)) == []
        assert len(store.strays.pending()) == pending


def test_given_up_and_wanted(store: Ledger) -> None:
    """A LOST job that was given up and is back when its run is entered again is kept."""
    backend = Listing()
    job_id = given_up(store, backend)
    backend.hidden.clear()
    assert enter(store, backend, job_id, after_s=10.0).status is S.QUEUED
    assert (store.strays.pending(), backend.jobs[FIRST].cancels) == ([], 0)
    qjobs.poll(store, backend, [job_id], now=lambda: at(20))
    assert store.job(job_id).status is S.QUEUED
    check_history(store, job_id)


@pytest.mark.parametrize("arrives_late", [False, True])
def test_other_circuits(store: Ledger, arrives_late: bool) -> None:
    """Circuits that were compiled anew never share a key with those whose reply was lost."""
    backend = Listing(DEDUPLICATED, confirm=THREE_TIMES)
    job_id = lost(store, backend)
    old = store.items(job_id)[0].program
    new = a_program("compiled anew")
    store.add_programs([new])
    before = batch_of(store, store.job(job_id))

    def restart(after_s: float) -> None:
        qjobs.submit(
            store,
            backend,
            job_id,
            strategy=FULL,
            policy=RETRY_FOR_EVER,
            programs={old: new.hash},
            now=lambda: at(after_s),
        )

    for seconds in (1.0, 22.0):
        with pytest.raises(Busy, match=r"of 3 answers"):
            restart(seconds)
    restart(700.0)
    (sent,) = backend.jobs.values()
    assert {item.program for item in sent.batch.items} == {new.hash}
    assert sent.key == f"{store.job(job_id).key}-2"
    if arrives_late:
        late = backend.arrives(before, store.job(job_id).key)
        recovery.reconcile(store, {"fake": backend}, now=lambda: at(800))
        assert backend.jobs[late].status is S.CANCELLED
    assert store.job(job_id).status is S.SUBMITTED


def test_other_circuits_unfindable(store: Ledger) -> None:
    """Where only sending again finds a lost job, other circuits wait until that was done."""
    backend = ScriptedBackend(Lookup(token_lifetime_s=math.inf))
    backend.faults.append(Fault(LOST, "after"))
    job_id = create(store)
    with pytest.raises((BackendUnavailable, SubmissionUnknown)):
        enter(store, backend, job_id, after_s=0.0)
    old = store.items(job_id)[0].program
    new = a_program("compiled anew")
    store.add_programs([new])
    replaced = {old: new.hash}
    with pytest.raises(Busy, match=f"qjobs jobs retry {job_id} --strategy ALLOW_RESUBMIT"):
        qjobs.submit(store, backend, job_id, strategy=FULL, programs=replaced, now=lambda: at(1000))
    assert enter(store, backend, job_id, ALLOW, after_s=1001.0).status is S.SUBMITTED
    qjobs.submit(store, backend, job_id, strategy=FULL, policy=RETRY_FOR_EVER, programs=replaced, now=lambda: at(1010))
    assert [job.status for job in backend.jobs.values()] == [S.CANCELLED, S.QUEUED]
