"""The page on pictures and fits: its sweep, its tables, its snippets."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from snippets import texts

from qjobs.cli.main import main as cli
from qjobs.experiments.analyses import ANALYSES, Analysis, fit, load_analysis
from qjobs.experiments.forms import AnalysisInput

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "pictures-and-fits.md").read_text()
SHIPPED = ("cosine", "exponential-decay", "parabola", "rabi", "ramsey", "t1")


BLOCKS = {kind: texts("docs/pictures-and-fits.md", kind) for kind in ("bash", "python", "yaml")}


def test_example() -> None:
    """The sweep on the page is the example's file."""
    assert BLOCKS["yaml"] == [(ROOT / "examples" / "rabi" / "sweep.yaml").read_text()]


def test_analyses() -> None:
    """The table has each analysis with its formula and what follows from it."""
    rows = dict(re.findall(r"^\| `([a-z0-9-]+)` \| `([^`]*)` \|.*$", PAGE, re.MULTILINE))
    assert set(rows) == set(SHIPPED) <= set(ANALYSES.names())
    for name, formula in rows.items():
        analysis = load_analysis(name, {})
        assert formula == analysis.formula
        (row,) = re.findall(rf"^\| `{name}` \|.*$", PAGE, re.MULTILINE)
        assert all(f"`{derived}`" in row for derived in analysis.derived)


def test_keys() -> None:
    """The table has each key of `analysis:`."""
    table = PAGE.partition("`analysis:` has these keys")[2].partition("Fits need")[0]
    keys = re.findall(r"^\| `(\w+)` \| ", table, re.MULTILINE)
    assert keys == list(AnalysisInput.model_fields)


def test_own_analysis() -> None:
    """The analysis of one's own fits a line."""
    _, own, _ = BLOCKS["python"]
    space: dict[str, object] = {}
    exec(compile(own, "pictures-and-fits.md", "exec"), space)
    line = space["line"]()
    assert isinstance(line, Analysis)
    x = np.linspace(1, 5, 9)
    found = {each.name: each for each in fit(line, x, 4 - 2 * x, np.full(9, 0.1)).parameters}
    assert found["slope"].value == pytest.approx(-2)
    assert found["zero"].value == pytest.approx(2)
    assert line.unit_of("slope", "us") == "1/us"


def test_errors() -> None:
    """The errors on the page are so."""
    exec(compile(BLOCKS["python"][2], "pictures-and-fits.md", "exec"), {})


@pytest.mark.slow
def test_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints the period and writes the files; the snippet draws the same run in other looks."""
    monkeypatch.setenv("QJOBS_HOME", str(tmp_path))
    monkeypatch.delenv("QJOBS_LEDGER", raising=False)
    monkeypatch.chdir(ROOT)
    command, again = BLOCKS["bash"]
    assert cli(command.split()[1:]) == 0
    said = capsys.readouterr().out
    assert re.search(r"fit of rabi to p1 on aer: .*period = 5\.2\d+ ± 0\.0\d+ us", said)
    (picture,) = re.findall(r"^picture: +(\S+)$", said, re.MULTILINE)
    there = {path.name for path in Path(picture).parent.iterdir()}
    assert {"picture.png", "fits.json"} <= there
    for line in again.splitlines():
        words = line.split()[1:]
        place = tmp_path / words[words.index("--picture") + 1]
        assert cli([str(place) if word == place.name else word for word in words]) == 0
        assert place.stat().st_size > 5000
    (record,) = json.loads(Path(picture).with_name("fits.json").read_text())
    assert abs(record["parameters"]["period"]["value"] - 1 / 0.19) < 4 * record["parameters"]["period"]["stderr"]
    space: dict[str, object] = {}
    exec(compile(BLOCKS["python"][0], "pictures-and-fits.md", "exec"), space)
    assert space["for_a_paper"].startswith(b"%PDF")
    assert space["for_a_talk"].startswith(b"<?xml")
    assert space["fitted"]["parameter"].tolist() == ["amplitude", "period", "offset", "pi_pulse"]
