"""Real Divi on our backend of it: what it takes for granted, its own programs, and a program that is killed.

Each task is a function of `divi_drive/drive.py`, run by an interpreter that has that version of Divi.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from divi_runs import divi_run, nexus_environment, qoro_environment
from environments import python_of

from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.service.running import RunningService

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "divi.md").read_text()
GROUND_ENERGY = -1.857275
"""Hartree, of the Hamiltonian in `divi_drive/programs.py`."""
ENERGY_ERROR = 0.01
"""Standard error of one energy at 4,000 shots: 0.56 for the terms in Z and 0.18 for XX, over the root of the shots."""
CUT_ERROR = 0.025
"""The same of a cut, whose standard deviation is about 1.5."""


def check_programs(found: dict[str, Any]) -> None:
    """Both backends come to the same within five standard errors of the difference; the cut is a largest one."""
    energies = [found["vqe"][whose]["loss"] for whose in ("own", "ours")]
    assert all(abs(energy - GROUND_ENERGY) < 0.03 for energy in energies), energies
    assert abs(energies[0] - energies[1]) < 5 * 2**0.5 * ENERGY_ERROR, energies
    losses = [found["qaoa"][whose]["loss"] for whose in ("own", "ours")]
    assert abs(losses[0] - losses[1]) < 5 * 2**0.5 * CUT_ERROR, losses
    assert found["cut"] == found["best cut"] == 10


def test_classes(divi_version: str, tmp_path: Path) -> None:
    """It is a `CircuitRunner` and an `AsyncJobBackend` of the real package, and speaks with its classes."""
    found = divi_run(divi_version, "classes", tmp_path)
    assert found == {
        "runner": True,
        "protocol": True,
        "result": True,
        "refused": "divi.exceptions.ExecutionCancelledError",
        "depths": [[3]],
    }


def test_order(divi_version: str, tmp_path: Path) -> None:
    """Labels, bits and observables are in the order in which Divi's own simulator has them."""
    own, ours = divi_run(divi_version, "order", tmp_path)
    assert own == ours
    assert ours["certain"] == {"011": 4000}
    assert ours["exact"]["ZII"] != ours["exact"]["IIZ"]


def test_programs_on_aer(divi_version: str, tmp_path: Path) -> None:
    """Divi's VQE and QAOA come to the energies that they have on its own simulator."""
    check_programs(divi_run(divi_version, "programs", tmp_path))


def test_suspension(divi_version: str, tmp_path: Path) -> None:
    """The signal that suspends a flow run passes through a program of Divi, and cancels nothing."""
    assert divi_run(divi_version, "suspended", tmp_path) == {"passed": True, "cancelled": False}


def test_killed_on_aer(tmp_path: Path) -> None:
    """A program that died is entered again: simulations that ended with it run again, all others are kept."""
    divi_run("divi-0.15", "short", tmp_path, environment={"DIE_AT": "3"}, code=-signal.SIGKILL)
    with Ledger(f"sqlite:///{tmp_path / 'home' / 'ledger.db'}") as store:
        before = {job.job_id: len(store.attempts(job.job_id)) for job in store.jobs()}
    divi_run("divi-0.15", "short", tmp_path)
    with Ledger(f"sqlite:///{tmp_path / 'home' / 'ledger.db'}") as store:
        jobs = store.jobs()
        attempts = {job.job_id: len(store.attempts(job.job_id)) for job in jobs}
    assert {job.status for job in jobs} == {JobStatus.COMPLETED}
    assert len(before) == 3
    assert sorted(attempts[job_id] for job_id in before) == [1, 1, 2]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    with RunningService(tmp_path / "service", options=("--submit-delay", "0.02", "--workers", "1")) as running:
        yield running


@pytest.mark.parametrize(
    ("backend", "environment_of"),
    [("nexus/H1-1E", nexus_environment), ("qoro/Aer", qoro_environment)],
    ids=["nexus", "qoro"],
)
def test_programs_on_service(
    service: RunningService, tmp_path: Path, backend: str, environment_of: Callable[[RunningService], dict[str, str]]
) -> None:
    """The same on the local service, as Nexus and as Qoro."""
    given = environment_of(service)
    check_programs(divi_run("divi-0.15", "programs", tmp_path, backend, environment=given))


