"""Fault x adapter: how many remote jobs one wanted job makes, and what becomes of its results.

`make faults` prints it; `test_fault_rows.py` asserts the same rows. Every row drives the real operations as the
flow does: plan; submit, entered again by the ladder of its RetryPolicy on the errors that make Prefect run a
task again; wait; collect. Where a run of the flow ends before the job does, the flow run is
entered again a minute later, three times at the most. What is UNKNOWN even then is decided as its message says:
adopted if the provider has it, discarded and sent if not. Pauses are virtual, the provider is a real HTTP server.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import pytest
from driving import Clock, Following, Run, Seen
from provider_rows import ROWS, Row

from qjobs.backends.rest import LostReply
from qjobs.ledger import Ledger
from qjobs.testing.servers import ScriptedProvider

EVERY = int(os.environ.get("QJOBS_FAULTS_EVERY", "1"))
"""Every n-th row is printed, of Aer all, and Prefect's only with all of them; `test_fault_rows.py` has them all."""
_AT_ONCE = 2
KINDS = (
    "prefect",
    "killed",
    "nexus",
    *LostReply,
    "stepped",
    "qoro",
    "mqp",
    "mqp-list",
    "async-job",
    "async-job-find",
    "killed sensor",
    "nexus sensor",
    "findable sensor",
    "opaque sensor",
    "stepped sensor",
    "qoro sensor",
    "mqp sensor",
    "mqp-list sensor",
    "async-job sensor",
    "async-job-find sensor",
    "aer",
    "audit",
)
"""Adapters, and " sensor" behind those whose runs are suspended; those that take longest come first."""


class Shown(Protocol):
    """What became of a row: its line of the table, and where it breaks the rule."""

    def line(self) -> str: ...

    def problems(self) -> list[str]: ...


def one_of_each(rows: Sequence[Row], *, slow: Collection[str] = ()) -> list[Any]:
    """The rows for a test; all but the first of each kind of fault are slow, and those that are named."""
    kinds: set[object] = set()
    found = []
    for row in rows:
        kind = frozenset((fault.route, fault.action) for fault in row.faults) or row.name
        is_slow = kind in kinds or row.name in slow
        found.append(pytest.param(row, id=row.name, marks=[pytest.mark.slow] if is_slow else []))
        kinds.add(kind)
    return found


def first_of_each(rows: Sequence[Row]) -> list[Any]:
    """The first row of each kind of fault, for a test that is slow anyway; `make faults` plays the others too."""
    return [row for row in one_of_each(rows) if not row.marks]


class Scripted:
    """What a run needs to know of the scripted provider."""

    def __init__(self, provider: ScriptedProvider) -> None:
        self.store = provider.store
        self.url = provider.url
        self._provider = provider

    @property
    def ids(self) -> list[str]:
        """All jobs that it has made."""
        self.store.run_due()
        return list(self.store.jobs)

    @property
    def created(self) -> int:
        return len(self.ids)

    @property
    def n_asked(self) -> int:
        return self._provider.asked.total()

    def prepare(self, row: Row, clock: Clock) -> None:
        """Forget everything before, and misbehave as the row says."""
        provider, store = self._provider, self.store
        provider.reset()
        store.clock = clock.monotonic
        store.list_items = True
        provider.inject(*row.faults)
        provider.have(
            broken=dict(row.broken),
            withheld=dict(row.withheld),
            stuck=set(row.stuck),
            requeues=row.requeues,
            requeue_s=20.0,
        )
        acts = {"delete": store.forget, "retry": store.revive}
        for seconds, what in row.there:
            store.do_late(seconds, functools.partial(self._to_all, acts[what]))

    def end_faults(self) -> None:
        self._provider.inject()

    def _to_all(self, act: Callable[[str], None]) -> None:
        for job_id in list(self.store.jobs):
            act(job_id)


