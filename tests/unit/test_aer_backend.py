"""What the Aer adapter adds to the contract."""

import logging
import math
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from aer_batches import (
    batch_of,
    children_of,
    entries,
    heavy,
    run,
    simulate,
    snapshot_of,
    submit,
    superposition,
    sweep,
    turning,
    until,
    wait,
)
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from qjobs.backends.aer import AerBackend, NoiseSpec, job_queue
from qjobs.backends.base import MissingResult, PlainJournal
from qjobs.errors import BackendUnavailable, InvalidInput, ProtocolError, SubmissionRejected
from qjobs.lifecycle import JobStatus
from qjobs.model import ItemResult, Key, Observable, RemoteId

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def aer() -> Iterator[AerBackend]:
    with AerBackend(n_workers=2) as backend:
        backend.warm()
        yield backend


def test_workers_do_not_change_counts(aer):
    """A seed gives the same counts in two processes as in this one."""
    batch = sweep(160, seed=11)
    assert [result.counts for result in run(aer, batch)] == [result.counts for result in simulate(batch)]


def test_noise_narrows_the_target():
    """Gates on three qubits are opened where there is noise."""
    assert "ccx" in AerBackend().target().basis_gates
    assert "ccx" not in AerBackend(noise=NoiseSpec(depolarizing_2q=0.1)).target().basis_gates


# What is refused.


def circuit_without_measurement() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.h(0)
    return circuit


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (batch_of(), "the batch has no items"),
        (batch_of(*[(superposition(1), 1)] * 4), "the batch has 4 items; at most 3 fit a job"),
        (batch_of((superposition(2), 10), (superposition(6), 10)), "item 1 ('i1') has 6 qubits; at most 5"),
        (batch_of((turning(), 10, {"b": 1.0})), "item 0 ('i0') has unbound parameters: a"),
        (batch_of((turning(), 10, {"a": 1, "b": 1, "c": 1})), "does not have: c"),
        (batch_of((turning(), 10, {"a": 1, "b": math.nan})), "binds b to a value that is not finite"),
        (batch_of((superposition(1), 0)), "asks for 0 shots; from 1 to 100"),
        (batch_of((superposition(1), 101)), "asks for 101 shots; from 1 to 100"),
        (batch_of((circuit_without_measurement(), 10)), "measures nothing"),
        (
            batch_of((superposition(2), 1), observables=[Observable(name="z", terms=(("Z", 1.0),))]),
            "observable 'z' has the term 'Z' of 1 letters for a circuit of 2 qubits",
        ),
        (
            batch_of((superposition(1), 1), observables=[Observable(name="q", terms=(("Q", 1.0),))]),
            "a Pauli string is made of I, X, Y and Z",
        ),
        (batch_of((superposition(1), 1), observables=[Observable(name="n", terms=())]), "has no terms"),
        (
            batch_of((superposition(1), 1), observables=[Observable(name="d", terms=(("Z", 1.0),))] * 2),
            "two observables have the same name",
        ),
    ],
)
def test_bad_batches_are_refused(batch, words):
    """The refusal says what is wrong, in exact words."""
    backend = AerBackend(max_qubits=5, max_items=3, max_shots=100)
    with pytest.raises(SubmissionRejected) as caught:
        submit(backend, batch)
    assert words in caught.value.detail
    assert caught.value.detail in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [{"n_workers": 0}, {"max_items": 0}, {"max_live_jobs": 1000}, {"method": "tensor_network"}],
)
def test_bad_options_are_refused(options):
    """Options outside their range are refused at once."""
    with pytest.raises(InvalidInput):
        AerBackend(**options)


# Statuses, failure, cancellation.


def test_submit_does_not_wait():
    """It returns before a worker runs."""
    with AerBackend(n_workers=1) as backend:  # cold: no worker has started
        remote_id = submit(backend, batch_of((superposition(2), 10)))
        assert snapshot_of(backend, remote_id).status in {JobStatus.QUEUED, JobStatus.RUNNING}
        assert isinstance(entries(backend, remote_id)[0], MissingResult)
        item = wait(backend, remote_id).items[0]
        times = [item.times[each] for each in (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.COMPLETED)]
        assert times == sorted(times)


def test_one_item_fails_alone(aer):
    """A failing item leaves the other items alone."""
    circuit = QuantumCircuit(1, 1)
    circuit.rx(1 / Parameter("x"), 0)
    circuit.measure(0, 0)
    values = [1.0, 2.0, 0.0, 3.0]
    remote_id = submit(aer, batch_of(*[(circuit, 10, {"x": value}) for value in values]))
    snapshot = wait(aer, remote_id)
    done, bad = JobStatus.COMPLETED, JobStatus.ERROR
    assert [item.status for item in snapshot.items] == [done, done, bad, done]
    assert bad in snapshot.items[2].times
    assert done not in snapshot.items[2].times
    assert snapshot.items[2].error_detail
    assert snapshot.message == snapshot.items[2].message
    assert [isinstance(each, ItemResult) for each in entries(aer, remote_id)] == [True, True, False, True]


