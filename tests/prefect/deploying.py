"""A flow behind a real process worker."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists

ROOT = Path(__file__).parents[2]
POOL = "worker-test"


@contextlib.contextmanager
def process_worker(
    api: str, client: SyncPrefectClient, home: Path, folder: Path, *, pool: str = POOL, path: Sequence[Path] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of the pool, whose flow runs have the test's data folder, and more on the path of their modules."""
    _make_pool(client, pool)
    environment = {
        **os.environ,
        "PREFECT_API_URL": api,
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_WORKER_QUERY_SECONDS": "0.5",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "QJOBS_HOME": str(home),
        "PYTHONPATH": os.pathsep.join(str(folder) for folder in (ROOT, *path)),
    }
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"]
    with (folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:  # it waits for a run that waits
                process.kill()
                process.wait(60)


def deployed(
    client: SyncPrefectClient, flow: Flow[..., Any], *, pool: str = POOL, first: str = "", limit: int | None = None
) -> str:
    """Id of a deployment of one of our flows in the pool; `first` is a command that its process runs at the start."""
    _make_pool(client, pool)
    steps: list[dict[str, Any]] = [{"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}]
    if first:
        steps.insert(0, {"prefect.deployments.steps.run_shell_script": {"script": first}})
    body = {
        "name": pool,
        "flow_id": str(client.create_flow(flow)),
        "entrypoint": f"flows/{flow.fn.__name__}.py:{flow.fn.__name__}",
        "work_pool_name": pool,
        "pull_steps": steps,
        "concurrency_limit": limit,
    }
    return str(client.request("POST", "/deployments/", json=body).json()["id"])


def places_taken(client: SyncPrefectClient, deployment: str) -> int:
    """How many places of its limit the runs of a deployment hold."""
    found = client.request("GET", "/deployments/{id}", path_params={"id": deployment}).json()
    return int(found["global_concurrency_limit"]["active_slots"])


def _make_pool(client: SyncPrefectClient, name: str) -> None:
    with contextlib.suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=name, type="process"))


def process_of(worker: int, run: str) -> int:
    """The process of a flow run: a child of the worker, which names the run in its environment."""
    children = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
    for pid in map(int, children):
        with contextlib.suppress(OSError):  # it has just ended
            if f"FLOW_RUN_ID={run}".encode() in Path(f"/proc/{pid}/environ").read_bytes():
                return pid
    return 0


def kill_all_of(run: str) -> None:
    """Kill every process that was started for a flow run, as when its machine breaks down."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            if f"FLOW_RUN_ID={run}".encode() in (folder / "environ").read_bytes():
                os.kill(int(folder.name), signal.SIGKILL)
