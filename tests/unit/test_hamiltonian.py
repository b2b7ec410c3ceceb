"""Hamiltonians: both forms mean the same operator, and what is none is refused with one reason."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from qiskit.quantum_info import SparsePauliOp

from qjobs.errors import InvalidInput
from qjobs.experiments.forms import explain
from qjobs.experiments.hamiltonian import (
    MAX_TERMS,
    HamiltonianInput,
    ground_energy,
    hamiltonian_of,
    read_portal,
)


def ising(n_qubits: int) -> list[tuple[str, float]]:
    """A chain with open ends, at its critical point."""
    bonds = [(f"Z{n} Z{n + 1}", -1.0) for n in range(n_qubits - 1)]
    return bonds + [(f"X{n}", -1.0) for n in range(n_qubits)]


def refusal(**form: Any) -> InvalidInput:
    try:
        HamiltonianInput.model_validate(form).read()
    except ValidationError as error:
        return explain(error, "it")
    except InvalidInput as error:
        return error
    pytest.fail("it was taken")


@pytest.mark.parametrize(
    ("interactions", "coefficients"),
    [
        ("0 1; 1 2;", "0.5 0.1;"),
        ("0 1;1 2", "0.5;0.1"),
        ("  0   1 ;\n1 2 ;  ", "5e-1 .1"),
        ("1 0; 2 1", "+0.5 0.1"),
        ("0 1; 1 2; 0 1", "0.2 0.1 0.3"),
        ("0 1; 1 2; 0 2", "0.5 0.1 0"),
    ],
)
def test_portal(interactions: str, coefficients: str) -> None:
    """Every qubit of an interaction gets a Z; coefficients follow in the same order; equal interactions add up."""
    found = read_portal(interactions, coefficients)
    assert found.terms == (("IZZ", 0.5), ("ZZI", 0.1))
    assert found.n_qubits == 3
    form = HamiltonianInput(interaction_str=interactions, coefficients_str=coefficients)
    assert form.read() == hamiltonian_of([("Z0 Z1", 0.5), ("Z1 Z2", 0.1)])


def test_portal_width() -> None:
    """An interaction may have one qubit or many, and the largest one gives the width."""
    found = read_portal("3; 0 1 2", "1 -2")
    assert dict(found.terms) == {"ZIII": 1.0, "IZZZ": -2.0}


@pytest.mark.parametrize(
    ("interactions", "coefficients", "words", "field"),
    [
        ("", "", "no interaction", "interaction_str"),
        (" ; ", "1", "without a qubit", "interaction_str"),
        ("0 1;; 1 2", "1 2", "without a qubit", "interaction_str"),
        ("0 1; 1 2", "1", "2 interactions and coefficients_str has 1", "coefficients_str"),
        ("0 1", "", "1 interactions and coefficients_str has 0", "coefficients_str"),
        ("0 1", "1; 2", "1 interactions and coefficients_str has 2", "coefficients_str"),
        ("0 0", "1", "names a qubit twice", "interaction_str"),
        ("0 a", "1", "'a' where a qubit", "interaction_str"),
        ("0,1", "1", "'0,1' where a qubit", "interaction_str"),
        ("0 -1", "1", "'-1' where a qubit", "interaction_str"),
        ("0 1.5", "1", "'1.5' where a qubit", "interaction_str"),
        ("\u0661", "1", "where a qubit", "interaction_str"),
        ("[[0, 1]]", "[1]", "where a qubit", "interaction_str"),
        ("0 1", "nan", "not finite", "coefficients_str"),
        ("0 1", "1e999", "not finite", "coefficients_str"),
        ("0 1", "1j", "is complex; a Hamiltonian is Hermitian", "coefficients_str"),
        ("0 1", "(1+2i)", "is complex; a Hamiltonian is Hermitian", "coefficients_str"),
        ("0 1", "one", "'one' is not a number", "coefficients_str"),
        ("0 1", "1_0", "is not a number", "coefficients_str"),
        ("0 1", "0,5", "'0,5' is not a number", "coefficients_str"),
        ("0 1", "0", "empty or a mere number", "interaction_str"),
        ("0 1; 0 1", "1 -1", "empty or a mere number", "interaction_str"),
        ("100", "1", "101 qubits, and the most is 100", "interaction_str"),
        ("999999999", "1", "1000000000 qubits", "interaction_str"),
        ("0;" * (MAX_TERMS + 1), "1 " * (MAX_TERMS + 1), "10001 terms", "interaction_str"),
        ("0 1;" * 300_000, "1", "more than 1,000,000 characters", "interaction_str"),
    ],
)
def test_portal_refused(interactions: str, coefficients: str, words: str, field: str) -> None:
    """A string that cannot be read, or that has nothing to minimise, is refused with its field."""
    with pytest.raises(InvalidInput, match=words.replace("(", r"\(")) as caught:
        read_portal(interactions, coefficients)
    assert caught.value.field == field
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({}, "empty or a mere number"),
        ([], "empty or a mere number"),
        ({"II": 3}, "empty or a mere number"),
        ({"ZZ": 1, "Z": 1}, "1 qubits wide, and not 2"),
        ({"ZZ": 1, "Z2": 1}, "acts on qubit 2"),
        ({"Z0 X0": 1}, "two letters on qubit 0"),
        ({"zz": 1}, "write one letter I, X, Y or Z per qubit"),
        ({"": 1}, "write one letter"),
        ({"0.5*ZZ": 1}, "write one letter"),
        ({"Z" + "9" * 6000: 1}, "write one letter"),
        ({"Z100": 1}, "101 qubits"),
        ({"Z" * 101: 1}, "101 qubits"),
        ({"ZZ": 1j}, "is complex; a Hamiltonian is Hermitian"),
        ({"ZZ": "1+1j"}, "is complex; a Hamiltonian is Hermitian"),
        ({"ZZ": math.nan}, "not finite"),
        ({"ZZ": math.inf}, "not finite"),
        ({"ZZ": 10**400}, "not finite"),
        ({"ZZ": 1e308, "XX": 1e308}, "too large to be added"),
        ({"ZZ": True}, "'True' is not a number"),
        ({"ZZ": None}, "'None' is not a number"),
        ({"ZZ": [1]}, "is not a number"),
        ("ZZ", "give coefficients by Pauli string"),
        ([{"term": "ZZ"}], "coefficient: it is missing"),
        ([{"term": "ZZ", "coefficient": "x"}], "'x' is not a number"),
    ],
)
def test_terms_refused(terms: Any, words: str) -> None:
    """Terms that make no Hermitian operator to minimise are refused with one reason."""
    error = refusal(terms=terms)
    assert words in str(error)
    assert "\n" not in str(error)
    assert len(str(error)) < 300


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"interaction_str": "0 1"},
        {"coefficients_str": "1"},
        {"terms": {"ZZ": 1}, "interaction_str": "0 1", "coefficients_str": "1"},
        {"terms": {"ZZ": 1}, "file": "h.json"},
        {"terms": {"ZZ": 1}, "unit": "Hartree"},
    ],
)
def test_one_form(form: dict[str, Any]) -> None:
    """A Hamiltonian is given in one way, and no field is ignored."""
    assert refusal(**form).args


def test_terms() -> None:
    """Letters per qubit, letters with their qubit, and a list of terms are the same operator as qiskit's."""
    found = HamiltonianInput(terms={"IZ": 0.5, "X1": "-2", "XX": 1e-3, "II": 7, "Y0 Y1": 0.25}).read()
    terms = [("IZ", 0.5), ("XI", -2.0), ("XX", 1e-3), ("II", 7.0), ("YY", 0.25)]
    assert found.terms == tuple(terms)
    listed = [{"term": word, "coefficient": value} for word, value in terms]
    assert HamiltonianInput.model_validate({"terms": listed}).read() == found
    matrix = SparsePauliOp.from_list(terms).to_matrix()
    assert ground_energy(found) == pytest.approx(float(np.linalg.eigvalsh(matrix)[0]))


