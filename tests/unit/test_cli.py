"""The `qjobs` command: jobs, doctor, and ledgers that cannot be used."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from support import NOW, SWEEP, claim, create, jobs_in

from qjobs.ledger import Ledger

Said = tuple[int, str, str]


def test_list(ran: dict[str, object], qjobs: Callable[..., Said], home: Path) -> None:
    """The list shows every job with its progress, as text and as JSON."""
    (job_id,) = jobs_in(home)
    code, out, _ = qjobs("jobs", "list")
    assert code == 0
    assert all(word in out for word in (job_id, "COMPLETED", "2/2", "aer_simulator"))
    code, out, _ = qjobs("jobs", "list", "--json")
    (shown,) = json.loads(out)
    assert (shown["job_id"], shown["results"], shown["status"], shown["experiment"]) == (job_id, 2, "COMPLETED", "s")


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (["--status", "completed"], 1),
        (["--status", "ERROR"], 0),
        (["--status", "ERROR", "--status", "COMPLETED"], 1),
        (["--experiment", "s"], 1),
        (["--experiment", "t"], 0),
        (["--backend", "aer"], 1),
        (["--backend", "nexus"], 0),
        (["--limit", "1", "--page", "2"], 0),
    ],
)
def test_list_filters(ran: dict[str, object], qjobs: Callable[..., Said], filters: list[str], count: int) -> None:
    """Each filter of the list holds."""
    code, out, _ = qjobs("jobs", "list", "--json", *filters)
    assert code == 0
    assert len(json.loads(out)) == count


def test_show(ran: dict[str, object], qjobs: Callable[..., Said], home: Path) -> None:
    """A job is shown with its attempts, items and history; the beginning of its id is enough."""
    (job_id,) = jobs_in(home)
    code, out, _ = qjobs("jobs", "show", job_id[:12], "--items", "1")
    assert code == 0
    assert all(word in out for word in (job_id, "SUBMITTING", "history", "the first 1 of 2"))
    code, out, _ = qjobs("jobs", "show", job_id, "--json")
    shown = json.loads(out)
    assert shown["job"]["job_id"] == job_id
    assert [len(shown[part]) for part in ("attempts", "items")] == [1, 2]
    assert shown["attempts"][0]["remote_id"].startswith("aer-")
    assert shown["events"][0]["cause"] == "plan"
    remote_id = shown["attempts"][0]["remote_id"]
    assert remote_id in qjobs("jobs", "show", job_id)[1]  # in full, in a pipe


def test_results(ran: dict[str, object], qjobs: Callable[..., Said], home: Path, tmp_path: Path) -> None:
    """Results are printed as counts, as JSON and to Parquet."""
    (job_id,) = jobs_in(home)
    code, out, _ = qjobs("jobs", "results", job_id, "--json")
    assert code == 0
    assert [one["result"]["counts"] for one in json.loads(out)] == [{"0": 50}, {"1": 50}]
    code, out, _ = qjobs("jobs", "results", job_id[:10])
    assert code == 0
    assert "1: 50" in out
    code, out, _ = qjobs("jobs", "results", job_id, "--parquet", tmp_path / "r.parquet")
    assert code == 0
    assert len(pd.read_parquet(tmp_path / "r.parquet")) == 2


def test_markup(qjobs: Callable[..., Said], tmp_path: Path) -> None:
    """What a provider says is printed as it is."""
    words = "[red] and [/nothing] :smile: t[0]"
    with Ledger(f"sqlite:///{tmp_path / 'l.db'}") as ledger:
        job_id = create(ledger)
        ledger.submissions.reject(claim(ledger, job_id), words, now=NOW)
    code, out, _ = qjobs("jobs", "show", job_id, "--ledger", tmp_path / "l.db")
    assert code == 0
    assert words in out
    code, out, _ = qjobs("jobs", "results", job_id, "--ledger", tmp_path / "l.db")
    assert code == 0
    assert words in out


def test_ids(qjobs: Callable[..., Said], tmp_path: Path) -> None:
    """A beginning that is ambiguous, too short or unknown is refused."""
    path = tmp_path / "ledger.db"
    with Ledger(f"sqlite:///{path}") as ledger:
        create(ledger, "a"), create(ledger, "b")
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE job SET job_id = 'job-aaaaaa' || substr(job_id, 11)")
    code, _, err = qjobs("jobs", "show", "job-aaaa", "--ledger", path)
    assert code == 2
    assert "2 job ids" in err
    for given in ("job-00000000", "job-aaa"):  # unknown; too short to be a beginning
        code, _, err = qjobs("jobs", "results", given, "--ledger", path)
        assert code == 1
        assert f"has no job {given}" in err


@pytest.mark.parametrize(
    ("words", "known"),
    [
        (["list", "--status", "FINISHED"], "COMPLETED"),
        (["retry", "job-nope", "--status", "FINISHED"], "COMPLETED"),
        (["retry", "job-nope", "--strategy", "FINISHED"], "one of DEFAULT, ALLOW_RESUBMIT"),
        (["list", "--limit", "FINISHED"], "whole number"),
        (["retry", "job-nope", "--max-cost", "FINISHED"], "number"),
        (["FINISHED"], "see: qjobs jobs --help"),
        (["list", "--FINISHED"], "see: qjobs jobs list --help"),
    ],
)
def test_words_that_do_not_fit(
    qjobs: Callable[..., Said], capsys: pytest.CaptureFixture[str], words: list[str], known: str
) -> None:
    """A word that does not fit is refused in one line, with those that do."""
    with pytest.raises(SystemExit) as caught:
        qjobs("jobs", *words)
    out, err = capsys.readouterr()
    assert (caught.value.code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    assert "FINISHED" in err
    assert known in err


def test_doctor(qjobs: Callable[..., Said], tmp_path: Path) -> None:
    """A healthy installation passes every check."""
    code, out, _ = qjobs("doctor")
    assert code == 0
    assert "FAIL" not in out
    code, out, _ = qjobs("doctor", "--json", "--ledger", tmp_path / "another.db", "--create")
    assert code == 0
    assert all(check["ok"] and check["words"] for check in json.loads(out))
    assert (tmp_path / "another.db").exists()


def test_doctor_fails(qjobs: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor names each check that fails."""
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("QJOBS_HOME", str(tmp_path / "file"))
    code, out, _ = qjobs("doctor")
    assert code == 1
    assert "FAIL data directory" in out
    assert "FAIL ledger" in out
    assert "ok   python" in out


