"""What the tests run: sweeps, circuit lists, health checks, and jobs of a provider with a long queue."""

from __future__ import annotations

import math

import qjobs
from blocks import backend_named
from qjobs.circuits.programs import read_circuit
from qjobs.experiments.circuit_list import CircuitList
from qjobs.experiments.health_check import HealthCheck
from qjobs.experiments.sweep import SweepSpec
from qjobs.ledger import Ledger
from qjobs.model import ItemSpec, JobId
from qjobs.testing.servers import ScriptedProvider

ROTATION = """OPENQASM 3.0; include "stdgates.inc"; input float[64] theta;
qubit[2] q; bit[2] c; rx(theta) q[0]; cx q[0], q[1]; c = measure q;"""
THETAS = [0.0, 0.5, 1.0, 1.5, 2.0, math.pi]
BELL = """OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;"""


def a_sweep(name: str, **values: object) -> SweepSpec:
    """⟨Z0⟩ = cos θ at six angles; its lowest point is θ = π."""
    given = {
        "name": name,
        "circuit": {"openqasm": ROTATION},
        "axes": [{"name": "theta", "values": THETAS}],
        "shots": 1000,
        "seed": 3,
        "observables": [{"name": "z0", "terms": "Z0"}],
        "objective": {"name": "z0", "goal": "minimize"},
        **values,
    }
    return SweepSpec.model_validate(given)


def a_batch(name: str, n: int = 2, **values: object) -> CircuitList:
    """Some Bell pairs."""
    circuits = [{"openqasm": BELL, "label": f"bell-{index}"} for index in range(n)]
    return CircuitList.model_validate({"name": name, "circuits": circuits, "shots": 100, "seed": 3, **values})


def a_check(name: str, **values: object) -> HealthCheck:
    """GHZ and mirror circuits of two and three qubits, two of each."""
    given = {"sizes": [2, 3], "depth": 4, "shots": 400, "repetitions": 2, "seed": 5, "min_success": 0.9, **values}
    return HealthCheck.model_validate({"name": name, **given})


def parameters(provider: ScriptedProvider, name: str, **values: object) -> dict[str, object]:
    spec = {"name": name, "circuits": [{"openqasm": BELL}], "shots": 10, "compiler": "none"}
    return {"spec": {**spec, "backend": f"rest-backend/{provider.block}"}, **values}


def sent(store: Ledger, provider: ScriptedProvider, run: str, experiment: str = "", n: int = 1) -> JobId:
    """A job of `n` circuits that a run made and that the provider has."""
    bell, name = read_circuit(BELL), f"rest-backend/{provider.block}"
    backend = backend_named(name)
    items = [ItemSpec(label=f"bell-{index}", program=bell.hash, shots=20) for index in range(n)]
    (job_id,) = qjobs.plan(
        store,
        backend,
        items,
        {bell.hash: bell},
        run=run,
        name="bell",
        experiment=experiment,
        opened_as=name,
    )
    qjobs.submit(store, backend, job_id)
    return job_id


def open_queue(provider: ScriptedProvider) -> None:
    """The device takes every job that waits for it."""
    for job in provider.store.jobs.values():
        job.starts_at = job.ends_at = 0.0
