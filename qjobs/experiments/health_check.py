"""Health check of one device: GHZ and mirror circuits, their scores, and the trend of the scores. Pure.

A circuit's label says everything that scoring needs, so that the ledger alone holds the history:
`ghz 4 #0`, and `mirror 4 depth 8 #0: 0110` with the bit string that is right.
"""

from __future__ import annotations

import io
import math
import random
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import assert_never

from pydantic import Field, ValidationError, field_validator

from qjobs.circuits.builders import ghz
from qjobs.circuits.mirror import mirror_circuit
from qjobs.experiments.circuit_list import CircuitEntry, CircuitList
from qjobs.experiments.forms import CompileInput, Name, explain, read_mapping

__all__ = [
    "HealthCheck",
    "HealthCheckRun",
    "Score",
    "Series",
    "Verdict",
    "draw_trend",
    "health_check_circuits",
    "health_markdown",
    "load_health_check",
    "night_seed",
    "scores",
    "verdict",
    "verdict_lines",
]

_MOST_QUBITS = 100
_DPI = 110
_MARGIN = timedelta(hours=12)
"""Beside the first and the last run, so that a single one does not stand in years of nothing."""
_LABEL = re.compile(r"(?P<family>ghz|mirror) (?P<size>\d+)(?: depth (?P<depth>\d+))? #\d+(?:: (?P<expected>[01]+))?")


class HealthCheck(CompileInput):
    """A health check of one device."""

    name: Name = Field(default="nightly-benchmark", description="Name of the jobs; runs of one name make one trend.")
    backend: str = Field(default="aer", description="aer, nexus/DEVICE, or a block such as aer-backend/NAME.")
    sizes: list[int] = Field(default=[2, 4, 6], min_length=1, max_length=50, description="Numbers of qubits, 2 to 100.")
    depth: int = Field(
        default=8, ge=2, le=500, multiple_of=2, description="Layers of a mirror circuit, both halves together."
    )
    shots: int = Field(default=500, ge=1, description="Shots of every circuit.")
    repetitions: int = Field(default=3, ge=1, le=1000, description="Circuits of every kind and size.")
    seed: int | None = Field(
        default=None, ge=0, description="Seed of the circuits; the UTC date on which the run was to start if empty."
    )
    min_success: float = Field(default=0.5, ge=0, le=1, description="Success probability below which it is told.")

    @field_validator("sizes")
    @classmethod
    def _sizes_once(cls, sizes: list[int]) -> list[int]:
        if any(not 2 <= size <= _MOST_QUBITS for size in sizes):
            raise ValueError(f"a size is a number of qubits, 2 to {_MOST_QUBITS}")
        if len(set(sizes)) != len(sizes):
            raise ValueError("every size once; raise repetitions for more circuits of a size")
        return sizes


def load_health_check(path: Path) -> HealthCheck:
    """Read a health check from a YAML or JSON file.

    Raises:
        InvalidInput: The file cannot be read or is no health check.
    """
    try:
        return HealthCheck.model_validate(read_mapping(path))
    except ValidationError as error:
        raise explain(error, str(path)) from error


def night_seed(at: datetime) -> int:
    """The seed of a night: its date in UTC.

    >>> night_seed(datetime(2026, 3, 1, 2, 30, tzinfo=UTC))
    20260301
    """
    return int(f"{at.astimezone(UTC):%Y%m%d}")


def health_check_circuits(spec: HealthCheck, seed: int) -> CircuitList:
    """All circuits of a health check as one batch; another size changes none of the other circuits.

    Args:
        spec: The health check.
        seed: Seed of the mirror circuits, and of a simulator.
    """
    from qiskit import qasm2

    entries = []
    for size in spec.sizes:
        text = qasm2.dumps(ghz(size))
        entries += [CircuitEntry(openqasm=text, label=f"ghz {size} #{n}") for n in range(spec.repetitions)]
    for size in spec.sizes:
        for n in range(spec.repetitions):
            rng = random.Random(f"{seed}/mirror/{size}/{spec.depth}/{n}")  # noqa: S311
            made = mirror_circuit(size, spec.depth, rng)
            label = f"mirror {size} depth {spec.depth} #{n}: {made.expected}"
            entries.append(CircuitEntry(openqasm=qasm2.dumps(made.circuit), label=label))
    return CircuitList(
        name=spec.name,
        circuits=entries,
        shots=spec.shots,
        backend=spec.backend,
        seed=seed,
        compiler=spec.compiler,
        level=spec.level,
    )


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Series:
    """What is followed over time: circuits of one kind (`ghz` or `mirror`), size and depth (0 for `ghz`)."""

    family: str
    size: int
    depth: int = 0

    @property
    def name(self) -> str:
        """For tables and legends."""
        return f"GHZ {self.size}" if self.family == "ghz" else f"mirror {self.size}, depth {self.depth}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Success probability of a series in one run, with its standard error; both None without any result."""

    series: Series
    value: float | None
    stderr: float | None
    n_circuits: int
    n_missing: int

    def __str__(self) -> str:
        return "no result" if self.value is None else f"{self.value:.4f} ± {self.stderr:.4f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheckRun:
    """The scores of one run; `at` is when its last job ended, or while it has not, when it was made."""

    run: str
    at: datetime
    scores: tuple[Score, ...]

    def score(self, series: Series) -> Score | None:
        """The score of a series, if the run had it."""
        return next((score for score in self.scores if score.series == series), None)


