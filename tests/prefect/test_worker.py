"""A real process worker: cancelling a flow run in Prefect cancels its remote job, and killing its process does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from observing import eventually
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelling

from blocks import RestBackend
from flows.run_circuits import run_circuits
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Job
from qjobs.testing.servers import ScriptedProvider

ROOT = Path(__file__).parents[2]
BELL = """OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;"""
POOL = "worker-test"


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider("findable") as provider:
        provider.store.queue_s = 600.0
        RestBackend(url=provider.url, lost_reply=provider.store.variant).save("behind-a-worker")
        yield provider


@pytest.fixture
def worker(api: str, client: SyncPrefectClient, home: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    body = WorkPoolCreate(name=POOL, type="process").model_dump(mode="json", exclude_unset=True)
    client.request("POST", "/work_pools/", json=body)
    environment = {
        **os.environ,
        "PREFECT_API_URL": api,
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_WORKER_QUERY_SECONDS": "0.5",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "QJOBS_HOME": str(home),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log)
        yield process
        process.terminate()
        process.wait(30)


def deployed(client: SyncPrefectClient) -> str:
    flow_id = client.create_flow(run_circuits)
    body = {
        "name": "worker-test",
        "flow_id": str(flow_id),
        "entrypoint": "flows/run_circuits.py:run_circuits",
        "work_pool_name": POOL,
        "pull_steps": [{"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}],
    }
    return str(client.request("POST", "/deployments/", json=body).json()["id"])


def started(client: SyncPrefectClient, deployment: str, store: Ledger, name: str) -> tuple[FlowRun, Job]:
    """A run of the deployment whose job is at the provider, and that job."""
    spec = {"name": name, "circuits": [{"openqasm": BELL}], "shots": 10, "compiler": "none"}
    parameters = {"spec": {**spec, "backend": "rest-backend/behind-a-worker"}}
    run = client.create_flow_run_from_deployment(deployment, parameters=parameters)
    at_provider = {JobStatus.SUBMITTED, JobStatus.QUEUED}
    jobs = eventually(
        lambda: [job for job in store.jobs(experiment=name) if job.status in at_provider], bool, deadline_s=120.0
    )
    assert jobs, client.read_flow_run(run.id).state
    return run, jobs[0]


def test_cancelled_in_prefect_and_killed(
    client: SyncPrefectClient, worker: subprocess.Popen[bytes], store: Ledger, provider: ScriptedProvider
) -> None:
    deployment = deployed(client)
    run, job = started(client, deployment, store, "to-be-cancelled")
    client.set_flow_run_state(run.id, Cancelling())
    state = eventually(lambda: client.read_flow_run(run.id).state, lambda s: s.is_final(), deadline_s=60.0)
    assert state.is_cancelled()
    ended = eventually(lambda: store.job(job.job_id).status, lambda s: s.is_final)
    assert (ended, provider.asked["cancel"]) == (JobStatus.CANCELLED, 1)

    run, job = started(client, deployment, store, "to-be-killed")
    pid = eventually(lambda: process_of(worker.pid, str(run.id)), bool)
    os.kill(pid, signal.SIGKILL)
    state = eventually(lambda: client.read_flow_run(run.id).state, lambda s: s.is_final(), deadline_s=60.0)
    assert state.is_crashed()
    assert store.job(job.job_id).cancel_requested_at is None
    assert (provider.created, provider.asked["cancel"]) == (2, 1)
    assert worker.poll() is None


def process_of(worker: int, run: str) -> int:
    """The process of a flow run: a child of the worker, which names the run in its environment."""
    children = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
    for pid in map(int, children):
        if f"FLOW_RUN_ID={run}".encode() in Path(f"/proc/{pid}/environ").read_bytes():
            return pid
    return 0
