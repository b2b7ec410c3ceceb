"""Never twice, never lost: random schedules of operations, faults and crashes, and a shrinking search."""

from __future__ import annotations

import random
import time

import pytest
from crashing_ledger import SimulatedLedger
from hypothesis import given, settings
from hypothesis import strategies as st
from reverted import MENDINGS, SEEDS, Reverted, breaks
from simulation import World, in_one_thread, run_many, run_seeds, simulate

FEW = 150
MANY = 400
MANY_DISPATCHED = 40
MANY_CAPPED = 15
DISPATCHED_FEW = 15
CAPPED_FEW = 15
# fmt: off
ONCE_BROKEN = (
    128649, 132252, 202842, 204590, 209932, 212641, 500404, 504899, 600120, 604658, 605667, 615066, 622645, 630600,
    704707, 709658, 724077, 726179, 737809, 754292, 792527, 792727,
)
# fmt: on
"""Seeds that long searches have found, of laws that were broken or not quite right."""
NAMES = ("dies", "stops", "is killed", "submit: late", "submit: dies, late", "submit: lost after")


def test_few_schedules() -> None:
    """No law is broken, and what should happen in the schedules does."""
    done, happened = run_seeds(range(4_000, 4_000 + FEW))
    assert done == FEW
    assert [name for name in NAMES if happened.get(name, 0) <= FEW / 200] == []


def test_once_broken() -> None:
    """What long searches have found stays mended."""
    done, _ = run_seeds(ONCE_BROKEN)
    assert done == len(ONCE_BROKEN)


def test_few_fragmented() -> None:
    """The same of a provider that takes fragments and says PENDING of all that has not begun (Qoro)."""
    done, happened = run_seeds(range(FEW), need="fragmented")
    assert done == FEW
    names = ("reserve: lost after", "fragment: lost after", "submit: lost after", "submit: late", "cancel: it began")
    assert [name for name in names if not happened.get(name, 0)] == []


def test_few_dispatched() -> None:
    """The same of suspended runs with more jobs than places, whose jobs dispatchers send."""
    done, happened = run_seeds(range(DISPATCHED_FEW), need="dispatched")
    assert done == DISPATCHED_FEW
    assert [name for name in ("dies", "stops", "is killed") if not happened.get(name, 0)] == []


def test_few_capped() -> None:
    """The same of many jobs over one cap: no more is at the provider, and what is settled is what it billed."""
    done, happened = run_seeds(range(CAPPED_FEW), need="capped")
    assert done == CAPPED_FEW
    assert [name for name in ("dies", "stops", "is killed") if not happened.get(name, 0)] == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("need", ["capped", "capped dispatched"])
def test_many_capped(need: str) -> None:
    """The same of some more, and of suspended runs over one cap."""
    done, _ = run_many(20_000, MANY_CAPPED, need=need)
    assert done == MANY_CAPPED


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_many_dispatched() -> None:
    """The same of some more."""
    done, _ = run_many(40_000, MANY_DISPATCHED, need="dispatched")
    assert done == MANY_DISPATCHED


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_many_schedules(capsys: pytest.CaptureFixture[str]) -> None:
    """The same of some hundred; `make bench-faults` runs many more, and more of each kind above."""
    began = time.monotonic()
    done, happened = run_many(0, MANY)
    took_s = time.monotonic() - began
    with capsys.disabled():
        print(f"\n{done} schedules in {took_s:.0f} s ({done / took_s:.0f}/s)")
    assert done == MANY
    assert [name for name in NAMES if happened.get(name, 0) <= MANY / 200] == []


def test_a_seed_is_a_schedule() -> None:
    """A seed gives the same schedule each time."""
    with SimulatedLedger() as first, SimulatedLedger() as second:
        for seed in range(10):
            assert simulate(seed, first).story() == simulate(seed, second).story()


@pytest.fixture(scope="module")
def simulated() -> SimulatedLedger:
    with SimulatedLedger() as ledger:
        yield ledger


@pytest.mark.parametrize("mending", MENDINGS, ids=lambda mending: mending.name)
def test_each_mending_is_needed(simulated: SimulatedLedger, mending: Reverted) -> None:
    """The schedule of its seed breaks no law, and without the mending that of its number."""
    seed = SEEDS[mending.name]
    simulate(seed, simulated, need=mending.needs)
    assert mending.is_seen(breaks(mending, seed, simulated))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(rng=st.randoms(use_true_random=False))
def test_shortest_schedule(simulated: SimulatedLedger, rng: random.Random) -> None:
    """A schedule that breaks a law is shown, as short as it can be."""
    world = World(rng, simulated)
    try:
        with in_one_thread(world):
            world.run()
    except BaseException:
        print("\n".join(world.story()))
        raise
    finally:
        world.close()
