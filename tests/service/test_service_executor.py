"""What the executor gives back: results in pytket's own form, their distribution, times and failures."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing

import numpy as np
import pytest
from executor_circuits import entangled, expected_of, passes_chi_square
from own_service import AER, OwnService, quantinuum
from pytket.circuit import Bit, Circuit, OpType, Qubit
from qiskit import QuantumCircuit
from qiskit_aer import AerSimulator
from standing_service import fresh_database
from sympy import Symbol

from qjobs.lifecycle import JobStatus
from qjobs.service import tables as schema
from qjobs.service.store.job_records import status_body


def test_shots_follow_the_state(own: OwnService) -> None:
    """Shots are distributed as the state says, bit by bit."""
    expected = expected_of(entangled())
    (item,) = own.run([entangled().measure_all()], {**AER, "seed": 5}, shots=20_000)
    counts = own.result(item).get_counts()
    assert sum(counts.values()) == 20_000
    assert passes_chi_square(counts, expected, 20_000)
    reversed_bits = {key[::-1]: p for key, p in expected.items()}
    assert not passes_chi_square(counts, reversed_bits, 20_000), "the test cannot tell the order of the bits"


def test_shots_follow_aer(own) -> None:
    """With measurements in the middle they are distributed as Aer itself gives them; noise shows."""
    ours = Circuit(2, 3).Rx(0.3, 0).Measure(0, 0).CX(0, 1).Rx(0.4, 0).Measure(0, 1).Measure(1, 2)
    theirs = QuantumCircuit(2, 3)
    theirs.rx(0.3 * np.pi, 0)
    theirs.measure(0, 0)
    theirs.cx(0, 1)
    theirs.rx(0.4 * np.pi, 0)
    theirs.measure(0, 1)
    theirs.measure(1, 2)
    shots = 50_000
    bare = AerSimulator(seed_simulator=7).run(theirs, shots=shots).result().get_counts()
    expected = {tuple(int(bit) for bit in word[::-1]): n / shots for word, n in bare.items()}
    (item,) = own.run([ours], {**AER, "seed": 1}, shots=20_000)
    assert passes_chi_square(own.result(item).get_counts(), expected, 20_000)
    (noisy,) = own.run([ours], {"type": "NoisyConfig", "seed": 1}, shots=10_000)
    assert not passes_chi_square(own.result(noisy).get_counts(), expected, 10_000)


@pytest.mark.parametrize("config", [AER, {"type": "NoisyConfig"}])
def test_bits_are_in_pytkets_order(own: OwnService, config) -> None:
    """Several registers, names against the alphabet, more than eight bits, bits that nothing is written to."""
    circuit = Circuit()
    late = circuit.add_c_register("z", 3)
    early = circuit.add_c_register("a", 10)
    for name in ("q1", "p"):
        circuit.add_q_register(name, 2)
    circuit.X(Qubit("q1", 0)).X(Qubit("p", 1))
    circuit.Measure(Qubit("q1", 0), late[2]).Measure(Qubit("p", 1), early[9])
    circuit.Measure(Qubit("p", 0), early[0]).Measure(Qubit("q1", 1), late[0])
    (item,) = own.run([circuit], config, shots=400)
    body = own.raw(item.result_id)
    result = own.result(item)
    assert body == result.to_dict(), "it is not exactly what pytket writes"
    assert result.get_bitlist() == [Bit("a", n) for n in range(10)] + [Bit("z", n) for n in range(3)]
    ones = {Bit("a", 9), Bit("z", 2)}
    (most, number) = result.get_counts().most_common(1)[0]
    assert {bit for bit, value in zip(result.get_bitlist(), most, strict=True) if value} == ones
    assert number == 400 if config is AER else 200 < number < 400
    assert result.get_shots().shape == (400, 13)


def test_exact_results(own: OwnService) -> None:
    """A state and a unitary are those that pytket computes, in its own form."""
    circuits = [entangled(), Circuit(3).X(0), entangled(3).measure_all()]
    items = own.run(circuits, {"type": "AerStateConfig"}, shots=None)
    for circuit, item in zip([entangled(), Circuit(3).X(0), entangled(3)], items, strict=True):
        result = own.result(item)
        assert np.allclose(result.get_state(), circuit.get_statevector())
        assert own.raw(item.result_id) == result.to_dict()
        assert result.get_qbitlist() == circuit.qubits
        assert (item.result_type, item.cost) == ("PYTKET", 0.0)
    (item,) = own.run([entangled(3)], {"type": "AerUnitaryConfig"}, shots=None)
    assert np.allclose(own.result(item).get_unitary(), entangled(3).get_unitary())


def test_seed_repeats_a_job(own: OwnService) -> None:
    """A seed repeats a job; without one two jobs differ."""
    circuits = [entangled().measure_all(), entangled().measure_all()]
    runs = [own.run(circuits, {**AER, **config}, shots=200) for config in ({"seed": 3}, {"seed": 3}, {"seed": 4}, {})]
    shots = [[own.result(item).get_shots().tolist() for item in items] for items in runs]
    assert shots[0] == shots[1]
    assert shots[0] != shots[2] != shots[3]
    assert shots[0][0] != shots[0][1], "two items of one job must not share their random numbers"


def test_alike_circuits(own: OwnService) -> None:
    """A circuit of a job gives the same shots whether the others differ from it in their angles alone or in all."""
    circuits = [Circuit(3).H(0).Rx(angle, 1).CX(0, 2).U3(angle, 0.2, 0.3, 2).measure_all() for angle in (0.1, 0.4, 0.8)]
    together = own.run(circuits, {**AER, "seed": 3}, shots=300)
    for place, item in enumerate(together):
        among = [entangled(3).measure_all(), Circuit(1).X(0).measure_all(), entangled(4).measure_all()]
        among[place] = circuits[place]
        alone = own.run(among, {**AER, "seed": 3}, shots=300)[place]
        assert own.raw(alone.result_id) == own.raw(item.result_id)


def test_every_operation(own: OwnService) -> None:
    """Gates that Aer does not know, conditions and resets do what they say."""
    gates = Circuit(2, 2).X(0)
    gates.add_gate(OpType.CH, [0, 1]).add_gate(OpType.CH, [0, 1]).add_gate(OpType.Sycamore, [0, 1])
    gates.add_gate(OpType.CnRy, 1.0, [0, 1])
    gates.Measure(0, 0).Measure(1, 1)
    conditional = Circuit(2, 2).X(0).Measure(0, 0)
    conditional.X(1, condition_bits=[0], condition_value=1)
    conditional.Reset(0).Measure(1, 1).Measure(0, 0)
    mixed = Circuit(2, 2).H(0).CX(0, 1).Reset(0).CX(1, 0).Measure(0, 0).Measure(1, 1)
    counts = [own.result(item).get_counts() for item in own.run([gates, conditional, mixed], AER)]
    assert counts[:2] == [{(0, 1): 100}, {(0, 1): 100}]
    assert set(counts[2]) == {(0, 0), (1, 1)}


def test_one_item_fails_alone(own: OwnService) -> None:
    """A bad item has its own words and leaves the other items alone."""
    good = entangled().measure_all()
    deleted = own.upload(good)
    broken = own.upload(b'{"commands": 3}')
    job = own.submit([good, Circuit(2, 2).Rx(Symbol("a"), 0).measure_all(), Circuit(2), broken, good, deleted], AER)
    with own.service.db.write() as connection:
        connection.execute(schema.document.delete().where(schema.document.c.document_id == deleted))
    record = own.finish(job)
    items = own.items(job)
    words = [(item.status, item.message) for item in items]
    assert [status for status, _ in words][:5] == ["COMPLETED", "ERROR", "ERROR", "ERROR", "COMPLETED"]
    assert "free symbols (a)" in words[1][1]
    assert "measures nothing" in words[2][1]
    assert "not a pytket circuit" in words[3][1]
    assert (record.status, record.error_detail) == (JobStatus.ERROR, items[1].error_detail)
    assert record.message.startswith("Item 2 of 6: the circuit has free symbols")
    assert len(own.result(items[0]).get_shots()) == len(own.result(items[4]).get_shots()) == 100
    assert [item.result_id is None for item in items][1:4] == [True] * 3


def test_each_status_has_its_time(own: OwnService) -> None:
    """Every status of a job and of its items has its time."""
    job = own.submit([entangled().measure_all()] * 3, AER)
    own.finish(job)
    order = [JobStatus.SUBMITTED, JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.COMPLETED]
    for record in (own.job(job), *own.items(job)):
        assert list(dict(sorted(record.times.items(), key=lambda entry: entry[1]))) == order
        body = status_body(record)
        for name in ("submitted", "queued", "running", "completed"):
            assert body[f"{name}_time"].endswith("+00:00")
        assert body["error_time"] is None
        assert (body["status"], body["cost"], body["queue_position"]) == ("COMPLETED", 0.0, None)


def test_device_noise_is_applied(own: OwnService) -> None:
    """The noise of the device file is on the gates and on the readout."""
    circuits = [Circuit(2, 2), Circuit(2, 2), Circuit(2, 2)]
    for _ in range(10):
        circuits[1].CX(0, 1)
        circuits[2].ZZMax(0, 1)
    measured = [circuit.measure_all() for circuit in circuits]
    items = own.run(measured, {"type": "NoisyConfig", "seed": 1}, shots=20_000)
    right = [own.result(item).get_counts()[0, 0] / 20_000 for item in items]
    assert abs(right[0] - 0.95**2) < 0.01
    for each in right[1:]:
        assert abs(each - (0.9**10 * 0.95**2 + (1 - 0.9**10) / 4)) < 0.015


def test_long_job_is_cheap(own: OwnService) -> None:
    """Not a benchmark: it fails when every item costs a call, a transaction or a notification of its own."""
    program = own.upload(entangled().measure_all())
    own.run([program] * 10, AER, shots=100)
    started = time.monotonic()
    job = own.submit([program] * 300, AER, shots=100)
    own.finish(job)
    elapsed_s = time.monotonic() - started
    items = own.items(job)
    assert {item.status for item in items} == {"COMPLETED"}
    moments = {item.times[JobStatus.COMPLETED] for item in items}
    assert len(moments) < 60, "results are not written together"
    assert elapsed_s < 20


def test_works_on_postgresql(tmp_path, request) -> None:
    """Compilation and simulation work on PostgreSQL too."""
    with fresh_database("postgresql", tmp_path, request) as url, closing(OwnService(tmp_path / "data", url=url)) as own:
        own.service.executor.start()
        (item,) = own.run([entangled()], quantinuum("H1-1LE"), job_type="compile")
        (compilation,) = own.rows(schema.compilation, compilation_id=item.compilation_id)
        measured = own.circuit(compilation.compiled_id).measure_all()
        job = own.submit([measured, Circuit(1)] * 20, quantinuum("H1-1E"), shots=50)
        record = own.finish(job)
        items = own.items(job)
        assert Counter(item.status for item in items) == {"COMPLETED": 20, "ERROR": 20}
        assert record.cost == pytest.approx(sum(item.cost or 0.0 for item in items))
        assert len(own.rows(schema.result, job_id=job)) == 20
        assert own.result(items[0]).get_shots().shape == (50, 4)
