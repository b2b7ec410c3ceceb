"""Signing in: logins, access tokens, and devices that a person approves.

A session is one login; it has a refresh token and any number of access tokens, each of a few minutes. The refresh token
of a session that rotates is exchanged for another one at each refresh, and whoever sends an exchanged one again ends
the session: one of the two has stolen it. Sessions of browsers rotate, and those of clients that ask for it; the client
of Nexus keeps one refresh token in a file that several processes share, and never writes another one there. Tokens end
by real time, not by the service's clock.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import sqlalchemy as sa

from qjobs.ledger.database import Database
from qjobs.service import tables as schema
from qjobs.service.accounts.accounts import Accounts, User
from qjobs.service.accounts.passwords import LONGEST, Passwords, Throttle
from qjobs.service.accounts.tokens import hash_of, new_token, new_user_code
from qjobs.service.errors import NotFound, TooManyRequests, Unauthorized
from qjobs.service.settings import Settings

logger = logging.getLogger(__name__)

DEVICE_CODE_S = 600
"""How long a device's request waits for a person, in seconds."""

POLL_S = 2
"""How often a device may ask, in seconds."""

_MOST_DEVICES = 1000
_MOST_DEVICES_OF_ADDRESS = 20
_GRACE_S = 30.0
"""An exchanged token may come once more so soon: it was on its way already, or the reply was lost."""
_WRONG = "the e-mail address or the password is wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What a client holds after signing in."""

    user: User
    refresh: str = field(repr=False)
    access: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRequest:
    """A device that asks to be signed in, and the code that a person types to approve it."""

    device_code: str = field(repr=False)
    user_code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """What a refresh gives: an access token, and where the session rotates another refresh token."""

    access: str = field(repr=False)
    refresh: str | None = field(repr=False)


class Pending(Exception):
    """Nobody has approved or denied the device yet."""


