"""Opening a database of ours: connections, transactions, schema version, errors.

SQLite runs in WAL mode with `BEGIN IMMEDIATE` for every writing transaction and full synchronisation:
the intent to submit must survive a power cut, because the remote job does.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event as sa_event
from sqlalchemy import exc as sa_exc

from qjobs.errors import InvalidInput, LedgerAway, LedgerError, LedgerSchemaMismatch, LedgerUnavailable, StorageFull
from qjobs.paths import private_file, private_folder
from qjobs.redaction import remember_environment, remember_url

__all__ = ["Database", "Schema", "is_logged", "log_after_commit", "parts"]

logger = logging.getLogger(__name__)

_SET_UP = "qjobs-setup"
_VERSION = "schema_version"
_READ = "qjobs_read"
_LOG = "qjobs_log"
_T = TypeVar("_T")
_LONGEST_LOGGED = 200
"""Characters of a value in the log; the event of a move has all of them."""
_LONGEST_LIST = 500
"""Values in one IN list; SQLite's own limit is higher, PostgreSQL plans long lists badly."""
_AWAY_CLASSES = {"08", "40", "53", "57"}
"""Connection lost, transaction rolled back by the server, out of resources, stopped by an operator."""
_AWAY_CODES = {"55P03", "25006"}
"""A lock that was not to be had, and a server that takes no writes (it is a standby now)."""
_REFUSED_FOR_GOOD = (
    "authentication failed",
    "does not exist",
    "pg_hba.conf",
    "no password supplied",
    "permission denied",
    "invalid",
    "unsupported",
)
_PREFECT_TABLES = {"flow_run", "block_document"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """What a database of ours holds.

    Args:
        what: What messages call it, for example `ledger`.
        metadata: Its tables.
        meta: The table, with columns `name` and `value`, that keeps the version.
        version: The version that this code works with.
        setting: The setting that names another place.
        older: What a user does about a database of a version that cannot be upgraded.
        made: Writes, in the transaction that makes the tables, what every new database has.
        upgrade: Brings the tables from an older version, which it is given, to `version`.
        oldest: The oldest version that it takes; None where nothing can be upgraded.
    """

    what: str
    metadata: sa.MetaData
    meta: sa.Table
    version: int
    setting: str
    older: str
    made: Callable[[sa.Connection], None] | None = None
    upgrade: Callable[[sa.Connection, int], None] | None = None
    oldest: int | None = None


def parts(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Cut a long list of values into lists that fit one query."""
    for start in range(0, len(values), _LONGEST_LIST):
        yield values[start : start + _LONGEST_LIST]


def is_logged() -> bool:
    """Whether anybody gets what is logged of transactions; to word it costs as much as some queries."""
    return logger.isEnabledFor(logging.INFO)


def log_after_commit(connection: sa.Connection, message: str, *values: object) -> None:
    """Log a line at INFO once the transaction of `Database.write` has landed; one that is rolled back logs nothing."""
    short = [value[:_LONGEST_LOGGED] if isinstance(value, str) else value for value in values]
    connection.info[_LOG].append((message, short))


class Database:
    """One engine with short reading and writing transactions.

    Args:
        url: A SQLAlchemy URL, `sqlite:///PATH` or `postgresql+psycopg://...`.
        busy_timeout_s: How long a writer waits for another one, in seconds.

    Raises:
        LedgerUnavailable: It cannot be opened, or it belongs to something else.
        LedgerSchemaMismatch: It was written by another version of qjobs.
    """

    def __init__(self, url: str, schema: Schema, *, busy_timeout_s: float = 30.0) -> None:
        self._schema = schema
        remember_environment()
        remember_url(url)
        try:
            self.url = sa.make_url(url)
        except (sa_exc.ArgumentError, ValueError):  # its message may hold the password
            raise LedgerUnavailable(
                f"the {schema.what}'s URL cannot be read; use sqlite:///PATH or postgresql+psycopg://USER:PASSWORD@HOST/NAME"
            ) from None
        if self.url.drivername in {"postgresql", "postgres"}:
            self.url = self.url.set(drivername="postgresql+psycopg")
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._engine = self._create_engine(busy_timeout_s)
        self._reader = self._engine.execution_options(**{_READ: True})
        try:
            self._set_up()
        except BaseException:
            self._engine.dispose()
            raise

    @property
    def shown_url(self) -> str:
        """The URL without its password, for messages."""
        hidden = {name: "***" for name in self.url.query if "password" in name}
        return self.url.update_query_dict(hidden).render_as_string(hide_password=True)

    def close(self) -> None:
        """Close all connections. Idempotent."""
        self._engine.dispose()

    def opened_again(self, *, busy_timeout_s: float) -> Database:
        """The same database with connections of its own, and another patience; close it too."""
        url = self.url.render_as_string(hide_password=False)
        return Database(url, self._schema, busy_timeout_s=busy_timeout_s)

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A writing transaction: all of it lands or nothing does. What it did is logged once it has landed."""
        with self._translated(), self._engine.begin() as connection:
            lines: list[tuple[str, list[object]]] = []
            connection.info[_LOG] = lines
            yield connection
        for message, values in lines:
            logger.info(message, *values)

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A reading transaction."""
        with self._translated(), self._reader.begin() as connection:
            yield connection

    def rows(self, query: sa.Select[Any], values: Mapping[str, object] | None = None) -> Sequence[sa.Row[Any]]:
        """What a query finds, in a transaction of its own; `values` are those of its parameters."""
        with self.read() as connection:
            return connection.execute(query, values).all()

    def rows_among(
        self, query: sa.Select[Any], column: sa.ColumnElement[Any], values: Sequence[object]
    ) -> list[sa.Row[Any]]:
        """What a query finds where `column` is one of many values, a few hundred values at a time."""
        found: list[sa.Row[Any]] = []
        with self.read() as connection:
            for part in parts(values):
                found += connection.execute(query.where(column.in_(part)))
        return found

    def lock(self, connection: sa.Connection, name: str) -> None:
        """Hold a named lock until the transaction ends; SQLite's writer lock already is one."""
        if not self.is_sqlite:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(name))))

    def hold(self, name: str) -> sa.Connection | None:
        """A connection that has a named lock until it is closed or lost; None while another one has it.

        PostgreSQL only. Keepalives tell the server when this machine breaks down, and the lock is free again.
        """
        with self._translated():
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            try:
                connection.detach()  # closing it ends it: the pool would keep the lock
                for setting, value in (("idle", 30), ("interval", 10), ("count", 3)):
                    connection.exec_driver_sql(f"SET tcp_keepalives_{setting} = {value}")
                if connection.scalar(sa.select(sa.func.pg_try_advisory_lock(sa.func.hashtext(name)))):
                    return connection
            except BaseException:
                connection.close()
                raise
            connection.close()
            return None

    def _create_engine(self, busy_timeout_s: float) -> sa.Engine:
        if not self.is_sqlite:
            try:
                return sa.create_engine(self.url, pool_pre_ping=True, connect_args={"connect_timeout": 10})
            except (sa_exc.NoSuchModuleError, ImportError) as error:
                raise LedgerUnavailable(
                    f"no driver for {self.shown_url}: {error}; install it with: pip install 'qjobs[postgresql]'"
                ) from error
        name = self.url.database or ":memory:"
        if name != ":memory:" and not name.startswith("file:"):  # a file: URI is SQLite's own to read
            folder = Path(name).expanduser().absolute()
            self.url = self.url.set(database=str(folder))
            try:
                private_folder(folder.parent)
            except OSError as error:
                raise LedgerUnavailable(
                    f"the {self._schema.what}'s folder {folder.parent} cannot be made: {error.strerror}; "
                    f"set {self._schema.setting} to a place where you may write"
                ) from error
            _keep_private(folder)
        engine = sa.create_engine(self.url, connect_args={"timeout": busy_timeout_s})
        sa_event.listen(engine, "connect", lambda connection, _: _prepare_sqlite(connection, busy_timeout_s))
        sa_event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _set_up(self) -> None:
        with self.read() as connection:
            known = set(sa.inspect(connection).get_table_names())
        schema = self._schema
        if schema.meta.name not in known:
            self._check_empty(known)
            self._make()
        found = self._found()
        if schema.upgrade is not None and schema.oldest is not None and schema.oldest <= found < schema.version:
            self._upgrade(schema.upgrade, schema.oldest)
            found = self._found()
        if found != schema.version:
            older = found < schema.version
            raise LedgerSchemaMismatch(
                f"the {schema.what} at {self.shown_url} has schema version {found} and this qjobs works with "
                f"{schema.version}; " + (schema.older if older else "upgrade qjobs to the version that wrote it"),
                found=found,
                expected=schema.version,
            )

    def _check_empty(self, known: set[str]) -> None:
        """Refuse the database of another program."""
        schema = self._schema
        if known >= _PREFECT_TABLES:
            raise LedgerUnavailable(
                f"{self.shown_url} is Prefect's own database; give the {schema.what} a database of its own"
            )
        if foreign := sorted(known & set(schema.metadata.tables)):
            raise LedgerUnavailable(
                f"{self.shown_url} belongs to another program (it has tables {', '.join(foreign)}); "
                f"give the {schema.what} a database of its own"
            )

    def _make(self) -> None:
        """Make the tables, unless another process just did."""
        schema = self._schema
        with self.write() as connection:
            self.lock(connection, _SET_UP)
            schema.metadata.create_all(connection)
            if self._version(connection) is None:
                row = {"name": _VERSION, "value": str(schema.version)}
                connection.execute(schema.meta.insert(), row)
                if schema.made is not None:
                    schema.made(connection)
                log_after_commit(connection, "made a new %s at %s", schema.what, self.shown_url)

    def _upgrade(self, upgrade: Callable[[sa.Connection, int], None], oldest: int) -> None:
        """Upgrade in one transaction, unless another process just did; SQLite's file is copied first."""
        schema = self._schema
        copies: list[Path] = []
        try:
            with (
                self._translated(),
                self._engine.connect() as connection,
                _without_foreign_keys(connection),
                connection.begin(),
            ):
                self.lock(connection, _SET_UP)
                found = self._version(connection) or 0
                if not oldest <= found < schema.version:
                    return
                if self.is_sqlite:
                    copies += _copies_of(connection, f".schema-{found}.bak")
                upgrade(connection, found)
                row = schema.meta.update().where(schema.meta.c.name == _VERSION)
                connection.execute(row.values(value=str(schema.version)))
                self._check_foreign_keys(connection)
        except BaseException:
            for copy in copies:
                copy.unlink(missing_ok=True)  # nothing was changed
            raise
        kept = "".join(f"; as it was it is kept in {copy}" for copy in copies)
        words = "upgraded the %s at %s from schema %d to %d%s"
        logger.info(words, schema.what, self.shown_url, found, schema.version, kept)

    def _check_foreign_keys(self, connection: sa.Connection) -> None:
        if self.is_sqlite and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
            raise LedgerUnavailable(
                f"the {self._schema.what} {self.shown_url} has rows of jobs that are not there; it is left as it was, "
                "and cannot be upgraded"
            )

    def _found(self) -> int:
        with self.read() as connection:
            return self._version(connection) or 0

    def _version(self, connection: sa.Connection) -> int | None:
        meta = self._schema.meta
        value = connection.scalar(sa.select(meta.c.value).where(meta.c.name == _VERSION))
        return None if value is None else int(value)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """The one table from database errors to ours."""
        try:
            yield
        except sa_exc.IntegrityError:
            raise
        except sa_exc.DBAPIError as error:
            raise self._error_of(error) from error
        except sa_exc.TimeoutError as error:
            raise LedgerAway(
                f"all connections to the {self._schema.what} {self.shown_url} are in use; "
                "use fewer threads or run it again"
            ) from error
        except sa_exc.StatementError as error:
            if isinstance(error.orig, InvalidInput):
                raise error.orig from None
            raise

    def _error_of(self, error: sa_exc.DBAPIError) -> LedgerError:
        words = str(error.orig).strip()
        lower = words.lower()
        where = self.shown_url
        what = self._schema.what
        if "disk is full" in lower or "no space left" in lower or "disk i/o error" in lower:
            return StorageFull(f"no room to write to the {what} {where} ({words}); free some space and run it again")
        if "locked" in lower or "lock timeout" in lower:
            return LedgerAway(
                f"the {what} {where} is locked by another program ({words}); close what holds it and run it again"
            )
        if "not a database" in lower or "malformed" in lower:
            return LedgerUnavailable(
                f"{where} is not a qjobs {what} ({words}); set {self._schema.setting} to another path"
            )
        if "readonly" in lower or "unable to open" in lower or "permission denied" in lower:
            return LedgerUnavailable(f"the {what} {where} cannot be written ({words}); check its permissions")
        if not self.is_sqlite and _may_come_back(error, lower):
            return LedgerAway(
                f"the {what} {where} cannot be used now: {words}; see that its server runs and can be reached, and "
                "run it again"
            )
        return LedgerUnavailable(
            f"the {what} {where} cannot be used: {words}; see that its URL is right and its server lets you in"
        )


