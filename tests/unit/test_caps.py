"""The caps of a policy: submissions, time and cost."""

from __future__ import annotations

import pytest
from scripted import FINDABLE, OPAQUE, Fault, ScriptedBackend
from standing import LOST, RETRY_FOR_EVER, a_job, enter
from support import at, create

import qjobs
from qjobs.backends.base import ItemSnapshot, Lookup, Snapshot
from qjobs.errors import (
    BackendUnavailable,
    JobFailed,
    NotSent,
    PolicyLimit,
    SubmissionUnknown,
)
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import RemoteId, RemoteRetryStrategy
from qjobs.operations.retry import Action, RetryPolicy

S = JobStatus
DEFAULT, ALLOW, FORCE, FULL = RemoteRetryStrategy
FIRST, SECOND = RemoteId("remote-1"), RemoteId("remote-2")


def capped(max_cost: float) -> RetryPolicy:
    return RetryPolicy(rungs=(), max_cost=max_cost)


def test_first_submission(store: Ledger) -> None:
    """A first submission above the cap is refused before anything is sent or claimed."""
    backend = ScriptedBackend(price=4.0)
    job_id = create(store)
    for strategy in RemoteRetryStrategy:
        with pytest.raises(PolicyLimit, match=r"would cost 8 .* 7\.5"):
            enter(store, backend, job_id, strategy, policy=capped(7.5))
    assert (backend.jobs, store.attempts(job_id), store.job(job_id).status) == ({}, [], S.CREATED)
    assert enter(store, backend, job_id, policy=capped(8.0)).action is Action.SUBMIT


def test_unknown_price(store: Ledger, backend: ScriptedBackend) -> None:
    """Where nobody can tell the price, a job with a cap is not sent."""
    job_id = create(store)
    with pytest.raises(PolicyLimit, match="nobody can tell"):
        enter(store, backend, job_id, policy=capped(1e9))
    assert not backend.jobs
    assert enter(store, backend, job_id).action is Action.SUBMIT


def test_free(store: Ledger) -> None:
    """What is free is within every cap."""
    assert enter(store, ScriptedBackend(price=0.0), create(store), policy=capped(0.0)).action is Action.SUBMIT


def test_cost_of_a_part(store: Ledger) -> None:
    """A resubmission counts what it sends, and is refused before anything is cancelled."""
    backend = ScriptedBackend(price=1.0)
    job_id = create(store, n_items=3)
    enter(store, backend, job_id)
    with pytest.raises(PolicyLimit, match="would cost 3"):
        enter(store, backend, job_id, FORCE, policy=capped(2.0))
    assert backend.jobs[FIRST].cancels == 0
    backend.report(S.COMPLETED, S.ERROR, S.ERROR)
    qjobs.poll(store, backend, [job_id], now=lambda: at(1))
    with pytest.raises(PolicyLimit, match="would cost 2"):
        enter(store, backend, job_id, FORCE, policy=capped(1.0))
    qjobs.submit(store, backend, job_id, strategy=FORCE, only=[2], policy=capped(1.0), now=lambda: at(1))
    assert [item.label for item in backend.jobs[SECOND].batch.items] == ["item-2"]


def test_max_submissions(store: Ledger) -> None:
    """The number of submissions is capped, which is checked before anything is cancelled."""
    backend = ScriptedBackend()
    job_id = a_job(store, "open", backend)
    policy = RetryPolicy(rungs=(), max_submissions=2)
    enter(store, backend, job_id, FULL, policy=policy)
    for strategy in (FORCE, FULL):
        with pytest.raises(PolicyLimit, match="2 times") as caught:
            enter(store, backend, job_id, strategy, policy=policy)
        assert caught.value.job_id == job_id
    assert [job.cancels for job in backend.jobs.values()] == [1, 0]


@pytest.mark.parametrize("variant", [FINDABLE, OPAQUE])
def test_lost_ones_count(store: Ledger, variant: Lookup) -> None:
    """Submissions whose reply was lost count."""
    backend = ScriptedBackend(variant)
    backend.faults += [Fault(LOST) for _ in range(9)]
    job_id = create(store)
    calls: list[int] = []
    backend.before_submit = lambda: calls.append(1)
    for _ in range(6):
        with pytest.raises((BackendUnavailable, SubmissionUnknown, PolicyLimit)):
            enter(store, backend, job_id, ALLOW)
    assert len(calls) == 3


def test_not_sent_does_not_count(store: Ledger) -> None:
    """What was never sent does not count."""
    backend = ScriptedBackend()
    backend.faults += [Fault(NotSent("no route")) for _ in range(5)]
    job_id = create(store)
    for _ in range(5):
        with pytest.raises(NotSent):
            enter(store, backend, job_id)
    assert enter(store, backend, job_id).action is Action.SUBMIT


def test_cost_of_every_attempt(store: Ledger) -> None:
    """The cap on cost counts every attempt."""

    class Dear(ScriptedBackend):
        def snapshot(self, remote_id: RemoteId) -> Snapshot:
            status = self.jobs[remote_id].status
            items = tuple(ItemSnapshot(status=each, cost=4.0) for each in self.jobs[remote_id].items)
            return Snapshot(status=status, remote_status="theirs", items=items)

    backend, job_id = Dear(price=1.0), create(store)
    policy = RetryPolicy(rungs=(), max_submissions=9, max_cost=11.0)
    for reported, spent in (((S.COMPLETED, S.ERROR), 8.0), ((S.ERROR,), 12.0)):
        enter(store, backend, job_id, FORCE, policy=policy)
        backend.report(*reported)
        qjobs.poll(store, backend, [job_id])
        assert store.job(job_id).cost == spent
        with pytest.raises(JobFailed):
            qjobs.collect(store, backend, job_id)
    with pytest.raises(PolicyLimit, match="would cost 13 in all"):
        enter(store, backend, job_id, FORCE, policy=policy)
    assert len(backend.jobs) == 2


def test_time_at_the_provider(store: Ledger, backend: ScriptedBackend) -> None:
    """Only the time spent trying to submit counts: neither that in a queue, nor that after a refusal."""
    policy = RetryPolicy(rungs=(), max_total_s=100.0, max_submissions=9)
    job_id = a_job(store, "incomplete", backend)
    assert enter(store, backend, job_id, FORCE, after_s=1e6, policy=policy).action is Action.SUBMIT
    refused = a_job(store, "rejected", backend, "refused")
    assert enter(store, backend, refused, ALLOW, after_s=1e6, policy=policy).action is Action.SUBMIT


def test_time(store: Ledger, backend: ScriptedBackend) -> None:
    """A submission that was tried for longer than the cap is not tried again, by any strategy."""
    policy = RetryPolicy(rungs=(), max_total_s=100.0, max_submissions=9)
    job_id = a_job(store, "lost, does not exist", backend)
    for strategy in (ALLOW, FORCE, FULL):
        with pytest.raises(PolicyLimit, match="200 s were spent") as refused:
            enter(store, backend, job_id, strategy, after_s=201.0, policy=policy)
        named = FULL if strategy is FULL else FORCE
        assert f"qjobs jobs retry {job_id} --strategy {named} --max-total-s" in str(refused.value)
    assert enter(store, backend, job_id, FORCE, after_s=201.0, policy=RETRY_FOR_EVER).action is Action.SUBMIT
