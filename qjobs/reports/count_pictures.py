"""Pictures of counts: how often the most frequent outcomes were seen, as bars with their errors or as a map."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qjobs.circuits.standard_errors import of_fraction
from qjobs.reports.figures import Look, Parameter, Shown, panels, plain

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["draw_counts"]

_TOP_OUTCOMES: Final = 12
_MOST_BARS: Final = 6
"""Points whose counts are drawn as bars side by side; more of them make a map."""
_MOST_HISTOGRAMS: Final = 12
"""Circuits that have a panel each; more of them make a map."""
_HISTOGRAMS_IN_ROW: Final = 3
_LONG_LABEL: Final = 20
_LONG_TITLE: Final = 32
_ROOM: Final = 72
"""Letters that fit side by side at the axis of a panel as wide as the picture."""
_SHARE: Final = "fraction of shots"
_OUTCOME: Final = "outcome (bit 0 rightmost)"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tally:
    """How often each outcome of a point was seen, in all shots of its repetitions."""

    seen: Counter[str]

    def fraction(self, outcome: str) -> float:
        return self.seen[outcome] / max(1, self.seen.total())

    def stderr(self, outcome: str) -> float:
        return of_fraction(self.seen[outcome], self.seen.total())


_Tallies = Mapping[int, _Tally]
"""By point."""


def draw_counts(shown: Shown, look: Look, notes: list[str]) -> Any:
    """The most frequent outcomes.

    A panel for each circuit of a list; bars side by side for a few points of a sweep; a map of their fractions along
    the points, or the circuits, where there are many. `notes` gets a sentence on each thing that is left out.
    """
    by_point = {name: _tallies(shown.frame[shown.frame["backend"] == name]) for name in shown.backends()}
    most = max(len(points) for points in by_point.values())
    if shown.names and most * len(by_point) <= _MOST_HISTOGRAMS:
        return _histograms(shown, by_point, look, notes)
    outcomes = _top(list(by_point.values()), notes)
    figure, table = panels(look, len(by_point), 1, sharex=True, sharey=True)
    few = most <= _MOST_BARS and not shown.names
    tallies = itertools.chain.from_iterable(points.values() for points in by_point.values())
    largest = max(tally.fraction(outcome) for tally, outcome in itertools.product(tallies, outcomes))
    for axes, (backend, points) in zip(table[:, 0], by_point.items(), strict=True):
        if few:
            _side_by_side(axes, points, outcomes, _words_of(shown))
        else:
            mesh = _map(axes, points, outcomes, _places(shown), largest)
        if len(by_point) > 1:
            axes.set_title(backend, fontsize="medium", loc="left")
    if few:
        table[0, 0].set_ylim(bottom=0.0)
    else:
        table[0, 0].invert_yaxis()  # the most frequent one on top
        figure.colorbar(mesh, ax=list(table[:, 0]), label=_SHARE)
    along = _along(shown)
    if few:
        table[-1, 0].set_xlabel(_OUTCOME)
    elif along is not None:
        table[-1, 0].set_xlabel(along.title)
    else:
        table[-1, 0].set_xlabel("circuit, by its place in the list" if shown.names else "point, by its number")
    return figure


def _tallies(part: pd.DataFrame) -> dict[int, _Tally]:
    counts: dict[int, Counter[str]] = {}
    for point, text in zip(part["point"], part["counts"], strict=True):
        counts.setdefault(int(point), Counter()).update(json.loads(text))
    return {point: _Tally(seen=seen) for point, seen in counts.items()}


def _top(backends: Sequence[_Tallies], notes: list[str] | None = None) -> list[str]:
    """The outcomes with the largest fractions, summed over points and backends."""
    total: Counter[str] = Counter()
    for points in backends:
        for tally in points.values():
            shots = max(1, tally.seen.total())
            total.update({outcome: count / shots for outcome, count in tally.seen.items()})
    ordered = sorted((outcome for outcome in total if total[outcome] > 0), key=lambda each: (-total[each], each))
    if notes is not None and len(ordered) > _TOP_OUTCOMES:
        notes.append(f"the {_TOP_OUTCOMES} most frequent of {len(ordered)} outcomes that were seen are drawn")
    return ordered[:_TOP_OUTCOMES]


def _along(shown: Shown) -> Parameter | None:
    """The parameter that points stand along; None where their numbers tell them apart."""
    varied = shown.varied()
    if not varied or (len(varied) > 1 and not shown.one_by_one):
        return None
    points = shown.frame.drop_duplicates("point")
    return varied[0] if points[varied[0].name].is_unique else None


def _places(shown: Shown) -> dict[int, float]:
    """Where the points stand along the axis: at their only parameter, else at their number."""
    along = _along(shown)
    rows = shown.frame.drop_duplicates("point")
    column = along.name if along is not None else "point"
    return {int(point): float(place) for point, place in zip(rows["point"], rows[column], strict=True)}


def _words_of(shown: Shown) -> dict[int, str]:
    """A few points in words: the values of what varies."""
    words = {}
    for row in shown.frame.drop_duplicates("point").to_dict("records"):
        values = []
        for each in shown.varied():
            unit = f" {each.unit}" if each.unit else ""
            values.append(f"{plain(each.label or each.name)} = {row[each.name]:.4g}{unit}")
        words[int(row["point"])] = ", ".join(values)
    return words


def _bars(axes: Any, places: Any, tally: _Tally, outcomes: Sequence[str], width: float, label: str | None) -> None:
    heights = [tally.fraction(outcome) for outcome in outcomes]
    errors = [tally.stderr(outcome) for outcome in outcomes]
    grey = {"ecolor": "0.5", "elinewidth": 0.8}
    axes.bar(places, heights, width, yerr=errors, label=label, error_kw=grey)


def _name_outcomes(axes: Any, outcomes: Sequence[str], room: int) -> None:
    turned = sum(len(_short(outcome)) + 2 for outcome in outcomes) > room
    options: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if turned else {}
    names = [_short(outcome) for outcome in outcomes]
    axes.set_xticks(np.arange(len(outcomes)), names, family="monospace", fontsize="small", **options)


def _side_by_side(axes: Any, points: _Tallies, outcomes: Sequence[str], words: Mapping[int, str]) -> None:
    width = 0.8 / len(points)
    places = np.arange(len(outcomes))
    for number, (point, tally) in enumerate(points.items()):
        shift = (number - (len(points) - 1) / 2) * width
        _bars(axes, places + shift, tally, outcomes, width, words[point] or None)
    _name_outcomes(axes, outcomes, _ROOM)
    axes.set_ylabel(_SHARE)
    if len(points) > 1:
        axes.legend()


def _histograms(shown: Shown, by_point: Mapping[str, _Tallies], look: Look, notes: list[str]) -> Any:
    """A panel for each circuit, with the outcomes that it has itself; all have one scale of fractions."""
    each = [(backend, point) for backend, points in by_point.items() for point in points]
    columns = min(_HISTOGRAMS_IN_ROW, len(each))
    is_cut = False
    figure, table = panels(look, math.ceil(len(each) / columns), columns, sharey=True)
    for place, axes in enumerate(table.flat):
        if place >= len(each):
            axes.set_axis_off()
            continue
        backend, point = each[place]
        tally = by_point[backend][point]
        words = _cut(plain(shown.names[point]))
        outcomes = _top([{point: tally}])
        is_cut = is_cut or len(outcomes) < len(+tally.seen)
        _bars(axes, np.arange(len(outcomes)), tally, outcomes, 0.8, None)
        _name_outcomes(axes, outcomes, _ROOM // columns)
        axes.set_title(words if len(by_point) == 1 else f"{words} on {backend}", fontsize="medium")
    table[0, 0].set_ylim(bottom=0.0)
    figure.supylabel(_SHARE, fontsize="medium")
    figure.supxlabel(_OUTCOME, fontsize="medium")
    if is_cut:
        notes.append(f"of each circuit the {_TOP_OUTCOMES} most frequent outcomes are drawn, of which it has more")
    return figure


def _map(axes: Any, points: _Tallies, outcomes: Sequence[str], places: Mapping[int, float], most: float) -> Any:
    ordered = sorted(points, key=lambda point: places[point])
    table = np.array([[points[point].fraction(outcome) for point in ordered] for outcome in outcomes])
    x = [places[point] for point in ordered]
    rows = np.arange(len(outcomes))
    mesh = axes.pcolormesh(x, rows, table, shading="nearest", rasterized=True, vmin=0.0, vmax=most)
    axes.set_yticks(rows, [_short(outcome) for outcome in outcomes], family="monospace")
    axes.set_ylabel(_OUTCOME)
    return mesh


def _short(outcome: str) -> str:
    """A bit string that fits at an axis."""
    return outcome if len(outcome) <= _LONG_LABEL else f"{outcome[:8]}...{outcome[-8:]}"


def _cut(words: str) -> str:
    return words if len(words) <= _LONG_TITLE else f"{words[: _LONG_TITLE - 3]}..."
