"""Two runs side by side: the same points, and honest differences; and the commands about saved results."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from qjobs.errors import InvalidInput
from qjobs.results.compare import compare, draw_comparison
from qjobs.results.store import Results, SavedRun

Said = tuple[int, str, str]


def run_of(frame: pd.DataFrame, *key: str, name: str = "rabi") -> SavedRun:
    """A run whose frame is given."""
    run = SavedRun(name, "2026-05-04-030201-01234567", "nowhere", {"key": list(key), "devices": {"aer": {}}})
    run.__dict__["frame"] = frame
    return run


def swept(values: list[float], errors: list[float], **more: Any) -> SavedRun:
    theta = [0.1 * n for n in range(len(values))]
    columns = {"theta": theta, "z": values, "z_stderr": errors, "backend": "aer", "status": "COMPLETED", **more}
    return run_of(pd.DataFrame(columns), "backend", "repetition", "theta")


def test_points() -> None:
    """Points are matched by their parameters to twelve digits, differences are in standard errors of both."""
    a = swept([1.0, 0.5, 0.0], [0.3, 0.0, 0.1])
    b = swept([1.5, 0.5, 0.2, 0.9], [0.4, 0.0, 0.0, 0.1])
    b.frame["theta"] = [0.0, 0.1, 0.1 + 0.1 + 1e-17, 0.7]
    found = compare(a, b)
    assert (found.key, found.values, found.only_a, found.only_b) == (("theta",), ("z",), 0, 1)
    assert found.frame["z_difference"].tolist() == pytest.approx([0.5, 0.0, 0.2])
    assert found.frame["z_sigmas"].tolist() == pytest.approx([1.0, 0.0, 2.0])
    assert "3 points are in both; 0 only in rabi/2026" in found.lines[0]
    assert "1 only in rabi/2026" in found.lines[0]
    assert "most +2.0 at theta = 0.2" in found.lines[1]
    assert draw_comparison(found).startswith(b"\x89PNG")


def test_no_error_known() -> None:
    """Exact values that differ have no number of standard errors; equal ones have none between them."""
    found = compare(swept([1.0, 0.5], [0.0, math.nan]), swept([1.0, 0.6], [0.0, math.nan]))
    assert np.isnan(found.frame["z_sigmas"]).tolist() == [False, True]
    assert "largest difference 0.1" in found.lines[1]
    draw_comparison(found)


def test_repetitions() -> None:
    """Repetitions are averaged, with the error of the mean, and what has no result is left out."""
    a = swept([1.0, 0.0, 0.7], [0.3, 0.4, math.nan], status=["COMPLETED", "COMPLETED", "ERROR"])
    a.frame["theta"] = [0.0, 0.0, 0.1]
    found = compare(a, swept([1.0], [0.0]))
    assert found.frame["z_a"].tolist() == [0.5]
    assert found.frame["z_stderr_a"].tolist() == pytest.approx([0.25])
    assert found.frame["z_sigmas"].tolist() == pytest.approx([2.0])


def test_backends() -> None:
    """One backend each is compared with the other; of several, those that both have."""
    here, there = swept([1.0], [0.1]), swept([0.5], [0.1], backend="nexus/H1-1E")
    assert len(compare(here, there).frame) == 1
    both = run_of(pd.concat([here.frame, there.frame]), "backend", "repetition", "theta")
    found = compare(both, there)
    assert found.frame["backend"].tolist() == ["nexus/H1-1E"]
    assert found.frame["z_difference"].tolist() == [0.0]
    with pytest.raises(InvalidInput, match="no backend in common"):
        compare(both, swept([0.5], [0.1], backend="mqp/QExa20"))


def test_counts() -> None:
    """Counts are compared as distributions: the distance, and chi-squared in standard deviations above its mean."""

    def counted(*counts: dict[str, int]) -> SavedRun:
        labels = [f"c{n}" for n in range(len(counts))]
        return run_of(pd.DataFrame({"label": labels, "counts": [json.dumps(each) for each in counts]}), "label")

    found = compare(counted({"0": 50, "1": 50}, {"0": 10}), counted({"0": 100, "1": 100}, {"1": 10}))
    assert found.frame["counts_difference"].tolist() == [0.0, 1.0]
    # The table 10 0 / 0 10 has chi-squared 20 with one degree of freedom.
    assert found.frame["counts_sigmas"].tolist() == pytest.approx([-1 / math.sqrt(2), 19 / math.sqrt(2)])
    draw_comparison(found)


def test_same_law() -> None:
    """Samples of one law are about one standard deviation apart: the measure is neither too kind nor too strict."""
    rng = np.random.default_rng(1)
    law = np.array([0.4, 0.3, 0.2, 0.1])

    def sampled(shots: int) -> SavedRun:
        counts = [dict(zip("abcd", map(int, rng.multinomial(shots, law)), strict=True)) for _ in range(400)]
        labels = [f"c{n}" for n in range(400)]
        return run_of(pd.DataFrame({"label": labels, "counts": [json.dumps(each) for each in counts]}), "label")

    sigmas = compare(sampled(500), sampled(3000)).frame["counts_sigmas"]
    assert abs(sigmas.mean()) < 0.2
    assert abs(sigmas.std() - 1) < 0.15


def test_nothing_in_common() -> None:
    """Runs that have nothing in common are refused, with what each has."""
    a = swept([1.0], [0.1])
    with pytest.raises(InvalidInput, match=r"has points by theta, and .* by label"):
        compare(a, run_of(pd.DataFrame({"label": ["a"], "counts": ["{}"]}), "label"))
    other = swept([1.0], [0.1])
    other.frame["theta"] = [3.0]
    with pytest.raises(InvalidInput, match="no point in common"):
        compare(a, other)
    with pytest.raises(InvalidInput, match="no measured column"):
        compare(a, run_of(a.frame.rename(columns={"z": "x", "z_stderr": "x_stderr"}), *a.record["key"]))


def test_forms(ran: dict[str, object], qjobs: Callable[..., Said], tmp_path: Path) -> None:
    """`qjobs results` gives a summary, CSV, JSON and Parquet of the same rows."""
    code, out, _ = qjobs("results", "s")
    assert code == 0
    assert "rows:        2, 0 of them without a result" in out
    assert "data frame:  " in out
    frame = pd.read_parquet(str(ran["data frame"]))
    assert len(pd.read_csv(io.StringIO(qjobs("results", "s", "--csv")[1]))) == len(frame)
    whole = json.loads(qjobs("results", "s", "--json")[1])
    assert [row["theta"] for row in whole["rows"]] == frame["theta"].tolist()
    assert whole["record"]["spec"]["name"] == "s"
    assert qjobs("results", "s", "--parquet")[1].strip() == str(ran["data frame"])
    for form in ("csv", "json", "parquet"):
        assert qjobs("results", "s", f"--{form}", "--out", tmp_path / f"out.{form}")[0] == 0
    assert pq.read_schema(tmp_path / "out.parquet").metadata[b"qjobs"]
    assert (tmp_path / "out.csv").read_text().startswith("point_id,point,repetition,theta")
    assert json.loads((tmp_path / "out.json").read_text()) == whole


def test_labels_of_the_command(ran: dict[str, object], qjobs: Callable[..., Said]) -> None:
    """Tags and notes that were given are listed with the experiment."""
    assert qjobs("tag", "s", "good", "june")[1] == "good, june\n"
    assert qjobs("tag", "s", "--remove", "june")[1] == "good\n"
    assert qjobs("note", "s", "warm", "fridge")[1].endswith(" warm fridge\n")
    (row,) = json.loads(qjobs("list", "--json")[1])
    assert (row["name"], row["n_runs"], row["tags"], row["note"]) == ("s", 1, ["good"], "warm fridge")
    out = qjobs("list", "--tag", "good")[1]
    assert "warm fridge" in out
    assert qjobs("list", "--tag", "bad")[1].startswith("no experiment has the tag bad in ")
    code, _, err = qjobs("note", "nobody", "words")
    assert (code, err.count("\n")) == (2, 1)


def test_compare_command(ran: dict[str, object], qjobs: Callable[..., Said], home: Path, tmp_path: Path) -> None:
    """`qjobs compare` says what is the same, and writes its picture beside the second run's results."""
    run = Results(home / "results").find("s")
    code, out, _ = qjobs("compare", "s", f"s/{run.run}")
    assert code == 0
    assert out.startswith("2 points are in both; 0 only in s/")
    assert Path(out.rpartition("picture: ")[2].strip()).read_bytes().startswith(b"\x89PNG")
    found = json.loads(qjobs("compare", "s", "s", "--json", "--picture", tmp_path / "p.png")[1])
    assert [point["counts_difference"] for point in found["points"]] == [0.0, 0.0]
    assert found["picture"] == str(tmp_path / "p.png")
    assert len(pd.read_csv(io.StringIO(qjobs("compare", "s", "s", "--csv")[1]))) == 2
    code, _, err = qjobs("compare", "s", "nobody")
    assert code == 2
    assert err.startswith("error: there are no results of 'nobody'")


def test_nothing_yet(qjobs: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without an experiment the list names the places that it looked at."""
    monkeypatch.setenv("QJOBS_HOME", str(tmp_path))
    out = qjobs("list")[1]
    assert out.startswith(f"no results in {tmp_path}/results, and no jobs in sqlite:///{tmp_path}/ledger.db.")
