"""Sweeps: points and their ids, what a definition is made of, what is refused and in which words."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field, ValidationError

from qjobs.circuits.programs import program_from_qiskit, to_qiskit
from qjobs.compiling.compiler import Compiler
from qjobs.errors import InvalidCircuit, InvalidInput
from qjobs.experiments.circuit_list import CircuitList
from qjobs.experiments.forms import MAX_ITEMS, Axis, explain, read_mapping
from qjobs.experiments.sweep import OWN_COLUMNS, SweepPlan, SweepSpec, expand_sweep, load_sweep
from qjobs.model import ProgramFormat

QASM = """OPENQASM 3.0;
include "stdgates.inc";
input float[64] a;
input float[64] b;
qubit[2] q;
bit[2] c;
rx(a) q[0];
ry(b) q[1];
cx q[0], q[1];
c = measure q;
"""
UNMEASURED = QASM.replace("c = measure q;\n", "")
A, B = {"name": "a", "values": [0.1, 0.2, 0.3]}, {"name": "b", "values": [1.0, 2.0]}
EXAMPLE = Path(__file__).parents[2] / "examples" / "qaoa_maxcut" / "sweep.yaml"


def spec(**values: Any) -> SweepSpec:
    given = {"name": "s", "circuit": {"openqasm": QASM}, "axes": [A, B]}
    return SweepSpec.model_validate({**given, **values})


def rows(plan: SweepPlan) -> list[tuple[float, ...]]:
    return [tuple(value for _, value in point.parameters) for point in plan.points]


def ids(plan: SweepPlan) -> list[str]:
    return [point.point_id for point in plan.points]


def refused(**values: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        spec(**values)
    return str(explain(caught.value, "s"))


def unusable(**values: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        expand_sweep(spec(**values))
    return str(caught.value)


# Points


def test_grid_is_all_combinations_in_the_order_of_the_axes() -> None:
    plan = expand_sweep(spec())
    assert rows(plan) == [(a, b) for a in (0.1, 0.2, 0.3) for b in (1.0, 2.0)]
    assert [point.index for point in plan.points] == list(range(6))
    assert rows(expand_sweep(spec(axes=[B, A]))) == [(a, b) for b in (1.0, 2.0) for a in (0.1, 0.2, 0.3)]
    assert {name for point in plan.points for name, _ in point.parameters} == {"a", "b"}


def test_zip_takes_the_nth_values_together() -> None:
    short = {"name": "b", "kind": "linspace", "start": 5, "stop": 7, "count": 3}
    assert rows(expand_sweep(spec(mode="zip", axes=[A, short]))) == [(0.1, 5.0), (0.2, 6.0), (0.3, 7.0)]
    assert "a has 3, b has 2" in refused(mode="zip")


def test_list_takes_the_points_as_they_are() -> None:
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
def test_random_draws_uniformly_between_the_ends_of_an_axis_of_any_kind(axis: dict[str, Any]) -> None:
    plan = expand_sweep(spec(mode="random", samples=2000, seed=3, axes=[{"name": "a", **axis}, {"name": "b", **axis}]))
    values = sorted(a for a, _ in rows(plan))
    assert -1.0 <= values[0] < -0.99
    assert 1.99 < values[-1] <= 2.0
    assert sum(values) / 2000 == pytest.approx(0.5, abs=4 * 3 / math.sqrt(12 * 2000))
    same = expand_sweep(
        spec(mode="random", samples=2000, seed=3, axes=[{"name": n, **AXES_OF_ONE_RANGE[0]} for n in ("a", "b")])
    )
    assert rows(plan) == rows(same)


def test_random_is_repeatable_and_more_samples_keep_the_first() -> None:
    def drawn(samples: int, seed: int | None) -> list[str]:
        return ids(expand_sweep(spec(mode="random", samples=samples, seed=seed)))

    assert drawn(5, 3) == drawn(5, 3) == drawn(9, 3)[:5]
    assert drawn(5, 4) != drawn(5, 3)
    assert drawn(5, None) == drawn(5, 0)


def test_random_does_not_disturb_the_global_generator() -> None:
    random.seed(1)
    first = random.random()
    random.seed(1)
    expand_sweep(spec(mode="random", samples=3))
    assert random.random() == first


def points_of(**values: Any) -> list[float]:
    return Axis.model_validate({"name": "a", **values}).points()


def test_values_of_every_kind_of_axis() -> None:
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
        ({"kind": "logspace", "start": 0, "stop": 1, "count": 3}, "'values', 'linspace' or 'random'"),
        ({"values": [1], "step": 2}, "axes.0.step: there is no such field"),
        ({"values": [math.nan]}, "finite"),
        ({"values": [math.inf]}, "finite"),
        ({"kind": "linspace", "start": -math.inf, "stop": 1, "count": 3}, "finite"),
        ({"kind": "random", "start": 0, "stop": math.nan, "count": 3}, "finite"),
    ],
)
def test_axes_that_are_refused(axis: dict[str, Any], words: str) -> None:
    assert words in refused(axes=[{"name": "a", **axis}, B])


def test_points_that_are_not_finite_are_refused() -> None:
    assert "finite" in refused(mode="list", axes=[], points=[{"a": math.nan, "b": 1}])
    assert "NaN" in refused(circuit={"builder": "ghz", "arguments": {"n_qubits": math.nan}})
    assert "NaN" in refused(objective={"name": "maxcut", "arguments": {"edges": [[0, math.inf]]}})
    huge = {"name": "a", "kind": "linspace", "start": -1.7e308, "stop": 1.7e308, "count": 3}
    assert "too large" in unusable(axes=[huge, B])


# Ids


def test_point_ids_are_the_same_for_ever_and_in_every_process() -> None:
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


def test_minus_zero_is_zero() -> None:
    one = expand_sweep(spec(mode="list", axes=[], points=[{"a": 0.0, "b": 1}]))
    other = expand_sweep(spec(mode="list", axes=[], points=[{"a": -0.0, "b": 1}]))
    assert ids(one) == ids(other)
    assert math.copysign(1, rows(other)[0][0]) == 1
    assert "twice" in unusable(axes=[{"name": "a", "values": [0.0, -0.0]}, B])


def test_ids_depend_on_the_point_and_the_circuit_alone() -> None:
    plan = expand_sweep(spec())
    assert len(set(ids(plan))) == 6
    same = expand_sweep(spec(name="t", shots=7, seed=4, repetitions=2, observables=[{"name": "z", "terms": "Z0"}]))
    assert ids(same) == ids(plan)
    assert not set(ids(expand_sweep(spec(circuit={"openqasm": QASM.replace("rx", "rz")})))) & set(ids(plan))


@pytest.mark.parametrize(("coarse", "fine"), [(2, 3), (3, 5), (4, 10), (5, 9), (7, 13), (8, 29), (20, 58), (15, 99)])
def test_extending_an_axis_keeps_the_ids_of_old_points(coarse: int, fine: int) -> None:
    def linspace(count: int) -> list[dict[str, Any]]:
        return [{"name": "a", "kind": "linspace", "start": 0.1, "stop": math.pi, "count": count}, B]

    assert set(ids(expand_sweep(spec(axes=linspace(coarse))))) <= set(ids(expand_sweep(spec(axes=linspace(fine)))))
    longer = [{**A, "values": [*A["values"], 0.4]}, B]
    assert set(ids(expand_sweep(spec()))) <= set(ids(expand_sweep(spec(axes=longer))))


def test_duplicate_points_are_refused() -> None:
    assert "a=0.1, b=1 is in the sweep twice" in unusable(axes=[{"name": "a", "values": [0.1, 0.1]}, B])
    fixed = {"circuit": {"builder": "ghz", "arguments": {"n_qubits": 2}}, "axes": []}
    assert "without parameters" in unusable(mode="random", samples=2, **fixed)
    assert rows(expand_sweep(spec(**fixed))) == [()]


def test_too_many_items_are_refused_before_they_are_made() -> None:
    long = {"kind": "linspace", "start": 0, "stop": 1, "count": 1001}
    assert "more than" in unusable(axes=[{"name": "a", **long}, {"name": "b", **long}])
    assert f"the most is {MAX_ITEMS}" in unusable(repetitions=MAX_ITEMS)
    assert "6000000 circuits" in unusable(repetitions=500_000, backends=["aer", "aer-backend/x"])


# What is measured


def test_labels_and_items_stand_in_one_order_with_repetitions_and_bases() -> None:
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


def test_parameters_that_a_compiler_removed_are_left_out_of_the_items() -> None:
    plan = expand_sweep(spec())
    smaller = program_from_qiskit(to_qiskit(plan.source).assign_parameters({"b": 0.0}))
    assert {item.parameters for item in plan.items({plan.source.hash: smaller})} == {(("a", a),) for a in A["values"]}


def test_counts_need_a_measurement_and_observables_do_not() -> None:
    circuit = {"openqasm": UNMEASURED}
    assert "no measurement" in unusable(circuit=circuit)
    plan = expand_sweep(spec(circuit=circuit, observables=[{"name": "z", "terms": "Z0"}]))
    assert all(template.measured for template in plan.templates.values())


def test_exact_sends_the_circuit_itself_and_keeps_its_qubits() -> None:
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
def test_sweeps_that_cannot_be_run(values: dict[str, Any], words: str) -> None:
    assert words in unusable(**values)


@pytest.mark.parametrize("column", OWN_COLUMNS)
def test_no_observable_and_no_parameter_takes_the_name_of_another_column(column: str) -> None:
    assert "needs another name" in unusable(observables=[{"name": column, "terms": "Z0"}])
    renamed = QASM.replace("] a;", f"] {column};").replace("(a)", f"({column})")
    assert "needs another name" in unusable(circuit={"openqasm": renamed}, axes=[{**A, "name": column}, B])


def test_a_circuit_that_measures_in_the_middle_has_no_observables() -> None:
    middle = QASM + "rx(a) q[0];\n"
    assert expand_sweep(spec(circuit={"openqasm": middle})).templates
    with pytest.raises(InvalidCircuit, match="only at its end"):
        expand_sweep(spec(circuit={"openqasm": middle}, observables=[{"name": "z", "terms": "Z0"}]))


# The definition

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


def test_the_definition_is_what_gives_a_result_its_meaning() -> None:
    plain = expand_sweep(spec()).definition
    changed = [expand_sweep(spec(**change)).definition for change in CHANGES]
    assert len({plain, *changed}) == len(CHANGES) + 1
    assert [expand_sweep(spec(**keep)).definition for keep in KEEPS] == [plain] * len(KEEPS)


def test_the_goal_of_an_objective_is_no_part_of_the_definition() -> None:
    wish = {"name": "maxcut", "arguments": {"edges": [[0, 1]]}}
    goals = [expand_sweep(spec(objective={**wish, "goal": goal})).definition for goal in ("maximize", "minimize")]
    assert goals[0] == goals[1]


# The forms


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"shotz": 5}, "shotz: there is no such field"),
        ({"circuit": {"openqasm": QASM, "language": "3"}}, "circuit.language: there is no such field"),
        ({"compile": {"levle": 2}}, "compile.levle"),
        ({"shots": 0}, "shots: "),
        ({"repetitions": 0}, "repetitions: "),
        ({"seed": -1}, "seed: "),
        ({"samples": 3}, "mode random needs samples"),
        ({"mode": "random"}, "mode random needs samples"),
        ({"mode": "list"}, "mode list takes points and no axes"),
        ({"mode": "list", "points": [{"a": 1}]}, "mode list takes points and no axes"),
        ({"points": [{"a": 1, "b": 1}]}, "every other mode takes axes and no points"),
        ({"axes": [A, A]}, "two axes have the same name"),
        ({"backends": []}, "backends: "),
        ({"backends": ["aer", "aer"]}, "a backend is named twice"),
        ({"observables": [{"name": "z", "terms": "Z0"}] * 2}, "two observables have the same name"),
        ({"circuit": {}}, "give the circuit in one way"),
        ({"circuit": {"openqasm": QASM, "file": "x"}}, "give the circuit in one way"),
        ({"circuit": {"openqasm": QASM, "arguments": {"n": 1}}}, "arguments are for a builder"),
        ({"name": "../etc"}, "use letters"),
        ({"name": ""}, "name: "),
        ({"name": "n" * 201}, "name: "),
        ({"compile": {"level": 4}}, "compile.level: "),
        ({"compile": {"compiler": "gcc"}}, "'qiskit', 'tket', 'none' or 'remote'"),
    ],
)
def test_forms_that_are_refused(values: dict[str, Any], words: str) -> None:
    text = refused(**values)
    assert words in text
    assert "\n" not in text
    assert not any(word in text for word in ("pydantic", "input_value", "type=", "Value error", "https://"))


def test_explain_gives_one_line_per_problem_and_names_the_first_field() -> None:
    with pytest.raises(ValidationError) as caught:
        SweepSpec.model_validate({"name": "s", "circuit": {"openqasm": QASM}, "shots": 0, "axes": [{"name": "a"}]})
    error = explain(caught.value, "sweep.yaml")
    lines = str(error).splitlines()
    assert lines[0] == "sweep.yaml cannot be used:"
    assert lines[1:] == [
        "- axes.0: the axis 'a' has no values; give values, or another kind",
        "- shots: Input should be greater than or equal to 1",
    ]
    assert error.field == "axes.0"
    with pytest.raises(ValidationError) as caught:
        spec(axes=[A, A])
    assert explain(caught.value, "x").field is None
    with pytest.raises(ValidationError) as caught:
        SweepSpec.model_validate({"name": "s"})
    assert str(explain(caught.value, "x")) == "x cannot be used: circuit: it is missing"


def test_specs_cannot_be_changed_and_survive_json() -> None:
    given = spec(seed=4, observables=[{"name": "h", "terms": "0.1*Z0"}])
    with pytest.raises(ValidationError, match="frozen"):
        given.shots = 3
    again = SweepSpec.model_validate_json(given.model_dump_json())
    assert again == given
    assert expand_sweep(again).definition == expand_sweep(given).definition
    assert given.compile.options().compiler is Compiler.QISKIT


def form_problems(model: type[BaseModel]) -> list[str]:
    """What keeps a model's JSON schema from being drawn as a form that explains itself."""
    schema = model.model_json_schema()
    forms = {model.__name__: schema, **schema.get("$defs", {})}
    problems = []
    for form, body in forms.items():
        if body.get("type") == "object" and body.get("additionalProperties") is not False:
            problems.append(f"{form} takes unknown fields")
        for name, field in body.get("properties", {}).items():
            if not field.get("description", "").endswith("."):
                problems.append(f"{form}.{name} has no description that ends in a full stop")
            choices = [choice for choice in field.get("anyOf", []) if choice != {"type": "null"}]
            if len(choices) > 1 or "oneOf" in field or len(field.get("allOf", [])) > 1:
                problems.append(f"{form}.{name} is several forms in one")
    return problems


