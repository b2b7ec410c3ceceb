"""Run the service: its folder, its first user, its certificate, its socket."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import sqlalchemy as sa
import uvicorn

from qjobs.errors import InvalidInput
from qjobs.ledger.database import Database
from qjobs.service.accounts.accounts import Accounts
from qjobs.service.accounts.passwords import Passwords
from qjobs.service.assembly import Service
from qjobs.service.certificate import ensure_certificate, write_private
from qjobs.service.settings import Settings
from qjobs.service.tables import SERVICE

__all__ = ["FIRST_USER", "accounts_of", "environment", "serve"]

FIRST_USER = "me@localhost.test"
_STOP_S = 5
_FAREWELL_S = 0.3
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def serve(settings: Settings, users: Sequence[tuple[str, str]], say: Callable[[str], None]) -> None:
    """Run until SIGINT or SIGTERM.

    Args:
        settings: What to run.
        users: Addresses and passwords of people who may sign in; new ones are made.
        say: Prints a line.

    Raises:
        InvalidInput: The settings cannot be used, or the folder or the port is in use.
        LedgerError: The database cannot be opened.
    """
    with _ending_at_once(), contextlib.ExitStack() as stack:
        _make_folder(settings.data)
        stack.enter_context(_alone(settings.data / "lock", str(settings.data), "--data"))
        file = _sqlite_file(settings)
        if file is not None and settings.database is not None:
            stack.enter_context(_alone(file.with_name(f"{file.name}.lock"), str(file), "--database"))
        listening = stack.enter_context(_socket(settings))
        _keep_private(settings)
        service = Service.open(settings)
        stack.callback(service.close)
        _ensure_users(service.accounts, settings, users, say)
        _run(service, listening, say)


def environment(settings: Settings, port: int) -> dict[str, str]:
    """What points the real client at the service."""
    return {
        "NEXUS_PROTOCOL": "http" if settings.http else "https",
        "NEXUS_WEBSOCKETS_PROTOCOL": "ws" if settings.http else "wss",
        # Python's cookie jar keeps no cookies for a name without a dot, so never `localhost`.
        "NEXUS_DOMAIN": "127.0.0.1" if settings.host in _LOOPBACK | {"0.0.0.0", "::"} else settings.host,  # noqa: S104
        "NEXUS_PORT": str(port),
    } | ({} if settings.http else {"NEXUS_HTTPX_VERIFY": "false"})


@contextlib.contextmanager
def accounts_of(settings: Settings) -> Iterator[Accounts]:
    """The accounts alone, for the commands about users; the service may run meanwhile."""
    _make_folder(settings.data)
    _keep_private(settings)
    db = Database(settings.database_url, SERVICE)
    try:
        # The service's clock keeps its anchor in the database: only the service itself may open it.
        yield Accounts(db, lambda: datetime.now(UTC), Passwords())
    finally:
        db.close()


@contextlib.contextmanager
def _ending_at_once() -> Iterator[None]:
    """Before the server runs, a signal ends the process; uvicorn repeats it when it has stopped."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(0 if number in {signal.SIGTERM, signal.SIGINT} else 1)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InvalidInput(f"the folder {folder} cannot be made: {error.strerror}; give another --data") from error


def _sqlite_file(settings: Settings) -> Path | None:
    """The file of the database, if it is one."""
    if settings.database is None:
        return settings.data.resolve() / "service.db"
    try:
        url = sa.make_url(settings.database)
    except (sa.exc.ArgumentError, ValueError):
        return None  # opening it has the words
    name = url.database or ""
    if url.get_backend_name() != "sqlite" or name in {"", ":memory:"} or name.startswith("file:"):
        return None
    return Path(name).expanduser().resolve()


def _keep_private(settings: Settings) -> None:
    """What is in the database is its users': SQLite gives its other files the rights of this one."""
    if (file := _sqlite_file(settings)) is None:
        return
    with contextlib.suppress(OSError):  # opening the database has the words
        with contextlib.suppress(FileExistsError):
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        for each in (file, file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}-shm")):
            if each.exists() and each.stat().st_mode & 0o077:
                each.chmod(0o600)


@contextlib.contextmanager
def _alone(path: Path, what: str, option: str) -> Iterator[None]:
    """The folder, or the database, is ours alone: two services would run the same jobs twice."""
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

    settings = service.settings
    port = int(listening.getsockname()[1])
    certificate, key = (None, None) if settings.http else ensure_certificate(settings.data, settings.host)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    config = uvicorn.Config(
        create_app(service),
        host=settings.host,
        port=port,
        ssl_certfile=certificate,
        ssl_keyfile=key,
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
        say(f"# instead of NEXUS_HTTPX_VERIFY, to check the certificate: export SSL_CERT_FILE={certificate.absolute()}")
    say("")
    if settings.host not in _LOOPBACK:
        say(f"WARNING: everybody who reaches {settings.host} reaches this service, not only this machine.")
    if settings.http:
        say("WARNING: plain HTTP; passwords travel unencrypted unless a proxy in front of it speaks TLS.")
        say("         The real client cannot wait by web socket over it: use PollingStrategy().")
    url = f"{variables['NEXUS_PROTOCOL']}://{variables['NEXUS_DOMAIN']}:{port}"
    say(f"Serving {url} from {settings.data.absolute()} (end it with Ctrl-C)")
    _Server(config).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Waits for requests that are being answered, and not for clients that only keep a connection open.

    Closing TLS waits for the other side's farewell, up to 30 s, and an idle client does not send one.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        farewell = asyncio.get_running_loop().create_task(self._cut_closed())
        try:
            await super().shutdown(sockets)
        finally:
            farewell.cancel()

    async def _cut_closed(self) -> None:
        while True:
            await asyncio.sleep(_FAREWELL_S)
            for connection in list(self.server_state.connections):
                transport = connection.transport
                if transport is not None and transport.is_closing():
                    transport.abort()
