"""HTTP for adapters: time-outs, the one table from httpx's errors to ours, retries of reads, a shared limiter.

A read is tried again; a submission never is. What a failed submission means depends on how far it got:
before a byte was sent it is `NotSent`, a 4xx answer is a refusal, and everything else is unknown.

Every request is logged by its method and path: at DEBUG when it is answered, at INFO when it is tried again, at
WARNING when it fails. Headers, queries and bodies are never logged.
"""

from __future__ import annotations

import contextlib
import email.utils
import functools
import json
import logging
import math
import re
import ssl
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Never

import httpx

from qjobs.backends.limiter import LONGEST_HOLD_S, Limiter, back_off_s, limiter_for
from qjobs.errors import (
    BackendUnavailable,
    CredentialsRejected,
    InvalidInput,
    NotSent,
    ProtocolError,
    QJobsError,
    SubmissionRejected,
    SubmissionUnknown,
)

__all__ = ["FIRST_PAUSE_S", "READ_TRIES", "TRANSIENT_CODES", "HttpClient", "retry_after_of", "tls_context", "words_of"]

logger = logging.getLogger(__name__)

TRANSIENT_CODES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
READ_TRIES: Final = 3
FIRST_PAUSE_S: Final = 0.2
"""The longest pause before a request is tried for the second time, in seconds."""
_AMBIGUOUS_CODES: Final = frozenset({303, 408, 425})
"""Below 500 and yet no proof that a submission was not carried out."""
_CONNECT_TIMEOUT_S: Final = 10.0
_DEFAULT_HOLD_S: Final = 1.0
_LONGEST_OWN_HOLD_S: Final = 5.0
"""The longest pause that a request waits out by itself; a longer one is the caller's."""
_KEEP_ALIVE_S: Final = 2.0
"""Shorter than any server's (uvicorn: 5 s): a POST on a connection that the server closes is a lost reply."""
_MAX_WORDS: Final = 500
_SHORTEST_SECRET: Final = 12
_NOT_JSON: Final = (json.JSONDecodeError, UnicodeDecodeError, RecursionError)

MEANING: Final[dict[type[httpx.RequestError], type[NotSent] | type[SubmissionUnknown]]] = {
    httpx.ConnectError: NotSent,
    httpx.ConnectTimeout: NotSent,
    httpx.PoolTimeout: NotSent,
    httpx.ProxyError: NotSent,  # a refused CONNECT: httpcore raises it for nothing else
    httpx.UnsupportedProtocol: NotSent,
    httpx.CloseError: SubmissionUnknown,
    httpx.DecodingError: SubmissionUnknown,
    httpx.LocalProtocolError: SubmissionUnknown,
    httpx.ReadError: SubmissionUnknown,
    httpx.ReadTimeout: SubmissionUnknown,
    httpx.RemoteProtocolError: SubmissionUnknown,
    httpx.TooManyRedirects: SubmissionUnknown,
    httpx.WriteError: SubmissionUnknown,
    httpx.WriteTimeout: SubmissionUnknown,
}
"""The table: what every error of httpx means for a submission. One that is not in it counts as unknown."""


@functools.cache
def tls_context(verify: bool | str = True) -> ssl.SSLContext:
    """The TLS settings for `verify`, made once: loading the certificates takes 30 ms, as long as many requests.

    `verify` is True for the usual authorities, False to trust anybody, or the path of a file of certificates.

    Raises:
        InvalidInput: There is no such file, or no certificate is in it.
    """
    if isinstance(verify, bool):
        return httpx.create_ssl_context(verify=verify)
    try:
        return ssl.create_default_context(cafile=verify)
    except OSError as error:  # ssl.SSLError is one
        raise InvalidInput(f"{verify!r} is not a file of certificates: {error}", field="verify") from error


