"""Data frames and best points: complete, typed, and honest about what is missing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import at
from sweep_results import (
    FAILED,
    X,
    Y,
    Z,
    a_job,
    all_found,
    an_item,
    counted,
    frame_of,
    plan_of,
    with_goal,
    with_reference,
)

from qjobs.circuits.standard_errors import of_fraction
from qjobs.experiments.sweep import OWN_COLUMNS
from qjobs.lifecycle import JobStatus
from qjobs.model import ItemResult
from qjobs.reports.files import write_parquet
from qjobs.reports.frames import Found, best_points, circuits_frame, sweep_frame
from qjobs.reports.sweep_report import best_lines

COMMON = {
    "backend": "str",
    "device": "str",
    "shots": "int64",
    "shots_per_basis": "int64",
    "status": "str",
    "message": "str",
    "cost": "float64",
    "job_id": "str",
    "submitted_at": "datetime64[us, UTC]",
    "completed_at": "datetime64[us, UTC]",
}
COUNTS = {"counts": "str", "fractions_stderr": "str"}
FIRST = {"point_id": "str", "point": "int64", "repetition": "int64", "a": "float64", "b": "float64"}


def dtypes(frame: pd.DataFrame) -> dict[str, str]:
    return {name: str(dtype) for name, dtype in frame.dtypes.items()}


def test_counts() -> None:
    """Counts are JSON text, in rows that have their point's parameters, cost and times."""
    plan = plan_of()
    frame = sweep_frame(plan, all_found(plan, counted, cost=0.5))
    assert dtypes(frame) == {**FIRST, **COUNTS, **COMMON}
    assert [json.loads(text) for text in frame["counts"]] == [dict(counted(n).counts or {}) for n in range(6)]
    assert list(frame["point_id"]) == [point.point_id for point in plan.points]
    assert list(zip(frame["a"], frame["b"], strict=True)) == [tuple(v for _, v in p.parameters) for p in plan.points]
    errors = [json.loads(text) for text in frame["fractions_stderr"]]
    assert errors[1] == pytest.approx({"0": of_fraction(90, 100), "1": of_fraction(10, 100)}, rel=1e-2)
    assert (frame["status"] == "COMPLETED").all()
    assert frame["cost"].tolist() == [0.5] * 6
    assert frame["submitted_at"].tolist() == [at(1)] * 6
    assert frame["completed_at"].tolist() == [at(5)] * 6


def test_own_columns() -> None:
    """All columns but parameters and observables are reserved names."""
    frame = sweep_frame(plan_of(), {})
    assert set(frame.columns) - {"a", "b"} == set(OWN_COLUMNS)


def test_order_of_parameters() -> None:
    """Parameters are columns in the order in which they were given."""
    plan = plan_of(axes=[Y, X])
    names = [name for name in sweep_frame(plan, {}).columns if name in {X["name"], Y["name"]}]
    assert names == [Y["name"], X["name"]] == list(plan.parameters)


def test_sampled_values() -> None:
    """A sampled value has a standard error."""
    plan = plan_of(observables=Z)
    frame = sweep_frame(plan, all_found(plan, counted))
    assert dtypes(frame) == {**FIRST, "z": "float64", "z_stderr": "float64", "counts": "str", **COMMON}
    assert frame["z"].tolist() == pytest.approx([1 - n / 5 for n in range(6)])
    assert [json.loads(text) for text in frame["counts"]] == [dict(counted(n).counts or {}) for n in range(6)]
    assert frame["z_stderr"].tolist() == pytest.approx([2 * of_fraction(10 * n, 100) for n in range(6)])


def test_several_bases() -> None:
    """Several bases make one row, with the sum of their shots and costs."""
    plan = plan_of(observables=[{"name": "h", "terms": "2*Z0 + X0"}], axes=[{**X, "values": [0.1]}, Y])
    found = all_found(plan, lambda n: counted(n % 2), cost=0.25)
    for n, one in enumerate(found.values()):
        object.__setattr__(one.item, "times", {JobStatus.SUBMITTED: at(n), JobStatus.COMPLETED: at(10 + n)})
    frame = sweep_frame(plan, found)
    signs = {basis: 2 if basis == "Z" else 1 for basis in plan.templates}
    by_basis = json.loads(frame["counts"][1])
    assert [(basis, set(counts)) for basis, counts in by_basis.items()] == [(b, {"0", "1"}) for b in plan.templates]
    assert frame["h"].tolist() == pytest.approx([sum(signs.values()) * (1 - n / 5) for n in (0, 1)])
    ones = [2 * of_fraction(0, 100), 2 * of_fraction(10, 100)]
    assert frame["h_stderr"].tolist() == pytest.approx([math.hypot(2 * one, one) for one in ones])
    assert frame["shots"].tolist() == [200, 200]
    assert frame["cost"].tolist() == [0.5, 0.5]
    assert frame["submitted_at"].tolist() == [at(0), at(1)]
    assert frame["completed_at"].tolist() == [at(12), at(13)]


