"""T1 and T2 of a simulated device: what a qubit does while a delay lasts, beside the formulas."""

from __future__ import annotations

import math

import pytest
from aer_batches import batch_of, simulate
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from qjobs.backends.aer import AerBackend, NoiseSpec
from qjobs.backends.aer.noise import relaxed
from qjobs.backends.opening import opened
from qjobs.errors import InvalidCircuit, InvalidInput
from qjobs.model import Observable

T1_US = 80.0
T2_US = 60.0
PAULIS = [Observable(name=name, terms=((name, 1.0),)) for name in "XYZ"]


def values(circuit: QuantumCircuit, **noise: float) -> dict[str, float]:
    """Expectation values of X, Y and Z with this noise."""
    (result,) = simulate(batch_of((circuit, 1), observables=PAULIS), noise=NoiseSpec(**noise))
    return result.expvals


def waiting(gate: str, length: float, unit: str) -> QuantumCircuit:
    """A gate on one qubit, then a delay."""
    circuit = QuantumCircuit(1)
    getattr(circuit, gate)(0)
    circuit.delay(length, 0, unit)
    return circuit


@pytest.mark.parametrize(("length", "unit"), [(40, "us"), (40e-6, "s"), (0.04, "ms"), (40_000, "ns"), (4e7, "ps")])
def test_t1(length: float, unit: str) -> None:
    """An excited qubit decays with T1, whatever the unit of the delay."""
    z = values(waiting("x", length, unit), t1_us=T1_US)["Z"]
    assert z == pytest.approx(1 - 2 * math.exp(-40 / T1_US))


@pytest.mark.parametrize(
    ("noise", "t2_us"), [({"t1_us": T1_US, "t2_us": T2_US}, T2_US), ({"t1_us": T1_US}, 2 * T1_US), ({"t2_us": 60}, 60)]
)
def test_t2(noise: dict[str, float], t2_us: float) -> None:
    """A superposition loses its phase with T2: twice T1 if T2 is not given; without T1 nothing decays."""
    found = values(waiting("h", 30, "us"), **noise)
    assert found["X"] == pytest.approx(math.exp(-30 / t2_us))
    assert found["Z"] == pytest.approx(1 - math.exp(-30 / T1_US) if "t1_us" in noise else 0, abs=1e-9)


def test_only_delays() -> None:
    """Gates take no time, and neither does a delay of nothing: the circuit stays the same object without noise."""
    circuit = waiting("h", 0, "us")
    circuit.h(0)
    assert values(circuit, t1_us=1e-3, t2_us=1e-3)["Z"] == pytest.approx(1)
    assert relaxed(circuit, NoiseSpec(readout=0.1)) is circuit


def test_sampled() -> None:
    """Shots follow the same law, also of a delay in a block."""
    plain = QuantumCircuit(1, 1)
    plain.x(0)
    plain.delay(40, 0, "us")
    plain.measure(0, 0)
    nested = QuantumCircuit(1, 2)
    nested.x(0)
    nested.measure(0, 1)
    with nested.if_test((1, 1)):
        nested.delay(40, 0, "us")
    nested.measure(0, 0)
    noise = NoiseSpec(t1_us=T1_US, t2_us=T2_US)
    for circuit in (plain, nested):
        (result,) = simulate(batch_of((circuit, 20_000), seed=1), noise=noise)
        ones = sum(count for bits, count in result.counts.items() if bits.endswith("1"))
        assert ones / 20_000 == pytest.approx(math.exp(-0.5), abs=0.015)


def test_refused_delays() -> None:
    """A delay whose length is not known in seconds is refused."""
    with pytest.raises(InvalidCircuit, match="given in 'dt'"):
        relaxed(waiting("x", 100, "dt"), NoiseSpec(t1_us=1))
    with pytest.raises(InvalidCircuit, match="the symbol wait; make it an argument"):
        relaxed(waiting("x", Parameter("wait"), "us"), NoiseSpec(t1_us=1))


@pytest.mark.parametrize(
    ("noise", "words"),
    [
        ({"t1_us": 0}, "t1_us must be a time above 0 in microseconds, not 0"),
        ({"t2_us": math.inf}, "t2_us must be a time above 0"),
        ({"t1_us": True}, "t1_us must be a time above 0"),
        ({"t1_us": 10, "t2_us": 20.5}, "t2_us must be at most twice t1_us, which is 20, not 20.5"),
    ],
)
def test_refused_times(noise: dict[str, float], words: str) -> None:
    """Times that cannot be are refused."""
    with pytest.raises(InvalidInput, match=words):
        NoiseSpec(**noise)


def test_named() -> None:
    """The name of a backend says its noise, in the words of the block; the same words are the same device."""
    noise = NoiseSpec(depolarizing_1q=1e-3, readout=0.02, t1_us=80, t2_us=60)
    with opened("aer/t1_us=80/t2_us=60/readout_error=0.02/depolarizing_1q=1e-3") as backend:
        assert backend.fingerprint == AerBackend(noise=noise).fingerprint


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("aer/t1=80", "aer/t1=80: 't1=80' is no noise; write for example aer/t1_us=80/readout_error=0.02, with"),
        ("aer/", "'' is no noise"),
        ("aer/t1_us=80us", "'80us' is not a number"),
        ("aer/t1_us=80/t1_us=80", "t1_us is given twice"),
        ("aer/readout_error=2", "readout must be a probability from 0 to 1"),
        ("aer/t1_us=nan", "t1_us must be a time above 0"),
    ],
)
def test_refused_names(name: str, words: str) -> None:
    """A name that says no noise is refused, with what to write instead."""
    with pytest.raises(InvalidInput, match=words) as caught, opened(name):
        pass
    assert caught.value.field == "backend"
