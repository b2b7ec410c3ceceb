"""Recover: retry, rerun, reconcile, adopt, discard and orphans, against a backend that does as it is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scripted import DEDUPLICATED, FINDABLE, OPAQUE, Clock, Fault, ScriptedBackend, SteppedBackend
from standing import a_job
from support import a_program, at, check_history, create, job_moves

import qjobs
from qjobs.backends.base import PlainJournal, RemoteJob
from qjobs.errors import BackendUnavailable, Busy, InvalidInput, SubmissionUnknown
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId, Key, Lookup, RemoteId, RemoteRetryStrategy
from qjobs.operations import recover as recovery
from qjobs.operations.collect import store_results
from qjobs.operations.recover import Finding
from qjobs.operations.retry import Action

S, R = JobStatus, RemoteRetryStrategy
LOST = SubmissionUnknown("the connection broke")
STATES = [S.CREATED, S.SUBMITTED, S.UNKNOWN, S.COMPLETED, S.ERROR, S.CANCELLED]


def submitted(ledger: Ledger, backend: ScriptedBackend, clock: Clock, key: str = "key", n_items: int = 2) -> JobId:
    job_id = create(ledger, key, n_items=n_items)
    qjobs.submit(ledger, backend, job_id, now=clock.now)
    return job_id


def failed(ledger: Ledger, backend: ScriptedBackend, clock: Clock) -> JobId:
    """One item done and kept, one in ERROR, one CANCELLED."""
    job_id = submitted(ledger, backend, clock, n_items=3)
    backend.report(S.COMPLETED, S.ERROR, S.CANCELLED)
    qjobs.poll(ledger, backend, [job_id], now=clock.now)
    store_results(ledger, backend, ledger.job(job_id), now=clock.now)
    return job_id


@pytest.mark.parametrize(
    ("statuses", "sent"),
    [((S.ERROR,), (1,)), ((S.CANCELLED,), (2,)), ((S.ERROR, S.CANCELLED), (1, 2)), ((S.COMPLETED,), None)],
)
def test_retry_by_status(
    ledger: Ledger, clock: Clock, statuses: tuple[JobStatus, ...], sent: tuple[int, ...] | None
) -> None:
    """Items are retried by their status; results that are there are kept."""
    backend = ScriptedBackend()
    job_id = failed(ledger, backend, clock)
    kept = ledger.results(job_id)
    done = recovery.retry(ledger, backend, job_id, statuses=statuses, strategy=R.FORCE_RESUBMIT, now=clock.now)
    assert ledger.results(job_id) == kept
    if sent is None:
        assert (done.action, len(backend.jobs)) == (Action.RETURN, 1)
        return
    assert (done.action, len(backend.jobs)) == (Action.SUBMIT, 2)
    assert ledger.attempts(job_id)[-1].items == sent
    check_history(ledger, job_id)


@pytest.mark.parametrize(
    ("standing", "strategy", "n_remote"),
    [
        ("new", R.DEFAULT, 1),
        ("not sent", R.DEFAULT, 1),
        ("rejected", R.ALLOW_RESUBMIT, 1),
        ("lost, exists", R.ALLOW_RESUBMIT, 1),
        ("lost, does not exist", R.ALLOW_RESUBMIT, 1),
        ("forgotten", R.FORCE_RESUBMIT, 2),
        ("reserved", R.DEFAULT, 1),
        ("incomplete", R.FORCE_RESUBMIT, 2),
    ],
)
def test_retry_as_advised(store: Ledger, standing: str, strategy: RemoteRetryStrategy, n_remote: int) -> None:
    """A retry without statuses does what the messages advise for every job that is not at its provider."""
    backend = SteppedBackend() if standing == "reserved" else ScriptedBackend()
    job_id = a_job(store, standing, backend)
    done = recovery.retry(store, backend, job_id, strategy=strategy, now=lambda: at(2))
    assert done.action is not Action.RETURN
    assert len(backend.jobs) == n_remote
    assert store.job(job_id).status in {S.SUBMITTED, S.QUEUED}
    check_history(store, job_id)


def test_retry_by_default(store: Ledger, clock: Clock) -> None:
    """A retry without statuses takes the items in ERROR, and says how to name others."""
    backend = ScriptedBackend()
    job_id = failed(store, backend, clock)
    recovery.retry(store, backend, job_id, strategy=R.FORCE_RESUBMIT, now=clock.now)
    assert store.attempts(job_id)[-1].items == (1,)
    backend.report(S.COMPLETED)
    qjobs.poll(store, backend, [job_id], now=clock.now)
    qjobs.collect(store, backend, job_id, partial=True, now=clock.now)
    done = recovery.retry(store, backend, job_id, strategy=R.FORCE_RESUBMIT, now=clock.now)
    assert (done.action, len(backend.jobs)) == (Action.RETURN, 2)
    assert f"qjobs jobs retry {job_id} --status CANCELLED --strategy FORCE_RESUBMIT" in done.reason


def test_restart_with_other_programs(store: Ledger, clock: Clock) -> None:
    """A restart sends the newly compiled circuits; what the old ones gave stays readable."""
    backend = ScriptedBackend()
    job_id = failed(store, backend, clock)
    (old,) = {item.program for item in store.items(job_id)}
    new = a_program("compiled anew")
    store.add_programs([new])
    recovery.retry(store, backend, job_id, strategy=R.FULL_RESTART, programs={old: new.hash}, now=clock.now)
    sent = backend.jobs[RemoteId("remote-2")].batch
    assert {item.program for item in sent.items} == {new.hash} == set(sent.programs)
    assert sent.programs[new.hash].payload == b"compiled anew"
    assert {item.program for item in store.items(job_id)} == {new.hash}
    assert set(store.results(job_id, epoch=store.attempts(job_id)[0].epoch)) == {0}
    backend.report(S.ERROR, S.COMPLETED, S.COMPLETED)
    qjobs.poll(store, backend, [job_id], now=clock.now)
    recovery.retry(store, backend, job_id, strategy=R.FORCE_RESUBMIT, now=clock.now)
    assert {item.program for item in backend.jobs[RemoteId("remote-3")].batch.items} == {new.hash}


def test_full_restart(ledger: Ledger, clock: Clock) -> None:
    """FULL_RESTART is a new epoch."""
    backend = ScriptedBackend()
    job_id = failed(ledger, backend, clock)
    done = recovery.retry(ledger, backend, job_id, strategy=R.FULL_RESTART, now=clock.now)
    assert done.action is Action.RESTART
    assert [len(job.batch.items) for job in backend.jobs.values()] == [3, 3]
    assert ledger.attempts(job_id)[-1].items is None
    assert ledger.results(job_id) == {}
    assert set(ledger.results(job_id, epoch=ledger.job(job_id).epoch - 1)) == {0}


def lost(ledger: Ledger, backend: ScriptedBackend, clock: Clock, *, when: str = "after", key: str = "key") -> JobId:
    """An UNKNOWN job; with "after" the provider has it, with "before" it does not."""
    backend.faults.append(Fault(LOST, when))
    job_id = create(ledger, key)
    with pytest.raises((BackendUnavailable, SubmissionUnknown)):
        qjobs.submit(ledger, backend, job_id, now=clock.now)
    assert ledger.job(job_id).status is S.UNKNOWN
    return job_id


@pytest.mark.parametrize("state", STATES)
def test_rerun(ledger: Ledger, clock: Clock, state: JobStatus) -> None:
    """A rerun is a new job of the same definition, from any status, and leaves the old one alone."""
    backend = ScriptedBackend()
    if state is S.CREATED:
        job_id = create(ledger)
    elif state is S.UNKNOWN:
        job_id = lost(ledger, backend, clock)
    else:
        job_id = submitted(ledger, backend, clock)
        if state is not S.SUBMITTED:
            backend.report(state, state)
            qjobs.poll(ledger, backend, [job_id], now=clock.now)
    assert ledger.job(job_id).status is state
    before, events = ledger.job(job_id), ledger.events(job_id)
    created = len(backend.jobs)
    ids = [recovery.rerun(ledger, job_id, "again", now=clock.now) for _ in range(2)]
    assert (ledger.job(job_id), ledger.events(job_id), len(backend.jobs)) == (before, events, created)
    new = [ledger.job(one) for one in ids]
    assert len({before.key, *(one.key for one in new)}) == 3
    for one in new:
        assert (one.status, one.name, one.n_items) == (S.CREATED, "again", 2)
        assert one.properties["rerun_of"] == job_id
        shown = [(item.label, item.program, item.shots, item.parameters) for item in ledger.items(one.job_id)]
        assert shown == [(i.label, i.program, i.shots, i.parameters) for i in ledger.items(job_id)]
    qjobs.submit(ledger, backend, ids[0], now=clock.now)
    assert len(backend.jobs) == created + 1


def test_rerun_needs_a_name(ledger: Ledger) -> None:
    """A rerun needs a name."""
    with pytest.raises(InvalidInput, match="name of its own"):
        recovery.rerun(ledger, create(ledger), " ")


@pytest.mark.parametrize(
    ("kind", "when", "finding", "status"),
    [
        (FINDABLE, "after", Finding.ADOPTED, S.QUEUED),
        (DEDUPLICATED, "after", Finding.ADOPTED, S.QUEUED),
        (FINDABLE, "before", Finding.NOT_FOUND, S.UNKNOWN),
        (OPAQUE, "after", Finding.OPAQUE, S.UNKNOWN),
    ],
)
def test_reconcile(ledger: Ledger, clock: Clock, kind: Lookup, when: str, finding: Finding, status: JobStatus) -> None:
    """What is found by its key is adopted; all else stays UNKNOWN; nothing is sent."""
    backend = ScriptedBackend(kind)
    job_id = lost(ledger, backend, clock, when=when)
    created = len(backend.jobs)
    (one,) = recovery.reconcile(ledger, {"fake": backend}, now=clock.now)
    assert (one.job_id, one.finding, ledger.job(job_id).status) == (job_id, finding, status)
    assert one.words
    assert len(backend.jobs) == created, "reconcile sends nothing"
    check_history(ledger, job_id)


def test_reconcile_later(ledger: Ledger, clock: Clock) -> None:
    """A provider that cannot be asked is asked later."""
    backend = ScriptedBackend()
    job_id = lost(ledger, backend, clock)
    backend.troubles.append(BackendUnavailable("502"))
    (one,) = recovery.reconcile(ledger, {"fake": backend}, now=clock.now)
    assert (one.finding, one.words) == (Finding.LATER, "502")
    assert recovery.reconcile(ledger, {}, now=clock.now) == []
    (one,) = recovery.reconcile(ledger, {"fake": backend}, now=clock.now)
    assert one.finding is Finding.ADOPTED
    assert recovery.reconcile(ledger, {"fake": backend}, now=clock.now) == []
    assert ledger.attempts(job_id)[-1].remote_id == "remote-1"


def test_adopt(ledger: Ledger, clock: Clock) -> None:
    """The remote job that a person names is adopted, once."""
    backend = ScriptedBackend(OPAQUE)
    job_id = lost(ledger, backend, clock)
    assert recovery.adopt(ledger, backend, job_id, RemoteId("remote-1"), now=clock.now).status is S.QUEUED
    assert (S.UNKNOWN, S.SUBMITTED, "adopted by a person") in job_moves(ledger, job_id)
    with pytest.raises(InvalidInput, match="only an UNKNOWN job"):
        recovery.adopt(ledger, backend, job_id, RemoteId("remote-1"), now=clock.now)


class Listing(ScriptedBackend):
    """Shows its jobs with their keys, as a findable provider may."""

    def status(self, remote_ids):
        return super().status([one for one in remote_ids if one in self.jobs])

    def remote_jobs(self) -> list[RemoteJob]:
        return [RemoteJob(remote_id=job.remote_id, key=job.key, n_items=len(job.items)) for job in self.jobs.values()]


def test_adopt_refuses(ledger: Ledger, clock: Clock) -> None:
    """What is unknown, another job's, or of other content is not adopted."""
    backend = Listing()
    other = submitted(ledger, backend, clock, key="other")
    batch = backend.jobs[RemoteId("remote-1")].batch
    backend.submit(batch, Key("foreign"), PlainJournal(accepted=lambda _: None))
    backend.submit(replace(batch, items=batch.items[:1]), Key("narrow"), PlainJournal(accepted=lambda _: None))
    job_id = lost(ledger, backend, clock, when="before")
    events = ledger.events(job_id)
    for remote_id, words in {
        "nope": "does not know it",
        "remote-1": f"already belongs to {other}",
        "remote-2": "carries another key",
        "remote-3": "1 items, and 2 were sent",
    }.items():
        with pytest.raises(InvalidInput, match=words):
            recovery.adopt(ledger, backend, job_id, RemoteId(remote_id), now=clock.now)
    assert ledger.job(job_id).status is S.UNKNOWN
    assert ledger.events(job_id) == events


