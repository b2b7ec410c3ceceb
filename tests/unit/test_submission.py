"""Every cell of the decision table against a provider, lost replies, races and caps."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from scripted import Clock, Fault, ScriptedBackend
from standing import LOST, RETRY_FOR_EVER, a_job, enter
from support import NOW, at, check_history, claim, create, job_moves, observe

import qjobs
from qjobs.backends.base import Limits, LostReply
from qjobs.errors import (
    BackendUnavailable,
    Busy,
    CredentialsRejected,
    LedgerUnavailable,
    NotSent,
    PolicyLimit,
    QJobsError,
    SubmissionRejected,
    SubmissionUnknown,
)
from qjobs.ledger import Ledger
from qjobs.ledger.submissions import Submissions
from qjobs.lifecycle import JobStatus
from qjobs.model import Attempt, JobId, RemoteId, RemoteRetryStrategy
from qjobs.operations.retry import Action, RetryPolicy
from qjobs.operations.submit import LEASE_S

DEFAULT, ALLOW, FORCE, FULL = RemoteRetryStrategy
DEDUPLICATED, FINDABLE, OPAQUE = LostReply
S = JobStatus


# One line per row, a cell per strategy (DEFAULT | ALLOW | FORCE | FULL): what is done, and how many remote jobs there
# are afterwards. "!": the row of an opaque provider.
TABLE = """
new                   | submit 1         | submit 1  | submit 1  | submit 1
not sent              | submit 1         | submit 1  | submit 1  | submit 1
rejected              | SubmissionRejected 0 | submit 1 | submit 1 | restart 1
lost, exists          | sync 1           | sync 1    | sync 1    | restart 2
lost, does not exist  | SubmissionUnknown 0 | submit 1 | submit 1 | restart 1
lost, exists!         | SubmissionUnknown 1 | submit 2 | submit 2 | restart 2
lost, does not exist! | SubmissionUnknown 0 | submit 1 | submit 1 | restart 1
open                  | sync 1           | sync 1    | submit 2  | restart 2
incomplete            | sync 1           | sync 1    | submit 2  | restart 2
complete              | return 1         | return 1  | return 1  | restart 2
"""


def cells() -> Iterator[tuple[str, RemoteRetryStrategy, LostReply, str, int]]:
    for line in TABLE.strip().splitlines():
        name, *words = (word.strip() for word in line.split("|"))
        for variant in LostReply:
            if (name.endswith("!") and variant is not OPAQUE) or (f"{name}!" in TABLE and variant is OPAQUE):
                continue
            for strategy, cell in zip(RemoteRetryStrategy, words, strict=True):
                done, count = cell.rsplit(" ", 1)
                yield name.rstrip("!"), strategy, variant, done, int(count)


@pytest.mark.parametrize(("standing", "strategy", "variant", "done", "n_remote"), list(cells()))
def test_every_cell_of_the_table(
    store: Ledger, standing: str, strategy: RemoteRetryStrategy, variant: LostReply, done: str, n_remote: int
) -> None:
    backend = ScriptedBackend(variant)
    job_id = a_job(store, standing, backend)
    epoch = store.job(job_id).epoch
    if done[0].isupper():
        with pytest.raises(QJobsError) as caught:
            enter(store, backend, job_id, strategy)
        assert type(caught.value).__name__ == done
        assert caught.value.job_id == job_id
    else:
        got = enter(store, backend, job_id, strategy)
        assert got.action.value == done
        assert got.reason
        assert got.status is store.job(job_id).status
        assert got.remote_id == list(backend.jobs)[-1]
    assert len(backend.jobs) == n_remote
    the_caller_took_the_risk = (standing, variant) == ("lost, exists", OPAQUE) and strategy is not DEFAULT
    assert backend.most_live <= (2 if the_caller_took_the_risk else 1)
    assert len(backend.live()) <= (2 if the_caller_took_the_risk else 1)
    assert store.job(job_id).epoch == epoch + (done == "restart")
    check_history(store, job_id)
    again = enter(store, backend, job_id) if done in {"submit", "restart"} else None
    assert again is None or (again.action is Action.SYNC and len(backend.jobs) == n_remote)


def test_cells_are_all_there() -> None:
    assert len(list(cells())) == 8 * 4 * 3


# Single promises of the table


def test_force_sends_only_what_has_no_result_and_keeps_the_rest(store: Ledger) -> None:
    backend = ScriptedBackend()
    job_id = a_job(store, "incomplete", backend)
    enter(store, backend, job_id, FORCE)
    second = list(backend.jobs.values())[1]
    assert [item.label for item in second.batch.items] == ["item-1"]
    assert store.attempts(job_id)[1].items == (1,)
    backend.report(S.COMPLETED)
    qjobs.poll(store, backend, [job_id])
    assert len(qjobs.collect(store, backend, job_id).results) == 2
    results = store.results(job_id)
    assert "remote-1" in (results[0].counts or {})
    assert "remote-2" in (results[1].counts or {})
    assert store.job(job_id).status is S.COMPLETED


def test_a_restart_begins_an_epoch_and_the_old_results_stay(store: Ledger) -> None:
    backend = ScriptedBackend()
    job_id = a_job(store, "complete", backend)
    old = store.results(job_id)
    enter(store, backend, job_id, FULL)
    assert store.job(job_id).epoch == 2
    assert store.results(job_id) == {}
    assert store.results(job_id, epoch=1) == old
    assert [len(job.batch.items) for job in backend.jobs.values()] == [2, 2]


def test_each_remote_job_has_a_key_of_its_own(store: Ledger) -> None:
    backend = ScriptedBackend(DEDUPLICATED)
    job_id = a_job(store, "open", backend)
    for _ in range(2):
        enter(store, backend, job_id, FULL, policy=RETRY_FOR_EVER)
    keys = [job.key for job in backend.jobs.values()]
    assert keys == ["key", "key-2", "key-3"]


def test_attempts_that_left_no_job_share_a_key(store: Ledger) -> None:
    backend = ScriptedBackend(DEDUPLICATED)
    seen: list[str] = []
    job_id = a_job(store, "rejected", backend)
    enter(store, backend, job_id, ALLOW)
    seen = [job.key for job in backend.jobs.values()]
    assert seen == ["key"]


def test_a_cancellation_that_lost_the_race_sends_nothing(store: Ledger) -> None:
    backend = ScriptedBackend()
    job_id = a_job(store, "open", backend)
    backend.report(S.COMPLETED, S.COMPLETED)  # between our last poll and the cancellation
    got = enter(store, backend, job_id, FORCE)
    assert got.action is Action.RETURN
    assert got.status is S.COMPLETED
    assert len(backend.jobs) == 1
    assert len(store.results(job_id)) == 2


def test_an_unconfirmed_cancellation_is_waited_for(store: Ledger) -> None:
    backend = ScriptedBackend(confirms_cancel=False)
    job_id = a_job(store, "open", backend)
    for strategy in (FORCE, FULL, FORCE):
        with pytest.raises(Busy, match="not confirmed"):
            enter(store, backend, job_id, strategy)
        assert len(backend.jobs) == 1
    backend.report(S.COMPLETED, S.CANCELLED)
    assert enter(store, backend, job_id, FORCE).action is Action.SUBMIT
    assert [item.label for item in list(backend.jobs.values())[1].batch.items] == ["item-1"]


def test_a_cap_is_looked_at_before_anything_is_cancelled(store: Ledger) -> None:
    backend = ScriptedBackend()
    job_id = a_job(store, "open", backend)
    with pytest.raises(PolicyLimit):
        enter(store, backend, job_id, FORCE, policy=RetryPolicy(rungs=(), max_submissions=1))
    assert [job.cancels for job in backend.jobs.values()] == [0]
    assert store.job(job_id).cancel_requested_at is None


def test_a_restart_when_results_came_before_the_last_status(store: Ledger) -> None:
    backend = ScriptedBackend()
    job_id = a_job(store, "open", backend)
    backend.report(S.COMPLETED, S.COMPLETED)
    qjobs.collect(store, backend, job_id, partial=True)
    assert store.job(job_id).status is S.RUNNING
    assert enter(store, backend, job_id, FULL).action is Action.RESTART
    assert backend.most_live == 1


def test_after_a_resubmission_that_never_left_default_goes_back_to_what_was_sent(store: Ledger) -> None:
    backend = ScriptedBackend()
    job_id = a_job(store, "incomplete", backend)
    backend.faults.append(Fault(NotSent("no route")))
    with pytest.raises(NotSent):
        enter(store, backend, job_id, FORCE)
    assert enter(store, backend, job_id).action is Action.SYNC
    assert len(backend.jobs) == 1
    rejected = create(store, "rejected")
    backend.faults += [Fault(SubmissionRejected("no", detail="too wide")), Fault(NotSent("no route"))]
    with pytest.raises(SubmissionRejected):
        enter(store, backend, rejected)
    with pytest.raises(NotSent):
        enter(store, backend, rejected, ALLOW)
    with pytest.raises(SubmissionRejected) as caught:
        enter(store, backend, rejected)
    assert caught.value.detail == "too wide"


# What can go wrong in the call


@pytest.mark.parametrize("variant", LostReply)
def test_not_sent_leaves_the_job_as_it_was(store: Ledger, variant: LostReply) -> None:
    backend = ScriptedBackend(variant)
    job_id = a_job(store, "not sent", backend)
    assert store.job(job_id).status is S.CREATED
    assert store.attempts(job_id)[0].sent_at is None
    assert job_moves(store, job_id)[-1] == (S.SUBMITTING, S.CREATED, "not sent")


def test_rejected_keeps_the_providers_words(store: Ledger) -> None:
    backend = ScriptedBackend()
    job_id = create(store)
    backend.faults.append(Fault(SubmissionRejected("no", detail="too wide")))
    with pytest.raises(SubmissionRejected) as caught:
        enter(store, backend, job_id)
    assert (caught.value.job_id, caught.value.detail) == (job_id, "too wide")
    job = store.job(job_id)
    assert (job.status, job.message) == (S.ERROR, "too wide")
    with pytest.raises(SubmissionRejected, match="too wide"):
        enter(store, backend, job_id)


def test_credentials_leave_the_job_to_be_sent_later(store: Ledger) -> None:
    backend = ScriptedBackend(OPAQUE)
    job_id = create(store)
    backend.faults.append(Fault(CredentialsRejected("401")))
    with pytest.raises(CredentialsRejected):
        enter(store, backend, job_id)
    assert job_moves(store, job_id)[-1] == (S.SUBMITTING, S.CREATED, "credentials refused")
    assert enter(store, backend, job_id).action is Action.SUBMIT


def test_a_lost_reply_says_what_to_do(store: Ledger) -> None:
    for number, (variant, error) in enumerate([(FINDABLE, BackendUnavailable), (OPAQUE, SubmissionUnknown)]):
        backend = ScriptedBackend(variant)
        backend.faults.append(Fault(OSError("connection reset"), "after"))
        job_id = create(store, f"key-{number}")
        with pytest.raises(error, match="connection reset") as caught:
            enter(store, backend, job_id)
        assert isinstance(caught.value.__cause__, OSError)
        assert store.job(job_id).status is S.UNKNOWN
        assert "connection reset" in store.job(job_id).message


@pytest.mark.parametrize("error", [RuntimeError("bad JSON"), NotSent("claims so"), SubmissionRejected("claims so")])
def test_an_error_after_the_id_was_told_changes_nothing(store: Ledger, error: Exception) -> None:
    backend = ScriptedBackend(OPAQUE)
    backend.faults.append(Fault(error, "told"))
    job_id = create(store)
    got = enter(store, backend, job_id)
    assert (got.status, got.remote_id) == (S.SUBMITTED, "remote-1")
    assert [event.cause for event in store.events(job_id)][-1] == "after acceptance"


@pytest.mark.parametrize("when", ["before", "after", "told"])
def test_an_interrupt_in_the_call_is_written_down_and_goes_on(store: Ledger, when: str) -> None:
    backend = ScriptedBackend()
    backend.faults.append(Fault(KeyboardInterrupt(), when))
    job_id = create(store)
    with pytest.raises(KeyboardInterrupt):
        enter(store, backend, job_id)
    assert store.job(job_id).status is (S.SUBMITTED if when == "told" else S.UNKNOWN)
    with contextlib.suppress(SubmissionUnknown):
        enter(store, backend, job_id)
    assert len(backend.jobs) == (0 if when == "before" else 1)
    check_history(store, job_id)


class LockedOnAccept(Ledger):
    """A ledger that another program locks just when the remote id exists."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.submissions = LockedSubmissions(self._db)


