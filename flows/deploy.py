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
from blocks import backend_named
from qjobs.errors import InvalidInput
from qjobs.model import Capability
from qjobs.reports.files import slug

__all__ = ["NO_SERVER", "POOL", "PROJECT", "main"]

PROJECT = Path(__file__).parents[1]
POOL = "qjobs"
_POOL_PATH = {"work_pool_name": POOL}
QUEUES = {"experiments": 10, "upkeep": 4}
"""Runs at a time. A suspended run holds no place; live jobs per device are counted in the ledger."""
NO_SERVER = "set PREFECT_API_URL first; with make ui it is http://127.0.0.1:4200/api"
_RUNS_ON_A_DEVICE = 10
_RUNS_IN_PROCESS = 1
"""Of a simulator that takes the processors of the machine itself."""
_FILE = PROJECT / "deployments" / "prefect.yaml"


def main() -> int:
    """Deploy; the exit code is that of `prefect deploy`."""
    devices = os.environ.get("QJOBS_DEVICES", "").split()
    if not PREFECT_API_URL.value():
        print(f"error: {NO_SERVER}", file=sys.stderr)
        return 2
    for block in (blocks.AerBackend, blocks.Ledger, blocks.NexusBackend, blocks.RestBackend):
        block.register_type_and_schema()
    with get_client(sync_client=True) as client:
        with contextlib.suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        try:
            limits = {**QUEUES, **{slug(device): _runs_at_a_time(device) for device in devices}}
        except InvalidInput as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        _make_queues(client, limits)
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    environment = {**os.environ, "QJOBS_PROJECT": os.environ.get("QJOBS_PROJECT", str(PROJECT))}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prefect.yaml"
        file.write_text(yaml.safe_dump(_with_devices(yaml.safe_load(_FILE.read_text()), devices), sort_keys=False))
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


def _on(device: str, entrypoint: str) -> dict[str, Any]:
    return {"backends": [device]} if entrypoint.endswith(":sweep") else {"backend": device}


def _make_queues(client: SyncPrefectClient, limits: Mapping[str, int]) -> None:
    have = client.request("POST", "/work_pools/{work_pool_name}/queues/filter", path_params=_POOL_PATH, json={}).json()
    for name, limit in limits.items():
        if name not in {queue["name"] for queue in have}:
            body = {"name": name, "concurrency_limit": limit}
            client.request("POST", "/work_pools/{work_pool_name}/queues", path_params=_POOL_PATH, json=body)


if __name__ == "__main__":
    sys.exit(main())
