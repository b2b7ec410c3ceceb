"""The forms of `make deploy` in both of Prefect's interfaces: opened, sent as they are, finished; and its messages."""

from __future__ import annotations

import http.server
import json
import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import yaml
from chromium import installed, opened
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_pages import BUSY_S, INTERFACES, Interface, pictures_in
from processes import ROOT
from programs import until
from stack import Stack
from support import a_spec, claim, sending

from qjobs.testing.faults import Action, Fault, Route
from qjobs.testing.servers import ScriptedProvider

if TYPE_CHECKING:
    from playwright.sync_api import Page

DEPLOYMENTS = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())["deployments"]
FORMS = [each["name"] for each in DEPLOYMENTS if "form" in each["tags"]]
RUNNABLE = [name for name in FORMS if name != "Program of Divi"]
"""A program of Divi is not registered in every environment."""
CLASS_NAMES = re.compile(r"\b\w+(Input|Spec|Form|Entry|Options)\b|\bCompileOn|RemoteRetryStrategy|AtDeadline|Field \(")
NONE = 'Property is type "None"'
WITH_A_CHOICE = {"Sweep with every setting": 2, "Energy of a Hamiltonian": 1}
"""Forms with a part that is not given, and that has no values to stand in its place."""
ASKED = {
    "name": "asked in the browser",
    "circuits": [
        {"openqasm": 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'}
    ],
    "shots": 50,
    "compiler": "none",
    "approve_above": "10",
}
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
BUDGET_S = 300.0


class Hook:
    """An HTTP endpoint on this machine; `bodies` are what it was sent."""

    def __init__(self) -> None:
        bodies: list[dict[str, str]] = []

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.bodies = bodies
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"

    def __enter__(self) -> Hook:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def told(self, title: str) -> list[str]:
        """The texts that came under a title."""
        return [body["text"] for body in list(self.bodies) if title in body["title"]]


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    with Hook() as made:
        yield made


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, hook: Hook) -> Iterator[Stack]:
    installed()
    with Stack(tmp_path_factory.mktemp("forms"), service=False, QJOBS_NOTIFY=hook.url) as made:
        yield made


@pytest.fixture
def interface(stack: Stack, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Interface]:
    with opened(installed(), tmp_path) as page:
        yield Interface(name=request.param, page=page, url=stack.url, pictures=pictures_in(tmp_path))


def deployed(stack: Stack) -> dict[str, str]:
    """Id of each deployment by its name."""
    return {each["name"]: each["id"] for each in stack.ask("POST", "/deployments/filter", json={})}


def state_of(stack: Stack, run: str) -> str:
    return str(stack.ask("GET", f"/flow_runs/{run}")["state_type"])


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("interface", INTERFACES, indirect=True)
def test_forms(stack: Stack, interface: Interface) -> None:
    """Each form runs as it is, and shows neither names of classes nor values that are None."""
    ids = deployed(stack)
    interface.open("/deployments", "QAOA")
    interface.picture("deployments")
    runs = {}
    for name in FORMS:
        interface.open_form(ids[name])
        said = interface.words()
        assert CLASS_NAMES.search(said) is None, f"{name} shows {CLASS_NAMES.search(said)}"
        assert said.count(NONE) == WITH_A_CHOICE.get(name, 0), name
        interface.picture(name)
        if name in RUNNABLE:
            runs[name] = interface.submit()
    for name, run in runs.items():
        until(f"{name} ends", lambda run=run: state_of(stack, run) in FINAL, deadline_s=BUDGET_S, pause_s=1.0)
    assert {name: state_of(stack, run) for name, run in runs.items()} == dict.fromkeys(runs, "COMPLETED")
    interface.open(f"/runs/flow-run/{runs['QAOA']}", "Completed")
    interface.picture("run")


