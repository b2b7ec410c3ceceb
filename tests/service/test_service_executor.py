"""What the executor gives back: real compilations, real results, in pytket's own form, and their price."""

from __future__ import annotations

import time
from collections import Counter
from importlib import resources
from itertools import pairwise

import numpy as np
import pytest
from own_service import AER, OwnService, quantinuum
from pytket.backends.backendresult import BackendResult
from pytket.circuit import Bit, Circuit, OpType, Qubit
from qiskit import QuantumCircuit
from qiskit_aer import AerSimulator
from standing_service import fresh_database
from sympy import Symbol

from qjobs.lifecycle import JobStatus
from qjobs.service import tables as schema
from qjobs.service.errors import BadRequest, Forbidden, NotFound
from qjobs.service.execution.cost import cost_hqc, gate_counts
from qjobs.service.store.job_records import status_body

MORE_DEVICES = """
  - {name: noisy, kind: nexus-hosted, backend: B, config: NoisyConfig, n_qubits: 5, max_shots: 20000,
     noise: {depolarizing_1q: 0.02, depolarizing_2q: 0.1, readout: 0.05}}
  - {name: line, kind: nexus-hosted, backend: B, config: LineConfig, n_qubits: 4, max_shots: 20000,
     gate_set: [CX, Rz, SX, X], connectivity: [[0, 1], [1, 2], [2, 3]], native_only: true}
  - {name: flaky, kind: hardware, backend: B, config: FlakyConfig, n_qubits: 5, failure_rate: 0.5}
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A service with the usual devices and some more; a test waits for its own jobs only."""
    usual = resources.files("qjobs.service").joinpath("devices.yaml").read_text()
    own = OwnService(tmp_path_factory.mktemp("executor"), devices=usual + MORE_DEVICES)
    own.service.executor.start()
    yield own
    own.close()


def entangled(n: int = 4) -> Circuit:
    """A circuit whose qubits all differ, with some of everything."""
    circuit = Circuit(n)
    for qubit in range(n):
        circuit.Rx(0.13 * (qubit + 1), qubit).Rz(0.29 * qubit, qubit)
    circuit.CX(0, 1).CCX(0, 1, 2).CX(0, n - 1).T(1).H(2).CZ(1, n - 1).Ry(0.4, 0).SWAP(0, 2)
    return circuit


def chi_square(seen: Counter, expected: dict, shots: int) -> tuple[float, int]:
    """Statistic and degrees of freedom; outcomes that are hardly expected are put together."""
    rare = {key for key, p in expected.items() if p * shots < 8}
    rare |= set(seen) - set(expected)
    cells = [(seen[key], p * shots) for key, p in expected.items() if key not in rare]
    left = sum(expected.get(key, 0.0) for key in rare) * shots
    cells.append((sum(seen[key] for key in rare), left))
    assert all(want > 0 for _, want in cells[:-1])
    return sum((got - want) ** 2 / want for got, want in cells if want > 1e-9), len(cells) - 1


def passes_chi_square(seen: Counter, expected: dict, shots: int) -> bool:
    """Whether it is within five standard deviations of what chance gives; the seeds are fixed."""
    statistic, freedom = chi_square(seen, expected, shots)
    return statistic < freedom + 5 * (2 * max(1, freedom)) ** 0.5


# ---- results ------------------------------------------------------------------------------------


def test_shots_are_distributed_as_the_state_says(own: OwnService) -> None:
    circuit = entangled()
    expected = {
        tuple(int(bit) for bit in format(index, "04b")): float(p)
        for index, p in enumerate(abs(circuit.get_statevector()) ** 2)
    }
    (item,) = own.run([circuit.copy().measure_all()], {**AER, "seed": 5}, shots=20_000)
    counts = own.result(item).get_counts()
    assert sum(counts.values()) == 20_000
    assert passes_chi_square(counts, expected, 20_000)
    reversed_bits = {key[::-1]: p for key, p in expected.items()}
    assert not passes_chi_square(counts, reversed_bits, 20_000), "the test cannot tell the order of the bits"