def test_cancel_keeps_what_runs():
    """What waits is cancelled; what runs ends and is kept."""
    with AerBackend(n_workers=1) as backend:
        remote_id = submit(backend, heavy(4))
        until(lambda: snapshot_of(backend, remote_id).items[0].status is JobStatus.RUNNING)
        backend.cancel(remote_id)
        now = snapshot_of(backend, remote_id)
        assert now.items[0].status in {JobStatus.CANCELLING, JobStatus.COMPLETED}
        assert {item.status for item in now.items[2:]} == {JobStatus.CANCELLED}
        final = wait(backend, remote_id)
        assert final.status is JobStatus.CANCELLED
        assert final.items[0].status is JobStatus.COMPLETED
        results = entries(backend, remote_id)
        assert sum(results[0].counts.values()) == 50_000
        assert results[-1] == MissingResult(reason="cancelled before it ran")


def test_jobs_take_turns():
    """A small job does not wait for the whole of a large one."""
    with AerBackend(n_workers=1) as backend:
        large, small = submit(backend, heavy(6)), submit(backend, batch_of((superposition(2), 10)))
        wait(backend, small)
        assert not snapshot_of(backend, large).status.is_final


@pytest.mark.parametrize("n_items", [1, 3])
def test_wide_alone_gets_all_cores(caplog, monkeypatch, n_items):
    """One that nothing runs or waits beside has the threads of all workers; of several only the last can."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    caplog.set_level(logging.DEBUG, logger="qjobs.backends.aer.job_queue")
    with AerBackend(n_workers=2) as backend:
        remote_id = submit(backend, heavy(n_items))
        wait(backend, remote_id)
    alone = [record for record in caplog.records if "runs alone, in 2 threads" in record.getMessage()]
    assert len(alone) == 1 if n_items == 1 else len(alone) <= 1


def test_ids_of_others(aer):
    """Jobs of other hosts and processes are told apart."""
    pid = os.getpid()
    other_host = RemoteId("aer-some-other-host-12-345-1x2")
    recycled_pid = RemoteId(f"aer-{socket.gethostname()}-{pid}-1-1x3")
    answers = aer.status([other_host, RemoteId("qnx-1")])
    assert set(answers) == {other_host}
    assert isinstance(answers[other_host], BackendUnavailable), "only the other host can tell that it is gone"
    assert entries(aer, other_host) == [MissingResult(reason="it ran on some-other-host; ask there")] * 2
    assert snapshot_of(aer, recycled_pid).status is JobStatus.TERMINATED
    assert all(entry.permanent for entry in entries(aer, recycled_pid))
    with pytest.raises(ProtocolError):
        entries(aer, RemoteId("qnx-1"))
    aer.cancel(RemoteId("qnx-1"))


def test_unrecorded_id_leaves_a_job(aer):
    """A job exists even if its id could not be recorded."""

    def accepted(_):
        raise OSError("disk full")

    key, ids = Key("unit-lost"), []
    batch = batch_of((superposition(1), 5))
    with pytest.raises(OSError, match="disk full"):
        aer.submit(batch, key, PlainJournal(accepted=accepted))
    aer.submit(batch, key, PlainJournal(accepted=ids.append))
    assert ids == [aer.find(key)]
    assert wait(aer, ids[0]).status is JobStatus.COMPLETED


def test_one_key_makes_one_job(aer):
    """Many threads that submit one key make one job."""
    batch, key, ids = batch_of((superposition(1), 5)), Key("unit-race"), []
    barrier = threading.Barrier(8)

    def work(_):
        barrier.wait()
        aer.submit(batch, key, PlainJournal(accepted=ids.append))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert len(ids) == 8
    assert len(set(ids)) == 1


def test_backends_share_jobs(aer):
    """Another backend object of this process knows the job."""
    remote_id = submit(aer, batch_of((superposition(1), 5)))
    other = AerBackend()
    wait(other, remote_id)
    assert entries(other, remote_id) == entries(aer, remote_id)


def test_chosen_items(aer):
    """Chosen items keep their positions, across the chunks of a job."""
    remote_id = submit(aer, sweep(160, seed=11))
    wait(aer, remote_id)
    found = dict(aer.results(remote_id))
    assert list(found) == list(range(160))
    assert dict(aer.results(remote_id, [159, 3, 80])) == {index: found[index] for index in (3, 80, 159)}


def test_fingerprint() -> None:
    """Whatever changes results is in it: the device, the method, every digit of the noise; the workers are not."""
    ideal = AerBackend().fingerprint
    assert AerBackend(n_workers=3).fingerprint == ideal
    others = [
        AerBackend(device="other"),
        AerBackend(method="stabilizer"),
        AerBackend(noise=NoiseSpec(readout=0.02)),
        AerBackend(noise=NoiseSpec(readout=0.0200000001)),
        AerBackend(noise=NoiseSpec(t1_us=80)),
        AerBackend(noise=NoiseSpec(t1_us=80.0000001)),
        AerBackend(noise=NoiseSpec(t2_us=80)),
    ]
    assert len({str(each.fingerprint) for each in others} | {str(ideal)}) == 8


def test_fingerprint_stays() -> None:
    """A device without T1 and T2 has the fingerprint that it had before there were any: its results are found again."""
    settings = AerBackend(noise=NoiseSpec(readout=0.02)).fingerprint.settings
    noise = "NoiseSpec(depolarizing_1q=0.0, depolarizing_2q=0.0, readout=0.02)"
    assert settings == f"device aer_simulator+noise-0-0-0.02, method automatic, {noise}"


# Memory and closing.


def test_results_are_kept_for_a_while(monkeypatch):
    """Results of a bounded number of jobs are kept, unread ones longest."""
    monkeypatch.setattr(job_queue, "KEPT_JOBS", 3)
    batch = batch_of((superposition(1), 5))
    with AerBackend(n_workers=1) as backend:
        ids = []
        for _ in range(5):
            ids.append(submit(backend, batch))
            wait(backend, ids[-1])
            if len(ids) == 2:
                assert isinstance(entries(backend, ids[1])[0], ItemResult)
        kept = [isinstance(entries(backend, each)[0], ItemResult) for each in ids]
        assert kept == [False, False, True, True, True]
        assert "the results were dropped" in entries(backend, ids[0])[0].reason
        assert entries(backend, ids[0])[0].permanent
        assert snapshot_of(backend, ids[0]).status is JobStatus.COMPLETED


def test_close_ends_jobs_and_workers():
    """Nothing runs after it, and results are gone."""
    before = set(children_of(os.getpid()))
    backend = AerBackend(n_workers=2)
    done, open_one = submit(backend, batch_of((superposition(1), 5))), submit(backend, heavy(20))
    wait(backend, done)
    backend.close()
    backend.close()
    assert set(children_of(os.getpid())) <= before
    assert snapshot_of(backend, done).status is JobStatus.COMPLETED
    assert "the backend was closed" in entries(backend, done)[0].reason
    assert snapshot_of(backend, open_one).status is JobStatus.TERMINATED
    with pytest.raises(SubmissionRejected, match="closed"):
        submit(backend, heavy(1))


def test_import_is_light():
    """The package imports neither qiskit nor Aer nor loky."""
    code = (
        "import sys, qjobs.backends.aer; qjobs.backends.aer.AerBackend().target(); "
        "sys.exit(bool({'qiskit', 'qiskit_aer', 'loky', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_device_name_tells_noise() -> None:
    """Noise is part of the name of the device."""
    waits = NoiseSpec(t1_us=80, t2_us=60.5)
    names = [AerBackend(noise=noise).device for noise in (None, NoiseSpec(), NoiseSpec(readout=0.02), waits)]
    noisy = ["aer_simulator+noise-0-0-0.02", "aer_simulator+noise-0-0-0-t1-80us-t2-60.5us"]
    assert names == ["aer_simulator", "aer_simulator", *noisy]


def test_closing_frees_keys() -> None:
    """A key of a closed backend makes a new job."""
    batch = sweep(1, shots=10)
    ids: list[RemoteId] = []
    for _ in range(2):
        with AerBackend(n_workers=1) as backend:
            backend.submit(batch, Key("same"), PlainJournal(accepted=ids.append))
            backend.submit(batch, Key("same"), PlainJournal(accepted=ids.append))
    assert ids[0] == ids[1] != ids[2] == ids[3]


# What it tells by itself.


def test_watched_until_final(aer):
    """A watch ends with the job and says so; before that it gives the status of now, and of other processes nothing."""
    remote_id = submit(aer, heavy())
    told = []
    first = aer.watch(remote_id, timeout_s=0.0, changed=told.append)
    assert first.status is not JobStatus.COMPLETED
    assert told == []
    last = aer.watch(remote_id, timeout_s=60.0, changed=told.append)
    assert told == [last]
    assert last.status is JobStatus.COMPLETED
    assert aer.watch(RemoteId("aer-elsewhere-1-1-1x1"), timeout_s=60.0) is None
