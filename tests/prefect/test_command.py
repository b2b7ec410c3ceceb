"""A flow as a command: what it prints, what it returns, what it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from prefect import flow
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    get_current_settings,
    temporary_settings,
)

from flows._support.command import run_flow
from flows.sweep import load_sweep, sweep
from qjobs.errors import InvalidInput, JobFailed
from qjobs.experiments.sweep import SweepSpec
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus

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
    assert lines[2:4] == ["best point on aer: theta = 3.1416", "z0 = -1.0000 ± 0.0000"]
    results = home / "results" / "command-results"
    page = f"{api.removesuffix('/api')}/artifacts/key"
    assert lines[-5:] == [
        f"data frame: {results / 'results.parquet'}",
        f"picture:    {results / 'landscape.png'}",
        *(f"artifact:   {page}/command-{what}" for what in ("report", "jobs", "provenance")),
    ]
    assert (results / "results.parquet").exists()
    assert (results / "landscape.png").exists()
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
    with temporary_settings(settings):
        assert run_flow(probe, str, ["x.yaml"]) == 0
    assert seen == [expected]
