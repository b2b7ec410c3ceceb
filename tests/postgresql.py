"""A PostgreSQL server of our own, for tests and benchmarks; `.ci/postgresql` installs its programs."""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import sqlalchemy as sa
from processes import free_port

START_TIMEOUT_S = 30.0
_USER = "postgres"
"""PostgreSQL refuses to run as root."""


def why_not() -> str:
    """Why there can be no server here; empty if there can."""
    if _programs() is None:
        return "PostgreSQL is not installed"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(_USER)
        except KeyError:
            return f"there is no user {_USER}, and PostgreSQL does not run as root"
    return ""


def _programs() -> Path | None:
    """The folder of initdb and postgres."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve().parent] if on_path else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -float(path.parent.name))
    return next((path for path in found if (path / "initdb").exists() and (path / "postgres").exists()), None)


def _answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Whether the server takes connections; False when it ended instead (its port was taken)."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None:
        try:
            engine.connect().close()
        except sa.exc.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return True
    return False


class Server:
    """A running server: its URL, for psycopg, and how it is stopped and started again at the same address."""

    def __init__(self, start: Callable[[], subprocess.Popen[bytes]], url: str) -> None:
        self.url = url
        self._start = start
        self.process = start()

    def stop(self) -> None:
        """Stop it as a restart does: sessions are ended, nothing is awaited."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)  # "fast shutdown"
            self.process.wait(30)

    def start(self) -> None:
        """Start it again."""
        self.process = self._start()
        if not self.answers():
            raise RuntimeError(f"PostgreSQL does not start again at {self.url}")

    def answers(self) -> bool:
        """Whether it takes connections; False when it ended instead (its port was taken)."""
        return _answers(self.url, self.process)


@contextlib.contextmanager
def server() -> Iterator[str]:
    """A PostgreSQL server of our own, in a folder of its own: its URL, for psycopg.

    Raises:
        RuntimeError: It cannot be had; `why_not` says why without an attempt.
    """
    with own_server() as running:
        yield running.url


@contextlib.contextmanager
def own_server() -> Iterator[Server]:
    """As `server`, for those who stop it and start it again."""
    programs = _programs()
    if programs is None:
        raise RuntimeError(why_not())
    folder = Path(tempfile.mkdtemp(prefix="qjobs-postgresql-"))
    account: dict[str, object] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        entry = pwd.getpwnam(_USER)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        account = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    data = folder / "data"
    initdb = ["initdb", "-D", data, "-U", "qjobs", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
    command = [str(programs / str(initdb[0])), *map(str, initdb[1:])]
    subprocess.run(command, check=True, cwd=folder, capture_output=True, timeout=60, **account)
    options = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "max_connections": "200",
        "shared_buffers": "32MB",
    }
    words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]

    def start(port: int) -> subprocess.Popen[bytes]:
        command = [str(programs / "postgres"), "-D", str(data), "-p", str(port), *words]
        with (folder / "log").open("ab") as log:
            return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, **account)

    running = None
    try:
        for _ in range(5):
            port = free_port()
            url = f"postgresql+psycopg://qjobs@127.0.0.1:{port}/postgres"
            running = Server(functools.partial(start, port), url)
            if running.answers():
                break
        else:
            raise RuntimeError(f"PostgreSQL does not start: {(folder / 'log').read_text()[-2000:]}")
        yield running
    finally:
        if running is not None:
            running.stop()
        shutil.rmtree(folder)


@contextlib.contextmanager
def restartable() -> Iterator[tuple[str, Callable[[], contextlib.AbstractContextManager[None]]]]:
    """As `server`, with a function that stops the server for as long as a block lasts."""
    with own_server() as running:

        @contextlib.contextmanager
        def stopped() -> Iterator[None]:
            running.stop()
            yield
            running.start()

        yield running.url, stopped


@contextlib.contextmanager
def database(server_url: str) -> Iterator[str]:
    """URL of an empty database on a server, for as long as it is needed."""
    name = f"qjobs_{uuid.uuid4().hex}"
    engine = sa.create_engine(server_url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    try:
        yield sa.make_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
