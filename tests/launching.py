"""Small experiments, and executing them: on stages where jobs end as a test says, or only as far as the plan."""

from __future__ import annotations

from scripted import ScriptedBackend

import qjobs
from qjobs.backends.base import Backend
from qjobs.compiling.compiler import CompileCache, CompileOptions
from qjobs.errors import InvalidInput
from qjobs.experiments.circuit_list import CircuitList, CircuitListPlan, expand_circuit_list
from qjobs.experiments.sweep import SweepPlan, SweepSpec, expand_sweep
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import RemoteRetryStrategy
from qjobs.operations.compile_jobs import compile_programs
from qjobs.operations.execute import DirectStages, Executed, Shown, ToSubmit, Until, WaitedFor, execute
from qjobs.operations.plan import ExperimentJobs, ExperimentPlan, find_existing, plan_missing
from qjobs.operations.retry import RetryPolicy

TURN = """OPENQASM 3.0; include "stdgates.inc"; input float theta;
qubit[1] q; bit[1] c; ry(theta) q[0]; c[0] = measure q[0];"""
PLAIN = """OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; creg c[1]; h q[0]; measure q -> c;"""


class Stages(DirectStages):
    """Direct stages where every live job ends in `end` while it is waited for."""

    def __init__(self, ledger: Ledger, cache: CompileCache, **backends: ScriptedBackend) -> None:
        super().__init__(ledger, backends, cache)
        self.ledger = ledger
        self.opened = backends
        self.end = JobStatus.COMPLETED
        self.waits: list[tuple[Until, Shown, int]] = []

    def backend(self, name: str) -> ScriptedBackend:
        if name not in self.opened:
            raise InvalidInput(f"there is no backend {name!r}", field="backends")
        return self.opened[name]

    def wait(self, waited_for: WaitedFor) -> None:
        jobs = waited_for.jobs
        self.waits.append((waited_for.until, waited_for.kind, len(jobs)))
        for name in set(jobs.values()):
            for remote in self.opened[name].live():
                remote.items = [self.end] * len(remote.items)
            qjobs.poll(self.ledger, self.opened[name], [job_id for job_id in jobs if jobs[job_id] == name])


def circuits(count: int, **values: object) -> CircuitListPlan:
    """A list of equal circuits, not compiled."""
    given = {"name": "list", "circuits": [{"openqasm": PLAIN}] * count, "shots": 5, "backend": "fake"}
    return expand_circuit_list(CircuitList.model_validate({**given, "compiler": "none", **values}))


def points(*values: float, **other: object) -> SweepPlan:
    """A sweep of these values, or of two, not compiled."""
    axes = [{"name": "theta", "values": list(values or (0.1, 0.2))}]
    given = {"name": "sweep", "circuit": {"openqasm": TURN}, "axes": axes, "shots": 5, "backends": ["fake"]}
    return expand_sweep(SweepSpec.model_validate({**given, "compile": {"compiler": "none"}, **other}))


def run(stages: Stages, plan: ExperimentPlan, name: str = "run", identity: str = "") -> Executed:
    """Execute an experiment, as a run does."""
    with stages.ledger.waits.attended(name):
        return execute(stages.ledger, plan, stages, run=name, identity=identity)


def to_submit(strategy: RemoteRetryStrategy = RemoteRetryStrategy.DEFAULT) -> ToSubmit:
    """A job of the backend `fake`."""
    return ToSubmit(backend="fake", policy=RetryPolicy(rungs=()), strategy=strategy)


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
