"""The real client, newest and 0.48, drives our service: what it takes for granted is so.

Each check is a function of `drive/topic_*.py`, run by an interpreter that has the client and nothing of ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from client_runs import Runs, checks
from qiskit import QuantumCircuit
from qiskit_aer import AerSimulator
from scipy.stats import chi2_contingency

AER_SHOTS = 20_000
SEED = 12345
LEAST_P = 1e-4

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_check(runs: Runs, version: str, check: str) -> None:
    """What the real client takes for granted is so."""
    outcome = runs.of(version)
    assert check in outcome.errors, f"it did not run; the client's last words:\n{outcome.log}"
    assert not outcome.errors[check], outcome.errors[check]


def test_every_check_is_shown(runs: Runs, version: str) -> None:
    """Nothing ran that has no test of its own here."""
    assert set(runs.of(version).errors) == set(checks())


@pytest.mark.parametrize("label", ["Aer skewed", "Aer bell", "Aer ghz", "H1-1LE skewed"])
def test_counts_are_those_of_aer(runs: Runs, version: str, label: str) -> None:
    """Two samples of one distribution: the service's, and Aer's own with a fixed seed."""
    measured: dict[str, Any] = runs.of(version).measured[label]
    circuit = QuantumCircuit.from_qasm_str(measured["qasm"])
    expected = AerSimulator().run(circuit, shots=AER_SHOTS, seed_simulator=SEED).result().get_counts()
    words = sorted({*expected, *measured["counts"]})
    table = np.array([[counts.get(word, 0) for word in words] for counts in (expected, measured["counts"])])
    p = chi2_contingency(table).pvalue
    assert p > LEAST_P, f"p = {p:.2g}: {measured['counts']} of the service, {expected} of Aer"
