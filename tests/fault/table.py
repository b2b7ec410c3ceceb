"""Fault x adapter: how many remote jobs one wanted job makes, and what becomes of its results.

`make faults` prints it; `test_fault_rows.py` asserts the same rows. Every row drives the real operations as the
flow does: plan; submit, entered again by the ladder of its RetryPolicy on the errors that make Prefect run a
task again; wait; collect. Where a run of the flow ends before the job does, the flow run is
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
from driving import Clock, Following, Run, Seen
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


def show(rows: Sequence[Row], play_one: Callable[[Row], Seen]) -> list[Seen]:
    """Print rows as they come."""
    found = []
    for row in rows[::EVERY]:
        found.append(play_one(row))
        print(found[-1].line(), flush=True)
    return found


def all_tables(folder: Path, ledger: Ledger) -> Iterator[list[Seen]]:
    """The rows of each kind of adapter: of runs that wait, and of suspended runs, for which the sensor asks."""
    import nexus_rows  # these are built on this module
    import sensor_rows
    import stepped_rows

    def both(rows: Sequence[Row], play_one: Callable[..., Seen], provider: object) -> Iterator[list[Seen]]:
        yield show(rows, functools.partial(play_one, provider=provider, ledger=ledger))
        by_sensor = functools.partial(sensor_rows.play, provider=provider, ledger=ledger, play_one=play_one)
        yield show([*rows, *sensor_rows.LONG_ROWS], by_sensor)

    for variant in LostReply:
        with ScriptedProvider(variant, queue_s=5.0, run_s=10.0) as provider:
            yield from both(ROWS, play, provider)
    with ScriptedProvider("opaque", queue_s=5.0, run_s=10.0) as provider:
        yield from both(stepped_rows.ROWS, stepped_rows.play, provider)
    with nexus_rows.running(folder / "service") as provider:
        yield from both(nexus_rows.ROWS, nexus_rows.play, provider)


def main() -> int:
    """Print the table; 1 if a row breaks the rule."""
    logging.disable(logging.WARNING)  # of every fault that is played
    head = (
        f"{'fault':42} {'adapter':13} {'created':>7} {'lost':>4}  {'status':9} {'then':23} {'requests':>8} {'runs':>4}"
    )
    print(f"{head}  peers created")
    bad: list[str] = []
    message = ""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Ledger(f"sqlite:///{folder}/ledger.db") as ledger:
        for table in all_tables(Path(folder), ledger):
            for seen in table:
                bad += [f"{seen.row.name}, {seen.adapter}: {problem}" for problem in seen.problems()]
                message = seen.message if seen.decision else message
    print(f"\nWhat UNKNOWN says: {message}")
    print(f"All rows in {time.monotonic() - started:.1f} s, {len(bad)} break the rule", *bad, sep="\n  ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