class LockedSubmissions(Submissions):
    def accept(self, attempt: Attempt, remote_id: RemoteId, **_: object) -> None:
        raise LedgerUnavailable("locked")


@pytest.mark.parametrize("variant", [FINDABLE, OPAQUE])
def test_an_id_that_cannot_be_written_is_in_the_error_and_in_the_history(store: Ledger, variant: LostReply) -> None:
    backend = ScriptedBackend(variant)
    job_id = create(store)
    with (
        LockedOnAccept(store.url) as locked,
        pytest.raises((BackendUnavailable, SubmissionUnknown), match="remote-1"),
    ):
        enter(locked, backend, job_id)
    assert store.job(job_id).status is S.UNKNOWN
    assert "remote-1" in store.job(job_id).message
    assert "remote-1" in store.events(job_id)[-1].detail


def test_a_backend_that_tells_no_id_left_the_job_unknown(store: Ledger) -> None:
    class Silent(ScriptedBackend):
        def submit(self, *_: object) -> None:
            pass

    job_id = create(store)
    with pytest.raises(BackendUnavailable, match="without naming"):
        enter(store, Silent(), job_id)
    assert store.job(job_id).status is S.UNKNOWN


def test_the_intent_is_on_disk_before_the_call(store: Ledger) -> None:
    backend = ScriptedBackend()
    job_id = create(store)
    seen: list[tuple[JobStatus, int]] = []
    backend.before_submit = lambda: seen.append((store.job(job_id).status, len(store.attempts(job_id))))
    enter(store, backend, job_id)
    assert seen == [(S.SUBMITTING, 1)]


