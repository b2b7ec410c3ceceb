"""Who may use the portal, from which budget, and on which resources."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from qjobs.errors import InvalidInput
from qjobs.ledger.database import log_after_commit
from qjobs.service.mqp.checks import plain_text, whole
from qjobs.service.mqp.database import JobDatabase
from qjobs.service.mqp.records import Resource
from qjobs.service.tables import mqp_budget, mqp_resource, user

__all__ = [
    "add_budget",
    "add_user",
    "budgets_of",
    "check_owner",
    "identity_of",
    "resource_named",
    "resources",
    "save_resource",
]

_NO_SIGN_IN = "!"
"""Password hash of a user who signs in nowhere; nothing verifies against it. That of a removed user is empty."""
_LONGEST_NAME = 200
_MOST = 2**31 - 1


def identity_of(name: object) -> str:
    """A user's name in the form in which it is stored; empty where nobody can have it."""
    if not isinstance(name, str) or len(name) > 320 or not name.isprintable():
        return ""
    return name.strip().lower()


def add_user(jobs: JobDatabase, identity: str) -> None:
    """Add a user who does not sign in, for a scheduler without the service; nothing changes where there is one.

    Raises:
        InvalidInput: The name is empty, too long, or has characters that cannot be seen.
    """
    name = identity_of(identity)
    if not name:
        raise InvalidInput(f"a user has a name, not {str(identity)[:40]!r}", field="identity")
    with jobs.db.write() as connection:
        jobs.db.lock(connection, "qjobs-users")
        if connection.scalar(sa.select(user.c.user_id).where(user.c.email == name)) is not None:
            return
        row = {
            "user_id": str(uuid.uuid4()),
            "email": name,
            "display_name": name,
            "password_hash": _NO_SIGN_IN,
            "groups": [],
            "created_real": jobs.now(),
        }
        connection.execute(user.insert(), row)
        log_after_commit(connection, "user %s added, without a password", name)


def add_budget(jobs: JobDatabase, owner: str, name: str) -> None:
    """Give a user a budget; nothing changes where they have one of this name.

    Raises:
        InvalidInput: There is no such user, or the name is empty or too long.
    """
    name = _name(name, "budget")
    with jobs.db.write() as connection:
        jobs.db.lock(connection, "mqp-budgets")
        identity = check_owner(connection, owner)
        mine = (mqp_budget.c.owner == identity) & (mqp_budget.c.name == name)
        if connection.scalar(sa.select(sa.func.count()).where(mine)):
            return
        connection.execute(mqp_budget.insert(), {"owner": identity, "name": name, "created_at": jobs.now()})
        log_after_commit(connection, "budget %s of %s added", name, identity)


def budgets_of(jobs: JobDatabase, owner: str) -> list[str]:
    """The names of a user's budgets, in order."""
    query = sa.select(mqp_budget.c.name).where(mqp_budget.c.owner == identity_of(owner)).order_by(mqp_budget.c.name)
    return [row.name for row in jobs.db.rows(query)]


def check_owner(connection: sa.Connection, owner: str) -> str:
    """The stored name of a user.

    Raises:
        InvalidInput: There is no such user, or they were removed.
    """
    identity = identity_of(owner)
    known = (user.c.email == identity) & (user.c.password_hash != "")
    if not identity or connection.scalar(sa.select(sa.func.count()).where(known)) == 0:
        raise InvalidInput(f"there is no user {str(owner)[:80]!r}", field="owner")
    return identity


def save_resource(jobs: JobDatabase, resource: Resource) -> None:
    """Add a resource, or replace what is known of the one of this name.

    Raises:
        InvalidInput: It has no name, or a number of it is not positive.
    """
    _name(resource.name, "resource")
    for what in ("qubits", "max_shots", "max_circuits"):
        whole(getattr(resource, what), what, 1, _MOST)
    row = asdict(resource)
    with jobs.db.write() as connection:
        jobs.db.lock(connection, "mqp-resources")
        named = mqp_resource.c.name == resource.name
        if connection.execute(mqp_resource.update().where(named).values(row)).rowcount == 0:
            connection.execute(mqp_resource.insert(), row)
        words = "resource %s: %d qubits, online %s, maintenance %s"
        log_after_commit(
            connection, words, resource.name, resource.qubits, resource.online, resource.in_maintenance(jobs.now())
        )


def resources(jobs: JobDatabase) -> list[Resource]:
    """All resources, by name."""
    return [_resource(row) for row in jobs.db.rows(sa.select(mqp_resource).order_by(mqp_resource.c.name))]


def resource_named(connection: sa.Connection, name: str) -> Resource:
    """The resource of a name.

    Raises:
        InvalidInput: There is none.
    """
    row = connection.execute(sa.select(mqp_resource).where(mqp_resource.c.name == str(name))).one_or_none()
    if row is None:
        raise InvalidInput(f"there is no resource {str(name)[:80]!r}", field="target_spec")
    return _resource(row)


def _name(name: str, what: str) -> str:
    if not plain_text(name, what).strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise InvalidInput(f"a {what} has a name of 1 to {_LONGEST_NAME} characters that can be seen", field=what)
    return name


def _resource(row: sa.Row[Any]) -> Resource:
    return Resource(**row._mapping)
