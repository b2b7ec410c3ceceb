"""The pages for people: the overview, signing in and out, and approving a device."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from serving import me, only, refused
from standing_service import Standing

from qjobs.service import tables as schema
from qjobs.service.accounts.tokens import hash_of
from qjobs.service.running import RunningService

ADA = {"email": "ada@localhost.test", "password": "ada's secret"}
GRANT = "urn:ietf:params:oauth:grant-type:device_code"

Visitor = Callable[[], httpx.Client]


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


def test_device_is_approved(visitor: Visitor, service: RunningService) -> None:
    """A person approves a device on the page, and the device gets its session once."""
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


def test_device_is_denied(visitor: Visitor, ada_client: httpx.Client) -> None:
    """A device that was denied never gets a session."""
    codes = ask(visitor())
    form = {"key": key_of(ada_client.get("/auth/device").text), "user_code": codes["user_code"]}
    assert ada_client.post("/auth/device", data={**form, "decision": "deny"}).status_code == 200
    assert poll(visitor(), codes["device_code"]).json()["error"] == "EXPIRED_TOKEN"
    assert ada_client.post("/auth/device", data={**form, "decision": "approve"}).status_code == 404


def test_device_form_of_another_site(visitor: Visitor, ada_client: httpx.Client, bob_client: httpx.Client) -> None:
    """A form without the person's own key approves no device."""
    codes = ask(visitor())
    form = {"user_code": codes["user_code"], "decision": "approve"}
    refused(visitor().post("/auth/device", data=form), 401)
    for key in ("", "x", "\u00e9", key_of(bob_client.get("/auth/device").text)):
        refused(ada_client.post("/auth/device", data={**form, "key": key}), 403)
    assert poll(visitor(), codes["device_code"]).json()["error"] == "AUTHORIZATION_PENDING"


@pytest.mark.parametrize(
    "after", ["https://evil.test/", "//evil.test", "/auth/device?user_code=//evil", "/\\evil.test"]
)
def test_sign_in_redirects(visitor: Visitor, after: str) -> None:
    """Signing in leads to our own pages only."""
    answer = visitor().post("/auth/signin", data={**ADA, "next": after})
    assert answer.status_code == 303
    assert answer.headers["location"] in {"/", "/auth/device?user_code="}


def test_link_carries_no_html(ada_client: httpx.Client, visitor: Visitor) -> None:
    """What a link carries is never shown as HTML."""
    for client in (ada_client, visitor()):
        page = client.get("/auth/device", params={"user_code": '"><script>alert(1)</script>'})
        assert "<script" not in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]


def test_sign_out(visitor: Visitor) -> None:
    """Signing out on the page ends the session of both tokens."""
    person = visitor()
    page = person.post("/auth/signin", data=ADA, follow_redirects=True)
    tokens = dict(person.cookies)
    assert me(person) == 200
    refused(person.post("/auth/signout", data={"key": "x"}), 403)
    assert person.post("/auth/signout", data={"key": key_of(page.text)}).status_code == 303
    for name, value in tokens.items():
        assert me(visitor(), only(name, value)) == 401


def test_overview(ada_client: httpx.Client, visitor: Visitor) -> None:
    """A stranger sees counts on the page, and no names."""
    page = visitor().get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    for word in ("H1-1E", "Devices and queues", 'type="password"'):
        assert word in page.text
    for word in ("ada", "Your last jobs"):
        assert word not in page.text
    assert "Your last jobs" in ada_client.get("/").text


def test_names_are_text(standing_on_sqlite: Standing) -> None:
    """The page shows a user's own jobs, whatever their names are, as text."""
    person = standing_on_sqlite.user("person")
    other = standing_on_sqlite.user("other")
    for who, name in ((person, "<img src=x onerror=alert(1)> & 'x' \"y\" {{ 7*7 }}"), (other, "not theirs")):
        who.new_job(name=name)
    page = person.http.get("/").text
    assert "&lt;img src=x onerror=alert(1)&gt; &amp; &#39;x&#39; &#34;y&#34; {{ 7*7 }}" in page
    assert "<img" not in page
    assert "not theirs" not in page


def test_tokens_of_a_browser_rotate(standing: Standing) -> None:
    """A browser whose access token has ended gets other tokens with its next page; a copy of the old one ends them."""
    email = f"{uuid.uuid4().hex}@localhost.test"
    standing.service.accounts.add_user(email, "a secret")
    with httpx.Client(base_url=standing.url, timeout=60.0) as browser:
        answer = browser.post("/auth/signin", data={"email": email, "password": "a secret"})
        assert answer.status_code == 303
        stolen = browser.cookies["myqos_oat"]
        del browser.cookies["myqos_id"]
        assert email in browser.get("/").text
        assert browser.cookies["myqos_oat"] != stolen
        assert email in browser.get("/").text
        table = schema.retired_token
        with standing.service.db.write() as connection:
            long_ago = datetime.now(UTC) - timedelta(minutes=1)
            connection.execute(
                table.update().where(table.c.token_hash == hash_of(stolen)).values(retired_real=long_ago)
            )
        assert email not in httpx.get(f"{standing.url}/", headers={"cookie": f"myqos_oat={stolen}"}, timeout=60.0).text
        assert email not in browser.get("/").text, "one of the two has stolen it"
        browser.cookies.clear()
