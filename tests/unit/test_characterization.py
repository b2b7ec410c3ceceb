"""Circuits that characterise a qubit: what they give without noise, what they refuse."""

from __future__ import annotations

import math

import pytest
from qiskit import QuantumCircuit
from qiskit.quantum_info import Operator, Statevector

from qjobs.circuits.builders import build_circuit
from qjobs.circuits.characterization import _cliffords, ramsey, randomized_benchmarking, t1
from qjobs.errors import InvalidInput


def probability_of_1(circuit: QuantumCircuit) -> float:
    return float(Statevector(circuit.remove_final_measurements(inplace=False)).probabilities()[1])


def test_t1() -> None:
    """The qubit is excited, and waits so long."""
    circuit = t1(12.5)
    assert probability_of_1(circuit) == pytest.approx(1)
    assert [(each.operation.duration, each.operation.unit) for each in circuit.data if each.name == "delay"] == [
        (12.5, "us")
    ]


@pytest.mark.parametrize("delay_us", [0, 1, 2.5, 7])
def test_ramsey(delay_us: float) -> None:
    """Without noise the probability of 1 is (1 - cos(2 pi detuning delay)) / 2."""
    expected = (1 - math.cos(2 * math.pi * 0.1 * delay_us)) / 2
    assert probability_of_1(ramsey(delay_us, detuning_mhz=0.1)) == pytest.approx(expected, abs=1e-12)


def test_cliffords() -> None:
    """The 24 gates differ, and each turns X and Z into Pauli gates."""
    gates = []
    for angles in _cliffords():
        circuit = QuantumCircuit(1)
        circuit.u(*angles, 0)
        gates.append(Operator(circuit).data)
    for number, gate in enumerate(gates):
        assert not any(abs((gate.conj().T @ other).trace()) > 1.99 for other in gates[:number])
        for pauli in ([[0, 1], [1, 0]], [[1, 0], [0, -1]]):
            turned = abs(gate @ pauli @ gate.conj().T).round(9)
            assert set(turned.ravel()) == {0, 1}
    assert len(gates) == 24


@pytest.mark.parametrize("length", [0, 1, 2, 50])
def test_benchmarking(length: int) -> None:
    """A sequence has one gate more than its length, and ends where it began; another seed gives another one."""
    circuit = randomized_benchmarking(length, seed=3)
    assert circuit.count_ops()["u"] == length + 1
    assert probability_of_1(circuit) == pytest.approx(0, abs=1e-12)
    assert circuit == randomized_benchmarking(length, seed=3)
    assert length == 0 or circuit != randomized_benchmarking(length, seed=4)


@pytest.mark.parametrize(
    ("builder", "arguments"),
    [
        ("t1", {"delay_us": -1}),
        ("t1", {"delay_us": math.nan}),
        ("ramsey", {"delay_us": -1}),
        ("randomized-benchmarking", {"length": -1}),
        ("randomized-benchmarking", {"length": 2.5}),
    ],
)
def test_refused(builder: str, arguments: dict[str, float]) -> None:
    """Arguments that describe no circuit are refused."""
    with pytest.raises(InvalidInput, match="does not take these arguments"):
        build_circuit(builder, arguments)
