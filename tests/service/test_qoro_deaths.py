"""A service that dies between two writes of a Qoro job: nothing is lost, and nothing runs twice."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from qoro_person import FLIPS, QoroPerson, packed
from test_portal_deaths import OPTIONS, SECRET, USER, dies, executions

from qjobs.service.assembly import Service
from qjobs.service.qoro.fragments import read_fragment
from qjobs.service.qoro.jobs import QoroJobs
from qjobs.service.qoro.request_bodies import FragmentBody, InitBody, JobType
from qjobs.service.running import RunningService
from qjobs.service.settings import Settings

RUNS = "qjobs.service.qoro.runs:Runs"
JOBS = "qjobs.service.qoro.jobs:QoroJobs"
EXECUTIONS = "qjobs.service.executions:Executions"
DEATHS = [
    (f"{JOBS}.open", "after"),
    (f"{EXECUTIONS}.execute", "before"),
    (f"{EXECUTIONS}.execute", "after"),
    (f"{JOBS}.advance", "after"),
    (f"{JOBS}.end", "after"),
]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def finalised(folder: Path, target: str) -> str:
    """The id of a job of two parts that a service has stored, and not looked at."""
    service = Service.open(Settings(data=folder))
    with contextlib.closing(service):
        user = service.accounts.add_user(USER, SECRET)
        device = service.devices.get(target)
        assert device is not None
        jobs = QoroJobs(service.db, service.clock, part_size=2)
        job = jobs.create(user, InitBody(job_type=JobType.EXECUTE, qpu_system_name=target), device)
        circuits = {label: packed(text) for label, text in FLIPS.items()}
        body = FragmentBody(circuits=circuits, shots=20, finalized="true")
        assert jobs.add(job, read_fragment(body, job.job_type, device))
        return job.job_id


@pytest.mark.parametrize(("place", "when"), DEATHS)
def test_killed(tmp_path: Path, place: str, when: str) -> None:
    """Wherever the service dies, the next one completes the job, and each part of it ran as one job."""
    folder = tmp_path / "service"
    job_id = finalised(folder, "H1-1LE")
    dies(folder, place, when)
    with RunningService(folder, options=OPTIONS) as service:
        person = QoroPerson(service.url, service.sign_in(USER, SECRET))
        person.until(job_id, "COMPLETED")
        assert person.results(job_id) == {"none": {"00": 20}, "a": {"01": 20}, "b": {"10": 20}}
        person.http.close()
    parts = [f"Qoro job {job_id}, part {part} of 2" for part in (1, 2)]
    assert executions(folder) == [(f"{kind}: {part}", 1) for kind in ("compile", "execute") for part in parts]


def test_killed_between_fragments(tmp_path: Path) -> None:
    """Fragments that were taken are there after a restart; the last of them comes again, and the rest is added."""
    folder = tmp_path / "service"
    with RunningService(folder, users={USER: SECRET}, options=OPTIONS) as service:
        person = QoroPerson(service.url, service.sign_in(USER, SECRET))
        job_id = person.init()
        person.add(job_id, {"none": FLIPS["none"]}, finalized="false")
        person.add(job_id, {"a": FLIPS["a"]}, finalized="false")
        service.kill()
        service.start()
        person.add(job_id, {"a": FLIPS["a"]}, finalized="false")
        person.add(job_id, {"b": FLIPS["b"]})
        service.kill()
        service.start()
        person.add(job_id, {"b": FLIPS["b"]})
        person.until(job_id, "COMPLETED")
        assert person.results(job_id) == {"none": {"00": 20}, "a": {"01": 20}, "b": {"10": 20}}
        person.http.close()
    assert executions(folder) == [(f"execute: Qoro job {job_id}", 1)]
