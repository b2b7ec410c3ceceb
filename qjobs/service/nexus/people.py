"""Users, teams, roles, assignments, quotas and credentials: docs/nexus.md, "People and quotas"."""

from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request

from qjobs.service import tables as schema
from qjobs.service.accounts.accounts import ROLES, Team, User
from qjobs.service.accounts.quotas import DATABASE_USAGE, Quota
from qjobs.service.assembly import Service
from qjobs.service.errors import Forbidden, NotFound
from qjobs.service.nexus.request_bodies import Change, TeamAssignment, TeamAttributes, UserAssignment
from qjobs.service.store.queries import check_parameters
from qjobs.service.web.cookies import Serving, SignedIn

router = APIRouter(prefix="/api")

Scope = Literal["user", "org_admin", "global_admin", "highest"] | None

_OWN_SCOPES = {None, "user", "highest"}
"""Nobody here administers an organisation: the other scopes are empty, which is not an error."""

_TEAM_NAME = "filter[team][name]"

_DESCRIPTIONS = {
    "compilation": "Compilation time (s)",
    "simulation": "Simulation time (s)",
    "jupyterhub": "JupyterHub time (s)",
    DATABASE_USAGE: "Database usage (MB)",
}


@router.get("/users/v1beta2/me", tags=["users"])
def _me(user: SignedIn) -> dict[str, Any]:
    return {"data": _user_body(user)}


@router.get("/users/v1beta/{name}", tags=["users"])
def _somebody(user: SignedIn, service: Serving, name: str, scope: Scope = None) -> dict[str, Any]:
    found = service.accounts.user(name)
    known = user.user_id == found.user_id or "@" in name
    return {"data": _user_body(found, email=known)}


def _user_body(user: User, *, email: bool = True) -> dict[str, Any]:
    attributes = {"display_name": user.display_name} | ({"email": user.email} if email else {})
    return {"id": user.user_id, "type": "user", "attributes": attributes}


@router.get("/teams/v1beta2", tags=["teams"])
def _teams(
    request: Request,
    user: SignedIn,
    service: Serving,
    scope: Scope = None,
    name: Annotated[str | None, Query(alias=_TEAM_NAME)] = None,
) -> dict[str, Any]:
    check_parameters(request.query_params.multi_items(), {_TEAM_NAME})
    found = service.accounts.teams(user.user_id, name=name) if scope in _OWN_SCOPES else []
    return {"data": [_team_body(team) for team in found]}


@router.get("/teams/v1beta2/{team_id}", tags=["teams"])
def _one_team(user: SignedIn, service: Serving, team_id: str, scope: Scope = None) -> dict[str, Any]:
    found = service.accounts.teams(user.user_id, team_id=team_id) if scope in _OWN_SCOPES else []
    if not found:
        raise NotFound("there is no such team")
    return {"data": _team_body(found[0])}


@router.post("/teams/v1beta2", status_code=201, tags=["teams"])
def _new_team(user: SignedIn, service: Serving, body: Change[TeamAttributes]) -> dict[str, Any]:
    wanted = body.attributes
    team = service.accounts.add_team(
        user.user_id,
        name=wanted.name,
        display_name=wanted.display_name or "",
        description=wanted.description or "",
    )
    return {"data": _team_body(team)}


def _team_body(team: Team) -> dict[str, Any]:
    attributes = {"name": team.name, "description": team.description, "display_name": team.display_name}
    return {"id": team.team_id, "type": "team", "attributes": attributes}


@router.get("/roles/v1beta", tags=["roles"])
def _roles(_: SignedIn) -> dict[str, Any]:
    return {
        "data": [
            {
                "id": role.role_id,
                "type": "role",
                "attributes": {
                    "name": role.name,
                    "description": f"{role.name} role",
                    "permissions": ",".join(role.permissions),
                },
            }
            for role in ROLES
        ]
    }


