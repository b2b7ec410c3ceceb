"""Pictures of results. The data choose the kind: how many parameters vary, and whether there are values or counts."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qjobs.experiments.analyses import Fit
from qjobs.reports.circuit_pictures import draw_values
from qjobs.reports.count_pictures import draw_counts
from qjobs.reports.figures import Look, Parameter, Shown, is_logarithmic, panels, plain, settings, thinned

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["Picture", "PictureFormat", "picture_of", "render"]

_MOST_PAIRED: Final = 4
"""Parameters of which every pair has a panel; more of them are drawn as parallel lines."""
_MOST_MARKS: Final = 2_000
"""So many points of a cloud can be told apart; of more, every n-th is drawn."""
_MOST_LINES: Final = 500
_MOST_PLACES: Final = 500
"""Places along an axis that have an error bar each; a picture is about 700 pixels wide."""
_MOST_PANELS: Final = 12
_MOST_LETTERS: Final = 80
"""In a row of a legend."""


class PictureFormat(StrEnum):
    """Formats that pictures are written in."""

    PNG = "png"
    SVG = "svg"
    PDF = "pdf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture as a figure of matplotlib, and sentences on what of the results it leaves out."""

    figure: Any
    left_out: tuple[str, ...]


def picture_of(shown: Shown, look: Look | None = None) -> Picture | str:
    """The picture; or, in words, why there is none.

    - counts: the most frequent outcomes; a panel for each circuit of a list, bars for a few points, a map for many;
    - one parameter, or several that go together: points with error bars; the mean of repetitions, with each of them
      faint behind it; a line where values are exact, or the fit;
    - two parameters on a grid: a heat map for each backend, all of one observable on one scale;
    - else a panel for each pair of parameters with the value as colour, or parallel lines for more than four.
    """
    look = look or Look()
    columns = list(shown.measured) or ["counts"]
    has_result = shown.frame[columns].notna().any(axis=1)
    if not has_result.any():
        what = "a result" if shown.measured else "counts"
        return f"There is no picture: none of {len(shown.frame)} rows has {what}."
    present = replace(shown, frame=shown.frame[has_result])
    import matplotlib as mpl

    notes = list(shown.left_out)
    with mpl.rc_context(settings(look)):
        figure = _drawn(present, look, notes)
        backends = present.backends()
        figure.suptitle(f"{plain(present.title)} on {backends[0]}" if len(backends) == 1 else plain(present.title))
    return Picture(figure=figure, left_out=tuple(dict.fromkeys(notes)))


def render(figure: Any, picture_format: PictureFormat = PictureFormat.PNG) -> bytes:
    """The bytes of a file; the same figure gives the same bytes."""
    import matplotlib as mpl

    made = {PictureFormat.PNG: {"Software": None}, PictureFormat.SVG: {"Date": None}}
    with mpl.rc_context({"svg.hashsalt": "qjobs", "svg.fonttype": "none", "pdf.fonttype": 42}):
        buffer = io.BytesIO()
        metadata = made.get(picture_format, {"CreationDate": None})
        figure.savefig(buffer, format=str(picture_format), metadata=metadata)
    return buffer.getvalue()


def _drawn(shown: Shown, look: Look, notes: list[str]) -> Any:
    varied = shown.varied()
    if not shown.measured:
        return draw_counts(shown, look, notes)
    if shown.names:
        return draw_values(shown, look, notes)
    if len(varied) <= 1 or shown.one_by_one:
        return _points(shown, (varied or list(shown.parameters) or [Parameter(name="point")])[0], look, notes)
    if len(varied) == 2 and _is_grid(shown.frame, varied):
        return _maps(shown, varied, look)
    if len(varied) <= _MOST_PAIRED:
        return _pairs(shown, varied, look, notes)
    return _parallel(shown, varied, look, notes)


def _is_grid(frame: pd.DataFrame, varied: Sequence[Parameter]) -> bool:
    """Whether the values of two parameters make a grid that is mostly filled."""
    names = [each.name for each in varied]
    cells = len(frame[names].drop_duplicates())
    return 2 * cells >= math.prod(frame[name].nunique() for name in names)


def _points(shown: Shown, parameter: Parameter, look: Look, notes: list[str]) -> Any:
    """A panel for each observable, a colour for each backend, error bars of one standard error."""
    figure, table = panels(look, len(shown.measured), 1, sharex=True)
    named: list[str] = []
    is_one = len(shown.backends()) == 1  # which the title names
    for axes, column in zip(table[:, 0], shown.measured, strict=True):
        for backend in shown.backends():
            part = shown.frame[(shown.frame["backend"] == backend) & shown.frame[column].notna()]
            if len(part):
                _series(axes, part, parameter.name, column, "" if is_one else backend, notes)
                label = "fit" if is_one else backend
                _line_of_fit(axes, part[parameter.name].to_numpy(), label, shown.fits.get((backend, column)))
        axes.set_ylabel(column)
        named = _name(axes, named)
        if is_logarithmic(shown.frame[parameter.name].to_numpy()):
            axes.set_xscale("log")
    table[-1, 0].set_xlabel(parameter.title)
    return figure


