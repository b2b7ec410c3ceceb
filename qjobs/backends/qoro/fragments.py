"""Fragments: the bodies in which the circuits of a job are sent, each small enough for Qoro.

Circuits and observables are packed as `b64(gzip(text))`. A body is the payload and what every fragment says: the mode,
whether it is the last one, and either `shots`, `shot_groups` or `observables`.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from qjobs.backends.qoro.circuits import bound_texts, templates
from qjobs.backends.qoro.labels import labels_of
from qjobs.backends.shot_groups import shot_groups
from qjobs.errors import InvalidCircuit
from qjobs.model import Batch, Observable

__all__ = [
    "MAX_BYTES",
    "dense",
    "fragments_of",
    "observables_text",
    "packed",
    "sparse",
    "terms_of",
    "values_of",
]

MAX_BYTES: Final = 996_147
"""0.95 MiB, as Qoro's own client has it."""
_SPARE: Final = 200
"""Bytes that are kept free in each body."""


def fragments_of(batch: Batch, max_bytes: int = MAX_BYTES) -> list[dict[str, Any]]:
    """The bodies of a batch, in their order; the last one is the one that lets the job run.

    A sweep is sent as templates with one row for each item, anything else bound.

    Raises:
        InvalidCircuit: A circuit cannot be written, or is too big for one body.
    """
    labels = labels_of(batch)
    found = templates(batch)
    if found is None:
        bodies = list(_bound(batch, labels, max_bytes))
    else:
        bodies = []
        for template in found:
            head: dict[str, Any] = {
                "circuit_template": packed(template.text),
                "parameter_names": list(template.names),
                **_envelope(batch),
            }
            rows = [{"label": labels[position], "values": list(values)} for position, values in template.rows]
            sizes = [_size(row) for row in rows]
            for start, end in _cut(sizes, max_bytes - _size(head), "a template and one row of numbers"):
                bodies.append({**head, "parameter_sets": rows[start:end]})
    for number, body in enumerate(bodies):
        body["finalized"] = "true" if number == len(bodies) - 1 else "false"
    return bodies


def _bound(batch: Batch, labels: Sequence[str], max_bytes: int) -> Iterator[dict[str, Any]]:
    packs: dict[str, str] = {}
    circuits = []
    for text in bound_texts(batch):
        if text not in packs:
            packs[text] = packed(text)
        circuits.append(packs[text])
    sizes = [len(each) + len(label) + 60 for each, label in zip(circuits, labels, strict=True)]  # 60: its shot group
    shots = [item.shots for item in batch.items]
    for start, end in _cut(sizes, max_bytes - _size(_envelope(batch)), "a circuit"):
        texts = dict(zip(labels[start:end], circuits[start:end], strict=True))
        body = {"circuits": texts, **_envelope(batch)}
        if "shots" not in body and "observables" not in body:
            body["shot_groups"] = shot_groups(shots[start:end])
        yield body


def _envelope(batch: Batch) -> dict[str, Any]:
    """What every fragment of a job says; without shots where its items differ in them."""
    found: dict[str, Any] = {"mode": "append", "finalized": "false"}
    numbers = {item.shots for item in batch.items}
    if batch.options.observables:
        found["observables"] = observables_text(batch.options.observables)
    elif len(numbers) == 1:
        found["shots"] = numbers.pop()
    return found


def _cut(sizes: Sequence[int], room: int, what: str) -> Iterator[tuple[int, int]]:
    """Where a list is cut so that each part fits, as (start, end)."""
    room -= _SPARE
    start = 0
    filled = 0
    for position, size in enumerate(sizes):
        if size > room:
            raise InvalidCircuit(
                f"{what} of the job takes {size:,} bytes, and Qoro {room:,} at a time; make it smaller"
            )
        if filled + size > room:
            yield start, position
            start = position
            filled = 0
        filled += size
    yield start, len(sizes)


def _size(value: object) -> int:
    return len(json.dumps(value)) + 2


def packed(text: str) -> str:
    """A text as Qoro takes it; the same text gives the same bytes at any time."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def terms_of(observables: Sequence[Observable]) -> list[str]:
    """Each Pauli string of these observables once, in their order and in ours: the rightmost letter acts on qubit 0.

    Raises:
        InvalidCircuit: They are not of one width.
    """
    found: dict[str, None] = {}
    for observable in observables:
        for pauli, _ in observable.terms:
            found[pauli] = None
    if len({len(pauli) for pauli in found}) != 1:
        raise InvalidCircuit("the observables of a job have to be as wide as its circuits, all of them")
    return list(found)


def dense(pauli: str) -> str:
    """A Pauli string of ours as Qoro's clients write it: the leftmost letter acts on qubit 0.

    >>> dense("IZ")
    'ZI'
    """
    return pauli[::-1]


def sparse(pauli: str) -> str:
    """A Pauli string of ours as letters with their qubits; one that does nothing is `I`.

    >>> sparse("XIIZ"), sparse("II")
    ('Z0X3', 'I')
    """
    letters = [f"{letter}{qubit}" for qubit, letter in enumerate(dense(pauli)) if letter != "I"]
    return "".join(letters) or "I"


def observables_text(observables: Sequence[Observable]) -> str:
    """All terms of these observables as one group, which holds for every circuit of the job.

    Raises:
        InvalidCircuit: As `terms_of`.
    """
    terms = terms_of(observables)
    return f"@gzs{len(terms[0])}:{packed(';'.join(sparse(term) for term in terms))}"


def values_of(observables: Sequence[Observable], values: Mapping[str, float]) -> dict[str, float] | None:
    """The value of each observable from those of its terms, in either way of writing; None where one is not there."""
    found: dict[str, float] = {}
    for observable in observables:
        total = 0.0
        for pauli, coefficient in observable.terms:
            value = values.get(dense(pauli), values.get(sparse(pauli)))
            if value is None:
                return None
            total += coefficient * value
        found[observable.name] = total
    return found
