"""HTTP for adapters: time-outs, the one table from httpx's errors to ours, retries of reads, a shared limiter.

A read is tried again; a submission never is. What a failed submission means depends on how far it got: before a byte
was sent it is `NotSent`; a 4xx answer whose body proves that it is the provider's own is a refusal; everything else is
unknown, because a gateway may answer 401 or 429 after the provider has made the job.

Every request is logged by its method and path: at DEBUG when it is answered, at INFO when it is tried again, at
WARNING when it fails. Headers, queries and bodies are never logged. The credentials of every request are remembered, so
that nothing that this process writes has them (`qjobs.redaction`), whoever repeats them. Every request says that it is
of this library, and of which version: `User-Agent: qjobs/0.1.0`.
"""

from __future__ import annotations

import contextlib
import email.utils
import functools
import http
import ipaddress
import json
import logging
import math
import ssl
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, Never

import httpx

from qjobs.backends.limiter import LONGEST_HOLD_S, Limiter, back_off_s, limiter_for
from qjobs.errors import (
    BackendUnavailable,
    CredentialsRejected,
    InvalidCircuit,
    InvalidInput,
    NotSent,
    ProtocolError,
    QJobsError,
    SubmissionRejected,
    SubmissionUnknown,
)
from qjobs.redaction import bounded, kept, redacted, remember_headers, remember_url

__all__ = [
    "FIRST_PAUSE_S",
    "READ_TRIES",
    "TRANSIENT_CODES",
    "HttpClient",
    "Refusal",
    "before_sending",
    "code_words",
    "is_this_machine",
    "nothing_proves",
    "place_of",
    "remember_request",
    "retry_after_of",
    "tls_context",
    "words_of",
]

logger = logging.getLogger(__name__)

TRANSIENT_CODES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
READ_TRIES: Final = 3
FIRST_PAUSE_S: Final = 0.2
"""The longest pause before a request is tried for the second time, in seconds."""
_CONNECT_TIMEOUT_S: Final = 10.0
_DEFAULT_HOLD_S: Final = 1.0
_LONGEST_OWN_HOLD_S: Final = 5.0
"""The longest pause that a request waits out by itself; a longer one is the caller's."""
_KEEP_ALIVE_S: Final = 2.0
"""Shorter than any server's (uvicorn: 5 s): a POST on a connection that the server closes is a lost reply."""
_MAX_WORDS: Final = 2_000
_OF_CREDENTIALS: Final = frozenset({401, 403, 407})
"""Answers about credentials: their bodies are never kept."""
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


@functools.cache
def _user_agent() -> str:
    """This library and its version, which is unknown where it runs from a checkout and is not installed."""
    try:
        return f"qjobs/{version('qjobs')}"
    except PackageNotFoundError:
        return "qjobs/unknown"


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


def place_of(url: str) -> str:
    """The address of a provider as its fingerprint has it: without credentials, query, or a slash at the end.

    >>> place_of("HTTPS://me:secret@Example.com:443/v1/?a=1")
    'https://example.com/v1'
    """
    parsed = httpx.URL(url)
    return str(parsed.copy_with(username=None, password=None, query=None, fragment=None)).rstrip("/")


def is_this_machine(url: str) -> bool:
    """Whether an address is one of this machine's own; what is no URL is none.

    >>> is_this_machine("https://127.0.0.1:8470"), is_this_machine("https://portal.example.com")
    (True, False)
    """
    try:
        host = httpx.URL(url).host
    except httpx.InvalidURL:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def words_of(response: httpx.Response) -> str:
    """The provider's own words: `message`, `detail` or `error` of a JSON body, else the beginning of the body.

    At most 2,000 characters. Credentials are left out, those that the request carried above all: there are gateways
    that repeat its headers. Of an answer about credentials (401, 403, 407) it is `code_words`, because such a body may
    hold any secret.
    """
    if response.status_code in _OF_CREDENTIALS:
        return code_words(response)
    with contextlib.suppress(RuntimeError):  # an answer to no request
        remember_headers(response.request.headers)
    return kept(_words_in_body(response), _MAX_WORDS)