def test_killed_on_nexus(service: RunningService, tmp_path: Path) -> None:
    """Killed between submission and results and started again, a program pays for no circuit twice."""
    given = nexus_environment(service)
    dying = {**given, "DIE_AT": "3"}
    divi_run("divi-0.15", "short", tmp_path, "nexus/H1-1E", environment=dying, code=-signal.SIGKILL)
    first = divi_run("divi-0.15", "short", tmp_path, "nexus/H1-1E", environment=given)
    again = divi_run("divi-0.15", "short", tmp_path, "nexus/H1-1E", environment=given)
    assert again == first  # every batch is answered from the ledger
    diverged = divi_run("divi-0.15", "diverged", tmp_path, "nexus/H1-1E", environment=given)
    assert "batch 0 of the run short is not what it was" in diverged["refused"]
    with Ledger(f"sqlite:///{tmp_path / 'home' / 'ledger.db'}") as store:
        jobs = store.jobs()
        assert {job.status for job in jobs} == {JobStatus.COMPLETED}
        assert {len(store.attempts(job.job_id)) for job in jobs} == {1}
    assert jobs_made(service) == len(jobs) >= 3


def jobs_made(service: RunningService) -> int:
    """How many jobs the service has, whoever sent them."""
    with closing(sqlite3.connect(service.data / "service.db")) as connection:
        return int(connection.execute("SELECT count(*) FROM service_job").fetchone()[0])


@pytest.fixture
def divi_shell(tmp_path: Path) -> Callable[[str], str]:
    """Runs a command of the page in the environment of Divi 0.15, and gives what it printed."""
    divi_run("divi-0.15", "nothing", tmp_path)
    python = python_of("divi-0.15")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "QJOBS_", "PYTHON"))}
    given = {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path / 'installed'}",
        "QJOBS_HOME": str(tmp_path / "home"),
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "QJOBS_SERVER_IDLE_MINUTES": "0",  # none stays
    }

    def run(command: str) -> str:
        words = command.replace(".venv-divi/bin/qjobs", ".venv-divi/bin/python -m qjobs.cli.main").split()
        assert words[0] == ".venv-divi/bin/python"
        words = [str(ROOT / word) if word.startswith("examples/") else word for word in words]
        done = subprocess.run(
            [python, *words[1:]], cwd=tmp_path, env={**kept, **given}, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    return run


def test_page(divi_shell: Callable[[str], str], tmp_path: Path) -> None:
    """Every command of the page does what the page says; a program that is started again sends nothing."""
    blocks = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    made, installed, molecule, listed, example, flow = [line for block in blocks for line in block.splitlines()]
    assert made == "python -m venv .venv-divi"  # as `environments` makes one; it installs what the extras name, pinned
    assert installed == ".venv-divi/bin/python -m pip install -e '.[prefect,divi]'"
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "molecule.py").write_text(program)
    first = divi_shell(molecule)
    assert -1.9 < float(first.rpartition("lowest energy: ")[2]) < -1.5
    with Ledger(f"sqlite:///{tmp_path / 'home' / 'ledger.db'}") as store:
        n_jobs = len(store.jobs(experiment="h2-monday"))
        assert divi_shell(molecule) == first
        assert len(store.jobs(experiment="h2-monday")) == n_jobs > 3
    assert "h2-monday batch 0" in divi_shell(listed)

    assert example == ".venv-divi/bin/python -m pip install examples/divi"  # without a network: by our own pip
    where = ["--no-build-isolation", "--no-deps", "--quiet", "--target", str(tmp_path / "installed")]
    source = shutil.copytree(ROOT / "examples" / "divi", tmp_path / "source")
    subprocess.run([sys.executable, "-m", "pip", "install", *where, str(source)], check=True, timeout=120)
    assert "lowest loss: -1." in divi_shell(flow)
