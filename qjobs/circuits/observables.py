"""Observables: reading them, grouping them into measurement bases, estimating them from counts.

Sampled expectation values work on every backend: the circuit gets one copy per basis, with the basis
change and a measurement of every qubit at its end.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from qjobs.circuits.counts import packed
from qjobs.circuits.standard_errors import variance_of_mean
from qjobs.errors import InvalidCircuit, InvalidInput
from qjobs.model import Observable

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

__all__ = ["Estimator", "measured_in", "parse_observable", "qubits_named", "read_pauli"]

_WORD = r"[IXYZ]\d{1,9}(?:\s*(?:\*\s*)?[IXYZ]\d{1,9})*|[IXYZ]+"
_TERM = re.compile(
    r"\s*(?P<sign>[+-])?\s*(?:(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)"
    rf"(?:\s*(?:\*\s*)?(?P<word>[XYZ]all|{_WORD}))?|(?P<bare>[XYZ]all|{_WORD}))\s*",
    re.ASCII,
)
_FACTOR = re.compile(r"([IXYZ])(\d+)", re.ASCII)
_WHOLE_WORD = re.compile(_WORD, re.ASCII)
_SHOWN = 40
_WORD_BITS = 63
_TABLE_BITS = 14
"""Bit strings of so many bits have a table of all of them; of wider ones only those that were seen are looked at."""
_LOW_BITS = (1 << _WORD_BITS) - 1
_Term: TypeAlias = tuple[int, float]
"""The qubits on which a Pauli string acts, as bits, and its coefficient."""
_Outcomes: TypeAlias = np.ndarray | list[int]
"""Measured bit strings as integers; Python's own where 64 bits do not hold them."""


def parse_observable(name: str, text: str, n_qubits: int) -> Observable:
    """Read an observable from text.

    Each term is an optional coefficient with either one letter per qubit (`0.5*ZZI`, rightmost letter
    on qubit 0) or letters with their qubit (`Z0 Z1`); a bare number is a multiple of the identity. `Xall` is X on every
    qubit, however many there are.

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
        word = match["word"] or match["bare"] or ""
        if word.endswith("all"):
            pauli = word[0] * n_qubits
        else:
            pauli = _pauli(f"the observable {name!r}", word, n_qubits, "observables")
        terms[pauli] = terms.get(pauli, 0.0) + coefficient
        position = match.end()
    if not terms or not all(math.isfinite(value) for value in terms.values()):
        raise InvalidInput(f"the observable {name!r} has no terms, or one that is not finite", field="observables")
    return Observable(name=name, terms=tuple(terms.items()))


def qubits_named(word: str) -> int | None:
    """How many qubits a Pauli string needs: its letters, or its largest qubit plus one; None if it is no such string.

    >>> qubits_named("ZZI"), qubits_named("Z0 X3"), qubits_named("zz")
    (3, 4, None)
    """
    if _WHOLE_WORD.fullmatch(word) is None:
        return None
    factors = _FACTOR.findall(word)
    return 1 + max(int(index) for _, index in factors) if factors else len(word)


def read_pauli(word: str, n_qubits: int, *, what: str, field: str) -> str:
    """A Pauli string with one letter per qubit, rightmost on qubit 0, from that (`ZZI`) or from `Z0 X3`.

    `what` begins the messages, `field` is the place in the caller's input.

    Raises:
        InvalidInput: It cannot be read, its width is not `n_qubits`, or it has two letters on one qubit.
    """
    if qubits_named(word) is None:
        raise InvalidInput(
            f"{what} has the term {word[:_SHOWN]!r}; write one letter I, X, Y or Z per qubit, as in ZZI, or letters "
            "with their qubits, as in Z0 X3",
            field=field,
        )
    return _pauli(what, word, n_qubits, field)


def _pauli(what: str, word: str, n_qubits: int, field: str) -> str:
    factors = _FACTOR.findall(word)
    if word and not factors:
        if len(word) != n_qubits:
            raise InvalidInput(
                f"{what} has the term {word}, which is {len(word)} qubits wide, and not "
                f"{n_qubits}; give one letter per qubit, or name the qubits as in Z0 Z1",
                field=field,
            )
        return word
    letters: dict[int, str] = {}
    for letter, index in factors:
        qubit = int(index)
        if qubit >= n_qubits:
            raise InvalidInput(
                f"{what} acts on qubit {qubit}, and there are the qubits 0 to {n_qubits - 1}",
                field=field,
            )
        if qubit in letters:
            raise InvalidInput(
                f"{what} has two letters on qubit {qubit} in one term; multiply them out first",
                field=field,
            )
        letters[qubit] = letter
    return "".join(letters.get(qubit, "I") for qubit in reversed(range(n_qubits)))


class Estimator:
    """Estimates several observables from counts in as few measurement bases as grouping finds.

    Terms that commute qubit by qubit share a basis (`SparsePauliOp.group_commuting`).
    All observables are over the same qubits.

    Attributes:
        bases: One letter X, Y or Z per qubit each, rightmost on qubit 0.
    """

    def __init__(self, observables: Sequence[Observable]) -> None:
        from qiskit.quantum_info import SparsePauliOp

        paulis: set[str] = set()
        for observable in observables:
            paulis.update(pauli for pauli, _ in observable.terms)
        bases: list[str] = []
        basis_of: dict[str, int] = {}
        for group in SparsePauliOp(sorted(paulis)).group_commuting(qubit_wise=True):
            labels = group.paulis.to_labels()
            basis_of.update(dict.fromkeys(labels, len(bases)))
            bases.append(_basis(labels))
        self.bases = tuple(bases)
        self._terms: dict[str, list[list[_Term]]] = {}
        for observable in observables:
            per_basis: list[dict[int, float]] = [{} for _ in bases]
            for pauli, coefficient in observable.terms:
                here = per_basis[basis_of[pauli]]
                mask = _mask(pauli)
                here[mask] = here.get(mask, 0.0) + coefficient
            self._terms[observable.name] = [list(here.items()) for here in per_basis]

    def estimate(self, counts: Sequence[Sequence[Mapping[str, int]]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Expectation values and standard errors of many points by the observables' names.

        The error of a basis is that of the mean of its per-shot values, so that correlations between terms are
        counted; the bases are independent samples. It is never zero (`qjobs.circuits.standard_errors`), but for a
        multiple of the identity.
        `counts` has per basis, in the order of `bases`, one mapping per point; none is empty.

        Returns:
            Two arrays per observable, with one entry per point.
        """
        n_points = len(counts[0])
        values = {name: np.zeros(n_points) for name in self._terms}
        variances = {name: np.zeros(n_points) for name in self._terms}
        for basis, column in enumerate(counts):
            sample = _Sample(column)
            for name, per_basis in self._terms.items():
                if per_basis[basis]:
                    mean, variance = sample.mean(per_basis[basis])
                    values[name] += mean
                    variances[name] += variance
        return {name: (values[name], np.sqrt(variances[name])) for name in self._terms}


