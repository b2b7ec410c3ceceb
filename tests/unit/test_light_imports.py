"""What is called often, or waits for weeks, imports little: counted in modules, not in seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from qjobs.backends.rest import LostReply
from qjobs.cli.declaring import built
from qjobs.cli.main import COMMANDS, app_of
from qjobs.cli.options import LostReplyKind

ROOT = Path(__file__).parents[2]
CIRCUITS = {"qiskit", "qiskit_aer", "pytket", "numpy", "scipy", "pandas", "pyarrow", "matplotlib"}
HEAVY = {*CIRCUITS, "sympy", "loky", "prefect", "httpx", "alembic", "sqlalchemy", "pydantic", "yaml"}
WAITING = {"qiskit", "numpy", "scipy", "loky", "sqlalchemy", "pydantic", "yaml"}
QUIET = "contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())"
SEEN = "print(json.dumps([list(seen or sys.modules), len(sys.modules)]))"


def loaded(words: str, home: Path) -> tuple[set[str], int]:
    """Which heavy packages a new process has loaded after this code, or saw in `seen`, and how many modules it has."""
    code = f"import contextlib, io, json, sys\nseen = set()\n{words}\n{SEEN}"
    env = {**os.environ, "QJOBS_HOME": str(home), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    modules, count = json.loads(done.stdout)
    return set(modules) & HEAVY, count


def command(*words: str) -> str:
    return f"import qjobs.cli.main as cli\nwith {QUIET}, contextlib.suppress(SystemExit): cli.main({list(words)!r})"


def test_sensor_imports(tmp_path: Path) -> None:
    """A sensor's process loads no circuit library."""
    heavy, _ = loaded("import qjobs.cli.main, flows.sensor, blocks", tmp_path)
    assert not heavy & CIRCUITS


@pytest.mark.parametrize(
    ("words", "allowed", "most"),
    [
        ("import qjobs", set(), 90),
        (command("--help"), set(), 220),
        (command("jobs", "retry", "--help"), set(), 165),
        (command("jobs", "list"), {"sqlalchemy"}, 470),
        (command("jobs", "discard", "job-0"), {"sqlalchemy"}, 520),
    ],
    ids=["qjobs", "help", "help of a command", "list", "discard"],
)
def test_quick_commands(tmp_path: Path, words: str, allowed: set[str], most: int) -> None:
    """A command that people wait for loads what it works with, and no more."""
    heavy, count = loaded(words, tmp_path)
    assert heavy == allowed
    assert count <= most


def test_run_imports(tmp_path: Path) -> None:
    """A run on the simulator loads no pytket, sympy or Aer, and what its report needs once it has waited."""
    form = yaml.safe_load((ROOT / "examples/qaoa_maxcut/sweep.yaml").read_text())
    text = (ROOT / "examples/qaoa_maxcut/ansatz.qasm").read_text()
    axes = [{"name": "gamma", "values": [0.1, 0.2]}, {"name": "beta", "values": [0.3]}]
    file = tmp_path / "sweep.yaml"
    file.write_text(yaml.safe_dump({**form, "circuit": {"openqasm": text}, "axes": axes}))
    waiting, _ = loaded(
        f"import qjobs\nqjobs.run({str(file)!r}, report=lambda _: seen.update(sys.modules))", tmp_path / "first"
    )
    assert waiting == WAITING
    whole, count = loaded(command("run", str(file)), tmp_path / "second")
    assert whole == {*WAITING, "pandas", "pyarrow", "matplotlib"}
    assert count <= 2300


def test_words_of_the_options() -> None:
    """What the options say of others without importing them is so, and every command is in the table of its modules."""
    assert set(LostReplyKind) == set(LostReply)
    assert set(built(app_of()).commands) - {"sensor", "approve"} == set(COMMANDS)
    for name in COMMANDS:
        assert name in built(app_of([name])).commands
