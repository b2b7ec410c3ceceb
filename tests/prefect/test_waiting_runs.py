"""What people see of runs that wait, what their cancellation does, and their deadlines."""

from __future__ import annotations

import contextlib
import json
import threading
from datetime import timedelta

import pytest
from given import BELL, open_queue, parameters, sent
from observing import artifacts, eventually
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import Artifact, FlowRun
from prefect.states import Cancelled, Running, Suspended
from scripted_block import script

import qjobs
from blocks import backend_named
from flows.run_circuits import run_circuits
from flows.sensor import Sensor, run_once
from qjobs.circuits.programs import read_circuit
from qjobs.ledger import Ledger
from qjobs.ledger.suspended_runs import AtDeadline
from qjobs.lifecycle import JobStatus
from qjobs.model import ItemSpec
from qjobs.operations import recover as recovery
from qjobs.operations.plan import utc_now
from qjobs.operations.retry import RemoteRetryStrategy
from qjobs.testing.servers import ScriptedProvider


@pytest.mark.parametrize("wanted", [True, False])
def test_cancelled_run(
    client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, waiting: FlowRun, wanted: bool
) -> None:
    """A cancelled run cancels its jobs, unless that is switched off."""
    if not wanted:
        body = {"parameters": parameters(provider, "registered", cancel_remote_jobs=False)}
        client.request("PATCH", "/flow_runs/{id}", path_params={"id": str(waiting.id)}, json=body)
    client.set_flow_run_state(waiting.id, Cancelled(), force=True)
    assert run_once(store, client).ended == [str(waiting.id)]
    run_once(store, client)
    (job,) = store.jobs(experiment="registered")
    assert (job.status is JobStatus.CANCELLED, provider.asked["cancel"]) == (wanted, int(wanted))


def test_hook_died(client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, waiting: FlowRun) -> None:
    """A cancelled run whose hook died cancels its jobs, but not what was sent since."""
    store.waits.end(str(waiting.id))  # it waited in a process, which was killed
    (job,) = store.jobs(experiment="registered")
    assert run_once(store, client).ended == []
    assert store.job(job.job_id).cancel_requested_at is None
    client.set_flow_run_state(waiting.id, Cancelled(), force=True)
    run_once(store, client)
    run_once(store, client)
    assert (store.job(job.job_id).status, provider.asked["cancel"]) == (JobStatus.CANCELLED, 1)

    name = job.opened_as
    recovery.retry(
        store,
        backend_named(name),
        job.job_id,
        statuses=[JobStatus.CANCELLED],
        strategy=RemoteRetryStrategy.FORCE_RESUBMIT,
    )
    store.schedule.set_next({job.job_id: None})
    run_once(store, client)
    retried = store.job(job.job_id)
    assert (retried.status, retried.cancel_requested_at) == (JobStatus.QUEUED, None)


def test_artifacts(client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, waiting: FlowRun) -> None:
    """The jobs of a suspended run are shown."""

    def shown(what: str) -> Artifact:
        (one,) = [each for each in artifacts(client, f"registered-{what}") if each.flow_run_id == waiting.id]
        return one

    client.set_flow_run_state(waiting.id, Suspended(timeout_seconds=86400, pause_key="wait"), force=True)
    with contextlib.closing(Sensor(store, client)) as opened:
        opened.run_pass()
        (job,) = store.jobs(experiment="registered")
        (row,) = json.loads(shown("jobs").data)
        assert (row["status"], row["items"], row["job id"]) == ("QUEUED", 1, job.job_id)
        assert "1 QUEUED" in shown("progress").description
        for remote in provider.store.jobs.values():
            remote.starts_at = 0.0
        store.schedule.set_next({job.job_id: None})
        opened.run_pass()
        (row,) = json.loads(shown("jobs").data)  # still one of each, kept current
        assert row["status"] == "RUNNING"
        assert "1 RUNNING" in shown("progress").description


def test_hanging_results(
    client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, waiting: FlowRun
) -> None:
    """A run is resumed while the results of another provider's job do not come; a sensor that ends has them stored."""
    client.set_flow_run_state(waiting.id, Suspended(timeout_seconds=86400, pause_key="wait"), force=True)
    come = threading.Event()
    name, backend = script("hanging-results", polls=0, before_results=lambda: come.wait(60.0))
    bell = read_circuit(BELL)
    items = [ItemSpec(label="bell", program=bell.hash, shots=20)]
    (hanging,) = qjobs.plan(store, backend, items, {bell.hash: bell}, run="", name="bell", opened_as=name)
    qjobs.submit(store, backend, hanging)
    open_queue(provider)
    with contextlib.closing(Sensor(store, client)) as opened:
        try:
            resumed = eventually(lambda: opened.run_pass(0.1).resumed, bool)
            assert resumed == [str(waiting.id)]
            assert store.result_counts([hanging]) == {hanging: 0}
        finally:
            come.set()
    assert store.result_counts([hanging]) == {hanging: 1}


def test_stalled(client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, waiting: FlowRun) -> None:
    """A job that takes far longer than usual is reported once."""
    name = f"rest-backend/{provider.block}"
    (late,) = store.jobs(experiment="registered")
    assert "stalled" not in {event.cause for event in store.events(late.job_id)}
    open_queue(provider)
    provider.store.queue_s = 0.0
    for n in range(5):
        qjobs.wait(store, {name: backend_named(name)}, [sent(store, provider, f"usual-{n}")])
    for remote in provider.store.jobs.values():
        if remote.id == store.last_attempts([late.job_id])[late.job_id].remote_id:
            remote.starts_at = remote.ends_at = provider.store.clock() + 600.0
    eventually(lambda: (utc_now() - late.created_at).total_seconds() > 4.0, bool)
    for _ in range(2):
        run_once(store, client)
    assert [event.cause for event in store.events(late.job_id)].count("stalled") == 1


@pytest.mark.parametrize("action", list(AtDeadline))
def test_deadline(
    client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, waiting: FlowRun, action: AtDeadline
) -> None:
    """A deadline notifies, cancels, or lets the run go on; two runs that wait for one job have a deadline each."""
    client.set_flow_run_state(waiting.id, Suspended(timeout_seconds=86400, pause_key="wait"), force=True)
    (job,) = store.jobs(experiment="registered")
    past = utc_now() - timedelta(seconds=1)
    other = client.create_flow_run(run_circuits, parameters={}, state=Running())
    for run, what in ((waiting, action), (other, AtDeadline.NOTIFY)):
        store.waits.register(str(run.id), [job.job_id], until="all", now=utc_now(), deadline_at=past, at_deadline=what)
    resumed: list[str] = []
    for _ in range(3):
        resumed += run_once(store, client).resumed
        store.schedule.set_next({job.job_id: None for job in store.open_jobs()})
    noted = [event.detail for event in store.events(job.job_id) if event.cause == "deadline"]
    assert len(noted) == 2
    assert all(any(str(run.id) in words for words in noted) for run in (waiting, other))
    assert bool(store.job(job.job_id).cancel_requested_at) == (action is AtDeadline.CANCEL)
    assert resumed[:1] == ([] if action is AtDeadline.NOTIFY else [str(waiting.id)])
    assert (client.read_flow_run(waiting.id).state.name == "Suspended") == (action is AtDeadline.NOTIFY)