def code_words(response: httpx.Response) -> str:
    """What the code of an answer means, in our words; nothing of the answer itself, so that it can hold no secret."""
    try:
        return http.HTTPStatus(response.status_code).phrase
    except ValueError:
        return "a code that HTTP does not have"


def remember_request(request: httpx.Request) -> None:
    """Remember the credentials in a request, before it is sent: a hook for clients."""
    remember_headers(request.headers)


def _words_in_body(response: httpx.Response) -> str:
    try:
        body = response.json()
    except _NOT_JSON:
        return response.text.strip() or response.reason_phrase
    found = body
    if isinstance(body, dict):
        found = body.get("message") or body.get("detail") or body.get("error") or body
    if isinstance(found, dict):  # {"error": {"message": ...}}
        found = found.get("message") or found
    return found if isinstance(found, str) else json.dumps(found)


def nothing_proves(_: httpx.Response) -> bool:
    """What proves a refusal of a provider whose own answers cannot be told from a gateway's: nothing."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What the provider itself, and nobody on the way, answered to one request; `words` are for people."""

    code: int
    words: str

    @property
    def says_gone(self) -> bool:
        """Whether what was asked for is not there, now or no longer; it may be the route: `lacks_route`."""
        return self.code in {httpx.codes.NOT_FOUND, httpx.codes.GONE}

    @property
    def lacks_route(self) -> bool:
        """Whether it may be the route that is missing, and not the thing that was asked for: a bare 404."""
        return self.code == httpx.codes.NOT_FOUND and self.words == "Not Found"


@contextlib.contextmanager
def before_sending() -> Iterator[None]:
    """Whatever fails inside, nothing was sent.

    Raises:
        NotSent: The provider could not be asked, or its answer not be read.
        SubmissionRejected: A circuit cannot be written for the provider.
    """
    try:
        yield
    except NotSent:
        raise
    except BackendUnavailable as error:
        raise NotSent(f"the job was not sent: {error}", retry_after_s=error.retry_after_s) from error
    except ProtocolError as error:
        raise NotSent(f"the job was not sent: {error}") from error
    except InvalidCircuit as error:
        raise SubmissionRejected(f"the job was not sent: {error}", detail=str(error)) from error


