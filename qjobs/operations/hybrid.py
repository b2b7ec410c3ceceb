"""Hybrid: minimise a Hamiltonian's energy, epoch by epoch; each epoch is one batch of circuits.

The loop knows neither Prefect nor the service. Who calls it says how points are evaluated (by jobs of the ledger, or by
a simulator at hand) and where epochs are recorded. What is evaluated next follows from the recorded epochs alone, so
that a run which is killed or suspended goes on at its epoch: it asks for the same points again, and finds their job.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from qjobs.backends.base import Backend, Capability
from qjobs.errors import InvalidInput, ProtocolError
from qjobs.experiments.hamiltonian import ENERGY
from qjobs.experiments.hybrid import HybridPlan, epoch_definition, epoch_sweep
from qjobs.experiments.sweep import SweepPlan
from qjobs.ledger import Ledger
from qjobs.ledger.epochs import Epoch, Params
from qjobs.model import ItemResult, JobId, JobKind
from qjobs.operations.collect import results_by_label
from qjobs.operations.execute import Executed
from qjobs.operations.optimisers import Cobyla, Optimiser, Spsa
from qjobs.operations.poll import utc_now

__all__ = [
    "Epoch",
    "Evaluate",
    "Evaluation",
    "Minimised",
    "Params",
    "from_counts",
    "interrupted_hybrid",
    "minimise",
    "minimise_in_ledger",
    "optimiser_of",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Energies at points, in their order, and the jobs that gave them.

    A standard error is None where it is not known, and 0 where the energy is exact.
    """

    energies: tuple[float, ...]
    std_errors: tuple[float | None, ...]
    job_ids: tuple[JobId, ...] = ()


