"""Suspended runs: no process while they wait, resumed by level, cancelled and deleted without losing a job."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from subprocess import Popen

import pytest
from deploying import deployed, process_of
from observing import artifacts, eventually, last_run, logs_of
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelled, Cancelling, Running, Suspended

from blocks import RestBackend, backend_named
from flows.run_circuits import run_circuits
from flows.sensor import Passed, watch
from flows.waiting import Waiting
from qjobs import operations
from qjobs.circuits import read_circuit
from qjobs.experiment import CircuitsSpec
from qjobs.ledger import Ledger
from qjobs.ledger_waits import AtDeadline
from qjobs.lifecycle import JobStatus
from qjobs.model import ItemSpec
from qjobs.operations import utc_now
from qjobs.testing.servers import ScriptedProvider

BELL = """OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;"""


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider("findable") as provider:
        provider.store.queue_s = 600.0
        # What a name stands for is opened once in a process, so every test takes a name of its own.
        provider.block = f"weeks-{uuid.uuid4().hex[:8]}"
        RestBackend(url=provider.url, lost_reply=provider.store.variant).save(provider.block)
        yield provider


def open_queue(provider: ScriptedProvider) -> None:
    """The device takes every job that waits for it."""
    for job in provider.store.jobs.values():
        job.starts_at = job.ends_at = 0.0


def parameters(provider: ScriptedProvider, name: str, **values: object) -> dict[str, object]:
    spec = {"name": name, "circuits": [{"openqasm": BELL}], "shots": 10, "compiler": "none"}
    return {"spec": {**spec, "backend": f"rest-backend/{provider.block}"}, **values}


def suspended(
    client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, name: str, **values: object
) -> FlowRun:
    """A run of the deployment that waits for its job without a process."""
    made = client.create_flow_run_from_deployment(
        deployed(client, run_circuits), parameters=parameters(provider, name, **values)
    )
    run = eventually(
        lambda: client.read_flow_run(made.id),
        lambda r: r.state.name == "Suspended" or r.state.is_final(),
        deadline_s=120,
    )
    assert run.state.name == "Suspended", run.state
    assert [wait.flow_run_id for wait in store.waits()] == [str(run.id)]
    return run


def passes(store: Ledger, client: SyncPrefectClient, until: str) -> Passed:
    """Passes of the sensor until one did something of this kind."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        passed = watch(store, client)
        assert not passed.trouble
        if getattr(passed, until):
            return passed
        store.schedule({job.job_id: None for job in store.open_jobs()})  # due at once
        time.sleep(0.2)
    raise AssertionError(f"no pass {until} anything")


def test_a_run_waits_without_a_process_and_goes_on_when_its_job_is_done(
    client: SyncPrefectClient, worker: Popen[bytes], store: Ledger, provider: ScriptedProvider
) -> None:
    run = suspended(client, store, provider, "weeks")
    eventually(lambda: process_of(worker.pid, str(run.id)), lambda pid: pid == 0)
    assert process_of(worker.pid, str(run.id)) == 0
    for _ in range(2):
        assert watch(store, client).resumed == []
    assert "0 of 1 circuits are done (1 QUEUED)" in artifacts(client, "weeks-progress")[-1].description
    open_queue(provider)
    assert passes(store, client, "resumed").resumed == [str(run.id)]
    ended = eventually(lambda: client.read_flow_run(run.id), lambda r: r.state.is_final(), deadline_s=120)
    assert ended.state.is_completed(), ended.state
    assert store.waits() == []
    assert provider.created == 1
    (job,) = store.jobs(experiment="weeks")
    assert (job.status, store.result_counts([job.job_id])) == (JobStatus.COMPLETED, {job.job_id: 1})

    run = suspended(client, store, provider, "to-be-cancelled", waiting={"mode": "suspend"})
    client.set_flow_run_state(run.id, Cancelling(), force=False)
    eventually(lambda: client.read_flow_run(run.id).state.is_final(), bool)
    passes(store, client, "ended")
    (job,) = store.jobs(experiment="to-be-cancelled")
    watch(store, client)
    assert (store.job(job.job_id).status, provider.asked["cancel"]) == (JobStatus.CANCELLED, 1)


