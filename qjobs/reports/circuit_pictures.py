"""Pictures of the observables of a circuit list: the value of each circuit, a panel for each observable."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from qjobs.reports.figures import Look, Shown, panels, plain

__all__ = ["draw_values"]

_MOST_NAMES: Final = 30
"""Circuits that can be named at an axis; more of them have their place in the list there."""
_MOST_PANELS: Final = 12
_LONG_NAME: Final = 24


def draw_values(shown: Shown, look: Look, notes: list[str]) -> Any:
    """The expectation values with their standard errors, circuit by circuit.

    `notes` gets a sentence on what is left out.
    """
    columns = list(shown.measured)[:_MOST_PANELS]
    if len(columns) < len(shown.measured):
        notes.append(f"the first {len(columns)} of {len(shown.measured)} observables are drawn")
    points = sorted(int(point) for point in shown.frame["point"].unique())
    without = len(shown.names) - len(points)
    if without:
        notes.append(f"{without} of {len(shown.names)} circuits have no value of an observable, and are in the table")
    are_named = len(points) <= _MOST_NAMES
    place = {point: number if are_named else point for number, point in enumerate(points)}
    figure, table = panels(look, len(columns), 1, sharex=True)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, min(height, width * (0.2 + 0.25 * len(columns))))
    for axes, column in zip(table[:, 0], columns, strict=True):
        part = shown.frame[shown.frame[column].notna()]
        x = [place[int(point)] for point in part["point"]]
        errors = part[f"{column}_stderr"].fillna(0.0)
        axes.axhline(0.0, color="0.5", linewidth=0.6, zorder=0)
        axes.errorbar(x, part[column], yerr=errors if errors.any() else None, fmt="o" if are_named else ".")
        axes.set_ylabel(plain(column))
    below = table[-1, 0]
    if are_named:
        names = [_short(plain(shown.names[point])) for point in points]
        turned = sum(map(len, names)) > 60
        options: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if turned else {}
        below.set_xticks(np.arange(len(points)), names, fontsize="small", **options)
        below.set_xlim(-0.5, len(points) - 0.5)
    else:
        below.set_xlabel("circuit, by its place in the list")
    return figure


def _short(name: str) -> str:
    return name if len(name) <= _LONG_NAME else f"{name[: _LONG_NAME - 3]}..."
