"""Results of a Nexus job: downloaded side by side, and handed on as they come."""

from __future__ import annotations

import logging
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from qjobs.backends.base import MissingResult, Result
from qjobs.backends.fan_out import FanOut
from qjobs.backends.http import HttpClient, Refusal
from qjobs.backends.lru import LruCache
from qjobs.backends.nexus import wire
from qjobs.backends.nexus.counts import counts_of
from qjobs.backends.nexus.programs import program_of
from qjobs.backends.nexus.wire import ItemHandles
from qjobs.errors import InvalidCircuit, ProtocolError, QJobsError
from qjobs.model import ItemResult, RemoteId

logger = logging.getLogger(__name__)

_LATE_S: Final = 60.0
"""How long a result may follow its COMPLETED item: https://github.com/NVIDIA/cuda-quantum, QuantinuumHelper."""
_OLD_S: Final = 600.0
"""As `_LATE_S`, for an item that this process sees for the first time: by Nexus's clock, which may not be ours."""
_READ_TYPES: Final = frozenset({"", "PYTKET"})
_PARTS: Final = frozenset({"shots", "counts", "state", "unitary", "density_matrix", "bits", "qubits"})
"""What the attributes of a result have: pytket's `BackendResult.to_dict()`."""


class Downloads:
    """Downloads results. Safe to use from many threads.

    `gives_results` is false for a device that completes its items without results, as syntax checkers do.
    """

    def __init__(
        self, http: HttpClient, fan_out: FanOut, *, device: str, gives_results: bool, monotonic: Callable[[], float]
    ) -> None:
        self._http = http
        self._fan_out = fan_out
        self._device = device
        self._gives_results = gives_results
        self._monotonic = monotonic
        self._late_since: LruCache[tuple[RemoteId, int], float] = LruCache(10_000)

    def stream(
        self, remote_id: RemoteId, items: Sequence[ItemHandles], wanted: Sequence[int] | None
    ) -> Iterator[tuple[int, Result]]:
        """Each wanted position with its result, or with why there is none; what cannot be had is raised at the end.

        Raises:
            BackendUnavailable, CredentialsRejected: The rest cannot be had now; nothing more was asked for.
            ProtocolError: Some answers are outside the contract, or the job has no such position.
        """
        positions = list(range(len(items)) if wanted is None else dict.fromkeys(wanted))
        known = [position for position in positions if 0 <= position < len(items)]
        ready = [position for position in known if self._may_download(items[position])]
        for position in sorted(set(known) - set(ready)):
            yield position, self._missing(remote_id, position, items[position])
        halted: list[QJobsError] = []

        def download(position: int) -> Result | QJobsError:
            if halted:
                return halted[0]
            try:
                return self._download(items[position])
            except ProtocolError as error:  # of this one
                return error
            except QJobsError as error:
                halted.append(error)
                return error

        broken: list[QJobsError] = []
        for position, entry in self._fan_out.stream(download, ready):
            if isinstance(entry, QJobsError):
                broken.append(entry)
            else:
                yield position, entry
        logger.debug("job %s: %d of %d results were read", remote_id, len(ready) - len(broken), len(positions))
        for error in (*halted, *broken):
            raise error
        if len(known) < len(positions):
            raise ProtocolError(f"Nexus shows {len(items)} items of job {remote_id}, and {positions} were asked for")

    def _may_download(self, item: ItemHandles) -> bool:
        return bool(item.compilation_id or (item.result_id and self._gives_results))

    def _missing(self, remote_id: RemoteId, position: int, item: ItemHandles) -> MissingResult:
        """Why an item has no result, and whether it never will."""
        if not item.is_completed:
            return MissingResult(reason=item.words)
        if not self._gives_results:
            return MissingResult(
                reason=f"{self._device} is a syntax checker: it completes an item without a result", permanent=True
            )
        now = self._monotonic()
        since = self._late_since.get((remote_id, position))
        if since is None:
            since = now
            self._late_since.put((remote_id, position), now)
        is_old = item.completed_at is not None and (datetime.now(UTC) - item.completed_at).total_seconds() > _OLD_S
        if is_old or now - since > _LATE_S:
            return MissingResult(reason=f"it is COMPLETED without a result: {item.words}", permanent=True)
        return MissingResult(reason=f"it is COMPLETED and its result is not there yet: {item.words}")

    def _download(self, item: ItemHandles) -> Result:
        if item.compilation_id:
            return self._compiled(item.compilation_id)
        if item.result_type not in _READ_TYPES:
            return MissingResult(
                reason=f"its result is of the type {item.result_type[:50]}, which qjobs does not read; use qnexus",
                permanent=True,
            )
        body = self._resource(wire.RESULTS, item.result_id)
        if isinstance(body, MissingResult):
            return body
        attributes = wire.member(body, "attributes")
        if not isinstance(attributes, Mapping) or not _PARTS & set(attributes):
            raise ProtocolError(f"Nexus answered the result {item.result_id} without anything in it")
        if not attributes.get("shots") and not attributes.get("counts"):
            return MissingResult(
                reason="its result has neither shots nor counts; use a device that counts", permanent=True
            )
        return ItemResult(counts=counts_of(attributes))

    def _compiled(self, compilation_id: str) -> Result:
        compilation = self._resource(wire.COMPILATIONS, compilation_id)
        if isinstance(compilation, MissingResult):
            return compilation
        circuit_id = wire.text(compilation, "relationships", "compiled_circuit", "data", "id")
        circuit = self._resource(wire.CIRCUITS, circuit_id)
        if isinstance(circuit, MissingResult):
            return circuit
        attributes = wire.member(circuit, "attributes")
        if not isinstance(attributes, Mapping) or "commands" not in attributes:
            raise ProtocolError(f"Nexus answered the circuit {circuit_id} without its commands")
        try:
            return ItemResult(program=program_of(attributes))
        except InvalidCircuit as error:
            return MissingResult(
                reason=f"the compiled circuit {circuit_id} cannot be read: {error}"[:1000], permanent=True
            )

    def _resource(self, folder: str, resource_id: str) -> Any:
        """A resource by its id; a `MissingResult` where Nexus does not have it any more."""
        path = f"{folder}/{urllib.parse.quote(resource_id, safe='')}"
        try:
            body = self._http.read("GET", path, params=wire.USER, proves_refusal=wire.says_itself)
        except ProtocolError as error:
            if error.code != 410:
                raise
            body = Refusal(code=410, words=str(error))
        if not isinstance(body, Refusal):
            return wire.member(body, "data")
        if not wire.is_gone(body):
            raise ProtocolError(f"Nexus answered {path} with {body.code}: {body.words}", code=body.code)
        return MissingResult(reason=f"Nexus no longer has {path} ({body.code}: {body.words})", permanent=True)
