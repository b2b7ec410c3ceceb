"""Data frames, best points, files, pictures and tables: complete, typed, and honest about what is missing."""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from support import NOW, at

from qjobs.errors import StorageFull
from qjobs.experiments.objectives import Objective
from qjobs.experiments.sweep import OWN_COLUMNS, SweepPlan, SweepSpec, expand_sweep
from qjobs.lifecycle import JobStatus
from qjobs.model import (
    ExecuteOptions,
    Item,
    ItemResult,
    Job,
    JobId,
    JobKind,
    Key,
    ProgramHash,
)
from qjobs.reports.files import write_file, write_parquet
from qjobs.reports.frames import Found, best_points, circuits_frame, sweep_frame
from qjobs.reports.sweep_report import best_lines, circuits_markdown, draw_sweep, sweep_markdown

QASM = """OPENQASM 3.0;
include "stdgates.inc";
input float[64] a;
input float[64] b;
qubit[1] q;
bit[1] c;
rx(a) q[0];
rz(b) q[0];
c = measure q;
"""
X = {"name": "a", "values": [0.1, 0.2, 0.3]}
Y = {"name": "b", "values": [1.0, 2.0]}
Z = [{"name": "z", "terms": "Z0"}]


def plan_of(**values: Any) -> SweepPlan:
    given = {"name": "s", "circuit": {"openqasm": QASM}, "axes": [X, Y], "shots": 100}
    return expand_sweep(SweepSpec.model_validate({**given, **values}))


def a_job(backend: str = "aer", **values: Any) -> Job:
    fields: dict[str, Any] = {
        "job_id": JobId(f"job-{backend}"),
        "key": Key("key"),
        "kind": JobKind.EXECUTE,
        "backend": backend,
        "device": f"{backend}-device",
        "name": "s",
        "experiment": "s",
        "run": "run",
        "project": "",
        "owner": "",
        "status": JobStatus.COMPLETED,
        "message": "",
        "epoch": 1,
        "n_items": 1,
        "options": ExecuteOptions(),
        "properties": {},
        "cost_estimate": None,
        "cost": None,
        "cancel_requested_at": None,
        "next_poll_at": None,
        "trouble": None,
        "created_at": NOW,
        "finished_at": NOW,
    }
    return Job(**{**fields, **values})


def an_item(label: str, **values: Any) -> Item:
    fields: dict[str, Any] = {
        "job_id": JobId("job"),
        "index": 0,
        "label": label,
        "program": ProgramHash("p" * 64),
        "source": None,
        "parameters": (),
        "shots": 100,
        "status": JobStatus.COMPLETED,
        "queue_position": None,
        "message": "",
        "error_detail": None,
        "cost": None,
        "cancel_requested_at": None,
        "times": {JobStatus.SUBMITTED: at(1), JobStatus.COMPLETED: at(5)},
    }
    return Item(**{**fields, **values})


FAILED = {"status": JobStatus.ERROR, "times": {JobStatus.SUBMITTED: at(1)}}
Made = dict[tuple[str, str], Found]


def all_found(plan: SweepPlan, result: Callable[[int], ItemResult | None], **values: Any) -> Made:
    """One item per label and backend; `result` gives the n-th item's result."""
    found: Made = {}
    for backend in plan.spec.backends:
        for n, label in enumerate(plan.labels()):
            one = result(n)
            found[backend, label] = Found(
                job=a_job(backend), item=an_item(label, **(values if one else FAILED)), result=one
            )
    return found


def counted(n: int) -> ItemResult:
    """<Z> = 1 - n/5 from 100 shots."""
    return ItemResult(counts={word: k for word, k in (("0", 100 - 10 * n), ("1", 10 * n)) if k})


COMMON = {
    "backend": "str",
    "device": "str",
    "shots": "int64",
    "status": "str",
    "message": "str",
    "cost": "float64",
    "job_id": "str",
    "submitted_at": "datetime64[us, UTC]",
    "completed_at": "datetime64[us, UTC]",
}
FIRST = {"point_id": "str", "point": "int64", "repetition": "int64", "a": "float64", "b": "float64"}


