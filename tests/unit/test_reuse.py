"""What the ledger has of an experiment is not run again: on the real simulator."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from launching import planned

import qjobs
from qjobs.backends.aer import AerBackend
from qjobs.backends.aer.backend import NoiseSpec
from qjobs.compiling.compiler import CompileCache, CompileOptions
from qjobs.experiments.circuit_list import CircuitList, expand_circuit_list
from qjobs.experiments.sweep import SweepSpec, expand_sweep
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId
from qjobs.operations.plan import ExperimentJobs

QASM = """OPENQASM 3.0;
include "stdgates.inc";
input float theta;
qubit[1] q;
bit[1] c;
ry(theta) q[0];
c[0] = measure q[0];
"""


@pytest.fixture(scope="module")
def aer() -> Iterator[AerBackend]:
    with AerBackend(n_workers=1) as backend:
        backend.warm()
        yield backend


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> CompileCache:
    return CompileCache(tmp_path_factory.mktemp("compiled"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        yield ledger


def sweep(*values: float, **other: object) -> SweepSpec:
    axes = [{"name": "theta", "values": list(values or (0.1, 0.2, 0.3))}]
    return SweepSpec.model_validate(
        {"name": "s", "circuit": {"openqasm": QASM}, "axes": axes, "shots": 20, "seed": 1, **other}
    )


def launch(store: Ledger, aer: AerBackend, cache: CompileCache, spec: SweepSpec, run: str) -> ExperimentJobs:
    return planned(store, aer, expand_sweep(spec), cache, run=run)


def finish(store: Ledger, aer: AerBackend, launched: ExperimentJobs) -> None:
    for job_id in launched.job_ids:
        qjobs.submit(store, aer, job_id)
    statuses = qjobs.wait(store, {"aer": aer}, launched.job_ids, timeout_s=30)
    assert set(statuses.values()) == {JobStatus.COMPLETED}


def test_same_sweep(store: Ledger, aer: AerBackend, cache: CompileCache) -> None:
    """The same sweep again runs nothing."""
    first = launch(store, aer, cache, sweep(), "r1")
    assert (len(first.new), first.reused, first.n_circuits) == (1, {}, 3)
    finish(store, aer, first)
    again = launch(store, aer, cache, sweep(), "r2")
    assert (again.new, len(again.reused), again.job_ids) == ((), 3, first.new)
    assert "3 of 3" in again.summary
    assert len(store.jobs()) == 1


def labels(store: Ledger, launched: ExperimentJobs) -> list[str]:
    return [item.label for job_id in launched.new for item in store.items(job_id)]


def test_longer_axis(store: Ledger, aer: AerBackend, cache: CompileCache) -> None:
    """A longer axis runs the new points only."""
    finish(store, aer, launch(store, aer, cache, sweep(), "r1"))
    longer = launch(store, aer, cache, sweep(0.0, 0.1, 0.2, 0.3, 0.4), "r2")
    assert len(longer.reused) == 3
    assert len(labels(store, longer)) == 2
    finish(store, aer, longer)
    assert launch(store, aer, cache, sweep(0.4, 0.3), "r3").new == ()


def test_join(store: Ledger, aer: AerBackend, cache: CompileCache) -> None:
    """What is under way is joined, and submitted once."""
    first = launch(store, aer, cache, sweep(), "r1")
    planned_only = launch(store, aer, cache, sweep(), "r2")
    assert (planned_only.new, planned_only.job_ids) == ((), first.new)
    qjobs.submit(store, aer, first.new[0])
    joined = launch(store, aer, cache, sweep(0.3, 0.4), "r3")
    assert set(joined.reused.values()) == set(first.new)
    assert len(labels(store, joined)) == 1
    finish(store, aer, joined)  # submits the first job once more: it is only synced
    assert [len(store.attempts(job.job_id)) for job in store.jobs()] == [1, 1]


def test_fresh(store: Ledger, aer: AerBackend, cache: CompileCache) -> None:
    """A fresh sweep runs anew; entered again, it finds its own jobs."""
    first = launch(store, aer, cache, sweep(), "r1")
    finish(store, aer, first)
    fresh = launch(store, aer, cache, sweep(fresh=True), "r2")
    assert fresh.reused == {}
    assert not set(fresh.new) & set(first.new)
    retried = launch(store, aer, cache, sweep(fresh=True), "r2")
    assert (retried.new, retried.job_ids) == ((), fresh.new)
    finish(store, aer, retried)
    assert launch(store, aer, cache, sweep(fresh=True), "r2").job_ids == fresh.new
    assert launch(store, aer, cache, sweep(fresh=True), "r3").reused == {}


def test_concurrent_plans(store: Ledger, aer: AerBackend, cache: CompileCache) -> None:
    """Runs that plan the same sweep at once share its jobs."""
    start = threading.Barrier(4)

    def work(run: str) -> tuple[JobId, ...]:
        start.wait(10)
        return launch(store, aer, cache, sweep(), run).job_ids

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(work, ("r1", "r2", "r3", "r4")))) == 1
    assert len(store.jobs()) == 1


def test_other_noise(store: Ledger, aer: AerBackend, cache: CompileCache) -> None:
    """Another noise is another device."""
    finish(store, aer, launch(store, aer, cache, sweep(), "r1"))
    with AerBackend(noise=NoiseSpec(readout=0.1), n_workers=1) as noisy:
        changed = launch(store, noisy, cache, sweep(), "r2")
    assert changed.reused == {}
    assert store.job(changed.new[0]).device != aer.device


def test_upgraded_compiler(store: Ledger, aer: AerBackend, cache: CompileCache) -> None:
    """A run finds its jobs although a compiler that was upgraded would make others."""
    entries = [{"openqasm": QASM.replace("ry(theta) q[0];", "h q[0]; h q[0];").replace("input float theta;", "")}]
    spec = CircuitList.model_validate({"name": "b", "circuits": entries, "shots": 5})

    def launched(run: str, compiler: str, shots: int = 5, identity: str = "") -> ExperimentJobs:
        plan = expand_circuit_list(spec.model_copy(update={"shots": shots}))
        options = CompileOptions(compiler=compiler)
        return planned(store, aer, plan, cache, run=run, identity=identity, options=options)

    first = launched("r1", "none")
    sent = {item.program for item in store.items(first.new[0])}
    assert {item.program for item in store.items(launched("r2", "qiskit").new[0])} != sent
    assert launched("r1", "qiskit").job_ids == first.job_ids
    assert launched("r3", "qiskit", identity="r1").job_ids == first.job_ids, "another run of the same wish"
    assert launched("r1", "qiskit", shots=6).job_ids != first.job_ids, "it was asked for something else"


DIES = """
import os, sys
from pathlib import Path
sys.path.insert(0, os.environ["TESTS"])
from qjobs.backends.aer import AerBackend
from qjobs.compiling.compiler import CompileCache, CompileOptions
from launching import planned
import qjobs
from qjobs.ledger import Ledger
from qjobs.experiments.sweep import SweepSpec, expand_sweep
aer, store = AerBackend(n_workers=1), Ledger(sys.argv[1])
spec = SweepSpec.model_validate_json(sys.argv[2])
(job_id,) = planned(store, aer, expand_sweep(spec), CompileCache(Path(sys.argv[3])), run="r1").new
print(qjobs.submit(store, aer, job_id).remote_id, flush=True)
os.kill(os.getpid(), 9)
"""


def test_dead_simulator(aer: AerBackend, cache: CompileCache, tmp_path: Path) -> None:
    """A run that died with its simulator is run anew."""
    url, spec = f"sqlite:///{tmp_path / 'ledger.db'}", sweep()
    arguments = [sys.executable, "-c", DIES, url, spec.model_dump_json(), str(tmp_path / "compiled")]
    environment = {**os.environ, "TESTS": str(Path(__file__).parents[1])}
    dead = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert dead.stdout.startswith("aer-"), dead.stderr
    with Ledger(url) as store:
        (lost,) = store.jobs()
        again = launch(store, aer, cache, spec, "r2")
        assert (len(again.new), again.reused) == (1, {})
        finish(store, aer, again)
        assert store.job(lost.job_id).status is JobStatus.TERMINATED
        assert "has ended" in store.job(lost.job_id).message
