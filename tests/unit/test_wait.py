"""Wait: how often it asks, what it bears, and when it ends."""

from __future__ import annotations

import itertools
import random
import threading

import pytest
from scripted import Clock, ScriptedBackend, TellingBackend
from support import LEASE_S, NOW, check_history, claim, create, sending, submitted

import qjobs
from qjobs.errors import BackendUnavailable, CredentialsRejected, ProtocolError, WaitTimeout
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId, RemoteId
from qjobs.operations.wait import Progress

S = JobStatus
DONE = (S.COMPLETED, S.COMPLETED)


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


def test_until_all(store: Ledger, backend: ScriptedBackend) -> None:
    """A wait ends when all jobs are final; results are stored as soon as they exist."""
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


def test_pace(store: Ledger, backend: ScriptedBackend) -> None:
    """A wait wakes at least once a second, and asks ever less often."""
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


def test_retry_after(store: Ledger, backend: ScriptedBackend) -> None:
    """Retry-After is honoured, in short naps."""
    (job_id,) = submitted(store, backend, "a")
    wait = Waited(store, backend)
    backend.report(*DONE)
    backend.troubles.append(BackendUnavailable("429", retry_after_s=120.0))
    wait([job_id])
    assert 120.0 <= wait.clock.elapsed_s <= 185.0
    assert max(wait.clock.naps_s) <= 1.0


def test_trouble_once(store: Ledger, backend: ScriptedBackend) -> None:
    """Trouble is reported once, and its end too."""
    (job_id,) = submitted(store, backend, "a")
    wait = Waited(store, backend)
    backend.troubles += [None, *[BackendUnavailable("502")] * 8]
    wait.clock.after(2000, lambda: backend.report(*DONE))
    wait([job_id])
    assert [dict(report.trouble) for report in wait.reports] == [{}, {"fake": "502"}, {}, {}]
    noted = [event for event in store.events(job_id) if event.cause == "BackendUnavailable"]
    assert [event.detail for event in noted] == ["502"]
    check_history(store, job_id)


def test_long_outage(store: Ledger, backend: ScriptedBackend) -> None:
    """An outage of days ends no wait."""
    (job_id,) = submitted(store, backend, "a")
    wait = Waited(store, backend)
    backend.troubles += [BackendUnavailable("502")] * 1500  # 2.0**1500 is no float
    backend.report(*DONE)
    wait.clock.sleep = lambda seconds: setattr(wait.clock, "elapsed_s", wait.clock.elapsed_s + max(seconds, 60.0))
    assert wait([job_id]) == {job_id: S.COMPLETED}


@pytest.mark.parametrize("error", [CredentialsRejected("401"), ProtocolError("BANANA"), BackendUnavailable("502")])
def test_trouble_ends_no_wait(store: Ledger, backend: ScriptedBackend, error: Exception) -> None:
    """No trouble of a provider ends a wait."""
    (job_id,) = submitted(store, backend, "a")
    wait = Waited(store, backend)
    backend.troubles += [error] * 20
    backend.report(*DONE)
    assert wait([job_id]) == {job_id: S.COMPLETED}
    assert len(store.results(job_id)) == 2


def test_two_providers(store: Ledger, backend: ScriptedBackend) -> None:
    """One provider in trouble holds up no other."""
    other = ScriptedBackend(name="other")
    (job_id,), (other_id,) = submitted(store, backend, "a"), submitted(store, other, "b")
    wait = Waited(store, backend, other)
    backend.troubles += [BackendUnavailable("502")] * 50
    backend.report(*DONE)
    other.report(*DONE)
    assert wait([job_id, other_id], until="any") == {job_id: S.SUBMITTED, other_id: S.COMPLETED}
    assert wait([job_id, other_id])[job_id] is S.COMPLETED


def test_unreadable_results(store: Ledger, backend: ScriptedBackend) -> None:
    """Results that cannot be read hold up no other job."""
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


