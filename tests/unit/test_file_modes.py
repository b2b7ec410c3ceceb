"""What is kept is for its owner alone, whatever the umask."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from support import create

from qjobs.cli import main as cli
from qjobs.compiling.cache import CompileCache
from qjobs.errors import InvalidInput
from qjobs.ledger import Ledger
from qjobs.paths import data_home, ledger_url, use_prefect_home
from qjobs.results.save import save_frame

NAMES = ("QJOBS_HOME", "QJOBS_LEDGER", "QJOBS_RESULTS", "QJOBS_SHARE", "PREFECT_HOME")


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project without a home yet, in which one stands; its folders are open to all."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for folder in (tmp_path, tmp_path / "project"):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
    (tmp_path / "project" / "pyproject.toml").write_text("[tool.qjobs]\n")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def kept() -> dict[str, int]:
    """The mode of everything in the home that was made by a ledger, a cache and a run."""
    with Ledger(ledger_url()) as ledger:
        create(ledger)
        CompileCache(data_home() / "compiled").put("abc", b"x")
        save_frame("sweep", "0123456789", pd.DataFrame({"x": [1]}), b"picture", {})
        found = {"": data_home().stat().st_mode & 0o777}
        for path in data_home().rglob("*"):
            if not path.is_symlink():
                found[str(path.relative_to(data_home()))] = path.stat().st_mode & 0o777
    return found


def test_modes(project: Path, umask: int) -> None:
    """Ledger, results and compiled circuits are 0600, and their folders 0700."""
    modes = kept()
    assert {"ledger.db", "ledger.db-wal", "ledger.db-shm", "compiled/abc.bin"} <= set(modes)
    assert sum(name.startswith("results/sweep/") for name in modes) >= 4
    for name, mode in modes.items():
        assert mode == (0o700 if (data_home() / name).is_dir() else 0o600), name


def test_group(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """QJOBS_SHARE=group gives the group the same rights, and others none; another word is refused."""
    monkeypatch.setenv("QJOBS_SHARE", "group")
    for name, mode in kept().items():
        if not name.startswith("compiled/"):
            assert mode == (0o770 if (data_home() / name).is_dir() else 0o660), name
    monkeypatch.setenv("QJOBS_SHARE", "everybody")
    with pytest.raises(InvalidInput, match="set it to group, or not at all"):
        Ledger("sqlite:///another/new.db")


def test_open_before(project: Path) -> None:
    """A home and a ledger that were open to others are closed when they are opened again."""
    with Ledger(ledger_url()):
        pass
    file = data_home() / "ledger.db"
    file.chmod(0o644)
    data_home().chmod(0o755)
    with Ledger(ledger_url()):
        assert (data_home().stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)


def test_doctor_tells(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What is elsewhere and open to others stays as it is; the doctor tells it, and the command closes it."""
    monkeypatch.setattr("qjobs.cli.doctor._further", list)
    elsewhere = project / "team.db"
    Ledger(f"sqlite:///{elsewhere}").close()
    elsewhere.chmod(0o644)
    words = told(capsys, elsewhere)
    assert elsewhere.stat().st_mode & 0o777 == 0o644
    command = words.partition("close it with: ")[2].partition(" (or ")[0]
    for path in (project, project.parent):
        path.chmod(0o700)
    assert told(capsys, elsewhere).startswith("nobody else")
    for path in (project, project.parent):
        path.chmod(0o755)
    assert os.system(command) == 0
    assert told(capsys, elsewhere).startswith("nobody else")


def told(capsys: pytest.CaptureFixture[str], ledger: Path) -> str:
    capsys.readouterr()
    cli.main(["doctor", "--json", "--ledger", str(ledger)])
    (words,) = [check["words"] for check in json.loads(capsys.readouterr().out) if check["name"] == "permissions"]
    return str(words)


def test_prefect_home(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect's own folder, with the key of its blocks, is closed to others."""
    monkeypatch.delitem(sys.modules, "prefect", raising=False)  # as in a new process
    monkeypatch.setenv("PREFECT_HOME", "")  # so that it is put back
    use_prefect_home()
    assert (data_home() / "prefect").stat().st_mode & 0o777 == 0o700
