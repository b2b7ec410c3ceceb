"""A service that dies between two writes of the portal's scheduler: nothing is lost, and nothing runs twice."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from portal_person import FLIPS, PortalPerson

from qjobs.service.assembly import Service
from qjobs.service.mqp import catalogue
from qjobs.service.mqp import jobs as mqp
from qjobs.service.mqp.portal import Portal
from qjobs.service.running import RunningService
from qjobs.service.settings import Settings

KILLED_AT = Path(__file__).parents[1] / "killed_at.py"
ROOT = KILLED_AT.parents[1]
USER = "ada@localhost.test"
SECRET = "a secret"
OPTIONS = ("--http", "--workers", "1", "--submit-delay", "0")
MQP = "qjobs.service.mqp.jobs"
EXECUTIONS = "qjobs.service.executions:Executions"
DEATHS = [
    (f"{MQP}:fetch_all_pending_jobs", "after"),
    (f"{MQP}:mark_dispatched", "after"),
    (f"{EXECUTIONS}.execute", "before"),
    (f"{EXECUTIONS}.execute", "after"),
    (f"{MQP}:complete_job_with_result", "after"),
]
OF_HAMILTONIANS = [
    (f"{MQP}:fetch_all_pending_hamiltonian_jobs", "after"),
    (f"{EXECUTIONS}.execute", "after"),
    (f"{MQP}:update_hybrid_job", "before"),
]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def accepted(folder: Path, target: str, *, is_hamiltonian: bool = False) -> str:
    """The uuid of a job that a service has stored, and not looked at."""
    service = Service.open(Settings(data=folder))
    with contextlib.closing(service):
        portal = Portal.open(service)
        service.accounts.add_user(USER, SECRET)
        catalogue.add_budget(portal.jobs, USER, "default")
        with mqp.using(portal.jobs):
            if is_hamiltonian:
                return str(mqp.create_hamiltonian_job("0 1;", "1.0;", USER, "default", target).id)
            return str(mqp.create_job(20, str(FLIPS), USER, "default", target, "qasm").id)


def dies(folder: Path, place: str, when: str) -> None:
    """Run the service until it kills itself there."""
    command = [sys.executable, KILLED_AT, place, when, "qjobs.cli.main", "serve", "--data", folder, "--port", "0"]
    ended = subprocess.run(
        [*map(str, command), *OPTIONS],
        capture_output=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert ended.returncode == -9, ended.stderr[-2000:]


def executions(folder: Path) -> list[tuple[str, int]]:
    """The jobs of the service by their types and names, with their numbers."""
    with contextlib.closing(sqlite3.connect(folder / "service.db")) as connection:
        rows = connection.execute("SELECT job_type, name, count(*) FROM service_job GROUP BY 1, 2 ORDER BY 1, 2")
        return [(f"{kind}: {name}", number) for kind, name, number in rows]


@pytest.mark.parametrize(("place", "when"), DEATHS)
def test_circuits(tmp_path: Path, place: str, when: str) -> None:
    """Wherever the service dies, the next one completes the job, and its circuits ran as one job."""
    folder = tmp_path / "service"
    uuid = accepted(folder, "H1-1LE")
    dies(folder, place, when)
    with RunningService(folder, options=OPTIONS) as service:
        person = PortalPerson(service.url, service.sign_in(USER, SECRET))
        assert person.until(uuid) == "COMPLETED"
        assert person.result(uuid) == [{"00": 20}, {"01": 20}, {"10": 20}]
        person.http.close()
    name = f"portal job {uuid}"
    assert executions(folder) == [(f"compile: {name}", 1), (f"execute: {name}", 1)]


@pytest.mark.parametrize(("place", "when"), OF_HAMILTONIANS)
def test_hamiltonian(tmp_path: Path, place: str, when: str) -> None:
    """The loop goes on at its epoch, and each epoch ran once."""
    folder = tmp_path / "service"
    uuid = accepted(folder, "Aer", is_hamiltonian=True)
    dies(folder, place, when)
    with RunningService(folder, options=OPTIONS) as service:
        person = PortalPerson(service.url, service.sign_in(USER, SECRET))
        assert person.until(uuid, kind="hamiltonian_job") == "COMPLETED"
        result = person.result(uuid, "hamiltonian_job")
        person.http.close()
    assert -1.0 <= result["energy"] < -0.9
    numbers = [number for _, number in executions(folder)]
    assert numbers == [1] * result["epochs"]
