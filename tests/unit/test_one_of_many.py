"""What is wrong with one job stops no other: in a poll, in a wait, in a pass of the sensor."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from scripted import Clock, Fault, ScriptedBackend
from support import (
    NOW,
    a_spec,
    at,
    check_history,
    claim,
    create,
    item_statuses,
    job_moves,
    sending,
    submitted,
    unsettled,
)

import qjobs
from qjobs.backends.base import Backend, Lookup, Snapshot
from qjobs.errors import (
    BackendUnavailable,
    CredentialsRejected,
    QJobsError,
    SubmissionUnknown,
    WaitTimeout,
    WrongBackend,
)
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import ItemResult, JobId, RemoteId
from qjobs.operations.collect import store_results
from qjobs.operations.poll import poll_each
from qjobs.operations.sensor_pass import PassReport, sensor_pass
from qjobs.operations.wait import wait

S = JobStatus
DONE = (S.COMPLETED, S.COMPLETED)
REFUSED = [CredentialsRejected("403: not this one"), BackendUnavailable("500: not this one")]


def a_pass(store: Ledger, backend: Backend, seconds: float = 0.0) -> PassReport:
    return sensor_pass(store, lambda _: backend, now=lambda: at(seconds), rng=random.Random(1))


def waited(store: Ledger, backend: Backend, job_ids: Sequence[JobId], timeout_s: float) -> dict[JobId, JobStatus]:
    clock = Clock()
    return wait(
        store,
        {"fake": backend},
        job_ids,
        timeout_s=timeout_s,
        now=clock.now,
        monotonic=clock.monotonic,
        sleep=clock.sleep,
        rng=random.Random(1),
    )


@pytest.mark.parametrize("error", REFUSED, ids=["403", "500"])
@pytest.mark.parametrize("of", ["status", "cancel"])
@pytest.mark.parametrize("by", ["poll", "wait", "sensor"])
def test_refused(store: Ledger, error: QJobsError, of: str, by: str) -> None:
    """One refused status or cancellation is that job's trouble; all others have their results."""
    backend = ScriptedBackend()
    job_ids = submitted(store, backend, "a", "b", "c")
    if of == "status":
        backend.errors[RemoteId("remote-2")] = error
    else:
        backend.refusals[RemoteId("remote-2")] = error
        store.request_cancel(job_ids[1], now=NOW)
    for n in (0, 2):
        backend.report(*DONE, of=n)
    if by == "poll":
        polled = poll_each(store, backend, job_ids, lambda: at(1), {})
        assert list(polled.troubles) == [job_ids[1]]
    elif by == "wait":
        with pytest.raises(WaitTimeout) as caught:
            waited(store, backend, job_ids, 30.0)
        assert caught.value.job_ids == (job_ids[1],)
        assert [event.detail for event in store.events(job_ids[1]) if event.cause == type(error).__name__] == [
            str(error)
        ]
    else:
        assert set(a_pass(store, backend).moved) >= {job_ids[0], job_ids[2]}
        assert str(error) in str(store.job(job_ids[1]).trouble)
        assert store.result_counts(job_ids) == {job_ids[0]: 2, job_ids[1]: 0, job_ids[2]: 2}
    assert [store.job(each).status.is_final for each in job_ids] == [True, False, True]


def test_refused_cancellation_is_asked_again(store: Ledger, backend: ScriptedBackend) -> None:
    """A cancellation that was refused is passed on by a later poll."""
    (job_id,) = submitted(store, backend, "a")
    store.request_cancel(job_id, now=NOW)
    backend.refusals[RemoteId("remote-1")] = REFUSED[0]
    with pytest.raises(CredentialsRejected):
        qjobs.poll(store, backend, [job_id], now=lambda: at(1))
    backend.refusals.clear()
    assert qjobs.poll(store, backend, [job_id], now=lambda: at(2)) == {job_id: S.CANCELLED}


# Another place


