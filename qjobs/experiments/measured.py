"""A circuit as it is measured: one template per measurement basis, with what its counts say about observables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qjobs.circuits.observables import Estimator, measured_in, parse_observable
from qjobs.circuits.programs import read_circuit, to_qiskit
from qjobs.errors import InvalidInput
from qjobs.experiments.forms import NamedObservable, ShotsPer
from qjobs.model import Observable, Program

__all__ = ["COMMON_COLUMNS", "Measured", "as_measured", "templates_of"]

COMMON_COLUMNS = (
    "backend",
    "device",
    "shots",
    "shots_per_basis",
    "status",
    "message",
    "cost",
    "job_id",
    "submitted_at",
    "completed_at",
)
"""Columns that the results of every experiment have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A circuit and what is sent of it.

    `templates` maps a basis ("" where counts or exact values are asked for) to its circuit. `estimator` is None where
    no observable is sampled.
    """

    source: Program
    templates: Mapping[str, Program]
    observables: tuple[Observable, ...] = ()
    estimator: Estimator | None = None

    def shots(self, wanted: int, per: ShotsPer) -> dict[str, int]:
        """The shots of every basis, in order: `wanted` each, or `wanted` together, the first ones one more.

        Raises:
            InvalidInput: There are fewer shots than bases.
        """
        n_bases = len(self.templates)
        if per == "basis":
            return dict.fromkeys(self.templates, wanted)
        each, rest = divmod(wanted, n_bases)
        if each == 0:
            raise InvalidInput(
                f"{wanted} shots are too few for {n_bases} measurement bases; give one each at the least", field="shots"
            )
        return {basis: each + (number < rest) for number, basis in enumerate(self.templates)}


def as_measured(source: Program, observables: Sequence[NamedObservable], *, exact: bool = False) -> Measured:
    """A circuit with the observables that are to be measured, all of its width.

    Raises:
        InvalidInput: An observable cannot be read, or is not of the circuit's width.
    """
    parsed = tuple(parse_observable(each.name, each.terms, source.n_qubits) for each in observables)
    estimator = Estimator(parsed) if parsed and not exact else None
    return Measured(source=source, templates=templates_of(source, estimator), observables=parsed, estimator=estimator)


def templates_of(source: Program, estimator: Estimator | None) -> dict[str, Program]:
    """The circuits of one point by the basis they are measured in; without an estimator, the circuit as it is."""
    if estimator is None:
        return {"": source}
    circuit = to_qiskit(source)
    return {basis: read_circuit(measured_in(circuit, basis)) for basis in estimator.bases}
