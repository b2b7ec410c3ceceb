"""Ledgers of an older schema are upgraded when they are opened, once, and are then like new ones."""

from __future__ import annotations

import multiprocessing
import re
import shutil
import sqlite3
import traceback
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from support import NOW, a_spec, check_history, claim, observe, raw, whole

from qjobs.errors import LedgerUnavailable, StorageFull
from qjobs.ledger import Ledger, database, migrations, tables
from qjobs.lifecycle import JobStatus
from qjobs.model import RemoteId

FOLDER = Path(__file__).parents[1] / "ledgers"
S = JobStatus


def put_old_ledger(url: str) -> None:
    """Put a ledger of schema 4 there."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        shutil.copy(FOLDER / "ledger_schema_4.db", str(parsed.database))
        return
    import psycopg

    plain = parsed.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain) as connection:
        connection.execute((FOLDER / "ledger_schema_4.sql").read_text(encoding="utf-8"))


@pytest.fixture
def old_url(ledger_url: str) -> str:
    put_old_ledger(ledger_url)
    return ledger_url


@pytest.fixture
def old_file(tmp_path: Path) -> Path:
    path = tmp_path / "old.db"
    put_old_ledger(f"sqlite:///{path}")
    return path


def rows_of(url: str, table: str) -> list[dict[str, Any]]:
    """Rows as the database has them, past every type of ours."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        key = "job_id, number" if table == "attempt" else "job_id"
        return [dict(row._mapping) for row in connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY {key}")]


def properties_of(row: dict[str, Any]) -> dict[str, Any]:
    import json

    found = row["properties"]
    return json.loads(found) if isinstance(found, str) else found


def test_jobs(old_url: str) -> None:
    """What is new of jobs and attempts is made of what was there, and nothing else is changed."""
    jobs = rows_of(old_url, "job")
    attempts = rows_of(old_url, "attempt")
    with Ledger(old_url) as ledger:
        assert {str(job.status) for job in ledger.jobs()} == set(S) - {S.LOST}
        for job in ledger.jobs():
            check_history(ledger, job.job_id)
    for before, after in zip(jobs, rows_of(old_url, "job"), strict=True):
        same = before.keys() - {"properties"}
        assert {name: after[name] for name in same} == {name: before[name] for name in same}
        properties = properties_of(before)
        assert after["opened_as"] == properties.pop("backend_name", "")
        assert after["definition"] == properties.pop("definition", "")
        assert properties_of(after) == properties
        assert (after["logical_run"], after["fingerprint"], after["compiled_with"]) == (before["run"], "", "")
    created = {row["job_id"]: row["created_at"] for row in jobs}
    for before, after in zip(attempts, rows_of(old_url, "attempt"), strict=True):
        assert {name: after[name] for name in before} == before
        assert after["claimed_at"] == (before["sent_at"] or created[before["job_id"]])
        assert not after["by_item"]
        assert (after["awaited"], after["awaited_times"]) == (None, 0)


def test_jobs_are_alive(old_url: str) -> None:
    """Open jobs go on where they were: a lost reply is found, a queue is left, a lease runs out, points are planned."""
    with Ledger(old_url) as ledger:
        jobs = {job.name: job for job in ledger.jobs()}
        assert jobs["rabi 1/3"].opened_as.startswith("nexus")
        assert jobs["rabi 1/3"].definition
        (unknown,) = ledger.attempts(jobs["lost and findable"].job_id)
        ledger.submissions.accept(unknown, RemoteId("found"), now=NOW.replace(year=2027))
        queued = ledger.attempts(jobs["rabi 3/3"].job_id)[-1]
        assert observe(ledger, queued.job_id, queued.number, whole(S.RUNNING), now=NOW.replace(year=2027)) is S.RUNNING
        claim(ledger, jobs["rabi"].job_id, now=NOW.replace(year=2027))
        submitting = jobs["submitting"].job_id
        assert submitting in ledger.submissions.expire_leases(now=NOW.replace(year=2028))
        assert ledger.job(submitting).status is S.UNKNOWN, "it may have been sent"
        for job in ledger.jobs():
            check_history(ledger, job.job_id)


def shape(url: str) -> dict[str, Any]:
    """Tables with their columns, keys, checks and indexes, as the database tells of them."""
    inspector = sa.inspect(sa.create_engine(url, poolclass=sa.NullPool))
    is_sqlite = url.startswith("sqlite")
    found: dict[str, Any] = {}
    for table in inspector.get_table_names():
        columns = {
            column["name"]: (str(column["type"]), column["nullable"], plain(column["default"]))
            for column in inspector.get_columns(table)
        }
        foreign = {
            (*key["constrained_columns"], key["referred_table"], *key["referred_columns"])
            for key in inspector.get_foreign_keys(table)
        }
        checks = {(check["name"], check["sqltext"]) for check in inspector.get_check_constraints(table)}
        indexes = {
            (index["name"], *index["column_names"], bool(index["unique"]), *condition(index))
            for index in inspector.get_indexes(table)
            if is_sqlite or not index.get("duplicates_constraint")
        }
        unique = {tuple(key["column_names"]) for key in inspector.get_unique_constraints(table)}
        primary = tuple(inspector.get_pk_constraint(table)["constrained_columns"])
        found[table] = (columns, foreign, checks, indexes, unique, primary)
    return found


def condition(index: dict[str, Any]) -> list[str]:
    """The words of an index's condition: a dump writes it in another way than the statement that made it."""
    text = " ".join(str(value) for name, value in index.get("dialect_options", {}).items() if name.endswith("where"))
    return re.findall(r"'[A-Z]+'|\w+ IS (?:NOT )?NULL", text)


def plain(default: str | None) -> str | None:
    """A default without the brackets and quotes with which one statement writes it and another does not."""
    return None if default is None else default.replace("::text", "").strip("()'") or "''"


def test_like_new(ledger_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The migrated tables are those that a new ledger has."""
    import postgresql

    with Ledger(ledger_url):
        new = shape(ledger_url)
    if ledger_url.startswith("sqlite"):
        other = f"sqlite:///{tmp_path / 'old.db'}"
        put_old_ledger(other)
        with Ledger(other):
            migrated = shape(other)
    else:
        with postgresql.database(request.getfixturevalue("postgresql_url")) as other:
            put_old_ledger(other)
            with Ledger(other):
                migrated = shape(other)
    assert migrated.keys() == new.keys()
    for name in new:
        for one, another in zip(migrated[name], new[name], strict=True):
            assert one == another, name


def test_newest_migration(ledger: Ledger) -> None:
    """A new ledger is where the migrations end, so that the next one finds its place."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    heads = ScriptDirectory.from_config(config).get_heads()
    assert heads == [str(tables.SCHEMA_VERSION)]
    with Ledger("sqlite://") as new:
        assert [row.version_num for row in new._db.rows(sa.select(tables.LEDGER_REVISION))] == heads


def test_its_own_id(old_url: str) -> None:
    """A ledger gets its id when it is upgraded, and keeps it."""
    ids = set()
    for _ in range(2):
        with Ledger(old_url) as ledger:
            ids.add(ledger.ledger_id)
    assert [len(each) for each in ids] == [32]


def test_from_schema_8(old_file: Path) -> None:
    """What schema 8 had sent and planned has no fingerprint: it goes on, and is sent whatever the rule."""
    from alembic import command
    from alembic.config import Config
    from scripted import ScriptedBackend

    from qjobs import submit
    from qjobs.model import OnRecalibration
    from qjobs.operations.retry import RetryPolicy

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    engine = sa.create_engine(f"sqlite:///{old_file}", poolclass=sa.NullPool)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.stamp(config, "4", purge=True)
        command.upgrade(config, "8")
        connection.exec_driver_sql("UPDATE ledger_meta SET value = '8' WHERE name = 'schema_version'")
    attempts = rows_of(f"sqlite:///{old_file}", "attempt")
    with Ledger(f"sqlite:///{old_file}") as ledger:
        jobs = {job.name: job for job in ledger.jobs()}
        (sent,) = ledger.attempts(jobs["rabi 1/3"].job_id)
        assert (sent.compiled_on, sent.submitted_on, sent.results_on) == (None, None, None)
        assert not ledger.calibrations.seen([job.job_id for job in jobs.values()])
        job = jobs["rabi"]
        backend = ScriptedBackend(name=job.backend)
        backend.device = job.device
        policy = RetryPolicy(rungs=(), on_recalibration=OnRecalibration.FAIL)
        submit(ledger, backend, job.job_id, policy=policy)
        assert len(backend.jobs) == 1
        assert ledger.attempts(job.job_id)[-1].submitted_on is not None
    for before, after in zip(attempts, rows_of(f"sqlite:///{old_file}", "attempt"), strict=False):
        assert {name: after[name] for name in before} == before or after["job_id"] == job.job_id


def _open(url: str, barrier: Any, replies: Any) -> None:
    try:
        barrier.wait(60)
        with Ledger(url) as ledger:
            ledger.create([a_spec("the same")], now=NOW)
            replies.put((ledger.ledger_id, len(ledger.jobs())))
    except BaseException:
        replies.put(traceback.format_exc())
        raise


def test_open_at_once(old_url: str, tmp_path: Path) -> None:
    """Processes that open an old ledger at once upgrade it once."""
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    barrier = context.Barrier(4)
    replies = context.Queue()
    workers = [context.Process(target=_open, args=(old_url, barrier, replies)) for _ in range(4)]
    for worker in workers:
        worker.start()
    found = [replies.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert len(set(found)) == 1, found
    assert found[0][1] == 33
    copies = list(tmp_path.glob("*.bak*"))
    assert len(copies) == (1 if old_url.startswith("sqlite") else 0)


def test_copy(old_file: Path) -> None:
    """The file as it was is kept beside it, with what another process had just written; an older copy stays."""
    (old_file.parent / "old.db.schema-4.bak").write_text("of an upgrade before")
    other = sqlite3.connect(old_file, isolation_level=None)
    other.execute("PRAGMA journal_mode=WAL")
    other.execute("UPDATE job SET message = 'just written' WHERE name = 'parked'")
    with Ledger(f"sqlite:///{old_file}") as ledger:
        assert len(ledger.jobs()) == 32
    other.close()
    assert (old_file.parent / "old.db.schema-4.bak").read_text() == "of an upgrade before"
    with sqlite3.connect(old_file.parent / "old.db.schema-4.bak.2") as copy:
        assert copy.execute("SELECT value FROM ledger_meta WHERE name = 'schema_version'").fetchone() == ("4",)
        assert copy.execute("SELECT message FROM job WHERE name = 'parked'").fetchone() == ("just written",)
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    copy.close()


def contents(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), sa.exc.OperationalError("x", {}, Exception("disk is full"))])
def test_all_or_nothing(old_file: Path, error: BaseException) -> None:
    """An upgrade that fails leaves the ledger as it was, without a copy, and can be done again."""
    before = contents(old_file)

    def breaks(*_: object) -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database.Database, "_check_foreign_keys", breaks)
        with pytest.raises((KeyboardInterrupt, StorageFull)):
            Ledger(f"sqlite:///{old_file}")
    assert contents(old_file) == before
    assert list(old_file.parent.glob("*.bak*")) == []
    with Ledger(f"sqlite:///{old_file}") as ledger:
        assert len(ledger.jobs()) == 32


