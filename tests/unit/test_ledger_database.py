"""Opening a ledger's database: whose it is, which version it has, and what is wrong with it."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import subprocess
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from support import NOW, a_program, a_spec, check_history, claim, counts, create, raw, sent

from qjobs.errors import InvalidInput, JobNotFound, LedgerAway, LedgerSchemaMismatch, LedgerUnavailable, StorageFull
from qjobs.ledger import Ledger, tables
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId
from qjobs.paths import ledger_url as default_url


def message_of(error: BaseException) -> str:
    """All that a user could see of an error."""
    return "".join(traceback.format_exception(error))


def test_open_again(ledger_url: str) -> None:
    """What one connection wrote, every other one reads; closing twice does no harm."""
    with Ledger(ledger_url) as first:
        job_id = create(first)
        with Ledger(ledger_url) as second:
            assert second.job(job_id) == first.job(job_id)
    with Ledger(ledger_url) as third:
        assert third.job(job_id).status is JobStatus.CREATED
        third.close()
        third.close()


@pytest.mark.parametrize("version", [0, tables.OLDEST_VERSION - 1, tables.SCHEMA_VERSION + 1, 99])
def test_another_version(ledger_url: str, version: int) -> None:
    """A ledger of another schema version is refused, with what to do about it."""
    advice = "start a new ledger" if version < tables.SCHEMA_VERSION else "upgrade qjobs"
    with Ledger(ledger_url) as ledger:
        row = tables.LEDGER_META.c.name == "schema_version"
        raw(ledger, tables.LEDGER_META.update().where(row).values(value=str(version)))
    with pytest.raises(LedgerSchemaMismatch, match=f"schema version {version} .*{advice}") as caught:
        Ledger(ledger_url)
    assert (caught.value.found, caught.value.expected) == (version, tables.SCHEMA_VERSION)


@pytest.mark.parametrize(
    ("names", "words"),
    [(["block_document", "flow_run"], "Prefect's own database"), (["job"], r"another program.*job")],
    ids=["prefect", "another"],
)
def test_another_program(ledger_url: str, names: list[str], words: str) -> None:
    """Another program's database is refused and left as it was."""
    engine = sa.create_engine(ledger_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        for name in names:
            connection.exec_driver_sql(f"CREATE TABLE {name} (id INTEGER)")
    with pytest.raises(LedgerUnavailable, match=words):
        Ledger(ledger_url)
    assert sorted(sa.inspect(engine).get_table_names()) == names


def _open_at_once(url: str, barrier: object, replies: object) -> None:
    try:
        barrier.wait(60)
        with Ledger(url) as ledger:
            replies.put(ledger.create([a_spec("the same")], now=NOW)[0])
    except BaseException:
        replies.put(traceback.format_exc())
        raise


def test_open_at_once(ledger_url: str) -> None:
    """Processes that open a new ledger at once share it."""
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    barrier = context.Barrier(4)
    replies = context.Queue()
    workers = [context.Process(target=_open_at_once, args=(ledger_url, barrier, replies)) for _ in range(4)]
    for worker in workers:
        worker.start()
    found = [replies.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert len(set(found)) == 1, found
    with Ledger(ledger_url) as ledger:
        assert [job.job_id for job in ledger.jobs()] == found[:1]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:hunter2@127.0.0.1:1/db",
        "postgresql+psycopg://user:hunter2@127.0.0.1:1/db?sslmode=disable",
        "postgresql+psycopg://user@127.0.0.1:1/db?password=hunter2",
        "nosuchdatabase://user:hunter2@host/db",
        "postgresql://user:hunter2@host:notaport/db",
        "user:hunter2@host",
    ],
)
def test_no_password(url: str) -> None:
    """No message about a URL shows its password."""
    with pytest.raises(LedgerUnavailable) as caught:
        Ledger(url)
    assert "hunter2" not in message_of(caught.value)
    assert str(caught.value)


def test_no_password_of_a_server(postgresql_url: str) -> None:
    """No message of a real server shows the password."""
    url = sa.make_url(postgresql_url).set(password="hunter2", database="no_such_database")
    with pytest.raises(LedgerUnavailable, match="no_such_database") as caught:
        Ledger(url.render_as_string(hide_password=False))
    assert "hunter2" not in message_of(caught.value)
    url = sa.make_url(postgresql_url).set(password="hunter2")
    with Ledger(url.render_as_string(hide_password=False)) as ledger:
        assert "hunter2" not in ledger.url
        with pytest.raises(JobNotFound) as lost:
            ledger.job(JobId("job-0"))
    assert "hunter2" not in str(lost.value)


