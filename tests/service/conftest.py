"""One real service for the whole session, and people who use it."""

from __future__ import annotations

import ssl
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from qjobs.service.running import RunningService

PASSWORDS = {
    "ada@localhost.test": "ada's secret",
    "bob@localhost.test": "bob's secret",
    "eve@localhost.test": "eve's secret",
}


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """The service; its data are everybody's, so a test uses names of its own (`fresh`)."""
    data = tmp_path_factory.mktemp("running") / "service"
    with RunningService(
        data, users=PASSWORDS, options=("--submit-delay", "0.1", "--workers", "2", "--access-ttl", "3600")
    ) as running:
        yield running


@pytest.fixture(scope="session")
def visitor(service: RunningService) -> Iterator[Callable[[], httpx.Client]]:
    """Makes clients that check the certificate and are not signed in."""
    trusted = ssl.create_default_context(cafile=service.certificate)
    clients: list[httpx.Client] = []

    def make() -> httpx.Client:
        clients.append(httpx.Client(base_url=service.url, verify=trusted, timeout=60.0))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def _signed_in(visitor: Callable[[], httpx.Client], email: str) -> httpx.Client:
    client = visitor()
    answer = client.post("/auth/login", json={"email": email, "password": PASSWORDS[email]})
    assert answer.status_code == 200, answer.text
    return client


@pytest.fixture(scope="session")
def ada(visitor: Callable[[], httpx.Client]) -> httpx.Client:
    """A signed-in user."""
    return _signed_in(visitor, "ada@localhost.test")


@pytest.fixture(scope="session")
def bob(visitor: Callable[[], httpx.Client]) -> httpx.Client:
    """Another one, who shares nothing with Ada but what a test shares."""
    return _signed_in(visitor, "bob@localhost.test")


@pytest.fixture
def fresh() -> str:
    """A name that nobody has used."""
    return f"test {uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def database(service: RunningService) -> Path:
    """The service's SQLite file."""
    return service.data / "service.db"
