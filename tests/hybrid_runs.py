"""Hybrid runs for tests: small Hamiltonians, exact evaluation in this process, and running one in a ledger on Aer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from qiskit.quantum_info import SparsePauliOp, Statevector

from qjobs.backends.base import Backend
from qjobs.circuits.programs import bind
from qjobs.compiling.compiler import CompileCache
from qjobs.experiments.hybrid import HybridPlan, HybridSpec, expand_hybrid
from qjobs.ledger import Ledger
from qjobs.operations.execute import DirectStages, execute
from qjobs.operations.hybrid import Evaluation, Minimised, Params, minimise_in_ledger

EXAMPLES = Path(__file__).parents[1] / "examples"
ONE_QUBIT = {"Z": 1.0, "X": 0.5}
H2_ENERGY = -1.137306
"""Hartree: full configuration interaction at 0.735 Angstrom in STO-3G."""


def a_spec(**values: object) -> HybridSpec:
    """A small run with exact energies."""
    return HybridSpec.model_validate({"hamiltonian": {"terms": ONE_QUBIT}, "exact": True, "seed": 3, **values})


def h2(**values: object) -> HybridSpec:
    return a_spec(hamiltonian={"file": str(EXAMPLES / "h2" / "h2.json")}, name="h2", **values)


class Exactly:
    """Evaluates points of a plan by state vectors, and counts how often each epoch was asked for."""

    def __init__(self, plan: HybridPlan) -> None:
        self.plan = plan
        self.asked: list[int] = []
        self._operator = SparsePauliOp.from_list(list(plan.hamiltonian.terms))

    def __call__(self, number: int, points: Sequence[Params]) -> Evaluation:
        self.asked.append(number)
        names = self.plan.circuit.parameters
        energies = []
        for point in points:
            state = Statevector(bind(self.plan.circuit, dict(zip(names, point, strict=True))))
            energies.append(float(np.real(state.expectation_value(self._operator))))
        return Evaluation(energies=tuple(energies), std_errors=(0.0,) * len(energies))


def in_ledger(
    ledger: Ledger, backend: Backend, spec: HybridSpec, folder: Path, *, run: str = "run", logical_run: str = ""
) -> Minimised:
    """Minimise by jobs of a ledger, as one process of a run does."""
    plan = expand_hybrid(spec)
    stages = DirectStages(ledger, {spec.backend: backend}, CompileCache(folder / "compiled"))
    identity = logical_run or run
    with ledger.waits.attended(run):
        return minimise_in_ledger(
            ledger,
            backend,
            plan,
            lambda sweep: execute(ledger, sweep, stages, run=run, identity=identity),
            logical_run=identity,
        )


def labels(ledger: Ledger) -> list[str]:
    """The names of all jobs, the oldest first."""
    return [job.name for job in sorted(ledger.jobs(), key=lambda job: job.created_at)]
