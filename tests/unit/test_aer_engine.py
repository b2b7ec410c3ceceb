"""The Aer engine: tasks, seeds, circuits, expectation values and noise, all in this process."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from aer_batches import batch_of, heavy, simulate, superposition, sweep, turning
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import Parameter
from qiskit.circuit.library import QFTGate, get_standard_gate_name_mapping
from qiskit.quantum_info import SparsePauliOp, Statevector

from qjobs.backends.aer import AerMethod, NoiseSpec, engine
from qjobs.backends.aer.gates import BASIS_1Q, BASIS_2Q, BASIS_3Q
from qjobs.backends.aer.tasks import cut, run_task
from qjobs.circuits.programs import bind, read_circuit
from qjobs.errors import InvalidInput
from qjobs.model import Observable

Z = Observable(name="z", terms=(("Z", 1.0),))


def test_tasks_cover_the_items():
    """Tasks are cut in order, by size and where shots change, whatever the workers."""
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
    assert [len(task.programs) for task in tasks] == [1, 1, 2, 2]


def test_costly_items_run_alone():
    """An item that takes long is a task of its own."""
    assert len(list(cut(heavy(3), AerMethod.AUTOMATIC, None))) == 3


def test_seed_repeats_counts():
    """A seed gives the same counts again; without one two runs differ."""
    assert simulate(sweep(80, seed=11)) == simulate(sweep(80, seed=11))
    assert simulate(sweep(80, seed=11)) != simulate(sweep(80, seed=12))
    batch = batch_of((superposition(6), 1000))
    assert simulate(batch)[0].counts != simulate(batch)[0].counts


@pytest.mark.parametrize("n_qubits", [6, 18])
def test_equal_items_differ(n_qubits):
    """Equal items are independent samples, also across tasks."""
    n = 80 if n_qubits == 6 else 3
    found = simulate(batch_of(*[(superposition(n_qubits), 300)] * n, seed=5))
    assert len({json.dumps(dict(result.counts), sort_keys=True) for result in found}) == n


@pytest.mark.parametrize("method", ["automatic", "density_matrix"])
def test_distribution_is_exact(method):
    """Chi-square of 20 000 shots with a fixed seed, through both ways of sampling."""
    values, shots = {"a": 1.1, "b": 0.4}, 20_000
    counts = simulate(batch_of((turning(), shots, values), seed=3), AerMethod(method))[0].counts
    circuit = bind(read_circuit(turning()), values).remove_final_measurements(inplace=False)
    expected = {word: p for word, p in Statevector(circuit).probabilities_dict().items() if p > 1e-9}
    assert set(counts) <= set(expected)
    chi_square = sum((counts.get(word, 0) - shots * p) ** 2 / (shots * p) for word, p in expected.items())
    assert chi_square < 24.3  # 7 degrees of freedom: exceeded once in a thousand seeds


def test_threads_do_not_change_counts():
    """A wide circuit gives the same counts of a seed in two threads as in one."""
    (task,) = cut(batch_of((superposition(20), 20_000), seed=3), AerMethod.AUTOMATIC, None)
    assert task.is_wide
    alone, shared = (run_task(replace(task, threads=threads)).results() for threads in (1, 2))
    assert alone[0].counts == shared[0].counts


def test_narrow_and_noisy_tasks_share_nothing():
    """Threads are for wide state vectors without noise."""
    wide = batch_of((superposition(20), 10))
    (narrow,) = cut(batch_of((superposition(19), 10)), AerMethod.AUTOMATIC, None)
    (noisy,) = cut(wide, AerMethod.AUTOMATIC, NoiseSpec(readout=0.1))
    (product,) = cut(wide, AerMethod.MATRIX_PRODUCT_STATE, None)
    assert not any(task.is_wide for task in (narrow, noisy, product))


def test_equal_angles_are_worked_out_once():
    """A template has a symbol for each distinct angle, and the probabilities of the bound circuits."""
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(3, 3, global_phase=a / 3)
    for qubit in range(3):
        circuit.rx(2 * a, qubit)
        circuit.rz(a, qubit)
        circuit.u(a * b, 0.3, 2 * a, qubit)
        circuit.ry(b.sin() - a, qubit)
    circuit.cp(a * b, 0, 1)
    circuit.measure(range(3), range(3))
    template = engine.template(engine.with_probabilities(engine.split_measurements(circuit)))
    assert len(template.angles) == 3
    assert len(template.circuit.parameters) == 4  # with `a` itself
    rows = [(0.3, 1.1), (-0.0, 2.0), (4.0, 0.5)]
    found = engine.probabilities_of_rows(template, ("a", "b"), rows)
    for values, row in zip(rows, found, strict=True):
        gates = circuit.assign_parameters(dict(zip((a, b), values, strict=True)))
        expected = Statevector(gates.remove_final_measurements(inplace=False)).probabilities()
        assert row == pytest.approx(expected, abs=1e-12)


# Circuits.


def test_feed_forward_and_reset():
    """Conditions, resets and measurements in the middle do what they say."""
    circuit = QuantumCircuit(QuantumRegister(2), ClassicalRegister(1, "a"), ClassicalRegister(2, "b"))
    circuit.rx(Parameter("t"), 0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    circuit.reset(0)
    circuit.measure(0, 1)
    circuit.measure(1, 2)
    results = simulate(batch_of((circuit, 50, {"t": 0.0}), (circuit, 50, {"t": math.pi})))
    assert [result.counts for result in results] == [{"000": 50}, {"101": 50}]


def test_last_write_to_a_bit_counts():
    """A bit that is written twice holds the last value."""
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    circuit.measure(0, 1)
    circuit.measure(1, 1)
    circuit.measure(0, 0)
    two_qubits = QuantumCircuit(2, 1)
    two_qubits.x(0)
    two_qubits.measure([1, 0], [0, 0])
    results = simulate(batch_of((circuit, 20), (two_qubits, 20)))
    assert [result.counts for result in results] == [{"01": 20}, {"1": 20}]


def test_reset_leaves_both_outcomes():
    """What a reset qubit was entangled with is 0 in some shots and 1 in others."""
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.reset(0)
    circuit.cx(1, 0)
    circuit.measure([0, 1], [0, 1])
    assert set(simulate(batch_of((circuit, 100)))[0].counts) == {"00", "11"}


def test_wires_may_cross():
    """Each bit holds its own qubit, in any order, with barriers and unused bits."""
    circuit = QuantumCircuit(3, 4)
    circuit.rx(Parameter("t"), 0)
    circuit.barrier()
    circuit.x(1)
    circuit.barrier()
    circuit.measure([0, 1, 2], [3, 0, 2])
    results = simulate(batch_of((circuit, 20, {"t": math.pi}), (circuit, 20, {"t": 0.0})))
    assert [result.counts for result in results] == [{"1001": 20}, {"0001": 20}]


def test_other_gates_are_opened():
    """A gate that Aer does not know is decomposed, also in a block."""
    circuit = QuantumCircuit(3, 3)
    circuit.append(QFTGate(3), range(3))
    circuit.append(QFTGate(3).inverse(), range(3))
    circuit.x(2)
    circuit.measure(range(3), range(3))
    conditional = QuantumCircuit(2, 2)
    conditional.x(0)
    conditional.measure(0, 0)
    with conditional.if_test((conditional.clbits[0], 1)):
        conditional.ch(0, 1)
        conditional.ch(0, 1)
    conditional.measure(1, 1)
    results = simulate(batch_of((circuit, 20), (conditional, 20)))
    assert [result.counts for result in results] == [{"100": 20}, {"01": 20}]


def test_every_gate_of_the_target_runs():
    """The target names no gate that fails, with noise or without."""
    known = get_standard_gate_name_mapping()
    circuit = QuantumCircuit(3)
    for name in (*BASIS_1Q, *BASIS_2Q, *BASIS_3Q):
        gate = known[name].to_mutable()
        gate.params = [0.3 + index for index in range(len(gate.params))]
        circuit.append(gate, range(gate.num_qubits))
    circuit.measure_all()
    for noise in (None, NoiseSpec(depolarizing_1q=0.01)):
        assert simulate(batch_of((circuit, 10)), noise=noise)[0].counts


@pytest.mark.parametrize("method", [AerMethod.STABILIZER, AerMethod.MATRIX_PRODUCT_STATE])
def test_wide_circuits_run(method):
    """These methods take 40 qubits."""
    circuit = QuantumCircuit(40)
    circuit.h(0)
    circuit.cx(0, range(1, 40))
    circuit.measure_all()
    assert set(simulate(batch_of((circuit, 50)), method)[0].counts) == {"0" * 40, "1" * 40}


# Expectation values and noise.


def test_expvals_are_quantum_infos():
    """Expectation values are those that qiskit computes from the state."""
    terms = (("XYZ", 0.7), ("IZZ", -1.5), ("III", 0.25), ("YIX", 2.0))
    rows = [{"a": 0.3 * index, "b": 1.0 + index} for index in range(5)]
    observables = [Observable(name="h", terms=terms), Observable(name="z0", terms=(("IIZ", 1.0),))]
    batch = batch_of(*[(turning(), 1, row) for row in rows], observables=observables)
    for row, result in zip(rows, simulate(batch), strict=True):
        state = Statevector(bind(read_circuit(turning()), row).remove_final_measurements(inplace=False))
        expected = state.expectation_value(SparsePauliOp.from_list(list(terms))).real
        assert result.counts is None
        assert result.expvals["h"] == pytest.approx(expected, abs=1e-9)
        z0 = state.expectation_value(SparsePauliOp("IIZ")).real
        assert result.expvals["z0"] == pytest.approx(z0, abs=1e-9)


def test_noise_shrinks_expvals():
    """Depolarising and readout noise shrink an expectation value by their formula."""
    circuit = QuantumCircuit(2)
    circuit.x(0)
    circuit.cx(0, 1)
    observables = [Observable(name="zz", terms=(("ZZ", 1.0),)), Observable(name="z1", terms=(("ZI", 1.0),))]
    noise = NoiseSpec(depolarizing_1q=0.1, depolarizing_2q=0.2, readout=0.05)
    values = simulate(batch_of((circuit, 1), observables=observables), noise=noise)[0].expvals
    # After X: <Z0> = -(1-0.1). CX maps ZZ to ZI (qubit 1: +1) and Z1 to Z0 Z1; then (1-0.2); (1-2p) a letter.
    assert values["zz"] == pytest.approx(1.0 * 0.8 * 0.9**2)
    assert values["z1"] == pytest.approx(-0.9 * 0.8 * 0.9)


def test_readout_noise_flips_both_ways():
    """Zeros become ones as often as ones become zeros."""
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    circuit.measure([0, 1], [0, 1])
    counts = simulate(batch_of((circuit, 20_000), seed=1), noise=NoiseSpec(readout=0.25))[0].counts
    for word, share in {"01": 9 / 16, "00": 3 / 16, "11": 3 / 16, "10": 1 / 16}.items():
        assert counts[word] / 20_000 == pytest.approx(share, abs=0.02)


def test_reset_mixes_expvals():
    """A reset leaves a mixed state, whose expectation value is exact as well."""
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.reset(0)
    z1 = Observable(name="z1", terms=(("ZI", 1.0),))
    assert simulate(batch_of((circuit, 1), observables=[z1]))[0].expvals["z1"] == pytest.approx(0.0, abs=1e-9)


def test_mid_measurement_has_no_expval():
    """It fails its own item, in words, and no other."""
    middle = QuantumCircuit(1, 1)
    middle.measure(0, 0)
    middle.h(0)
    batch = batch_of((QuantumCircuit(1), 1), (middle, 1), (QuantumCircuit(1), 1), observables=[Z])
    (task,) = cut(batch, AerMethod.AUTOMATIC, None)
    outcome = run_task(task)
    first, second, third = outcome.results()
    assert first.expvals == third.expvals == {"z": 1.0}
    assert second is None
    assert "measurements are all at its end" in outcome.failures[1].message


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, True, "0.1"])
def test_noise_is_made_of_probabilities(value):
    """Anything else is refused."""
    with pytest.raises(InvalidInput, match="readout must be a probability"):
        NoiseSpec(readout=value)


@pytest.mark.parametrize("name", sorted({"cp", "cu", "cu1", "cu3", "crx", "cry", "crz"} | engine._BOUND_BY_AER))
def test_symbols_of_every_gate(name):
    """A row gives what its bound circuit gives, whichever gates have the symbols, alone or beside others."""
    gate = get_standard_gate_name_mapping()[name].base_class
    n_angles = len(get_standard_gate_name_mapping()[name].params)
    a, b = Parameter("a"), Parameter("b")
    observables = [Observable(name=pauli, terms=((pauli, 1.0),)) for pauli in ("ZZ", "XX", "YY", "XZ", "ZX")]
    for beside in (a, b):
        circuit = QuantumCircuit(2, 2)
        circuit.ry(0.7, 0)
        circuit.ry(0.4, 1)
        operation = gate(*[2 * a + 0.1] * n_angles)
        circuit.append(operation, range(operation.num_qubits))
        if beside is b:
            circuit.rx(b, 1)
        circuit.measure([0, 1], [0, 1])
        rows = [{"a": 0.3, "b": 0.9}, {"a": -1.2, "b": 0.4}, {"a": 2.1, "b": 0.0}]
        rows = [{symbol.name: row[symbol.name] for symbol in circuit.parameters} for row in rows]
        program = read_circuit(circuit)
        found = simulate(batch_of(*[(circuit, 8, row) for row in rows], observables=observables))
        slow = simulate(batch_of(*[(bind(program, row), 8) for row in rows], observables=observables))
        for ours, theirs in zip(found, slow, strict=True):
            assert ours.expvals == pytest.approx(theirs.expvals, abs=1e-9)
        assert len(simulate(batch_of(*[(circuit, 8, row) for row in rows]))) == len(rows)
