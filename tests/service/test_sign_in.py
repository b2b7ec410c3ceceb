"""Signing in over the wire: tokens, their ends, and guessing."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from fuzzing import operations
from serving import me, only, refused
from standing_service import Standing

from qjobs.service.running import RunningService

ADA = {"email": "ada@localhost.test", "password": "ada's secret"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
Visitor = Callable[[], httpx.Client]


def test_login_sets_both_cookies(visitor: Visitor) -> None:
    """A login sets both cookies, and each of them alone signs in."""
    client = visitor()
    answer = client.post("/auth/login", json=ADA, headers={"X-qnexus-version": "0.48.2"})
    assert (answer.status_code, answer.json()) == (200, {"redirect_uri": "/"})
    cookies = answer.headers.get_list("set-cookie")
    assert sorted(cookie.partition("=")[0] for cookie in cookies) == ["myqos_id", "myqos_oat"]
    for cookie in cookies:
        assert {"HttpOnly", "Path=/", "SameSite=lax", "Secure"} == set(cookie.split("; ")[1:])
        assert len(cookie.partition("=")[2].partition(";")[0]) >= 43
    assert me(client) == 200
    for name in ("myqos_id", "myqos_oat"):
        assert me(visitor(), only(name, client.cookies[name])) == 200
    assert client.post("/auth/login/", json=ADA).status_code == 200


def test_wrong_logins_look_alike(visitor: Visitor) -> None:
    """A wrong password and an unknown user get the same answer."""
    client = visitor()
    wrong = client.post("/auth/login", json={**ADA, "password": "x"})
    nobody = client.post("/auth/login", json={"email": "nobody@localhost.test", "password": "x"})
    assert refused(wrong, 401) == refused(nobody, 401)
    assert "set-cookie" not in wrong.headers


def test_refresh(visitor: Visitor) -> None:
    """A refresh needs the refresh token, and nothing else will do."""
    client = visitor()
    client.post("/auth/login", json=ADA)
    refresh = client.cookies["myqos_oat"]
    first = client.cookies["myqos_id"]
    answer = visitor().post("/auth/tokens/refresh", headers=only("myqos_oat", refresh))
    assert answer.status_code == 200
    cookie = answer.headers.get_list("set-cookie")
    assert [name.partition("=")[0] for name in cookie] == ["myqos_id"]
    second = answer.cookies["myqos_id"]
    assert second != first
    assert me(visitor(), only("myqos_id", second)) == 200
    for token in (first, second, "", refresh[:-1], refresh + "x", "' OR '1'='1"):
        refused(visitor().post("/auth/tokens/refresh", headers=only("myqos_oat", token)), 401)


def test_token_lifetime(visitor: Visitor) -> None:
    """Either token tells the lifetime of the session, which decreases."""
    client = visitor()
    client.post("/auth/login", json=ADA)

    def ttl(name: str) -> int:
        answer = visitor().get("/auth/tokens", headers=only(name, client.cookies[name])).json()
        assert list(answer) == ["token_status"]
        return answer["token_status"]["ttl"]

    before = [ttl(name) for name in ("myqos_id", "myqos_oat")]
    assert all(type(value) is int and 29 * 86_400 < value <= 30 * 86_400 for value in before)
    time.sleep(1.1)
    assert all(late < early for early, late in zip(before, map(ttl, ("myqos_id", "myqos_oat")), strict=True))
    refused(visitor().get("/auth/tokens"), 401)


@pytest.mark.parametrize(
    "token", ["", "x", "null", "\xff\xfe", "a" * 8000, "' OR 1=1 --", "../../etc/passwd", "eyJhbGciOiJub25lIn0.e30."]
)
def test_forged_token(visitor: Visitor, token: str) -> None:
    """A forged token signs nobody in, and is no failure."""
    for name in ("myqos_id", "myqos_oat"):
        header = {b"cookie": f"{name}={token}".encode("latin-1")}
        refused(visitor().get("/api/users/v1beta2/me", headers=header), 401)


def test_no_cookie_in_other_answers(ada_client: httpx.Client) -> None:
    """Only signing in sets cookies."""
    for path in ("/api/users/v1beta2/me", "/auth/tokens", "/api/teams/v1beta2", "/", "/api/nothing"):
        assert "set-cookie" not in ada_client.get(path).headers


def test_no_secret_is_stored(visitor: Visitor, service: RunningService) -> None:
    """Neither the database nor the log holds anything with which one could sign in."""
    client = visitor()
    client.post("/auth/login", json=ADA)
    device = client.post("/auth/device/device_authorization", headers=FORM).json()
    secrets = [client.cookies["myqos_oat"], client.cookies["myqos_id"], ADA["password"], device["device_code"]]
    content = b"".join(path.read_bytes() for path in service.data.glob("service.db*")) + service.log.read_bytes()
    for word in (device["user_code"], f"{ADA['email']} signed in"):
        assert word.encode() in content, "the search finds what is there"
    assert [secret for secret in secrets if secret.encode() in content] == []
    with contextlib.closing(sqlite3.connect(service.data / "service.db")) as connection:
        hashes = [row[0] for row in connection.execute("SELECT password_hash FROM service_user")]
    assert hashes
    assert all(text.startswith("$argon2id$") for text in hashes)


@pytest.mark.slow
def test_guessing_locks_nobody_out(visitor: Visitor) -> None:
    """Twenty threads that guess are slowed down, and the right password comes through all the same, from there too."""
    eve = {"email": "Eve@localhost.test ", "password": "x"}
    right = {**eve, "password": "eve's secret"}
    ended = threading.Event()
    codes: list[int] = []

    def guess(client: httpx.Client) -> None:
        while not ended.is_set():
            codes.append(client.post("/auth/login", json=eve).status_code)

    with ThreadPoolExecutor(20) as pool:
        guessing = [pool.submit(guess, visitor()) for _ in range(20)]
        while len(codes) < 40:
            time.sleep(0.05)
        begin = time.monotonic()
        guessed = len(codes)
        answer = visitor().post("/auth/login", json=right)
        took_s = time.monotonic() - begin
        ended.set()
        for each in guessing:
            each.result()
    assert answer.status_code == 200
    assert took_s < 15.0
    assert set(codes) == {401}
    assert (len(codes) - guessed) / took_s < 30, "they are slowed down"


OPEN_TO_STRANGERS = {"/auth/login", "/login", "/auth/device/device_authorization", "/auth/device/token"}


def test_strangers_are_refused(standing_on_sqlite: Standing) -> None:
    """Every operation but those of signing in refuses whoever has no good token."""
    url = standing_on_sqlite.url
    nothing = "7b0c7a0e-2f0f-4b64-9d1b-1f0c7d6f3a55"
    forged = "myqos_id=" + "a" * 30_000
    with httpx.Client(base_url=url) as client:
        refused(client.get("/openapi.json"), 401)
        described = standing_on_sqlite.user("reader").get("/openapi.json")
        for method, path, operation in operations(described):
            if path in OPEN_TO_STRANGERS:
                continue
            for parameter in operation.get("parameters", ()):
                path = path.replace("{" + parameter["name"] + "}", nothing)
            for cookie in ("", "myqos_id=", "myqos_id=' OR 1=1 --", "myqos_oat=forged; myqos_id=x", "=;=;,", forged):
                refused(client.request(method, path, headers={"cookie": cookie}, json={}), 401)
