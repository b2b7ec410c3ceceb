"""Tokens of Nexus: where the refresh token is found, and the access token that every request carries.

The access token lives some five minutes. It is renewed a minute earlier, and when a request is answered 401;
however many threads notice, one of them renews it and the others wait for that one.
"""

from __future__ import annotations

import http.cookies
import json
import os
import random
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

import httpx

from qjobs.backends.http import TRANSIENT_CODES, tls_context, words_of
from qjobs.errors import CredentialsRejected, NotSent

__all__ = ["ENVIRONMENT", "NexusAuth", "NexusTokens", "address_in_environment", "find_refresh_token"]

ENVIRONMENT = "QJOBS_NEXUS_TOKEN"
"""The environment variable that may hold the refresh token."""
_REFRESH = "myqos_oat"
_ACCESS = "myqos_id"
_FRESH_S = 240.0
"""An access token is valid for 300 s: https://github.com/NVIDIA/cuda-quantum, QuantinuumHelper."""
_TRIES = 3
_LOG_IN = "run: qnx login (or set QJOBS_NEXUS_TOKEN, or renew the token in the backend's block)"


def find_refresh_token(given: str | None = None) -> str:
    """The refresh token: as given, else QJOBS_NEXUS_TOKEN, else where `qnx login` keeps it.

    The file is `token.json` in ~/.qnx/auth, or in the folder NEXUS_TOKEN_PATH (relative to the home folder),
    which is how the client of Quantinuum finds it.

    Raises:
        CredentialsRejected: There is none.
    """
    token = given or os.environ.get(ENVIRONMENT, "")
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


def address_in_environment() -> tuple[str, bool]:
    """Where the variables of Quantinuum's client point (as `qjobs serve` prints them), and whether to verify it."""
    scheme, port = os.environ.get("NEXUS_PROTOCOL", "https"), os.environ.get("NEXUS_PORT", "")
    host = os.environ.get("NEXUS_DOMAIN") or os.environ.get("NEXUS_HOST") or "nexus.quantinuum.com"
    verify = os.environ.get("NEXUS_HTTPX_VERIFY", "").lower() not in {"0", "false", "no", "off"}
    return f"{scheme}://{host}" + (f":{port}" if port else ""), verify


class NexusTokens:
    """The access token of one account at one Nexus. Safe to use from many threads.

    Args:
        url: Where Nexus is.
        source: Gives the refresh token; asked at every renewal, so that a new login is used at once.
        verify: Whose certificates are trusted, as `tls_context` has it.
        fresh_s: How long an access token is used before it is renewed, in seconds.
        timeout_s: How long an answer may take, in seconds.
        monotonic: Clock.
        sleep: How to pause.
        rng: Source of jitter.
    """

    def __init__(
        self,
        url: str,
        source: Callable[[], str],
        *,
        verify: bool | str = True,
        fresh_s: float = _FRESH_S,
        timeout_s: float = 30.0,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self._source, self._fresh_s, self._monotonic, self._sleep = source, fresh_s, monotonic, sleep
        self._rng = rng or random.Random()  # noqa: S311
        self._client = httpx.Client(
            base_url=url, timeout=httpx.Timeout(10.0, read=timeout_s), verify=tls_context(verify)
        )
        self._lock = threading.Lock()
        self._access = ""
        self._stale_at = 0.0
        self._rotated: dict[str, str] = {}

    def access(self) -> str:
        """An access token that is not old; renewed first if it is.

        Raises:
            CredentialsRejected: Nexus does not take the refresh token, or there is none.
            NotSent: It cannot be renewed now, so nothing was sent.
        """
        with self._lock:
            if not self._access or self._monotonic() >= self._stale_at:
                self._renew()
            return self._access

    def renewed(self, refused: str) -> str:
        """Another access token than the one that was refused; renewed only if no other thread has done so.

        Raises:
            CredentialsRejected, NotSent: As `access`.
        """
        with self._lock:
            if self._access == refused:
                self._renew()
            return self._access

    def close(self) -> None:
        """Close the connection. Idempotent."""
        self._client.close()

    def _renew(self) -> None:
        given = self._source()
        refresh = self._rotated.get(given, given)
        if not (refresh.isascii() and refresh.isprintable()) or set(refresh) & set('; ,"'):
            raise CredentialsRejected(f"the token for Nexus holds a character that no token has; {_LOG_IN}")
        response = self._ask(refresh)
        if response.status_code in {400, 401, 403}:
            self._rotated.clear()
            raise CredentialsRejected(
                f"Nexus does not accept the refresh token ({response.status_code}: {words_of(response)}); {_LOG_IN}"
            )
        cookies = _cookies_of(response)
        if not response.is_success or not cookies.get(_ACCESS):
            raise NotSent(f"Nexus renewed no token: it answered {response.status_code}: {words_of(response)}")
        if cookies.get(_REFRESH, refresh) != refresh:
            self._rotated = {given: cookies[_REFRESH]}
        self._access = cookies[_ACCESS]
        self._stale_at = self._monotonic() + self._fresh_s

    def _ask(self, refresh: str) -> httpx.Response:
        """The answer to a renewal, which may safely be asked for again."""
        problem = ""
        for attempt in range(_TRIES):
            if attempt:
                self._sleep(0.1 * 2**attempt * self._rng.uniform(0.5, 1.0))
            self._client.cookies.clear()
            try:
                response = self._client.post("/auth/tokens/refresh", headers={"cookie": f"{_REFRESH}={refresh}"})
            except httpx.RequestError as error:
                problem = f"{type(error).__name__}: {error}"
                continue
            if response.status_code not in TRANSIENT_CODES:
                return response
            problem = f"{response.status_code}: {words_of(response)}"
        raise NotSent(f"Nexus renews no token now ({problem}), so nothing was sent")


def _cookies_of(response: httpx.Response) -> dict[str, str]:
    """What an answer sets; read from the headers, as Python's cookie jar loses those of `localhost`."""
    found: dict[str, str] = {}
    for line in response.headers.get_list("set-cookie"):
        try:
            parsed = http.cookies.SimpleCookie(line)
        except http.cookies.CookieError:
            continue
        found |= {name: morsel.value for name, morsel in parsed.items()}
    return found


class NexusAuth(httpx.Auth):
    """Signs requests; one that is answered 401 did nothing, and is sent once more with a new token.

    Args:
        tokens: Where tokens come from.
    """

    def __init__(self, tokens: NexusTokens) -> None:
        self._tokens = tokens

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """As httpx has it."""
        token = self._tokens.access()
        request.headers["cookie"] = f"{_ACCESS}={token}"
        response = yield request
        if response.status_code == httpx.codes.UNAUTHORIZED:
            response.read()
            request.headers["cookie"] = f"{_ACCESS}={self._tokens.renewed(token)}"
            yield request
