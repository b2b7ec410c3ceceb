"""What a connection may do before anybody knows who it is: deadlines, numbers, and what bodies cost."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from serving import refused
from standing_service import GHZ, Standing, in_project, standing_service

from qjobs.service import door
from qjobs.service.certificate import ensure_certificate
from qjobs.service.door import Door, Limits
from qjobs.service.web import budget, guard, json_checks
from qjobs.service.web.budget import Budget
from qjobs.service.web.json_checks import Refused, check_json
from qjobs.service.web.turns import Turns

JSON = {"content-type": "application/json"}


@contextlib.contextmanager
def listening(folder: Path, *, tls: bool) -> Iterator[int]:
    """The port of a server behind the door, which lets three connections of an address in."""
    context = None
    if tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*ensure_certificate(folder, "127.0.0.1"))

    async def hello(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"hi"})

    made: Any = functools.partial(Door, Limits(3), context)
    server = uvicorn.Server(
        uvicorn.Config(hello, port=0, http=made, lifespan="off", log_level="critical", timeout_keep_alive=1)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(20)


def connected(port: int, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0))


def ended(connection: socket.socket) -> bool:
    """Whether the other side closes it, within the time that it has."""
    with contextlib.suppress(ConnectionResetError):
        while connection.recv(65536):
            pass
    return True


def test_connections_of_an_address(tmp_path: Path) -> None:
    """An address has so many connections, an end makes room, and another address is not affected."""
    with listening(tmp_path, tls=False) as port:
        held = [connected(port) for _ in range(3)]
        with connected(port) as one_more:
            assert ended(one_more)
        with connected(port, "127.0.0.2") as other:
            other.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert other.recv(15) == b"HTTP/1.1 200 OK"
        held.pop().close()
        answer = b""
        while answer != b"HTTP/1.1 200 OK":
            with contextlib.suppress(OSError), connected(port) as next_one:
                next_one.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                answer = next_one.recv(15)
        for each in held:
            each.close()


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HTTP/1.1\r\nhost: ", b"GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HT"],
    ids=["none", "some", "next"],
)
def test_headers_have_a_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    """Who does not end the headers of a request is closed."""
    monkeypatch.setattr(door, "_HEADERS_S", 0.2)
    with listening(tmp_path, tls=False) as port, connected(port) as slow:
        slow.sendall(sent)
        assert ended(slow)


def test_handshakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS is spoken behind the door, and a handshake has a deadline."""
    monkeypatch.setattr(door, "_HANDSHAKE_S", 0.5)
    with listening(tmp_path, tls=True) as port:
        with connected(port) as silent:
            assert ended(silent)
        trusted = ssl.create_default_context(cafile=tmp_path / "cert.pem")
        with httpx.Client(verify=trusted) as client:
            for _ in range(3):
                assert client.get(f"https://127.0.0.1:{port}/").text == "hi"
        with trusted.wrap_socket(connected(port), server_hostname="127.0.0.1") as eager:
            eager.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert eager.recv(15) == b"HTTP/1.1 200 OK"


def spoken(standing: Standing, words: bytes) -> bytes:
    """The first line of the answer on a bare connection, whose other half stays open."""
    with connected(standing.port) as bare:
        bare.sendall(words)
        return bare.recv(65536).partition(b"\r\n")[0]


def test_sign_in_before_the_body(standing_on_sqlite: Standing) -> None:
    """A route that needs a sign-in answers before a byte of the body is there, whoever announces it."""
    head = b" HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 30000\r\n\r\n"
    for path in (b"/api/circuits/v1beta2", b"/v1/job", b"/qoro/api/job/init/", b"/nothing"):
        assert spoken(standing_on_sqlite, b"POST " + path + head) == b"HTTP/1.1 401 Unauthorized"
    long = b"POST /auth/login HTTP/1.1\r\nhost: x\r\ncontent-length: 70000\r\n\r\n"
    assert spoken(standing_on_sqlite, long).startswith(b"HTTP/1.1 413 ")


