"""Prefect's own server is killed while a run waits for its job, and started again on the same database."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from kills import N_ITEMS, ForkServer
from processes import free_port, prefect_server
from support import check_history

from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus

pytestmark = pytest.mark.slow
AWAY_S = 2.0


def created(url: str) -> int:
    return len(httpx.get(f"{url}/control", timeout=10).json()["created"])


def until(holds: Callable[[], object], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


@pytest.mark.timeout(600)
def test_server(provider: Callable[..., str], tmp_path: Path) -> None:
    """The run goes on, or fails and is entered again: one remote job, and every result."""
    ledger_path = tmp_path / "ledger.db"
    ledger_path.touch()  # one that is named must be there
    url = provider("findable", "--run-s", "4")
    port = free_port()
    with prefect_server(tmp_path, {}, port=port) as (pid, environment):
        env = {**environment, "QJOBS_HOME": str(tmp_path / "home"), "QJOBS_LEDGER": str(ledger_path)}
        forks = ForkServer(env, tmp_path / "log")
        try:
            assert forks.run(what="block", name="own", url=url, lost_reply="findable")["status"] == 0
            request = {"what": "run", "name": "waits", "backend": "rest-backend/own", "logical_run": "waits"}
            first = forks.ask(**request)
            until(lambda: created(url) == 1)
            os.kill(pid, signal.SIGKILL)
            time.sleep(AWAY_S)
            with prefect_server(tmp_path, {}, port=port):
                ended = first.get(timeout=240)["status"]
                print("the run ended with", ended)
                if ended:
                    assert forks.run(**request)["status"] == 0, forks.log.read_text()[-3000:]
        finally:
            forks.close()
    with Ledger(f"sqlite:///{ledger_path}") as ledger:
        (job,) = ledger.jobs(experiment="waits")
        assert (job.status, len(ledger.results(job.job_id))) == (JobStatus.COMPLETED, N_ITEMS)
        check_history(ledger, job.job_id)
    assert created(url) == 1
