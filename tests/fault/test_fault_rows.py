"""The fault table against the scripted provider: runs that wait, and runs that are suspended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import sensor_rows
import stepped_rows
from provider_rows import ROWS, Row
from table import one_of_each, play

from qjobs.backends.rest import LostReply
from qjobs.ledger import Ledger
from qjobs.testing.faults import Action, Fault, Route
from qjobs.testing.servers import ScriptedProvider

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=list(LostReply))
def provider(request: pytest.FixtureRequest) -> Iterator[ScriptedProvider]:
    with ScriptedProvider(str(request.param), queue_s=5.0, run_s=10.0) as provider:
        yield provider


@pytest.fixture(scope="module")
def one_provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider("findable", queue_s=5.0, run_s=10.0) as provider:
        yield provider


@pytest.mark.parametrize("row", one_of_each(ROWS))
def test_row(row: Row, provider: ScriptedProvider, one_ledger: Ledger) -> None:
    """One remote job, and the outcome that the row states."""
    seen = play(row, provider, one_ledger)
    assert seen.problems() == [], seen


@pytest.mark.parametrize("row", one_of_each(stepped_rows.ROWS))
def test_stepped_row(row: Row, one_provider: ScriptedProvider, one_ledger: Ledger) -> None:
    """The same of a provider that takes a job in steps; no reply that is lost is left to a person."""
    seen = stepped_rows.play(row, one_provider, one_ledger)
    assert seen.problems() == [], seen


@pytest.mark.parametrize("row", one_of_each(sensor_rows.ROWS))
def test_suspended_row(row: Row, one_ledger: Ledger, one_provider: ScriptedProvider) -> None:
    """The same of a run that ends after its submission; the sensor does the rest."""
    seen = sensor_rows.play(row, one_provider, one_ledger)
    assert seen.problems() == [], seen
    if row in sensor_rows.LONG_ROWS:
        assert seen.runs == 1, "the sensor alone brought it to its end"


def test_every_fault_has_a_row() -> None:
    """The table leaves out no fault of the kit."""
    assert {fault.action for row in ROWS for fault in row.faults} == set(Action)


def test_provider_as_a_process() -> None:
    """The provider alone is steered over HTTP."""
    command = [sys.executable, "-m", "qjobs.testing.servers", "--variant", "opaque", "--token", "t"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            fault = Fault(route=Route.STATUS, action=Action.CODE_BEFORE, code=429, retry_after="9")
            with httpx.Client(base_url=url, timeout=30) as http:
                empty = {"created": [], "live": [], "asked": {}}
                assert http.post("/control", json={"faults": [fault.as_json()]}).json() == empty
                assert http.get("/jobs", params={"ids": "r1"}).status_code == 401
                http.post("/control", json={"token": "", "faults": [fault.as_json()]})
                held = http.get("/jobs", params={"ids": "r1"})
                assert (held.status_code, held.headers["retry-after"]) == (429, "9")
                assert http.get("/jobs", params={"ids": "r1"}).json() == {"jobs": []}
                assert http.get("/jobs/r1/results").status_code == 404
                assert http.get("/control").json()["asked"] == {"status": 3, "results": 1}
                assert http.post("/control", json={"reset": True}).json() == empty
        finally:
            process.kill()


def test_import_without_a_server() -> None:
    """The kit and the adapter are imported where no server is installed."""
    absent = "import sys; sys.modules.update(starlette=None, uvicorn=None)"
    code = f"{absent}; import qjobs.testing.servers, qjobs.backends.rest"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
