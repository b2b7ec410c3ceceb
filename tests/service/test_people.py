"""Users, teams, roles, quotas and credentials over HTTP, on both databases."""

from __future__ import annotations

import uuid
from typing import Any

from standing_service import Person

from qjobs.service.accounts.accounts import ADMINISTRATOR, CONTRIBUTOR, READER

HOSTILE = ["' OR '1'='1", "x'); DROP TABLE service_user; --", "%", "_", "../..", "\u202e\U0001f600", "a" * 300]
TEAMS = "/api/teams/v1beta2"
TO_USER = "/api/assignments/v1beta2/user"
TO_TEAM = "/api/assignments/v1beta2/team"


def new_team(who: Person, name: str) -> dict[str, Any]:
    attributes = {"name": name, "description": "a description", "display_name": "shown"}
    return dict(who.post(TEAMS, {"data": {"attributes": attributes, "relationships": {}, "type": "team"}})["data"])


def test_users_are_looked_up(ada: Person, bob: Person) -> None:
    """Users are found by id or address; an id does not reveal the address."""
    mine = ada.get("/api/users/v1beta2/me")["data"]
    assert mine == {**mine, "type": "user", "id": ada.user.user_id}
    assert mine["attributes"] == {"display_name": "ada", "email": ada.email}
    for name in (mine["id"], ada.email, ada.email.upper()):
        assert ada.get(f"/api/users/v1beta/{name}", ("scope", "user"))["data"] == mine
    assert bob.get(f"/api/users/v1beta/{ada.email}")["data"] == mine
    by_id = bob.get(f"/api/users/v1beta/{mine['id']}")["data"]
    assert by_id["attributes"] == {"display_name": "ada"}, "who has an id does not learn the address"


def test_unknown_users(ada: Person) -> None:
    """There is no user of a made-up name, however hostile."""
    for name in (*HOSTILE, "nobody@localhost.test", "7b0c7a0e-2f0f-4b64-9d1b-1f0c7d6f3a55"):
        ada.get(f"/api/users/v1beta/{name.replace('/', '%2F')}", code=404)


def test_team_is_seen_by_members(ada: Person, bob: Person, fresh: str) -> None:
    """A team is seen by its members alone."""
    team = new_team(ada, fresh)
    assert team["attributes"] == {"name": fresh, "description": "a description", "display_name": "shown"}
    assert ada.get(f"{TEAMS}/{team['id']}", ("scope", "user"))["data"] == team
    assert team in ada.get(TEAMS)["data"]
    named = (("scope", "highest"), ("filter[team][name]", fresh))
    assert ada.get(TEAMS, *named)["data"] == [team]
    assert bob.get(TEAMS, *named)["data"] == []
    bob.get(f"{TEAMS}/{team['id']}", code=404)


def test_hostile_team_names(ada: Person, fresh: str) -> None:
    """A hostile name of a team is only a name."""
    for name in HOSTILE:
        team = new_team(ada, fresh + name)
        assert ada.get(TEAMS, ("filter[team][name]", fresh + name))["data"] == [team]
        assert ada.get(TEAMS, ("filter[team][name]", name))["data"] == []


def test_roles(ada: Person) -> None:
    """There are the four roles of Nexus, with its ids."""
    roles = ada.get("/api/roles/v1beta")["data"]
    assert [(role["id"], role["attributes"]["name"], role["attributes"]["permissions"]) for role in roles] == [
        ("7dd39c79-5c9e-5395-a187-1fcbc8a96ccb", "Administrator", "ASSIGN,DELETE,WRITE,READ"),
        ("473f6ee7-7821-519b-bfd8-9cbbf5a4de2a", "Maintainer", "DELETE,WRITE,READ"),
        ("705ff4ae-3f09-594d-9dc5-320f884a2fdc", "Contributor", "WRITE,READ"),
        ("9e7f86be-a3d8-5609-9372-c494c79baac2", "Reader", "READ"),
    ]
    assert roles[0]["attributes"]["description"] == "Administrator role"


