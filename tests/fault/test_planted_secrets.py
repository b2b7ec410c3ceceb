"""Secrets are planted wherever people put them, every kind of error is provoked, and all that was written is searched.

The provider is a real server that repeats what it is sent: headers, bodies and addresses, in pages and in JSON.
"""

from __future__ import annotations

import base64
import html
import json
import logging
import os
import pickle
import subprocess
import sys
import traceback
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pyarrow.parquet as pq
import pytest
from support import a_spec

import qjobs
from qjobs.backends.rest import LostReply, RestBackend
from qjobs.circuits.programs import read_circuit
from qjobs.cli import main as cli
from qjobs.errors import BackendUnavailable, QJobsError
from qjobs.experiments.circuit_list import CircuitList
from qjobs.ledger import Ledger
from qjobs.model import JobId
from qjobs.operations.poll import utc_now
from qjobs.redaction import remember, without_known
from qjobs.testing.faults import Action, Fault, Route
from qjobs.testing.servers import ScriptedProvider

TOKEN = "tok-Xq7/9+vR2<w&4zL8p"
PASSWORD = "pw-Jm3nT6yB1c"
PLANTED = {
    "QJOBS_NEXUS_TOKEN": "nex-h5Gd82kslPqw03",
    "QJOBS_MQP_TOKEN": "mqp-77fhAk20slQmz1",
    "QORO_API_KEY": "qor-04jdUw93nsBvx2",
    "AWS_SECRET_ACCESS_KEY": "aws/9d+Hs72Kq0Zx5b",
}
BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'


def forms(secret: str) -> set[str]:
    """A secret as pages, addresses and headers write it."""
    encoded = {base64.b64encode(secret.encode()).decode().rstrip("="), urllib.parse.quote(secret, safe="")}
    return {secret, html.escape(secret), json.dumps(secret)[1:-1], *encoded}


def leaks(text: str, *secrets: str) -> list[str]:
    """The forms of secrets that a text holds, and what is left of a secret that was cut."""
    found = []
    for secret in secrets:
        for form in forms(secret) | {secret[:10], secret[-10:]}:
            if form in text:
                found.append(form)
    return found


def written(folder: Path) -> str:
    """All that is in the files of a folder; Parquet is read, because it is packed."""
    texts = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            texts.append(path.read_bytes().decode("utf-8", "replace"))
            if path.suffix == ".parquet":
                table = pq.read_table(path)
                texts += [str(table.to_pydict()), str(table.schema.metadata)]
    assert texts, "nothing was written, so nothing was looked at"
    return "\n".join(texts)


class Echo(BaseHTTPRequestHandler):
    """Repeats all that it is sent, with the code that it is told."""

    code = 418
    processes = ""

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode("utf-8", "replace")
        said = f"{self.path}\n{self.headers}\n{body}"
        Echo.processes += subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        answer = json.dumps({"message": said, "error": said}).encode()
        self.send_response(self.code, self.headers.get("authorization", "none"))
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_DELETE = answer

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that repeats what it is sent."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider("findable") as made:
        yield made


@pytest.fixture
def backend(provider: ScriptedProvider) -> Iterator[RestBackend]:
    """An adapter with a password in its address and a token in its headers; it does not sleep."""
    url = provider.url.replace("://", f"://me:{PASSWORD}@")
    made = RestBackend(
        url, lost_reply=LostReply.FINDABLE, token=lambda: TOKEN, sleep=lambda _: None, settle_s=0.0, name="rest"
    )
    yield made
    made.close()


