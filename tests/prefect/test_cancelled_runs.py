"""Cancelling a flow run cancels the jobs that it made."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from subprocess import Popen

import pytest
from deploying import deployed, process_of
from given import a_batch, parameters
from observing import eventually, last_run
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelling
from scripted_block import Died, script

from flows.run_circuits import run_circuits
from flows.sensor import run_once
from qjobs.backends.base import Limits
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Job
from qjobs.testing.servers import ScriptedProvider


def _cancel_as_prefect_does(client: SyncPrefectClient, run: FlowRun) -> None:
    """In a thread, by keyword, with the run as the API gives it (`prefect.runner`)."""
    known = client.read_flow_run(run.id)
    for hook in run_circuits.on_cancellation_hooks:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(hook, flow=run_circuits, flow_run=known, state=Cancelling()).result()


def _left_behind(client: SyncPrefectClient, name: str, backend: str, **options: object) -> FlowRun:
    """A run that went away while its first job was under way and its second one was not sent."""
    with pytest.raises(Died):
        run_circuits(a_batch(name, 2, backend=backend, compiler="none"), **options)
    return last_run(client, name)


def test_own_jobs_only(client: SyncPrefectClient, store: Ledger) -> None:
    """A crashed run leaves its jobs alone; a cancelled one cancels its own, once, and no others."""
    limits = Limits(max_items=1, max_live_jobs=1)
    runs, backends = {}, {}
    for which in ("one", "other"):
        name, backends[which] = script(f"endless-{which}", polls=None, dies_at_poll=1, limits=limits)
        runs[which] = _left_behind(client, f"left-{which}", name)
        assert runs[which].state.is_crashed()
        assert {job.cancel_requested_at for job in store.jobs(experiment=f"left-{which}")} == {None}
        assert not backends[which].cancelled
    assert not run_circuits.on_crashed_hooks
    _cancel_as_prefect_does(client, runs["one"])
    assert [job.status for job in store.jobs(experiment="left-one")] == [JobStatus.CANCELLED] * 2
    assert len(backends["one"].cancelled) == 1
    others = {job.status for job in store.jobs(experiment="left-other")}
    assert others == {JobStatus.CREATED, JobStatus.SUBMITTED}
    assert not backends["other"].cancelled
    _cancel_as_prefect_does(client, runs["one"])
    assert len(backends["one"].cancelled) == 1


def test_switched_off(client: SyncPrefectClient, store: Ledger) -> None:
    """`cancel_remote_jobs=False` leaves the jobs alone."""
    name, backend = script("kept", polls=None, dies_at_poll=1, limits=Limits(max_items=1, max_live_jobs=1))
    run = _left_behind(client, "left-alone", name, cancel_remote_jobs=False)
    before = store.jobs(experiment="left-alone")
    _cancel_as_prefect_does(client, run)
    assert store.jobs(experiment="left-alone") == before
    assert not backend.cancelled


def _forget_backend(client: SyncPrefectClient, name: str) -> None:
    """Delete the block, and what this process has opened of it."""
    from blocks import opening

    slug, block = name.split("/")
    document = client.request("GET", f"/block_types/slug/{slug}/block_documents/name/{block}").json()
    client.request("DELETE", f"/block_documents/{document['id']}")
    opening._backends.pop(name)


def test_backend_is_gone(client: SyncPrefectClient, store: Ledger) -> None:
    """The cancellation is in the ledger before any backend is opened: blocks can be deleted."""
    name, backend = script("gone", polls=None, dies_at_poll=1)
    run = _left_behind(client, "left-gone", name)
    (job,) = store.jobs(experiment="left-gone")
    assert job.opened_as == name
    _forget_backend(client, name)
    _cancel_as_prefect_does(client, run)
    assert store.job(job.job_id).cancel_requested_at is not None
    assert not backend.cancelled


def started(client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, name: str) -> tuple[FlowRun, Job]:
    """A deployed run whose job is at the provider, and that job."""
    given = parameters(provider, name)
    run = client.create_flow_run_from_deployment(deployed(client, run_circuits), parameters=given)
    at_provider = {JobStatus.SUBMITTED, JobStatus.QUEUED}
    jobs = eventually(
        lambda: [job for job in store.jobs(experiment=name) if job.status in at_provider], bool, deadline_s=180.0
    )
    assert jobs, client.read_flow_run(run.id).state
    return run, jobs[0]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_behind_a_worker(
    client: SyncPrefectClient, worker: Popen[bytes], store: Ledger, provider: ScriptedProvider
) -> None:
    """Cancelled in Prefect, a run behind a worker cancels its job; killed, it leaves the job alone."""
    run, job = started(client, store, provider, "to-be-cancelled")
    client.set_flow_run_state(run.id, Cancelling())
    state = eventually(lambda: client.read_flow_run(run.id).state, lambda s: s.is_final(), deadline_s=180.0)
    assert state.is_cancelled()
    # The hook has written the wish down, or the sensor does: what counts is that one of them (or both) passes it on.
    eventually(lambda: run_once(store, client) and store.job(job.job_id).status.is_final, bool, deadline_s=180.0)
    assert store.job(job.job_id).status is JobStatus.CANCELLED
    asked = provider.asked["cancel"]
    assert asked >= 1

    run, job = started(client, store, provider, "to-be-killed")
    pid = eventually(lambda: process_of(worker.pid, str(run.id)), bool)
    os.kill(pid, signal.SIGKILL)
    state = eventually(lambda: client.read_flow_run(run.id).state, lambda s: s.is_final(), deadline_s=180.0)
    assert state.is_crashed()
    assert store.job(job.job_id).cancel_requested_at is None
    assert (provider.created, provider.asked["cancel"]) == (2, asked)
    assert worker.poll() is None
