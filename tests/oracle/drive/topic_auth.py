"""Signing in, tokens, and the device-code flow with a browser of ours."""

from __future__ import annotations

import html
import re
import time
import webbrowser
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


def _form(page: str) -> tuple[str, dict[str, str]]:
    """Action and fields of the first form of a page."""
    form = re.search(r'<form[^>]* action="([^"]*)">(.*?)</form>', page, re.DOTALL)
    assert form is not None, page[-800:]
    fields = re.findall(r'<input[^>]*? name="(\w+)"(?: value="([^"]*)")?', form[2])
    return form[1], {name: html.unescape(value) for name, value in fields}


def _browser(address: str, new: int = 0) -> bool:
    """What a person does with the page that the client opens."""
    with httpx.Client(verify=False, follow_redirects=True, timeout=30) as browser:
        action, fields = _form(browser.get(address).text)
        filled = {**fields, "email": ADA, "password": PASSWORDS[ADA]}
        action, fields = _form(browser.post(urljoin(address, action), data=filled).text)
        assert fields.get("user_code"), fields
        page = browser.post(urljoin(address, action), data={**fields, "decision": "approve"})
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
