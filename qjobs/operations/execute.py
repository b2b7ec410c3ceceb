"""Execute: the one road from a plan to its results, for the flows, the command and the notebook.

What differs between them is how a stage is entered: directly, or as a task of Prefect that is retried and shown. That
is `Stages`. The order of the stages, what is done with a full device, and what is submitted again is here, once.

A stage may end the process (a flow run is suspended while it waits). Entering again with the same `run` goes on from
what the ledger has; so does an execution whose ledger went away for a while.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, TypeAlias

from qjobs.backends.base import Backend
from qjobs.compiling.compiler import CompileCache, CompileOn, CompileOptions, Compiler
from qjobs.errors import (
    BackendUnavailable,
    Busy,
    JobFailed,
    LedgerAway,
    LedgerError,
    OverCap,
    QJobsError,
    Recalibrated,
    StaleJob,
    WaitTimeout,
)
from qjobs.experiments.sweep import SweepPlan
from qjobs.heap import heap_set_aside
from qjobs.ledger import Ledger
from qjobs.ledger.dispatches import Terms
from qjobs.ledger.liveness import lease_owner
from qjobs.lifecycle import FINAL, LIVE, UNDER_WAY, JobStatus
from qjobs.model import Job, JobId, OnRecalibration, ProgramHash, RemoteRetryStrategy
from qjobs.operations.approval import Approval, record_decision
from qjobs.operations.calibration import RECALIBRATED, snapshot_now
from qjobs.operations.canary import canary_labels, judge, unsent
from qjobs.operations.collect import collect
from qjobs.operations.compile_jobs import compile_programs, compiled_by, plan_compilation
from qjobs.operations.plan import ExperimentJobs, ExperimentPlan, find_existing, plan_missing
from qjobs.operations.poll import utc_now
from qjobs.operations.quota import held_by_quota
from qjobs.operations.retry import RetryPolicy
from qjobs.operations.room import Others, held_by_others, room
from qjobs.operations.submit import submit
from qjobs.operations.wait import Progress, pause, wait

__all__ = [
    "DirectStages",
    "Executed",
    "ExperimentPlan",
    "Shown",
    "Stages",
    "ToSubmit",
    "Until",
    "WaitedFor",
    "execute",
    "finish",
    "sort_failures",
    "that_fit",
    "to_send",
]

logger = logging.getLogger(__name__)

_LONGEST_PAUSE_S = 1.0
_LOOK_AGAIN_S = 30.0
"""After how long it is looked again, at the latest, whether jobs of others still have places."""
_MONEY_S = 5.0
"""After how long it is looked again whether money has come free, or a cap was raised."""
_REFUSED_S = 30.0
"""The same, where only entering a submission tells: it counts its run's money, or the provider's quota."""
_LEDGER_PAUSE_S = 2.0
_LEDGER_PATIENCE_S = 600.0
"""How long an execution waits for a ledger that is away, before it ends."""
_RENEWALS = 3
"""How often a job is compiled anew because its device was recalibrated while that was done."""
_PLANS = 20
"""How often an experiment is planned anew because another run has planned some of it meanwhile."""
_ASKED = "asked for"
"""Cause of the event that a run has asked for a strategy; entered again, it does not ask again."""
Until = Literal["any", "all", "room"]
Shown = Literal["progress", "compile-progress", "room"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToSubmit:
    """A job that is to be submitted: the name of its backend, what may be done about an earlier attempt, and the caps.

    `strategy` is that of the first entry; retries climb the ladder of `policy`. `programs` is as in
    `qjobs.operations.submit.submit`.
    """

    backend: str
    policy: RetryPolicy
    strategy: RemoteRetryStrategy = RemoteRetryStrategy.DEFAULT
    programs: Mapping[ProgramHash, ProgramHash] = field(default_factory=dict)


def to_send(unsent: Mapping[JobId, ToSubmit]) -> list[tuple[Terms, list[JobId]]]:
    """How jobs are to be submitted, as the dispatcher takes it: those of the same terms together, in their order."""
    found: dict[object, tuple[Terms, list[JobId]]] = {}
    for job_id, job in unsent.items():
        same = (job.backend, job.strategy, job.policy, tuple(sorted(job.programs.items())))
        if same not in found:
            terms = Terms(
                opened_as=job.backend, strategy=job.strategy, policy=job.policy.as_json(), programs=job.programs
            )
            found[same] = (terms, [])
        found[same][1].append(job_id)
    return list(found.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitedFor:
    """What an execution waits for: all of `jobs`, or any of them, each with the name of its backend.

    The progress counts the circuits of the jobs in `shown`, and `kind` says what it is called. The jobs in `unsent`
    wait for a place at their device: stages that end the process leave them to the dispatcher
    (`qjobs.operations.dispatch`), and wait for all. A wait in this process comes back after `at_most_s` seconds, though
    nothing may have moved: jobs that others have at the provider take places too, and nobody tells when they end. There
    may be no jobs but those.
    """

    jobs: Mapping[JobId, str]
    until: Until = "all"
    shown: Sequence[JobId] = ()
    kind: Shown = "progress"
    unsent: Mapping[JobId, ToSubmit] = field(default_factory=dict)
    at_most_s: float | None = None


class Stages(Protocol):
    """How the stages of an execution are entered. Jobs are given with the name of their backend."""

    def backend(self, name: str) -> Backend:
        """The backend of a name; the same object each time."""

    def compile(
        self, name: str, hashes: Sequence[ProgramHash], options: CompileOptions, *, fresh: bool, on: CompileOn
    ) -> Mapping[ProgramHash, ProgramHash]:
        """Compile circuits of the ledger for a backend; from given to compiled hash."""

    def submit(self, jobs: Mapping[JobId, ToSubmit]) -> Mapping[JobId, Exception]:
        """Submit jobs, side by side if possible; what went wrong, by job."""

    def wait(self, waited_for: WaitedFor) -> None:
        """Wait until the jobs have moved as far as waiting moves them."""

    def collect(self, jobs: Mapping[JobId, str]) -> Mapping[JobId, Exception]:
        """Bring the results of final jobs into the ledger; what went wrong, by job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """What `execute` did: job ids by backend, reused ones included; what went wrong, by job; a sentence per backend.

    `plan` is what was run.
    """

    plan: ExperimentPlan
    jobs: Mapping[str, tuple[JobId, ...]]
    problems: Mapping[JobId, Exception]
    summaries: tuple[str, ...]


