"""`qjobs init`: what it lays out, that it never overwrites, and that all of it works from an installed wheel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from qjobs.errors import InvalidInput
from qjobs.experiments.sweep import load_sweep
from qjobs.project import PARTS, lay_out

ROOT = Path(__file__).parents[2]


def test_layout(tmp_path: Path) -> None:
    """A project has the flows of the checkout, examples that can be read, and the entry points of a checkout."""
    made = lay_out(tmp_path / "My project")
    assert all(path.is_file() for path in made)
    folder = tmp_path / "My project"
    for part in PARTS:
        assert (folder / part).is_dir()
    assert (folder / "flows/sweep.py").read_bytes() == (ROOT / "flows/sweep.py").read_bytes()
    assert not list(folder.rglob("__pycache__"))
    settings = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert settings["name"] == "my-project"
    for group in ("prefect.collections", "qjobs.backends", "qjobs.commands", "qjobs.checks"):
        ours = {point.name: point.value for point in entry_points(group=group)}
        assert settings["entry-points"][group].items() <= ours.items()
    assert load_sweep(folder / "examples/rabi/sweep.yaml").circuit.builder == "rabi"


def test_never_overwrites(tmp_path: Path, qjobs: Callable[..., tuple[int, str, str]]) -> None:
    """Where one of the files is there, nothing is written; other files are left alone."""
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "README.md").write_text("mine")
    code, out, err = qjobs("init", tmp_path)
    assert (code, out) == (2, "")
    assert "README.md already, and nothing is overwritten; name an empty folder" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "notes.txt"]
    (tmp_path / "README.md").unlink()
    assert qjobs("init", tmp_path)[0] == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(InvalidInput, match="more already, and nothing is overwritten"):
        lay_out(tmp_path)
    with pytest.raises(InvalidInput, match="is a file"):
        lay_out(tmp_path / "notes.txt")


def call(*words: object, folder: Path, home: Path, **more: str) -> str:
    """What a command prints; it has to succeed."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "QJOBS_", "PREFECT_"))}
    env.update({"QJOBS_HOME": str(home), "PREFECT_HOME": str(home / "prefect"), **more})
    command = [str(word) for word in words]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_from_a_wheel(tmp_path: Path) -> None:
    """With the wheel alone, `qjobs init` makes a project in which the commands work, `qjobs sensor` too."""
    home = tmp_path / "home"
    wheel = call(
        sys.executable, "-c", f"from hatchling.build import build_wheel; print(build_wheel({str(tmp_path)!r}))",
        folder=ROOT, home=home,
    ).split()[-1]  # fmt: skip
    venv.create(tmp_path / "v", with_pip=False)
    python = tmp_path / "v/bin/python"
    packages = next((tmp_path / "v/lib").iterdir()) / "site-packages"
    with zipfile.ZipFile(tmp_path / wheel) as archive:
        assert not [name for name in archive.namelist() if name.startswith(("flows/", "blocks/", "tasks/"))]
        archive.extractall(packages)
    # What the wheel needs is taken from here; as a plain path, so that the checkout is not on it.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    qjobs = (python, "-m", "qjobs.cli.main")
    call(*qjobs, "init", "project", folder=tmp_path, home=home)
    project = tmp_path / "project"
    pip = (python, "-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps", "--no-index")
    call(*pip, "-e", ".", folder=project, home=home)
    assert "circuits\t42" in call(*qjobs, "check", "examples/rabi/sweep.yaml", folder=project, home=home)
    assert "COMPLETED" in call(*qjobs, "run", "examples/rabi/sweep.yaml", folder=project, home=home)
    assert "COMPLETED" in call(*qjobs, "jobs", "list", folder=project, home=home)
    assert "rabi" in call(*qjobs, "doctor", folder=project, home=home)
    try:
        said = call(python, "-m", "flows.sweep", "examples/rabi/sweep.yaml", folder=project, home=home)
        assert "42 of 42 rows have a result" in said
        said = call(python, "-m", "flows.run_circuits", "examples/bell/circuits.yaml", folder=project, home=home)
        assert "3 of 3 rows have a result" in said
        (api,) = re.findall(r"Prefect UI: (http://127\.0\.0\.1:\d+)/", said)
        server = {"PREFECT_API_URL": f"{api}/api"}
        call(python, "-m", "flows.deploy", folder=project, home=home, **server)
        call(*qjobs, "sensor", "--once", folder=project, home=home, **server)
    finally:
        call(python, "-m", "flows.server", "stop", folder=project, home=home)
