"""What the Aer adapter adds to the contract."""

import json
import math
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from aer_batches import batch_of, children_of, heavy, run, snapshot_of, submit, superposition, until, wait
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Parameter
from qiskit.circuit.library import QFTGate
from qiskit.quantum_info import SparsePauliOp, Statevector

from qjobs.backends.aer import AerBackend, AerMethod, NoiseSpec, job_queue
from qjobs.backends.aer.engine import BASIS_1Q, BASIS_2Q, BASIS_3Q
from qjobs.backends.aer.tasks import cut
from qjobs.backends.base import MissingResult
from qjobs.circuits.programs import bind, read_circuit
from qjobs.errors import InvalidInput, ProtocolError, SubmissionRejected
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, ItemResult, Key, Observable, RemoteId

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def aer() -> Iterator[AerBackend]:
    with AerBackend(n_workers=2) as backend:
        backend.warm()
        yield backend


def turning() -> QuantumCircuit:
    circuit = QuantumCircuit(3, 3)
    circuit.ry(Parameter("a"), 0)
    circuit.cx(0, 1)
    circuit.rx(Parameter("b") * 2 + 0.1, 2)
    circuit.cx(1, 2)
    circuit.measure(range(3), range(3))
    return circuit


def sweep(n: int, shots: int = 200, **options) -> Batch:
    template = turning()
    rows = [{"a": 0.1 * index, "b": 1.0 - 0.01 * index} for index in range(n)]
    return batch_of(*[(template, shots, row) for row in rows], **options)


# --- chunks and seeds --------------------------------------------------------------------------------


def test_chunks_cover_the_items_in_order_and_do_not_depend_on_workers():
    template, other = turning(), superposition(2)
    batch = batch_of(
        *[(template, 100, {"a": 1.0, "b": 2.0})] * 180,
        *[(other, 100)] * 5,
        *[(other, 50)] * 2,
        (template, 50, {"a": 0, "b": 0}),
    )
    tasks = list(cut(batch, AerMethod.AUTOMATIC, None))
    assert [task.first for task in tasks] == [0, 75, 150, 185]
    assert [len(task.items) for task in tasks] == [75, 75, 35, 3]
    assert [task.shots for task in tasks] == [100, 100, 100, 50]


def test_costly_items_get_chunks_of_their_own():
    assert len(list(cut(heavy(3), AerMethod.AUTOMATIC, None))) == 3


def test_a_seed_gives_the_same_counts_on_any_number_of_workers(aer):
    batch = sweep(160, seed=11)
    with AerBackend(n_workers=1) as single:
        assert [r.counts for r in run(aer, batch)] == [r.counts for r in run(single, batch)]


def test_without_a_seed_two_jobs_differ(aer):
    batch = batch_of((superposition(6), 1000))
    assert run(aer, batch)[0].counts != run(aer, batch)[0].counts


@pytest.mark.parametrize("n_qubits", [6, 18])
def test_equal_items_are_independent_samples_also_across_chunks(aer, n_qubits):
    n = 80 if n_qubits == 6 else 3
    batch = batch_of(*[(superposition(n_qubits), 300)] * n, seed=5)
    counts = [json.dumps(dict(r.counts), sort_keys=True) for r in run(aer, batch)]
    assert len(set(counts)) == n


@pytest.mark.parametrize("method", ["automatic", "density_matrix"])
def test_the_sampled_distribution_is_the_exact_one(method):
    """Chi-square of 20 000 shots with a fixed seed, through both ways of sampling."""
    template, values, shots = turning(), {"a": 1.1, "b": 0.4}, 20_000
    with AerBackend(n_workers=1, method=method) as backend:
        counts = run(backend, batch_of((template, shots, values), seed=3))[0].counts
    circuit = bind(read_circuit(template), values).remove_final_measurements(inplace=False)
    expected = Statevector(circuit).probabilities_dict()
    chi_square = sum((counts.get(word, 0) - shots * p) ** 2 / (shots * p) for word, p in expected.items() if p > 1e-9)
    assert set(counts) <= {word for word, p in expected.items() if p > 1e-9}
    assert chi_square < 24.3  # 7 degrees of freedom: exceeded once in a thousand seeds


