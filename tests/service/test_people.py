"""Users, teams, roles, quotas and credentials over HTTP."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest
from http_answers import refused

from qjobs.service.accounts.accounts import ADMINISTRATOR, CONTRIBUTOR, READER

HOSTILE = ["' OR '1'='1", "x'); DROP TABLE service_user; --", "%", "_", "../..", "\u202e\U0001f600", "a" * 300]


def body(answer: httpx.Response, code: int = 200) -> Any:
    assert answer.status_code == code, answer.text
    return answer.json()


def id_of(client: httpx.Client) -> str:
    return str(body(client.get("/api/users/v1beta2/me"))["data"]["id"])


def new_team(client: httpx.Client, name: str) -> dict[str, Any]:
    attributes = {"name": name, "description": "a description", "display_name": "shown"}
    posted = {"data": {"attributes": attributes, "relationships": {}, "type": "team"}}
    return dict(body(client.post("/api/teams/v1beta2", json=posted), 201)["data"])


def new_project(client: httpx.Client, name: str) -> str:
    posted = {"data": {"attributes": {"name": name, "properties": {}}, "relationships": {}, "type": "project"}}
    return str(body(client.post("/api/projects/v1beta2", json=posted), 201)["data"]["id"])


def test_users_are_looked_up(ada_client: httpx.Client, bob_client: httpx.Client) -> None:
    """Users are found by id or address; an id does not reveal the address."""
    mine = body(ada_client.get("/api/users/v1beta2/me"))["data"]
    assert mine["type"] == "user"
    assert mine["attributes"] == {"display_name": "ada", "email": "ada@localhost.test"}
    for name in (mine["id"], "ada@localhost.test", "ADA@localhost.test"):
        assert body(ada_client.get(f"/api/users/v1beta/{name}", params={"scope": "user"}))["data"] == mine
    assert body(bob_client.get("/api/users/v1beta/ada@localhost.test"))["data"] == mine
    by_id = body(bob_client.get(f"/api/users/v1beta/{mine['id']}"))["data"]
    assert by_id["attributes"] == {"display_name": "ada"}, "who has an id does not learn the address"


def test_unknown_users(ada_client: httpx.Client) -> None:
    """There is no user of a made-up name, however hostile."""
    for name in (*HOSTILE, "nobody@localhost.test", "7b0c7a0e-2f0f-4b64-9d1b-1f0c7d6f3a55"):
        refused(ada_client.get(f"/api/users/v1beta/{name.replace('/', '%2F')}"), 404)


def test_team_is_seen_by_members(ada_client: httpx.Client, bob_client: httpx.Client, fresh: str) -> None:
    """A team is seen by its members alone."""
    team = new_team(ada_client, fresh)
    assert team["attributes"] == {"name": fresh, "description": "a description", "display_name": "shown"}
    assert body(ada_client.get(f"/api/teams/v1beta2/{team['id']}", params={"scope": "user"}))["data"] == team
    assert team in body(ada_client.get("/api/teams/v1beta2"))["data"]
    named = {"scope": "highest", "filter[team][name]": fresh}
    assert body(ada_client.get("/api/teams/v1beta2", params=named))["data"] == [team]
    assert body(bob_client.get("/api/teams/v1beta2", params=named))["data"] == []
    refused(bob_client.get(f"/api/teams/v1beta2/{team['id']}"), 404)


@pytest.mark.parametrize("scope", ["org_admin", "global_admin"])
def test_administrator_scopes_are_empty(ada_client: httpx.Client, fresh: str, scope: str) -> None:
    """In the scopes of administrators there are no teams and no assignments."""
    team = new_team(ada_client, fresh)
    project = new_project(ada_client, fresh)
    assert body(ada_client.get("/api/teams/v1beta2", params={"scope": scope}))["data"] == []
    refused(ada_client.get(f"/api/teams/v1beta2/{team['id']}", params={"scope": scope}), 404)
    refused(ada_client.get(f"/api/resources/v1beta2/{project}/assignments", params={"scope": scope}), 404)


def test_hostile_team_names(ada_client: httpx.Client, fresh: str) -> None:
    """A hostile name of a team is only a name."""
    for name in HOSTILE:
        team = new_team(ada_client, fresh + name)
        found = body(ada_client.get("/api/teams/v1beta2", params={"filter[team][name]": fresh + name}))["data"]
        assert found == [team]
        assert body(ada_client.get("/api/teams/v1beta2", params={"filter[team][name]": name}))["data"] == []


def test_roles(ada_client: httpx.Client) -> None:
    """There are the four roles of Nexus, with its ids."""
    roles = body(ada_client.get("/api/roles/v1beta"))["data"]
    assert [(role["id"], role["attributes"]["name"], role["attributes"]["permissions"]) for role in roles] == [
        ("7dd39c79-5c9e-5395-a187-1fcbc8a96ccb", "Administrator", "ASSIGN,DELETE,WRITE,READ"),
        ("473f6ee7-7821-519b-bfd8-9cbbf5a4de2a", "Maintainer", "DELETE,WRITE,READ"),
        ("705ff4ae-3f09-594d-9dc5-320f884a2fdc", "Contributor", "WRITE,READ"),
        ("9e7f86be-a3d8-5609-9372-c494c79baac2", "Reader", "READ"),
    ]
    assert roles[0]["attributes"]["description"] == "Administrator role"


def test_sharing_by_assignments(ada_client: httpx.Client, bob_client: httpx.Client, fresh: str) -> None:
    """Assignments to users and teams share a project; only an administrator makes them."""
    project = new_project(ada_client, fresh)
    team = new_team(ada_client, fresh)
    where = f"/api/resources/v1beta2/{project}/assignments"
    first = {"user_id": id_of(ada_client), "role_id": ADMINISTRATOR.role_id}
    given = body(ada_client.get(where, params={"scope": "user"}))["data"]
    assert given["attributes"] == {
        "user_role_assignments": [first],
        "team_role_assignments": [],
        "public_role_assignments": [],
    }
    refused(bob_client.get(where), 404)
    refused(bob_client.get(f"/api/projects/v1beta2/{project}"), 404)

    to_bob = {"for_user_id": id_of(bob_client), "role_id": READER.role_id, "resource_id": project}
    refused(bob_client.post("/api/assignments/v1beta2/user", json=to_bob), 404)
    assert body(ada_client.post("/api/assignments/v1beta2/user", json=to_bob), 201) == {}
    body(bob_client.get(f"/api/projects/v1beta2/{project}"))
    refused(bob_client.post("/api/assignments/v1beta2/user", json={**to_bob, "role_id": ADMINISTRATOR.role_id}), 403)

    to_team = {"team_id": team["id"], "role_id": ADMINISTRATOR.role_id, "resource_id": project}
    assert body(ada_client.post("/api/assignments/v1beta2/team", json=to_team, params={"scope": "user"}), 201) == {}
    second = {**to_bob, "role_id": CONTRIBUTOR.role_id}
    for _ in range(2):
        body(ada_client.post("/api/assignments/v1beta2/user", json=second), 201)
    attributes = body(bob_client.get(where))["data"]["attributes"]
    assert attributes["team_role_assignments"] == [{"team_id": team["id"], "role_id": ADMINISTRATOR.role_id}]
    assert attributes["user_role_assignments"] == [
        first,
        {"user_id": id_of(bob_client), "role_id": READER.role_id},
        {"user_id": id_of(bob_client), "role_id": CONTRIBUTOR.role_id},
    ]


def test_assignment_of_unknown_things(ada_client: httpx.Client, bob_client: httpx.Client, fresh: str) -> None:
    """An assignment of something that does not exist is refused."""
    project = new_project(ada_client, fresh)
    foreign = new_team(bob_client, fresh)
    user = {"for_user_id": id_of(bob_client), "role_id": READER.role_id, "resource_id": project}
    for wrong in ({"for_user_id": "x"}, {"role_id": "x"}, {"resource_id": str(uuid.uuid4())}):
        refused(ada_client.post("/api/assignments/v1beta2/user", json={**user, **wrong}), 404)
    team = {"team_id": foreign["id"], "role_id": READER.role_id, "resource_id": project}
    refused(ada_client.post("/api/assignments/v1beta2/team", json=team), 404)
    refused(ada_client.post("/api/assignments/v1beta2/team", json={"team_id": foreign["id"]}), 422)


def test_quotas(ada_client: httpx.Client, bob_client: httpx.Client) -> None:
    """A user sees their own quotas, and nobody else's."""
    asked = {"entity_type": "user", "entity_id": id_of(ada_client), "include_usage": "true"}
    quotas = {each["quota"]["name"]: each["quota"] for each in body(ada_client.get("/api/quotas/v1beta", params=asked))}
    assert set(quotas) == {"compilation", "simulation", "jupyterhub", "database_usage"}
    assert quotas["compilation"]["details"] == {"description": "Compilation time (s)", "total_time_taken": 86_400}
    assert quotas["database_usage"]["details"]["megabytes_used"] is None
    assert isinstance(quotas["jupyterhub"]["usage"]["total_time_taken"], float)
    one = body(ada_client.get("/api/quotas/v1beta3", params={**asked, "name": "jupyterhub"}))
    assert one == [{"quota": quotas["jupyterhub"]}]
    without = body(ada_client.get("/api/quotas/v1beta3", params={"name": "jupyterhub", "include_usage": "false"}))
    assert set(without[0]["quota"]) == {"name", "details"}
    body(ada_client.get("/api/quotas/v1beta3/guard", params={"name": "jupyterhub", "user_id": id_of(ada_client)}))
    refused(ada_client.get("/api/quotas/v1beta3/guard", params={"name": "galaxy"}), 404)
    for path in ("/api/quotas/v1beta", "/api/quotas/v1beta3"):
        refused(bob_client.get(path, params=asked), 403)
    refused(
        bob_client.get("/api/quotas/v1beta3/guard", params={"name": "simulation", "user_id": id_of(ada_client)}), 403
    )


def test_credentials(ada_client: httpx.Client) -> None:
    """Credentials are listed whatever query the client sends."""
    assert body(ada_client.get("/api/v5/credentials?{}")) == []
