"""Runs that a worker took and did not start, because it died: freed, started again, and no run started twice."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from deploying import deployed, kill_all_of, places_taken, process_worker
from given import open_queue, parameters
from observing import eventually
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Cancelling, Pending, Running, Scheduled, Submitting, Suspended

from flows._support import unstarted_runs
from flows.run_circuits import run_circuits
from flows.sensor import PassSummary, Sensor, run_once, sensor
from qjobs.ledger import Ledger
from qjobs.operations.plan import utc_now
from qjobs.testing.servers import ScriptedProvider

WORKER = "ProcessWorker of this test"


def at_once(store: Ledger, client: SyncPrefectClient, *, alone: bool = True) -> PassSummary:
    """A pass that gives no process time to start; `alone`: and that sees none of this machine."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_OF_DEAD_WORKER", "_TOLD"):
            patch.setattr(unstarted_runs, name, timedelta(0))
        if alone:
            patch.setattr(unstarted_runs, "_PROC", Path("/nowhere"))
        return run_once(store, client)


def later(store: Ledger, client: SyncPrefectClient, **span: float) -> PassSummary:
    """A pass when no worker has been heard of for so long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unstarted_runs, "utc_now", lambda: utc_now() + timedelta(**span))
        return run_once(store, client)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_dead_worker(
    api: str,
    client: SyncPrefectClient,
    store: Ledger,
    home: Path,
    tmp_path: Path,
    provider: ScriptedProvider,
    number: signal.Signals,
) -> None:
    """Worker and process die while a run is being started: its only place is free again, and it runs once."""
    pool, began = f"dying-{uuid.uuid4().hex[:8]}", tmp_path / "began"
    slow_once = f"sh -c 'test -e {began} || (touch {began}; sleep 300)'"
    deployment = deployed(client, run_circuits, pool=pool, first=slow_once, limit=1)
    made = client.create_flow_run_from_deployment(deployment, parameters=parameters(provider, "unstarted"))
    with process_worker(api, client, home, tmp_path, pool=pool) as worker:
        assert eventually(began.exists, bool, deadline_s=300)
        os.kill(worker.pid, number)
        try:
            worker.wait(60)
        except subprocess.TimeoutExpired:  # a supervisor loses patience, too
            worker.kill()
            worker.wait(60)
        kill_all_of(str(made.id))
    assert client.read_flow_run(made.id).state.name == "Submitting"
    assert places_taken(client, deployment) == 1
    assert run_once(store, client).lost == [], "its process may still start"
    passed = later(store, client, minutes=6)
    assert (passed.lost, passed.resumed) == ([str(made.id)], [str(made.id)])
    assert places_taken(client, deployment) == 0

    open_queue(provider)
    provider.store.queue_s = 0.0
    with process_worker(api, client, home, tmp_path, pool=pool):
        run = eventually(
            lambda: client.read_flow_run(made.id),
            lambda r: r.state.is_final() or r.state.name == "Suspended",
            deadline_s=600,
        )
        while not run.state.is_final():
            store.schedule.set_next({job.job_id: None for job in store.open_jobs()})
            run_once(store, client)
            run = client.read_flow_run(made.id)
    assert run.state.is_completed(), run.state
    assert provider.created == 1
    assert places_taken(client, deployment) == 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_slow_starter(
    api: str, client: SyncPrefectClient, store: Ledger, home: Path, tmp_path: Path, provider: ScriptedProvider
) -> None:
    """A run that takes long to start is not started twice, and one whose worker died meanwhile runs once."""
    provider.store.queue_s = 0.0
    pool, go, starts = f"slow-{uuid.uuid4().hex[:8]}", tmp_path / "go", tmp_path / "starts"
    slowly = f"sh -c 'echo >> {starts}; until test -e {go}; do sleep 0.2; done'"
    deployment = deployed(client, run_circuits, pool=pool, first=slowly, limit=1)

    def is_starting(name: str) -> str:
        starts.unlink(missing_ok=True)
        go.unlink(missing_ok=True)
        given = parameters(provider, name, waiting={"mode": "inline"})
        made = client.create_flow_run_from_deployment(deployment, parameters=given)
        assert eventually(starts.exists, bool, deadline_s=300)
        return str(made.id)

    with process_worker(api, client, home, tmp_path, pool=pool) as worker:
        run = is_starting("slowly")
        passed = at_once(store, client)
        assert passed.lost == [], "its worker is heard of"
        assert "may still be starting it" in passed.trouble[f"flow run {run}"]
        go.touch()
        ended = eventually(lambda: client.read_flow_run(run).state, lambda s: s.is_final(), deadline_s=240)
        assert ended.is_completed(), ended
        assert (len(starts.read_text().splitlines()), provider.created) == (1, 1)

        run = is_starting("orphaned")
        worker.kill()
        worker.wait(60)
    assert later(store, client, minutes=50).lost == [], "its process is on this machine"
    assert client.read_flow_run(run).state.name == "Submitting"
    go.touch()  # from here on Prefect 3.8 runs it, and 3.9 ends it

    def is_settled() -> bool:
        present = client.read_flow_run(run).state
        return present.is_running() or present.is_final() or run in later(store, client, minutes=6).resumed

    assert eventually(is_settled, bool, deadline_s=300)
    with process_worker(api, client, home, tmp_path, pool=pool):
        ended = eventually(lambda: client.read_flow_run(run).state, lambda s: s.is_final(), deadline_s=240)
    assert ended.is_completed(), ended
    assert provider.created == 2


@pytest.fixture
def pool(client: SyncPrefectClient) -> Iterator[str]:
    """A pool with one worker that was just heard of."""
    name = f"pool-{uuid.uuid4().hex[:8]}"
    deployed(client, run_circuits, pool=name)
    heard(client, name, WORKER)
    return name


def heard(client: SyncPrefectClient, pool: str, worker: str) -> None:
    client.send_worker_heartbeat(pool, worker, heartbeat_interval_seconds=30)


def taken(
    client: SyncPrefectClient, pool: str, state: State, worker: str = WORKER, flow: object = run_circuits
) -> FlowRun:
    """A run that a worker took and that came into this state."""
    made = client.create_flow_run_from_deployment(deployed(client, flow, pool=pool), parameters={})
    client.update_flow_run_labels(made.id, {"prefect.worker.name": worker})
    client.set_flow_run_state(made.id, state, force=True)
    return client.read_flow_run(made.id)


@pytest.mark.parametrize("state", [Pending(), Submitting(), Running()], ids=lambda state: state.name)
def test_states(client: SyncPrefectClient, store: Ledger, pool: str, state: State) -> None:
    """In every state before our code a run whose worker is silent is started again, and a young one left alone."""
    run = taken(client, pool, state)
    assert run_once(store, client).lost == []
    assert later(store, client, minutes=4).lost == []
    passed = later(store, client, minutes=6)
    assert (passed.lost, passed.resumed) == ([str(run.id)], [str(run.id)])
    assert client.read_flow_run(run.id).state.name == "Scheduled"
    assert f"the process of the flow run {run.id} is gone" in passed.lines({})


def test_cancelled(client: SyncPrefectClient, store: Ledger, pool: str) -> None:
    """A cancellation that nobody carries out is ended, and the run not started again."""
    run = taken(client, pool, Submitting())
    client.update_flow_run(run.id, infrastructure_pid="1")
    client.set_flow_run_state(run.id, Cancelling(), force=True)
    assert client.read_flow_run(run.id).state.is_cancelling()
    passed = later(store, client, minutes=6)
    assert (passed.lost, passed.resumed) == ([str(run.id)], [])
    assert client.read_flow_run(run.id).state.is_cancelled()


@pytest.mark.parametrize("state", [Pending(), Submitting(), Running()], ids=lambda state: state.name)
def test_living_worker(client: SyncPrefectClient, store: Ledger, pool: str, state: State) -> None:
    """While its worker is heard of, a run is left alone for long, and told of."""
    run = taken(client, pool, state)
    for _ in range(2):
        passed = at_once(store, client)
        assert passed.lost == []
        assert (f"flow run {run.id}" in passed.trouble) == run.state.is_pending()
    with pytest.MonkeyPatch.context() as patch:  # a new worker of the same name
        for name in ("_CLAIMED", "_OF_LIVING_WORKER"):
            patch.setattr(unstarted_runs, name, timedelta(0))
        assert at_once(store, client).lost == ([str(run.id)] if run.state.is_pending() else [])


def test_earlier_worker(client: SyncPrefectClient, store: Ledger, pool: str) -> None:
    """The worker in the labels of a Pending run may be that of its life before: any that lived may be starting it."""
    pending, submitting = (taken(client, pool, state, "a dead one") for state in (Pending(), Submitting()))
    assert at_once(store, client).lost == [str(submitting.id)]
    assert client.read_flow_run(pending.id).state.name == "Pending"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unstarted_runs, "_CLAIMED", timedelta(0))
        assert at_once(store, client).lost == [str(pending.id)], "no worker needs so long to say Submitting"


def test_new_worker(client: SyncPrefectClient, store: Ledger) -> None:
    """A worker that came later has not taken the run: it is no reason to wait."""
    pool = f"pool-{uuid.uuid4().hex[:8]}"
    run = taken(client, pool, Pending())
    heard(client, pool, "a new one")
    assert at_once(store, client).lost == [str(run.id)]


def test_bounded(client: SyncPrefectClient, store: Ledger, pool: str) -> None:
    """A run that is never started is given up after four times, and that is told in every pass."""
    run = taken(client, pool, Pending())
    for _ in range(3):
        assert later(store, client, minutes=6).resumed == [str(run.id)]
        client.set_flow_run_state(run.id, Pending(), force=True)
    with contextlib.closing(Sensor(store, client)) as opened, pytest.MonkeyPatch.context() as patch:
        patch.setattr(unstarted_runs, "utc_now", lambda: utc_now() + timedelta(minutes=6))
        for _ in range(2):
            passed = opened.run_pass()
            assert "crashed too often" in passed.trouble[f"flow run {run.id}"]
            assert passed.resumed == []
    assert client.read_flow_run(run.id).state.is_crashed()


def test_upkeep_flows(client: SyncPrefectClient, store: Ledger, pool: str) -> None:
    """A sensor that did not start is freed, and its schedule starts the next one."""
    run = taken(client, pool, Submitting(), flow=sensor)
    passed = later(store, client, minutes=6)
    assert (passed.lost, passed.resumed) == ([str(run.id)], [])
    assert client.read_flow_run(run.id).state.is_crashed()


def test_no_worker(client: SyncPrefectClient, store: Ledger, pool: str) -> None:
    """Runs that are late, or were resumed, are told if no worker is there to take them."""
    taken(client, pool, Scheduled())
    resumed = taken(client, pool, Suspended(timeout_seconds=86400, pause_key="wait"))
    client.resume_flow_run(resumed.id)
    assert client.read_flow_run(resumed.id).state.name == "Resuming"
    assert run_once(store, client).trouble == {}
    assert at_once(store, client).trouble == {}, "a worker is heard of"
    passed = later(store, client, minutes=6)
    assert passed.lost == []
    words = f"2 runs wait for a worker and none is heard of; start one: prefect worker start --pool {pool}"
    assert passed.trouble == {f"work pool {pool}": words}


def test_other_ledger(client: SyncPrefectClient, store: Ledger, pool: str) -> None:
    """A running run of another ledger says there that it lives."""
    run = taken(client, pool, Running())
    client.update_flow_run_labels(run.id, {"qjobs.ledger": "another"})
    assert later(store, client, minutes=6).lost == []
    assert client.read_flow_run(run.id).state.is_running()
