"""Observables: reading them, choosing bases, estimating them from counts with an error that is true."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.quantum_info import SparsePauliOp, Statevector
from scipy.stats import beta

from qjobs.circuits.observables import Estimator, measured_in, parse_observable
from qjobs.circuits.standard_errors import of_fraction
from qjobs.errors import InvalidCircuit, InvalidInput
from qjobs.model import Observable


def terms(text: str, n_qubits: int = 3) -> dict[str, float]:
    return dict(parse_observable("h", text, n_qubits).terms)


def estimate(estimator: Estimator, name: str, *counts: dict[str, int]) -> tuple[float, float]:
    """Value and standard error at one point, from one counts mapping per basis."""
    values, errors = estimator.estimate([[one] for one in counts])[name]
    return float(values[0]), float(errors[0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Z0", {"IIZ": 1.0}),
        ("XYZ", {"XYZ": 1.0}),
        ("-Z2", {"ZII": -1.0}),
        ("+Z2", {"ZII": 1.0}),
        ("0.5*Z0 Z1", {"IZZ": 0.5}),
        ("0.5 Z0 Z1", {"IZZ": 0.5}),
        ("Xall", {"XXX": 1.0}),
        ("1 - 0.5*Zall + Yall", {"III": 1.0, "ZZZ": -0.5, "YYY": 1.0}),
        ("0.5Z0Z1", {"IZZ": 0.5}),
        ("2*Z0*X1", {"IXZ": 2.0}),
        ("Z0 * X1", {"IXZ": 1.0}),
        ("Z1 Z0", {"IZZ": 1.0}),
        ("1e-3*Y1", {"IYI": 1e-3}),
        ("2.E+1 Y1", {"IYI": 20.0}),
        (".5*IZI", {"IZI": 0.5}),
        ("3", {"III": 3.0}),
        ("- 3", {"III": -3.0}),
        ("I0", {"III": 1.0}),
        ("6 - 0.5*Z0 Z1 - 0.5*Z1 Z2", {"III": 6.0, "IZZ": -0.5, "ZZI": -0.5}),
        ("Z0 + IIZ - 3*Z0", {"IIZ": -1.0}),
        ("  Z0\n + X1\t", {"IIZ": 1.0, "IXI": 1.0}),
        ("Z00", {"IIZ": 1.0}),
        ("1-Z0", {"III": 1.0, "IIZ": -1.0}),
    ],
)
def test_forms(text: str, expected: dict[str, float]) -> None:
    """An observable is read in every form that people write."""
    assert terms(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no terms"),
        ("  ", "cannot be read"),
        ("Z0 +", r"cannot be read at '\+'"),
        ("+", "cannot be read"),
        ("Z0 X1 Q2", "cannot be read at 'Q2'"),
        ("z0", "cannot be read"),
        ("Z0 - - X1", "cannot be read"),
        ("2 3", "cannot be read at '3'"),
        ("Z0 ZZZ", "cannot be read at 'ZZZ'"),
        ("Z0*", r"cannot be read at '\*'"),
        ("2*", r"cannot be read at '\*'"),
        ("*Z0", "cannot be read"),
        ("Z0 * + X1", "cannot be read"),
        ("2**Z0", "cannot be read"),
        ("1e400*Z0", "not finite"),
        ("1e308*Z0 + 1e308*Z0", "not finite"),
        ("ZZ", "2 qubits wide, and not 3"),
        ("ZZZZ", "4 qubits wide"),
        ("Z3", "qubits 0 to 2"),
        ("Z0 Z0", "two letters on qubit 0"),
        ("Z0 I0", "two letters on qubit 0"),
        ("I0 Z0", "two letters on qubit 0"),
        ("Z" + "9" * 6000, "acts on qubit"),
        ("IIZ\u0661", "cannot be read"),
        ("nan*Z0", "cannot be read"),
        ("(Z0 + X1)", "cannot be read"),
    ],
)
def test_unreadable(text: str, words: str) -> None:
    """What cannot be read is refused with its place or its reason."""
    with pytest.raises(InvalidInput, match=words) as caught:
        terms(text)
    assert caught.value.field == "observables"
    assert "'h'" in str(caught.value)


def test_long_sums() -> None:
    """Two thousand terms are read without backtracking."""
    text = " + ".join(f"0.5*Z{n} Z{n + 1}" for n in range(2000)) + " " * 20_000
    assert len(parse_observable("h", text, 2001).terms) == 2000


def circuit() -> QuantumCircuit:
    made = QuantumCircuit(3)
    made.ry(0.7, 0)
    made.cx(0, 1)
    made.rx(1.1, 2)
    made.cz(1, 2)
    made.sx(1)
    made.ry(-0.4, 2)
    return made


NON_DIAGONAL = "0.3 + 0.7*X0 Y1 - 1.3*Z0 Z1 + 0.4*Y2 - X0 X1 X2 + 0.9*Z2 Z0 + 0.2*Y0 Y1 Y2"


def drawn(made: QuantumCircuit, basis: str, shots: int, rng: np.random.Generator) -> dict[str, int]:
    """Counts drawn from the exact distribution of the measured circuit."""
    bare = measured_in(made, basis).remove_final_measurements(inplace=False)
    probabilities = Statevector(bare).probabilities()
    numbers = rng.multinomial(shots, probabilities / probabilities.sum())
    return {format(word, f"0{made.num_qubits}b"): int(n) for word, n in enumerate(numbers) if n}


def exact(made: QuantumCircuit, observable: Observable) -> float:
    return float(Statevector(made).expectation_value(SparsePauliOp.from_list(list(observable.terms))).real)


def test_pulls_are_standard_normal() -> None:
    """The standard error of a non-diagonal observable is the true one."""
    observable = parse_observable("h", NON_DIAGONAL, 3)
    estimator = Estimator([observable])
    assert len(estimator.bases) > 2
    rng = np.random.default_rng(5)
    counts = [[drawn(circuit(), basis, 400, rng) for _ in range(400)] for basis in estimator.bases]
    values, errors = estimator.estimate(counts)["h"]
    pulls = (values - exact(circuit(), observable)) / errors
    assert abs(np.mean(pulls)) < 4 / math.sqrt(400)
    assert 0.88 < np.sqrt(np.mean(pulls**2)) < 1.12


def test_correlated_terms() -> None:
    """On (|00> + |11>)/sqrt 2 the error of Z0 + Z1 is twice that of Z0, not sqrt 2 times."""
    estimator = Estimator([parse_observable("sum", "Z0 + Z1", 2), parse_observable("one", "Z0", 2)])
    counts = {"00": 480, "11": 520}
    _, one = estimate(estimator, "one", counts)
    assert one == pytest.approx(2 * of_fraction(480, 1000))
    assert estimate(estimator, "sum", counts)[1] == pytest.approx(2 * one, rel=1e-3)


def test_points_are_independent() -> None:
    """A point among others has the value and the error that it has alone."""
    observables = [parse_observable("h", NON_DIAGONAL, 3), parse_observable("z", "Z0 - 2*Z1", 3)]
    estimator = Estimator(observables)
    rng = np.random.default_rng(1)
    counts = [[drawn(circuit(), basis, n, rng) for n in (10, 2000, 300)] for basis in estimator.bases]
    for name, (values, errors) in estimator.estimate(counts).items():
        for point in range(3):
            alone = estimate(estimator, name, *(column[point] for column in counts))
            assert alone == pytest.approx((values[point], errors[point]))


@pytest.mark.parametrize("n_qubits", [63, 64, 65, 130])
def test_wide_registers(n_qubits: int) -> None:
    """Bit strings that no 64-bit integer holds are counted rightly."""
    text = f"Z0 + 2*Z{n_qubits - 1} + 4*Z0 Z{n_qubits - 1}"
    estimator = Estimator([parse_observable("h", text, n_qubits)])
    none = "0" * n_qubits
    low = none[:-1] + "1"
    high = "1" + none[1:]
    for words, value in (
        ({low: 1}, -1 + 2 - 4),
        ({high: 1}, 1 - 2 - 4),
        ({none: 1}, 7),
        ({low: 1, high: 1}, -4),
        ({low: 3, none: 1}, -0.5),
    ):
        assert estimate(estimator, "h", words)[0] == pytest.approx(value)


def test_identity() -> None:
    """A number alone needs one basis and has no error, not even from one shot."""
    estimator = Estimator([parse_observable("one", "2.5", 2)])
    assert estimator.bases == ("ZZ",)
    for counts in ({"00": 1}, {"00": 5, "11": 5}):
        assert estimate(estimator, "one", counts) == (2.5, 0.0)


@pytest.mark.parametrize(("hits", "shots"), [(0, 1), (1, 1), (0, 100), (100, 100), (30, 100), (0, 1_000_000)])
def test_jeffreys(hits: int, shots: int) -> None:
    """The error of a Pauli string is twice that of a fraction, which is scipy's of Beta(hits + 1/2, misses + 1/2)."""
    counts = {bit: n for bit, n in (("1", hits), ("0", shots - hits)) if n}
    of_beta = beta(hits + 0.5, shots - hits + 0.5).std()
    assert of_fraction(hits, shots) == pytest.approx(of_beta)
    assert estimate(Estimator([parse_observable("z", "3*Z0 + 5", 1)]), "z", counts)[1] == pytest.approx(6 * of_beta)
    assert of_beta > 0