def dtypes(frame: pd.DataFrame) -> dict[str, str]:
    return {name: str(dtype) for name, dtype in frame.dtypes.items()}


# Frames


def test_counts_are_json_text() -> None:
    plan = plan_of()
    frame = sweep_frame(plan, all_found(plan, counted, cost=0.5))
    assert dtypes(frame) == {**FIRST, "counts": "str", **COMMON}
    assert [json.loads(text) for text in frame["counts"]] == [dict(counted(n).counts or {}) for n in range(6)]
    assert list(frame["point_id"]) == [point.point_id for point in plan.points]
    assert list(zip(frame["a"], frame["b"], strict=True)) == [tuple(v for _, v in p.parameters) for p in plan.points]
    assert (frame["status"] == "COMPLETED").all()
    assert frame["cost"].tolist() == [0.5] * 6
    assert frame["submitted_at"].tolist() == [at(1)] * 6
    assert frame["completed_at"].tolist() == [at(5)] * 6


def test_own_columns_are_reserved() -> None:
    frame = sweep_frame(plan_of(), {})
    assert set(frame.columns) - {"a", "b"} == set(OWN_COLUMNS)


def test_sampled_values_have_a_standard_error() -> None:
    plan = plan_of(observables=Z)
    frame = sweep_frame(plan, all_found(plan, counted))
    assert dtypes(frame) == {**FIRST, "z": "float64", "z_stderr": "float64", **COMMON}
    assert frame["z"].tolist() == pytest.approx([1 - n / 5 for n in range(6)])
    assert frame["z_stderr"].tolist() == pytest.approx([math.sqrt((1 - (1 - n / 5) ** 2) / 99) for n in range(6)])


def test_several_bases_make_one_row() -> None:
    plan = plan_of(observables=[{"name": "h", "terms": "2*Z0 + X0"}], axes=[{**X, "values": [0.1]}, Y])
    found = all_found(plan, lambda n: counted(n % 2), cost=0.25)
    for n, one in enumerate(found.values()):
        object.__setattr__(one.item, "times", {JobStatus.SUBMITTED: at(n), JobStatus.COMPLETED: at(10 + n)})
    frame = sweep_frame(plan, found)
    signs = {basis: 2 if basis == "Z" else 1 for basis in plan.templates}
    assert frame["h"].tolist() == pytest.approx([sum(signs.values()) * (1 - n / 5) for n in (0, 1)])
    one = 4 * 0.1 * 0.9 / 99
    assert frame["h_stderr"].tolist() == pytest.approx([0, math.sqrt(4 * one + one)])
    assert frame["shots"].tolist() == [200, 200]
    assert frame["cost"].tolist() == [0.5, 0.5]
    assert frame["submitted_at"].tolist() == [at(0), at(1)]
    assert frame["completed_at"].tolist() == [at(12), at(13)]


def test_exact_values_have_no_error() -> None:
    plan = plan_of(observables=Z, exact=True)
    frame = sweep_frame(plan, all_found(plan, lambda n: ItemResult(expvals={"z": n / 7}) if n else None))
    assert frame["z"].tolist()[1:] == [n / 7 for n in range(1, 6)]
    assert frame["z_stderr"].tolist()[1:] == [0.0] * 5
    assert np.isnan(frame["z"][0])
    assert np.isnan(frame["z_stderr"][0])


def test_repetitions_and_backends_have_rows_of_their_own_in_order() -> None:
    plan = plan_of(repetitions=2, backends=["aer", "aer-backend/x"], observables=Z)
    found = all_found(plan, lambda n: counted(n % 7))
    frame = sweep_frame(plan, found)
    assert len(frame) == 2 * 2 * 6
    assert frame["backend"].tolist() == ["aer"] * 12 + ["aer-backend/x"] * 12
    assert frame["repetition"].tolist() == ([0] * 6 + [1] * 6) * 2
    assert frame["point"].tolist() == list(range(6)) * 4
    assert frame["device"].unique().tolist() == ["aer-device", "aer-backend/x-device"]