@pytest.fixture
def there(store: Ledger, backend: ScriptedBackend) -> list[JobId]:
    """A job that was sent there, and one that was sent to another place under the same name."""
    job_ids = []
    for key, place in (("there", "there"), ("elsewhere", "elsewhere")):
        backend.fingerprint = replace(backend.fingerprint, place=place)
        job_ids += store.create([replace(a_spec(key), fingerprint=str(backend.fingerprint))], now=NOW)
        qjobs.submit(store, backend, job_ids[-1], now=lambda: NOW)
    for n in range(2):
        backend.report(*DONE, of=n)
    return job_ids


@pytest.mark.parametrize("by", ["poll", "wait", "sensor", "results"])
def test_other_place(store: Ledger, backend: ScriptedBackend, there: list[JobId], by: str) -> None:
    """Nothing of the answers of another server or account is stored; it is told, and others go on."""
    ours, theirs = there
    if by == "poll":
        with pytest.raises(WrongBackend, match=r"was sent to there, and .* now opens elsewhere"):
            qjobs.poll(store, backend, there, now=lambda: at(1))
    elif by == "wait":
        with pytest.raises(WaitTimeout):
            waited(store, backend, there, 30.0)
    elif by == "sensor":
        assert a_pass(store, backend).moved == {theirs: S.COMPLETED}
        assert "was sent to there" in str(store.job(ours).trouble)
    else:
        for job_id in there[:1]:
            with pytest.raises(WrongBackend):
                store_results(store, backend, store.job(job_id), now=lambda: at(1))
        store_results(store, backend, store.job(theirs), now=lambda: at(1))
    assert (store.job(ours).status, store.results(ours)) == (S.SUBMITTED, {})
    assert by == "results" or store.job(theirs).status is S.COMPLETED
    assert all(RemoteId("remote-1") not in asked for asked in backend.asked)


def test_not_looked_up_elsewhere(store: Ledger) -> None:
    """That another place does not know a job whose reply was lost proves nothing, and is not noted."""
    elsewhere = ScriptedBackend(place="elsewhere")
    (job_id,) = store.create([replace(a_spec("key"), fingerprint=str(ScriptedBackend().fingerprint))], now=NOW)
    store.submissions.mark_unknown(sending(store, claim(store, job_id)), "lost", now=NOW)
    before = len(store.events(job_id))
    with pytest.raises(WrongBackend):
        qjobs.submit(store, elsewhere, job_id, now=lambda: at(100))
    with pytest.raises(WaitTimeout):
        free_times(store, elsewhere, [job_id])
    assert [event.cause for event in store.events(job_id)[before:]] == ["WrongBackend"]


# Reports that differ by route


def test_two_routes(store: Ledger, backend: ScriptedBackend) -> None:
    """A list without items and reports with items take turns: no false event, no false time."""
    job_ids = submitted(store, backend, *(f"k{n}" for n in range(20)))
    for n in range(20):
        backend.report(S.RUNNING, S.QUEUED, of=n)
    for turn in range(8):
        backend.tells_items = turn % 2 == 0
        qjobs.poll(store, backend, job_ids, now=lambda turn=turn: at(10 * turn + 10))
    for job_id in job_ids:
        assert item_statuses(store, job_id) == [S.RUNNING, S.QUEUED]
        assert [new for _, new, _ in job_moves(store, job_id)] == [S.CREATED, S.SUBMITTING, S.SUBMITTED, S.RUNNING]
        assert S.RUNNING not in store.items(job_id)[1].times
        assert len([event for event in store.events(job_id) if event.index is not None]) == 2
    backend.tells_items = False
    for n in range(20):
        backend.report(*DONE, of=n)
    assert set(qjobs.poll(store, backend, job_ids, now=lambda: at(100)).values()) == {S.COMPLETED}
    check_history(store, job_ids[0])


