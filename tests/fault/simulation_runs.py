"""Flow runs in a simulated schedule: each has more jobs than its device takes, and dispatchers send what is left.

A run is the real `finish`, entered in a process of the simulation; it is suspended while it waits. What Prefect knows
of it, and what the sensor and people do with it there, is modelled here.
"""

from __future__ import annotations

import functools
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import SimpleNamespace
from typing import TYPE_CHECKING

from model_backend import BACKEND, ModelBackend
from model_provider import Crash
from simulation_laws import Violation, demand

import qjobs
from flows._support import resume
from qjobs.backends.base import Limits
from qjobs.errors import BackendUnavailable, Busy, QJobsError
from qjobs.ledger.dispatches import Entry
from qjobs.lifecycle import LIVE, UNDER_WAY, JobStatus
from qjobs.model import Job, JobId, RemoteRetryStrategy
from qjobs.operations.dispatch import Enter, dispatch
from qjobs.operations.execute import ToSubmit, WaitedFor, finish, to_send
from qjobs.operations.ladder import submit_by_ladder
from qjobs.operations.retry import RetryPolicy

if TYPE_CHECKING:
    from simulation_world import Process, World

S = JobStatus
DEFAULT = RemoteRetryStrategy.DEFAULT
_WISHES = {RemoteRetryStrategy.FORCE_RESUBMIT, RemoteRetryStrategy.FULL_RESTART}
_ROUNDS = 60
_UNDECIDED_ROUNDS = 20
"""For so many rounds of the end nobody decides about a job whose fate is not known."""
_MOST_ENTRIES = 300


class RunState(StrEnum):
    """What Prefect says of a run."""

    SCHEDULED = "scheduled"
    RUNNING = "running"
    SUSPENDED = "suspended"
    CRASHED = "crashed"
    CANCELLED = "cancelled"
    DONE = "done"


@dataclass
class Run:
    """A flow run; `since` is the last event before it was suspended, `entered` how often it has begun."""

    run_id: str
    job_ids: list[JobId]
    strategy: RemoteRetryStrategy
    policy: RetryPolicy
    state: RunState = RunState.SCHEDULED
    entered: int = 0
    process: Process | None = None
    since: int = 0
    cancelled_at: datetime | None = None
    problems: Mapping[JobId, Exception] = field(default_factory=dict)


class Suspends(BaseException):
    """The process of a run ends here, and the run waits."""


