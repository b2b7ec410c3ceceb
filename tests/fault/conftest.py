"""A Prefect server, fork servers and scripted providers, each a process of its own, for the tests that kill."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kills import ROOT, ForkServer
from processes import prefect_server

SETTINGS = {
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",  # the server cuts a fraction to 0, and spins
    "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.2",
}


@pytest.fixture(scope="module")
def prefect_env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment in which Prefect talks to a server of our own."""
    with prefect_server(tmp_path_factory.mktemp("prefect-server"), SETTINGS) as (_, environment):
        yield environment


@pytest.fixture(scope="module")
def ledger_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    path.touch()  # one that is named must be there
    return path


@pytest.fixture(scope="module")
def forks(
    prefect_env: dict[str, str], ledger_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ForkServer]:
    """The warm parent of all flow runs of these tests."""
    home = tmp_path_factory.mktemp("home")
    env = {**prefect_env, "QJOBS_HOME": str(home), "QJOBS_LEDGER": str(ledger_path)}
    server = ForkServer(env, home / "log")
    with contextlib.closing(server):
        yield server


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Start scripted providers, each in a process of its own; gives their URL."""
    with contextlib.ExitStack() as stack:

        def start(variant: str, *options: str) -> str:
            command = [sys.executable, "-m", "qjobs.testing.servers", "--variant", variant, *options]
            process = stack.enter_context(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            return process.stdout.readline().strip()

        yield start
