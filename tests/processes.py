"""Processes of tests and benchmarks: started with a log of their own, awaited, and ended by their id."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import httpx

ROOT = Path(__file__).parents[1]
T = TypeVar("T")

SERVER_SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
}
"""A SQLite server takes three times as many task runs with these."""


@contextlib.contextmanager
def running(name: str, words: Sequence[str], environment: Mapping[str, str], folder: Path) -> Iterator[int]:
    """A Python command for as long as it is needed: its process id."""
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *words], env=dict(environment), cwd=ROOT, stdout=log, stderr=log
        )
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def prefect_server(
    folder: Path, database: Mapping[str, str], *, port: int = 0
) -> Iterator[tuple[int, dict[str, str]]]:
    """A server on a port of its own, or on this one: its process id, and the environment of whoever uses it."""
    port = port or free_port()
    environment = {
        **os.environ,
        **SERVER_SETTINGS,
        **database,
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "PYTHONPATH": str(ROOT),
    }
    words = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with running("server", words, environment, folder) as pid:
        until(lambda: _answers(f"http://127.0.0.1:{port}/api/health"), bool, "the Prefect server answers", 180.0)
        yield pid, environment


def until(ask: Callable[[], T], holds: Callable[[T], bool], what: str, timeout_s: float, every_s: float = 0.5) -> T:
    """The answer once it holds.

    Raises:
        SystemExit: It does not hold in time.
    """
    deadline = time.monotonic() + timeout_s
    while not holds(answer := ask()):
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {timeout_s:.0f} s: {what}; the last answer was {answer!r}"[:2000])
        time.sleep(every_s)
    return answer


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(url, timeout=5.0).status_code == 200
    return False