def play(
    row: Row,
    provider: ScriptedProvider,
    ledger: Ledger,
    *,
    make: type[Run] = Run,
    scripted: type[Scripted] = Scripted,
    jump_s: float = 0.0,
    follow: Following | None = None,
) -> Seen:
    """Run one row, on a provider that forgets everything before."""
    clock = Clock(jump_s=jump_s)
    prepared = scripted(provider)
    prepared.prepare(row, clock)
    run = make(row, prepared, ledger, clock, follow)
    try:
        return run.see()
    finally:
        run.close()


def play_all(kind: str) -> list[str]:
    """Play and print the rows of one kind of adapter, in a process of its own; where they break the rule.

    `kind` is one of `KINDS`.
    """
    logging.disable(logging.CRITICAL)  # of every fault that is played
    with tempfile.TemporaryDirectory() as folder, Ledger(f"sqlite:///{folder}/ledger.db") as ledger:
        found = []
        for seen in _seen(kind, Path(folder), ledger):
            print(seen.line(), flush=True)
            found += seen.problems()
    return found


def _seen(kind: str, folder: Path, ledger: Ledger) -> Iterator[Shown]:
    import aer_rows  # these are built on this module
    import audit_rows
    import prefect_rows
    import sensor_rows

    adapter, _, sensor = kind.partition(" ")
    alone = {
        "aer": functools.partial(aer_rows.play_all, ledger),
        "audit": functools.partial(audit_rows.play_all, EVERY),
        "prefect": prefect_rows.play_all,
    }
    if adapter in alone:
        yield from alone[adapter]()
        return
    with contextlib.ExitStack() as stack:
        provider, rows, play_one = _opened(adapter, folder, stack)
        if sensor:
            rows = sensor_rows.of_sensor(adapter, rows)
            play_one = functools.partial(sensor_rows.play, play_one=play_one)
        for row in rows[::EVERY]:
            yield play_one(row, provider, ledger)


def _opened(
    adapter: str, folder: Path, stack: contextlib.ExitStack
) -> tuple[object, Sequence[Row], Callable[..., Seen]]:
    """The provider of a kind of adapter, its rows, and what plays one."""
    import async_job_rows
    import killed_rows
    import mqp_rows
    import nexus_rows
    import qoro_rows
    import stepped_rows

    if adapter in async_job_rows.KINDS:
        return stack.enter_context(async_job_rows.running(adapter)), async_job_rows.ROWS, async_job_rows.play
    if adapter in mqp_rows.KINDS:
        return stack.enter_context(mqp_rows.running(adapter)), mqp_rows.ROWS, mqp_rows.play
    if adapter == "nexus":
        return stack.enter_context(nexus_rows.running(folder / "service")), nexus_rows.ROWS, nexus_rows.play
    if adapter == "qoro":
        return stack.enter_context(qoro_rows.running()), qoro_rows.ROWS, qoro_rows.play
    if adapter == "killed":
        return stack.enter_context(killed_rows.running(folder)), killed_rows.ROWS, killed_rows.play
    variant = "opaque" if adapter == "stepped" else adapter
    provider = stack.enter_context(ScriptedProvider(variant, queue_s=5.0, run_s=10.0))
    return provider, *((stepped_rows.ROWS, stepped_rows.play) if adapter == "stepped" else (ROWS, play))


def main(kinds: Sequence[str] = ()) -> int:
    """Print the table, of these kinds of adapters or of all; 1 if a row breaks the rule."""
    head = (
        f"{'fault':42} {'adapter':13} {'created':>7} {'lost':>4}  {'status':9} {'then':23} {'requests':>8} {'runs':>4}"
    )
    print(f"{head}  peers created")
    started = time.monotonic()
    kinds = kinds or [kind for kind in KINDS if EVERY == 1 or kind != "prefect"]
    with ProcessPoolExecutor(_AT_ONCE, mp_context=multiprocessing.get_context("spawn")) as pool:
        bad = [problem for problems in pool.map(play_all, kinds) for problem in problems]
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = f"{time.monotonic() - started:.1f} s ({spent.ru_utime + spent.ru_stime:.0f} s of processor time)"
    print(f"\nAll rows in {took}, {len(bad)} break the rule", *bad, sep="\n  ", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.modules["table"] = sys.modules["__main__"]  # the rows of each kind import this one
    sys.exit(main(sys.argv[1:]))
