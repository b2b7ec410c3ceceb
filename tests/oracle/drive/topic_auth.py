"""Signing in, tokens, and the device-code flow with a browser of ours."""

from __future__ import annotations

import time
import webbrowser
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

import httpx
import qnexus as qnx
from qnexus.client import get_nexus_client
from qnexus.config import CONFIG
from qnexus.exceptions import AuthenticationError
from session import ADA, PASSWORDS, fresh, refresh_token, refused, same, sign_in


def check_signed_in() -> None:
    same((qnx.auth.is_logged_in(), bool(qnx.users.get_self().display_name)), (True, True))


def check_refused() -> None:
    """A wrong password, a made-up user and a forged token sign nobody in."""
    error = refused(lambda: qnx.auth.login_no_interaction(ADA, "wrong", force=True), AuthenticationError)
    same("Authorization failure" in str(error), True)
    refused(lambda: qnx.auth.login_no_interaction("nobody@localhost.test", "x", force=True), AuthenticationError)
    try:
        refused(lambda: qnx.login_with_token("forged"), AuthenticationError)
        qnx.logout()
        refused(qnx.users.get_self, AuthenticationError)
    finally:
        sign_in(ADA)


def check_token_expiry() -> None:
    """The session's end comes nearer; after a refresh the client asks with the access token alone."""
    first = qnx.auth.get_token_expiry()
    time.sleep(2)
    second = qnx.auth.get_token_expiry()
    same((86_400 < first < 86_400 * 400, 1 <= first - second <= 4), (True, True))
    get_nexus_client().auth.refresh_id_token()
    same(qnx.auth.get_token_expiry() > 86_400, True)


def check_access_token_is_refreshed() -> None:
    """It lives 5 seconds here; the client refreshes at the first 401 and repeats the request."""
    kept = Path.home() / CONFIG.token_path / "id.json"
    sign_in(ADA)
    before = kept.read_text()
    time.sleep(5.5)
    name = fresh("after the token's end")
    created = qnx.projects.create(name)
    same((created.annotations.name, kept.read_text() != before), (name, True))


def check_token_in_memory() -> None:
    token = refresh_token()
    me = qnx.users.get_self()
    try:
        qnx.login_with_token(token)
        same(qnx.users.get_self(), me)
    finally:
        sign_in(ADA)


class _Form(HTMLParser):
    """Action and fields of the first form of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action = ""
        self.fields = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form" and not self.action:
            self.action = values["action"]
        elif tag == "input":
            self.fields[values["name"]] = values.get("value", "")


def _browser(address: str, new: int = 0) -> bool:
    """What a person does with the page that the client opens."""
    with httpx.Client(verify=False, follow_redirects=True, timeout=30) as browser:
        page = browser.get(address)
        form = _Form(page.text)
        assert "password" in form.fields, f"no form to sign in with: {page.status_code} {page.text[-800:]}"
        filled = {**form.fields, "email": ADA, "password": PASSWORDS[ADA]}
        page = browser.post(urljoin(address, form.action), data=filled)
        form = _Form(page.text)
        assert form.fields.get("user_code"), f"no code: {page.status_code} {page.text[-800:]}"
        page = browser.post(urljoin(address, form.action), data={**form.fields, "decision": "approve"})
        assert page.status_code == 200, page.text
    return True


def check_login_by_device_code() -> None:
    qnx.logout()
    opened, webbrowser.open = webbrowser.open, _browser
    try:
        qnx.login(force=True)
        same((qnx.auth.is_logged_in(), bool(refresh_token())), (True, True))
    finally:
        webbrowser.open = opened
        sign_in(ADA)
