"""What the picture of a sweep or a circuit list shows, and its text as markdown, made from its data frame alone."""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qjobs.circuits.standard_errors import of_fraction
from qjobs.experiments.circuit_list import CircuitListPlan
from qjobs.experiments.forms import Axis
from qjobs.experiments.sweep import SweepPlan, SweepSpec, parameters_in_order
from qjobs.reports.figures import Parameter, Shown
from qjobs.reports.fits import Fits, fits_markdown
from qjobs.reports.frames import Best
from qjobs.reports.markdown import code, picture, plain, table

if TYPE_CHECKING:
    import pandas as pd

_MOST_OUTCOMES = 4
_MOST_METADATA = 4
_ESTIMATOR = "Standard errors are by Jeffreys' rule: they are not zero even where all shots agree."
SHOWN_CIRCUITS = 20
"""Circuits in the text about a circuit list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureText:
    """What a report says of its picture: its address (`data:` works in Prefect's UI), or why there is none.

    `left_out` says what of the results is not in it.
    """

    address: str | None = None
    why_none: str = ""
    left_out: Sequence[str] = ()

    def lines(self, name: str) -> list[str]:
        """Lines of markdown; none where neither an address nor a reason is given."""
        found = ["", picture(name, self.address)] if self.address is not None else []
        if self.why_none:
            found += ["", plain(self.why_none)]
        if self.left_out:
            found += ["", f"Not all is in the picture: {plain('; '.join(self.left_out))}."]
        return found


def parameters_of(plan: SweepPlan) -> list[Parameter]:
    """The parameters of a sweep in the order in which they were given, with their labels and units."""
    axes = {axis.name: axis for axis in plan.spec.axes}
    found = []
    for name in parameters_in_order(plan.spec):
        axis = axes.get(name)
        found.append(Parameter(name=name, label=axis.label if axis else "", unit=axis.unit if axis else ""))
    return found


def axis_of(plan: SweepPlan) -> Parameter:
    """The parameter along which a sweep is fitted; the first where it is not."""
    wanted = plan.analysis.axis if plan.analysis is not None else ""
    parameters = parameters_of(plan) or [Parameter(name="point")]
    return next((each for each in parameters if each.name == wanted), parameters[0])


def measured_by(plan: SweepPlan) -> list[str]:
    """Columns of measured values, the objective's first; none where counts are asked for."""
    names = [observable.name for observable in plan.observables]
    if plan.objective is None:
        return names
    return [plan.objective.name, *(name for name in names if name != plan.objective.name)]


def shown_sweep(
    plan: SweepPlan, frame: pd.DataFrame, bests: Sequence[Best] = (), fits: Fits | None = None, left_out: str = ""
) -> Shown:
    """What the picture of a sweep shows: all its observables on all its backends, with best points and fits.

    `left_out` says what the frame has less than the results.
    """
    axis = axis_of(plan)
    is_fitted = plan.analysis is not None
    return Shown(
        title=plan.spec.name,
        frame=frame,
        parameters=sorted(parameters_of(plan), key=lambda each: is_fitted and each != axis),
        measured=measured_by(plan),
        one_by_one=plan.spec.mode == "zip" or is_fitted,
        marked={best.backend: best.parameters for best in bests},
        fits=fits or {},
        left_out=[left_out] if left_out else [],
    )


def observables_of(plan: CircuitListPlan) -> list[str]:
    """The observables of a circuit list, each once; none where only counts are asked for."""
    return list(dict.fromkeys(each.name for one in plan.measured for each in one.observables))


def metadata_of(plan: CircuitListPlan) -> list[str]:
    """The columns that the metadata of a circuit list has, each once."""
    return list(dict.fromkeys(name for entry in plan.spec.circuits for name in entry.metadata))


def shown_circuits(name: str, frame: pd.DataFrame, measured: Sequence[str] = (), left_out: str = "") -> Shown:
    """What the picture of a circuit list shows: the observables of each circuit, or its outcomes where it has none.

    `point` numbers the rows of the list.
    """
    names = dict(zip(frame["point"].tolist(), frame["label"].tolist(), strict=True))
    return Shown(title=name, frame=frame, measured=measured, names=names, left_out=[left_out] if left_out else [])


def best_lines(plan: SweepPlan, best: Best) -> list[str]:
    """The best point in sentences, one a line."""
    name = plan.objective.name if plan.objective else "value"
    values = []
    for each in parameters_of(plan):
        unit = f" {each.unit}" if each.unit else ""
        values.append(f"{each.name} = {best.parameters[each.name]:.4f}{unit}")
    where = ", ".join(values)
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
    plan: SweepPlan,
    frame: pd.DataFrame,
    bests: Sequence[Best],
    picture: PictureText,
    lines: Sequence[str] = (),
    fits: Fits | None = None,
) -> str:
    """The report of a sweep. `lines` end it: where files are, what was reused."""
    spec = plan.spec
    axes = ", ".join(f"{plain(axis.name)} ({plain(_extent(spec, axis))})" for axis in spec.axes)
    parts = [f"# {plain(spec.name)}", ""]
    parts.append(
        f"{len(plan.points)} points ({spec.mode}{': ' + axes if axes else ''}), {spec.repetitions} repetition(s), "
        f"{spec.shots} shots each, on {plain(', '.join(spec.backends))}."
    )
    parts += _missing(frame, "rows")
    for best in bests:
        parts += ["", f"## Best point on {plain(best.backend)}", ""]
        parts += [f"- {plain(line)}" for line in best_lines(plan, best)]
    parts += fits_markdown(fits or {}, axis_of(plan))
    parts += picture.lines(spec.name)
    return _finished(parts, [*([] if spec.exact else [_ESTIMATOR]), *lines])


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
        return f"{low:.4g} to {high:.4g}{' ' if axis.unit else ''}{axis.unit}"
    return f"{len(axis.points())} values{', ' if axis.unit else ''}{axis.unit}"