Evaluate: TypeAlias = Callable[[int, Sequence[Params]], Evaluation]
"""Evaluates the points of an epoch, which it is given with its number. Asked for the same epoch again (the process was
killed before the epoch was recorded) it must not pay for it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Minimised:
    """Where a minimisation ended: its epochs, first to last, and whether the optimiser had no more to ask."""

    epochs: tuple[Epoch, ...]
    converged: bool

    @property
    def best(self) -> Epoch:
        """The epoch of the lowest energy. Of many sampled energies the lowest is too low by some standard errors."""
        return min(self.epochs, key=lambda epoch: epoch.energy)


def optimiser_of(plan: HybridPlan, logical_run: str) -> Optimiser:
    """The optimiser that a hybrid run asks for, at its start."""
    wish = plan.spec.optimiser
    start = plan.start(logical_run)
    match wish.kind:
        case "spsa":
            return Spsa(
                start=start,
                seed=plan.seed(logical_run),
                step=wish.step,
                perturbation=wish.perturbation,
                pairs=wish.pairs,
                calibration=wish.calibration,
            )
        case "cobyla":
            return Cobyla(start=start, step=wish.step, tolerance=wish.tolerance)


def minimise(
    plan: HybridPlan,
    evaluate: Evaluate,
    *,
    logical_run: str,
    history: Sequence[Epoch] = (),
    record: Callable[[Epoch], object],
    now: Callable[[], datetime] = utc_now,
) -> Minimised:
    """Go on from `history` until the epochs are used up or the optimiser has converged.

    Each epoch is handed to `record` before the next one begins. What `evaluate` or `record` raises goes through: what
    was recorded stands, and calling this again with it goes on.

    Raises:
        InvalidInput: The history belongs to another run, or to another experiment.
        ProtocolError: An energy is not a finite number.
    """
    epochs = list(history)
    _check_history(plan, logical_run, epochs)
    optimiser = optimiser_of(plan, logical_run)
    converged = False
    while len(epochs) < plan.spec.epochs:
        asked = optimiser.ask(epochs)
        if asked is None:
            converged = True
            break
        number = len(epochs) + 1
        evaluation = evaluate(number, asked.points)
        _check_finite(evaluation, logical_run, number)
        epoch = Epoch(
            logical_run=logical_run,
            number=number,
            experiment=plan.spec.name,
            definition=plan.definition,
            points=asked.points,
            energies=evaluation.energies,
            std_errors=evaluation.std_errors,
            state=asked.state,
            circuit=plan.circuit.hash,
            job_ids=evaluation.job_ids,
            at=now(),
        )
        record(epoch)
        epochs.append(epoch)
        logger.info("%s, run %s: epoch %d, energy %.9g", plan.spec.name, logical_run, number, epoch.energy)
    return Minimised(epochs=tuple(epochs), converged=converged)


def _check_history(plan: HybridPlan, logical_run: str, epochs: Sequence[Epoch]) -> None:
    for number, epoch in enumerate(epochs, start=1):
        if (epoch.logical_run, epoch.number, epoch.definition) != (logical_run, number, plan.definition):
            raise InvalidInput(
                f"the epochs of the run {logical_run} were recorded for another Hamiltonian, ansatz, optimiser or "
                "backend, or with other shots; start a new run, or give it the form that it began with",
                field="logical_run",
            )


def _check_finite(evaluation: Evaluation, logical_run: str, number: int) -> None:
    if not all(math.isfinite(energy) for energy in evaluation.energies):
        raise ProtocolError(f"epoch {number} of the run {logical_run} has an energy that is not a finite number")


def from_counts(plan: HybridPlan, counts: Sequence[Sequence[Mapping[str, int]]]) -> Evaluation:
    """Energies of points from what was measured.

    `counts` has per measurement basis, in the order of `plan.templates`, one mapping per point; bit 0 rightmost. None
    adds up to nothing.

    Raises:
        InvalidInput: The energies of the plan are exact ones.
    """
    if plan.estimator is None:
        raise InvalidInput("this run asks for exact energies, and counts give none; set exact to false", field="exact")
    energies, errors = plan.estimator.estimate(counts)[ENERGY]
    return Evaluation(energies=tuple(energies.tolist()), std_errors=tuple(errors.tolist()))


def minimise_in_ledger(
    ledger: Ledger,
    backend: Backend,
    plan: HybridPlan,
    run_epoch: Callable[[SweepPlan], Executed],
    *,
    logical_run: str,
    now: Callable[[], datetime] = utc_now,
) -> Minimised:
    """Minimise by jobs of the ledger, and record the epochs there.

    `run_epoch` takes an epoch from its plan to its results (`qjobs.operations.execute.execute`) as part of the logical
    run; a job of the epoch that is there already is found again.

    Raises:
        InvalidInput: It cannot be run; or the run of that name is another experiment's, or of another backend.
        JobFailed: A circuit of an epoch has no result; what was recorded stands.
    """

    def evaluate(number: int, points: Sequence[Params]) -> Evaluation:
        sweep = epoch_sweep(plan, logical_run, number, points)
        done = run_epoch(sweep)
        for problem in done.problems.values():
            raise problem
        job_ids = [job_id for jobs in done.jobs.values() for job_id in jobs]
        return _evaluation(plan, sweep, points, results_by_label(ledger, job_ids), job_ids)

    history = ledger.epochs.of_run(logical_run)
    _check_backend(ledger, backend, plan, history)
    return minimise(
        plan,
        evaluate,
        logical_run=logical_run,
        history=history,
        record=lambda epoch: ledger.epochs.record(epoch, plan.circuit),
        now=now,
    )


def _check_backend(ledger: Ledger, backend: Backend, plan: HybridPlan, history: Sequence[Epoch]) -> None:
    if not backend.limits.gives_results:
        raise InvalidInput(f"{backend.device} gives no results, and so no energies; take another", field="backend")
    if plan.spec.exact and Capability.EXACT_EXPVALS not in backend.capabilities:
        raise InvalidInput(f"{backend.name} has no exact expectation values; set exact to false", field="exact")
    present = str(backend.fingerprint)
    for job in ledger.jobs(job_ids=[job_id for epoch in history[-1:] for job_id in epoch.job_ids]):
        if job.fingerprint not in {"", present}:
            raise InvalidInput(
                f"the run {job.logical_run} was measured with another configuration of {job.device} "
                f"({job.fingerprint}) than it has now ({present}); their energies are not to be mixed: start a new run",
                field="backend",
            )


def _evaluation(
    plan: HybridPlan,
    sweep: SweepPlan,
    points: Sequence[Params],
    results: Mapping[str, ItemResult],
    job_ids: Sequence[JobId],
) -> Evaluation:
    """The energies of points, of which some may be the same."""
    places: dict[Params, int] = {}
    for point in points:
        places.setdefault(point, len(places))
    columns = []
    for basis in sweep.templates:
        columns.append([results[sweep.label(point, 0, basis)] for point in sweep.points])
    if plan.estimator is None:
        exact = [_exact(result) for result in columns[0]]
        once = Evaluation(energies=tuple(exact), std_errors=(0.0,) * len(exact))
    else:
        once = from_counts(plan, [[result.counts or {} for result in column] for column in columns])
    return Evaluation(
        energies=tuple(once.energies[places[point]] for point in points),
        std_errors=tuple(once.std_errors[places[point]] for point in points),
        job_ids=tuple(job_ids),
    )


def _exact(result: ItemResult) -> float:
    energy = (result.expvals or {}).get(ENERGY)
    if energy is None:
        raise ProtocolError("a result has no exact energy, though it was asked for")
    return energy


def interrupted_hybrid(ledger: Ledger, plan: HybridPlan) -> str | None:
    """The newest logical run of the same experiment, if it has epochs to go and nobody is at it.

    It was killed, or it failed; or it was done, and more epochs are asked for now.
    """
    jobs = ledger.jobs(experiment=plan.spec.name, kind=JobKind.EXECUTE)
    for logical_run in dict.fromkeys(job.logical_run for job in jobs):
        epochs = ledger.epochs.of_run(logical_run)
        definitions = {epoch_definition(plan, logical_run, number + 1) for number in range(len(epochs) + 1)}
        own = [job for job in jobs if job.logical_run == logical_run]
        if not any(job.definition in definitions for job in own):
            continue
        is_done = len(epochs) >= plan.spec.epochs or optimiser_of(plan, logical_run).ask(epochs) is None
        runs = sorted({job.run for job in own})
        if is_done or ledger.waits.are_attended(runs) or ledger.waits.jobs_of_others([job.job_id for job in own], ""):
            return None
        return logical_run
    return None
