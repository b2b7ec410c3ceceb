"""Tokens of Nexus: where the refresh token is found, and the access token that every request carries.

The access token lives some five minutes. It is renewed a minute earlier, and when a read is answered 401;
however many threads notice, one of them renews it and the others wait for that one.
"""

from __future__ import annotations

import http.cookies
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final

import httpx

from qjobs.backends.http import (
    FIRST_PAUSE_S,
    READ_TRIES,
    TRANSIENT_CODES,
    code_words,
    is_this_machine,
    remember_request,
    tls_context,
)
from qjobs.backends.limiter import back_off_s
from qjobs.errors import CredentialsRejected, NotSent
from qjobs.redaction import remember

logger = logging.getLogger(__name__)

_REFRESH_COOKIE: Final = "myqos_oat"
_ACCESS_COOKIE: Final = "myqos_id"
_FRESH_S: Final = 240.0
"""An access token is valid for 300 s: https://github.com/NVIDIA/cuda-quantum, QuantinuumHelper."""
_SHORTEST_FRESH_S: Final = 10.0
_LONGEST_PAUSE_S: Final = 5.0
_LOG_IN: Final = "run: qnx login (or set QJOBS_NEXUS_TOKEN, or renew the token in the backend's block)"


def find_refresh_token(given: str | None = None) -> str:
    """The refresh token: the given one, else that of QJOBS_NEXUS_TOKEN, else the one that `qnx login` stored.

    That is in the file `token.json` in ~/.qnx/auth, or in the folder NEXUS_TOKEN_PATH (relative to the home folder),
    which is how Quantinuum's client finds it.

    Raises:
        CredentialsRejected: There is none.
    """
    token = given or os.environ.get("QJOBS_NEXUS_TOKEN", "")
    if token:
        return token
    path = Path.home() / os.environ.get("NEXUS_TOKEN_PATH", ".qnx/auth") / "token.json"
    try:
        token = json.loads(path.read_text(encoding="utf-8"))["data"]["refresh_token"]
    except FileNotFoundError:
        raise CredentialsRejected(f"there is no token for Nexus in {path}; {_LOG_IN}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CredentialsRejected(f"the token for Nexus cannot be read from {path}; {_LOG_IN}") from error
    if not isinstance(token, str) or not token:
        raise CredentialsRejected(f"{path} holds no token for Nexus; {_LOG_IN}")
    return token


def address_in_environment(url: str | None = None) -> tuple[str, bool | str]:
    """The URL that the variables of Quantinuum's client give, or `url`; and whose certificates are trusted there.

    `qjobs serve` prints these variables for its own address. NEXUS_HTTPX_VERIFY is meant for that client: here it
    switches the check off at addresses of this machine alone. SSL_CERT_FILE names certificates to trust anywhere.
    """
    scheme = os.environ.get("NEXUS_PROTOCOL", "https")
    port = os.environ.get("NEXUS_PORT", "")
    host = os.environ.get("NEXUS_DOMAIN") or os.environ.get("NEXUS_HOST") or "nexus.quantinuum.com"
    url = url or f"{scheme}://{host}" + (f":{port}" if port else "")
    trusted = os.environ.get("SSL_CERT_FILE") or True
    if os.environ.get("NEXUS_HTTPX_VERIFY", "").lower() not in {"0", "false", "no", "off"}:
        return url, trusted
    if is_this_machine(url):
        return url, False
    logger.warning(
        "NEXUS_HTTPX_VERIFY is for Quantinuum's client and this machine's own addresses: the certificate of %s is "
        "checked all the same; SSL_CERT_FILE names a file of certificates to trust",
        url,
    )
    return url, trusted


class NexusTokens:
    """The access token of one account at one Nexus. Safe to use from many threads.

    Args:
        source: Gives the refresh token; asked at every renewal, so that a new login is used at once.
        verify: Whose certificates are trusted, as `tls_context` has it.
    """

    def __init__(
        self,
        url: str,
        source: Callable[[], str],
        *,
        verify: bool | str = True,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._source = source
        self._monotonic = monotonic
        self._sleep = sleep
        self._client = httpx.Client(
            base_url=url,
            timeout=httpx.Timeout(10.0, read=30.0),
            verify=tls_context(verify),
            event_hooks={"request": [remember_request]},
        )
        self._lock = threading.Lock()
        self._access = ""
        self._stale_at = 0.0
        self._fresh_s = _FRESH_S
        self._given_at = 0.0
        self._accepted_at = float("-inf")
        self._rotated: dict[str, str] = {}
        """The refresh token that Nexus gave in exchange for another one."""

    def access(self) -> str:
        """An access token that is not old; an old one is renewed first.

        Raises:
            CredentialsRejected: Nexus does not take the refresh token, or there is none.
            NotSent: It cannot be renewed now, so nothing was sent.
        """
        with self._lock:
            if not self._access or self._monotonic() >= self._stale_at:
                self._renew()
            return self._access

    def answered(self, token: str, code: int) -> None:
        """Note whether Nexus took a token just now."""
        with self._lock:
            if token == self._access:
                is_taken = code != httpx.codes.UNAUTHORIZED
                self._accepted_at = self._monotonic() if is_taken else float("-inf")

    def accepted_within(self, seconds: float) -> bool:
        """Whether Nexus took the present token, or gave it, in the last `seconds`."""
        with self._lock:
            return self._monotonic() - self._accepted_at <= seconds

    def renewed(self, refused: str) -> str:
        """Another access token than the one that was refused; it is renewed unless another thread has just done so.

        Raises:
            CredentialsRejected, NotSent: As `access`.
        """
        with self._lock:
            if self._access == refused:
                if (
                    self._accepted_at > self._given_at
                ):  # it was good, so it has run out: the next one is renewed earlier
                    age_s = self._monotonic() - self._given_at
                    self._fresh_s = max(_SHORTEST_FRESH_S, min(self._fresh_s, 0.7 * age_s))
                self._renew()
            return self._access

    def close(self) -> None:
        """Close the connection. Idempotent."""
        self._client.close()

    def _renew(self) -> None:
        given = self._source()
        refresh = self._rotated.get(given, given)
        for token in (given, refresh):
            remember(token, passing=True)
        if not (refresh.isascii() and refresh.isprintable()) or set(refresh) & set('; ,"'):
            raise CredentialsRejected(f"the token for Nexus holds a character that no token has; {_LOG_IN}")
        response = self._request_renewal(refresh)
        if response.status_code in {400, 401, 403}:
            self._rotated.clear()
            logger.warning("the refresh token for %s is refused (%d)", self._client.base_url.host, response.status_code)
            raise CredentialsRejected(
                f"Nexus does not accept the refresh token ({response.status_code}: {code_words(response)}); {_LOG_IN}"
            )
        cookies = _cookies_of(response)
        for token in cookies.values():
            remember(token, passing=True)
        if not response.is_success or not cookies.get(_ACCESS_COOKIE):
            raise NotSent(f"Nexus renewed no token: it answered {response.status_code}: {code_words(response)}")
        if cookies.get(_REFRESH_COOKIE, refresh) != refresh:
            self._rotated = {given: cookies[_REFRESH_COOKIE]}
        self._access = cookies[_ACCESS_COOKIE]
        self._given_at = self._accepted_at = self._monotonic()
        self._stale_at = self._given_at + self._fresh_s
        logger.debug("renewed the access token for %s", self._client.base_url.host)

    def _request_renewal(self, refresh: str) -> httpx.Response:
        """The answer to a renewal, which may safely be tried again."""
        problem = ""
        for failures in range(READ_TRIES):
            if failures:
                logger.info("the access token for %s is not renewed yet: %.500s", self._client.base_url.host, problem)
                self._sleep(back_off_s(failures, first_s=FIRST_PAUSE_S, longest_s=_LONGEST_PAUSE_S))
            self._client.cookies.clear()
            try:
                response = self._client.post("/auth/tokens/refresh", headers={"cookie": f"{_REFRESH_COOKIE}={refresh}"})
            except httpx.RequestError as error:
                problem = f"{type(error).__name__}: {error}"
                continue
            if response.status_code not in TRANSIENT_CODES:
                return response
            problem = f"{response.status_code}: {code_words(response)}"
        logger.warning("the access token for %s cannot be renewed: %.500s", self._client.base_url.host, problem)
        raise NotSent(f"Nexus renews no token now ({problem}), so nothing was sent")


def _cookies_of(response: httpx.Response) -> dict[str, str]:
    """The cookies that an answer sets, read from its headers: Python's cookie jar loses those of `localhost`."""
    found: dict[str, str] = {}
    for line in response.headers.get_list("set-cookie"):
        try:
            parsed = http.cookies.SimpleCookie(line)
        except http.cookies.CookieError:
            continue
        for name, morsel in parsed.items():
            found[name] = morsel.value
    return found


class NexusAuth(httpx.Auth):
    """Signs requests; a read that is answered 401 is sent once more with a new token.

    After the POST of a job it only renews the token: `HttpClient.submit` lets nothing be sent twice.
    """

    def __init__(self, tokens: NexusTokens) -> None:
        self._tokens = tokens

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Put the access token into a request; send it once more if it is answered 401."""
        token = self._tokens.access()
        request.headers["cookie"] = f"{_ACCESS_COOKIE}={token}"
        response = yield request
        if response.status_code == httpx.codes.UNAUTHORIZED:
            response.read()
            token = self._tokens.renewed(token)
            request.headers["cookie"] = f"{_ACCESS_COOKIE}={token}"
            response = yield request
        self._tokens.answered(token, response.status_code)
