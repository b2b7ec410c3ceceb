"""Users, teams, roles and who may do what in which project.

A project belongs to its owner. An assignment gives a role in it to a user, to the members of a team, or to the public
(an assignment to nobody). The four roles and their ids are those of Nexus.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any

import sqlalchemy as sa

from qjobs.errors import InvalidInput
from qjobs.ledger.database import Database
from qjobs.service import tables as schema
from qjobs.service.accounts.passwords import Passwords, check_password
from qjobs.service.accounts.tokens import hash_of
from qjobs.service.errors import Forbidden, NotFound

logger = logging.getLogger(__name__)

_NO_PASSWORD = ""
"""Password hash of a user who was removed; nothing verifies against it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person."""

    user_id: str
    email: str
    display_name: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One login: whose it is, and whether a refresh gives another refresh token."""

    session_id: str
    user: User
    rotates: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """Several people."""

    team_id: str
    name: str
    display_name: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What somebody may do in a project."""

    role_id: str
    name: str
    permissions: tuple[str, ...]


ADMINISTRATOR = Role(
    role_id="7dd39c79-5c9e-5395-a187-1fcbc8a96ccb",
    name="Administrator",
    permissions=("ASSIGN", "DELETE", "WRITE", "READ"),
)
MAINTAINER = Role(
    role_id="473f6ee7-7821-519b-bfd8-9cbbf5a4de2a", name="Maintainer", permissions=("DELETE", "WRITE", "READ")
)
CONTRIBUTOR = Role(role_id="705ff4ae-3f09-594d-9dc5-320f884a2fdc", name="Contributor", permissions=("WRITE", "READ"))
READER = Role(role_id="9e7f86be-a3d8-5609-9372-c494c79baac2", name="Reader", permissions=("READ",))
ROLES = (ADMINISTRATOR, MAINTAINER, CONTRIBUTOR, READER)


class Accounts:
    """Users, teams and assignments in the database."""

    def __init__(
        self,
        db: Database,
        now: Callable[[], datetime],
        passwords: Passwords,
        *,
        real_now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._db = db
        self._now = now
        self._passwords = passwords
        self._real_now = real_now

    def add_user(self, email: str, password: str, *, display_name: str = "", groups: Sequence[str] = ()) -> User:
        """Add a user; one who was removed before gets their data back.

        Raises:
            InvalidInput: There is such a user already, or the address or the password cannot be used.
        """
        email = _address(email)
        check_password(password)
        values: dict[str, Any] = {
            "display_name": display_name or email.partition("@")[0],
            "password_hash": self._passwords.hash(password),
            "groups": list(groups),
        }
        table = schema.user
        with self._db.write() as connection:
            self._db.lock(connection, "qjobs-users")
            row = connection.execute(sa.select(table).where(table.c.email == email)).one_or_none()
            if row is not None and row.password_hash != _NO_PASSWORD:
                raise InvalidInput(f"there is a user {email} already")
            user_id = str(uuid.uuid4()) if row is None else row.user_id
            if row is None:
                values |= {"user_id": user_id, "email": email, "created_real": self._real_now()}
                connection.execute(table.insert().values(values))
            else:
                connection.execute(table.update().where(table.c.user_id == user_id).values(values))
            added = _user(connection.execute(sa.select(table).where(table.c.user_id == user_id)).one())
        logger.info("user %s added (%s)", added.email, user_id)
        return added

    def set_password(self, email: str, password: str) -> None:
        """Give a user a new password, which ends their sessions; the one that they have changes nothing.

        Raises:
            NotFound: There is no such user.
            InvalidInput: The password cannot be used.
        """
        table = schema.user
        email = _address(email)
        with self._db.read() as connection:
            stored = connection.scalar(sa.select(table.c.password_hash).where(table.c.email == email))
        if not stored:
            raise NotFound(f"there is no user {email}")
        if self._passwords.fits(stored, password):
            return
        check_password(password)
        hashed = self._passwords.hash(password)
        with self._db.write() as connection:
            theirs = sa.and_(table.c.email == email, table.c.password_hash != _NO_PASSWORD)
            user_id = connection.scalar(
                table.update().where(theirs).values(password_hash=hashed).returning(table.c.user_id)
            )
            if user_id is None:
                raise NotFound(f"there is no user {email}")
            _end_sessions(connection, user_id)
        logger.info("user %s has a new password; their sessions ended", email)

    def remove_user(self, email: str) -> None:
        """Remove a user, who can no longer sign in; what they own stays.

        Raises:
            NotFound: There is no such user.
        """
        table = schema.user
        with self._db.write() as connection:
            user_id = connection.scalar(
                sa.select(table.c.user_id).where(
                    table.c.email == _address(email), table.c.password_hash != _NO_PASSWORD
                )
            )
            if user_id is None:
                raise NotFound(f"there is no user {email}")
            _end_sessions(connection, user_id)
            for found in (schema.team_member, schema.assignment):
                connection.execute(found.delete().where(found.c.user_id == user_id))
            connection.execute(table.update().where(table.c.user_id == user_id).values(password_hash=_NO_PASSWORD))
        logger.info("user %s removed (%s)", email.strip().lower(), user_id)

    def revoke(self, name: str) -> int:
        """End all sessions of a user, with every token that was issued to them; how many there were.

        `name` is the user's id or address.

        Raises:
            NotFound: There is no such user.
        """
        user = self.user(name)
        with self._db.write() as connection:
            n_ended = _end_sessions(connection, user.user_id)
        logger.info("all sessions of %s ended: %d", user.email, n_ended)
        return n_ended

    def users(self) -> list[User]:
        """Everybody who may sign in, by address."""
        table = schema.user
        query = sa.select(table).where(table.c.password_hash != _NO_PASSWORD).order_by(table.c.email)
        with self._db.read() as connection:
            return [_user(row) for row in connection.execute(query)]

    def user(self, name: str) -> User:
        """The user of this id or address.

        Raises:
            NotFound: There is none.
        """
        table = schema.user
        wanted = sa.or_(table.c.user_id == name, table.c.email == name.strip().lower())
        with self._db.read() as connection:
            row = connection.execute(
                sa.select(table).where(wanted, table.c.password_hash != _NO_PASSWORD).limit(1)
            ).one_or_none()
        if row is None:
            raise NotFound("there is no such user")
        return _user(row)

    def user_of_access(self, token: str) -> User | None:
        """The user of this access token; None if it is forged or has ended."""
        found = self.session_of_access(token)
        return None if found is None else found.user

    def user_of_refresh(self, token: str) -> User | None:
        """The user of this refresh token; None if it is forged or has ended."""
        found = self.session_of_refresh(token)
        return None if found is None else found.user

    def session_of_access(self, token: str) -> Session | None:
        """The session of this access token; None if it is forged or has ended."""
        return self._session(_by_access_token(), hash_of(token))

    def session_of_refresh(self, token: str) -> Session | None:
        """The session of this refresh token; None if it is forged or has ended."""
        return self._session(_by_refresh_token(), hash_of(token))

    def is_open(self, session_id: str) -> bool:
        """Whether a session goes on: nobody has signed out, and its time is not over."""
        return self._session(_by_id(), session_id) is not None

    def _session(self, query: sa.Select[Any], known: str) -> Session | None:
        with self._db.read() as connection:
            row = connection.execute(query, {"known": known, "now": self._real_now()}).one_or_none()
        return None if row is None else Session(session_id=row.session_id, user=_user(row), rotates=row.rotates)

    def projects_with(self, user_id: str, permission: str) -> sa.Select[tuple[str]]:
        """Ids of the projects in which the user has a permission (READ, WRITE, DELETE, ASSIGN), as a subselect."""
        return _projects_with(user_id, permission)

    def assignments(self, user_id: str, resource_id: str) -> list[sa.Row[tuple[str, str | None, str | None]]]:
        """Rows of role_id, user_id, team_id, in the order in which they were made.

        Raises:
            NotFound: The user sees no such project.
        """
        given = schema.assignment
        query = sa.select(given.c.role_id, given.c.user_id, given.c.team_id).where(given.c.resource_id == resource_id)
        with self._db.read() as connection:
            self._require(connection, user_id, resource_id, "READ")
            return list(connection.execute(query.order_by(given.c.id)))

    def assign(
        self, by: str, resource_id: str, role_id: str, *, user_id: str | None = None, team_id: str | None = None
    ) -> None:
        """Give a user or a team a role in a project; a second call adds nothing.

        Raises:
            NotFound: There is no such project, role, user or team, or `by` does not see it.
            Forbidden: `by` is not an administrator of the project.
        """
        if role_id not in {role.role_id for role in ROLES}:
            raise NotFound("there is no such role; GET /api/roles/v1beta lists them")
        given = schema.assignment
        with self._db.write() as connection:
            self._db.lock(connection, f"qjobs-assignments {resource_id}")
            self._require(connection, by, resource_id, "ASSIGN")
            if user_id is not None and not connection.scalar(
                sa.select(sa.func.count()).where(schema.user.c.user_id == user_id)
            ):
                raise NotFound("there is no such user")
            if team_id is not None and not connection.scalar(sa.select(sa.func.count()).where(_member(team_id, by))):
                raise NotFound("there is no such team")
            values = {"resource_id": resource_id, "role_id": role_id, "user_id": user_id, "team_id": team_id}
            same = [given.c[name].is_not_distinct_from(value) for name, value in values.items()]
            if connection.scalar(sa.select(sa.func.count()).where(*same)):
                return
            connection.execute(given.insert().values(values))
        whom = f"user {user_id}" if team_id is None else f"team {team_id}"
        logger.info("%s has role %s in project %s, given by user %s", whom, role_id, resource_id, by)

    def _require(self, connection: sa.Connection, user_id: str, project_id: str, permission: str) -> None:
        def allowed(what: str) -> bool:
            subset = self.projects_with(user_id, what).where(schema.project.c.project_id == project_id)
            return connection.scalar(subset) is not None

        if not allowed("READ"):
            raise NotFound("there is no such resource")
        if permission != "READ" and not allowed(permission):
            raise Forbidden("only an administrator of the project may do this")

    def add_team(self, user_id: str, *, name: str, display_name: str = "", description: str = "") -> Team:
        """Make a team; its maker is its first member."""
        team = Team(team_id=str(uuid.uuid4()), name=name, display_name=display_name or name, description=description)
        values = asdict(team) | {"owner_id": user_id, "created_at": self._now()}
        with self._db.write() as connection:
            connection.execute(schema.team.insert().values(values))
            connection.execute(schema.team_member.insert().values(team_id=team.team_id, user_id=user_id))
        logger.info("team %s made by user %s", team.team_id, user_id)
        return team

    def join_team(self, team_id: str, user_id: str) -> None:
        """Make a user a member; a second call changes nothing.

        Raises:
            NotFound: There is no such team.
        """
        with self._db.write() as connection:
            self._db.lock(connection, f"qjobs-team {team_id}")
            if not connection.scalar(sa.select(sa.func.count()).where(schema.team.c.team_id == team_id)):
                raise NotFound(f"there is no team {team_id}")
            if connection.scalar(sa.select(sa.func.count()).where(_member(team_id, user_id))):
                return
            connection.execute(schema.team_member.insert().values(team_id=team_id, user_id=user_id))
        logger.info("user %s joined team %s", user_id, team_id)

    def teams(self, user_id: str, *, name: str | None = None, team_id: str | None = None) -> list[Team]:
        """The user's teams in the order in which they were made, all or those of this name or id."""
        team = schema.team
        member = schema.team_member
        columns = (team.c.team_id, team.c.name, team.c.display_name, team.c.description)
        query = sa.select(*columns).join(member).where(member.c.user_id == user_id)
        if name is not None:
            query = query.where(team.c.name == name)
        if team_id is not None:
            query = query.where(team.c.team_id == team_id)
        with self._db.read() as connection:
            rows = connection.execute(query.order_by(team.c.created_at, team.c.team_id)).mappings()
            return [Team(**row) for row in rows]


