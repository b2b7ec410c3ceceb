"""`make deploy`: block types, work pool, queues, deployments, automations, on the server of PREFECT_API_URL or our own.

Calling it again changes nothing but what changed here. The backends that QJOBS_DEVICES names get deployments of
their own, with a queue each. QJOBS_NOTIFY says where messages go when something needs a person
(`flows._support.automations`). QJOBS_SENSOR=scheduled turns on the schedule of the sensor.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists

import blocks
from blocks import backend_named, ledger_named
from flows._support.automations import channel_of, put_automations
from flows._support.drawn_forms import drawn
from flows._support.earlier_names import retire
from flows._support.local_server import ServerProblem, served
from flows._support.run_ledger import ledger_tag
from qjobs.errors import InvalidInput, LedgerError
from qjobs.model import Capability
from qjobs.reports.files import slug

__all__ = ["POOL", "PROJECT", "main"]

PROJECT = Path(__file__).parents[1]
POOL = "qjobs"
_POOL_PATH = {"work_pool_name": POOL}
QUEUES: dict[str, int | None] = {"experiments": 10, "upkeep": None}
"""Runs at a time. A suspended run holds no place; live jobs per device are counted in the ledger.

A run whose worker died keeps its place until a sensor frees it, so that the queue of the sensors has no limit: those
of their deployments are leases, which run out.
"""
_RUNS_ON_A_DEVICE = 10
_RUNS_IN_PROCESS = 1
"""Of a simulator that takes the processors of the machine itself."""
BLOCKS = (
    blocks.AerBackend,
    blocks.Ledger,
    blocks.MqpCredentials,
    blocks.MqpBackend,
    blocks.NexusCredentials,
    blocks.NexusBackend,
    blocks.QoroCredentials,
    blocks.QoroBackend,
    blocks.RestCredentials,
    blocks.RestBackend,
)
_FILE = PROJECT / "deployments" / "prefect.yaml"
_OF_SEVERAL = {"sweep", "sweep_file", "qaoa", "registered_builder"}
"""Flows whose runs may have several backends."""


def main() -> int:
    """Deploy.

    Returns:
        Exit code: 0 done, 1 there is no server, 2 a device, SENSOR or NOTIFY cannot be used (nothing was deployed), or
        that of `prefect deploy`.
    """
    try:
        with served(lambda line: print(line, file=sys.stderr, flush=True)) as url:
            return _deploy(url)
    except ServerProblem as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _deploy(url: str) -> int:
    devices = os.environ.get("QJOBS_DEVICES", "").split()
    with get_client(sync_client=True) as client:
        try:
            scheduled = _is_scheduled(os.environ.get("QJOBS_SENSOR", ""))
            channel = channel_of(os.environ.get("QJOBS_NOTIFY", ""))
            for block in BLOCKS:
                block.register_type_and_schema()
            with contextlib.suppress(ObjectAlreadyExists):
                client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
            limits = {**QUEUES, **{slug(device): _runs_at_a_time(device) for device in devices}}
            tag = ledger_tag(ledger_named())
        except (InvalidInput, LedgerError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        _make_queues(client, limits)
        project = _with_tag(_with_devices(yaml.safe_load(_FILE.read_text()), devices), tag)
        if scheduled:
            project = _with_sensor(project)
        code = _deploy_all(project, url)
        if code:
            return code
        _draw_forms(client, {each["name"] for each in project["deployments"]})
        retire(client, devices)
        if channel is not None:
            for line in put_automations(client, channel):
                print(line)
    for each in project["deployments"]:
        print(f"deployed: {each['name']}")
    print("now start a worker: make worker, or: python -m flows.worker")
    if not scheduled:
        print("and the sensor, which goes on with runs that wait: make sensor, or: qjobs sensor")
    return 0


def _deploy_all(project: Mapping[str, Any], url: str) -> int:
    """`prefect deploy`; what it prints of every deployment is shown where it fails."""
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    folder_of_project = os.environ.get("QJOBS_PROJECT", str(PROJECT))
    environment = {**os.environ, "PREFECT_API_URL": url, "QJOBS_PROJECT": folder_of_project}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prefect.yaml"
        file.write_text(yaml.safe_dump(project, sort_keys=False))
        done = subprocess.run(
            [*command, "--prefect-file", str(file)],
            cwd=PROJECT,
            env=environment,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    if done.returncode:
        print(done.stdout, file=sys.stderr)
    return done.returncode


def _draw_forms(client: SyncPrefectClient, names: Collection[str]) -> None:
    """Put schemas that the interfaces draw well in the place of those that `prefect deploy` makes."""
    wanted = {"deployments": {"name": {"any_": sorted(names)}}, "work_pools": {"name": {"any_": [POOL]}}}
    for each in client.request("POST", "/deployments/filter", json=wanted).json():
        body = {"parameter_openapi_schema": drawn(each["parameter_openapi_schema"])}
        client.request("PATCH", "/deployments/{id}", path_params={"id": each["id"]}, json=body)


def _is_scheduled(word: str) -> bool:
    """Whether the sensor is to run on its schedule.

    Raises:
        InvalidInput: It is another word than the one that there is.
    """
    if word not in {"", "scheduled"}:
        raise InvalidInput(
            f"SENSOR={word} is not known; SENSOR=scheduled runs the sensor every minute, and without it there is: "
            "make sensor",
            field="SENSOR",
        )
    return bool(word)


def _runs_at_a_time(device: str) -> int:
    backend = backend_named(device)
    if Capability.DURABLE not in backend.capabilities:
        return _RUNS_IN_PROCESS
    return backend.limits.max_live_jobs or _RUNS_ON_A_DEVICE


def _with_devices(project: dict[str, Any], devices: Sequence[str]) -> dict[str, Any]:
    """The project file with what people start from the UI once more for each device, with the device filled in."""
    forms = [each for each in project["deployments"] if "form" in each["tags"]]
    more = []
    for device in devices:
        queue = slug(device)
        for form in forms:
            spec = {
                key: value for key, value in form["parameters"]["spec"].items() if key not in {"backend", "backends"}
            }
            deployment = {
                **form,
                "name": f"{form['name']} on {queue}",
                "description": f"{form['description']} On {device}.",
                "tags": [*form["tags"], queue],
                "work_pool": {"name": POOL, "work_queue_name": queue},
                "parameters": {**form["parameters"], "spec": {**spec, **_on(device, form["entrypoint"])}},
            }
            more.append(deployment)
    return {**project, "deployments": [*project["deployments"], *more]}


def _with_tag(project: dict[str, Any], tag: str) -> dict[str, Any]:
    """The project file with one more tag at every deployment, and so at the runs that they make."""
    return {**project, "deployments": [{**each, "tags": [*each["tags"], tag]} for each in project["deployments"]]}


def _with_sensor(project: dict[str, Any]) -> dict[str, Any]:
    """The project file with the schedule of the sensor turned on."""
    deployments = []
    for each in project["deployments"]:
        schedules = each.get("schedules", [])
        turned_on = {"schedules": [{**schedule, "active": True} for schedule in schedules]}
        deployments.append({**each, **turned_on} if "sensor" in each["tags"] else each)
    return {**project, "deployments": deployments}


def _on(device: str, entrypoint: str) -> dict[str, Any]:
    return {"backends": [device]} if entrypoint.rpartition(":")[2] in _OF_SEVERAL else {"backend": device}


def _make_queues(client: SyncPrefectClient, limits: Mapping[str, int | None]) -> None:
    """Make the queues that are missing; a limit that people have changed stays, but for a queue that needs none."""
    found = client.request("POST", "/work_pools/{work_pool_name}/queues/filter", path_params=_POOL_PATH, json={}).json()
    have = {queue["name"]: queue["concurrency_limit"] for queue in found}
    for name, limit in limits.items():
        body = {"name": name, "concurrency_limit": limit}
        if name not in have:
            client.request("POST", "/work_pools/{work_pool_name}/queues", path_params=_POOL_PATH, json=body)
        elif limit is None and have[name] is not None:
            path = {**_POOL_PATH, "name": name}
            client.request("PATCH", "/work_pools/{work_pool_name}/queues/{name}", path_params=path, json=body)


if __name__ == "__main__":
    sys.exit(main())
