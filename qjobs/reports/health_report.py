"""The report of a health check: scores of its circuits, the verdict on the device, and the trend over its runs."""

from __future__ import annotations

import io
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from operator import attrgetter
from typing import TYPE_CHECKING, Any, assert_never

from qjobs.circuits.standard_errors import of_fraction
from qjobs.experiments.health_check import Series, read_label
from qjobs.ledger import Ledger
from qjobs.model import Job, JobKind
from qjobs.reports import markdown
from qjobs.reports.markdown import plain

if TYPE_CHECKING:
    import pandas as pd

MOST_RUNS = 90
"""Runs that a trend shows; the ledger has them all."""

_DPI = 110
_MARGIN = timedelta(hours=12)
"""Room before the first run and after the last, so that the time axis of a single run is not of length zero."""
_PANELS = {"ghz": "P(0..0) + P(1..1)", "mirror": "P(right bit string)"}
"""What is drawn, by kind of circuit."""


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

    def is_below(self, min_success: float) -> bool:
        """Whether there is a value, and it is below the threshold."""
        return self.value is not None and self.value < min_success


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheckRun:
    """The scores of one run; `at` is when its last job ended, or while it has not, when it was made."""

    run: str
    at: datetime
    scores: tuple[Score, ...]

    def score(self, series: Series) -> Score | None:
        """The score of a series, if the run had it."""
        for score in self.scores:
            if score.series == series:
                return score
        return None


def scores_frame(runs: Sequence[HealthCheckRun]) -> pd.DataFrame:
    """One row per run and series, in order.

    Columns: run, at, series, score (a success probability) and score_stderr, both NaN without any result, circuits and
    missing (how many of them have no result).
    """
    import pandas as pd

    rows = [(run.run, run.at, score) for run in runs for score in run.scores]
    return pd.DataFrame(
        {
            "run": pd.Series([run for run, _, _ in rows], dtype="str"),
            "at": pd.Series([at for _, at, _ in rows], dtype="datetime64[us, UTC]"),
            "series": pd.Series([score.series.name for *_, score in rows], dtype="str"),
            "score": pd.Series([score.value for *_, score in rows], dtype="float64"),
            "score_stderr": pd.Series([score.stderr for *_, score in rows], dtype="float64"),
            "circuits": pd.Series([score.n_circuits for *_, score in rows], dtype="int64"),
            "missing": pd.Series([score.n_missing for *_, score in rows], dtype="int64"),
        }
    )


class Verdict(StrEnum):
    """What a run says of the device."""

    PASSED = "passed"
    BELOW = "below"
    """A score is below the threshold."""
    INCOMPLETE = "incomplete"
    """No score is below it, and circuits have no result."""


@dataclass(frozen=True, slots=True)
class _Tally:
    """Shots of one circuit that gave a right bit string, and all its shots: none without a result."""

    hits: int
    shots: int


def scores(results: Iterable[tuple[str, Mapping[str, int] | None]]) -> tuple[Score, ...]:
    """Score circuits, by series.

    The value is the share of right shots: of GHZ circuits those with all bits equal, the population part
    P(0..0) + P(1..1) of the fidelity (Leibfried et al., Nature 438, 639 (2005)); of mirror circuits those with
    the right bit string.
    `results` has every circuit's label and counts (bit 0 rightmost; None without a result). Other labels are ignored.

    Returns:
        One score per series, GHZ first, smaller sizes first.
    """
    tallies: dict[Series, list[_Tally]] = defaultdict(list)
    for label, counts in results:
        read = read_label(label)
        if read is None:
            continue
        series, right = read
        tally = _Tally(0, 0)
        if counts:
            tally = _Tally(sum(counts.get(bits, 0) for bits in right), sum(counts.values()))
        tallies[series].append(tally)
    return tuple(_score(series, tallies[series]) for series in sorted(tallies))


