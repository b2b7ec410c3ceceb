"""Run the service: its folder, its first user, its certificate, its socket."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import logging
import os
import secrets
import signal
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import cast

import sqlalchemy as sa
import uvicorn

from qjobs.errors import InvalidInput
from qjobs.ledger.database import Database
from qjobs.service.accounts.accounts import Accounts
from qjobs.service.accounts.passwords import Passwords
from qjobs.service.accounts.sessions import Sessions
from qjobs.service.assembly import Service
from qjobs.service.certificate import ensure_certificate, write_private
from qjobs.service.settings import Settings
from qjobs.service.tables import SERVICE

logger = logging.getLogger(__name__)

FIRST_USER = "me@localhost.test"
_STOP_S = 5
_CUT_EVERY_S = 0.3
QORO_ADDRESS = (
    "import os, divi.backends.runners._qoro as qoro  # in Divi 0.13: divi.backends._qoro_service",
    'qoro.API_URL = os.environ["QORO_API_URL"]',
)
"""Divi reads its address from a constant of this module, at every request."""
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def serve(settings: Settings, users: Sequence[tuple[str, str]], say: Callable[[str], None]) -> None:
    """Run the service until SIGINT or SIGTERM; `users` are addresses and passwords, and new users are added.

    Raises:
        InvalidInput: The settings cannot be used, or the folder or the port is in use.
        LedgerError: The database cannot be opened.
    """
    with _on_signals(_exit), contextlib.ExitStack() as stack:
        _make_folder(settings.data)
        stack.enter_context(_file_lock(settings.data / "lock", str(settings.data), "--data"))
        file = _sqlite_file(settings)
        if file is not None and settings.database is not None:
            stack.enter_context(_file_lock(file.with_name(f"{file.name}.lock"), str(file), "--database"))
        listening = stack.enter_context(_socket(settings))
        _keep_private(settings)
        service = Service.open(settings)
        stack.callback(service.close)
        _ensure_users(service.accounts, settings, users, say)
        _run(service, listening, say)


def environment(settings: Settings, port: int) -> dict[str, str]:
    """The environment variables that point the real client at the service."""
    variables = {
        "NEXUS_PROTOCOL": "http" if settings.http else "https",
        "NEXUS_WEBSOCKETS_PROTOCOL": "ws" if settings.http else "wss",
        # Never `localhost`: Python's cookie jar keeps no cookies for a name without a dot.
        "NEXUS_DOMAIN": "127.0.0.1" if settings.host in _LOOPBACK | {"0.0.0.0", "::"} else settings.host,  # noqa: S104
        "NEXUS_PORT": str(port),
    }
    if not settings.http:
        variables["SSL_CERT_FILE"] = str((settings.data / "cert.pem").absolute())
    return variables


@contextlib.contextmanager
def accounts_of(settings: Settings) -> Iterator[Accounts]:
    """The accounts alone, for commands about users; the service may run at the same time."""
    with _database(settings) as db:
        yield _accounts(db, Passwords())


@contextlib.contextmanager
def sessions_of(settings: Settings) -> Iterator[Sessions]:
    """The sessions alone, for the command that issues a token; the service may run at the same time."""
    with _database(settings) as db:
        passwords = Passwords()
        yield Sessions(db, _accounts(db, passwords), passwords, settings)


def _accounts(db: Database, passwords: Passwords) -> Accounts:
    # Real time: only the service itself may open its clock, which writes to the database.
    return Accounts(db, lambda: datetime.now(UTC), passwords)


@contextlib.contextmanager
def _database(settings: Settings) -> Iterator[Database]:
    _make_folder(settings.data)
    _keep_private(settings)
    db = Database(settings.database_url, SERVICE)
    try:
        yield db
    finally:
        db.close()


@contextlib.contextmanager
def _on_signals(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def _exit(_: int, __: FrameType | None) -> None:
    raise SystemExit(0)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InvalidInput(f"the folder {folder} cannot be made: {error.strerror}; give another --data") from error


def _sqlite_file(settings: Settings) -> Path | None:
    """The database's file; None if it has none."""
    if settings.database is None:
        return settings.data.resolve() / "service.db"
    try:
        url = sa.make_url(settings.database)
    except (sa.exc.ArgumentError, ValueError):
        return None  # the error comes when it is opened
    name = url.database or ""
    if url.get_backend_name() != "sqlite" or name in {"", ":memory:"} or name.startswith("file:"):
        return None
    return Path(name).expanduser().resolve()


def _keep_private(settings: Settings) -> None:
    """Let nobody else read the database; SQLite gives its other files the same permissions."""
    file = _sqlite_file(settings)
    if file is None:
        return
    with contextlib.suppress(OSError):  # the error comes when the database is opened
        with contextlib.suppress(FileExistsError):
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        for each in (file, file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}-shm")):
            if each.exists() and each.stat().st_mode & 0o077:
                each.chmod(0o600)


