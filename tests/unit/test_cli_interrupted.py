"""`qjobs run` of a file whose last run was killed: it goes on with that run, and nothing is paid twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import own_backends
import pytest

from qjobs import notebook
from qjobs.ledger import Ledger
from qjobs.testing.servers import ScriptedProvider

ROOT = Path(__file__).parents[2]
BELL = """OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;"""
POINTS = {
    "planned": ("qjobs.operations.plan:plan", "after"),
    "claimed": ("qjobs.backends.rest:RestBackend.submit", "before"),
    "sent": ("qjobs.operations.sending:_LedgerJournal.accepted", "before"),
    "accepted": ("qjobs.operations.sending:_LedgerJournal.accepted", "after"),
    "waiting": ("qjobs.operations.execute:wait", "before"),
    "waited": ("qjobs.operations.execute:wait", "after"),
    "reporting": ("qjobs.notebook:report_of", "before"),
}
Said = tuple[int, str, str]
pytestmark = pytest.mark.slow


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = own_backends.install(tmp_path / "site")
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    own_backends.close_all()


@pytest.fixture
def provider(request: pytest.FixtureRequest) -> Iterator[ScriptedProvider]:
    with ScriptedProvider(getattr(request, "param", "findable")) as made:
        yield made


def killed(site: Path, home: Path, file: Path, point: str, *words: str) -> None:
    """Run the command in a process that is killed at a point."""
    environment = {**os.environ, "QJOBS_HOME": str(home), "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}:{site}"}
    command = [sys.executable, str(ROOT / "tests" / "killed_at.py"), *POINTS[point], "qjobs.cli.main", "run", str(file)]
    done = subprocess.run(
        [*command, *words], env=environment, cwd=home.parent, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def batch(write: Callable[..., Path], backend: str) -> Path:
    circuits = [{"openqasm": BELL, "label": f"bell-{n}"} for n in range(2)]
    return write({"name": "b", "circuits": circuits, "shots": 20, "backend": backend, "compiler": "none"})


@pytest.mark.parametrize("point", POINTS)
def test_goes_on(
    qjobs: Callable[..., Said],
    write: Callable[..., Path],
    site: Path,
    home: Path,
    provider: ScriptedProvider,
    point: str,
) -> None:
    """Wherever it was killed, the same command makes no second remote job, and says so; the next one runs anew."""
    file = batch(write, f"own/{provider.port}-findable")
    killed(site, home, file, point)
    assert provider.created == (0 if point in {"planned", "claimed"} else 1)
    code, out, err = qjobs("run", file, "--json")
    assert code == 0, err
    shown = json.loads(out)
    assert err == f"going on with the run {shown['run']} that was interrupted; --new (in Python new=True) runs anew\n"
    assert (shown["jobs"], shown["rows"], shown["missing"]) == ({"COMPLETED": 1}, 2, 0)
    assert provider.created == 1
    code, out, err = qjobs("run", file, "--json")
    assert (code, err, provider.created) == (0, "", 2)
    assert json.loads(out)["run"] != shown["run"]


def test_new(
    qjobs: Callable[..., Said], write: Callable[..., Path], site: Path, home: Path, provider: ScriptedProvider
) -> None:
    """With --new the file is run anew; another file goes on with nothing."""
    file = batch(write, f"own/{provider.port}-findable")
    killed(site, home, file, "waiting")
    code, _, err = qjobs("run", file, "--json", "--new")
    assert (code, err, provider.created) == (0, "", 2)
    other = write({**json.loads(file.read_text()), "shots": 30}, "other.yaml")
    assert qjobs("run", other)[2] == ""
    assert provider.created == 3


@pytest.mark.parametrize("provider", ["opaque"], indirect=True)
def test_lost_reply(
    qjobs: Callable[..., Said], write: Callable[..., Path], site: Path, home: Path, provider: ScriptedProvider
) -> None:
    """What cannot be looked up is not sent again: it is a problem in one line, and the exit code is 1."""
    file = batch(write, f"own/{provider.port}-opaque")
    killed(site, home, file, "sent")
    code, out, _ = qjobs("run", file)
    assert (code, provider.created) == (1, 1)
    (line,) = [line for line in out.splitlines() if line.startswith("problems:")]
    assert "may or may not exist" in line
    assert "qjobs jobs adopt job-" in line


@pytest.mark.parametrize("point", ["sent", "waiting"])
def test_fresh_sweep(
    qjobs: Callable[..., Said],
    write: Callable[..., Path],
    site: Path,
    home: Path,
    provider: ScriptedProvider,
    point: str,
) -> None:
    """A sweep that reuses nothing goes on with what its killed run has made."""
    rotated = 'OPENQASM 3.0; include "stdgates.inc"; input float theta; qubit q; bit c; ry(theta) q; c = measure q;'
    axes = [{"name": "theta", "values": [0.0, 1.0]}]
    backend = f"own/{provider.port}-findable"
    spec = {"name": "f", "circuit": {"openqasm": rotated}, "axes": axes, "shots": 20, "backends": [backend]}
    file = write({**spec, "fresh": True})
    killed(site, home, file, point)
    code, _, err = qjobs("run", file)
    assert (code, provider.created) == (0, 1)
    assert err.startswith("going on with the run ")


def test_simulator(qjobs: Callable[..., Said], write: Callable[..., Path], site: Path, home: Path) -> None:
    """Jobs of the simulator end with their process: the same command runs them again, however often it is killed."""
    file = batch(write, "aer")
    for _ in range(2):
        killed(site, home, file, "waiting")
    code, out, err = qjobs("run", file, "--json")
    assert (code, json.loads(out)["missing"]) == (0, 0), err
    assert err.startswith("going on with the run ")
    assert qjobs("run", file)[::2] == (0, "")


def test_in_python(
    qjobs: Callable[..., Said], write: Callable[..., Path], site: Path, home: Path, provider: ScriptedProvider
) -> None:
    """`notebook.run` goes on as the command does, and says so by `say`."""
    file = batch(write, f"own/{provider.port}-findable")
    killed(site, home, file, "waiting")
    with Ledger(f"sqlite:///{home / 'ledger.db'}") as store:
        (job,) = store.jobs()
        heard: list[str] = []
        backend = own_backends.named(job.opened_as)
        done = notebook.run(file, backends={job.opened_as: backend}, ledger=store.url, say=heard.append)
    assert done.run_id == job.logical_run
    assert len(heard) == 1
    assert provider.created == 1


def test_attended(
    qjobs: Callable[..., Said], write: Callable[..., Path], site: Path, home: Path, provider: ScriptedProvider
) -> None:
    """A run that another process is at was not interrupted: the same command runs anew beside it."""
    provider.store.queue_s = 600.0
    file = batch(write, f"own/{provider.port}-findable")
    environment = {**os.environ, "QJOBS_HOME": str(home), "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}:{site}"}
    command = [sys.executable, "-m", "qjobs.cli.main", "run", str(file)]
    with subprocess.Popen(command, env=environment, cwd=home.parent) as process:
        try:
            deadline = time.monotonic() + 60
            while not provider.created and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(0.5)
            provider.store.queue_s = 0.0
            code, _, err = qjobs("run", file)
            assert (code, err, provider.created) == (0, "", 2)
        finally:
            process.kill()