def test_what_is_missing_keeps_its_row_with_status_and_message() -> None:
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
    assert dtypes(frame) == {**FIRST, "z": "float64", "z_stderr": "float64", **COMMON}
    assert frame["status"].tolist()[:4] == ["ERROR", "CANCELLED", "MISSING", "MISSING"]
    assert frame["message"].tolist()[:2] == ["out of memory", "the device is gone"]
    assert "has not been fetched" in frame["message"][2]
    assert frame["message"][3] == "it was not run"
    assert frame["z"].isna().tolist() == [True] * 5 + [False]
    assert frame["shots"].tolist() == [100, 100, 100, 0, 100, 100]
    assert frame["submitted_at"].isna().tolist() == [False, False, False, True, False, False]


def test_a_row_without_one_of_its_bases_is_not_complete() -> None:
    plan = plan_of(observables=[{"name": "h", "terms": "Z0 + X0"}])
    found = all_found(plan, lambda n: counted(1))
    del found["aer", plan.labels()[0]]
    frame = sweep_frame(plan, found)
    assert frame["status"].tolist() == ["MISSING"] + ["COMPLETED"] * 5
    assert frame["message"][0] == "not all of its measurement bases were run"
    assert frame["h"].isna().tolist() == [True] + [False] * 5


def test_circuits_have_a_row_each() -> None:
    results = [counted(3), None, ItemResult(counts={"0110": 2})]
    found = [
        Found(job=a_job(), item=an_item(f"c{n}", **({} if one else FAILED)), result=one)
        for n, one in enumerate(results)
    ]
    frame = circuits_frame(found)
    assert dtypes(frame) == {"label": "str", **COMMON, "counts": "str"}
    assert frame["counts"].isna().tolist() == [False, True, False]
    assert json.loads(frame["counts"][2]) == {"0110": 2}
    assert frame["status"].tolist() == ["COMPLETED", "ERROR", "COMPLETED"]
    assert dtypes(circuits_frame([])) == dtypes(frame)


def test_exact_values_of_a_job_are_not_dropped() -> None:
    frame = circuits_frame([Found(job=a_job(), item=an_item("c"), result=ItemResult(expvals={"z": 0.1}))])
    assert json.loads(frame["expvals"][0]) == {"z": 0.1}
    assert frame["counts"].isna().all()


# Best points


def frame_of(plan: SweepPlan, values: list[float], errors: list[float] | float = 0.1) -> pd.DataFrame:
    frame = sweep_frame(plan, {})
    assert plan.objective is not None
    frame[plan.objective.name] = values
    frame[f"{plan.objective.name}_stderr"] = errors
    return frame


def with_goal(goal: str, **values: Any) -> SweepPlan:
    return plan_of(observables=Z, objective={"name": "z", "goal": goal}, **values)


@pytest.mark.parametrize(("goal", "index"), [("maximize", 3), ("minimize", 2)])
def test_the_best_point_is_best_in_the_direction_of_the_goal(goal: str, index: int) -> None:
    plan = with_goal(goal)
    (best,) = best_points(plan, frame_of(plan, [0.5, 0.1, -0.9, 0.8, math.nan, 0.8]))
    assert best.point_id == plan.points[index].point_id
    assert best.parameters == dict(plan.points[index].parameters)
    assert (best.value, best.stderr) == ([0.5, 0.1, -0.9, 0.8][index], 0.1)
    assert (best.reference, best.deviations, best.deviation) == (None, (), None)


def test_repetitions_are_averaged_over_those_that_are_there() -> None:
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


