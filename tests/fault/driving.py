"""One wanted job, driven as the flow drives it: plan; submit, by the ladder of its policy; wait; collect."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from dying import STEPPED as SENDERS
from provider_rows import STATUS, SUBMIT, Row

import qjobs
from qjobs.backends.base import Backend, Confirmation
from qjobs.backends.limiter import Limiter
from qjobs.backends.rest import LostReply, RestBackend
from qjobs.circuits.programs import read_circuit
from qjobs.errors import BackendUnavailable, QJobsError
from qjobs.ledger import Ledger
from qjobs.lifecycle import UNDER_WAY, JobStatus
from qjobs.model import ItemSpec, JobId, RemoteId, RemoteRetryStrategy
from qjobs.operations.ladder import submit_by_ladder
from qjobs.operations.recover import adopt, discard
from qjobs.operations.retry import RetryPolicy
from qjobs.testing.contract import bits_of, flips
from qjobs.testing.faults import Action
from tasks.retrying import READ_DELAYS_S, is_transient, is_transient_read

N_ITEMS = 4
SHORT_S = 0.3
LONG_S = 30.0
MAX_RUNS = 3
_JUMPS_AT_S = 10.0
_MOST_REAL_S = 3.0
_DYING = Path(__file__).with_name("dying.py")
_ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (_DYING.parents[2], _DYING.parents[1])))}
REVOCABLE = Confirmation(revocable=frozenset({JobStatus.ERROR, JobStatus.CANCELLED}))


class Clock:
    """Time that only sleeping moves.

    What is written down may jump by `jump_s` ten seconds in, while pauses and the provider go on evenly. Each pause
    lasts `moment_s` of real time, for providers that have a clock of their own, and all of them `_MOST_REAL_S`.
    """

    def __init__(self, *, jump_s: float = 0.0, moment_s: float = 0.0) -> None:
        self.elapsed_s = 0.0
        self.jump_s = jump_s
        self.moment_s = moment_s
        self._left_s = _MOST_REAL_S

    def now(self) -> datetime:
        jump_s = self.jump_s if self.elapsed_s >= _JUMPS_AT_S else 0.0
        return datetime(2025, 3, 1, tzinfo=UTC) + timedelta(seconds=self.elapsed_s + jump_s)

    def monotonic(self) -> float:
        return self.elapsed_s

    def sleep(self, seconds: float) -> None:
        self.elapsed_s += seconds
        if self.moment_s and self._left_s > 0:
            time.sleep(min(seconds, self.moment_s))
            self._left_s -= self.moment_s


class AnyProvider(Protocol):
    """What a run needs to know of its provider."""

    url: str

    @property
    def created(self) -> int: ...

    @property
    def ids(self) -> list[str]: ...

    @property
    def n_asked(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a row came to. `status` is that before a person decided anything, `decided` that after."""

    row: Row
    adapter: str
    is_opaque: bool
    created: int
    lost: int
    status: JobStatus
    decision: str
    decided: JobStatus
    requests: int
    runs: int
    message: str
    causes: frozenset[str]
    waits: bool

    def line(self) -> str:
        """Its line of the table."""
        then = f"{self.decision} -> {self.decided}" if self.decision else ""
        return (
            f"{self.row.name:42} {self.adapter:13} {self.created:7} {self.lost:4}  {self.status:9} {then:23} "
            f"{self.requests:8} {self.runs:4}  {self.row.peers}"
        ).rstrip()

    def problems(self) -> list[str]:
        """Where it breaks the rule."""
        return [f"{self.row.name}, {self.adapter}: {words}" for words in self._broken()]

    def _broken(self) -> list[str]:
        row = self.row
        found = [] if self.created == 1 else [f"{self.created} remote jobs"]
        if row.gone and not any(words in self.message for words in row.gone.split("|")):
            found.append(f"{row.gone!r} is not in: {self.message!r}")
        if row.gone and self.waits and self.status is not JobStatus.LOST:
            found.append("its results are waited for for ever")
        if row.without == frozenset(range(N_ITEMS)):
            return found + ([f"it is {self.status} for ever"] if self.status in UNDER_WAY else [])
        normal = JobStatus.ERROR if row.fails else JobStatus.COMPLETED
        if self.lost:
            found.append(f"{self.lost} results lost")
        if self.status is not (JobStatus.UNKNOWN if row.lost and self.is_opaque else normal):
            found.append(f"it became {self.status}: {self.message}")
        if self.decided is not normal:
            found.append(f"it ended {self.decided}: {self.message}")
        words = ("may or may not exist", "qjobs jobs adopt", "qjobs jobs discard")
        if self.status is JobStatus.UNKNOWN and not all(word in self.message for word in words):
            found.append(f"the message does not say how to decide: {self.message!r}")
        if row.runs and not self.is_opaque and self.runs > row.runs:
            found.append(f"it took {self.runs} runs: {self.message}")
        if row.recorded and row.recorded not in self.causes:
            found.append(f"its history has no {row.recorded}")
        return found


