"""Fits of a sweep: made from its data frame, and told as a frame, as a table, as sentences and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from qjobs.experiments.analyses import Fit, fit
from qjobs.experiments.sweep import SweepPlan
from qjobs.reports.figures import Parameter
from qjobs.reports.markdown import code, plain, table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Fits", "fits_frame", "fits_json", "fits_lines", "fits_markdown", "fits_of"]

Fits: TypeAlias = Mapping[tuple[str, str], Fit]
"""By (backend, observable)."""

_COLUMNS = (
    "backend",
    "observable",
    "analysis",
    "parameter",
    "value",
    "stderr",
    "unit",
    "reduced_chi_square",
    "problem",
)


def fits_of(plan: SweepPlan, frame: pd.DataFrame) -> Fits:
    """Fit what the sweep asks for: each of its observables, on each backend with rows; none without an analysis."""
    wish = plan.analysis
    if wish is None:
        return {}
    found: dict[tuple[str, str], Fit] = {}
    for backend, part in frame.groupby("backend", sort=False):
        x = part[wish.axis].to_numpy(dtype=np.float64)
        for column in wish.observables:
            y = part[column].to_numpy(dtype=np.float64)
            errors = part[f"{column}_stderr"].to_numpy(dtype=np.float64)
            found[str(backend), column] = fit(wish.analysis, x, y, errors, wish.start)
    return found


def fits_frame(fits: Fits, axis: Parameter) -> pd.DataFrame:
    """One row per fitted parameter.

    Columns: backend, observable, analysis, parameter, value, stderr, unit (empty where it is that of the observable, or
    not known), reduced_chi_square, problem. A fit that was not made has one row without a parameter, with its problem.
    """
    import pandas as pd

    rows = []
    for (backend, column), one in fits.items():
        common = {"backend": backend, "observable": column, "analysis": one.analysis.name}
        quality = {"reduced_chi_square": one.reduced_chi_square, "problem": one.problem}
        if one.problem:
            rows.append({**common, "parameter": "", "value": math.nan, "stderr": math.nan, "unit": "", **quality})
        for each in one.parameters:
            unit = one.analysis.unit_of(each.name, axis.unit)
            value = {"parameter": each.name, "value": each.value, "stderr": each.stderr, "unit": unit}
            rows.append({**common, **value, **quality})
    return pd.DataFrame(rows, columns=[*_COLUMNS])


def fits_lines(fits: Fits, axis: Parameter) -> list[str]:
    """A sentence a fit, with its parameters and their errors."""
    lines = []
    for (backend, column), one in fits.items():
        begin = f"fit of {one.analysis.name} to {column} on {backend}"
        if one.problem:
            lines.append(f"{begin}: there is none, {one.problem}")
            continue
        values = []
        for each in one.parameters:
            value, error = _rounded(each.value, each.stderr)
            unit = one.analysis.unit_of(each.name, axis.unit)
            values.append(f"{each.name} = {value} ± {error}{' ' if unit else ''}{unit}")
        lines.append(f"{begin}: {', '.join(values)}")
    return lines


def fits_markdown(fits: Fits, axis: Parameter) -> list[str]:
    """The table of all fitted parameters, with the formula above it, as lines of markdown; none without a fit."""
    if not fits:
        return []
    analysis = next(iter(fits.values())).analysis
    lines = [
        "",
        f"## Fit of {plain(analysis.name)}",
        "",
        f"{code(analysis.formula)}, where x is {plain(axis.title)}.",
        "",
    ]
    rows = []
    remarks = []
    for (backend, column), one in fits.items():
        where = [plain(backend), plain(column)]
        for each in one.parameters:
            unit = analysis.unit_of(each.name, axis.unit)
            rows.append([*where, plain(each.name), *_rounded(each.value, each.stderr), plain(unit)])
        named = f"{where[1]} on {where[0]}"
        if one.problem:
            rows.append([*where, "no fit", "", "", ""])
            remarks.append(f"- {named} has no fit: {plain(one.problem)}")
        elif math.isnan(one.reduced_chi_square):
            remarks.append(f"- {named}: the errors follow from the scatter of the points about the fit")
        else:
            remarks.append(f"- {named}: reduced chi square {one.reduced_chi_square:.2f}")
    lines += table(["backend", "observable", "parameter", "value", "standard error", "unit"], rows)
    return [*lines, "", *remarks]


def _rounded(value: float, stderr: float) -> tuple[str, str]:
    """A value and its error, to two digits of the error."""
    if not (math.isfinite(stderr) and stderr > 0):
        return f"{value:.6g}", "unknown" if math.isnan(stderr) else f"{stderr:.2g}"
    digits = 1 - math.floor(math.log10(stderr))
    if -6 < digits < 12 and abs(value) < 1e12:
        shown = max(0, digits)
        return f"{round(value, digits):.{shown}f}", f"{round(stderr, digits):.{shown}f}"
    return f"{value:.6g}", f"{stderr:.2g}"


def fits_json(fits: Fits, axis: Parameter) -> str:
    """All fits as JSON: a list with one mapping a fit; null stands for what is not known."""
    found = []
    for (backend, column), one in fits.items():
        parameters = {}
        for each in one.parameters:
            unit = one.analysis.unit_of(each.name, axis.unit)
            parameters[each.name] = {"value": _known(each.value), "stderr": _known(each.stderr), "unit": unit}
        record = {
            "backend": backend,
            "observable": column,
            "analysis": one.analysis.name,
            "formula": one.analysis.formula,
            "axis": {"name": axis.name, "label": axis.label, "unit": axis.unit},
            "parameters": parameters,
            "reduced_chi_square": _known(one.reduced_chi_square),
            "problem": one.problem,
        }
        found.append(record)
    return json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