def test_every_backend_has_its_own_best_point_in_the_order_of_the_spec() -> None:
    plan = with_goal("maximize", backends=["y", "x", "none"])
    values = [0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, *[math.nan] * 6]
    bests = best_points(plan, frame_of(plan, values))
    assert [(best.backend, best.point_id) for best in bests] == [
        ("y", plan.points[1].point_id),
        ("x", plan.points[0].point_id),
    ]
    assert best_points(plan, frame_of(plan, [math.nan] * 18)) == []
    assert best_points(plan_of(observables=Z), sweep_frame(plan_of(observables=Z), {})) == []


def with_reference(plan: SweepPlan, **values: Any) -> SweepPlan:
    objective = Objective(name="z", observable="Z0", reference=lambda point: point["a"], **values)
    object.__setattr__(plan, "objective", objective)
    return plan


def test_deviations_are_in_standard_errors_where_there_are_such() -> None:
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


def test_one_shot_is_reported_without_an_error() -> None:
    plan = with_reference(with_goal("maximize"), best_possible=0.0)
    (best,) = best_points(plan, frame_of(plan, [1.0] * 6, math.nan))
    assert math.isnan(best.stderr)
    assert best.deviations == ()
    assert not any("nan" in line or "±" in line for line in best_lines(plan, best))


def test_the_optimum_of_the_other_direction_is_not_shown() -> None:
    plan = with_reference(with_goal("minimize"), best_possible=2.0)
    (best,) = best_points(plan, frame_of(plan, [0.5] * 6))
    assert best.best_possible is None


# Files


def test_parquet_keeps_every_type_and_value(tmp_path: Path) -> None:
    plan = plan_of(observables=Z)
    frame = sweep_frame(plan, all_found(plan, lambda n: None if n == 2 else counted(n)))
    path = write_parquet(frame, tmp_path / "new" / "folder" / "results.parquet")
    again = pd.read_parquet(path)
    pd.testing.assert_frame_equal(again, frame)
    assert str(again["submitted_at"].dtype) == "datetime64[us, UTC]"
    assert [p.name for p in path.parent.iterdir()] == ["results.parquet"]