def test_agreeing_shots() -> None:
    """Shots that all agree have an error of the order of the sum of terms over the number of shots."""
    estimator = Estimator([parse_observable("h", "0.1*Z0 + 0.3*Z1 + 0.7*Z0 Z1 + 0.123", 2)])
    for shots in (1, 7, 1000, 999_983):
        assert 0.3 / (shots + 2) < estimate(estimator, "h", {"01": shots})[1] < 1.1 / (shots + 1)


def test_coverage_near_the_edge() -> None:
    """Where nearly all shots agree, the truth is within two errors at least nine times in ten."""
    rng = np.random.default_rng(8)
    hits = rng.binomial(200, 0.001, size=2000)
    off = np.abs(hits / 200 - 0.001)
    within = off < [2 * of_fraction(int(one), 200) for one in hits]
    assert within.mean() > 0.9


def test_bases() -> None:
    """Every term is measured in one of the bases, and these are few."""
    observable = parse_observable("h", NON_DIAGONAL, 3)
    bases = Estimator([observable]).bases
    for pauli, _ in observable.terms:
        assert any(all(p in ("I", b) for p, b in zip(pauli, basis, strict=True)) for basis in bases), pauli
    assert Estimator([parse_observable("d", "Z0 + Z1 Z2 + Z0 Z1 Z2 + 3", 3)]).bases == ("ZZZ",)
    assert len(Estimator([parse_observable("a", "X0", 2), parse_observable("b", "Z1", 2)]).bases) == 1


