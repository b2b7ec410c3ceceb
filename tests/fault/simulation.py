"""A deterministic simulation: the real operations and ledger, a model provider, a virtual clock, crashes.

Every operation runs in a process of its own (a greenlet). It may pause or die before and after every
call to the provider and every writing transaction, and another process may go on meanwhile. All
choices come from one `Random`, so that a seed is a schedule:

    PYTHONPATH=.:tests python tests/fault/simulation.py SEED [COUNT]
"""

from __future__ import annotations

import functools
import gc
import multiprocessing
import os
import random
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import greenlet
from crashing_ledger import SimulatedLedger
from model_provider import KINDS, Crash, ModelBackend, Provider
from simulation_laws import Laws, Violation
from support import NOW

import qjobs
from qjobs.errors import InvalidInput, JobNotFound, QJobsError, StaleJob
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId, LostReply, RemoteId, RemoteRetryStrategy
from qjobs.operations import recover as recovery
from qjobs.operations.retry import RetryPolicy

PROCESS_LIFE_S = 2000.0
"""A process that is stopped for longer is dead. A lease takes 300 s, so that one may go on after it lost its own."""
MAX_JOBS = 3
STRATEGIES = tuple(RemoteRetryStrategy)
STATUS_SETS = ((JobStatus.ERROR,), (JobStatus.ERROR, JobStatus.CANCELLED), tuple(JobStatus))


@dataclass
class Process:
    """One operation under way."""

    name: str
    job_id: JobId | None
    strategy: RemoteRetryStrategy | None
    started_s: float
    dead: bool = False
    thread: greenlet.greenlet = field(default=None, repr=False)


