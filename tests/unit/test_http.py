"""HTTP for adapters: what errors mean, retries of reads, the limiter, the log."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version

import httpx
import pytest
from scripted import Clock

from qjobs.backends.http import MEANING, HttpClient, Refusal
from qjobs.backends.limiter import Limiter
from qjobs.backends.rest import proves_refusal
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

Answer = httpx.Response | Exception
BEFORE_A_BYTE = {
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
}


class Provider(httpx.BaseTransport):
    """Answers by a list; the last answer serves all further requests."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        # A response is read once: give a new one for every request.
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


Client = Callable[..., tuple[HttpClient, Provider]]


@pytest.fixture
def client(clock: Clock) -> Iterator[Client]:
    opened = []

    def make(*answers: Answer, **options: object) -> tuple[HttpClient, Provider]:
        provider = Provider(*answers)
        options.setdefault("limiter", Limiter(clock.monotonic, clock.sleep))
        http = HttpClient("http://provider.test/v1", name="them", sleep=clock.sleep, transport=provider, **options)
        opened.append(http)
        return http, provider

    yield make
    for http in opened:
        http.close()


def leaves(cls: type[Exception]) -> set[type[Exception]]:
    children = cls.__subclasses__()
    return set().union(*map(leaves, children)) if children else {cls}


def answer(code: int = 200, body: object = None, **headers: str) -> httpx.Response:
    return httpx.Response(code, json=body, headers={name.replace("_", "-"): value for name, value in headers.items()})


def caught(act: Callable[[], object]) -> QJobsError:
    with pytest.raises(QJobsError) as error:
        act()
    return error.value


def test_table_is_total() -> None:
    """The table has every error with which a request of httpx ends."""
    theirs = {cls for cls in leaves(httpx.RequestError) if cls.__module__.startswith("httpx")}
    assert set(MEANING) == theirs
    public = {getattr(httpx, name) for name in httpx.__all__}
    errors = {cls for cls in public if isinstance(cls, type) and issubclass(cls, Exception)}
    outside = {cls for cls in errors if not issubclass(cls, httpx.RequestError)}
    # None of these ends a request that we make: the URL is checked first, and bodies are read whole.
    assert outside == {
        httpx.HTTPError,
        httpx.HTTPStatusError,
        httpx.InvalidURL,
        httpx.CookieConflict,
        httpx.StreamError,
        httpx.StreamConsumed,
        httpx.StreamClosed,
        httpx.ResponseNotRead,
        httpx.RequestNotRead,
    }


@pytest.mark.parametrize("cls", sorted(MEANING, key=lambda cls: cls.__name__), ids=lambda cls: cls.__name__)
def test_httpx_errors(client: Client, cls: type) -> None:
    """A POST is sent once, a read three times, and no error of httpx gets through."""
    http, provider = client(cls("it broke"))
    error = caught(lambda: http.submit("/jobs", json={}))
    assert type(error) is (NotSent if cls in BEFORE_A_BYTE else SubmissionUnknown)
    assert len(provider.requests) == 1, "a POST is sent once"
    assert cls.__name__ in str(error)
    assert type(caught(lambda: http.read("GET", "/jobs"))) is BackendUnavailable
    assert len(provider.requests) == 1 + 3, "a read is tried three times"


@pytest.mark.parametrize(
    ("code", "refusing", "reading"),
    [
        (302, SubmissionUnknown, ProtocolError),
        (303, SubmissionUnknown, ProtocolError),
        (400, SubmissionRejected, ProtocolError),
        (401, CredentialsRejected, CredentialsRejected),
        (403, CredentialsRejected, CredentialsRejected),
        (404, SubmissionRejected, ProtocolError),
        (408, SubmissionRejected, BackendUnavailable),
        (409, SubmissionRejected, ProtocolError),
        (422, SubmissionRejected, ProtocolError),
        (425, SubmissionRejected, BackendUnavailable),
        (429, NotSent, BackendUnavailable),
        (500, SubmissionUnknown, BackendUnavailable),
        (501, SubmissionUnknown, ProtocolError),
        (502, SubmissionUnknown, BackendUnavailable),
        (503, SubmissionUnknown, BackendUnavailable),
        (504, SubmissionUnknown, BackendUnavailable),
        (524, SubmissionUnknown, BackendUnavailable),
    ],
)
def test_codes(client: Client, code: int, refusing: type, reading: type) -> None:
    """A code means one thing in the provider's own refusal, one to a read, and nothing to any other submission."""
    http, provider = client(answer(code, {"message": "their words", "refused": True}))
    error = caught(lambda: http.submit("/jobs", json={}))
    assert type(error) is SubmissionUnknown, "a gateway may answer after the job was made"
    assert ("their words" in str(error)) is (code not in {401, 403})
    error = caught(lambda: http.submit("/jobs", json={}, proves_refusal=proves_refusal))
    assert type(error) is refusing
    assert ("their words" in str(error)) is (code not in {401, 403})
    assert len(provider.requests) == 2
    error = caught(lambda: http.read("GET", "/jobs"))
    assert type(error) is reading
    assert ("their words" in str(error)) is (code not in {401, 403})
    assert len(provider.requests) == 2 + (3 if reading is BackendUnavailable else 1)


