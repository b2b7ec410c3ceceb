"""What every picture of results is made of: the data that it shows, how it looks, its panels and its scales."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qjobs.experiments.analyses import Fit

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["Look", "Parameter", "Shown", "is_logarithmic", "panels", "plain", "settings", "thinned"]

_DPI: Final = 110
_COLUMN_WIDTH: Final = 3.4
"""Inches: one column of a journal of the American Physical Society (3 3/8), https://journals.aps.org/authors."""
_PAGE_WIDTH: Final = 7.0
_SCREEN_WIDTH: Final = 7.0
_MOST_IN_COLUMN: Final = 2
"""Panels side by side that fit into one column of a paper; more of them get the whole width of a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a picture looks: on a light or a dark page, as wide as a screen shows or as one column of a paper."""

    dark: bool = False
    for_paper: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of the data: its column, and how its axis is labelled."""

    name: str
    label: str = ""
    unit: str = ""

    @property
    def title(self) -> str:
        """The words at its axis."""
        words = plain(self.label or self.name)
        return f"{words} ({self.unit})" if self.unit else words


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a picture shows.

    Args:
        title: Above it.
        frame: One row per point, repetition and backend, with the columns `backend`, `point`, the parameters, and
            either `counts` as JSON text or the measured columns with their `NAME_stderr`.
        parameters: Those that were asked for, in order.
        measured: Columns of values; none where there are counts.
        one_by_one: The n-th values of all parameters belong together, so that the first stands for all.
        marked: By backend, a point to mark: parameters by name.
        fits: By (backend, measured column).
        names: By point, where points are circuits of their own and no places along parameters.
        left_out: What the frame has less than the results, in sentences.
    """

    title: str
    frame: pd.DataFrame
    parameters: Sequence[Parameter] = ()
    measured: Sequence[str] = ()
    one_by_one: bool = False
    marked: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    fits: Mapping[tuple[str, str], Fit] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    left_out: Sequence[str] = ()

    def backends(self) -> list[str]:
        """The backends with results, in the order of the rows."""
        return [str(name) for name in self.frame["backend"].unique()]

    def varied(self) -> list[Parameter]:
        """The parameters that have more than one value."""
        return [each for each in self.parameters if self.frame[each.name].nunique() > 1]


def settings(look: Look) -> Any:
    """Matplotlib's settings for a look."""
    import matplotlib.style

    found: dict[str, Any] = {"errorbar.capsize": 2.0, "legend.fontsize": "small"}
    if look.dark:
        found |= {str(name): value for name, value in matplotlib.style.library["dark_background"].items()}
        found |= dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "#1b1b1f")
    if look.for_paper:
        found |= {"font.size": 7.0, "axes.linewidth": 0.6, "lines.markersize": 3.0, "lines.linewidth": 0.8}
        found |= {"figure.titlesize": "medium", "errorbar.capsize": 1.0}
    return found


def panels(look: Look, rows: int, columns: int, **options: Any) -> tuple[Any, Any]:
    """A figure with a table of panels: shape (rows, columns)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width = _SCREEN_WIDTH * max(1.0, 0.55 * columns)
    if look.for_paper:
        width = _COLUMN_WIDTH if columns <= _MOST_IN_COLUMN else _PAGE_WIDTH
    height = 0.66 * width * max(1.0, 0.8 * rows) / max(1.0, 0.8 * columns)
    figure = Figure(figsize=(width, height), dpi=3 * _DPI if look.for_paper else _DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def is_logarithmic(values: NDArray[np.float64]) -> bool:
    """Whether values are spaced evenly in their logarithm, over ten times or more."""
    places = np.unique(values)
    if len(places) < 4 or places[0] <= 0 or places[-1] < 10 * places[0]:
        return False
    steps = np.diff(np.log(places))
    return bool(np.ptp(steps) < 0.05 * steps.mean())


def thinned(part: pd.DataFrame, most: int) -> pd.DataFrame:
    """Every n-th row of too many."""
    return part.iloc[:: math.ceil(len(part) / most)] if len(part) > most else part


def plain(words: str) -> str:
    """Words that matplotlib takes as they are, not as a formula."""
    return words.replace("$", r"\$")
