"""Checks of what comes into the job database: circuits, Hamiltonians, results, pages."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence

from qjobs.circuits.programs import read_circuit
from qjobs.errors import InvalidCircuit, InvalidInput
from qjobs.experiments.hamiltonian import read_portal
from qjobs.model import ProgramFormat
from qjobs.service.mqp.records import MqpStatus, Resource

__all__ = [
    "CIRCUIT_FORMATS",
    "check_circuits",
    "check_hamiltonian",
    "check_histograms",
    "check_shots",
    "circuits_of",
    "job_number",
    "plain_text",
    "statuses_of",
    "whole",
]

CIRCUIT_FORMATS = {"qasm": ProgramFormat.OPENQASM2, "qasm3": ProgramFormat.OPENQASM3}
_LONGEST_TEXT = 32 * 1024 * 1024
"""Characters of a job's circuits together."""
_TEXT = r"""(?:'(?:[^'\\\n]|\\.)*+'|"(?:[^"\\\n]|\\.)*+")"""
_LITERAL = re.compile(_TEXT, re.DOTALL)
_LIST = re.compile(rf"\[\s*+(?:{_TEXT}\s*+(?:,\s*+{_TEXT}\s*+)*+(?:,\s*+)?)?\]", re.DOTALL)
_LARGEST_ID = 2**63


def whole(value: object, what: str, least: int, most: int) -> int:
    """A whole number from `least` to `most`.

    Raises:
        InvalidInput: It is something else; `field` is `what`.
    """
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return value
    raise InvalidInput(f"{what} is a whole number from {least} to {most}, not {str(value)[:40]!r}", field=what)


def plain_text(value: object, what: str) -> str:
    """A text that is no longer than the database keeps.

    Raises:
        InvalidInput: It is none, or too long; `field` is `what`.
    """
    if not isinstance(value, str):
        raise InvalidInput(f"{what} is a text, not {type(value).__name__}", field=what)
    if len(value) > _LONGEST_TEXT:
        raise InvalidInput(f"{what} has {len(value):,} characters; at most {_LONGEST_TEXT:,} are kept", field=what)
    return value


def job_number(value: object) -> int | None:
    """The id of a job, as a number or as its text; None where no job can have it."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value, re.ASCII):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _LARGEST_ID:
        return value
    return None


def circuits_of(text: str) -> list[str]:
    """The circuits of a job's text: a list as Python or JSON writes it, or one circuit as it is.

    Raises:
        InvalidInput: It is a list that cannot be read, is empty, or holds anything but texts.
    """
    plain = text.strip()
    if not plain.startswith("["):
        if not plain:
            raise InvalidInput("there is no circuit", field="circuit")
        return [text]
    try:
        found = json.loads(plain)
    except (ValueError, RecursionError):
        found = _python_list(plain)
    if not isinstance(found, list) or not found or not all(isinstance(each, str) and each.strip() for each in found):
        raise InvalidInput("a list of circuits holds one text for each circuit, and at least one", field="circuit")
    return found


def _python_list(text: str) -> list[str]:
    """The texts of a list as Python writes it, literal by literal.

    Python's parser makes a tree of a whole text first, which takes some hundred times its size.
    """
    wrong = "the list of circuits cannot be read as Python or as JSON"
    if not _LIST.fullmatch(text):
        raise InvalidInput(wrong, field="circuit")
    try:
        return [str(ast.literal_eval(literal)) for literal in _LITERAL.findall(text)]
    except (ValueError, SyntaxError) as error:
        raise InvalidInput(wrong, field="circuit") from error


def check_shots(shots: object, resource: Resource) -> int:
    """The shots, if the resource can take them.

    Raises:
        InvalidInput: They are no number, or too many.
    """
    return whole(shots, "shots", 1, resource.max_shots)


def check_circuits(text: str, circuit_format: str, resource: Resource) -> int:
    """How many circuits the text holds, if the resource can take each of them.

    Raises:
        InvalidInput: The format is unknown, or there are too many circuits.
        InvalidCircuit: A circuit cannot be read, is of another format, or has too many qubits.
    """
    expected = CIRCUIT_FORMATS.get(circuit_format)
    if expected is None:
        known = ", ".join(CIRCUIT_FORMATS)
        raise InvalidInput(f"circuit_format is one of {known}, not {circuit_format[:40]!r}", field="circuit_format")
    circuits = circuits_of(plain_text(text, "circuit"))
    if len(circuits) > resource.max_circuits:
        raise InvalidInput(
            f"{resource.name} takes {resource.max_circuits} circuits in a job, not {len(circuits)}", field="circuit"
        )
    for place, each in enumerate(circuits):
        program = read_circuit(each, field=f"circuit[{place}]")
        if program.format is not expected:
            raise InvalidCircuit(
                f"circuit {place} is {program.format} and circuit_format says {circuit_format}",
                field=f"circuit[{place}]",
            )
        if program.n_qubits > resource.qubits:
            raise InvalidCircuit(
                f"circuit {place} has {program.n_qubits} qubits and {resource.name} has {resource.qubits}",
                field=f"circuit[{place}]",
            )
    return len(circuits)


def check_hamiltonian(interaction_str: str, coefficients_str: str, resource: Resource) -> None:
    """Check that a Hamiltonian in the portal's form can be read, and fits the resource.

    Raises:
        InvalidInput: It cannot be read (`qjobs.experiments.hamiltonian.read_portal`), or has too many qubits.
    """
    interactions = plain_text(interaction_str, "interaction_str")
    found = read_portal(interactions, plain_text(coefficients_str, "coefficients_str"))
    if found.n_qubits > resource.qubits:
        raise InvalidInput(
            f"the Hamiltonian acts on {found.n_qubits} qubits and {resource.name} has {resource.qubits}",
            field="interaction_str",
        )


def check_histograms(result: str, shots: int, n_circuits: int) -> None:
    """Check that a result has one histogram for each circuit, and that each sums to the shots.

    Raises:
        InvalidInput: It has not.
    """
    try:
        found = json.loads(plain_text(result, "result"))
    except (ValueError, RecursionError) as error:
        raise InvalidInput("a result is the JSON of one histogram, or of a list of them", field="result") from error
    histograms = found if isinstance(found, list) else [found]
    if len(histograms) != n_circuits:
        raise InvalidInput(
            f"the result has {len(histograms)} histograms and the job {n_circuits} circuits", field="result"
        )
    for place, histogram in enumerate(histograms):
        if not isinstance(histogram, dict) or not all(_is_count(count) for count in histogram.values()):
            raise InvalidInput(f"histogram {place} has a whole number for each outcome", field="result")
        total = sum(histogram.values())
        if total != shots:
            raise InvalidInput(f"histogram {place} sums to {total}, and the job has {shots} shots", field="result")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def statuses_of(filter_query: str) -> Sequence[MqpStatus]:
    """The statuses that a filter lets through, in the order of the words; empty: all of them.

    Raises:
        InvalidInput: It names something that is no status.
    """
    words = [word.strip().upper() for word in plain_text(filter_query, "filter_query").split(",")]
    if words in ([""], ["ALL"]):
        return ()
    try:
        return [MqpStatus(word) for word in words]
    except ValueError:
        known = ", ".join(MqpStatus)
        raise InvalidInput(
            f"filter_query is empty or some of {known}, parted by commas", field="filter_query"
        ) from None