def test_errors(
    provider: ScriptedProvider, backend: RestBackend, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither ledger, log, messages, tracebacks nor pickled errors have a secret, whatever the provider repeats."""
    caplog.set_level(logging.DEBUG)
    told = []
    program = read_circuit(BELL)
    seen = {"fingerprint": str(backend.fingerprint)}
    with Ledger(f"sqlite:///{tmp_path / 'ledger' / 'ledger.db'}") as ledger:
        for route in (Route.SUBMIT, Route.STATUS, Route.RESULTS):
            for code in (401, 403, 404, 418, 429, 502):
                provider.reset()
                provider.break_items({0: f"no gate for {TOKEN} of {urllib.parse.quote(TOKEN, safe='')}"})
                provider.inject(Fault(route=route, action=Action.ECHO, code=code, times=3))
                spec = a_spec(f"{route}-{code}", program=program, backend="rest", device="reference", **seen)
                (job_id,) = ledger.create([spec], now=utc_now())
                for act in (qjobs.submit, poll, qjobs.collect):
                    try:
                        act(ledger, backend, job_id)
                    except QJobsError as error:
                        ledger.record_event(job_id, "trouble", f"{error} of {TOKEN}", now=utc_now())
                        told += [str(error), "".join(traceback.format_exception(error))]
                        told.append(pickle.dumps(error, 0).decode("latin-1"))
    assert len(told) > 30
    everything = "\n".join([*told, caplog.text, written(tmp_path)])
    assert "[redacted]" in everything
    assert not leaks(everything, TOKEN, PASSWORD)


def poll(ledger: Ledger, backend: RestBackend, job_id: JobId) -> None:
    qjobs.poll(ledger, backend, [job_id])


def test_results(provider: ScriptedProvider, backend: RestBackend, tmp_path: Path) -> None:
    """The data frame and the record of a run with failed items have no secret."""
    provider.break_items({0: f"Authorization: Bearer {TOKEN}", 1: f"the key {TOKEN} of {PASSWORD} is old"})
    spec = CircuitList.model_validate(
        {
            "name": "planted",
            "backend": "rest",
            "shots": 10,
            "compiler": "none",
            "circuits": [{"openqasm": BELL, "label": f"bell-{n}"} for n in range(3)],
        }
    )
    ledger, results = f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path / "results"
    run = qjobs.run(spec, backends={"rest": backend}, ledger=ledger, results=results)
    assert run.report.n_missing == 2
    everything = written(tmp_path)
    assert "[redacted]" in everything
    assert not leaks(everything, TOKEN, PASSWORD)


def test_commands(
    echo: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """No command prints or keeps a secret of the environment or of an address; none is on a command line."""
    monkeypatch.setenv("QJOBS_HOME", str(tmp_path / "home"))
    for name, secret in PLANTED.items():
        monkeypatch.setenv(name, secret)
    for name, value in {"NEXUS_PROTOCOL": "http", "NEXUS_HOST": "127.0.0.1", "NEXUS_PORT": str(echo)}.items():
        monkeypatch.setenv(name, value)
    for name in ("MQP_URL", "QORO_API_URL"):
        monkeypatch.setenv(name, f"http://me:{PASSWORD}@127.0.0.1:{echo}/")
    circuits = [{"openqasm": BELL, "label": "bell"}]
    for backend in ("nexus/H1", "mqp/Q20", "qoro/sim"):
        spec = {"name": "planted", "backend": backend, "shots": 10, "compiler": "none", "circuits": circuits}
        (tmp_path / "home").mkdir(exist_ok=True)
        file = tmp_path / "home" / "spec.yaml"
        file.write_text(json.dumps(spec))
        for code in (401, 418):
            monkeypatch.setattr(Echo, "code", code)
            assert cli.main(["run", str(file)]) != 0
    monkeypatch.setenv("QJOBS_RESULTS", f"sftp://me:{PASSWORD}@127.0.0.1/results")
    assert cli.main(["doctor", "--json", "--ledger", f"postgresql://me:{PASSWORD}@127.0.0.1:1/none"]) == 1
    printed = capfd.readouterr()
    text = "\n".join([printed.out, printed.err, written(tmp_path / "home"), Echo.processes])
    assert all(name in printed.err for name in ("Nexus", "mqp@127.0.0.1", "qoro@127.0.0.1", "[redacted]"))
    assert not leaks(text, PASSWORD, *PLANTED.values())


@pytest.mark.parametrize("known", [True, False])
def test_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], known: bool
) -> None:
    """A token in an experiment's file is refused without being printed, also where the process does not know it."""
    monkeypatch.setenv("QJOBS_HOME", str(tmp_path / "home"))
    spec = {"name": "planted", "backend": "aer", "shots": 10, "circuits": [{"openqasm": BELL, "label": "bell"}]}
    if known:
        monkeypatch.setenv("QJOBS_NEXUS_TOKEN", TOKEN)
        spec["name"] = TOKEN
    else:
        spec["token"] = TOKEN
    file = tmp_path / "spec.yaml"
    file.write_text(json.dumps(spec, indent=1))
    assert cli.main(["run", str(file)]) == 2
    printed = capfd.readouterr()
    assert "line" in printed.err
    assert not leaks(printed.out + printed.err, TOKEN)
    assert not (tmp_path / "home").exists()


def test_uncaught(tmp_path: Path) -> None:
    """An error that ends a process or a thread, and a line of another library's log, have no secret."""
    lines = [
        "import logging, threading",
        "from qjobs.redaction import remember",
        "logging.basicConfig(level=logging.INFO)",
        f"secret = {TOKEN!r}",
        "remember(secret)",
        "logging.getLogger('httpx').info('GET %s', 'http://h/?k=' + secret)",
        "def fail(): raise ValueError(secret)",
        "thread = threading.Thread(target=fail); thread.start(); thread.join()",
        "try:",
        "    fail()",
        "except ValueError:",
        "    logging.exception('it failed')",
        "fail()",
    ]
    file = tmp_path / "script.py"
    file.write_text("\n".join(lines))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, str(file)], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("[redacted]") >= 4
    said = done.stderr.replace(lines[3], "")
    assert not leaks(done.stdout + said, TOKEN)


def test_rotation() -> None:
    """Of tokens that are renewed the newest are remembered; a password that lasts is never forgotten for them."""
    remember(PASSWORD)
    for number in range(500):
        remember(f"access-token-{number:05}-of-five-minutes", passing=True)
    assert without_known(f"{PASSWORD} access-token-00499-of-five-minutes") == "[redacted] [redacted]"
    assert without_known("access-token-00001-of-five-minutes") == "access-token-00001-of-five-minutes"


def test_short_words() -> None:
    """A password that is a word is found alone, and not inside of other words; a shorter one not at all."""
    remember("postgres")
    remember("qjobs")
    assert without_known("postgresql of postgres, by qjobs") == "postgresql of [redacted], by qjobs"


def test_errors_of_all_kinds() -> None:
    """The message of an error is clean when it is made, so that a log that cuts it shows no half of a secret."""
    remember(TOKEN)
    error = BackendUnavailable("x" * 490 + TOKEN, retry_after_s=1.0)
    assert not leaks(f"{error!s:.500}", TOKEN)
    assert error.retry_after_s == 1.0
