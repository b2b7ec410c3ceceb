"""A run stays with the ledger that it began with: with another one, or with an older copy, nothing is sent."""

from __future__ import annotations

import sqlite3
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
from deploying import deployed, process_worker
from given import a_batch, open_queue, parameters
from observing import eventually, last_run, logs_of
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.flow_engine import run_flow
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Scheduled
from scripted_block import script
from support import create

from blocks import ledger_named
from flows._support.doctor import prefect_checks
from flows._support.run_ledger import TAG, ledger_label, ledger_tag
from flows.run_circuits import run_circuits
from flows.sensor import run_once
from qjobs.errors import WrongLedger
from qjobs.ledger import Ledger
from qjobs.testing.servers import ScriptedProvider


def made(client: SyncPrefectClient, name: str, **values: object) -> tuple[FlowRun, dict[str, object]]:
    """A deployed run of two circuits in one job."""
    spec = a_batch(name, backend=values.pop("backend"), compiler="none")
    given = {"spec": spec.model_dump(mode="json"), "waiting": {"mode": "inline"}, **values}
    run = client.create_flow_run_from_deployment(deployed(client, run_circuits), parameters=given)
    return client.read_flow_run(run.id), given


def entered(client: SyncPrefectClient, run: FlowRun, given: dict[str, object]) -> FlowRun:
    """The run after it was entered in this process, as its worker would enter it."""
    client.set_flow_run_state(run.id, Scheduled(), force=True)
    parameters = run_circuits.validate_parameters(given)
    run_flow(run_circuits, flow_run=client.read_flow_run(run.id), parameters=parameters, return_type="state")
    return client.read_flow_run(run.id)


def with_ledger(patch: pytest.MonkeyPatch, file: Path) -> Ledger:
    file.touch()  # one that is named must be there
    patch.setenv("QJOBS_LEDGER", str(file))
    return ledger_named()


def test_stamped(client: SyncPrefectClient, store: Ledger) -> None:
    """The first entry writes the ledger into the run, and a later one goes on with it."""
    name, backend = script("stamped")
    run, given = made(client, "stamped", backend=name)
    assert ledger_label(run) == ""
    for _ in range(2):
        ended = entered(client, run, given)
        assert ended.state.is_completed(), ended.state
        assert ledger_label(ended) == store.ledger_id
        assert ended.labels["qjobs.ledger-event"] == pytest.approx(store.newest_event_id(), abs=4)
        assert ended.labels["qjobs.ledger-place"].startswith(store.url)
    assert backend.n_submissions == 1