class Runs:
    """The runs of one schedule, and their laws; `limit` is how many live jobs their device takes."""

    def __init__(self, world: World, limit: int) -> None:
        self.world = world
        self.rng = world.rng
        self.ledger = world.ledger
        self.limit = limit
        self.runs: list[Run] = []
        self.refused: dict[JobId, Exception] = {}
        self._granted: Counter[JobId] = Counter()
        self._cleared_to: dict[str, set[str]] = defaultdict(set)
        self._sent_for: dict[JobId, tuple[str, int]] = {}
        """For which run a dispatcher has sent a job last, and how often it had been sent then."""
        self._processes: dict[str, Process] = {}
        self._proved: set[str] = set()
        self._status: dict[JobId, str] = {}
        self._last_event = 0
        for backend in (world.ours, world.theirs):
            if backend is not None:
                backend.limits = Limits(max_live_jobs=limit)

    def begin(self) -> None:
        """Plan the runs: one, or a second one that waits for some of the same jobs."""
        jobs = list(self.world.jobs)
        self.runs = [self._plan("run", jobs, DEFAULT)]  # the name under which the ledger has the jobs
        if self.rng.random() < 0.4:
            strategy = self.rng.choice((DEFAULT, DEFAULT, *RemoteRetryStrategy))
            self.runs.append(self._plan("other", self.rng.sample(jobs, self.rng.randint(1, len(jobs))), strategy))
        for run in self.runs:
            if self.rng.random() < 0.6:
                self._begin_suspended(run)
        self.start_scheduled(self.runs[0])

    def _begin_suspended(self, run: Run) -> None:
        """Others had all places when the run began, so that none of its jobs is sent."""
        run.entered = 1
        run.state = RunState.SUSPENDED
        unsent = dict.fromkeys(run.job_ids, ToSubmit(backend=BACKEND, policy=run.policy, strategy=run.strategy))
        now = self.world.now()
        self.ledger.waits.register(run.run_id, run.job_ids, until="all", now=now, to_send=to_send(unsent))
        self.world.say(f"  {run.run_id} is suspended, {len(unsent)} to be sent {run.strategy}")

    def _plan(self, run_id: str, job_ids: list[JobId], strategy: RemoteRetryStrategy) -> Run:
        rungs = RetryPolicy.for_backend(self.world.ours.lookup).rungs
        return Run(run_id, job_ids, strategy, RetryPolicy(rungs=rungs, max_submissions=self.rng.choice((3, 12))))

    # What the parts of the library are told of the processes of the simulation

    def owner(self) -> str:
        """The process that goes on now, as a lease has it."""
        process = self.world.current
        name = process.name if process else "0"
        if process:
            self._processes[name] = process
        return f"simulated:1:{name}"

    def has_ended(self, owner: str | None) -> bool:
        """Whether the process of a lease is proved to have ended: it is dead, and nothing hides that."""
        process = self._processes.get((owner or "").rpartition(":")[2])
        if process is None or not process.dead:
            return False
        if process.name not in self._proved and self.rng.random() < 0.5:
            self._proved.add(process.name)
        return process.name in self._proved

    def enter(self, do_enter: Enter, entry: Entry, policy: RetryPolicy) -> None:
        """A dispatcher enters the submission of a job for a run."""
        process = self.world.current
        if process is not None and entry.flow_run_id not in self._cleared_to[process.name]:
            self.world.break_law(f"{process.name} sends {entry.job_id} for {entry.flow_run_id}, which may not go on")
        before = self._n_sent(entry.job_id)
        try:
            do_enter(entry, policy)
        finally:
            if self._n_sent(entry.job_id) > before:
                self._sent_for[entry.job_id] = (entry.flow_run_id, before + 1)

    def submit(self, do_submit: Callable[..., object], *given: object, **options: object) -> object:
        """Enter a submission by a stage: the process is about this job now."""
        world = self.world
        process = world.current
        job_id = JobId(str(given[2]))
        strategy = options["strategy"]
        wish = {strategy} & _WISHES  # no ladder has them
        before = self._n_sent(job_id, wish)
        if process is not None:
            world.tick += 1
            process.tick = world.tick
            process.job_id, process.strategy, process.policy = job_id, strategy, options["policy"]
            world.say(f"    {process.name} enters job {world.jobs.index(job_id)} {strategy}")
        try:
            return do_submit(*given, **options)
        except (BackendUnavailable, Busy):
            raise
        except QJobsError as error:
            self.refused[job_id] = error
            raise
        finally:
            if process is not None:
                process.job_id = None
            self._granted[job_id] += self._n_sent(job_id, wish) - before
            if self._granted[job_id] > 1:
                world.break_law(f"{job_id} is sent a second time for one wish, {strategy}")

    def _n_sent(self, job_id: JobId, strategies: Collection[object] = tuple(RemoteRetryStrategy)) -> int:
        """How often a job was sent, by one of these strategies."""
        query = "SELECT strategy FROM attempt WHERE job_id = ? AND sent_at IS NOT NULL"
        return sum(strategy in strategies for (strategy,) in self.ledger.rows(query, job_id))

    # Runs

    def start_scheduled(self, *first: Run) -> None:
        """Prefect's worker starts the runs that are scheduled; others than the first may wait for a while."""
        for run in first or self.runs:
            if run.state is RunState.SCHEDULED and (first or self.world.calm or self.rng.random() < 0.3):
                run.state = RunState.RUNNING
                run.entered += 1
                act = functools.partial(self._execute, run, run.entered)
                run.process = self.world.start(f"run {run.run_id}", act)

    def _execute(self, run: Run, number: int) -> str:
        """What the process of a run does."""
        waits = self.ledger.waits
        stages = SimulatedStages(self, run)
        try:
            with waits.attended(run.run_id):
                waits.register(run.run_id, run.job_ids, until="all", now=self.world.now(), held_by=self.owner())
                wanted = {}
                for job in self.ledger.jobs(job_ids=run.job_ids):
                    asks = number == 1 and job.status is not S.CREATED
                    strategy = run.strategy if asks else DEFAULT
                    wanted[job.job_id] = ToSubmit(backend=BACKEND, policy=run.policy, strategy=strategy)
                problems = finish(self.ledger, wanted, stages)
        except Suspends:
            return "is suspended"
        except (Crash, QJobsError):
            if run.entered == number and run.state is RunState.RUNNING:
                run.state = RunState.CRASHED
            raise
        if run.entered == number and run.state is RunState.RUNNING:
            run.state = RunState.DONE
            run.problems = problems
        return f"is done, with {len(problems)} problems"

    def suspend(self, run: Run, job_ids: Sequence[JobId], until: str, unsent: Mapping[JobId, ToSubmit]) -> None:
        """As the flows do it: write down what is waited for, and end the process unless it is over by now."""
        waits = self.ledger.waits
        if run.state is not RunState.RUNNING:  # it is stopped at its next call of Prefect
            raise Suspends
        ((run.since,),) = self.ledger.rows("SELECT coalesce(max(id), 0) FROM event")
        waits.register(run.run_id, job_ids, until=until, now=self.world.now(), to_send=to_send(unsent))
        if waits.runs(flow_run_id=run.run_id)[0].is_over:
            return
        self.world.point("run: about to be suspended")
        self.world.say(f"    {run.run_id} is suspended until {until} of {len(job_ids)}, {len(unsent)} to be sent")
        run.state = RunState.SUSPENDED
        raise Suspends

    def pause(self, seconds: float, where: str) -> None:
        """Between two entries of a stage others go on."""
        if self.world.calm:
            self.world.elapsed_s += seconds
            self.world.provider.deliver()
        else:
            self.world.sleep(where)

    # What the sensor and people do

    def do(self, name: str, job_id: JobId) -> None:
        getattr(self, f"do_{name}")(job_id)

    def do_dispatch(self, _: JobId | None = None) -> None:
        """A pass of a dispatcher."""
        world = self.world
        backend = world.people.backend
        rng = random.Random(world.tick)
        act = functools.partial(dispatch, self.ledger, lambda _: backend, cleared=self._cleared, now=world.now, rng=rng)
        world.start("dispatch", act)

    def _cleared(self, ids: Sequence[str]) -> Collection[str]:
        waits = {RunState.SUSPENDED, RunState.CRASHED}
        found = {run.run_id for run in self.runs if run.run_id in ids and run.state in waits}
        if self.world.current is not None:
            self._cleared_to[self.world.current.name] |= found
        return found

    def do_resume(self, _: JobId | None = None) -> None:
        """What a pass of the sensor does about runs."""
        self.world.start("sensor of runs", lambda: [self._look_after(run) for run in self.runs])

    def _look_after(self, run: Run) -> str:
        waits = self.ledger.waits.runs(flow_run_id=run.run_id)
        match run.state:
            case RunState.CANCELLED:
                state = SimpleNamespace(timestamp=run.cancelled_at)
                resume._cancel_jobs_of(self.ledger, SimpleNamespace(id=run.run_id, state=state, parameters={}))
                self.ledger.waits.end(run.run_id)
            case RunState.SUSPENDED if not waits:
                raise Violation(f"{run.run_id} is suspended, and waits for nothing")
            case RunState.SUSPENDED | RunState.CRASHED if waits:
                if waits[0].is_over:
                    self._check_resumed(run, waits[0].job_ids)
                    run.state = RunState.SCHEDULED
            case RunState.CRASHED:
                run.state = RunState.SCHEDULED
            case RunState.DONE:
                self.ledger.waits.end(run.run_id)
        return f"{run.run_id} is {run.state}"

    def do_pass(self, job_id: JobId) -> None:
        """A job ends, the sensor sees it and looks after the runs, and sends what there is room for."""
        for _ in range(2):
            self.world.provider.progress()
        self.world.people.do_poll(job_id)
        self.do_dispatch()
        self.do_resume()

    def do_wake(self, _: JobId) -> None:
        """A person presses Resume."""
        self._set(RunState.SCHEDULED, {RunState.SUSPENDED}, "is resumed by a person")

    def do_retry_run(self, _: JobId) -> None:
        """A person presses Retry."""
        ended = {RunState.CRASHED, RunState.CANCELLED, RunState.DONE}
        self._set(RunState.SCHEDULED, ended, "is retried by a person")

    def do_cancel_run(self, _: JobId) -> None:
        """A person cancels a run; its process is ended, if it has one."""
        before = set(RunState) - {RunState.CANCELLED, RunState.DONE}
        run = self._set(RunState.CANCELLED, before, "is cancelled by a person")
        if run is not None:
            run.cancelled_at = self.world.now()
            if run.process in self.world.paused:
                self.world.kill(run.process)

    def do_start(self, _: JobId) -> None:
        """The worker starts what is scheduled."""
        self.start_scheduled()

    def _set(self, state: RunState, before: Collection[RunState], words: str) -> Run | None:
        run = self.rng.choice(self.runs)
        if run.state not in before or run.entered == 0:
            return None
        self.world.say(f"  {run.run_id} {words}")
        run.state = state
        return run

    # Laws

    def check(self) -> None:
        """After each step."""
        self._check_limit()
        query = (
            "SELECT flow_run_id, job_id FROM dispatch AS d WHERE NOT EXISTS (SELECT 1 FROM wait AS w "
            "WHERE w.flow_run_id = d.flow_run_id AND w.job_id = d.job_id AND w.held_by IS NULL)"
        )
        for run_id, job_id in self.ledger.rows(query):
            raise Violation(f"{job_id} is to be sent for {run_id}, which does not wait for it")

    def _check_limit(self) -> None:
        """No job gets a place that is not free: as the ledger saw it when the intent was written."""
        query = "SELECT id, job_id, new FROM event WHERE id > ? AND item_index IS NULL ORDER BY id"
        for number, job_id, new in self.ledger.rows(query, self._last_event):
            self._last_event = number
            if new == S.SUBMITTING and self._status.get(job_id) not in LIVE:
                others = [each for each, status in self._status.items() if status in LIVE and each != job_id]
                demand(
                    len(others) < self.limit, f"{job_id} is sent, and {len(others)} of {self.limit} places are taken"
                )
            self._status[job_id] = new

    def _check_resumed(self, run: Run, job_ids: Sequence[JobId]) -> None:
        """A run is resumed when its jobs are done: each was sent since it was suspended, or refused, or had been."""
        for job_id, word in self.ledger.rows("SELECT job_id, status FROM job"):
            if job_id not in job_ids:
                continue
            demand(word not in UNDER_WAY, f"{run.run_id} is resumed, and {job_id} is {word}")
            if word == S.CREATED and job_id not in self.refused:
                query = (
                    "SELECT count(*) FROM event WHERE job_id = ? AND id > ? AND new NOT IN ('CREATED', 'SUBMITTING')"
                )
                ((moves,),) = self.ledger.rows(query, job_id, run.since)
                demand(moves > 0, f"{run.run_id} is resumed, and {job_id} was never sent")

    # In the end

    def settle(self, pause_s: float) -> None:
        """Rounds of healthy sensors and dispatchers: every run comes to its end, and leaves nothing behind."""
        world = self.world
        for number in range(_ROUNDS):
            self.do_resume()
            self.start_scheduled()
            self.check()
            if self._are_over():
                break
            self.do_dispatch()
            world.advance(pause_s)
            world.provider.finish()
            world.people.do_sensor(world.jobs[0])
            if number >= _UNDECIDED_ROUNDS:
                self._decide()
        if any(remote.refuses for remote in world.provider.jobs.values()):
            return  # a job that nobody can read keeps its place for ever
        for run in self.runs:
            self._check_run(run)

    def _are_over(self) -> bool:
        over = {RunState.CANCELLED, RunState.DONE}
        return all(run.state in over or run.entered == 0 for run in self.runs)

    def _decide(self) -> None:
        """A person decides about what is UNKNOWN: it is adopted, or discarded."""
        people = self.world.people
        for job_id, word in self.ledger.rows("SELECT job_id, status FROM job"):
            if word == S.UNKNOWN:
                people.do_submit(job_id, DEFAULT)
                people.do_adopt(job_id)
                people.do_discard(job_id)

    def _check_run(self, run: Run) -> None:
        if run.entered == 0:
            return
        left = self.ledger.rows("SELECT job_id FROM dispatch WHERE flow_run_id = ?", run.run_id)
        words = f"{run.run_id} is {run.state} in the end"
        demand(run.state in {RunState.DONE, RunState.CANCELLED}, words)
        demand(not left, f"{words}, and {left} are still to be sent for it")
        waited_for = {job_id for other in self.runs if other is not run for job_id in other.job_ids if other.entered}
        for job in self.ledger.jobs(job_ids=run.job_ids):
            if run.state is RunState.DONE:
                told = job.job_id in run.problems
                demand(
                    job.status is not S.CREATED or told, f"{words}, and {job.job_id} was never sent: it is forgotten"
                )
            elif run.run_id == job.run and job.job_id not in waited_for:
                demand(job.status is not S.CREATED, f"{words}, and {job.job_id} is CREATED")
                self._check_cancelled(run, job, words)

    def _check_cancelled(self, run: Run, job: Job, words: str) -> None:
        """What a dispatcher has sent for a run that is cancelled was cancelled, unless somebody sent it once more."""
        sent_for, times = self._sent_for.get(job.job_id, ("", 0))
        attempts = self.ledger.attempts(job.job_id)
        if sent_for != run.run_id or times != self._n_sent(job.job_id) or job.cancel_requested_at is not None:
            return
        first = attempts[0]
        is_first = len(attempts) == 1 and first.strategy is DEFAULT and first.sent_at is not None
        was_late = is_first and run.cancelled_at is not None and first.sent_at > run.cancelled_at
        demand(not was_late, f"{words}, and {job.job_id}, which was sent for it since, is left to run")