def test_adopt_reserved(ledger: Ledger, clock: Clock) -> None:
    """What a provider has merely reserved is not adopted: it would never run, and be waited for."""
    backend = SteppedBackend()
    job_id = lost(ledger, backend, clock, when="before")
    forgotten = RemoteId("remote-2")
    backend.reserved[forgotten] = ledger.job(job_id).key
    with pytest.raises(InvalidInput, match=f"go on with: qjobs jobs retry {job_id}"):
        recovery.adopt(ledger, backend, job_id, forgotten, now=clock.now)
    assert ledger.attempts(job_id)[-1].remote_id == "remote-1"


def test_discard(ledger: Ledger, clock: Clock) -> None:
    """A discarded job is as it was before it was sent."""
    backend = ScriptedBackend(OPAQUE)
    job_id = lost(ledger, backend, clock, when="before")
    assert recovery.discard(ledger, job_id, now=clock.now).status is S.CREATED
    with pytest.raises(InvalidInput, match="only an UNKNOWN or LOST job"):
        recovery.discard(ledger, job_id, now=clock.now)
    qjobs.submit(ledger, backend, job_id, now=clock.now)
    assert len(backend.jobs) == 1
    check_history(ledger, job_id)


def test_orphans(ledger: Ledger, clock: Clock) -> None:
    """Orphans are remote jobs with a key of ours that no row claims."""
    backend = Listing()
    submitted(ledger, backend, clock, key="claimed")
    job_id = lost(ledger, backend, clock)
    (orphan,) = recovery.orphans(ledger, backend)
    assert (orphan.remote_id, orphan.key) == ("remote-2", ledger.job(job_id).key)
    recovery.reconcile(ledger, {"fake": backend}, now=clock.now)
    assert recovery.orphans(ledger, backend) == []
    backend.name = "the same account by another name"
    assert recovery.orphans(ledger, backend) == []
    with pytest.raises(InvalidInput, match="cannot list jobs"):
        recovery.orphans(ledger, ScriptedBackend())


def test_two_decisions(ledger: Ledger, clock: Clock) -> None:
    """Of two people who decide at once, the first one's decision holds and the second is told so."""
    backend = ScriptedBackend(OPAQUE)
    job_id = lost(ledger, backend, clock)

    class Slow(ScriptedBackend):
        def status(self, remote_ids: object) -> object:
            recovery.discard(ledger, job_id, now=clock.now)
            return backend.status(remote_ids)

    with pytest.raises(Busy, match="another process decided"):
        recovery.adopt(ledger, Slow(OPAQUE), job_id, RemoteId("remote-1"), now=clock.now)
    assert ledger.job(job_id).status is S.CREATED
    assert "remote-1" in ledger.events(job_id)[-1].detail  # the id is kept
