"""A deterministic simulation: the real operations and ledger, a model provider, a virtual clock, crashes.

Every operation runs in a process of its own (a greenlet). It may pause or die before and after every
call to the provider and every writing transaction, and another process may go on meanwhile. The provider and the
people have a character (`model_provider.TRAITS`). All choices come from one `Random`, so that a seed is a schedule:

    PYTHONPATH=.:tests python tests/fault/simulation.py SEED [COUNT] [CHARACTER]
    PYTHONPATH=.:tests python tests/fault/simulation.py --survey SEED COUNT [CHARACTER]    every law that is broken

A character is a kind of provider, or a trait; or "dispatched", for flow runs whose jobs dispatchers send, which one of
the others may follow ("dispatched blinks").
"""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import multiprocessing
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import NoReturn, Self
from unittest import mock

from crashing_ledger import SimulatedLedger, same_names
from simulation_laws import Violation
from simulation_runs import Runs
from simulation_world import World

from flows._support import resume
from qjobs.ledger import Ledger, dispatches, liveness, suspended_runs
from qjobs.operations import dispatch, downloads, ladder, passes
from qjobs.operations.dispatch import Enter, _LanePass

__all__ = ["World", "run_many", "run_seeds", "simulate"]


class _AtOnce:
    """An executor that does what it is given at once: processes of the simulation are greenlets of one thread."""

    def __init__(self, _: int) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, act: Callable[..., object], *given: object) -> SimpleNamespace:
        outcome = act(*given)
        return SimpleNamespace(result=lambda: outcome)

    def shutdown(self, *, wait: bool = True) -> None:
        pass


class _SideBySide(_AtOnce):
    """The same, where an act that fails is no reason not to begin the next one."""

    def submit(self, act: Callable[..., object], *given: object) -> SimpleNamespace:
        try:
            outcome = act(*given)
        except Exception as error:
            return SimpleNamespace(result=functools.partial(_raise, error))
        return SimpleNamespace(result=lambda timeout=None: outcome)


def _raise(error: Exception, timeout: float | None = None) -> NoReturn:
    raise error


@contextlib.contextmanager
def in_one_thread(world: World) -> Iterator[None]:
    """Let passes of a sensor stay in this thread, each as a process of its own."""
    owner = lambda: f"simulated:1:{world.current.name if world.current else 0}"  # noqa: E731
    with (
        mock.patch.object(passes, "ThreadPoolExecutor", _AtOnce),
        mock.patch.object(downloads, "ThreadPoolExecutor", _AtOnce),
        mock.patch.object(passes, "lease_owner", owner),
        mock.patch.object(liveness, "_this_machine", _this_machine),
        same_names(),
        _with_runs(world.runs),
    ):
        yield


@contextlib.contextmanager
def _with_runs(runs: Runs | None) -> Iterator[None]:
    """Let dispatchers stay in this thread too, and have processes of the simulation own what they took."""
    if runs is None:
        yield
        return

    def of_lane(store: Ledger, opened: object, enter: Enter, *given: object) -> _LanePass:
        return _LanePass(store, opened, functools.partial(runs.enter, enter), *given, owner=runs.owner())

    with (
        mock.patch.object(dispatch, "ThreadPoolExecutor", _SideBySide),
        mock.patch.object(dispatch, "_LanePass", of_lane),
        mock.patch.object(ladder, "submit", functools.partial(runs.submit, ladder.submit)),
        mock.patch.object(dispatches, "has_ended", runs.has_ended),
        mock.patch.object(suspended_runs, "has_ended", runs.has_ended),
        mock.patch.object(suspended_runs, "lease_owner", runs.owner),
        mock.patch.object(resume, "utc_now", runs.world.now),
    ):
        yield


_this_machine = functools.cache(liveness._this_machine)
"""It stays the same, and reading a dozen files for each lease takes long."""
_PART = 200
"""So many schedules are one piece of work."""


def simulate(seed: int, ledger: SimulatedLedger, *, need: str = "") -> World:
    """Run the schedule of a seed, of this character where one is given; a `Violation` carries seed and trace."""
    world = World(random.Random(seed), ledger, need=need)
    try:
        with in_one_thread(world):
            world.run()
    except BaseException as error:
        shown = "\n".join(world.story())
        again = f"PYTHONPATH=.:tests python tests/fault/simulation.py {seed}" + (f" '{need}'" if need else "")
        raise Violation(f"seed {seed}: {error}\n{shown}\nagain with: {again}\n") from error
    finally:
        world.close()
    return world