@pytest.mark.parametrize("settled", ["lease expired", "found by another process"])
def test_a_process_that_slept_past_its_lease_sends_nothing(store: Ledger, settled: str) -> None:
    backend, clock = ScriptedBackend(), Clock()
    job_id = create(store)

    def sleeps_long() -> None:
        backend.before_submit = lambda: None
        clock.sleep(LEASE_S + 1)
        store.submissions.expire_leases(now=clock.now())
        if settled == "found by another process":
            qjobs.submit(store, backend, job_id, strategy=ALLOW, now=clock.now)

    backend.before_submit = sleeps_long
    with pytest.raises(Busy):
        qjobs.submit(store, backend, job_id, now=clock.now)
    assert len(backend.jobs) == (settled != "lease expired")
    qjobs.submit(store, backend, job_id, strategy=ALLOW, now=clock.now)
    assert len(backend.jobs) == 1


def test_a_long_preparation_keeps_its_lease(store: Ledger) -> None:
    clock = Clock()

    class Slow(ScriptedBackend):
        def submit(self, batch: object, key: object, created: object, sending: Callable[[], None]) -> None:
            for _ in range(3):
                clock.sleep(LEASE_S * 0.9)
                store.submissions.expire_leases(now=clock.now())
                sending()
            super().submit(batch, key, created, sending)

    job_id = create(store)
    assert qjobs.submit(store, Slow(), job_id, now=clock.now).status is S.SUBMITTED


