"""A flow as a command: what it prints, what it returns, what it refuses."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import own_backends
import pytest
from given import BELL, sent
from prefect import flow
from prefect.blocks.core import Block
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    get_current_settings,
    temporary_settings,
)

from blocks.opening import backend_named, close_all
from flows._support.command import run_flow
from flows.run_circuits import run_circuits
from flows.sweep import load_sweep, sweep
from qjobs.cli import main as cli
from qjobs.errors import InvalidInput, JobFailed
from qjobs.experiments.circuit_list import load_circuit_list
from qjobs.experiments.sweep import SweepSpec
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.testing.servers import ScriptedProvider

ROOT = Path(__file__).parents[2]
PUBLISHED = SimpleNamespace(n_rows=1, n_missing=0, lines=(), parquet="p", picture=None, artifact_keys=("k",))
SWEEP = """
name: command
circuit:
  openqasm: |
    OPENQASM 3.0; include "stdgates.inc"; input float[64] theta;
    qubit[1] q; bit[1] c; rx(theta) q[0]; c = measure q;
axes:
  - {name: theta, values: [0.0, 3.141592653589793]}
observables:
  - {name: z0, terms: Z0}
objective: {name: z0, goal: minimize}
"""


@pytest.mark.slow
def test_good_file(api: str, home: Path, tmp_path: Path) -> None:
    """A file that is run ends with the places of its files and artifacts."""
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP)
    env = {
        **os.environ,
        "PREFECT_API_URL": api,
        "PREFECT_HOME": str(home.parent / "prefect"),
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        "QJOBS_HOME": str(home),
    }
    command = [sys.executable, "-m", "flows.sweep", str(file)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1].startswith("2 of 2 rows have a result, in ")
    assert lines[2:4] == ["best point on aer: theta = 3.1416", "z0 = -1.0000 ± 0.0014"]
    results = home / "results" / "command" / (home / "results" / "command" / "latest").readlink()
    pages = api.removesuffix("/api")
    assert lines[-6:-1] == [
        f"data frame: {results / 'results.parquet'}",
        f"picture:    {results / 'picture.png'}",
        *(f"artifact:   {pages}/artifacts/key/command-{what}" for what in ("report", "jobs", "provenance")),
    ]
    assert re.fullmatch(rf"Prefect UI: {re.escape(pages)}/runs/flow-run/[0-9a-f-]{{36}}", lines[-1])
    assert (results / "results.parquet").exists()
    assert (results / "picture.png").exists()
    with Ledger(f"sqlite:///{home / 'ledger.db'}") as ledger:
        assert [job.status for job in ledger.jobs()] == [JobStatus.COMPLETED]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SWEEP.replace("theta, values", "theta, value"), "axes.0"),
        ("- not a mapping", "must hold a mapping"),
        (None, "cannot be read"),
    ],
    ids=["field", "shape", "missing"],
)
def test_bad_file(home: Path, tmp_path: Path, text: str | None, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A bad file is one line of error and code 2, before a server is asked or anything is written."""
    file = tmp_path / "sweep.yaml"
    if text is not None:
        file.write_text(text)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert run_flow(sweep, lambda path: load_sweep(Path(path)), [str(file)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert not home.exists()


@pytest.mark.parametrize(
    ("error", "code"),
    [(InvalidInput("no"), 2), (JobFailed("no", job_id="j", status="ERROR", failed={}), 1)],
    ids=["input", "job"],
)
def test_failed_run(api: str, error: Exception, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that fails prints its error; bad input ends with code 2, all else with 1."""

    @flow(name="failing")
    def failing(spec: str, ledger: str = "") -> None:
        raise error

    assert run_flow(failing, str, ["x.yaml"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1] == "error: no"


@pytest.mark.parametrize(("chosen", "expected"), [(None, None), (60, 60)], ids=["by default", "as set"])
def test_heartbeat(chosen: int | None, expected: int | None) -> None:
    """Prefect's heartbeat is off unless it was set."""
    seen = []

    def probe(spec: SweepSpec, ledger: str) -> SimpleNamespace:
        seen.append(get_current_settings().flows.heartbeat_frequency)
        return PUBLISHED

    probe.description = "A probe."
    settings = {} if chosen is None else {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: chosen}
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api", **settings}):
        assert run_flow(probe, str, ["x.yaml"]) == 0
    assert seen == [expected]


def batch(tmp_path: Path, provider: ScriptedProvider, **changes: object) -> Path:
    provider.store.queue_s = 0.0
    spec = {"name": "killed", "circuits": [{"openqasm": BELL}], "shots": 10, "compiler": "none", **changes}
    file = tmp_path / "circuits.json"
    file.write_text(json.dumps({"backend": f"rest-backend/{provider.block}", **spec}))
    return file


def run_again(file: Path, *options: str) -> int:
    """The command `python -m flows.run_circuits` in this process."""
    return run_flow(run_circuits, lambda path: load_circuit_list(Path(path)), [str(file), *options], experiment=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "point",
    [
        ("qjobs.operations.sending:_LedgerJournal.accepted", "before"),
        ("flows._support.stages:TaskStages.wait", "after"),
        ("tasks:publish_artifacts", "before"),
    ],
    ids=["sent", "waited", "publishing"],
)
def test_killed(
    api: str,
    home: Path,
    tmp_path: Path,
    provider: ScriptedProvider,
    point: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A flow's command that was killed goes on when it is repeated, and makes no second remote job."""
    file = batch(tmp_path, provider)
    env = {**os.environ, "PREFECT_API_URL": api, "QJOBS_HOME": str(home), "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    command = [sys.executable, str(ROOT / "tests" / "killed_at.py"), *point, "flows.run_circuits", str(file)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert provider.created == 1
    assert run_again(file) == 0
    first = "going on with the run "
    assert [line.startswith(first) for line in capsys.readouterr().err.splitlines()].count(True) == 1
    assert provider.created == 1
    assert run_again(file) == 0
    assert first not in capsys.readouterr().err
    assert provider.created == 2


def test_strategies(api: str, store: Ledger, home: Path, tmp_path: Path, provider: ScriptedProvider) -> None:
    """Strategies, caps and the logical run of the command take the place of those in the file."""
    file = batch(tmp_path, provider, retries={"max_cost": 1.0})
    assert run_again(file, "--max-submissions", "0") == 2
    assert run_again(file) == 1  # nobody can tell the cost there
    assert provider.created == 0
    (job,) = store.jobs()
    with pytest.raises(SystemExit):
        run_again(file, "--strategy", "MAYBE")
    file = batch(tmp_path, provider)
    assert (
        run_again(file, "--logical-run", job.logical_run, "--strategy", "FULL_RESTART", "--max-submissions", "9") == 0
    )
    assert provider.created == 1
    assert run_again(file, "--logical-run", job.logical_run, "--strategy", "FULL_RESTART") == 0
    assert provider.created == 2
    assert [(job.epoch, job.status) for job in store.jobs()] == [(2, JobStatus.COMPLETED)]


def test_saved_block(
    api: str,
    store: Ledger,
    tmp_path: Path,
    provider: ScriptedProvider,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`qjobs jobs ...` opens the saved block of a job by itself, as messages print it."""
    site = own_backends.install(tmp_path / "site", "blocks.opening:backend_named")
    monkeypatch.syspath_prepend(str(site))
    job_id = sent(store, provider, "run")
    for command in (["retry", job_id], ["cancel", job_id]):
        assert cli.main(["jobs", *command]) == 0, capsys.readouterr()
    assert cli.main(["reconcile"]) == 0
    assert store.job(job_id).status is JobStatus.CANCELLED
    job_id = sent(store, provider, "run 2")
    backend_named(f"rest-backend/{provider.block}")
    Block.delete(f"rest-backend/{provider.block}")
    close_all()
    assert cli.main(["jobs", "retry", job_id]) == 2
    assert f"there is no backend 'rest-backend/{provider.block}'" in capsys.readouterr().err


def test_prefect_advice(api: str) -> None:
    """The commands of Prefect and of the sensor that messages print are commands."""
    for words in (["block", "register", "-m", "blocks"], ["worker", "start", "--help"]):
        command = [sys.executable, "-m", "prefect", *words]
        env = {**os.environ, "PREFECT_API_URL": api}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
    assert "--pool" in done.stdout
    with pytest.raises(SystemExit) as caught:
        cli.main(["sensor", "--help"])
    assert caught.value.code == 0
