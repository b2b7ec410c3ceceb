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
    user = parts.accounts.add_user("Ada@Localhost.test", "a secret", groups=["lab"])
    tokens = parts.sessions.login(" ADA@localhost.test", "a secret")
    assert parts.accounts.user_of_access(tokens.access) == user == tokens.user
    assert user.groups == ("lab",)
    assert parts.accounts.user_of_access(tokens.refresh) is None
    assert parts.accounts.user_of_refresh(tokens.access) is None
    parts.later(59.9)
    assert parts.accounts.user_of_access(tokens.access) == user
    parts.later(0.2)
    assert parts.accounts.user_of_access(tokens.access) is None
    second = parts.sessions.refresh(tokens.refresh).access
    assert parts.accounts.user_of_access(second) == user
    assert parts.sessions.ttl_s(access=second) == pytest.approx(3600 - 60.1)
    parts.later(3600 - 61)
    last = parts.sessions.refresh(tokens.refresh).access
    assert parts.accounts.user_of_access(last) == user
    parts.later(2)
    assert parts.accounts.user_of_access(last) is None, "an access token ends with its session at the latest"
    assert parts.accounts.user_of_refresh(tokens.refresh) is None
    for end in (lambda: parts.sessions.refresh(tokens.refresh), lambda: parts.sessions.ttl_s(refresh=tokens.refresh)):
        with pytest.raises(Unauthorized):
            end()


def test_removed_user(parts: Parts) -> None:
    """A removed user is signed out at once, and owns the same things when added again."""
    user = parts.accounts.add_user("ada@localhost.test", "a secret")
    tokens = parts.sessions.login("ada@localhost.test", "a secret")
    parts.accounts.remove_user("ada@localhost.test")
    assert parts.accounts.user_of_access(tokens.access) is None
    assert parts.accounts.user_of_refresh(tokens.refresh) is None
    with pytest.raises(Unauthorized):
        parts.sessions.login("ada@localhost.test", "a secret")
    with pytest.raises(Unauthorized):
        parts.sessions.login("ada@localhost.test", "")
    late = parts.sessions._begin(user)  # the password was right a moment ago
    assert parts.accounts.user_of_access(late.access) is None
    assert parts.accounts.user_of_refresh(late.refresh) is None
    assert parts.accounts.users() == []
    with pytest.raises(NotFound):
        parts.accounts.remove_user("ada@localhost.test")
    again = parts.accounts.add_user("ada@localhost.test", "another one")
    assert again.user_id == user.user_id, "what she owned is hers again"
    assert parts.sessions.login("ada@localhost.test", "another one").user == again


def test_device_request(parts: Parts) -> None:
    """A device's request waits ten minutes and gives one session, whoever asks at the same moment."""
    user = parts.accounts.add_user("ada@localhost.test", "a secret")
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
    parts.accounts.add_user("ada@localhost.test", "old secret")
    parts.accounts.add_user("bob@localhost.test", "old secret")
    ada = parts.sessions.login("ada@localhost.test", "old secret")
    bob = parts.sessions.login("bob@localhost.test", "old secret")
    parts.accounts.set_password("ada@localhost.test", "old secret")
    assert parts.accounts.user_of_access(ada.access) == ada.user
    parts.accounts.set_password("ada@localhost.test", "new secret")
    assert parts.accounts.user_of_access(ada.access) is None
    assert parts.accounts.user_of_access(bob.access) == bob.user
    assert parts.sessions.login("ada@localhost.test", "new secret").user == ada.user


@pytest.mark.slow
def test_unknown_user_takes_as_long() -> None:
    """The time that a sign-in takes does not tell whether there is such a user."""
    passwords = Passwords()
    stored = passwords.hash("a secret")

    def fastest(kept: str | None) -> float:
        times = []
        for _ in range(3):
            begin = time.perf_counter()
            assert not passwords.fits_somebody(kept, "guess")
            times.append(time.perf_counter() - begin)
        return min(times)

    for nobody in (None, ""):
        assert fastest(nobody) > 0.3 * fastest(stored)


