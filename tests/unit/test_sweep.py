"""Sweeps worked out: what is measured, what a definition is made of, and what cannot be run."""

from __future__ import annotations

from typing import Any

import pytest
from sweep_specs import QASM, UNMEASURED, A, B, refused, spec, unusable

from qjobs.circuits.programs import program_from_qiskit, to_qiskit
from qjobs.errors import InvalidCircuit
from qjobs.experiments.sweep import OWN_COLUMNS, expand_sweep


def test_items() -> None:
    """Items and labels have one order: repetition, basis, point."""
    plan = expand_sweep(spec(repetitions=2, observables=[{"name": "h", "terms": "Z0 + X0 + Y1"}]))
    assert len(plan.templates) == 2
    items = plan.items({template.hash: template for template in plan.templates.values()})
    assert [item.label for item in items] == plan.labels()
    assert len(set(plan.labels())) == len(items) == 2 * 2 * 6
    first = plan.points[0]
    bases = list(plan.templates)
    assert items[0].label == f"{first.point_id}/0/{bases[0]}"
    assert items[6].label == f"{first.point_id}/0/{bases[1]}"
    assert items[12].label == f"{first.point_id}/1/{bases[0]}"
    assert items[0].parameters == (("a", 0.1), ("b", 1.0))
    assert {item.shots for item in items} == {1000}
    assert {item.source for item in items} == {template.hash for template in plan.templates.values()}


def test_removed_parameters() -> None:
    """Parameters that a compiler removed are left out of the items."""
    plan = expand_sweep(spec())
    smaller = program_from_qiskit(to_qiskit(plan.source).assign_parameters({"b": 0.0}))
    assert {item.parameters for item in plan.items({plan.source.hash: smaller})} == {(("a", a),) for a in A["values"]}


def test_measurements() -> None:
    """Counts need a measurement; observables bring their own."""
    circuit = {"openqasm": UNMEASURED}
    assert "no measurement" in unusable(circuit=circuit)
    plan = expand_sweep(spec(circuit=circuit, observables=[{"name": "z", "terms": "Z0"}]))
    assert all(template.measured for template in plan.templates.values())


def test_exact() -> None:
    """Exact values need the circuit itself, with its qubits kept in place."""
    exact = spec(exact=True, observables=[{"name": "h", "terms": "Z0 + X0"}], circuit={"openqasm": UNMEASURED})
    plan = expand_sweep(exact)
    assert plan.templates == {"": plan.source}
    assert plan.estimator is None
    assert plan.labels()[0] == f"{plan.points[0].point_id}/0"
    assert exact.compile_options().keep_qubits
    assert not spec().compile_options().keep_qubits
    assert "exact needs" in refused(exact=True)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"axes": [A]}, "parameters b have no value"),
        ({"axes": [A, B, {"name": "c", "values": [1]}]}, "has no parameters c"),
        ({"observables": [{"name": "h", "terms": "ZZZ"}]}, "3 qubits wide"),
        ({"observables": [{"name": "h", "terms": "Z7"}]}, "qubit 7"),
        ({"objective": {"name": "maxcut", "arguments": {"edges": [[0, 5]]}}}, "qubit 5"),
        ({"objective": {"name": "nothing"}}, "no objective 'nothing'"),
        (
            {"objective": {"name": "h", "arguments": {"x": 1}}, "observables": [{"name": "h", "terms": "Z0"}]},
            "takes no arguments",
        ),
        (
            {"objective": {"name": "maxcut", "arguments": {"edges": [[0, 1]], "reference": "qaoa-p1"}}},
            "name the parameters as it needs them",
        ),
        (
            {
                "objective": {"name": "maxcut", "arguments": {"edges": [[0, 1]]}},
                "observables": [{"name": "cut", "terms": "Z0"}],
            },
            "the observable 'cut' needs another name",
        ),
        ({"observables": [{"name": "a", "terms": "Z0"}]}, "already"),
        (
            {"observables": [{"name": "x", "terms": "Z0"}, {"name": "x_stderr", "terms": "Z0"}]},
            "'x_stderr' needs another name",
        ),
        ({"circuit": {"builder": "nothing"}}, "no circuit builder 'nothing'"),
        ({"circuit": {"openqasm": "no circuit"}}, "is not OpenQASM"),
        ({"circuit": {"file": "/nowhere/at_all.qasm"}}, "at_all.qasm"),
    ],
)
def test_impossible_sweeps(values: dict[str, Any], words: str) -> None:
    """A sweep that cannot be run is refused before any job is made."""
    assert words in unusable(**values)


@pytest.mark.parametrize("column", OWN_COLUMNS)
def test_column_names(column: str) -> None:
    """No observable and no parameter takes the name of another column."""
    assert "needs another name" in unusable(observables=[{"name": column, "terms": "Z0"}])
    renamed = QASM.replace("] a;", f"] {column};").replace("(a)", f"({column})")
    assert "needs another name" in unusable(circuit={"openqasm": renamed}, axes=[{**A, "name": column}, B])


def test_measurement_in_the_middle() -> None:
    """A circuit that measures in the middle has counts and no observables."""
    middle = QASM + "rx(a) q[0];\n"
    assert expand_sweep(spec(circuit={"openqasm": middle})).templates
    with pytest.raises(InvalidCircuit, match="only at its end"):
        expand_sweep(spec(circuit={"openqasm": middle}, observables=[{"name": "z", "terms": "Z0"}]))


CHANGES = [
    {"shots": 999},
    {"seed": 1},
    {"observables": [{"name": "z", "terms": "Z0"}]},
    {"objective": {"name": "maxcut", "arguments": {"edges": [[0, 1]]}}},
    {"observables": [{"name": "z", "terms": "Z0"}], "exact": True},
    {"observables": [{"name": "z", "terms": "Z1"}]},
    {"observables": [{"name": "y", "terms": "Z1"}]},
    {"compile": {"level": 2}},
    {"compile": {"compiler": "tket"}},
    {"circuit": {"openqasm": QASM.replace("rx", "rz")}},
]
KEEPS = [
    {"axes": [{**A, "values": [9]}, B]},
    {"mode": "random", "samples": 4},
    {"mode": "list", "axes": [], "points": [{"a": 1, "b": 2}]},
    {"backends": ["aer-backend/x", "aer"]},
    {"name": "other"},
    {"repetitions": 3},
    {"fresh": True},
]


def test_definition() -> None:
    """The definition changes with all that gives a result its meaning, and with nothing else."""
    plain = expand_sweep(spec()).definition
    changed = [expand_sweep(spec(**change)).definition for change in CHANGES]
    assert len({plain, *changed}) == len(CHANGES) + 1
    assert [expand_sweep(spec(**keep)).definition for keep in KEEPS] == [plain] * len(KEEPS)


def test_goals() -> None:
    """The goal of an objective is no part of the definition."""
    wish = {"name": "maxcut", "arguments": {"edges": [[0, 1]]}}
    goals = [expand_sweep(spec(objective={**wish, "goal": goal})).definition for goal in ("maximize", "minimize")]
    assert goals[0] == goals[1]
