"""Never twice, never lost: 20,000 random schedules of operations, faults and crashes, and a shrinking search."""

from __future__ import annotations

import random
import time

import pytest
from crashing_ledger import SimulatedLedger
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation import World, run_many, simulate

SCHEDULES = 20_000


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_no_schedule_breaks_a_law(capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    done, happened = run_many(0, SCHEDULES)
    took_s = time.monotonic() - began
    with capsys.disabled():
        print(f"\n{done} schedules in {took_s:.0f} s ({done / took_s:.0f}/s)")
    assert done == SCHEDULES
    for name in ("dies", "stops", "is killed", "submit: late", "submit: dies, late", "submit: lost after"):
        assert happened[name] > SCHEDULES / 200, (name, happened)


def test_a_seed_is_a_schedule() -> None:
    with SimulatedLedger() as first, SimulatedLedger() as second:
        for seed in range(20):
            assert simulate(seed, first).story() == simulate(seed, second).story()


@pytest.fixture(scope="module")
def simulated() -> SimulatedLedger:
    with SimulatedLedger() as ledger:
        yield ledger


@settings(max_examples=60, deadline=None)
@given(rng=st.randoms(use_true_random=False))
def test_the_shortest_schedule_that_breaks_a_law_is_shown(simulated: SimulatedLedger, rng: random.Random) -> None:
    world = World(rng, simulated)
    try:
        world.run()
    except BaseException:
        print("\n".join(world.story()))
        raise
    finally:
        world.close()
