"""The points of a sweep: which there are, in which order, and their ids, by which results are found again."""

from __future__ import annotations

import itertools
import math
import random
import subprocess
import sys
from typing import Any

import pytest
from sweep_specs import QASM, A, B, ids, refused, rows, spec, unusable

from qjobs.experiments.forms import MAX_ITEMS, Axis
from qjobs.experiments.sweep import expand_sweep


def test_grid() -> None:
    """Mode grid takes all combinations, in the order of the axes."""
    plan = expand_sweep(spec())
    assert rows(plan) == list(itertools.product((0.1, 0.2, 0.3), (1.0, 2.0)))
    assert [point.index for point in plan.points] == list(range(6))
    assert rows(expand_sweep(spec(axes=[B, A]))) == [
        (0.1, 1.0),
        (0.2, 1.0),
        (0.3, 1.0),
        (0.1, 2.0),
        (0.2, 2.0),
        (0.3, 2.0),
    ]
    assert [name for name, _ in plan.points[0].parameters] == ["a", "b"]


def test_zip() -> None:
    """Mode zip takes the n-th values together, of axes of one length."""
    short = {"name": "b", "kind": "linspace", "start": 5, "stop": 7, "count": 3}
    assert rows(expand_sweep(spec(mode="zip", axes=[A, short]))) == [(0.1, 5.0), (0.2, 6.0), (0.3, 7.0)]
    assert "a has 3, b has 2" in refused(mode="zip")


def test_list() -> None:
    """Mode list takes the points as they are, all with the same parameters."""
    points = [{"a": 3, "b": 1}, {"b": 2, "a": 0}]
    assert rows(expand_sweep(spec(mode="list", axes=[], points=points))) == [(3.0, 1.0), (0.0, 2.0)]
    assert "other parameters than point 0" in unusable(mode="list", axes=[], points=[*points, {"a": 1}])


AXES_OF_ONE_RANGE = [
    {"kind": "values", "values": [2.0, -1.0, 0.0]},
    {"kind": "linspace", "start": -1.0, "stop": 2.0},
    {"kind": "linspace", "start": 2.0, "stop": -1.0, "count": 4, "endpoint": False},
    {"kind": "random", "start": -1.0, "stop": 2.0, "count": 2, "seed": 9},
]


@pytest.mark.parametrize("axis", AXES_OF_ONE_RANGE)
def test_random(axis: dict[str, Any]) -> None:
    """Mode random draws uniformly between the ends of an axis of any kind."""
    plan = expand_sweep(spec(mode="random", samples=2000, seed=3, axes=[{"name": "a", **axis}, {"name": "b", **axis}]))
    values = sorted(a for a, _ in rows(plan))
    assert -1.0 <= values[0] < -0.99
    assert 1.99 < values[-1] <= 2.0
    assert sum(values) / 2000 == pytest.approx(0.5, abs=4 * 3 / math.sqrt(12 * 2000))
    same = expand_sweep(
        spec(mode="random", samples=2000, seed=3, axes=[{"name": n, **AXES_OF_ONE_RANGE[0]} for n in ("a", "b")])
    )
    assert rows(plan) == rows(same)


def test_random_is_repeatable() -> None:
    """A seed draws the same points again, and more samples keep the first."""

    def drawn(samples: int, seed: int | None) -> list[str]:
        return ids(expand_sweep(spec(mode="random", samples=samples, seed=seed)))

    assert drawn(5, 3) == drawn(5, 3) == drawn(9, 3)[:5]
    assert drawn(5, 4) != drawn(5, 3)
    assert drawn(5, None) == drawn(5, 0)


def test_global_generator() -> None:
    """Drawing points leaves Python's own generator alone."""
    random.seed(1)
    first = random.random()
    random.seed(1)
    expand_sweep(spec(mode="random", samples=3))
    assert random.random() == first


def points_of(**values: Any) -> list[float]:
    return Axis.model_validate({"name": "a", **values}).points()


def test_axes() -> None:
    """Every kind of axis has its values in order; equal seeds of other names draw others."""
    assert points_of(values=[3, 1, 2]) == [3.0, 1.0, 2.0]
    assert points_of(kind="linspace", start=0, stop=1, count=5) == [0, 0.25, 0.5, 0.75, 1]
    assert points_of(kind="linspace", start=0, stop=1, count=4, endpoint=False) == [0, 0.25, 0.5, 0.75]
    assert points_of(kind="linspace", start=2, stop=1, count=1) == [2]
    assert points_of(kind="linspace", start=0.1, stop=math.pi, count=7)[-1] == math.pi
    drawn = points_of(kind="random", start=1, stop=2, count=50, seed=4)
    assert len(set(drawn)) == 50
    assert all(1 <= value <= 2 for value in drawn)
    assert (
        drawn
        == points_of(kind="random", start=1, stop=2, count=50, seed=4)
        != points_of(kind="random", start=1, stop=2, count=50, seed=5)
    )
    other = Axis(name="b", kind="random", start=1, stop=2, count=50, seed=4).points()
    assert other != drawn


