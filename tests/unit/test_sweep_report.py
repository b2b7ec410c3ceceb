"""Pictures and texts of sweeps and circuit lists."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from sweep_results import FAILED, QASM, X, Y, a_job, an_item, frame_of, plan_of, with_goal, with_reference

from qjobs.experiments.sweep import SweepPlan
from qjobs.model import ItemResult
from qjobs.reports.frames import Found, best_points, circuits_frame, sweep_frame
from qjobs.reports.sweep_report import circuits_markdown, draw_sweep, sweep_markdown


def pixels(picture: bytes | None) -> np.ndarray:
    assert picture is not None
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    image = imread(io.BytesIO(picture), format="png")
    assert 400 < image.shape[0] < 1200
    assert 600 < image.shape[1] < 1600
    assert 5_000 < len(picture) < 300_000
    assert len(np.unique(image.reshape(-1, image.shape[2]), axis=0)) > 20
    return image


def drawn(plan: SweepPlan, values: list[float], errors: list[float] | float = 0.1) -> np.ndarray:
    frame = frame_of(plan, values, errors)
    return pixels(draw_sweep(plan, frame, best_points(plan, frame)))


def test_map() -> None:
    """A grid is a map, of the first backend that has results, with its best point marked and missing points white."""
    plan = with_goal("maximize")
    whole = drawn(plan, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    drawn(with_goal("maximize", backends=["x", "y"]), [math.nan] * 6 + [0, 0.2, 0.4, 0.6, 0.8, 1])
    assert ((whole[..., 0] > 0.9) & (whole[..., 1] < 0.1) & (whole[..., 2] < 0.1)).sum() > 10, "no red cross"
    holes = drawn(plan, [0.0, math.nan, 0.4, 0.6, 0.8, 1.0])
    white = [(image[..., :3].min(axis=2) > 0.99).mean() for image in (whole, holes)]
    assert white[1] > white[0] + 0.05


def test_missing_row() -> None:
    """A whole row without results stays white."""
    plan = with_goal("maximize", axes=[X, {**Y, "values": [1.0, 2.0, 3.0]}])
    whole = drawn(plan, [0.1 * n for n in range(9)])
    one_row = drawn(plan, [math.nan if n % 3 == 1 else 0.1 * n for n in range(9)])
    white = [(image[..., :3].min(axis=2) > 0.99).mean() for image in (whole, one_row)]
    assert white[1] > white[0] + 0.15


@pytest.mark.parametrize(
    "axes", [[X, {**Y, "values": [1.0]}], [{**X, "values": [0.1]}, Y], [{**X, "values": [0.1]}, {**Y, "values": [1]}]]
)
def test_narrow_grids(axes: list[dict[str, Any]]) -> None:
    """A grid one value wide is a line."""
    plan = with_goal("maximize", axes=axes)
    drawn(plan, [0.1 * n for n in range(len(plan.points))])


@pytest.mark.parametrize("mode", ["grid", "list", "random"])
def test_lines(mode: str) -> None:
    """One parameter is a line per backend."""
    axes: dict[str, Any] = {"axes": [X], "mode": mode}
    if mode == "list":
        axes = {"axes": [], "points": [{"a": 3}, {"a": 1}, {"a": 2}], "mode": mode}
    if mode == "random":
        axes["samples"] = 3
    circuit = {"openqasm": QASM.replace("input float[64] b;\n", "").replace("rz(b) q[0];\n", "")}
    plan = with_goal("maximize", circuit=circuit, backends=["x", "y", "z"], repetitions=2, **axes)
    values = [0.1, 0.2, math.nan, 0.3, 0.1, 0.2, *[math.nan] * 6, 0.4, 0.5, 0.6, 0.1, 0.2, 0.3]
    drawn(plan, values, [0.1] * 17 + [math.nan])


def test_long_line() -> None:
    """A line of more points than a picture has pixels shows their mean, and a band from the least to the most."""
    circuit = {"openqasm": QASM.replace("input float[64] b;\n", "").replace("rz(b) q[0];\n", "")}
    axis = {"name": "a", "kind": "linspace", "start": 0.0, "stop": 1.0, "count": 5000}
    plan = with_goal("maximize", circuit=circuit, axes=[axis])
    image = drawn(plan, [math.sin(n / 500) + (0.5 if n % 2 else -0.5) for n in range(5000)])
    blue = image[..., 2] - image[..., 0]
    assert (blue > 0.1).mean() > 0.1, "no band"


def test_no_picture() -> None:
    """Counts, no results, and points that are no grid have no picture."""
    assert draw_sweep(plan_of(), sweep_frame(plan_of(), {})) is None
    plan = with_goal("maximize")
    assert draw_sweep(plan, frame_of(plan, [math.nan] * 6)) is None
    pair = with_goal("maximize", mode="list", axes=[], points=[{"a": 1, "b": 2}])
    assert draw_sweep(pair, frame_of(pair, [1.0])) is None


def test_text() -> None:
    """The report has the numbers of the sweep and of its best point."""
    plan = with_reference(with_goal("maximize"), best_possible=1.0, best_possible_from="a book", reference_from="y")
    frame = frame_of(plan, [0.1, 0.2, 0.5, math.nan, 0.0, 0.0])
    frame["status"] = ["COMPLETED"] * 3 + ["ERROR"] + ["COMPLETED"] * 2
    text = sweep_markdown(plan, frame, best_points(plan, frame), "data:x", ["a note"])
    for words in (
        "# s\n",
        "6 points (grid: a (3 values), b (2 values)), 1 repetition(s), 100 shots each, on aer.",
        "**1 of 6 rows have no result**",
        "## Best point on aer",
        "a = 0.2000, b = 1.0000",
        "z = 0.5000 ± 0.1000",
        "exact value there: 0.2000 (y); the measured one is +3.0 standard errors from it",
        "best possible: 1 (a book); reached 50.0% of it",
        "![s](data:x)",
        "- a note\n",
    ):
        assert words in text
    assert "nan" not in text


def test_random_points() -> None:
    """The report of random points says their ranges."""
    plan = with_goal("maximize", mode="random", samples=4)
    text = sweep_markdown(plan, frame_of(plan, [0.1] * 4), [], None)
    assert "4 points (random: a (0.1 to 0.3), b (1 to 2))" in text


def test_circuits() -> None:
    """The table of circuits has the most frequent outcomes, or the reason for none."""
    found = [
        Found(job=a_job(), item=an_item("a|b"), result=ItemResult(counts={"00": 5, "11": 7, "01": 1, "10": 1})),
        Found(job=a_job(), item=an_item("bad", message="no | such\ngate", **FAILED), result=None),
    ]
    lines = circuits_markdown("list", circuits_frame(found), ["note"]).splitlines()
    assert "2 circuits, 200 shots in all." in lines
    assert "| a\\|b | COMPLETED | 100 | `11` 7, `00` 5, `01` 1, `10` 1 |" in lines
    assert "| bad | ERROR | 100 | no \\| such gate |" in lines
    assert "**1 of 2 circuits have no result**; the table of jobs says why." in lines
    assert "The first 20 of 30 circuits are shown." in circuits_markdown("list", circuits_frame(found * 15))
