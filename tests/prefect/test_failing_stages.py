"""What a person sees of a stage that fails, and for how long it is tried again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import postgresql
import pytest
from deploying import ROOT, deployed
from given import BELL, a_batch, parameters
from observing import last_run, logs_of
from prefect.client.orchestration import SyncPrefectClient
from scripted_block import script
from support import claim, ended_owner

import qjobs
import tasks
from blocks import NexusBackend, RestBackend, backend_named
from flows.run_circuits import run_circuits
from qjobs.circuits.programs import read_circuit
from qjobs.errors import BackendUnavailable
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import ItemSpec
from qjobs.operations.poll import utc_now
from qjobs.testing.servers import ScriptedProvider
from tasks.retrying import COMPILE_DELAYS_S, READ_DELAYS_S

JITTER = 1.2


class Broken(BaseHTTPRequestHandler):
    """Answers everything with 503."""

    def answer(self) -> None:
        self.send_response(503)
        self.send_header("content-length", "0")
        self.end_headers()

    do_GET = do_POST = answer

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def broken_nexus() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def n_tracebacks(lines: list[str]) -> int:
    return sum(line.count("Traceback (most recent call last)") for line in lines)


def test_delays() -> None:
    """Compiling gives up within a minute, because a person waits for it; what only reads goes on for longer."""
    assert JITTER * sum(COMPILE_DELAYS_S) < 45
    assert sum(READ_DELAYS_S) > 300


@pytest.mark.slow
def test_device_list(client: SyncPrefectClient, store: Ledger, broken_nexus: str) -> None:
    """A device list that cannot be read is said at once, and fails the run within about a minute."""
    NexusBackend(device="H1-1E", url=broken_nexus, token="token").save("broken")
    began = time.monotonic()
    with pytest.raises(BackendUnavailable, match="503"):
        run_circuits(a_batch("no list", backend="nexus-backend/broken"))
    assert time.monotonic() - began < 75
    run = last_run(client, "no list")
    lines = logs_of(client, str(run.id), until="Finished in state Failed('Flow run")
    (first,) = [line for line in lines if "Retry 1/3" in line]
    assert "503" in first
    assert n_tracebacks(lines) == 1


def engine(api: str, client: SyncPrefectClient, home: Path, flow: object, given: dict[str, object]) -> str:
    """A run of a deployment in a process of its own, as a worker starts it; its id."""
    run = client.create_flow_run_from_deployment(deployed(client, flow), parameters=given)
    environment = {
        **os.environ,
        "PREFECT_API_URL": api,
        "PREFECT_HOME": str(home.parent / "prefect"),
        "PREFECT__FLOW_RUN_ID": str(run.id),
        "QJOBS_HOME": str(home),
        "PYTHONPATH": str(ROOT),
    }
    subprocess.run(
        [sys.executable, "-m", "prefect", "flow-run", "execute", str(run.id)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=300,
    )
    return str(run.id)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_one_traceback(api: str, client: SyncPrefectClient, home: Path, store: Ledger) -> None:
    """A run that fails logs one traceback at the most, however many jobs failed and errors are behind it."""
    with ScriptedProvider("findable") as provider:
        provider.block = "closed"
        RestBackend(url=provider.url, lost_reply="findable").save("closed", overwrite=True)
    given = parameters(provider, "closed", waiting={"mode": "inline"})
    given["spec"]["circuits"] *= 3
    given["spec"]["retries"] = {"ladder": ["DEFAULT"], "delays_s": [0.01]}
    run = engine(api, client, home, run_circuits, given)
    assert client.read_flow_run(run).state.is_failed()
    lines = logs_of(client, run, until="Engine execution exited")  # the last line of it
    assert any("Retries are exhausted" in line for line in lines)
    assert n_tracebacks(lines) == 1, "\n".join(lines)
    assert any("does not answer" in line or "cannot be reached" in line for line in lines)


def test_odd_answer(client: SyncPrefectClient, store: Ledger) -> None:
    """An answer outside of the contract while results are collected is asked for again."""
    name, backend = script("odd", odd_answers=3)
    published = run_circuits(a_batch("odd", backend=name, compiler="none"))
    assert (published.n_missing, backend.n_submissions, backend.odd_answers) == (0, 1, 0)


@pytest.fixture
def own_server(postgresql_url: str) -> Iterator[tuple[str, Callable[[], AbstractContextManager[None]]]]:
    """A PostgreSQL server that a test may stop."""
    if why_not := postgresql.why_not():
        pytest.skip(why_not)
    with postgresql.restartable() as own:
        yield own


def test_ledger_away(
    client: SyncPrefectClient,
    home: Path,
    own_server: tuple[str, Callable[[], AbstractContextManager[None]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A ledger whose server restarts makes Prefect run a stage again, and the flow goes on with one job."""
    url, stopped = own_server
    monkeypatch.setenv("QJOBS_LEDGER", url)
    away: list[AbstractContextManager[None]] = []

    def go_away() -> None:
        """The ledger goes away while the first compile stage is at work, and is back two seconds later."""
        if not away:
            away.append(stopped())
            away[0].__enter__()
            Thread(target=come_back, daemon=True).start()

    def come_back() -> None:
        time.sleep(1.0)
        away[0].__exit__(None, None, None)

    name, backend = script("restarts", on_target=go_away)
    published = run_circuits(a_batch("restarts", backend=name))
    assert (published.n_missing, backend.n_submissions) == (0, 1)
    run = last_run(client, "restarts")
    lines = logs_of(client, str(run.id), until="Finished in state")
    assert any("LedgerAway" in line and "Retry 1/3" in line for line in lines)


def test_dead_submitter(api: str, store: Ledger) -> None:
    """A process that is proved to have ended is not submitting now: nobody waits for its lease."""
    name, backend = script("orphaned")
    bell = read_circuit(BELL)
    items = [ItemSpec(label="bell", program=bell.hash, shots=20)]
    (job_id,) = qjobs.plan(store, backend_named(name), items, {bell.hash: bell}, run="r", name="bell", opened_as=name)
    claim(store, job_id, owner=ended_owner(), now=utc_now(), lease_s=600.0)
    assert store.job(job_id).status is JobStatus.SUBMITTING
    assert tasks.submit_job.fn(job_id, backend=name) in {"SUBMITTED", "RUNNING", "COMPLETED"}
    assert backend.n_submissions == 1
