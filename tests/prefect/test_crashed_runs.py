"""Runs that crash by themselves while jobs of theirs are open: started again, and nothing is sent twice."""

from __future__ import annotations

import os
import signal
import uuid
from datetime import timedelta
from pathlib import Path
from subprocess import Popen

import pytest
from deploying import deployed, process_of
from given import open_queue, parameters, sent
from observing import ends_of_tasks, eventually
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.states import Crashed, Running

from flows.run_circuits import run_circuits
from flows.sensor import run_once
from qjobs.ledger import Ledger, heartbeats
from qjobs.lifecycle import JobStatus
from qjobs.operations.plan import utc_now
from qjobs.testing.faults import Action, Fault, Route
from qjobs.testing.servers import ScriptedProvider


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGTERM], ids=lambda number: number.name)
def test_while_sending(
    client: SyncPrefectClient,
    worker: Popen[bytes],
    store: Ledger,
    home: Path,
    provider: ScriptedProvider,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    """A process that ends while it sends: the job is found, and the run goes on with it."""
    monkeypatch.setattr(heartbeats, "_GONE_IF_ENDED", timedelta(0))
    provider.inject(Fault(route=Route.SUBMIT, action=Action.LATE, seconds=10.0))
    name = f"aborted-{number.name}"
    made = client.create_flow_run_from_deployment(deployed(client, run_circuits), parameters=parameters(provider, name))
    eventually(lambda: provider.created, bool, deadline_s=240)
    (job,) = store.jobs(experiment=name)
    assert job.status is JobStatus.SUBMITTING
    os.kill(process_of(worker.pid, str(made.id)), number)
    ended = eventually(lambda: client.read_flow_run(made.id).state, lambda s: s.is_final(), deadline_s=120)
    assert ended.is_crashed(), ended
    assert store.waits.runs() == []

    resumed: list[str] = []
    open_queue(provider)

    def state() -> str:
        store.schedule.set_next({job.job_id: None for job in store.open_jobs()})
        resumed.extend(run_once(store, client).resumed)
        return str(client.read_flow_run(made.id).state.name)

    assert eventually(state, lambda name: name in {"Completed", "Failed"}, deadline_s=240) == "Completed"
    assert str(made.id) in resumed
    assert provider.created == 1
    ended = {"Completed", "Crashed: its process ended; the run went on in another"}
    told = eventually(lambda: ends_of_tasks(client, made.id), lambda found: found <= ended)
    assert told <= ended
    # A process that is asked to end may lose what it has said of its tasks: Prefect then knows of none that runs.
    assert told == ended or number is signal.SIGTERM
    assert store.result_counts([job.job_id]) == {job.job_id: 1}
    assert store.waits.runs() == []


@pytest.fixture
def run(client: SyncPrefectClient) -> FlowRun:
    """A deployed run that crashed."""
    made = client.create_flow_run_from_deployment(deployed(client, run_circuits), parameters={}, state=Running())
    client.set_flow_run_state(made.id, Crashed(message="aborted"), force=True)
    return client.read_flow_run(made.id)


def test_open_job(client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, run: FlowRun) -> None:
    """It is started again while its job is open, three times at the most, and then told."""
    sent(store, provider, str(run.id))
    for _ in range(3):
        assert run_once(store, client).resumed == [str(run.id)]
        assert run_once(store, client).resumed == [], "it was started already"
        assert client.read_flow_run(run.id).state.is_scheduled()
        client.set_flow_run_state(run.id, Crashed(), force=True)
    passed = run_once(store, client)
    assert passed.resumed == []
    assert "crashed too often" in passed.trouble[f"flow run {run.id}"]
    assert provider.created == 1


def test_nothing_open(client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, run: FlowRun) -> None:
    """It is left alone where no job is open, or where they are to be cancelled."""
    job_id = sent(store, provider, str(run.id))
    store.request_cancel(job_id, now=utc_now())
    assert run_once(store, client).resumed == []
    assert client.read_flow_run(run.id).state.is_crashed()


def test_others_look(client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, run: FlowRun) -> None:
    """A run that waits is resumed when its jobs are done, and one with a process is left to it."""
    job_id = sent(store, provider, str(run.id))
    store.waits.register(str(run.id), [job_id], until="all", now=utc_now(), server=str(client.api_url))
    assert run_once(store, client).resumed == []
    store.waits.end(str(run.id))
    store.heartbeats.record(str(run.id), "elsewhere:1:1", flow="sweep", server=str(client.api_url), now=utc_now())
    assert run_once(store, client).resumed == []
    store.heartbeats.end(str(run.id), "elsewhere:1:1")
    assert run_once(store, client).resumed == [str(run.id)]


def test_not_deployed(client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider) -> None:
    """A run that nothing could start again is left alone, and so is a name that is no run."""
    made = client.create_flow_run(run_circuits, parameters={}, state=Running())
    client.set_flow_run_state(made.id, Crashed(), force=True)
    for name in (str(made.id), str(uuid.uuid4()), "monday"):
        sent(store, provider, name, experiment=name)
    passed = run_once(store, client)
    assert (passed.resumed, passed.trouble) == ([], {})
    assert client.read_flow_run(made.id).state.is_crashed()


def test_all_done(client: SyncPrefectClient, store: Ledger, run: FlowRun) -> None:
    """A run of this ledger goes on also when its jobs became final meanwhile, or when it had none yet."""
    client.update_flow_run_labels(run.id, {"qjobs.ledger": "another"})
    assert run_once(store, client).resumed == []
    client.update_flow_run_labels(run.id, {"qjobs.ledger": store.ledger_id})
    for _ in range(3):
        assert run_once(store, client).resumed == [str(run.id)]
        client.set_flow_run_state(run.id, Crashed(), force=True)
    passed = run_once(store, client)
    assert (passed.resumed, passed.trouble) == ([], {}), "nothing of it is open"
