"""Fixtures of all tests: a PostgreSQL of our own, and a fresh ledger on each of the two databases."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from support import empty

from qjobs.ledger import Ledger

START_TIMEOUT_S = 30.0

settings.register_profile(
    "qjobs",
    deadline=None,
    derandomize=True,
    print_blob=True,
    # The ledger of a test serves all its examples; the tests empty it between them themselves.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("qjobs")


def _missing(what: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"{what}; run .ci/postgresql first")
    pytest.skip(f"{what}: apt-get install postgresql, or set QJOBS_TEST_POSTGRESQL to a server's URL")


def _programs() -> Path | None:
    """The folder of initdb and postgres."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve().parent] if on_path else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -float(path.parent.name))
    return next((path for path in found if (path / "initdb").exists() and (path / "postgres").exists()), None)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(url: str, server: subprocess.Popen[bytes]) -> bool:
    """Whether the server takes connections; False when it ended instead (its port was taken)."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    deadline = time.monotonic() + START_TIMEOUT_S
    while server.poll() is None:
        try:
            engine.connect().close()
        except sa.exc.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return True
    return False


@contextlib.contextmanager
def _server(programs: Path) -> Iterator[str]:
    """A PostgreSQL server of our own, in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="qjobs-postgresql-"))
    account: dict[str, object] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        try:
            entry = pwd.getpwnam("postgres")
        except KeyError:
            _missing("there is no user postgres, and PostgreSQL does not run as root")
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
    server = None
    try:
        for _ in range(5):
            port = _free_port()
            url = f"postgresql+psycopg://qjobs@127.0.0.1:{port}/postgres"
            command = [str(programs / "postgres"), "-D", str(data), "-p", str(port)]
            command += [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
            with (folder / "log").open("ab") as log:
                server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, **account)
            if _answers(url, server):
                break
        else:
            pytest.fail(f"PostgreSQL does not start: {(folder / 'log').read_text()[-2000:]}")
        yield url
    finally:
        if server is not None and server.poll() is None:
            server.send_signal(signal.SIGINT)  # "fast shutdown": sessions are ended, nothing is awaited
            server.wait(30)
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """URL of a real PostgreSQL on which databases may be made: `QJOBS_TEST_POSTGRESQL`, else one of our own."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        _missing("psycopg is not installed")
    given = os.environ.get("QJOBS_TEST_POSTGRESQL")
    if given:
        yield given
        return
    programs = _programs()
    if programs is None:
        _missing("PostgreSQL is not installed")
    with _server(programs) as url:
        yield url


@contextlib.contextmanager
def _database(server_url: str) -> Iterator[str]:
    name = f"qjobs_{uuid.uuid4().hex}"
    engine = sa.create_engine(server_url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    try:
        yield sa.make_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database without a table, one per test, on each kind of database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.db'}"
        return
    with _database(request.getfixturevalue("postgresql_url")) as url:
        yield url


@pytest.fixture(scope="session")
def postgresql_ledger(postgresql_url: str) -> Iterator[Ledger]:
    """One ledger for many tests: a database of its own costs each a quarter of a second."""
    with _database(postgresql_url) as url, Ledger(url) as ledger:
        yield ledger


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger on each kind of database."""
    if request.param == "sqlite":
        with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
            yield ledger
        return
    ledger = request.getfixturevalue("postgresql_ledger")
    empty(ledger)
    yield ledger


@pytest.fixture(scope="module")
def one_ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """One ledger on SQLite for all tests of a module."""
    with Ledger(f"sqlite:///{tmp_path_factory.mktemp('one') / 'ledger.db'}") as ledger:
        yield ledger


@pytest.fixture
def store(one_ledger: Ledger) -> Ledger:
    """That ledger, emptied: making one takes longer than most tests."""
    empty(one_ledger)
    return one_ledger