def _name(axes: Any, named: list[str]) -> list[str]:
    """A legend above a panel, unless the panel above it has the same; returns the names that stand there now."""
    from matplotlib.lines import Line2D

    handles, labels = axes.get_legend_handles_labels()
    ordered = sorted(zip(labels, handles, strict=True), key=lambda pair: isinstance(pair[1], Line2D))  # fits are lines
    names = [label for label, _ in ordered]
    if names and names != named:
        in_a_row = max(1, min(4, _MOST_LETTERS // max(map(len, names), default=1)))
        above = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": in_a_row, "frameon": False}
        axes.legend([handle for _, handle in ordered], names, **above)
    return names


def _series(axes: Any, part: pd.DataFrame, name: str, column: str, label: str, notes: list[str]) -> None:
    x, values, errors = _averaged(part, name, column)
    if len(x) > _MOST_PLACES:
        notes.append(f"of {len(x)} places along {name} neighbours are drawn together: their mean, from least to most")
        _band(axes, x, values, label)
        return
    is_exact = not errors.any()
    bars = axes.errorbar(
        x, values, yerr=None if is_exact else errors, fmt=".-" if is_exact else ".", label=label or None
    )
    if len(part) > len(x):
        color = bars.lines[0].get_color()
        axes.plot(part[name], part[column], ".", color=color, alpha=0.25, markersize=3, zorder=1)


def _band(axes: Any, x: NDArray[np.float64], y: NDArray[np.float64], label: str) -> None:
    """More places than a picture can show: the mean of neighbours as a line, from the least to the most as a band."""
    starts = np.linspace(0, len(x), _MOST_PLACES, endpoint=False).astype(int)
    counts = np.diff(starts, append=len(x))
    middle = np.add.reduceat(x, starts) / counts
    (line,) = axes.plot(middle, np.add.reduceat(y, starts) / counts, label=label or None)
    least = np.minimum.reduceat(y, starts)
    axes.fill_between(middle, least, np.maximum.reduceat(y, starts), color=line.get_color(), alpha=0.3, linewidth=0)


def _line_of_fit(axes: Any, x: NDArray[np.float64], label: str, fit: Fit | None) -> None:
    """The fitted formula, in the colour of the points that it goes through."""
    if fit is None or fit.problem:
        return
    color = axes.containers[-1].lines[0].get_color() if axes.containers else None
    along = (np.geomspace if is_logarithmic(x) else np.linspace)(x.min(), x.max(), 400)
    axes.plot(along, fit.curve(along), color=color, label=f"{label}: {fit.analysis.name}")


def _averaged(
    part: pd.DataFrame, name: str, column: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The mean at each value of a parameter, with its standard error."""
    x, group = np.unique(part[name].to_numpy(dtype=np.float64), return_inverse=True)
    times = np.bincount(group)
    values = np.bincount(group, weights=part[column].to_numpy(dtype=np.float64)) / times
    squares = part[f"{column}_stderr"].fillna(0.0).to_numpy(dtype=np.float64) ** 2
    return x, values, np.sqrt(np.bincount(group, weights=squares)) / times


def _maps(shown: Shown, varied: Sequence[Parameter], look: Look) -> Any:
    """A row for each observable, a column for each backend; all maps of an observable have one scale of colours."""
    x, y = varied
    backends = shown.backends()
    figure, table = panels(look, len(shown.measured), len(backends), sharex=True, sharey=True)
    for row, column in zip(table, shown.measured, strict=True):
        limits = _limits([shown.frame[column]])
        for axes, backend in zip(row, backends, strict=True):
            part = shown.frame[shown.frame["backend"] == backend]
            _mesh(axes, part.pivot_table(index=y.name, columns=x.name, values=column, aggfunc="mean"), limits)
            marked = shown.marked.get(backend)
            if marked is not None and column == shown.measured[0]:
                axes.plot(marked[x.name], marked[y.name], "r+", markersize=14, markeredgewidth=2)
            if is_logarithmic(shown.frame[x.name].to_numpy()):
                axes.set_xscale("log")
            if is_logarithmic(shown.frame[y.name].to_numpy()):
                axes.set_yscale("log")
        _scale(figure, list(row), limits, column)
        row[0].set_ylabel(y.title)
    if len(backends) > 1:
        for axes, backend in zip(table[0], backends, strict=True):
            axes.set_title(backend, fontsize="medium")
    for axes in table[-1]:
        axes.set_xlabel(x.title)
    return figure


def _limits(tables: Sequence[Any]) -> tuple[float, float]:
    """The least and the largest value; apart from each other, so that they make a scale."""
    low = min(float(np.nanmin(each.to_numpy())) for each in tables)
    high = max(float(np.nanmax(each.to_numpy())) for each in tables)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _mesh(axes: Any, values: pd.DataFrame, limits: tuple[float, float]) -> None:
    """A map of a table: its columns are places along x, its rows along y."""
    if values.size:
        x, y = values.columns.to_numpy(), values.index.to_numpy()
        low, high = limits
        axes.pcolormesh(x, y, values.to_numpy(), shading="nearest", rasterized=True, vmin=low, vmax=high)


def _scale(figure: Any, row: Sequence[Any], limits: tuple[float, float], label: str) -> Any:
    """One scale of colours for a row of panels."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = ScalarMappable(norm=Normalize(*limits))
    figure.colorbar(scale, ax=row, label=label)
    return scale


def _rows(shown: Shown, columns: int, notes: list[str]) -> list[tuple[str, str]]:
    """Observables and backends that have a row of panels each: not more than can be looked at."""
    every = list(itertools.product(shown.measured, shown.backends()))
    chosen = every[: max(1, _MOST_PANELS // columns)]
    for column, backend in every[len(chosen) :]:
        notes.append(f"{column} on {backend} is not drawn: there is room for {len(chosen)} rows of panels")
    return chosen


def _pairs(shown: Shown, varied: Sequence[Parameter], look: Look, notes: list[str]) -> Any:
    """A panel for each pair of parameters, a row for each observable and backend; colours are values.

    Where a grid has several points for each pair of values, the panel is a map of their mean.
    """
    import matplotlib as mpl

    pairs = list(itertools.combinations(varied, 2))
    rows = _rows(shown, len(pairs), notes)
    figure, table = panels(look, len(rows), len(pairs), sharex="col", sharey="col")
    for row, (column, backend) in zip(table, rows, strict=True):
        part = shown.frame[(shown.frame["backend"] == backend) & shown.frame[column].notna()]
        is_mean = all(_is_projected(part, pair) for pair in pairs)
        if is_mean:
            means = [part.pivot_table(index=y.name, columns=x.name, values=column, aggfunc="mean") for x, y in pairs]
            limits = _limits(means)
            for axes, values in zip(row, means, strict=True):
                _mesh(axes, values, limits)
        else:
            limits = _limits([shown.frame[column]])
            size = float(mpl.rcParams["lines.markersize"]) ** 2 / 3
            marks = _fewer(part, _MOST_MARKS, notes).sort_values(column)
            for axes, (x, y) in zip(row, pairs, strict=True):
                low, high = limits
                of = marks[column]
                axes.scatter(marks[x.name], marks[y.name], c=of, s=size, rasterized=True, vmin=low, vmax=high)
        _scale(figure, list(row), limits, f"mean of {column}" if is_mean else column)
        for axes, (_, y) in zip(row, pairs, strict=True):
            axes.set_ylabel(y.title)
        if len(shown.backends()) > 1:
            row[0].set_title(backend, fontsize="medium", loc="left")
    for axes, (x, _) in zip(table[-1], pairs, strict=True):
        axes.set_xlabel(x.title)
    return figure


def _is_projected(part: pd.DataFrame, pair: tuple[Parameter, Parameter]) -> bool:
    """Whether a pair of parameters is a grid with several points in each place."""
    points = part.drop_duplicates("point")
    cells = len(points[[each.name for each in pair]].drop_duplicates())
    return 2 * cells <= len(points) and _is_grid(points, pair)


def _fewer(part: pd.DataFrame, most: int, notes: list[str]) -> pd.DataFrame:
    chosen = thinned(part, most)
    if len(chosen) < len(part):
        notes.append(f"{len(chosen)} of {len(part)} rows are drawn, evenly chosen")
    return chosen


def _parallel(shown: Shown, varied: Sequence[Parameter], look: Look, notes: list[str]) -> Any:
    """A line a point across all parameters, each from its lowest to its highest value; a panel for each row."""
    from matplotlib.collections import LineCollection

    rows = _rows(shown, 2, notes)
    figure, table = panels(look, len(rows), 1, sharex=True)
    names = [each.name for each in varied]
    lowest = shown.frame[names].min().to_numpy()
    extent = shown.frame[names].max().to_numpy() - lowest
    places = np.arange(len(names))
    for axes, (column, backend) in zip(table[:, 0], rows, strict=True):
        part = shown.frame[(shown.frame["backend"] == backend) & shown.frame[column].notna()]
        drawn = _fewer(part, _MOST_LINES, notes).sort_values(column)
        heights = (drawn[names].to_numpy() - lowest) / extent
        scale = _scale(figure, [axes], _limits([shown.frame[column]]), column)
        lines = [np.column_stack([places, height]) for height in heights]
        axes.add_collection(LineCollection(lines, colors=scale.to_rgba(drawn[column].to_numpy()), linewidths=0.8))
        axes.set_xlim(0, len(names) - 1)
        axes.set_ylim(0, 1)
        axes.set_yticks([0, 1], ["lowest", "highest"])
        if len(shown.backends()) > 1:
            axes.set_title(backend, fontsize="medium", loc="left")
    ends = zip(varied, lowest, lowest + extent, strict=True)
    labels = [f"{each.title}\n{low:.3g} to\n{high:.3g}" for each, low, high in ends]
    table[-1, 0].set_xticks(places, labels, fontsize="small")
    return figure
