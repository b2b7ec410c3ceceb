"""The `qjobs` command, in this process: what it prints, what it returns, what it refuses."""

from __future__ import annotations

import contextlib
import io
import json
import math
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from launching import planned
from support import NOW, claim, create

from qjobs.backends.aer import AerBackend
from qjobs.cli import main as cli
from qjobs.compiling.compiler import CompileCache
from qjobs.experiments.sweep import SweepSpec, expand_sweep
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.operations.plan import utc_now

BELL = """OPENQASM 2.0;
include "qelib1.inc";
qreg q[2];
creg c[2];
h q[0];
cx q[0], q[1];
measure q -> c;
"""
ROTATED = """OPENQASM 3.0;
include "stdgates.inc";
input float theta;
qubit[1] q;
bit[1] c;
ry(theta) q[0];
c[0] = measure q[0];
"""
AXIS = [{"name": "theta", "values": [0.0, math.pi]}]
SWEEP = {"name": "s", "circuit": {"openqasm": ROTATED}, "axes": AXIS, "shots": 50, "seed": 1}
BATCH = {"name": "b", "circuits": [{"openqasm": BELL, "label": "bell"}, {"openqasm": BELL}], "shots": 40, "seed": 2}

Said = tuple[int, str, str]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that the tests of this module share; one sweep was run in it."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def qjobs(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """The command, with a data directory of our own."""
    monkeypatch.setenv("QJOBS_HOME", str(home))
    monkeypatch.delenv("QJOBS_LEDGER", raising=False)

    def call(*arguments: object) -> Said:
        capsys.readouterr()
        code = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def writing(content: object, name: str = "spec.yaml") -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return writing


@pytest.fixture(scope="module")
def ran(home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What running the sweep said, as JSON."""
    path = tmp_path_factory.mktemp("sweep") / "sweep.json"
    path.write_text(json.dumps(SWEEP))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QJOBS_HOME", str(home))
        patch.delenv("QJOBS_LEDGER", raising=False)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            assert cli.main(["run", str(path), "--json", "--run-id", "first"]) == 0
    return json.loads(out.getvalue())


def jobs_in(home: Path) -> list[str]:
    with Ledger(f"sqlite:///{home / 'ledger.db'}") as ledger:
        return [job.job_id for job in ledger.jobs()]


# plan and run


def test_plan_says_what_would_run(qjobs: Callable[..., Said], write: Callable[..., Path], home: Path) -> None:
    code, out, _ = qjobs("plan", write(SWEEP), "--json")
    shown = json.loads(out)
    assert code == 0
    assert (shown["circuits"], shown["jobs"], shown["shots"], shown["points"], shown["qubits"]) == (2, 1, 100, 2, 1)
    code, out, _ = qjobs("plan", write(BATCH))
    assert code == 0
    assert "circuits:    2" in out
    code, out, _ = qjobs("plan", write(BELL, "bell.qasm"), "--json")
    assert code == 0
    assert (json.loads(out)["name"], json.loads(out)["qubits"]) == ("bell", 2)


def test_run_of_a_sweep_and_again(
    ran: dict[str, object], qjobs: Callable[..., Said], write: Callable[..., Path], home: Path, tmp_path: Path
) -> None:
    assert (ran["run"], ran["jobs"], ran["rows"], ran["missing"]) == ("first", {"COMPLETED": 1}, 2, 0)
    assert len(pd.read_parquet(str(ran["data frame"]))) == 2
    before = jobs_in(home)
    code, out, _ = qjobs("run", write(SWEEP), "--out", tmp_path / "out")
    assert code == 0
    assert "2 of 2 circuits are there" in out
    assert jobs_in(home) == before
    assert (tmp_path / "out" / "results.parquet").exists()


def test_run_of_a_batch_and_of_a_bare_circuit(
    qjobs: Callable[..., Said], write: Callable[..., Path], tmp_path: Path
) -> None:
    path = tmp_path / "ledger.db"
    code, out, _ = qjobs("run", write(BATCH), "--json", "--run-id", "r", "--ledger", path)
    assert code == 0
    assert (json.loads(out)["jobs"], json.loads(out)["rows"]) == ({"COMPLETED": 1}, 2)
    code, out, _ = qjobs("run", write(BATCH), "--json", "--run-id", "r", "--ledger", path)  # nothing is run again
    assert code == 0
    assert len(jobs_in(tmp_path)) == 1
    code, out, _ = qjobs("run", write(BELL, "bell.qasm"), "--ledger", f"sqlite:///{path}")
    assert code == 0
    assert "COMPLETED" in out
    assert len(jobs_in(tmp_path)) == 2


