"""The limiter: holds, rates, and pauses that grow."""

from __future__ import annotations

import random
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import Clock

from qjobs.backends.http import HttpClient
from qjobs.backends.limiter import Limiter, back_off_s, limiter_for
from qjobs.errors import InvalidInput


@given(st.integers(1, 10**6), st.floats(0.001, 100.0), st.floats(0.001, 10_000.0), st.randoms(use_true_random=False))
def test_back_off(failures: int, first_s: float, longest_s: float, rng: random.Random) -> None:
    """A pause lies in the upper half of the doubled one, and never above the longest; no outage overflows it."""
    pause_s = back_off_s(failures, first_s=first_s, longest_s=longest_s, rng=rng)
    most_s = min(longest_s, first_s * 2.0 ** min(failures - 1, 60))
    assert most_s / 2 <= pause_s <= most_s


def test_growing_hold(clock: Clock) -> None:
    """A wait ends when the hold grows beyond it."""
    limiter = Limiter(clock.monotonic, clock.sleep)
    limiter.hold(2.0)
    limiter.hold(1.0)
    assert limiter.remaining_s() == 2.0, "a shorter hold does not shorten it"
    clock.after(1.5, lambda: limiter.hold(100.0))
    assert not limiter.wait(5.0)
    assert clock.elapsed_s == pytest.approx(1.5)


def test_one_limiter() -> None:
    """All clients of an account share one limiter."""
    with closing(HttpClient("http://one.test/v1", name="them")) as http:
        assert http._limiter is limiter_for("http://one.test/v1", "them")
    assert limiter_for("http://one.test/v1") is limiter_for("http://one.test/v2/")
    assert limiter_for("http://one.test") is not limiter_for("http://one.test:8000")
    assert limiter_for("http://one.test", "mine") is not limiter_for("http://one.test", "yours")


@pytest.mark.parametrize(("per_s", "burst"), [(5.0, 50), (0.02, 1)])
def test_rate(clock: Clock, per_s: float, burst: int) -> None:
    """Requests come no faster than agreed, but for a burst of ten seconds' worth."""
    limiter = Limiter(clock.monotonic, clock.sleep, max_per_s=per_s)
    assert all(limiter.wait(0.0) for _ in range(burst))
    assert clock.elapsed_s == 0.0, "who was quiet may spend ten seconds' worth at once"
    assert all(limiter.wait(0.0) for _ in range(20))
    assert clock.elapsed_s == pytest.approx(20 / per_s)
    clock.sleep(1000.0 / per_s)
    before = clock.elapsed_s
    assert all(limiter.wait(0.0) for _ in range(burst))
    assert clock.elapsed_s == before
    assert limiter.wait(0.0)
    assert clock.elapsed_s == pytest.approx(before + 1 / per_s), "a long pause saves up no more than a burst"


def test_lowest_rate(clock: Clock) -> None:
    """The lowest rate of those who share a limiter holds."""
    limiter = limiter_for("http://slow.test", "one", 1000.0)
    assert limiter_for("http://slow.test", "one", 2.0) is limiter
    assert limiter_for("http://slow.test", "one") is limiter
    assert limiter._per_s == 2.0
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(InvalidInput, match="requests a second"):
            limiter.slow_down_to(wrong)
    timed = Limiter(clock.monotonic, clock.sleep, max_per_s=1.0)
    timed.hold(30.0)
    assert not timed.wait(5.0), "a pause that the provider asks for comes first"
    assert clock.elapsed_s == 0.0