def execute(
    ledger: Ledger,
    plan: ExperimentPlan,
    stages: Stages,
    *,
    run: str,
    identity: str = "",
    approval: Approval | None = None,
) -> Executed:
    """Take an experiment from its plan to its results: compile, submit, wait, collect.

    What the ledger has of it is not run again, unless the experiment asks for a strategy that does. One job's failure
    leaves the others alone. Entering again with the same `run` goes on where it was; `identity` is the logical run,
    where it is another. A decision of `approval`, which is about this plan, is written down before anything is sent.
    Enter it inside of `ledger.waits.attended`.

    Raises:
        NotApproved: It was refused.
        InvalidInput: It cannot be run. Nothing was submitted for the backends behind the one that refused.
        LedgerAway: The ledger was away for ten minutes; entering again goes on.
    """
    execution = _Execution(
        ledger=ledger, plan=plan, stages=stages, run=run, identity=identity or run, approval=approval
    )
    until = time.monotonic() + _LEDGER_PATIENCE_S
    while True:
        try:
            with heap_set_aside():
                return execution.run_all()
        except LedgerAway as error:
            if time.monotonic() > until:
                raise
            logger.warning("%s: %s; it goes on when the ledger is back", plan.spec.name, error)
            time.sleep(_LEDGER_PAUSE_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Execution:
    ledger: Ledger
    plan: ExperimentPlan
    stages: Stages
    run: str
    identity: str
    approval: Approval | None

    def run_all(self) -> Executed:
        first = canary_labels(self.plan)
        names = list(self.plan.spec.backends) if isinstance(self.plan, SweepPlan) else [self.plan.spec.backend]
        for name in names:
            self.stages.backend(name)  # a name that is wrong is refused before any backend gets a job
        canaries = {name: self.jobs_on(name, only=first) for name in names} if first else {}
        on_backends = {name: _with(canaries.get(name), self.jobs_on(name)) for name in names}
        if self.approval is not None:
            self._record_decision(self.approval, list(on_backends.values()))
        waited_for = [job_id for planned in on_backends.values() for job_id in planned.job_ids]
        # Not before: a job that the run waited for counts as its own while it is planned.
        if waited_for:
            self.ledger.waits.register(self.run, waited_for, until="all", now=utc_now(), held_by=lease_owner())
        self._send_canaries(canaries, on_backends)
        jobs: dict[str, tuple[JobId, ...]] = {}
        to_finish: dict[JobId, ToSubmit] = {}
        summaries = []
        for name, planned in on_backends.items():
            jobs[name] = planned.job_ids
            to_finish.update(self._unfinished(name, planned))
            summaries.append(f"{name}: {planned.summary}")
            logger.info("%s: %s", self.plan.spec.name, summaries[-1])
        problems = finish(self.ledger, to_finish, self.stages, recompile=self._recompiled)
        return Executed(plan=self.plan, jobs=jobs, problems=problems, summaries=tuple(summaries))

    def _send_canaries(self, canaries: Mapping[str, ExperimentJobs], on_backends: Mapping[str, ExperimentJobs]) -> None:
        """Bring the first circuits of a sweep to their results, and judge them, while others wait to be sent.

        Raises:
            CanaryFailed: They are not sane; the others are cancelled, and were never sent.
        """
        own = {job_id for planned in canaries.values() for job_id in planned.job_ids}
        others = [id_ for planned in on_backends.values() for id_ in planned.job_ids if id_ not in own]
        if not canaries or not unsent(self.ledger, others):
            return
        assert isinstance(self.plan, SweepPlan)  # noqa: S101 - for the type checker: no other plan has a canary
        to_finish: dict[JobId, ToSubmit] = {}
        for name, planned in canaries.items():
            to_finish.update(self._unfinished(name, planned))
        problems = finish(self.ledger, to_finish, self.stages, recompile=self._recompiled)
        for problem in problems.values():
            if not isinstance(problem, JobFailed):  # nothing is known of the circuits: entering again goes on
                raise problem
        first = canary_labels(self.plan)
        tried = {}
        for name in canaries:
            existing = find_existing(
                self.ledger, self.stages.backend(name), self.plan, run=self.run, identity=self.identity, refresh=False
            )
            tried[name] = {label: existing.jobs[label] for label in first if label in existing.jobs}
        judge(self.ledger, self.plan, tried, others=others)

    def _record_decision(self, approval: Approval, planned: Sequence[ExperimentJobs]) -> None:
        """Write down what a person decided, for the jobs that are sent by it: all, where a strategy may send any."""
        new = [job_id for each in planned for job_id in each.new]
        all_jobs = [job_id for each in planned for job_id in each.job_ids]
        is_plain = self.plan.spec.retries.strategy is RemoteRetryStrategy.DEFAULT
        to_send = unsent(self.ledger, all_jobs) if is_plain else all_jobs
        record_decision(self.ledger, approval, new=new, to_send=to_send)

    def _unfinished(self, name: str, planned: ExperimentJobs) -> dict[JobId, ToSubmit]:
        """The jobs that are still to be brought to their results, and how."""
        spec = self.plan.spec
        retries = spec.retries
        policy = RetryPolicy.from_form(retries, self.stages.backend(name).lookup, spec.on_recalibration)
        plain = ToSubmit(backend=name, policy=policy)
        entered_before = {*planned.new, *planned.failed}
        asks = retries.strategy is not RemoteRetryStrategy.DEFAULT
        jobs = self.ledger.jobs(job_ids=planned.job_ids)
        asked = self._ask_once(jobs, retries.strategy) if asks else {}
        restarts = retries.strategy is RemoteRetryStrategy.FULL_RESTART
        programs = self._recompiled(name, list(asked.values())) if restarts else {}
        found = {}
        for job in jobs:
            # A job that was reused with its results is left alone; one of an earlier entry is collected once more.
            if job.job_id in asked:
                found[job.job_id] = replace(plain, strategy=retries.strategy, programs=programs.get(job.job_id, {}))
            elif not job.status.is_final or job.job_id in entered_before:
                found[job.job_id] = plain
        return found

    def _ask_once(self, jobs: Sequence[Job], strategy: RemoteRetryStrategy) -> dict[JobId, Job]:
        """Those of these jobs that were there before this run, if it has not asked for the strategy yet.

        Jobs that it has just planned are noted too: entered again, it must not send them a second time.
        """
        words = f"{strategy} by the run {self.run}"
        noted = self.ledger.jobs_with_event([job.job_id for job in jobs], _ASKED, words)
        new = [job for job in jobs if job.job_id not in noted]
        self.ledger.record_events([job.job_id for job in new], _ASKED, words, now=utc_now())
        return {job.job_id: job for job in new if job.status is not JobStatus.CREATED}

    def _recompiled(
        self, name: str, jobs: Sequence[Job], made_on: str = ""
    ) -> dict[JobId, dict[ProgramHash, ProgramHash]]:
        """Compile the circuits of jobs anew, each once; for each job what takes the place of the circuits it sent.

        `made_on` is the fingerprint of the device, where that is why: what was compiled for it by then is taken.
        """
        sources: dict[JobId, dict[ProgramHash, ProgramHash]] = {}
        of_jobs = self.ledger.programs_of_jobs([job.job_id for job in jobs])
        for job in jobs:
            pairs = of_jobs.get(job.job_id, [])
            sources[job.job_id] = {source: sent for source, sent, _ in pairs if source is not None}
        wanted = list(dict.fromkeys(source for pairs in sources.values() for source in pairs))
        identity = f"recalibrated/{made_on}/{self.identity}" if made_on else f"restart/{self.run}"
        compiled = self.compile(name, wanted, fresh=True, identity=identity, made_on=made_on) if wanted else {}
        programs = {}
        for job_id, sent in sources.items():
            programs[job_id] = {sent_hash: compiled[source] for source, sent_hash in sent.items()}
        return programs

    def jobs_on(self, name: str, *, only: Sequence[str] = ()) -> ExperimentJobs:
        """The jobs of the experiment, or of `only` these circuits, on one backend, after compiling what is missing."""
        for _ in range(_PLANS):
            try:
                return self._jobs_on(name, only)
            except StaleJob:
                logger.info("%s: another run has planned some of it meanwhile; looking again", self.plan.spec.name)
        return self._jobs_on(name, only)

    def _jobs_on(self, name: str, only: Sequence[str]) -> ExperimentJobs:
        backend = self.stages.backend(name)
        existing = find_existing(self.ledger, backend, self.plan, run=self.run, identity=self.identity)
        compiled: Mapping[ProgramHash, ProgramHash] = {}
        if any(label not in existing.jobs for label in self.plan.labels()):
            self.ledger.add_programs(self.plan.programs.values())
            fresh = isinstance(self.plan, SweepPlan) and self.plan.spec.fresh
            full = self.plan.spec.retries.strategy is RemoteRetryStrategy.FULL_RESTART
            compiled = self.compile(name, list(self.plan.programs), fresh=fresh or full)
        return plan_missing(
            self.ledger,
            backend,
            self.plan,
            existing,
            compiled,
            run=self.run,
            logical_run=self.identity,
            opened_as=name,
            only=only,
        )

    def compile(
        self, name: str, hashes: Sequence[ProgramHash], *, fresh: bool, identity: str = "", made_on: str = ""
    ) -> Mapping[ProgramHash, ProgramHash]:
        """Compile circuits, or have the provider do it by a compile job; from given to compiled hash.

        A compile job of the same `identity` serves again; it is the logical run's where none is given. With `made_on`,
        the fingerprint of the device, none that was sent when the device was another.
        """
        options = self.plan.compile_options
        if options.compiler is not Compiler.REMOTE:  # the key of the cache has all that a compiler is told of a device
            fresh = fresh and not made_on
            return self.stages.compile(name, hashes, options, fresh=fresh, on=self.plan.compile_on)
        planned = plan_compilation(
            self.ledger,
            self.stages.backend(name),
            hashes,
            level=options.level,
            name=self.plan.spec.name,
            run=self.run,
            opened_as=name,
            identity=identity or self.identity,
            fresh=fresh,
            made_on=made_on,
        )
        policy = RetryPolicy.from_form(self.plan.spec.retries, self.stages.backend(name).lookup)
        compiling = dict.fromkeys(planned.job_ids, ToSubmit(backend=name, policy=policy))
        for problem in finish(self.ledger, compiling, self.stages, kind="compile-progress").values():
            raise problem
        return {**planned.have, **compiled_by(self.ledger, planned.job_ids)}


def _with(canary: ExperimentJobs | None, planned: ExperimentJobs) -> ExperimentJobs:
    """All jobs of an experiment on one backend: those that its first circuits have just got are new as well."""
    if canary is None:
        return planned
    made = set(canary.new)
    reused = {label: job_id for label, job_id in planned.reused.items() if job_id not in made}
    return replace(planned, reused=reused, new=(*canary.new, *planned.new))


Recompile: TypeAlias = Callable[[str, Sequence[Job], str], Mapping[JobId, Mapping[ProgramHash, ProgramHash]]]
"""Compiles jobs of a backend anew for the device of a fingerprint; by job, what takes the place of its circuits."""


def finish(
    ledger: Ledger,
    jobs: Mapping[JobId, ToSubmit],
    stages: Stages,
    *,
    kind: Shown = "progress",
    recompile: Recompile | None = None,
) -> dict[JobId, Exception]:
    """Take jobs from wherever they are to their results: submit, wait, collect.

    Never more live jobs than a device takes, and none that a cap leaves no money for. A job that cannot be submitted
    now (the device is full, or another process is submitting it) is submitted again later. `jobs` are in the order of
    submission. `recompile` serves those whose policy compiles anew what a recalibrated device is to run.

    Returns:
        What went wrong, by job; empty when every job has all its results.

    Raises:
        LedgerAway: The ledger is away; entering again goes on.
    """
    names = {job_id: job.backend for job_id, job in jobs.items()}
    to_submit = dict(jobs)
    default = RemoteRetryStrategy.DEFAULT
    unsent, final = _queues(ledger, jobs)
    problems = _collect(ledger, stages, final)
    shown = list(jobs)
    left = _Unsent(unsent, to_submit)
    renewal = _Renewal(ledger, stages, recompile)
    under_way: list[JobId] = []
    while any(unsent.values()) or under_way:
        front = _front(stages, unsent)
        chosen = that_fit(ledger, stages, front, names)
        held = ledger.caps.hold(chosen, now=utc_now())
        chosen = [job_id for job_id in chosen if job_id not in held]
        by_quota = held_by_quota(
            ledger, lambda job_id: stages.backend(names[job_id]), chosen, since=utc_now(), now=utc_now
        )
        chosen = [job_id for job_id in chosen if job_id not in by_quota]
        held |= by_quota
        if not (chosen or under_way or held):
            looks_again = _wait_for_room(ledger, stages, front, names, left)
            chosen = that_fit(ledger, stages, front, names) or ([] if looks_again else front[:1])
        failed = renewal.submit(chosen, unsent, to_submit)
        later, lost = sort_failures(ledger, failed)
        problems.update(lost)
        for job_id in chosen:
            if job_id not in later:  # what was asked for is done; from now on it is entered as any other
                to_submit[job_id] = replace(to_submit[job_id], strategy=default, programs={})
        under_way += [job_id for job_id in chosen if job_id not in later and job_id not in lost]
        for job_id in chosen:
            if job_id not in later:
                del unsent[names[job_id]][job_id]
        refused = by_quota | {job_id for job_id in later if isinstance(failed[job_id], OverCap)}
        money_s = _REFUSED_S if refused else _MONEY_S
        held |= refused
        if not under_way:
            _wait_for_money(stages, held, left, money_s)
            continue
        until: Until = "any" if left else "all"
        waits = {job_id: names[job_id] for job_id in under_way}
        at_most_s = money_s if held else _at_most_s(ledger, stages, [name for name, queue in unsent.items() if queue])
        stages.wait(WaitedFor(jobs=waits, until=until, shown=shown, kind=kind, unsent=left, at_most_s=at_most_s))
        statuses = {job.job_id: job.status for job in ledger.jobs(job_ids=under_way)}
        under_way = []
        done: dict[JobId, str] = {}
        for job_id, status in statuses.items():
            if status.is_final:
                done[job_id] = names[job_id]
            elif status in UNDER_WAY:
                under_way.append(job_id)
            else:
                unsent[names[job_id]][job_id] = None
        problems.update(_collect(ledger, stages, done))
    return problems


@dataclass(slots=True)
class _Renewal:
    """Compiles jobs anew whose device is not what they were compiled for, before they are sent for the first time.

    What takes the place of their circuits goes with their submission, and is written by the claim: a process that is
    killed before it has changed nothing. One compile stage serves all jobs of a backend that wait.
    """

    ledger: Ledger
    stages: Stages
    recompile: Recompile | None
    made_on: dict[JobId, str] = field(default_factory=dict)

    def submit(
        self, chosen: Sequence[JobId], unsent: Mapping[str, Mapping[JobId, None]], to_submit: dict[JobId, ToSubmit]
    ) -> dict[JobId, Exception]:
        """Submit jobs, those compiled anew that have to be; what went wrong, by job."""
        failed: dict[JobId, Exception] = {}
        left = list(chosen)
        for _ in range(_RENEWALS):
            failed.update(self._renew_outdated(left, unsent, to_submit))
            sent = {job_id: to_submit[job_id] for job_id in left if job_id not in failed}
            errors = self.stages.submit(sent) if sent else {}
            failed.update(errors)
            left = [id_ for id_, error in errors.items() if isinstance(error, Recalibrated) and error.recompiles]
            if self.recompile is None or not left:
                break
            for job_id in left:
                del failed[job_id]
        else:
            failed.update({job_id: errors[job_id] for job_id in left})
        return failed

    def _renew_outdated(
        self, chosen: Sequence[JobId], unsent: Mapping[str, Mapping[JobId, None]], to_submit: dict[JobId, ToSubmit]
    ) -> dict[JobId, Exception]:
        """Compile anew what is to be sent next and all that waits behind it; what went wrong, by job of `chosen`."""
        failed: dict[JobId, Exception] = {}
        for name in dict.fromkeys(to_submit[job_id].backend for job_id in chosen):
            wanted = self._guarded([job_id for job_id in chosen if to_submit[job_id].backend == name], to_submit)
            if self.recompile is None or not wanted:
                continue
            try:
                present = snapshot_now(self.ledger, self.stages.backend(name), now=utc_now()).fingerprint
            except BackendUnavailable:
                continue  # the submission finds so too, and is repeated by its ladder
            try:
                if self._outdated(wanted, present):
                    outdated = self._outdated(self._guarded(unsent[name], to_submit), present)
                    programs = self.recompile(name, self.ledger.jobs(job_ids=outdated), present)
                    self._replace(outdated, programs, present, to_submit)
            except LedgerError:
                raise
            except QJobsError as error:
                logger.warning("%s: what it is to run cannot be compiled anew: %s", name, error)
                failed.update(dict.fromkeys(wanted, error))
        return failed

    def _guarded(self, job_ids: Iterable[JobId], to_submit: Mapping[JobId, ToSubmit]) -> list[JobId]:
        """Those that are to be compiled anew where that is needed; a restart was compiled anew by its own wish."""
        found = []
        for job_id in job_ids:
            job = to_submit[job_id]
            is_asked = job.policy.on_recalibration is OnRecalibration.RECOMPILE
            if is_asked and job.strategy is not RemoteRetryStrategy.FULL_RESTART:
                found.append(job_id)
        return found

    def _outdated(self, job_ids: Sequence[JobId], present: str) -> list[JobId]:
        left = [job_id for job_id in job_ids if self.made_on.get(job_id) != present]
        found = self.ledger.calibrations.compiled_before(left, present) if left else set()
        return [job_id for job_id in left if job_id in found]

    def _replace(
        self,
        job_ids: Sequence[JobId],
        programs: Mapping[JobId, Mapping[ProgramHash, ProgramHash]],
        present: str,
        to_submit: dict[JobId, ToSubmit],
    ) -> None:
        for job_id in job_ids:
            to_submit[job_id] = replace(to_submit[job_id], programs=programs.get(job_id, {}))
            self.made_on[job_id] = present
        self.ledger.record_events(job_ids, RECALIBRATED, f"compiled anew for {present}", now=utc_now())
        logger.info("%d jobs are compiled anew, since their device is %s now", len(job_ids), present)


def _wait_for_money(stages: Stages, held: Collection[JobId], left: Mapping[JobId, ToSubmit], at_most_s: float) -> None:
    """Wait a little where caps hold all that is to be sent."""
    if held:
        stages.wait(WaitedFor(jobs={}, until="room", kind="room", unsent=left, at_most_s=at_most_s))


class _Unsent(Mapping[JobId, ToSubmit]):
    """The jobs in the queues of all backends: a view, since there may be 100,000 of them in every round."""

    def __init__(self, queues: Mapping[str, Mapping[JobId, None]], to_submit: Mapping[JobId, ToSubmit]) -> None:
        self._queues = queues
        self._to_submit = to_submit

    def __getitem__(self, job_id: JobId) -> ToSubmit:
        if not any(job_id in queue for queue in self._queues.values()):
            raise KeyError(job_id)
        return self._to_submit[job_id]

    def __iter__(self) -> Iterator[JobId]:
        return itertools.chain.from_iterable(self._queues.values())

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues.values())