@pytest.mark.parametrize("arguments", [[], ["jobs"], ["plan"], ["bogus"], ["jobs", "list", "--limit", "many"]])
def test_usage(qjobs: Callable[..., Said], arguments: list[str]) -> None:
    """A command line that cannot be read ends with code 2."""
    with pytest.raises(SystemExit) as caught:
        qjobs(*arguments)
    assert caught.value.code == 2


def a_text_file(path: Path) -> None:
    path.write_text("this is no database, " * 100)


def an_older_ledger(path: Path) -> None:
    Ledger(f"sqlite:///{path}").close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE ledger_meta SET value = '0' WHERE name = 'schema_version'")
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (a_text_file, "not a qjobs ledger"),
        (Path.mkdir, "cannot be written"),
        (an_older_ledger, "schema version 0"),
    ],
)
@pytest.mark.parametrize("command", ["list", "run"])
def test_unusable_ledger(
    qjobs: Callable[..., Said],
    write: Callable[..., Path],
    tmp_path: Path,
    damage: Callable[[Path], None],
    words: str,
    command: str,
) -> None:
    """A ledger that cannot be used is one line of error and code 1."""
    path = tmp_path / "ledger.db"
    damage(path)
    arguments = ["run", write(SWEEP)] if command == "run" else ["jobs", "list"]
    code, out, err = qjobs(*arguments, "--ledger", path)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert words in err
    assert str(path) in err
    assert qjobs("doctor", "--ledger", path)[0] == 1


def test_locked_ledger(qjobs: Callable[..., Said], postgresql_ledger: Ledger) -> None:
    """On PostgreSQL, where the time-out can be short; SQLite's is 30 s."""
    url = sa.make_url(postgresql_ledger.url)
    impatient = url.update_query_dict({"options": "-c lock_timeout=100"}).render_as_string()
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("LOCK TABLE job IN ACCESS EXCLUSIVE MODE")
        code, out, err = qjobs("jobs", "list", "--ledger", impatient)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "locked by another program" in err
    assert qjobs("jobs", "list", "--ledger", impatient)[0] == 0


def test_installed() -> None:
    """The installed command starts."""
    command = Path(sys.executable).with_name("qjobs")
    done = subprocess.run([command, "--help"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(word in done.stdout for word in ("plan", "run", "jobs", "doctor"))