def test_refusal_keeps_words(client: Client) -> None:
    """A refusal carries the words of the provider as they are."""
    http, _ = client(answer(422, {"detail": [{"msg": "too wide"}], "refused": True}))
    error = caught(lambda: http.submit("/jobs", proves_refusal=proves_refusal))
    assert isinstance(error, SubmissionRejected)
    assert error.detail == '[{"msg": "too wide"}]'


def test_refused_read(client: Client) -> None:
    """The provider's own refusal of a read is a value; an invalid token, and a gateway's answer, are raised."""
    own = {"message": "no such job", "refused": True}
    http, provider = client(answer(403, own), answer(404, {"message": "no such page"}), answer(401, own))
    assert http.read("GET", "/jobs/1", proves_refusal=proves_refusal) == Refusal(code=403, words="Forbidden")
    error = caught(lambda: http.read("GET", "/jobs/1", proves_refusal=proves_refusal))
    assert isinstance(error, ProtocolError)
    assert error.code == 404
    assert type(caught(lambda: http.read("GET", "/jobs/1", proves_refusal=proves_refusal))) is CredentialsRejected
    assert len(provider.requests) == 3


def test_unproved_hold(client: Client) -> None:
    """Whoever answers 429 is given the pause, whatever the outcome of the submission is."""
    http, provider = client(answer(429, retry_after="60"))
    assert type(caught(lambda: http.submit("/jobs"))) is SubmissionUnknown
    error = caught(lambda: http.read("GET", "/jobs"))
    assert isinstance(error, BackendUnavailable)
    assert error.retry_after_s == pytest.approx(60.0)
    assert len(provider.requests) == 1


class Signer(httpx.Auth):
    """Signs with a new token, and again, when it is answered 401."""

    def __init__(self) -> None:
        self.tokens = iter(["first-token-of-ours", "second-token-of-ours", "third-token-of-ours"])
        self.error: QJobsError | None = None

    def sync_auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:
        request.headers["authorization"] = next(self.tokens)
        response = yield request
        if response.status_code == 401:
            if self.error:
                raise self.error
            request.headers["authorization"] = next(self.tokens)
            yield request


def test_signed_once(client: Client) -> None:
    """A submission is not sent again with a new token, unless the provider itself refused the first one."""
    signer = Signer()
    http, provider = client(answer(401, {}), answer(201, {"id": "1"}), auth=signer)
    assert type(caught(lambda: http.submit("/jobs", proves_refusal=proves_refusal))) is SubmissionUnknown
    assert len(provider.requests) == 1
    assert next(signer.tokens) == "third-token-of-ours", "the token is renewed for the next request"
    http, provider = client(answer(401, {"refused": True}), answer(201, {"id": "1"}), auth=Signer())
    assert http.submit("/jobs", proves_refusal=proves_refusal) == {"id": "1"}
    assert len(provider.requests) == 2
    signer = Signer()
    signer.error = NotSent("no token now")
    http, provider = client(answer(401, {}), auth=signer)
    assert type(caught(lambda: http.submit("/jobs"))) is SubmissionUnknown, "the first request may have made the job"
    http, provider = client(answer(401, {}), answer(200, {}), auth=Signer())
    assert http.read("GET", "/jobs") == {}, "a read may be signed again"


@pytest.mark.parametrize("content", [b'{"id": "r', b"<html>", b"\xff\xfe\x00", b""])
def test_not_json(client: Client, content: bytes) -> None:
    """A submission that is answered in no JSON is unknown; a read is tried again."""
    broken = httpx.Response(201, content=content)
    http, provider = client(broken)
    assert type(caught(lambda: http.submit("/jobs"))) is SubmissionUnknown
    assert len(provider.requests) == 1
    if content:
        assert type(caught(lambda: http.read("GET", "/jobs"))) is ProtocolError
        assert len(provider.requests) == 4
    else:
        assert http.read("DELETE", "/jobs/1") is None


def test_pauses_grow(client: Client, clock: Clock) -> None:
    """The pauses between the tries of a read grow."""
    http, provider = client(httpx.ReadError(""), answer(502), answer(200, {"a": 1}))
    assert http.read("GET", "/jobs") == {"a": 1}
    assert len(provider.requests) == 3
    first, second = clock.naps_s
    assert 0.1 <= first <= 0.2 <= second <= 0.4


def test_ignored_code(client: Client) -> None:
    """An ignored code is an empty answer."""
    http, provider = client(answer(409))
    assert http.read("POST", "/jobs/1/cancel", ignore={409}) is None
    assert len(provider.requests) == 1


def test_headers_are_fresh(client: Client) -> None:
    """Headers are asked for at every request."""
    tokens = iter(["old", "new", "newest"])
    http, provider = client(answer(502), answer(200, {}), headers=lambda: {"authorization": next(tokens)})
    http.read("GET", "/jobs")
    http.submit("/jobs", headers={"idempotency-key": "k"})
    assert [request.headers["authorization"] for request in provider.requests] == ["old", "new", "newest"]
    assert provider.requests[-1].headers["idempotency-key"] == "k"


