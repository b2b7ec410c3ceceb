"""Observables: reading them, grouping them into measurement bases, estimating them from counts.

Sampled expectation values work on every backend: the circuit gets one copy per basis, with the basis
change and a measurement of every qubit at its end.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qjobs.errors import InvalidCircuit, InvalidInput
from qjobs.model import Observable

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

__all__ = ["Estimate", "Estimator", "measured_in", "parse_observable"]

_WORD = r"[IXYZ]\d{1,9}(?:\s*(?:\*\s*)?[IXYZ]\d{1,9})*|[IXYZ]+"
_TERM = re.compile(
    r"\s*(?P<sign>[+-])?\s*(?:(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)"
    rf"(?:\s*(?:\*\s*)?(?P<word>{_WORD}))?|(?P<bare>{_WORD}))\s*",
    re.ASCII,
)
_FACTOR = re.compile(r"([IXYZ])(\d+)", re.ASCII)
_WORD_BITS = 63
_LOW_BITS = (1 << _WORD_BITS) - 1
_ROUNDING = 1e-12
"""Of the sum of coefficients: a smaller distance from the mean is rounding, not spread."""
_Outcomes = np.ndarray | list[int]
"""Measured bit strings as integers; Python's own where 64 bits do not hold them."""


def parse_observable(name: str, text: str, n_qubits: int) -> Observable:
    """Read an observable from text.

    Each term is an optional coefficient with either one letter per qubit (`0.5*ZZI`, rightmost letter
    on qubit 0) or letters with their qubit (`Z0 Z1`); a bare number is a multiple of the identity.

    Args:
        name: How it is called.
        text: For example `"3 - 0.5*Z0 Z1 - 0.5*Z1 Z2"`.
        n_qubits: Width of the circuit.

    Raises:
        InvalidInput: It cannot be read, or its width is not the circuit's.

    >>> parse_observable("h", "0.5*Z0 Z1 - X1", 2).terms
    (('ZZ', 0.5), ('XI', -1.0))
    """
    terms: dict[str, float] = {}
    position = 0
    while position < len(text):
        match = _TERM.match(text, position)
        if match is None or (position > 0 and match["sign"] is None):
            raise InvalidInput(
                f"the observable {name!r} cannot be read at {text[position : position + 20]!r}; "
                "write a sum such as 0.5*Z0 Z1 - X2 or 0.5*ZZI",
                field="observables",
            )
        coefficient = float(match["number"] or 1.0) * (-1.0 if match["sign"] == "-" else 1.0)
        pauli = _pauli(name, match["word"] or match["bare"] or "", n_qubits)
        terms[pauli] = terms.get(pauli, 0.0) + coefficient
        position = match.end()
    if not terms or not all(math.isfinite(value) for value in terms.values()):
        raise InvalidInput(f"the observable {name!r} has no terms, or one that is not finite", field="observables")
    return Observable(name=name, terms=tuple(terms.items()))


