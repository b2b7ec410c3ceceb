"""Signing in: tokens and their ends, guessing, devices, and what nobody should be able to send."""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from qjobs.ledger.database import Database
from qjobs.service.accounts.accounts import Accounts
from qjobs.service.accounts.passwords import Passwords, Throttle
from qjobs.service.accounts.sessions import Pending, Sessions
from qjobs.service.errors import NotFound, TooManyRequests, Unauthorized
from qjobs.service.running import RunningService
from qjobs.service.settings import Settings
from qjobs.service.tables import SERVICE

ADA = {"email": "ada@localhost.test", "password": "ada's secret"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
GRANT = "urn:ietf:params:oauth:grant-type:device_code"

Visitor = Callable[[], httpx.Client]


def only(name: str, value: str) -> dict[str, str]:
    return {"cookie": f"{name}={value}"}


def me(client: httpx.Client, headers: dict[str, str] | None = None) -> int:
    return client.get("/api/users/v1beta2/me", headers=headers).status_code


def refused(answer: httpx.Response, *codes: int) -> str:
    assert answer.status_code in codes, (answer.status_code, answer.text)
    body = answer.json()
    assert list(body) == ["message"]
    assert isinstance(body["message"], str)
    assert body["message"]
    return str(body["message"])


def test_a_login_gives_both_cookies_and_an_object(visitor: Visitor) -> None:
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


def test_the_two_wrong_logins_look_alike(visitor: Visitor) -> None:
    client = visitor()
    wrong = client.post("/auth/login", json={**ADA, "password": "x"})
    nobody = client.post("/auth/login", json={"email": "nobody@localhost.test", "password": "x"})
    assert refused(wrong, 401) == refused(nobody, 401)
    assert "set-cookie" not in wrong.headers


def test_a_refresh_needs_the_refresh_token_only(visitor: Visitor) -> None:
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


def test_the_lifetime_is_told_by_either_token_and_decreases(visitor: Visitor) -> None:
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
def test_a_forged_token_is_nobody(visitor: Visitor, token: str) -> None:
    for name in ("myqos_id", "myqos_oat"):
        header = {b"cookie": f"{name}={token}".encode("latin-1")}
        refused(visitor().get("/api/users/v1beta2/me", headers=header), 401)


def test_ordinary_answers_set_no_cookie(ada: httpx.Client) -> None:
    for path in ("/api/users/v1beta2/me", "/auth/tokens", "/api/teams/v1beta2", "/", "/api/nothing"):
        assert "set-cookie" not in ada.get(path).headers


def test_nothing_that_signs_in_is_in_the_database(visitor: Visitor, database: Path) -> None:
    client = visitor()
    client.post("/auth/login", json=ADA)
    device = client.post("/auth/device/device_authorization", headers=FORM).json()
    secrets = [client.cookies["myqos_oat"], client.cookies["myqos_id"], ADA["password"], device["device_code"]]
    content = b"".join(path.read_bytes() for path in database.parent.glob("service.db*"))
    assert device["user_code"].encode() in content, "the search finds what is there"
    assert [secret for secret in secrets if secret.encode() in content] == []
    with sqlite3.connect(database) as connection:
        hashes = [row[0] for row in connection.execute("SELECT password_hash FROM service_user")]
    connection.close()
    assert hashes
    assert all(text.startswith("$argon2id$") for text in hashes)


def test_guessing_is_slowed_down_for_that_account_alone(visitor: Visitor) -> None:
    client = visitor()
    eve = {"email": "Eve@localhost.test ", "password": "x"}
    codes = []
    while 429 not in codes and len(codes) < 60:
        codes.append(client.post("/auth/login", json=eve).status_code)
    assert codes == [401] * (len(codes) - 1) + [429]
    assert 10 <= len(codes) <= 40
    right = client.post("/auth/login", json={"email": "eve@localhost.test", "password": "eve's secret"})
    assert "try again" in refused(right, 429)
    assert int(right.headers["retry-after"]) >= 1
    assert client.post("/auth/login", json=ADA).status_code == 200
    time.sleep(int(right.headers["retry-after"]) + 0.2)
    assert client.post("/auth/login", json={**eve, "password": "eve's secret"}).status_code == 200


def ask(client: httpx.Client) -> dict[str, str]:
    answer = client.post("/auth/device/device_authorization", data={"client_id": "scales", "scope": "myqos"})
    assert answer.status_code == 200
    body = answer.json()
    assert {"user_code", "device_code", "verification_uri_complete", "expires_in", "interval"} <= set(body)
    assert isinstance(body["expires_in"], int)
    assert isinstance(body["interval"], int)
    return body


def poll(client: httpx.Client, device_code: str) -> httpx.Response:
    fields = {"grant_type": GRANT, "device_code": device_code, "client_id": "scales"}
    return client.post("/auth/device/token", data=fields)


def key_of(page: str) -> str:
    found = re.search(r'name="key" value="(\w+)"', page)
    assert found is not None
    return found[1]


def test_a_person_lets_a_device_in_by_the_page(visitor: Visitor, service: RunningService) -> None:
    device = visitor()
    person = visitor()
    codes = ask(device)
    pending = poll(device, codes["device_code"])
    assert (pending.status_code, pending.json()["error"]) == (400, "AUTHORIZATION_PENDING")
    assert codes["verification_uri_complete"].startswith(f"{service.url}/auth/device")

    page = person.get(codes["verification_uri_complete"])
    assert 'type="password"' in page.text
    after = re.search(r'name="next" value="([^"]+)"', page.text)
    assert after is not None
    page = person.post("/auth/signin", data={**ADA, "next": after[1]}, follow_redirects=True)
    assert str(page.url) == codes["verification_uri_complete"]
    assert codes["user_code"] in page.text
    form = {"key": key_of(page.text), "user_code": codes["user_code"].lower(), "decision": "approve"}
    assert person.post("/auth/device", data=form).status_code == 200

    tokens = poll(device, codes["device_code"])
    assert tokens.status_code == 200
    assert set(tokens.json()) == {"refresh_token", "access_token", "email"}
    assert tokens.json()["email"] == ADA["email"]
    assert me(visitor(), only("myqos_id", tokens.json()["access_token"])) == 200
    renewed = visitor().post("/auth/tokens/refresh", headers=only("myqos_oat", tokens.json()["refresh_token"]))
    assert renewed.status_code == 200
    again = poll(device, codes["device_code"])
    assert (again.status_code, again.json()["error"]) == (400, "EXPIRED_TOKEN")


def test_a_device_that_was_turned_away_never_comes_in(visitor: Visitor, ada: httpx.Client) -> None:
    codes = ask(visitor())
    form = {"key": key_of(ada.get("/auth/device").text), "user_code": codes["user_code"]}
    assert ada.post("/auth/device", data={**form, "decision": "deny"}).status_code == 200
    assert poll(visitor(), codes["device_code"]).json()["error"] == "EXPIRED_TOKEN"
    assert ada.post("/auth/device", data={**form, "decision": "approve"}).status_code == 404


def test_a_device_is_let_in_by_nobody_elses_form(visitor: Visitor, ada: httpx.Client, bob: httpx.Client) -> None:
    codes = ask(visitor())
    form = {"user_code": codes["user_code"], "decision": "approve"}
    refused(visitor().post("/auth/device", data=form), 401)
    for key in ("", "x", "\u00e9", key_of(bob.get("/auth/device").text)):
        refused(ada.post("/auth/device", data={**form, "key": key}), 403)
    assert poll(visitor(), codes["device_code"]).json()["error"] == "AUTHORIZATION_PENDING"


@pytest.mark.parametrize(
    "after", ["https://evil.test/", "//evil.test", "/auth/device?user_code=//evil", "/\\evil.test"]
)
def test_signing_in_leads_to_our_pages_only(visitor: Visitor, after: str) -> None:
    answer = visitor().post("/auth/signin", data={**ADA, "next": after})
    assert answer.status_code == 303
    assert answer.headers["location"] in {"/", "/auth/device?user_code="}


def test_what_a_link_carries_is_no_html(ada: httpx.Client, visitor: Visitor) -> None:
    for client in (ada, visitor()):
        page = client.get("/auth/device", params={"user_code": '"><script>alert(1)</script>'})
        assert "<script" not in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]


