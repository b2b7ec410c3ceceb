"""Runs whose process and worker were both killed: shown as Crashed, started again, and nothing is sent twice."""

from __future__ import annotations

import os
import signal
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from deploying import deployed, process_of, process_worker
from given import open_queue, parameters
from observing import eventually, last_run, logs_of
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelling, Completed, Crashed, Running, Scheduled
from support import ended_owner

from flows.reconcile import reconcile
from flows.run_circuits import run_circuits
from flows.sensor import PassSummary, run_once, sensor
from qjobs.ledger import Ledger, heartbeats
from qjobs.ledger.liveness import lease_owner
from qjobs.lifecycle import JobStatus
from qjobs.operations.plan import utc_now
from qjobs.testing.servers import ScriptedProvider

LONG_AGO = timedelta(hours=1)


def looked(store: Ledger, client: SyncPrefectClient) -> PassSummary:
    passed = run_once(store, client)
    assert not passed.trouble
    return passed


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_broken_machine(
    api: str,
    client: SyncPrefectClient,
    store: Ledger,
    home: Path,
    tmp_path: Path,
    provider: ScriptedProvider,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run whose machine broke down goes on with the job that it has."""
    given = parameters(provider, "recovered", waiting={"mode": "inline"})
    with process_worker(api, client, home, tmp_path) as worker:
        made = client.create_flow_run_from_deployment(deployed(client, run_circuits), parameters=given)
        eventually(
            lambda: [j for j in store.jobs(experiment="recovered") if j.status is JobStatus.QUEUED],
            bool,
            deadline_s=240,
        )
        machine = [worker.pid, process_of(worker.pid, str(made.id))]
        for pid in machine:
            os.kill(pid, signal.SIGKILL)
        worker.wait(60)
    assert [runner.flow_run_id for runner in store.heartbeats.runners()] == [str(made.id)]
    assert looked(store, client).lost == [], "its worker has a minute to say so itself"
    assert client.read_flow_run(made.id).state.is_running(), "Prefect does not know"

    monkeypatch.setattr(heartbeats, "_GONE_IF_ENDED", timedelta(0))
    passed = looked(store, client)
    assert (passed.lost, passed.resumed, store.heartbeats.runners()) == ([str(made.id)], [str(made.id)], [])
    open_queue(provider)
    with process_worker(api, client, home, tmp_path):
        ended = eventually(lambda: client.read_flow_run(made.id), lambda r: r.state.is_final(), deadline_s=240)
    assert ended.state.is_completed(), ended.state
    assert provider.created == 1
    (job,) = store.jobs(experiment="recovered")
    assert store.result_counts([job.job_id]) == {job.job_id: 1}
    assert store.heartbeats.runners() == []


@pytest.fixture
def dead() -> str:
    return ended_owner()


@pytest.fixture
def run(client: SyncPrefectClient) -> FlowRun:
    """A deployed run that Prefect takes for running."""
    made = client.create_flow_run_from_deployment(deployed(client, run_circuits), parameters={}, state=Running())
    return client.read_flow_run(made.id)


def heard_of(
    store: Ledger, client: SyncPrefectClient, run: FlowRun, owner: str, *, ago: timedelta, flow: str = "run-circuits"
) -> None:
    """The process ran this run, and was last heard of so long ago."""
    store.heartbeats.record(str(run.id), owner, flow=flow, server=str(client.api_url), now=utc_now() - ago)


def later(store: Ledger, client: SyncPrefectClient) -> PassSummary:
    """A pass when nothing has been heard of anybody for an hour."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows._support.lost_runs.utc_now", lambda: utc_now() + LONG_AGO)
        return looked(store, client)


def test_three_crashes(client: SyncPrefectClient, store: Ledger, run: FlowRun, dead: str) -> None:
    """A run that crashed with its worker is started again, three times at the most."""
    for number in range(4):
        client.set_flow_run_state(run.id, Running(), force=True)
        heard_of(store, client, run, dead, ago=timedelta(0))
        assert looked(store, client).lost == []
        heard_of(store, client, run, dead, ago=timedelta(seconds=-1))  # after it said that it runs
        found = later(store, client)
        assert found.lost == [str(run.id)]
        assert found.resumed == ([str(run.id)] if number < 3 else [])
        state = client.read_flow_run(run.id).state
        assert (state.is_scheduled(), state.is_crashed()) == (number < 3, number == 3)
        assert store.heartbeats.runners() == []
    assert "jobs are safe in the ledger" in state.message


