"""Observables: reading them, grouping them into measurement bases, estimating them from counts.

Sampled expectation values work on every backend: the circuit gets one copy per basis, with the basis
change and a measurement of every qubit at its end.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qjobs.errors import InvalidCircuit, InvalidInput
from qjobs.model import Observable

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

__all__ = ["Estimate", "Estimator", "measured_in", "parse_observable"]

_TERM = re.compile(
    r"\s*(?P<sign>[+-])?\s*(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)?\s*\*?\s*"
    r"(?P<word>(?:[IXYZ]\d+\s*\*?\s*)+|[IXYZ]+)?\s*"
)
_FACTOR = re.compile(r"([IXYZ])(\d+)")
_WORD_BITS = 63
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
        empty = match is None or (match["number"] is None and match["word"] is None)
        if match is None or empty or (position > 0 and match["sign"] is None):
            raise InvalidInput(
                f"the observable {name!r} cannot be read at {text[position : position + 20]!r}; "
                "write a sum such as 0.5*Z0 Z1 - X2 or 0.5*ZZI",
                field="observables",
            )
        coefficient = float(match["number"] or 1.0) * (-1.0 if match["sign"] == "-" else 1.0)
        pauli = _pauli(name, (match["word"] or "").strip(), n_qubits)
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
    letters = ["I"] * n_qubits
    for letter, index in factors:
        qubit = int(index)
        if qubit >= n_qubits:
            raise InvalidInput(
                f"the observable {name!r} acts on qubit {qubit}, and the circuit has the qubits 0 to {n_qubits - 1}",
                field="observables",
            )
        if letters[qubit] != "I":
            raise InvalidInput(
                f"the observable {name!r} has two letters on qubit {qubit} in one term; multiply them out first",
                field="observables",
            )
        letters[qubit] = letter
    return "".join(reversed(letters))


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A sampled expectation value with its standard error."""

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

        The error of a basis is that of the mean of its per-shot values, so that correlations between
        terms are counted; the bases are independent samples.

        Args:
            counts: One counts mapping per basis, in the order of `bases`.
        """
        samples = [_outcomes(one) for one in counts]
        found = {}
        for observable, per_basis in zip(self.observables, self._plan, strict=True):
            value = variance = 0.0
            for terms, (outcomes, weights) in zip(per_basis, samples, strict=True):
                if not terms:
                    continue
                per_shot = sum(c * (1.0 - 2.0 * _parity(outcomes, mask)) for mask, c in terms)
                shots = weights.sum()
                mean = float(np.dot(weights, per_shot) / shots)
                spread = float(np.dot(weights, (per_shot - mean) ** 2))
                value += mean
                variance += spread / (shots * max(shots - 1, 1))
            found[observable.name] = Estimate(value=value, stderr=math.sqrt(variance))
        return found


def _basis(labels: Sequence[str]) -> str:
    letters = zip(*labels, strict=True)
    return "".join(next((letter for letter in column if letter != "I"), "Z") for column in letters)


def _mask(pauli: str) -> int:
    return int("".join("0" if letter == "I" else "1" for letter in pauli), 2)


def _outcomes(counts: Mapping[str, int]) -> tuple[_Outcomes, np.ndarray]:
    values = [int(bits, 2) for bits in counts]
    wide = len(next(iter(counts))) > _WORD_BITS
    outcomes = values if wide else np.array(values, dtype=np.int64)
    return outcomes, np.fromiter(counts.values(), dtype=np.float64, count=len(counts))


def _parity(outcomes: _Outcomes, mask: int) -> np.ndarray:
    if isinstance(outcomes, list):
        return np.array([(value & mask).bit_count() & 1 for value in outcomes], dtype=np.float64)
    parity: np.ndarray = np.bitwise_count(outcomes & mask) & 1
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

    bare = circuit.remove_final_measurements(inplace=False)
    if bare is None or bare.num_clbits:
        raise InvalidCircuit("observables need a circuit that measures only at its end; ask for counts instead")
    register = ClassicalRegister(bare.num_qubits, "basis")
    bare.add_register(register)
    for qubit, letter in enumerate(reversed(basis)):
        if letter == "Y":
            bare.sdg(qubit)
        if letter in "XY":
            bare.h(qubit)
    bare.measure(range(bare.num_qubits), register)
    return bare