class _Sample:
    """What was measured in one basis at many points: a table with a row per point and bit string seen there."""

    def __init__(self, counts: Sequence[Mapping[str, int]]) -> None:
        self._n_points = len(counts)
        self._outcomes: _Outcomes
        columns = _columns(counts)
        if columns is None:
            self._outcomes, self._outcome, self._weight = _numbered(counts)
        else:
            outcome, self._weight, n_bits = columns
            if n_bits <= _TABLE_BITS:
                self._outcomes = np.arange(1 << n_bits)
                self._outcome = outcome
            else:
                self._outcomes, self._outcome = np.unique(outcome, return_inverse=True)
        self._point = np.repeat(np.arange(self._n_points), [len(one) for one in counts])
        self._shots = self._sum(self._weight)

    def _sum(self, values: np.ndarray) -> np.ndarray:
        """Sums of a column of the table, per point."""
        return np.bincount(self._point, weights=values, minlength=self._n_points)

    def mean(self, terms: Sequence[_Term]) -> tuple[np.ndarray, np.ndarray]:
        """Mean of a sum of parities per point, and the squared standard error of that mean."""
        per_outcome = np.zeros(len(self._outcomes))
        constant = 0.0
        mixed = 0.0
        for mask, coefficient in terms:
            per_outcome += coefficient * (1.0 - 2.0 * _parity(self._outcomes, mask))
            if mask:
                mixed += coefficient**2
            else:
                constant = coefficient
        per_shot = per_outcome[self._outcome]
        mean = self._sum(self._weight * per_shot) / self._shots
        if not mixed:  # a number: it has no spread, not even that of a single shot
            return mean, np.zeros_like(mean)
        variance = self._sum(self._weight * (per_shot - mean[self._point]) ** 2) / self._shots
        return mean, variance_of_mean(mean - constant, variance, mixed, self._shots)


def _basis(labels: Sequence[str]) -> str:
    """The basis in which all these Pauli strings can be measured; qubits on which none acts are measured in Z."""
    basis = []
    for column in zip(*labels, strict=True):
        letters = set(column) - {"I"}
        basis.append(letters.pop() if letters else "Z")
    return "".join(basis)


def _mask(pauli: str) -> int:
    """The qubits on which a Pauli string acts, as bits."""
    mask = 0
    for letter in pauli:
        mask = 2 * mask + (letter != "I")
    return mask


def _columns(counts: Sequence[Mapping[str, int]]) -> tuple[np.ndarray, np.ndarray, int] | None:
    """Bit strings as numbers, how often each was seen, and their width; None where they cannot be packed."""
    outcomes = []
    weights = []
    widths = set()
    for one in counts:
        each = packed(one)
        if each is None:
            return None
        outcome, weight = each.columns()
        outcomes.append(outcome)
        weights.append(weight)
        widths.add(each.n_bits)
    if len(widths) != 1:
        return None
    return np.concatenate(outcomes), np.concatenate(weights).astype(np.float64), widths.pop()


def _numbered(counts: Sequence[Mapping[str, int]]) -> tuple[_Outcomes, np.ndarray, np.ndarray]:
    """The distinct bit strings as numbers; and the number of each that was seen, and how often."""
    numbers: dict[str, int] = {}
    outcomes = array("q")
    weights = array("d")
    for one in counts:
        for bits, count in one.items():
            outcomes.append(numbers.setdefault(bits, len(numbers)))
            weights.append(count)
    values = [int(bits, 2) for bits in numbers]
    wide = max(values, default=0).bit_length() > _WORD_BITS
    return values if wide else np.array(values, dtype=np.int64), np.array(outcomes), np.array(weights)


def _parity(outcomes: _Outcomes, mask: int) -> np.ndarray:
    if isinstance(outcomes, list):
        return np.array([(value & mask).bit_count() & 1 for value in outcomes], dtype=np.float64)
    parity: np.ndarray = np.bitwise_count(outcomes & (mask & _LOW_BITS)) & 1
    return parity.astype(np.float64)


def measured_in(circuit: QuantumCircuit, basis: str) -> QuantumCircuit:
    """A copy of `circuit` that measures every qubit i in `basis` into bit i at its end.

    Measurements that end the circuit are replaced. `basis` has one letter X, Y or Z per qubit, rightmost on qubit 0.

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
