"""Another server, another account, other settings, another ledger: what is not about our job changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from listing import Listing
from scripted import Fault, ScriptedBackend, SteppedBackend
from standing import LOST, a_job, enter
from support import a_spec, all_of, at, create

import qjobs
from qjobs.backends.base import PlainJournal
from qjobs.errors import BackendUnavailable, WrongBackend
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import ExecuteOptions, Fingerprint, JobId, Key, RemoteId, RemoteRetryStrategy
from qjobs.operations import recover as recovery
from qjobs.operations.attempts import batch_of
from qjobs.operations.batching import batch_key
from qjobs.operations.cancel import end_strays
from qjobs.operations.recover import Finding
from qjobs.operations.retry import Action

S = JobStatus
DEFAULT, ALLOW, FORCE, FULL = RemoteRetryStrategy
FIRST = RemoteId("remote-1")
HERE = str(ScriptedBackend().fingerprint)


def planned(store: Ledger, standing: str, backend: ScriptedBackend) -> JobId:
    """A job that stands so, and was planned for `backend` as it is."""
    return a_job(store, standing, backend, fingerprint=str(backend.fingerprint))


@pytest.mark.parametrize("standing", ["new", "rejected", "incomplete", "open", "lost, does not exist", "reserved"])
@pytest.mark.parametrize("strategy", [FORCE, FULL])
def test_other_settings(store: Ledger, standing: str, strategy: RemoteRetryStrategy) -> None:
    """Nothing is sent to, or ended at, a backend whose configuration has changed since the job was planned."""
    backend = SteppedBackend() if standing == "reserved" else ScriptedBackend()
    job_id = planned(store, standing, backend)
    before = (len(backend.jobs), [job.cancels for job in backend.jobs.values()])
    backend.fingerprint = Fingerprint(place="there", settings="device, noise on")
    with pytest.raises(WrongBackend, match="noise on") as caught:
        enter(store, backend, job_id, strategy)
    assert caught.value.job_id == job_id
    assert (len(backend.jobs), [job.cancels for job in backend.jobs.values()]) == before
    backend.fingerprint = Fingerprint.of(HERE)
    enter(store, backend, job_id, strategy)


def test_results_of_other_settings(store: Ledger, backend: ScriptedBackend) -> None:
    """What was sent with the old settings is still asked for and collected."""
    job_id = planned(store, "open", backend)
    backend.fingerprint = Fingerprint(place="there", settings="device, noise on")
    backend.report(S.COMPLETED, S.COMPLETED)
    assert enter(store, backend, job_id).status is S.COMPLETED
    assert len(qjobs.collect(store, backend, job_id).results) == 2


@pytest.mark.parametrize("standing", ["new", "rejected", "open", "incomplete", "lost, exists", "forgotten"])
@pytest.mark.parametrize("strategy", RemoteRetryStrategy)
def test_other_place(store: Ledger, standing: str, strategy: RemoteRetryStrategy) -> None:
    """A job of another server or account is neither asked for, ended, adopted nor sent."""
    backend, other = ScriptedBackend(), ScriptedBackend(place="elsewhere")
    job_id = planned(store, standing, backend)
    filler = create(store, "filler", fingerprint=str(other.fingerprint))
    enter(store, other, filler)  # so that it has a job of the same remote id
    other.report(S.COMPLETED, S.COMPLETED)
    other.asked.clear()
    before = all_of(store, job_id)
    if (standing, strategy) in {("rejected", DEFAULT)}:
        return  # its refusal is told without asking anybody
    with pytest.raises(WrongBackend, match="elsewhere"):
        enter(store, other, job_id, strategy)
    assert all_of(store, job_id) == before
    assert (other.asked, len(other.jobs), other.jobs[FIRST].cancels) == ([], 1, 0)


def test_cancel_elsewhere(store: Ledger, backend: ScriptedBackend) -> None:
    """A cancellation is recorded and passed on to no other server; the right one gets it later."""
    job_id = planned(store, "open", backend)
    other = ScriptedBackend(place="elsewhere")
    enter(store, other, create(store, "filler"))
    with pytest.raises(WrongBackend):
        qjobs.cancel(store, other, job_id, now=lambda: at(2))
    assert other.jobs[FIRST].cancels == 0
    qjobs.poll(store, backend, [job_id], now=lambda: at(3))
    assert store.job(job_id).status is S.CANCELLED


def test_strays_elsewhere(store: Ledger, backend: ScriptedBackend) -> None:
    """A stray is ended where it is, and nowhere else."""
    job_id = planned(store, "open", backend)
    store.strays.record(job_id, FIRST, why="for this test", now=at(2))
    other = ScriptedBackend(place="elsewhere")
    enter(store, other, create(store, "filler"))
    assert [stray.remote_id for stray in end_strays(store, other, [job_id], now=lambda: at(2))] == [FIRST]
    assert other.jobs[FIRST].cancels == 0
    assert end_strays(store, backend, [job_id], now=lambda: at(2)) == []


def test_recovered_elsewhere(store: Ledger, backend: ScriptedBackend) -> None:
    """Neither a person nor a look-up adopts a job of another server."""
    job_id = planned(store, "lost, does not exist", backend)
    other = ScriptedBackend(place="elsewhere")
    batch = batch_of(store, store.job(job_id))
    other.submit(batch, store.job(job_id).key, PlainJournal(accepted=lambda _: None))
    with pytest.raises(WrongBackend):
        recovery.adopt(store, other, job_id, FIRST, now=lambda: at(2))
    (found,) = recovery.reconcile(store, {"fake": other}, now=lambda: at(2))
    assert (found.finding, "elsewhere" in found.words) == (Finding.LATER, True)
    assert store.job(job_id).status is S.UNKNOWN


@pytest.fixture
def other_ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Another ledger at the same account."""
    with Ledger(f"sqlite:///{tmp_path / 'other.db'}") as ledger:
        yield ledger


def key_of(ledger: Ledger) -> str:
    batch = a_spec().batch
    return batch_key("run", 0, batch.items, ExecuteOptions(), backend="fake", device="device", ledger=ledger.key_prefix)


def test_two_ledgers(store: Ledger, other_ledger: Ledger) -> None:
    """The same batch has another key in another ledger, and neither ledger takes the other's jobs for its own."""
    backend = Listing()
    theirs = create(other_ledger, key_of(other_ledger))
    enter(other_ledger, backend, theirs)
    ours = create(store, key_of(store))
    backend.faults.append(Fault(LOST))
    with pytest.raises(BackendUnavailable):
        enter(store, backend, ours)
    (found,) = recovery.reconcile(store, {"fake": backend}, now=lambda: at(2))
    assert found.finding is Finding.NOT_FOUND
    assert recovery.orphans(store, backend) == []
    assert enter(store, backend, ours, ALLOW).action is Action.SUBMIT
    assert [job.cancels for job in backend.jobs.values()] == [0, 0]
    assert len({job.key for job in backend.jobs.values()}) == 2


def test_orphans_of_ours(store: Ledger, other_ledger: Ledger) -> None:
    """An orphan has a key of this ledger, or one without a ledger that a job of ours has."""
    backend = Listing()
    legacy = "0123456789abcdef0123456789abcdef01234567"
    create(store, legacy)
    batch = a_spec().batch
    keys = [f"{key_of(store)}-2", key_of(other_ledger), f"{legacy}-2.89abcdef", legacy[::-1]]
    for key in keys:
        backend.submit(batch, Key(key), PlainJournal(accepted=lambda _: None))
    assert [job.key for job in recovery.orphans(store, backend)] == [keys[0], keys[2]]
