"""Two runs side by side: the points that both have, and how many standard errors lie between them."""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qjobs.errors import InvalidInput
from qjobs.results.store import SavedRun

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparison", "compare", "draw_comparison"]

_DPI = 110
_MOST_BARS = 500
_ALIKE = 2.0
"""Standard errors within which nearly all points of equal experiments lie."""
_NOT_VALUES = frozenset({"cost", "lowest", "missing"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What two runs have in common.

    `frame` has a row per point that both have, with repetitions averaged: the columns of `key`, then for each of
    `values` its value and standard error in both (`NAME_a`, `NAME_stderr_a`, `NAME_b`, `NAME_stderr_b`), the
    `NAME_difference` (b - a), and `NAME_sigmas`, the difference in standard errors: 0 where the values are equal, NaN
    where they differ and no error is known.
    Where only counts were measured, the one value is `counts`: `counts_difference` is the total variation distance of
    the two distributions (0 to 1), and `counts_sigmas` says by how many standard deviations chi-squared is above what
    two samples of one distribution give.
    """

    a: SavedRun
    b: SavedRun
    key: tuple[str, ...]
    values: tuple[str, ...]
    only_a: int
    only_b: int
    frame: pd.DataFrame

    @property
    def lines(self) -> list[str]:
        """The result in sentences."""
        only = f"{self.only_a} only in {_shown(self.a)}, {self.only_b} only in {_shown(self.b)}"
        return [f"{len(self.frame)} points are in both; {only}", *(self._line(name) for name in self.values)]

    def _line(self, name: str) -> str:
        sigmas = self.frame[f"{name}_sigmas"].to_numpy(dtype=float)
        differences = np.abs(self.frame[f"{name}_difference"].to_numpy(dtype=float))
        if np.isnan(differences).all():
            return f"{name}: no value to compare"
        words = f"{name}: largest difference {np.nanmax(differences):.4g}"
        known = sigmas[~np.isnan(sigmas)]
        if not len(known):
            return f"{words}; no standard error is known"
        row = self.frame.iloc[int(np.nanargmax(np.abs(sigmas)))]
        where = ", ".join(f"{key} = {_value(row[key])}" for key in self.key)
        rms = math.sqrt(float((known**2).mean()))
        beyond = int((np.abs(known) > _ALIKE).sum())
        most = f"most {float(row[f'{name}_sigmas']):+.1f} at {where}"
        return f"{words}; rms {rms:.2f} standard errors, {beyond} of {len(known)} beyond {_ALIKE:g}, {most}"


def compare(a: SavedRun, b: SavedRun) -> Comparison:
    """Put two runs side by side; repetitions are averaged, and points are the same where their parameters are.

    Runs on one backend each are compared whatever the backends are; else those backends that both have.

    Raises:
        InvalidInput: They have no column, no backend or no point in common.
    """
    key = [name for name in a.record["key"] if name not in {"backend", "repetition"}]
    other = [name for name in b.record["key"] if name not in {"backend", "repetition"}]
    if sorted(key) != sorted(other):
        raise InvalidInput(
            f"{_shown(a)} has points by {', '.join(key) or 'nothing'}, and {_shown(b)} by "
            f"{', '.join(other) or 'nothing'}; compare two runs with the same parameters",
            field="b",
        )
    first, second = _complete(a), _complete(b)
    if "backend" in first.columns and "backend" in second.columns:
        on, also_on = set(first["backend"]), set(second["backend"])
        if len(on) > 1 or len(also_on) > 1:
            common = on & also_on
            if not common:
                words = f"{_shown(a)} ran on {', '.join(sorted(on))}, and {_shown(b)} on {', '.join(sorted(also_on))}"
                raise InvalidInput(f"{words}; they have no backend in common", field="b")
            first = first[first["backend"].isin(common)]
            second = second[second["backend"].isin(common)]
            key = ["backend", *key]
    values = _values(first, second, key)
    if not values:
        raise InvalidInput(f"{_shown(a)} and {_shown(b)} have no measured column in common", field="b")
    one, two = _averaged(first, key, values), _averaged(second, key, values)
    both = one.merge(two.drop(columns=key), on="_point", suffixes=("_a", "_b"))
    if both.empty:
        raise InvalidInput(f"{_shown(a)} and {_shown(b)} have no point in common", field="b")
    frame = _differences(both, key, values)
    return Comparison(
        a=a,
        b=b,
        key=tuple(key),
        values=tuple(values),
        only_a=len(one) - len(both),
        only_b=len(two) - len(both),
        frame=frame,
    )


def _shown(run: SavedRun) -> str:
    return f"{run.name}/{run.run}"


def _value(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _complete(run: SavedRun) -> pd.DataFrame:
    frame = run.frame
    return frame[frame["status"] == "COMPLETED"] if "status" in frame.columns else frame


def _values(a: pd.DataFrame, b: pd.DataFrame, key: Sequence[str]) -> list[str]:
    """The measured columns of both: those with an error, else the counts, else numbers."""
    common = [name for name in a.columns if name in b.columns and name not in key]
    measured = [name for name in common if f"{name}_stderr" in common]
    if measured or "counts" in common:
        return measured or ["counts"]
    return [name for name in common if a[name].dtype == np.float64 and name not in _NOT_VALUES]


def _averaged(frame: pd.DataFrame, key: Sequence[str], values: Sequence[str]) -> pd.DataFrame:
    """A row per point: the mean over its repetitions, whose errors are independent, or the sum of their counts.

    `_point` tells points apart: numbers are equal where twelve digits are.
    """
    import pandas as pd

    frame = frame.reset_index(drop=True)
    texts = []
    for name in key:
        column = frame[name]
        is_number = column.dtype == np.float64
        texts.append([f"{value:.12g}" if is_number else str(value) for value in column])
    point = pd.Series(list(zip(*texts, strict=True)) if texts else [()] * len(frame), index=frame.index, dtype=object)
    frame = frame.assign(_point=point)
    groups = frame.groupby("_point", sort=False)
    columns: dict[str, Any] = {name: groups[name].first() for name in key}
    for name in values:
        if name == "counts":
            columns[name] = groups[name].agg(_summed)
            continue
        columns[name] = groups[name].mean()
        if f"{name}_stderr" in frame.columns:
            squares = (frame[f"{name}_stderr"] ** 2).groupby(frame["_point"], sort=False).sum(min_count=1)
            columns[f"{name}_stderr"] = np.sqrt(squares) / groups[name].count()
        else:
            columns[f"{name}_stderr"] = math.nan
    return pd.DataFrame(columns).reset_index()


def _summed(texts: Iterable[Any]) -> Counter[str]:
    total: Counter[str] = Counter()
    for text in texts:
        if isinstance(text, str):
            total.update(json.loads(text))
    return total


def _differences(both: pd.DataFrame, key: Sequence[str], values: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    columns: dict[str, Any] = {name: both[name] for name in key}
    for name in values:
        if name == "counts":
            pairs = [_distance(one, two) for one, two in zip(both["counts_a"], both["counts_b"], strict=True)]
            columns["shots_a"] = [one.total() for one in both["counts_a"]]
            columns["shots_b"] = [two.total() for two in both["counts_b"]]
            columns["counts_difference"] = [distance for distance, _ in pairs]
            columns["counts_sigmas"] = [sigmas for _, sigmas in pairs]
            continue
        for side in "ab":
            columns[f"{name}_{side}"] = both[f"{name}_{side}"]
            columns[f"{name}_stderr_{side}"] = both[f"{name}_stderr_{side}"]
        difference = (both[f"{name}_b"] - both[f"{name}_a"]).to_numpy(dtype=float)
        error = np.hypot(both[f"{name}_stderr_a"].to_numpy(dtype=float), both[f"{name}_stderr_b"].to_numpy(dtype=float))
        sigmas = np.full(len(both), math.nan)
        np.divide(difference, error, out=sigmas, where=error > 0)
        columns[f"{name}_difference"] = difference
        columns[f"{name}_sigmas"] = np.where(difference == 0, 0.0, sigmas)
    return pd.DataFrame(columns)


def _distance(a: Counter[str], b: Counter[str]) -> tuple[float, float]:
    """Total variation distance of two samples, and by how many standard deviations chi-squared is above its mean.

    Chi-squared of two samples of different size, with a term per outcome that was seen
    (https://en.wikipedia.org/wiki/Chi-squared_test#Other_distributions).
    """
    n_a, n_b = a.total(), b.total()
    if not n_a or not n_b:
        return math.nan, math.nan
    outcomes = a.keys() | b.keys()
    distance = sum(abs(a[each] / n_a - b[each] / n_b) for each in outcomes) / 2
    chi2 = 0.0
    for each in outcomes:
        if a[each] + b[each]:
            chi2 += (a[each] * math.sqrt(n_b / n_a) - b[each] * math.sqrt(n_a / n_b)) ** 2 / (a[each] + b[each])
    freedom = len(outcomes) - 1
    return distance, (chi2 - freedom) / math.sqrt(2 * freedom) if freedom else 0.0


def draw_comparison(comparison: Comparison) -> bytes:
    """The two runs over their points, and below the differences in standard errors; PNG, one column a value."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    frame = comparison.frame
    n_values = len(comparison.values)
    figure = Figure(figsize=(7.0 * min(n_values, 3), 5.6), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, n_values, sharex="col", squeeze=False, height_ratios=(2, 1))
    is_line = len(comparison.key) == 1 and frame[comparison.key[0]].dtype.kind in "if"
    x = frame[comparison.key[0]].to_numpy() if is_line else np.arange(len(frame))
    for column, name in enumerate(comparison.values):
        above, below = panels[0][column], panels[1][column]
        if name == "counts":
            above.plot(x, frame["counts_difference"], "o", markersize=4)
            above.set_ylabel("total variation distance")
        else:
            _both(above, x, frame, comparison, name)
        below.axhspan(-_ALIKE, _ALIKE, alpha=0.2, color="grey", linewidth=0)
        below.plot(x, frame[f"{name}_sigmas"], "k.", markersize=4)
        below.set_ylabel("difference (standard errors)")
        below.set_xlabel(comparison.key[0] if is_line else "point")
    figure.suptitle(f"{_shown(comparison.a)} and {_shown(comparison.b)}", fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _both(axes: Any, x: np.ndarray, frame: pd.DataFrame, comparison: Comparison, name: str) -> None:
    for side, run, mark in (("a", comparison.a, "o"), ("b", comparison.b, "x")):
        errors = frame[f"{name}_stderr_{side}"].fillna(0.0) if len(frame) <= _MOST_BARS else None
        label = f"{side}: {run.name}, {', '.join(run.record['devices'])}"
        axes.errorbar(x, frame[f"{name}_{side}"], yerr=errors, fmt=mark, markersize=4, capsize=2, label=label)
    axes.set_ylabel(name)
    axes.legend(fontsize=8)
