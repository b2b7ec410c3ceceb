"""A Prefect server, fork servers and scripted providers, each a process of its own, for the tests that kill."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from kills import ROOT, ForkServer

START_TIMEOUT_S = 120.0
SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "0.25",
    "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.2",
}


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _ended(process: subprocess.Popen) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@pytest.fixture(scope="module")
def prefect_env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment in which Prefect talks to a server of our own."""
    home, port = tmp_path_factory.mktemp("prefect-server"), _free_port()
    env = {**SETTINGS, "PREFECT_HOME": str(home), "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
    command = [sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--timeout-keep-alive", "5", "--log-level", "warning"]
    with (home / "log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **env}, stdout=log, stderr=log)
    with _ended(process):
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{env['PREFECT_API_URL']}/health", timeout=5).is_success:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"Prefect does not start: {(home / 'log').read_text()[-2000:]}")
            time.sleep(0.1)
        yield env


@pytest.fixture(scope="module")
def ledger_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ledger") / "ledger.db"


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
            process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
            stack.callback(process.stdout.close)
            stack.enter_context(_ended(process))
            return process.stdout.readline().strip()

        yield start
