"""Suspended runs: no process while they wait, resumed by level, and never waited for in vain."""

from __future__ import annotations

import contextlib
import os
import sys
import uuid
from collections import Counter
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import DEVNULL, Popen
from threading import Thread

import httpx
import pytest
from deploying import ROOT, process_of
from given import open_queue, parameters, sent
from observing import artifacts, eventually, last_run, logs_of
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelling, Crashed, Suspended
from suspending import passes, suspended

from flows._support.doctor import prefect_checks
from flows._support.waiting import Waiting
from flows.run_circuits import run_circuits
from flows.sensor import Sensor, run_once
from flows.sweep import sweep
from qjobs.experiments.circuit_list import CircuitList
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.operations.plan import utc_now
from qjobs.testing.servers import ScriptedProvider

TURN = """OPENQASM 3.0; include "stdgates.inc"; input float theta;
qubit[1] q; bit[1] c; ry(theta) q[0]; c[0] = measure q[0];"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_suspended_run(
    client: SyncPrefectClient, worker: Popen[bytes], store: Ledger, provider: ScriptedProvider
) -> None:
    """A run waits without a process and goes on when its job is done; cancelled or failed, it sends nothing again."""
    run = suspended(client, store, run_circuits, parameters(provider, "weeks"))
    assert run.state.message.startswith("waits for reference (as of 20"), run.state.message
    assert provider.asked["status"] == 1, "its place was asked for"
    eventually(lambda: process_of(worker.pid, str(run.id)), lambda pid: pid == 0)
    assert process_of(worker.pid, str(run.id)) == 0
    for _ in range(2):
        assert run_once(store, client).resumed == []
    assert "0 of 1 circuits are done (1 QUEUED)" in artifacts(client, "weeks-progress")[-1].description
    open_queue(provider)
    assert passes(store, client, "resumed").resumed == [str(run.id)]
    ended = eventually(lambda: client.read_flow_run(run.id), lambda r: r.state.is_final(), deadline_s=240)
    assert ended.state.is_completed(), ended.state
    assert store.waits.runs() == []
    assert provider.created == 1
    (job,) = store.jobs(experiment="weeks")
    assert (job.status, store.result_counts([job.job_id])) == (JobStatus.COMPLETED, {job.job_id: 1})

    given = parameters(provider, "to-be-cancelled", waiting={"mode": "suspend"})
    run = suspended(client, store, run_circuits, given)
    client.set_flow_run_state(run.id, Cancelling(), force=False)
    eventually(lambda: client.read_flow_run(run.id).state.is_final(), bool)
    passes(store, client, "ended")
    (job,) = store.jobs(experiment="to-be-cancelled")
    run_once(store, client)
    assert (store.job(job.job_id).status, provider.asked["cancel"]) == (JobStatus.CANCELLED, 1)

    # A sweep of which a point fails at the provider: it fails once, and nothing is sent again.
    provider.break_items({1: "the laser went off"})
    axes = [{"name": "theta", "values": [0.1, 0.2]}]
    spec = {"name": "broken", "circuit": {"openqasm": TURN}, "axes": axes, "shots": 20, "compile": {"compiler": "none"}}
    created = provider.created
    run = suspended(client, store, sweep, {"spec": {**spec, "backends": [f"rest-backend/{provider.block}"]}})
    open_queue(provider)
    passes(store, client, "resumed")
    ended = eventually(lambda: client.read_flow_run(run.id), lambda r: r.state.is_final(), deadline_s=240)
    assert ended.state.is_failed(), ended.state
    assert "the laser went off" in ended.state.message
    assert provider.created == created + 1
    (job,) = store.jobs(experiment="broken")
    assert store.result_counts([job.job_id]) == {job.job_id: 1}
    assert store.waits.runs() == []


def test_no_deployment(client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider) -> None:
    """Outside a deployment a run waits in its process and logs why."""
    provider.store.queue_s = 0.0
    given = parameters(provider, "inline")
    run_circuits(CircuitList.model_validate(given["spec"]), waiting=Waiting(mode="suspend"))
    run = last_run(client, "inline")
    lines = logs_of(client, str(run.id), until="waiting in this process")
    assert any("because the run does not come from a deployment" in line for line in lines)
    assert store.waits.runs() == []


def test_server_away(store: Ledger, api: str, provider: ScriptedProvider) -> None:
    """Every pass does what it can: results are stored while Prefect is away."""
    job_id = sent(store, provider, "r")
    store.waits.register(str(uuid.uuid4()), [job_id], until="all", now=utc_now())
    open_queue(provider)
    said: list[str] = []
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}),
        get_client(sync_client=True) as nobody,
        contextlib.closing(Sensor(store, nobody, say=said.append)) as opened,
    ):
        assert nobody.api_url != api
        for _ in range(2):
            passed = opened.run_pass()
            assert "ConnectError" in passed.trouble["resume"]
    assert store.result_counts([job_id]) == {job_id: 1}
    assert sum(line.startswith("resume: ") for line in said) == 1, "the same trouble is reported once"


@pytest.mark.slow
def test_sensor_process(client: SyncPrefectClient, store: Ledger, api: str, home: Path, waiting: FlowRun) -> None:
    """The doctor knows a sensor that is no flow run, and when it is dead."""

    def says_that_somebody_looks() -> bool:
        (sensor,) = [check for check in prefect_checks() if check.name == "sensor"]
        return sensor.words.startswith("1 at work")  # other tests have run some as flows

    assert [wait.flow_run_id for wait in store.waits.runs()] == [str(waiting.id)]
    assert not says_that_somebody_looks()
    environment = {**os.environ, "PREFECT_API_URL": api, "QJOBS_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "qjobs.cli.main", "sensor", "--every", "1"]
    with Popen(command, env=environment, cwd=ROOT, stdout=DEVNULL) as process:
        assert eventually(says_that_somebody_looks, bool)
        process.terminate()
        assert process.wait(60) == 0
    assert store.heartbeats.runners() == []
    assert not says_that_somebody_looks()

    with Popen(command, env=environment, cwd=ROOT, stdout=DEVNULL) as process:
        assert eventually(says_that_somebody_looks, bool)
        process.kill()
    assert len(store.heartbeats.runners()) == 1
    assert not says_that_somebody_looks(), "it is proved dead"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows._support.lost_runs.utc_now", lambda: utc_now() + timedelta(hours=1))
        assert run_once(store, client).lost == []
    assert store.heartbeats.runners() == []


def test_other_server(client: SyncPrefectClient, store: Ledger, waiting: FlowRun) -> None:
    """A sensor leaves runs alone that another server knows."""
    (job,) = store.jobs(experiment="registered")
    elsewhere, here = str(uuid.uuid4()), str(waiting.id)
    store.waits.register(elsewhere, [job.job_id], until="all", now=utc_now(), server="http://elsewhere.test/api")
    passed = run_once(store, client)
    assert (passed.ended, list(passed.trouble)) == ([], [f"flow run {elsewhere}"])
    assert "suspended on http://elsewhere.test/api" in passed.trouble[f"flow run {elsewhere}"]
    assert {wait.flow_run_id for wait in store.waits.runs()} == {elsewhere, here}


def test_running_and_deleted(
    client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, waiting: FlowRun
) -> None:
    """A running run is left alone; a deleted one leaves its job."""
    open_queue(provider)
    eventually(lambda: run_once(store, client) and store.waits.runs()[0].is_over, bool)
    passed = run_once(store, client)
    # it has not suspended yet: the next pass looks again
    assert (passed.resumed, passed.ended, passed.trouble) == ([], [], {})
    client.delete_flow_run(waiting.id)
    assert run_once(store, client).ended == [str(waiting.id)]
    (job,) = store.jobs(experiment="registered")
    assert job.cancel_requested_at is None
    assert provider.asked["cancel"] == 0


class Faltering(BaseHTTPRequestHandler):
    """Passes on what it is asked to a real server, but says of every resumption that it is too busy."""

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.paths[self.path.rpartition("/")[2]] += 1
        if self.path.endswith("/resume"):
            status, kind, words = 503, "text/plain", b"too busy"
        else:
            headers = {"content-type": self.headers.get("content-type", "application/json")}
            passed = httpx.request(self.command, self.server.upstream + self.path, content=body, headers=headers)
            status, kind, words = passed.status_code, passed.headers.get("content-type", ""), passed.content
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(words)))
        self.end_headers()
        self.wfile.write(words)

    do_GET = do_POST = do_PATCH = answer

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.mark.slow
def test_busy_server(client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, waiting: FlowRun) -> None:
    """A pass tries a busy server twice: Prefect's client waits 2, 4, 8, ... s, and all other runs with it."""
    client.set_flow_run_state(waiting.id, Suspended(timeout_seconds=86400, pause_key="wait"), force=True)
    open_queue(provider)
    upstream = httpx.URL(str(client.api_url))
    with ThreadingHTTPServer(("127.0.0.1", 0), Faltering) as server:
        server.paths, server.upstream = Counter(), f"{upstream.scheme}://{upstream.netloc.decode()}"
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}{upstream.path}"
        with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as busy:
            passed = run_once(store, busy)
        server.shutdown()
    assert "503" in passed.trouble[f"flow run {waiting.id}"]
    assert server.paths["resume"] == 2
    assert run_once(store, client).resumed == [str(waiting.id)]


def test_crashed_while_waiting(
    client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, waiting: FlowRun
) -> None:
    """A run that crashed while it waited is started again when its jobs are done, but not for ever."""
    client.set_flow_run_state(waiting.id, Crashed(), force=True)
    passed = run_once(store, client)
    assert (passed.resumed, passed.ended) == ([], []), "its job is still in the queue"
    open_queue(provider)
    for crashes in (2, 3, 4):
        assert passes(store, client, "resumed").resumed == [str(waiting.id)]
        assert client.read_flow_run(waiting.id).state.is_scheduled()
        client.set_flow_run_state(waiting.id, Crashed(message=f"crash {crashes}"), force=True)
    assert run_once(store, client).ended == [str(waiting.id)]
    assert client.read_flow_run(waiting.id).state.is_crashed()
    assert store.waits.runs() == []
