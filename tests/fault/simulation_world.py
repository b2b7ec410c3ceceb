"""One simulated schedule: processes that may stop and die, the virtual clock, and the order in which all is done."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NoReturn

import greenlet
from crashing_ledger import SimulatedLedger
from model_backend import BROKEN, backend_of
from model_provider import KINDS, NOT_OF, REQUEUED_S, TRAITS, Crash, Kind, Provider, another_server
from simulation_laws import Laws, Violation
from simulation_money import Money
from simulation_people import ACTIONS, DAY_S, WITH_TRAITS, People
from simulation_runs import ACTIONS as RUN_ACTIONS
from simulation_runs import OF_PEOPLE, OF_RUNS, Runs
from support import NOW

from qjobs.errors import InvalidInput, JobNotFound, QJobsError, StaleJob
from qjobs.model import JobId, Key, RemoteRetryStrategy
from qjobs.operations.batching import base_key
from qjobs.operations.retry import RetryPolicy

PROCESS_LIFE_S = 2000.0
"""A process that is stopped for longer is dead. A lease takes 300 s, so that one may go on after it lost its own."""
_SLOW = {"forgets", "keeps back", "open item"}
"""With these traits the end is waited for: weeks of the virtual clock."""
_ASKED_AGAIN = 6
CAPPED = "capped"
"""A schedule of many jobs over one cap; asked for, as the next is."""
DISPATCHED = "dispatched"
"""A schedule of flow runs whose jobs dispatchers send; asked for, so that a seed stays the schedule that it was."""


@dataclass
class Process:
    """One operation under way; `chosen` are the items that it is about, if it is about some."""

    name: str
    job_id: JobId | None
    strategy: RemoteRetryStrategy | None
    policy: RetryPolicy | None
    chosen: frozenset[int] | None
    started_s: float
    tick: int
    dead: bool = False
    outcome: object = None
    thread: greenlet.greenlet = field(default=None, repr=False)


@dataclass(frozen=True)
class Character:
    """What is drawn first of a schedule."""

    variant: Kind
    p_fault: float
    p_crash: float
    p_pause: float
    traits: frozenset[str]

    @classmethod
    def of(cls, rng: random.Random) -> Character:
        return cls(
            rng.choice(KINDS),
            rng.choice((0.0, 0.15, 0.4)),
            rng.choice((0.0, 0.02, 0.08)),
            rng.choice((0.0, 0.1, 0.3)),
            frozenset(rng.sample(list(TRAITS), rng.choice((0, 1, 1, 1, 2)))),
        )

    def with_only(self, need: str) -> Character:
        """The same with this kind of provider, or this trait alone; with "" nothing is changed."""
        need = need.removeprefix(CAPPED).strip().removeprefix(DISPATCHED).strip()
        if need in TRAITS:
            return replace(self, traits=frozenset({need}))
        if not need:
            return self
        kind = Kind(need)
        return replace(self, variant=kind, traits=self.traits - NOT_OF.get(kind, frozenset()))


class World:
    """One schedule."""

    def __init__(self, rng: random.Random, ledger: SimulatedLedger, *, need: str = "") -> None:
        self.rng = rng
        self.ledger = ledger
        self.elapsed_s = 0.0
        self.tick = 0
        self.calm = False
        self.broken: Violation | None = None
        self.trace: list[str] = []
        self.current: Process | None = None
        self.paused: list[Process] = []
        self.n_pauses = 0
        self.main = greenlet.getcurrent()
        character = Character.of(rng).with_only(need)
        variant = character.variant
        self.p_fault = p_fault = character.p_fault
        self.p_crash = character.p_crash
        self.p_pause = character.p_pause
        self.traits = character.traits
        self.provider = Provider(self, variant, p_fault=p_fault)
        self.ours = backend_of(self.provider)
        self.backend = self.ours
        self.laws = Laws(self)
        self.people = People(self)
        least = 2 if self.traits & {"alternates", "chooses"} else 1
        sizes = [rng.randint(least, 3) for _ in range(rng.choice((1, 1, 1, 2)))]
        limit = 0
        is_capped = need.startswith(CAPPED)
        if is_capped:
            need = need.removeprefix(CAPPED).strip()
            sizes = [rng.randint(least, 3) for _ in range(rng.randint(3, 5))]
        if need.startswith(DISPATCHED):
            limit = rng.randint(1, 3)
            sizes = [rng.randint(least, 2) for _ in range(limit + rng.randint(1, 3))]
        self.other = another_server(self, variant, sizes[0]) if "switched" in self.traits else None
        self.theirs = backend_of(self.other) if self.other else None
        if "refuses one" in self.traits and len(sizes) == 1:
            sizes.append(1)
        self.jobs = ledger.begin(self, sizes)
        self.money: Money | None = None
        if is_capped:
            self.money = Money(self, sum(sizes), max(sizes))
        self.runs = Runs(self, limit) if limit else None
        self.names = WITH_TRAITS if self.traits else ACTIONS
        if self.runs is not None:
            cancels = ["cancel_run"] * 3 if rng.random() < 0.3 else []
            self.names = [*RUN_ACTIONS, *cancels, *OF_PEOPLE, *["trait"] * (4 if self.traits else 0)]
            self.say(f"flow runs and dispatchers, {limit} places")
        self.say(f"{variant}, items {sizes}, faults {p_fault}, crashes {self.p_crash}, pauses {self.p_pause}")
        for trait in sorted(self.traits):
            self.say(f"its character: {TRAITS[trait]}")

    # Choices

    def say(self, words: str) -> None:
        self.trace.append(f"{self.elapsed_s:7.1f} {words}")

    def happens(self, probability: float) -> bool:
        return not self.calm and probability > 0 and self.rng.random() < probability

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.elapsed_s)

    def owner(self, key: Key) -> tuple[JobId, int]:
        """Whose submission is under way: our job and its epoch."""
        ((job_id, epoch),) = self.ledger.rows("SELECT job_id, epoch FROM job WHERE key = ?", base_key(key))
        return JobId(job_id), epoch

    def index_of(self, label: str) -> int:
        """The index of an item of ours, which its label ends with."""
        return int(label.rpartition("-")[2])

    def point(self, where: str) -> None:
        """A moment at which the process may die, or stop while another one goes on."""
        process = self.current
        if process is None or self.broken:
            return
        if process.dead or self.happens(self.p_crash):
            self.crash(process, where)
        if self.happens(self.p_pause):
            self.sleep(where)

    def sleep(self, where: str) -> None:
        """The process stops here; others go on until somebody wakes it."""
        process = self.current
        if process is None:
            return
        self.say(f"    {process.name} stops at {where}")
        self.n_pauses += 1
        self.paused.append(process)
        self.main.switch()
        if process.dead:
            self.crash(process, where)

    def crash(self, process: Process, where: str) -> None:
        if not process.dead:
            self.say(f"    {process.name} dies at {where}")
        process.dead = True
        raise Crash(where)

    # Processes

    def start(
        self,
        name: str,
        act: Callable[[], object],
        *,
        job_id: JobId | None = None,
        strategy: RemoteRetryStrategy | None = None,
        policy: RetryPolicy | None = None,
        chosen: frozenset[int] | None = None,
    ) -> Process:
        self.tick += 1
        name = f"{name}#{len(self.trace)}"
        process = Process(name, job_id, strategy, policy, chosen, self.elapsed_s, self.tick)
        shown = "" if job_id is None else f" job {self.jobs.index(job_id)}"
        self.say(f"{process.name}{shown} {strategy or ''}")
        process.thread = greenlet.greenlet(lambda: self._run(process, act))
        self.go_on(process)
        return process

    def _run(self, process: Process, act: Callable[[], object]) -> None:
        try:
            outcome = act()
        except Crash:
            return
        except (StaleJob, JobNotFound) as error:
            raise Violation(f"{process.name} leaks {error!r}") from error
        except InvalidInput as error:
            if self.other is None and not process.name.startswith(("adopt", "discard", "orphans")):
                raise Violation(f"{process.name} raised {error!r}") from error
            outcome = error
        except QJobsError as error:
            outcome = error
        except Exception as error:
            if BROKEN not in str(error):
                raise
            outcome = error
        process.outcome = outcome
        self.laws.check_outcome(process)
        self.laws.read_advice(process)
        words = repr(outcome) if isinstance(outcome, Exception) else str(getattr(outcome, "status", outcome))
        self.say(f"    {process.name}: {words[:600]}")

    def go_on(self, process: Process) -> None:
        self.laws.advice = None
        self.current = process
        try:
            process.thread.switch()
        finally:
            self.current = None
        if self.broken is not None:
            raise self.broken

    def break_law(self, words: str) -> NoReturn:
        """A process has broken a law; whatever the code under test makes of the error, the schedule ends."""
        self.broken = Violation(words)
        raise self.broken

    def kill(self, process: Process) -> None:
        self.paused.remove(process)
        self.say(f"    {process.name} is killed")
        process.dead = True
        self.go_on(process)

    def switch(self) -> None:
        """Who opens the backend gets the other server from now on, or ours again."""
        if self.other is not None:
            self.backend = self.theirs if self.backend is self.ours else self.ours
            self.people.backend = self.backend
            self.say(f"  {self.backend.name} is server {self.backend.provider.server} now")

    # The schedule

    def act(self) -> None:
        if self.paused and self.rng.random() < 0.45:
            process = self.rng.choice(self.paused)
            if self.happens(self.p_crash * 2):
                self.kill(process)
            else:
                self.paused.remove(process)
                self.say(f"    {process.name} goes on")
                self.go_on(process)
            return
        name = self.rng.choice(self.names)
        if self.laws.advice is not None and self.rng.random() < 0.3:
            name = "advice"
        job_id = self.rng.choice(self.jobs)
        if self.runs is not None and name in OF_RUNS:
            self.runs.do(name, job_id)
        else:
            self.people.do(name, job_id)

    def advance(self, seconds: float) -> None:
        self.elapsed_s += seconds
        self.laws.advice = None
        self.say(f"+{seconds:g} s")
        for process in [p for p in self.paused if self.elapsed_s - p.started_s > PROCESS_LIFE_S]:
            self.kill(process)
        self.provider.deliver()

    def run(self) -> None:
        acts = 8 if self.traits else 5
        if self.runs is not None:
            acts = 25
            self.runs.begin()
        elif self.money is not None:
            acts = 20
        elif self.traits:
            self.people.do_submit(self.jobs[0])
        for _ in range(acts + int(21 * self.rng.random() ** 3)):
            self.act()
            self.check()
        while self.paused:
            self.kill(self.paused[-1])
        self.settle()

    def check(self) -> None:
        """The laws of every moment."""
        self.laws.check()
        if self.runs is not None:
            self.runs.check()
        if self.money is not None:
            self.money.check()

    def close(self) -> None:
        """End what is left of a schedule that broke a law."""
        for process in self.paused:
            process.dead = True
            process.thread.throw(greenlet.GreenletExit)
        self.paused = []

    def story(self) -> list[str]:
        """What happened, in words that are the same each time."""
        text = "\n".join(self.trace)
        for n, job_id in enumerate(self.jobs):
            text = text.replace(job_id, f"job-{n}")
        text = re.sub(r"job-[0-9a-f]{32}", "a new job", text)
        return re.sub(r"[\w.-]+:\d+:\d{6,}", "another process", text).split("\n")

    def settle(self) -> None:
        """The last round: a healthy provider, and everything that is promised to hold in the end."""
        self.calm = True
        people = self.people
        if self.money is not None and self.runs is not None:
            self.money.put(1e6)  # now every job can go on
        if self.backend is not self.ours:
            self.switch()
        for remote in self.provider.jobs.values():
            remote.hides = False
        self.advance(1000.0)
        people.do_reconcile(self.jobs[0])
        for _ in range(3):
            people.do_sensor(self.jobs[0])
            self.advance(4000.0)
        if self.runs is not None:
            self.runs.settle(2 * DAY_S if self.traits & _SLOW else 700.0)
            people.do_reconcile(self.jobs[0])
            people.do_sensor(self.jobs[0])
        self.laws.check_live()
        self.laws.check()
        self.laws.check_stored()
        self.provider.finish()
        people.do_poll(self.jobs[0])
        for _ in range(_ASKED_AGAIN if self.traits & _SLOW else 2 * ("requeues" in self.traits)):
            self.advance(10 * DAY_S if self.traits & _SLOW else 2 * REQUEUED_S)
            people.do_poll(self.jobs[0])
        if self.traits & _SLOW:  # one answer without a result gives nothing up
            for job_id in self.jobs:
                people.do_complete(job_id)
            self.advance(4000.0)
        collected = {}
        for job_id in self.jobs:
            collected[job_id] = people.do_complete(job_id).outcome
            people.do_collect(job_id)  # what there is of a job that is UNKNOWN
        self.laws.check()
        self.laws.check_queued_again("itself", "#3")
        if self.ledger.rows("SELECT 1 FROM stray WHERE ended_at IS NULL"):
            people.do_sensor(self.jobs[0])  # which hears that a cancellation of before has come about
        self.laws.check_end()
        if self.money is not None:
            self.money.check_end()
        for job_id in self.jobs:
            people.do_submit(job_id, RemoteRetryStrategy.DEFAULT)
        self.laws.check()
        if "retried there" in self.traits:
            people.do_poll(self.jobs[0])
            self.laws.check_queued_again("a person", "#2")
        self.laws.check_steps()
        restarted = {job_id: people.do_restart(job_id).outcome for job_id in self.jobs if self.laws.is_gone(job_id)}
        self.laws.check_ways_out(collected, restarted)
