"""Execute: the one road from a plan to its results, for the flows, the command and the notebook.

What differs between them is how a stage is entered: directly, or as a task of Prefect that is retried and shown. That
is `Stages`. The order of the stages, what is done with a full device, and what is submitted again is here, once.

A stage may end the process (a flow run is suspended while it waits). Entering again with the same `run` goes on from
what the ledger has.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from qjobs.backends.base import Backend
from qjobs.compiling.compiler import CompileCache, CompileOptions, Compiler
from qjobs.errors import Busy, QJobsError
from qjobs.experiments.sweep import SweepPlan
from qjobs.ledger import Ledger
from qjobs.lifecycle import FINAL, LIVE, UNDER_WAY
from qjobs.model import Job, JobId, ProgramHash
from qjobs.operations.collect import collect
from qjobs.operations.compile_jobs import compile_programs, compiled_by, plan_compilation
from qjobs.operations.plan import ExperimentJobs, ExperimentPlan, find_existing, plan_missing
from qjobs.operations.submit import submit
from qjobs.operations.wait import Progress, wait

__all__ = ["DirectStages", "Executed", "ExperimentPlan", "Shown", "Stages", "Until", "execute", "finish"]

logger = logging.getLogger(__name__)

_LONGEST_PAUSE_S = 1.0
Until = Literal["any", "all"]
Shown = Literal["progress", "compile-progress", "room"]


class Stages(Protocol):
    """How the stages of an execution are entered. Jobs are given with the name of their backend."""

    def backend(self, name: str) -> Backend:
        """The backend of a name; the same object each time."""

    def compile(
        self, name: str, hashes: Sequence[ProgramHash], options: CompileOptions, *, fresh: bool
    ) -> Mapping[ProgramHash, ProgramHash]:
        """Compile circuits of the ledger for a backend in this process; from given to compiled hash."""

    def submit(self, jobs: Mapping[JobId, str]) -> Mapping[JobId, Exception]:
        """Submit jobs, side by side if possible; what went wrong, by job."""

    def wait(self, jobs: Mapping[JobId, str], *, until: Until, shown: Sequence[JobId], kind: Shown) -> None:
        """Wait until all jobs, or any of them, have moved as far as waiting moves them.

        The progress counts the circuits of the jobs in `shown`.
        """

    def collect(self, jobs: Mapping[JobId, str]) -> Mapping[JobId, Exception]:
        """Bring the results of final jobs into the ledger; what went wrong, by job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """What `execute` did: job ids by backend, reused ones included; what went wrong, by job; a sentence per backend."""

    jobs: Mapping[str, tuple[JobId, ...]]
    problems: Mapping[JobId, Exception]
    summaries: tuple[str, ...]