def test_the_id_is_on_disk_the_moment_it_exists(store: Ledger) -> None:
    class Watching(ScriptedBackend):
        def submit(self, batch: object, key: object, created: object, sending: object) -> None:
            super().submit(batch, key, created, sending)
            seen.append(store.attempts(job_id)[0].remote_id)

    seen: list[RemoteId | None] = []
    job_id = create(store)
    enter(store, Watching(), job_id)
    assert seen == ["remote-1"]


# Leases and races


def test_a_job_that_another_process_is_sending_is_left_alone(store: Ledger) -> None:
    job_id = create(store)
    claim(store, job_id, owner="elsewhere:1")
    for strategy in RemoteRetryStrategy:
        backend = ScriptedBackend()
        with pytest.raises(Busy, match="elsewhere:1"):
            enter(store, backend, job_id, strategy)
        assert not backend.jobs


@pytest.mark.parametrize("exists", [True, False])
def test_a_lease_that_ran_out_is_looked_up(store: Ledger, exists: bool) -> None:
    backend = ScriptedBackend()
    job_id = create(store)
    attempt = claim(store, job_id, owner="dead:1")
    if exists:
        backend.submit(operations_batch(store, job_id), store.job(job_id).key, lambda _: None)
    late_s = LEASE_S + 1
    if exists:
        got = enter(store, backend, job_id, after_s=late_s)
        assert (got.action, got.remote_id) == (Action.SYNC, "remote-1")
    else:
        with pytest.raises(SubmissionUnknown):
            enter(store, backend, job_id, after_s=late_s)
        assert enter(store, backend, job_id, ALLOW, after_s=late_s).action is Action.SUBMIT
    assert len(backend.jobs) == 1
    assert (S.SUBMITTING, S.UNKNOWN, "lease expired") in job_moves(store, job_id)
    assert attempt.lease_owner == "dead:1"