def test_sharing_by_assignments(ada: Person, bob: Person, fresh: str) -> None:
    """Assignments to users and teams share a project; only an administrator, first its maker, makes them."""
    project = ada.project()
    team = new_team(ada, fresh)
    where = f"/api/resources/v1beta2/{project}/assignments"
    first = {"user_id": ada.user.user_id, "role_id": ADMINISTRATOR.role_id}
    given = ada.get(where, ("scope", "user"))["data"]
    assert given["attributes"] == {
        "user_role_assignments": [first],
        "team_role_assignments": [],
        "public_role_assignments": [],
    }
    bob.get(where, code=404)
    bob.get(f"/api/projects/v1beta2/{project}", code=404)

    to_bob = {"for_user_id": bob.user.user_id, "role_id": READER.role_id, "resource_id": project}
    bob.post(TO_USER, to_bob, 404)
    assert ada.post(TO_USER, to_bob) == {}
    bob.get(f"/api/projects/v1beta2/{project}")
    bob.post(TO_USER, {**to_bob, "role_id": ADMINISTRATOR.role_id}, 403)

    to_team = {"team_id": team["id"], "role_id": ADMINISTRATOR.role_id, "resource_id": project}
    assert ada.post(f"{TO_TEAM}?scope=user", to_team) == {}
    for _ in range(2):
        ada.post(TO_USER, {**to_bob, "role_id": CONTRIBUTOR.role_id})
    attributes = bob.get(where)["data"]["attributes"]
    assert attributes["team_role_assignments"] == [{"team_id": team["id"], "role_id": ADMINISTRATOR.role_id}]
    assert attributes["user_role_assignments"] == [
        first,
        {"user_id": bob.user.user_id, "role_id": READER.role_id},
        {"user_id": bob.user.user_id, "role_id": CONTRIBUTOR.role_id},
    ]


def test_assignment_of_unknown_things(ada: Person, bob: Person, fresh: str) -> None:
    """An assignment of something that does not exist is refused."""
    project = ada.project()
    foreign = new_team(bob, fresh)
    user = {"for_user_id": bob.user.user_id, "role_id": READER.role_id, "resource_id": project}
    for wrong in ({"for_user_id": "x"}, {"role_id": "x"}, {"resource_id": str(uuid.uuid4())}):
        ada.post(TO_USER, {**user, **wrong}, 404)
    ada.post(TO_TEAM, {"team_id": foreign["id"], "role_id": READER.role_id, "resource_id": project}, 404)
    ada.post(TO_TEAM, {"team_id": foreign["id"]}, 422)


def test_quotas(ada: Person, bob: Person) -> None:
    """A user sees their own quotas, and nobody else's."""
    asked = (("entity_type", "user"), ("entity_id", ada.user.user_id), ("include_usage", "true"))
    quotas = {each["quota"]["name"]: each["quota"] for each in ada.get("/api/quotas/v1beta", *asked)}
    assert set(quotas) == {"compilation", "simulation", "jupyterhub", "database_usage"}
    assert quotas["compilation"]["details"] == {"description": "Compilation time (s)", "total_time_taken": 86_400}
    assert quotas["database_usage"]["details"]["megabytes_used"] == 5000
    assert isinstance(quotas["jupyterhub"]["usage"]["total_time_taken"], float)
    one = ada.get("/api/quotas/v1beta3", *asked, ("name", "jupyterhub"))
    assert one == [{"quota": quotas["jupyterhub"]}]
    without = ada.get("/api/quotas/v1beta3", ("name", "jupyterhub"), ("include_usage", "false"))
    assert set(without[0]["quota"]) == {"name", "details"}
    guard = "/api/quotas/v1beta3/guard"
    ada.get(guard, ("name", "jupyterhub"), ("user_id", ada.user.user_id))
    ada.get(guard, ("name", "galaxy"), code=404)
    for path in ("/api/quotas/v1beta", "/api/quotas/v1beta3"):
        bob.get(path, *asked, code=403)
    bob.get(guard, ("name", "simulation"), ("user_id", ada.user.user_id), code=403)


def test_credentials(ada: Person) -> None:
    """Credentials are listed whatever query the client sends."""
    assert ada.get("/api/v5/credentials?{}") == []