def _pauli(name: str, word: str, n_qubits: int) -> str:
    factors = _FACTOR.findall(word)
    if word and not factors:
        if len(word) != n_qubits:
            raise InvalidInput(
                f"the observable {name!r} has the term {word}, which is {len(word)} qubits wide, and the circuit has "
                f"{n_qubits}; give one letter per qubit, or name the qubits as in Z0 Z1",
                field="observables",
            )
        return word
    letters: dict[int, str] = {}
    for letter, index in factors:
        qubit = int(index)
        if qubit >= n_qubits:
            raise InvalidInput(
                f"the observable {name!r} acts on qubit {qubit}, and the circuit has the qubits 0 to {n_qubits - 1}",
                field="observables",
            )
        if qubit in letters:
            raise InvalidInput(
                f"the observable {name!r} has two letters on qubit {qubit} in one term; multiply them out first",
                field="observables",
            )
        letters[qubit] = letter
    return "".join(letters.get(qubit, "I") for qubit in reversed(range(n_qubits)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A sampled expectation value with its standard error (NaN from a single shot, which tells none)."""

    value: float
    stderr: float


class Estimator:
    """Estimates several observables from counts in as few measurement bases as grouping finds.

    Terms that commute qubit by qubit share a basis (`SparsePauliOp.group_commuting`).

    Args:
        observables: All over the same qubits.

    Attributes:
        bases: One letter X, Y or Z per qubit each, rightmost on qubit 0.
    """

    def __init__(self, observables: Sequence[Observable]) -> None:
        from qiskit.quantum_info import SparsePauliOp

        paulis = sorted({pauli for observable in observables for pauli, _ in observable.terms})
        groups = SparsePauliOp(paulis).group_commuting(qubit_wise=True)
        self.observables = tuple(observables)
        self.bases = tuple(_basis(group.paulis.to_labels()) for group in groups)
        basis_of = {label: number for number, group in enumerate(groups) for label in group.paulis.to_labels()}
        self._plan: list[list[list[tuple[int, float]]]] = []
        for observable in observables:
            per_basis: list[list[tuple[int, float]]] = [[] for _ in self.bases]
            for pauli, coefficient in observable.terms:
                per_basis[basis_of[pauli]].append((_mask(pauli), coefficient))
            self._plan.append(per_basis)

    def estimate(self, counts: Sequence[Mapping[str, int]]) -> dict[str, Estimate]:
        """Expectation values by the observables' names.

        Args:
            counts: One counts mapping per basis, in the order of `bases`.
        """
        found = self.estimate_many([[one] for one in counts])
        return {
            name: Estimate(value=float(values[0]), stderr=float(errors[0])) for name, (values, errors) in found.items()
        }

    def estimate_many(self, counts: Sequence[Sequence[Mapping[str, int]]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Expectation values and standard errors of many points by the observables' names.

        The error of a basis is that of the mean of its per-shot values, so that correlations between
        terms are counted; the bases are independent samples.

        Args:
            counts: Per basis, in the order of `bases`, one counts mapping per point; none empty.

        Returns:
            Two arrays per observable, with one entry per point.
        """
        n_points = len(counts[0])
        found = {o.name: (np.zeros(n_points), np.zeros(n_points)) for o in self.observables}
        for basis, column in enumerate(counts):
            sample = _Sample(column)
            for observable, per_basis in zip(self.observables, self._plan, strict=True):
                if per_basis[basis]:
                    mean, variance = sample.mean(per_basis[basis])
                    values, variances = found[observable.name]
                    values += mean
                    variances += variance
        return {name: (values, np.sqrt(variances)) for name, (values, variances) in found.items()}


class _Sample:
    """What was measured in one basis at many points, as one table of outcomes."""

    def __init__(self, counts: Sequence[Mapping[str, int]]) -> None:
        number: dict[str, int] = {}
        for one in counts:
            for bits in one:
                if bits not in number:
                    number[bits] = len(number)
        sizes = [len(one) for one in counts]
        rows = (number[bits] for one in counts for bits in one)
        self._n_points = len(counts)
        self._outcomes = _outcomes(number)
        self._outcome = np.fromiter(rows, dtype=np.intp, count=sum(sizes))
        self._point = np.repeat(np.arange(len(counts)), sizes)
        weights = (count for one in counts for count in one.values())
        self._weight = np.fromiter(weights, dtype=np.float64, count=sum(sizes))
        self._shots = self._sum(self._weight)

    def _sum(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self._point, weights=values, minlength=self._n_points)

    def mean(self, terms: Sequence[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
        """Mean of a sum of parities per point, and the variance of that mean."""
        per_outcome = sum(c * (1.0 - 2.0 * _parity(self._outcomes, mask)) for mask, c in terms)
        per_shot = np.asarray(per_outcome)[self._outcome]
        mean = self._sum(self._weight * per_shot) / self._shots
        off = per_shot - mean[self._point]
        off[np.abs(off) < _ROUNDING * sum(abs(c) for _, c in terms)] = 0.0
        if not any(mask for mask, _ in terms):
            return mean, np.zeros_like(mean)
        freedom = np.where(self._shots > 1, self._shots - 1, np.nan)
        return mean, self._sum(self._weight * off**2) / (self._shots * freedom)


def _basis(labels: Sequence[str]) -> str:
    letters = zip(*labels, strict=True)
    return "".join(next((letter for letter in column if letter != "I"), "Z") for column in letters)


def _mask(pauli: str) -> int:
    return int("".join("0" if letter == "I" else "1" for letter in pauli), 2)


def _outcomes(words: Iterable[str]) -> _Outcomes:
    values = [int(bits, 2) for bits in words]
    return values if max(values, default=0).bit_length() > _WORD_BITS else np.array(values, dtype=np.int64)


def _parity(outcomes: _Outcomes, mask: int) -> np.ndarray:
    if isinstance(outcomes, list):
        return np.array([(value & mask).bit_count() & 1 for value in outcomes], dtype=np.float64)
    parity: np.ndarray = np.bitwise_count(outcomes & (mask & _LOW_BITS)) & 1
    return parity.astype(np.float64)


def measured_in(circuit: QuantumCircuit, basis: str) -> QuantumCircuit:
    """A copy of `circuit` that measures every qubit i in `basis` into bit i at its end.

    Measurements that end the circuit are replaced.

    Args:
        circuit: With or without final measurements.
        basis: One letter X, Y or Z per qubit, rightmost on qubit 0.

    Raises:
        InvalidCircuit: It measures in the middle, so that an observable of its end is not defined.
    """
    from qiskit import ClassicalRegister
    from qiskit.converters import circuit_to_dag, dag_to_circuit
    from qiskit.dagcircuit import DAGCircuitError

    dag = circuit_to_dag(circuit.remove_final_measurements(inplace=False))
    try:
        dag.remove_clbits(*dag.clbits)
    except DAGCircuitError as error:
        raise InvalidCircuit(
            "observables need a circuit that measures only at its end; ask for counts instead"
        ) from error
    bare = dag_to_circuit(dag)
    register = ClassicalRegister(bare.num_qubits, "basis")
    bare.add_register(register)
    for qubit, letter in enumerate(reversed(basis)):
        if letter == "Y":
            bare.sdg(qubit)
        if letter in "XY":
            bare.h(qubit)
    bare.measure(range(bare.num_qubits), register)
    return bare
