"""Plan: find what the ledger has of an experiment, cut the rest into batches, and store one job a batch.

Nothing here can submit.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias

from qjobs.backends.base import Backend
from qjobs.circuits.programs import check_runs
from qjobs.errors import BackendUnavailable, CredentialsRejected, InvalidInput, ProtocolError
from qjobs.experiments.circuit_list import CircuitListPlan
from qjobs.experiments.sweep import SweepPlan
from qjobs.ledger import Ledger
from qjobs.lifecycle import FINAL, LIVE, JobStatus
from qjobs.model import (
    Batch,
    ExecuteOptions,
    ItemSpec,
    JobId,
    JobKind,
    JobSpec,
    JsonValue,
    Program,
    ProgramHash,
)
from qjobs.operations.batching import batch_key, pack
from qjobs.operations.collect import store_results
from qjobs.operations.poll import poll, utc_now

__all__ = ["Existing", "ExperimentJobs", "ExperimentPlan", "existing_points", "find_existing", "plan", "plan_missing"]

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
    experiment: str = "",
    options: ExecuteOptions | None = None,
    kind: JobKind = JobKind.EXECUTE,
    project: str = "",
    owner: str = "",
    opened_as: str = "",
    definition: str = "",
    properties: Mapping[str, JsonValue] | None = None,
    now: Callable[[], datetime] = utc_now,
) -> list[JobId]:
    """Check everything, cut the items into batches, and store one job per batch. Sends nothing.

    `programs` are the circuits that the items name, compiled for the backend. `run` is who makes the jobs, for example
    a flow run's id; `identity` is the logical run, where it is another: the same identity, items and options find the
    same jobs again. Batches are numbered behind `name`. `experiment` is what the jobs belong to (a sweep's name).
    `options` hold for every item; a seed is derived per batch from it, so that no two batches draw the same random
    numbers. `opened_as` is the name that opens the backend again; `definition` is the hash of everything that gives the
    results their meaning.

    Returns:
        Job ids, in the order of the items.

    Raises:
        InvalidInput: Something cannot be run; nothing was stored.
    """
    options = options or ExecuteOptions()
    if kind is JobKind.COMPILE and not backend.compiles:
        raise InvalidInput(
            f"{backend.name} does not compile circuits; set the compiler to qiskit or tket", field="compiler"
        )
    if options.observables and not backend.exact_expvals:
        raise InvalidInput(f"{backend.name} has no exact expectation values; ask for sampled ones", field="observables")
    if kind is JobKind.EXECUTE:
        _check_programs(items, programs, need_counts=not options.observables)
    batches = pack(items, programs, backend.limits, kind)
    specs = []
    for number, batch_items in enumerate(batches):
        batch_options = replace(options, seed=_batch_seed(options.seed, number, batch_items[0].label))
        key = batch_key(
            identity or run, number, batch_items, batch_options, backend=backend.name, device=backend.device, kind=kind
        )
        used = {item.program: programs[item.program] for item in batch_items}
        sources = {item.source for item in batch_items if item.source is not None}
        used.update({source: programs[source] for source in sources if source in programs})
        specs.append(
            JobSpec(
                key=key,
                backend=backend.name,
                device=backend.device,
                name=f"{name} {number + 1}/{len(batches)}" if len(batches) > 1 else name,
                batch=Batch(number=number, items=batch_items, programs=used, options=batch_options, kind=kind),
                kind=kind,
                experiment=experiment,
                run=run,
                project=project,
                owner=owner,
                opened_as=opened_as,
                definition=definition,
                properties=properties or {},
            )
        )
    return ledger.create(specs, now=now())


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
    ended without it and that the asking run made or waits for: nobody has asked to pay for them again. `n_jobs` is
    how many jobs of the experiment were looked at.
    """

    jobs: Mapping[str, JobId]
    failed: tuple[JobId, ...]
    n_jobs: int


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
            f"{len(self.new)} jobs for the others"
        )


def find_existing(ledger: Ledger, backend: Backend, experiment: ExperimentPlan, *, run: str) -> Existing:
    """What the ledger has of an experiment already.

    Of a sweep, finished points are reused and points under way are waited for: two runs of the same sweep at the
    same time share their jobs; with `fresh` only this run's own jobs count. A circuit list is always run as it is:
    only the run's own jobs count, found by what the run was given, whatever a compiler that was upgraded meanwhile
    would make of it. Live jobs of a sweep are polled first, so that a job that died is not waited for. Jobs on other
    backends and devices do not count.
    """
    if isinstance(experiment, SweepPlan):
        spec = experiment.spec
        _refresh(ledger, backend, spec.name)
        return existing_points(
            ledger, backend, experiment=spec.name, definition=experiment.definition, run=run, only_own=spec.fresh
        )
    return _find_circuits(ledger, backend, experiment, run)


