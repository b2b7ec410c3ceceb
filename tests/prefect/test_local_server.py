"""Prefect's server that stays: started once, found again, left alone while it is used, and ended."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prefect.settings import (
    PREFECT_API_DATABASE_CONNECTION_URL,
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE,
    temporary_settings,
)
from processes import free_port

from flows._support import local_server as local
from flows._support.local_server import LocalServer, ServerProblem, local_server
from flows.server import main as server_command
from qjobs.ledger import Ledger
from qjobs.ledger.liveness import lease_owner

ROOT = Path(__file__).parents[2]
BELL = ROOT / "examples" / "bell" / "circuits.yaml"
OLD = """
import fcntl, json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from qjobs.ledger.liveness import lease_owner

home, version = sys.argv[1:]
lock = os.open(home + "/qjobs-server.lock", os.O_RDWR | os.O_CREAT)
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(said if self.path == "/qjobs/server" else True).encode())

    def log_message(self, *_):
        pass

server = HTTPServer(("127.0.0.1", 0), Answer)
said = {"url": f"http://127.0.0.1:{server.server_port}", "pid": os.getpid(), "owner": lease_owner(), "started_at": 0.0,
        "token": "old", "version": version, "database": "other"}
open(home + "/qjobs-server.json", "w").write(json.dumps(said))
server.serve_forever()
"""
"""A server of another version: what this code asks of one, and no more."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A PREFECT_HOME for the servers of this module, none of which outlives it."""
    folder = tmp_path_factory.mktemp("standing")
    yield folder
    with _settings(folder):
        local.stop(now=True)


@contextlib.contextmanager
def _settings(folder: Path) -> Iterator[None]:
    ours = {PREFECT_HOME: folder, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: True}
    with temporary_settings(ours, restore_defaults={PREFECT_API_URL, PREFECT_API_DATABASE_CONNECTION_URL}):
        yield


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A PREFECT_HOME for one test, in which no server is started."""
    monkeypatch.delenv(local.IDLE_MINUTES, raising=False)
    folder = tmp_path / "prefect"
    folder.mkdir()
    with _settings(folder):
        yield folder


def test_served(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server that is named is used; where there is neither one nor a server of our own, it is said what to set."""
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), local.served(print) as url:
        assert url == "http://127.0.0.1:9/api"
    monkeypatch.setenv(local.IDLE_MINUTES, "0")
    with pytest.raises(ServerProblem, match="set PREFECT_API_URL"), local.served(print):
        pass
    with pytest.raises(ServerProblem, match="set PREFECT_API_URL"):
        local.kept_server(print)


