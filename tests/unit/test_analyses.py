"""Fits: what is found in data whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest

from qjobs.errors import InvalidInput
from qjobs.experiments import analyses
from qjobs.experiments.analyses import ANALYSES, Analysis, fit, load_analysis

SHOTS = 400
SPREAD = np.linspace(0.0, 40.0, 61)
TRUTHS = [
    (analyses.cosine(), {"amplitude": 0.4, "frequency": 0.13, "phase": 0.7, "offset": 0.5}),
    (analyses.cosine(), {"amplitude": 0.2, "frequency": 0.61, "phase": -2.0, "offset": 0.3}),
    (analyses.cosine(), {"amplitude": 0.45, "frequency": 0.018, "phase": 0.1, "offset": 0.5}),
    (analyses.rabi(), {"amplitude": 0.48, "period": 11.0, "offset": 0.5}),
    (analyses.rabi(), {"amplitude": -0.3, "period": 3.1, "offset": 0.4}),
    (analyses.ramsey(), {"amplitude": 0.45, "frequency": 0.22, "phase": 0.3, "t2": 14.0, "offset": 0.5}),
    (analyses.ramsey(), {"amplitude": 0.45, "frequency": 0.4, "phase": 3.0, "t2": 60.0, "offset": 0.5}),
    (analyses.t1(), {"amplitude": 0.9, "t1": 9.0, "offset": 0.05}),
    (analyses.t1(), {"amplitude": -0.9, "t1": 25.0, "offset": 0.95}),
    (analyses.exponential_decay(), {"amplitude": 0.48, "p": 0.93, "offset": 0.5}),
    (analyses.exponential_decay(n_qubits=2), {"amplitude": 0.7, "p": 0.8, "offset": 0.25}),
    (analyses.parabola(), {"centre": 17.0, "extremum": 0.2, "curvature": 0.001}),
]
NAMES = [f"{one.name}-{n}" for n, (one, _) in enumerate(TRUTHS)]


def measured(analysis: Analysis, truth: Mapping[str, float], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Fractions of shots, each a probability of the formula, with their standard errors."""
    rng = np.random.default_rng(seed)
    probabilities = np.clip(analysis.model(SPREAD, **truth), 0, 1)
    fractions = rng.binomial(SHOTS, probabilities) / SHOTS
    return fractions, np.sqrt((fractions * (1 - fractions) + 1 / SHOTS) / SHOTS)


@pytest.mark.parametrize(("analysis", "truth"), TRUTHS, ids=NAMES)
def test_truth(analysis: Analysis, truth: dict[str, float]) -> None:
    """Every parameter is within four of its standard errors of the truth, in each of ten draws."""
    for seed in range(10):
        y, stderr = measured(analysis, truth, seed)
        found = fit(analysis, SPREAD, y, stderr)
        assert not found.problem
        assert 0.4 < found.reduced_chi_square < 1.9
        values = {one.name: one for one in found.parameters}
        for name, true in truth.items():
            off = values[name].value - true
            if name == "phase":
                off = math.remainder(off, 2 * math.pi)
            assert abs(off) < 4 * values[name].stderr, (seed, name, values[name], true)


@pytest.mark.parametrize(("analysis", "truth"), TRUTHS, ids=NAMES)
def test_exact(analysis: Analysis, truth: dict[str, float]) -> None:
    """Exact values, which have no errors, are described exactly; the order and gaps of the points change nothing."""
    y = analysis.model(SPREAD, **truth)
    y[7] = math.nan
    order = np.random.default_rng(3).permutation(len(SPREAD))
    found = fit(analysis, SPREAD[order], y[order], np.zeros(len(SPREAD)))
    assert np.allclose(found.curve(SPREAD), analysis.model(SPREAD, **truth), atol=1e-6)
    assert math.isnan(found.reduced_chi_square)


def test_repeated_points() -> None:
    """Points may be measured more than once; the errors shrink by the root of how often."""
    analysis, truth = TRUTHS[0]
    errors = []
    for times in (1, 16):
        y = np.tile(analysis.model(SPREAD, **truth), times)
        found = fit(analysis, np.tile(SPREAD, times), y, np.full(len(y), 0.02))
        errors.append(found.parameters[0].stderr)
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=1e-3)


def test_derived() -> None:
    """What follows from a parameter has an error that follows from its error."""
    period, pi_pulse = _two(fit(analyses.rabi(), *_exactly(3)), "period", "pi_pulse")
    assert (pi_pulse.value, pi_pulse.stderr) == pytest.approx((period.value / 2, period.stderr / 2))
    p, error = _two(fit(analyses.exponential_decay(n_qubits=2), *_exactly(10)), "p", "error_per_clifford")
    assert (error.value, error.stderr) == pytest.approx(((1 - p.value) * 3 / 4, p.stderr * 3 / 4))


def _exactly(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    analysis, truth = TRUTHS[number]
    return SPREAD, analysis.model(SPREAD, **truth), np.full(len(SPREAD), 0.01)


def _two(found: analyses.Fit, *names: str) -> list[analyses.Fitted]:
    by_name = {one.name: one for one in found.parameters}
    return [by_name[name] for name in names]


@pytest.mark.parametrize("analysis", [one for one, _ in TRUTHS], ids=NAMES)
def test_too_few(analysis: Analysis) -> None:
    """Fewer places than parameters, constant data or none are no error: the fit says why, or fits."""
    for x in ([], [1.0], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], [1.0, 2.0]):
        found = fit(analysis, np.array(x), np.ones(len(x)), np.ones(len(x)))
        assert "parameters, and results are at" in found.problem
        assert np.isnan(found.curve(SPREAD)).all()
        assert found.lines() == [f"no fit of {analysis.name}: {found.problem}"]
    flat = fit(analysis, SPREAD, np.full(len(SPREAD), 0.5), np.full(len(SPREAD), 0.01))
    assert flat.problem or np.allclose(flat.curve(SPREAD), 0.5, atol=0.02)


def test_by_name() -> None:
    """Each is registered under its name, and arguments are checked."""
    for name in ("cosine", "exponential-decay", "parabola", "rabi", "ramsey", "t1"):
        assert load_analysis(name, {}).name == name
        assert name in ANALYSES.names()
    with pytest.raises(InvalidInput, match="n_qubits must be a number from 1 on, not 0"):
        load_analysis("exponential-decay", {"n_qubits": 0})
    with pytest.raises(InvalidInput, match="there is no analysis 'rabbi'"):
        load_analysis("rabbi", {})


def test_lines() -> None:
    """A fit is told with its formula, values and errors."""
    lines = fit(analyses.t1(), *_exactly(7)).lines()
    assert lines[0] == "fit of t1: offset + amplitude exp(-x / t1)"
    assert lines[1].startswith("amplitude = 0.9 ± 0.0")
    assert lines[-1] == "reduced chi square: 0.00"