class Verdict(StrEnum):
    """What a run says of the device."""

    PASSED = "passed"
    BELOW = "below"
    """A score is below the threshold."""
    INCOMPLETE = "incomplete"
    """No score is below it, and circuits have no result."""


def scores(results: Iterable[tuple[str, Mapping[str, int] | None]]) -> tuple[Score, ...]:
    """Score circuits, by series.

    The value is the share of right shots: of GHZ circuits those with all bits equal, the population part
    P(0..0) + P(1..1) of the fidelity (Leibfried et al., Nature 438, 639 (2005)); of mirror circuits those with
    the right bit string.

    Args:
        results: Label and counts (bit 0 rightmost) of every circuit, None without a result. Circuits with
            other labels are passed over.

    Returns:
        One score per series, GHZ first, smaller sizes first.
    """
    shares: dict[Series, list[tuple[int, int] | None]] = defaultdict(list)
    for label, counts in results:
        match = _LABEL.fullmatch(label)
        if match is None:
            continue
        size = int(match["size"])
        right = [match["expected"]] if match["expected"] else ["0" * size, "1" * size]
        series = Series(family=match["family"], size=size, depth=int(match["depth"] or 0))
        shots = sum(counts.values()) if counts else 0
        hits = sum(counts.get(bits, 0) for bits in right) if counts else 0
        shares[series].append((hits, shots) if shots else None)
    return tuple(_score(series, found) for series, found in sorted(shares.items()))


def _score(series: Series, shares: Sequence[tuple[int, int] | None]) -> Score:
    have = [share for share in shares if share is not None]
    value = stderr = None
    if have:
        hits, shots = (sum(column) for column in zip(*have, strict=True))
        value, stderr = hits / shots, _stderr(have)
    return Score(series=series, value=value, stderr=stderr, n_circuits=len(shares), n_missing=len(shares) - len(have))


def _stderr(shares: Sequence[tuple[int, int]]) -> float:
    """Standard error of the share of hits in all shots of some circuits.

    The larger one of the shots' own, sqrt(p (1 - p) / N) with p = (hits + 1) / (N + 2) (Laplace's rule: N hits in
    N shots are no certainty), and that of the circuits' mean, their standard deviation / sqrt(number of circuits).
    """
    hits, shots = (sum(column) for column in zip(*shares, strict=True))
    p = (hits + 1) / (shots + 2)
    of_shots = math.sqrt(p * (1 - p) / shots)
    if len(shares) == 1:
        return of_shots
    each = [hit / shot for hit, shot in shares]
    return max(of_shots, statistics.stdev(each) / math.sqrt(len(each)))


def verdict(run: HealthCheckRun, min_success: float) -> Verdict:
    """What a run says of its device."""
    if any(score.value is not None and score.value < min_success for score in run.scores):
        return Verdict.BELOW
    if not run.scores or any(score.n_missing for score in run.scores):
        return Verdict.INCOMPLETE
    return Verdict.PASSED


def verdict_lines(run: HealthCheckRun, min_success: float) -> list[str]:
    """The verdict in a sentence, then one line per score that is not as it ought to be."""
    found = verdict(run, min_success)
    match found:
        case Verdict.PASSED:
            return [f"PASSED: every success probability is at least {min_success:g}"]
        case Verdict.BELOW:
            first = f"BELOW: a success probability is below {min_success:g}"
        case Verdict.INCOMPLETE:
            first = f"INCOMPLETE: circuits have no result; no success probability is below {min_success:g}"
        case _:
            assert_never(found)
    return [first, *(f"{s.series.name}: {words}" for s in run.scores if (words := _trouble(s, min_success)))]