def test_shots_are_distributed_as_aer_itself_gives_them_with_noise_and_measurements_in_the_middle(own) -> None:
    ours = Circuit(2, 3).Rx(0.3, 0).Measure(0, 0).CX(0, 1).Rx(0.4, 0).Measure(0, 1).Measure(1, 2)
    theirs = QuantumCircuit(2, 3)
    theirs.rx(0.3 * np.pi, 0)
    theirs.measure(0, 0)
    theirs.cx(0, 1)
    theirs.rx(0.4 * np.pi, 0)
    theirs.measure(0, 1)
    theirs.measure(1, 2)
    shots = 200_000
    bare = AerSimulator(seed_simulator=7).run(theirs, shots=shots).result().get_counts()
    expected = {tuple(int(bit) for bit in word[::-1]): n / shots for word, n in bare.items()}
    (item,) = own.run([ours], {**AER, "seed": 1}, shots=20_000)
    assert passes_chi_square(own.result(item).get_counts(), expected, 20_000)
    (noisy,) = own.run([ours], {"type": "NoisyConfig", "seed": 1}, shots=10_000)
    assert not passes_chi_square(own.result(noisy).get_counts(), expected, 10_000)


@pytest.mark.parametrize("config", [AER, {"type": "NoisyConfig"}])
def test_every_bit_is_where_pytket_expects_it(own: OwnService, config) -> None:
    """Several registers, names against the alphabet, more than eight bits, bits that nothing is written to."""
    circuit = Circuit()
    late, early = circuit.add_c_register("z", 3), circuit.add_c_register("a", 10)
    for name in ("q1", "p"):
        circuit.add_q_register(name, 2)
    circuit.X(Qubit("q1", 0)).X(Qubit("p", 1))
    circuit.Measure(Qubit("q1", 0), late[2]).Measure(Qubit("p", 1), early[9])
    circuit.Measure(Qubit("p", 0), early[0]).Measure(Qubit("q1", 1), late[0])
    (item,) = own.run([circuit], config, shots=400)
    body, result = own.raw(item.result_id), own.result(item)
    assert body == result.to_dict(), "it is not exactly what pytket writes"
    assert result.get_bitlist() == [Bit("a", n) for n in range(10)] + [Bit("z", n) for n in range(3)]
    ones = {Bit("a", 9), Bit("z", 2)}
    (most, number) = result.get_counts().most_common(1)[0]
    assert {bit for bit, value in zip(result.get_bitlist(), most, strict=True) if value} == ones
    assert number == 400 if config is AER else 200 < number < 400
    assert result.get_shots().shape == (400, 13)


def test_a_state_is_pytkets_own(own: OwnService) -> None:
    circuits = [entangled(), Circuit(3).X(0), entangled(3).measure_all()]
    items = own.run(circuits, {"type": "AerStateConfig"}, shots=None)
    for circuit, item in zip([entangled(), Circuit(3).X(0), entangled(3)], items, strict=True):
        result = own.result(item)
        assert np.allclose(result.get_state(), circuit.get_statevector())
        assert own.raw(item.result_id) == result.to_dict()
        assert result.get_qbitlist() == circuit.qubits
        assert (item.result_type, item.cost) == ("PYTKET", 0.0)


def test_a_unitary_is_pytkets_own(own: OwnService) -> None:
    (item,) = own.run([entangled(3)], {"type": "AerUnitaryConfig"}, shots=None)
    assert np.allclose(own.result(item).get_unitary(), entangled(3).get_unitary())


def test_a_seed_repeats_a_job_and_its_absence_does_not(own: OwnService) -> None:
    circuits = [entangled().measure_all(), entangled().measure_all()]
    runs = [own.run(circuits, {**AER, **config}, shots=200) for config in ({"seed": 3}, {"seed": 3}, {"seed": 4}, {})]
    shots = [[own.result(item).get_shots().tolist() for item in items] for items in runs]
    assert shots[0] == shots[1]
    assert shots[0] != shots[2] != shots[3]
    assert shots[0][0] != shots[0][1], "two items of one job must not share their random numbers"


def test_conditions_and_resets_run(own: OwnService) -> None:
    circuit = Circuit(2, 2).X(0).Measure(0, 0)
    circuit.X(1, condition_bits=[0], condition_value=1)
    circuit.Reset(0).Measure(1, 1).Measure(0, 0)
    (item,) = own.run([circuit], AER)
    assert own.result(item).get_counts() == {(0, 1): 100}


