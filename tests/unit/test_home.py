"""One home: where data are found from where one stands, and what is said of a ledger that is not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import create

from qjobs.errors import InvalidInput
from qjobs.ledger import Ledger
from qjobs.paths import data_home, ledger_url, project_root, results_url, user_home

ROOT = Path(__file__).parents[2]
NAMES = ("QJOBS_HOME", "QJOBS_LEDGER", "QJOBS_RESULTS")
MARK = "[tool.qjobs]\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a subfolder, in which one stands, with no setting in the environment."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "project" / "deep" / "down").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project" / "deep" / "down")
    return tmp_path / "project"


@pytest.mark.parametrize("how", ["folder", "pyproject"])
def test_subfolder(project: Path, how: str) -> None:
    """A project is found from any folder in it."""
    assert project_root() is None
    if how == "folder":
        (project / ".qjobs").mkdir()
    else:
        (project / "pyproject.toml").write_text(f'[project]\nname = "mine"\n{MARK}')
    assert project_root() == project
    assert data_home() == project / ".qjobs"
    assert ledger_url() == f"sqlite:///{project}/.qjobs/ledger.db"
    assert results_url() == str(project / ".qjobs" / "results")
    (project / "deep" / ".qjobs").mkdir()
    assert data_home() == project / "deep" / ".qjobs", "the nearest one"


def test_no_project(project: Path) -> None:
    """Outside of a project it is the user's directory, also beside a pyproject.toml of something else."""
    (project / "pyproject.toml").write_text('[project]\nname = "qjobs-like"\n[tool.qjobsish]\n')
    (project / "deep" / "pyproject.toml").write_bytes(b"\xff\xfe")
    (project / "deep" / ".qjobs").write_text("a file")
    assert data_home() == user_home()


def test_settings_win(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """QJOBS_HOME, QJOBS_LEDGER and QJOBS_RESULTS win over the project."""
    (project / ".qjobs").mkdir()
    monkeypatch.setenv("QJOBS_HOME", "here")
    assert data_home() == Path.cwd() / "here"
    assert ledger_url() == f"sqlite:///{Path.cwd()}/here/ledger.db"
    (tmp_path / "own.db").touch()
    monkeypatch.setenv("QJOBS_LEDGER", str(tmp_path / "own.db"))
    assert ledger_url() == f"sqlite:///{tmp_path}/own.db"
    monkeypatch.setenv("QJOBS_RESULTS", "s3://bucket/results")
    assert results_url() == "s3://bucket/results"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_strangers(project: Path) -> None:
    """What somebody else put into a folder that everyone may write to marks no project."""
    mark = project / ".qjobs"
    mark.mkdir()
    project.chmod(0o1777)
    assert project_root() == project
    os.chown(mark, 65_534, 65_534)
    assert project_root() is None
    project.chmod(0o755)
    assert project_root() == project


def test_missing_ledger(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that is named and not there is refused, and its folder is not made."""
    path = project / "slip" / "ledger.db"
    for named in (str(path), f"sqlite:///{path}"):
        with pytest.raises(InvalidInput, match=r"there is no ledger at .*slip/ledger\.db; .*--create"):
            ledger_url(named)
    monkeypatch.setenv("QJOBS_LEDGER", str(path))
    with pytest.raises(InvalidInput, match="QJOBS_LEDGER"):
        Ledger()
    assert not path.parent.exists()
    assert ledger_url("sqlite:///:memory:") == "sqlite:///:memory:"
    assert ledger_url("postgresql://host/name") == "postgresql://host/name"


def test_create(qjobs: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """The command refuses a ledger that is not there; what it advises makes one, which is there from then on."""
    path = tmp_path / "new.db"
    code, _, err = qjobs("jobs", "list", "--ledger", path)
    assert code == 2
    advice = err.rpartition("qjobs ")[2].split()
    assert advice[-1] == "--create"
    assert qjobs(*advice)[0] == 0
    code, out, _ = qjobs("jobs", "list", "--ledger", path)
    assert (code, out.splitlines()[0].startswith(f"no jobs in sqlite:///{path}")) == (0, True)


def test_others_are_named(
    qjobs: Callable[..., tuple[int, str, str]], project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An empty list, and the doctor, name the ledger that was looked at and the one that was meant."""
    other = project / ".qjobs" / "ledger.db"
    with Ledger(f"sqlite:///{other}") as ledger:
        create(ledger)
    monkeypatch.setenv("QJOBS_HOME", str(tmp_path / "elsewhere"))
    words = f"The ledger {other} has 1 job: qjobs jobs list --ledger {other}"
    _, out, _ = qjobs("jobs", "list")
    assert out.startswith(f"no jobs in sqlite:///{tmp_path}/elsewhere/ledger.db. ")
    assert words in out
    assert len(json.loads(qjobs(*words.partition(": qjobs ")[2].split(), "--json")[1])) == 1
    _, out, _ = qjobs("jobs", "list", "--experiment", "another")
    assert out.startswith("no such jobs in ")
    assert json.loads(qjobs("jobs", "list", "--json")[1]) == []
    checks = {each["name"]: each["words"] for each in json.loads(qjobs("doctor", "--json")[1])}
    assert checks["data directory"] == f"{tmp_path}/elsewhere, from QJOBS_HOME"
    assert checks["ledger"].startswith(f"sqlite:///{tmp_path}/elsewhere/ledger.db")
    assert words in checks["ledger"]
    with Ledger(f"sqlite:///{other}") as ledger:
        assert len(ledger.jobs()) == 1, "it was looked at only"


SEEN = """
import json, os, sys
import {package}
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL as DATABASE
from prefect.settings import PREFECT_HOME, PREFECT_SERVER_ANALYTICS_ENABLED as ANALYTICS
from qjobs.paths import ledger_url
print(json.dumps([str(PREFECT_HOME.value()), DATABASE.value(), ANALYTICS.value(), ledger_url()]))
"""


@pytest.mark.parametrize("package", ["flows", "blocks"])
def test_prefect_home(project: Path, package: str) -> None:
    """With nothing set, Prefect's database is in the project's home too, and it sends no telemetry."""
    (project / "pyproject.toml").write_text(MARK)
    done = subprocess.run(
        [sys.executable, "-c", SEEN.format(package=package)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(project)},
        capture_output=True,
        text=True,
        check=True,
    )
    home = project / ".qjobs"
    database = f"sqlite+aiosqlite:///{home}/prefect/prefect.db"
    assert json.loads(done.stdout) == [f"{home}/prefect", database, False, f"sqlite:///{home}/ledger.db"]


def test_makefile() -> None:
    """`make` sets nothing that the commands do not find by themselves."""
    assert "export" not in (ROOT / "Makefile").read_text()