def test_other_ledger(
    client: SyncPrefectClient, store: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another ledger a run fails, says which one it needs, and sends nothing; with its own it goes on."""
    name, backend = script("strayed")
    run, given = made(client, "strayed", backend=name)
    assert entered(client, run, given).state.is_completed()
    with monkeypatch.context() as patch:
        other = with_ledger(patch, tmp_path / "other.db")
        ended = entered(client, run, given)
        assert ended.state.is_failed()
        for words in (
            "WrongLedger",
            store.ledger_id[:8],
            store.url,
            other.ledger_id[:8],
            other.url,
            "Nothing was sent",
        ):
            assert words in ended.state.message
        assert other.jobs() == []
        assert other.heartbeats.runners() == []
    assert entered(client, run, given).state.is_completed()
    assert backend.n_submissions == 1


def test_older_copy(client: SyncPrefectClient, store: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that was put back from an older dump lacks the job: the run refuses it."""
    assert store.ledger_id
    dump = tmp_path / "dump.db"
    with sqlite3.connect(store.url.removeprefix("sqlite:///")) as live, sqlite3.connect(dump) as copy:
        live.backup(copy)
    name, backend = script("restored")
    run, given = made(client, "restored", backend=name)
    assert entered(client, run, given).state.is_completed()
    with monkeypatch.context() as patch:
        older = with_ledger(patch, dump)
        assert older.ledger_id == store.ledger_id
        ended = entered(client, run, given)
        assert ended.state.is_failed()
        assert "older copy" in ended.state.message
        assert older.jobs() == []
        while older.newest_event_id() <= store.newest_event_id():  # others went on with the copy
            create(older, f"another {older.newest_event_id()}")
        ended = entered(client, run, given)
        assert "has another event" in ended.state.message
    assert entered(client, run, given).state.is_completed()
    assert backend.n_submissions == 1


@pytest.mark.slow
def test_logical_run(client: SyncPrefectClient, store: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new run that goes on with an earlier one needs the ledger of that one, also without a deployment."""
    name, backend = script("earlier")
    run, given = made(client, "earlier", backend=name)
    assert entered(client, run, given).state.is_completed()
    spec = a_batch("earlier", backend=name, compiler="none")
    with monkeypatch.context() as patch:
        with_ledger(patch, tmp_path / "other.db")
        with pytest.raises(WrongLedger):
            run_circuits(spec, logical_run=str(run.id))
    run_circuits(spec, logical_run=str(run.id))
    assert backend.n_submissions == 1
    run_circuits(spec, logical_run=str(uuid.uuid4()))  # one that this server does not know


def test_not_deployed(client: SyncPrefectClient, store: Ledger) -> None:
    """A run without a deployment is not entered elsewhere, and not written to."""
    name, _ = script("alone")
    run_circuits(a_batch("alone", backend=name, compiler="none"))
    assert ledger_label(last_run(client, "alone")) == ""


class WithoutLabels(BaseHTTPRequestHandler):
    """Passes on what it is asked to a real server, but refuses to write labels."""

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path.endswith("/labels"):
            status, kind, words = self.server.status, "application/json", b'{"detail": "no"}'
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


@pytest.mark.parametrize("status", [404, 500])
def test_no_labels(client: SyncPrefectClient, store: Ledger, status: int) -> None:
    """A server that has no labels does not stop a run; one that fails does, before anything is sent."""
    name, backend = script(f"labels-{status}")
    run, given = made(client, f"labels-{status}", backend=name)
    upstream = httpx.URL(str(client.api_url))
    with ThreadingHTTPServer(("127.0.0.1", 0), WithoutLabels) as server:
        server.status, server.upstream = status, f"{upstream.scheme}://{upstream.netloc.decode()}"
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}{upstream.path}"
        with temporary_settings({PREFECT_API_URL: url, PREFECT_CLIENT_MAX_RETRIES: 0}):
            run_flow(
                run_circuits, flow_run=run, parameters=run_circuits.validate_parameters(given), return_type="state"
            )
        server.shutdown()
    assert backend.n_submissions == (1 if status == 404 else 0)
    state = client.read_flow_run(run.id).state
    assert state.is_completed() if status == 404 else state.is_failed()


def said(client: SyncPrefectClient) -> tuple[bool, str]:
    (check,) = [check for check in prefect_checks() if check.name == "ledger of the deployments"]
    return check.ok, check.words


@pytest.mark.slow
def test_doctor(client: SyncPrefectClient, store: Ledger) -> None:
    """The doctor compares the ledger of the deployments with the one that it opens; a run says it too."""
    for found in client.request("POST", "/deployments/filter", json={}).json():
        client.request("DELETE", "/deployments/{id}", path_params={"id": found["id"]})
    assert said(client)[0], "nothing is deployed"
    name, _ = script("elsewhere")
    deployment = deployed(client, run_circuits)
    ok, words = said(client)
    assert (ok, "make deploy" in words) == (False, True)

    def tag(text: str) -> None:
        client.request("PATCH", "/deployments/{id}", path_params={"id": deployment}, json={"tags": ["qjobs", text]})

    tag(ledger_tag(store))
    assert said(client) == (True, f"{store.ledger_id[:8]} at {store.url}")
    tag(f"{TAG}0123456789abcdef")
    ok, words = said(client)
    assert not ok
    for each in ("01234567", store.ledger_id[:8], store.url, "QJOBS_HOME", "make deploy"):
        assert each in words
    spec = a_batch("elsewhere", backend=name, compiler="none").model_dump(mode="json")
    run = client.create_flow_run_from_deployment(deployment, parameters={"spec": spec})
    assert entered(client, client.read_flow_run(run.id), {"spec": spec, "waiting": {"mode": "inline"}})
    lines = logs_of(client, str(run.id), until="was deployed for another ledger")
    assert any("was deployed for another ledger" in line for line in lines)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_workers_with_two_homes(
    api: str, client: SyncPrefectClient, store: Ledger, home: Path, tmp_path: Path, provider: ScriptedProvider
) -> None:
    """A suspended run that a worker with another home resumes ends with what it needs, and is not sent again."""
    pool = f"homes-{uuid.uuid4().hex[:8]}"
    given = parameters(provider, "homeless")
    run = client.create_flow_run_from_deployment(deployed(client, run_circuits, pool=pool), parameters=given)

    def state() -> str:
        store.schedule.set_next({job.job_id: None for job in store.open_jobs()})
        run_once(store, client)
        return str(client.read_flow_run(run.id).state.name)

    with process_worker(api, client, home, tmp_path, pool=pool):
        assert eventually(state, lambda name: name in {"Suspended", "Failed"}, deadline_s=240) == "Suspended"
    labels = client.read_flow_run(run.id).labels
    assert (labels["qjobs.ledger"], labels["qjobs.ledger-event"] > 0) == (store.ledger_id, True)
    open_queue(provider)
    with process_worker(api, client, tmp_path / "another home", tmp_path, pool=pool):
        assert eventually(state, lambda name: name in {"Completed", "Failed"}, deadline_s=240) == "Failed"
        message = client.read_flow_run(run.id).state.message
        assert str(tmp_path / "another home") in message
        assert store.url in message
        for _ in range(10):  # nobody resumes it again
            assert state() == "Failed"
    assert store.waits.runs() == []
    assert provider.created == 1
    (job,) = store.jobs(experiment="homeless")
    assert store.result_counts([job.job_id]) == {job.job_id: 1}, "its job was looked after meanwhile"

    client.set_flow_run_state(run.id, Scheduled(), force=True)  # Retry
    with process_worker(api, client, home, tmp_path, pool=pool):
        assert eventually(state, lambda name: name in {"Completed", "Failed"}, deadline_s=240) == "Completed"
    assert provider.created == 1
