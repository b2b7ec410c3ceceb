"""Reading the results of one job: which of its items each entry of a page belongs to, and what it says."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence

from qjobs.backends.base import MissingResult, Result
from qjobs.backends.qoro import histograms, wire
from qjobs.backends.qoro.fragments import values_of
from qjobs.backends.qoro.labels import Label, read_label
from qjobs.errors import ProtocolError
from qjobs.model import ItemResult, Observable, RemoteId

__all__ = ["Results"]

logger = logging.getLogger(__name__)


class Results:
    """The results of a job, as they are read page by page.

    Args:
        name: The backend's, for messages.
        known: What was sent, one label for each item, where that is known here.
        wanted: The positions that are asked for; all if None.
    """

    def __init__(
        self, name: str, remote_id: RemoteId, known: Sequence[Label] | None, wanted: Sequence[int] | None
    ) -> None:
        self._name = name
        self._remote_id = remote_id
        self._known = known
        self._wanted = wanted
        self._seen: set[int] = set()
        self._held: list[tuple[Label, object]] = []
        self._observables: tuple[Observable, ...] = known[0].observables if known else ()
        self._wrong: ProtocolError | None = None
        if wanted is None and known is not None:
            self._wanted = range(len(known))

    @property
    def has_some(self) -> bool:
        """Whether Qoro gave a result of any item."""
        return bool(self._seen)

    @property
    def is_complete(self) -> bool:
        """Whether nothing that is wanted is left, as far as that is known."""
        wanted = range(max(self._seen) + 1) if self._wanted is None and self._seen else self._wanted
        return wanted is not None and self._seen.issuperset(wanted)

    def page(self, rows: Iterable[tuple[object, object]]) -> Iterator[tuple[int, Result]]:
        """The wanted results of a page; an entry that is out of the contract is raised when the others are safe.

        Values of terms are held back until a label has said of which observables they are.
        """
        for text, entry in rows:
            label = read_label(text)
            if label is None or (self._known is not None and label.position >= len(self._known)):
                self._wrong = ProtocolError(f"{self._name} gave a result of {str(text)[:80]!r}, which is not ours")
                continue
            if label.position in self._seen:
                logger.warning("%s: %s has two results of item %d", self._name, self._remote_id, label.position)
                continue
            self._seen.add(label.position)
            self._observables = self._observables or label.observables
            if self._known is not None:
                label = self._known[label.position]
            if self._wanted is None or label.position in self._wanted:
                self._held.append((label, entry))
        held = self._held
        self._held = []
        for label, entry in held:
            try:
                result = self._result(label, entry)
            except ProtocolError as error:
                self._wrong = error
                continue
            if result is None:
                self._held.append((label, entry))
            else:
                yield label.position, result

    def _result(self, label: Label, entry: object) -> ItemResult | None:
        """What an entry says; None where it is not known yet of what."""
        if isinstance(entry, Mapping) and histograms.is_encoded(entry):
            return ItemResult(counts=histograms.decode(entry, n_bits=label.n_bits, shots=label.shots))
        if _is_counts(entry):
            counts = wire.counts_in(entry)
            if sum(counts.values()) != label.shots or any(len(word) != label.n_bits for word in counts):
                raise ProtocolError(f"{self._name} gave counts of other bits or shots than were asked for")
            return ItemResult(counts=counts)
        terms = wire.values_in(entry)
        if not self._observables:
            return None
        values = values_of(self._observables, terms)
        if values is None:
            raise ProtocolError(f"{self._name} gave values of other terms than were asked for")
        return ItemResult(expvals=values)

    def rest(self, reason: str, *, permanent: bool) -> Iterator[tuple[int, Result]]:
        """Why there is no result of each item that Qoro has not named.

        Raises:
            ProtocolError: It is not known which items the job has.
        """
        wanted = self._wanted
        if wanted is None:
            raise ProtocolError(f"{self._name} does not say how many circuits job {self._remote_id} has")
        for position in wanted:
            if position not in self._seen:
                yield position, MissingResult(reason=reason, permanent=permanent)

    def check(self) -> None:
        """Raise what was wrong with an entry, now that the others are safe.

        Raises:
            ProtocolError: One was out of the contract.
        """
        if self._wrong is not None:
            raise self._wrong
        if self._held:
            raise ProtocolError(f"no label of job {self._remote_id} says of which observables its values are")


def _is_counts(entry: object) -> bool:
    """Whether a result that is not packed has counts: its keys are bit strings."""
    return isinstance(entry, dict) and bool(entry) and all(set(word) <= {"0", "1"} for word in entry)