def test_throttle() -> None:
    """Who fails often waits before the next try, never longer than a second, and a success ends it."""
    now = [0.0]
    throttle = Throttle(lambda: now[0])
    pauses = []
    for _ in range(1001):
        pauses.append(throttle.pause_s("here"))
        throttle.failed("here", "ada")
    assert (pauses[0], pauses[19], pauses[20], pauses[1000]) == (0.0, 0.0, 0.1, 0.25)
    assert throttle.pause_s("there") == 0.0
    throttle.succeeded("here", "ada")
    assert throttle.pause_s("here") == 0.0
    for _ in range(20):
        throttle.failed("here", "ada")
    assert throttle.pause_s("here") == 0.1
    now[0] = 901.0
    assert throttle.pause_s("here") == 0.0, "it is forgotten"


def test_throttle_of_an_account() -> None:
    """Where many addresses guess at one account, those that never signed in to it wait a second, and the others not."""
    throttle = Throttle(lambda: 0.0)
    throttle.succeeded("home", "ada")
    for number in range(101):
        throttle.failed(f"bot {number}", "ada")
    for address, pause_s in (("home", 0.0), ("new bot", 1.0), ("bot 3", 0.0)):
        throttle.failed(address, "ada")
        assert throttle.pause_s(address) == (1.0 if address == "bot 3" else pause_s)


def test_rotation(parts: Parts) -> None:
    """A session that rotates gives another refresh token each time, and one that is used again later ends it."""
    parts.accounts.add_user("ada@localhost.test", "a secret")
    tokens = parts.sessions.login("ada@localhost.test", "a secret", rotates=True)
    second = parts.sessions.refresh(tokens.refresh)
    assert second.refresh is not None
    assert parts.accounts.user_of_refresh(tokens.refresh) is None
    assert parts.accounts.user_of_refresh(second.refresh) == tokens.user
    late = parts.sessions.refresh(tokens.refresh)
    assert (late.refresh, parts.accounts.user_of_access(late.access)) == (None, tokens.user), "the reply was lost"
    third = parts.sessions.refresh(second.refresh)
    parts.later(31)
    with pytest.raises(Unauthorized, match="used again"):
        parts.sessions.refresh(tokens.refresh)
    assert parts.accounts.user_of_access(third.access) is None
    assert parts.accounts.user_of_refresh(third.refresh or "") is None
    same = parts.sessions.login("ada@localhost.test", "a secret")
    assert parts.sessions.refresh(same.refresh).refresh is None, "the client of Nexus keeps one"


def test_revoke(parts: Parts) -> None:
    """Revoking ends all sessions and issued tokens of one user, and leaves the password and the others alone."""
    for name in ("ada", "bob"):
        parts.accounts.add_user(f"{name}@localhost.test", "a secret")
    ada = [
        parts.sessions.login("ada@localhost.test", "a secret").refresh,
        parts.sessions.issue("ada@localhost.test", 60),
    ]
    bob = parts.sessions.login("bob@localhost.test", "a secret")
    assert parts.accounts.revoke("ada@localhost.test") == 2
    assert [parts.accounts.user_of_refresh(token) for token in ada] == [None, None]
    assert parts.accounts.user_of_refresh(bob.refresh) == bob.user
    assert parts.sessions.login("ada@localhost.test", "a secret").user.email == "ada@localhost.test"


def test_devices_of_an_address(parts: Parts) -> None:
    """One address has at most twenty devices waiting, and others are not kept out by them."""
    for _ in range(20):
        parts.sessions.request_device("here")
    with pytest.raises(TooManyRequests, match="at your address"):
        parts.sessions.request_device("here")
    parts.sessions.request_device("there")
    parts.later(601)
    parts.sessions.request_device("here")