def execute(ledger: Ledger, plan: ExperimentPlan, stages: Stages, *, run: str, identity: str = "") -> Executed:
    """Take an experiment from its plan to its results: compile, submit, wait, collect.

    What the ledger has of it is not run again. One job's failure leaves the others alone. Entering again with the same
    `run` goes on where it was; `identity` is the logical run, where it is another.

    Raises:
        InvalidInput: It cannot be run. Nothing was submitted for the backends behind the one that refused.
    """
    names = list(plan.spec.backends) if isinstance(plan, SweepPlan) else [plan.spec.backend]
    for name in names:
        stages.backend(name)  # a name that is wrong is refused before any backend gets a job
    execution = _Execution(ledger=ledger, plan=plan, stages=stages, run=run, identity=identity or run)
    jobs: dict[str, tuple[JobId, ...]] = {}
    to_finish: dict[JobId, str] = {}
    summaries = []
    for name in names:
        planned = execution.jobs_on(name)
        jobs[name] = planned.job_ids
        entered_before = {*planned.new, *planned.failed}
        for job in ledger.jobs(job_ids=jobs[name]):
            # A job that was reused with its results is left alone; one of an earlier entry is collected once more.
            if not job.status.is_final or job.job_id in entered_before:
                to_finish[job.job_id] = name
        summaries.append(f"{name}: {planned.summary}")
        logger.info("%s: %s", plan.spec.name, summaries[-1])
    ledger.waits.end(run)  # not before: a job that the run waited for counts as its own while it is planned
    problems = finish(ledger, to_finish, stages)
    return Executed(jobs=jobs, problems=problems, summaries=tuple(summaries))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Execution:
    ledger: Ledger
    plan: ExperimentPlan
    stages: Stages
    run: str
    identity: str

    def jobs_on(self, name: str) -> ExperimentJobs:
        """The jobs of the experiment on one backend, after compiling what is not there."""
        backend = self.stages.backend(name)
        existing = find_existing(self.ledger, backend, self.plan, run=self.run)
        compiled: Mapping[ProgramHash, ProgramHash] = {}
        if any(label not in existing.jobs for label in self.plan.labels()):
            self.ledger.add_programs(self.plan.programs.values())
            compiled = self.compile(name, list(self.plan.programs))
        return plan_missing(
            self.ledger,
            backend,
            self.plan,
            existing,
            compiled,
            run=self.run,
            identity=self.identity,
            opened_as=name,
        )

    def compile(self, name: str, hashes: Sequence[ProgramHash]) -> Mapping[ProgramHash, ProgramHash]:
        """Compile circuits in this process, or by a compile job of the provider's; from given to compiled hash."""
        options = self.plan.compile_options
        fresh = isinstance(self.plan, SweepPlan) and self.plan.spec.fresh
        if options.compiler is not Compiler.REMOTE:
            return self.stages.compile(name, hashes, options, fresh=fresh)
        planned = plan_compilation(
            self.ledger,
            self.stages.backend(name),
            hashes,
            level=options.level,
            name=self.plan.spec.name,
            run=self.run,
            opened_as=name,
            identity=self.identity,
            fresh=fresh,
        )
        compiling = dict.fromkeys(planned.job_ids, name)
        for problem in finish(self.ledger, compiling, self.stages, kind="compile-progress").values():
            raise problem
        return {**planned.have, **compiled_by(self.ledger, planned.job_ids)}


def finish(
    ledger: Ledger, jobs: Mapping[JobId, str], stages: Stages, *, kind: Shown = "progress"
) -> dict[JobId, Exception]:
    """Take jobs from wherever they are to their results: submit, wait, collect.

    Never more live jobs than a device takes. A job that cannot be submitted now (the device is full, or another
    process is submitting it) is submitted again later. `jobs` maps job ids to the names of their backends, in the order
    of submission.

    Returns:
        What went wrong, by job; empty when every job has all its results.
    """
    final = {job.job_id: jobs[job.job_id] for job in ledger.jobs(job_ids=list(jobs), statuses=FINAL)}
    problems = dict(stages.collect(final)) if final else {}
    unsent = [job_id for job_id in jobs if job_id not in final]
    under_way: list[JobId] = []
    while unsent or under_way:
        chosen = _that_fit(ledger, stages, unsent, jobs)
        if not chosen and not under_way:
            _wait_for_room(ledger, stages, unsent, jobs)
            chosen = _that_fit(ledger, stages, unsent, jobs) or unsent[:1]
        failed = stages.submit({job_id: jobs[job_id] for job_id in chosen}) if chosen else {}
        later, lost = _sort(ledger, failed)
        problems.update(lost)
        under_way += [job_id for job_id in chosen if job_id not in later and job_id not in lost]
        tried = set(chosen) - later
        unsent = [job_id for job_id in unsent if job_id not in tried]
        if not under_way:
            continue
        waited_for = {job_id: jobs[job_id] for job_id in under_way}
        stages.wait(waited_for, until="any" if unsent else "all", shown=list(jobs), kind=kind)
        statuses = {job.job_id: job.status for job in ledger.jobs(job_ids=under_way)}
        under_way = []
        done: dict[JobId, str] = {}
        for job_id, status in statuses.items():
            if status.is_final:
                done[job_id] = jobs[job_id]
            elif status in UNDER_WAY:
                under_way.append(job_id)
            else:
                unsent.append(job_id)
        problems.update(stages.collect(done) if done else {})
    return problems


