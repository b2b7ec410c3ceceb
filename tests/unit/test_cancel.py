"""Cancel: by the status of the job and of each item; a cancellation that was asked for is never forgotten."""

from __future__ import annotations

import pytest
from scripted import DEDUPLICATED, FINDABLE, Fault, ScriptedBackend
from standing import LOST, a_job, enter
from support import NOW, at, check_history, claim, create

import qjobs
from qjobs.backends.base import Lookup
from qjobs.errors import (
    BackendUnavailable,
    InvalidInput,
    JobFailed,
    SubmissionUnknown,
)
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId, RemoteId, RemoteRetryStrategy
from qjobs.operations import recover as recovery
from qjobs.operations.retry import Action

S = JobStatus
DEFAULT, ALLOW, FORCE, FULL = RemoteRetryStrategy
FIRST = RemoteId("remote-1")


def test_by_status(store: Ledger) -> None:
    """What is open is asked once and confirmed by a poll; what is final is left alone."""
    backend = ScriptedBackend(confirms_cancel=False)
    open_one = create(store, "open")
    enter(store, backend, open_one)
    assert qjobs.cancel(store, backend, open_one).status is S.CANCELLING
    assert qjobs.cancel(store, backend, open_one).status is S.CANCELLING
    assert backend.jobs[RemoteId("remote-1")].cancels == 1  # the provider knows of it
    backend.report(S.COMPLETED, S.CANCELLED)
    qjobs.poll(store, backend, [open_one])
    assert store.job(open_one).status is S.CANCELLED
    assert len(store.results(open_one)) == 0
    assert qjobs.collect(store, backend, open_one, partial=True).results.keys() == {0}
    for standing in ("complete", "incomplete"):
        done = ScriptedBackend(name=f"of {standing}")
        store_key = create(store, standing)
        enter(store, done, store_key)
        done.report(S.COMPLETED, S.COMPLETED if standing == "complete" else S.ERROR)
        qjobs.poll(store, done, [store_key])
        before = store.job(store_key)
        assert qjobs.cancel(store, done, store_key) == before
        assert done.jobs[RemoteId("remote-1")].cancels == 0


@pytest.mark.parametrize("strategy", [DEFAULT, ALLOW])
@pytest.mark.parametrize("standing", ["new", "not sent"])
def test_before_sending(store: Ledger, standing: str, strategy: RemoteRetryStrategy) -> None:
    """A job that was cancelled before it was sent is sent by FORCE_RESUBMIT only."""
    backend = ScriptedBackend()
    job_id = a_job(store, standing, backend)
    assert qjobs.cancel(store, backend, job_id).status is S.CANCELLED
    got = enter(store, backend, job_id, strategy)
    assert (got.action, got.status, got.remote_id) == (Action.RETURN, S.CANCELLED, None)
    assert not backend.jobs
    assert enter(store, backend, job_id, FORCE).action is Action.SUBMIT  # asked for in words


def test_during_lost_call(store: Ledger) -> None:
    """A cancellation during a lost call holds."""
    for number, exists in enumerate((True, False)):
        backend = ScriptedBackend()
        job_id = create(store, f"key-{number}")
        backend.faults.append(Fault(LOST, "after" if exists else "before"))
        with pytest.raises(BackendUnavailable):
            enter(store, backend, job_id)
        assert qjobs.cancel(store, backend, job_id).status is S.UNKNOWN
        got = enter(store, backend, job_id, ALLOW)
        assert got.status is S.CANCELLED
        assert [job.cancels for job in backend.jobs.values()] == ([1] if exists else [])