@pytest.mark.parametrize(
    ("axis", "words"),
    [
        ({}, "has no values"),
        ({"values": []}, "has no values"),
        ({"values": [1], "start": 0}, "start, stop and count are for the other kinds"),
        ({"kind": "linspace", "start": 0, "stop": 1, "count": 2, "values": [1]}, "values are for the kind values"),
        ({"kind": "linspace", "stop": 1, "count": 2}, "give start, stop and count"),
        ({"kind": "random", "start": 1, "count": 2}, "give start, stop and count"),
        ({"kind": "linspace", "start": 0, "stop": 1}, "needs count"),
        ({"kind": "linspace", "start": 0, "stop": 1, "count": 0}, "count"),
        ({"kind": "linspace", "start": 0, "stop": 1, "count": MAX_ITEMS + 1}, "count"),
        ({"kind": "logspace", "start": 0, "stop": 1, "count": 3}, "no exponents"),
        ({"values": [1], "step": 2}, "axes.0.step: there is no such field"),
        ({"values": [math.nan]}, "finite"),
        ({"values": [math.inf]}, "finite"),
        ({"kind": "linspace", "start": -math.inf, "stop": 1, "count": 3}, "finite"),
        ({"kind": "random", "start": 0, "stop": math.nan, "count": 3}, "finite"),
    ],
)
def test_bad_axes(axis: dict[str, Any], words: str) -> None:
    """An axis that says too little, too much or no number is refused."""
    assert words in refused(axes=[{"name": "a", **axis}, B])


def test_infinite_points() -> None:
    """NaN, infinity and what overflows are refused wherever they are given."""
    assert "finite" in refused(mode="list", axes=[], points=[{"a": math.nan, "b": 1}])
    assert "NaN" in refused(circuit={"builder": "ghz", "arguments": {"n_qubits": math.nan}})
    assert "NaN" in refused(objective={"name": "maxcut", "arguments": {"edges": [[0, math.inf]]}})
    huge = {"name": "a", "kind": "linspace", "start": -1.7e308, "stop": 1.7e308, "count": 3}
    assert "too large" in unusable(axes=[huge, B])


def test_ids_are_stable() -> None:
    """A point has the same id for ever and in every process."""
    literal = "d193bf13833df9f5"
    assert ids(expand_sweep(spec(mode="list", axes=[], points=[{"a": 0.1, "b": -2}]))) == [literal]
    code = (
        "import sys, json; from qjobs.experiments.sweep import *; "
        "print(expand_sweep(SweepSpec.model_validate_json(sys.argv[1])).points[0].point_id)"
    )
    text = spec(mode="list", axes=[], points=[{"b": -2, "a": 0.1}]).model_dump_json()
    found = subprocess.run(
        [sys.executable, "-c", code, text], env={"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == literal


def test_minus_zero() -> None:
    """-0.0 is 0.0, so that the same point is not run twice."""
    one = expand_sweep(spec(mode="list", axes=[], points=[{"a": 0.0, "b": 1}]))
    other = expand_sweep(spec(mode="list", axes=[], points=[{"a": -0.0, "b": 1}]))
    assert ids(one) == ids(other)
    assert math.copysign(1, rows(other)[0][0]) == 1
    assert "twice" in unusable(axes=[{"name": "a", "values": [0.0, -0.0]}, B])


def test_ids_are_of_point_and_circuit() -> None:
    """An id depends on the point and the circuit alone."""
    plan = expand_sweep(spec())
    assert len(set(ids(plan))) == 6
    same = expand_sweep(spec(name="t", shots=7, seed=4, repetitions=2, observables=[{"name": "z", "terms": "Z0"}]))
    assert ids(same) == ids(plan)
    assert not set(ids(expand_sweep(spec(circuit={"openqasm": QASM.replace("rx", "rz")})))) & set(ids(plan))


@pytest.mark.parametrize(("coarse", "fine"), [(2, 3), (3, 5), (4, 10), (5, 9), (7, 13), (8, 29), (20, 58), (15, 99)])
def test_extended_axes(coarse: int, fine: int) -> None:
    """An axis that is refined or made longer keeps the ids of its old points."""

    def linspace(count: int) -> list[dict[str, Any]]:
        return [{"name": "a", "kind": "linspace", "start": 0.1, "stop": math.pi, "count": count}, B]

    assert set(ids(expand_sweep(spec(axes=linspace(coarse))))) <= set(ids(expand_sweep(spec(axes=linspace(fine)))))
    longer = [{**A, "values": [*A["values"], 0.4]}, B]
    assert set(ids(expand_sweep(spec()))) <= set(ids(expand_sweep(spec(axes=longer))))


def test_duplicates() -> None:
    """A point that is there twice is refused; a circuit without parameters is one point."""
    assert "a=0.1, b=1 is in the sweep twice" in unusable(axes=[{"name": "a", "values": [0.1, 0.1]}, B])
    fixed = {"circuit": {"builder": "ghz", "arguments": {"n_qubits": 2}}, "axes": []}
    assert "without parameters" in unusable(mode="random", samples=2, **fixed)
    assert rows(expand_sweep(spec(**fixed))) == [()]


def test_too_many_items() -> None:
    """A sweep that is too large is refused before its points are made."""
    long = {"kind": "linspace", "start": 0, "stop": 1, "count": 1001}
    assert "more than" in unusable(axes=[{"name": "a", **long}, {"name": "b", **long}])
    assert f"the most is {MAX_ITEMS}" in unusable(repetitions=MAX_ITEMS)
    assert "6000000 circuits" in unusable(repetitions=500_000, backends=["aer", "aer-backend/x"])
