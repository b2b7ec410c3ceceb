"""Runs that wait for approval: suspended with a form, decided once, and bound to what was asked."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import socketserver
import subprocess
import sys
from pathlib import Path
from threading import Thread

import httpx
import pytest
from deploying import ROOT, deployed, kill_all_of
from given import a_batch, parameters
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.states import Cancelled
from scripted_block import script

from flows._support.asking import key_of, keyset_of
from flows.approve import decide, waiting_for_decision
from flows.run_circuits import run_circuits
from flows.sensor import run_once
from qjobs.errors import InvalidInput, NotApproved
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.testing.servers import ScriptedProvider

FORM = re.compile(rb'"key": ?"[^"]*-(description|schema)"')
"""In the request that stores a part of a form."""


def asked(client: SyncPrefectClient, name: str, backend: str) -> FlowRun:
    """A run of the deployment that waits for approval."""
    spec = a_batch(name, backend=backend, compiler="none", approve_above="2").model_dump(mode="json")
    given = {"spec": spec, "waiting": {"mode": "inline"}}
    made = client.create_flow_run_from_deployment(deployed(client, run_circuits), parameters=given, name=name)
    with pytest.raises(Pause):
        run_flow(run_circuits, flow_run=client.read_flow_run(made.id))
    return client.read_flow_run(made.id)


def events(store: Ledger, experiment: str) -> dict[str, str]:
    """What the history of an experiment's only job says, by cause."""
    (job,) = store.jobs(experiment=experiment)
    return {event.cause: event.detail for event in store.events(job.job_id)}


def test_nobody(api: str, store: Ledger, provider: ScriptedProvider) -> None:
    """A run that is not deployed and has no terminal fails with what to do, and makes no job."""
    given = parameters(provider, "not asked")
    given["spec"]["approve_above"] = "0"
    with pytest.raises(NotApproved, match="nobody here to ask"):
        run_circuits(**given)
    assert (store.jobs(), provider.created) == ([], 0)


def test_unknown_run(client: SyncPrefectClient, waiting: FlowRun) -> None:
    """A run that waits for its jobs, or is not there, cannot be approved."""
    for name in (str(waiting.id), "nowhere"):
        with pytest.raises(InvalidInput, match=f"no run '{name}' waits for approval"):
            decide(client, name, {"approve": True, "decided_by": "anna"})


def test_decided(client: SyncPrefectClient, store: Ledger) -> None:
    """A run is suspended with a form, goes on as it was decided, and says by whom; a second decision is refused."""
    name, backend = script("costly", cost=2.5)
    run = asked(client, "to approve", name)
    assert run.state.name == "Suspended"
    assert run.state.message == "waits for approval: it would cost 2.5, and approve_above is 2"
    assert (store.jobs(), run_once(store, client).resumed) == ([], [])
    assert run.id in [each.id for each in waiting_for_decision(client)]
    text = client.read_flow_run_input(run.id, run.state.state_details.run_input_keyset["description"])
    assert "| cost | 2.5 |" in text
    with pytest.raises(InvalidInput, match="cannot be decided now"):
        decide(client, str(run.id), {"approve": True, "shots": 0, "decided_by": "anna"})
    assert decide(client, "to approve", {"approve": True, "shots": 7, "decided_by": "anna"}) == str(run.id)
    with pytest.raises(InvalidInput, match="may be decided or ended already"):
        decide(client, str(run.id), {"approve": False, "decided_by": "berta"})
    run_flow(run_circuits, flow_run=client.read_flow_run(run.id))
    assert client.read_flow_run(run.id).state.is_completed()
    ((_, batch),) = backend.jobs.values()
    assert {item.shots for item in batch.items} == {7}
    assert events(store, "to approve")["approved"] == (
        "by anna, through Prefect: it would cost 2.5, and approve_above is 2; the shots were changed from 100 to 7"
    )


def test_refused(client: SyncPrefectClient, store: Ledger) -> None:
    """A run that is refused fails with who refused it, and its job is cancelled and was never sent."""
    name, backend = script("too-costly", cost=2.5)
    run = asked(client, "to refuse", name)
    decide(client, str(run.id), {"approve": False, "decided_by": "berta"})
    with pytest.raises(NotApproved, match="was refused by berta, through Prefect"):
        run_flow(run_circuits, flow_run=client.read_flow_run(run.id))
    assert client.read_flow_run(run.id).state.is_failed()
    assert events(store, "to refuse")["refused"].startswith("by berta")
    assert (store.jobs()[0].status, backend.n_submissions) == (JobStatus.CANCELLED, 0)