def test_signing_out_of_the_page_ends_the_session(visitor: Visitor) -> None:
    person = visitor()
    page = person.post("/auth/signin", data=ADA, follow_redirects=True)
    tokens = dict(person.cookies)
    assert me(person) == 200
    refused(person.post("/auth/signout", data={"key": "x"}), 403)
    assert person.post("/auth/signout", data={"key": key_of(page.text)}).status_code == 303
    for name, value in tokens.items():
        assert me(visitor(), only(name, value)) == 401


class Parts:
    """Accounts and sessions on a database of their own, at a moment that the test sets."""

    def __init__(self, url: str) -> None:
        self.db = Database(url, SERVICE)
        self.now = datetime(2026, 1, 31, 12, tzinfo=UTC)
        passwords = Passwords()
        self.accounts = Accounts(self.db, lambda: self.now, passwords, real_now=lambda: self.now)
        settings = Settings(data=Path("unused"), access_ttl_s=60.0, refresh_ttl_s=3600.0)
        self.sessions = Sessions(self.db, self.accounts, passwords, settings, real_now=lambda: self.now)

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def parts(ledger_url: str) -> Iterator[Parts]:
    parts = Parts(ledger_url)
    yield parts
    parts.db.close()


def test_tokens_end(parts: Parts) -> None:
    user = parts.accounts.add_user("Ada@Localhost.test", "secret", groups=["lab"])
    tokens = parts.sessions.login(" ADA@localhost.test", "secret")
    assert parts.accounts.user_of_access(tokens.access) == user == tokens.user
    assert user.groups == ("lab",)
    assert parts.accounts.user_of_access(tokens.refresh) is None
    assert parts.accounts.user_of_refresh(tokens.access) is None
    parts.later(59.9)
    assert parts.accounts.user_of_access(tokens.access) == user
    parts.later(0.2)
    assert parts.accounts.user_of_access(tokens.access) is None
    second = parts.sessions.refresh(tokens.refresh)
    assert parts.accounts.user_of_access(second) == user
    assert parts.sessions.ttl_s(access=second) == pytest.approx(3600 - 60.1)
    parts.later(3600)
    assert parts.accounts.user_of_refresh(tokens.refresh) is None
    for end in (lambda: parts.sessions.refresh(tokens.refresh), lambda: parts.sessions.ttl_s(refresh=tokens.refresh)):
        with pytest.raises(Unauthorized):
            end()