def environment(folder: Path, home: Path) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {**clean, "PREFECT_HOME": str(folder), "QJOBS_HOME": str(home), "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}


def started(folder: Path, home: Path, *words: str) -> subprocess.Popen[str]:
    """A command that Ctrl-C interrupts, also where these tests run in the background of a shell."""
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        env=environment(folder, home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def ended(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=180)
    assert process.returncode == code, err
    return out, err


def has_lock(folder: Path) -> bool:
    """Whether a server lives in a home."""
    with (folder / local.LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def until(holds: object, timeout_s: float = 60.0) -> None:
    assert callable(holds)
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextlib.contextmanager
def used(folder: Path) -> Iterator[None]:
    """As a command holds it that uses the server."""
    with (folder / local.USERS).open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        yield


@contextlib.contextmanager
def old_server(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", OLD, str(folder), "0.1"], cwd=ROOT)
    try:
        until((folder / local.FILE).exists)
        yield process
    finally:
        process.kill()
        process.wait()


def test_named_server(alone: Path) -> None:
    """A server that the settings name is the only one: nothing is started, nothing is written."""
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), local_server(pytest.fail) as server:
        assert server is None
    assert list(alone.iterdir()) == []


@pytest.mark.parametrize(("given", "fits"), [("0", True), ("soon", False), ("-1", False), ("nan", False)])
def test_idle_setting(alone: Path, monkeypatch: pytest.MonkeyPatch, given: str, fits: bool) -> None:
    """0 minutes ask for a server of Prefect's for each run; what is no time is refused."""
    monkeypatch.setenv(local.IDLE_MINUTES, given)
    with contextlib.nullcontext() if fits else pytest.raises(ServerProblem), local_server(pytest.fail) as server:
        assert server is None


def test_home_not_writable(alone: Path) -> None:
    """Where nothing can be written, Prefect does what it does by itself, and that is said."""
    (alone / "file").touch()
    said: list[str] = []
    with temporary_settings({PREFECT_HOME: alone / "file"}), local_server(said.append) as server:
        assert server is None
    (line,) = said
    assert "starts one of its own" in line


def test_stale_file(alone: Path) -> None:
    """A file without a server behind it, and a process that has its id by now, are left alone."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        said = LocalServer(
            url="http://127.0.0.1:9",
            pid=other.pid,
            owner=lease_owner(),
            started_at=0.0,
            token="t",
            version="3",
            database="d",
        )
        (alone / local.FILE).write_text(json.dumps({name: getattr(said, name) for name in LocalServer.__slots__}))
        (alone / local.LOCK).touch()
        assert local.stop() == f"no server runs in {alone}"
        assert local.status() == f"no server runs in {alone}"
        assert other.poll() is None
        other.kill()


def test_other_version_in_use(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A server of another version that a run uses is neither used nor ended."""
    with old_server(alone) as old, used(alone):
        with pytest.raises(ServerProblem, match=r"of Prefect 0\.1"), local_server(pytest.fail):
            pass
        assert server_command(["stop"]) == 1
        assert (
            "is used by a run, a worker or a sensor; let it end, or: python -m flows.server stop --now"
            in capsys.readouterr().err
        )
        assert old.poll() is None
        assert server_command(["status"]) == 0
        assert capsys.readouterr().out.startswith("Prefect 0.1 at http://127.0.0.1:")
        assert server_command(["stop", "--now"]) == 0
        assert old.wait() == -signal.SIGTERM


@pytest.mark.slow
def test_two_at_once(folder: Path, home: Path) -> None:
    """Two commands that start at once start one server, end well, and say where their runs are shown."""
    with _settings(folder), old_server(folder) as old:  # which nobody uses: it makes way
        both = [started(folder, home, "flows.run_circuits", str(BELL)) for _ in range(2)]
        said = [ended(process) for process in both]
        assert old.wait() == -signal.SIGTERM
        assert sum("starting Prefect's server" in err for _, err in said) == 1
        assert not any("temporary server" in err for _, err in said)
        pages = [re.search(r"^Prefect UI: (http://\S+?)/runs/flow-run/(\S+)$", out, re.MULTILINE) for out, _ in said]
        for page in pages:
            assert page is not None
            assert httpx.get(f"{page[1]}/api/flow_runs/{page[2]}").json()["state_type"] == "COMPLETED"
            assert (
                "<title>Prefect"
                in httpx.get(f"{page[1]}/runs/flow-run/{page[2]}", headers={"Accept": "text/html"}).text
            )
        assert local.status().startswith("Prefect 3.")
        with used(folder), pytest.raises(ServerProblem, match="used by a run"):
            local.stop()


@pytest.mark.slow
def test_killed_server(folder: Path, home: Path, tmp_path: Path) -> None:
    """A server that is killed under a run is started again at the same address, and the run goes on."""
    gates = "".join(f"h q[{n}];" for n in range(20)) * 8
    qasm = f'OPENQASM 2.0; include "qelib1.inc"; qreg q[20]; creg c[20]; {gates} measure q -> c;'
    spec = {"name": "wide", "circuits": [{"openqasm": qasm}] * 20, "shots": 10, "compiler": "none"}
    (tmp_path / "wide.json").write_text(json.dumps(spec))
    with _settings(folder):
        with local_server(lambda _: None) as server:
            assert server is not None
        run = started(folder, home, "flows.run_circuits", str(tmp_path / "wide.json"))
        until((home / "ledger.db").exists)
        with Ledger(f"sqlite:///{home / 'ledger.db'}") as ledger:
            until(lambda: any(job.status.value == "RUNNING" for job in ledger.jobs()))
            os.kill(server.pid, signal.SIGKILL)
            out, err = ended(run)
            assert "Prefect's server was killed" in err
            assert "20 of 20 rows have a result" in out
            assert f"Prefect UI: {server.url}/runs/flow-run/" in out
            assert len(ledger.jobs()) == 1


@pytest.mark.slow
def test_shown(folder: Path, home: Path) -> None:
    """`make ui` takes the place of the server that stays, and is then the one that commands use."""
    port = free_port()
    with _settings(folder):
        with local_server(lambda _: None) as before:
            assert before is not None
        shown = started(folder, home, "flows.server", "ui", "--port", str(port))
        until(lambda: (at := local._read(folder)) is not None and at.url == f"http://127.0.0.1:{port}")
        with local_server(pytest.fail) as server:
            assert server is not None
            assert server.url == f"http://127.0.0.1:{port}"
        shown.send_signal(signal.SIGINT)
        assert ended(shown)[0] == f"Prefect's UI: http://127.0.0.1:{port} (stop it with Ctrl-C)\n"
        assert not has_lock(folder)
        assert not (folder / local.FILE).exists()


@pytest.mark.slow
def test_ends_by_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that nobody uses ends; one that a quiet command uses does not."""
    monkeypatch.setenv(local.IDLE_MINUTES, "0.01")
    with _settings(folder):
        with local_server(lambda _: None) as server:
            assert server is not None
            time.sleep(3.0)
            assert httpx.get(f"{server.api_url}/health").json() is True
        until(lambda: not has_lock(folder), 20.0)
        assert not (folder / local.FILE).exists()


@pytest.mark.slow
def test_interrupted_start(folder: Path, home: Path) -> None:
    """Ctrl-C while the server starts leaves none behind."""
    with _settings(folder):
        local.stop(now=True)
    run = started(folder, home, "flows.run_circuits", str(BELL))
    until(lambda: has_lock(folder))
    run.send_signal(signal.SIGINT)
    _, err = ended(run, 130)
    assert f"nothing was sent\nto run it: python -m flows.run_circuits {BELL}\n" in err
    until(lambda: not has_lock(folder), 5.0)