def plan_missing(
    ledger: Ledger,
    backend: Backend,
    experiment: ExperimentPlan,
    existing: Existing,
    compiled: Mapping[ProgramHash, ProgramHash],
    *,
    run: str,
    identity: str,
    opened_as: str,
    now: Callable[[], datetime] = utc_now,
) -> ExperimentJobs:
    """Jobs for what `existing` does not have; planning the same twice makes no second job.

    `compiled` maps each circuit's hash to its compiled circuit's; it is not needed where nothing is missing.

    Raises:
        InvalidInput: It cannot be run; no job was made.
    """
    labels = experiment.labels()
    reused = {label: existing.jobs[label] for label in labels if label in existing.jobs}
    used = set(reused.values())
    failed = tuple(job_id for job_id in existing.failed if job_id in used)
    if len(reused) == len(labels):
        return ExperimentJobs(reused=reused, new=(), n_circuits=len(labels), failed=failed)
    programs = ledger.programs([*compiled, *compiled.values()])
    items = experiment.items({source: programs[sent] for source, sent in compiled.items()})
    options = ExecuteOptions(seed=experiment.spec.seed)
    definition = ""
    if isinstance(experiment, SweepPlan):
        if experiment.spec.exact:
            options = replace(options, observables=experiment.observables)
        definition = experiment.definition
        identity = f"{experiment.spec.name}/{run if experiment.spec.fresh else definition}/{existing.n_jobs}"
    new = plan(
        ledger,
        backend,
        [item for item in items if item.label not in reused],
        programs,
        run=run,
        identity=identity,
        name=experiment.spec.name,
        experiment=experiment.spec.name,
        options=options,
        opened_as=opened_as,
        definition=definition,
        now=now,
    )
    return ExperimentJobs(reused=reused, new=tuple(new), n_circuits=len(labels), failed=failed)


def existing_points(
    ledger: Ledger, backend: Backend, *, experiment: str, definition: str, run: str = "", only_own: bool = False
) -> Existing:
    """What the ledger has of the points of a sweep, as it is now.

    A run that is entered again also gets what its own jobs failed to bring, and jobs that it waits for count as its
    own: else a run that is resumed because its job failed would pay for another one. `definition` is the hash of what
    gives a result its meaning. Jobs of another definition, and jobs on other backends and devices, do not count; with
    `only_own`, neither do jobs of other runs.

    Returns:
        For each label a finished item before one under way before one that failed, the newest first.
    """
    own = run if only_own else None
    jobs = ledger.jobs(experiment=experiment, backend=backend.name, device=backend.device, run=own)
    waited_for: set[JobId] = set()
    if run:
        for wait in ledger.waits.runs(flow_run_id=run):
            waited_for.update(wait.job_ids)
    finished: dict[str, JobId] = {}
    under_way: dict[str, JobId] = {}
    failed: dict[str, JobId] = {}
    same = [job for job in jobs if job.definition == definition]
    for job in same:
        for label, has_result in ledger.labels(job.job_id).items():
            if has_result:
                finished.setdefault(label, job.job_id)
            elif not job.status.is_final:
                under_way.setdefault(label, job.job_id)
            elif job.run == run or job.job_id in waited_for:
                failed.setdefault(label, job.job_id)
    chosen = {**failed, **under_way, **finished}
    lost = dict.fromkeys(job_id for label, job_id in failed.items() if chosen[label] == job_id)
    return Existing(jobs=chosen, failed=tuple(lost), n_jobs=len(same))


def _refresh(ledger: Ledger, backend: Backend, experiment: str) -> None:
    """Poll the experiment's live jobs, and store results that were ready and never stored.

    A job that died with its process is not waited for then, and nothing that exists is run again.
    """
    jobs = ledger.jobs(experiment=experiment, backend=backend.name, device=backend.device)
    live = [job.job_id for job in jobs if job.status in LIVE]
    with contextlib.suppress(BackendUnavailable, CredentialsRejected, ProtocolError):
        if live:
            poll(ledger, backend, live)
        for job in ledger.jobs(job_ids=[job.job_id for job in jobs], statuses=FINAL):
            completed = ledger.item_counts([job.job_id]).get(JobStatus.COMPLETED, 0)
            if completed > ledger.result_counts([job.job_id])[job.job_id]:
                store_results(ledger, backend, job)


def _find_circuits(ledger: Ledger, backend: Backend, experiment: CircuitListPlan, run: str) -> Existing:
    """The jobs that this run has made, if they hold all of its circuits."""
    jobs = ledger.jobs(
        experiment=experiment.spec.name, backend=backend.name, device=backend.device, run=run, kind=JobKind.EXECUTE
    )
    made: dict[tuple[object, ...], JobId] = {}
    for job in reversed(jobs):
        for item in ledger.items(job.job_id):
            made[item.label, item.source, item.shots, item.parameters] = job.job_id
    found = {}
    for wanted in experiment.items(experiment.programs):
        job_id = made.get((wanted.label, wanted.source, wanted.shots, wanted.parameters))
        if job_id is None:
            return Existing(jobs={}, failed=(), n_jobs=len(jobs))
        found[wanted.label] = job_id
    counts = ledger.result_counts(list(dict.fromkeys(found.values())))
    failed = [job for job in jobs if job.job_id in counts and counts[job.job_id] < job.n_items]
    return Existing(jobs=found, failed=tuple(job.job_id for job in failed if job.status.is_final), n_jobs=len(jobs))