class Sessions:
    """Logins in the database; `real_now` is real time, by which tokens end."""

    def __init__(
        self,
        db: Database,
        accounts: Accounts,
        passwords: Passwords,
        settings: Settings,
        *,
        throttle: Throttle | None = None,
        real_now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._db = db
        self._accounts = accounts
        self._passwords = passwords
        self._settings = settings
        self._throttle = throttle or Throttle()
        self._real_now = real_now
        self._devices: dict[str, dict[str, datetime]] = {}
        """The requests of devices of an address, by the hashes of their codes, and when they end."""
        self._lock = threading.Lock()

    def login(self, email: str, password: str, *, address: str = "", rotates: bool = False) -> Tokens:
        """Begin a session; `address` is where the try comes from, for which wrong ones count.

        Raises:
            Unauthorized: The address or the password is wrong.
        """
        name = email.strip().lower()
        table = schema.user
        with self._db.read() as connection:
            stored = connection.scalar(sa.select(table.c.password_hash).where(table.c.email == name))
        if len(password) > LONGEST or not self._passwords.fits_somebody(stored, password):
            self._throttle.failed(address, name)
            logger.warning("sign-in of %r refused: %s", name, _WRONG)
            raise Unauthorized(_WRONG)
        self._throttle.succeeded(address, name)
        return self._begin(self._accounts.user(name), rotates=rotates)

    def issue(self, name: str, lifetime_s: float) -> str:
        """A token for a client that sends one with every request: the refresh token of a session of its own.

        `name` is a user's id or address. It lives `lifetime_s` seconds of real time, and ends earlier when the user is
        removed or gets a new password.

        Raises:
            NotFound: There is no such user.
        """
        return self._begin(self._accounts.user(name), lifetime_s).refresh

    def refresh(self, refresh: str) -> Renewed:
        """A new access token of a session, and a new refresh token where it rotates.

        An exchanged refresh token gets an access token for half a minute; after that it ends the session.

        Raises:
            Unauthorized: The refresh token is forged, or its session has ended.
        """
        if self.end_if_reused(refresh):
            raise Unauthorized("this sign-in was ended, because an old token of it was used again; sign in once more")
        table = schema.session
        retired = schema.retired_token
        now = self._real_now()
        known = hash_of(refresh)
        renewed = Renewed(access=new_token(), refresh=None)
        late = sa.select(retired.c.session_id).where(retired.c.token_hash == known)
        which = sa.or_(table.c.refresh_hash == known, table.c.session_id.in_(late))
        with self._db.write() as connection:
            found = connection.execute(sa.select(table).where(which, table.c.expires_real > now)).one_or_none()
            if found is None:
                raise Unauthorized
            if found.rotates and found.refresh_hash == known:
                renewed = Renewed(access=renewed.access, refresh=new_token())
                change = table.update().where(table.c.session_id == found.session_id)
                connection.execute(change.values(refresh_hash=hash_of(renewed.refresh or "")))
                row = {"token_hash": known, "session_id": found.session_id, "retired_real": now}
                connection.execute(retired.insert().values(row))
            self._add_access(connection, found.session_id, renewed.access, now)
        logger.debug("session %s has a new access token", found.session_id)
        return renewed

    def end_if_reused(self, refresh: str) -> bool:
        """End the session of a refresh token that was exchanged for another one; whether it was such a token."""
        retired = schema.retired_token
        long_ago = self._real_now() - timedelta(seconds=_GRACE_S)
        query = sa.select(retired.c.session_id).where(
            retired.c.token_hash == hash_of(refresh), retired.c.retired_real < long_ago
        )
        with self._db.read() as connection:
            session_id = connection.scalar(query)
        if session_id is None:
            return False
        with self._db.write() as connection:
            _end(connection, [session_id])
        logger.warning("session %s ended: a refresh token of it was used twice, so somebody has a copy", session_id)
        return True

    def ttl_s(self, *, refresh: str | None = None, access: str | None = None) -> float:
        """How much longer the session of a token lives, in seconds. One of the two is given.

        Raises:
            Unauthorized: The token is forged or has ended.
        """
        session = schema.session
        token = schema.access_token
        now = self._real_now()
        query = sa.select(session.c.expires_real).where(session.c.expires_real > now)
        if access is not None:
            query = query.join(token).where(token.c.token_hash == hash_of(access), token.c.expires_real > now)
        else:
            query = query.where(session.c.refresh_hash == hash_of(refresh or ""))
        with self._db.read() as connection:
            expires: datetime | None = connection.scalar(query)
        if expires is None:
            raise Unauthorized
        return (expires - now).total_seconds()

    def logout(self, *, refresh: str | None = None, access: str | None = None) -> None:
        """End the session of a token, if it has one."""
        session = schema.session
        token = schema.access_token
        theirs = sa.select(token.c.session_id).where(token.c.token_hash == hash_of(access or ""))
        with self._db.write() as connection:
            ended = connection.scalars(
                sa.select(session.c.session_id).where(
                    sa.or_(session.c.refresh_hash == hash_of(refresh or ""), session.c.session_id.in_(theirs))
                )
            ).all()
            _end(connection, ended)
        for session_id in ended:
            logger.info("signed out: session %s", session_id)

    def request_device(self, address: str = "") -> DeviceRequest:
        """Record that a device at an address asks to be signed in.

        Raises:
            TooManyRequests: Too many devices wait for approval, at this address or at all.
        """
        request = DeviceRequest(device_code=new_token(), user_code=new_user_code())
        self._count_device(address, hash_of(request.device_code))
        table = schema.device_code
        now = self._real_now()
        with self._db.write() as connection:
            connection.execute(table.delete().where(table.c.expires_real <= now))
            if (connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0) >= _MOST_DEVICES:
                raise TooManyRequests("too many devices wait for approval; try again later", DEVICE_CODE_S)
            connection.execute(
                table.insert().values(
                    code_hash=hash_of(request.device_code),
                    user_code=request.user_code,
                    taken=False,
                    expires_real=now + timedelta(seconds=DEVICE_CODE_S),
                )
            )
        logger.info("a device asks to be signed in")
        return request

    def _count_device(self, address: str, code_hash: str) -> None:
        now = self._real_now()
        with self._lock:
            for known, requests in list(self._devices.items()):
                self._devices[known] = {code: end for code, end in requests.items() if end > now}
                if not self._devices[known]:
                    del self._devices[known]
            waiting = self._devices.setdefault(address, {})
            if len(waiting) >= _MOST_DEVICES_OF_ADDRESS:
                wait_s = (min(waiting.values()) - now).total_seconds()
                raise TooManyRequests("too many devices at your address wait for approval; try again later", wait_s)
            waiting[code_hash] = now + timedelta(seconds=DEVICE_CODE_S)

    def _forget_device(self, code_hash: str) -> None:
        with self._lock:
            for requests in self._devices.values():
                requests.pop(code_hash, None)

    def decide_device(self, user: User, user_code: str, *, approve: bool) -> None:
        """A person approves the device, or denies it.

        Raises:
            NotFound: No device waits with this code.
        """
        table = schema.device_code
        waiting = sa.and_(
            table.c.user_code == user_code.strip().upper(),
            table.c.user_id.is_(None),
            table.c.expires_real > self._real_now(),
        )
        change = table.update().values(user_id=user.user_id) if approve else table.delete()
        with self._db.write() as connection:
            if not connection.execute(change.where(waiting)).rowcount:
                raise NotFound("no device waits with this code; it may have ended: ask the device for another one")
        logger.info("%s %s a device", user.email, "approved" if approve else "denied")

    def take_device(self, device_code: str) -> Tokens:
        """The session of a device that was approved; it is given once.

        Raises:
            Pending: Nobody has approved or denied it yet.
            Unauthorized: It was denied, took its session before, or waited too long.
        """
        table = schema.device_code
        mine = sa.and_(
            table.c.code_hash == hash_of(device_code),
            table.c.taken.is_(False),
            table.c.expires_real > self._real_now(),
        )
        with self._db.write() as connection:
            row = connection.execute(sa.select(table.c.user_id).where(mine)).one_or_none()
            if row is None:
                raise Unauthorized("this device was not approved")
            if row.user_id is None:
                raise Pending
            if not connection.execute(table.update().where(mine).values(taken=True)).rowcount:
                raise Unauthorized("this device took its session already")
        self._forget_device(hash_of(device_code))
        return self._begin(self._accounts.user(row.user_id))

    def _begin(self, user: User, lifetime_s: float | None = None, *, rotates: bool = False) -> Tokens:
        lives_s = self._settings.refresh_ttl_s if lifetime_s is None else lifetime_s
        tokens = Tokens(user=user, refresh=new_token(), access=new_token())
        session = schema.session
        now = self._real_now()
        session_id = str(uuid4())
        with self._db.write() as connection:
            ended = sa.select(session.c.session_id).where(session.c.expires_real <= now)
            access = schema.access_token
            connection.execute(access.delete().where(access.c.session_id.in_(ended)))
            connection.execute(session.delete().where(session.c.expires_real <= now))
            connection.execute(
                session.insert().values(
                    session_id=session_id,
                    user_id=user.user_id,
                    refresh_hash=hash_of(tokens.refresh),
                    expires_real=now + timedelta(seconds=lives_s),
                    created_real=now,
                    rotates=rotates,
                )
            )
            self._add_access(connection, session_id, tokens.access, now)
        logger.info("%s signed in: session %s", user.email, session_id)
        return tokens

    def _add_access(self, connection: sa.Connection, session_id: str, access: str, now: datetime) -> None:
        table = schema.access_token
        connection.execute(table.delete().where(table.c.session_id == session_id, table.c.expires_real <= now))
        expires = now + timedelta(seconds=self._settings.access_ttl_s)
        connection.execute(
            table.insert().values(token_hash=hash_of(access), session_id=session_id, expires_real=expires)
        )


def _end(connection: sa.Connection, session_ids: Sequence[str]) -> None:
    for table in (schema.access_token, schema.session):
        connection.execute(table.delete().where(table.c.session_id.in_(session_ids)))
