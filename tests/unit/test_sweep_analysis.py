"""Analyses in sweeps: what is checked before anything is run, and what changes nothing of what is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sweep_results import plan_of
from sweep_specs import spec, unusable

from qjobs.errors import InvalidInput
from qjobs.experiments.analyses import ANALYSES, Analysis, load_analysis
from qjobs.experiments.sweep import expand_sweep

A = {"name": "a", "kind": "linspace", "start": 0, "stop": 1, "count": 9}
B = {**A, "name": "b"}
ONE_B = {"name": "b", "values": [1.0]}
Z = [{"name": "z", "terms": "Z0"}, {"name": "y", "terms": "Z1"}]

OWN = '''
from qjobs.experiments.analyses import Analysis
import numpy as np

def line():
    """`slope x + start`."""
    return Analysis(
        name="line",
        formula="slope x + start",
        model=lambda x, slope, start: slope * x + start,
        terms=lambda x, _: np.array([x, np.ones(len(x))]),
        choices=lambda _: [()],
        start=lambda _, weights: {"slope": weights[0], "start": weights[1]},
        at_least={},
        derived={},
    )
'''


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"analysis": {"name": "rabbi"}}, "there is no analysis 'rabbi'; did you mean 'rabi'? registered are: cosine"),
        ({"analysis": {"name": "q"}}, "there is no analysis 'q'; registered are: cosine"),
        ({"analysis": {"name": "rabi", "arguments": {"n": 1}}}, "'rabi' does not take these arguments"),
        ({"observables": []}, "fits values, and this sweep asks for counts; name what is measured, as in observables"),
        ({"axes": [A, B]}, "goes along one axis, and 2 vary (a, b); give the others one value each, or let them"),
        ({"axes": [A, B]}, "; or name it, as in axis: a, and the others count as repetitions"),
        (
            {"axes": [A, B], "mode": "random", "samples": 9, "analysis": {"name": "rabi", "axis": "a"}},
            "goes along one axis, and 2 vary (a, b)",
        ),
        ({"axes": [A, B], "mode": "zip"}, "several axes vary together (a, b); say along which one"),
        ({"analysis": {"name": "rabi", "axis": "aa"}}, "there is no axis 'aa'; did you mean 'a'? there are: a, b"),
        ({"analysis": {"name": "rabi", "axis": "b"}}, "'rabi' needs an axis with several values"),
        ({"axes": [{**A, "count": 1}, ONE_B]}, "'rabi' needs an axis with several values"),
        ({"axes": [{**A, "count": 2}, ONE_B]}, "'rabi' has 3 parameters (amplitude, period, offset), and the axis 'a'"),
        ({"analysis": {"name": "rabi", "observable": "x"}}, "there is no observable 'x'; there are: z, y"),
        ({"analysis": {"name": "rabi", "start": {"periode": 1}}}, "no parameter 'periode' of the analysis 'rabi'; did"),
        ({"analysis": {"name": "rabi", "start": {"period": -1}}}, "period must start at 0 or above, not -1"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_refused(values: dict[str, Any], words: str) -> None:
    """An analysis that cannot be made is refused, with what to write instead."""
    given = {"axes": [A, ONE_B], "observables": Z, "analysis": {"name": "rabi"}, **values}
    assert words in unusable(**given)


@pytest.mark.parametrize(
    ("values", "axis", "observables"),
    [
        ({}, "a", ("z", "y")),
        ({"analysis": {"name": "rabi", "observable": "y"}}, "a", ("y",)),
        ({"axes": [A, B], "mode": "zip", "analysis": {"name": "rabi", "axis": "b"}}, "b", ("z", "y")),
        ({"axes": [A, B], "analysis": {"name": "rabi", "axis": "a"}}, "a", ("z", "y")),
        ({"observables": [], "objective": {"name": "z"}, "axes": [A, ONE_B]}, "a", ("z",)),
        ({"mode": "random", "samples": 9, "axes": [{**A}, B], "analysis": None}, None, None),
    ],
)
def test_chosen(values: dict[str, Any], axis: str | None, observables: tuple[str, ...] | None) -> None:
    """Where there is no choice none has to be made; every observable is fitted unless one is named."""
    if "objective" in values:
        values = {**values, "observables": Z[:1]}
    plan = expand_sweep(spec(**{"axes": [A, ONE_B], "observables": Z, "analysis": {"name": "rabi"}, **values}))
    found = plan.analysis
    assert (found.axis, found.observables) == (axis, observables) if found else axis is None


def test_definition() -> None:
    """Labels, units and analyses are no part of what is run: the definition and the points are those without them."""
    bare = plan_of(observables=Z[:1], axes=[A, ONE_B])
    axes = [{**A, "label": "time", "unit": "us"}, {**ONE_B, "unit": "rad"}]
    rich = plan_of(observables=Z[:1], axes=axes, analysis={"name": "rabi", "start": {"period": 0.5}})
    assert rich.definition == bare.definition == "7ed85233d93039e0"
    assert rich.points == bare.points
    assert rich.labels() == bare.labels()


def test_computed_parameters() -> None:
    """The axis is one that was given; what is computed from it is none, and is in no one's way."""
    values = {"axes": [{**A, "name": "t"}], "parameters": {"a": "2*t", "b": "t"}, "analysis": {"name": "cosine"}}
    plan = plan_of(**values, observables=Z[:1])
    assert plan.analysis is not None
    assert plan.analysis.axis == "t"


@pytest.mark.parametrize("words", ["two\nlines", "a | b", "$x$", "x" * 101])
def test_words(words: str) -> None:
    """Labels and units are one short line, without the signs of tables and formulas."""
    for key in ("label", "unit"):
        with pytest.raises(ValueError, match=key):
            spec(axes=[{**A, key: words}, B])


def test_own_analysis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An analysis of one's own is registered in the group `qjobs.analyses`, and named as any other."""
    (tmp_path / "my_lab_analyses.py").write_text(OWN)
    info = tmp_path / "my_lab-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-lab\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[qjobs.analyses]\nline = my_lab_analyses:line\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "line" in ANALYSES.names()
    mine = load_analysis("line", {})
    assert isinstance(mine, Analysis)
    assert mine.parameter_names == ["slope", "start"]
    plan = plan_of(observables=Z[:1], axes=[A, ONE_B], analysis={"name": "line"})
    assert plan.analysis is not None
    with pytest.raises(InvalidInput, match="did you mean 'line'"):
        load_analysis("lines", {})