def test_user_agent(client: Client) -> None:
    """Every request says that it is of this library, and of which version."""
    http, provider = client(answer(200, {}), answer(200, {}))
    http.read("GET", "/jobs")
    http.submit("/jobs", headers={"idempotency-key": "k"})
    assert [request.headers["user-agent"] for request in provider.requests] == [f"qjobs/{version('qjobs')}"] * 2


@pytest.mark.parametrize("token", ["secret\n", "s\u00e9cret", "secret\u2028"])
def test_bad_token(client: Client, token: str) -> None:
    """A token that HTTP does not take sends nothing, and is not shown."""
    http, provider = client(answer(), headers=lambda: {"authorization": token})
    for act in (lambda: http.submit("/jobs"), lambda: http.read("GET", "/jobs")):
        error = caught(act)
        assert type(error) is CredentialsRejected
        assert "cret" not in str(error)
    assert provider.requests == []


@pytest.mark.parametrize("url", ["", "provider.test", "ftp://provider.test", "http://", "http://a:b:c", "http://a\nb"])
def test_bad_url(url: str) -> None:
    """What is not a URL is refused when the client is opened."""
    with pytest.raises(InvalidInput, match="https://host"):
        HttpClient(url, name="them")


def test_bad_certificates() -> None:
    """A file of certificates that is missing is named when the client is opened."""
    with pytest.raises(InvalidInput, match=r"none\.pem"):
        HttpClient("https://provider.test", name="them", verify="/nowhere/none.pem")


def test_log(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """A failure is logged with its path and reason, and without the credentials that the provider repeats."""
    caplog.set_level("DEBUG", "qjobs")
    secret = "correct-horse-battery"
    http, _ = client(
        answer(502), answer(418, {"message": f"{secret} is old"}), headers=lambda: {"authorization": f"Bearer {secret}"}
    )
    error = caught(lambda: http.read("GET", "/jobs", params={"key": "k"}))
    assert "[redacted] is old" in str(error)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("DEBUG", "them: GET /jobs was answered 502"),
        ("INFO", "them: try 2 follows: them answered 502: Bad Gateway"),
        ("DEBUG", "them: GET /jobs was answered 418"),
        ("WARNING", f"them: GET /jobs failed: ProtocolError: {error}"),
    ]
    assert secret not in caplog.text


@pytest.mark.parametrize("code", [401, 502])
def test_echo(client: Client, caplog: pytest.LogCaptureFixture, code: int) -> None:
    """A gateway that repeats the headers of a request in a page of 3 MB leaves neither a secret nor a long message."""
    caplog.set_level("DEBUG", "qjobs")
    secrets = {"authorization": "Bearer eyJhbGciOi.J9/x+y==", "x-api-key": "k3y-of-the-account", "cookie": "s=abc"}
    lines = "".join(f"<li>{name}: {html.escape(value)}</li>" for name, value in secrets.items())
    for place in (0, 1_990, 99_990):
        page = httpx.Response(code, html=f"<html>{'.' * place}{lines}{'<!-- -->' * 400_000}</html>")
        http, _ = client(page, headers=lambda: secrets)
        for act in (partial(http.submit, "/jobs"), partial(http.read, "GET", "/jobs")):
            error = caught(act)
            assert len(str(error)) < 2_200
            for secret in ("eyJhbGciOi", "k3y-of", "of-the-account"):
                assert secret not in str(error) + caplog.text


def test_short_hold(client: Client, clock: Clock) -> None:
    """A read waits out a short Retry-After, in short naps."""
    http, provider = client(answer(429, retry_after="3"), answer(429), answer(200, {}))
    assert http.read("GET", "/jobs") == {}
    assert clock.elapsed_s == pytest.approx(4.0)
    assert max(clock.naps_s) <= 0.5, "so that Prefect can interrupt it"
    assert len(provider.requests) == 3


@pytest.mark.parametrize(("wish", "hold_s"), [("120", 120.0), ("1000000000", 3600.0)])
def test_long_hold(client: Client, clock: Clock, wish: str, hold_s: float) -> None:
    """A long Retry-After, of an hour at the most, is the caller's to wait out; nothing more is sent."""
    http, provider = client(answer(429, {"message": "slow down", "refused": True}, retry_after=wish))
    error = caught(lambda: http.read("GET", "/jobs"))
    assert isinstance(error, BackendUnavailable)
    assert error.retry_after_s == pytest.approx(hold_s)
    assert "slow down" in str(error)
    error = caught(lambda: http.submit("/jobs"))
    assert isinstance(error, NotSent)
    assert error.retry_after_s == pytest.approx(hold_s)
    assert (len(provider.requests), clock.elapsed_s) == (1, 0.0), "nothing more was sent"


def test_hold_is_shared(client: Client, clock: Clock) -> None:
    """A Retry-After for a submission holds reads too."""
    http, _ = client(answer(503, retry_after="4"), answer(200, {}))
    assert type(caught(lambda: http.submit("/jobs"))) is SubmissionUnknown
    http.read("GET", "/jobs")
    assert clock.elapsed_s == pytest.approx(4.0)
