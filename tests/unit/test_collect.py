"""Collect: every result is stored once, and what is missing has a reason."""

from __future__ import annotations

import pytest
from scripted import Fault, ScriptedBackend
from support import NOW, at, create, submitted

import qjobs
from qjobs.backends.base import MissingResult
from qjobs.errors import BackendUnavailable, Busy, JobFailed, NotSent, ProtocolError
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import (
    ItemResult,
    JobId,
    RemoteId,
    RemoteRetryStrategy,
)
from qjobs.operations import recover as recovery
from qjobs.operations.collect import store_results

S = JobStatus
DONE = (S.COMPLETED, S.COMPLETED)
FORCE = RemoteRetryStrategy.FORCE_RESUBMIT


def a_final_job(store: Ledger, backend: ScriptedBackend, *statuses: JobStatus, key: str = "key") -> JobId:
    job_id = create(store, key)
    qjobs.submit(store, backend, job_id, now=lambda: NOW)
    backend.report(*statuses, messages=[(n, "the laser was off") for n, s in enumerate(statuses) if s is S.ERROR])
    qjobs.poll(store, backend, [job_id], now=lambda: NOW)
    return job_id


def test_collect_all(store: Ledger, backend: ScriptedBackend) -> None:
    """A complete job is read from the ledger; its backend is asked once."""
    job_id = a_final_job(store, backend, *DONE)
    assert len(qjobs.collect(store, backend, job_id).results) == 2
    backend.troubles.append(BackendUnavailable("not asked again"))
    assert len(qjobs.collect(store, backend, job_id).results) == 2
    assert len(backend.troubles) == 1
    collected = qjobs.collect(store, backend, job_id)
    assert (collected.job.status, len(collected.items), sorted(collected.results)) == (S.COMPLETED, 2, [0, 1])


def test_failed_items(store: Ledger, backend: ScriptedBackend) -> None:
    """A failed job names the items and reasons, and keeps all other results."""
    job_id = a_final_job(store, backend, S.COMPLETED, S.ERROR)
    for operation in (qjobs.collect, qjobs.collect):
        with pytest.raises(JobFailed, match=r"1 of 2 items.*item-1 .ERROR.: the laser was off") as caught:
            operation(store, backend, job_id)
        assert (caught.value.job_id, caught.value.status) == (job_id, "ERROR")
        assert caught.value.failed == {1: "the laser was off"}
    assert qjobs.collect(store, backend, job_id, partial=True).results.keys() == {0}
    assert qjobs.collect(store, None, job_id).results.keys() == {0}


def test_late_results(store: Ledger, backend: ScriptedBackend) -> None:
    """Late results are asked for again."""
    job_id = a_final_job(store, backend, *DONE)
    backend.answer = lambda results: [results[0], MissingResult(reason="not yet")]
    with pytest.raises(BackendUnavailable, match="1 items"):
        qjobs.collect(store, backend, job_id, now=lambda: at(60))
    assert store.results(job_id).keys() == {0}
    backend.answer = lambda results: results
    assert len(qjobs.collect(store, backend, job_id).results) == 2


def test_late_is_not_resent(store: Ledger, backend: ScriptedBackend) -> None:
    """What ran and has no result yet is not sent again."""
    job_id = a_final_job(store, backend, S.COMPLETED, S.ERROR)
    (first,) = backend.jobs.values()
    first.late = True
    with pytest.raises(BackendUnavailable, match="are COMPLETED and their results are not there yet"):
        qjobs.submit(store, backend, job_id, strategy=FORCE, now=lambda: NOW)
    assert len(backend.jobs) == 1
    recovery.retry(store, backend, job_id, strategy=FORCE, now=lambda: NOW)  # by default what is in ERROR
    backend.report(S.COMPLETED)
    qjobs.poll(store, backend, [job_id], now=lambda: NOW)
    first.late = False
    assert len(qjobs.collect(store, backend, job_id).results) == 2  # the first attempt is asked too
    assert {index: set(result.counts) for index, result in store.results(job_id).items()} == {
        0: {"00", "remote-1"},
        1: {"00", "remote-2"},
    }


def test_lost_results(store: Ledger, backend: ScriptedBackend) -> None:
    """Results that the provider has lost are made again when COMPLETED is named."""
    job_id = a_final_job(store, backend, *DONE)
    next(iter(backend.jobs.values())).late = True
    recovery.retry(store, backend, job_id, statuses=[S.COMPLETED], strategy=FORCE, now=lambda: NOW)
    assert [item.label for item in backend.jobs[RemoteId("remote-2")].batch.items] == ["item-0", "item-1"]


def test_late_after_not_sent(store: Ledger, backend: ScriptedBackend) -> None:
    """Late results are collected after a resubmission that never left."""
    job_id = a_final_job(store, backend, *DONE)
    next(iter(backend.jobs.values())).late = True
    backend.faults.append(Fault(NotSent("no route")))
    with pytest.raises(NotSent):
        recovery.retry(store, backend, job_id, statuses=[S.COMPLETED], strategy=FORCE, now=lambda: NOW)
    next(iter(backend.jobs.values())).late = False
    assert len(qjobs.collect(store, backend, job_id).results) == 2


def test_open_job(store: Ledger, backend: ScriptedBackend) -> None:
    """An open job cannot be collected, but partly."""
    job_id = a_final_job(store, backend, S.COMPLETED, S.RUNNING)
    with pytest.raises(Busy, match="RUNNING"):
        qjobs.collect(store, backend, job_id)
    assert qjobs.collect(store, backend, job_id, partial=True).results.keys() == {0}


@pytest.mark.parametrize(
    ("positions", "words", "stored"),
    [
        ([0], "said nothing of 1 of the 2", {0}),
        ([0, 0], "position 0", set()),
        ([2], "position 2", set()),
        ([], "2", set()),
    ],
)
def test_wrong_positions(
    store: Ledger, backend: ScriptedBackend, positions: list[int], words: str, stored: set[int]
) -> None:
    """A stream that leaves items out, or has others, is told; what is certain is stored."""
    (job_id,) = submitted(store, backend, "a")
    backend.report(*DONE)
    qjobs.poll(store, backend, [job_id])
    entry = ItemResult(counts={"00": 1})
    backend.results = lambda *_: iter([(position, entry) for position in positions])
    with pytest.raises(ProtocolError, match=words):
        store_results(store, backend, store.job(job_id))
    assert set(store.results(job_id)) == stored


def test_no_replacement(store: Ledger, backend: ScriptedBackend) -> None:
    """A result that is there is not replaced."""
    (job_id,) = submitted(store, backend, "a")
    backend.report(S.COMPLETED, S.RUNNING)
    assert store_results(store, backend, store.job(job_id)) == {1: "it is RUNNING"}
    first = store.results(job_id)
    backend.report(*DONE)
    backend.answer = lambda results: [ItemResult(counts={"11": n}) for n, _ in enumerate(results)]
    assert store_results(store, backend, store.job(job_id)) == {}
    assert store.results(job_id) == {**first, 1: ItemResult(counts={"11": 1})}


def test_nothing_to_ask(store: Ledger, backend: ScriptedBackend) -> None:
    """Without a remote id nobody is asked."""
    job_id = create(store)
    assert store_results(store, backend, store.job(job_id)) == {0: "the job is CREATED", 1: "the job is CREATED"}
