"""The page about files says what is so: each snippet is a file that runs, or is refused in the words beside it."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from snippets import texts

from qjobs.errors import InvalidInput
from qjobs.experiments.circuit_list import CircuitEntry, CircuitList
from qjobs.experiments.expressions import KNOWN_NAMES
from qjobs.experiments.forms import CompileInput
from qjobs.experiments.schemas import kind_of, schema_of
from qjobs.experiments.sweep import SweepSpec
from qjobs.notebook import expand, load

PAGE = (Path(__file__).parents[2] / "docs" / "input.md").read_text()
SNIPPETS = texts("docs/input.md", "yaml")
REFUSALS = texts("docs/input.md", "text")
WRONG = [text for text in SNIPPETS if "name: wrong" in text]
RIGHT = [text for text in SNIPPETS if text not in WRONG]


@pytest.mark.parametrize("text", RIGHT, ids=lambda text: re.search(r"name: ([\w-]+)", text)[1])
def test_snippets(tmp_path: Path, text: str) -> None:
    """A snippet is a file that can be run, and obeys the schema."""
    file = tmp_path / "file.yaml"
    file.write_text(text)
    plan = expand(load(file))
    assert plan.items(plan.programs)
    data = yaml.safe_load(text)
    assert not list(jsonschema.Draft202012Validator(schema_of(kind_of(data))).iter_errors(data))


def test_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wrong file is refused with the words that the page shows."""
    monkeypatch.chdir(tmp_path)
    (text,) = WRONG
    Path("wrong.yaml").write_text(text)
    with pytest.raises(InvalidInput) as caught:
        load(Path("wrong.yaml"))
    (shown,) = REFUSALS
    assert str(caught.value) == shown.rstrip()


def test_keys() -> None:
    """The table has every key of sweeps, circuit lists and their circuits, and the page every function."""
    table = PAGE.partition("| key |")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(\w+)", table))
    for form in (SweepSpec, CircuitList, CircuitEntry, CompileInput):
        assert set(form.model_fields) <= named, form
    functions = PAGE.partition("the functions\n`")[2].partition("`")[0].split()
    assert set(functions) | {"pi", "π"} == KNOWN_NAMES
