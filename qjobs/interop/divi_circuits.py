"""What Divi's versions hand over as circuits, shots and observables, in our words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qiskit import QuantumCircuit

from qjobs.errors import InvalidInput
from qjobs.model import Observable
from qjobs.operations.program_batches import LabelledCircuit

__all__ = ["by_label", "by_observables", "shots_of_each"]


def by_label(circuits: Any) -> dict[str, Any]:
    """Circuits by label: of a mapping, a sequence (labels are positions), or a sequence of Divi's payloads.

    Raises:
        InvalidInput: There is none, two have one label, or one has free parameters.
        TypeError: A single circuit, or something that is no circuit.
    """
    if isinstance(circuits, str | bytes | QuantumCircuit):
        raise TypeError("give a collection of circuits: put a single one into a list")
    found: dict[str, Any] = {}
    for label, circuit in _pairs(circuits):
        if not isinstance(circuit, str | QuantumCircuit):
            raise TypeError(f"{label} is a {type(circuit).__name__}; give OpenQASM text or a QuantumCircuit")
        if label in found:
            raise InvalidInput(f"the label {label!r} is used twice; results are found by their label", field="circuits")
        found[label] = circuit
    if not found:
        raise InvalidInput("there is no circuit to submit", field="circuits")
    return found


def _pairs(circuits: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(circuits, Mapping):
        yield from circuits.items()
        return
    for index, each in enumerate(circuits):
        sets = getattr(each, "parameter_sets", None)
        if sets is None:
            yield str(index), each
            continue
        if each.parameters:
            raise InvalidInput(
                "a payload has free parameters; bind them first, as Divi does for backends that do not resolve them",
                field="circuits",
            )
        for label, _ in sets:
            yield label, each.circuit


def shots_of_each(groups: Sequence[Sequence[int]], n_circuits: int) -> list[int]:
    """Shots of each circuit, in their order, by ranges `[start, end, shots]` of which each circuit is in one.

    Raises:
        InvalidInput: A range does not fit, or a circuit is in none or in two.
    """
    shots = [0] * n_circuits
    for start, end, n_shots in groups:
        if not 0 <= start < end <= n_circuits or n_shots < 1 or any(shots[start:end]):
            raise InvalidInput(
                f"the shot group [{start}, {end}, {n_shots}] is empty, overlaps another or is beyond the "
                f"{n_circuits} circuits",
                field="shot_groups",
            )
        shots[start:end] = [n_shots] * (end - start)
    if 0 in shots:
        raise InvalidInput(f"circuit {shots.index(0)} is in no shot group", field="shot_groups")
    return shots


def by_observables(
    circuits: Sequence[LabelledCircuit], ham_ops: str | None, circuit_ham_map: Sequence[Sequence[int]] | None
) -> list[tuple[Sequence[LabelledCircuit], tuple[Observable, ...]]]:
    """Circuits together with the observables that are asked of them: those of one width and the same terms at once.

    `ham_ops` and `circuit_ham_map` are as in `qjobs.interop.divi.QjobsBackend.submit_circuits`; without `ham_ops` no
    observable is asked of any.

    Raises:
        InvalidInput: A term is no Pauli string as wide as its circuit, or the groups do not fit the ranges.
    """
    if ham_ops is None:
        return [(circuits, ())]
    groups = [group.split(";") for group in ham_ops.split("|")]
    if circuit_ham_map is not None and len(circuit_ham_map) != len(groups):
        raise InvalidInput(
            f"there are {len(groups)} groups of observables and {len(circuit_ham_map)} ranges of circuits",
            field="circuit_ham_map",
        )
    together: dict[tuple[str, ...], list[LabelledCircuit]] = {}
    for index, circuit in enumerate(circuits):
        chosen = groups
        for number, (start, end) in enumerate(circuit_ham_map or ()):
            if start <= index < end:
                chosen = [groups[number]]
        n_qubits = circuit.circuit.n_qubits
        terms = dict.fromkeys(term.ljust(n_qubits, "I") for group in chosen for term in group)
        together.setdefault(tuple(terms), []).append(circuit)
    found: list[tuple[Sequence[LabelledCircuit], tuple[Observable, ...]]] = []
    for terms_of_part, part in together.items():
        found.append((part, tuple(_observable(term, part[0].circuit.n_qubits) for term in terms_of_part)))
    return found


def _observable(term: str, n_qubits: int) -> Observable:
    if len(term) != n_qubits or set(term) - set("IXYZ"):
        raise InvalidInput(
            f"the observable {term!r} is no Pauli string of {n_qubits} letters of I, X, Y, Z", field="ham_ops"
        )
    return Observable(name=term, terms=((term[::-1], 1.0),))  # ours has qubit 0 rightmost