@pytest.mark.parametrize(("items", "left"), [(None, S.CANCELLED), ([1], S.RUNNING)])
def test_unreachable(store: Ledger, backend: ScriptedBackend, items: list[int] | None, left: JobStatus) -> None:
    """A cancellation of a job or of items outlives a provider that cannot be reached."""
    job_id = a_job(store, "open", backend)
    backend.troubles.append(BackendUnavailable("502"))
    with pytest.raises(BackendUnavailable):
        qjobs.cancel(store, backend, job_id, items=items)
    assert (store.job(job_id).cancel_requested_at is None) == (items is not None)
    assert qjobs.poll(store, backend, [job_id]) == {job_id: left}
    assert statuses(store, job_id) == [left, S.CANCELLED]


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend(cancels_items=True)


def now() -> object:
    return at(1)


def statuses(store: Ledger, job_id: JobId) -> list[JobStatus]:
    return [item.status for item in store.items(job_id)]


def test_unsent_items(store: Ledger, backend: ScriptedBackend) -> None:
    """Unsent items end at once and are not sent."""
    job_id = create(store, n_items=3)
    for _ in range(2):
        job = qjobs.cancel(store, backend, job_id, items=[1], now=now)
    assert (job.status, job.cancel_requested_at) == (S.CREATED, None)
    assert statuses(store, job_id) == [S.CREATED, S.CANCELLED, S.CREATED]
    qjobs.submit(store, backend, job_id, now=now)
    assert [item.label for item in backend.jobs[FIRST].batch.items] == ["item-0", "item-2"]
    backend.report(S.COMPLETED, S.COMPLETED)
    qjobs.poll(store, backend, [job_id], now=now)
    with pytest.raises(JobFailed, match="1 of 3 items"):
        qjobs.collect(store, backend, job_id, now=now)
    assert store.job(job_id).status is S.CANCELLED
    assert set(store.results(job_id)) == {0, 2}
    check_history(store, job_id)


def test_last_item(store: Ledger, backend: ScriptedBackend) -> None:
    """With its last item the job ends."""
    job_id = create(store)
    qjobs.cancel(store, backend, job_id, items=[0], now=now)
    assert qjobs.cancel(store, backend, job_id, items=[1], now=now).status is S.CANCELLED
    assert qjobs.submit(store, backend, job_id, now=now).status is S.CANCELLED
    assert backend.jobs == {}
    check_history(store, job_id)


def test_chosen_items(store: Ledger, backend: ScriptedBackend) -> None:
    """Chosen items of a job under way are asked for by their place in the attempt."""
    job_id = create(store, n_items=3)
    qjobs.cancel(store, backend, job_id, items=[0], now=now)  # so that positions are not indices
    qjobs.submit(store, backend, job_id, now=now)
    backend.confirms_cancel = False
    for _ in range(2):
        qjobs.cancel(store, backend, job_id, items=[2], now=now)
    assert backend.jobs[FIRST].cancelled_items == [1]  # asked once: the provider knows of it
    assert statuses(store, job_id) == [S.CANCELLED, S.QUEUED, S.CANCELLING]
    backend.report(S.COMPLETED, S.CANCELLED)
    qjobs.poll(store, backend, [job_id], now=now)
    assert statuses(store, job_id) == [S.CANCELLED, S.COMPLETED, S.CANCELLED]
    check_history(store, job_id)


def test_completed_wins(store: Ledger, backend: ScriptedBackend) -> None:
    """COMPLETED wins, and final items are left alone."""
    job_id = create(store)
    qjobs.submit(store, backend, job_id, now=now)
    backend.report(S.COMPLETED, S.QUEUED)
    qjobs.poll(store, backend, [job_id], now=now)
    qjobs.cancel(store, backend, job_id, items=[0], now=now)
    assert backend.jobs[FIRST].cancels == 0
    assert store.items(job_id)[0].cancel_requested_at is None
    backend.confirms_cancel = False
    qjobs.cancel(store, backend, job_id, items=[1], now=now)
    backend.report(S.COMPLETED, S.COMPLETED)
    qjobs.poll(store, backend, [job_id], now=now)
    assert store.job(job_id).status is S.COMPLETED