def test_default_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A ledger without a URL is where the settings say, else in the data directory."""
    for name in ("QJOBS_LEDGER", "QJOBS_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert default_url().startswith("sqlite:////")
    monkeypatch.setenv("QJOBS_HOME", str(tmp_path / "home"))
    assert default_url() == f"sqlite:///{tmp_path}/home/ledger.db"
    monkeypatch.setenv("QJOBS_LEDGER", str(tmp_path / "a" / "b.db"))
    with pytest.raises(InvalidInput, match=r"no ledger at .*b\.db \(QJOBS_LEDGER\)"):
        Ledger()
    with Ledger(default_url(create=True)) as ledger:
        create(ledger)
    with Ledger() as ledger:
        assert ledger.jobs()
    assert (tmp_path / "a" / "b.db").exists()
    monkeypatch.setenv("QJOBS_LEDGER", "postgresql://host/db")
    assert default_url() == "postgresql://host/db"


def check_refused(path: Path, words: str, **values: float) -> None:
    with pytest.raises(LedgerUnavailable, match=words) as caught:
        Ledger(f"sqlite:///{path}", **values)
    assert str(path) in str(caught.value)


def test_no_database(tmp_path: Path) -> None:
    """A file that is no database is refused and left as it was."""
    path = tmp_path / "ledger.db"
    path.write_bytes(b"a shopping list\n" * 100)
    check_refused(path, "is not a qjobs ledger")
    assert path.read_bytes() == b"a shopping list\n" * 100


def test_no_file(tmp_path: Path) -> None:
    """A place where no file can be is refused, with the setting that names another."""
    check_refused(tmp_path, "cannot be written.*permissions")
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerUnavailable, match=r"folder .*/file cannot be made: .*QJOBS_LEDGER"):
        Ledger(f"sqlite:///{tmp_path / 'file' / 'ledger.db'}")


def test_read_only(tmp_path: Path) -> None:
    """A ledger that cannot be written says so (SQLite's own read-only mode holds for root too)."""
    path = tmp_path / "ledger.db"
    with Ledger(f"sqlite:///{path}") as ledger:
        job_id = create(ledger)
    url = f"sqlite:///file:{path}?mode=ro&uri=true"
    with pytest.raises(LedgerUnavailable, match="cannot be written"), Ledger(url) as ledger:
        create(ledger, "more")
    with Ledger(f"sqlite:///{path}") as ledger:
        assert [job.job_id for job in ledger.jobs()] == [job_id]


def test_truncated(tmp_path: Path) -> None:
    """A ledger of which half is missing is no ledger."""
    path = tmp_path / "ledger.db"
    with Ledger(f"sqlite:///{path}") as ledger:
        ledger.create([a_spec(f"k{n}") for n in range(20)], now=NOW)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(LedgerUnavailable, match="is not a qjobs ledger"), Ledger(f"sqlite:///{path}") as ledger:
        ledger.jobs()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Another program that uses `ledger.db`."""
    connection = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def test_locked(tmp_path: Path, other: sqlite3.Connection) -> None:
    """What another program locks can be read, and is waited for no longer than the timeout."""
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", busy_timeout_s=0.05) as ledger:
        job_id = create(ledger)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerAway, match="locked by another program"):
            claim(ledger, job_id)
        assert ledger.job(job_id).status is JobStatus.CREATED
        other.execute("ROLLBACK")
        claim(ledger, job_id)


def test_new_and_locked(tmp_path: Path, other: sqlite3.Connection) -> None:
    """A new ledger that is locked is waited for no longer either."""
    other.execute("BEGIN EXCLUSIVE")
    check_refused(tmp_path / "ledger.db", "locked by another program", busy_timeout_s=0.05)


def fill(ledger: Ledger) -> list[JobId]:
    """Create jobs until there is no room."""
    made: list[JobId] = []

    def create_many() -> None:
        for n in range(200):
            made.append(create(ledger, f"big-{n}", program=a_program(os.urandom(20_000).hex())))

    with pytest.raises(StorageFull, match=r"no room to write.*free some space"):
        create_many()
    return made


def check_intact(ledger: Ledger, job_id: JobId, made: list[JobId]) -> None:
    assert ledger.results(job_id) == {0: counts(b00=3)}
    assert {job.job_id for job in ledger.jobs()} == {job_id, *made}
    for known in (job_id, *made):
        check_history(ledger, known)


def with_a_result(ledger: Ledger) -> JobId:
    job_id, attempt = sent(ledger)
    ledger.store_results(job_id, attempt, {0: counts(b00=3)}, now=NOW)
    return job_id


def test_no_more_pages(tmp_path: Path) -> None:
    """What is written before the database is full stays, and work goes on when there is room."""
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        job_id = with_a_result(ledger)
        engine = ledger._db._engine
        engine.dispose()
        sa.event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA max_page_count = 200").close())
        made = fill(ledger)
        check_intact(ledger, job_id, made)
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        check_intact(ledger, job_id, made)
        create(ledger, "there is room again")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "qjobs-test", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False) if os.geteuid() == 0 else None
    if done is None or done.returncode != 0:
        pytest.skip("a small file system can only be mounted by root; test_no_more_pages covers the message")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_full_disk(small_disk: Path) -> None:
    """A full disk loses nothing, and work goes on when there is room."""
    url = f"sqlite:///{small_disk / 'ledger.db'}"
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 200_000)
    with Ledger(url) as ledger:
        job_id = with_a_result(ledger)
        made = fill(ledger)
        check_intact(ledger, job_id, made)
        ballast.unlink()
        made.append(create(ledger, "there is room again"))
    with Ledger(url) as ledger:
        check_intact(ledger, job_id, made)
