"""The JSON Schemas for editors: those in the examples are current, and take what the forms take."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
import yaml
from bad_input_cases import CASES

from qjobs.errors import InvalidInput
from qjobs.experiments.schemas import FORMS, kind_of, schema_of, write_schemas

EXAMPLES = Path(__file__).parents[2] / "examples"
LINE = re.compile(r"# yaml-language-server: \$schema=(\S+)\n")
FILES = sorted(path for path in EXAMPLES.rglob("*.yaml") if path.parent.name != "divi")
SHORT = {
    "sweep": {
        "name": "s",
        "circuit": {"builder": "ghz"},
        "axes": [
            {"name": "n_qubits", "values": [2, "1+2"]},
            {"name": "t", "kind": "logspace", "start": "pi", "stop": 9},
        ],
        "observables": ["Z0"],
        "parameters": {"a": "2*pi*t", "b": 1},
        "constants": {"f": "1/3"},
        "shots": "1e3",
        "backend": "aer",
        "level": 2,
    },
    "circuits": {
        "circuits": [{"file": "b.qasm", "metadata": {"family": "x"}, "parameters": {"a": "pi"}}],
        "backends": ["aer"],
        "compile": {"compiler": "tket"},
        "observables": {"zz": "Z0 Z1"},
    },
    "hybrid": {"hamiltonian": {"terms": {"ZZ": 1}}, "initial": ["pi/2"]},
    "health-check": {"sizes": [2, 4]},
}
MISSPELT = {
    name: text for name, (text, _) in CASES.items() if name.startswith("misspelt key") or name == "misspelt choice"
}


def problems(kind: str, data: object) -> list[str]:
    checker = jsonschema.Draft202012Validator(schema_of(kind))
    return [error.message for error in checker.iter_errors(data)]


@pytest.mark.parametrize("kind", FORMS)
def test_schemas_are_current(kind: str) -> None:
    """The schemas beside the examples are those of the forms; `qjobs schema --out examples/schemas` writes them."""
    written = json.loads((EXAMPLES / "schemas" / f"{kind}.json").read_text())
    assert written == schema_of(kind), "run: qjobs schema --out examples/schemas"
    jsonschema.Draft202012Validator.check_schema(written)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_examples_name_theirs(path: Path) -> None:
    """Every example names its schema in its first line, and obeys it."""
    text = path.read_text()
    named = LINE.match(text)
    assert named is not None
    data = yaml.safe_load(text)
    assert (path.parent / named[1]).resolve() == EXAMPLES / "schemas" / f"{kind_of(data)}.json"
    assert problems(kind_of(data), data) == []


@pytest.mark.parametrize("kind", FORMS)
def test_short_forms(kind: str) -> None:
    """What files may say in short, editors take too."""
    assert problems(kind, SHORT[kind]) == []
    assert kind_of(SHORT[kind]) == kind


@pytest.mark.parametrize("name", MISSPELT)
def test_editors_see_mistakes(name: str) -> None:
    """A misspelt key or choice is a problem for an editor as well."""
    data = yaml.safe_load(MISSPELT[name])
    assert problems(kind_of(data), data)


def test_command(qjobs: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """The command prints one schema, or writes all; an unknown kind and a file in the way are refused."""
    assert json.loads(qjobs("schema", "hybrid")[1]) == schema_of("hybrid")
    assert json.loads(qjobs("schema")[1]) == schema_of("sweep")
    code, out, _ = qjobs("schema", "--out", tmp_path / "made")
    assert code == 0
    assert {path.name for path in (tmp_path / "made").iterdir()} == {f"{kind}.json" for kind in FORMS}
    assert "yaml-language-server" in out
    code, _, err = qjobs("schema", "swep")
    assert (code, err) == (2, "error: there is no schema 'swep'; did you mean sweep?\n")
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot be written"):
        write_schemas(tmp_path / "file")