def test_one_bad_item_leaves_its_siblings_alone(own: OwnService) -> None:
    good = entangled().measure_all()
    deleted, broken = own.upload(good), own.upload(b'{"commands": 3}')
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


def test_each_status_has_its_moment_on_the_job_and_on_its_items(own: OwnService) -> None:
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


def test_noise_of_the_device_file_is_on_the_gates_and_on_the_readout(own: OwnService) -> None:
    nothing, pairs = Circuit(2, 2), Circuit(2, 2)
    for _ in range(10):
        pairs.CX(0, 1)
    items = own.run([nothing.measure_all(), pairs.measure_all()], {"type": "NoisyConfig", "seed": 1}, shots=20_000)
    right = [own.result(item).get_counts()[0, 0] / 20_000 for item in items]
    assert abs(right[0] - 0.95**2) < 0.01
    assert abs(right[1] - (0.9**10 * 0.95**2 + (1 - 0.9**10) / 4)) < 0.015


# ---- compilation --------------------------------------------------------------------------------


def compiled(own: OwnService, circuit: Circuit, config, level: int, **more) -> tuple[Circuit, str]:
    (item,) = own.run([circuit], config, job_type="compile", optimisation_level=level, **more)
    assert item.status == "COMPLETED", item.message
    (row,) = own.rows(schema.compilation, compilation_id=item.compilation_id)
    assert (row.original_id, row.owner_id, row.project_id) == (item.program_id, own.user.user_id, own.project)
    return own.circuit(row.compiled_id), str(item.compilation_id)


def same_up_to_phase(first: Circuit, second: Circuit) -> bool:
    overlap = abs(np.vdot(first.get_unitary(), second.get_unitary())) / 2**first.n_qubits
    return bool(overlap > 1 - 1e-6)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
@pytest.mark.parametrize("device", ["Aer", "H1-1E"])
def test_a_compiled_circuit_does_the_same_with_the_devices_gates(own: OwnService, device: str, level: int) -> None:
    config = AER if device == "Aer" else quantinuum(device)
    original = entangled()
    circuit, _ = compiled(own, original, config, level)
    assert same_up_to_phase(circuit, original)
    kinds = {command.op.type.name for command in circuit.get_commands()}
    assert kinds <= set(own.service.devices.get(device).gate_set)
    if device == "H1-1E":
        assert kinds <= {"PhasedX", "Rz", "ZZPhase"}
        plain, _ = compiled(own, original, config, 0)
        assert (circuit.n_gates < plain.n_gates) is (level > 0)


@pytest.mark.parametrize("gate", ["ZZPhase", "ZZMax", "TK2"])
def test_the_two_qubit_gate_can_be_chosen(own: OwnService, gate: str) -> None:
    circuit, _ = compiled(own, entangled(), quantinuum("H2-1", target_2qb_gate=gate), 2)
    assert {command.op.type.name for command in circuit.get_commands() if len(command.qubits) == 2} == {gate}
    assert same_up_to_phase(circuit, entangled())


def test_every_pass_is_recorded_as_a_chain_from_the_original_to_the_compiled_circuit(own: OwnService) -> None:
    original = entangled()
    _, compilation_id = compiled(own, original, quantinuum("H1-1E"), 2)
    passes = sorted(own.rows(schema.compilation_pass, compilation_id=compilation_id), key=lambda row: row.number)
    (compilation,) = own.rows(schema.compilation, compilation_id=compilation_id)
    assert [row.pass_name for row in passes][:3] == ["DecomposeBoxes", "FullPeepholeOptimise", "AutoRebase"]
    assert passes[0].original_id == compilation.original_id
    assert passes[-1].compiled_id == compilation.compiled_id
    assert all(first.compiled_id == second.original_id for first, second in pairwise(passes))
    for row in passes:
        assert same_up_to_phase(own.circuit(row.compiled_id), original)
    _, quiet = compiled(own, original, quantinuum("H1-1E"), 2, skip_store_intermediate_passes=True)
    assert own.rows(schema.compilation_pass, compilation_id=quiet) == []


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_a_symbolic_circuit_is_compiled_and_keeps_its_symbols(own: OwnService, level: int) -> None:
    a, b = Symbol("a"), Symbol("b")
    circuit = Circuit(2).Rx(a, 0).CX(0, 1).Rz(2 * b + a, 1).H(1).CX(1, 0)
    result, _ = compiled(own, circuit, quantinuum("H1-1E"), level)
    assert result.free_symbols() == {a, b}
    for each in (circuit, result):
        each.symbol_substitution({a: 0.37, b: 0.81})
    assert same_up_to_phase(circuit, result)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_device_with_few_couplings_gets_circuits_that_it_can_run(own: OwnService, level: int) -> None:
    original = entangled().measure_all()
    _, compilation_id = compiled(own, original, {"type": "LineConfig"}, level)
    (row,) = own.rows(schema.compilation, compilation_id=compilation_id)
    refused, ran = own.run([row.original_id, row.compiled_id], {"type": "LineConfig", "seed": 2}, shots=20_000)
    assert "its native gates are CX, Rz, SX, X" in refused.message
    expected = {
        tuple(int(bit) for bit in format(index, "04b")): float(p)
        for index, p in enumerate(abs(entangled().get_statevector()) ** 2)
    }
    counts = own.result(ran).get_counts([Bit(n) for n in range(4)])
    assert passes_chi_square(counts, expected, 20_000)
    far = Circuit(4, 4).CX(0, 3).measure_all()
    (item,) = own.run([far], {"type": "LineConfig"})
    assert "cannot couple qubits 0, 3" in item.message


