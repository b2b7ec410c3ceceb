"""Services that many tests share, and people who use them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from attack_people import SECRET, USERS
from attack_people import Person as Attacker
from executor_circuits import working_service
from fuzzing import Wire
from own_service import OwnService
from serving import ClientOf, clients
from standing_service import Person, Standing, fresh_database, standing_service

from qjobs.service.running import RunningService

PASSWORDS = {
    "ada@localhost.test": "ada's secret",
    "bob@localhost.test": "bob's secret",
    "eve@localhost.test": "eve's secret",
}


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service in a process of its own; its data are everybody's, so a test uses names of its own (`fresh`)."""
    data = tmp_path_factory.mktemp("running") / "service"
    with RunningService(
        data, users=PASSWORDS, options=("--submit-delay", "0.1", "--workers", "2", "--access-ttl", "3600")
    ) as running:
        yield running


@pytest.fixture(scope="session")
def visitor(service: RunningService) -> Iterator[Callable[[], httpx.Client]]:
    """Makes clients that check the certificate and are not signed in."""
    with clients() as client_of:
        yield lambda: client_of(service)


def _signed_in(visitor: Callable[[], httpx.Client], email: str) -> httpx.Client:
    client = visitor()
    answer = client.post("/auth/login", json={"email": email, "password": PASSWORDS[email]})
    assert answer.status_code == 200, answer.text
    return client


@pytest.fixture(scope="session")
def ada_client(visitor: Callable[[], httpx.Client]) -> httpx.Client:
    """A signed-in user."""
    return _signed_in(visitor, "ada@localhost.test")


@pytest.fixture(scope="session")
def bob_client(visitor: Callable[[], httpx.Client]) -> httpx.Client:
    """Another one, who shares nothing with Ada but what a test shares."""
    return _signed_in(visitor, "bob@localhost.test")


@pytest.fixture
def fresh() -> str:
    """A name that nobody has used."""
    return f"test {uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def standing_on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    """A service in this process whose executor does nothing; a test makes users of its own."""
    with standing_service(tmp_path_factory.mktemp("standing")) as standing:
        yield standing


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def standing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    """The same on each kind of database."""
    if request.param == "sqlite":
        yield request.getfixturevalue("standing_on_sqlite")
        return
    folder = tmp_path_factory.mktemp("standing")
    with fresh_database(request.param, folder, request) as url, standing_service(folder, url) as standing:
        yield standing


@pytest.fixture
def ada(standing: Standing) -> Person:
    """A new user of `standing`, signed in."""
    return standing.user("ada", groups=("physics",))


@pytest.fixture
def bob(standing: Standing) -> Person:
    """Another new user, who shares nothing with Ada but what a test shares."""
    return standing.user("bob")


@pytest.fixture
def client_of() -> Iterator[ClientOf]:
    """Makes clients of services that a test starts itself."""
    with clients() as client_of:
        yield client_of


@pytest.fixture(scope="session")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnService]:
    """A service in this process that works; modules that need another one have an `own` of their own."""
    with working_service(tmp_path_factory.mktemp("working")) as own:
        yield own


@pytest.fixture(scope="session")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service to attack; without TLS, which takes half of the time and is not what is attacked."""
    options = ["--http", "--workers", "1", "--submit-delay", "0.1", "--access-ttl", "3600"]
    with RunningService(tmp_path_factory.mktemp("attacked") / "service", users=USERS, options=options) as running:
        yield running
        assert "Traceback" not in running.log.read_text(), running.log.read_text()[-3000:]


@pytest.fixture(scope="session")
def victim(attacked: RunningService) -> Attacker:
    """A user whose things nobody else may see."""
    return Attacker(attacked, "ada@localhost.test", SECRET)


@pytest.fixture(scope="session")
def mallory(attacked: RunningService) -> Attacker:
    """The attacker."""
    return Attacker(attacked, "mallory@localhost.test", "mallory")


@pytest.fixture(scope="session")
def wire(mallory: Attacker) -> Iterator[Wire]:
    """Mallory's connection."""
    found = mallory.wire()
    yield found
    found.close()


@pytest.fixture(scope="session")
def openapi(wire: Wire) -> dict[str, Any]:
    """The attacked service's OpenAPI."""
    return dict(wire.json("GET", "/openapi.json"))