# Every request needs the statements below; to build one takes longer than to run it.


@cache
def _by_access_token() -> sa.Select[Any]:
    access = schema.access_token
    valid = sa.and_(access.c.token_hash == sa.bindparam("known"), access.c.expires_real > sa.bindparam("now"))
    return _user_of_session(schema.session.c.session_id.in_(sa.select(access.c.session_id).where(valid)))


@cache
def _by_refresh_token() -> sa.Select[Any]:
    return _user_of_session(schema.session.c.refresh_hash == sa.bindparam("known"))


@cache
def _by_id() -> sa.Select[Any]:
    return _user_of_session(schema.session.c.session_id == sa.bindparam("known"))


def _user_of_session(which: sa.ColumnElement[bool]) -> sa.Select[Any]:
    session = schema.session
    return (
        sa.select(schema.user, session.c.session_id, session.c.rotates)
        .join(session, session.c.user_id == schema.user.c.user_id)
        .where(which, session.c.expires_real > sa.bindparam("now"))
        .where(schema.user.c.password_hash != _NO_PASSWORD)  # removed while this session began
    )


@lru_cache(maxsize=1024)
def _projects_with(user_id: str, permission: str) -> sa.Select[tuple[str]]:
    given = schema.assignment
    project = schema.project
    teams = sa.select(schema.team_member.c.team_id).where(schema.team_member.c.user_id == user_id)
    to_them = sa.or_(
        given.c.user_id == user_id,
        given.c.team_id.in_(teams),
        sa.and_(given.c.user_id.is_(None), given.c.team_id.is_(None)),
    )
    roles = [role.role_id for role in ROLES if permission in role.permissions]
    shared = sa.select(given.c.resource_id).where(to_them, given.c.role_id.in_(roles))
    return sa.select(project.c.project_id).where(
        sa.or_(project.c.owner_id == user_id, project.c.project_id.in_(shared))
    )


