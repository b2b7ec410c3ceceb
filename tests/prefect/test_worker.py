"""A real process worker: cancelling a flow run in Prefect cancels its remote job, and killing its process does not."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from subprocess import Popen

import pytest
from deploying import deployed, process_of
from observing import eventually
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelling

from blocks import RestBackend
from flows.run_circuits import run_circuits
from flows.sensor import run_once
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Job
from qjobs.testing.servers import ScriptedProvider

BELL = """OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;"""


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider("findable") as provider:
        provider.store.queue_s = 600.0
        RestBackend(url=provider.url, lost_reply=provider.store.variant).save("behind-a-worker")
        yield provider


def started(client: SyncPrefectClient, deployment: str, store: Ledger, name: str) -> tuple[FlowRun, Job]:
    """A run of the deployment whose job is at the provider, and that job."""
    spec = {"name": name, "circuits": [{"openqasm": BELL}], "shots": 10, "compiler": "none"}
    parameters = {"spec": {**spec, "backend": "rest-backend/behind-a-worker"}}
    run = client.create_flow_run_from_deployment(deployment, parameters=parameters)
    at_provider = {JobStatus.SUBMITTED, JobStatus.QUEUED}
    jobs = eventually(
        lambda: [job for job in store.jobs(experiment=name) if job.status in at_provider], bool, deadline_s=180.0
    )
    assert jobs, client.read_flow_run(run.id).state
    return run, jobs[0]


@pytest.mark.timeout(1200)
def test_cancelled_in_prefect_and_killed(
    client: SyncPrefectClient, worker: Popen[bytes], store: Ledger, provider: ScriptedProvider
) -> None:
    deployment = deployed(client, run_circuits)
    run, job = started(client, deployment, store, "to-be-cancelled")
    client.set_flow_run_state(run.id, Cancelling())
    state = eventually(lambda: client.read_flow_run(run.id).state, lambda s: s.is_final(), deadline_s=180.0)
    assert state.is_cancelled()
    # The hook has written the wish down, or the sensor does: what counts is that one of them (or both) passes it on.
    eventually(lambda: run_once(store, client) and store.job(job.job_id).status.is_final, bool, deadline_s=180.0)
    assert store.job(job.job_id).status is JobStatus.CANCELLED
    asked = provider.asked["cancel"]
    assert asked >= 1

    run, job = started(client, deployment, store, "to-be-killed")
    pid = eventually(lambda: process_of(worker.pid, str(run.id)), bool)
    os.kill(pid, signal.SIGKILL)
    state = eventually(lambda: client.read_flow_run(run.id).state, lambda s: s.is_final(), deadline_s=180.0)
    assert state.is_crashed()
    assert store.job(job.job_id).cancel_requested_at is None
    assert (provider.created, provider.asked["cancel"]) == (2, asked)
    assert worker.poll() is None
