"""Sessions, passwords and devices without HTTP, on both databases."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from account_parts import Parts

from qjobs.service.accounts.passwords import Passwords, Throttle
from qjobs.service.accounts.sessions import Pending
from qjobs.service.errors import NotFound, TooManyRequests, Unauthorized


@pytest.fixture
def parts(ledger_url: str) -> Iterator[Parts]:
    parts = Parts(ledger_url)
    yield parts
    parts.db.close()


def test_tokens_end(parts: Parts) -> None:
    """Access tokens and sessions end when their time is over."""
    user = parts.accounts.add_user("Ada@Localhost.test", "secret", groups=["lab"])
    tokens = parts.sessions.login(" ADA@localhost.test", "secret")
    assert parts.accounts.user_of_access(tokens.access) == user == tokens.user
    assert user.groups == ("lab",)
    assert parts.accounts.user_of_access(tokens.refresh) is None
    assert parts.accounts.user_of_refresh(tokens.access) is None
    parts.later(59.9)
    assert parts.accounts.user_of_access(tokens.access) == user
    parts.later(0.2)
    assert parts.accounts.user_of_access(tokens.access) is None
    second = parts.sessions.refresh(tokens.refresh)
    assert parts.accounts.user_of_access(second) == user
    assert parts.sessions.ttl_s(access=second) == pytest.approx(3600 - 60.1)
    parts.later(3600 - 61)
    last = parts.sessions.refresh(tokens.refresh)
    assert parts.accounts.user_of_access(last) == user
    parts.later(2)
    assert parts.accounts.user_of_access(last) is None, "an access token ends with its session at the latest"
    assert parts.accounts.user_of_refresh(tokens.refresh) is None
    for end in (lambda: parts.sessions.refresh(tokens.refresh), lambda: parts.sessions.ttl_s(refresh=tokens.refresh)):
        with pytest.raises(Unauthorized):
            end()


def test_removed_user(parts: Parts) -> None:
    """A removed user is signed out at once, and owns the same things when added again."""
    user = parts.accounts.add_user("ada@localhost.test", "secret")
    tokens = parts.sessions.login("ada@localhost.test", "secret")
    parts.accounts.remove_user("ada@localhost.test")
    assert parts.accounts.user_of_access(tokens.access) is None
    assert parts.accounts.user_of_refresh(tokens.refresh) is None
    with pytest.raises(Unauthorized):
        parts.sessions.login("ada@localhost.test", "secret")
    with pytest.raises(Unauthorized):
        parts.sessions.login("ada@localhost.test", "")
    late = parts.sessions._begin(user)  # the password was right a moment ago
    assert parts.accounts.user_of_access(late.access) is None
    assert parts.accounts.user_of_refresh(late.refresh) is None
    assert parts.accounts.users() == []
    with pytest.raises(NotFound):
        parts.accounts.remove_user("ada@localhost.test")
    again = parts.accounts.add_user("ada@localhost.test", "another")
    assert again.user_id == user.user_id, "what she owned is hers again"
    assert parts.sessions.login("ada@localhost.test", "another").user == again


def test_device_request(parts: Parts) -> None:
    """A device's request waits ten minutes and gives one session, whoever asks at the same moment."""
    user = parts.accounts.add_user("ada@localhost.test", "secret")
    late = parts.sessions.request_device()
    parts.later(599)
    request = parts.sessions.request_device()
    with pytest.raises(Pending):
        parts.sessions.take_device(late.device_code)
    parts.later(2)
    with pytest.raises(NotFound):
        parts.sessions.decide_device(user, late.user_code, approve=True)
    with pytest.raises(Unauthorized):
        parts.sessions.take_device(late.device_code)
    parts.sessions.decide_device(user, request.user_code, approve=True)
    with pytest.raises(NotFound):
        parts.sessions.decide_device(user, request.user_code, approve=False)

    def take(_: int) -> bool:
        start.wait()
        try:
            return parts.sessions.take_device(request.device_code).user == user
        except Unauthorized:
            return False

    start = threading.Barrier(6)
    with ThreadPoolExecutor(6) as threads:
        assert sum(threads.map(take, range(6))) == 1


def test_new_password(parts: Parts) -> None:
    """A new password ends the user's sessions; the same password does not."""
    parts.accounts.add_user("ada@localhost.test", "old")
    parts.accounts.add_user("bob@localhost.test", "old")
    ada = parts.sessions.login("ada@localhost.test", "old")
    bob = parts.sessions.login("bob@localhost.test", "old")
    parts.accounts.set_password("ada@localhost.test", "old")
    assert parts.accounts.user_of_access(ada.access) == ada.user
    parts.accounts.set_password("ada@localhost.test", "new")
    assert parts.accounts.user_of_access(ada.access) is None
    assert parts.accounts.user_of_access(bob.access) == bob.user
    assert parts.sessions.login("ada@localhost.test", "new").user == ada.user


@pytest.mark.slow
def test_unknown_user_takes_as_long() -> None:
    """The time that a sign-in takes does not tell whether there is such a user."""
    passwords = Passwords(Throttle(lambda: 0.0))
    stored = passwords.hash("secret")

    def fastest(kept: str | None) -> float:
        times = []
        for number in range(3):
            begin = time.perf_counter()
            assert not passwords.sign_in(f"{kept}{number}", kept, "guess")
            times.append(time.perf_counter() - begin)
        return min(times)

    for nobody in (None, ""):
        assert fastest(nobody) > 0.3 * fastest(stored)


def test_throttle() -> None:
    """The wait doubles up to a minute, and a success ends it."""
    now = [0.0]
    throttle = Throttle(lambda: now[0])
    waits = []
    while len(waits) < 10:
        try:
            throttle.start("ada")
        except TooManyRequests as error:
            waits.append(int(error.headers["Retry-After"]))
            now[0] += waits[-1] + 0.001
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    throttle.start("bob")
    throttle.forget("ada")
    throttle.start("ada")
    throttle.start("ada")


def test_throttle_of_parallel_tries() -> None:
    """Tries at the same moment count like tries one after another."""
    throttle = Throttle(lambda: 0.0)
    counted = []

    def guess(_: int) -> None:
        try:
            throttle.start("ada")
            counted.append(1)
        except TooManyRequests:
            pass

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(guess, range(200)))
    assert len(counted) == 20
