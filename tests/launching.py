"""Planning an experiment on one backend as `execute` does, without submitting it."""

from __future__ import annotations

from qjobs.backends.base import Backend
from qjobs.compiling.compiler import CompileCache, CompileOptions
from qjobs.experiments.sweep import SweepPlan
from qjobs.ledger import Ledger
from qjobs.operations.compile_jobs import compile_programs
from qjobs.operations.plan import ExperimentJobs, ExperimentPlan, find_existing, plan_missing


def planned(
    ledger: Ledger,
    backend: Backend,
    plan: ExperimentPlan,
    cache: CompileCache,
    *,
    run: str,
    identity: str = "",
    options: CompileOptions | None = None,
) -> ExperimentJobs:
    """The jobs of an experiment."""
    existing = find_existing(ledger, backend, plan, run=run, identity=identity)
    compiled = {}
    if any(label not in existing.jobs for label in plan.labels()):
        ledger.add_programs(plan.programs.values())
        hashes = list(plan.programs)
        fresh = isinstance(plan, SweepPlan) and plan.spec.fresh
        compiled = compile_programs(ledger, backend, hashes, options or plan.compile_options, cache, fresh=fresh)
    return plan_missing(
        ledger, backend, plan, existing, compiled, run=run, logical_run=identity or run, opened_as="aer"
    )
