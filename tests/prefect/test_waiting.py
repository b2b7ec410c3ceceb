"""Suspended runs: no process while they wait, resumed by level, cancelled and deleted without losing a job."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import DEVNULL, Popen
from threading import Thread
from typing import Any

import httpx
import pytest
from deploying import ROOT, deployed, process_of
from observing import artifacts, eventually, last_run, logs_of
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import Artifact, FlowRun
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelled, Cancelling, Crashed, Running, Suspended

from blocks import RestBackend, backend_named
from flows.doctor import prefect_checks
from flows.run_circuits import run_circuits
from flows.sensor import Passed, Sensor, watch
from flows.sensor import main as sensor_command
from flows.sweep import sweep
from flows.waiting import Waiting
from qjobs import operations, recovery
from qjobs.circuits import read_circuit
from qjobs.experiment import CircuitsSpec
from qjobs.ledger import Ledger
from qjobs.ledger_waits import AtDeadline
from qjobs.lifecycle import JobStatus
from qjobs.model import ItemSpec, JobId
from qjobs.operations import utc_now
from qjobs.retry import RemoteRetryStrategy
from qjobs.testing.servers import ScriptedProvider

BELL = """OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;"""

TURN = """OPENQASM 3.0; include "stdgates.inc"; input float theta;
qubit[1] q; bit[1] c; ry(theta) q[0]; c[0] = measure q[0];"""


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


def suspended(client: SyncPrefectClient, store: Ledger, flow: Flow[..., Any], given: dict[str, object]) -> FlowRun:
    """A run of the deployment that waits for its job without a process."""
    made = client.create_flow_run_from_deployment(deployed(client, flow), parameters=given)
    run = eventually(
        lambda: client.read_flow_run(made.id),
        lambda r: r.state.name == "Suspended" or r.state.is_final(),
        deadline_s=240,
    )
    assert run.state.name == "Suspended", run.state
    assert [wait.flow_run_id for wait in store.waits()] == [str(run.id)]
    return run


def sent(store: Ledger, provider: ScriptedProvider, run: str, experiment: str = "") -> JobId:
    """A job of one circuit that a run made and that the provider has."""
    bell, name = read_circuit(BELL), f"rest-backend/{provider.block}"
    backend, items = backend_named(name), [ItemSpec(label="bell", program=bell.hash, shots=20)]
    (job_id,) = operations.plan(
        store,
        backend,
        items,
        {bell.hash: bell},
        run=run,
        name="bell",
        experiment=experiment,
        properties={"backend_name": name},
    )
    operations.submit(store, backend, job_id)
    return job_id


def passes(store: Ledger, client: SyncPrefectClient, until: str) -> Passed:
    """Passes of the sensor until one did something of this kind."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        passed = watch(store, client)
        # Of a busy SQLite, which the next pass asks again.
        assert all("503 Service Unavailable" in words for words in passed.trouble.values()), passed.trouble
        if getattr(passed, until):
            return passed
        store.schedule({job.job_id: None for job in store.open_jobs()})  # due at once
        time.sleep(0.2)
    raise AssertionError(f"no pass {until} anything")


@pytest.mark.timeout(1200)
def test_a_run_waits_without_a_process_and_goes_on_when_its_job_is_done(
    client: SyncPrefectClient, worker: Popen[bytes], store: Ledger, provider: ScriptedProvider
) -> None:
    run = suspended(client, store, run_circuits, parameters(provider, "weeks"))
    eventually(lambda: process_of(worker.pid, str(run.id)), lambda pid: pid == 0)
    assert process_of(worker.pid, str(run.id)) == 0
    for _ in range(2):
        assert watch(store, client).resumed == []
    assert "0 of 1 circuits are done (1 QUEUED)" in artifacts(client, "weeks-progress")[-1].description
    open_queue(provider)
    assert passes(store, client, "resumed").resumed == [str(run.id)]
    ended = eventually(lambda: client.read_flow_run(run.id), lambda r: r.state.is_final(), deadline_s=240)
    assert ended.state.is_completed(), ended.state
    assert store.waits() == []
    assert provider.created == 1
    (job,) = store.jobs(experiment="weeks")
    assert (job.status, store.result_counts([job.job_id])) == (JobStatus.COMPLETED, {job.job_id: 1})

    given = parameters(provider, "to-be-cancelled", waiting={"mode": "suspend"})
    run = suspended(client, store, run_circuits, given)
    client.set_flow_run_state(run.id, Cancelling(), force=False)
    eventually(lambda: client.read_flow_run(run.id).state.is_final(), bool)
    passes(store, client, "ended")
    (job,) = store.jobs(experiment="to-be-cancelled")
    watch(store, client)
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
    assert store.waits() == []


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