@pytest.mark.parametrize("n_qubits", [3, 8])
def test_ground_energy(n_qubits: int) -> None:
    """The lowest energy of a critical Ising chain with open ends is the known sum (Pfeuty 1970)."""
    known = 1 - 1 / math.sin(math.pi / (2 * (2 * n_qubits + 1)))
    assert ground_energy(hamiltonian_of(ising(n_qubits))) == pytest.approx(known, abs=1e-9)


def test_too_wide_to_solve() -> None:
    """Beyond 14 qubits no lowest energy is computed."""
    assert ground_energy(hamiltonian_of(ising(15))) is None


def test_file(tmp_path: Path) -> None:
    """A file holds one of the other forms; what it says is put in its place."""
    (tmp_path / "h.json").write_text(json.dumps({"terms": {"ZZ": 1}, "source": "nowhere"}))
    form = HamiltonianInput(file="h.json").inlined(tmp_path)
    assert (form.source, form.file) == ("nowhere", None)
    assert form.read() == hamiltonian_of([("ZZ", 1)])
    (tmp_path / "other.json").write_text(json.dumps({"file": "h.json"}))
    with pytest.raises(InvalidInput, match="names another file"):
        HamiltonianInput(file="other.json").read(tmp_path)
    (tmp_path / "bad.json").write_text(json.dumps({"terms": {"ZZ": "1j"}}))
    with pytest.raises(InvalidInput, match="Hermitian"):
        HamiltonianInput(file="bad.json").read(tmp_path)
    with pytest.raises(InvalidInput, match="cannot be read"):
        HamiltonianInput(file="none.json").read(tmp_path)


def test_as_json() -> None:
    """The order in which terms are given does not change a Hamiltonian's text."""
    assert hamiltonian_of([("ZZ", 1), ("X0", 2)]).as_json() == hamiltonian_of([("X0", 2), ("ZZ", 1)]).as_json()
