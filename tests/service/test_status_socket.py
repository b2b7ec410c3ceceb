"""The web socket on which a client follows the status of a job."""

from __future__ import annotations

import json
import threading
import time
import uuid
from datetime import datetime
from pathlib import Path
from socket import SHUT_RDWR
from typing import Any

import httpx
import pytest
from standing_service import Person, Standing, standing_service
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from qjobs.service import tables as schema

URL = "/api/jobs/v1beta3"
FINAL = ("COMPLETED", "CANCELLED", "ERROR", "DEPLETED", "TERMINATED")


@pytest.fixture
def job(ada: Person) -> str:
    """A job of Ada's that is SUBMITTED."""
    return ada.new_job()


def follow(who: Person, job: str, cookie: str | None = None, **options: Any) -> ClientConnection:
    """The status socket of a job, opened as the real client does."""
    url = f"{who.standing.url.replace('http', 'ws', 1)}{URL}/{job}/attributes/status/ws"
    headers = {"Cookie": f"myqos_id={who.access}"} if cookie is None else {"Cookie": cookie} if cookie else {}
    return connect(url, additional_headers=headers, **options)


def received(socket: ClientConnection) -> dict[str, Any]:
    return dict(json.loads(socket.recv(timeout=10)))


def close_code(socket: ClientConnection) -> int:
    """The code with which the service closes the socket, which sends nothing more."""
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(timeout=10)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


def test_every_change_is_sent(standing: Standing, ada: Person, job: str) -> None:
    """A socket sends the status at once and after each change, and ends normally with the job."""
    with follow(ada, job) as socket:
        assert received(socket) == ada.get(f"{URL}/{job}/attributes/status")
        for status in ("QUEUED", "RUNNING", "COMPLETED"):
            started = time.monotonic()
            standing.move(job, status, message=f"now {status}")
            frame = received(socket)
            assert time.monotonic() - started < 4, "it was not announced, but read again"
            assert (frame["status"], frame["message"]) == (status, f"now {status}")
            assert datetime.fromisoformat(frame[f"{status.lower()}_time"]).tzinfo is not None
        assert close_code(socket) == 1000


@pytest.mark.parametrize("status", FINAL)
def test_final_job(standing: Standing, ada: Person, job: str, status: str) -> None:
    """The socket of a final job sends its status and ends normally."""
    standing.move(job, status)
    with follow(ada, job) as socket:
        assert received(socket)["status"] == status
        assert close_code(socket) == 1000


@pytest.mark.parametrize("status", ["RETRYING", "CANCELLING", "QUEUED"])
def test_open_job(standing: Standing, ada: Person, job: str, status: str) -> None:
    """A socket stays open while the job is open, whatever the client sends."""
    standing.move(job, status)
    with follow(ada, job) as socket:
        assert received(socket)["status"] == status
        for words in ("what is sent is ignored", b"\xff" * 100_000):
            socket.send(words)
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0.5)
        assert socket.ping().wait(10)


def test_unannounced_change(standing: Standing, ada: Person, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that nobody announced is seen when the status is read again."""
    monkeypatch.setattr("qjobs.service.nexus.status_socket._READ_AGAIN_S", 0.2)
    with follow(ada, job) as socket:
        received(socket)
        with standing.service.db.write() as connection:
            connection.execute(schema.job.update().where(schema.job.c.job_id == job).values(message="unannounced"))
        assert received(socket)["message"] == "unannounced"


def refusal(who: Person, job: str, cookie: str | None = None) -> httpx.Response:
    with pytest.raises(InvalidStatus) as refused:
        follow(who, job, cookie)
    response = refused.value.response
    return httpx.Response(response.status_code, content=bytes(response.body or b""))


def test_socket_without_token(ada: Person, job: str) -> None:
    """Without a good access token a socket is refused before it opens."""
    for cookie in ("", "myqos_id=forged", "myqos_id=", f"other={ada.access}", f"myqos_id={ada.access}x"):
        answer = refusal(ada, job, cookie)
        assert answer.status_code == 401
        assert answer.json() == {"message": "Unauthorized"}


def test_foreign_socket(ada: Person, bob: Person, job: str) -> None:
    """A socket of another user's job is refused as one of a job that does not exist."""
    unknown = str(uuid.uuid4())
    for found in (job, unknown, "nonsense"):
        answer = refusal(bob, found)
        assert answer.status_code == 404
        assert answer.json()["message"].replace(f"'{found}'", found) == f"job {found} not found"


def test_socket_of_a_deleted_job(ada: Person, job: str) -> None:
    """The socket of a job that is deleted ends abnormally."""
    with follow(ada, job) as socket:
        received(socket)
        ada.delete(f"{URL}/{job}")
        assert close_code(socket) == 1011
    assert refusal(ada, job).status_code == 404


def test_clients_that_leave(standing: Standing, ada: Person, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept of clients that leave, with or without a closing handshake."""
    monkeypatch.setattr("qjobs.service.nexus.status_socket._READ_AGAIN_S", 3600.0)
    for _ in range(20):
        with follow(ada, job) as socket:
            received(socket)
    abrupt = follow(ada, job)
    received(abrupt)
    abrupt.socket.shutdown(SHUT_RDWR)  # no closing handshake

    def remaining() -> list[object]:
        """A handler ends a moment after its connection."""
        connections = list(standing.server.server_state.connections)
        sockets = [found for found in connections if "WebSocket" in type(found).__name__]
        return [*sockets, *standing.service.changes._waiting]

    deadline = time.monotonic() + 30
    while remaining():
        assert time.monotonic() < deadline, remaining()
        time.sleep(0.01)


def test_end_of_the_service(tmp_path: Path) -> None:
    """The end of the service closes sockets with 1012, not as the end of a job."""
    with standing_service(tmp_path) as standing:
        ada = standing.user("ada")
        job = ada.new_job()
        with follow(ada, job) as socket:
            received(socket)
            stopping = threading.Thread(target=standing.stop)
            stopping.start()
            assert close_code(socket) == 1012
            stopping.join(20)


def test_signing_out_ends_it(standing: Standing, ada: Person, job: str) -> None:
    """A socket ends with the session of whoever opened it, and sends nothing after that."""
    with follow(ada, job) as socket:
        assert received(socket)["status"] == "SUBMITTED"
        assert ada.http.post("/auth/tokens/revoke").status_code == 200
        standing.move(job, "COMPLETED")
        assert close_code(socket) == 1008
    ada.get("/api/users/v1beta2/me", code=401)