def _keep_private(file: Path) -> None:
    """Let nobody else read the database; SQLite gives the files beside it the same permissions."""
    with contextlib.suppress(OSError):  # the error comes when it is opened
        private_file(file)
        for each in (file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}-shm")):
            if each.exists():
                private_file(each)


def _may_come_back(error: sa_exc.DBAPIError, words: str) -> bool:
    """Whether PostgreSQL can be used again without a change: it restarts, is full, or cannot be reached now.

    Codes are those of PostgreSQL's manual, appendix A. A connection that is not made has none; the server's own words
    then tell a refusal for good from one for now.
    """
    code = getattr(error.orig, "sqlstate", None)
    if code is not None:
        return code[:2] in _AWAY_CLASSES or code in _AWAY_CODES
    lost = isinstance(error, sa_exc.OperationalError | sa_exc.InterfaceError) or error.connection_invalidated
    return lost and not any(refusal in words for refusal in _REFUSED_FOR_GOOD)


def _copies_of(connection: sa.Connection, suffix: str) -> list[Path]:
    """A copy of SQLite's file beside it, as it is before this transaction; none where there is no file."""
    rows = connection.exec_driver_sql("PRAGMA database_list").all()
    name = next((row[2] for row in rows if row[1] == "main"), "")
    if not name:
        return []
    target = Path(name + suffix)
    number = 1
    while target.exists():  # of an upgrade before this one: whoever put the old file back may need it
        number += 1
        target = Path(f"{name}{suffix}.{number}")
    with contextlib.suppress(OSError):  # the copy says what is wrong
        private_file(target)
    try:
        with contextlib.closing(sqlite3.connect(name)) as source, contextlib.closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
    except sqlite3.Error as error:
        target.unlink(missing_ok=True)
        raise StorageFull(
            f"{name} is not upgraded, because no copy of it can be kept at {target} ({error}); make some room there "
            "and run it again"
        ) from error
    return [target]


@contextlib.contextmanager
def _without_foreign_keys(connection: sa.Connection) -> Iterator[None]:
    """SQLite changes a table by making it anew, and must not miss the old one's rows meanwhile."""
    if connection.dialect.name != "sqlite":
        yield
        return
    plain = connection.connection.driver_connection
    assert isinstance(plain, sqlite3.Connection)  # noqa: S101 - for the type
    plain.execute("PRAGMA foreign_keys=OFF").close()  # it does nothing inside a transaction
    try:
        yield
    finally:
        plain.execute("PRAGMA foreign_keys=ON").close()


def _prepare_sqlite(connection: sqlite3.Connection, busy_timeout_s: float) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    deadline = time.monotonic() + busy_timeout_s
    try:
        while True:
            try:
                cursor.execute("PRAGMA journal_mode=WAL")
                break
            except sqlite3.OperationalError as error:
                # SQLite does not wait for others while it changes the mode of a new file (SQLITE_BUSY at once).
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        for pragma in ("synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
    finally:
        cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    reading = connection.get_execution_options().get(_READ, False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