def test_alive(client: SyncPrefectClient, store: Ledger, run: FlowRun, dead: str) -> None:
    """A run whose process is alive, or may be, is left alone; a machine that is silent for ten minutes is given up."""
    heard_of(store, client, run, lease_owner(), ago=timedelta(0))
    assert later(store, client).lost == [], "it is proved to live: it was stopped, and may go on"
    store.heartbeats.end(str(run.id), lease_owner())

    heard_of(store, client, run, "elsewhere:1:1", ago=timedelta(minutes=9))
    assert looked(store, client).lost == [], "nothing is proved, and it was silent for less than ten minutes"
    store.heartbeats.end(str(run.id), "elsewhere:1:1")

    heard_of(store, client, run, dead, ago=LONG_AGO)
    heard_of(store, client, run, "elsewhere:1:1", ago=timedelta(seconds=-1))
    assert looked(store, client).lost == [], "another process runs it by now"
    assert client.read_flow_run(run.id).state.is_running()
    assert later(store, client).lost == [str(run.id)]


def test_moved_since(client: SyncPrefectClient, store: Ledger, run: FlowRun, dead: str) -> None:
    """A run that has moved since is left alone."""
    for state in (Running(), Scheduled(), Completed()):  # started again elsewhere, by hand, and ended
        client.set_flow_run_state(run.id, state, force=True)
        heard_of(store, client, run, dead, ago=LONG_AGO)
        passed = looked(store, client)
        assert (passed.lost, passed.resumed, store.heartbeats.runners()) == ([], [], [])
        assert client.read_flow_run(run.id).state.type is state.type
    client.delete_flow_run(run.id)
    heard_of(store, client, run, dead, ago=LONG_AGO)
    assert (looked(store, client).lost, store.heartbeats.runners()) == ([], [])


def test_lost_cancellation(client: SyncPrefectClient, store: Ledger, run: FlowRun, dead: str) -> None:
    """A cancellation that died with its process is ended, and the run not started again."""
    client.set_flow_run_state(run.id, Cancelling(), force=True)
    heard_of(store, client, run, dead, ago=LONG_AGO)
    passed = looked(store, client)
    assert (passed.lost, passed.resumed) == ([str(run.id)], [])
    assert client.read_flow_run(run.id).state.is_cancelled()


def test_reported_crash(client: SyncPrefectClient, store: Ledger, run: FlowRun, dead: str) -> None:
    """A crash that the worker reported is started again; a sensor is not."""
    client.set_flow_run_state(run.id, Crashed(), force=True)
    heard_of(store, client, run, dead, ago=LONG_AGO, flow="sensor")
    assert looked(store, client).resumed == []
    heard_of(store, client, run, dead, ago=LONG_AGO)
    assert looked(store, client).resumed == [str(run.id)]


def test_other_server(client: SyncPrefectClient, store: Ledger, run: FlowRun, dead: str) -> None:
    """A run of another server is left alone; another name of this one is no other server."""
    elsewhere, long_ago = str(uuid.uuid4()), utc_now() - LONG_AGO
    store.heartbeats.record(elsewhere, dead, flow="sweep", server="http://elsewhere.test/api", now=long_ago)
    assert looked(store, client).lost == []
    assert [runner.flow_run_id for runner in store.heartbeats.runners()] == [elsewhere]
    alias = str(client.api_url).replace("127.0.0.1", "localhost")
    store.heartbeats.record(str(run.id), dead, flow="sweep", server=alias, now=utc_now())
    assert later(store, client).lost == [str(run.id)]


def test_two_sensors(client: SyncPrefectClient, store: Ledger, dead: str) -> None:
    """The sensors of a schedule give way to each other, unless the other is silent or dead."""

    def did(owner: str, ago: timedelta) -> bool:
        other = str(uuid.uuid4())
        store.heartbeats.record(other, owner, flow="sensor", server=str(client.api_url), now=utc_now() - ago)
        sensor()
        store.heartbeats.end(other, owner)
        run = last_run(client, "sensor")
        lines = logs_of(client, str(run.id), until="Finished")
        return not any(f"the sensor of the flow run {other} is at work" in line for line in lines)

    assert not did("elsewhere:1:1", timedelta(0))
    assert did("elsewhere:1:1", timedelta(minutes=2)), "it was not heard of for four beats"
    assert did(dead, timedelta(0))
    assert store.heartbeats.runners() == []


def test_upkeep(
    client: SyncPrefectClient, store: Ledger, run: FlowRun, dead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hourly upkeep recovers lost runs too, because a sensor may not run."""
    heard_of(store, client, run, dead, ago=timedelta(seconds=-1))
    monkeypatch.setattr("flows._support.lost_runs.utc_now", lambda: utc_now() + LONG_AGO)
    reconcile()
    assert client.read_flow_run(run.id).state.is_scheduled()