class World:
    """One schedule."""

    def __init__(self, rng: random.Random, ledger: SimulatedLedger) -> None:
        self.rng = rng
        self.ledger = ledger
        self.elapsed_s = 0.0
        self.calm = False
        self.trace: list[str] = []
        self.current: Process | None = None
        self.paused: list[Process] = []
        self.main = greenlet.getcurrent()
        variant = rng.choice(KINDS)
        self.p_fault = rng.choice((0.0, 0.15, 0.4))
        self.p_crash = rng.choice((0.0, 0.02, 0.08))
        self.p_pause = rng.choice((0.0, 0.1, 0.3))
        self.provider = Provider(self, variant)
        self.backend = ModelBackend(self.provider)
        self.runs: dict[JobId, int] = {}
        self.laws = Laws(self)
        sizes = [rng.randint(1, 3) for _ in range(rng.choice((1, 1, 1, 2)))]
        self.jobs = ledger.begin(self, sizes)
        self.say(f"{variant}, items {sizes}, faults {self.p_fault}, crashes {self.p_crash}, pauses {self.p_pause}")

    # Choices

    def say(self, words: str) -> None:
        self.trace.append(f"{self.elapsed_s:7.1f} {words}")

    def happens(self, probability: float) -> bool:
        return not self.calm and probability > 0 and self.rng.random() < probability

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.elapsed_s)

    def point(self, where: str) -> None:
        """A moment at which the process may die, or stop while another one goes on."""
        process = self.current
        if process is None:
            return
        if process.dead or self.happens(self.p_crash):
            self.crash(process, where)
        if self.happens(self.p_pause):
            self.say(f"    {process.name} stops at {where}")
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
    ) -> None:
        process = Process(f"{name}#{len(self.trace)}", job_id, strategy, self.elapsed_s)
        shown = "" if job_id is None else f" job {self.jobs.index(job_id)}"
        self.say(f"{process.name}{shown} {strategy or ''}")
        process.thread = greenlet.greenlet(lambda: self._run(process, act))
        self.go_on(process)

    def _run(self, process: Process, act: Callable[[], object]) -> None:
        try:
            outcome = act()
        except Crash:
            return
        except (StaleJob, JobNotFound) as error:
            raise Violation(f"{process.name} leaks {error!r}") from error
        except InvalidInput as error:
            if not process.name.startswith(("adopt", "discard", "orphans")):
                raise Violation(f"{process.name} raised {error!r}") from error
            outcome = error
        except QJobsError as error:
            outcome = error
        words = repr(outcome) if isinstance(outcome, Exception) else str(getattr(outcome, "status", outcome))
        self.say(f"    {process.name}: {words[:600]}")

    def go_on(self, process: Process) -> None:
        self.current = process
        try:
            process.thread.switch()
        finally:
            self.current = None

    def kill(self, process: Process) -> None:
        self.paused.remove(process)
        self.say(f"    {process.name} is killed")
        process.dead = True
        self.go_on(process)

    # Actions

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
        name = self.rng.choice(ACTIONS)
        getattr(self, f"do_{name}")(self.rng.choice(self.jobs))

    def do_submit(self, job_id: JobId, strategy: RemoteRetryStrategy | None = None) -> None:
        policy = RetryPolicy.for_backend(self.backend.lost_reply)
        if strategy is None:
            self.runs[job_id] = self.runs.get(job_id, 0) + 1
            strategy = policy.strategy_for(self.runs[job_id])
        policy = RetryPolicy(rungs=policy.rungs, max_submissions=self.rng.choice((3, 12)))
        self.start(
            "submit",
            lambda: qjobs.submit(self.ledger, self.backend, job_id, strategy=strategy, policy=policy, now=self.now),
            job_id=job_id,
            strategy=strategy,
        )

    def do_force(self, job_id: JobId) -> None:
        self.do_submit(job_id, self.rng.choice(STRATEGIES))

    def do_retry(self, job_id: JobId) -> None:
        strategy = self.rng.choice(STRATEGIES)
        statuses = self.rng.choice(STATUS_SETS)
        policy = RetryPolicy(rungs=(), max_submissions=12)
        self.start(
            "retry",
            lambda: recovery.retry(
                self.ledger, self.backend, job_id, statuses=statuses, strategy=strategy, policy=policy, now=self.now
            ),
            job_id=job_id,
            strategy=strategy,
        )

    def do_poll(self, _: JobId) -> None:
        self.start("poll", lambda: qjobs.poll(self.ledger, self.backend, self.jobs, now=self.now))

    def do_complete(self, job_id: JobId) -> None:
        self.start("complete", lambda: qjobs.collect(self.ledger, self.backend, job_id, now=self.now), job_id=job_id)

    def do_collect(self, job_id: JobId) -> None:
        act = functools.partial(qjobs.collect, self.ledger, self.backend, job_id, partial=True, now=self.now)
        self.start("collect", lambda: len(act().results), job_id=job_id)

    def do_cancel(self, job_id: JobId) -> None:
        self.start("cancel", lambda: qjobs.cancel(self.ledger, self.backend, job_id, now=self.now), job_id=job_id)

    def do_cancel_items(self, job_id: JobId) -> None:
        items = [self.rng.randrange(self.ledger.job(job_id).n_items)]
        act = functools.partial(qjobs.cancel, self.ledger, self.backend, job_id, items=items, now=self.now)
        self.start(f"cancel {items}", act, job_id=job_id)

    def do_reconcile(self, _: JobId) -> None:
        backends = {self.backend.name: self.backend}
        self.start(
            "reconcile", lambda: recovery.reconcile(self.ledger, backends, job_ids=list(self.jobs), now=self.now)
        )

    def do_rerun(self, job_id: JobId) -> None:
        if len(self.jobs) < MAX_JOBS:
            known = set(self.jobs)
            self.start("rerun", lambda: recovery.rerun(self.ledger, job_id, "again", now=self.now), job_id=job_id)
            self.jobs += [
                JobId(each)
                for (each,) in self.ledger.rows("SELECT job_id FROM job ORDER BY rowid")
                if each not in known
            ]

    def do_adopt(self, job_id: JobId) -> None:
        right = [r.remote_id for r in self.provider.jobs.values() if r.job_id == job_id]
        claimed = {r for (r,) in self.ledger.rows("SELECT remote_id FROM attempt WHERE remote_id IS NOT NULL")}
        wrong = [r.remote_id for r in self.provider.jobs.values() if r.job_id != job_id]
        if self.provider.variant is LostReply.OPAQUE:  # where nothing shows the content, a person has looked
            right = [each for each in right if self.provider.fits(job_id, each)]
            wrong = [each for each in wrong if each in claimed]
        remote_id = self.rng.choice([*right, *right, *wrong, RemoteId("no such job")])
        self.start(
            f"adopt {remote_id}",
            lambda: recovery.adopt(self.ledger, self.backend, job_id, remote_id, now=self.now),
            job_id=job_id,
        )

    def do_discard(self, job_id: JobId) -> None:
        if self.provider.is_certain(job_id):  # a person looked: nothing is there, and nothing is on its way
            self.start("discard", lambda: recovery.discard(self.ledger, job_id, now=self.now), job_id=job_id)

    def do_orphans(self, _: JobId) -> None:
        self.start("orphans", lambda: len(recovery.orphans(self.ledger, self.backend)))

    def do_advance(self, _: JobId) -> None:
        self.advance(self.rng.choice((1.0, 5.0, 9.0, 21.0, 70.0, 310.0)))

    def advance(self, seconds: float) -> None:
        self.elapsed_s += seconds
        self.say(f"+{seconds:g} s")
        for process in [p for p in self.paused if self.elapsed_s - p.started_s > PROCESS_LIFE_S]:
            self.kill(process)
        self.provider.deliver()

    def do_progress(self, _: JobId) -> None:
        self.provider.progress()

    def do_interfere(self, _: JobId) -> None:
        self.provider.interfere()

    # The schedule

    def run(self) -> None:
        for _ in range(5 + int(21 * self.rng.random() ** 3)):
            self.act()
            self.laws.check()
        while self.paused:
            self.kill(self.paused[-1])
        self.settle()

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
        self.advance(1000.0)
        self.do_reconcile(self.jobs[0])
        self.provider.finish()
        self.do_poll(self.jobs[0])
        for job_id in self.jobs:
            self.do_complete(job_id)
            self.do_collect(job_id)  # what there is of a job that is UNKNOWN
        self.laws.check()
        self.laws.check_end()
        for job_id in self.jobs:
            self.do_submit(job_id, RemoteRetryStrategy.DEFAULT)
        self.laws.check()


