"""The status socket against a real web socket server that does what it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from websockets.sync.server import Server, ServerConnection, serve

from qjobs.backends.base import Snapshot
from qjobs.backends.nexus.status_socket import StatusSocket
from qjobs.backends.nexus.tokens import NexusTokens
from qjobs.errors import BackendUnavailable
from qjobs.lifecycle import JobStatus
from qjobs.model import RemoteId

JOB = RemoteId("11111111-2222-4333-8444-555555555555")


class Tokens(NexusTokens):
    """Tokens t1, t2, ... without a server."""

    def __init__(self) -> None:
        self.n = 1

    def access(self) -> str:
        return f"t{self.n}"

    def renewed(self, refused: str) -> str:
        self.n += refused == f"t{self.n}"
        return f"t{self.n}"


class Job:
    """A job whose status is read over HTTP, as it were, and told on sockets by a script."""

    def __init__(self) -> None:
        self.word = "QUEUED"
        self.asked = 0
        self.opened = 0
        self.good = "t1"
        self.paths: list[str] = []
        self.script: list[Callable[[ServerConnection], None]] = []
        self.refuse: list[int] = []
        self.fail = 0

    def ask(self, _: RemoteId) -> Snapshot | None:
        self.asked += 1
        if self.fail:
            self.fail -= 1
            raise BackendUnavailable("not now")
        return Snapshot(status=JobStatus(self.word), remote_status=self.word)

    def tell(self, connection: ServerConnection, word: str) -> None:
        self.word = word
        connection.send(json.dumps({"status": word, "message": ""}))

    def serve(self, connection: ServerConnection) -> None:
        self.opened += 1
        self.paths.append(connection.request.path)
        if self.script:
            self.script.pop(0)(connection)
        else:
            time.sleep(30)

    def admit(self, connection: ServerConnection, request: Any) -> Any:
        if self.refuse:
            return connection.respond(self.refuse.pop(0), "no")
        if request.headers["cookie"] != f"myqos_id={self.good}":
            return connection.respond(401, "who are you")
        return None


@pytest.fixture
def job() -> Iterator[Job]:
    job = Job()
    server: Server = serve(job.serve, "127.0.0.1", 0, process_request=job.admit)
    job.port = server.socket.getsockname()[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield job
    server.shutdown()
    thread.join(10)


def socket_of(job: Job, **more: Any) -> StatusSocket:
    url = more.pop("url", f"http://127.0.0.1:{job.port}")
    return StatusSocket(url=url, tokens=Tokens(), context=None, read=job.ask, **more)


def status_of(snapshot: Snapshot | None) -> JobStatus:
    assert snapshot is not None
    return snapshot.status


def test_change(job: Job) -> None:
    """A change is seen at once, and read over HTTP."""

    def script(connection: ServerConnection) -> None:
        for word in ("QUEUED", "QUEUED", "RUNNING"):
            job.tell(connection, word)
        time.sleep(5)

    job.script = [script, lambda connection: job.tell(connection, "COMPLETED")]
    seen: list[str] = []
    started = time.monotonic()
    final = socket_of(job).wait(JOB, timeout_s=20, changed=lambda each: seen.append(each.remote_status))
    assert time.monotonic() - started < 4
    assert status_of(final) is JobStatus.COMPLETED
    assert seen == ["QUEUED", "RUNNING", "COMPLETED"]
    assert job.asked == 3
    assert job.paths[0] == f"/api/jobs/v1beta3/{JOB}/attributes/status/ws"


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012])
def test_close_is_a_drop(job: Job, code: int) -> None:
    """A close before a final status is a drop, whatever its code."""

    def script(connection: ServerConnection) -> None:
        job.tell(connection, "QUEUED")
        connection.close(code)

    job.script = [script, script, lambda connection: job.tell(connection, "COMPLETED")]
    assert status_of(socket_of(job).wait(JOB, timeout_s=20)) is JobStatus.COMPLETED
    assert job.opened == 3


def test_change_during_drop(job: Job) -> None:
    """What happened during a drop is read."""

    def script(connection: ServerConnection) -> None:
        job.tell(connection, "RUNNING")
        job.word = "ERROR"
        connection.socket.close()

    job.script = [script]
    assert status_of(socket_of(job).wait(JOB, timeout_s=20)) is JobStatus.ERROR
    assert job.opened == 1


def test_no_storm(job: Job) -> None:
    """A refused socket is not asked for again and again; the vendor's client asked 1,794 times in 20 s."""
    job.refuse = [503] * 1000
    assert status_of(socket_of(job).wait(JOB, timeout_s=2.0)) is JobStatus.QUEUED
    assert 2 <= job.asked <= 6
    assert len(job.refuse) >= 994


def test_no_storm_of_reads(job: Job) -> None:
    """Sockets that close at once, or run ahead of HTTP, make no storm of reads."""

    def closes(connection: ServerConnection) -> None:
        connection.send('{"status":"QUEUED"}')
        connection.close(1000)

    def runs_ahead(connection: ServerConnection) -> None:
        connection.send('{"status":"COMPLETED"}')
        time.sleep(1)

    for script in (closes, runs_ahead):
        job.asked = 0
        job.script = [script] * 1000
        assert status_of(socket_of(job).wait(JOB, timeout_s=1.0)) is JobStatus.QUEUED
        assert 2 <= job.asked <= 10


@pytest.mark.parametrize("code", [401, 403])
def test_refused_token(job: Job, code: int) -> None:
    """A refused token is renewed."""
    job.refuse = [code]
    job.good = "t2"
    job.script = [lambda connection: job.tell(connection, "CANCELLED")]
    assert status_of(socket_of(job).wait(JOB, timeout_s=20)) is JobStatus.CANCELLED
    assert job.opened == 1


def test_no_socket(job: Job) -> None:
    """Without a socket the job is polled."""
    socket = socket_of(job, url="http://127.0.0.1:1")
    threading.Timer(0.5, lambda: setattr(job, "word", "COMPLETED")).start()
    assert status_of(socket.wait(JOB, timeout_s=20)) is JobStatus.COMPLETED


@pytest.mark.parametrize("frame", ["not JSON", "[]", '{"status":"PONDERING"}', b"\xff", "{}"])
def test_nonsense(job: Job, frame: str | bytes) -> None:
    """Nonsense on the socket ends nothing."""

    def script(connection: ServerConnection) -> None:
        connection.send(frame)
        job.tell(connection, "COMPLETED")
        time.sleep(1)

    job.script = [script, script]
    assert status_of(socket_of(job).wait(JOB, timeout_s=20)) is JobStatus.COMPLETED


def test_failed_reads(job: Job) -> None:
    """A failed read is made up for; only if none succeeds is the error raised, when the time is over."""
    job.fail = 1
    job.script = [lambda connection: job.tell(connection, "COMPLETED")]
    assert status_of(socket_of(job).wait(JOB, timeout_s=20)) is JobStatus.COMPLETED
    job.fail = 10**6
    job.word = "QUEUED"
    started = time.monotonic()
    with pytest.raises(BackendUnavailable, match="not now"):
        socket_of(job).wait(JOB, timeout_s=1.0)
    assert time.monotonic() - started < 4
