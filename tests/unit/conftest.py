"""Fixtures of several modules: a scripted backend, a clock, and the command `qjobs`, called in this process."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from launching import Stages
from scripted import Clock, ScriptedBackend
from support import SWEEP

from qjobs.cli import main as cli
from qjobs.compiling.compiler import CompileCache
from qjobs.ledger import Ledger

Said = tuple[int, str, str]


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stages(store: Ledger, tmp_path: Path) -> Callable[..., Stages]:
    """Makes stages with a `fake` backend, or with those that are given."""

    def make(backend: ScriptedBackend | None = None, **backends: ScriptedBackend) -> Stages:
        given = {"fake": backend} if backend else backends or {"fake": ScriptedBackend()}
        return Stages(store, CompileCache(tmp_path / "compiled"), **given)

    return make


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that the tests of a module share."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def qjobs(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """The command: its exit code, what it printed and what it printed as errors."""
    monkeypatch.setenv("QJOBS_HOME", str(home))
    monkeypatch.delenv("QJOBS_LEDGER", raising=False)

    def call(*arguments: object) -> Said:
        capsys.readouterr()
        code = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a spec, as JSON unless it is text."""

    def writing(content: object, name: str = "spec.yaml") -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return writing


@pytest.fixture(scope="module")
def ran(home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What running the sweep said, as JSON."""
    path = tmp_path_factory.mktemp("sweep") / "sweep.json"
    path.write_text(json.dumps(SWEEP))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QJOBS_HOME", str(home))
        patch.delenv("QJOBS_LEDGER", raising=False)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            assert cli.main(["run", str(path), "--json", "--run-id", "first"]) == 0
    return json.loads(out.getvalue())
