"""The form of a sweep, and the file: what is refused in which words, and what is found beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field, ValidationError
from sweep_specs import QASM, A, refused, rows, spec

from qjobs.circuits.programs import program_from_qiskit, to_qiskit
from qjobs.compiling.compiler import Compiler
from qjobs.errors import InvalidInput
from qjobs.experiments.circuit_list import CircuitList
from qjobs.experiments.forms import explain, read_mapping
from qjobs.experiments.health_check import HealthCheck
from qjobs.experiments.sweep import SweepSpec, expand_sweep, load_sweep
from qjobs.model import ProgramFormat

EXAMPLE = Path(__file__).parents[2] / "examples" / "qaoa_maxcut" / "sweep.yaml"


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
def test_bad_forms(values: dict[str, Any], words: str) -> None:
    """A bad form is refused in one line of plain words."""
    text = refused(**values)
    assert words in text
    assert "\n" not in text
    assert not any(word in text for word in ("pydantic", "input_value", "type=", "Value error", "https://"))


def test_explain() -> None:
    """Several problems have a line each, and the first field is named."""
    with pytest.raises(ValidationError) as caught:
        SweepSpec.model_validate({"name": "s", "circuit": {"openqasm": QASM}, "shots": 0, "axes": [{"name": "a"}]})
    error = explain(caught.value, "sweep.yaml")
    lines = str(error).splitlines()
    assert lines[0] == "sweep.yaml cannot be used:"
    assert lines[1:] == [
        "- axes.0: the axis 'a' has no values; give values, or another kind",
        "- shots: it must be 1 or more, not 0",
    ]
    assert error.field == "axes.0"
    with pytest.raises(ValidationError) as caught:
        spec(axes=[A, A])
    assert explain(caught.value, "x").field is None
    with pytest.raises(ValidationError) as caught:
        SweepSpec.model_validate({"name": "s"})
    assert str(explain(caught.value, "x")) == "x cannot be used: circuit: it is missing"


def test_specs_survive_json() -> None:
    """A spec cannot be changed and survives JSON."""
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


@pytest.mark.parametrize("model", [SweepSpec, CircuitList, HealthCheck])
def test_schemas_explain_themselves(model: type[BaseModel]) -> None:
    """Every field has a description, and none is several forms in one."""
    assert form_problems(model) == []


def test_bad_schemas() -> None:
    """A field without a description, or with two kinds of values, would be noticed."""

    class Worse(SweepSpec):
        silent: int = 3
        short: int = Field(default=3, description="No full stop")
        mixed: int | str = Field(default=3, description="Two kinds.")

    assert [problem.split()[0] for problem in form_problems(Worse)] == ["Worse.silent", "Worse.short", "Worse.mixed"]


def write(folder: Path, text: str | bytes, name: str = "sweep.yaml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_yaml(tmp_path: Path) -> None:
    """A YAML file finds its circuit beside it and takes its text in."""
    (tmp_path / "deep").mkdir()
    write(tmp_path, QASM, "deep/circuit.qasm")
    text = (
        "name: s\ncircuit: {file: deep/circuit.qasm}\naxes:\n- {name: a, values: [1e-3]}\n- {name: b, values: [-0.0]}"
    )
    loaded = load_sweep(write(tmp_path, text))
    assert loaded.circuit.openqasm == QASM
    assert loaded.circuit.file is None
    assert rows(expand_sweep(loaded)) == [(0.001, 0.0)]


def test_json(tmp_path: Path) -> None:
    """A sweep is read from JSON too."""
    path = write(tmp_path, spec().model_dump_json(indent=1), "sweep.json")
    assert load_sweep(path) == spec()


def test_qpy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A QPY circuit is found from any working directory."""
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
        ("1: 2\nname: s\ncircuit: {builder: ghz}", "1: a key must be a text"),
        ("name: s\ncircuit: {file: gone.qasm}\n", "gone.qasm"),
        ("name: s\nbackend: aer\nbackends: [aer]\ncircuit: {builder: ghz}\n", "backend and backends say the same"),
    ],
)
def test_bad_files(tmp_path: Path, content: str | bytes, words: str) -> None:
    """A file that is no sweep is refused with its path, in one line."""
    path = write(tmp_path, content)
    with pytest.raises(InvalidInput, match=words) as caught:
        load_sweep(path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_missing_files(tmp_path: Path) -> None:
    """A missing file and a directory are refused with what to do."""
    with pytest.raises(InvalidInput, match=r"gone\.yaml cannot be read: No such file.*check the path"):
        load_sweep(tmp_path / "gone.yaml")
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_mapping(tmp_path)


def test_example() -> None:
    """The example loads and says all by itself."""
    loaded = load_sweep(EXAMPLE)
    assert loaded.circuit.openqasm is not None
    plan = expand_sweep(loaded)
    assert len(plan.points) == 300
    assert (plan.source.n_qubits, plan.source.parameters) == (8, ("beta", "gamma"))
    assert list(plan.templates) == ["ZZZZZZZZ"]
    assert plan.objective is not None
    assert plan.objective.best_possible == 10