def test_a_circuit_that_is_too_wide_is_an_error_of_its_item(own: OwnService) -> None:
    (item,) = own.run([Circuit(21)], quantinuum("H1-1"), job_type="compile")
    assert item.message == "the circuit has 21 qubits, and H1-1 has 20"
    (item,) = own.run([Circuit(3).measure_all()], {**AER, "n_qubits": 2})
    assert "runs at most 2" in item.message


# ---- Quantinuum's machines ----------------------------------------------------------------------


def native() -> Circuit:
    circuit = Circuit(2, 2)
    circuit.add_gate(OpType.PhasedX, [0.5, 0.5], [0]).Rz(0.3, 0).ZZMax(0, 1).ZZPhase(0.2, 0, 1)
    circuit.add_gate(OpType.PhasedX, [0.1, 0.2], [1])
    return circuit.measure_all()


def test_the_price_is_the_published_one() -> None:
    # Two PhasedX (Rz is free), two two-qubit gates, two preparations and two measurements:
    # 5 + 1000 (2 + 10 * 2 + 5 * 4) / 5000 = 13.4
    assert cost_hqc(gate_counts(native()), 1000) == pytest.approx(13.4)
    # With a reset and a conditional gate: 5 + 1000 (3 + 20 + 25) / 5000
    circuit = native().Reset(0)
    circuit.add_gate(OpType.PhasedX, [0.1, 0.2], [0], condition_bits=[0], condition_value=1)
    assert cost_hqc(gate_counts(circuit), 1000) == pytest.approx(14.6)
    assert cost_hqc(gate_counts(Circuit(3)), 500) == pytest.approx(5 + 500 * 15 / 5000)


def test_a_machine_runs_native_gates_only_and_asks_its_price(own: OwnService) -> None:
    job = own.submit([native(), entangled().measure_all()], quantinuum("H1-1E"), shots=1000)
    record = own.finish(job)
    right, wrong = own.items(job)
    assert right.cost == pytest.approx(13.4)
    assert record.cost == pytest.approx(13.4)
    assert len(own.result(right).get_shots()) == 1000
    assert wrong.status == "ERROR"
    assert wrong.message.startswith("H1-1E cannot run CCX, CX, CZ, H, Rx and 3 more: its native gates are PhasedX")
    handles = {right.external_handle, wrong.external_handle}
    assert len(handles) == 2
    assert all(handle and len(handle) == 36 for handle in handles)


def test_what_goes_over_the_max_cost_is_depleted_and_not_run(own: OwnService) -> None:
    cheap, dear = own.upload(native()), own.upload(native())
    items = [
        {"program_id": cheap, "n_shots": 1000, "max_cost": 13.4},
        {"program_id": dear, "n_shots": 1000, "max_cost": 13},
    ]
    job = own.store.create(
        own.user,
        own.project,
        name="dear",
        job_type="execute",
        definition={"backend_config": quantinuum("H1-1LE"), "items": items},
    )
    record = own.finish(job)
    ran, stopped = own.items(job)
    assert ran.status == "COMPLETED"
    assert (stopped.status, stopped.result_id) == ("DEPLETED", None)
    assert stopped.message.startswith("the item costs 13.4 HQC, and its max_cost is 13; it was not run")
    assert record.status == "DEPLETED"