def test_a_sensor_outlives_the_server(store: Ledger, api: str, provider: ScriptedProvider) -> None:
    """Every pass does what it can: results are stored while Prefect is away."""
    job_id = sent(store, provider, "r")
    store.register_wait(str(uuid.uuid4()), [job_id], until="all", now=utc_now())
    open_queue(provider)
    said: list[str] = []
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}),
        get_client(sync_client=True) as nobody,
        contextlib.closing(Sensor(store, nobody, say=said.append)) as opened,
    ):
        assert nobody.api_url != api
        for _ in range(2):
            passed = opened.look()
            assert "ConnectError" in passed.trouble["serve waits"]
    assert store.result_counts([job_id]) == {job_id: 1}
    assert sum("serve waits" in line for line in said) == 1, "the same trouble is said once"


def test_the_doctor_knows_a_sensor_that_is_no_flow_run(
    client: SyncPrefectClient, store: Ledger, api: str, home: Path, waiting: FlowRun
) -> None:
    def says_that_somebody_looks() -> bool:
        (sensor,) = [check for check in prefect_checks() if check.name == "sensor"]
        return sensor.words.startswith("1 at work")  # other tests have run some as flows

    assert [wait.flow_run_id for wait in store.waits()] == [str(waiting.id)]
    assert not says_that_somebody_looks()
    environment = {**os.environ, "PREFECT_API_URL": api, "QJOBS_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "qjobs.cli", "sensor", "--every", "1"]
    with Popen(command, env=environment, cwd=ROOT, stdout=DEVNULL) as process:
        assert eventually(says_that_somebody_looks, bool)
        process.terminate()
        assert process.wait(60) == 0
    assert store.runners() == []
    assert not says_that_somebody_looks()

    with Popen(command, env=environment, cwd=ROOT, stdout=DEVNULL) as process:
        assert eventually(says_that_somebody_looks, bool)
        process.kill()
    assert len(store.runners()) == 1
    assert not says_that_somebody_looks(), "it is proved dead"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows.reaping.utc_now", lambda: utc_now() + timedelta(hours=1))
        assert watch(store, client).lost == []
    assert store.runners() == []


# What the sensor does about runs, by their state: no process is needed to see it.


@pytest.fixture
def waiting(client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider) -> FlowRun:
    """A run that is registered for a queued job."""
    given = parameters(provider, "registered")
    run = client.create_flow_run_from_deployment(deployed(client, run_circuits), parameters=given, state=Running())
    ids = [sent(store, provider, str(run.id), experiment="registered")]
    store.register_wait(str(run.id), ids, until="all", now=utc_now(), server=str(client.api_url))
    return client.read_flow_run(run.id)


def test_a_sensor_on_another_server_leaves_runs_alone_that_it_does_not_know(
    client: SyncPrefectClient, store: Ledger, waiting: FlowRun
) -> None:
    (job,) = store.jobs(experiment="registered")
    elsewhere, here = str(uuid.uuid4()), str(waiting.id)
    store.register_wait(elsewhere, [job.job_id], until="all", now=utc_now(), server="http://elsewhere.test/api")
    passed = watch(store, client)
    assert (passed.ended, list(passed.trouble)) == ([], [f"flow run {elsewhere}"])
    assert "suspended on http://elsewhere.test/api" in passed.trouble[f"flow run {elsewhere}"]
    assert {wait.flow_run_id for wait in store.waits()} == {elsewhere, here}


def test_without_a_server_the_sensor_says_what_to_set(capsys: pytest.CaptureFixture[str]) -> None:
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert sensor_command(["--once"]) == 2
    assert "set PREFECT_API_URL" in capsys.readouterr().err


def test_a_running_run_is_left_alone_and_a_deleted_one_leaves_its_job(
    client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, waiting: FlowRun
) -> None:
    open_queue(provider)
    eventually(lambda: watch(store, client) and store.waits()[0].is_over, bool)
    passed = watch(store, client)
    # it has not suspended yet: the next pass looks again
    assert (passed.resumed, passed.ended, passed.trouble) == ([], [], {})
    client.delete_flow_run(waiting.id)
    assert watch(store, client).ended == [str(waiting.id)]
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


def test_a_pass_does_not_wait_long_for_a_server_that_is_too_busy(
    client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, waiting: FlowRun
) -> None:
    """Prefect's client waits 2, 4, 8, ... s between its tries; all others that wait would wait with it."""
    client.set_flow_run_state(waiting.id, Suspended(timeout_seconds=86400, pause_key="wait"), force=True)
    open_queue(provider)
    upstream = httpx.URL(str(client.api_url))
    with ThreadingHTTPServer(("127.0.0.1", 0), Faltering) as server:
        server.paths, server.upstream = Counter(), f"{upstream.scheme}://{upstream.netloc.decode()}"
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}{upstream.path}"
        with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as busy:
            passed = watch(store, busy)
        server.shutdown()
    assert "503" in passed.trouble[f"flow run {waiting.id}"]
    assert server.paths["resume"] == 2
    assert watch(store, client).resumed == [str(waiting.id)]


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


