"""Bad input: whatever is sent, never a 500, never another user's data, never a crash."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import socket
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from attack_people import LISTS, USERS, Person, bell, signed_in
from fuzzing import FILTERS, JUNK, SQL, Answer, Attack, Wire, operations
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from qjobs.service.running import RunningService

N_REQUESTS = 10_000
N_THREADS = 8
SECRET = "ADAS-SECRET-" + "5f2b9c"
ALWAYS_REFUSED = {
    ("GET", "/api/job_items/v1beta/{item_uuid}/runtime_traces"),  # nothing here makes any
    ("GET", "/api/qsys_results/v1beta2/partial/{result_id}"),  # nothing here runs HUGR
    ("GET", "/api/v6/remote_queue/{issuer}"),
    ("GET", "/auth/tokens"),  # these three need what a thread of the fuzzer does not send
    ("POST", "/auth/tokens/refresh"),
    ("POST", "/auth/device/token"),
    ("POST", "/auth/login"),
}
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service of this module's own. Without TLS, which is no part of this and costs the half of the time."""
    folder = tmp_path_factory.mktemp("attacked")
    options = ["--http", "--workers", "1", "--submit-delay", "0.1", "--access-ttl", "3600"]
    with RunningService(folder / "service", users=USERS, options=options) as running:
        yield running
        assert "Traceback" not in running.log.read_text(), running.log.read_text()[-3000:]


@pytest.fixture(scope="module")
def ada(attacked: RunningService) -> Person:
    return Person(attacked, "ada@localhost.test", SECRET)


@pytest.fixture(scope="module")
def mallory(attacked: RunningService) -> Person:
    return Person(attacked, "mallory@localhost.test", "mallory")


@pytest.fixture(scope="module")
def wire(mallory: Person) -> Iterator[Wire]:
    """Mallory's connection."""
    found = mallory.wire()
    yield found
    found.close()


@pytest.fixture(scope="module")
def document(wire: Wire) -> dict[str, Any]:
    """The service's OpenAPI."""
    found: dict[str, Any] = wire.json("GET", "/openapi.json")
    return found


def refused(answer: Answer, *codes: int) -> None:
    """A 4xx (one of these) that says why in `message`, and nothing of Ada's."""
    assert answer.code in (codes or range(400, 500)), answer
    assert isinstance(json.loads(answer.body)["message"], str), answer
    assert SECRET.encode() not in answer.body, answer