def test_a_job_that_another_process_is_submitting_is_waited_for(
    qjobs: Callable[..., Said], write: Callable[..., Path], tmp_path: Path
) -> None:
    wanted = sweep(seed=99)  # within one process Aer knows the jobs of other tests by their key
    spec = SweepSpec.model_validate(wanted)
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        with AerBackend() as backend:
            launched = planned(ledger, backend, expand_sweep(spec), CompileCache(tmp_path / "compiled"), run="r")
        (job_id,) = launched.new
        attempt = claim(ledger, job_id, owner="elsewhere:1", now=utc_now())
        later = threading.Timer(0.5, lambda: ledger.submissions.release(attempt, "no route", now=utc_now()))
        later.start()
        code, out, err = qjobs("run", write(wanted), "--ledger", tmp_path / "ledger.db")
        later.join()
        assert (code, err) == (0, "")
        assert "2 of 2 circuits are there" in out
        assert [job.status for job in ledger.jobs()] == [JobStatus.COMPLETED]


# jobs


def test_list(ran: dict[str, object], qjobs: Callable[..., Said], home: Path) -> None:
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
        (["--limit", "0"], 0),
    ],
)
def test_list_filters(ran: dict[str, object], qjobs: Callable[..., Said], filters: list[str], count: int) -> None:
    code, out, _ = qjobs("jobs", "list", "--json", *filters)
    assert code == 0
    assert len(json.loads(out)) == count


def test_show(ran: dict[str, object], qjobs: Callable[..., Said], home: Path) -> None:
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


def test_what_a_job_says_is_shown_as_it_is(qjobs: Callable[..., Said], tmp_path: Path) -> None:
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


def test_unknown_status(qjobs: Callable[..., Said]) -> None:
    code, _, err = qjobs("jobs", "list", "--status", "FINISHED")
    assert code == 2
    assert "FINISHED" in err
    assert "COMPLETED" in err


# doctor


def test_doctor(qjobs: Callable[..., Said], tmp_path: Path) -> None:
    code, out, _ = qjobs("doctor")
    assert code == 0
    assert "FAIL" not in out
    code, out, _ = qjobs("doctor", "--json", "--ledger", tmp_path / "another.db")
    assert code == 0
    assert all(check["ok"] and check["words"] for check in json.loads(out))
    assert (tmp_path / "another.db").exists()


