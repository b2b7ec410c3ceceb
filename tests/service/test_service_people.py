"""Users, teams, roles, assignments and quotas: who sees what, over the wire and on both databases."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from qjobs.errors import InvalidInput
from qjobs.ledger.database import Database
from qjobs.service import tables as schema
from qjobs.service.accounts.accounts import ADMINISTRATOR, CONTRIBUTOR, MAINTAINER, READER, ROLES, Accounts, User
from qjobs.service.accounts.passwords import Passwords
from qjobs.service.accounts.quotas import Quotas
from qjobs.service.errors import Forbidden, NotFound
from qjobs.service.settings import QUOTAS, Settings

HOSTILE = ["' OR '1'='1", "x'); DROP TABLE service_user; --", "%", "_", "../..", "\u202e\U0001f600", "a" * 300]


def body(answer: httpx.Response, code: int = 200) -> Any:
    assert answer.status_code == code, answer.text
    return answer.json()


def refused(answer: httpx.Response, code: int) -> None:
    assert answer.status_code == code, answer.text
    assert list(answer.json()) == ["message"]


def id_of(client: httpx.Client) -> str:
    return str(body(client.get("/api/users/v1beta2/me"))["data"]["id"])


def new_team(client: httpx.Client, name: str) -> dict[str, Any]:
    attributes = {"name": name, "description": "a description", "display_name": "shown"}
    posted = {"data": {"attributes": attributes, "relationships": {}, "type": "team"}}
    return dict(body(client.post("/api/teams/v1beta2", json=posted), 201)["data"])


def new_project(client: httpx.Client, name: str) -> str:
    posted = {"data": {"attributes": {"name": name, "properties": {}}, "relationships": {}, "type": "project"}}
    return str(body(client.post("/api/projects/v1beta2", json=posted), 201)["data"]["id"])


def test_me_and_the_others(ada: httpx.Client, bob: httpx.Client) -> None:
    mine = body(ada.get("/api/users/v1beta2/me"))["data"]
    assert mine["type"] == "user"
    assert mine["attributes"] == {"display_name": "ada", "email": "ada@localhost.test"}
    for name in (mine["id"], "ada@localhost.test", "ADA@localhost.test"):
        assert body(ada.get(f"/api/users/v1beta/{name}", params={"scope": "user"}))["data"] == mine
    assert body(bob.get("/api/users/v1beta/ada@localhost.test"))["data"] == mine
    by_id = body(bob.get(f"/api/users/v1beta/{mine['id']}"))["data"]
    assert by_id["attributes"] == {"display_name": "ada"}, "who has an id does not learn the address"


@pytest.mark.parametrize("name", [*HOSTILE, "nobody@localhost.test", "7b0c7a0e-2f0f-4b64-9d1b-1f0c7d6f3a55"])
def test_nobody_of_this_name(ada: httpx.Client, name: str) -> None:
    refused(ada.get(f"/api/users/v1beta/{name.replace('/', '%2F')}"), 404)


@pytest.mark.parametrize(
    "path",
    [
        "/api/users/v1beta2/me",
        "/api/users/v1beta/ada@localhost.test",
        "/api/teams/v1beta2",
        "/api/teams/v1beta2/x",
        "/api/roles/v1beta",
        "/api/resources/v1beta2/x/assignments",
        "/api/quotas/v1beta",
        "/api/quotas/v1beta3",
        "/api/quotas/v1beta3/guard?name=compilation",
        "/api/v5/credentials",
    ],
)
def test_nothing_without_signing_in(visitor: Any, path: str) -> None:
    refused(visitor().get(path), 401)


def test_a_team_is_its_members(ada: httpx.Client, bob: httpx.Client, fresh: str) -> None:
    team = new_team(ada, fresh)
    assert team["attributes"] == {"name": fresh, "description": "a description", "display_name": "shown"}
    assert body(ada.get(f"/api/teams/v1beta2/{team['id']}", params={"scope": "user"}))["data"] == team
    assert team in body(ada.get("/api/teams/v1beta2"))["data"]
    named = {"scope": "highest", "filter[team][name]": fresh}
    assert body(ada.get("/api/teams/v1beta2", params=named))["data"] == [team]
    assert body(bob.get("/api/teams/v1beta2", params=named))["data"] == []
    refused(bob.get(f"/api/teams/v1beta2/{team['id']}"), 404)


@pytest.mark.parametrize("scope", ["org_admin", "global_admin"])
def test_a_plain_user_administers_nothing(ada: httpx.Client, fresh: str, scope: str) -> None:
    team = new_team(ada, fresh)
    project = new_project(ada, fresh)
    assert body(ada.get("/api/teams/v1beta2", params={"scope": scope}))["data"] == []
    refused(ada.get(f"/api/teams/v1beta2/{team['id']}", params={"scope": scope}), 404)
    refused(ada.get(f"/api/resources/v1beta2/{project}/assignments", params={"scope": scope}), 404)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_only_a_name(ada: httpx.Client, fresh: str, name: str) -> None:
    team = new_team(ada, fresh + name)
    found = body(ada.get("/api/teams/v1beta2", params={"filter[team][name]": fresh + name}))["data"]
    assert found == [team]
    assert body(ada.get("/api/teams/v1beta2", params={"filter[team][name]": name}))["data"] == []


def test_the_four_roles(ada: httpx.Client) -> None:
    roles = body(ada.get("/api/roles/v1beta"))["data"]
    assert [(role["id"], role["attributes"]["name"], role["attributes"]["permissions"]) for role in roles] == [
        ("7dd39c79-5c9e-5395-a187-1fcbc8a96ccb", "Administrator", "ASSIGN,DELETE,WRITE,READ"),
        ("473f6ee7-7821-519b-bfd8-9cbbf5a4de2a", "Maintainer", "DELETE,WRITE,READ"),
        ("705ff4ae-3f09-594d-9dc5-320f884a2fdc", "Contributor", "WRITE,READ"),
        ("9e7f86be-a3d8-5609-9372-c494c79baac2", "Reader", "READ"),
    ]
    assert roles[0]["attributes"]["description"] == "Administrator role"


def test_a_project_is_shared_by_assignments(ada: httpx.Client, bob: httpx.Client, fresh: str) -> None:
    project = new_project(ada, fresh)
    team = new_team(ada, fresh)
    where = f"/api/resources/v1beta2/{project}/assignments"
    first = {"user_id": id_of(ada), "role_id": ADMINISTRATOR.role_id}
    given = body(ada.get(where, params={"scope": "user"}))["data"]
    assert given["attributes"] == {
        "user_role_assignments": [first],
        "team_role_assignments": [],
        "public_role_assignments": [],
    }
    refused(bob.get(where), 404)
    refused(bob.get(f"/api/projects/v1beta2/{project}"), 404)

    to_bob = {"for_user_id": id_of(bob), "role_id": READER.role_id, "resource_id": project}
    refused(bob.post("/api/assignments/v1beta2/user", json=to_bob), 404)
    assert body(ada.post("/api/assignments/v1beta2/user", json=to_bob), 201) == {}
    body(bob.get(f"/api/projects/v1beta2/{project}"))
    refused(bob.post("/api/assignments/v1beta2/user", json={**to_bob, "role_id": ADMINISTRATOR.role_id}), 403)

    to_team = {"team_id": team["id"], "role_id": ADMINISTRATOR.role_id, "resource_id": project}
    assert body(ada.post("/api/assignments/v1beta2/team", json=to_team, params={"scope": "user"}), 201) == {}
    second = {**to_bob, "role_id": CONTRIBUTOR.role_id}
    for _ in range(2):
        body(ada.post("/api/assignments/v1beta2/user", json=second), 201)
    attributes = body(bob.get(where))["data"]["attributes"]
    assert attributes["team_role_assignments"] == [{"team_id": team["id"], "role_id": ADMINISTRATOR.role_id}]
    assert attributes["user_role_assignments"] == [
        first,
        {"user_id": id_of(bob), "role_id": READER.role_id},
        {"user_id": id_of(bob), "role_id": CONTRIBUTOR.role_id},
    ]


def test_an_assignment_names_what_there_is(ada: httpx.Client, bob: httpx.Client, fresh: str) -> None:
    project = new_project(ada, fresh)
    foreign = new_team(bob, fresh)
    user = {"for_user_id": id_of(bob), "role_id": READER.role_id, "resource_id": project}
    for wrong in ({"for_user_id": "x"}, {"role_id": "x"}, {"resource_id": str(uuid.uuid4())}):
        refused(ada.post("/api/assignments/v1beta2/user", json={**user, **wrong}), 404)
    team = {"team_id": foreign["id"], "role_id": READER.role_id, "resource_id": project}
    refused(ada.post("/api/assignments/v1beta2/team", json=team), 404)
    refused(ada.post("/api/assignments/v1beta2/team", json={"team_id": foreign["id"]}), 422)


def test_quotas(ada: httpx.Client, bob: httpx.Client) -> None:
    asked = {"entity_type": "user", "entity_id": id_of(ada), "include_usage": "true"}
    quotas = {each["quota"]["name"]: each["quota"] for each in body(ada.get("/api/quotas/v1beta", params=asked))}
    assert set(quotas) == {"compilation", "simulation", "jupyterhub", "database_usage"}
    assert quotas["compilation"]["details"] == {"description": "Compilation time (s)", "total_time_taken": 86_400}
    assert quotas["database_usage"]["details"]["megabytes_used"] is None
    assert isinstance(quotas["jupyterhub"]["usage"]["total_time_taken"], float)
    one = body(ada.get("/api/quotas/v1beta3", params={**asked, "name": "jupyterhub"}))
    assert one == [{"quota": quotas["jupyterhub"]}]
    without = body(ada.get("/api/quotas/v1beta3", params={"name": "jupyterhub", "include_usage": "false"}))
    assert set(without[0]["quota"]) == {"name", "details"}
    body(ada.get("/api/quotas/v1beta3/guard", params={"name": "jupyterhub", "user_id": id_of(ada)}))
    refused(ada.get("/api/quotas/v1beta3/guard", params={"name": "galaxy"}), 404)
    for path in ("/api/quotas/v1beta", "/api/quotas/v1beta3"):
        refused(bob.get(path, params=asked), 403)
    refused(bob.get("/api/quotas/v1beta3/guard", params={"name": "simulation", "user_id": id_of(ada)}), 403)


def test_credentials_ignore_what_the_client_sends(ada: httpx.Client) -> None:
    assert body(ada.get("/api/v5/credentials?{}")) == []


def test_the_page_shows_strangers_no_names(ada: httpx.Client, visitor: Any, fresh: str) -> None:
    new_team(ada, fresh)
    page = visitor().get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    for word in ("H1-1E", "Devices and queues", 'type="password"'):
        assert word in page.text
    for word in ("ada", fresh, "Your last jobs"):
        assert word not in page.text
    assert "Your last jobs" in ada.get("/").text


NOW = datetime(2026, 3, 31, 23, tzinfo=UTC)


class Parts:
    """Accounts on a database of their own, with two people and a project of the first."""

    def __init__(self, url: str) -> None:
        self.db = Database(url, schema.SERVICE)
        self.accounts = Accounts(self.db, lambda: NOW, Passwords())
        self.ada, self.bob = (self.accounts.add_user(f"{name}@localhost.test", "secret") for name in ("ada", "bob"))
        self.project = self.new_project(self.ada, "hers")

    def new_project(self, owner: User, name: str) -> str:
        project_id = str(uuid.uuid4())
        row = {"project_id": project_id, "owner_id": owner.user_id, "name": name, "properties": {}}
        moments = {"created_at": NOW, "modified_at": NOW, "contents_modified_at": NOW}
        with self.db.write() as connection:
            connection.execute(schema.project.insert().values(archived=False, **row, **moments))
        return project_id

    def allowed(self, user: User) -> set[str]:
        """What the user may do in the project."""
        with self.db.read() as connection:
            return {
                what
                for what in ADMINISTRATOR.permissions
                if self.project in connection.scalars(self.accounts.projects_with(user.user_id, what)).all()
            }


@pytest.fixture
def parts(ledger_url: str) -> Iterator[Parts]:
    parts = Parts(ledger_url)
    yield parts
    parts.db.close()


def test_each_role_allows_what_it_says(parts: Parts) -> None:
    parts.new_project(parts.bob, "his")
    assert parts.allowed(parts.ada) == {"ASSIGN", "DELETE", "WRITE", "READ"}
    assert parts.allowed(parts.bob) == set()
    for role in reversed(ROLES):
        parts.accounts.assign(parts.ada.user_id, parts.project, role.role_id, user_id=parts.bob.user_id)
        assert parts.allowed(parts.bob) == set(role.permissions)
    readable = parts.accounts.readable_projects
    writable = parts.accounts.writable_projects
    with parts.db.read() as connection:
        for subset in (readable, writable):
            assert set(connection.scalars(subset(parts.bob.user_id))) > {parts.project}
            assert set(connection.scalars(subset(parts.ada.user_id))) == {parts.project}


def test_a_teams_role_is_its_members(parts: Parts) -> None:
    team = parts.accounts.add_team(parts.ada.user_id, name="lab")
    parts.accounts.assign(parts.ada.user_id, parts.project, MAINTAINER.role_id, team_id=team.team_id)
    assert parts.allowed(parts.bob) == set()
    for _ in range(2):
        parts.accounts.join_team(team.team_id, parts.bob.user_id)
    assert parts.allowed(parts.bob) == {"DELETE", "WRITE", "READ"}
    assert parts.accounts.teams(parts.bob.user_id) == [team]
    with pytest.raises(Forbidden):
        parts.accounts.assign(parts.bob.user_id, parts.project, READER.role_id, user_id=parts.bob.user_id)
    with pytest.raises(NotFound):
        parts.accounts.join_team("x", parts.bob.user_id)


def test_what_is_public_is_everybodys(parts: Parts) -> None:
    with parts.db.write() as connection:
        row = {"resource_id": parts.project, "role_id": READER.role_id}
        connection.execute(schema.assignment.insert().values(row))
    assert parts.allowed(parts.bob) == {"READ"}
    given = parts.accounts.assignments(parts.bob.user_id, parts.project)
    assert [tuple(row) for row in given] == [(READER.role_id, None, None)]


def test_the_same_assignment_at_the_same_moment_is_one(parts: Parts) -> None:
    start = threading.Barrier(6)

    def assign(_: int) -> None:
        start.wait()
        parts.accounts.assign(parts.ada.user_id, parts.project, READER.role_id, user_id=parts.bob.user_id)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(assign, range(6)))
    assert len(parts.accounts.assignments(parts.ada.user_id, parts.project)) == 1


def test_a_removed_user_loses_every_role(parts: Parts) -> None:
    team = parts.accounts.add_team(parts.bob.user_id, name="lab")
    parts.accounts.assign(parts.ada.user_id, parts.project, READER.role_id, user_id=parts.bob.user_id)
    parts.accounts.remove_user("BOB@localhost.test")
    assert parts.allowed(parts.bob) == set()
    assert parts.accounts.teams(parts.bob.user_id) == []
    assert [user.email for user in parts.accounts.users()] == ["ada@localhost.test"]
    with pytest.raises(NotFound):
        parts.accounts.user("bob@localhost.test")
    assert team.name == "lab"


@pytest.mark.parametrize(
    "email", ["", "ada", "@x", "a@", "a b@x", "a@b@c", "a:b@c", "a\x00@b", "a\ud800@b", "a" * 400 + "@b"]
)
def test_an_address_that_is_none(parts: Parts, email: str) -> None:
    with pytest.raises(InvalidInput):
        parts.accounts.add_user(email, "secret")


def test_an_address_is_one_users(parts: Parts) -> None:
    with pytest.raises(InvalidInput, match="already"):
        parts.accounts.add_user("ADA@localhost.test", "other")
    for password in ("", "a\x00b"):
        with pytest.raises(InvalidInput, match="password"):
            parts.accounts.add_user("new@localhost.test", password)


def test_a_quota_counts_this_month_and_this_user(parts: Parts) -> None:
    now = [NOW]

    class Clock:
        def now(self) -> datetime:
            return now[0]

    settings = Settings(data=Path("unused"), quotas={"simulation": 100.0})
    quotas = Quotas(parts.db, Clock(), settings)  # type: ignore[arg-type]
    rows = [
        (parts.ada, "simulation", 60.0, datetime(2026, 3, 1, tzinfo=UTC)),
        (parts.ada, "simulation", 39.5, NOW),
        (parts.ada, "simulation", 1000.0, datetime(2026, 2, 28, 23, 59, tzinfo=UTC)),
        (parts.ada, "compilation", 7.0, NOW),
        (parts.bob, "simulation", 1000.0, NOW),
    ]
    with parts.db.write() as connection:
        for user, quota, amount, at in rows:
            connection.execute(schema.usage.insert().values(user_id=user.user_id, quota=quota, amount=amount, at=at))
    ours = quotas.of(parts.ada.user_id, "simulation")
    assert (ours.used, ours.limit, ours.left) == (99.5, 100.0, True)
    assert not quotas.of(parts.bob.user_id, "simulation").left
    assert quotas.of(parts.ada.user_id, "compilation").limit == QUOTAS["compilation"]
    now[0] = datetime(2026, 4, 1, tzinfo=UTC)
    assert quotas.of(parts.bob.user_id, "simulation").left, "a new month"
    with pytest.raises(KeyError):
        quotas.of(parts.ada.user_id, "galaxy")


def test_what_is_stored_counts_in_megabytes(parts: Parts) -> None:
    with parts.db.write() as connection:
        values = {"document_id": str(uuid.uuid4()), "kind": "circuit", "project_id": parts.project, "properties": {}}
        moments = {"created_at": NOW, "modified_at": NOW}
        row = {**values, **moments, "owner_id": parts.ada.user_id, "name": "n", "body": b"\x00" * 1_500_000}
        connection.execute(sa.insert(schema.document).values(row))
    quotas = Quotas(parts.db, None, Settings(data=Path("unused")))  # type: ignore[arg-type]
    assert quotas.of(parts.ada.user_id, "database_usage").used == pytest.approx(1.5)
    assert quotas.of(parts.bob.user_id, "database_usage").used == 0.0