def test_a_syntax_checker_prices_and_runs_nothing(own: OwnService) -> None:
    item, wrong = own.run([native(), entangled().measure_all()], quantinuum("H1-1SC"), shots=1000)
    assert (item.status, item.result_type, item.result_id) == ("COMPLETED", None, None)
    assert status_body(item)["cost"] == pytest.approx(13.4)
    assert status_body(item)["cost_confidence"] == 1.0
    assert "cannot run" in wrong.message
    assert "cost_confidence" not in status_body(wrong)
    assert own.rows(schema.result, item_uuid=item.item_uuid) == []


def test_a_device_that_fails_fails_as_often_as_it_says(own: OwnService) -> None:
    items = own.run([Circuit(1, 1).X(0).measure_all()] * 60, {"type": "FlakyConfig"}, shots=5)
    failed = [item for item in items if item.status == "ERROR"]
    assert 15 < len(failed) < 45
    assert {item.message for item in failed} == {"The device failed (failure_rate in the device file)."}
    assert all((item.result_id is None) == (item.status == "ERROR") for item in items)
    assert all(item.external_handle for item in items)


# ---- what is counted, and what is refused -------------------------------------------------------


def test_seconds_are_counted_towards_the_right_quota(own: OwnService) -> None:
    user = own.add_user("careful")
    project = own.add_project(user)
    program = own.upload(entangled().measure_all(), project=project)

    def used() -> dict[str, float]:
        found: Counter = Counter()
        for row in own.rows(schema.usage, user_id=user.user_id):
            found[row.quota] += row.amount
        return dict(found)

    own.finish(own.submit([program] * 3, AER, user=user, project=project))
    assert set(used()) == {"simulation"}
    assert 0 < used()["simulation"] < 60
    before = used()["simulation"]
    own.finish(own.submit([program], AER, job_type="compile", user=user, project=project))
    assert set(used()) == {"simulation", "compilation"}
    assert used()["simulation"] == before


def test_a_quota_that_is_used_up_depletes_a_job(own: OwnService) -> None:
    user = own.add_user("spender")
    project = own.add_project(user)
    program = own.upload(entangled().measure_all(), project=project)
    with own.service.db.write() as connection:
        row = {"user_id": user.user_id, "quota": "simulation", "amount": 1e9, "at": own.service.clock.now()}
        connection.execute(schema.usage.insert().values(row))
    job = own.submit([program] * 2, AER, user=user, project=project)
    assert own.finish(job).status == "DEPLETED"
    assert {item.message for item in own.items(job)} == {
        "The quota of simulation is used up for this month; the item was not run."
    }
    compile_job = own.submit([program], AER, job_type="compile", user=user, project=project)
    assert own.finish(compile_job).status == "COMPLETED"


ITEM = {"program_id": "00000000-0000-4000-8000-000000000000", "n_shots": 10}