def circuits_markdown(
    name: str,
    frame: pd.DataFrame,
    lines: Sequence[str] = (),
    most: int = SHOWN_CIRCUITS,
    head: pd.DataFrame | None = None,
    picture: PictureText | None = None,
    measured: Sequence[str] = (),
    metadata: Sequence[str] = (),
) -> str:
    """The report of a circuit list: its picture, and a table of the first `most` circuits.

    The table has their metadata, their observables (`measured`) and their most frequent outcomes. `head` has these
    circuits with all their columns, where `frame` has fewer.
    """
    shown = (frame if head is None else head).head(most)
    parts = [f"# {plain(name)}", ""]
    places = zip(shown["device"], shown["backend"], strict=True)
    where = sorted({f"{device} ({backend})" for device, backend in places if device})
    parts.append(f"{len(frame)} circuits, {int(frame['shots'].sum())} shots in all.")
    if where:
        parts += ["", f"Run on {plain(', '.join(where))}."]
    parts += _missing(frame, "circuits")
    parts += (picture or PictureText()).lines(name)
    has_counts = bool(shown["counts"].notna().any()) or not measured
    said = list(metadata)[:_MOST_METADATA]
    named = [*said, *measured]
    titles = [*(plain(each) for each in named), *(["most frequent outcomes (fraction of shots)"] if has_counts else [])]
    rows = []
    for row in shown.to_dict("records"):
        values = [*(_said(row[each]) for each in said), *(_value(row, each) for each in measured)]
        status, why = plain(row["status"]), plain(row["message"] or "")
        if has_counts:
            values.append(_outcomes(row["counts"]) or why)
        elif row["status"] != "COMPLETED" and why:
            status = f"{status}: {why}"
        cells = [plain(row["label"]), status, plain(row["shots"]), *values]
        rows.append(cells)
    parts += ["", *table(["circuit", "status", "shots", *titles], rows)]
    if len(frame) > most:
        parts += ["", f"The first {most} of {len(frame)} circuits are shown."]
    if len(metadata) > len(said):
        parts += ["", f"{len(metadata) - len(said)} more columns of metadata are in the data frame."]
    return _finished(parts, [_ESTIMATOR, *lines])


def _said(value: object) -> str:
    """A value of the metadata; nothing where a circuit has none."""
    return "" if value is None or value != value else plain(value)  # NaN is unlike itself


def _value(row: Mapping[Hashable, Any], name: str) -> str:
    """An expectation value with its standard error; nothing where a circuit has none."""
    value, error = row[name], row[f"{name}_stderr"]
    if value is None or math.isnan(value):
        return ""
    return f"{value:.4f}" if error is None or math.isnan(error) or error == 0 else f"{value:.4f} ± {error:.4f}"


def _outcomes(text: object) -> str:
    """The most frequent outcomes of counts as JSON, and how many others were seen."""
    counts = json.loads(text) if isinstance(text, str) else {}
    # JSON has them in the order of their bit strings, which decides between equal counts.
    top = heapq.nlargest(_MOST_OUTCOMES, counts, key=counts.__getitem__)
    shots = sum(counts.values())
    seen = [f"{code(bits)} {counts[bits]} ({_share(counts[bits], shots)})" for bits in top]
    others = len(counts) - len(top)
    return ", ".join([*seen, *([f"and {others} more"] if others else [])])


def _share(count: int, shots: int) -> str:
    """A fraction of the shots with its standard error."""
    return f"{count / shots:.3f} ± {of_fraction(count, shots):.3f}"
