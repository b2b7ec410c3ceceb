"""`qjobs serve` as a process: signals, kills, restarts, and what it listens at."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import httpx
import pytest
from serving import EMAIL, PASSWORD, ClientOf, command, login, me, mode

from qjobs.service.running import RunningService

pytestmark = pytest.mark.slow


def test_start_and_restart(tmp_path: Path, client_of: ClientOf) -> None:
    """A service keeps over a restart, and over a kill, what it made at its first start."""
    data = tmp_path / "deep" / "service"
    with RunningService(data) as service:
        first = service.log.read_text()
        assert service.environment["NEXUS_PROTOCOL"] == "https"
        assert service.environment["NEXUS_WEBSOCKETS_PROTOCOL"] == "wss"
        assert service.environment["NEXUS_DOMAIN"] == "127.0.0.1"
        assert service.environment["SSL_CERT_FILE"] == str(service.certificate)
        assert first.index("export SSL_CERT_FILE=") < first.index("export NEXUS_HTTPX_VERIFY=false")
        email, password = (data / "credentials").read_text().split()
        assert password in first
        client = client_of(service)
        assert login(client, email, password) == 200
        assert client.get("/").headers["strict-transport-security"] == "max-age=31536000"
        made = {path.name: path.read_bytes() for path in (data / "cert.pem", data / "key.pem", data / "credentials")}
        assert [mode(data / name) for name in ("key.pem", "credentials")] == [0o600, 0o600]
        assert mode(data) == 0o700
        url = service.url
        assert service.stop() == 0
        for end in (service.kill, service.stop):
            service.start()
            assert service.url == url
            assert me(client) == 200, "the session goes on"
            assert client.post("/auth/tokens/refresh").status_code == 200
            assert login(client_of(service), email, password) == 200
            assert {name: (data / name).read_bytes() for name in made} == made
            assert password not in service.log.read_text()[len(first) :]
            end()
            with pytest.raises(httpx.TransportError):
                me(client)


def test_interrupt(tmp_path: Path, client_of: ClientOf) -> None:
    """SIGINT ends the service as SIGTERM does: soon and without an error, whoever is connected."""
    with RunningService(tmp_path / "service", users={EMAIL: PASSWORD}) as service:
        client = client_of(service)
        assert login(client) == 200
        process = service._process
        assert process is not None
        begin = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(30) == 0
        assert time.monotonic() - begin < 15.0, "a client that keeps its connection open holds nothing up"
        assert "Traceback" not in service.log.read_text()


_SIGNALLED_INSIDE_ASYNCIO = """
import signal, sys, threading, weakref
from qjobs.cli.main import main

add = weakref.WeakSet.add

def signalled(known, item):  # asyncio keeps its tasks in a WeakSet: here one is being made
    weakref.WeakSet.add = add
    signal.raise_signal(signal.SIGTERM)
    add(known, item)

class Out:
    def write(self, text):
        if text.startswith("Serving "):
            weakref.WeakSet.add = signalled
        return sys.__stderr__.write(text)
    def flush(self):
        pass

sys.stdout = Out()
later = threading.Timer(20.0, lambda: signal.raise_signal(signal.SIGTERM))  # asyncio of a later Python keeps none
later.daemon = True
later.start()
main(["serve", "--data", sys.argv[1], "--port", "0"])
print("returned", file=sys.stderr)
"""


def test_signal_while_starting(tmp_path: Path) -> None:
    """A signal at the worst moment of asyncio's start ends the service, and leaves no thread that keeps it alive."""
    script = [sys.executable, "-c", _SIGNALLED_INSIDE_ASYNCIO, str(tmp_path / "service")]
    ended = subprocess.run(script, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "the service has ended\nreturned\n" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_plain_http(tmp_path: Path, client_of: ClientOf) -> None:
    """Over plain HTTP cookies are not `Secure`, unless a proxy says that it speaks TLS."""
    options = ("--http", "--access-ttl", "1")
    with RunningService(tmp_path / "service", users={EMAIL: PASSWORD}, options=options) as service:
        assert service.environment["NEXUS_PROTOCOL"] == "http"
        assert "SSL_CERT_FILE" not in service.environment
        assert "unencrypted" in service.log.read_text()
        assert not service.certificate.exists()
        client = client_of(service)
        plain = client.post("/auth/login", json={"email": EMAIL, "password": PASSWORD})
        assert all("Secure" not in cookie for cookie in plain.headers.get_list("set-cookie"))
        assert me(client) == 200
        time.sleep(1.1)
        assert me(client) == 401, "the refresh token beside it does not replace an access token that has ended"
        assert client.post("/auth/tokens/refresh").status_code == 200
        assert me(client) == 200
        behind = {"x-forwarded-proto": "https"}
        proxied = client.post("/auth/login", json={"email": EMAIL, "password": PASSWORD}, headers=behind)
        assert all("Secure" in cookie for cookie in proxied.headers.get_list("set-cookie"))


def test_one_place(tmp_path: Path, client_of: ClientOf) -> None:
    """A service listens at loopback only, and no second one starts in its folder or at its port."""
    with RunningService(tmp_path / "service", users={EMAIL: PASSWORD}) as service:
        assert "WARNING" not in service.log.read_text()
        with pytest.raises(OSError), socket.create_connection(("127.0.0.2", service.port), timeout=2):
            pass
        second = command("serve", "--data", str(service.data), "--port", "0")
        assert second.returncode == 2
        assert "another service runs in" in second.stderr
        taken = command("serve", "--data", str(tmp_path / "other"), "--port", str(service.port))
        assert taken.returncode == 2
        assert f"port {service.port}" in taken.stderr
        assert "--port" in taken.stderr
        assert me(client_of(service)) == 401
    with RunningService(tmp_path / "open", users={EMAIL: PASSWORD}, options=("--host", "0.0.0.0")) as service:
        assert "WARNING: everybody who can reach 0.0.0.0" in service.log.read_text()
        assert login(client_of(service)) == 200


def test_user_option_sets_password(tmp_path: Path, client_of: ClientOf) -> None:
    """--user replaces the password that a user had."""
    with RunningService(tmp_path / "service", users={EMAIL: PASSWORD}) as service:
        service.stop()
        assert not (service.data / "credentials").exists(), "there is a user already"
    with RunningService(tmp_path / "service", users={EMAIL: "a:new:one"}) as service:
        assert login(client_of(service), password=PASSWORD) == 401
        assert login(client_of(service), password="a:new:one") == 200


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


def test_until_eof(tmp_path: Path) -> None:
    """A service ends with the process that started it, however that ends."""
    code = (
        "import os, signal, sys; from pathlib import Path; from qjobs.service.running import RunningService; "
        "service = RunningService(Path(sys.argv[1])); service.start(); print(service.port, flush=True); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    folder = tmp_path / "service"
    done = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    deadline = time.monotonic() + 30.0
    with (folder / "lock").open() as lock:
        while not free(lock):
            assert time.monotonic() < deadline, "the service goes on"
            time.sleep(0.05)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(done.stdout)), timeout=5.0)


def free(lock: IO[str]) -> bool:
    """Whether no service holds its folder."""
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def test_portal_token(tmp_path: Path) -> None:
    """A token for clients of the portal is that of a user who is there."""
    with pytest.raises(RuntimeError, match="there is no such user"):
        RunningService(tmp_path / "service").portal_token("nobody@localhost.test")
