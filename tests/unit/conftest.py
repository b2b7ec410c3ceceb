"""Fixtures of the command's tests: `qjobs` calls it in this process, with a data folder of the tests' own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qjobs.cli import main as cli

Said = tuple[int, str, str]


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