# --- circuits ----------------------------------------------------------------------------------------


def test_mid_circuit_measurement_reset_and_feed_forward(aer):
    circuit = QuantumCircuit(QuantumRegister(2), ClassicalRegister(1, "a"), ClassicalRegister(2, "b"))
    circuit.rx(Parameter("t"), 0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    circuit.reset(0)
    circuit.measure(0, 1)
    circuit.measure(1, 2)
    results = run(aer, batch_of((circuit, 50, {"t": 0.0}), (circuit, 50, {"t": math.pi})))
    assert [r.counts for r in results] == [{"000": 50}, {"101": 50}]


def test_a_bit_written_twice_holds_the_last_value(aer):
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    circuit.measure(0, 1)
    circuit.measure(1, 1)
    circuit.measure(0, 0)
    assert run(aer, batch_of((circuit, 20)))[0].counts == {"01": 20}


def test_other_gates_are_decomposed(aer):
    circuit = QuantumCircuit(3, 3)
    circuit.append(QFTGate(3), range(3))
    circuit.append(QFTGate(3).inverse(), range(3))
    circuit.x(2)
    circuit.measure(range(3), range(3))
    assert run(aer, batch_of((circuit, 20)))[0].counts == {"100": 20}


def test_every_gate_of_the_target_runs():
    from qiskit.circuit.library import get_standard_gate_name_mapping

    gates = get_standard_gate_name_mapping()
    circuit = QuantumCircuit(3)
    for name in (*BASIS_1Q, *BASIS_2Q, *BASIS_3Q):
        gate = gates[name].to_mutable()
        gate.params = [0.3 + index for index in range(len(gate.params))]
        circuit.append(gate, range(gate.num_qubits))
    circuit.measure_all()
    for noise in (None, NoiseSpec(depolarizing_1q=0.01)):
        with AerBackend(n_workers=1, noise=noise) as backend:
            assert run(backend, batch_of((circuit, 10)))


def test_stabilizer_and_matrix_product_state_are_wide():
    circuit = QuantumCircuit(40)
    circuit.h(0)
    circuit.cx(0, range(1, 40))
    circuit.measure_all()
    for method in ("stabilizer", "matrix_product_state"):
        with AerBackend(n_workers=1, method=method) as backend:
            assert set(run(backend, batch_of((circuit, 50)))[0].counts) == {"0" * 40, "1" * 40}


# --- expectation values and noise ---------------------------------------------------------------------


def test_expectation_values_are_those_of_quantum_info(aer):
    template = turning()
    terms = (("XYZ", 0.7), ("IZZ", -1.5), ("III", 0.25), ("YIX", 2.0))
    rows = [{"a": 0.3 * index, "b": 1.0 + index} for index in range(5)]
    observables = [Observable(name="h", terms=terms), Observable(name="z0", terms=(("IIZ", 1.0),))]
    batch = batch_of(*[(template, 1, row) for row in rows], observables=observables)
    for row, result in zip(rows, run(aer, batch), strict=True):
        state = Statevector(bind(read_circuit(template), row).remove_final_measurements(inplace=False))
        expected = state.expectation_value(SparsePauliOp.from_list(list(terms))).real
        assert result.counts is None
        assert result.expvals["h"] == pytest.approx(expected, abs=1e-9)
        z0 = state.expectation_value(SparsePauliOp("IIZ")).real
        assert result.expvals["z0"] == pytest.approx(z0, abs=1e-9)


def test_noise_shrinks_expectation_values_by_its_formula():
    circuit = QuantumCircuit(2)
    circuit.x(0)
    circuit.cx(0, 1)
    observables = [Observable(name="zz", terms=(("ZZ", 1.0),)), Observable(name="z1", terms=(("ZI", 1.0),))]
    noise = NoiseSpec(depolarizing_1q=0.1, depolarizing_2q=0.2, readout=0.05)
    with AerBackend(n_workers=1, noise=noise) as backend:
        values = run(backend, batch_of((circuit, 1), observables=observables))[0].expvals
    # After X: <Z0> = -(1-0.1). CX maps ZZ to ZI (qubit 1: +1) and Z1 to Z0 Z1; then (1-0.2); (1-2p) a letter.
    assert values["zz"] == pytest.approx(1.0 * 0.8 * 0.9**2)
    assert values["z1"] == pytest.approx(-0.9 * 0.8 * 0.9)


def test_readout_noise_flips_bits_both_ways():
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    circuit.measure([0, 1], [0, 1])
    with AerBackend(n_workers=1, noise=NoiseSpec(readout=0.25)) as backend:
        counts = run(backend, batch_of((circuit, 20_000), seed=1))[0].counts
    for word, share in {"01": 9 / 16, "00": 3 / 16, "11": 3 / 16, "10": 1 / 16}.items():
        assert counts[word] / 20_000 == pytest.approx(share, abs=0.02)


def test_noise_takes_three_qubit_gates_out_of_the_target():
    assert "ccx" in AerBackend().target().basis_gates
    assert "ccx" not in AerBackend(noise=NoiseSpec(depolarizing_2q=0.1)).target().basis_gates


def test_observables_of_a_circuit_that_measures_on_the_way_fail_their_item_alone(aer):
    middle = QuantumCircuit(1, 1)
    middle.measure(0, 0)
    middle.h(0)
    plain = QuantumCircuit(1)
    observable = Observable(name="z", terms=(("Z", 1.0),))
    remote_id = submit(aer, batch_of((plain, 1), (middle, 1), (plain, 1), observables=[observable]))
    assert wait(aer, remote_id).status is JobStatus.ERROR
    first, second, third = aer.results(remote_id)
    assert first.expvals == third.expvals == {"z": 1.0}
    assert "measurements are all at its end" in second.reason


# --- what is refused ----------------------------------------------------------------------------------


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
def test_a_bad_batch_is_refused_in_exact_words(batch, words):
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
    with pytest.raises(InvalidInput):
        AerBackend(**options)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, True, "0.1"])
