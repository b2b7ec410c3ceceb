"""The deployments name flows that exist, with forms that can be filled in; `make deploy` and the doctor."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import State
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled, Completed, Failed, Suspended
from prefect.utilities.schema_tools.validation import validate

from blocks import RestBackend
from flows._support.automations import AUTOMATIONS
from flows._support.doctor import prefect_checks
from flows._support.drawn_forms import drawn
from flows._support.earlier_names import retire
from flows._support.old_runs import delete_finished
from flows._support.our_runs import EXPERIMENTS, UPKEEP
from flows._support.run_ledger import ledger_tag
from flows.deploy import _with_devices
from flows.deploy import main as deploy
from qjobs.ledger import Ledger

ROOT = Path(__file__).parents[2]
READY = Path(sys.prefix) / ".ready"
DEPLOYMENTS = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())["deployments"]
FORMS = [each for each in DEPLOYMENTS if "form" in each["tags"]]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda one: one["name"])
def test_entrypoints(deployment: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each entrypoint is a flow that takes the parameters given, and so does its form, also where they are None."""
    monkeypatch.chdir(ROOT)
    flow = load_flow_from_entrypoint(str(deployment["entrypoint"]))
    assert isinstance(flow, Flow)
    given = deployment.get("parameters", {})
    assert set(given) <= set(flow.parameters.properties)
    assert set(flow.parameters.required) <= set(given)
    read = flow.validate_parameters(given)
    form = drawn(flow.parameters.model_dump_for_openapi())
    whole = {name: value.model_dump(mode="json") for name, value in read.items() if hasattr(value, "model_dump")}
    for parameters in (given, {**given, **whole}):
        validate(parameters, form, raise_on_error=True)
    if "form" in deployment["tags"]:
        assert {"spec", "waiting"} <= set(flow.parameters.properties)
        assert "schedules" not in deployment
    else:
        assert [one.get("active", True) for one in deployment["schedules"]] == [flow.name != "sensor"]
        most = 2 if flow.name == "sensor" else 1  # sensors give way to each other, and look after each other
        assert deployment["concurrency_limit"] == {"limit": most, "collision_strategy": "CANCEL_NEW"}
    assert deployment["work_pool"]["name"] == "qjobs"


def test_all_deployed() -> None:
    """Every flow is deployed, and the sensor looks after the runs of each; names are not used twice."""
    flows = {str(each["entrypoint"]).split(":")[1].replace("_", "-") for each in DEPLOYMENTS}
    assert flows == {*EXPERIMENTS, *UPKEEP}
    assert len({each["name"] for each in DEPLOYMENTS}) == len(DEPLOYMENTS)


def test_plans_for_devices() -> None:
    """The deployments for a device keep what theirs has beside its form: one that only plans sends nothing there."""
    made = _with_devices({"deployments": DEPLOYMENTS}, ["nexus/H1-1E"])["deployments"]
    (plan,) = [each for each in made if each["name"] == "Plan a sweep from a project file on nexus-h1-1e"]
    assert plan["parameters"]["plan_only"] is True
    assert plan["parameters"]["spec"]["backends"] == ["nexus/H1-1E"]