def test_bodies_have_a_deadline(standing_on_sqlite: Standing, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that does not come is not waited for."""
    monkeypatch.setattr(guard, "_BODY_S", 0.2)
    words = b"POST /auth/login HTTP/1.1\r\nhost: x\r\ncontent-length: 20\r\n\r\n{"
    assert spoken(standing_on_sqlite, words).startswith(b"HTTP/1.1 408 ")


def test_safe_headers(standing_on_sqlite: Standing) -> None:
    """Every answer says that it is not to be kept and that its type is meant, and plain HTTP promises no TLS."""
    ada = standing_on_sqlite.user("ada")
    answers = [
        ada.http.get(path) for path in ("/", "/nothing", "/api/users/v1beta2/me", "/openapi.json", "/auth/device")
    ]
    answers += [httpx.post(f"{standing_on_sqlite.url}/v1/job", json={}), httpx.put(f"{standing_on_sqlite.url}/login")]
    for answer in answers:
        assert answer.headers.get_list("cache-control") == ["no-store"], answer.url
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"], answer.url
        assert "strict-transport-security" not in answer.headers
    assert {answer.status_code for answer in answers} == {200, 401, 404, 405}


def test_origin(standing_on_sqlite: Standing) -> None:
    """A form, or a web socket, that says it comes from elsewhere is refused."""
    ada = standing_on_sqlite.user("ada")
    job = ada.new_job()
    for origin in ("https://evil.test", "null", "http://127.0.0.1:1", f"{standing_on_sqlite.url}.evil.test"):
        refused(ada.http.post("/auth/signout", headers={"origin": origin}), 403)
        asked = {"origin": origin, "connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
        asked["sec-websocket-key"] = "AAAAAAAAAAAAAAAAAAAAAA=="
        assert ada.http.get(f"/api/jobs/v1beta3/{job}/attributes/status/ws", headers=asked).status_code == 403
    own = {"origin": standing_on_sqlite.url}
    assert ada.http.post(f"/api/jobs/v1beta3/{job}/rpc/cancel", headers=own).status_code == 202


@pytest.mark.parametrize("piece", [7, 8, 64, 65536])
def test_check_in_pieces(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    """Where a body is cut into pieces makes no difference: strings, escapes and depth are what they are."""
    monkeypatch.setattr(json_checks, "_PIECE", piece)
    for text in ('a\\"[[', "\\\\", '\\\\\\"{{{', "é" * 9, "", "\\\\" * 11 + '\\"[', "x" * 30):
        check_json(f'{{"a": "{text}", "b": ["{text}"], "c": "{text}"}}'.encode())
    deep = b'{"\\"[": "]", "a": [' * 50 + b"[]" + b"]}" * 50
    with pytest.raises(Refused, match="nested"):
        check_json(deep)
    check_json(deep[15:-2])
    for bad in (b'{"a": "\\u0000"}', b'["\xff"]', b'{"a": 1e999}'):
        with pytest.raises(Refused):
            check_json(bad)


def test_values_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body holds so many values; what looks like some inside of a text does not count."""
    monkeypatch.setattr(json_checks, "MAX_VALUES", 100)
    assert check_json(json.dumps(["a, b, [" * 1000] * 50).encode()) == 51
    with pytest.raises(Refused, match="more than 100 values"):
        check_json(json.dumps([[]] * 60).encode())


def test_budget() -> None:
    """Bytes in flight have a limit, half of it for one user; work waits for room, in order."""

    async def use() -> list[str]:
        bytes_of = Budget(read_bytes=100_000, work_bytes=100_000)
        bytes_of.keep("ada", 50_000)
        with pytest.raises(Refused):
            bytes_of.keep("ada", 1)
        bytes_of.keep("bob", 50_000)
        with pytest.raises(Refused):
            bytes_of.keep("eve", 1)
        bytes_of.drop("ada", 50_000)
        bytes_of.keep("eve", 1)
        order = []

        async def work(name: str, weight: int) -> None:
            async with bytes_of.working(weight):
                order.append(name)
                await asyncio.sleep(0)

        with pytest.raises(Refused, match="too much memory"):
            await work("huge", 100_001)
        await asyncio.gather(work("a", 90_000), work("b", 90_000), work("small", 10), work("c", 60_000))
        await asyncio.wait_for(work("last", 100_000), 10)
        return order

    assert asyncio.run(use()) == ["a", "small", "b", "c", "last"]


def test_budget_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who finds no room in time is told so, and takes none."""
    monkeypatch.setattr(budget, "_LONGEST_WAIT_S", 0.05)

    async def use() -> None:
        room = Budget(work_bytes=100_000)
        async with room.working(90_000):
            with pytest.raises(Refused, match="later"):
                async with room.working(20_000):
                    pass
        async with room.working(100_000):
            pass

    asyncio.run(use())


async def _stays() -> None:
    await asyncio.Event().wait()


def test_turns() -> None:
    """Addresses take turns, each in its own order, and whoever fails waits without holding others up."""

    async def use() -> list[str]:
        turns = Turns(lambda address: 0.3 if address == "bad" else 0.0, at_once=1)
        order = []

        async def sign_in(name: str, address: str, gone: Callable[[], Awaitable[object]] = _stays) -> None:
            async with turns.of(address, gone) as is_there:
                if is_there:
                    order.append(name)
                    await asyncio.sleep(0.01)

        async def hangs_up() -> None:
            return

        bad = [sign_in(f"bad {number}", "bad") for number in range(3)]
        good = [sign_in(f"good {number}", "good") for number in range(3)]
        await asyncio.gather(*bad, *good, sign_in("left", "good", hangs_up))
        return order

    assert asyncio.run(use()) == ["bad 0", "good 0", "good 1", "good 2", "bad 1", "bad 2"]


def test_storage_and_jobs_have_quotas(tmp_path: Path) -> None:
    """A user stores so much and has so many open jobs; others are not affected."""
    with standing_service(tmp_path, quotas={"database_usage": 0.001}, max_open_jobs=2) as standing:
        ada, bob = standing.user("ada"), standing.user("bob")
        project = ada.project()
        circuit = ada.circuit(project)
        large = in_project(project, {**GHZ, "commands": GHZ["commands"] * 50})
        assert "database_usage is used up" in refused(ada.http.post("/api/circuits/v1beta2", json=large), 403)
        first = ada.job(project, circuit)
        ada.job(project, circuit)
        said = refused(ada.http.post(f"/api/jobs/v1beta3/{first}/rpc/rerun", json={}), 403, 409, 422)
        standing.service.quotas.take_job(bob.user)
        assert said
        with pytest.raises(Exception, match="not final"):
            standing.service.quotas.take_job(ada.user)
        standing.move(first, "COMPLETED")
        standing.service.quotas.take_job(ada.user)