def retry_after_of(response: httpx.Response, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> float | None:
    """How long an answer asks to wait, in seconds; None where it does not, or in words that nobody can read.

    A Retry-After header holds seconds or a date: RFC 9110, 10.2.3.
    """
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
    """The provider's own words: `message`, `detail` or `error` of a JSON body, else the beginning of the body.

    Credentials that the request carried are blotted out, should the provider repeat them.
    """
    words = _words_in_body(response)
    for secret in _secrets_sent(response):
        words = words.replace(secret, "***")
    return words


def _words_in_body(response: httpx.Response) -> str:
    try:
        body = response.json()
    except _NOT_JSON:
        return response.text.strip()[:_MAX_WORDS] or response.reason_phrase
    found = body
    if isinstance(body, dict):
        found = body.get("message") or body.get("detail") or body.get("error") or body
    if isinstance(found, dict):  # {"error": {"message": ...}}
        found = found.get("message") or found
    return found if isinstance(found, str) else json.dumps(found)[:_MAX_WORDS]


def _secrets_sent(response: httpx.Response) -> list[str]:
    """The parts of the credentials in the headers of a request that are long enough to be secret."""
    try:
        headers = response.request.headers
    except RuntimeError:  # an answer to no request
        return []
    parts = re.split("[ ;=]", f"{headers.get('authorization', '')} {headers.get('cookie', '')}")
    return [part for part in parts if len(part) >= _SHORTEST_SECRET]


class HttpClient:
    """A client of one provider. Safe to use from many threads; close it when done.

    Args:
        name: The backend's name, for messages; with `base_url` it names the account whose limiter is shared.
        headers: Called for every request, so that a renewed token is used at once.
        read_timeout_s: How long an answer may take, in seconds.
        limiter: Another limiter than the one of this process for the account.
        max_per_s: The most requests a second, sustained, of all clients of the account; None for no limit.
        transport: What carries requests; None for the network.
        verify: Whose certificates are trusted, as `tls_context` has it.
        auth: What signs requests, and may send one again that was answered 401.

    Raises:
        InvalidInput: `base_url` is not a URL, or `verify` is not a file of certificates.
    """

    def __init__(
        self,
        base_url: str,
        *,
        name: str,
        headers: Callable[[], Mapping[str, str]] = dict,
        read_timeout_s: float = 120.0,
        limiter: Limiter | None = None,
        max_per_s: float | None = None,
        sleep: Callable[[float], None] = time.sleep,
        transport: httpx.BaseTransport | None = None,
        verify: bool | str = True,
        auth: httpx.Auth | None = None,
    ) -> None:
        _check_url(base_url)
        self._client = httpx.Client(
            base_url=base_url,
            timeout=httpx.Timeout(_CONNECT_TIMEOUT_S, read=read_timeout_s),
            limits=httpx.Limits(keepalive_expiry=_KEEP_ALIVE_S),
            follow_redirects=False,
            transport=transport,
            verify=tls_context(verify),
            auth=auth,
        )
        self._name = name
        self._headers = headers
        self._sleep = sleep
        self._limiter = limiter or limiter_for(base_url, name, max_per_s)

    def close(self) -> None:
        """Close all connections. Idempotent."""
        self._client.close()

    def read(self, method: str, path: str, *, ignore: Collection[int] = (), **options: Any) -> Any:
        """Send a request that may safely be sent again: GET, a cancellation, a deletion.

        Codes in `ignore` count as an empty answer; `options` are those of `httpx.Client.request`.

        Returns:
            The JSON body, or None for an empty one.

        Raises:
            BackendUnavailable: Not now, after all tries.
            CredentialsRejected: 401 or 403.
            ProtocolError: The body is not JSON, after all tries; or the answer is another code below 500.
        """
        with self._failure_logged(method, path):
            problem: BackendUnavailable | ProtocolError | None = None
            for failures in range(READ_TRIES):
                if problem is not None:
                    self._pause(failures, problem)
                if not self._limiter.wait(_LONGEST_OWN_HOLD_S):
                    raise BackendUnavailable(
                        f"{self._name} asked to slow down" + (f": {problem}" if problem else ""),
                        retry_after_s=self._limiter.remaining_s(),
                    ) from problem
                try:
                    response = self._client.request(method, path, headers=self._headers_now(), **options)
                except httpx.RequestError as error:
                    problem = BackendUnavailable(f"{self._name} does not answer: {_described(error)}")
                    continue
                logger.debug("%s: %s %s was answered %d", self._name, method, path, response.status_code)
                if response.status_code in ignore:
                    return None
                if response.status_code in TRANSIENT_CODES or response.status_code >= 520:
                    problem = BackendUnavailable(self._answered(response), retry_after_s=self._held(response))
                    continue
                self._check(response)
                try:
                    return response.json() if response.content else None
                except _NOT_JSON as error:
                    problem = ProtocolError(f"{self._name} gave an answer that is not JSON: {error}")
            raise problem or BackendUnavailable(f"{self._name} was not asked")

    def submit(
        self,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        sending: Callable[[], None] = lambda: None,
        **options: Any,
    ) -> Any:
        """Send a POST that creates a job, once.

        `sending` is called when nothing is left to be done but to send; what it raises keeps the request back.
        `headers` are added to those of every request; `options` are those of `httpx.Client.request`.

        Returns:
            The JSON body of a 2xx answer.

        Raises:
            NotSent: No byte left, or the provider said "not now" (429).
            SubmissionRejected: Another 3xx or 4xx; no job exists.
            CredentialsRejected: 401 or 403; no job exists.
            SubmissionUnknown: Anything else; a job may exist.
        """
        with self._failure_logged("POST", path):
            if not self._limiter.wait(_LONGEST_OWN_HOLD_S):
                raise NotSent(f"{self._name} asked to slow down", retry_after_s=self._limiter.remaining_s())
            sent = {**self._headers_now(), **(headers or {})}
            sending()
            try:
                response = self._client.post(path, headers=sent, **options)
            except httpx.RequestError as error:
                if MEANING.get(type(error)) is NotSent:
                    raise NotSent(f"{self._name} cannot be reached: {_described(error)}") from error
                raise SubmissionUnknown(f"no answer of {self._name} came back: {_described(error)}") from error
            logger.debug("%s: POST %s was answered %d", self._name, path, response.status_code)
            if not response.is_success:
                self._refuse(response)
            try:
                return response.json()
            except _NOT_JSON as error:
                raise SubmissionUnknown(f"{self._name} accepted something and answered no JSON: {error}") from error

    @contextlib.contextmanager
    def _failure_logged(self, method: str, path: str) -> Iterator[None]:
        try:
            yield
        except QJobsError as error:
            kind = type(error).__name__
            logger.warning("%s: %s %s failed: %s: %.500s", self._name, method, path, kind, error)
            raise

    def _refuse(self, response: httpx.Response) -> Never:
        """Raise what an answer to a submission means that is not a 2xx."""
        code = response.status_code
        words = words_of(response)
        held_s = self._held(response)
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

    def _pause(self, failures: int, problem: QJobsError) -> None:
        """Pause before the next try, unless the limiter does so."""
        logger.info("%s: try %d follows: %.500s", self._name, failures + 1, problem)
        if self._limiter.remaining_s() <= 0:
            self._sleep(back_off_s(failures, first_s=FIRST_PAUSE_S, longest_s=_LONGEST_OWN_HOLD_S))

    def _held(self, response: httpx.Response) -> float | None:
        """Close the limiter if the provider asks for it; for how long it asks, in seconds."""
        retry_after_s = retry_after_of(response)
        if response.status_code == 429 and retry_after_s is None:
            retry_after_s = _DEFAULT_HOLD_S
        if retry_after_s is None or not (response.status_code == 429 or response.status_code >= 500):
            return None
        self._limiter.hold(retry_after_s)
        logger.info("%s asks for a pause of %.1f s (%d)", self._name, retry_after_s, response.status_code)
        return min(retry_after_s, LONGEST_HOLD_S)

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


def _check_url(url: str) -> None:
    try:
        parsed = httpx.URL(url)
        if parsed.scheme in {"http", "https"} and parsed.host:
            return
    except httpx.InvalidURL:
        pass
    raise InvalidInput(f"{url!r} is not a URL; write it as https://host/path", field="url")


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