def _score(series: Series, tallies: Sequence[_Tally]) -> Score:
    complete = [tally for tally in tallies if tally.shots]
    value = None
    stderr = None
    if complete:
        value = sum(tally.hits for tally in complete) / sum(tally.shots for tally in complete)
        stderr = _stderr(complete)
    n_missing = len(tallies) - len(complete)
    return Score(series=series, value=value, stderr=stderr, n_circuits=len(tallies), n_missing=n_missing)


def _stderr(tallies: Sequence[_Tally]) -> float:
    """Standard error of the share of hits in all shots of some circuits.

    The larger one of the shots' own, which is Jeffreys', and that of the circuits' mean, their standard deviation /
    sqrt(number of circuits).
    """
    shots = sum(tally.shots for tally in tallies)
    of_shots = of_fraction(sum(tally.hits for tally in tallies), shots)
    if len(tallies) == 1:
        return of_shots
    of_mean = statistics.stdev(tally.hits / tally.shots for tally in tallies) / math.sqrt(len(tallies))
    return max(of_shots, of_mean)


def health_check_runs(
    ledger: Ledger, *, experiment: str, backend: str, device: str, most: int = MOST_RUNS
) -> list[HealthCheckRun]:
    """The latest runs of a health check on one device, oldest first.

    `backend` is the name of the adapter, under which the ledger has its jobs.
    """
    jobs_of: dict[str, list[Job]] = defaultdict(list)
    for job in ledger.jobs(experiment=experiment, backend=backend, device=device, kind=JobKind.EXECUTE):
        jobs_of[job.run].append(job)
    latest: list[HealthCheckRun] = []
    for run, jobs in jobs_of.items():  # the newest first
        if len(latest) == most:
            break
        one = _run(ledger, run, jobs)
        if one.scores:
            latest.append(one)
    return sorted(latest, key=attrgetter("at"))


def _run(ledger: Ledger, run: str, jobs: Sequence[Job]) -> HealthCheckRun:
    found: list[tuple[str, Mapping[str, int] | None]] = []
    for job in jobs:
        results = ledger.results(job.job_id, epoch=job.epoch)
        for item in ledger.items(job.job_id):
            result = results.get(item.index)
            found.append((item.label, result.counts if result is not None else None))
    at = max(job.finished_at or job.created_at for job in jobs)
    return HealthCheckRun(run=run, at=at, scores=scores(found))


def verdict(run: HealthCheckRun, min_success: float) -> Verdict:
    """What a run says of its device."""
    if any(score.is_below(min_success) for score in run.scores):
        return Verdict.BELOW
    if not run.scores or any(score.n_missing for score in run.scores):
        return Verdict.INCOMPLETE
    return Verdict.PASSED


def verdict_lines(run: HealthCheckRun, min_success: float) -> list[str]:
    """The verdict in a sentence, then one line per score that is too low or incomplete."""
    found = verdict(run, min_success)
    match found:
        case Verdict.PASSED:
            lines = [f"PASSED: every success probability is at least {min_success:g}"]
        case Verdict.BELOW:
            lines = [f"BELOW: a success probability is below {min_success:g}"]
        case Verdict.INCOMPLETE:
            lines = [f"INCOMPLETE: circuits have no result; no success probability is below {min_success:g}"]
        case _:
            assert_never(found)
    for score in run.scores:
        problems = _problems(score, min_success)
        if problems:
            lines.append(f"{score.series.name}: {'; '.join(problems)}")
    return lines


def _problems(score: Score, min_success: float) -> list[str]:
    problems = []
    if score.value is not None and score.stderr is not None and score.value < min_success:
        distance = (min_success - score.value) / score.stderr
        problems.append(f"{score}, {distance:.1f} standard errors below {min_success:g}")
    if score.n_missing:
        problems.append(f"{score.n_missing} of {score.n_circuits} circuits have no result")
    return problems


def _all_series(runs: Sequence[HealthCheckRun]) -> list[Series]:
    found: set[Series] = set()
    for run in runs:
        found.update(score.series for score in run.scores)
    return sorted(found)


