"""`make deploy`: block types, work pool, queues and deployments, on the server that PREFECT_API_URL names.

Calling it again changes nothing but what changed here. The backends that QJOBS_DEVICES names get deployments of
their own, with a queue each.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import PREFECT_API_URL

import blocks
from blocks import backend_named, ledger_named
from flows._support.run_ledger import ledger_tag
from qjobs.errors import InvalidInput, LedgerError
from qjobs.model import Capability
from qjobs.reports.files import slug

__all__ = ["NO_SERVER", "POOL", "PROJECT", "main"]

PROJECT = Path(__file__).parents[1]
POOL = "qjobs"
_POOL_PATH = {"work_pool_name": POOL}
QUEUES: dict[str, int | None] = {"experiments": 10, "upkeep": None}
"""Runs at a time. A suspended run holds no place; live jobs per device are counted in the ledger.

A run whose worker died keeps its place until a sensor frees it, so that the queue of the sensors has no limit: those
of their deployments are leases, which run out.
"""
NO_SERVER = "set PREFECT_API_URL first; with make ui it is http://127.0.0.1:4200/api"
_RUNS_ON_A_DEVICE = 10
_RUNS_IN_PROCESS = 1
"""Of a simulator that takes the processors of the machine itself."""
_BLOCKS = (
    blocks.AerBackend,
    blocks.Ledger,
    blocks.MqpCredentials,
    blocks.MqpBackend,
    blocks.NexusBackend,
    blocks.QoroCredentials,
    blocks.QoroBackend,
    blocks.RestBackend,
)
_FILE = PROJECT / "deployments" / "prefect.yaml"


def main() -> int:
    """Deploy; the exit code is that of `prefect deploy`."""
    devices = os.environ.get("QJOBS_DEVICES", "").split()
    if not PREFECT_API_URL.value():
        print(f"error: {NO_SERVER}", file=sys.stderr)
        return 2
    for block in _BLOCKS:
        block.register_type_and_schema()
    with get_client(sync_client=True) as client:
        with contextlib.suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        try:
            limits = {**QUEUES, **{slug(device): _runs_at_a_time(device) for device in devices}}
            tag = ledger_tag(ledger_named())
        except (InvalidInput, LedgerError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        _make_queues(client, limits)
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    environment = {**os.environ, "QJOBS_PROJECT": os.environ.get("QJOBS_PROJECT", str(PROJECT))}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prefect.yaml"
        project = _with_tag(_with_devices(yaml.safe_load(_FILE.read_text()), devices), tag)
        file.write_text(yaml.safe_dump(project, sort_keys=False))
        done = subprocess.run([*command, "--prefect-file", str(file)], cwd=PROJECT, env=environment, check=False)
    if done.returncode == 0:
        print(f"now start a worker: prefect worker start --pool {POOL}")
    return done.returncode


def _runs_at_a_time(device: str) -> int:
    backend = backend_named(device)
    if Capability.DURABLE not in backend.capabilities:
        return _RUNS_IN_PROCESS
    return backend.limits.max_live_jobs or _RUNS_ON_A_DEVICE


def _with_devices(project: dict[str, Any], devices: Sequence[str]) -> dict[str, Any]:
    """The project file with what people start from the UI once more for each device, with the device filled in."""
    forms = [each for each in project["deployments"] if each["name"] == "ui"]
    more = []
    for device in devices:
        queue = slug(device)
        for form in forms:
            deployment = {
                **form,
                "name": queue,
                "description": f"{form['description']} On {device}.",
                "work_pool": {"name": POOL, "work_queue_name": queue},
                "parameters": {"spec": _on(device, form["entrypoint"])},
            }
            more.append(deployment)
    return {**project, "deployments": [*project["deployments"], *more]}


def _with_tag(project: dict[str, Any], tag: str) -> dict[str, Any]:
    """The project file with one more tag at every deployment, and so at the runs that they make."""
    return {**project, "deployments": [{**each, "tags": [*each["tags"], tag]} for each in project["deployments"]]}


def _on(device: str, entrypoint: str) -> dict[str, Any]:
    return {"backends": [device]} if entrypoint.endswith(":sweep") else {"backend": device}


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