def _end_sessions(connection: sa.Connection, user_id: str) -> int:
    """Sign a user out everywhere; devices that they approved and that took no session yet get none."""
    session = schema.session
    tokens = schema.access_token
    theirs = sa.select(session.c.session_id).where(session.c.user_id == user_id)
    connection.execute(tokens.delete().where(tokens.c.session_id.in_(theirs)))
    connection.execute(schema.device_code.delete().where(schema.device_code.c.user_id == user_id))
    return connection.execute(session.delete().where(session.c.user_id == user_id)).rowcount


def _member(team_id: str, user_id: str) -> sa.ColumnElement[bool]:
    member = schema.team_member
    return sa.and_(member.c.team_id == team_id, member.c.user_id == user_id)


def _user(row: sa.Row[tuple[object, ...]]) -> User:
    found = row._mapping
    return User(
        user_id=found["user_id"],
        email=found["email"],
        display_name=found["display_name"],
        groups=tuple(found["groups"]),
    )


def _address(email: str) -> str:
    """The form in which an address is stored and looked up."""
    address = email.strip().lower()
    name, at, domain = address.partition("@")
    printable = address.isprintable() and " " not in address and ":" not in address
    if not (name and at and domain) or not printable or len(address) > 320 or "@" in domain:
        raise InvalidInput(f"{email!r} is not an e-mail address such as me@localhost.test")
    return address