def test_changed_meanwhile(client: SyncPrefectClient, store: Ledger) -> None:
    """An approval holds for what was asked: where the estimate has changed since, it is asked again."""
    name, backend = script("dearer", cost=2.5)
    run = asked(client, "to change", name)
    decide(client, str(run.id), {"approve": True, "decided_by": "anna"})
    backend.cost = 99.0
    with pytest.raises(Pause):
        run_flow(run_circuits, flow_run=client.read_flow_run(run.id))
    again = client.read_flow_run(run.id)
    assert again.state.message == "waits for approval: it would cost 99, and approve_above is 2"
    assert (store.jobs(), backend.n_submissions) == ([], 0)
    decide(client, str(run.id), {"approve": True, "decided_by": "anna"})
    run_flow(run_circuits, flow_run=client.read_flow_run(run.id))
    assert "it would cost 99" in events(store, "to change")["approved"]


def test_too_late(client: SyncPrefectClient, store: Ledger) -> None:
    """A run that was cancelled meanwhile cannot be approved any more."""
    name, _ = script("late", cost=2.5)
    run = asked(client, "too late", name)
    client.set_flow_run_state(run.id, Cancelled(), force=True)
    with pytest.raises(InvalidInput, match="may be decided or ended already"):
        decide(client, str(run.id), {"approve": True, "decided_by": "anna"})


class Killing(socketserver.ThreadingTCPServer):
    """A way to Prefect's server on which the processes of a run are killed before its form is stored."""

    daemon_threads = True

    def __init__(self, api: str) -> None:
        self.there = httpx.URL(api)
        self.run = ""
        self.has_killed = False
        super().__init__(("127.0.0.1", 0), _Passing)
        Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/api"


class _Passing(socketserver.BaseRequestHandler):
    server: Killing

    def handle(self) -> None:
        with socket.create_connection((self.server.there.host, self.server.there.port or 80)) as there:
            Thread(target=self._answer, args=(there,), daemon=True).start()
            with contextlib.suppress(OSError):
                while chunk := self.request.recv(65536):
                    if FORM.search(chunk):
                        self.server.has_killed = True
                        kill_all_of(self.server.run)
                        return
                    there.sendall(chunk)

    def _answer(self, there: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := there.recv(65536):
                self.request.sendall(chunk)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_while_asking(
    api: str, client: SyncPrefectClient, home: Path, store: Ledger, provider: ScriptedProvider
) -> None:
    """A run that was killed between its suspension and its form is completed by the sensor, and can be decided."""
    given = parameters(provider, "killed", waiting={"mode": "inline"})
    given["spec"]["approve_above"] = "1"
    provider.store.queue_s = 0.0
    run = client.create_flow_run_from_deployment(deployed(client, run_circuits), parameters=given)
    server = Killing(api)
    server.run = str(run.id)
    environment = {
        **os.environ,
        "PREFECT_API_URL": server.url,
        "PREFECT_HOME": str(home.parent / "prefect"),
        "PREFECT__FLOW_RUN_ID": str(run.id),
        "QJOBS_HOME": str(home),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "prefect", "flow-run", "execute", str(run.id)]
    ended = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=False, timeout=300)
    server.shutdown()
    server.server_close()
    assert (server.has_killed, ended.returncode) == (True, -signal.SIGKILL), ended.stderr[-3000:]
    found = client.read_flow_run(run.id)
    assert found.state.name == "Suspended"
    said = {"approve": True, "decided_by": "anna"}
    assert "schema not found" in str(client.resume_flow_run(run.id, run_input=said).details), "nothing resumes it"
    run_once(store, client)
    assert client.resume_flow_run(run.id, run_input=said).status is SetStateStatus.ACCEPT
    run_flow(run_circuits, flow_run=client.read_flow_run(run.id))
    assert client.read_flow_run(run.id).state.is_completed()
    assert provider.created == 1


def test_completed_by_command(client: SyncPrefectClient) -> None:
    """A form that is not complete is completed by the command that decides."""
    name, _ = script("incomplete", cost=2.5)
    run = asked(client, "incomplete", name)
    for part in ("schema", "description"):
        client.delete_flow_run_input(run.id, keyset_of(key_of(run))[part])
    assert decide(client, str(run.id), {"approve": True, "decided_by": "anna"}) == str(run.id)
    run_flow(run_circuits, flow_run=client.read_flow_run(run.id))
    assert client.read_flow_run(run.id).state.is_completed()
