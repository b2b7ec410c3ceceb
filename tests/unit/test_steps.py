"""A provider that takes a job in steps: what is reserved, and what the reply to the last step was lost of."""

from __future__ import annotations

import pytest
from scripted import Fault, ScriptedBackend, SteppedBackend
from standing import a_job, enter, newest
from support import at, check_history, counts, create, job_moves

import qjobs
from qjobs.backends.base import Confirmation
from qjobs.errors import AlreadyRuns, BackendUnavailable, Busy, InvalidInput, NotSent, ProtocolError, SubmissionRejected
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import RemoteId, RemoteRetryStrategy
from qjobs.operations import recover as recovery
from qjobs.operations.attempts import batch_of
from qjobs.operations.recover import Finding
from qjobs.operations.retry import Action

S = JobStatus
DEFAULT, ALLOW, FORCE, FULL = RemoteRetryStrategy
FIRST, SECOND = RemoteId("remote-1"), RemoteId("remote-2")
REFUSED = SubmissionRejected("no", detail="too wide")


@pytest.fixture
def backend() -> SteppedBackend:
    return SteppedBackend()


@pytest.mark.parametrize("error", [BackendUnavailable("502"), RuntimeError("bad JSON"), OSError("reset")])
def test_reserved(store: Ledger, backend: SteppedBackend, error: Exception) -> None:
    """Whatever fails once an id is reserved leaves it reserved, and it is gone on with."""
    job_id = create(store)
    backend.faults.append(Fault(error, "reserved"))
    with pytest.raises(BackendUnavailable):
        enter(store, backend, job_id)
    (attempt,) = store.attempts(job_id)
    assert (attempt.remote_id, attempt.sent_at, attempt.is_reserved) == (FIRST, None, True)
    assert qjobs.poll(store, backend, [job_id], now=lambda: at(1)) == {job_id: S.UNKNOWN}
    (found,) = recovery.reconcile(store, {"fake": backend}, now=lambda: at(1))
    assert (found.finding, f"qjobs jobs retry {job_id}" in found.words) == (Finding.LATER, True)
    assert recovery.retry(store, backend, job_id, now=lambda: at(2)).action is Action.RESUME
    assert (list(backend.jobs), len(store.attempts(job_id))) == ([FIRST], 1)
    check_history(store, job_id)


def test_gone(store: Ledger, backend: SteppedBackend) -> None:
    """What was reserved and is gone is sent anew, by DEFAULT too: it never ran."""
    job_id = a_job(store, "reserved", backend)
    backend.reserved.clear()
    got = enter(store, backend, job_id)
    assert (got.action, list(backend.jobs)) == (Action.SUBMIT, [RemoteId("remote-1")])
    assert "is gone" in got.reason
    assert (S.SUBMITTING, S.CREATED, "never ran") in job_moves(store, job_id)
    check_history(store, job_id)


@pytest.mark.parametrize("when", ["resume", "submit"])
def test_refused_step(store: Ledger, backend: SteppedBackend, when: str) -> None:
    """What was reserved and is refused is ended before anything is sent anew."""
    if when == "submit":
        job_id = create(store)
        backend.faults.append(Fault(REFUSED, "before"))
        with pytest.raises(SubmissionRejected) as caught:
            enter(store, backend, job_id)
        assert (caught.value.job_id, store.job(job_id).status) == (job_id, S.ERROR)
        with pytest.raises(SubmissionRejected, match="too wide"):
            enter(store, backend, job_id)
        enter(store, backend, job_id, ALLOW)
    else:
        job_id = a_job(store, "reserved", backend)
        backend.faults.append(Fault(REFUSED, "before"))
        assert enter(store, backend, job_id).action is Action.SUBMIT
    assert (backend.abandoned, backend.reserved, list(backend.jobs)) == ([FIRST], {}, [SECOND])
    check_history(store, job_id)


class Unwilling(SteppedBackend):
    """It refuses to go on, and what it reserved runs, or cannot be ended now."""

    problem: Exception = AlreadyRuns("it runs")

    def abandon(self, remote_id: RemoteId) -> None:
        raise self.problem


@pytest.mark.parametrize("strategy", [DEFAULT, FULL])
def test_runs_already(store: Ledger, strategy: RemoteRetryStrategy) -> None:
    """What is reserved and runs after all is adopted; a restart cancels it first."""
    backend = Unwilling()
    job_id = a_job(store, "reserved", backend)
    batch = batch_of(store, store.job(job_id))
    backend._make(FIRST, batch, backend.reserved.pop(FIRST))
    if strategy is DEFAULT:
        backend.faults.append(Fault(REFUSED, "before"))
        with pytest.raises(BackendUnavailable):
            enter(store, backend, job_id)
    enter(store, backend, job_id, strategy)
    assert (len(backend.jobs), backend.most_live) == (1 if strategy is DEFAULT else 2, 1)
    assert store.attempts(job_id)[0].accepted_at is not None
    check_history(store, job_id)