@router.get("/resources/v1beta2/{resource_id}/assignments", tags=["roles"])
def _assignments(user: SignedIn, service: Serving, resource_id: str, scope: Scope = None) -> dict[str, Any]:
    if scope not in _OWN_SCOPES:
        raise NotFound("there is no such resource")
    given = service.accounts.assignments(user.user_id, resource_id)
    attributes = {
        "user_role_assignments": [
            {"user_id": row.user_id, "role_id": row.role_id} for row in given if row.user_id is not None
        ],
        "team_role_assignments": [
            {"team_id": row.team_id, "role_id": row.role_id} for row in given if row.team_id is not None
        ],
        "public_role_assignments": [
            {"role_id": row.role_id} for row in given if row.user_id is None and row.team_id is None
        ],
    }
    return {"data": {"id": resource_id, "type": "assignments", "attributes": attributes}}


@router.post("/assignments/v1beta2/team", status_code=201, tags=["roles"])
def _assign_team(user: SignedIn, service: Serving, body: TeamAssignment) -> dict[str, Any]:
    service.accounts.assign(user.user_id, body.resource_id, body.role_id, team_id=body.team_id)
    return {}


@router.post("/assignments/v1beta2/user", status_code=201, tags=["roles"])
def _assign_user(user: SignedIn, service: Serving, body: UserAssignment) -> dict[str, Any]:
    service.accounts.assign(user.user_id, body.resource_id, body.role_id, user_id=body.for_user_id)
    return {}


def _quota_named(service: Service, user: User, name: str) -> Quota:
    if name not in service.quotas.names():
        raise NotFound(f"there is no such quota; there are: {', '.join(service.quotas.names())}")
    return service.quotas.of(user.user_id, name)


@router.get("/quotas/v1beta", tags=["quotas"])
def _all_quotas(
    user: SignedIn,
    service: Serving,
    entity_id: str | None = None,
    entity_type: Literal["user"] = "user",
    include_usage: bool = True,
) -> list[dict[str, Any]]:
    _require_self(user, entity_id)
    quotas = [service.quotas.of(user.user_id, name) for name in service.quotas.names()]
    return [_quota_body(quota, usage=include_usage) for quota in quotas]


@router.get("/quotas/v1beta3", tags=["quotas"])
def _one_quota(
    user: SignedIn,
    service: Serving,
    name: str | None = None,
    entity_id: str | None = None,
    entity_type: Literal["user"] = "user",
    include_usage: bool = True,
) -> list[dict[str, Any]]:
    _require_self(user, entity_id)
    names = service.quotas.names() if name is None else [name]
    return [_quota_body(_quota_named(service, user, each), usage=include_usage) for each in names]


@router.get("/quotas/v1beta3/guard", tags=["quotas"])
def _guard(user: SignedIn, service: Serving, name: str, user_id: str | None = None) -> dict[str, Any]:
    _require_self(user, user_id)
    if not _quota_named(service, user, name).left:
        raise Forbidden(f"the quota {name} is used up")
    return {}


def _require_self(user: User, user_id: str | None) -> None:
    if user_id is not None and user_id != user.user_id:
        raise Forbidden("a user's quotas are shown to that user only")


def _quota_body(quota: Quota, *, usage: bool) -> dict[str, Any]:
    key = "megabytes_used" if quota.name == DATABASE_USAGE else "total_time_taken"
    limit = int(quota.limit) if quota.limit is not None and quota.limit.is_integer() else quota.limit
    body: dict[str, Any] = {
        "name": quota.name,
        "details": {"description": _DESCRIPTIONS.get(quota.name, quota.name), key: limit},
    }
    if usage:
        body["usage"] = {key: quota.used}
    return {"quota": body}


@router.get("/v5/credentials", tags=["credentials"])
def _credentials(user: SignedIn, service: Serving) -> list[dict[str, Any]]:
    table = schema.credential
    query = sa.select(table).where(table.c.owner_id == user.user_id).order_by(table.c.created_at)
    with service.db.read() as connection:
        return [
            {
                "id": row.credential_id,
                "name": row.name,
                "backend_issuer": row.backend_issuer,
                "is_default_for_issuer": row.is_default_for_issuer,
                "submitted_time": row.created_at.isoformat(),
            }
            for row in connection.execute(query)
        ]