def test_all_items(store: Ledger) -> None:
    """All open items are the whole job."""
    backend = ScriptedBackend(cancels_items=True, confirms_cancel=False)
    job_id = create(store)
    qjobs.submit(store, backend, job_id, now=now)
    qjobs.cancel(store, backend, job_id, items=[0, 1], now=now)
    assert (backend.jobs[FIRST].cancels, backend.jobs[FIRST].cancelled_items) == (1, [])


def test_items_during_not_sent(store: Ledger, backend: ScriptedBackend) -> None:
    """A cancellation of items outlives a submission that was never sent."""
    job_id = create(store)
    attempt = claim(store, job_id)
    store.request_cancel(job_id, items=[0], now=NOW)
    assert statuses(store, job_id) == [S.CREATED, S.CREATED]
    store.submissions.release(attempt, "no route", now=at(1))
    assert statuses(store, job_id) == [S.CANCELLED, S.CREATED]
    qjobs.submit(store, backend, job_id, now=now)
    assert [item.label for item in backend.jobs[FIRST].batch.items] == ["item-1"]
    check_history(store, job_id)


def test_whole_jobs_only(store: Ledger) -> None:
    """A provider that cancels whole jobs only refuses items of what it has."""
    backend = ScriptedBackend()
    job_id = create(store)
    qjobs.submit(store, backend, job_id, now=now)
    with pytest.raises(InvalidInput, match="whole jobs only"):
        qjobs.cancel(store, backend, job_id, items=[0], now=now)
    assert all(item.cancel_requested_at is None for item in store.items(job_id))
    unsent = create(store, "another")
    qjobs.cancel(store, backend, unsent, items=[0], now=now)  # nothing was sent, so nobody is asked
    assert statuses(store, unsent) == [S.CANCELLED, S.CREATED]


def test_resent_by_force(store: Ledger, backend: ScriptedBackend) -> None:
    """Cancelled items are sent again only by FORCE_RESUBMIT."""
    job_id = create(store)
    qjobs.cancel(store, backend, job_id, items=[1], now=now)
    qjobs.submit(store, backend, job_id, now=now)
    backend.report(S.ERROR)
    qjobs.poll(store, backend, [job_id], now=now)
    recovery.retry(store, backend, job_id, statuses=[S.CANCELLED], strategy=FORCE, now=now)
    assert [item.label for item in backend.jobs[RemoteId("remote-2")].batch.items] == ["item-1"]
    assert store.items(job_id)[1].cancel_requested_at is None


def test_unsent_goes_along(store: Ledger, backend: ScriptedBackend) -> None:
    """What was never sent goes along with a retry: otherwise the job could never become final."""
    job_id = create(store)
    qjobs.cancel(store, backend, job_id, items=[1], now=now)
    recovery.retry(store, backend, job_id, statuses=[S.CANCELLED], strategy=FORCE, now=now)
    assert [item.label for item in backend.jobs[FIRST].batch.items] == ["item-0", "item-1"]


@pytest.mark.parametrize("variant", [DEDUPLICATED, FINDABLE])
def test_same_items_after_loss(store: Ledger, variant: Lookup) -> None:
    """An attempt after a lost one sends the same items, because both carry one key."""
    backend = ScriptedBackend(variant)
    job_id = create(store, n_items=3)
    qjobs.submit(store, backend, job_id, now=now)
    backend.report(S.COMPLETED, S.ERROR, S.ERROR)
    qjobs.poll(store, backend, [job_id], now=now)
    backend.faults.append(Fault(SubmissionUnknown("the connection broke")))
    with pytest.raises(BackendUnavailable):
        qjobs.submit(store, backend, job_id, strategy=FORCE, only=[1], now=now)
    qjobs.submit(store, backend, job_id, strategy=FORCE, only=[2], now=now)
    second = backend.jobs[RemoteId("remote-2")]
    assert [item.label for item in second.batch.items] == ["item-1"]
    assert store.attempts(job_id)[-1].items == (1,)
    assert second.key.startswith(f"{store.job(job_id).key}-2.")