@pytest.mark.parametrize("problem", [BackendUnavailable("502"), ProtocolError("cut JSON")], ids=["502", "cut"])
@pytest.mark.parametrize("strategy", [DEFAULT, FULL])
def test_cannot_be_ended(store: Ledger, strategy: RemoteRetryStrategy, problem: Exception) -> None:
    """While it is not known whether what was reserved has ended, nothing is sent, and it counts as reserved still."""
    backend = Unwilling()
    backend.problem = problem
    job_id = a_job(store, "reserved", backend)
    for _ in range(2):
        backend.faults.append(Fault(REFUSED, "preparing"))
        backend.resume = _refuse  # type: ignore[method-assign]
        with pytest.raises((BackendUnavailable, SubmissionRejected, ProtocolError)):
            enter(store, backend, job_id, strategy)
    (attempt,) = store.attempts(job_id)
    assert (attempt.status, attempt.is_reserved) == (S.UNKNOWN, True)
    assert (list(backend.reserved), backend.jobs, len(store.attempts(job_id))) == ([FIRST], {}, 1)
    check_history(store, job_id)


def _refuse(*_: object) -> None:
    raise REFUSED


def test_restart(store: Ledger, backend: SteppedBackend) -> None:
    """A restart ends what is reserved, and sends all anew."""
    job_id = a_job(store, "reserved", backend)
    assert enter(store, backend, job_id, FULL).action is Action.RESTART
    assert (backend.abandoned, list(backend.jobs)) == ([FIRST], [SECOND])
    assert (S.UNKNOWN, S.CREATED, "abandoned") in job_moves(store, job_id)


def test_not_needed_any_more(store: Ledger, backend: SteppedBackend) -> None:
    """What is reserved for a job that was LOST is ended where that came back with every result."""
    job_id = create(store)
    enter(store, backend, job_id)
    backend.hidden.add(FIRST)
    qjobs.poll(store, backend, [job_id], now=lambda: at(2))
    qjobs.poll(store, backend, [job_id], now=lambda: at(4000))
    assert store.job(job_id).status is S.LOST
    backend.faults.append(Fault(BackendUnavailable("502"), "reserved"))
    with pytest.raises(BackendUnavailable):
        enter(store, backend, job_id, FORCE, after_s=4001.0)
    backend.hidden.clear()
    backend.report(S.COMPLETED, S.COMPLETED, of=0)
    attempt = store.attempts(job_id)[0]
    store.store_results(job_id, attempt, {0: counts(b00=1), 1: counts(b00=1)}, now=at(4002))
    assert enter(store, backend, job_id, after_s=4003.0).action is Action.RETURN
    assert (backend.reserved, len(backend.abandoned)) == ({}, 1)
    assert store.job(job_id).status is not S.UNKNOWN


def test_other_backend(store: Ledger, backend: SteppedBackend) -> None:
    """A reservation is left alone by a backend that takes no job in steps."""
    job_id = a_job(store, "reserved", backend)
    for strategy in (FORCE, FULL):
        with pytest.raises((InvalidInput, BackendUnavailable)):
            enter(store, ScriptedBackend(), job_id, strategy)
    with pytest.raises(InvalidInput, match="go on with"):
        recovery.discard(store, job_id)
    assert store.attempts(job_id)[0].is_reserved


@pytest.mark.parametrize("reachable", [True, False])
def test_cancelled(store: Ledger, backend: SteppedBackend, reachable: bool) -> None:
    """A reservation that is to be cancelled is ended, and never gone on with."""
    job_id = a_job(store, "reserved", backend)
    if reachable:
        assert qjobs.cancel(store, backend, job_id, now=lambda: at(1)).status is S.CANCELLED
    else:
        backend.troubles.append(BackendUnavailable("502"))
        with pytest.raises(BackendUnavailable):
            qjobs.cancel(store, backend, job_id, now=lambda: at(1))
    got = enter(store, backend, job_id, after_s=2.0)
    assert (got.action, got.status, backend.jobs, backend.abandoned) == (Action.RETURN, S.CANCELLED, {}, [FIRST])
    assert enter(store, backend, job_id, FORCE, after_s=3.0).action is Action.SUBMIT
    check_history(store, job_id)


def test_cancelled_twice_at_once(store: Ledger, backend: SteppedBackend) -> None:
    """Two people who end one reservation at once are both told that it is CANCELLED."""
    job_id = a_job(store, "reserved", backend)

    class Overtaken(SteppedBackend):
        """Somebody else is faster than its first request."""

        def abandon(self, remote_id: RemoteId) -> None:
            assert qjobs.cancel(store, backend, job_id, now=lambda: at(1)).status is S.CANCELLED

    assert qjobs.cancel(store, Overtaken(), job_id, now=lambda: at(1)).status is S.CANCELLED
    check_history(store, job_id)


