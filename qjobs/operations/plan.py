"""Plan: find what the ledger has of an experiment, cut the rest into batches, and store one job a batch.

Nothing here can submit.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias
from uuid import NAMESPACE_URL, uuid5

from qjobs.backends.base import Backend, Capability
from qjobs.circuits.programs import check_runs
from qjobs.errors import InvalidInput, LedgerError, QJobsError
from qjobs.experiments.circuit_list import CircuitListPlan
from qjobs.experiments.sweep import SweepPlan
from qjobs.ledger import Ledger
from qjobs.ledger.planning import Seen
from qjobs.lifecycle import LIVE, JobStatus
from qjobs.model import (
    Batch,
    ExecuteOptions,
    ItemSpec,
    Job,
    JobId,
    JobKind,
    JobSpec,
    JsonValue,
    Program,
    ProgramHash,
)
from qjobs.operations.batching import batch_key, pack
from qjobs.operations.collect import store_ready
from qjobs.operations.poll import poll_each, utc_now

__all__ = [
    "Existing",
    "ExperimentJobs",
    "ExperimentPlan",
    "end_interruption",
    "existing_points",
    "find_existing",
    "interrupted_run",
    "newest_left_behind",
    "plan",
    "plan_missing",
]

logger = logging.getLogger(__name__)

_BATCHES = uuid5(NAMESPACE_URL, "qjobs.batch")

ExperimentPlan: TypeAlias = SweepPlan | CircuitListPlan


def plan(
    ledger: Ledger,
    backend: Backend,
    items: Sequence[ItemSpec],
    programs: Mapping[ProgramHash, Program],
    *,
    run: str,
    name: str,
    identity: str | None = None,
    logical_run: str = "",
    experiment: str = "",
    options: ExecuteOptions | None = None,
    kind: JobKind = JobKind.EXECUTE,
    project: str = "",
    owner: str = "",
    opened_as: str = "",
    definition: str = "",
    compiled_with: str = "",
    properties: Mapping[str, JsonValue] | None = None,
    seen: Seen | None = None,
    now: Callable[[], datetime] = utc_now,
) -> list[JobId]:
    """Check everything, cut the items into batches, and store one job per batch. Sends nothing.

    `programs` are the circuits that the items name, compiled for the backend. `run` is who makes the jobs, for example
    a flow run's id, and `logical_run` the wish of a user that they serve, where it is another. The same `identity`
    (`logical_run` if None), items and options find the same jobs again. Batches are numbered behind `name`.
    `experiment` is what the jobs belong to (a sweep's name). `options` hold for every item; a seed is derived per batch
    from it, so that no two batches draw the same random numbers. `opened_as` is the name that opens the backend again;
    `definition` is the hash of everything that gives the results their meaning; `compiled_with` says how the circuits
    were compiled. `seen` is what the items were chosen by.

    Returns:
        Job ids, in the order of the items.

    Raises:
        InvalidInput: Something cannot be run; nothing was stored.
        StaleJob: Other jobs of the experiment were planned since `seen`; nothing was stored: look again.
    """
    options = options or ExecuteOptions()
    if kind is JobKind.COMPILE and Capability.COMPILE not in backend.capabilities:
        raise InvalidInput(
            f"{backend.name} does not compile circuits; set the compiler to qiskit or tket", field="compiler"
        )
    if options.observables and Capability.EXACT_EXPVALS not in backend.capabilities:
        raise InvalidInput(f"{backend.name} has no exact expectation values; ask for sampled ones", field="observables")
    if kind is JobKind.EXECUTE:
        _check_programs(items, programs, need_counts=not options.observables)
    batches = pack(items, programs, backend.limits, kind)
    specs = []
    for number, batch_items in enumerate(batches):
        batch_options = replace(options, seed=_batch_seed(options.seed, number, batch_items[0].label))
        key = batch_key(
            identity or logical_run or run,
            number,
            batch_items,
            batch_options,
            backend=backend.name,
            device=backend.device,
            ledger=ledger.key_prefix,
            fingerprint=backend.fingerprint,
            kind=kind,
        )
        used = {item.program: programs[item.program] for item in batch_items}
        sources = {item.source for item in batch_items if item.source is not None}
        used.update({source: programs[source] for source in sources if source in programs})
        batch = Batch(number=number, items=batch_items, programs=used, options=batch_options, kind=kind)
        specs.append(
            JobSpec(
                key=key,
                backend=backend.name,
                device=backend.device,
                name=f"{name} {number + 1}/{len(batches)}" if len(batches) > 1 else name,
                batch=batch,
                kind=kind,
                experiment=experiment,
                run=run,
                logical_run=logical_run or run,
                project=project,
                owner=owner,
                opened_as=opened_as,
                fingerprint=str(backend.fingerprint),
                definition=definition,
                compiled_with=compiled_with,
                cost_estimate=backend.estimate(batch),
                properties=properties or {},
            )
        )
    return ledger.create(specs, seen=seen, now=now())


def _check_programs(items: Sequence[ItemSpec], programs: Mapping[ProgramHash, Program], *, need_counts: bool) -> None:
    checked: set[tuple[ProgramHash, frozenset[str]]] = set()
    for item in items:
        if bad := [name for name, value in item.parameters if not math.isfinite(value)]:
            raise InvalidInput(f"{item.label}: the parameter {bad[0]} is not a finite number", field="parameters")
        names = frozenset(name for name, _ in item.parameters)
        if (item.program, names) not in checked:
            check_runs(programs[item.program], need_counts=need_counts, parameters=names)
            checked.add((item.program, names))


def _batch_seed(seed: int | None, number: int, label: str) -> int | None:
    if seed is None:
        return None
    digest = hashlib.sha256(f"{seed}/{number}/{label}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """What the ledger has of an experiment on one backend, before anything is planned.

    `jobs` maps a circuit's label to the job that has its result or is running it. `failed` are jobs among them that
    ended without it and that the asking run made or waits for: nobody has asked to pay for them again. `seen` is what
    was looked at: jobs that are planned after that make it void.
    """

    jobs: Mapping[str, JobId]
    failed: tuple[JobId, ...]
    seen: Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentJobs:
    """The jobs of an experiment on one backend.

    `reused` maps a circuit's label to the earlier job that has it or is running it; `new` are the jobs
    made now, or made before by the same logical run; `failed` is as in `Existing`.
    """

    reused: Mapping[str, JobId]
    new: tuple[JobId, ...]
    n_circuits: int
    failed: tuple[JobId, ...] = ()

    @property
    def job_ids(self) -> tuple[JobId, ...]:
        """All of them, each once."""
        return tuple(dict.fromkeys([*self.reused.values(), *self.new]))

    @property
    def summary(self) -> str:
        """One sentence for logs and reports."""
        return (
            f"{len(self.reused)} of {self.n_circuits} circuits are there from earlier runs, "
            f"{len(self.new)} job{'' if len(self.new) == 1 else 's'} for the others"
        )


def find_existing(
    ledger: Ledger,
    backend: Backend,
    experiment: ExperimentPlan,
    *,
    run: str,
    identity: str = "",
    refresh: bool = True,
) -> Existing:
    """What the ledger has of an experiment already; `identity` is the logical run, where it is not `run`.

    Of a sweep, finished points are reused and points under way are waited for: two runs of the same sweep at the
    same time share their jobs; with `fresh` only this run's own jobs count. A circuit list is always run as it is:
    only the logical run's own jobs count, found by what the run was given, whatever a compiler that was upgraded
    meanwhile would make of it. With `refresh`, live jobs of a sweep are polled first, so that a job that died is not
    waited for; else nobody is asked and nothing is stored. Jobs on other backends and devices do not count, nor do
    those of another configuration of the device.
    """
    if isinstance(experiment, SweepPlan):
        spec = experiment.spec
        if refresh:
            _refresh(ledger, backend, spec.name)
        own = (identity or run) if spec.fresh else None
        return existing_points(
            ledger, backend, experiment=spec.name, definition=experiment.definition, run=run, only_of=own
        )
    return _find_circuits(ledger, backend, experiment, run, identity or run)


def plan_missing(
    ledger: Ledger,
    backend: Backend,
    experiment: ExperimentPlan,
    existing: Existing,
    compiled: Mapping[ProgramHash, ProgramHash],
    *,
    run: str,
    logical_run: str,
    opened_as: str,
    only: Sequence[str] = (),
    now: Callable[[], datetime] = utc_now,
) -> ExperimentJobs:
    """Jobs for what `existing` does not have; planning the same twice makes no second job.

    `compiled` maps each circuit's hash to its compiled circuit's; it is not needed where nothing is missing. `only`
    are the labels that are wanted, all if there are none.

    Raises:
        InvalidInput: It cannot be run; no job was made.
        StaleJob: Another run has planned some of it since `existing` was looked at; no job was made: look again.
    """
    labels = only or experiment.labels()
    wanted = set(labels)
    reused = {label: existing.jobs[label] for label in labels if label in existing.jobs}
    used = set(reused.values())
    failed = tuple(job_id for job_id in existing.failed if job_id in used)
    if len(reused) == len(labels):
        return ExperimentJobs(reused=reused, new=(), n_circuits=len(labels), failed=failed)
    programs = ledger.programs([*compiled, *compiled.values()])
    items = experiment.items({source: programs[sent] for source, sent in compiled.items()})
    options = ExecuteOptions(seed=experiment.spec.seed, batch_id=_batch_id(experiment, backend, logical_run))
    identity = logical_run
    name = experiment.spec.name
    if isinstance(experiment, SweepPlan):
        name = experiment.job_name or name
        if experiment.spec.exact:
            options = replace(options, observables=experiment.observables)
        whose = logical_run if experiment.spec.fresh else experiment.definition
        identity = f"{experiment.spec.name}/{whose}/{existing.seen.n_jobs}"
    new = plan(
        ledger,
        backend,
        [item for item in items if item.label in wanted and item.label not in reused],
        programs,
        run=run,
        logical_run=logical_run,
        identity=identity,
        name=name,
        experiment=experiment.spec.name,
        options=options,
        opened_as=opened_as,
        definition=experiment.definition,
        compiled_with=experiment.compile_options.as_json(),
        seen=existing.seen if isinstance(experiment, SweepPlan) else None,
        now=now,
    )
    return ExperimentJobs(reused=reused, new=tuple(new), n_circuits=len(labels), failed=failed)


def _batch_id(experiment: ExperimentPlan, backend: Backend, logical_run: str) -> str | None:
    """The vendor's batch that all jobs of a run on one device are in, whoever plans them; None for no batch."""
    if not experiment.spec.vendor_batch:
        return None
    if Capability.BATCHES not in backend.capabilities:
        logger.info("%s on %s has no batches: each job runs by itself", backend.name, backend.device)
        return None
    return str(uuid5(_BATCHES, f"{logical_run}/{backend.name}/{backend.device}"))


def existing_points(
    ledger: Ledger,
    backend: Backend,
    *,
    experiment: str,
    definition: str,
    run: str = "",
    only_of: str | None = None,
) -> Existing:
    """What the ledger has of the points of a sweep, as it is now.

    A run that is entered again also gets what its own jobs failed to bring, and jobs that it waits for count as its
    own: else a run that is resumed because its job failed would pay for another one. `definition` is the hash of what
    gives a result its meaning. Jobs of another definition, and jobs on other backends and devices, do not count; with
    `only_of`, neither do jobs of other logical runs.

    Returns:
        For each label a finished item before one under way before one that failed, the newest first.
    """
    jobs = ledger.jobs(
        experiment=experiment,
        backend=backend.name,
        device=backend.device,
        definition=definition,
        logical_run=only_of,
    )
    seen = Seen(
        experiment=experiment,
        backend=backend.name,
        device=backend.device,
        definition=definition,
        logical_run=only_of,
        n_jobs=len(jobs),
    )
    waited_for: set[JobId] = set()
    if run:
        for wait in ledger.waits.runs(flow_run_id=run):
            waited_for.update(wait.job_ids)
    finished: dict[str, JobId] = {}
    under_way: dict[str, JobId] = {}
    failed: dict[str, JobId] = {}
    alike = [job for job in jobs if _is_configured_alike(job, backend)]
    labels = ledger.labels([job.job_id for job in alike])
    for job in alike:
        for label, has_result in labels[job.job_id].items():
            if has_result:
                finished.setdefault(label, job.job_id)
            elif not job.status.is_final and job.status is not JobStatus.LOST:
                under_way.setdefault(label, job.job_id)
            elif job.run == run or job.job_id in waited_for:
                failed.setdefault(label, job.job_id)
    chosen = {**failed, **under_way, **finished}
    lost = dict.fromkeys(job_id for label, job_id in failed.items() if chosen[label] == job_id)
    return Existing(jobs=chosen, failed=tuple(lost), seen=seen)


def _is_configured_alike(job: Job, backend: Backend) -> bool:
    """Whether a job was planned for the configuration that its device has now, as far as is known."""
    return job.fingerprint in {"", str(backend.fingerprint)}


def interrupted_run(ledger: Ledger, experiment: ExperimentPlan) -> str | None:
    """The newest logical run of the same experiment, if it was interrupted: entering it again pays for nothing twice.

    Its jobs are not final, or its process has ended before it had brought the results where they belong. A run that
    suspended itself, or that another process is at, was not interrupted. Sweeps that reuse points need no such run.
    """
    if isinstance(experiment, SweepPlan) and not experiment.spec.fresh:
        return None
    jobs = ledger.jobs(experiment=experiment.spec.name, definition=experiment.definition, kind=JobKind.EXECUTE)
    if isinstance(experiment, SweepPlan):
        jobs = _of_the_same_points(ledger, experiment, jobs)
    return newest_left_behind(ledger, jobs)


def newest_left_behind(ledger: Ledger, jobs: Sequence[Job]) -> str | None:
    """The logical run of the first of these jobs, if it was interrupted and nobody is at it."""
    if not jobs:
        return None
    newest = jobs[0].logical_run
    own = [job for job in jobs if job.logical_run == newest]
    runs = sorted({job.run for job in own})
    if ledger.waits.are_attended(runs) or ledger.waits.jobs_of_others([job.job_id for job in own], ""):
        return None
    is_open = any(not job.status.is_final for job in own)
    return newest if is_open or ledger.waits.are_left_behind(runs) else None


def _of_the_same_points(ledger: Ledger, experiment: SweepPlan, jobs: Sequence[Job]) -> list[Job]:
    """The jobs of logical runs that had the points of a sweep, and no others: a definition does not name its points."""
    labels = ledger.labels([job.job_id for job in jobs])
    by_run: dict[str, set[str]] = defaultdict(set)
    for job in jobs:
        by_run[job.logical_run].update(labels[job.job_id])
    wanted = set(experiment.labels())
    return [job for job in jobs if by_run[job.logical_run] == wanted]


def end_interruption(ledger: Ledger, logical_run: str, *, before: datetime) -> None:
    """Record that a logical run was brought to its end by another run: what its own processes waited for is over.

    What was registered after `before` is left.
    """
    for run in sorted({logical_run} | {job.run for job in ledger.jobs(logical_run=logical_run)}):
        ledger.waits.end(run, registered_before=before)


def _refresh(ledger: Ledger, backend: Backend, experiment: str) -> None:
    """Poll the experiment's live jobs, and store results that were ready and never stored.

    A job that died with its process is not waited for then, and nothing that exists is run again.
    """
    jobs = ledger.jobs(experiment=experiment, backend=backend.name, device=backend.device)
    job_ids = [job.job_id for job in jobs]
    live = [job.job_id for job in jobs if job.status in LIVE or job.status is JobStatus.LOST]
    try:
        if live:
            poll_each(ledger, backend, live, utc_now, {})
        store_ready(ledger, backend, job_ids)
    except LedgerError:
        raise
    except QJobsError as error:  # what cannot be asked for now counts as it stands
        logger.warning("%s: the jobs of %s cannot be asked for: %s", backend.name, experiment, error)


def _find_circuits(ledger: Ledger, backend: Backend, experiment: CircuitListPlan, run: str, identity: str) -> Existing:
    """The jobs that this logical run has made, if they hold all of its circuits."""
    name = experiment.spec.name
    jobs: dict[JobId, Job] = {}
    for job in ledger.jobs(experiment=name, backend=backend.name, device=backend.device, kind=JobKind.EXECUTE):
        if (job.logical_run == identity or job.run == run) and _is_configured_alike(job, backend):
            jobs[job.job_id] = job
    seen = Seen(
        experiment=name,
        backend=backend.name,
        device=backend.device,
        definition=experiment.definition,
        logical_run=identity,
        n_jobs=len(jobs),
    )
    made: dict[tuple[object, ...], JobId] = {}
    for job in sorted(jobs.values(), key=lambda job: job.created_at):
        for item in ledger.items(job.job_id):
            made[item.label, item.source, item.shots, item.parameters] = job.job_id
    found = {}
    for item_spec in experiment.items(experiment.programs):
        job_id = made.get((item_spec.label, item_spec.source, item_spec.shots, item_spec.parameters))
        if job_id is None:
            return Existing(jobs={}, failed=(), seen=seen)
        found[item_spec.label] = job_id
    counts = ledger.result_counts(list(dict.fromkeys(found.values())))
    failed = [
        job_id for job_id, count in counts.items() if count < jobs[job_id].n_items and jobs[job_id].status.is_final
    ]
    return Existing(jobs=found, failed=tuple(failed), seen=seen)
