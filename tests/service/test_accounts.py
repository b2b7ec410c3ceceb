"""Accounts, roles and quotas without HTTP, on both databases."""

from __future__ import annotations

import functools
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from account_parts import Parts

from qjobs.errors import InvalidInput
from qjobs.service import tables as schema
from qjobs.service.accounts.accounts import ADMINISTRATOR, MAINTAINER, READER, ROLES, User
from qjobs.service.accounts.quotas import Quotas
from qjobs.service.errors import Forbidden, NotFound
from qjobs.service.settings import QUOTAS, Settings


class People(Parts):
    """Two people, and a project of the first."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.ada = self.accounts.add_user("ada@localhost.test", "a secret")
        self.bob = self.accounts.add_user("bob@localhost.test", "a secret")
        self.project = self.new_project(self.ada, "hers")

    def new_project(self, owner: User, name: str) -> str:
        project_id = str(uuid.uuid4())
        row = {"project_id": project_id, "owner_id": owner.user_id, "name": name, "properties": {}}
        moments = {"created_at": self.now, "modified_at": self.now, "contents_modified_at": self.now}
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
def parts(ledger_url: str) -> Iterator[People]:
    parts = People(ledger_url)
    yield parts
    parts.db.close()


def test_role_permissions(parts: People) -> None:
    """Each role allows what it says."""
    parts.new_project(parts.bob, "his")
    assert parts.allowed(parts.ada) == {"ASSIGN", "DELETE", "WRITE", "READ"}
    assert parts.allowed(parts.bob) == set()
    for role in reversed(ROLES):
        parts.accounts.assign(parts.ada.user_id, parts.project, role.role_id, user_id=parts.bob.user_id)
        assert parts.allowed(parts.bob) == set(role.permissions)
    readable = functools.partial(parts.accounts.projects_with, permission="READ")
    writable = functools.partial(parts.accounts.projects_with, permission="WRITE")
    with parts.db.read() as connection:
        for subset in (readable, writable):
            assert set(connection.scalars(subset(parts.bob.user_id))) > {parts.project}
            assert set(connection.scalars(subset(parts.ada.user_id))) == {parts.project}


def test_role_of_a_team(parts: People) -> None:
    """A team's role is the role of its members."""
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


def test_public_role(parts: People) -> None:
    """A role of the public is everybody's."""
    with parts.db.write() as connection:
        row = {"resource_id": parts.project, "role_id": READER.role_id}
        connection.execute(schema.assignment.insert().values(row))
    assert parts.allowed(parts.bob) == {"READ"}
    given = parts.accounts.assignments(parts.bob.user_id, parts.project)
    assert [tuple(row) for row in given] == [(READER.role_id, None, None)]


def test_concurrent_assignments(parts: People) -> None:
    """The same assignment made at the same moment is stored once."""
    start = threading.Barrier(6)

    def assign(_: int) -> None:
        start.wait()
        parts.accounts.assign(parts.ada.user_id, parts.project, READER.role_id, user_id=parts.bob.user_id)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(assign, range(6)))
    assert len(parts.accounts.assignments(parts.ada.user_id, parts.project)) == 1


def test_removed_user_loses_roles(parts: People) -> None:
    """A removed user loses every role and team."""
    team = parts.accounts.add_team(parts.bob.user_id, name="lab")
    parts.accounts.assign(parts.ada.user_id, parts.project, READER.role_id, user_id=parts.bob.user_id)
    parts.accounts.remove_user("BOB@localhost.test")
    assert parts.allowed(parts.bob) == set()
    assert parts.accounts.teams(parts.bob.user_id) == []
    assert [user.email for user in parts.accounts.users()] == ["ada@localhost.test"]
    with pytest.raises(NotFound):
        parts.accounts.user("bob@localhost.test")
    assert team.name == "lab"


def test_addresses_and_passwords(parts: People) -> None:
    """A user has a password, and an e-mail address that is nobody else's."""
    for email in ("", "ada", "@x", "a@", "a b@x", "a@b@c", "a:b@c", "a\x00@b", "a\ud800@b", "a" * 400 + "@b"):
        with pytest.raises(InvalidInput, match="not an e-mail address"):
            parts.accounts.add_user(email, "a secret")
    with pytest.raises(InvalidInput, match="already"):
        parts.accounts.add_user("ADA@localhost.test", "other secret")
    for password in ("", "seven 7", "a secret\x00b", "x" * 257):
        with pytest.raises(InvalidInput, match="password"):
            parts.accounts.add_user("new@localhost.test", password)


def test_quota_of_a_month(parts: People) -> None:
    """A quota counts what this user used this month."""

    class Clock:
        def now(self) -> datetime:
            return parts.now

    settings = Settings(data=Path("unused"), quotas={"simulation": 100.0})
    quotas = Quotas(parts.db, Clock(), settings)  # type: ignore[arg-type]
    rows = [
        (parts.ada, "simulation", 60.0, datetime(2026, 3, 1, tzinfo=UTC)),
        (parts.ada, "simulation", 39.5, parts.now),
        (parts.ada, "simulation", 1000.0, datetime(2026, 2, 28, 23, 59, tzinfo=UTC)),
        (parts.ada, "compilation", 7.0, parts.now),
        (parts.bob, "simulation", 1000.0, parts.now),
    ]
    with parts.db.write() as connection:
        for user, quota, amount, at in rows:
            connection.execute(schema.usage.insert().values(user_id=user.user_id, quota=quota, amount=amount, at=at))
    ours = quotas.of(parts.ada.user_id, "simulation")
    assert (ours.used, ours.limit, ours.left) == (99.5, 100.0, True)
    assert not quotas.of(parts.bob.user_id, "simulation").left
    assert quotas.of(parts.ada.user_id, "compilation").limit == QUOTAS["compilation"]
    parts.later(3600)
    assert quotas.of(parts.bob.user_id, "simulation").left, "a new month"
    with pytest.raises(KeyError):
        quotas.of(parts.ada.user_id, "galaxy")


def test_quota_of_storage(parts: People) -> None:
    """What a user stores counts in megabytes."""
    with parts.db.write() as connection:
        values = {"document_id": str(uuid.uuid4()), "kind": "circuit", "project_id": parts.project, "properties": {}}
        moments = {"created_at": parts.now, "modified_at": parts.now}
        row = {**values, **moments, "owner_id": parts.ada.user_id, "name": "n", "body": b"\x00" * 1_500_000}
        connection.execute(sa.insert(schema.document).values(row))
    quotas = Quotas(parts.db, None, Settings(data=Path("unused")))  # type: ignore[arg-type]
    assert quotas.of(parts.ada.user_id, "database_usage").used == pytest.approx(1.5)
    assert quotas.of(parts.bob.user_id, "database_usage").used == 0.0
