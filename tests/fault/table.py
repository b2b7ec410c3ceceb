"""Fault x adapter: how many remote jobs one wanted job makes, and what becomes of its results.

`make faults` prints it; `test_fault_rows.py` asserts the same rows. Every row drives the real operations as the
flow does: plan; submit, entered again by the ladder of its RetryPolicy on the errors that make Prefect run a
task again; reconcile; wait; complete. Where a run of the flow ends before the job does, the flow run is
resumed a minute later, three times at the most. What is UNKNOWN even then is decided as its message says:
adopted if the provider has it, sent again if not. Pauses are virtual, the provider is a real HTTP server.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from provider_rows import ROWS, STATUS, SUBMIT, Row

import qjobs
from qjobs.backends.base import LostReply
from qjobs.backends.limiter import Limiter
from qjobs.backends.rest import RestBackend
from qjobs.circuits.programs import read_circuit
from qjobs.errors import QJobsError
from qjobs.ledger import Ledger
from qjobs.lifecycle import UNDER_WAY, JobStatus
from qjobs.model import ItemSpec, JobId, RemoteId, RemoteRetryStrategy
from qjobs.operations.recover import adopt, reconcile
from qjobs.operations.retry import RetryPolicy
from qjobs.testing.contract import bits_of, flips
from qjobs.testing.faults import Action
from qjobs.testing.servers import ScriptedProvider
from tasks.retrying import READ_DELAYS_S, climbing, is_transient

N_ITEMS = 4
SHORT_S = 0.3
LONG_S = 30.0
MAX_RUNS = 3
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


class Clock:
    """Time that only sleeping moves."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0

    def now(self) -> datetime:
        return datetime(2025, 3, 1, tzinfo=UTC) + timedelta(seconds=self.elapsed_s)

    def monotonic(self) -> float:
        return self.elapsed_s

    def sleep(self, seconds: float) -> None:
        self.elapsed_s += seconds


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a row came to. `status` is that before a person decided anything, `decided` that after."""

    row: Row
    variant: LostReply
    created: int
    lost: int
    status: JobStatus
    decision: str
    decided: JobStatus
    requests: int
    runs: int
    message: str
    causes: frozenset[str]
    waits: bool = False
    adapter: str = ""

    def line(self) -> str:
        """Its line of the table."""
        then = f"{self.decision} -> {self.decided}" if self.decision else ""
        adapter = self.adapter or self.variant
        return (
            f"{self.row.name:37} {adapter:13} {self.created:7} {self.lost:4}  {self.status:9} {then:23} "
            f"{self.requests:8} {self.runs:4}  {self.row.peers}"
        ).rstrip()

    def problems(self) -> list[str]:
        """Where it breaks the rule."""
        normal = JobStatus.ERROR if self.row.broken else JobStatus.COMPLETED
        allowed = {normal}
        if self.row.lost and self.variant is LostReply.OPAQUE:
            allowed = {JobStatus.UNKNOWN}
        found = []
        if self.created != 1:
            found.append(f"{self.created} remote jobs")
        if self.row.gone:
            return found + self._problems_of_gone()
        if self.lost:
            found.append(f"{self.lost} results lost")
        if self.status not in allowed:
            found.append(f"it became {self.status}")
        if self.decided is not normal:
            found.append(f"it ended {self.decided}")
        words = ("may or may not exist", "qjobs jobs adopt", "qjobs jobs discard")
        if self.status is JobStatus.UNKNOWN and not all(word in self.message for word in words):
            found.append(f"the message does not say how to decide: {self.message!r}")
        if self.row.recorded and self.row.recorded not in self.causes:
            found.append(f"its history has no {self.row.recorded}")
        return found

    def _problems_of_gone(self) -> list[str]:
        """Where the results are gone for ever: the run ends, and says so."""
        found = []
        if self.status in UNDER_WAY:
            found.append(f"it is {self.status} for ever")
        if self.waits:
            found.append("its results are waited for for ever")
        if self.row.gone not in self.message:
            found.append(f"{self.row.gone!r} is not in: {self.message!r}")
        return found


class _State:
    """What Prefect's retry condition is given."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def result(self) -> None:
        raise self._error


