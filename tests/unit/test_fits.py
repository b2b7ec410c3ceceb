"""Fits in the report of a sweep that ran on the simulator: parameters, tables, files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qjobs
from qjobs.errors import InvalidInput
from qjobs.experiments.analyses import fit, load_analysis
from qjobs.experiments.sweep import SweepSpec
from qjobs.notebook import Run
from qjobs.reports.figures import Parameter
from qjobs.reports.fits import fits_frame, fits_json, fits_lines, fits_markdown
from qjobs.reports.pictures import PictureFormat
from qjobs.results.redraw import drawn, format_of

QASM = """OPENQASM 3.0;
include "stdgates.inc";
input float[64] length;
qubit[1] q;
rx(1.25 * length) q[0];
"""
RABI: dict[str, Any] = {
    "name": "rabi",
    "circuit": {"openqasm": QASM},
    "axes": [{"name": "length", "kind": "linspace", "start": 0, "stop": 12, "count": 31}],
    "observables": [{"name": "p1", "terms": "0.5 - 0.5*Z0"}],
    "shots": 400,
    "repetitions": 2,
    "seed": 5,
}
DURATION = {**RABI["axes"][0], "label": "pulse duration", "unit": "us"}
AXIS = Parameter(name="length", label="pulse duration", unit="us")
KEY = ("aer", "p1")


def run(home: Path, **values: Any) -> Run:
    return qjobs.run(
        SweepSpec.model_validate({**RABI, **values}),
        ledger=f"sqlite:///{home / 'ledger.db'}",
        results=home / "results",
        say=lambda _: None,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fits")


@pytest.fixture(scope="module")
def runs(home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """The sweep without labels and analysis, and then with them."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("QJOBS_HOME", str(home))
        bare = run(home)
        return bare, run(home, axes=[DURATION], analysis={"name": "rabi"})


def test_reuse(runs: tuple[Run, Run]) -> None:
    """A unit, a label and an analysis that are added later run nothing again."""
    bare, fitted = runs
    assert fitted.jobs == bare.jobs
    assert "62 of 62 circuits are there from earlier runs" in fitted.summaries[0]
    assert (bare.report.fits, len(bare.report.fits_frame)) == ({}, 0)


def test_parameters(runs: tuple[Run, Run]) -> None:
    """The fitted period is the true one within its error, and stands in frame, text and lines, with its unit."""
    report = runs[1].report
    frame = report.fits_frame.set_index("parameter")
    assert frame.index.tolist() == ["amplitude", "period", "offset", "pi_pulse"]
    assert abs(frame.loc["period", "value"] - 2 * math.pi / 1.25) < 4 * frame.loc["period", "stderr"]
    assert frame["unit"].tolist() == ["", "us", "", "us"]
    assert 0.5 < frame["reduced_chi_square"].iloc[0] < 1.6
    (line,) = report.lines
    assert line.startswith("fit of rabi to p1 on aer: amplitude = 0.")
    text = report.markdown("data:x", [])
    assert "`offset - amplitude cos(2 pi x / period)`, where x is pulse duration (us)." in text
    assert "| aer | p1 | period | 5.0" in text
    assert "reduced chi square" in text


def test_files(runs: tuple[Run, Run]) -> None:
    """The fits stand beside the data frame, and the picture is drawn again from what was saved, in every format."""
    bare, fitted = runs
    assert bare.saved.fits is None
    assert Path(str(fitted.saved.picture)).read_bytes().startswith(b"\x89PNG")
    (record,) = json.loads(Path(str(fitted.saved.fits)).read_text())
    assert record["axis"] == {"name": "length", "label": "pulse duration", "unit": "us"}
    assert record["parameters"]["pi_pulse"]["unit"] == "us"
    assert drawn(fitted.saved, PictureFormat.PNG) == Path(str(fitted.saved.picture)).read_bytes()
    assert drawn(fitted.saved, PictureFormat.PNG, dark=True) != drawn(fitted.saved, PictureFormat.PNG)
    assert drawn(fitted.saved, PictureFormat.PDF, for_paper=True).startswith(b"%PDF")
    assert b"pulse duration (us)" in drawn(fitted.saved, format_of("rabi.svg"))
    assert b"pulse duration" not in drawn(bare.saved, PictureFormat.SVG)
    with pytest.raises(InvalidInput, match=r"ends with one of \.png, \.svg, \.pdf"):
        format_of("rabi.jpg")


def test_start(runs: tuple[Run, Run], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start of one's own is where the fit begins."""
    monkeypatch.setenv("QJOBS_HOME", str(home))
    far = run(home, analysis={"name": "rabi", "start": {"period": 0.9}}).report.fits[KEY]
    near = runs[1].report.fits[KEY]
    assert far.problem or far.reduced_chi_square > 3 * near.reduced_chi_square


def test_no_fit() -> None:
    """A fit that cannot be made is told with its reason, in every form."""
    x = np.array([1.0, 2.0])
    fits = {KEY: fit(load_analysis("rabi", {}), x, x, x)}
    words = "it has 3 parameters, and results are at 2 places"
    assert fits_frame(fits, AXIS)["problem"].tolist() == [words]
    assert fits_lines(fits, AXIS) == [f"fit of rabi to p1 on aer: there is none, {words}"]
    assert f"- p1 on aer has no fit: {words}" in fits_markdown(fits, AXIS)
    assert json.loads(fits_json(fits, AXIS))[0]["problem"] == words


def test_exact_fit() -> None:
    """Exact values give errors from the scatter, and null where a number is not known."""
    x = np.linspace(0, 10, 40)
    fits = {KEY: fit(load_analysis("t1", {}), x, np.exp(-x / 3), np.zeros(40))}
    assert any("follow from the scatter" in line for line in fits_markdown(fits, AXIS))
    assert json.loads(fits_json(fits, AXIS))[0]["reduced_chi_square"] is None
    (line,) = fits_lines(fits, AXIS)
    assert "t1 = 3" in line


def test_many_points() -> None:
    """A fit of very many points takes all of them, and its start is found with some."""
    x = np.linspace(0, 10, 20_000)
    rng = np.random.default_rng(4)
    y = 0.5 - 0.4 * np.cos(2 * np.pi * x / 3.3) + rng.normal(0, 0.1, len(x))
    found = {each.name: each for each in fit(load_analysis("rabi", {}), x, y, np.full(len(x), 0.1)).parameters}
    assert abs(found["period"].value - 3.3) < 4 * found["period"].stderr < 0.01