@contextlib.contextmanager
def _file_lock(path: Path, what: str, option: str) -> Iterator[None]:
    """Hold a folder, or a database, alone: two services would run the same jobs twice."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise InvalidInput(f"{what} cannot be used: {error.strerror}; give another {option}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise InvalidInput(f"another service runs in {what}; stop it, or give another {option}") from None
    try:
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def _socket(settings: Settings) -> Iterator[socket.socket]:
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, number, _, address = found[0]
        listening = socket.socket(family, kind, number)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise InvalidInput(
            f"cannot listen at {settings.host} port {settings.port}: {why}; give another --port or --host"
        ) from error
    with listening:
        yield listening


def _ensure_users(
    accounts: Accounts, settings: Settings, users: Sequence[tuple[str, str]], say: Callable[[str], None]
) -> None:
    known = {user.email for user in accounts.users()}
    for email, password in users:
        if email.strip().lower() in known:
            accounts.set_password(email, password)
        else:
            known.add(accounts.add_user(email, password).email)
    if known:
        return
    password = secrets.token_urlsafe(12)
    credentials = settings.data / "credentials"
    write_private(credentials, f"{FIRST_USER}\n{password}\n".encode())
    accounts.add_user(FIRST_USER, password)
    say(f"The first user is {FIRST_USER} with the password {password}")
    say(f"(kept in {credentials}; more people: qjobs serve users add EMAIL)")


def _run(service: Service, listening: socket.socket, say: Callable[[str], None]) -> None:
    from qjobs.service.app import create_app
    from qjobs.service.qoro.routes import PREFIX as QORO_PREFIX

    settings = service.settings
    port = int(listening.getsockname()[1])
    certificate, key = (None, None) if settings.http else ensure_certificate(settings.data, settings.host)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("qjobs").setLevel(logging.INFO)
    config = uvicorn.Config(
        create_app(service),
        host=settings.host,
        port=port,
        http=_door(settings, certificate, key),
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=settings.http,
        timeout_graceful_shutdown=_STOP_S,
    )
    variables = environment(settings, port)
    say("")
    for name, value in variables.items():
        say(f"export {name}={value}")
    if certificate is not None:
        say("# SSL_CERT_FILE makes the clients of this shell trust this certificate, and no other.")
        say("# Quantinuum's client without any check, where that cannot be: export NEXUS_HTTPX_VERIFY=false")
    say("")
    url = f"{variables['NEXUS_PROTOCOL']}://{variables['NEXUS_DOMAIN']}:{port}"
    say("# For clients of the Munich Quantum Portal (a token: qjobs serve users token EMAIL):")
    say(f"export MQP_URL={url}")
    if certificate is not None:
        say(f"export REQUESTS_CA_BUNDLE={certificate.absolute()}")
    say("")
    say("# For Divi's QoroService (the same token), which takes its address in Python alone, before it is made:")
    say(f"export QORO_API_URL={url}{QORO_PREFIX}")
    for line in QORO_ADDRESS:
        say(f"#   {line}")
    say("")
    if settings.host not in _LOOPBACK:
        say(f"WARNING: everybody who can reach {settings.host} can reach this service, not only this machine.")
    if settings.http:
        say("WARNING: plain HTTP; passwords travel unencrypted unless a proxy in front of it speaks TLS.")
        say("         Over it the real client cannot wait by web socket: use PollingStrategy().")
    server = _Server(config)
    # From here on a signal only asks the server to end: an exception out of a signal's handler can leave asyncio
    # with a task that nobody knows, which then runs while the loop is closed.
    with _on_signals(server.handle_exit):
        logger.info("serving at %s port %d from %s", settings.host, port, settings.data.absolute())
        say(f"Serving {url} from {settings.data.absolute()} (end it with Ctrl-C)")
        try:
            server.run(sockets=[listening])
        finally:
            logger.info("the service has ended")


def _door(settings: Settings, certificate: Path | None, key: Path | None) -> type[asyncio.Protocol]:
    """What uvicorn makes of each connection."""
    from qjobs.service.door import Door, Limits

    tls = None
    if certificate is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate, key)
    made = functools.partial(Door, Limits(settings.max_connections), tls)
    return cast("type[asyncio.Protocol]", made)  # uvicorn only calls it


class _Server(uvicorn.Server):
    """Waits at its end for requests that are being answered, but not for clients that only keep a connection open.

    Closing TLS waits up to 30 s for the other side to close too, and an idle client does not.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        cutting = asyncio.get_running_loop().create_task(self._cut_closing())
        try:
            await super().shutdown(sockets)
        finally:
            cutting.cancel()

    async def _cut_closing(self) -> None:
        while True:
            await asyncio.sleep(_CUT_EVERY_S)
            for connection in list(self.server_state.connections):
                transport = connection.transport
                if transport is not None and transport.is_closing():
                    transport.abort()