def _queues(ledger: Ledger, jobs: Mapping[JobId, ToSubmit]) -> tuple[dict[str, dict[JobId, None]], dict[JobId, str]]:
    """The jobs that are still to be sent, in a queue for each backend; and those that are only to be collected."""
    final = {}
    for job in ledger.jobs(job_ids=list(jobs), statuses=FINAL):
        if jobs[job.job_id].strategy is RemoteRetryStrategy.DEFAULT:
            final[job.job_id] = jobs[job.job_id].backend
    unsent: dict[str, dict[JobId, None]] = defaultdict(dict)
    for job_id, wanted in jobs.items():
        if job_id not in final:
            unsent[wanted.backend][job_id] = None
    return unsent, final


def _front(stages: Stages, unsent: Mapping[str, Mapping[JobId, None]]) -> list[JobId]:
    """The first jobs of each queue, as many as their device takes at the most: there may be 100,000 behind them."""
    front: list[JobId] = []
    for name, queue in unsent.items():
        front += itertools.islice(queue, stages.backend(name).limits.max_live_jobs)
    return front


def _collect(ledger: Ledger, stages: Stages, jobs: Mapping[JobId, str]) -> dict[JobId, Exception]:
    """Collect final jobs, but those that have all their results; what went wrong, by job.

    Raises:
        LedgerAway: The ledger is, which is no problem of a job.
    """
    counts = ledger.result_counts(list(jobs))
    collected = set()
    for job in ledger.jobs(job_ids=list(jobs), statuses=[JobStatus.COMPLETED]):
        if counts[job.job_id] == job.n_items:
            collected.add(job.job_id)
    left = {job_id: name for job_id, name in jobs.items() if job_id not in collected}
    problems = dict(stages.collect(left)) if left else {}
    for error in problems.values():
        if isinstance(error, LedgerAway):
            raise error
    return problems


