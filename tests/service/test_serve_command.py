"""`qjobs serve` as a person runs it: a process, its folder, signals, and the commands about users."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from qjobs.cli.main import main
from qjobs.service.certificate import ensure_certificate
from qjobs.service.running import RunningService

ClientOf = Callable[[RunningService], httpx.Client]
CIRCUIT: dict[str, object] = {
    "bits": [["c", [0]]],
    "commands": [{"args": [["q", [0]], ["c", [0]]], "op": {"type": "Measure"}}],
    "implicit_permutation": [[["q", [0]], ["q", [0]]]],
    "phase": "0.0",
    "qubits": [["q", [0]]],
}
EMAIL = "ada@localhost.test"
PASSWORD = "ada's secret"


@pytest.fixture
def client_of() -> Iterator[Callable[[RunningService], httpx.Client]]:
    """Makes clients that check the certificate, and closes them."""
    with contextlib.ExitStack() as stack:

        def make(service: RunningService) -> httpx.Client:
            secure = service.url.startswith("https://")
            trusted = ssl.create_default_context(cafile=service.certificate) if secure else False
            return stack.enter_context(httpx.Client(base_url=service.url, verify=trusted, timeout=30.0))

        yield make


def login(client: httpx.Client, email: str = EMAIL, password: str = PASSWORD) -> int:
    return client.post("/auth/login", json={"email": email, "password": password}).status_code


def me(client: httpx.Client) -> int:
    return client.get("/api/users/v1beta2/me").status_code


def command(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "qjobs.cli.main", *words],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def waiting_job(client: httpx.Client) -> str:
    """Id of a job of one circuit that has not begun."""

    def made(path: str, kind: str, attributes: dict[str, object], project: str = "") -> str:
        related = {"project": {"data": {"id": project, "type": "project"}}} if project else {}
        posted = {"data": {"type": kind, "attributes": attributes, "relationships": related}}
        answer = client.post(path, json=posted)
        assert answer.is_success, answer.text
        return str(answer.json()["data"]["id"])

    project = made("/api/projects/v1beta2", "project", {"name": "p", "properties": {}})
    circuit = made("/api/circuits/v1beta2", "circuit", {"name": "c", "properties": {}, **CIRCUIT}, project)
    config = {"type": "AerConfig", "noise_model": None, "simulation_method": "automatic", "n_qubits": 40}
    definition = {
        "job_definition_type": "execute_job_definition",
        "backend_config": config,
        "items": [{"program_id": circuit, "n_shots": 10}],
    }
    attributes = {"name": "j", "properties": {}, "job_type": "execute", "definition": definition}
    return made("/api/jobs/v1beta3", "job", attributes, project)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_starts_soon_and_keeps_what_it_made(tmp_path: Path, client_of: ClientOf) -> None:
    data = tmp_path / "deep" / "service"
    begin = time.monotonic()
    with RunningService(data) as service:
        assert time.monotonic() - begin < 15.0, "5 s on a machine that does nothing else"
        first = service.log.read_text()
        assert service.environment["NEXUS_PROTOCOL"] == "https"
        assert service.environment["NEXUS_WEBSOCKETS_PROTOCOL"] == "wss"
        assert service.environment["NEXUS_DOMAIN"] == "127.0.0.1"
        assert service.environment["NEXUS_HTTPX_VERIFY"] == "false"
        email, password = (data / "credentials").read_text().split()
        assert password in first
        client = client_of(service)
        assert login(client, email, password) == 200
        made = {path.name: path.read_bytes() for path in (data / "cert.pem", data / "key.pem", data / "credentials")}
        assert [mode(data / name) for name in ("key.pem", "credentials")] == [0o600, 0o600]
        assert mode(data) == 0o700
        assert service.stop() == 0

        service.start()
        assert me(client) == 200, "the session goes on"
        assert login(client_of(service), email, password) == 200
        assert {name: (data / name).read_bytes() for name in made} == made
        assert password not in service.log.read_text()[len(first) :]


def test_it_survives_being_killed(tmp_path: Path, client_of: ClientOf) -> None:
    with RunningService(tmp_path / "service", users={EMAIL: PASSWORD}) as service:
        url = service.url
        client = client_of(service)
        assert login(client) == 200
        service.kill()
        with pytest.raises(httpx.TransportError):
            me(client)
        service.start()
        assert service.url == url
        assert me(client) == 200
        assert client.post("/auth/tokens/refresh").status_code == 200


def test_a_restart_does_not_end_what_a_client_waits_for(tmp_path: Path, client_of: ClientOf) -> None:
    with RunningService(tmp_path / "service", users={EMAIL: PASSWORD}, options=("--submit-delay", "600")) as service:
        client = client_of(service)
        assert login(client) == 200
        job = waiting_job(client)
        trusted = ssl.create_default_context(cafile=service.certificate)
        url = f"wss://127.0.0.1:{service.port}/api/jobs/v1beta3/{job}/attributes/status/ws"
        cookie = {"Cookie": f"myqos_id={client.cookies['myqos_id']}"}
        with connect(url, ssl=trusted, additional_headers=cookie) as watching:
            assert json.loads(watching.recv(timeout=10))["status"] == "SUBMITTED"
            assert service.stop() == 0
            with pytest.raises(ConnectionClosedError) as closed:
                watching.recv(timeout=10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012, "the client takes a normal close for the job's end"
        service.start()
        status = client.get(f"/api/jobs/v1beta3/{job}").json()["data"]["attributes"]["status"]["status"]
        assert status == "SUBMITTED"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(tmp_path: Path, number: signal.Signals, client_of: ClientOf) -> None:
    with RunningService(tmp_path / "service", users={EMAIL: PASSWORD}) as service:
        client = client_of(service)
        assert login(client) == 200
        process = service._process
        assert process is not None
        begin = time.monotonic()
        os.kill(process.pid, number)
        assert process.wait(30) == 0
        assert time.monotonic() - begin < 4.0, "a client that keeps its connection open holds nothing up"
        assert "Traceback" not in service.log.read_text()


def test_access_tokens_live_as_long_as_it_was_told(tmp_path: Path, client_of: ClientOf) -> None:
    options = ("--access-ttl", "1")
    with RunningService(tmp_path / "service", users={EMAIL: PASSWORD}, options=options) as service:
        client = client_of(service)
        assert login(client) == 200
        assert me(client) == 200
        time.sleep(1.1)
        assert me(client) == 401, "the refresh token beside it does not replace it"
        assert client.post("/auth/tokens/refresh").status_code == 200
        assert me(client) == 200


def test_plain_http_is_for_a_proxy(tmp_path: Path, client_of: ClientOf) -> None:
    with RunningService(tmp_path / "service", users={EMAIL: PASSWORD}, options=("--http",)) as service:
        assert service.environment["NEXUS_PROTOCOL"] == "http"
        assert "NEXUS_HTTPX_VERIFY" not in service.environment
        assert "unencrypted" in service.log.read_text()
        assert not service.certificate.exists()
        client = client_of(service)
        plain = client.post("/auth/login", json={"email": EMAIL, "password": PASSWORD})
        assert all("Secure" not in cookie for cookie in plain.headers.get_list("set-cookie"))
        assert me(client) == 200
        behind = {"x-forwarded-proto": "https"}
        proxied = client.post("/auth/login", json={"email": EMAIL, "password": PASSWORD}, headers=behind)
        assert all("Secure" in cookie for cookie in proxied.headers.get_list("set-cookie"))


def test_one_service_in_a_folder_and_at_a_port(tmp_path: Path, client_of: ClientOf) -> None:
    with RunningService(tmp_path / "service", users={EMAIL: PASSWORD}) as service:
        second = command("serve", "--data", str(service.data), "--port", "0")
        assert second.returncode == 2
        assert "another service runs in" in second.stderr
        taken = command("serve", "--data", str(tmp_path / "other"), "--port", str(service.port))
        assert taken.returncode == 2
        assert f"port {service.port}" in taken.stderr
        assert "--port" in taken.stderr
        assert me(client_of(service)) == 401


def test_users_come_and_go_while_it_runs(
    tmp_path: Path, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ran(*words: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        code = main(words)
        return code, *capsys.readouterr()

    with RunningService(tmp_path / "service", users={EMAIL: PASSWORD}, options=("--clock-speed", "1000")) as service:
        where = ("--data", str(service.data))
        added = ran("serve", "users", "add", "Bob@localhost.test", "--group", "lab", *where, stdin="bob's secret\n")
        assert (added[0], added[2]) == (0, "")
        bob = client_of(service)
        assert login(bob, "bob@localhost.test", "bob's secret") == 200
        assert "already" in ran("serve", "users", "add", "bob@localhost.test", *where, stdin="x\n")[2]

        team = bob.post("/api/teams/v1beta2", json={"data": {"attributes": {"name": "lab"}}}).json()["data"]["id"]
        assert ran("serve", "users", "join", EMAIL, team, *where)[0] == 0
        ada = client_of(service)
        login(ada)
        assert [each["id"] for each in ada.get("/api/teams/v1beta2").json()["data"]] == [team]

        listed = ran("serve", *where, "users", "list")
        assert re.findall(r"\S+@\S+", listed[1]) == [EMAIL, "bob@localhost.test"]
        assert '"lab"' in ran("serve", "users", "list", "--json", *where)[1]
        assert ran("serve", "users", "remove", "bob@localhost.test", *where)[0] == 0
        assert me(bob) == 401
        assert login(client_of(service), "bob@localhost.test", "bob's secret") == 401
        gone = ran("serve", "users", "remove", "bob@localhost.test", *where)
        assert (gone[0], gone[2]) == (2, "error: there is no user bob@localhost.test\n")

        made = ran("serve", "users", "add", "bob@localhost.test", *where, stdin="\n")
        password = re.search(r"with the password (\S+)", made[1])
        assert password is not None
        assert login(client_of(service), "bob@localhost.test", password[1]) == 200


def test_a_password_on_the_command_line_is_the_password(tmp_path: Path, client_of: ClientOf) -> None:
    with RunningService(tmp_path / "service", users={EMAIL: PASSWORD}) as service:
        service.stop()
        assert not (service.data / "credentials").exists(), "there is a user already"
    with RunningService(tmp_path / "service", users={EMAIL: "a:new:one"}) as service:
        assert login(client_of(service), password=PASSWORD) == 401
        assert login(client_of(service), password="a:new:one") == 200


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--user", "ada"), "EMAIL:PASSWORD"),
        (("--user", "ada:secret"), "no e-mail address"),
        (("--devices", "/nothing/there.yaml"), "/nothing/there.yaml"),
        (("--database", "postgres//"), "URL cannot be read"),
        (("--port", "70000"), "70000"),
        (("--clock-speed", "nan"), "clock-speed"),
        (("--clock-speed", "-1"), "clock-speed"),
        (("--host", "no.such.host.invalid"), "no.such.host.invalid"),
        (("--workers", "0"), "workers"),
    ],
)
def test_what_cannot_be_served_is_told_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    try:
        code: object = main(["serve", "--data", str(tmp_path / "service"), "--port", "0", *words])
    except SystemExit as ended:  # argparse
        code = ended.code
    assert code in {1, 2}
    assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("missing", ["argon2", "uvicorn"])
def test_without_the_extra_one_sentence_says_how_to_get_it(tmp_path: Path, missing: str) -> None:
    script = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        f"from qjobs.cli.main import main; sys.exit(main(['serve', '--data', {str(tmp_path / 'd')!r}, '--port', '0']))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert missing in ended.stderr
    assert "pip install 'qjobs[service]'" in ended.stderr


def test_the_command_needs_nothing_of_the_service() -> None:
    script = (
        "import sys\nfor name in ('fastapi', 'starlette', 'uvicorn', 'argon2', 'cryptography', 'websockets'):\n"
        "    sys.modules[name] = None\nfrom qjobs.cli.main import main\nmain(['serve', '--help'])"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0
    assert "--clock-speed" in ended.stdout


def test_a_certificate_is_made_anew_only_when_it_must_be(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    certificate, key = ensure_certificate(tmp_path, "127.0.0.1", now)
    first = certificate.read_bytes()

    def anew(host: str = "127.0.0.1", later: timedelta = timedelta()) -> bool:
        before = certificate.read_bytes()
        ensure_certificate(tmp_path, host, now + later)
        assert mode(key) == 0o600
        return certificate.read_bytes() != before

    assert not anew()
    assert not anew("0.0.0.0", timedelta(days=3000))
    key.chmod(0o644)
    assert not anew()
    assert anew("quantum.example")
    assert not anew("quantum.example")
    assert anew(later=timedelta(days=3645))
    key.write_bytes(b"no key")
    assert anew()
    certificate.write_bytes(first)
    assert anew(), "another key's certificate"
    certificate.unlink()
    ensure_certificate(tmp_path, "127.0.0.1", now)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)


def test_it_listens_at_this_machine_only_and_warns_otherwise(tmp_path: Path, client_of: ClientOf) -> None:
    with RunningService(tmp_path / "service", users={EMAIL: PASSWORD}) as service:
        assert "WARNING" not in service.log.read_text()
        with pytest.raises(OSError), socket.create_connection(("127.0.0.2", service.port), timeout=2):
            pass
    with RunningService(tmp_path / "open", users={EMAIL: PASSWORD}, options=("--host", "0.0.0.0")) as service:
        assert "WARNING: everybody who reaches 0.0.0.0" in service.log.read_text()
        assert login(client_of(service)) == 200
