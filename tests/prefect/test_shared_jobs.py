"""Jobs that several runs wait for: the cancellation of one run cancels what nobody else waits for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from given import a_sweep
from observing import eventually, last_run
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelled, Cancelling, Running, Suspended
from scripted_block import Died, script
from support import ended_owner

from flows._support.stages import cancel_jobs
from flows.run_circuits import run_circuits
from flows.sensor import run_once
from flows.sweep import sweep
from qjobs.ledger import Ledger
from qjobs.ledger.liveness import lease_owner
from qjobs.lifecycle import JobStatus
from qjobs.operations.poll import utc_now
from qjobs.testing.servers import ScriptedProvider


def another_run(client: SyncPrefectClient) -> str:
    return str(client.create_flow_run(run_circuits, parameters={}, state=Running()).id)


def cancelled_by_hook(client: SyncPrefectClient, run: FlowRun) -> None:
    cancel_jobs(run_circuits, client.read_flow_run(run.id), Cancelling())


@pytest.mark.parametrize("by", ["hook", "sensor"])
def test_suspended(
    client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, waiting: FlowRun, by: str
) -> None:
    """A job that a suspended run waits for outlives the run that made it, and goes when that one is cancelled too."""
    (job,) = store.jobs(experiment="registered")
    other = client.create_flow_run(
        run_circuits, parameters={}, state=Suspended(timeout_seconds=86400, pause_key="wait")
    )
    store.waits.register(str(other.id), [job.job_id], until="all", now=utc_now(), server=str(client.api_url))
    if by == "hook":
        cancelled_by_hook(client, waiting)
    client.set_flow_run_state(waiting.id, Cancelled(), force=True)
    for _ in range(2):
        run_once(store, client)
    assert [wait.flow_run_id for wait in store.waits.runs()] == [str(other.id)]
    assert store.job(job.job_id).cancel_requested_at is None
    assert provider.asked["cancel"] == 0

    client.set_flow_run_state(other.id, Cancelled(), force=True)
    for _ in range(3):
        run_once(store, client)
    assert (store.job(job.job_id).status, provider.asked["cancel"]) == (JobStatus.CANCELLED, 1)


@pytest.mark.parametrize("by", ["hook", "sensor"])
def test_process(
    client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, waiting: FlowRun, by: str
) -> None:
    """A job that a run waits for in its process is spared as long as that process may live."""
    (job,) = store.jobs(experiment="registered")
    other = another_run(client)
    for owner, cancels in ((lease_owner(), 0), (ended_owner(), 1)):
        store.waits.register(other, [job.job_id], until="all", now=utc_now(), held_by=owner)
        if by == "hook":
            cancelled_by_hook(client, waiting)
        else:
            client.set_flow_run_state(waiting.id, Cancelled(), force=True)
        for _ in range(2):
            run_once(store, client)
        assert provider.asked["cancel"] == cancels
    assert store.job(job.job_id).status is JobStatus.CANCELLED


def test_reused(client: SyncPrefectClient, store: Ledger) -> None:
    """A sweep that finds the job of another one gets its results, although that other one is cancelled."""
    name, backend = script("reused", polls=None, dies_at_poll=1)
    spec = a_sweep("reused", backends=[name], compile={"compiler": "none"})
    with pytest.raises(Died):
        sweep(spec)
    (job,) = store.jobs(experiment="reused")
    first = last_run(client, "reused")
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(sweep, spec)
        spared = eventually(lambda: store.waits.jobs_of_others([job.job_id], str(first.id)), bool)
        cancelled_by_hook(client, first)
        client.set_flow_run_state(first.id, Cancelled(), force=True)
        run_once(store, client)
        backend.polls = 0
        assert second.result(60).n_missing == 0
    assert spared == {job.job_id}
    assert not backend.cancelled
    assert (len(backend.jobs), store.job(job.job_id).status) == (1, JobStatus.COMPLETED)
