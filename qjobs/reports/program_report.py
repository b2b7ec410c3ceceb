"""The report of a program that asked for circuits as it went: its losses, iteration by iteration, and its batches."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qjobs.reports.markdown import picture, plain

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ProgramOutcome", "draw_losses", "losses_frame", "program_lines", "program_markdown"]

_DPI = 110


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramOutcome:
    """What a program came to: the lowest loss of each iteration, and the best of all with its parameters.

    Losses are in the unit of what was minimised, parameters in radians. `solution` is text, for programs that decode
    one. What a program does not tell is empty.
    """

    losses: tuple[float, ...] = ()
    best_loss: float | None = None
    best_params: tuple[float, ...] = ()
    n_circuits: int | None = None
    solution: str = ""


def losses_frame(outcome: ProgramOutcome) -> pd.DataFrame:
    """One row per iteration: iteration (from 1), loss, and lowest, the lowest loss so far."""
    import pandas as pd

    lowest = [min(outcome.losses[: number + 1]) for number in range(len(outcome.losses))]
    return pd.DataFrame(
        {
            "iteration": pd.Series(range(1, len(lowest) + 1), dtype="int64"),
            "loss": pd.Series(outcome.losses, dtype="float64"),
            "lowest": pd.Series(lowest, dtype="float64"),
        }
    )


def draw_losses(title: str, outcome: ProgramOutcome) -> bytes | None:
    """The loss of every iteration; PNG. None where there is none."""
    if not outcome.losses:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.6), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(range(1, len(outcome.losses) + 1), outcome.losses, ".-")
    axes.set_xlabel("iteration")
    axes.set_ylabel("lowest loss")
    axes.set_title(title)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def program_lines(outcome: ProgramOutcome, n_batches: int) -> list[str]:
    """The result in sentences; the first is the main one."""
    lines = []
    if outcome.best_loss is not None:
        lines.append(f"lowest loss: {outcome.best_loss:.6f}, in {len(outcome.losses)} iterations")
    if outcome.solution:
        lines.append(f"solution: {outcome.solution}")
    if outcome.best_params:
        lines.append(f"best parameters: {json.dumps([round(value, 6) for value in outcome.best_params])}")
    circuits = "" if outcome.n_circuits is None else f", {outcome.n_circuits} circuits"
    return [*lines, f"{n_batches} batches were asked for{circuits}"]


def program_markdown(
    name: str, outcome: ProgramOutcome, n_batches: int, image: str | None, files: Sequence[str]
) -> str:
    """The report: the result, the curve at the address `image`, and where the files are."""
    first, *others = program_lines(outcome, n_batches)
    parts = [f"# {plain(name)}", "", f"**{plain(first)}**", "", *(f"- {plain(line)}" for line in others), ""]
    if image is not None:
        parts += [picture("loss of every iteration", image), ""]
    parts += [f"- {line}" for line in files]
    return "\n".join(parts) + "\n"
