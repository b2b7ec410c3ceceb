"""Labels of circuits: Qoro gives each result with its label, so a label says what another process must know to read it.

A label is `POSITION:SHOTS:BITS`, and for expectation values `POSITION:SHOTS:BITS:OBSERVABLES`. The observables are
needed because Qoro answers values of single terms. Where they take more than 200 characters, the first circuit's label
alone has them.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from qjobs.model import Batch, Observable

__all__ = ["Label", "labels_of", "read_label"]

_LABEL: Final = re.compile(r"(\d{1,9}):(\d{1,18}):(\d{1,9})(?::([\w=-]+))?")
_LONGEST: Final = 200
_MOST_BYTES: Final = 50_000_000
"""Of observables, unpacked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What a label says; `observables` are empty where it does not have them."""

    position: int
    shots: int
    n_bits: int
    observables: tuple[Observable, ...] = ()


def labels_of(batch: Batch) -> list[str]:
    """The label of each item of a batch."""
    more = _written(batch.options.observables) if batch.options.observables else ""
    found = []
    for position, item in enumerate(batch.items):
        label = f"{position}:{item.shots}:{batch.programs[item.program].n_bits}"
        if more and (len(more) <= _LONGEST or not position):
            label = f"{label}:{more}"
        found.append(label)
    return found


def read_label(text: object) -> Label | None:
    """The inverse of `labels_of`, for one label; None for one that is not ours."""
    match = _LABEL.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    position, shots, n_bits = (int(match[number]) for number in (1, 2, 3))
    return Label(position=position, shots=shots, n_bits=n_bits, observables=_read(match[4]) if match[4] else ())


def _written(observables: Sequence[Observable]) -> str:
    body = [[observable.name, list(observable.terms)] for observable in observables]
    packed = zlib.compress(json.dumps(body, separators=(",", ":")).encode(), 9)
    return base64.urlsafe_b64encode(packed).decode()


def _read(text: str) -> tuple[Observable, ...]:
    """Observables; none where they are not whole, because somebody has cut the label."""
    try:
        body = json.loads(zlib.decompressobj().decompress(base64.urlsafe_b64decode(text), _MOST_BYTES))
        found = []
        for name, terms in body:
            pairs = tuple((str(pauli), float(coefficient)) for pauli, coefficient in terms)
            found.append(Observable(name=str(name), terms=pairs))
    except (binascii.Error, zlib.error, ValueError, TypeError, RecursionError):
        return ()
    return tuple(found)
