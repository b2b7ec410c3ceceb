"""poll, fetch and wait: what is asked, what is written down, and how long is slept."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Sequence

import pytest
from scripted import Clock, ScriptedBackend, TellingBackend
from support import LEASE_S, NOW, check_history, claim, create, whole

import qjobs
from qjobs.backends.base import MissingResult, Snapshot
from qjobs.errors import BackendUnavailable, CredentialsRejected, ProtocolError, WaitTimeout
from qjobs.ledger import Ledger
from qjobs.ledger.provider_reports import Report
from qjobs.lifecycle import JobStatus
from qjobs.model import ItemResult, JobId, RemoteId
from qjobs.operations.collect import store_results
from qjobs.operations.wait import Progress

S = JobStatus
DONE = (S.COMPLETED, S.COMPLETED)


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend()


def submitted(store: Ledger, backend: ScriptedBackend, *keys: str) -> list[JobId]:
    job_ids = [create(store, key, backend=backend.name) for key in keys]
    for job_id in job_ids:
        qjobs.submit(store, backend, job_id, now=lambda: NOW)
    return job_ids


class Waited:
    """A wait on a clock of its own."""

    def __init__(self, store: Ledger, *backends: ScriptedBackend) -> None:
        self.store, self.backends, self.clock = store, {b.name: b for b in backends}, Clock()
        self.reports: list[Progress] = []

    def __call__(self, job_ids: list[JobId], **values: object) -> dict[JobId, JobStatus]:
        return qjobs.wait(
            self.store,
            self.backends,
            job_ids,
            report=self.reports.append,
            now=self.clock.now,
            monotonic=self.clock.monotonic,
            sleep=self.clock.sleep,
            rng=random.Random(1),
            **values,
        )


# poll


def test_poll_asks_once_for_all_and_writes_it_down(store: Ledger, backend: ScriptedBackend) -> None:
    job_ids = submitted(store, backend, "a", "b", "c")
    backend.report(S.RUNNING, S.QUEUED, of=0)
    backend.report(S.COMPLETED, S.ERROR, of=2, messages=[(1, "calibration")])
    assert qjobs.poll(store, backend, job_ids) == dict(zip(job_ids, (S.RUNNING, S.QUEUED, S.ERROR), strict=True))
    assert [sorted(ids) for ids in backend.asked] == [["remote-1", "remote-2", "remote-3"]]
    assert store.items(job_ids[2])[1].message == "calibration"


class CountingLedger(Ledger):
    """A ledger that counts the reports it is given."""

    n_reports = 0

    def record_reports(self, reports: Sequence[Report], **values: object) -> tuple[dict[JobId, JobStatus], object]:
        self.n_reports += len(reports)
        return super().record_reports(reports, **values)


def test_moving_up_writes_no_reports(store: Ledger, backend: ScriptedBackend) -> None:
    """When a queue moves up, the new places are written and no report is, however many jobs are in it."""
    job_ids = submitted(store, backend, "a", "b", "c")
    places: dict[str, int] = {}

    def status(remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Snapshot]:
        return {each: whole(S.QUEUED, "in line", queue_position=places[each]) for each in remote_ids}

    backend.status = status
    with CountingLedger(store.url) as ledger:
        for first in (5, 4, 4):
            places.update({f"remote-{number}": first + number for number in (1, 2, 3)})
            qjobs.poll(ledger, backend, job_ids)
            assert ledger.queue_positions(job_ids) == dict(zip(job_ids, range(first + 1, first + 4), strict=True))
            assert ledger.n_reports == 3, "the first time they became QUEUED; after that only places changed"


def test_poll_leaves_out_what_waits_for_nobody(store: Ledger, backend: ScriptedBackend) -> None:
    never_sent, unknown = create(store, "never"), create(store, "unknown")
    store.submissions.mark_unknown(claim(store, unknown), "lost", now=NOW)
    (final,) = submitted(store, backend, "final")
    backend.report(*DONE)
    qjobs.poll(store, backend, [final])
    backend.asked.clear()
    assert qjobs.poll(store, backend, [never_sent, unknown, final]) == {
        never_sent: S.CREATED,
        unknown: S.UNKNOWN,
        final: S.COMPLETED,
    }
    assert backend.asked == []


def test_an_id_that_the_provider_does_not_tell_about_keeps_its_status(store: Ledger, backend: ScriptedBackend) -> None:
    first, second = submitted(store, backend, "a", "b")
    backend.hidden.add(RemoteId("remote-1"))
    backend.report(*DONE)
    assert qjobs.poll(store, backend, [first, second]) == {first: S.SUBMITTED, second: S.COMPLETED}


def test_an_id_that_was_not_asked_for_is_passed_over(store: Ledger, backend: ScriptedBackend) -> None:
    class Chatty(ScriptedBackend):
        def status(self, remote_ids: object) -> object:
            return super().status(list(self.jobs))

    chatty = Chatty()
    first, _ = submitted(store, chatty, "a", "b")
    assert qjobs.poll(store, chatty, [first]) == {first: S.QUEUED}


@pytest.mark.parametrize("error", [ProtocolError("BANANA"), BackendUnavailable("502"), CredentialsRejected("401")])
def test_an_answer_that_cannot_be_used_changes_nothing(
    store: Ledger, backend: ScriptedBackend, error: Exception
) -> None:
    (job_id,) = submitted(store, backend, "a")
    before = store.events(job_id)
    backend.troubles.append(error)
    with pytest.raises(type(error)):
        qjobs.poll(store, backend, [job_id])
    assert store.job(job_id).status is S.SUBMITTED
    assert store.events(job_id) == before


def test_a_report_of_the_wrong_length_does_not_hold_up_the_others(store: Ledger, backend: ScriptedBackend) -> None:
    first, second = submitted(store, backend, "a", "b")
    backend.jobs[RemoteId("remote-1")].items.append(S.RUNNING)
    backend.report(*DONE)
    with pytest.raises(ProtocolError, match="3 items"):
        qjobs.poll(store, backend, [first, second])
    assert store.job(first).status is S.SUBMITTED
    assert store.job(second).status is S.COMPLETED


def test_a_wish_is_passed_on_once_the_provider_can_be_reached(store: Ledger) -> None:
    backend = ScriptedBackend(confirms_cancel=False)
    (job_id,) = submitted(store, backend, "a")
    store.request_cancel(job_id, now=NOW)
    backend.troubles.append(BackendUnavailable("502"))
    with pytest.raises(BackendUnavailable):
        qjobs.poll(store, backend, [job_id])
    for _ in range(3):
        assert qjobs.poll(store, backend, [job_id]) == {job_id: S.CANCELLING}
    assert backend.jobs[RemoteId("remote-1")].cancels == 1
    check_history(store, job_id)


# fetch


@pytest.mark.parametrize("change", [lambda r: r[:1], lambda r: [*r, r[0]], lambda _: []])
def test_a_wrong_number_of_results_stores_nothing(store: Ledger, backend: ScriptedBackend, change: object) -> None:
    (job_id,) = submitted(store, backend, "a")
    backend.report(*DONE)
    qjobs.poll(store, backend, [job_id])
    backend.answer = change
    with pytest.raises(ProtocolError, match="2 items"):
        store_results(store, backend, store.job(job_id))
    assert store.results(job_id) == {}


def test_a_result_that_is_there_is_not_replaced(store: Ledger, backend: ScriptedBackend) -> None:
    (job_id,) = submitted(store, backend, "a")
    backend.report(S.COMPLETED, S.RUNNING)
    assert store_results(store, backend, store.job(job_id)) == {1: "it is RUNNING"}
    first = store.results(job_id)
    backend.report(*DONE)
    backend.answer = lambda results: [ItemResult(counts={"11": n}) for n, _ in enumerate(results)]
    assert store_results(store, backend, store.job(job_id)) == {}
    assert store.results(job_id) == {**first, 1: ItemResult(counts={"11": 1})}


def test_partial_results_are_kept_and_the_reasons_told(store: Ledger, backend: ScriptedBackend) -> None:
    (job_id,) = submitted(store, backend, "a")
    backend.report(S.ERROR, S.COMPLETED)
    backend.answer = lambda results: [MissingResult(reason="the laser was off"), results[1]]
    assert store_results(store, backend, store.job(job_id)) == {0: "the laser was off"}
    assert store.results(job_id).keys() == {1}


def test_nothing_is_asked_of_a_job_that_has_no_remote_id(store: Ledger, backend: ScriptedBackend) -> None:
    job_id = create(store)
    assert store_results(store, backend, store.job(job_id)) == {0: "the job is CREATED", 1: "the job is CREATED"}


# wait


def test_a_wait_ends_when_all_are_final_and_the_results_are_there(store: Ledger, backend: ScriptedBackend) -> None:
    first, second = submitted(store, backend, "a", "b")
    wait = Waited(store, backend)
    stored: list[int] = []
    wait.clock.after(3, lambda: backend.report(*DONE, of=0))
    wait.clock.after(40, lambda: stored.append(len(store.results(first))))
    wait.clock.after(60, lambda: backend.report(S.COMPLETED, S.ERROR, of=1))
    assert wait([first, second]) == {first: S.COMPLETED, second: S.ERROR}
    assert stored == [2]  # as soon as the job was final, not at the end
    assert store.results(second).keys() == {0}
    assert [report.open for report in wait.reports][-1] == ()
    assert len(wait.reports) == 3


def test_a_wait_wakes_at_least_once_a_second_and_asks_ever_less_often(store: Ledger, backend: ScriptedBackend) -> None:
    (job_id,) = submitted(store, backend, "a")
    wait = Waited(store, backend)
    asked_at: list[float] = []
    ask = backend.status
    backend.status = lambda ids: (asked_at.append(wait.clock.elapsed_s), ask(ids))[1]
    wait.clock.after(100, lambda: backend.report(*DONE))
    wait([job_id])
    assert min(wait.clock.naps_s) > 0
    assert max(wait.clock.naps_s) <= 1.0
    pauses = [after - before for before, after in itertools.pairwise(asked_at)]
    assert pauses == sorted(pauses)
    assert pauses[0] == pytest.approx(1.0)
    assert pauses[-1] == pytest.approx(10.0)
    assert len(asked_at) < 20


def test_nothing_new_is_not_written_again(store: Ledger, backend: ScriptedBackend) -> None:
    (job_id,) = submitted(store, backend, "a")
    wait = Waited(store, backend)
    wait.clock.after(500, lambda: backend.report(*DONE))
    wait([job_id])
    assert [event.new for event in store.events(job_id, of_items=False)] == [
        S.CREATED,
        S.SUBMITTING,
        S.SUBMITTED,
        S.QUEUED,
        S.COMPLETED,
    ]


def test_retry_after_is_honoured(store: Ledger, backend: ScriptedBackend) -> None:
    (job_id,) = submitted(store, backend, "a")
    wait = Waited(store, backend)
    backend.report(*DONE)
    backend.troubles.append(BackendUnavailable("429", retry_after_s=120.0))
    wait([job_id])
    assert 120.0 <= wait.clock.elapsed_s <= 185.0
    assert max(wait.clock.naps_s) <= 1.0


def test_trouble_is_told_once_and_its_end_too(store: Ledger, backend: ScriptedBackend) -> None:
    (job_id,) = submitted(store, backend, "a")
    wait = Waited(store, backend)
    backend.troubles += [None, *[BackendUnavailable("502")] * 8]
    wait.clock.after(2000, lambda: backend.report(*DONE))
    wait([job_id])
    assert [dict(report.trouble) for report in wait.reports] == [{}, {"fake": "502"}, {}, {}]
    noted = [event for event in store.events(job_id) if event.cause == "BackendUnavailable"]
    assert [event.detail for event in noted] == ["502"]
    check_history(store, job_id)


def test_an_outage_of_days_is_borne(store: Ledger, backend: ScriptedBackend) -> None:
    (job_id,) = submitted(store, backend, "a")
    wait = Waited(store, backend)
    backend.troubles += [BackendUnavailable("502")] * 1500  # 2.0**1500 is no float
    backend.report(*DONE)
    wait.clock.sleep = lambda seconds: setattr(wait.clock, "elapsed_s", wait.clock.elapsed_s + max(seconds, 60.0))
    assert wait([job_id]) == {job_id: S.COMPLETED}


@pytest.mark.parametrize("error", [CredentialsRejected("401"), ProtocolError("BANANA"), BackendUnavailable("502")])
def test_no_trouble_of_a_provider_fails_a_wait(store: Ledger, backend: ScriptedBackend, error: Exception) -> None:
    (job_id,) = submitted(store, backend, "a")
    wait = Waited(store, backend)
    backend.troubles += [error] * 20
    backend.report(*DONE)
    assert wait([job_id]) == {job_id: S.COMPLETED}
    assert len(store.results(job_id)) == 2


def test_one_provider_in_trouble_does_not_hold_up_another(store: Ledger, backend: ScriptedBackend) -> None:
    other = ScriptedBackend(name="other")
    (job_id,), (other_id,) = submitted(store, backend, "a"), submitted(store, other, "b")
    wait = Waited(store, backend, other)
    backend.troubles += [BackendUnavailable("502")] * 50
    backend.report(*DONE)
    other.report(*DONE)
    assert wait([job_id, other_id], until="any") == {job_id: S.SUBMITTED, other_id: S.COMPLETED}
    assert wait([job_id, other_id])[job_id] is S.COMPLETED


def test_results_of_one_job_that_cannot_be_read_do_not_hold_up_the_others(
    store: Ledger, backend: ScriptedBackend
) -> None:
    first, second, third = submitted(store, backend, "a", "b", "c")
    for number in range(3):
        backend.report(*DONE, of=number)
    backend.jobs[RemoteId("remote-2")].items.append(S.COMPLETED)
    broken = backend.answer
    backend.answer = lambda results: results[:1] if "remote-1" in (results[0].counts or {}) else broken(results)
    wait = Waited(store, backend)
    with pytest.raises(WaitTimeout) as caught:
        wait([first, second, third], timeout_s=30)
    assert set(caught.value.job_ids) == {first, second}
    assert len(store.results(third)) == 2


def test_a_wait_gives_up_with_the_ids(store: Ledger, backend: ScriptedBackend) -> None:
    first, second = submitted(store, backend, "a", "b")
    backend.report(*DONE, of=0)
    wait = Waited(store, backend)
    with pytest.raises(WaitTimeout, match="1 of 2") as caught:
        wait([first, second], timeout_s=30)
    assert caught.value.job_ids == (second,)
    assert wait.clock.elapsed_s == pytest.approx(30, abs=0.6)
    assert store.job(second).status is S.QUEUED


def test_a_wait_without_time_asks_once(store: Ledger, backend: ScriptedBackend) -> None:
    (job_id,) = submitted(store, backend, "a")
    backend.report(*DONE)
    wait = Waited(store, backend)
    assert wait([job_id], timeout_s=0) == {job_id: S.COMPLETED}
    assert wait.clock.naps_s == []


def test_until_any_counts_only_what_was_open_before(store: Ledger, backend: ScriptedBackend) -> None:
    first, second, third = submitted(store, backend, "a", "b", "c")
    backend.report(*DONE, of=0)
    qjobs.poll(store, backend, [first])
    wait = Waited(store, backend)
    wait.clock.after(7, lambda: backend.report(S.ERROR, S.ERROR, of=2))
    assert wait([first, second, third], until="any") == {first: S.COMPLETED, second: S.QUEUED, third: S.ERROR}
    assert wait.clock.elapsed_s >= 7


def test_what_waiting_cannot_move_is_not_waited_for(store: Ledger, backend: ScriptedBackend) -> None:
    never_sent, unknown = create(store, "never"), create(store, "unknown")
    store.submissions.mark_unknown(claim(store, unknown), "lost", now=NOW)
    wait = Waited(store, backend)
    assert wait([never_sent, unknown]) == {never_sent: S.CREATED, unknown: S.UNKNOWN}
    assert wait([]) == {}
    assert wait.clock.naps_s == []


def test_a_submission_whose_process_died_does_not_hold_a_wait_for_ever(store: Ledger, backend: ScriptedBackend) -> None:
    job_id = create(store)
    claim(store, job_id, owner="dead:1")
    wait = Waited(store, backend)
    assert wait([job_id]) == {job_id: S.UNKNOWN}
    assert LEASE_S <= wait.clock.elapsed_s <= LEASE_S + 11


def test_a_job_that_another_process_is_sending_is_joined(store: Ledger, backend: ScriptedBackend) -> None:
    (other,) = submitted(store, backend, "other")
    job_id = create(store)
    attempt = claim(store, job_id, owner="elsewhere:1")
    wait = Waited(store, backend)
    wait.clock.after(5, lambda: store.submissions.accept(attempt, RemoteId("remote-1"), now=wait.clock.now()))
    wait.clock.after(20, lambda: backend.report(*DONE))
    assert wait([job_id, other]) == {job_id: S.COMPLETED, other: S.COMPLETED}


def test_two_devices_of_one_account_are_each_asked_for_their_own(store: Ledger) -> None:
    clock, fast, slow = Clock(), ScriptedBackend(), ScriptedBackend()
    slow.device = "another device"
    jobs = {backend: create(store, backend.device, device=backend.device) for backend in (fast, slow)}
    for backend, job_id in jobs.items():
        qjobs.submit(store, backend, job_id, now=clock.now)
        backend.report(S.COMPLETED, S.COMPLETED)
    ids = list(jobs.values())
    qjobs.wait(store, {"a": fast, "b": slow}, ids, now=clock.now, monotonic=clock.monotonic, sleep=clock.sleep)
    assert [set(backend.asked) for backend in jobs] == [{("remote-1",)}, {("remote-1",)}]
    assert store.result_counts(ids) == dict.fromkeys(ids, 2)


def test_a_short_wait_is_told(store: Ledger) -> None:
    backend = TellingBackend()
    job_id = create(store)
    qjobs.submit(store, backend, job_id)

    def finish() -> None:
        backend.report(S.COMPLETED, S.COMPLETED)
        backend.tell.set()

    timer = threading.Timer(0.3, finish)
    timer.start()
    try:
        assert qjobs.wait(store, {"fake": backend}, [job_id], timeout_s=20.0) == {job_id: S.COMPLETED}
    finally:
        timer.join()
    assert backend.watched == ["remote-1"]
    assert store.result_counts([job_id]) == {job_id: 2}


def test_many_jobs_are_asked_for_and_not_watched(store: Ledger) -> None:
    backend = TellingBackend()
    ids = [create(store, f"many-{n}") for n in range(5)]
    for job_id in ids:
        qjobs.submit(store, backend, job_id)
    with pytest.raises(WaitTimeout):
        qjobs.wait(store, {"fake": backend}, ids, timeout_s=0.1)
    assert backend.watched == []
