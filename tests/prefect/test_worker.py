"""The worker of a project: it serves its pool, and its runs have the project's home."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from deploying import ROOT, deployed
from prefect.client.orchestration import SyncPrefectClient

from flows.reconcile import reconcile

pytestmark = pytest.mark.slow


def test_worker(api: str, client: SyncPrefectClient, tmp_path: Path) -> None:
    """A run that a worker started in a subfolder of the project has the ledger of the project."""
    deployment = deployed(client, reconcile, pool="of-a-project")
    run = client.create_flow_run_from_deployment(deployment)
    (tmp_path / "project" / ".qjobs").mkdir(parents=True)
    (tmp_path / "project" / "deep").mkdir()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("QJOBS_")},
        "PREFECT_API_URL": api,
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_WORKER_QUERY_SECONDS": "0.5",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "flows.worker", "--pool", "of-a-project"]
    log = tmp_path / "worker.log"
    with log.open("wb") as file:
        worker = subprocess.Popen(command, cwd=tmp_path / "project" / "deep", env=environment, stdout=file, stderr=file)
        try:
            deadline = time.monotonic() + 90
            while time.monotonic() < deadline:
                state = client.read_flow_run(run.id).state
                if state is not None and state.is_final():
                    break
                time.sleep(0.5)
        finally:
            worker.terminate()
            try:
                worker.wait(30)
            except subprocess.TimeoutExpired:  # how Prefect's worker ends is no matter of this test
                worker.kill()
                worker.wait()
    assert state is not None
    assert state.is_completed(), log.read_text()[-3000:]
    assert (tmp_path / "project" / ".qjobs" / "ledger.db").exists()