def test_timeout(store: Ledger, backend: ScriptedBackend) -> None:
    """A wait that gives up names the jobs that go on."""
    first, second = submitted(store, backend, "a", "b")
    backend.report(*DONE, of=0)
    wait = Waited(store, backend)
    with pytest.raises(WaitTimeout, match="1 of 2") as caught:
        wait([first, second], timeout_s=30)
    assert caught.value.job_ids == (second,)
    assert wait.clock.elapsed_s == pytest.approx(30, abs=0.6)
    assert store.job(second).status is S.QUEUED


def test_no_time(store: Ledger, backend: ScriptedBackend) -> None:
    """A wait without time asks once."""
    (job_id,) = submitted(store, backend, "a")
    backend.report(*DONE)
    wait = Waited(store, backend)
    assert wait([job_id], timeout_s=0) == {job_id: S.COMPLETED}
    assert wait.clock.naps_s == []


def test_until_any(store: Ledger, backend: ScriptedBackend) -> None:
    """Until any: only a job that was open before ends the wait."""
    first, second, third = submitted(store, backend, "a", "b", "c")
    backend.report(*DONE, of=0)
    qjobs.poll(store, backend, [first])
    wait = Waited(store, backend)
    wait.clock.after(7, lambda: backend.report(S.ERROR, S.ERROR, of=2))
    assert wait([first, second, third], until="any") == {first: S.COMPLETED, second: S.QUEUED, third: S.ERROR}
    assert wait.clock.elapsed_s >= 7


def test_not_moved_by_waiting(store: Ledger, backend: ScriptedBackend) -> None:
    """What waiting cannot move is not waited for."""
    never_sent, unknown = create(store, "never"), create(store, "unknown")
    store.submissions.mark_unknown(claim(store, unknown), "lost", now=NOW)
    wait = Waited(store, backend)
    assert wait([never_sent, unknown]) == {never_sent: S.CREATED, unknown: S.UNKNOWN}
    assert wait([]) == {}
    assert wait.clock.naps_s == []


def test_dead_submitter(store: Ledger, backend: ScriptedBackend) -> None:
    """A submission whose process died becomes UNKNOWN when its lease runs out."""
    job_id = create(store)
    sending(store, claim(store, job_id, owner="dead:1"))
    wait = Waited(store, backend)
    assert wait([job_id]) == {job_id: S.UNKNOWN}
    assert LEASE_S <= wait.clock.elapsed_s <= LEASE_S + 11


def test_other_submitter(store: Ledger, backend: ScriptedBackend) -> None:
    """A job that another process is submitting is waited for."""
    (other,) = submitted(store, backend, "other")
    job_id = create(store)
    attempt = claim(store, job_id, owner="elsewhere:1")
    wait = Waited(store, backend)
    wait.clock.after(5, lambda: store.submissions.accept(attempt, RemoteId("remote-1"), now=wait.clock.now()))
    wait.clock.after(20, lambda: backend.report(*DONE))
    assert wait([job_id, other]) == {job_id: S.COMPLETED, other: S.COMPLETED}


def test_two_devices(store: Ledger) -> None:
    """Two devices of one account are each asked for their own jobs."""
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


def test_watched(store: Ledger) -> None:
    """A few jobs are watched: the provider says when to ask."""
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


def test_many_not_watched(store: Ledger) -> None:
    """Many jobs are polled, not watched."""
    backend = TellingBackend()
    ids = [create(store, f"many-{n}") for n in range(5)]
    for job_id in ids:
        qjobs.submit(store, backend, job_id)
    with pytest.raises(WaitTimeout):
        qjobs.wait(store, {"fake": backend}, ids, timeout_s=0.1)
    assert backend.watched == []


def test_recorded_by_another(store: Ledger, backend: ScriptedBackend) -> None:
    """What another process has recorded of a job is no news to this one, and its results are stored all the same."""
    (job_id,) = submitted(store, backend, "a")
    wait = Waited(store, backend)

    def recorded() -> None:
        backend.report(*DONE)
        qjobs.poll(store, backend, [job_id], now=wait.clock.now)
        assert store.job(job_id).status is S.COMPLETED

    wait.clock.after(3.0, recorded)
    assert wait([job_id]) == {job_id: S.COMPLETED}
    assert len(store.results(job_id)) == 2
