"""`qjobs run` of a file whose last run was killed or got Ctrl-C: it goes on with it, and nothing is paid twice."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import own_backends
import pytest
from advice import parse

from qjobs import notebook
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
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
    "reporting": ("qjobs.notebook:save_run", "before"),
}
WIDE = "\n".join(
    [
        'OPENQASM 2.0; include "qelib1.inc"; qreg q[26]; creg c[26];',
        *(f"ry(0.{number}) q[{number % 26}]; cx q[{number % 26}],q[{(number + 1) % 26}];" for number in range(1, 300)),
        "measure q -> c;",
    ]
)
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
    assert "going on" not in qjobs("run", other)[2]
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
    assert qjobs("run", file, "--json")[::2] == (0, "")


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
            code, _, err = qjobs("run", file, "--json")
            assert (code, err, provider.created) == (0, "", 2)
        finally:
            process.kill()


def interrupted(home: Path, site: Path, words: list[str], when: Callable[[], bool]) -> list[str]:
    """The lines that a command says when it gets Ctrl-C at some moment."""
    environment = {**os.environ, "QJOBS_HOME": str(home), "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}:{site}"}
    environment.pop("QJOBS_LEDGER", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "qjobs.cli.main", *words],
        env=environment,
        cwd=home.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # as in a terminal, every process of the command gets it
    )
    deadline = time.monotonic() + 60
    while not when() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert (out == "") == (words[0] == "run")
    return err.splitlines()


def status_is(home: Path, *statuses: JobStatus) -> Callable[[], bool]:
    """Whether a job in the ledger is in one of these."""

    def look() -> bool:
        path = home / "ledger.db"
        if not path.exists():
            return False
        with Ledger(f"sqlite:///{path}") as store:
            return any(job.status in statuses for job in store.jobs())

    return look


def test_ctrl_c(
    qjobs: Callable[..., Said], write: Callable[..., Path], site: Path, home: Path, provider: ScriptedProvider
) -> None:
    """What is at a provider goes on, and the printed command brings its results without sending anything again."""
    provider.store.queue_s = 600.0
    name = f"own/{provider.port}-findable"
    file = batch(write, name)
    lines = interrupted(home, site, ["run", str(file), "--max-submissions", "2"], status_is(home, JobStatus.QUEUED))
    assert f"{name}: 1 job will go on there (QUEUED)" in lines
    (again,) = [line.partition(": ")[2] for line in lines if line.startswith("to go on with it: ")]
    (watch,) = [line.partition(": ")[2] for line in lines if line.startswith("to look at it: ")]
    assert parse(shlex.split(watch)[1:])["run"]
    for job in provider.store.jobs.values():
        job.starts_at = job.ends_at = provider.store.clock()
    code, out, err = qjobs(*shlex.split(again)[1:], "--json")
    assert (code, json.loads(out)["missing"], provider.created) == (0, 0, 1), err


def test_ctrl_c_of_the_simulator(
    qjobs: Callable[..., Said], write: Callable[..., Path], site: Path, home: Path
) -> None:
    """What is simulated ends with the process, and that is said."""
    file = write({"name": "b", "circuits": [{"openqasm": WIDE}], "shots": 20, "backend": "aer", "compiler": "none"})
    lines = interrupted(home, site, ["run", str(file)], status_is(home, JobStatus.RUNNING))
    assert "aer: 1 job ended with this process, which simulated here" in lines
    assert not any(line.startswith("to look") for line in lines)
    (again,) = [line.partition(": ")[2] for line in lines if line.startswith("to go on with it: ")]
    assert shlex.split(again) == ["qjobs", "run", str(file)]


def test_ctrl_c_of_a_watch(
    qjobs: Callable[..., Said], write: Callable[..., Path], site: Path, home: Path, provider: ScriptedProvider
) -> None:
    """A watch that gets Ctrl-C harms no job."""
    provider.store.queue_s = 600.0
    name = f"own/{provider.port}-findable"
    file = batch(write, name)
    interrupted(home, site, ["run", str(file)], status_is(home, JobStatus.QUEUED))
    began = time.monotonic()
    lines = interrupted(home, site, ["watch", "@1", "--json"], lambda: time.monotonic() - began > 2.0)
    assert lines == ["the watch has ended; the jobs go on as before"]
    with Ledger(f"sqlite:///{home / 'ledger.db'}") as store:
        (job,) = store.jobs()
    assert (job.status, job.cancel_requested_at, provider.created) == (JobStatus.QUEUED, None, 1)
