"""Results of a Nexus job: downloaded side by side, and kept while the rest of them cannot be had."""

from __future__ import annotations

import logging
import urllib.parse
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from qjobs.backends.base import MissingResult
from qjobs.backends.http import HttpClient
from qjobs.backends.nexus import wire
from qjobs.backends.nexus.counts import counts_of
from qjobs.backends.nexus.fan_out import FanOut
from qjobs.backends.nexus.lru import LruCache
from qjobs.backends.nexus.programs import program_of
from qjobs.backends.nexus.wire import ItemHandles
from qjobs.errors import BackendUnavailable, InvalidCircuit
from qjobs.lifecycle import JobStatus
from qjobs.model import ItemResult, RemoteId

logger = logging.getLogger(__name__)

_LATE_S: Final = 60.0
"""How long a result may follow its COMPLETED item: https://github.com/NVIDIA/cuda-quantum, QuantinuumHelper."""

_Entry = ItemResult | MissingResult


class Downloads:
    """Downloads results. Safe to use from many threads.

    `no_results` says that the device completes items without results, as syntax checkers do.
    """

    def __init__(self, http: HttpClient, fan_out: FanOut, *, no_results: bool, monotonic: Callable[[], float]) -> None:
        self._http = http
        self._fan_out = fan_out
        self._no_results = no_results
        self._monotonic = monotonic
        self._kept: LruCache[RemoteId, dict[int, _Entry]] = LruCache(8)
        self._late_since: LruCache[RemoteId, float] = LruCache(1000)

    def results_of(self, remote_id: RemoteId, job: object) -> list[_Entry]:
        """One entry for each item of a job resource.

        Raises:
            BackendUnavailable: A result cannot be had now, or is not there yet; the next call goes on from here.
            CredentialsRejected, ProtocolError: As `HttpClient.read`.
        """
        items = wire.handles_of(job)
        kept = self._kept.get(remote_id) or {}
        self._kept.put(remote_id, kept)

        def download(index: int) -> None:
            kept[index] = self._download(items[index])

        ready = [index for index, item in enumerate(items) if item.compilation_id or item.result_id]
        self._fan_out.map(download, [index for index in ready if index not in kept])
        late = [item for item in items if _is_late(item)]
        if late and not self._no_results and all(item.status.is_final for item in items):
            self._raise_while_early(remote_id, late)
        self._kept.forget([remote_id])
        logger.debug("job %s: %d of %d items have a result", remote_id, len(ready), len(items))
        return [kept[index] if index in kept else _missing(item) for index, item in enumerate(items)]

    def _raise_while_early(self, remote_id: RemoteId, late: list[ItemHandles]) -> None:
        """Raise as long as the results that are missing may be on their way."""
        now = self._monotonic()
        since = self._late_since.get(remote_id)
        if since is None:
            since = now
            self._late_since.put(remote_id, now)
        completed = [item.completed_at for item in late if item.completed_at is not None]
        old = len(completed) == len(late) and (datetime.now(UTC) - max(completed)).total_seconds() > _LATE_S
        if not old and now - since < _LATE_S:
            raise BackendUnavailable(
                f"{len(late)} items of {remote_id} are COMPLETED and their results are not there yet; ask again",
                retry_after_s=1.0,
            )

    def _download(self, item: ItemHandles) -> _Entry:
        if item.compilation_id:
            return self._compiled(item.compilation_id)
        if item.result_type not in {"", "PYTKET"}:
            return MissingResult(
                reason=f"its result is of the type {item.result_type}, which qjobs does not read; use qnexus"
            )
        body = self._resource(wire.RESULTS, item.result_id)
        if isinstance(body, MissingResult):
            return body
        attributes = wire.member(body, "attributes")
        if not wire.member(attributes, "shots") and not wire.member(attributes, "counts"):
            return MissingResult(reason="its result has neither shots nor counts; use a device that counts")
        return ItemResult(counts=counts_of(attributes))

    def _compiled(self, compilation_id: str) -> _Entry:
        compilation = self._resource(wire.COMPILATIONS, compilation_id)
        if isinstance(compilation, MissingResult):
            return compilation
        circuit_id = wire.text(compilation, "relationships", "compiled_circuit", "data", "id")
        circuit = self._resource(wire.CIRCUITS, circuit_id)
        if isinstance(circuit, MissingResult):
            return circuit
        try:
            return ItemResult(program=program_of(wire.member(circuit, "attributes") or {}))
        except InvalidCircuit as error:
            return MissingResult(reason=f"the compiled circuit {circuit_id} cannot be read: {error}")

    def _resource(self, folder: str, resource_id: str) -> Any:
        """A resource by its id; a `MissingResult` where Nexus does not have it any more."""
        path = f"{folder}/{urllib.parse.quote(resource_id, safe='')}"
        body = self._http.read("GET", path, params=wire.USER, ignore={410, 404})
        if body is None:
            return MissingResult(reason=f"Nexus no longer has {path} (404 or 410)")
        return wire.member(body, "data")


def _is_late(item: ItemHandles) -> bool:
    return item.status is JobStatus.COMPLETED and not item.result_id and not item.compilation_id


def _missing(item: ItemHandles) -> MissingResult:
    if _is_late(item):
        return MissingResult(reason=f"it is COMPLETED without a result: {item.words}")
    return MissingResult(reason=item.words)