REFUSED = {
    "QJOBS_DEVICES": ("rest-backend/no-such-block", "no backend 'rest-backend/no-such-block'"),
    "QJOBS_NOTIFY": ("slack", "NOTIFY cannot be used: it is neither a URL nor the name of a block"),
    "QJOBS_SENSOR": ("yes", "SENSOR=yes is not known"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(
    client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """A device, a NOTIFY or a SENSOR that cannot be used is refused before anything is deployed."""
    value, words = REFUSED[name]
    monkeypatch.setenv(name, value)
    with temporary_settings({PREFECT_API_URL: str(client.api_url)}):
        assert deploy() == 2
    said = capsys.readouterr().err
    assert words in said
    assert len(said.splitlines()) == 1
    assert client.read_automations() == []


def test_retired(client: SyncPrefectClient) -> None:
    """A deployment with an earlier name goes when its runs are over, and stays, without its schedule, until then."""
    flow = str(client.create_flow_from_name("sweep"))
    schedule = {"schedule": {"interval": 3600, "anchor_date": "2026-01-01T00:00:00Z"}, "active": True}
    ids = {}
    for name in ("ui", "mine"):
        body = {"name": name, "flow_id": flow, "schedules": [schedule]}
        ids[name] = client.request("POST", "/deployments/", json=body).json()["id"]
    path = {"id": ids["ui"]}
    run = client.request("POST", "/deployments/{id}/create_flow_run", path_params=path, json={}).json()["id"]
    client.set_flow_run_state(run, Suspended(timeout_seconds=3600), force=True)
    retire(client, [])
    kept = {str(each.id): each.paused for each in client.read_deployments()}
    assert (kept[ids["ui"]], kept[ids["mine"]]) == (True, False)
    client.set_flow_run_state(run, Completed(), force=True)
    retire(client, [])
    left = {str(each.id) for each in client.read_deployments()}
    assert ids["ui"] not in left
    assert ids["mine"] in left
    client.delete_deployment(ids["mine"])


def test_old_runs(client: SyncPrefectClient) -> None:
    """Runs of a deployment that completed or were cancelled long ago are deleted; failed, new and other ones stay."""
    flow = str(client.create_flow_from_name("some sensor"))
    deployments = []
    for name in ("old", "other"):
        made = client.request("POST", "/deployments/", json={"name": name, "flow_id": flow}).json()["id"]
        deployments.append(made)
    runs = []

    def ended(deployment: str, state: State[Any]) -> None:
        path = {"id": deployment}
        run = client.request("POST", "/deployments/{id}/create_flow_run", path_params=path, json={}).json()["id"]
        client.set_flow_run_state(run, state, force=True)
        runs.append(run)

    ended(deployments[0], Completed())
    ended(deployments[0], Cancelled())
    ended(deployments[0], Failed())
    ended(deployments[1], Completed())
    between = datetime.now(UTC)
    ended(deployments[0], Completed())
    assert delete_finished(client, UUID(deployments[0]), older_than=datetime.now(UTC) - between) == 2
    assert delete_finished(client, UUID(deployments[0]), older_than=datetime.now(UTC) - between) == 0
    left = {str(each.id) for each in client.read_flow_runs()}
    assert [run in left for run in runs] == [False, False, True, True, True]
    for deployment in deployments:
        client.delete_deployment(deployment)


def said(store: Ledger) -> dict[str, tuple[bool, str]]:
    assert store.waits.runs() == []
    return {check.name: (check.ok, check.words) for check in prefect_checks()}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_make_deploy(api: str, client: SyncPrefectClient, home: Path, store: Ledger) -> None:
    """`make deploy` can be repeated, and the doctor sees what it made."""
    if not READY.exists():
        if os.environ.get("CI"):
            pytest.fail("run make setup first")
        pytest.skip("not in an environment of make setup")
    RestBackend(url="http://127.0.0.1:9/", lost_reply="opaque").save("nobody-there", overwrite=True)
    before = said(store)
    assert before["deployments"][0] is False
    assert "make deploy" in before["deployments"][1]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        "PREFECT_API_URL": api,
        "PREFECT_HOME": str(home.parent / "prefect"),
        "QJOBS_HOME": str(home),
    }
    environment["QJOBS_DEVICES"] = "rest-backend/nobody-there"
    environment["QJOBS_NOTIFY"] = "http://127.0.0.1:9/hook"
    for number in range(2):
        if number:  # as earlier versions made it
            body = {"name": "upkeep", "concurrency_limit": 4}
            client.request("PATCH", "/work_pools/qjobs/queues/upkeep", json=body)
        done = subprocess.run(
            ["make", "deploy", f"VENV={sys.prefix}"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        wanted = {"work_pools": {"name": {"any_": ["qjobs"]}}}
        found = client.request("POST", "/deployments/filter", json=wanted).json()
        on_device = {f"{each['name']} on rest-backend-nobody-there": each["parameters"]["spec"] for each in FORMS}
        assert {each["name"] for each in found} == {*on_device, *(each["name"] for each in DEPLOYMENTS)}
        for each in found:
            if each["name"] in on_device:
                spec = dict(each["parameters"]["spec"])
                names = spec.pop("backends", None) or [spec.pop("backend")]
                assert names == ["rest-backend/nobody-there"]
                assert spec.items() <= on_device[each["name"]].items()
        queues = client.request("POST", "/work_queues/filter", json={}).json()
        limits = {each["name"]: each["concurrency_limit"] for each in queues}
        assert limits.items() >= {"experiments": 10, "upkeep": None, "rest-backend-nobody-there": 10}.items()
        assert {(each["tags"][0], each["tags"][-1]) for each in found} == {("qjobs", ledger_tag(store))}
        automations = client.read_automations()
        assert sorted(each.name for each in automations) == sorted(each.name for each in AUTOMATIONS)
    after = said(store)
    assert after["deployments"][0]
    assert after["ledger of the deployments"] == (True, f"{store.ledger_id[:8]} at {store.url}")
    assert after["prefect server"][0]
    assert not after["worker"][0]
    assert "make worker" in after["worker"][1]
    assert after["sensor"][0]  # nobody waits
    assert after["blocks"][0]
    ok, words = after["rest-backend/nobody-there"]
    assert ok or "does not answer" in words


def test_no_server() -> None:
    """Without a server the doctor says how to start one."""
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        (check,) = prefect_checks()
    assert not check.ok
    assert "make ui" in check.words