def test_doctor_says_what_to_fix(qjobs: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("QJOBS_HOME", str(tmp_path / "file"))
    code, out, _ = qjobs("doctor")
    assert code == 1
    assert "FAIL data directory" in out
    assert "FAIL ledger" in out
    assert "ok   python" in out


# What is refused


def sweep(**changes: object) -> dict[str, object]:
    return {**SWEEP, **changes}


def circuit(openqasm: str, **changes: object) -> dict[str, object]:
    return {"name": "b", "circuits": [{"openqasm": openqasm}], **changes}


UNMEASURED = ROTATED.replace("c[0] = measure q[0];", "")
TWO_AXES = [*AXIS, {"name": "phi", "values": [1.0]}]
NO_THETA = {"openqasm": ROTATED}
WIDE = BELL.replace("[2]", "[29]").replace("measure q -> c;", "measure q[0] -> c[0];")
BAD = {
    "not OpenQASM": (circuit("this is no program"), "OpenQASM"),
    "damaged OpenQASM": (circuit(BELL.replace("cx q[0]", "cx q[")), "circuits.0"),
    "no measurement, batch": (circuit(BELL.replace("measure q -> c;", "")), "no measurement"),
    "no measurement, sweep": (sweep(circuit={"openqasm": UNMEASURED}), "no measurement"),
    "unbound, batch": ({"circuits": [NO_THETA]}, "theta"),
    "unbound, sweep": (sweep(axes=[]), "theta"),
    "unknown, batch": ({"circuits": [{**NO_THETA, "parameters": {"theta": 1, "phi": 1}}]}, "phi"),
    "unknown, sweep": (sweep(axes=TWO_AXES), "phi"),
    "NaN axis": (
        json.dumps(sweep(axes=[{"name": "theta", "values": ["NUMBER"]}])).replace('"NUMBER"', ".nan"),
        "finite",
    ),
    "NaN parameter": ({"circuits": [{**NO_THETA, "parameters": {"theta": "nan"}}]}, "finite"),
    "zip": (sweep(mode="zip", axes=[*AXIS, {"name": "phi", "values": [1.0]}]), "theta has 2, phi has 1"),
    "shots 0": (sweep(shots=0), "shots"),
    "shots negative": (circuit(BELL, shots=-1), "shots"),
    "shots of one circuit": ({"circuits": [{"openqasm": BELL, "shots": 0}]}, "shots"),
    "shots above the limit": (sweep(shots=1_000_001), "1000001 shots"),
    "shots above the limit, batch": (circuit(BELL, shots=1_000_001), "1000001 shots"),
    "labels": ({"circuits": [{"openqasm": BELL, "label": "x"}, {"openqasm": BELL, "label": "x"}]}, "'x' is used twice"),
    "qubits": (circuit(WIDE), "29 qubits"),
    "gate": (circuit(BELL.replace("h q[0]", "u0(1) q[0]"), compiler="none"), "no gate u0"),
    "observable": (sweep(observables=[{"name": "o", "terms": "ZZ"}]), "2 qubits wide"),
    "observable, qubit": (sweep(observables=[{"name": "o", "terms": "Z3"}]), "acts on qubit 3"),
    "not YAML": ("name: [1, 2\ncircuit: }", "neither YAML nor JSON"),
    "not a mapping": ("- 1\n- 2", "mapping"),
    "misspelt": (sweep(shot=5), "shot"),
    "another backend": (sweep(backends=["aer-backend/noisy"]), "aer-backend/noisy"),
    "no circuit file": (sweep(circuit={"file": "gone.qasm"}), "gone.qasm"),
    "no builder": (sweep(circuit={"builder": "nobody"}), "nobody"),
}


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(
    qjobs: Callable[..., Said], write: Callable[..., Path], tmp_path: Path, command: str, case: str
) -> None:
    content, words = BAD[case]
    code, out, err = qjobs(command, write(content), "--ledger", tmp_path / "ledger.db")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert words in err
    assert jobs_in(tmp_path) == []


@pytest.mark.parametrize("name", ["gone.yaml", "gone.qasm", "gone.qpy"])
def test_a_missing_file_is_refused(qjobs: Callable[..., Said], tmp_path: Path, name: str) -> None:
    code, _, err = qjobs("run", tmp_path / name, "--ledger", tmp_path / "ledger.db")
    assert code == 2
    assert err.count("\n") == 1
    assert name in err
    assert jobs_in(tmp_path) == []


@pytest.mark.parametrize("name", ["_bell.qasm", "été.qasm", "-.qasm", "x" * 230 + ".qasm"])
def test_a_circuit_file_of_any_name(qjobs: Callable[..., Said], write: Callable[..., Path], name: str) -> None:
    code, _, err = qjobs("plan", write(BELL, name))
    assert (code, err) == (0, "") or (code == 2 and err.startswith("error: ") and err.count("\n") == 1)


@pytest.mark.parametrize("arguments", [[], ["jobs"], ["plan"], ["bogus"], ["jobs", "list", "--limit", "many"]])
def test_a_command_line_that_cannot_be_read(qjobs: Callable[..., Said], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        qjobs(*arguments)
    assert caught.value.code == 2


# A ledger that cannot be used


def a_text_file(path: Path) -> None:
    path.write_text("this is no database, " * 100)


def an_older_ledger(path: Path) -> None:
    Ledger(f"sqlite:///{path}").close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE ledger_meta SET value = '0' WHERE name = 'schema_version'")
    connection.commit()
    connection.close()


def a_newer_ledger(path: Path) -> None:
    an_older_ledger(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE ledger_meta SET value = '999' WHERE name = 'schema_version'")
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (a_text_file, "not a qjobs ledger"),
        (Path.mkdir, "cannot be written"),
        (an_older_ledger, "schema version 0"),
        (a_newer_ledger, "upgrade qjobs"),
    ],
)
@pytest.mark.parametrize("command", ["list", "run"])
def test_a_ledger_that_cannot_be_used(
    qjobs: Callable[..., Said],
    write: Callable[..., Path],
    tmp_path: Path,
    damage: Callable[[Path], None],
    words: str,
    command: str,
) -> None:
    path = tmp_path / "ledger.db"
    damage(path)
    arguments = ["run", write(SWEEP)] if command == "run" else ["jobs", "list"]
    code, out, err = qjobs(*arguments, "--ledger", path)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert words in err
    assert str(path) in err
    assert qjobs("doctor", "--ledger", path)[0] == 1


def test_a_locked_ledger(qjobs: Callable[..., Said], postgresql_ledger: Ledger) -> None:
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


def test_a_url_that_cannot_be_read(qjobs: Callable[..., Said]) -> None:
    code, _, err = qjobs("jobs", "list", "--ledger", "nosuch://me:secret@place/x")
    assert code == 1
    assert "secret" not in err


def test_the_installed_command() -> None:
    command = Path(sys.executable).with_name("qjobs")
    done = subprocess.run([command, "--help"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(word in done.stdout for word in ("plan", "run", "jobs", "doctor"))