def that_fit(ledger: Ledger, stages: Stages, unsent: Sequence[JobId], jobs: Mapping[JobId, str]) -> list[JobId]:
    """The first jobs that their devices and accounts have room for, in the order of submission."""
    of_device: dict[str, int] = {}
    of_account: dict[str, int] = {}
    chosen = []
    for job_id in unsent:
        backend = stages.backend(jobs[job_id])
        device = jobs[job_id]
        account = backend.name
        if device not in of_device:
            left = room(ledger, backend)
            of_device[device] = len(unsent) if left.on_device is None else left.on_device
            if account not in of_account:
                of_account[account] = len(unsent) if left.of_account is None else left.of_account
        if of_device[device] > 0 and of_account[account] > 0:
            of_device[device] -= 1
            of_account[account] -= 1
            chosen.append(job_id)
    return chosen


def _wait_for_room(
    ledger: Ledger,
    stages: Stages,
    unsent: Sequence[JobId],
    jobs: Mapping[JobId, str],
    left: Mapping[JobId, ToSubmit],
) -> bool:
    """Wait for a place on the devices that `unsent` waits for; another run's job may have it, in whatever status.

    Returns:
        Whether jobs of others at the provider have places, so that it came back only to look again.
    """
    others: dict[JobId, str] = {}
    names = sorted({jobs[job_id] for job_id in unsent})
    for name in names:
        backend = stages.backend(name)
        most = backend.limits.max_account_jobs
        of_account = [] if most is None else _live_of(ledger, backend)
        # A job of another device is polled with this backend too: it is of the same account.
        holders = of_account if most is not None and len(of_account) >= most else _live_on(ledger, backend)
        others.update(dict.fromkeys((job.job_id for job in holders), name))
    at_most_s = _at_most_s(ledger, stages, names)
    if others or at_most_s is not None:  # else they have all gone meanwhile
        shown = list(others)
        stages.wait(WaitedFor(jobs=others, until="room", shown=shown, kind="room", unsent=left, at_most_s=at_most_s))
    return at_most_s is not None


