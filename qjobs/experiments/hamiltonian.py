"""Hamiltonians: real sums of Pauli strings, in the form of the Munich Quantum Portal or as terms.

The portal's form is two strings, for example `0 1; 1 2;` and `0.5 0.1;`: interactions and their coefficients. What is
known of it is that example; docs/hybrid.md says how it is read here, and what nobody outside the portal knows.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from qjobs.circuits.observables import qubits_named, read_pauli
from qjobs.errors import InvalidInput
from qjobs.experiments.forms import FormInput, read_form
from qjobs.model import Observable

__all__ = [
    "MAX_EXACT_QUBITS",
    "MAX_QUBITS",
    "MAX_TERMS",
    "Hamiltonian",
    "HamiltonianInput",
    "PauliTerm",
    "ground_energy",
    "hamiltonian_of",
    "read_portal",
]

MAX_QUBITS: Final = 100
"""Qubits that a Hamiltonian may act on."""
MAX_TERMS: Final = 10_000
"""Pauli strings, or interactions, that it may have."""
MAX_EXACT_QUBITS: Final = 14
"""Qubits up to which the lowest energy is computed by exact diagonalisation."""
ENERGY: Final = "energy"
"""Name of the observable, and of its column in results."""

_DENSE_QUBITS = 6
_LONGEST_TEXT = 1_000_000
_SHOWN = 40
_QUBIT = re.compile(r"\d{1,9}", re.ASCII)
_FIELD = "hamiltonian"
_NOT_REAL = "a Hamiltonian is Hermitian, so that the coefficient of a Pauli string is a real number"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hamiltonian:
    """A Hermitian operator: distinct Pauli strings, each with a finite real coefficient that is not 0.

    A string has one letter per qubit, rightmost on qubit 0. At least one has a letter other than I. Energies are in
    the unit of the coefficients.
    """

    terms: tuple[tuple[str, float], ...]
    n_qubits: int

    @property
    def observable(self) -> Observable:
        """The observable to measure; its name is `energy`."""
        return Observable(name=ENERGY, terms=self.terms)

    def as_json(self) -> str:
        """The terms as JSON text, in order: the same text for the same Hamiltonian."""
        return json.dumps(sorted(self.terms))


def read_portal(interaction_str: str, coefficients_str: str) -> Hamiltonian:
    """Read a Hamiltonian in the portal's form: a sum of products of Z.

    Interactions are separated by semicolons, and each is the list of the qubits that get a Z, counted from 0 and
    separated by blanks. The n-th coefficient is that of the n-th interaction; coefficients are separated by blanks or
    semicolons. Both strings may end with a semicolon. The width is the largest qubit plus one.

    Raises:
        InvalidInput: A string cannot be read, their lengths differ, or there is nothing to minimise.

    >>> read_portal("0 1; 1 2;", "0.5 0.1;").terms
    (('IZZ', 0.5), ('ZZI', 0.1))
    """
    interactions = _interactions(interaction_str)
    coefficients = _coefficients(coefficients_str)
    if len(interactions) != len(coefficients):
        raise InvalidInput(
            f"interaction_str has {len(interactions)} interactions and coefficients_str has {len(coefficients)} "
            "coefficients; give one coefficient per interaction, in the same order",
            field="coefficients_str",
        )
    words = [" ".join(f"Z{qubit}" for qubit in qubits) for qubits in interactions]
    return hamiltonian_of(zip(words, coefficients, strict=True), field="interaction_str")


def _interactions(text: str) -> list[tuple[int, ...]]:
    field = "interaction_str"
    pieces = _not_too_long(text, field).split(";")
    if not pieces[-1].strip():
        pieces.pop()
    if not pieces:
        raise InvalidInput(f"{field} has no interaction; write for example 0 1; 1 2;", field=field)
    found = []
    for piece in pieces:
        words = piece.split()
        shown = piece.strip()[:_SHOWN]
        if not words:
            raise InvalidInput(f"{field} has an interaction without a qubit, between two semicolons", field=field)
        if wrong := [word for word in words if _QUBIT.fullmatch(word) is None]:
            raise InvalidInput(
                f"{field} has {wrong[0][:_SHOWN]!r} where a qubit is expected; an interaction is a list of qubits, "
                "counted from 0 and separated by blanks, as in 0 1; 1 2;",
                field=field,
            )
        qubits = tuple(int(word) for word in words)
        if len(set(qubits)) != len(qubits):
            raise InvalidInput(f"{field} names a qubit twice in the interaction {shown!r}; name it once", field=field)
        found.append(qubits)
    return found


def _coefficients(text: str) -> list[float]:
    field = "coefficients_str"
    found = []
    for word in _not_too_long(text, field).replace(";", " ").split():
        try:
            found.append(_real(word))
        except ValueError as error:
            raise InvalidInput(f"{field}: {error}", field=field) from error
    return found


def _not_too_long(text: str, field: str) -> str:
    if len(text) > _LONGEST_TEXT:
        raise InvalidInput(f"{field} has more than {_LONGEST_TEXT:,} characters; make it shorter", field=field)
    return text


def _real(value: object) -> float:
    """A coefficient as a number.

    Raises:
        ValueError: It is complex, not finite, or no number.
    """
    if isinstance(value, str):
        value = _number_in(value)
    if isinstance(value, complex):
        raise ValueError(f"the coefficient {value} is complex; {_NOT_REAL}")  # noqa: TRY004 - pydantic passes a TypeError on
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating | np.integer):
        raise ValueError(f"{str(value)[:_SHOWN]!r} is not a number")  # noqa: TRY004
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"the coefficient {number} is not finite")
    return number


def _number_in(text: str) -> float | complex:
    plain = text.replace(" ", "").replace("_", "?")
    looks_complex = plain.rstrip(")").endswith(("i", "j", "I", "J"))
    try:
        return complex(plain.lower().replace("i", "j")) if looks_complex else float(plain)
    except ValueError:
        raise ValueError(f"{text[:_SHOWN]!r} is not a number") from None


def hamiltonian_of(terms: Iterable[tuple[str, float]], *, field: str = _FIELD) -> Hamiltonian:
    """A Hamiltonian from Pauli strings, `ZZI` (rightmost on qubit 0) or `Z0 X3`, with their coefficients.

    A string that comes twice has the sum of its coefficients; one whose coefficient is 0 is left out. The width is that
    of the strings with one letter per qubit, else the largest qubit plus one. `field` is the place in the caller's
    input.

    Raises:
        InvalidInput: A string cannot be read, widths differ, a coefficient is not real and finite, there are too many
            qubits or terms, or there is nothing to minimise.
    """
    pairs = list(terms)
    if len(pairs) > MAX_TERMS:
        raise InvalidInput(f"the Hamiltonian has {len(pairs)} terms, and the most is {MAX_TERMS}", field=field)
    n_qubits = _width([word for word, _ in pairs], field)
    found: dict[str, float] = {}
    for word, coefficient in pairs:
        pauli = read_pauli(word, n_qubits, what="the Hamiltonian", field=field)
        try:
            found[pauli] = found.get(pauli, 0.0) + _real(coefficient)
        except ValueError as error:
            raise InvalidInput(f"the term {word} of the Hamiltonian: {error}", field=field) from error
    kept = {pauli: coefficient for pauli, coefficient in found.items() if coefficient != 0}
    if all(set(pauli) <= {"I"} for pauli in kept):
        raise InvalidInput("the Hamiltonian is empty or a mere number, so that nothing can be minimised", field=field)
    if not math.isfinite(sum(abs(coefficient) for coefficient in kept.values())):
        raise InvalidInput("the coefficients of the Hamiltonian are too large to be added", field=field)
    return Hamiltonian(terms=tuple(kept.items()), n_qubits=n_qubits)


def _width(words: Sequence[str], field: str) -> int:
    wide = [qubits_named(word) or 1 for word in words]
    lettered = [len(word) for word in words if qubits_named(word) is not None and not any(map(str.isdigit, word))]
    n_qubits = max(lettered or wide, default=1)
    if max(wide, default=1) > MAX_QUBITS:
        raise InvalidInput(
            f"the Hamiltonian acts on {max(wide)} qubits, and the most is {MAX_QUBITS}; number its qubits from 0 "
            "without gaps",
            field=field,
        )
    return n_qubits


def _listed(terms: object) -> object:
    """Terms as a list, as the form has them, also where they come by their strings."""
    if isinstance(terms, Mapping):
        return [{"term": term, "coefficient": value} for term, value in terms.items()]
    if terms is not None and not isinstance(terms, list | tuple):
        raise ValueError("give coefficients by Pauli string, as in {ZZ: 0.5}, or a list of terms")
    return terms


Coefficient = Annotated[float, BeforeValidator(_real)]


class PauliTerm(FormInput):
    """One term of a Hamiltonian."""

    term: str = Field(description="A Pauli string: ZZI, rightmost letter on qubit 0, or Z0 X3.")
    coefficient: Coefficient = Field(description="Its coefficient, a real number.")


class HamiltonianInput(FormInput):
    """A Hamiltonian: as Pauli terms, as the Munich Quantum Portal's two strings, or in a file with one of these."""

    terms: Annotated[list[PauliTerm] | None, BeforeValidator(_listed)] = Field(
        default=None, description="Pauli strings with their coefficients; in a file also as in {ZZ: 0.5, X0: -1}."
    )
    interaction_str: str | None = Field(
        default=None, description="The portal's form: qubits that get a Z each, as in 0 1; 1 2;.", title="Interactions"
    )
    coefficients_str: str | None = Field(
        default=None,
        description="The portal's form: a coefficient per interaction, as in 0.5 0.1;.",
        title="Coefficients",
    )
    file: str | None = Field(default=None, description="Path of a JSON or YAML file with one of the other forms.")
    source: str = Field(default="", description="Where it comes from, in words.")

    @model_validator(mode="after")
    def _one_form(self) -> HamiltonianInput:
        portal = [self.interaction_str, self.coefficients_str]
        if portal.count(None) == 1:
            raise ValueError("interaction_str and coefficients_str belong together; give both")
        if [self.terms, self.interaction_str, self.file].count(None) != 2:
            raise ValueError("give the Hamiltonian in one way: terms, interaction_str with coefficients_str, or file")
        return self

    def read(self, folder: Path | None = None) -> Hamiltonian:
        """The Hamiltonian; a relative `file` is looked for in `folder`, or in the working directory if None.

        Raises:
            InvalidInput: It cannot be read or used; the message says why.
        """
        if self.file is not None:
            return self.inlined(folder).read()
        if self.interaction_str is not None and self.coefficients_str is not None:
            return read_portal(self.interaction_str, self.coefficients_str)
        pairs = [(each.term, each.coefficient) for each in self.terms or ()]
        return hamiltonian_of(pairs, field="hamiltonian.terms")

    def inlined(self, folder: Path | None = None) -> Self:
        """The same with the content of its file in place of the file's name.

        Raises:
            InvalidInput: The file cannot be read, or names another one.
        """
        if self.file is None:
            return self
        path = (folder or Path()) / self.file
        found = read_form(path, type(self))
        if found.file is not None:
            raise InvalidInput(f"{path} names another file; give the Hamiltonian itself", field="hamiltonian.file")
        return found


def ground_energy(hamiltonian: Hamiltonian) -> float | None:
    """The lowest energy, by exact diagonalisation; None with more than 14 qubits, or where that does not converge.

    In the unit of the coefficients. The matrix is sparse; up to six qubits it is diagonalised whole, beyond that by
    Lanczos iterations from a fixed start.
    """
    if hamiltonian.n_qubits > MAX_EXACT_QUBITS:
        return None
    from qiskit.quantum_info import SparsePauliOp
    from scipy.sparse.linalg import ArpackNoConvergence, eigsh

    matrix = SparsePauliOp.from_list(list(hamiltonian.terms)).to_matrix(sparse=True)
    if hamiltonian.n_qubits <= _DENSE_QUBITS:
        return float(np.linalg.eigvalsh(matrix.toarray())[0])
    start = np.random.default_rng(0).standard_normal(2**hamiltonian.n_qubits)
    try:
        values = eigsh(matrix, k=1, which="SA", v0=start, return_eigenvectors=False)
    except ArpackNoConvergence:
        return None
    return float(values[0])
