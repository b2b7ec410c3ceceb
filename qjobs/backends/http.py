"""HTTP for adapters: time-outs, the one table from httpx's errors to ours, retries of reads, a shared limiter.

A read is tried again; a submission never is. What a failed submission means depends on how far it got:
before a byte was sent it is `NotSent`, a 4xx answer is a refusal, and everything else is unknown.
"""

from __future__ import annotations

import email.utils
import functools
import json
import math
import random
import ssl
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Never

import httpx

from qjobs.backends.limiter import LONGEST_HOLD_S, Limiter, limiter_for
from qjobs.errors import (
    BackendUnavailable,
    CredentialsRejected,
    InvalidInput,
    NotSent,
    ProtocolError,
    SubmissionRejected,
    SubmissionUnknown,
)

__all__ = ["HttpClient", "retry_after_of", "tls_context", "words_of"]

TRANSIENT_CODES = frozenset({408, 425, 429, 500, 502, 503, 504})
_AMBIGUOUS_CODES = frozenset({303, 408, 425})
"""Below 500 and yet no proof that a submission was not carried out."""
_DEFAULT_HOLD_S = 1.0
_KEEP_ALIVE_S = 2.0
"""Shorter than any server's (uvicorn: 5 s): a POST on a connection that the server closes is a lost reply."""


class Reached(StrEnum):
    """What is known of a request that has no answer."""

    NOT_SENT = "not sent"
    MAYBE = "maybe"


REACHED: dict[type[httpx.RequestError], Reached] = {
    httpx.ConnectError: Reached.NOT_SENT,
    httpx.ConnectTimeout: Reached.NOT_SENT,
    httpx.PoolTimeout: Reached.NOT_SENT,
    httpx.ProxyError: Reached.NOT_SENT,  # a refused CONNECT: httpcore raises it for nothing else
    httpx.UnsupportedProtocol: Reached.NOT_SENT,
    httpx.CloseError: Reached.MAYBE,
    httpx.DecodingError: Reached.MAYBE,
    httpx.LocalProtocolError: Reached.MAYBE,
    httpx.ReadError: Reached.MAYBE,
    httpx.ReadTimeout: Reached.MAYBE,
    httpx.RemoteProtocolError: Reached.MAYBE,
    httpx.TooManyRedirects: Reached.MAYBE,
    httpx.WriteError: Reached.MAYBE,
    httpx.WriteTimeout: Reached.MAYBE,
}
"""The table: every error that a request of httpx ends with. One that is not in it counts as MAYBE."""


@functools.cache
def tls_context(verify: bool | str = True) -> ssl.SSLContext:
    """One for the process and each `verify`: loading the certificates takes 30 ms, as long as many requests.

    Args:
        verify: True for the usual authorities, False to trust anybody, or the path of a file of certificates.

    Raises:
        InvalidInput: There is no such file, or it holds no certificates.
    """
    if isinstance(verify, bool):
        return httpx.create_ssl_context(verify=verify)
    try:
        return ssl.create_default_context(cafile=verify)
    except OSError as error:  # ssl.SSLError is one
        raise InvalidInput(f"{verify!r} is no file of certificates: {error}", field="verify") from error