def troubles_on(device: str, stack: Stack) -> dict[str, str]:
    """Jobs that are UNKNOWN, parked and stalled, published: the words of the message of each by its title."""
    from prefect.client.orchestration import get_client

    from flows._support.publish import Publisher
    from qjobs.operations.usual_wait import UsualWaits

    present = datetime.now(UTC)
    named = {"experiment": "rabi", "device": device, "backend": "nexus"}
    with stack.ledger() as store:
        keys = [f"{device}{number}" for number in range(3)]
        first, second, third = store.create([a_spec(key, **named) for key in keys], now=present)
        attempt = sending(store, claim(store, first, now=present), now=present)
        store.submissions.mark_unknown(attempt, "the connection broke", now=present)
        store.record_event(second, "parked", "the credentials are refused", now=present)
        store.record_event(second, "stalled", "its device usually takes 10 s", now=present)
        store.record_event(third, "stalled", "it is late, too", now=present)
        with temporary_settings({PREFECT_API_URL: f"{stack.url}/api"}), get_client(sync_client=True) as client:
            publisher = Publisher(store, client, UsualWaits(store, time.monotonic))
            while events := store.outbox.pending(before=present + timedelta(seconds=1)):
                publisher.publish(events)
                store.outbox.mark_sent(events)
    return {
        f"UNKNOWN: a job on {device}": "the connection broke\n"
        f"Look it up with: qjobs reconcile; or see: qjobs jobs show {first}",
        f"parked: jobs on {device}": "the credentials are refused",
        f"late: a job on {device}": f"of rabi on {device} (nexus)",
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("interface", ["classic"], indirect=True)
def test_messages(stack: Stack, interface: Interface, hook: Hook) -> None:
    """A failed run, and a job that is UNKNOWN, parked or stalled, are told; one of a kind in ten minutes."""
    interface.open("/automations", "qjobs: a run failed")
    interface.picture("automations")
    deployment = deployed(stack)["Sweep from a project file"]
    interface.open_form(deployment)
    label = interface.page.get_by_text("File (Optional)", exact=True)
    label.locator("xpath=following::textarea[1]").fill("nowhere.yaml")
    run = interface.submit()
    until("the run has failed", lambda: state_of(stack, run) == "FAILED")
    wanted = troubles_on("H1-1E", stack)
    for title in [*wanted, "Failed"]:
        until(f"{title} is told", lambda title=title: hook.told(title), deadline_s=BUDGET_S)
    assert any("nowhere.yaml" in text for text in hook.told("Failed"))
    for title, words in wanted.items():
        assert [words in text for text in hook.told(title)] == [True], (title, hook.bodies)


def started(stack: Stack, path: str, parameters: dict[str, object]) -> str:
    """Start a run, again while the server says that it is busy; its id."""
    deadline = time.monotonic() + BUSY_S
    while time.monotonic() < deadline:
        answer = httpx.post(f"{stack.url}/api{path}", json={"parameters": parameters}, timeout=60.0)
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            return str(answer.raise_for_status().json()["id"])
        time.sleep(1.0)
    raise AssertionError(f"the server was busy for {BUSY_S:.0f} s")


def ask_for_patience(interface: Interface, run: str) -> int:
    """Send the form about an UNKNOWN job as it is; the status that the server answered."""
    page = interface.page
    interface.open(f"/runs/flow-run/{run}", "Suspended")
    page.get_by_role("button", name="Resume").click()
    page.get_by_text("it runs twice and costs twice").last.wait_for()
    assert NONE not in interface.words()
    interface.picture("unknown")
    page.get_by_text("Decided By", exact=True).locator("xpath=following::textarea[1]").fill("Anna")
    return resumed(page)


def resumed(page: Page) -> int:
    """Press the button of a form that resumes a run; the status that the server answered."""
    with page.expect_response(re.compile("/resume$")) as answer:
        page.get_by_role("button", name="Submit").click()
    return int(answer.value.status)


def approve(interface: Interface, run: str) -> int:
    """Fill in the form of a run that asks, and send it; the status that the server answered."""
    page = interface.page
    interface.open(f"/runs/flow-run/{run}", "Suspended")
    page.get_by_role("button", name="Resume").click()
    page.get_by_text("nobody can tell what it would cost on rest-backend/asked, and approve").last.wait_for()
    assert NONE not in interface.words()
    interface.picture("approval")
    page.get_by_text("Approve (Optional)", exact=True).locator("xpath=following::*[@role='switch'][1]").click()
    page.get_by_text("Decided By", exact=True).locator("xpath=following::textarea[1]").fill("Anna")
    page.get_by_text("Shots (Optional)", exact=True).locator("xpath=following::input[1]").fill("7")
    return resumed(page)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("interface", ["classic"], indirect=True)
def test_approval(stack: Stack, interface: Interface) -> None:
    """A run that would cost more than its threshold asks in a form with the plan, and goes on as it was filled in."""
    with ScriptedProvider("findable") as provider:
        save = "import sys, blocks; blocks.RestBackend(url=sys.argv[1], lost_reply='findable').save('asked')"
        stack.run("-c", save, provider.url)
        given = {"spec": {**ASKED, "backend": "rest-backend/asked"}, "waiting": {"mode": "inline"}}
        made = f"/deployments/{deployed(stack)['Circuits as they are']}/create_flow_run"
        run = started(stack, made, given)
        until("it asks", lambda: state_of(stack, run) in {"PAUSED", *FINAL}, deadline_s=BUDGET_S, pause_s=1.0)
        while approve(interface, run) == httpx.codes.SERVICE_UNAVAILABLE:
            time.sleep(1.0)
        until("it ends", lambda: state_of(stack, run) in FINAL, deadline_s=BUDGET_S, pause_s=1.0)
        assert (state_of(stack, run), provider.created) == ("COMPLETED", 1)
    with stack.ledger() as store:
        (job,) = store.jobs(experiment=ASKED["name"])
        (words,) = [event.detail for event in store.events(job.job_id) if event.cause == "approved"]
    assert words.startswith("by Anna, through Prefect: nobody can tell")
    assert words.endswith("the shots were changed from 50 to 7")


def question_of(stack: Stack, run: str) -> str:
    """The key of the form that a run waits with; empty where it waits with none."""
    keyset = stack.ask("GET", f"/flow_runs/{run}")["state"]["state_details"].get("run_input_keyset") or {}
    return str(keyset.get("schema", "")).removesuffix("-schema")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("interface", ["classic"], indirect=True)
def test_unknown(stack: Stack, interface: Interface) -> None:
    """A form that is sent as it is sends no job again, and asks again; the command adopts the job that it names."""
    with ScriptedProvider("opaque") as provider:
        of_others = provider.store.init()  # the ids of this provider begin as those of the test above do
        provider.inject(Fault(route=Route.SUBMIT, action=Action.DROP_AFTER))
        save = "import sys, blocks; blocks.RestBackend(url=sys.argv[1], lost_reply='opaque').save('lossy')"
        stack.run("-c", save, provider.url)
        spec = {**ASKED, "name": "lost in the browser", "backend": "rest-backend/lossy"}
        del spec["approve_above"]
        made = f"/deployments/{deployed(stack)['Circuits as they are']}/create_flow_run"
        run = started(stack, made, {"spec": spec, "waiting": {"mode": "inline"}})
        until("it asks", lambda: state_of(stack, run) in {"PAUSED", *FINAL}, deadline_s=BUDGET_S, pause_s=1.0)
        while ask_for_patience(interface, run) == httpx.codes.SERVICE_UNAVAILABLE:
            time.sleep(1.0)
        until("it asks again", lambda: question_of(stack, run).endswith("-1-2"), deadline_s=BUDGET_S, pause_s=1.0)
        (remote_id,) = provider.store.jobs.keys() - {of_others}
        stack.run("-m", "flows.approve", run, "--adopt", remote_id, "--by", "Berta")
        until("it ends", lambda: state_of(stack, run) in FINAL, deadline_s=BUDGET_S, pause_s=1.0)
        assert (state_of(stack, run), set(provider.store.jobs)) == ("COMPLETED", {of_others, remote_id})
    with stack.ledger() as store:
        (job,) = store.jobs(experiment=spec["name"])
        words = [event.detail for event in store.events(job.job_id) if event.cause == "decided"]
    assert words[0] == "wait, by Anna, through Prefect (submission 1, question 1)"
    assert words[1].startswith("adopt ")
    assert ", by Berta, through Prefect" in words[1]