def test_what_was_lost_may_still_arrive_and_is_waited_for_from_the_moment_it_was_given_up(store: Ledger) -> None:
    backend, clock = ScriptedBackend(), Clock()
    backend.settle_s = 30.0
    backend.faults.append(Fault(LOST))
    backend.before_submit = lambda: clock.sleep(15.0)
    job_id = create(store)
    with pytest.raises(BackendUnavailable):
        qjobs.submit(store, backend, job_id, now=clock.now)
    backend.before_submit = lambda: None
    clock.sleep(20.0)  # 35 s after the intent, 20 s after the reply was given up
    with pytest.raises(Busy, match="may still arrive") as refused:
        qjobs.submit(store, backend, job_id, strategy=ALLOW, now=clock.now)
    assert refused.value.retry_after_s == pytest.approx(10.0)
    assert not backend.jobs
    clock.sleep(10.0)
    assert qjobs.submit(store, backend, job_id, strategy=ALLOW, now=clock.now).action is Action.SUBMIT
    assert len(backend.jobs) == 1


def operations_batch(ledger: Ledger, job_id: JobId) -> object:
    from qjobs.operations.attempts import batch_of

    return batch_of(ledger, ledger.job(job_id), ledger.items(job_id))


@pytest.mark.parametrize("variant", LostReply)
def test_two_threads_make_one_remote_job(ledger: Ledger, variant: LostReply) -> None:
    backend = ScriptedBackend(variant)
    job_id = create(ledger)
    inside = threading.Barrier(2)
    backend.before_submit = lambda: inside.wait(10)
    outcomes: list[object] = []

    def first() -> None:
        outcomes.append(enter(ledger, backend, job_id))

    def second() -> None:
        inside.wait(10)  # the first is in its call
        try:
            outcomes.append(enter(ledger, backend, job_id))
        except Busy as error:
            outcomes.append(error)

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(outcomes) == 2
    assert len(backend.jobs) == 1
    check_history(ledger, job_id)


@pytest.mark.parametrize("standing", ["new", "lost, does not exist", "open", "incomplete", "complete"])
def test_many_threads_never_have_two_alive(store: Ledger, standing: str) -> None:
    backend = ScriptedBackend()
    job_id = a_job(store, standing, backend)
    before = len(backend.jobs)
    start = threading.Barrier(6)
    other: list[BaseException] = []

    def work() -> None:
        start.wait(10)
        try:
            enter(store, backend, job_id, FORCE, policy=RETRY_FOR_EVER)
        except Busy:
            pass
        except BaseException as error:
            other.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not other
    assert backend.most_live <= 1
    assert len(backend.jobs) >= max(1, before)
    check_history(store, job_id)


# Caps, the device's limit, cancellation


def test_the_number_of_submissions_is_capped(store: Ledger) -> None:
    backend = ScriptedBackend()
    job_id = a_job(store, "open", backend)
    policy = RetryPolicy(rungs=(), max_submissions=2)
    enter(store, backend, job_id, FULL, policy=policy)
    with pytest.raises(PolicyLimit, match="2 times") as caught:
        enter(store, backend, job_id, FULL, policy=policy)
    assert caught.value.job_id == job_id
    assert len(backend.jobs) == 2