def test_bases_are_stable() -> None:
    """Every process finds the same bases, so that points of earlier runs are found again."""
    wanted = f"Estimator([parse_observable('h', {NON_DIAGONAL!r}, 3)]).bases"
    code = f"from qjobs.circuits.observables import *; print({wanted})"
    run = [sys.executable, "-c", code]
    outs = [subprocess.run(run, env={"PYTHONHASHSEED": s}, capture_output=True, check=True).stdout for s in "13"]
    assert outs[0] == outs[1] == f"{Estimator([parse_observable('h', NON_DIAGONAL, 3)]).bases}\n".encode()


def test_final_measurements() -> None:
    """Final measurements are replaced, in a copy."""
    made = circuit()
    made.measure_all()
    before = made.copy()
    measured = measured_in(made, "ZZZ")
    assert made == before
    assert measured.count_ops()["measure"] == 3
    assert measured.num_clbits == 3


def test_unwritten_bits() -> None:
    """Bits that nothing writes are no obstacle, whatever their register is called."""
    made = QuantumCircuit(QuantumRegister(2, "q"), ClassicalRegister(3, "basis"), ClassicalRegister(1, "d"))
    made.h(0)
    assert measured_in(made, "ZX").num_clbits == 2
    made.measure(0, 0)
    assert measured_in(made, "ZX").num_clbits == 2


def middle() -> QuantumCircuit:
    made = QuantumCircuit(2, 1)
    made.measure(0, 0)
    made.h(0)
    return made


def conditional() -> QuantumCircuit:
    made = QuantumCircuit(2, 1)
    made.measure(0, 0)
    with made.if_test((made.clbits[0], 1)):
        made.x(1)
    return made


@pytest.mark.parametrize("make", [middle, conditional])
def test_measurement_in_the_middle(make: object) -> None:
    """An observable of the end is refused where a measurement comes before it."""
    with pytest.raises(InvalidCircuit, match="only at its end"):
        measured_in(make(), "ZZ")
