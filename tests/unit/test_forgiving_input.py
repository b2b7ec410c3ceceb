"""Input that forgives: many ways to write one thing, which is the same thing then, to the hash."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
from sweep_specs import QASM, ids, spec, unusable

from qjobs.errors import InvalidInput
from qjobs.experiments.circuit_list import CircuitList, expand_circuit_list
from qjobs.experiments.forms import Axis
from qjobs.experiments.hybrid import HybridSpec, expand_hybrid
from qjobs.experiments.sweep import SweepPlan, SweepSpec, expand_sweep, load_sweep
from qjobs.notebook import run

EXAMPLES = Path(__file__).parents[2] / "examples"
QAOA = {"builder": "qaoa-maxcut", "arguments": {"edges": [[0, 1], [1, 2]]}}
H2 = {"hamiltonian": {"terms": {"ZZ": 1, "XI": 0.5}}}


def sweep(**values: Any) -> SweepPlan:
    return expand_sweep(SweepSpec.model_validate({"name": "s", **values}))


def test_same_definition() -> None:
    """`pi/2` and 1.5707963267948966 are one definition and one point; so are other ways to write a form."""
    plain = expand_sweep(spec(axes=[{"name": "a", "values": [1.5707963267948966]}, {"name": "b", "values": [0.5]}]))
    written = expand_sweep(
        spec(
            axes=[{"name": "a", "values": ["pi/2"]}, {"name": "b", "values": ["x/2"]}],
            constants={"x": 1},
            shots="1e3",
            backend="aer",
            level=1,
        )
    )
    assert written.definition == plain.definition
    assert ids(written) == ids(plain)
    assert written.labels() == plain.labels()


def test_kept_definitions() -> None:
    """Files of before have the hashes of before: what they ran is found again."""
    plan = expand_sweep(load_sweep(EXAMPLES / "qaoa_maxcut" / "sweep.yaml"))
    assert (plan.definition, plan.points[7].point_id) == ("d2cc2a6d1d10ec5c", "3fc9e828ddd50e6f")
    assert expand_sweep(spec()).definition == "695fa295bdb3caab"
    named = spec(observables=[{"name": "h", "terms": "0.5*Z0 Z1 - X1"}])
    assert expand_sweep(named).definition == "ea810dbf65b603d9"


def test_constants() -> None:
    """A constant may use those above it; the spec that is kept has numbers alone."""
    given = spec(
        constants={"f": "1.5e6", "period": "1/f"},
        axes=[{"name": "a", "values": ["period"]}, {"name": "b", "values": [0]}],
    )
    assert given.constants == {"f": 1.5e6, "period": 1 / 1.5e6}
    assert given.axes[0].values == [1 / 1.5e6]
    assert SweepSpec.model_validate_json(given.model_dump_json()) == given


def test_computed_parameters() -> None:
    """A parameter is computed at each point; an axis that only computes is a column, and no parameter."""
    plan = expand_sweep(
        spec(
            axes=[{"name": "t", "values": [0.0, 0.5]}],
            constants={"f": 2.0},
            parameters={"a": "2*pi*f*t", "b": "pi/8"},
        )
    )
    columns = [dict(point.parameters) for point in plan.points]
    assert columns == [{"a": 2 * math.pi * 2.0 * t, "b": math.pi / 8, "t": t} for t in (0.0, 0.5)]
    items = plan.items(plan.programs)
    assert [dict(item.parameters).keys() for item in items] == [{"a", "b"}] * 2
    still = expand_sweep(
        spec(axes=[{"name": "t", "values": [0, 1]}], constants={"f": 0}, parameters={"a": "f*t", "b": 0})
    )
    assert len(set(ids(still))) == 2


def test_fixed_parameter() -> None:
    """A parameter that is fixed is a point as if it were an axis of one value."""
    fixed = expand_sweep(spec(axes=[{"name": "a", "values": [1, 2]}], parameters={"b": "pi"}))
    assert ids(fixed) == ids(
        expand_sweep(spec(axes=[{"name": "a", "values": [1, 2]}, {"name": "b", "values": [math.pi]}]))
    )


def test_logspace() -> None:
    """A logspace has even ratios and both ends to the last bit, and a finer one has the values of a coarser one."""
    axis = Axis(name="t", kind="logspace", start=1e-6, stop=1e-3, count=4)
    assert axis.points() == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3])
    assert (axis.points()[0], axis.points()[-1]) == (1e-6, 1e-3)
    finer = Axis(name="t", kind="logspace", start=1e-6, stop=1e-3, count=7)
    assert set(axis.points()) <= set(finer.points())
    assert len(Axis(name="t", kind="logspace", start=1, stop=8, count=3, endpoint=False).points()) == 3
    drawn = [Axis(name="t", kind="logspace", start=1e-6, stop=1).draw(random.Random(n)) for n in range(200)]
    assert 50 < sum(value < 1e-3 for value in drawn) < 150
    assert all(1e-6 <= value <= 1 for value in drawn)


@pytest.mark.parametrize(
    ("written", "names"),
    [
        (["Z0 Z1", "X0"], ["Z0 Z1", "X0"]),
        ("Z0 Z1", ["Z0 Z1"]),
        ({"zz": "Z0 Z1", "x": "X0"}, ["zz", "x"]),
        (["0.5*Z0 + X1", {"name": "zz", "terms": "ZZ"}], ["0.5*Z0 + X1", "zz"]),
    ],
)
def test_observables(written: object, names: list[str]) -> None:
    """Observables are a list of texts, one text, names with terms, or the form itself."""
    assert [each.name for each in expand_sweep(spec(observables=written)).observables] == names


def test_builder_arguments() -> None:
    """An axis with the name of a builder's argument makes a circuit a value, as wide as it is."""
    plan = sweep(circuit={"builder": "ghz"}, axes=[{"name": "n_qubits", "values": [2, 3, 5]}], observables=["Z0 Z1"])
    assert [circuit.source.n_qubits for circuit in plan.circuits] == [2, 3, 5]
    items = plan.items(plan.programs)
    assert [item.label for item in items] == plan.labels()
    assert [item.parameters for item in items] == [()] * 3
    more = sweep(circuit={"builder": "ghz"}, axes=[{"name": "n_qubits", "values": [5, 6]}], observables=["Z0 Z1"])
    assert more.definition == plan.definition  # another size adds points only
    assert ids(more)[0] == ids(plan)[2]
    other = sweep(circuit={"builder": "ghz"}, axes=[{"name": "n_qubits", "values": [5]}], observables=["Z0"])
    assert other.definition != plan.definition


