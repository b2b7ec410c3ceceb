"""Fault x adapter: how many remote jobs one wanted job makes, and what becomes of its results.

`make faults` prints it; `test_fault_rows.py` asserts the same rows. Every row drives the real operations as the
flow does: plan; submit, entered again by the ladder of its RetryPolicy on the errors that make Prefect run a
task again; reconcile; wait; collect. Where a run of the flow ends before the job does, the flow run is
entered again a minute later, three times at the most. What is UNKNOWN even then is decided as its message says:
adopted if the provider has it, discarded and sent if not. Pauses are virtual, the provider is a real HTTP server.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from driving import Clock, Run, Seen
from provider_rows import ROWS, Row

from qjobs.backends.rest import LostReply
from qjobs.ledger import Ledger
from qjobs.testing.servers import ScriptedProvider

EVERY = int(os.environ.get("QJOBS_FAULTS_EVERY", "1"))
"""Every n-th row is printed; `test_fault_rows.py` has them all."""


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
        """The jobs that can run, or have; of those in steps, the ones whose last step came."""
        self.store.run_due()
        return [job.id for job in self.store.jobs.values() if job.outcomes and not job.is_open]

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
            broken=dict(row.broken), withheld=dict(row.withheld), stuck=set(row.stuck), requeues=row.requeues
        )
        acts = {"delete": store.forget, "retry": store.revive}
        for seconds, what in row.there:
            store.do_late(seconds, functools.partial(self._to_all, acts[what]))

    def _to_all(self, act: Callable[[str], None]) -> None:
        for job_id in list(self.store.jobs):
            act(job_id)


def play(
    row: Row,
    provider: ScriptedProvider,
    ledger: Ledger,
    make: Callable[[Row, Scripted, Ledger, Clock], Run] = Run,
    clock: Clock | None = None,
) -> Seen:
    """Run one row, on a provider that forgets everything before."""
    clock = clock or Clock()
    scripted = Scripted(provider)
    scripted.prepare(row, clock)
    run = make(row, scripted, ledger, clock)
    try:
        return run.see()
    finally:
        run.close()


def show(rows: Sequence[Row], play_one: Callable[[Row], Seen]) -> list[Seen]:
    """Print rows as they come."""
    found = []
    for row in rows[::EVERY]:
        found.append(play_one(row))
        print(found[-1].line(), flush=True)
    return found


def all_tables(folder: Path, ledger: Ledger) -> Iterator[list[Seen]]:
    """The rows of runs that wait, of suspended runs, for which the sensor asks, and of the Nexus adapter."""
    import nexus_rows  # these are built on this module
    import sensor_rows

    for rows, play_one in ((ROWS, play), (sensor_rows.ROWS, sensor_rows.play)):
        for variant in LostReply:
            with ScriptedProvider(variant, queue_s=5.0, run_s=10.0) as provider:
                yield show(rows, functools.partial(play_one, provider=provider, ledger=ledger))
    with nexus_rows.running(folder / "service") as provider:
        yield show(nexus_rows.ROWS, functools.partial(nexus_rows.play, provider=provider, ledger=ledger))


def main() -> int:
    """Print the table; 1 if a row breaks the rule."""
    logging.disable(logging.WARNING)  # of every fault that is played
    head = (
        f"{'fault':37} {'adapter':13} {'created':>7} {'lost':>4}  {'status':9} {'then':23} {'requests':>8} {'runs':>4}"
    )
    print(f"{head}  peers created")
    bad: list[str] = []
    message = ""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Ledger(f"sqlite:///{folder}/ledger.db") as ledger:
        for table in all_tables(Path(folder), ledger):
            for seen in table:
                bad += [f"{seen.row.name}, {seen.adapter or seen.variant}: {problem}" for problem in seen.problems()]
                if seen.decision and seen.variant is LostReply.OPAQUE:
                    message = seen.message
    print(f"\nWhat UNKNOWN says: {message}")
    print(f"All rows in {time.monotonic() - started:.1f} s, {len(bad)} break the rule", *bad, sep="\n  ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