class _SentOnce(httpx.Auth):
    """Signs a submission as `signer` does, and keeps it from sending a second one, unless the first was refused.

    The signer still sees the answer, so that it renews a token that has run out.
    """

    def __init__(self, signer: httpx.Auth, proves_refusal: Callable[[httpx.Response], bool]) -> None:
        self._signer = signer
        self._proves_refusal = proves_refusal

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Go on with the signer's requests as long as the provider itself refuses them."""
        flow = self._signer.sync_auth_flow(request)
        signed = next(flow)
        while True:
            response = yield signed
            response.read()  # else there is no body to look at yet
            refused = response.is_client_error and self._proves_refusal(response)
            try:
                signed = flow.send(response)
            except StopIteration:
                return
            except QJobsError as error:
                if refused:
                    raise
                logger.info("a token could not be renewed: %.500s", error)
                return
            if not refused:
                flow.close()
                return


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
        keeps_words: Whether messages have the provider's words; off for routes that answer with tokens.

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
        keeps_words: bool = True,
    ) -> None:
        remember_url(base_url)
        _check_url(base_url)
        self._auth = auth
        self._client = httpx.Client(
            base_url=base_url,
            headers={"user-agent": _user_agent()},
            timeout=httpx.Timeout(_CONNECT_TIMEOUT_S, read=read_timeout_s),
            limits=httpx.Limits(keepalive_expiry=_KEEP_ALIVE_S),
            follow_redirects=False,
            transport=transport,
            verify=tls_context(verify),
            auth=auth,
            event_hooks={"request": [remember_request]},
        )
        self._name = name
        self._words_of = words_of if keeps_words else code_words
        self._headers = headers
        self._sleep = sleep
        self._limiter = limiter or limiter_for(base_url, name, max_per_s)

    def close(self) -> None:
        """Close all connections. Idempotent."""
        self._client.close()

    def read(
        self,
        method: str,
        path: str,
        *,
        ignore: Collection[int] = (),
        proves_refusal: Callable[[httpx.Response], bool] = nothing_proves,
        **options: Any,
    ) -> Any:
        """Send a request that may safely be sent again: GET, a cancellation, a deletion.

        Codes in `ignore` count as an empty answer; `options` are those of `httpx.Client.request`.

        Returns:
            The JSON body, or None for an empty one; a `Refusal` for a 4xx of which `proves_refusal` says that it is
            the provider's own word on this request. A 401 is about all requests, and is raised whatever it proves.

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
                if response.is_client_error and response.status_code != 401 and proves_refusal(response):
                    return Refusal(code=response.status_code, words=self._words_of(response))
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
        proves_refusal: Callable[[httpx.Response], bool] = nothing_proves,
        may_be_empty: bool = False,
        **options: Any,
    ) -> Any:
        """Send a POST that creates a job, once.

        `sending` is called when nothing is left to be done but to send; what it raises keeps the request back.
        `proves_refusal` tells the provider's own refusals by their bodies; it is asked about 4xx answers only.
        `headers` are added to those of every request; `options` are those of `httpx.Client.request`. With
        `may_be_empty`, a 2xx answer without a body is as good as one with JSON.

        Returns:
            The JSON body of a 2xx answer, or None.

        Raises:
            NotSent: No byte left, or the provider itself said "not now" (429).
            SubmissionRejected: It refused with another 4xx; no job exists.
            CredentialsRejected: It refused with 401 or 403, or there is no token to send; no job exists.
            SubmissionUnknown: Anything else, a 401 or 429 of a gateway too; a job may exist.
        """
        with self._failure_logged("POST", path):
            if not self._limiter.wait(_LONGEST_OWN_HOLD_S):
                raise NotSent(f"{self._name} asked to slow down", retry_after_s=self._limiter.remaining_s())
            sent = {**self._headers_now(), **(headers or {})}
            if self._auth is not None:
                options["auth"] = _SentOnce(self._auth, proves_refusal)
            sending()
            try:
                response = self._client.post(path, headers=sent, **options)
            except httpx.RequestError as error:
                if MEANING.get(type(error)) is NotSent:
                    raise NotSent(f"{self._name} cannot be reached: {_described(error)}") from error
                raise SubmissionUnknown(f"no answer of {self._name} came back: {_described(error)}") from error
            logger.debug("%s: POST %s was answered %d", self._name, path, response.status_code)
            if not response.is_success:
                self._refuse(response, proves_refusal)
            if may_be_empty and not response.content:
                return None
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

    def _refuse(self, response: httpx.Response, proves_refusal: Callable[[httpx.Response], bool]) -> Never:
        """Raise what an answer to a submission means that is not a 2xx."""
        code = response.status_code
        held_s = self._held(response)
        if not (response.is_client_error and proves_refusal(response)):
            raise SubmissionUnknown(f"{self._answered(response)}; this does not prove that no job was made")
        if code == 429:
            raise NotSent(self._answered(response), retry_after_s=held_s)
        if code in {401, 403}:
            self._check(response)
        words = self._words_of(response)
        raise SubmissionRejected(f"{self._name} refused the job ({code}): {words}", detail=words)

    def _headers_now(self) -> dict[str, str]:
        headers = dict(self._headers())
        remember_headers(headers)
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
        return f"{self._name} answered {response.status_code}: {self._words_of(response)}"

    def _check(self, response: httpx.Response) -> None:
        """Raise for what no retry cures."""
        if response.status_code in {401, 403}:
            raise CredentialsRejected(
                f"{self._name} does not accept our credentials ({response.status_code}: {self._words_of(response)}); "
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
    raise InvalidInput(f"{redacted(url)!r} is not a URL; write it as https://host/path", field="url")


def _described(error: Exception) -> str:
    words = bounded(redacted(str(error)), _MAX_WORDS)
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
