"""The report of a health check: scores by hand-computed numbers, the verdict, text, picture and history."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from support import NOW, a_program, a_spec, at

from qjobs.circuits.standard_errors import of_fraction
from qjobs.experiments.health_check import Series
from qjobs.ledger import Ledger
from qjobs.model import Batch, ItemSpec
from qjobs.reports.health_report import (
    HealthCheckRun,
    Score,
    Verdict,
    draw_trend,
    health_check_runs,
    health_markdown,
    scores,
    verdict,
    verdict_lines,
)


def a_run(*values: float | None, days: float = 0.0, missing: int = 0) -> HealthCheckRun:
    """A run of GHZ circuits of 2, 3, ... qubits."""
    found = [
        Score(
            series=Series(family="ghz", size=n),
            value=value,
            stderr=None if value is None else 0.01,
            n_circuits=3,
            n_missing=3 if value is None else missing,
        )
        for n, value in enumerate(values, start=2)
    ]
    return HealthCheckRun(run=f"run-{days}", at=at(days * 86400), scores=tuple(found))


DIFFER = [
    ("mirror 2 depth 8 #0: 01", {"01": 90, "10": 10}),
    ("mirror 2 depth 8 #1: 10", {"10": 50, "01": 50}),
    ("mirror 2 depth 8 #2: 11", {"11": 70, "00": 30}),
]


@pytest.mark.parametrize(
    ("results", "series", "value", "stderr"),
    [
        ([("ghz 4 #0", {"0000": 50, "1111": 40, "0111": 6, "1110": 4})], "GHZ 4", 0.9, of_fraction(90, 100)),
        (DIFFER, "mirror 2, depth 8", 0.7, 0.2 / math.sqrt(3)),  # 0.9, 0.5, 0.7: standard deviation 0.2
        ([(f"ghz 2 #{n}", {"00": 40, "11": 40, "01": 20}) for n in range(4)], "GHZ 2", 0.8, of_fraction(320, 400)),
        ([("ghz 2 #0", {"00": 98})], "GHZ 2", 1.0, of_fraction(98, 98)),
        ([("ghz 2 #0", {"01": 98})], "GHZ 2", 0.0, of_fraction(0, 98)),
    ],
    ids=["one circuit", "circuits that differ", "circuits that agree", "all right", "none right"],
)
def test_scores(results: list[tuple[str, dict[str, int]]], series: str, value: float, stderr: float) -> None:
    """The error is that of the mean where circuits differ, else that of all shots, and never zero."""
    (score,) = scores(results)
    assert (score.series.name, score.n_circuits, score.n_missing) == (series, len(results), 0)
    assert score.value == pytest.approx(value)
    assert score.stderr == pytest.approx(stderr, abs=1e-7)


def test_bit_order() -> None:
    """The right bit string counts, and not its reverse."""
    (score,) = scores([("mirror 3 depth 2 #0: 001", {"001": 3, "100": 7})])
    assert score.value == 0.3


def test_missing_results() -> None:
    """Circuits without a result are counted, and have no share in the score."""
    found = scores([("ghz 2 #0", None), ("ghz 2 #1", {"00": 10}), ("ghz 3 #0", None), ("ghz 4 #0", {})])
    assert [(s.series.size, s.value, s.n_circuits, s.n_missing) for s in found] == [
        (2, 1.0, 2, 1),
        (3, None, 1, 1),
        (4, None, 1, 1),
    ]
    assert found[1].stderr is None
    assert str(found[1]) == "no result"


def test_order_of_scores() -> None:
    """Scores are in order, and other labels are passed over."""
    labels = ["mirror 2 depth 8 #0: 01", "ghz 10 #0", "ghz 2 #0", "mirror 2 depth 4 #0: 01", "bell", "ghz 2"]
    found = [score.series.name for score in scores([(label, {"00": 1}) for label in labels])]
    assert found == ["GHZ 2", "GHZ 10", "mirror 2, depth 4", "mirror 2, depth 8"]
    assert scores([]) == ()


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (a_run(0.9, 0.8), Verdict.PASSED),
        (a_run(0.9, 0.7999), Verdict.BELOW),
        (a_run(0.9, None), Verdict.INCOMPLETE),
        (a_run(0.9, missing=1), Verdict.INCOMPLETE),
        (a_run(0.7, None), Verdict.BELOW),
        (a_run(), Verdict.INCOMPLETE),
    ],
)
def test_verdicts(run: HealthCheckRun, expected: Verdict) -> None:
    """Below comes before incomplete, and incomplete before passed."""
    assert verdict(run, 0.8) is expected
    assert verdict_lines(run, 0.8)[0].startswith(expected.upper())


def test_lines_of_a_verdict() -> None:
    """A verdict says which scores are too low or incomplete, and by how much."""
    assert verdict_lines(a_run(0.75, None, 0.9), 0.8) == [
        "BELOW: a success probability is below 0.8",
        "GHZ 2: 0.7500 ± 0.0100, 5.0 standard errors below 0.8",
        "GHZ 3: 3 of 3 circuits have no result",
    ]


def test_text() -> None:
    """The report has the verdict, this run's scores and the last runs."""
    runs = [a_run(0.95, days=0), a_run(0.9, 0.6, days=1), a_run(0.7, None, days=2)]
    text = health_markdown("check dev", runs, runs[-1], 0.8, "data:image/png;base64,xyz")
    lines = text.splitlines()
    assert lines[:3] == ["# check dev", "", "**BELOW: a success probability is below 0.8**"]
    assert "![check dev](data:image/png;base64,xyz)" in lines
    assert "| GHZ 2 | **0.7000 ± 0.0100** | 3 of 3 |" in lines
    assert "| GHZ 3 | no result | 0 of 3 |" in lines
    start = lines.index("| time (UTC) | GHZ 2 | GHZ 3 |")
    assert lines[start + 1 : start + 5] == [
        "|---|---|---|",
        "| 2025-03-03 12:00 | **0.7000 ± 0.0100** | no result |",
        "| 2025-03-02 12:00 | 0.9000 ± 0.0100 | **0.6000 ± 0.0100** |",
        "| 2025-03-01 12:00 | 0.9500 ± 0.0100 | - |",
    ]
    short = health_markdown("check dev", runs, runs[-1], 0.8, None, most=1)
    assert "## The last 1 of 3 runs" in short
    assert "2025-03-02" not in short
    assert "![" not in short


