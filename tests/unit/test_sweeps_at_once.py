"""Sweeps that overlap, planned at once, and sweeps of a device whose configuration has changed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from launching import Stages, circuits, points, run
from scripted import ScriptedBackend
from support import raw

from qjobs.compiling.compiler import CompileCache
from qjobs.errors import StaleJob
from qjobs.ledger import Ledger, tables
from qjobs.operations.plan import find_existing, plan_missing

TESTS = Path(__file__).parents[1]
BELOW, ABOVE = (0.1, 0.2, 0.3), (0.2, 0.3, 0.4)


def labels(store: Ledger) -> list[str]:
    """Of all items of all jobs."""
    return sorted(item.label for job in store.jobs() for item in store.items(job.job_id))


def test_second_looks_again(store: Ledger, stages: Callable[..., Stages]) -> None:
    """What was planned since a run looked makes its plan void: nothing of it is stored."""
    staged, second = stages(), points(*ABOVE)
    existing = find_existing(store, staged.opened["fake"], second, run="two")
    run(staged, points(*BELOW), "one")
    compiled = {each: each for each in second.programs}
    with pytest.raises(StaleJob, match="had 0 jobs and has 1 now"):
        plan_missing(
            store, staged.opened["fake"], second, existing, compiled, run="two", logical_run="two", opened_as="fake"
        )
    assert len(labels(store)) == 3


def test_planned_between(store: Ledger, stages: Callable[..., Stages]) -> None:
    """A run whose points another one has planned meanwhile plans again, and shares them."""
    backend = ScriptedBackend()
    one, two = stages(backend), stages(backend)
    compile_ = two.compile

    def compile_late(*values: object, **options: object) -> Mapping[str, str]:
        if not store.jobs():
            run(one, points(*BELOW), "one")
        return compile_(*values, **options)

    two.compile = compile_late
    assert run(two, points(*ABOVE), "two").problems == {}
    assert (len(labels(store)), len(set(labels(store)))) == (4, 4)
    assert sum(len(remote.batch.items) for remote in backend.jobs.values()) == 4


class Planned(BaseException):
    """A run has come as far as its submissions."""


class Planning(Stages):
    """Stages on which nothing is sent; the first plan waits until all others have looked too."""

    meet: Callable[[], object]

    def compile(self, *values: object, **options: object) -> Mapping[str, str]:
        compiled = super().compile(*values, **options)
        self.meet()
        return compiled

    def submit(self, _: object) -> Mapping[str, Exception]:
        raise Planned


def test_in_threads(store: Ledger, tmp_path: Path) -> None:
    """Overlapping sweeps, planned at once in threads, make each point once, and each run has all of its own."""
    start = threading.Barrier(4)

    def work(name: str, values: tuple[float, ...]) -> int:
        staged = Planning(store, CompileCache(tmp_path / "compiled"), fake=ScriptedBackend())
        met: list[int] = []
        staged.meet = lambda: met or met.append(start.wait(20))
        with pytest.raises(Planned):
            run(staged, points(*values), name)
        found = find_existing(store, staged.opened["fake"], points(*values), run=name).jobs
        return len(found.keys() & set(points(*values).labels()))

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(work, ("a", "b", "c", "d"), (BELOW, ABOVE, BELOW, ABOVE))) == [3, 3, 3, 3]
    assert (len(labels(store)), len(set(labels(store)))) == (4, 4)


PLANS = """
import os, sys
from pathlib import Path
sys.path.insert(0, os.environ["TESTS"])
from launching import Stages, points, run
from scripted import ScriptedBackend
from qjobs.compiling.compiler import CompileCache
from qjobs.ledger import Ledger
met = []
class Planning(Stages):
    def compile(self, *values, **options):
        compiled = super().compile(*values, **options)
        if not met:
            print("looked", flush=True)
            met.append(sys.stdin.readline())
        return compiled
    def submit(self, _):
        print("planned", flush=True)
        sys.exit()
values = [float(value) for value in sys.argv[4:]]
stages = Planning(Ledger(sys.argv[1]), CompileCache(Path(sys.argv[2])), fake=ScriptedBackend())
run(stages, points(*values), sys.argv[3])
"""


def test_in_processes(store: Ledger, tmp_path: Path) -> None:
    """Overlapping sweeps, planned at once in two processes, make each point once."""
    processes = []
    for name, values in (("one", BELOW), ("two", ABOVE)):
        words = [sys.executable, "-c", PLANS, store.url, str(tmp_path / "compiled"), name, *map(str, values)]
        environment = {**os.environ, "TESTS": str(TESTS)}
        processes.append(
            subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
    try:
        assert [process.stdout.readline() for process in processes] == ["looked\n"] * 2
        assert store.jobs() == []
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        assert [process.communicate(timeout=60)[0] for process in processes] == ["planned\n"] * 2
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert (len(labels(store)), len(set(labels(store)))) == (4, 4)
    assert len(store.jobs()) == 2


# Another configuration


def test_other_configuration(store: Ledger, stages: Callable[..., Stages]) -> None:
    """Points of another configuration of the device are not reused, and are again once it is set back."""
    backend = ScriptedBackend()
    before = backend.fingerprint
    first = run(stages(backend), points(), "one").jobs["fake"]
    backend.fingerprint = replace(before, settings="device, noise 0.1")
    noisy = run(stages(backend), points(), "two").jobs["fake"]
    assert not set(first) & set(noisy)
    backend.fingerprint = before
    assert run(stages(backend), points(), "three").jobs["fake"] == first
    assert len(backend.jobs) == 2


def test_other_configuration_of_a_list(store: Ledger, stages: Callable[..., Stages]) -> None:
    """A logical run of circuits that goes on with another configuration does not take the old one's results."""
    backend = ScriptedBackend()
    first = run(stages(backend), circuits(1), "one", "wish").jobs["fake"]
    assert run(stages(backend), circuits(1), "two", "wish").jobs["fake"] == first
    backend.fingerprint = replace(backend.fingerprint, settings="device, noise 0.1")
    assert run(stages(backend), circuits(1), "three", "wish").jobs["fake"] != first


def test_migrated(store: Ledger, stages: Callable[..., Stages]) -> None:
    """Results of jobs that an older version made, without a fingerprint, are reused."""
    backend = ScriptedBackend()
    first = run(stages(backend), points(), "one").jobs["fake"]
    raw(store, sa.update(tables.JOB).values(fingerprint=""))
    assert run(stages(backend), points(), "two").jobs["fake"] == first
    assert len(backend.jobs) == 1