def test_orphans(old_file: Path) -> None:
    """A ledger with rows of jobs that are not there is not upgraded."""
    with sqlite3.connect(old_file) as connection:
        connection.execute("UPDATE event SET job_id = 'job-0' WHERE id = 1")
    connection.close()
    with pytest.raises(LedgerUnavailable, match="left as it was"):
        Ledger(f"sqlite:///{old_file}")


def test_foreign_keys_after(old_file: Path) -> None:
    """The connection that upgraded refuses rows of jobs that are not there again."""
    with Ledger(f"sqlite:///{old_file}") as ledger:
        row = {"job_id": "job-0", "remote_id": "r", "why": "", "found_at": NOW}
        with pytest.raises(sa.exc.IntegrityError):
            raw(ledger, tables.STRAY.insert(), row)


def test_no_room_for_a_copy(old_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no copy can be kept, nothing is upgraded."""
    before = contents(old_file)
    connect = sqlite3.connect

    def refused(name: Any, *args: Any, **values: Any) -> sqlite3.Connection:
        if str(name).endswith(".bak"):
            raise sqlite3.OperationalError("unable to open database file")
        return connect(name, *args, **values)

    monkeypatch.setattr(database.sqlite3, "connect", refused)
    with pytest.raises(StorageFull, match="no copy of it can be kept"):
        Ledger(f"sqlite:///{old_file}")
    monkeypatch.undo()
    assert contents(old_file) == before
