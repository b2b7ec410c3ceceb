"""Tokens of Nexus: renewed in time, shown to nobody, found where `qnx login` keeps them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from scripted import Clock

from qjobs.backends.http import HttpClient
from qjobs.backends.limiter import Limiter
from qjobs.backends.nexus.tokens import NexusAuth, NexusTokens, find_refresh_token
from qjobs.backends.nexus.wire import proves_refusal
from qjobs.errors import CredentialsRejected, NotSent, SubmissionUnknown


class Nexus:
    """Hands out access tokens a1, a2, ... for the refresh token `secret`, and takes only the last one."""

    def __init__(self) -> None:
        self.refresh = "secret"
        self.n_renewals = 0
        self.n_posts = 0
        self.delay_s = 0.0
        self.codes: list[int] = []
        self.rotate_to = ""
        self.cookie_of_post = ""
        self.refuses = False
        nexus = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                cookie = self.headers.get("cookie", "")
                if self.path == "/auth/tokens/refresh":
                    nexus.renew(self, cookie)
                    return
                nexus.n_posts += 1
                nexus.cookie_of_post = cookie
                is_good = cookie == f"myqos_id=a{nexus.n_renewals}" and not nexus.refuses
                self.reply(202 if is_good else 401, {"ok": True})

            def reply(self, code: int, body: dict[str, Any], *cookies: str) -> None:
                content = json.dumps(body).encode()
                self.send_response(code)
                for each in cookies:
                    self.send_header("set-cookie", each)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def renew(self, handler: Any, cookie: str) -> None:
        time.sleep(self.delay_s)
        if self.codes:
            handler.reply(self.codes.pop(0), {"message": "scripted"})
        elif cookie != f"myqos_oat={self.refresh}":
            handler.reply(401, {"message": "no such session"})
        else:
            self.n_renewals += 1
            cookies = [f"myqos_id=a{self.n_renewals}; HttpOnly; Path=/; SameSite=lax; Secure"]
            if self.rotate_to:
                self.refresh = self.rotate_to
                cookies.append(f"myqos_oat={self.rotate_to}; HttpOnly; Path=/")
            handler.reply(200, {}, *cookies)


@pytest.fixture
def nexus() -> Iterator[Nexus]:
    nexus = Nexus()
    yield nexus
    nexus.server.shutdown()
    nexus.server.server_close()


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """What is closed at the end of the test."""
    with ExitStack() as stack:
        yield stack


Tokens = Callable[..., NexusTokens]


@pytest.fixture
def tokens_of(nexus: Nexus, opened: ExitStack) -> Tokens:
    def make(source: Callable[[], str] = lambda: "secret", **more: Any) -> NexusTokens:
        return opened.enter_context(closing(NexusTokens(nexus.url, source, sleep=lambda _: None, **more)))

    return make


@pytest.fixture
def tokens(tokens_of: Tokens) -> NexusTokens:
    return tokens_of()


@pytest.fixture
def client(nexus: Nexus, tokens: NexusTokens, opened: ExitStack) -> HttpClient:
    http = HttpClient(nexus.url, name="nexus", limiter=Limiter(), auth=NexusAuth(tokens))
    return opened.enter_context(closing(http))


def test_one_renewal(nexus: Nexus, tokens: NexusTokens) -> None:
    """One renewal serves all threads that wait for it."""
    nexus.delay_s = 0.1
    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(lambda _: tokens.access(), range(16))) == {"a1"}
        assert nexus.n_renewals == 1
        assert set(threads.map(lambda _: tokens.renewed("a1"), range(16))) == {"a2"}
    assert nexus.n_renewals == 2


def test_renewed_in_time(tokens_of: Tokens, clock: Clock) -> None:
    """A token is renewed before it is refused."""
    tokens = tokens_of(monotonic=clock.monotonic)
    assert [tokens.access(), tokens.access()] == ["a1", "a1"]
    clock.sleep(239)
    assert tokens.access() == "a1"
    clock.sleep(1)
    assert tokens.access() == "a2"


def test_short_lives(nexus: Nexus, tokens_of: Tokens, clock: Clock, opened: ExitStack) -> None:
    """Where tokens live for a shorter time than at Quantinuum, that is learned, so that no submission is refused."""
    tokens = tokens_of(monotonic=clock.monotonic)
    client = opened.enter_context(closing(HttpClient(nexus.url, name="n", limiter=Limiter(), auth=NexusAuth(tokens))))
    client.read("POST", "/upload", json={})
    clock.sleep(1)
    client.read("POST", "/upload", json={})
    clock.sleep(19)
    nexus.n_renewals += 1  # after 20 s it has run out
    client.read("POST", "/upload", json={})
    assert tokens.access() == "a3"
    clock.sleep(13)
    assert tokens.access() == "a3"
    clock.sleep(1)
    assert tokens.access() == "a4"


def test_submission_not_sent_again(nexus: Nexus, tokens: NexusTokens, client: HttpClient) -> None:
    """A submission that was answered 401 is not sent once more, since a gateway may have answered; a read is."""
    tokens.access()
    nexus.n_renewals += 1  # a1 is refused from now on
    left: list[str] = []
    with pytest.raises(SubmissionUnknown):
        client.submit("/jobs", json={}, sending=lambda: left.append("left"), proves_refusal=proves_refusal)
    assert (nexus.n_posts, left) == (1, ["left"])
    assert client.submit("/jobs", json={}) == {"ok": True}, "the token was renewed meanwhile"
    assert nexus.cookie_of_post == "myqos_id=a3", "the refresh token stays at home"
    nexus.n_renewals += 1
    assert client.read("POST", "/upload", json={}) == {"ok": True}
    assert nexus.n_posts == 4


def test_accepted_lately(nexus: Nexus, tokens_of: Tokens, clock: Clock, opened: ExitStack) -> None:
    """Whether Nexus took the token lately is known from its answers."""
    tokens = tokens_of(monotonic=clock.monotonic)
    client = opened.enter_context(closing(HttpClient(nexus.url, name="n", limiter=Limiter(), auth=NexusAuth(tokens))))
    assert not tokens.accepted_within(5)
    tokens.access()
    assert tokens.accepted_within(5), "it gave it"
    clock.sleep(6)
    assert not tokens.accepted_within(5)
    client.read("POST", "/upload", json={})
    assert tokens.accepted_within(5)
    nexus.refuses = True
    with pytest.raises(CredentialsRejected):
        client.read("POST", "/upload", json={})
    assert not tokens.accepted_within(5)


@pytest.mark.parametrize("codes", [[503] * 3, [500, 502, 504]])
def test_no_token(nexus: Nexus, client: HttpClient, codes: list[int]) -> None:
    """Nothing is sent while no token can be had."""
    nexus.codes = list(codes)
    with pytest.raises(NotSent, match="nothing was sent"):
        client.submit("/jobs", json={})
    assert nexus.n_posts == 0
    assert client.submit("/jobs", json={}) == {"ok": True}


def test_unreachable(nexus: Nexus, tokens: NexusTokens) -> None:
    """A Nexus that cannot be reached is transient."""
    nexus.server.server_close()
    with pytest.raises(NotSent, match="ConnectError"):
        tokens.access()


def test_refused_refresh_token(tokens_of: Tokens) -> None:
    """A refused token says what to do, is not shown, and a new login is used at once."""
    given = ["old"]
    tokens = tokens_of(source=lambda: given[0])
    with pytest.raises(CredentialsRejected, match="qnx login") as caught:
        tokens.access()
    assert "401: Unauthorized" in str(caught.value)
    assert "no such session" not in str(caught.value)
    assert "old" not in str(caught.value)
    given[0] = "secret"
    assert tokens.access() == "a1"


def test_rotated_refresh_token(nexus: Nexus, tokens_of: Tokens) -> None:
    """A rotated refresh token is used, and a new login wins over it."""
    given = ["secret"]
    nexus.rotate_to = "second"
    tokens = tokens_of(source=lambda: given[0])
    tokens.access()
    assert tokens.renewed("a1") == "a2"
    given[0] = nexus.refresh = "third"
    assert tokens.renewed("a2") == "a3"


@pytest.mark.parametrize("token", ["two words", "a;b", "line\nbreak", "żółw"])
def test_token_breaks_header(tokens_of: Tokens, token: str) -> None:
    """A token that would break the header is refused."""
    tokens = tokens_of(source=lambda: token)
    with pytest.raises(CredentialsRejected, match="character"):
        tokens.access()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("QJOBS_NEXUS_TOKEN", raising=False)
    monkeypatch.delenv("NEXUS_TOKEN_PATH", raising=False)
    return tmp_path


def keep(folder: Path, content: str) -> None:
    folder.mkdir(parents=True)
    (folder / "token.json").write_text(content)


LOGGED_IN = '{"data":{"refresh_token":"from the file","delete_version_after":null}}'


def test_order_of_places(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given, environment, file: the first that there is counts."""
    with pytest.raises(CredentialsRejected, match="qnx login"):
        find_refresh_token()
    keep(home / ".qnx/auth", LOGGED_IN)
    assert find_refresh_token() == "from the file"
    keep(home / "elsewhere", LOGGED_IN.replace("the file", "elsewhere"))
    monkeypatch.setenv("NEXUS_TOKEN_PATH", "elsewhere")
    assert find_refresh_token() == "from elsewhere"
    monkeypatch.setenv("NEXUS_TOKEN_PATH", str(home / "elsewhere"))
    assert find_refresh_token() == "from elsewhere"
    monkeypatch.setenv("QJOBS_NEXUS_TOKEN", "from the environment")
    assert find_refresh_token() == "from the environment"
    assert find_refresh_token("given") == "given"


@pytest.mark.parametrize("content", ["", "[]", "{", '{"data":{}}', '{"data":{"refresh_token":7}}', '{"data":null}'])
def test_damaged_file(home: Path, content: str) -> None:
    """A damaged file says how to log in."""
    keep(home / ".qnx/auth", content)
    with pytest.raises(CredentialsRejected, match="qnx login"):
        find_refresh_token()
