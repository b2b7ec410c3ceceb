"""`make deploy`: block types, work pool, queues and deployments, on the server that PREFECT_API_URL names.

Calling it again changes nothing but what changed here.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import PREFECT_API_URL

import blocks

__all__ = ["POOL", "PROJECT", "main"]

PROJECT = Path(__file__).parents[1]
POOL = "qjobs"
_POOL_PATH = {"work_pool_name": POOL}
QUEUES = {"experiments": 10, "upkeep": 2}
"""Runs at a time. A suspended run holds no place; live jobs per device are counted in the ledger."""


def main() -> int:
    """Deploy; the exit code is that of `prefect deploy`."""
    if not PREFECT_API_URL.value():
        print("error: set PREFECT_API_URL first; with make ui it is http://127.0.0.1:4200/api", file=sys.stderr)
        return 2
    for block in (blocks.AerBackend, blocks.Ledger, blocks.NexusBackend, blocks.RestBackend):
        block.register_type_and_schema()
    with get_client(sync_client=True) as client:
        with contextlib.suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        _make_queues(client)
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    environment = {**os.environ, "QJOBS_PROJECT": os.environ.get("QJOBS_PROJECT", str(PROJECT))}
    done = subprocess.run(
        [*command, "--prefect-file", "deployments/prefect.yaml"], cwd=PROJECT, env=environment, check=False
    )
    if done.returncode == 0:
        print(f"now start a worker: prefect worker start --pool {POOL}")
    return done.returncode


def _make_queues(client: SyncPrefectClient) -> None:
    have = client.request("POST", "/work_pools/{work_pool_name}/queues/filter", path_params=_POOL_PATH, json={}).json()
    for name, limit in QUEUES.items():
        if name not in {queue["name"] for queue in have}:
            body = {"name": name, "concurrency_limit": limit}
            client.request("POST", "/work_pools/{work_pool_name}/queues", path_params=_POOL_PATH, json=body)


if __name__ == "__main__":
    sys.exit(main())
