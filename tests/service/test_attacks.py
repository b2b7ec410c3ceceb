"""Attacks on every operation: bad bodies, ids of others, bad HTTP."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import uuid
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from attack_people import LISTS, SECRET, Person
from fuzzing import BAD_BODIES, FILTERS, WISHES, Answer, Wire, operations

from qjobs.service.running import RunningService

pytestmark = pytest.mark.slow


def refused(answer: Answer, *codes: int) -> None:
    """A 4xx (one of these) that says why in `message` (Qoro: `error`), and nothing of the victim's."""
    assert answer.code in (codes or range(400, 500)), answer
    said = json.loads(answer.body)
    assert isinstance(said["message"] if "message" in said else said["error"], str), answer
    assert SECRET.encode() not in answer.body, answer


@pytest.mark.parametrize("kind", BAD_BODIES)
def test_bad_bodies_everywhere(wire: Wire, openapi: dict[str, Any], mallory: Person, kind: str) -> None:
    """Every operation with a body refuses a bad one in words."""
    codes = {}
    for method, path, described in operations(openapi):
        if "application/json" not in described.get("requestBody", {}).get("content", {}):
            continue
        if "/rpc/" in path and kind in WISHES:
            continue
        for name, value in (("job_id", mallory.jobs[0]), ("project_id", mallory.project)):
            path = path.replace("{" + name + "}", value)
        answer = wire.ask(method, path.replace("{document_id}", mallory.circuit), BAD_BODIES[kind])
        codes[method, path] = answer.code
        refused(answer)
    assert len(codes) > 15


def test_false_content_length(attacked: RunningService, mallory: Person, wire: Wire) -> None:
    """A false Content-Length breaks nothing."""
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
def test_bad_http(attacked: RunningService, wire: Wire, words: bytes) -> None:
    """What is not HTTP breaks nothing."""
    said = _spoken(attacked, words)
    assert not said.startswith(b"HTTP/1.1 5"), said
    wire.json("GET", "/api/users/v1beta2/me")


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
    """Tricks with paths, sent as they are, lead nowhere."""
    refused(wire.ask("GET", path), 400, 404, 405)


def with_ids(openapi: dict[str, Any], **ids: str) -> list[tuple[str, str]]:
    """Operations on one thing, with these ids."""
    found = []
    for method, path, described in operations(openapi):
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
    "unknown",
    ["7b0c7a0e-2f0f-4b64-9d1b-1f0c7d6f3a55", "1", "None", "' OR 1=1 --", "..", "%00", "é" * 36, "x" * 3000],
)
def test_unknown_ids(wire: Wire, openapi: dict[str, Any], mallory: Person, unknown: str) -> None:
    """Every operation refuses an id of nothing in words."""
    value = unknown if unknown == "%00" else quote(unknown, safe="")
    asked = with_ids(openapi, **dict.fromkeys(one_of_each(mallory), value))
    assert len(asked) > 20
    for method, path in asked:
        refused(wire.ask(method, path, _bodies(method, path)), 400, 404, 405)


def _without(ids: dict[str, str], answer: Answer) -> str:
    """The words of an answer, without these ids."""
    words = answer.body.decode()
    for found in ids.values():
        words = words.replace(found, "")
    return words


def test_foreign_ids(wire: Wire, openapi: dict[str, Any], victim: Person) -> None:
    """Every operation answers an id of another user's thing like an id of nothing, and reveals and changes nothing."""
    before = victim.everything()
    for document in (victim.circuit, victim.qir, *victim.files):
        theirs = {**one_of_each(victim), "document_id": document}
        nothing = {name: str(uuid.uuid4()) for name in theirs}
        asked = zip(with_ids(openapi, **theirs), with_ids(openapi, **nothing), strict=True)
        for (method, path), (_, unknown) in asked:
            found = wire.ask(method, path, _bodies(method, path))
            refused(found, 404)
            same = wire.ask(method, unknown, _bodies(method, unknown))
            assert _without(theirs, found) == _without(nothing, same), (method, path)
    for path in LISTS:
        found = wire.ask("GET", f"{path}?filter%5Bproject%5D%5Bid%5D={victim.project}")
        assert SECRET.encode() not in found.body
    assert victim.everything() == before


BROKEN = ["filter%5Bname_exact%5D=%FF%FE", "filter%5B%5D=1", "sort=", "page%5Bsize%5D=", "&&==&%", "%zz=1"]


def test_every_query(wire: Wire) -> None:
    """Every list answers every filter or refuses it in words; broken queries are no failures."""
    queries = list(BROKEN)
    for name, values in FILTERS.items():
        queries += [urlencode([(name, value)]) for value in values]
    codes = set()
    for path, query in itertools.product([*LISTS, "/api/jobs/v1beta3/meta/count"], queries):
        answer = wire.ask("GET", f"{path}?{query}")
        codes.add(answer.code)
        assert answer.code in {200, 400, 422}, (path, query, answer)
        assert SECRET.encode() not in answer.body
    assert codes >= {200, 400}