def test_exact_values() -> None:
    """An exact value has the error zero, a missing one NaN."""
    plan = plan_of(observables=Z, exact=True)
    frame = sweep_frame(plan, all_found(plan, lambda n: ItemResult(expvals={"z": n / 7}) if n else None))
    assert frame["z"].tolist()[1:] == [n / 7 for n in range(1, 6)]
    assert frame["z_stderr"].tolist()[1:] == [0.0] * 5
    assert np.isnan(frame["z"][0])
    assert np.isnan(frame["z_stderr"][0])


def test_repetitions_and_backends() -> None:
    """Repetitions and backends have rows of their own, in the order of the spec."""
    plan = plan_of(repetitions=2, backends=["aer", "aer-backend/x"], observables=Z)
    found = all_found(plan, lambda n: counted(n % 7))
    frame = sweep_frame(plan, found)
    assert len(frame) == 2 * 2 * 6
    assert frame["backend"].tolist() == ["aer"] * 12 + ["aer-backend/x"] * 12
    assert frame["repetition"].tolist() == ([0] * 6 + [1] * 6) * 2
    assert frame["point"].tolist() == list(range(6)) * 4
    assert frame["device"].unique().tolist() == ["aer-device", "aer-backend/x-device"]


def test_missing_results() -> None:
    """A point without a result keeps its row, with status and message."""
    plan = plan_of(observables=Z)
    found = all_found(plan, counted)
    labels = plan.labels()

    def put(n: int, job_message: str = "", **item: Any) -> None:
        found["aer", labels[n]] = Found(
            job=a_job(message=job_message), item=an_item(labels[n], **{**FAILED, **item}), result=None
        )

    put(0, message="out of memory")
    put(1, job_message="the device is gone", status=JobStatus.CANCELLED)
    put(2, status=JobStatus.COMPLETED)
    del found["aer", labels[3]]
    found["aer", labels[4]] = Found(job=a_job(), item=an_item(labels[4]), result=ItemResult(counts={}))
    frame = sweep_frame(plan, found)
    assert dtypes(frame) == {**FIRST, "z": "float64", "z_stderr": "float64", "counts": "str", **COMMON}
    assert frame["status"].tolist()[:4] == ["ERROR", "CANCELLED", "MISSING", "MISSING"]
    assert frame["message"].tolist()[:2] == ["out of memory", "the device is gone"]
    assert "has not been collected" in frame["message"][2]
    assert frame["message"][3] == "it was not run"
    assert frame["z"].isna().tolist() == [True] * 5 + [False]
    assert frame["shots"].tolist() == [100, 100, 100, 0, 100, 100]
    assert frame["submitted_at"].isna().tolist() == [False, False, False, True, False, False]


def test_missing_bases() -> None:
    """A row without one of its bases is not complete."""
    plan = plan_of(observables=[{"name": "h", "terms": "Z0 + X0"}])
    found = all_found(plan, lambda n: counted(1))
    del found["aer", plan.labels()[0]]
    frame = sweep_frame(plan, found)
    assert frame["status"].tolist() == ["MISSING"] + ["COMPLETED"] * 5
    assert frame["message"][0] == "not all of its measurement bases were run"
    assert frame["h"].isna().tolist() == [True] + [False] * 5


def test_circuits() -> None:
    """Every circuit has a row, with its counts where it has a result."""
    results = [counted(3), None, ItemResult(counts={"0110": 2})]
    found = [
        Found(job=a_job(), item=an_item(f"c{n}", **({} if one else FAILED)), result=one)
        for n, one in enumerate(results)
    ]
    frame = circuits_frame(found)
    assert dtypes(frame) == {"label": "str", **COMMON, **COUNTS}
    assert frame["counts"].isna().tolist() == [False, True, False]
    assert json.loads(frame["counts"][2]) == {"0110": 2}
    assert frame["status"].tolist() == ["COMPLETED", "ERROR", "COMPLETED"]
    assert dtypes(circuits_frame([])) == dtypes(frame)


def test_exact_values_of_circuits() -> None:
    """Exact values of a job are not dropped."""
    frame = circuits_frame([Found(job=a_job(), item=an_item("c"), result=ItemResult(expvals={"z": 0.1}))])
    assert json.loads(frame["expvals"][0]) == {"z": 0.1}
    assert frame["counts"].isna().all()


def test_parquet(tmp_path: Path) -> None:
    """Parquet keeps every type and every value."""
    plan = plan_of(observables=Z)
    frame = sweep_frame(plan, all_found(plan, lambda n: None if n == 2 else counted(n)))
    path = write_parquet(frame, tmp_path / "new" / "folder" / "results.parquet")
    again = pd.read_parquet(path)
    pd.testing.assert_frame_equal(again, frame)
    assert str(again["submitted_at"].dtype) == "datetime64[us, UTC]"
    assert [p.name for p in (tmp_path / "new" / "folder").iterdir()] == ["results.parquet"]