def run_seeds(seeds: Sequence[int], *, need: str = "") -> tuple[int, Counter[str]]:
    """Run many schedules, of this character where one is given; how many, and how often what happened in them."""
    happened: Counter[str] = Counter()
    done = 0
    with SimulatedLedger() as ledger:
        for seed in seeds:
            try:
                world = simulate(seed, ledger, need=need)
            except Violation as error:  # a pool loses what is no Exception, and waits for it
                raise AssertionError(str(error)) from error
            done += 1
            happened.update(world.provider.happened)
            happened.update(f"trait {trait}" for trait in world.traits)
            for line in world.trace:
                if found := re.search(r" (dies|stops|is killed)\b", line):
                    happened[found[1]] += 1
    return done, happened


def survey_seeds(seeds: Sequence[int], *, need: str = "") -> list[tuple[int, str]]:
    """The seeds that break a law, each with its words."""
    found = []
    with SimulatedLedger() as ledger:
        for seed in seeds:
            try:
                simulate(seed, ledger, need=need)
            except Violation as error:
                first, _, _ = str(error).partition("\n")
                found.append((seed, first.partition(": ")[2]))
    return found


def _begin() -> None:
    os.nice(10)  # tests beside it have deadlines
    logging.disable(logging.CRITICAL)
    gc.set_threshold(100_000)  # SQLAlchemy makes much short-lived garbage
    gc.freeze()


def _parts(first: int, count: int, *, most: int = _PART) -> list[range]:
    size = min(most, _PART)
    return [range(start, min(start + size, first + count)) for start in range(first, first + count, size)]


def run_many(first: int, count: int, *, need: str = "", processes: int = 2) -> tuple[int, Counter[str]]:
    """As `run_seeds`, for `count` seeds from `first`, in some processes."""
    total: Counter[str] = Counter()
    done = 0
    parts = _parts(first, count, most=-(-count // processes))
    with multiprocessing.get_context("spawn").Pool(min(processes, len(parts)), _begin) as pool:
        run_part = functools.partial(run_seeds, need=need)
        for part_done, happened in pool.imap_unordered(run_part, parts):
            done += part_done
            total.update(happened)
    return done, total


def survey(first: int, count: int, *, need: str = "", processes: int = 2) -> None:
    """Print every number whose law is broken: how often, by which seed first, and its words."""
    found: list[tuple[int, str]] = []
    with multiprocessing.get_context("spawn").Pool(processes, _begin) as pool:
        survey_part = functools.partial(survey_seeds, need=need)
        for number, part in enumerate(pool.imap_unordered(survey_part, _parts(first, count)), start=1):
            found += part
            for seed, words in part:
                print(seed, words[:150], flush=True)
            if number % 25 == 0:
                print(f"{number * _PART} schedules so far", flush=True)
    found.sort()
    numbers = Counter(re.match(r"#\d+|", words)[0] or "other" for _, words in found)
    print(f"{count} schedules from {first}: {len(found)} break a law")
    for number, times in sorted(numbers.items(), key=lambda each: (each[0] == "other", each[0][1:].zfill(2))):
        of_it = [(seed, words) for seed, words in found if words.startswith("#" if number == "other" else f"{number} ")]
        if number == "other":
            of_it = [(seed, words) for seed, words in found if not words.startswith("#")]
        seed, words = of_it[0]
        more = ", ".join(str(each) for each, _ in of_it[1:6])
        print(f"{number:5} found, seed {seed}, {times} times: {words[:300]}" + (f" (also {more})" if more else ""))


def main(words: Sequence[str]) -> None:
    logging.disable(logging.CRITICAL)
    surveys = words[0] == "--survey"
    first, *asked = words[surveys:]
    count = int(asked.pop(0)) if asked and asked[0].isdigit() else 1
    need = " ".join(asked)
    if surveys:
        survey(int(first), count, need=need)
        return
    if count == 1:
        with SimulatedLedger() as ledger:
            print("\n".join(simulate(int(first), ledger, need=need).story()))
        return
    began = time.monotonic()
    done, happened = run_many(int(first), count, need=need)
    took_s = time.monotonic() - began
    print(f"{done} schedules in {took_s:.0f} s ({done / took_s:.0f}/s), no law broken; in them:")
    print(", ".join(f"{name} {n}" for name, n in sorted(happened.items())))


if __name__ == "__main__":
    main(sys.argv[1:])
