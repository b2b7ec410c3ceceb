"""Epochs of hybrid runs: what was evaluated, what it gave, and what the optimiser needs to go on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qjobs.errors import InvalidInput
from qjobs.ledger.database import Database, log_after_commit
from qjobs.ledger.planning import insert_programs
from qjobs.ledger.tables import HYBRID_EPOCH
from qjobs.model import JobId, JsonValue, Program, ProgramHash

__all__ = ["Epoch", "Epochs", "Params"]

Params = tuple[float, ...]
"""Values of an ansatz's parameters, in the order of `Program.parameters`, in radians."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One batch of a hybrid run: points at which the energy was asked for, and the answers.

    The first point is the one at which the optimiser stands: its energy is the epoch's. A standard error is None where
    it is not known, and 0 where the energy is exact. `state` is what the optimiser needs besides the
    points and energies to choose the next ones, its random numbers included. `circuit` is the parametric circuit;
    `definition` is the hash of what gives the energies their meaning. Energies are in the Hamiltonian's unit. `number`
    counts from 1.
    """

    logical_run: str
    number: int
    experiment: str
    definition: str
    points: tuple[Params, ...]
    energies: tuple[float, ...]
    std_errors: tuple[float | None, ...]
    state: Mapping[str, JsonValue]
    circuit: ProgramHash
    job_ids: tuple[JobId, ...] = ()
    at: datetime = field(compare=False)

    @property
    def params(self) -> Params:
        """Where the optimiser stands."""
        return self.points[0]

    @property
    def energy(self) -> float:
        """The energy there."""
        return self.energies[0]

    @property
    def std_error(self) -> float | None:
        """Its standard error."""
        return self.std_errors[0]


class Epochs:
    """`Ledger.epochs`: the epochs of hybrid runs, each recorded once."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def record(self, epoch: Epoch, circuit: Program) -> None:
        """Record an epoch, with its parametric circuit. Recording the same again changes nothing.

        Raises:
            InvalidInput: The epoch is recorded with another content, or the one before it is not recorded, or one of
                its numbers is not finite; nothing was written.
        """
        _check(epoch)
        with self._db.write() as connection:
            self._db.lock(connection, f"qjobs-epochs/{epoch.logical_run}")
            mine = HYBRID_EPOCH.c.logical_run == epoch.logical_run
            rows = connection.execute(
                sa.select(HYBRID_EPOCH).where(mine, HYBRID_EPOCH.c.number.in_([epoch.number - 1, epoch.number]))
            ).all()
            recorded = {row.number: _epoch_of(row) for row in rows}
            if epoch.number in recorded:
                _refuse_other(recorded[epoch.number], epoch)
                return
            if epoch.number > 1 and epoch.number - 1 not in recorded:
                raise InvalidInput(
                    f"epoch {epoch.number} of the run {epoch.logical_run} cannot be recorded before the one before it"
                )
            insert_programs(self._db, connection, [circuit])
            connection.execute(HYBRID_EPOCH.insert(), _row_of(epoch))
            words = "run %s: epoch %d is recorded, energy %.9g, jobs %s"
            log_after_commit(
                connection, words, epoch.logical_run, epoch.number, epoch.energy, ", ".join(epoch.job_ids) or "none"
            )

    def of_run(self, logical_run: str) -> list[Epoch]:
        """The epochs of a logical run, first to last."""
        query = sa.select(HYBRID_EPOCH).where(HYBRID_EPOCH.c.logical_run == logical_run)
        return [_epoch_of(row) for row in self._db.rows(query.order_by(HYBRID_EPOCH.c.number))]


def _check(epoch: Epoch) -> None:
    errors = [error for error in epoch.std_errors if error is not None]
    numbers = [*epoch.energies, *errors]
    for point in epoch.points:
        numbers += point
    if not all(math.isfinite(number) for number in numbers):
        raise InvalidInput(f"epoch {epoch.number} of the run {epoch.logical_run} has a number that is not finite")
    if not len(epoch.points) == len(epoch.energies) == len(epoch.std_errors) > 0 or epoch.number < 1:
        raise InvalidInput(
            f"epoch {epoch.number} of the run {epoch.logical_run} needs an energy and a standard error for each point"
        )


def _refuse_other(recorded: Epoch, epoch: Epoch) -> None:
    if recorded != epoch:
        raise InvalidInput(
            f"epoch {epoch.number} of the run {epoch.logical_run} is recorded already, with another content; it "
            "stays as it is: start a new run"
        )


def _row_of(epoch: Epoch) -> dict[str, Any]:
    return {
        "logical_run": epoch.logical_run,
        "number": epoch.number,
        "experiment": epoch.experiment,
        "definition": epoch.definition,
        "params": list(epoch.params),
        "energy": epoch.energy,
        "std_error": epoch.std_error,
        "points": [list(point) for point in epoch.points],
        "energies": list(epoch.energies),
        "std_errors": list(epoch.std_errors),
        "optimiser_state": dict(epoch.state),
        "circuit_hash": epoch.circuit,
        "job_ids": list(epoch.job_ids),
        "at": epoch.at,
    }


def _epoch_of(row: sa.Row[Any]) -> Epoch:
    return Epoch(
        logical_run=row.logical_run,
        number=row.number,
        experiment=row.experiment,
        definition=row.definition,
        points=tuple(_floats(point) for point in row.points),
        energies=_floats(row.energies),
        std_errors=tuple(None if error is None else float(error) for error in row.std_errors),
        state=row.optimiser_state,
        circuit=ProgramHash(row.circuit_hash),
        job_ids=tuple(JobId(job_id) for job_id in row.job_ids),
        at=row.at,
    )


def _floats(values: Sequence[float]) -> Params:
    return tuple(float(value) for value in values)
