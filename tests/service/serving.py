"""What tests of `qjobs serve` share: a user, clients, and the command."""

from __future__ import annotations

import contextlib
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator

import httpx

from qjobs.service.running import RunningService

__all__ = ["EMAIL", "PASSWORD", "ClientOf", "clients", "command", "login"]

ClientOf = Callable[[RunningService], httpx.Client]
EMAIL = "ada@localhost.test"
PASSWORD = "ada's secret"


@contextlib.contextmanager
def clients() -> Iterator[ClientOf]:
    """Makes clients that check the certificate, and closes them."""
    with contextlib.ExitStack() as stack:

        def make(service: RunningService) -> httpx.Client:
            secure = service.url.startswith("https://")
            trusted = ssl.create_default_context(cafile=service.certificate) if secure else False
            return stack.enter_context(httpx.Client(base_url=service.url, verify=trusted, timeout=30.0))

        yield make


def login(client: httpx.Client, email: str = EMAIL, password: str = PASSWORD) -> int:
    return client.post("/auth/login", json={"email": email, "password": password}).status_code


def command(*words: str, stdin: str = "", environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "qjobs.cli.main", *words],
        input=stdin,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