def test_outside_a_deployment_it_waits_here_and_says_why(
    client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider
) -> None:
    provider.store.queue_s = 0.0
    given = parameters(provider, "inline")
    run_circuits(CircuitsSpec.model_validate(given["spec"]), waiting=Waiting(mode="suspend"))
    run = last_run(client, "inline")
    lines = logs_of(client, str(run.id), until="waiting in this process")
    assert any("because the run does not come from a deployment" in line for line in lines)
    assert store.waits() == []


# What the sensor does about runs, by their state: no process is needed to see it.


@pytest.fixture
def waiting(client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider) -> FlowRun:
    """A run that is registered for a queued job."""
    given = parameters(provider, "registered")
    run = client.create_flow_run_from_deployment(deployed(client, run_circuits), parameters=given, state=Running())
    bell, name = read_circuit(BELL), f"rest-backend/{provider.block}"
    items = [ItemSpec(label="bell", program=bell.hash, shots=20)]
    ids = operations.plan(
        store,
        backend_named(name),
        items,
        {bell.hash: bell},
        run=str(run.id),
        name="bell",
        experiment="registered",
        properties={"backend_name": name},
    )
    operations.submit(store, backend_named(name), ids[0])
    store.register_wait(str(run.id), ids, until="all", now=utc_now())
    return client.read_flow_run(run.id)


def test_a_running_run_is_left_alone_and_a_deleted_one_leaves_its_job(
    client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, waiting: FlowRun
) -> None:
    open_queue(provider)
    eventually(lambda: watch(store, client) and store.waits()[0].is_over, bool)
    passed = watch(store, client)
    assert (passed.resumed, passed.ended) == ([], [])  # it has not suspended yet: the next pass looks again
    client.delete_flow_run(waiting.id)
    assert watch(store, client).ended == [str(waiting.id)]
    (job,) = store.jobs(experiment="registered")
    assert job.cancel_requested_at is None
    assert provider.asked["cancel"] == 0


@pytest.mark.parametrize("wanted", [True, False])
def test_a_cancelled_run_cancels_its_jobs(
    client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, waiting: FlowRun, wanted: bool
) -> None:
    if not wanted:
        body = {"parameters": parameters(provider, "registered", cancel_remote_jobs=False)}
        client.request("PATCH", "/flow_runs/{id}", path_params={"id": str(waiting.id)}, json=body)
    client.set_flow_run_state(waiting.id, Cancelled(), force=True)
    assert watch(store, client).ended == [str(waiting.id)]
    watch(store, client)
    (job,) = store.jobs(experiment="registered")
    assert (job.status is JobStatus.CANCELLED, provider.asked["cancel"]) == (wanted, int(wanted))


@pytest.mark.parametrize("action", list(AtDeadline))
def test_a_deadline_is_a_policy(
    client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, waiting: FlowRun, action: AtDeadline
) -> None:
    client.set_flow_run_state(waiting.id, Suspended(timeout_seconds=86400, pause_key="wait"), force=True)
    (job,) = store.jobs(experiment="registered")
    past = utc_now() - timedelta(seconds=1)
    store.register_wait(str(waiting.id), [job.job_id], until="all", now=utc_now(), deadline_at=past, at_deadline=action)
    resumed: list[str] = []
    for _ in range(3):
        resumed += watch(store, client).resumed
        store.schedule({job.job_id: None for job in store.open_jobs()})
    noted = [event for event in store.events(job.job_id) if event.cause == "deadline"]
    assert len(noted) == 1
    assert bool(store.job(job.job_id).cancel_requested_at) == (action is AtDeadline.CANCEL)
    assert resumed[:1] == ([] if action is AtDeadline.NOTIFY else [str(waiting.id)])
    assert (client.read_flow_run(waiting.id).state.name == "Suspended") == (action is AtDeadline.NOTIFY)