def test_a_cancelled_run_whose_hook_died_cancels_its_jobs_but_not_what_was_sent_since(
    client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, waiting: FlowRun
) -> None:
    store.end_wait(str(waiting.id))  # it waited in a process, which was killed
    (job,) = store.jobs(experiment="registered")
    assert watch(store, client).ended == []
    assert store.job(job.job_id).cancel_requested_at is None
    client.set_flow_run_state(waiting.id, Cancelled(), force=True)
    watch(store, client)
    watch(store, client)
    assert (store.job(job.job_id).status, provider.asked["cancel"]) == (JobStatus.CANCELLED, 1)

    name = str(job.properties["backend_name"])
    recovery.retry(
        store,
        backend_named(name),
        job.job_id,
        statuses=[JobStatus.CANCELLED],
        strategy=RemoteRetryStrategy.FORCE_RESUBMIT,
    )
    store.schedule({job.job_id: None})
    watch(store, client)
    retried = store.job(job.job_id)
    assert (retried.status, retried.cancel_requested_at) == (JobStatus.QUEUED, None)


def test_a_run_that_crashed_while_it_waited_goes_on_when_its_jobs_are_done_but_not_for_ever(
    client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, waiting: FlowRun
) -> None:
    client.set_flow_run_state(waiting.id, Crashed(), force=True)
    passed = watch(store, client)
    assert (passed.resumed, passed.ended) == ([], []), "its job is still in the queue"
    open_queue(provider)
    for crashes in (2, 3, 4):
        assert passes(store, client, "resumed").resumed == [str(waiting.id)]
        assert client.read_flow_run(waiting.id).state.is_scheduled()
        client.set_flow_run_state(waiting.id, Crashed(message=f"crash {crashes}"), force=True)
    assert watch(store, client).ended == [str(waiting.id)]
    assert client.read_flow_run(waiting.id).state.is_crashed()
    assert store.waits() == []


def test_the_jobs_of_a_suspended_run_are_shown(
    client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, waiting: FlowRun
) -> None:
    def shown(what: str) -> Artifact:
        (one,) = [each for each in artifacts(client, f"registered-{what}") if each.flow_run_id == waiting.id]
        return one

    client.set_flow_run_state(waiting.id, Suspended(timeout_seconds=86400, pause_key="wait"), force=True)
    with contextlib.closing(Sensor(store, client)) as opened:
        opened.look()
        (job,) = store.jobs(experiment="registered")
        (row,) = json.loads(shown("jobs").data)
        assert (row["status"], row["items"], row["job id"]) == ("QUEUED", 1, job.job_id)
        assert "1 QUEUED" in shown("progress").description
        for remote in provider.store.jobs.values():
            remote.starts_at = 0.0
        store.schedule({job.job_id: None})
        opened.look()
        (row,) = json.loads(shown("jobs").data)  # still one of each, kept current
        assert row["status"] == "RUNNING"
        assert "1 RUNNING" in shown("progress").description


def test_a_job_that_takes_far_longer_than_usual_is_said_once(
    client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, waiting: FlowRun
) -> None:
    name = f"rest-backend/{provider.block}"
    (late,) = store.jobs(experiment="registered")
    assert "stalled" not in {event.cause for event in store.events(late.job_id)}
    open_queue(provider)
    provider.store.queue_s = 0.0
    for n in range(5):
        operations.wait(store, {name: backend_named(name)}, [sent(store, provider, f"usual-{n}")])
    for remote in provider.store.jobs.values():
        if remote.id == store.last_attempts([late.job_id])[late.job_id].remote_id:
            remote.starts_at = remote.ends_at = provider.store.clock() + 600.0
    eventually(lambda: (utc_now() - late.created_at).total_seconds() > 4.0, bool)
    for _ in range(2):
        watch(store, client)
    assert [event.cause for event in store.events(late.job_id)].count("stalled") == 1


def test_two_runs_that_wait_for_a_job_are_both_told_of_their_deadlines(
    client: SyncPrefectClient, store: Ledger, waiting: FlowRun
) -> None:
    (job,) = store.jobs(experiment="registered")
    other = client.create_flow_run(run_circuits, parameters={}, state=Running())
    past = utc_now() - timedelta(seconds=1)
    for run in (waiting, other):
        store.register_wait(
            str(run.id), [job.job_id], until="all", now=utc_now(), deadline_at=past, at_deadline=AtDeadline.NOTIFY
        )
    for _ in range(2):
        watch(store, client)
    noted = [event.detail for event in store.events(job.job_id) if event.cause == "deadline"]
    assert len(noted) == 2
    assert all(any(str(run.id) in words for words in noted) for run in (waiting, other))


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
