"""Waits for what never comes, for what comes early, and for a place that a stranger has."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from deploying import deployed
from given import a_batch, open_queue, parameters, sent
from observing import eventually, last_run
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.states import Running, Suspended
from scripted_block import script

from flows.run_circuits import run_circuits
from flows.sensor import run_once
from qjobs.backends.base import Limits
from qjobs.errors import BackendUnavailable, JobFailed, SubmissionUnknown
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId
from qjobs.operations.poll import utc_now
from qjobs.testing.faults import Action, Fault, Route
from qjobs.testing.servers import ScriptedProvider


def running(client: SyncPrefectClient, provider: ScriptedProvider, name: str) -> FlowRun:
    """A run that was deployed, as far as the server knows at work."""
    deployment = deployed(client, run_circuits)
    return client.create_flow_run_from_deployment(deployment, parameters=parameters(provider, name), state=Running())


def suspend(client: SyncPrefectClient, run: FlowRun) -> None:
    client.set_flow_run_state(run.id, Suspended(timeout_seconds=86400, pause_key="wait"), force=True)


def passes(store: Ledger, client: SyncPrefectClient, n: int = 3) -> list[str]:
    """The runs that some passes resumed, in each of which all jobs are due that are waited for."""
    resumed = []
    for _ in range(n):
        due = [job_id for wait in store.waits.runs() for job_id in wait.open_ids]
        store.schedule.set_next(dict.fromkeys(due, utc_now()))
        done = run_once(store, client)
        assert done.trouble == {}
        resumed += done.resumed
    return resumed


def test_gone_results(client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, waiting: FlowRun) -> None:
    """A suspended run whose results never come is resumed, and the reason is in the ledger."""
    suspend(client, waiting)
    for remote in provider.store.jobs.values():
        remote.habits.withheld = {0: "it was kept for 30 days"}
    assert passes(store, client) == []
    open_queue(provider)
    assert passes(store, client) == [str(waiting.id)]
    (job,) = store.jobs(experiment="registered")
    (item,) = store.items(job.job_id)
    assert (job.status, item.no_result is not None) == (JobStatus.COMPLETED, True)
    assert "30 days" in item.no_result


def test_late_results(client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, waiting: FlowRun) -> None:
    """A suspended run whose results are only late is not resumed before they are there."""
    suspend(client, waiting)
    provider.store.results_late_s = 600.0
    open_queue(provider)
    for remote in provider.store.jobs.values():
        remote.ends_at = provider.store.clock()
    assert passes(store, client) == []
    (job,) = store.jobs(experiment="registered")
    assert job.status is JobStatus.COMPLETED
    provider.store.results_late_s = 0.0
    assert passes(store, client) == [str(waiting.id)]
    assert store.result_counts([job.job_id]) == {job.job_id: 1}


def test_end_without_results(client: SyncPrefectClient, store: Ledger) -> None:
    """A run whose results never come ends with the provider's reason; one of a syntax checker completes without."""
    name, backend = script("forgetful", withheld={1: "410: it was kept for 30 days"})
    with pytest.raises(JobFailed, match="30 days"):
        run_circuits(a_batch("forgotten", 3, backend=name, compiler="none"))
    (job,) = store.jobs(experiment="forgotten")
    assert sorted(store.results(job.job_id)) == [0, 2]

    reason = "a syntax checker gives no results"
    name, backend = script("checker", withheld={0: reason, 1: reason}, limits=Limits(results_kept_s=0))
    published = run_circuits(a_batch("checked", 2, backend=name, compiler="none"))
    assert (published.n_missing, backend.n_submissions) == (2, 1)
    assert last_run(client, "checked").state.is_completed()


def test_half_finished(client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider) -> None:
    """The results of a suspended job are in the ledger as its items end, while the run waits for the others."""
    run = running(client, provider, "half")
    job_id = sent(store, provider, str(run.id), experiment="half", n=3)
    store.waits.register(str(run.id), [job_id], until="all", now=utc_now(), server=str(client.api_url))
    suspend(client, run)
    (remote,) = provider.store.jobs.values()
    remote.starts_at, remote.kept = 0.0, {0, 2}
    provider.store.results_late_s = -3600.0  # they come before the job ends
    assert passes(store, client) == []
    assert sorted(store.results(job_id)) == [0, 2]
    assert store.job(job_id).status is JobStatus.RUNNING
    open_queue(provider)
    assert passes(store, client) == [str(run.id)]
    assert sorted(store.results(job_id)) == [0, 1, 2]


def a_stranger(store: Ledger, provider: ScriptedProvider) -> JobId:
    """A job of another run at the device whose reply was lost, and which the provider has."""
    provider.inject(
        Fault(route=Route.SUBMIT, action=Action.DROP_AFTER), Fault(route=Route.FIND, action=Action.DROP_BEFORE, times=9)
    )
    with contextlib.suppress(BackendUnavailable, SubmissionUnknown):
        sent(store, provider, "a-stranger", experiment="stranger")
    provider.inject()
    (job,) = store.jobs(experiment="stranger")
    assert job.status is JobStatus.UNKNOWN
    return job.job_id


def test_room(client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider) -> None:
    """A suspended run that waits for a stranger's place goes on once, when the stranger has left it."""
    job_id = a_stranger(store, provider)
    run = running(client, provider, "mine")
    store.waits.register(str(run.id), [job_id], until="room", now=utc_now(), server=str(client.api_url))
    suspend(client, run)
    assert not store.waits.runs()[0].is_over, "a job of unknown fate has the place"
    assert passes(store, client) == []
    assert store.job(job_id).status is JobStatus.QUEUED, "its fate is found out meanwhile"
    assert client.read_flow_run(run.id).state.name == "Suspended"
    open_queue(provider)
    assert passes(store, client) == [str(run.id)]


def test_room_here(api: str, store: Ledger) -> None:
    """A run that waits in its process for a stranger's place looks the stranger up, and sends when it has left."""
    one_place = Limits(max_items=2, max_live_jobs=1)
    name, backend = script("one-place", limits=one_place, on_submit=["lost reply"], polls=None)
    backend.is_blind = True
    once = {"ladder": ["DEFAULT"], "delays_s": [0.01]}
    with pytest.raises(BackendUnavailable):
        run_circuits(a_batch("stranger", backend=name, compiler="none", retries=once))
    (stranger,) = store.jobs(experiment="stranger")
    assert stranger.status is JobStatus.UNKNOWN
    with ThreadPoolExecutor(1) as pool:
        mine = pool.submit(run_circuits, a_batch("mine", backend=name, compiler="none"))
        eventually(lambda: store.jobs(experiment="mine"), bool)
        backend.is_blind = False
        eventually(lambda: store.job(stranger.job_id).status, lambda status: status is JobStatus.RUNNING)
        assert backend.n_submissions == 1
        backend.polls = 0
        assert mine.result(120).n_missing == 0
    assert (backend.n_submissions, backend.most_live) == (2, 1)
    assert store.job(stranger.job_id).status is JobStatus.COMPLETED