@pytest.mark.parametrize(
    ("definition", "error", "words"),
    [
        ({"items": [ITEM] * 301}, BadRequest, "at most 300 items, and this one has 301"),
        ({"items": []}, BadRequest, "at least one item"),
        ({"items": "x"}, BadRequest, "at least one item"),
        ({"items": [3]}, BadRequest, "item 1: an object"),
        ({"items": [{**ITEM, "program_id": "no"}]}, BadRequest, "item 1: program_id must be the UUID"),
        ({"items": [{**ITEM, "program_id": ["no"]}]}, BadRequest, "item 1: program_id must be the UUID"),
        ({"items": [{**ITEM, "n_shots": 0}]}, BadRequest, "item 1: n_shots must be a whole number from 1, not 0"),
        ({"items": [{**ITEM, "n_shots": True}]}, BadRequest, "n_shots"),
        ({"items": [{**ITEM, "n_shots": 10.0}]}, BadRequest, "n_shots"),
        ({"items": [{**ITEM, "n_shots": None}]}, BadRequest, "item 1: Aer needs n_shots"),
        ({"items": [{**ITEM, "n_shots": 10**6 + 1}]}, BadRequest, "at most 1000000 shots"),
        ({"items": [{**ITEM, "max_cost": -1}]}, BadRequest, "max_cost must be a number of HQC from 0"),
        ({"items": [{**ITEM, "max_cost": float("nan")}]}, BadRequest, "max_cost"),
        ({"items": [ITEM]}, NotFound, "item 1: program 00000000-0000-4000-8000-000000000000 not found"),
        ({"items": [ITEM], "backend_config": None}, BadRequest, "backend_config"),
        ({"items": [ITEM], "backend_config": {"type": "NoConfig"}}, BadRequest, "no backend for 'NoConfig'"),
        ({"items": [ITEM], "user_group": "x"}, Forbidden, "^Not a member of any group with name: x$"),
        ({"items": [ITEM], "backend_config": {**AER, "user_group": "y"}}, Forbidden, "name: y$"),
        (
            {"items": [ITEM], "target_region": "us"},
            BadRequest,
            "^Nexus hosted simulators can only be run in the current region$",
        ),
    ],
)
def test_what_cannot_be_run_is_refused_before_it_is_stored(own: OwnService, definition, error, words) -> None:
    before = own.store.count(schema.job.c.job_id.is_not(None))
    with pytest.raises(error, match=words):
        own.store.create(
            own.user,
            own.project,
            name="bad",
            job_type="execute",
            definition={"backend_config": AER, **definition},
        )
    assert own.store.count(schema.job.c.job_id.is_not(None)) == before


@pytest.mark.parametrize("level", [-1, 4, "2", True, 1.5])
def test_a_level_that_there_is_not_is_refused(own: OwnService, level) -> None:
    with pytest.raises(BadRequest, match="one of 0, 1, 2, 3"):
        own.submit([Circuit(1)], AER, job_type="compile", optimisation_level=level)


def test_programs_and_projects_of_others_do_not_exist(own: OwnService) -> None:
    eve = own.add_user("eve")
    theirs = own.add_project(eve)
    secret = own.upload(native())
    with pytest.raises(NotFound, match=f"program {secret} not found"):
        own.submit([secret], AER, user=eve, project=theirs)
    with pytest.raises(NotFound, match="project"):
        own.submit([secret], AER, user=eve)
    wasm = own.upload(b"x", kind="wasm")
    with pytest.raises(BadRequest, match="of kind wasm, and this service runs circuits only"):
        own.submit([wasm], AER)


def test_a_definition_is_stored_as_it_was_posted_and_a_missing_batch_cost_gets_a_number(own: OwnService) -> None:
    config = quantinuum("H1-1LE", max_batch_cost=None, attempt_batching=False)
    job = own.submit([native()], config, language="AUTO", valid_check=True)
    stored = own.job(job).definition
    assert {key: stored[key] for key in ("language", "valid_check")} == {"language": "AUTO", "valid_check": True}
    assert stored["backend_config"] == {**config, "max_batch_cost": 2000.0}
    assert "items" not in stored


def test_a_long_job_costs_little_more_than_its_simulation(own: OwnService) -> None:
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


def test_results_are_what_pytket_reads_back(own: OwnService) -> None:
    (item,) = own.run([native()], quantinuum("H1-1LE"), shots=7)
    assert isinstance(own.result(item), BackendResult)
    assert own.raw(item.result_id)["shots"]["width"] == 2


def test_all_of_it_works_on_postgresql(tmp_path, request) -> None:
    with fresh_database("postgresql", tmp_path, request) as url:
        own = OwnService(tmp_path / "data", url=url)
        try:
            own.service.executor.start()
            (item,) = own.run([entangled()], quantinuum("H1-1LE"), job_type="compile")
            (compilation,) = own.rows(schema.compilation, compilation_id=item.compilation_id)
            measured = own.circuit(compilation.compiled_id).measure_all()
            job = own.submit([measured, Circuit(1)] * 20, quantinuum("H1-1E"), shots=50)
            record, items = own.finish(job), own.items(job)
            assert Counter(item.status for item in items) == {"COMPLETED": 20, "ERROR": 20}
            assert record.cost == pytest.approx(sum(item.cost or 0.0 for item in items))
            assert len(own.rows(schema.result, job_id=job)) == 20
            assert own.result(items[0]).get_shots().shape == (50, 4)
        finally:
            own.close()