@pytest.mark.parametrize("n", [1, 2, 100])
def test_picture(n: int) -> None:
    """One run or many are drawn."""
    runs = [a_run(0.9, None if day % 3 else 0.8, days=day) for day in range(n)]
    assert draw_trend(runs, 0.5).startswith(b"\x89PNG")


def test_runs_at_the_same_time() -> None:
    """Runs at the same time can be drawn."""
    assert draw_trend([a_run(0.9), a_run(0.8), a_run(0.7, days=1e-9)], 0.5)


def test_no_picture() -> None:
    """Without a score there is no picture."""
    assert draw_trend([], 0.5) is None
    assert draw_trend([a_run(None)], 0.5) is None


def _job(ledger: Ledger, key: str, label: str, *, run: str, when: float, **values: object) -> None:
    program = a_program()
    item = ItemSpec(label=label, program=program.hash, shots=10)
    spec = replace(
        a_spec(key, run=run, program=program, **{"experiment": "check", **values}),
        batch=Batch(number=0, items=(item,), programs={program.hash: program}),
    )
    ledger.create([spec], now=at(when))


def test_history(ledger: Ledger) -> None:
    """The history has the scored runs of one check on one device, the newest last."""
    _job(ledger, "b", "ghz 3 #0", run="second", when=10)
    _job(ledger, "a", "ghz 2 #0", run="first", when=0)
    _job(ledger, "c", "ghz 2 #0", run="second", when=11)
    _job(ledger, "d", "ghz 2 #0", run="other device", when=12, device="other")
    _job(ledger, "e", "ghz 2 #0", run="other backend", when=13, backend="other")
    _job(ledger, "f", "ghz 2 #0", run="other check", when=14, experiment="other")
    _job(ledger, "g", "bell", run="no check", when=15)
    runs = health_check_runs(ledger, experiment="check", backend="fake", device="device")
    assert [(run.run, run.at) for run in runs] == [("first", NOW), ("second", at(11))]
    assert [(score.series.name, score.value, score.n_missing) for score in runs[1].scores] == [
        ("GHZ 2", None, 1),
        ("GHZ 3", None, 1),
    ]
    latest = health_check_runs(ledger, experiment="check", backend="fake", device="device", most=1)
    assert [run.run for run in latest] == ["second"], "the newest one that has scores"