def test_depth_and_angles() -> None:
    """Arguments and parameters are swept together; each circuit is given what it has."""
    plan = sweep(
        circuit=QAOA,
        axes=[{"name": "layers", "values": [1, 2]}, {"name": "g", "values": [0.1, 0.2]}],
        parameters={
            "gamma": "g", "beta": 0.3, "gamma_0": "g", "gamma_1": "g/2", "beta_0": 0.3, "beta_1": 0.3,
        },
    )  # fmt: skip
    given = {point.index: dict(point.given or ()) for point in plan.points}
    assert given[1] == {"gamma": 0.2, "beta": 0.3}
    assert given[3] == {"gamma_0": 0.2, "gamma_1": 0.1, "beta_0": 0.3, "beta_1": 0.3}
    assert len(set(ids(plan))) == 4
    with pytest.raises(InvalidInput, match="none of the sweep's circuits has a parameter 'h'"):
        sweep(circuit=QAOA, axes=[{"name": "layers", "values": [1]}, {"name": "h", "values": [1]}])


def test_points_apart() -> None:
    """Points with other parameters than the first are refused before their circuits are built."""
    assert "point 1 has other parameters" in unusable(axes=[], mode="list", points=[{"a": 1, "b": 1}, {"a": 2}])


def test_shots_of_a_point() -> None:
    """Shots per point are shared among its bases, none lost; per basis is another definition only where it differs."""
    both = {"observables": ["X0", "Z0"], "shots": 101}
    plan = expand_sweep(spec(shots_per="point", **both))
    items = plan.items(plan.programs)
    assert sorted({item.shots for item in items}) == [50, 51]
    assert sum(item.shots for item in items) == 101 * len(plan.points)
    assert plan.definition != expand_sweep(spec(**both)).definition
    one = {"observables": ["Z0"], "shots": 101}
    assert expand_sweep(spec(shots_per="point", **one)).definition == expand_sweep(spec(**one)).definition