def test_item_without_an_end(store: Ledger, backend: ScriptedBackend) -> None:
    """A job that its provider calls final ends its open items after a grace period."""
    (job_id,) = submitted(store, backend, "a")
    backend.report(S.COMPLETED, S.RUNNING)
    told = backend.snapshot

    def final(remote_id: RemoteId) -> Snapshot:
        return replace(told(remote_id), status=S.COMPLETED)

    backend.snapshot = final
    assert a_pass(store, backend, 10.0).moved == {job_id: S.RUNNING}
    assert store.results(job_id).keys() == {0}
    for seconds in range(60, 1200, 60):
        a_pass(store, backend, seconds)
    job = store.job(job_id)
    assert (job.status, item_statuses(store, job_id)) == (S.ERROR, [S.COMPLETED, S.ERROR])
    assert "never ended this item" in store.items(job_id)[1].message
    assert a_pass(store, backend, 90000.0).asked == set()
    check_history(store, job_id)


# A stranger in the slot


def free_slot(store: Ledger, backend: ScriptedBackend, job_id: JobId, act: object) -> Clock:
    """Wait for room until `act` is done at 600 s."""
    clock = Clock()
    clock.after(600.0, act)
    wait(
        store,
        {"fake": backend},
        [job_id],
        until="room",
        now=clock.now,
        monotonic=clock.monotonic,
        sleep=clock.sleep,
        rng=random.Random(1),
    )
    return clock


@pytest.mark.parametrize("lookup", [Lookup(), Lookup(by_key=True)], ids=["opaque", "findable"])
def test_unknown_in_the_slot(store: Ledger, lookup: Lookup) -> None:
    """A stranger's UNKNOWN job has the only place: it is waited for at the pace of polls until a person decides."""
    backend = ScriptedBackend(lookup)
    found: list[float] = []
    ask = backend.find
    backend.find = lambda key: (found.append(1.0), ask(key))[1]
    job_id, attempt = unsettled(store, S.UNKNOWN)
    clock = free_slot(store, backend, job_id, lambda: store.submissions.release(attempt, "a person", now=at(600)))
    assert 600.0 <= clock.elapsed_s < 612.0
    assert len(clock.naps_s) < 2 * clock.elapsed_s + 10
    assert len(found) == 0 if lookup.is_opaque else 50 < len(found) < 80
    assert len(store.events(job_id)) < 10


def test_found_in_the_slot(store: Ledger, backend: ScriptedBackend) -> None:
    """A stranger's UNKNOWN job that its provider finds is followed to its end."""
    job_id = create(store)
    backend.faults.append(Fault(SubmissionUnknown("the connection broke"), "after"))
    with pytest.raises(BackendUnavailable):
        qjobs.submit(store, backend, job_id, now=lambda: NOW)
    assert store.job(job_id).status is S.UNKNOWN
    clock = free_slot(store, backend, job_id, lambda: backend.report(*DONE))
    assert 600.0 <= clock.elapsed_s < 612.0
    assert (store.job(job_id).status, store.results(job_id).keys()) == (S.COMPLETED, {0, 1})


def test_free_by_now(store: Ledger, backend: ScriptedBackend) -> None:
    """A place that became free before the wait began is room."""
    first, second = submitted(store, backend, "a", "b")
    backend.report(*DONE, of=0)
    qjobs.poll(store, backend, [first], now=lambda: NOW)
    assert free_times(store, backend, [first, second]) == []


def free_times(store: Ledger, backend: ScriptedBackend, job_ids: list[JobId]) -> list[float]:
    clock = Clock()
    times = {"now": clock.now, "monotonic": clock.monotonic, "sleep": clock.sleep}
    wait(store, {"fake": backend}, job_ids, until="room", timeout_s=60.0, **times)
    return clock.naps_s


# As results appear


@pytest.mark.parametrize("by", ["wait", "sensor"])
def test_as_they_appear(store: Ledger, by: str) -> None:
    """299 of 300 results are stored while one item runs."""
    backend = ScriptedBackend()
    (job_id,) = store.create([a_spec("many", n_items=300)], now=NOW)
    qjobs.submit(store, backend, job_id, now=lambda: NOW)
    backend.report(*[S.COMPLETED] * 299, S.RUNNING)
    if by == "wait":
        with pytest.raises(WaitTimeout):
            waited(store, backend, [job_id], 5.0)
    else:
        a_pass(store, backend)
    assert store.job(job_id).status is S.RUNNING
    assert store.results(job_id).keys() == set(range(299))
    assert isinstance(store.results(job_id)[0], ItemResult)
