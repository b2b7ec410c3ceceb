"""Before anything is sent a second time, every remote job that there ever was is asked for once more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from scripted import AT_ONCE, FINDABLE, Fault, ScriptedBackend
from standing import LOST, RETRY_FOR_EVER, a_job, enter, newest
from support import at, check_history, create

import qjobs
from qjobs.backends.base import Answer, Confirmation, MissingResult
from qjobs.errors import (
    BackendUnavailable,
    Busy,
    CredentialsRejected,
    JobFailed,
    NotSent,
    ProtocolError,
    QJobsError,
    SubmissionRejected,
)
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId, RemoteId, RemoteRetryStrategy
from qjobs.operations import recover as recovery
from qjobs.operations.retry import Action
from qjobs.operations.sensor_pass import sensor_pass

S = JobStatus
DEFAULT, ALLOW, FORCE, FULL = RemoteRetryStrategy
FIRST, SECOND, THIRD = (RemoteId(f"remote-{n}") for n in (1, 2, 3))


@pytest.mark.parametrize("strategy", RemoteRetryStrategy)
def test_revived(store: Ledger, backend: ScriptedBackend, strategy: RemoteRetryStrategy) -> None:
    """A final job that somebody started again there is reopened, and sent no second time; a restart ends it first."""
    job_id = a_job(store, "incomplete, alive again", backend)
    enter(store, backend, job_id, strategy)
    moves = [(event.old, event.new) for event in store.events(job_id, of_items=False)]
    assert (S.ERROR, S.RUNNING) in moves
    assert backend.most_live == 1
    if strategy is not FULL:
        assert (len(backend.jobs), store.job(job_id).status) == (1, S.RUNNING)
        backend.report(S.COMPLETED, S.COMPLETED)
        qjobs.poll(store, backend, [job_id], now=lambda: at(2))
        assert len(qjobs.collect(store, backend, job_id).results) == 2
    else:
        assert [job.cancels for job in backend.jobs.values()] == [1, 0]
    check_history(store, job_id)


class Delayed(ScriptedBackend):
    """`meanwhile` happens between an answer about a status and its arrival, once."""

    meanwhile: Callable[[], None] | None = None

    def status(self, remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Answer]:
        answer = super().status(remote_ids)
        act, self.meanwhile = self.meanwhile, None
        if act is not None:
            act()
        return answer


@pytest.mark.parametrize("strategy", [FORCE, FULL])
def test_old_answer(store: Ledger, strategy: RemoteRetryStrategy) -> None:
    """An answer that is older than what ended the job revives nothing."""
    backend = Delayed()
    job_id = create(store)
    enter(store, backend, job_id)

    def end() -> None:
        backend.report(S.COMPLETED, S.ERROR)
        qjobs.poll(store, backend, [job_id], now=lambda: at(1))

    backend.meanwhile = end
    with pytest.raises(Busy, match="moved while it was asked for"):
        enter(store, backend, job_id, strategy)
    assert store.job(job_id).status is S.ERROR
    assert [event.cause for event in store.events(job_id) if event.cause == "alive again"] == []
    enter(store, backend, job_id, strategy)
    assert list(backend.jobs) == [FIRST, SECOND]
    check_history(store, job_id)


@pytest.mark.parametrize("error", [BackendUnavailable("502"), CredentialsRejected("403"), ProtocolError("odd word")])
@pytest.mark.parametrize("of_one", [False, True])
@pytest.mark.parametrize("strategy", [FORCE, FULL])
def test_no_answer(
    store: Ledger, backend: ScriptedBackend, strategy: RemoteRetryStrategy, error: QJobsError, of_one: bool
) -> None:
    """Without an answer, or with an error for that id, nothing is sent."""
    job_id = a_job(store, "incomplete", backend)
    qjobs.collect(store, backend, job_id, partial=True)
    if of_one:
        backend.errors[FIRST] = error
    else:
        backend.troubles += [None, error]  # the results are asked for first
    with pytest.raises(type(error)):
        enter(store, backend, job_id, strategy)
    assert list(backend.jobs) == [FIRST]
    assert store.job(job_id).status is S.ERROR
    backend.errors.clear()
    enter(store, backend, job_id, strategy)
    assert list(backend.jobs) == [FIRST, SECOND]


def test_older_attempt(store: Ledger, backend: ScriptedBackend) -> None:
    """An older remote job that is alive again is cancelled before a third one is sent, each time that it is."""
    job_id = a_job(store, "incomplete", backend)
    enter(store, backend, job_id, FORCE)
    for number in (3, 4):
        backend.report(S.ERROR)
        qjobs.poll(store, backend, [job_id], now=lambda: at(number))  # noqa: B023
        backend.report(S.COMPLETED, S.RUNNING, of=0)
        enter(store, backend, job_id, FORCE, after_s=number + 0.5, policy=RETRY_FOR_EVER)
        assert len(backend.jobs) == number
        assert backend.jobs[FIRST].status is S.CANCELLED
        assert backend.jobs[FIRST].cancels == number - 2
    assert backend.most_live == 1
    assert store.strays.pending() == []
    check_history(store, job_id)


def test_older_attempt_not_ended(store: Ledger, backend: ScriptedBackend) -> None:
    """Nothing is sent while an older remote job that is alive again is not ended."""
    job_id = a_job(store, "incomplete", backend)
    enter(store, backend, job_id, FORCE)
    backend.report(S.ERROR)
    qjobs.poll(store, backend, [job_id], now=lambda: at(2))
    backend.report(S.COMPLETED, S.RUNNING, of=0)
    backend.refusals[FIRST] = CredentialsRejected("403")
    for _ in range(2):
        with pytest.raises(Busy, match="not ended yet"):
            enter(store, backend, job_id, FORCE)
    assert len(backend.jobs) == 2
    assert [stray.remote_id for stray in store.strays.pending()] == [FIRST]
    backend.refusals.clear()
    enter(store, backend, job_id, FORCE)
    assert len(backend.jobs) == 3


@pytest.mark.parametrize("strategy", [ALLOW, FORCE, FULL])
def test_behind_a_lost_reply(store: Ledger, backend: ScriptedBackend, strategy: RemoteRetryStrategy) -> None:
    """A remote job that is alive again behind a lost resubmission is cancelled before that is sent again."""
    job_id = a_job(store, "incomplete", backend)
    backend.faults.append(Fault(LOST))
    with pytest.raises(BackendUnavailable):
        enter(store, backend, job_id, FORCE)
    backend.report(S.COMPLETED, S.RUNNING)
    enter(store, backend, job_id, strategy)
    assert (backend.most_live, len(backend.jobs), backend.jobs[FIRST].cancels) == (1, 2, 1)
    check_history(store, job_id)


def test_discarded_and_alive(store: Ledger, backend: ScriptedBackend) -> None:
    """A job that a person discarded, and that is there after all, is cancelled before it is sent again."""
    job_id = a_job(store, "forgotten", backend)
    assert recovery.discard(store, job_id, now=lambda: at(2)).status is S.CREATED
    backend.hidden.clear()
    backend.report(S.RUNNING, S.RUNNING)
    assert enter(store, backend, job_id, after_s=3.0).action is Action.SUBMIT
    assert (backend.most_live, backend.jobs[FIRST].cancels) == (1, 1)
    check_history(store, job_id)


def test_whole_and_chosen(store: Ledger, backend: ScriptedBackend) -> None:
    """Chosen items are not sent again while others run: that would cancel those; the whole job is."""
    job_id = create(store, n_items=4)
    enter(store, backend, job_id)
    backend.report(S.COMPLETED, S.ERROR, S.RUNNING, S.QUEUED)
    qjobs.poll(store, backend, [job_id], now=lambda: at(1))
    with pytest.raises(Busy, match="2 other items") as refused:
        recovery.retry(store, backend, job_id, strategy=FORCE, now=lambda: at(1))
    assert f"qjobs jobs retry {job_id} --status ERROR --strategy FORCE_RESUBMIT" in str(refused.value)
    assert (backend.jobs[FIRST].cancels, len(backend.jobs)) == (0, 1)
    assert enter(store, backend, job_id, FORCE).action is Action.SUBMIT
    assert [item.label for item in backend.jobs[SECOND].batch.items] == ["item-1", "item-2", "item-3"]
    assert backend.most_live == 1


def test_chosen_when_others_are_done(store: Ledger, backend: ScriptedBackend) -> None:
    """Chosen items are sent again once the others are final, by the advice that the refusal gave."""
    job_id = create(store, n_items=3)
    enter(store, backend, job_id)
    backend.report(S.ERROR, S.COMPLETED, S.COMPLETED)
    recovery.retry(store, backend, job_id, strategy=DEFAULT, statuses=[S.QUEUED, S.SUBMITTED], now=lambda: at(1))
    recovery.retry(store, backend, job_id, strategy=FORCE, now=lambda: at(2))
    assert [item.label for item in backend.jobs[SECOND].batch.items] == ["item-0"]


REVOCABLE = Confirmation(revocable=frozenset({S.CANCELLED, S.ERROR}), times=2, apart_s=30.0)


def test_revocable_end(store: Ledger) -> None:
    """A cancellation that the provider may take back lets nothing be sent before it is confirmed."""
    backend = ScriptedBackend(confirm=REVOCABLE)
    job_id = a_job(store, "open", backend)
    for seconds in (2.0, 10.0, 40.0):
        with pytest.raises(Busy, match="not confirmed"):
            enter(store, backend, job_id, FORCE, after_s=seconds)
    assert (len(backend.jobs), store.job(job_id).status.is_final) == (1, False)
    assert enter(store, backend, job_id, FORCE, after_s=71.0).action is Action.SUBMIT
    assert backend.most_live == 1


def test_revived_after_confirmation(store: Ledger) -> None:
    """A final status that was confirmed, and that is taken back after all, is seen before anything is sent."""
    backend = ScriptedBackend(confirm=REVOCABLE)
    job_id = a_job(store, "open", backend)
    backend.report(S.COMPLETED, S.ERROR)
    for seconds in (2.0, 40.0, 80.0):
        qjobs.poll(store, backend, [job_id], now=lambda: at(seconds))  # noqa: B023
    assert store.job(job_id).status is S.ERROR
    backend.report(S.COMPLETED, S.QUEUED)
    assert enter(store, backend, job_id, after_s=90.0).status is S.RUNNING
    with pytest.raises(Busy):  # its cancellation has to be confirmed too
        enter(store, backend, job_id, FORCE, after_s=91.0)
    assert len(backend.jobs) == 1


def gone(store: Ledger, backend: ScriptedBackend) -> JobId:
    """A final job of one kept result, one that never came and one ERROR, whose remote record is gone."""
    job_id = create(store, n_items=3)
    enter(store, backend, job_id)
    backend.report(S.COMPLETED, S.COMPLETED, S.ERROR)
    backend.gone[1] = "not there yet"
    backend.answer = lambda entries: [
        replace(e, permanent=False) if isinstance(e, MissingResult) else e for e in entries
    ]
    qjobs.poll(store, backend, [job_id], now=lambda: at(1))
    with pytest.raises(BackendUnavailable):
        qjobs.collect(store, backend, job_id, now=lambda: at(1))
    backend.hidden.add(FIRST)
    return job_id


@pytest.mark.parametrize("strategy", RemoteRetryStrategy)
def test_record_gone(store: Ledger, backend: ScriptedBackend, strategy: RemoteRetryStrategy) -> None:
    """A final job whose remote record is gone stays as it is, and every strategy does what the table says."""
    job_id = gone(store, backend)
    kept = store.results(job_id)
    got = enter(store, backend, job_id, strategy)
    if strategy in {DEFAULT, ALLOW}:
        assert (got.action, got.status, len(backend.jobs)) == (Action.SYNC, S.ERROR, 1)
        with pytest.raises(JobFailed, match="404"):
            qjobs.collect(store, backend, job_id)
        assert store.results(job_id) == kept
        return
    sent = [item.label for item in backend.jobs[SECOND].batch.items]
    assert sent == (["item-1", "item-2"] if strategy is FORCE else ["item-0", "item-1", "item-2"])
    assert got.action is (Action.SUBMIT if strategy is FORCE else Action.RESTART)
    assert store.results(job_id, epoch=store.attempts(job_id)[0].epoch) == kept
    check_history(store, job_id)


def test_open_and_unknown_there(store: Ledger) -> None:
    """An open job that the provider does not know once lets nothing be sent; it is LOST by the rule only."""
    backend = ScriptedBackend(confirm=replace(AT_ONCE, absent_times=3, lost_apart_s=1800.0))
    job_id = a_job(store, "open", backend)
    backend.hidden.add(FIRST)
    backend.refusals[FIRST] = ProtocolError("404: no such job")
    for seconds in (2.0, 3.0, 2000.0):
        with pytest.raises((Busy, ProtocolError)):
            enter(store, backend, job_id, FORCE, after_s=seconds)
    assert len(backend.jobs) == 1
    assert not store.job(job_id).status.is_final
    assert enter(store, backend, job_id, FULL, after_s=4000.0).action is Action.RESTART
    assert store.attempts(job_id)[0].status is S.LOST


@pytest.mark.parametrize("error", [ProtocolError("PERHAPS"), CredentialsRejected("403"), BackendUnavailable("503")])
def test_error_between_absences(store: Ledger, error: QJobsError) -> None:
    """What is said of one job and cannot be read shows that it is there: absences count anew."""
    backend = ScriptedBackend(confirm=replace(AT_ONCE, absent_times=3, lost_apart_s=20.0))
    job_id = a_job(store, "open", backend)
    backend.hidden.add(FIRST)
    for seconds in (30, 60):
        qjobs.poll(store, backend, [job_id], now=lambda seconds=seconds: at(seconds))
    backend.hidden.clear()
    backend.errors[FIRST] = error
    with pytest.raises(type(error)):
        qjobs.poll(store, backend, [job_id], now=lambda: at(90))
    assert bool(store.last_attempts([job_id])[job_id].awaited) is isinstance(error, BackendUnavailable)
    backend.errors.clear()
    backend.hidden.add(FIRST)
    found = [qjobs.poll(store, backend, [job_id], now=lambda s=s: at(s))[job_id] for s in (120, 150, 180)]
    assert found.index(S.LOST) == (0 if isinstance(error, BackendUnavailable) else 2)
    check_history(store, job_id)


def test_lost(store: Ledger) -> None:
    """A LOST job keeps its results, is cancelled at once, and is sent again once a person has discarded it."""
    for number, how in enumerate(("cancel", "discard", "force")):
        backend = ScriptedBackend(name=how)
        job_id = create(store, f"key-{number}", backend=how)
        enter(store, backend, job_id)
        backend.report(S.COMPLETED, S.RUNNING)
        qjobs.collect(store, backend, job_id, partial=True, now=lambda: at(1))
        backend.hidden.add(newest(backend))
        qjobs.poll(store, backend, [job_id], now=lambda: at(1))
        assert store.job(job_id).status is S.LOST
        if how == "cancel":
            assert qjobs.cancel(store, backend, job_id, now=lambda: at(2)).status is S.CANCELLED
            assert (len(backend.jobs), backend.jobs[FIRST].cancels) == (1, 0)
            continue
        if how == "discard":
            recovery.discard(store, job_id, now=lambda: at(2))
        backend.report(S.COMPLETED, S.ERROR)
        enter(store, backend, job_id, DEFAULT if how == "discard" else FORCE, after_s=3.0)
        assert [item.label for item in backend.jobs[SECOND].batch.items] == ["item-1"]
        assert set(store.results(job_id)) == {0}
        check_history(store, job_id)


@pytest.mark.parametrize(
    ("strategy", "error"), [(FULL, NotSent("no route")), (FORCE, SubmissionRejected("no", detail="too wide"))]
)
def test_lost_and_not_sent_again(store: Ledger, strategy: RemoteRetryStrategy, error: QJobsError) -> None:
    """A LOST job that was to be sent again, in vain, is ended when it comes back: nobody counts on it."""
    backend = ScriptedBackend(FINDABLE)
    job_id = a_job(store, "open", backend)
    backend.hidden.add(FIRST)
    qjobs.poll(store, backend, [job_id], now=lambda: at(1))
    backend.faults.append(Fault(error))
    with pytest.raises(type(error)):
        enter(store, backend, job_id, strategy, after_s=2.0)
    backend.hidden.clear()
    sensor_pass(store, lambda _: backend, now=lambda: at(100))
    assert (len(backend.jobs), backend.jobs[FIRST].cancels) == (1, 1)
    assert store.strays.pending() == []
    check_history(store, job_id)


def test_not_sent_after_asking(store: Ledger) -> None:
    """A resubmission that never left leaves the reopened or final job as it was."""
    backend = ScriptedBackend(FINDABLE)
    job_id = a_job(store, "incomplete", backend)
    backend.faults.append(Fault(NotSent("no route")))
    with pytest.raises(NotSent):
        enter(store, backend, job_id, FORCE)
    backend.report(S.COMPLETED, S.RUNNING)
    assert enter(store, backend, job_id).status is S.RUNNING
    check_history(store, job_id)