@pytest.mark.parametrize("variant", [FINDABLE, OPAQUE])
def test_lost_submissions_count(store: Ledger, variant: LostReply) -> None:
    backend = ScriptedBackend(variant)
    backend.faults += [Fault(LOST) for _ in range(9)]
    job_id = create(store)
    calls: list[int] = []
    backend.before_submit = lambda: calls.append(1)
    for _ in range(6):
        with pytest.raises((BackendUnavailable, SubmissionUnknown, PolicyLimit)):
            enter(store, backend, job_id, ALLOW)
    assert len(calls) == 3


def test_what_was_never_sent_does_not_count(store: Ledger) -> None:
    backend = ScriptedBackend()
    backend.faults += [Fault(NotSent("no route")) for _ in range(5)]
    job_id = create(store)
    for _ in range(5):
        with pytest.raises(NotSent):
            enter(store, backend, job_id)
    assert enter(store, backend, job_id).action is Action.SUBMIT


def test_time_and_cost_are_capped(store: Ledger) -> None:
    backend = ScriptedBackend()
    job_id = a_job(store, "incomplete", backend)
    with pytest.raises(PolicyLimit, match="older"):
        enter(store, backend, job_id, FORCE, policy=RetryPolicy(rungs=(), max_total_s=100), after_s=101)
    bill = replace(backend.snapshot(RemoteId("remote-1")), cost=5.0)
    observe(store, job_id, store.attempts(job_id)[0].number, bill, now=at(1))
    with pytest.raises(PolicyLimit, match="cost"):
        enter(store, backend, job_id, FORCE, policy=RetryPolicy(rungs=(), max_cost=4.0))
    assert len(backend.jobs) == 1
    assert enter(store, backend, job_id, FORCE, policy=RetryPolicy(rungs=(), max_cost=6.0)).action is Action.SUBMIT


def test_a_full_device_takes_no_more(store: Ledger) -> None:
    backend = ScriptedBackend(limits=Limits(max_live_jobs=1))
    first, second = create(store, "a"), create(store, "b")
    enter(store, backend, first)
    with pytest.raises(Busy, match="1 live jobs"):
        enter(store, backend, second)
    assert store.job(second).status is S.CREATED
    assert len(backend.jobs) == 1
    backend.report(S.COMPLETED, S.COMPLETED)
    qjobs.poll(store, backend, [first])
    assert enter(store, backend, second).action is Action.SUBMIT


@pytest.mark.parametrize("strategy", [DEFAULT, ALLOW])
@pytest.mark.parametrize("standing", ["new", "not sent"])
def test_a_job_cancelled_before_it_was_sent_is_not_sent(
    store: Ledger, standing: str, strategy: RemoteRetryStrategy
) -> None:
    backend = ScriptedBackend()
    job_id = a_job(store, standing, backend)
    assert qjobs.cancel(store, backend, job_id).status is S.CANCELLED
    got = enter(store, backend, job_id, strategy)
    assert (got.action, got.status, got.remote_id) == (Action.RETURN, S.CANCELLED, None)
    assert not backend.jobs
    assert enter(store, backend, job_id, FORCE).action is Action.SUBMIT  # asked for in words


def test_a_wish_during_a_call_that_never_left_holds(store: Ledger) -> None:
    backend = ScriptedBackend()
    job_id = create(store)
    backend.faults.append(Fault(NotSent("no route")))
    backend.before_submit = lambda: store.request_cancel(job_id, now=NOW)
    with pytest.raises(NotSent):
        enter(store, backend, job_id)
    assert store.job(job_id).status is S.CANCELLED
    assert enter(store, backend, job_id).action is Action.RETURN
    assert not backend.jobs


def test_a_wish_during_a_lost_call_holds(store: Ledger) -> None:
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


def test_cancel_by_state(store: Ledger) -> None:
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


def test_a_wish_outlives_an_unreachable_provider(store: Ledger) -> None:
    backend = ScriptedBackend()
    job_id = a_job(store, "open", backend)
    backend.troubles.append(BackendUnavailable("502"))
    with pytest.raises(BackendUnavailable):
        qjobs.cancel(store, backend, job_id)
    assert store.job(job_id).cancel_requested_at is not None
    assert qjobs.poll(store, backend, [job_id]) == {job_id: S.CANCELLED}