def test_noise_is_made_of_probabilities(value):
    with pytest.raises(InvalidInput, match="readout must be a probability"):
        NoiseSpec(readout=value)


# --- statuses, failure, cancellation -------------------------------------------------------------------


def test_submit_returns_before_a_worker_runs():
    with AerBackend(n_workers=1) as backend:  # cold: no worker has started
        remote_id = submit(backend, batch_of((superposition(2), 10)))
        assert snapshot_of(backend, remote_id).status in {JobStatus.QUEUED, JobStatus.RUNNING}
        assert isinstance(backend.results(remote_id)[0], MissingResult)
        item = wait(backend, remote_id).items[0]
        times = [item.times[each] for each in (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.COMPLETED)]
        assert times == sorted(times)


def test_a_failing_item_leaves_its_siblings_alone(aer):
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
    assert [isinstance(each, ItemResult) for each in aer.results(remote_id)] == [True, True, False, True]


def test_cancel_keeps_what_runs_and_cancels_what_waits():
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
        results = backend.results(remote_id)
        assert sum(results[0].counts.values()) == 50_000
        assert results[-1] == MissingResult(reason="cancelled before it ran")


def test_a_small_job_does_not_wait_for_the_whole_of_a_large_one():
    with AerBackend(n_workers=1) as backend:
        large, small = submit(backend, heavy(6)), submit(backend, batch_of((superposition(2), 10)))
        wait(backend, small)
        assert not snapshot_of(backend, large).status.is_final