def draw_trend(runs: Sequence[HealthCheckRun], min_success: float) -> bytes | None:
    """Success probabilities over time with their standard errors, GHZ above mirror circuits, as PNG.

    The runs come oldest first; the threshold is a dashed line.

    Returns:
        None where no run has a score.
    """
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 6.4), dpi=_DPI, layout="constrained")
    panels = dict(zip(_PANELS, figure.subplots(2, 1, sharex=True), strict=True))
    drawn = [_draw_series(panels[series.family], series, runs) for series in _all_series(runs)]
    if not any(drawn):
        return None
    times = [run.at for run in runs]
    for family, axes in panels.items():
        axes.axhline(min_success, linestyle="--", color="tab:red", linewidth=1, label=f"threshold {min_success:g}")
        axes.set_xlim(min(times) - _MARGIN, max(times) + _MARGIN)
        axes.set_ylim(-0.03, 1.03)
        axes.set_ylabel(_PANELS[family])
        axes.legend(fontsize="small", loc="lower left")
        locator = AutoDateLocator()  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw_series(axes: Any, series: Series, runs: Sequence[HealthCheckRun]) -> bool:
    """Draw the runs that have a value of a series; whether there is one."""
    times = []
    values = []
    errors = []
    for run in runs:
        score = run.score(series)
        if score is not None and score.value is not None:
            times.append(run.at)
            values.append(score.value)
            errors.append(score.stderr or 0.0)
    if times:
        axes.errorbar(times, values, yerr=errors, fmt=".-", capsize=2, label=series.name)
    return bool(times)


def health_markdown(
    title: str,
    runs: Sequence[HealthCheckRun],
    current: HealthCheckRun,
    min_success: float,
    picture: str | None,
    most: int = 15,
) -> str:
    """The report: verdict, scores of this run, the trend, and a table of the last runs.

    `runs` come oldest first, `current` among them, which the verdict is of; the table has at most `most` of them.
    `picture` is an address (`data:` works in Prefect's UI), or None.
    """
    first, *others = verdict_lines(current, min_success)
    parts = [f"# {plain(title)}", "", f"**{plain(first)}**", ""]
    parts += [f"- {plain(line)}" for line in others]
    parts += ["", f"Run of {_minute(current)} UTC."]
    parts += ["", "| circuits | success probability | results |", "|---|---|---|"]
    for score in current.scores:
        n_results = score.n_circuits - score.n_missing
        parts.append(
            f"| {plain(score.series.name)} | {_cell(score, min_success)} | {n_results} of {score.n_circuits} |"
        )
    if picture is not None:
        parts += ["", "## Trend", "", markdown.picture(title, picture)]
    shown = list(reversed(runs))[:most]
    parts += ["", f"## The last {len(shown)} of {len(runs)} runs", ""]
    parts += _table(shown, _all_series(runs), min_success)
    parts += ["", "± is one standard error; bold is below the threshold. GHZ: P(0..0) + P(1..1), the population"]
    parts += ["part of the fidelity. Mirror: probability of the right bit string (Nature Physics 18, 75 (2022))."]
    return "\n".join(parts) + "\n"


def _table(runs: Sequence[HealthCheckRun], columns: Sequence[Series], min_success: float) -> list[str]:
    names = " | ".join(plain(series.name) for series in columns)
    rows = [f"| time (UTC) | {names} |", "|---" * (len(columns) + 1) + "|"]
    for run in runs:
        cells = " | ".join(_cell(run.score(series), min_success) for series in columns)
        rows.append(f"| {_minute(run)} | {cells} |")
    return rows


def _minute(run: HealthCheckRun) -> str:
    return f"{run.at.astimezone(UTC):%Y-%m-%d %H:%M}"


def _cell(score: Score | None, min_success: float) -> str:
    if score is None:
        return "-"
    return f"**{score}**" if score.is_below(min_success) else str(score)