@pytest.mark.parametrize("model", [SweepSpec, CircuitList])
def test_the_json_schema_is_a_form_that_explains_itself(model: type[BaseModel]) -> None:
    assert form_problems(model) == []


def test_a_field_without_description_would_be_noticed() -> None:
    class Worse(SweepSpec):
        silent: int = 3
        short: int = Field(default=3, description="No full stop")
        mixed: int | str = Field(default=3, description="Two kinds.")

    assert [problem.split()[0] for problem in form_problems(Worse)] == ["Worse.silent", "Worse.short", "Worse.mixed"]


# Files


def write(folder: Path, text: str | bytes, name: str = "sweep.yaml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_yaml_file_finds_its_circuit_beside_it_and_takes_its_text_in(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write(tmp_path, QASM, "deep/circuit.qasm")
    text = (
        "name: s\ncircuit: {file: deep/circuit.qasm}\naxes:\n- {name: a, values: [1e-3]}\n- {name: b, values: [-0.0]}"
    )
    loaded = load_sweep(write(tmp_path, text))
    assert loaded.circuit.openqasm == QASM
    assert loaded.circuit.file is None
    assert rows(expand_sweep(loaded)) == [(0.001, 0.0)]


def test_a_json_file_is_read_too(tmp_path: Path) -> None:
    path = write(tmp_path, spec().model_dump_json(indent=1), "sweep.json")
    assert load_sweep(path) == spec()


def test_a_qpy_circuit_is_found_from_any_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = program_from_qiskit(to_qiskit(expand_sweep(spec()).source))
    assert program.format is ProgramFormat.QPY
    write(tmp_path, program.payload, "circuit.qpy")
    write(tmp_path, json.dumps({**spec().model_dump(mode="json"), "circuit": {"file": "circuit.qpy"}}))
    monkeypatch.chdir(tmp_path)
    loaded = load_sweep(Path("sweep.yaml"))
    monkeypatch.chdir("/")
    assert expand_sweep(loaded).source.hash == expand_sweep(spec()).source.hash


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("- a\n- b\n", "must hold a mapping"),
        ("", "must hold a mapping"),
        ("just words", "must hold a mapping"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "neither YAML nor JSON"),
        (b"\x00\x01\x02", "neither YAML nor JSON"),
        ("a: [1, 2", "neither YAML nor JSON"),
        ("a: b: c", "neither YAML nor JSON"),
        ("name: 2025-99-99", "neither YAML nor JSON"),
        ("name: !!python/object/apply:os.system [true]", "neither YAML nor JSON"),
        ("[" * 1500, "neither YAML nor JSON"),
        ("1: 2\nname: s\ncircuit: {builder: ghz}", "1: Keys should be strings"),
        ("name: s\ncircuit: {file: gone.qasm}\n", "gone.qasm"),
        ("name: s\nbackend: aer\ncircuit: {builder: ghz}\n", "backend: there is no such field"),
    ],
)
def test_files_that_are_no_sweep(tmp_path: Path, content: str | bytes, words: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(InvalidInput, match=words) as caught:
        load_sweep(path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_missing_file_and_a_directory(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"gone\.yaml cannot be read: No such file.*check the path"):
        load_sweep(tmp_path / "gone.yaml")
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_mapping(tmp_path)


def test_the_example_loads_and_says_all_by_itself() -> None:
    loaded = load_sweep(EXAMPLE)
    assert loaded.circuit.openqasm is not None
    plan = expand_sweep(loaded)
    assert len(plan.points) == 300
    assert (plan.source.n_qubits, plan.source.parameters) == (8, ("beta", "gamma"))
    assert list(plan.templates) == ["ZZZZZZZZ"]
    assert plan.objective is not None
    assert plan.objective.best_possible == 10
