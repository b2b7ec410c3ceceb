"""The picture and the text of a sweep: PNG bytes and markdown, made from its data frame alone."""

from __future__ import annotations

import heapq
import io
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qjobs.experiments.forms import Axis
from qjobs.experiments.sweep import SweepPlan, SweepSpec
from qjobs.reports.frames import Best

if TYPE_CHECKING:
    import pandas as pd

_DPI = 110
_MOST_OUTCOMES = 4
_MOST_BARS = 500
"""Points of a line that have an error bar each; a picture is about 700 pixels wide."""
SHOWN_CIRCUITS = 20
"""Circuits in the text about a circuit list."""


def draw_sweep(plan: SweepPlan, frame: pd.DataFrame, bests: Sequence[Best] = ()) -> bytes | None:
    """A heat map of a two-parameter grid, or a line with error bars for one parameter, as PNG.

    Shows the objective, else the first observable; a map is of the first backend with results, with
    its best point marked. Returns None where there is nothing to draw: counts only, three parameters
    or more, or no result.
    """
    measured = [plan.objective.name] if plan.objective else [observable.name for observable in plan.observables]
    if not measured or frame[measured[0]].isna().all():
        return None
    names = [name for name, _ in plan.points[0].parameters]
    if len(names) == 2 and plan.spec.mode == "grid":
        wide = [axis.name for axis in plan.spec.axes if len(axis.points()) > 1]
        if len(wide) == 2:
            return _heat_map(plan, frame, measured[0], bests)
        return _line(frame, (wide or names)[0], measured[0])
    if len(names) == 1:
        return _line(frame, names[0], measured[0])
    return None


def _figure() -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.6), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _heat_map(plan: SweepPlan, frame: pd.DataFrame, column: str, bests: Sequence[Best]) -> bytes:
    x, y = plan.spec.axes
    backend = frame["backend"][frame[column].notna()].iloc[0]
    part = frame[frame["backend"] == backend]
    table = part.groupby([y.name, x.name])[column].mean().unstack()
    figure, axes = _figure()
    mesh = axes.pcolormesh(table.columns.to_numpy(), table.index.to_numpy(), table.to_numpy(), shading="nearest")
    figure.colorbar(mesh, ax=axes, label=column)
    axes.set_xlabel(f"{x.name} (rad)")
    axes.set_ylabel(f"{y.name} (rad)")
    axes.set_title(f"{plan.spec.name}: {column} on {backend}")
    for best in bests:
        if best.backend == backend:
            axes.plot(best.parameters[x.name], best.parameters[y.name], "r+", markersize=14, markeredgewidth=2)
    return _png(figure)


def _line(frame: pd.DataFrame, name: str, column: str) -> bytes:
    figure, axes = _figure()
    for backend, part in frame[frame[column].notna()].groupby("backend", sort=False):
        ordered = part.sort_values(name, kind="stable")
        if len(ordered) > _MOST_BARS:
            _band(axes, ordered[name].to_numpy(), ordered[column].to_numpy(), str(backend))
            continue
        errors = ordered[f"{column}_stderr"].fillna(0.0)
        axes.errorbar(ordered[name], ordered[column], yerr=errors, label=backend, fmt=".-")
    axes.set_xlabel(f"{name} (rad)")
    axes.set_ylabel(column)
    axes.legend()
    return _png(figure)


def _band(axes: Any, x: np.ndarray, y: np.ndarray, label: str) -> None:
    """More points than a picture can show: the mean of neighbours as a line, from the least to the most as a band."""
    starts = np.linspace(0, len(x), _MOST_BARS, endpoint=False).astype(int)
    counts = np.diff(starts, append=len(x))
    middle = np.add.reduceat(x, starts) / counts
    (line,) = axes.plot(middle, np.add.reduceat(y, starts) / counts, label=label)
    least = np.minimum.reduceat(y, starts)
    axes.fill_between(middle, least, np.maximum.reduceat(y, starts), color=line.get_color(), alpha=0.3, linewidth=0)


