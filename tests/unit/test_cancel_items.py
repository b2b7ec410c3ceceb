"""Cancelling chosen items of a job, by the state of each; and the items that an attempt after a lost one sends."""

from __future__ import annotations

import pytest
from scripted import Fault, ScriptedBackend
from support import NOW, at, check_history, claim, create

import qjobs
from qjobs.backends.base import ItemSnapshot, LostReply, Snapshot
from qjobs.errors import BackendUnavailable, InvalidInput, JobFailed, PolicyLimit, SubmissionUnknown
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId, RemoteId, RemoteRetryStrategy
from qjobs.operations import recover as recovery
from qjobs.operations.retry import RetryPolicy

S = JobStatus
FORCE, ALLOW = RemoteRetryStrategy.FORCE_RESUBMIT, RemoteRetryStrategy.ALLOW_RESUBMIT
FIRST = RemoteId("remote-1")


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend(cancels_items=True)


def now() -> object:
    return at(1)


def statuses(store: Ledger, job_id: JobId) -> list[JobStatus]:
    return [item.status for item in store.items(job_id)]


def test_unsent_items_end_at_once_and_are_not_sent(store: Ledger, backend: ScriptedBackend) -> None:
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


def test_with_its_last_item_the_job_ends(store: Ledger, backend: ScriptedBackend) -> None:
    job_id = create(store)
    qjobs.cancel(store, backend, job_id, items=[0], now=now)
    assert qjobs.cancel(store, backend, job_id, items=[1], now=now).status is S.CANCELLED
    assert qjobs.submit(store, backend, job_id, now=now).status is S.CANCELLED
    assert backend.jobs == {}
    check_history(store, job_id)


def test_chosen_items_of_a_job_under_way(store: Ledger, backend: ScriptedBackend) -> None:
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


def test_completed_wins_and_final_items_are_left_alone(store: Ledger, backend: ScriptedBackend) -> None:
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


def test_all_open_items_are_the_whole_job(store: Ledger) -> None:
    backend = ScriptedBackend(cancels_items=True, confirms_cancel=False)
    job_id = create(store)
    qjobs.submit(store, backend, job_id, now=now)
    qjobs.cancel(store, backend, job_id, items=[0, 1], now=now)
    assert (backend.jobs[FIRST].cancels, backend.jobs[FIRST].cancelled_items) == (1, [])


def test_the_wish_outlives_an_outage(store: Ledger, backend: ScriptedBackend) -> None:
    job_id = create(store)
    qjobs.submit(store, backend, job_id, now=now)
    backend.troubles.append(BackendUnavailable("down"))
    with pytest.raises(BackendUnavailable):
        qjobs.cancel(store, backend, job_id, items=[1], now=now)
    qjobs.poll(store, backend, [job_id], now=now)
    assert statuses(store, job_id)[1] is S.CANCELLED


def test_the_wish_outlives_a_submission_that_was_never_sent(store: Ledger, backend: ScriptedBackend) -> None:
    job_id = create(store)
    attempt = claim(store, job_id)
    store.request_cancel(job_id, items=[0], now=NOW)
    assert statuses(store, job_id) == [S.CREATED, S.CREATED]
    store.submissions.release(attempt, "no route", now=at(1))
    assert statuses(store, job_id) == [S.CANCELLED, S.CREATED]
    qjobs.submit(store, backend, job_id, now=now)
    assert [item.label for item in backend.jobs[FIRST].batch.items] == ["item-1"]
    check_history(store, job_id)


def test_a_provider_that_cancels_whole_jobs_only(store: Ledger) -> None:
    backend = ScriptedBackend()
    job_id = create(store)
    qjobs.submit(store, backend, job_id, now=now)
    with pytest.raises(InvalidInput, match="whole jobs only"):
        qjobs.cancel(store, backend, job_id, items=[0], now=now)
    assert all(item.cancel_requested_at is None for item in store.items(job_id))
    unsent = create(store, "another")
    qjobs.cancel(store, backend, unsent, items=[0], now=now)  # nothing was sent, so nobody is asked
    assert statuses(store, unsent) == [S.CANCELLED, S.CREATED]


@pytest.mark.parametrize("item", [-1, 2])
def test_there_is_no_such_item(store: Ledger, backend: ScriptedBackend, item: int) -> None:
    job_id = create(store)
    with pytest.raises(InvalidInput, match="items 0 to 1"):
        qjobs.cancel(store, backend, job_id, items=[0, item], now=now)
    assert statuses(store, job_id) == [S.CREATED, S.CREATED]


def test_cancelled_items_are_sent_again_only_by_force(store: Ledger, backend: ScriptedBackend) -> None:
    job_id = create(store)
    qjobs.cancel(store, backend, job_id, items=[1], now=now)
    qjobs.submit(store, backend, job_id, now=now)
    backend.report(S.ERROR)
    qjobs.poll(store, backend, [job_id], now=now)
    recovery.retry(store, backend, job_id, statuses=[S.CANCELLED], strategy=FORCE, now=now)
    assert [item.label for item in backend.jobs[RemoteId("remote-2")].batch.items] == ["item-1"]
    assert store.items(job_id)[1].cancel_requested_at is None


def test_what_was_never_sent_goes_along_with_a_retry(store: Ledger, backend: ScriptedBackend) -> None:
    """Otherwise the job could never become final."""
    job_id = create(store)
    qjobs.cancel(store, backend, job_id, items=[1], now=now)
    recovery.retry(store, backend, job_id, statuses=[S.CANCELLED], strategy=FORCE, now=now)
    assert [item.label for item in backend.jobs[FIRST].batch.items] == ["item-0", "item-1"]


@pytest.mark.parametrize("variant", [LostReply.DEDUPLICATED, LostReply.FINDABLE])
def test_an_attempt_after_a_lost_one_sends_the_same_items(store: Ledger, variant: LostReply) -> None:
    """Both carry one key: with other items the provider's answer could be about the other job."""
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


def test_the_cap_on_cost_counts_every_attempt(store: Ledger) -> None:
    class Dear(ScriptedBackend):
        def snapshot(self, remote_id: RemoteId) -> Snapshot:
            status = self.jobs[remote_id].status
            items = tuple(ItemSnapshot(status=each, cost=4.0) for each in self.jobs[remote_id].items)
            return Snapshot(status=status, remote_status="theirs", items=items)

    backend, job_id = Dear(), create(store)
    policy = RetryPolicy(rungs=(), max_submissions=9, max_cost=11.0)
    for reported, spent in (((S.COMPLETED, S.ERROR), 8.0), ((S.ERROR,), 12.0)):
        qjobs.submit(store, backend, job_id, strategy=FORCE, policy=policy, now=now)
        backend.report(*reported)
        qjobs.poll(store, backend, [job_id], now=now)
        assert store.job(job_id).cost == spent
        with pytest.raises(JobFailed):
            qjobs.collect(store, backend, job_id, now=now)
    with pytest.raises(PolicyLimit, match="cost more"):
        qjobs.submit(store, backend, job_id, strategy=FORCE, policy=policy, now=now)
    assert len(backend.jobs) == 2