def test_alive_again_behind_it(store: Ledger, backend: SteppedBackend) -> None:
    """A remote job that is alive again is ended before what was reserved since is gone on with."""
    job_id = a_job(store, "incomplete", backend)
    backend.faults.append(Fault(BackendUnavailable("502"), "reserved"))
    with pytest.raises(BackendUnavailable):
        enter(store, backend, job_id, FORCE)
    backend.report(S.COMPLETED, S.RUNNING)
    assert enter(store, backend, job_id).action is Action.RESUME
    assert (backend.most_live, backend.jobs[FIRST].cancels) == (1, 1)
    check_history(store, job_id)


@pytest.mark.parametrize("end", [None, S.RUNNING, S.COMPLETED, S.ERROR])
def test_step_lost_and_there(store: Ledger, backend: SteppedBackend, end: JobStatus | None) -> None:
    """A job whose last step's reply was lost, and that is alive or ran, is adopted."""
    job_id = a_job(store, "step lost, runs", backend)
    assert store.attempts(job_id)[0].accepted_at is None
    if end is not None:
        backend.report(end, end)
    assert enter(store, backend, job_id).action is Action.SYNC
    assert (store.job(job_id).status, list(backend.jobs)) == (end or S.QUEUED, [FIRST])
    check_history(store, job_id)


def test_step_lost_and_waits(store: Ledger, backend: SteppedBackend) -> None:
    """One that waits is left until its step can no longer arrive; then it is cancelled and sent anew."""
    backend.settle_s = 30.0
    job_id = a_job(store, "step lost, waits", backend)
    for strategy in (DEFAULT, ALLOW, FORCE):
        with pytest.raises(Busy, match="may still arrive") as refused:
            enter(store, backend, job_id, strategy, after_s=11.0)
        assert refused.value.retry_after_s == pytest.approx(20.0)
    (found,) = recovery.reconcile(store, {"fake": backend}, now=lambda: at(11))
    assert found.finding is Finding.LATER
    assert list(backend.reserved) == [FIRST]
    assert enter(store, backend, job_id, after_s=60.0).action is Action.SUBMIT
    assert (backend.abandoned, list(backend.jobs)) == ([FIRST], [SECOND])
    assert (S.UNKNOWN, S.CREATED, "never ran") in job_moves(store, job_id)
    check_history(store, job_id)


def test_step_lost_and_forgotten(store: Ledger) -> None:
    """One answer that does not know a job whose step was lost lets nothing be sent."""
    backend = SteppedBackend(confirm=Confirmation(absent_times=3, absent_apart_s=20.0))
    job_id = a_job(store, "step lost, runs", backend)
    backend.hidden.add(FIRST)
    for seconds in (2.0, 10.0, 23.0, 30.0):
        with pytest.raises(Busy, match="may still appear"):
            enter(store, backend, job_id, FORCE, after_s=seconds)
    backend.hidden.clear()
    assert enter(store, backend, job_id, FORCE, after_s=44.0).action is Action.SYNC
    assert list(backend.jobs) == [FIRST]


def test_step_lost_and_ran(store: Ledger, backend: SteppedBackend) -> None:
    """One whose cancellation is refused because it ran is adopted."""
    job_id = a_job(store, "step lost, waits", backend)
    batch = batch_of(store, store.job(job_id))

    def runs(remote_id: RemoteId, items: object = None) -> None:
        backend._make(remote_id, batch, backend.reserved.pop(remote_id))
        backend.report(S.COMPLETED, S.COMPLETED)
        raise ProtocolError("it has run")

    backend.cancel = runs  # type: ignore[method-assign]
    assert enter(store, backend, job_id).status is S.COMPLETED
    assert list(backend.jobs) == [FIRST]
    assert len(qjobs.collect(store, backend, job_id).results) == 2


def test_step_lost_and_not_ended(store: Ledger, backend: SteppedBackend) -> None:
    """While its cancellation is not confirmed nothing is sent."""
    job_id = a_job(store, "step lost, waits", backend)
    backend.cancel = lambda *_: None  # type: ignore[method-assign]
    for strategy in (DEFAULT, FULL):
        with pytest.raises(Busy, match="not confirmed"):
            enter(store, backend, job_id, strategy)
    assert (list(backend.reserved), backend.jobs) == ([FIRST], {})


def test_step_lost_and_cancelled(store: Ledger, backend: SteppedBackend) -> None:
    """One that waits and is to be cancelled is cancelled at once, and not sent anew."""
    backend.settle_s = 3600.0
    job_id = a_job(store, "step lost, waits", backend)
    qjobs.cancel(store, backend, job_id, now=lambda: at(1))
    got = enter(store, backend, job_id, after_s=2.0)
    assert (got.action, got.status, backend.abandoned, backend.jobs) == (Action.RETURN, S.CANCELLED, [FIRST], {})


def test_not_sent_in_steps(store: Ledger, backend: SteppedBackend) -> None:
    """What fails before an id is reserved was never sent."""
    job_id = create(store)
    backend.faults.append(Fault(RuntimeError("bad JSON"), "preparing"))
    with pytest.raises(NotSent):
        enter(store, backend, job_id)
    assert store.job(job_id).status is S.CREATED
    assert enter(store, backend, job_id).remote_id == newest(backend)
