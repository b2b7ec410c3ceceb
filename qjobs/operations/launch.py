"""From a spec to jobs: what of it is there already, and new jobs for the rest. Sends nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from qjobs.backends.base import Backend
from qjobs.compiling.compiler import CompileCache, CompileOptions, compile_program
from qjobs.errors import BackendUnavailable, CredentialsRejected, ProtocolError
from qjobs.experiments.circuit_list import CircuitListPlan
from qjobs.experiments.sweep import SweepPlan
from qjobs.ledger import Ledger
from qjobs.lifecycle import FINAL, LIVE, JobStatus
from qjobs.model import ExecuteOptions, JobId, JobKind, ProgramHash
from qjobs.operations import plan as operations

__all__ = ["CompileStage", "Launched", "compile_here", "launch_circuits", "launch_sweep"]

CompileStage = Callable[[Sequence[ProgramHash]], Mapping[ProgramHash, ProgramHash]]
"""Compiles circuits of the ledger and stores what comes out: from given to compiled hash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """Jobs of a spec on one backend.

    `reused` maps a circuit's label to the earlier job that has it or is running it; `new` are the jobs
    made now, or made before by the same logical run; `failed` are reused jobs of this very run that ended
    without a result of theirs.
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


def compile_here(
    store: Ledger, backend: Backend, options: CompileOptions, cache: CompileCache, *, fresh: bool = False
) -> CompileStage:
    """A compile stage in this process; `fresh` leaves the cache aside (FULL_RESTART of the stage)."""

    def stage(hashes: Sequence[ProgramHash]) -> Mapping[ProgramHash, ProgramHash]:
        sources, target = store.programs(hashes), backend.target()
        compiled = {key: compile_program(sources[key], target, options, cache, fresh=fresh) for key in hashes}
        store.add_programs(compiled.values())
        return {key: program.hash for key, program in compiled.items()}

    return stage


def launch_sweep(
    store: Ledger, backend: Backend, plan: SweepPlan, *, name: str, run: str, compile_stage: CompileStage
) -> Launched:
    """Jobs for the points of a sweep that no earlier run of it has, and that this run has not tried yet.

    Finished points are reused and points under way are waited for; two runs of the same sweep at the
    same time share their jobs. With `fresh` only this run's own jobs count.

    Args:
        store: The ledger.
        backend: Where it runs.
        plan: The sweep.
        name: Name of the backend, as the spec has it.
        run: Who makes the jobs.
        compile_stage: How templates are compiled.

    Raises:
        InvalidInput: It cannot be run; no job was made.
    """
    spec = plan.spec
    _look_again(store, backend, spec.name)
    known = operations.reusable(
        store, experiment=spec.name, definition=plan.definition, backend=backend, run=run, only_own=spec.fresh
    )
    labels = plan.labels()
    reused = {label: known.have[label] for label in labels if label in known.have}
    failed = tuple(job_id for job_id in known.failed if job_id in set(reused.values()))
    if len(reused) == len(labels):
        return Launched(reused=reused, new=(), n_circuits=len(labels), failed=failed)
    store.add_programs(plan.templates.values())
    compiled = compile_stage([template.hash for template in plan.templates.values()])
    programs = store.programs([*compiled, *compiled.values()])
    items = plan.items({source: programs[sent] for source, sent in compiled.items()})
    new = operations.plan(
        store,
        backend,
        [item for item in items if item.label not in reused],
        programs,
        run=run,
        identity=f"{spec.name}/{run if spec.fresh else plan.definition}/{known.n_jobs}",
        name=spec.name,
        experiment=spec.name,
        options=ExecuteOptions(seed=spec.seed, observables=plan.observables if spec.exact else ()),
        opened_as=name,
        definition=plan.definition,
    )
    return Launched(reused=reused, new=tuple(new), n_circuits=len(labels), failed=failed)


def _look_again(store: Ledger, backend: Backend, experiment: str) -> None:
    """Ask for the experiment's live jobs, and fetch results that were ready and never stored.

    A job that died with its process is not waited for then, and nothing that exists is run again.
    """
    jobs = store.jobs(experiment=experiment, backend=backend.name, device=backend.device)
    live = [job.job_id for job in jobs if job.status in LIVE]
    with contextlib.suppress(BackendUnavailable, CredentialsRejected, ProtocolError):
        if live:
            operations.poll(store, backend, live)
        for job in store.jobs(job_ids=[job.job_id for job in jobs], statuses=FINAL):
            completed = store.item_counts([job.job_id]).get(JobStatus.COMPLETED, 0)
            if completed > store.result_counts([job.job_id])[job.job_id]:
                operations.fetch(store, backend, job)


def launch_circuits(
    store: Ledger, backend: Backend, plan: CircuitListPlan, *, run: str, identity: str, compile_stage: CompileStage
) -> Launched:
    """Jobs for a batch of circuits; the same `identity` finds the same jobs again.

    A run that is entered again finds its jobs by what it was given, whatever a compiler that was upgraded
    meanwhile would make of it.

    Args:
        store: The ledger.
        backend: Where it runs.
        plan: The batch.
        run: Who makes the jobs.
        identity: The logical run.
        compile_stage: How circuits are compiled.

    Raises:
        InvalidInput: It cannot be run; no job was made.
    """
    spec = plan.spec
    own = _made_for(store, backend, plan, run)
    if own is not None:
        return Launched(reused=own, new=(), n_circuits=len(spec.circuits))
    store.add_programs(plan.programs.values())
    compiled = compile_stage(list(plan.programs))
    programs = store.programs([*compiled, *compiled.values()])
    new = operations.plan(
        store,
        backend,
        plan.items({source: programs[sent] for source, sent in compiled.items()}),
        programs,
        run=run,
        identity=identity,
        name=spec.name,
        experiment=spec.name,
        options=ExecuteOptions(seed=spec.seed),
        opened_as=spec.backend,
    )
    return Launched(reused={}, new=tuple(new), n_circuits=len(spec.circuits))


def _made_for(store: Ledger, backend: Backend, plan: CircuitListPlan, run: str) -> dict[str, JobId] | None:
    """From label to job, if this run has made jobs for all these circuits already."""
    wanted = plan.items(plan.programs)
    jobs = store.jobs(
        experiment=plan.spec.name, backend=backend.name, device=backend.device, run=run, kind=JobKind.EXECUTE
    )
    made = {
        (item.label, item.source, item.shots, item.parameters): job.job_id
        for job in reversed(jobs)
        for item in store.items(job.job_id)
    }
    found = {each.label: made.get((each.label, each.source, each.shots, each.parameters)) for each in wanted}
    known = {label: job_id for label, job_id in found.items() if job_id is not None}
    return known if len(known) == len(wanted) else None
