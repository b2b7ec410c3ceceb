"""Pictures and texts of sweeps and circuit lists."""

from __future__ import annotations

import math

import pytest
from sweep_results import FAILED, X, Y, Z, a_job, an_item, frame_of, plan_of, with_goal, with_reference

from qjobs.experiments.sweep import SweepPlan
from qjobs.model import ItemResult
from qjobs.reports.figures import Shown
from qjobs.reports.frames import Found, best_points, circuits_frame
from qjobs.reports.sweep_report import (
    PictureText,
    circuits_markdown,
    measured_by,
    parameters_of,
    shown_sweep,
    sweep_markdown,
)

AXES = [{**X, "label": "drive angle", "unit": "rad"}, {**Y, "unit": "us"}]


def shown(plan: SweepPlan, values: list[float]) -> Shown:
    frame = frame_of(plan, values)
    return shown_sweep(plan, frame, best_points(plan, frame))


def test_parameters() -> None:
    """Axes are in the order in which they were given, with their labels, and with units only where they are said."""
    plan = with_goal("maximize", axes=[AXES[1], AXES[0]])
    assert [each.title for each in shown(plan, [0.1] * 6).parameters] == ["b (us)", "drive angle (rad)"]
    assert [each.title for each in shown(with_goal("maximize"), [0.1] * 6).parameters] == ["a", "b"]
    points = plan_of(mode="list", axes=[], points=[{"b": 1, "a": 2}])
    assert [each.title for each in parameters_of(points)] == ["b", "a"]


def test_marks() -> None:
    """The best point of each backend is marked."""
    plan = with_goal("maximize", backends=["x", "y"])
    found = shown(plan, [math.nan] * 6 + [0, 0.2, 0.4, 0.6, 0.8, 1])
    assert found.marked == {"y": {"a": 0.3, "b": 2.0}}


def test_measured() -> None:
    """All observables are drawn, the objective first; without one the counts are."""
    both = [{"name": "y", "terms": "Z0"}, *Z]
    assert measured_by(plan_of(observables=both, objective={"name": "z"})) == ["z", "y"]
    assert measured_by(plan_of()) == []


@pytest.mark.parametrize(("mode", "together"), [("zip", True), ("grid", False)])
def test_together(mode: str, together: bool) -> None:
    """The n-th values of a zip belong together."""
    plan = with_goal("maximize", mode=mode, axes=[X, {**Y, "values": [1.0, 2.0, 3.0]}])
    assert shown(plan, [0.1] * len(plan.points)).one_by_one is together


def test_fitted_axis() -> None:
    """A fit is drawn along its axis."""
    axes = [{"name": name, "values": [0.1 * n for n in range(9)]} for name in ("a", "b")]
    plan = with_goal("maximize", mode="zip", axes=axes, analysis={"name": "t1", "axis": "b"})
    assert [each.name for each in shown(plan, [0.1] * 9).parameters] == ["b", "a"]


def test_text() -> None:
    """The report has the numbers of the sweep and of its best point."""
    plan = with_reference(with_goal("maximize"), best_possible=1.0, best_possible_from="a book", reference_from="y")
    frame = frame_of(plan, [0.1, 0.2, 0.5, math.nan, 0.0, 0.0])
    frame["status"] = ["COMPLETED"] * 3 + ["ERROR"] + ["COMPLETED"] * 2
    text = sweep_markdown(plan, frame, best_points(plan, frame), PictureText(address="data:x"), ["a note"])
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
    text = sweep_markdown(plan, frame_of(plan, [0.1] * 4), [], PictureText())
    assert "4 points (random: a (0.1 to 0.3), b (1 to 2))" in text


def test_units_in_the_text() -> None:
    """The text has the units that were said, and no other."""
    plan = with_goal("maximize", axes=AXES)
    frame = frame_of(plan, [0.1] * 6)
    text = sweep_markdown(plan, frame, best_points(plan, frame), PictureText())
    assert "grid: a (3 values, rad), b (2 values, us)" in text
    assert "a = 0.1000 rad, b = 1.0000 us" in text
    plain = sweep_markdown(with_goal("maximize"), frame, best_points(with_goal("maximize"), frame), PictureText())
    assert "rad" not in plain


def test_picture_in_the_text() -> None:
    """Where there is no picture the text says why, and where not all is in it, what is not."""
    plan = with_goal("maximize")
    why = sweep_markdown(plan, frame_of(plan, [math.nan] * 6), [], PictureText(why_none="There is no picture: why."))
    assert "There is no picture: why." in why
    some = PictureText(address="data:x", left_out=["one", "two"])
    assert "Not all is in the picture: one; two." in sweep_markdown(plan, frame_of(plan, [0.1] * 6), [], some)


def test_circuits() -> None:
    """The table of circuits has the most frequent outcomes, or the reason for none."""
    found = [
        Found(job=a_job(), item=an_item("a|b"), result=ItemResult(counts={"00": 5, "11": 7, "01": 1, "10": 1})),
        Found(job=a_job(), item=an_item("bad", message="no | such\ngate", **FAILED), result=None),
    ]
    lines = circuits_markdown("list", circuits_frame(found), ["note"]).splitlines()
    assert "2 circuits, 200 shots in all." in lines
    assert any(
        line.startswith("| a\\|b | COMPLETED | 100 | `11` 7 (0.500 ± 0.125), `00` 5 (0.357 ± 0.120), ")
        for line in lines
    )
    assert "| bad | ERROR | 100 | no \\| such gate |" in lines
    assert "**1 of 2 circuits have no result**; the table of jobs says why." in lines
    assert "Run on aer-device (aer)." in lines
    assert "The first 20 of 30 circuits are shown." in circuits_markdown("list", circuits_frame(found * 15))