class _Run:
    """One wanted job, driven as the flow drives it."""

    def __init__(self, row: Row, provider: ScriptedProvider, ledger: Ledger, clock: Clock) -> None:
        self.row = row
        self.provider = provider
        self.ledger = ledger
        self.clock = clock
        self.variant = LostReply(provider.store.variant)
        self.limiter = Limiter(clock.monotonic, clock.sleep)
        self.policy = RetryPolicy.for_backend(self.variant)
        self.message = ""
        self.run = uuid.uuid4().hex
        late = {fault.route for fault in row.faults if fault.action is Action.LATE}
        self.sending = self._backend(SHORT_S if SUBMIT in late else LONG_S)
        self.reading = self._backend(SHORT_S if STATUS in late else LONG_S)

    def _backend(self, timeout_s: float) -> RestBackend:
        return RestBackend(
            self.provider.url,
            name=f"rest-{self.run[:8]}",  # the provider counts its ids anew in every row
            lost_reply=self.variant,
            timeout_s=timeout_s,
            poll_interval_s=(1.0, 10.0),
            limiter=self.limiter,
            sleep=self.clock.sleep,
        )

    def close(self) -> None:
        self.sending.close()
        self.reading.close()

    def _stage(self, act: Callable[[int], object], delays_s: Sequence[float]) -> bool:
        """A Prefect task: run again where its condition says so; whether it ended well."""
        for count in range(1, len(delays_s) + 2):
            try:
                act(count)
            except QJobsError as error:
                self.message = str(error)
                if count > len(delays_s) or not is_transient(None, None, _State(error)):
                    return False
                self.clock.sleep(delays_s[count - 1])
            else:
                return True
        return False

    def flow(self) -> JobId:
        """One run of the flow; another one finds its job again."""
        job_id = self.send()
        self.follow(job_id)
        return job_id

    def send(self) -> JobId:
        """Plan and submit."""
        now = self.clock.now
        circuits = [read_circuit(flips(3, on=bits_of(number))) for number in range(N_ITEMS)]
        programs = {program.hash: program for program in circuits}
        items = [ItemSpec(label=f"{n}", program=h, shots=16 + n) for n, h in enumerate(programs)]
        (job_id,) = qjobs.plan(self.ledger, self.sending, items, programs, run=self.run, name="row", now=now)

        def submit(count: int) -> None:
            strategy = self.policy.strategy_for(count)
            with climbing(self.policy, count, self.variant):
                qjobs.submit(self.ledger, self.sending, job_id, strategy=strategy, policy=self.policy, now=now)

        self._stage(submit, self.policy.delays_s)
        return job_id

    def follow(self, job_id: JobId) -> None:
        """Wait and collect."""
        now = self.clock.now
        clock = self.clock
        backends = {self.reading.name: self.reading}
        reconcile(self.ledger, backends, job_ids=[job_id], now=now)
        self._stage(
            lambda _: qjobs.wait(
                self.ledger, backends, [job_id], timeout_s=9e4, now=now, monotonic=clock.monotonic, sleep=clock.sleep
            ),
            READ_DELAYS_S,
        )
        if self.ledger.job(job_id).status.is_final:
            self._stage(lambda _: qjobs.collect(self.ledger, self.reading, job_id, now=now), READ_DELAYS_S)

    def decide(self, job_id: JobId) -> str:
        """Do what the message tells a person to do."""
        if self.provider.created:
            (remote_id,) = self.provider.store.jobs
            adopt(self.ledger, self.sending, job_id, RemoteId(remote_id), now=self.clock.now)
            word = "adopt"
        else:
            allow = RemoteRetryStrategy.ALLOW_RESUBMIT
            qjobs.submit(self.ledger, self.sending, job_id, strategy=allow, now=self.clock.now)
            word = "send again"
        self.flow()
        return word

    def see(self) -> Seen:
        job_id = self.flow()
        runs = 1
        while not self.ledger.job(job_id).status.is_final and runs < MAX_RUNS:
            self.clock.sleep(60.0)
            runs += 1
            self.flow()
        status = self.ledger.job(job_id).status
        requests = self.provider.asked.total()
        message = self.message
        decision = self.decide(job_id) if status is JobStatus.UNKNOWN else ""
        results = self.ledger.results(job_id)
        wanted = [n for n in range(N_ITEMS) if n not in self.row.broken]
        right = [n for n in wanted if n in results and results[n].counts == {f"{n:03b}": 16 + n}]
        return Seen(
            row=self.row,
            variant=self.variant,
            created=self.provider.created,
            lost=len(wanted) - len(right),
            status=status,
            decision=decision,
            decided=self.ledger.job(job_id).status,
            requests=requests,
            runs=runs,
            message=message,
            causes=self._causes(job_id),
            waits=self.ledger.job(job_id).next_poll_at is not None,
        )

    def _causes(self, job_id: JobId) -> frozenset[str]:
        """What the job's history says went wrong."""
        return frozenset(event.cause for event in self.ledger.events(job_id))


def play(
    row: Row,
    provider: ScriptedProvider,
    ledger: Ledger,
    make: Callable[[Row, ScriptedProvider, Ledger, Clock], _Run] = _Run,
) -> Seen:
    """Run one row, on a provider that forgets everything before."""
    clock = Clock()
    provider.reset()
    provider.store.clock = clock.monotonic
    provider.inject(*row.faults)
    provider.break_items(row.broken)
    for seconds, what in row.there:
        provider.store.do_late(seconds, functools.partial(provider.store.by_a_person, what))
    run = make(row, provider, ledger, clock)
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