class SimulatedStages:
    """Stages of a run in the simulation, as its tasks are: a submission climbs its ladder, a wait suspends the run."""

    def __init__(self, runs: Runs, run: Run) -> None:
        self.runs = runs
        self.run = run
        self.world = runs.world
        self.ledger = runs.ledger
        self.device = self.world.people.backend
        self.entries = 0

    def backend(self, _: str) -> ModelBackend:
        return self.device

    def submit(self, jobs: Mapping[JobId, ToSubmit]) -> dict[JobId, Exception]:
        failed: dict[JobId, Exception] = {}
        for job_id, wanted in jobs.items():
            error = self._climb(job_id, wanted)
            if error is not None:
                failed[job_id] = error
        if failed and all(isinstance(error, Busy) for error in failed.values()):
            self.runs.pause(5.0, "submit: busy")
        return failed

    def _climb(self, job_id: JobId, wanted: ToSubmit) -> Exception | None:
        policy = wanted.policy
        last: Exception | None = None
        for number, delay_s in enumerate([*policy.delays_s, 0.0], start=1):
            self.entries += 1
            if self.entries > _MOST_ENTRIES:
                self.world.break_law(f"{self.run.run_id} spins: it entered submissions {self.entries} times")
            try:
                submit_by_ladder(
                    self.ledger,
                    self.device,
                    job_id,
                    run=number,
                    policy=policy,
                    strategy=wanted.strategy,
                    now=self.world.now,
                )
            except (BackendUnavailable, Busy) as error:
                last = error
                self.runs.pause(delay_s, "submit: the next rung")
            except QJobsError as error:
                return error
            else:
                return None
        return last

    def wait(self, waited: WaitedFor) -> None:
        if not waited.unsent:
            self.runs.suspend(self.run, list(waited.jobs), waited.until, {})
            return
        own = [] if waited.until == "room" else list(waited.jobs)
        self.runs.suspend(self.run, [*own, *waited.unsent], "all", waited.unsent)

    def collect(self, jobs: Mapping[JobId, str]) -> dict[JobId, Exception]:
        failed: dict[JobId, Exception] = {}
        for job_id in jobs:
            try:
                qjobs.collect(self.ledger, self.device, job_id, now=self.world.now)
            except QJobsError as error:
                failed[job_id] = error
        return failed


ACTIONS = [
    *["pass"] * 10,
    *["dispatch"] * 10,
    *["resume"] * 3,
    *["start"] * 4,
    "wake",
    "retry_run",
]
OF_RUNS = {*ACTIONS, "cancel_run"}
OF_PEOPLE = [
    *["progress"] * 7,
    *["advance"] * 7,
    *["sensor"] * 6,
    *["poll"] * 2,
    *["reconcile"] * 2,
    *["advice"] * 2,
    "submit",
    "force",
    "retry",
    "cancel",
    "cancel_items",
    "collect",
    "adopt",
    "discard",
    "interfere",
]
