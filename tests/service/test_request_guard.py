"""What nobody should be able to send: it is refused in words, is no failure, and the service goes on."""

from __future__ import annotations

import json
import re
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving import me, refused
from standing_service import GHZ, Standing, in_project

from qjobs.service.running import RunningService
from qjobs.service.web.json_checks import MAX_DEPTH, Refused, check_json

FORM = "application/x-www-form-urlencoded"
GRANT = "urn:ietf:params:oauth:grant-type:device_code"


@pytest.mark.parametrize(
    "body", [b"%00=%00", b"\xff=\xff", b"grant_type=" + GRANT.encode() + b"&device_code=%00", b"&" * 99]
)
def test_bad_forms(ada_client: httpx.Client, body: bytes) -> None:
    """A bad form is refused and is no failure."""
    for path in ("/auth/device/token", "/auth/device", "/auth/signin", "/auth/signout"):
        answer = ada_client.post(path, content=body, headers={"content-type": FORM})
        assert 400 <= answer.status_code < 500, (path, answer.text)


def announced(service: RunningService, size: int) -> str:
    """The answer to a request that says how long its body is, and sends nothing of it."""
    trusted = ssl.create_default_context(cafile=service.certificate)
    head = f"POST /auth/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {size}\r\n\r\n"
    with (
        socket.create_connection(("127.0.0.1", service.port), timeout=10) as plain,
        trusted.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(head.encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 413 ")
    return answer.decode()


def test_long_body_is_not_kept(ada_client: httpx.Client, service: RunningService) -> None:
    """A body that is too long is refused and never held in memory."""

    def highest_kib() -> int:
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{service.pid}/status").read_text())
        assert found is not None
        return int(found[1])

    mebibyte = b"x" * 2**20
    before = highest_kib()
    chunked: Iterator[bytes] = (mebibyte for _ in range(200))
    assert "longer than" in refused(ada_client.post("/auth/login", content=chunked), 413)
    assert "longer than" in announced(service, 10**12)
    assert highest_kib() - before < 120 * 1024
    assert me(ada_client) == 200


@pytest.mark.slow
def test_30_megabytes_of_brackets(ada_client: httpx.Client) -> None:
    """A long body of very many values is refused, and holds nobody up meanwhile."""
    item = b'{"a": [1, 2, "text with [ and { in it"]}, '
    body = b"[" + item * (30_000_000 // len(item)) + b"0]"
    refused(ada_client.post("/api/qir/v1beta", content=body, headers={"content-type": "application/json"}), 413)
    start = time.monotonic()
    assert me(ada_client) == 200
    assert time.monotonic() - start < 2, "it holds others up"


@pytest.mark.parametrize(
    "path",
    [
        "/api/users/v1beta/%00",
        "/api/users/v1beta/x%00@y",
        "/api/users/v1beta/%ff%fe",
        "/api/users/v1beta/" + "a" * 5000,
        "/api/teams/v1beta2/%F0%28%8C%28",
        "/api/teams/v1beta2/1; DROP TABLE service_user",
        "/api/resources/v1beta2/%00/assignments",
        "/api/resources/v1beta2/..%2f/assignments",
        "/api/teams/v1beta2?scope=everything",
        "/api/teams/v1beta2?filter[team][name]=%00",
        "/api/quotas/v1beta?entity_type=galaxy",
        "/api/quotas/v1beta?include_usage=maybe",
        "/api/quotas/v1beta3/guard",
        "/api/quotas/v1beta3/guard?name=' OR 1=1",
        "/nothing",
    ],
)
def test_bad_addresses(ada_client: httpx.Client, path: str) -> None:
    """A bad address is refused in words."""
    refused(ada_client.get(path), 400, 403, 404, 405, 422)


def test_bad_method_and_host(ada_client: httpx.Client) -> None:
    """A wrong method and a bad Host header are refused in words."""
    refused(ada_client.put("/auth/login"), 405)
    refused(ada_client.delete("/api/roles/v1beta"), 405)
    for host in ("[::1", "a b", "evil/path", "x@y", ""):
        refused(ada_client.get("/api/roles/v1beta", headers={"host": host}), 400)


def test_guard_accepts() -> None:
    """What only looks dangerous inside a text is accepted, as is the greatest depth."""
    brackets = b'{"a": "' + b"[{" * 5000 + b'", "b": "\\\\", "c": "\\"[[[["}'
    check_json(brackets)
    check_json(b'{"a": "\\\\u0000 NaN Infinity 1e999", "b": "\\ud83d\\ude00", "c": 1e308}')
    check_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    check_json(b"[" + b'{"a": [[], {}]}, ' * 5000 + b"[]]")
    with pytest.raises(Refused):
        check_json(b'{"a":[' * (MAX_DEPTH // 2) + b"[]" + b"]}" * (MAX_DEPTH // 2))


@pytest.mark.parametrize(
    "value", ['"a\\u0000b"', '"\\ud800"', '"\\ud83dx"', "NaN", "-Infinity", "1e999", "-1" + "0" * 400, '{"\\u0000": 1}']
)
def test_guard_refuses(value: str) -> None:
    """Characters and numbers that cannot be stored are refused, however they are written."""
    with pytest.raises(Refused):
        check_json(f'{{"data": {{"attributes": {{"properties": {{"p": [1, {value}]}}}}}}}}'.encode())


JSON = "application/json"


@pytest.mark.parametrize("value", ["NaN", "1e999", '"\\u0000"', '"\\ud800"'])
@pytest.mark.parametrize("types", [[f"{FORM}+json"], [JSON, FORM], [FORM, JSON], [JSON]])
def test_guard_ignores_content_type(standing_on_sqlite: Standing, value: str, types: list[str]) -> None:
    """No content type and no encoding brings a bad value past the guard."""
    ada = standing_on_sqlite.user("ada")
    text = f'{{"data": {{"type": "project", "attributes": {{"name": "p", "properties": {{"a": {value}}}}}}}}}'
    headers = [("content-type", each) for each in types]
    for encoding in ("utf-8", "utf-16", "utf-16-le", "utf-32"):
        answer = ada.http.post("/api/projects/v1beta2", content=text.encode(encoding), headers=headers)
        assert answer.status_code in {400, 422}, answer.text
    assert ada.get("/api/projects/v1beta2/meta/count") == {"count": 0}


@pytest.mark.parametrize("body", [b'{"a": "\xed\xa0\x80"}', b'{"a": "\xff"}', '{"a": "\x00"}'.encode("utf-16")])
def test_only_utf_8(standing_on_sqlite: Standing, body: bytes) -> None:
    """A body that is not UTF-8 is refused."""
    with pytest.raises(Refused):
        check_json(body)
    ada = standing_on_sqlite.user("ada")
    project = ada.project()
    answer = ada.http.post(
        "/api/circuits/v1beta2",
        content=json.dumps(in_project(project, {**GHZ, "odd": "?"})).encode().replace(b'"?"', body),
        headers={"content-type": JSON},
    )
    assert answer.status_code == 400, answer.text
    assert list(answer.json()) == ["message"]


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_page_of_another_site(standing_on_sqlite: Standing, site: str) -> None:
    """The page of another site can neither sign anybody in nor change anything."""
    ada = standing_on_sqlite.user("ada")
    job = ada.new_job()
    for path in (f"/api/jobs/v1beta3/{job}/rpc/cancel", "/auth/signin", "/auth/device/device_authorization"):
        answer = ada.http.post(path, headers={"sec-fetch-site": site})
        assert answer.status_code == 403, answer.text
    assert ada.get(f"/api/jobs/v1beta3/{job}/attributes/status")["status"] == "SUBMITTED"
    assert ada.http.get("/", headers={"sec-fetch-site": site}).status_code == 200
    for ours in ("same-origin", "none"):
        assert ada.http.post(f"/api/jobs/v1beta3/{job}/rpc/cancel", headers={"sec-fetch-site": ours}).status_code == 202
