"""What a job costs at Quantinuum, before it is sent."""

from __future__ import annotations

import random

import pytest
from nexus_replay import batch, flip
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from qjobs.backends.nexus import NexusBackend
from qjobs.circuits.programs import read_circuit
from qjobs.model import JobKind, Program
from qjobs.service.execution.cost import cost_hqc, gate_counts


def native(n_entanglers: int = 3) -> Program:
    circuit = QuantumCircuit(2, 2)
    circuit.r(Parameter("a"), 0.2, 0)
    circuit.rz(0.3, 0)
    for _ in range(n_entanglers):
        circuit.rzz(0.5, 0, 1)
    circuit.reset(1)
    circuit.measure([0, 1], [0, 1])
    return read_circuit(circuit)


def random_native(rng: random.Random) -> Program:
    """A circuit of native gates, with resets and measurements in the middle."""
    n_qubits = rng.randint(2, 5)
    circuit = QuantumCircuit(n_qubits, n_qubits)
    for _ in range(rng.randint(0, 12)):
        one, other = rng.sample(range(n_qubits), 2)
        match rng.randrange(5):
            case 0:
                circuit.r(rng.random(), rng.random(), one)
            case 1:
                circuit.rz(rng.random(), one)
            case 2:
                circuit.rzz(rng.random(), one, other)
            case 3:
                circuit.reset(one)
            case 4:
                circuit.measure(one, other)
    circuit.measure(range(n_qubits), range(n_qubits))
    return read_circuit(circuit)


@pytest.mark.parametrize("device", ["H1-1", "H1-1E", "H2-2", "h2-1e"])
def test_machine(device: str) -> None:
    """5 + C (N1q + 10 N2q + 5 Nm) / 5000 a circuit; the reset counts, Rz does not."""
    backend = NexusBackend(device, token="t")
    assert backend.estimate(batch(program=native(), shots=1000, n=2)) == pytest.approx(2 * (5 + 1000 * 56 / 5000))


def test_as_the_service_bills() -> None:
    """The estimate is what `qjobs serve` bills."""
    from qjobs.circuits.programs import to_pytket

    program = native(7)
    billed = cost_hqc(gate_counts(to_pytket(program)), 321)
    assert NexusBackend("H1-1E", token="t").estimate(batch(program=program, shots=321)) == pytest.approx(billed)


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_random_circuits(count: int) -> None:
    """The estimate of random circuits is what `qjobs serve` bills for each."""
    from qjobs.circuits.programs import to_pytket

    rng = random.Random(16)
    backend = NexusBackend("H1-1E", token="t")
    for _ in range(count):
        program = random_native(rng)
        shots = rng.randint(1, 10_000)
        billed = cost_hqc(gate_counts(to_pytket(program)), shots)
        assert backend.estimate(batch(program=program, shots=shots)) == pytest.approx(billed, abs=1e-9)


@pytest.mark.parametrize("device", ["Aer", "Selene", "H1-1LE", "Helios-1", "Reimei", "H1-Emulator"])
def test_billed_otherwise(device: str) -> None:
    """Nobody can tell what a device costs that is billed by time, or by what a program does."""
    assert NexusBackend(device, token="t").estimate(batch(program=native())) is None


def test_not_counted() -> None:
    """A compile job, and a circuit of other gates than native ones, cannot be counted; a syntax checker is free."""
    backend = NexusBackend("H1-1", token="t")
    assert backend.estimate(batch(JobKind.COMPILE, program=native())) is None
    assert backend.estimate(batch(program=flip())) is None, "x is not native"
    assert NexusBackend("H1-1SC", token="t").estimate(batch(program=native())) == 0.0


@pytest.mark.parametrize(("device", "words"), [("H1-1E", "10 x two-qubit"), ("H1-1SC", "free"), ("Selene", "by time")])
def test_in_words(device: str, words: str) -> None:
    """A device says in words how its estimate is counted."""
    pricing = NexusBackend(device, token="t").pricing
    assert pricing.unit == "HQC"
    assert words in pricing.words