def _trouble(score: Score, min_success: float) -> str:
    words = []
    if score.value is not None and score.stderr is not None and score.value < min_success:
        words.append(f"{score}, {(min_success - score.value) / score.stderr:.1f} standard errors below {min_success:g}")
    if score.n_missing:
        words.append(f"{score.n_missing} of {score.n_circuits} circuits have no result")
    return "; ".join(words)


def _all_series(runs: Sequence[HealthCheckRun]) -> list[Series]:
    return sorted({score.series for run in runs for score in run.scores})


def draw_trend(runs: Sequence[HealthCheckRun], min_success: float) -> bytes | None:
    """Success probabilities over time with their standard errors, GHZ above mirror circuits, as PNG.

    Args:
        runs: Oldest first.
        min_success: The threshold, drawn as a dashed line.

    Returns:
        None where no run has a score.
    """
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    panels = {"ghz": "P(0..0) + P(1..1)", "mirror": "P(right bit string)"}
    lines = {series: _points(series, runs) for series in _all_series(runs)}
    if not any(lines.values()):
        return None
    start, end = min(run.at for run in runs), max(run.at for run in runs)
    figure = Figure(figsize=(8.0, 6.4), dpi=_DPI, layout="constrained")
    for axes, (family, what) in zip(figure.subplots(2, 1, sharex=True), panels.items(), strict=True):
        for series, points in lines.items():
            if series.family == family and points:
                times, values, errors = zip(*points, strict=True)
                axes.errorbar(times, values, yerr=errors, fmt=".-", capsize=2, label=series.name)
        axes.axhline(min_success, linestyle="--", color="tab:red", linewidth=1, label=f"threshold {min_success:g}")
        axes.set_xlim(start - _MARGIN, end + _MARGIN)
        axes.set_ylim(-0.03, 1.03)
        axes.set_ylabel(what)
        axes.legend(fontsize="small", loc="lower left")
        locator = AutoDateLocator()  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _points(series: Series, runs: Sequence[HealthCheckRun]) -> list[tuple[datetime, float, float]]:
    found = [(run.at, score) for run in runs if (score := run.score(series)) is not None]
    return [(at, score.value, score.stderr or 0.0) for at, score in found if score.value is not None]


def health_markdown(
    title: str,
    runs: Sequence[HealthCheckRun],
    current: HealthCheckRun,
    min_success: float,
    picture: str | None,
    most: int = 15,
) -> str:
    """The report: verdict, scores of this run, the trend, and a table of the last runs.

    Args:
        title: Its heading.
        runs: Runs to show, oldest first, the current one among them.
        current: The run that the verdict is of.
        min_success: The threshold.
        picture: Address of the picture (`data:` works in Prefect's UI), or None.
        most: How many runs the table has.
    """
    first, *others = verdict_lines(current, min_success)
    parts = [f"# {title}", "", f"**{first}**", "", *(f"- {line}" for line in others), "", _when(current)]
    parts += ["", "| circuits | success probability | results |", "|---|---|---|"]
    for score in current.scores:
        have = f"{score.n_circuits - score.n_missing} of {score.n_circuits}"
        parts.append(f"| {score.series.name} | {_cell(score, min_success)} | {have} |")
    if picture is not None:
        parts += ["", "## Trend", "", f"![{title}]({picture})"]
    shown, columns = list(reversed(runs))[:most], _all_series(runs)
    parts += ["", f"## The last {len(shown)} of {len(runs)} runs", ""]
    parts += [f"| time (UTC) | {' | '.join(series.name for series in columns)} |", "|---" * (len(columns) + 1) + "|"]
    for run in shown:
        cells = " | ".join(_cell(run.score(series), min_success) for series in columns)
        parts.append(f"| {run.at.astimezone(UTC):%Y-%m-%d %H:%M} | {cells} |")
    parts += ["", "± is one standard error; bold is below the threshold. GHZ: P(0..0) + P(1..1), the population"]
    parts += ["part of the fidelity. Mirror: probability of the right bit string (Nature Physics 18, 75 (2022))."]
    return "\n".join(parts) + "\n"


def _when(run: HealthCheckRun) -> str:
    return f"Run of {run.at.astimezone(UTC):%Y-%m-%d %H:%M} UTC."


def _cell(score: Score | None, min_success: float) -> str:
    if score is None:
        return "-"
    below = score.value is not None and score.value < min_success
    return f"**{score}**" if below else str(score)