def test_ids_of_others(aer):
    pid = os.getpid()
    other_host = RemoteId("aer-some-other-host-12-345-1x2")
    recycled_pid = RemoteId(f"aer-{socket.gethostname()}-{pid}-1-1x3")
    assert aer.status([other_host, RemoteId("qnx-1")]) == {}
    assert aer.results(other_host) == [MissingResult(reason="it ran on some-other-host; ask there")] * 2
    assert snapshot_of(aer, recycled_pid).status is JobStatus.TERMINATED
    with pytest.raises(ProtocolError):
        aer.results(RemoteId("qnx-1"))
    aer.cancel(RemoteId("qnx-1"))


def test_a_job_exists_even_if_its_id_could_not_be_kept(aer):
    def created(_):
        raise OSError("disk full")

    key, ids = Key("unit-lost"), []
    batch = batch_of((superposition(1), 5))
    with pytest.raises(OSError, match="disk full"):
        aer.submit(batch, key, created)
    aer.submit(batch, key, ids.append)
    assert ids == [aer.find(key)]
    assert wait(aer, ids[0]).status is JobStatus.COMPLETED


def test_one_key_in_many_threads_makes_one_job(aer):
    batch, key, ids = batch_of((superposition(1), 5)), Key("unit-race"), []
    barrier = threading.Barrier(8)

    def work():
        barrier.wait()
        aer.submit(batch, key, ids.append)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8
    assert len(set(ids)) == 1


def test_another_backend_object_of_this_process_knows_the_job(aer):
    remote_id = submit(aer, batch_of((superposition(1), 5)))
    other = AerBackend()
    wait(other, remote_id)
    assert other.results(remote_id) == aer.results(remote_id)


# --- memory and closing ----------------------------------------------------------------------------------


def test_results_are_kept_for_a_bounded_number_of_jobs_and_unread_ones_longest(monkeypatch):
    monkeypatch.setattr(job_queue, "KEPT_JOBS", 3)
    batch = batch_of((superposition(1), 5))
    with AerBackend(n_workers=1) as backend:
        ids = []
        for _ in range(5):
            ids.append(submit(backend, batch))
            wait(backend, ids[-1])
            if len(ids) == 2:
                assert isinstance(backend.results(ids[1])[0], ItemResult)
        kept = [isinstance(backend.results(each)[0], ItemResult) for each in ids]
        assert kept == [False, False, True, True, True]
        assert "the results were dropped" in backend.results(ids[0])[0].reason
        assert snapshot_of(backend, ids[0]).status is JobStatus.COMPLETED


def test_close_ends_jobs_and_workers():
    before = set(children_of(os.getpid()))
    backend = AerBackend(n_workers=2)
    done, open_one = submit(backend, batch_of((superposition(1), 5))), submit(backend, heavy(20))
    wait(backend, done)
    backend.close()
    backend.close()
    assert set(children_of(os.getpid())) <= before
    assert snapshot_of(backend, done).status is JobStatus.COMPLETED
    assert "the backend was closed" in backend.results(done)[0].reason
    assert snapshot_of(backend, open_one).status is JobStatus.TERMINATED
    with pytest.raises(SubmissionRejected, match="closed"):
        submit(backend, heavy(1))


def test_importing_the_module_imports_neither_aer_nor_loky():
    code = (
        "import sys, qjobs.backends.aer; qjobs.backends.aer.AerBackend().target(); "
        "sys.exit(bool({'qiskit', 'qiskit_aer', 'loky', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_noise_is_part_of_the_device_name() -> None:
    names = [AerBackend(noise=noise).device for noise in (None, NoiseSpec(), NoiseSpec(readout=0.02))]
    assert names == ["aer_simulator", "aer_simulator", "aer_simulator+noise-0-0-0.02"]


def test_a_key_of_a_closed_backend_is_free_again() -> None:
    batch = sweep(1, shots=10)
    ids: list[RemoteId] = []
    for _ in range(2):
        with AerBackend(n_workers=1) as backend:
            backend.submit(batch, Key("same"), ids.append)
            backend.submit(batch, Key("same"), ids.append)
    assert ids[0] == ids[1] != ids[2] == ids[3]