def test_ten_thousand_requests(
    attacked: RunningService, ada: Person, mallory: Person, document: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    before = ada.everything()
    pid = attacked.pid
    unknown = [str(uuid.UUID(int=number)) for number in range(3)]
    own = {
        "project_id": [mallory.project] * 3 + [ada.project],
        "document_id": [mallory.circuit, mallory.qir, *mallory.files, ada.circuit, ada.qir],
        # What is deleted, archived or run again is not what the other requests need.
        "DELETE project_id": [mallory.spare_projects[0], mallory.project, ada.project],
        "PATCH project_id": [mallory.spare_projects[1], ada.project],
        "DELETE job_id": [mallory.spare_jobs[0], *ada.jobs],
        "POST job_id": [*mallory.spare_jobs[1:], *ada.jobs],
        "job_id": [*mallory.jobs, *ada.jobs],
        "result_id": [mallory.result, ada.result],
        "compilation_id": [mallory.compilation, ada.compilation],
        "filter[compilation][id]": [mallory.compilation, ada.compilation],
        "team_id": [mallory.team, ada.team],
        "resource_id": [mallory.project, ada.project],
        "for_user_id": [mallory.user, ada.user],
        "entity_id": [mallory.user, ada.user],
        "user_id": [mallory.user, ada.user],
        "name": ["a name", *SQL, mallory.user, ada.user, "simulation", "ada@localhost.test"],
        "device_name": ["H1-1", "H2-1SC", "Aer"],
        "id": [mallory.project] * 5 + [ada.project, mallory.circuit],
        "definition": [mallory.definition("execute"), mallory.definition("compile"), ada.definition("execute")],
        "job_type": ["execute", "execute", "compile"],
        "backend_config": [{"type": "AerConfig"}, {"type": "QuantinuumConfig", "device_name": "H1-1"}],
        "property": ["supports_shots", "supports_nothing"],
        "contents": ["QUJD", "not base64!"],
        "color": ["#0072b2", "red"],
        "properties": [{"a": 1}, {"b": True, "c": "text", "d": 1.5}],
        **{name: [value] for name, value in bell().items()},
    }
    roles = wire_roles(mallory)
    attack = Attack(document, [*mallory.ids, *ada.ids, *unknown], {**own, "role_id": roles}, SECRET.encode())
    start = time.monotonic()

    def one(number: int) -> None:
        connection = mallory.wire()
        attack.run(connection, random.Random(number), N_REQUESTS // N_THREADS)
        connection.close()

    with ThreadPoolExecutor(N_THREADS) as pool:
        list(pool.map(one, range(N_THREADS)))
    took = time.monotonic() - start
    sent = attack.codes.total()
    good = sum(n for code, n in attack.codes.items() if code < 300)
    with capsys.disabled():
        codes = ", ".join(f"{code}: {number}" for code, number in sorted(attack.codes.items()))
        print(f"\n{sent:,} requests in {took:.0f} s ({codes})")
    assert not attack.wrong, "\n".join(attack.wrong[:10])
    assert sent == N_REQUESTS
    # It would be no attack if the first parser refused everything.
    assert sent / 5 < good < sent * 4 / 5
    every = {(method, path) for method, path, _ in operations(document)}
    assert {one for one in every - ALWAYS_REFUSED if not attack.succeeded[one]} == set()
    assert attacked.pid == pid
    assert ada.everything() == before


def wire_roles(person: Person) -> list[str]:
    wire = person.wire()
    found = [role["id"] for role in wire.json("GET", "/api/roles/v1beta")["data"]]
    wire.close()
    return found


NO_BODIES = {
    "nothing": b"",
    "cut off": b'{"data": {"attributes": {"name": "x"',
    "bytes": b"\xff\xfe\x00\x01",
    "null": b"null",
    "list": b"[]",
    "number": b"3",
    "text": b'"x"',
    "no JSON:API": b'{"name": "x"}',
    "empty data": b'{"data": {}}',
    "list of data": b'{"data": [{"attributes": {"name": "x"}}]}',
    "two values": b"{}{}",
    "NaN": b'{"data": NaN}',
    "huge number": b'{"data": {"attributes": {"name": 1e999999}}}',
    "long number": b'{"data": ' + b"9" * 100_000 + b"}",
    "surrogate": b'{"data": {"attributes": {"name": "\\ud800"}}}',
    "NUL": b'{"data": {"attributes": {"name": "\\u0000"}}}',
    "deep list": b"[" * 200_000,
    "deep list that ends": b"[" * 50_000 + b"]" * 50_000,
    "deep object": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "deep under a name": b'{"data": {"attributes": {"name": "x", "properties": ' + b'{"a":' * 900 + b"1" + b"}" * 903,
}
WISHES = {"nothing", "null", "no JSON:API", "empty data", "list of data"}
"""Bodies that `rpc/...` takes: no JSON:API, and none at all means the usual."""


@pytest.mark.parametrize("kind", NO_BODIES)
def test_bodies_that_are_none(wire: Wire, document: dict[str, Any], mallory: Person, kind: str) -> None:
    codes = {}
    for method, path, described in operations(document):
        if "application/json" not in described.get("requestBody", {}).get("content", {}):
            continue
        if "/rpc/" in path and kind in WISHES:
            continue
        for name, value in (("job_id", mallory.jobs[0]), ("project_id", mallory.project)):
            path = path.replace("{" + name + "}", value)
        answer = wire.ask(method, path.replace("{document_id}", mallory.circuit), NO_BODIES[kind])
        codes[method, path] = answer.code
        refused(answer)
    assert len(codes) > 15


def test_50_megabytes(wire: Wire, mallory: Person) -> None:
    attributes = {**bell(), "name": "large", "description": "x" * 50_000_000}
    body = {"data": {"type": "circuit", "attributes": attributes, "relationships": mallory.relationships()}}
    refused(wire.ask("POST", "/api/circuits/v1beta2", json.dumps(body).encode()))
    start = time.monotonic()
    wire.json("GET", "/api/users/v1beta2/me")
    assert time.monotonic() - start < 2


def test_more_than_the_limit(wire: Wire) -> None:
    refused(wire.ask("POST", "/api/circuits/v1beta2", b" " * (70 << 20)), 413)
    wire.json("GET", "/api/users/v1beta2/me")


def test_a_length_that_is_a_lie(attacked: RunningService, mallory: Person, wire: Wire) -> None:
    for length in ("99999999999999999999", "-1", "x", "5, 6"):
        said = _spoken(
            attacked,
            f"POST /api/circuits/v1beta2 HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {mallory.cookie}\r\n"
            f"Content-Length: {length}\r\n\r\n".encode(),
        )
        assert said[:12] in {b"HTTP/1.1 400", b"HTTP/1.1 413", b""}, said
    wire.json("GET", "/api/users/v1beta2/me")


def _spoken(service: RunningService, words: bytes) -> bytes:
    """What comes back on a bare connection."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as bare:
        said = b""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # what it does not read is thrown back
            bare.sendall(words)
            with contextlib.suppress(OSError):  # it may have hung up already
                bare.shutdown(socket.SHUT_WR)
            while part := bare.recv(65536):
                said += part
    return said


@pytest.mark.parametrize(
    "words",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET " + b"/" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\r\n" * 1000,
    ],
    ids=["TLS", "version", "long address", "long header", "broken chunk", "empty lines"],
)
def test_what_is_no_http(attacked: RunningService, wire: Wire, words: bytes) -> None:
    said = _spoken(attacked, words)
    assert not said.startswith(b"HTTP/1.1 5"), said
    wire.json("GET", "/api/users/v1beta2/me")


def with_ids(document: dict[str, Any], **ids: str) -> list[tuple[str, str]]:
    """Operations on one thing, with these ids."""
    found = []
    for method, path, described in operations(document):
        names = [one["name"] for one in described.get("parameters", ()) if one["in"] == "path"]
        if names and set(names) <= set(ids):
            found.append((method, path.format(**ids)))
    return found


def one_of_each(person: Person) -> dict[str, str]:
    return {
        "project_id": person.project,
        "document_id": person.circuit,
        "job_id": person.jobs[0],
        "result_id": person.result,
        "compilation_id": person.compilation,
        "team_id": person.team,
        "resource_id": person.project,
        "item_uuid": person.item,
    }


def _bodies(method: str, path: str) -> bytes | None:
    """Good ones, so that the id is what is wrong."""
    if method == "PATCH":
        return b'{"data": {"attributes": {"name": "stolen"}}}'
    if method == "POST":
        return b'{"name": "stolen"}' if path.endswith("rerun") else b"{}"
    return None


@pytest.mark.parametrize(
    "unknown", ["7b0c7a0e-2f0f-4b64-9d1b-1f0c7d6f3a55", "1", "None", "' OR 1=1 --", "..", "%00", "x" * 3000]
)
def test_unknown_ids(wire: Wire, document: dict[str, Any], mallory: Person, unknown: str) -> None:
    value = unknown if unknown == "%00" else quote(unknown, safe="")
    asked = with_ids(document, **dict.fromkeys(one_of_each(mallory), value))
    assert len(asked) > 20
    for method, path in asked:
        refused(wire.ask(method, path, _bodies(method, path)), 400, 404, 405)


def test_another_users_ids(wire: Wire, document: dict[str, Any], ada: Person) -> None:
    before = ada.everything()
    asked = with_ids(document, **one_of_each(ada))
    assert len(asked) > 20
    for method, path in asked:
        refused(wire.ask(method, path, _bodies(method, path)), 403, 404)
    for path in LISTS:
        found = wire.ask("GET", f"{path}?filter%5Bproject%5D%5Bid%5D={ada.project}")
        assert SECRET.encode() not in found.body
    assert ada.everything() == before


@pytest.mark.parametrize("what", ["project", "program", "team"])
def test_another_users_ids_in_bodies(wire: Wire, ada: Person, mallory: Person, what: str) -> None:
    if what == "project":
        bodies = [
            ("/api/circuits/v1beta2", {**bell(), "name": "x"}, ada),
            ("/api/qir/v1beta", {"name": "x", "contents": ""}, ada),
        ]
        job = {"name": "x", "job_type": "execute", "definition": mallory.definition("execute")}
        bodies += [("/api/jobs/v1beta3", job, ada)]
        bodies += [("/api/property_definitions/v1beta2", {"name": "x", "property_type": "int"}, ada)]
        for path, attributes, owner in bodies:
            body = {"data": {"type": "x", "attributes": attributes, "relationships": owner.relationships()}}
            refused(wire.ask("POST", path, json.dumps(body).encode()), 403, 404)
    elif what == "program":
        for kind in ("execute", "compile"):
            attributes = {"name": "x", "job_type": kind, "definition": ada.definition(kind)}
            body = {"data": {"type": "job", "attributes": attributes, "relationships": mallory.relationships()}}
            refused(wire.ask("POST", "/api/jobs/v1beta3", json.dumps(body).encode()), 400, 403, 404)
    else:
        for role in wire_roles(mallory):
            mine = {"role_id": role, "resource_id": ada.project}
            body = json.dumps({**mine, "for_user_id": mallory.user}).encode()
            refused(wire.ask("POST", "/api/assignments/v1beta2/user", body), 403, 404)
            body = json.dumps({**mine, "team_id": mallory.team}).encode()
            refused(wire.ask("POST", "/api/assignments/v1beta2/team", body), 403, 404)


def test_every_filter_of_every_list(wire: Wire) -> None:
    """Never a failure; what is not understood is refused, not passed over."""
    codes = set()
    for path, name in itertools.product([*LISTS, "/api/jobs/v1beta3/meta/count"], FILTERS):
        for value in FILTERS[name]:
            answer = wire.ask("GET", f"{path}?{urlencode([(name, value)])}")
            codes.add(answer.code)
            assert answer.code in {200, 400, 422}, (path, name, value, answer)
            assert SECRET.encode() not in answer.body
    assert codes >= {200, 400}


@pytest.mark.parametrize(
    "query", ["filter%5Bname_exact%5D=%FF%FE", "filter%5B%5D=1", "sort=", "page%5Bsize%5D=", "&&==&%", "%zz=1"]
)
def test_broken_queries(wire: Wire, query: str) -> None:
    for path in LISTS:
        answer = wire.ask("GET", f"{path}?{query}")
        assert answer.code in {200, 400, 422}, (path, answer)


@pytest.mark.parametrize(
    "words",
    [*SQL, "../../../etc/passwd", "..%2f..%2f", "C:\\windows", "<script>alert(1)</script>", "a\r\nSet-Cookie: x=y"],
)
def test_any_string_is_only_a_string(wire: Wire, mallory: Person, words: str) -> None:
    """In every field of a circuit; it comes back as it was."""
    attributes = {**bell(), "name": words, "description": words, "properties": {words: words}}
    body = {"data": {"type": "circuit", "attributes": attributes, "relationships": mallory.relationships()}}
    made = wire.json("POST", "/api/circuits/v1beta2", body)["data"]["id"]
    found = wire.ask("GET", f"/api/circuits/v1beta2/{made}")
    got = json.loads(found.body)["data"]["attributes"]
    assert (got["name"], got["description"], got["properties"]) == (words, words, {words: words})
    assert "x=y" not in found.headers
    assert "json" in found.headers


def test_the_page_shows_names_as_text(attacked: RunningService, mallory: Person, wire: Wire) -> None:
    words = "<img src=x onerror=alert(1)>"
    values = {"name": words, "job_type": "execute", "definition": mallory.definition("execute")}
    body = {"data": {"type": "job", "attributes": values, "relationships": mallory.relationships()}}
    wire.json("POST", "/api/jobs/v1beta3", body)
    page = wire.ask("GET", "/").body.decode()
    assert "&lt;img src=x" in page
    assert "<img" not in page
    assert SECRET not in page


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/api/../openapi.json/..%2f",
        "//etc/passwd",
        "/api//jobs//v1beta3",
        "/%00",
        "/%ff",
        "/." * 500,
    ],
)
def test_tricks_with_paths(wire: Wire, path: str) -> None:
    refused(wire.ask("GET", path), 400, 404, 405)


NEED_NO_TOKEN = {"/auth/login", "/auth/device/device_authorization", "/auth/device/token", "/"}


@pytest.mark.parametrize(
    "cookie",
    [
        "",
        "myqos_id=",
        "myqos_id=forged",
        "myqos_id=" + "a" * 60_000,
        "myqos_id=' OR 1=1 --",
        "myqos_oat=forged; myqos_id=x",
        "=;=;,",
    ],
    ids=["none", "empty", "forged", "long", "SQL", "both", "broken"],
)
def test_forged_tokens(attacked: RunningService, document: dict[str, Any], ada: Person, cookie: str) -> None:
    wire = Wire("127.0.0.1", attacked.port, cookie)
    for method, path, _ in operations(document):
        if path not in NEED_NO_TOKEN:
            path = path.format(**{**one_of_each(ada), "name": "x", "device_name": "Aer", "issuer": "Qiskit"})
            answer = wire.ask(method, path, _bodies(method, path))
            assert answer.code in {400, 401, 431}, (method, path, answer)
            assert SECRET.encode() not in answer.body
    wire.close()


def test_tokens_are_not_each_other(attacked: RunningService, ada: Person) -> None:
    """An access token does not refresh; the token of a login that ended opens nothing."""
    wire = Wire("127.0.0.1", attacked.port, f"myqos_oat={ada.access}")
    refused(wire.ask("POST", "/auth/tokens/refresh"), 401)
    wire.close()


def test_expired_tokens(tmp_path: Path) -> None:
    options = ["--http", "--workers", "1", "--access-ttl", "0.5"]
    with RunningService(tmp_path / "service", users=USERS, options=options) as service:
        access, _ = signed_in(service, "ada@localhost.test")
        wire = Wire("127.0.0.1", service.port, f"myqos_id={access}")
        time.sleep(0.6)
        for path in ("/api/users/v1beta2/me", "/api/projects/v1beta2", "/auth/tokens"):
            refused(wire.ask("GET", path), 401)
        wire.close()


def _knock(service: RunningService, job: str, cookie: str) -> int:
    """The code with which a web socket is refused; 101 if it opens."""
    address = f"ws://127.0.0.1:{service.port}/api/jobs/v1beta3/{job}/attributes/status/ws"
    try:
        with connect(address, additional_headers={"Cookie": cookie} if cookie else {}, open_timeout=10):
            return 101
    except InvalidStatus as refusal:
        return int(refusal.response.status_code)


def test_web_sockets(attacked: RunningService, ada: Person, mallory: Person) -> None:
    assert _knock(attacked, mallory.jobs[0], mallory.cookie) == 101
    for cookie in ("", "myqos_id=forged", "myqos_oat=forged"):
        assert _knock(attacked, ada.jobs[0], cookie) in {401, 403}, cookie
    for job in (ada.jobs[0], str(uuid.uuid4()), "x", "..%2f", "' OR 1=1"):
        assert _knock(attacked, job.replace(" ", "%20"), mallory.cookie) in {400, 403, 404}, job


def test_what_a_web_socket_is_told_does_not_matter(attacked: RunningService, mallory: Person, wire: Wire) -> None:
    for words in ("x", b"\xff" * 100_000, json.dumps(JUNK)):
        job = mallory.submit(wire, "execute")
        address = f"ws://127.0.0.1:{attacked.port}/api/jobs/v1beta3/{job}/attributes/status/ws"
        with connect(address, additional_headers={"Cookie": mallory.cookie}) as opened:
            with contextlib.suppress(ConnectionClosed):  # it may be done already
                opened.send(words)
            said = [json.loads(text)["status"] for text in opened]
        assert said[-1] == "COMPLETED"