def test_an_access_token_outlives_no_session(parts: Parts) -> None:
    parts.accounts.add_user("ada@localhost.test", "secret")
    tokens = parts.sessions.login("ada@localhost.test", "secret")
    parts.later(3599)
    last = parts.sessions.refresh(tokens.refresh)
    parts.later(2)
    assert parts.accounts.user_of_access(last) is None


def test_a_removed_user_is_out_at_once_and_may_come_back(parts: Parts) -> None:
    user = parts.accounts.add_user("ada@localhost.test", "secret")
    tokens = parts.sessions.login("ada@localhost.test", "secret")
    parts.accounts.remove_user("ada@localhost.test")
    assert parts.accounts.user_of_access(tokens.access) is None
    assert parts.accounts.user_of_refresh(tokens.refresh) is None
    with pytest.raises(Unauthorized):
        parts.sessions.login("ada@localhost.test", "secret")
    with pytest.raises(Unauthorized):
        parts.sessions.login("ada@localhost.test", "")
    assert parts.accounts.users() == []
    with pytest.raises(NotFound):
        parts.accounts.remove_user("ada@localhost.test")
    again = parts.accounts.add_user("ada@localhost.test", "another")
    assert again.user_id == user.user_id, "what she owned is hers again"
    assert parts.sessions.login("ada@localhost.test", "another").user == again


def test_a_device_waits_ten_minutes_and_is_let_in_once(parts: Parts) -> None:
    user = parts.accounts.add_user("ada@localhost.test", "secret")
    late = parts.sessions.request_device()
    parts.later(599)
    request = parts.sessions.request_device()
    with pytest.raises(Pending):
        parts.sessions.take_device(late.device_code)
    parts.later(2)
    with pytest.raises(NotFound):
        parts.sessions.decide_device(user, late.user_code, approve=True)
    with pytest.raises(Unauthorized):
        parts.sessions.take_device(late.device_code)
    parts.sessions.decide_device(user, request.user_code, approve=True)
    with pytest.raises(NotFound):
        parts.sessions.decide_device(user, request.user_code, approve=False)

    def take(_: int) -> bool:
        start.wait()
        try:
            return parts.sessions.take_device(request.device_code).user == user
        except Unauthorized:
            return False

    start = threading.Barrier(6)
    with ThreadPoolExecutor(6) as threads:
        assert sum(threads.map(take, range(6))) == 1


def test_who_does_not_exist_costs_as_much_time_as_who_does() -> None:
    passwords = Passwords(Throttle(lambda: 0.0))
    stored = passwords.hash("secret")

    def fastest(kept: str | None) -> float:
        times = []
        for number in range(4):
            begin = time.perf_counter()
            assert not passwords.sign_in(f"{kept}{number}", kept, "guess")
            times.append(time.perf_counter() - begin)
        return min(times)

    for nobody in (None, ""):
        assert fastest(nobody) > 0.3 * fastest(stored)


def test_the_throttle_doubles_up_to_a_minute_and_forgives() -> None:
    now = [0.0]
    throttle = Throttle(lambda: now[0])
    waits = []
    while len(waits) < 10:
        try:
            throttle.start("ada")
        except TooManyRequests as error:
            waits.append(int(error.headers["Retry-After"]))
            now[0] += waits[-1] + 0.001
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    throttle.start("bob")
    throttle.forget("ada")
    throttle.start("ada")
    throttle.start("ada")


def test_tries_at_the_same_moment_gain_nothing() -> None:
    throttle = Throttle(lambda: 0.0)
    counted = []

    def guess(_: int) -> None:
        try:
            throttle.start("ada")
            counted.append(1)
        except TooManyRequests:
            pass

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(guess, range(200)))
    assert len(counted) == 20