def best_lines(plan: SweepPlan, best: Best) -> list[str]:
    """The best point in sentences, one a line."""
    name = plan.objective.name if plan.objective else "value"
    where = ", ".join(f"{key} = {value:.4f}" for key, value in best.parameters.items())
    error = "" if math.isnan(best.stderr) else f" ± {best.stderr:.4f}"
    lines = [f"best point on {best.backend}: {where}", f"{name} = {best.value:.4f}{error}"]
    if best.reference is not None and plan.objective:
        line = f"exact value there: {best.reference:.4f} ({plan.objective.reference_from})"
        if best.deviation is not None:
            line += f"; the measured one is {best.deviation:+.1f} standard errors from it"
        lines.append(line)
    if best.deviations:
        rms = math.sqrt(sum(d * d for d in best.deviations) / len(best.deviations))
        lines.append(f"all {len(best.deviations)} points: {rms:.2f} standard errors from the exact values (rms)")
    if best.best_possible is not None and plan.objective:
        line = f"best possible: {best.best_possible:g} ({plan.objective.best_possible_from})"
        if best.best_possible:
            line += f"; reached {best.value / best.best_possible:.1%} of it"
        lines.append(line)
    return lines


def sweep_markdown(
    plan: SweepPlan, frame: pd.DataFrame, bests: Sequence[Best], picture: str | None, lines: Sequence[str] = ()
) -> str:
    """The report of a sweep.

    `picture` is an address (`data:` works in Prefect's UI), or None. `lines` end it: where files are, what was reused.
    """
    spec = plan.spec
    axes = ", ".join(f"{axis.name} ({_extent(spec, axis)})" for axis in spec.axes)
    parts = [f"# {spec.name}", ""]
    parts.append(
        f"{len(plan.points)} points ({spec.mode}{': ' + axes if axes else ''}), {spec.repetitions} repetition(s), "
        f"{spec.shots} shots each, on {', '.join(spec.backends)}."
    )
    parts += _missing(frame, "rows")
    for best in bests:
        parts += ["", f"## Best point on {best.backend}", ""]
        parts += [f"- {line}" for line in best_lines(plan, best)]
    if picture is not None:
        parts += ["", f"![{spec.name}]({picture})"]
    return _finished(parts, lines)


def _missing(frame: pd.DataFrame, what: str) -> list[str]:
    missing = int((frame["status"] != "COMPLETED").sum())
    return ["", f"**{missing} of {len(frame)} {what} have no result**; the table of jobs says why."] if missing else []


def _finished(parts: Sequence[str], lines: Sequence[str]) -> str:
    """The whole text: paragraphs, then a list of sentences."""
    listed = [f"- {line}" for line in lines]
    return "\n".join([*parts, "", *listed] if listed else parts) + "\n"


def _extent(spec: SweepSpec, axis: Axis) -> str:
    if spec.mode == "random":
        low, high = axis.ends()
        return f"{low:.4g} to {high:.4g}"
    return f"{len(axis.points())} values"


def _cell(text: object) -> str:
    """Text for one cell of a markdown table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def circuits_markdown(
    name: str,
    frame: pd.DataFrame,
    lines: Sequence[str] = (),
    most: int = SHOWN_CIRCUITS,
    head: pd.DataFrame | None = None,
) -> str:
    """The report of a circuit list: the most frequent outcomes of the first `most` circuits.

    `head` has these with all their columns, where `frame` has only status and shots.
    """
    parts = [f"# {name}", "", f"{len(frame)} circuits, {int(frame['shots'].sum())} shots in all."]
    parts += _missing(frame, "circuits")
    parts += ["", "| circuit | status | shots | most frequent outcomes |", "|---|---|---|---|"]
    for row in (frame if head is None else head).head(most).itertuples():
        counts = json.loads(row.counts) if isinstance(row.counts, str) else {}
        # JSON has them in the order of their bit strings, which decides between equal counts.
        top = heapq.nlargest(_MOST_OUTCOMES, counts, key=counts.__getitem__)
        shown = ", ".join(f"`{bits}` {counts[bits]}" for bits in top) or _cell(row.message)
        parts.append(f"| {_cell(row.label)} | {row.status!s} | {row.shots!s} | {shown} |")
    if len(frame) > most:
        parts += ["", f"The first {most} of {len(frame)} circuits are shown."]
    return _finished(parts, lines)