class _State:
    """What Prefect's retry condition is given."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def result(self) -> None:
        raise self._error


def stage(
    act: Callable[[int], object], delays_s: Sequence[float], clock: Clock, said: list[str], *, reads: bool = False
) -> None:
    """A Prefect task: run again where its condition says so; what was `said` by errors is added."""
    condition = is_transient_read if reads else is_transient
    for count in range(1, len(delays_s) + 2):
        try:
            act(count)
        except QJobsError as error:
            said.append(str(error))
            if count > len(delays_s) or not condition(None, None, _State(error)):
                return
            clock.sleep(delays_s[count - 1])
        else:
            return


class Run:
    """One wanted job at one provider; `follow` does what comes after the submission."""

    adapter = ""

    def __init__(
        self, row: Row, provider: AnyProvider, ledger: Ledger, clock: Clock, follow: Following | None = None
    ) -> None:
        self.row = row
        self._follow = follow or wait_and_collect
        self.provider = provider
        self.ledger = ledger
        self.clock = clock
        self.limiter = Limiter(clock.monotonic, clock.sleep)
        self.message = ""
        self.run = uuid.uuid4().hex
        self.name = f"row-{self.run[:8]}"  # the provider counts its ids anew in every row
        self.confirm = REVOCABLE if row.revocable else Confirmation()
        late = {fault.route for fault in row.faults if fault.action is Action.LATE}
        self.sending = self.backend(SHORT_S if SUBMIT in late else LONG_S)
        self.reading = self.backend(SHORT_S if STATUS in late else LONG_S)
        self.policy = RetryPolicy.for_backend(self.sending.lookup)

    @property
    def decides(self) -> bool:
        """Whether a lost reply is left to a person."""
        return self.sending.lookup.is_opaque

    def backend(self, timeout_s: float) -> Backend:
        variant = LostReply(self.provider.store.variant)
        self.adapter = variant
        return RestBackend(
            self.provider.url,
            name=self.name,
            lost_reply=variant,
            timeout_s=timeout_s,
            poll_interval_s=(1.0, 10.0),
            confirm=self.confirm,
            limiter=self.limiter,
            sleep=self.clock.sleep,
        )

    def close(self) -> None:
        self.sending.close()
        self.reading.close()

    def _stage(self, act: Callable[[int], object], delays_s: Sequence[float], *, reads: bool = False) -> None:
        said: list[str] = []
        stage(act, delays_s, self.clock, said, reads=reads)
        self.message = said[-1] if said else self.message

    def flow(self) -> JobId:
        """One run of the flow; another one finds its job again."""
        job_id = self.plan()
        self.submit(job_id)
        self.follow(job_id)
        if self.ledger.job(job_id).status is JobStatus.LOST:
            self.submit(job_id)
        return job_id

    def shots_of(self, number: int) -> int:
        """The shots of an item: each has its own, where a job takes several numbers."""
        return 16 if self.sending.limits.one_n_shots else 16 + number

    def plan(self) -> JobId:
        circuits = [read_circuit(flips(3, on=bits_of(number))) for number in range(N_ITEMS)]
        programs = {program.hash: program for program in circuits}
        items = [ItemSpec(label=f"{n}", program=h, shots=self.shots_of(n)) for n, h in enumerate(programs)]
        (job_id,) = qjobs.plan(self.ledger, self.sending, items, programs, run=self.run, name="row", now=self.clock.now)
        return job_id

    def submit(self, job_id: JobId) -> None:
        def enter(count: int) -> None:
            submit_by_ladder(self.ledger, self.sending, job_id, run=count, policy=self.policy, now=self.clock.now)

        self._stage(enter, self.policy.delays_s)

    def follow(self, job_id: JobId) -> None:
        self._follow(self, job_id)

    def read(self, act: Callable[[], object]) -> None:
        """A stage that reads."""
        self._stage(lambda _: act(), READ_DELAYS_S, reads=True)

    def collect(self, job_id: JobId) -> None:
        def read() -> None:
            found = qjobs.collect(self.ledger, self.reading, job_id, now=self.clock.now)
            if found.missing:
                raise BackendUnavailable(f"collect told nobody that there are no results: {found.missing}")

        self.read(read)

    def decide(self, job_id: JobId) -> str:
        """Do what the message tells a person to do."""
        ids = self.provider.ids
        if ids:
            adopt(self.ledger, self.sending, job_id, RemoteId(ids[0]), now=self.clock.now)
        else:
            discard(self.ledger, job_id, now=self.clock.now)
        self.flow()
        return "adopt" if ids else "discard"

    def retry(self, job_id: JobId, strategy: RemoteRetryStrategy) -> None:
        """What a person enters after the job has ended, and has been touched at the provider's own page."""
        self.clock.sleep(max(0.0, *(seconds for seconds, _ in self.row.there)))
        self._stage(
            lambda _: qjobs.retry(self.ledger, self.sending, job_id, strategy=strategy, now=self.clock.now), [60.0]
        )
        self.follow(job_id)

    @property
    def settings(self) -> dict[str, object]:
        """What opens the backend in another process."""
        return {"url": self.provider.url, "name": self.name}

    def die(self, job_id: JobId, moment: str) -> None:
        """Let another process go on, and be killed at a moment."""
        present = str(self.clock.now().timestamp())
        words = [moment, self.ledger.url, job_id, present, self.adapter, json.dumps(self.settings)]
        done = subprocess.run([sys.executable, str(_DYING), *words], capture_output=True, text=True, env=_ENVIRONMENT)
        assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr

    def see(self) -> Seen:
        if self.row.killed in SENDERS:
            self.die(self.plan(), self.row.killed)
        job_id = self.flow()
        runs = 1
        over = {JobStatus.LOST}
        while not (self.ledger.job(job_id).status.is_final or runs == MAX_RUNS):
            if self.ledger.job(job_id).status in over:
                break
            self.clock.sleep(60.0)
            runs += 1
            self.flow()
        if self.row.again is not None:
            self.retry(job_id, self.row.again)
        job = self.ledger.job(job_id)
        requests = self.provider.n_asked
        message = self.message
        decision = self.decide(job_id) if job.status is JobStatus.UNKNOWN else ""
        if decision == "discard" and self.ledger.job(job_id).status is JobStatus.UNKNOWN:
            decision = f"{decision}, {self.decide(job_id)}"  # the reply to the next submission was lost too
        results = self.ledger.results(job_id)
        wanted = [n for n in range(N_ITEMS) if n not in self.row.without]
        right = [n for n in wanted if n in results and results[n].counts == {f"{n:03b}": self.shots_of(n)}]
        return Seen(
            row=self.row,
            adapter=self.adapter,
            is_opaque=self.decides,
            created=self.provider.created,
            lost=len(wanted) - len(right),
            status=job.status,
            decision=decision,
            decided=self.ledger.job(job_id).status,
            requests=requests,
            runs=runs,
            message=message,
            causes=self.causes(job_id),
            waits=self.ledger.job(job_id).next_poll_at is not None,
        )

    def causes(self, job_id: JobId) -> frozenset[str]:
        """What the job's history says went wrong."""
        events = self.ledger.events(job_id)
        parked = {event.detail.split(":")[0] for event in events if event.cause == "parked"}
        return frozenset(event.cause for event in events) | parked


Following = Callable[[Run, JobId], None]


def wait_and_collect(run: Run, job_id: JobId) -> None:
    """What a run does that waits in its own process."""
    now, clock = run.clock.now, run.clock
    backends = {run.reading.name: run.reading}
    clocks = {"now": now, "monotonic": clock.monotonic, "sleep": clock.sleep}
    run.read(lambda: qjobs.wait(run.ledger, backends, [job_id], timeout_s=9e4, **clocks))
    if run.ledger.job(job_id).status.is_final:
        run.collect(job_id)
