"""`qjobs serve` as a process: signals, kills, restarts, and what it listens at."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import time
from pathlib import Path

import httpx
import pytest
from http_answers import me
from serving import EMAIL, PASSWORD, ClientOf, command, login
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from qjobs.service.running import RunningService

CIRCUIT: dict[str, object] = {
    "bits": [["c", [0]]],
    "commands": [{"args": [["q", [0]], ["c", [0]]], "op": {"type": "Measure"}}],
    "implicit_permutation": [[["q", [0]], ["q", [0]]]],
    "phase": "0.0",
    "qubits": [["q", [0]]],
}
pytestmark = pytest.mark.slow


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


def test_sessions_survive_a_kill(tmp_path: Path, client_of: ClientOf) -> None:
    """Sessions go on after the service was killed and started again."""
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


def test_restart_under_a_waiting_client(tmp_path: Path, client_of: ClientOf) -> None:
    """A restart closes a status socket in a way that the client does not take for the end of its job."""
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
def test_signal_ends_the_service(tmp_path: Path, number: signal.Signals, client_of: ClientOf) -> None:
    """SIGTERM and SIGINT end the service soon and without an error, whoever is connected."""
    with RunningService(tmp_path / "service", users={EMAIL: PASSWORD}) as service:
        client = client_of(service)
        assert login(client) == 200
        process = service._process
        assert process is not None
        begin = time.monotonic()
        os.kill(process.pid, number)
        assert process.wait(30) == 0
        assert time.monotonic() - begin < 15.0, "a client that keeps its connection open holds nothing up"
        assert "Traceback" not in service.log.read_text()


def test_access_ttl(tmp_path: Path, client_of: ClientOf) -> None:
    """--access-ttl is the lifetime of access tokens."""
    options = ("--access-ttl", "1")
    with RunningService(tmp_path / "service", users={EMAIL: PASSWORD}, options=options) as service:
        client = client_of(service)
        assert login(client) == 200
        assert me(client) == 200
        time.sleep(1.1)
        assert me(client) == 401, "the refresh token beside it does not replace it"
        assert client.post("/auth/tokens/refresh").status_code == 200
        assert me(client) == 200


def test_plain_http(tmp_path: Path, client_of: ClientOf) -> None:
    """Over plain HTTP cookies are not `Secure`, unless a proxy says that it speaks TLS."""
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


def test_folder_or_port_in_use(tmp_path: Path, client_of: ClientOf) -> None:
    """A second service in the same folder or at the same port is refused in words."""
    with RunningService(tmp_path / "service", users={EMAIL: PASSWORD}) as service:
        second = command("serve", "--data", str(service.data), "--port", "0")
        assert second.returncode == 2
        assert "another service runs in" in second.stderr
        taken = command("serve", "--data", str(tmp_path / "other"), "--port", str(service.port))
        assert taken.returncode == 2
        assert f"port {service.port}" in taken.stderr
        assert "--port" in taken.stderr
        assert me(client_of(service)) == 401


def test_user_option_sets_password(tmp_path: Path, client_of: ClientOf) -> None:
    """--user replaces the password that a user had."""
    with RunningService(tmp_path / "service", users={EMAIL: PASSWORD}) as service:
        service.stop()
        assert not (service.data / "credentials").exists(), "there is a user already"
    with RunningService(tmp_path / "service", users={EMAIL: "a:new:one"}) as service:
        assert login(client_of(service), password=PASSWORD) == 401
        assert login(client_of(service), password="a:new:one") == 200


def test_listens_at_loopback(tmp_path: Path, client_of: ClientOf) -> None:
    """The service listens at 127.0.0.1 only, and warns where it was given another host."""
    with RunningService(tmp_path / "service", users={EMAIL: PASSWORD}) as service:
        assert "WARNING" not in service.log.read_text()
        with pytest.raises(OSError), socket.create_connection(("127.0.0.2", service.port), timeout=2):
            pass
    with RunningService(tmp_path / "open", users={EMAIL: PASSWORD}, options=("--host", "0.0.0.0")) as service:
        assert "WARNING: everybody who can reach 0.0.0.0" in service.log.read_text()
        assert login(client_of(service)) == 200


def test_database_is_private(tmp_path: Path) -> None:
    """Nobody else can read the database, and two folders cannot share it."""
    folder = tmp_path / "folder"
    options = ("--database", f"sqlite:///{tmp_path / 'jobs.db'}")
    folder.mkdir()
    folder.chmod(0o755)  # made by its owner before
    mask = os.umask(0o022)
    try:
        with RunningService(folder, options=options):
            files = [*folder.iterdir(), *tmp_path.glob("jobs.db*")]
            open_to_all = {path.name for path in files if path.stat().st_mode & 0o077 and path.is_file()}
            assert open_to_all == {"cert.pem"}
            with pytest.raises(RuntimeError, match="another service runs in"):
                RunningService(tmp_path / "other", options=options).start()
    finally:
        os.umask(mask)
