"""What bench_sweep.py runs through the library and the flow, and the same work for those who write it by hand."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import by_hand
import numpy as np

if TYPE_CHECKING:
    from qjobs.backends.aer import AerBackend
    from qjobs.experiments.circuit_list import CircuitListPlan
    from qjobs.experiments.sweep import SweepPlan, SweepSpec

EXAMPLE = Path(__file__).parents[2] / "examples" / "qaoa_maxcut" / "sweep.yaml"
N_CIRCUITS = 300
NARROWEST = 5
WIDEST = 20
NOISE = {"depolarizing_1q": 0.001, "depolarizing_2q": 0.01}


def spec_of(points: int, **changes: Any) -> SweepSpec:
    """The example with `points` points: its 20 gammas, and as many betas as it takes."""
    from qjobs.experiments.sweep import SweepSpec, load_sweep

    data = load_sweep(EXAMPLE).model_dump()
    data["axes"][1]["count"] = points // data["axes"][0]["count"]
    return SweepSpec.model_validate({**data, "name": f"bench-{points}", "fresh": True, **changes})


def by_hand_of(spec: SweepSpec, noise: Any = None) -> by_hand.Work:
    """The same work for those who write it by hand: the compiled circuit, and a row of parameters a point."""
    from qiskit.quantum_info import SparsePauliOp

    from blocks import backend_named
    from qjobs.circuits.programs import to_qiskit
    from qjobs.compiling.compiler import compile_program
    from qjobs.experiments.sweep import expand_sweep

    plan = expand_sweep(spec)
    source = plan.source if spec.exact else next(iter(plan.templates.values()))
    circuit = to_qiskit(compile_program(source, backend_named("aer").target(), spec.compile_options()))
    matrix = np.array([[value for _, value in point.parameters] for point in plan.points])
    observable = None
    if spec.exact:
        (wanted,) = plan.observables
        observable = SparsePauliOp.from_list(list(wanted.terms))
    return by_hand.Work(circuits=(circuit,), matrix=matrix, shots=spec.shots, observable=observable, noise=noise)


def run_plan(plan: SweepPlan | CircuitListPlan, backend: Any, folder: Path) -> None:
    """From a plan to its frame and file; the ledger is there, as a user's is."""
    from blocks import compile_cache
    from qjobs.ledger import Ledger
    from qjobs.operations.execute import DirectStages, execute
    from qjobs.reports.run_report import report_of

    with Ledger(f"sqlite:///{folder}/ledger.db") as store:
        stages = DirectStages(store, {"aer": backend}, compile_cache())
        done = execute(store, plan, stages, run=uuid.uuid4().hex)
        outcome = report_of(store, plan, done.jobs, folder / "bench.parquet")
        assert outcome.n_missing == 0


def through_library(spec: SweepSpec, folder: Path, backend: Any = None) -> None:
    """A sweep from its form, without Prefect."""
    from blocks import backend_named
    from qjobs.experiments.sweep import expand_sweep

    run_plan(expand_sweep(spec), backend or backend_named("aer"), folder)


def through_flow(spec: SweepSpec) -> None:
    """A sweep as a flow of Prefect."""
    from flows._support.command import without_heartbeat
    from flows.sweep import sweep

    with without_heartbeat():  # as the command does
        sweep(spec)


def task_per_circuit(spec: SweepSpec) -> Callable[[], object]:
    """What people write first: one Prefect task for each circuit."""
    from prefect import flow, task
    from prefect.cache_policies import NO_CACHE
    from qiskit_aer import AerSimulator

    from qjobs.circuits.programs import bind
    from qjobs.experiments.sweep import expand_sweep

    plan = expand_sweep(spec)
    (template,) = plan.templates.values()
    simulator = AerSimulator()

    @task(cache_policy=NO_CACHE, persist_result=False)
    def one(parameters: dict[str, float]) -> dict[str, int]:
        result = simulator.run(bind(template, parameters), shots=spec.shots).result()
        counts: dict[str, int] = result.get_counts()
        return counts

    @flow(name="task-per-circuit")
    def every() -> int:
        return len([f.result() for f in [one.submit(dict(p.parameters)) for p in plan.points]])

    return every


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Work of one kind: for those who write it by hand, and through the library."""

    work: by_hand.Work
    through_library: Callable[[Path], None]
    backend: AerBackend | None = None

    def close(self) -> None:
        """End the workers of a backend of its own."""
        if self.backend is not None:
            self.backend.close()


def expectation_values() -> Kind:
    """The example with exact expectation values of its objective."""
    spec = spec_of(300, exact=True, name="bench-exact")
    return Kind(work=by_hand_of(spec), through_library=lambda folder: through_library(spec, folder))


def noise() -> Kind:
    """The example on a device with depolarising noise after every gate."""
    from qjobs.backends.aer import AerBackend, NoiseSpec, noise_model

    spec = spec_of(60, name="bench-noise")
    backend = AerBackend(noise=NoiseSpec(**NOISE))
    return Kind(
        work=by_hand_of(spec, noise=noise_model(NoiseSpec(**NOISE))),
        through_library=lambda folder: through_library(spec, folder, backend),
        backend=backend,
    )


def different_circuits() -> Kind:
    """Mirror circuits of 5 to 20 qubits, each another one; they are read before, and not compiled.

    A compiler merges their Clifford gates into `u3`, for which Aer's stabilizer method is of no use any more.
    """
    from blocks import backend_named
    from qjobs.circuits.mirror import mirror_circuit
    from qjobs.circuits.programs import program_from_qiskit
    from qjobs.experiments.circuit_list import CircuitEntry, CircuitList, CircuitListPlan

    rng = random.Random(1)
    circuits = []
    for number in range(N_CIRCUITS):
        n_qubits = NARROWEST + number % (WIDEST + 1 - NARROWEST)
        circuits.append(mirror_circuit(n_qubits, 4, rng).circuit)
    programs = [program_from_qiskit(circuit) for circuit in circuits]
    entries = [CircuitEntry(builder="mirror", label=f"m{number}") for number in range(N_CIRCUITS)]
    plan = CircuitListPlan(
        spec=CircuitList(name="bench-circuits", circuits=entries, shots=1000, seed=7, compiler="none"),
        programs={program.hash: program for program in programs},
        sources=tuple(program.hash for program in programs),
    )
    return Kind(
        work=by_hand.Work(circuits=tuple(circuits), shots=1000),
        through_library=lambda folder: run_plan(plan, backend_named("aer"), folder),
    )


KINDS: dict[str, Callable[[], Kind]] = {
    "expectation values": expectation_values,
    "noise": noise,
    "different circuits": different_circuits,
}


def close() -> None:
    """Close the backends and ledgers of this process."""
    from blocks.opening import close_all

    close_all()
