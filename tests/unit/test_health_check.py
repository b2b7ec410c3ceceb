"""The health check: its form and its circuits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from pydantic import ValidationError
from qiskit.quantum_info import Statevector

from qjobs.circuits.programs import read_circuit, to_qiskit
from qjobs.errors import InvalidInput
from qjobs.experiments.health_check import (
    HealthCheck,
    health_check_circuits,
    load_health_check,
    night_seed,
    read_label,
)


def test_circuits() -> None:
    """An ideal device gives the right bit strings that the labels name."""
    batch = health_check_circuits(HealthCheck(sizes=[2, 3], depth=4, shots=70, repetitions=2, level=2), 7)
    labels = [entry.label for entry in batch.circuits]
    assert labels[:4] == ["ghz 2 #0", "ghz 2 #1", "ghz 3 #0", "ghz 3 #1"]
    assert (batch.name, batch.backend, batch.shots, batch.seed, batch.level) == ("nightly-benchmark", "aer", 70, 7, 2)
    for entry in batch.circuits:
        program = read_circuit(entry.openqasm)
        exact = Statevector(to_qiskit(program).remove_final_measurements(inplace=False)).probabilities_dict(decimals=9)
        series, right = read_label(entry.label)
        assert sum(exact.get(bits, 0) for bits in right) == pytest.approx(1.0), "an ideal device is always right"
        assert series.size == program.n_qubits
        assert series.depth == (0 if series.family == "ghz" else 4)


def test_nights() -> None:
    """A night's circuits are the same again, and another night's mirror circuits differ."""
    spec = HealthCheck(sizes=[4], repetitions=2)
    assert health_check_circuits(spec, 20260301) == health_check_circuits(spec, 20260301)
    tonight = health_check_circuits(spec, 20260301).circuits
    next_night = health_check_circuits(spec, 20260302).circuits
    assert tonight[:2] == next_night[:2], "GHZ circuits are no random ones"
    assert all(a.openqasm != b.openqasm for a, b in zip(tonight[2:], next_night[2:], strict=True))
    assert tonight[2].openqasm != tonight[3].openqasm
    more = health_check_circuits(HealthCheck(sizes=[2, 4], repetitions=2), 20260301).circuits
    assert {entry.label for entry in tonight} <= {entry.label for entry in more}


def test_night_seed() -> None:
    """The seed of a night is its date in UTC."""
    assert night_seed(datetime(2026, 3, 1, 23, 59, tzinfo=UTC)) == 20260301
    assert night_seed(datetime(2026, 3, 2, 0, 30, tzinfo=timezone(timedelta(hours=1)))) == 20260301


@pytest.mark.parametrize(
    "change",
    [
        {"sizes": []},
        {"sizes": [1]},
        {"sizes": [101]},
        {"sizes": [2, 2]},
        {"depth": 3},
        {"depth": 0},
        {"shots": 0},
        {"repetitions": 0},
        {"seed": -1},
        {"min_success": 1.1},
        {"level": 4},
        {"size": 3},
    ],
    ids=str,
)
def test_bad_checks(change: dict[str, object]) -> None:
    """A bad form is refused by the name of its field."""
    with pytest.raises(ValidationError, match=next(iter(change))):
        HealthCheck.model_validate(change)


def test_files(tmp_path: Path) -> None:
    """A check is read from a file, or refused with its field."""
    file = tmp_path / "check.yaml"
    file.write_text("sizes: [3]\nmin_success: 0.9\n", encoding="utf-8")
    assert load_health_check(file) == HealthCheck(sizes=[3], min_success=0.9)
    file.write_text("sizes: [3]\ndepth: 5\n", encoding="utf-8")
    with pytest.raises(InvalidInput, match="depth"):
        load_health_check(file)