@pytest.mark.parametrize("values", [{}, {"observables": Z}, {"observables": Z, "exact": True}])
def test_a_frame_without_any_result_is_typed_and_written(tmp_path: Path, values: dict[str, Any]) -> None:
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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        problem = done.stderr.strip() if done.returncode else ""
    except FileNotFoundError as error:
        problem = str(error)
    if problem:
        if os.environ.get("CI") and os.geteuid() == 0:
            pytest.fail(f"no tmpfs although this is root: {problem}")
        pytest.skip(f"a tmpfs cannot be mounted: {problem}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_old_file_intact(small_disk: Path) -> None:
    path = small_disk / "results.parquet"
    write_file(path, b"old" * 1000)
    with pytest.raises(StorageFull, match=r"no room to write .*results\.parquet.*safe in the ledger"):
        write_file(path, b"n" * 200_000)
    assert path.read_bytes() == b"old" * 1000
    assert [p.name for p in small_disk.iterdir()] == ["results.parquet"]
    frame = pd.DataFrame({"x": np.random.default_rng(0).random(20_000)})
    with pytest.raises(StorageFull):
        write_parquet(frame, path)
    assert path.read_bytes() == b"old" * 1000
    write_file(path, b"n" * 40_000)  # there is no room for a third copy: the new file is moved, not written twice
    assert path.read_bytes() == b"n" * 40_000


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageFull, match=r"cannot be written: .*safe in the ledger"):
        write_file(tmp_path / "file" / "results.parquet", b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageFull, match="folder cannot be written"):
        write_file(tmp_path / "folder", b"x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


# Pictures


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


def test_a_grid_is_a_map_with_its_best_point_and_its_holes() -> None:
    plan = with_goal("maximize")
    whole = drawn(plan, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert ((whole[..., 0] > 0.9) & (whole[..., 1] < 0.1) & (whole[..., 2] < 0.1)).sum() > 10, "no red cross"
    holes = drawn(plan, [0.0, math.nan, 0.4, 0.6, 0.8, 1.0])
    white = [(image[..., :3].min(axis=2) > 0.99).mean() for image in (whole, holes)]
    assert white[1] > white[0] + 0.05


def test_a_whole_row_without_results_stays_a_hole() -> None:
    plan = with_goal("maximize", axes=[X, {**Y, "values": [1.0, 2.0, 3.0]}])
    whole = drawn(plan, [0.1 * n for n in range(9)])
    one_row = drawn(plan, [math.nan if n % 3 == 1 else 0.1 * n for n in range(9)])
    white = [(image[..., :3].min(axis=2) > 0.99).mean() for image in (whole, one_row)]
    assert white[1] > white[0] + 0.15


def test_a_grid_is_of_the_first_backend_that_has_results() -> None:
    plan = with_goal("maximize", backends=["x", "y"])
    drawn(plan, [math.nan] * 6 + [0, 0.2, 0.4, 0.6, 0.8, 1])


@pytest.mark.parametrize(
    "axes", [[X, {**Y, "values": [1.0]}], [{**X, "values": [0.1]}, Y], [{**X, "values": [0.1]}, {**Y, "values": [1]}]]
)
def test_a_grid_one_value_wide_is_a_line(axes: list[dict[str, Any]]) -> None:
    plan = with_goal("maximize", axes=axes)
    drawn(plan, [0.1 * n for n in range(len(plan.points))])


@pytest.mark.parametrize("mode", ["grid", "list", "random"])
def test_one_parameter_is_a_line_per_backend(mode: str) -> None:
    axes: dict[str, Any] = {"axes": [X], "mode": mode}
    if mode == "list":
        axes = {"axes": [], "points": [{"a": 3}, {"a": 1}, {"a": 2}], "mode": mode}
    if mode == "random":
        axes["samples"] = 3
    circuit = {"openqasm": QASM.replace("input float[64] b;\n", "").replace("rz(b) q[0];\n", "")}
    plan = with_goal("maximize", circuit=circuit, backends=["x", "y", "z"], repetitions=2, **axes)
    values = [0.1, 0.2, math.nan, 0.3, 0.1, 0.2, *[math.nan] * 6, 0.4, 0.5, 0.6, 0.1, 0.2, 0.3]
    drawn(plan, values, [0.1] * 17 + [math.nan])


def test_there_is_not_always_a_picture() -> None:
    assert draw_sweep(plan_of(), sweep_frame(plan_of(), {})) is None
    plan = with_goal("maximize")
    assert draw_sweep(plan, frame_of(plan, [math.nan] * 6)) is None
    pair = with_goal("maximize", mode="list", axes=[], points=[{"a": 1, "b": 2}])
    assert draw_sweep(pair, frame_of(pair, [1.0])) is None


# Text


def test_the_report_has_the_numbers() -> None:
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


def test_the_report_of_random_points_says_their_ranges() -> None:
    plan = with_goal("maximize", mode="random", samples=4)
    text = sweep_markdown(plan, frame_of(plan, [0.1] * 4), [], None)
    assert "4 points (random: a (0.1 to 0.3), b (1 to 2))" in text


def test_a_table_of_circuits_shows_outcomes_and_reasons() -> None:
    found = [
        Found(job=a_job(), item=an_item("a|b"), result=ItemResult(counts={"00": 5, "11": 7, "01": 1, "10": 1})),
        Found(job=a_job(), item=an_item("bad", message="no | such\ngate", **FAILED), result=None),
    ]
    lines = circuits_markdown("batch", circuits_frame(found), ["note"]).splitlines()
    assert "2 circuits, 200 shots in all." in lines
    assert "| a\\|b | COMPLETED | 100 | `11` 7, `00` 5, `01` 1, `10` 1 |" in lines
    assert "| bad | ERROR | 100 | no \\| such gate |" in lines
    assert "**1 of 2 circuits have no result**; the table of jobs says why." in lines
    many: Mapping[str, Any] = {"found": found * 15}
    assert "The first 20 of 30 circuits are shown." in circuits_markdown("batch", circuits_frame(many["found"]))
