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
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from driving import Clock, Following, Run, Seen
from provider_rows import ROWS, Row

from qjobs.backends.rest import LostReply
from qjobs.ledger import Ledger
from qjobs.testing.servers import ScriptedProvider

EVERY = int(os.environ.get("QJOBS_FAULTS_EVERY", "1"))
"""Every n-th row is printed; `test_fault_rows.py` has them all."""
_AT_ONCE = 2


def one_of_each(rows: Sequence[Row]) -> list[object]:
    """The rows for a test; all but the first of each kind of fault are slow."""
    kinds: set[object] = set()
    found = []
    for row in rows:
        kind = frozenset((fault.route, fault.action) for fault in row.faults) or row.name
        found.append(pytest.param(row, id=row.name, marks=[pytest.mark.slow] if kind in kinds else []))
        kinds.add(kind)
    return found


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

    `kind` is an adapter, with " sensor" behind it for runs that are suspended, or "audit" for the scenarios.
    """
    logging.disable(logging.CRITICAL)  # of every fault that is played
    with tempfile.TemporaryDirectory() as folder, Ledger(f"sqlite:///{folder}/ledger.db") as ledger:
        found = []
        for seen in _seen(kind, Path(folder), ledger):
            print(seen.line(), flush=True)
            found += seen.problems()
    return found


def _seen(kind: str, folder: Path, ledger: Ledger) -> Iterator[Seen]:
    import aer_rows  # these are built on this module
    import audit_rows
    import mqp_rows
    import nexus_rows
    import sensor_rows
    import stepped_rows

    adapter, _, sensor = kind.partition(" ")
    if adapter in {"aer", "audit"}:
        yield from aer_rows.play_all(ledger) if adapter == "aer" else audit_rows.play_all()
        return
    with contextlib.ExitStack() as stack:
        rows, play_one = ROWS, play
        if adapter == "nexus":
            rows, play_one = nexus_rows.ROWS, nexus_rows.play
            provider = stack.enter_context(nexus_rows.running(folder / "service"))
        elif adapter in mqp_rows.KINDS:
            rows, play_one = mqp_rows.ROWS, mqp_rows.play
            provider = stack.enter_context(mqp_rows.running(adapter))
        else:
            variant = "opaque" if adapter == "stepped" else adapter
            provider = stack.enter_context(ScriptedProvider(variant, queue_s=5.0, run_s=10.0))
        if adapter == "stepped":
            rows, play_one = stepped_rows.ROWS, stepped_rows.play
        if sensor:
            rows = (*rows, *sensor_rows.LONG_ROWS)
            play_one = functools.partial(sensor_rows.play, play_one=play_one)
        for row in rows[::EVERY]:
            yield play_one(row, provider, ledger)


def main() -> int:
    """Print the table; 1 if a row breaks the rule."""
    head = (
        f"{'fault':42} {'adapter':13} {'created':>7} {'lost':>4}  {'status':9} {'then':23} {'requests':>8} {'runs':>4}"
    )
    print(f"{head}  peers created")
    started = time.monotonic()
    adapters = ["nexus", *LostReply, "stepped", "mqp", "mqp-list"]
    kinds = [*adapters, *(f"{adapter} sensor" for adapter in adapters), "aer", "audit"]
    with ProcessPoolExecutor(_AT_ONCE, mp_context=multiprocessing.get_context("spawn")) as pool:
        bad = [problem for problems in pool.map(play_all, kinds) for problem in problems]
    print(f"\nAll rows in {time.monotonic() - started:.1f} s, {len(bad)} break the rule", *bad, sep="\n  ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.modules["table"] = sys.modules["__main__"]  # the rows of each kind import this one
    sys.exit(main())