@pytest.mark.parametrize("values", [{}, {"observables": Z}, {"observables": Z, "exact": True}])
def test_empty_frames(tmp_path: Path, values: dict[str, Any]) -> None:
    """A frame without any result has the types of a full one."""
    plan = plan_of(**values)
    complete = dtypes(sweep_frame(plan, all_found(plan, lambda n: ItemResult(counts={"0": 1}, expvals={"z": 1.0}))))
    for found in ({}, all_found(plan, lambda n: None)):
        frame = sweep_frame(plan, found)
        assert dtypes(frame) == complete
        assert "object" not in complete.values()
        pd.testing.assert_frame_equal(pd.read_parquet(write_parquet(frame, tmp_path / "results.parquet")), frame)
    circuits = circuits_frame([Found(job=a_job(), item=an_item("c", **FAILED), result=None)])
    assert "object" not in dtypes(circuits).values()
    pd.testing.assert_frame_equal(pd.read_parquet(write_parquet(circuits, tmp_path / "c.parquet")), circuits)


@pytest.mark.parametrize(("goal", "index"), [("maximize", 3), ("minimize", 2)])
def test_best_point(goal: str, index: int) -> None:
    """The best point is best in the direction of the goal."""
    plan = with_goal(goal)
    (best,) = best_points(plan, frame_of(plan, [0.5, 0.1, -0.9, 0.8, math.nan, 0.8]))
    assert best.point_id == plan.points[index].point_id
    assert best.parameters == dict(plan.points[index].parameters)
    assert (best.value, best.stderr) == ([0.5, 0.1, -0.9, 0.8][index], 0.1)
    assert (best.reference, best.deviations, best.deviation) == (None, (), None)


def test_averages() -> None:
    """A point's value is the mean of the repetitions that have one."""
    plan = with_goal("maximize", repetitions=2)
    values = [0.9, 0.0, 0.0, 0.0, 0.0, 0.0, -0.9, 0.3, 0.0, 0.0, 0.0, math.nan]
    errors = [0.1, 0.3, 0.1, 0.1, 0.1, 0.1, 0.1, 0.4, 0.1, 0.1, 0.1, math.nan]
    (best,) = best_points(plan, frame_of(plan, values, errors))
    assert best.point_id == plan.points[1].point_id
    assert best.value == pytest.approx(0.15)
    assert best.stderr == pytest.approx(0.25)
    values[5] = 0.7
    (best,) = best_points(plan, frame_of(plan, values, errors))
    assert (best.point_id, best.value, best.stderr) == (plan.points[5].point_id, 0.7, 0.1)


def test_best_point_per_backend() -> None:
    """Every backend with results has a best point, in the order of the spec."""
    plan = with_goal("maximize", backends=["y", "x", "none"])
    values = [0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, *[math.nan] * 6]
    bests = best_points(plan, frame_of(plan, values))
    assert [(best.backend, best.point_id) for best in bests] == [
        ("y", plan.points[1].point_id),
        ("x", plan.points[0].point_id),
    ]
    assert best_points(plan, frame_of(plan, [math.nan] * 18)) == []
    assert best_points(plan_of(observables=Z), sweep_frame(plan_of(observables=Z), {})) == []


def test_deviations() -> None:
    """Deviations are in standard errors, and only where there is one."""
    plan = with_reference(with_goal("maximize"), best_possible=2.0, best_possible_from="a book", reference_from="x")
    errors = [0.1, 0.2, 0.0, math.nan, 0.1, 0.1]
    frame = frame_of(plan, [0.2, 0.3, 0.9, 0.2, math.nan, 0.3], errors)
    (best,) = best_points(plan, frame)
    assert best.deviations == pytest.approx((1.0, 1.0, 0.0))
    assert (best.reference, best.deviation, best.best_possible) == (0.2, None, 2.0)
    text = " / ".join(best_lines(plan, best))
    assert "z = 0.9000 ± 0.0000" in text
    assert "all 3 points: 0.82 standard errors" in text
    assert "best possible: 2 (a book); reached 45.0% of it" in text
    assert "nan" not in text


def test_single_shots() -> None:
    """A value from one shot is reported without an error."""
    plan = with_reference(with_goal("maximize"), best_possible=0.0)
    (best,) = best_points(plan, frame_of(plan, [1.0] * 6, math.nan))
    assert math.isnan(best.stderr)
    assert best.deviations == ()
    assert not any("nan" in line or "±" in line for line in best_lines(plan, best))


def test_other_direction() -> None:
    """The optimum of the other direction is not shown."""
    plan = with_reference(with_goal("minimize"), best_possible=2.0)
    (best,) = best_points(plan, frame_of(plan, [0.5] * 6))
    assert best.best_possible is None