def _at_most_s(ledger: Ledger, stages: Stages, names: Iterable[str]) -> float | None:
    """After how long to look again whether places are free that jobs of others have; None where they have none."""
    for name in names:
        backend = stages.backend(name)
        if held_by_others(ledger, backend) != Others():
            return min(backend.poll_interval_s[1], _LOOK_AGAIN_S)
    return None


def _live_on(ledger: Ledger, backend: Backend) -> list[Job]:
    return ledger.jobs(backend=backend.name, device=backend.device, statuses=LIVE)


def _live_of(ledger: Ledger, backend: Backend) -> list[Job]:
    """The live jobs of its account, on all devices."""
    return ledger.jobs(backend=backend.name, statuses=LIVE)


def sort_failures(ledger: Ledger, failed: Mapping[JobId, Exception]) -> tuple[set[JobId], dict[JobId, Exception]]:
    """Failed submissions: those to repeat later, and those that are lost; any other job is at its provider."""
    at_provider = {job.job_id for job in ledger.jobs(job_ids=list(failed), statuses=UNDER_WAY)}
    later: set[JobId] = set()
    lost: dict[JobId, Exception] = {}
    for job_id, error in failed.items():
        if isinstance(error, Busy | LedgerAway):
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
        self, name: str, hashes: Sequence[ProgramHash], options: CompileOptions, *, fresh: bool, on: CompileOn
    ) -> Mapping[ProgramHash, ProgramHash]:
        """Compile circuits of the ledger."""
        return compile_programs(self._ledger, self._backends[name], hashes, options, self._cache, fresh=fresh, on=on)

    def submit(self, jobs: Mapping[JobId, ToSubmit]) -> Mapping[JobId, Exception]:
        """Submit jobs one after the other; pauses where all of them are to be repeated later."""
        failed = _errors(jobs, lambda job_id: self._submit(job_id, jobs[job_id]))
        pauses_s = [error.retry_after_s for error in failed.values() if isinstance(error, Busy)]
        if len(pauses_s) == len(jobs):
            time.sleep(min(*pauses_s, _LONGEST_PAUSE_S))
        return failed

    def _submit(self, job_id: JobId, wanted: ToSubmit) -> None:
        submit(
            self._ledger,
            self._backends[wanted.backend],
            job_id,
            strategy=wanted.strategy,
            policy=wanted.policy,
            programs=wanted.programs,
        )

    def wait(self, waited_for: WaitedFor) -> None:
        """Poll in this thread."""
        self.wait_here(waited_for, report=self._report)

    def wait_here(
        self,
        waited_for: WaitedFor,
        *,
        report: Callable[[Progress], None] = lambda _: None,
        passed: Callable[[], object] = lambda: None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Poll in this thread; the callables are those of `qjobs.operations.wait.wait`."""
        jobs = waited_for.jobs
        at_most_s = waited_for.at_most_s
        if not jobs:
            pause(at_most_s or 0.0, sleep)
            return
        backends = {name: self._backends[name] for name in jobs.values()}
        with contextlib.suppress(WaitTimeout):  # it was to come back by then
            wait(
                self._ledger,
                backends,
                list(jobs),
                until=waited_for.until,
                timeout_s=at_most_s,
                report=report,
                passed=passed,
                sleep=sleep,
            )

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
