"""What tests of `qjobs serve` share: a user, clients, what they answer, and the command."""

from __future__ import annotations

import contextlib
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from qjobs.service.running import RunningService

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
            return stack.enter_context(httpx.Client(base_url=service.url, verify=trusted, timeout=60.0))

        yield make


def login(client: httpx.Client, email: str = EMAIL, password: str = PASSWORD) -> int:
    return client.post("/auth/login", json={"email": email, "password": password}).status_code


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "qjobs.cli.main", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def only(name: str, value: str) -> dict[str, str]:
    """Headers with this cookie alone."""
    return {"cookie": f"{name}={value}"}


def me(client: httpx.Client, headers: dict[str, str] | None = None) -> int:
    """The status code of asking who is signed in."""
    return client.get("/api/users/v1beta2/me", headers=headers).status_code


def refused(answer: httpx.Response, *codes: int) -> str:
    """The message of an answer, which has one of these status codes and says nothing else."""
    assert answer.status_code in codes, (answer.status_code, answer.text)
    body = answer.json()
    path = f"{answer.request.url.path}/"
    if path.startswith("/qoro/"):
        assert list(body) == ["error"]
        message = body["error"]
    else:
        portal = path.startswith(("/v1/", "/jobs/", "/login/"))
        assert list(body) == (["message", "detail", "code"] if portal else ["message"])
        message = body["message"]
    assert isinstance(message, str)
    assert message
    return message