def _that_fit(ledger: Ledger, stages: Stages, unsent: Sequence[JobId], jobs: Mapping[JobId, str]) -> list[JobId]:
    """The first jobs that their devices have room for, in the order of submission."""
    room: dict[str, int] = {}
    chosen = []
    for job_id in unsent:
        name = jobs[job_id]
        if name not in room:
            most = stages.backend(name).limits.max_live_jobs
            room[name] = len(unsent) if most is None else most - len(_live_on(ledger, stages.backend(name)))
        if room[name] > 0:
            room[name] -= 1
            chosen.append(job_id)
    return chosen


def _wait_for_room(ledger: Ledger, stages: Stages, unsent: Sequence[JobId], jobs: Mapping[JobId, str]) -> None:
    """Wait for any live job on the devices that `unsent` waits for; it may be another run's."""
    others: dict[JobId, str] = {}
    for name in sorted({jobs[job_id] for job_id in unsent}):
        others.update(dict.fromkeys((job.job_id for job in _live_on(ledger, stages.backend(name))), name))
    stages.wait(others, until="any", shown=list(others), kind="room")


def _live_on(ledger: Ledger, backend: Backend) -> list[Job]:
    return ledger.jobs(backend=backend.name, device=backend.device, statuses=LIVE)


def _sort(ledger: Ledger, failed: Mapping[JobId, Exception]) -> tuple[set[JobId], dict[JobId, Exception]]:
    """Failed submissions: those to repeat later, and those that are lost; any other job is at its provider."""
    at_provider = {job.job_id for job in ledger.jobs(job_ids=list(failed), statuses=UNDER_WAY)}
    later: set[JobId] = set()
    lost: dict[JobId, Exception] = {}
    for job_id, error in failed.items():
        if isinstance(error, Busy):
            later.add(job_id)
        elif job_id not in at_provider or not isinstance(error, QJobsError):
            lost[job_id] = error
    return later, lost


class DirectStages:
    """Stages that are entered directly, in this process: for the command and the notebook.

    `backends` maps the names that the experiment gives them to backends; `report` is called with the progress of each
    wait.
    """

    def __init__(
        self,
        ledger: Ledger,
        backends: Mapping[str, Backend],
        cache: CompileCache,
        report: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self._ledger = ledger
        self._backends = backends
        self._cache = cache
        self._report = report

    def backend(self, name: str) -> Backend:
        """The backend of a name."""
        return self._backends[name]

    def compile(
        self, name: str, hashes: Sequence[ProgramHash], options: CompileOptions, *, fresh: bool
    ) -> Mapping[ProgramHash, ProgramHash]:
        """Compile circuits of the ledger here."""
        return compile_programs(self._ledger, self._backends[name], hashes, options, self._cache, fresh=fresh)

    def submit(self, jobs: Mapping[JobId, str]) -> Mapping[JobId, Exception]:
        """Submit jobs one after the other; pauses where all of them are to be repeated later."""
        failed = _errors(jobs, lambda job_id: submit(self._ledger, self._backends[jobs[job_id]], job_id))
        pauses_s = [error.retry_after_s for error in failed.values() if isinstance(error, Busy)]
        if len(pauses_s) == len(jobs):
            time.sleep(min(*pauses_s, _LONGEST_PAUSE_S))
        return failed

    def wait(self, jobs: Mapping[JobId, str], *, until: Until, shown: Sequence[JobId], kind: Shown) -> None:
        """Poll in this thread."""
        backends = {name: self._backends[name] for name in jobs.values()}
        wait(self._ledger, backends, list(jobs), until=until, report=self._report)

    def collect(self, jobs: Mapping[JobId, str]) -> Mapping[JobId, Exception]:
        """Collect jobs one after the other."""
        return _errors(jobs, lambda job_id: collect(self._ledger, self._backends[jobs[job_id]], job_id))


def _errors(job_ids: Iterable[JobId], stage: Callable[[JobId], object]) -> dict[JobId, Exception]:
    """Enter a stage for each job; what it raised of ours, by job."""
    found: dict[JobId, Exception] = {}
    for job_id in job_ids:
        try:
            stage(job_id)
        except QJobsError as error:
            logger.warning("%s: %s: %s", job_id, type(error).__name__, error)
            found[job_id] = error
    return found