def test_circuit_lists() -> None:
    """A circuit list takes the keys of a sweep, and measures observables in their bases."""
    given = CircuitList.model_validate(
        {
            "circuits": [
                {"openqasm": QASM, "parameters": {"a": "x", "b": "pi"}, "observables": ["X0", "Z0 Z1"]},
                {"openqasm": QASM, "parameters": {"a": 0, "b": 0}, "label": "zero"},
            ],
            "constants": {"x": "pi/4"},
            "backends": ["aer"],
            "compile": {"level": 2},
            "shots": "1e2",
            "shots_per": "point",
        }
    )
    assert (given.backend, given.level, given.shots) == ("aer", 2, 100)
    plan = expand_circuit_list(given)
    items = plan.items(plan.programs)
    assert [item.label for item in items] == plan.labels()
    assert [item.shots for item in items] == [50, 50, 100]
    assert sum(item.shots for item in items) == 200
    assert dict(items[0].parameters) == {"a": math.pi / 4, "b": math.pi}
    plain = given.model_copy(
        update={"circuits": [each.model_copy(update={"observables": []}) for each in given.circuits]}
    )
    assert expand_circuit_list(plain).definition != plan.definition


def test_metadata_changes_nothing() -> None:
    """Metadata is no part of what is run."""
    bare = CircuitList.model_validate({"circuits": [{"builder": "ghz", "arguments": {"n_qubits": 2}}]})
    said = bare.circuits[0].model_copy(update={"metadata": {"family": "ghz"}})
    told = bare.model_copy(update={"circuits": [said]})
    assert expand_circuit_list(told).definition == expand_circuit_list(bare).definition


def test_hybrid_numbers() -> None:
    """A hybrid run takes expressions too, and is the same run then."""
    plain = HybridSpec.model_validate({**H2, "initial": [math.pi / 2] * 4, "shots": 1000})
    written = HybridSpec.model_validate({**H2, "initial": ["pi/2"] * 4, "shots": "1e3"})
    assert expand_hybrid(written).definition == expand_hybrid(plain).definition


def test_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes, observables and metadata are run and come back as columns, with both numbers of shots."""
    monkeypatch.setenv("QJOBS_HOME", str(tmp_path))
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ghz = SweepSpec.model_validate(
        {
            "name": "sizes",
            "circuit": {"builder": "ghz"},
            "axes": [{"name": "n_qubits", "values": [2, 4]}],
            "observables": {"zz": "Z0 Z1", "x": "X0 X1"},
            "shots": 100,
            "shots_per": "point",
            "seed": 1,
        }
    )
    frame = run(ghz, ledger=url).report.frame
    assert frame["n_qubits"].tolist() == [2.0, 4.0]
    assert frame["zz"].tolist() == [1.0, 1.0]
    assert frame["x"][0] == 1.0
    assert abs(frame["x"][1]) < 1.0
    assert (frame["shots"].tolist(), frame["shots_per_basis"].tolist()) == ([100, 100], [50, 50])
    circuits = [
        {"builder": "ghz", "arguments": {"n_qubits": n}, "label": f"g{n}", "metadata": {"family": "ghz", "size": n}}
        for n in (2, 3)
    ]
    circuits[0]["observables"] = ["Z0 Z1"]
    done = run(CircuitList.model_validate({"circuits": circuits, "shots": 50}), ledger=url, results=tmp_path)
    frame = done.report.frame
    assert frame["label"].tolist() == ["g2", "g3"]
    assert (frame["family"].tolist(), frame["size"].tolist()) == (["ghz", "ghz"], [2, 3])
    assert frame["Z0 Z1"][0] == 1.0
    assert math.isnan(frame["Z0 Z1"][1])
    assert frame["counts"].notna().tolist() == [False, True]