ACTIONS = [
    *["submit"] * 6,
    *["force"] * 4,
    *["retry"] * 3,
    *["poll"] * 4,
    *["progress"] * 5,
    *["advance"] * 4,
    *["complete"] * 2,
    *["cancel"] * 2,
    *["cancel_items"] * 2,
    *["reconcile"] * 2,
    "collect",
    "adopt",
    "discard",
    "rerun",
    "orphans",
    "interfere",
]


def simulate(seed: int, ledger: SimulatedLedger) -> World:
    """Run the schedule of a seed; a `Violation` carries the seed and the trace."""
    world = World(random.Random(seed), ledger)
    try:
        world.run()
    except BaseException as error:
        shown = "\n".join(world.story())
        raise Violation(
            f"seed {seed}: {error}\n{shown}\nagain with: PYTHONPATH=.:tests python tests/fault/simulation.py {seed}\n"
        ) from error
    finally:
        world.close()
    return world


def run_seeds(seeds: Sequence[int]) -> tuple[int, dict[str, int]]:
    """Run many schedules; how many, and how often what happened in them."""
    happened: dict[str, int] = {}
    done = 0
    with SimulatedLedger() as ledger:
        for seed in seeds:
            try:
                world = simulate(seed, ledger)
            except Violation as error:  # a pool loses what is no Exception, and waits for it
                raise AssertionError(str(error)) from error
            done += 1
            for name, count in world.provider.happened.items():
                happened[name] = happened.get(name, 0) + count
            for line in world.trace:
                if found := re.search(r" (dies|stops|is killed)\b", line):
                    happened[found[1]] = happened.get(found[1], 0) + 1
    return done, happened


def _begin() -> None:
    os.nice(10)  # tests beside it have deadlines
    gc.set_threshold(100_000)  # SQLAlchemy makes much short-lived garbage


def run_many(first: int, count: int, *, processes: int = 2) -> tuple[int, dict[str, int]]:
    """As `run_seeds`, for `count` seeds from `first`, in some processes."""
    parts = [range(first + n, first + count, processes) for n in range(processes)]
    total: dict[str, int] = {}
    done = 0
    with multiprocessing.get_context("spawn").Pool(processes, _begin) as pool:
        for part_done, happened in pool.imap_unordered(run_seeds, parts):
            done += part_done
            for name, n in happened.items():
                total[name] = total.get(name, 0) + n
    return done, total


def main(words: Sequence[str]) -> None:
    first = int(words[0])
    count = int(words[1]) if len(words) > 1 else 1
    if count == 1:
        with SimulatedLedger() as ledger:
            print("\n".join(simulate(first, ledger).story()))
        return
    began = time.monotonic()
    done, happened = run_many(first, count)
    took_s = time.monotonic() - began
    print(f"{done} schedules in {took_s:.0f} s ({done / took_s:.0f}/s), no law broken; in them:")
    print(", ".join(f"{name} {n}" for name, n in sorted(happened.items())))


if __name__ == "__main__":
    main(sys.argv[1:])
