"""The deployments name flows that exist, with forms that can be filled in; `make deploy` and the doctor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.settings import PREFECT_API_URL, temporary_settings

from blocks import RestBackend
from flows._support.doctor import prefect_checks
from flows._support.run_ledger import ledger_tag
from flows.deploy import main as deploy
from qjobs.ledger import Ledger

ROOT = Path(__file__).parents[2]
READY = Path(sys.prefix) / ".ready"
DEPLOYMENTS = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())["deployments"]
WANTED = {"sweep", "run-circuits", "hybrid", "divi-program", "nightly-benchmark", "sensor", "reconcile"}


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda one: one["entrypoint"])
def test_entrypoints(deployment: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each entrypoint is a flow that takes the parameters given."""
    monkeypatch.chdir(ROOT)
    flow = load_flow_from_entrypoint(str(deployment["entrypoint"]))
    assert isinstance(flow, Flow)
    given = deployment.get("parameters", {})
    assert set(given) <= set(flow.parameters.properties)
    if deployment["name"] == "ui":
        assert {"spec", "waiting"} <= set(flow.parameters.properties)
        assert "schedules" not in deployment
    else:
        assert set(flow.parameters.required) <= set(given)
        assert deployment["schedules"]
        most = 2 if flow.name == "sensor" else 1  # sensors give way to each other, and look after each other
        assert deployment["concurrency_limit"] == {"limit": most, "collision_strategy": "CANCEL_NEW"}
        flow.validate_parameters(given)
    assert deployment["work_pool"]["name"] == "qjobs"


def test_all_deployed() -> None:
    """Every flow that people or the project need is deployed."""
    assert {str(each["entrypoint"]).split(":")[1].replace("_", "-") for each in DEPLOYMENTS} == WANTED


def test_unknown_device(api: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown device is refused before anything is deployed."""
    monkeypatch.setenv("QJOBS_DEVICES", "rest-backend/no-such-block")
    with temporary_settings({PREFECT_API_URL: api}):
        assert deploy() == 2
    assert "no backend 'rest-backend/no-such-block'" in capsys.readouterr().err


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
        names = ["every-hour", "every-minute", "every-night", *["rest-backend-nobody-there"] * 4, *["ui"] * 4]
        assert sorted(each["name"] for each in found) == names
        specs = [each["parameters"]["spec"] for each in found if each["name"] == "rest-backend-nobody-there"]
        assert sorted(map(str, specs)) == [
            *["{'backend': 'rest-backend/nobody-there'}"] * 3,
            "{'backends': ['rest-backend/nobody-there']}",
        ]
        queues = client.request("POST", "/work_queues/filter", json={}).json()
        limits = {each["name"]: each["concurrency_limit"] for each in queues}
        assert limits.items() >= {"experiments": 10, "upkeep": None, "rest-backend-nobody-there": 10}.items()
        assert {tuple(each["tags"]) for each in found} == {("qjobs", ledger_tag(store))}
    after = said(store)
    assert after["deployments"][0]
    assert after["ledger of the deployments"] == (True, f"{store.ledger_id[:8]} at {store.url}")
    assert after["prefect server"][0]
    assert not after["worker"][0]
    assert "prefect worker start --pool qjobs" in after["worker"][1]
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
