"""Rows of what is planned: overlapping sweeps, upgraded compilers, other configurations, two ledgers, two runs."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from audit_rows import Row, Scene
from model_backend import ModelBackend
from model_provider import Kind

import qjobs
from qjobs.circuits.programs import read_circuit
from qjobs.compiling.compiler import CompileCache
from qjobs.errors import StaleJob
from qjobs.experiments.circuit_list import CircuitList, expand_circuit_list
from qjobs.experiments.sweep import SweepPlan, SweepSpec, expand_sweep
from qjobs.ledger import Ledger
from qjobs.model import JobId, ProgramHash
from qjobs.operations.compile_jobs import compile_programs
from qjobs.operations.plan import ExperimentJobs, ExperimentPlan, find_existing, plan_missing

TURN = """OPENQASM 3.0; include "stdgates.inc"; input float theta;
qubit[1] q; bit[1] c; ry(theta) q[0]; c[0] = measure q[0];"""
PLAIN = """OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; creg c[1]; h q[0]; measure q -> c;"""
OTHERWISE = """OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; creg c[1]; u2(0,pi) q[0]; measure q -> c;"""


def sweep(*values: float) -> SweepPlan:
    axes = [{"name": "theta", "values": list(values)}]
    given = {"name": "sweep", "circuit": {"openqasm": TURN}, "axes": axes, "shots": 5, "backends": ["model"]}
    return expand_sweep(SweepSpec.model_validate({**given, "compile": {"compiler": "none"}}))


def planning(
    scene: Scene, ledger: Ledger, experiment: ExperimentPlan, run: str, backend: ModelBackend | None = None
) -> Callable[[], ExperimentJobs]:
    """Everything of planning but the last step, which may be done later: another run may plan meanwhile."""
    backend = backend or scene.backend
    existing = find_existing(ledger, backend, experiment, run=run)
    ledger.add_programs(experiment.programs.values())
    cache = CompileCache(scene.folder / "compiled")
    hashes = list(experiment.programs)
    compiled = compile_programs(ledger, backend, hashes, experiment.compile_options, cache)
    return functools.partial(
        plan_missing, ledger, backend, experiment, existing, compiled, run=run, logical_run=run, opened_as="aer"
    )


def overlapping_sweeps(folder: Path) -> str:
    """Two sweeps that share points, planned side by side, run each point once."""
    scene = Scene(folder)
    with scene.stack:
        ledger = scene.open_ledger()
        first = planning(scene, ledger, sweep(0.1, 0.2, 0.3), "a")
        second = planning(scene, ledger, sweep(0.2, 0.3, 0.4, 0.1), "b")
        first()
        with contextlib.suppress(StaleJob):  # as `execute` does: it looks again
            second()
        planning(scene, ledger, sweep(0.2, 0.3, 0.4, 0.1), "b")()
        labels = [item.label for job in ledger.jobs() for item in ledger.items(job.job_id)]
        found = len(labels) - len(set(labels))
        return f"{len(labels)} items for {len(set(labels))} points" if found else ""


def upgraded_compiler(folder: Path) -> str:
    """A logical run that is entered again finds its jobs, whatever a newer compiler makes of the circuits."""
    scene = Scene(folder)
    with scene.stack:
        ledger = scene.open_ledger()
        given = {"name": "list", "circuits": [{"openqasm": PLAIN}], "shots": 5, "backend": "model", "compiler": "none"}
        experiment = expand_circuit_list(CircuitList.model_validate(given))
        (source,) = experiment.programs
        newer = read_circuit(OTHERWISE)
        ledger.add_programs([*experiment.programs.values(), newer])

        def enter(run: str, sent: ProgramHash) -> ExperimentJobs:
            existing = find_existing(ledger, scene.backend, experiment, run=run, identity="logical")
            compiled = {source: sent}
            return plan_missing(
                ledger, scene.backend, experiment, existing, compiled, run=run, logical_run="logical", opened_as="model"
            )

        first = enter("flow-1", source).job_ids
        second = enter("flow-2", newer.hash).job_ids
        return "" if first == second else f"the logical run has {len(ledger.jobs())} jobs of one circuit"


def cancelled_run(folder: Path) -> str:
    """Cancelling a run leaves alone a job that another run waits for."""
    from flows._support.stages import cancel_jobs

    scene = Scene(folder)
    with scene.stack:
        ledger = scene.open_ledger()
        run = "00000000-0000-0000-0000-00000000000a"
        other = "00000000-0000-0000-0000-00000000000b"
        job_id = planning(scene, ledger, sweep(0.1, 0.2), run)().job_ids[0]
        qjobs.submit(ledger, scene.backend, job_id, now=scene.now)
        joined = planning(scene, ledger, sweep(0.1, 0.2), other)().job_ids
        assert joined == (job_id,), "the other run shares the job"
        ledger.waits.register(other, joined, until="all", now=scene.now())
        with mock.patch.dict(os.environ, {"QJOBS_LEDGER": f"sqlite:///{folder / 'ledger.db'}"}):
            cancel_jobs(None, SimpleNamespace(id=run, parameters={}), None)
        at = ledger.job(job_id).cancel_requested_at
        return "" if at is None else f"{job_id}, for which another run waits, is to be cancelled"


def other_configuration(folder: Path) -> str:
    """Results of a device in another configuration (noise, simulator, options) are not reused."""
    scene = Scene(folder)
    with scene.stack:
        ledger = scene.open_ledger()
        scene.backend.settings = "noise: none"
        (job_id,) = planning(scene, ledger, sweep(0.1, 0.2), "a")().job_ids
        _run(scene, ledger, job_id)
        again = ModelBackend(scene.provider)
        again.settings = "noise: depolarizing"
        reused = planning(scene, ledger, sweep(0.1, 0.2), "b", again)().reused
        return f"{len(reused)} results of {scene.backend.settings!r} for {again.settings!r}" if reused else ""


def _run(scene: Scene, ledger: Ledger, job_id: JobId) -> None:
    qjobs.submit(ledger, scene.backend, job_id, now=scene.now)
    scene.provider.finish()
    qjobs.poll(ledger, scene.backend, [job_id], now=scene.now)
    qjobs.collect(ledger, scene.backend, job_id, now=scene.now)


def two_ledgers(folder: Path) -> str:
    """Two ledgers on one account have a remote job each, and neither touches the other's."""
    scene = Scene(folder, variant=Kind.DEDUPLICATED)
    with scene.stack:
        ids = []
        for name in ("mine", "yours"):
            ledger = scene.open_ledger(name)
            (job_id,) = planning(scene, ledger, sweep(0.1, 0.2), name)().job_ids
            ids.append(qjobs.submit(ledger, scene.backend, job_id, now=scene.now).remote_id)
        if len(set(ids)) == len(ids):
            return ""
        qjobs.cancel(ledger, scene.backend, job_id, now=scene.now)
        ended = scene.provider.jobs[ids[0]].cancelling
        return f"two ledgers have {ids[0]}, and the second one's cancellation ends {len(ended)} items of the first one"


ROWS = (
    Row("5", "two overlapping sweeps planned at once", overlapping_sweeps),
    Row("6", "a logical run entered again with a newer compiler", upgraded_compiler),
    Row("8", "a run is cancelled whose job another run waits for", cancelled_run),
    Row("9", "a device in another configuration", other_configuration),
    Row("11", "two ledgers on one account", two_ledgers),
)