def retry_after_of(response: httpx.Response, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or a date (RFC 9110, 10.2.3), or None."""
    value = response.headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(value)
        except (ValueError, TypeError, OverflowError):
            return None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = (moment - now()).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def words_of(response: httpx.Response) -> str:
    """The provider's own words: `message`, `detail` or `error` of a JSON body, else the body's beginning."""
    try:
        body = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return response.text.strip()[:500] or response.reason_phrase
    if isinstance(body, dict):
        for name in ("message", "detail", "error"):
            if body.get(name):
                return body[name] if isinstance(body[name], str) else words_in(body[name])
    return json.dumps(body)[:500]


def words_in(value: object) -> str:
    """A message that is not a string: `{"error": {"message": ...}}`, or FastAPI's list of what is wrong."""
    if isinstance(value, dict) and isinstance(value.get("message"), str):
        return str(value["message"])
    return json.dumps(value)[:500]


class HttpClient:
    """A client of one provider. Safe to use from many threads; close it when done.

    Args:
        base_url: Where the provider is.
        name: The backend's name, for messages.
        headers: Called for every request, so that a renewed token is used at once.
        timeout_s: Connect, write and pool time-out, in seconds.
        read_timeout_s: How long an answer may take, in seconds.
        tries: How often a read is tried.
        max_hold_s: The longest pause that a request waits out by itself; a longer one is the caller's.
        limiter: Another limiter than the process's own for this account (`name`) of this provider.
        max_per_s: The most requests a second, sustained, of all clients of the account; None for any.
        rng: Source of jitter.
        sleep: How to pause.
        transport: What carries requests; None for the network.
        verify: Whose certificates are trusted, as `tls_context` has it.
        auth: What signs requests, and may send one again that was answered 401.

    Raises:
        InvalidInput: The URL is none, or `verify` no file of certificates.
    """

    def __init__(
        self,
        base_url: str,
        *,
        name: str,
        headers: Callable[[], Mapping[str, str]] = dict,
        timeout_s: float = 10.0,
        read_timeout_s: float = 120.0,
        tries: int = 3,
        max_hold_s: float = 5.0,
        limiter: Limiter | None = None,
        max_per_s: float | None = None,
        rng: random.Random | None = None,
        sleep: Callable[[float], None] = time.sleep,
        transport: httpx.BaseTransport | None = None,
        verify: bool | str = True,
        auth: httpx.Auth | None = None,
    ) -> None:
        try:
            good = httpx.URL(base_url).scheme in {"http", "https"} and bool(httpx.URL(base_url).host)
        except httpx.InvalidURL:
            good = False
        if not good:
            raise InvalidInput(f"{base_url!r} is no URL; write it as https://host/path", field="url")
        self._client = httpx.Client(
            base_url=base_url,
            timeout=httpx.Timeout(timeout_s, read=read_timeout_s),
            limits=httpx.Limits(keepalive_expiry=_KEEP_ALIVE_S),
            follow_redirects=False,
            transport=transport,
            verify=tls_context(verify),
            auth=auth,
        )
        self._name, self._headers, self._tries, self._max_hold_s = name, headers, tries, max_hold_s
        self._rng, self._sleep = rng or random.Random(), sleep  # noqa: S311
        self._limiter = limiter or limiter_for(base_url, name, max_per_s)

    def close(self) -> None:
        """Close all connections. Idempotent."""
        self._client.close()

    def read(self, method: str, path: str, *, ignore: Collection[int] = (), **options: Any) -> Any:
        """A request that may safely be sent again: GET, a cancellation, a deletion.

        Args:
            method: The HTTP method.
            path: Behind the base URL.
            ignore: Codes that count as an empty answer.
            options: As `httpx.Client.request` has them.

        Returns:
            The JSON body, or None for an empty one.

        Raises:
            BackendUnavailable: Not now, after all tries.
            CredentialsRejected: 401 or 403.
            ProtocolError: A body that is not JSON, after all tries; or another code below 500.
        """
        problem: BackendUnavailable | ProtocolError | None = None
        for attempt in range(self._tries):
            if attempt:
                self._pause(attempt)
            if not self._limiter.wait(self._max_hold_s):
                raise BackendUnavailable(
                    f"{self._name} asked to slow down" + (f": {problem}" if problem else ""),
                    retry_after_s=self._limiter.remaining_s(),
                ) from problem
            try:
                response = self._client.request(method, path, headers=self._headers_now(), **options)
            except httpx.RequestError as error:
                problem = BackendUnavailable(f"{self._name} does not answer: {_say(error)}")
                continue
            if response.status_code in ignore:
                return None
            if response.status_code in TRANSIENT_CODES or response.status_code >= 520:
                problem = BackendUnavailable(self._answered(response), retry_after_s=self._held(response))
                continue
            self._check(response)
            try:
                return response.json() if response.content else None
            except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
                problem = ProtocolError(f"{self._name} answered something that is not JSON: {error}")
        raise problem or BackendUnavailable(f"{self._name} was not asked")

    def submit(
        self,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        sending: Callable[[], None] = lambda: None,
        **options: Any,
    ) -> Any:
        """A POST that creates a job: sent once.

        Args:
            path: Behind the base URL.
            headers: In addition to those of every request.
            sending: Called when nothing is left to be done but to send; what it raises keeps it from being sent.
            options: As `httpx.Client.request` has them.

        Returns:
            The JSON body of a 2xx answer.

        Raises:
            NotSent: No byte left, or the provider said "not now" (429).
            SubmissionRejected: Another 3xx or 4xx; no job exists.
            CredentialsRejected: 401 or 403; no job exists.
            SubmissionUnknown: Anything else; a job may exist.
        """
        if not self._limiter.wait(self._max_hold_s):
            raise NotSent(f"{self._name} asked to slow down", retry_after_s=self._limiter.remaining_s())
        sent = {**self._headers_now(), **(headers or {})}
        sending()
        try:
            response = self._client.post(path, headers=sent, **options)
        except httpx.RequestError as error:
            if REACHED.get(type(error), Reached.MAYBE) is Reached.NOT_SENT:
                raise NotSent(f"{self._name} cannot be reached: {_say(error)}") from error
            raise SubmissionUnknown(f"no answer of {self._name} came back: {_say(error)}") from error
        if not response.is_success:
            self._refused(response)
        try:
            return response.json()
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise SubmissionUnknown(f"{self._name} accepted something and answered no JSON: {error}") from error

    def _refused(self, response: httpx.Response) -> Never:
        """Raise what an answer to a submission means that is no 2xx."""
        code, words, held_s = response.status_code, words_of(response), self._held(response)
        if code == 429:
            raise NotSent(self._answered(response), retry_after_s=held_s)
        if code in {401, 403}:
            self._check(response)
        if code in _AMBIGUOUS_CODES or not 300 <= code < 500:
            raise SubmissionUnknown(self._answered(response))
        raise SubmissionRejected(f"{self._name} refused the job ({code}): {words}", detail=words)

    def _headers_now(self) -> dict[str, str]:
        headers = dict(self._headers())
        for name, value in headers.items():
            if not (value.isascii() and value.isprintable()):  # h11 would refuse it halfway, as an unknown outcome
                raise CredentialsRejected(
                    f"the header {name} for {self._name} holds a line break or another character that HTTP does not "
                    "take; renew the token in the backend's block"
                )
        return headers

    def _pause(self, attempt: int) -> None:
        if self._limiter.remaining_s() <= 0:
            self._sleep(min(self._max_hold_s, 0.1 * 2**attempt) * self._rng.uniform(0.5, 1.0))

    def _held(self, response: httpx.Response) -> float | None:
        """Close the limiter if the provider asks for it; for how long it asks, in seconds."""
        retry_after_s = retry_after_of(response)
        if response.status_code == 429 and retry_after_s is None:
            retry_after_s = _DEFAULT_HOLD_S
        if retry_after_s is not None and (response.status_code == 429 or response.status_code >= 500):
            self._limiter.hold(retry_after_s)
            return min(retry_after_s, LONGEST_HOLD_S)
        return None

    def _answered(self, response: httpx.Response) -> str:
        return f"{self._name} answered {response.status_code}: {words_of(response)}"

    def _check(self, response: httpx.Response) -> None:
        """Raise for what no retry cures."""
        if response.status_code in {401, 403}:
            raise CredentialsRejected(
                f"{self._name} does not accept our credentials ({response.status_code}: {words_of(response)}); "
                "renew them in the backend's block"
            )
        if not response.is_success:
            raise ProtocolError(self._answered(response), code=response.status_code)


def _say(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
