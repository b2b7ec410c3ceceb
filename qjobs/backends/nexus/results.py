"""Results of a Nexus job: downloaded eight at a time, and kept while the rest of them cannot be had."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from qjobs.backends.base import MissingResult
from qjobs.backends.http import HttpClient
from qjobs.backends.nexus import wire
from qjobs.backends.nexus.programs import program_of
from qjobs.backends.nexus.threads import Fan, Recent
from qjobs.backends.nexus.wire import ItemHandles
from qjobs.errors import BackendUnavailable, InvalidCircuit
from qjobs.lifecycle import JobStatus
from qjobs.model import ItemResult, RemoteId

__all__ = ["Downloads"]

_LATE_S = 60.0
"""How long a result may follow its COMPLETED item: https://github.com/NVIDIA/cuda-quantum, QuantinuumHelper."""

_Entry = ItemResult | MissingResult


class Downloads:
    """Downloads results.

    Args:
        http: How Nexus is asked.
        fan: Where downloads run.
        no_results: Whether the device completes items without results, as syntax checkers do.
        monotonic: Clock.
    """

    def __init__(self, http: HttpClient, fan: Fan, *, no_results: bool, monotonic: Callable[[], float]) -> None:
        self._http, self._fan, self._no_results, self._monotonic = http, fan, no_results, monotonic
        self._kept: Recent[RemoteId, dict[int, _Entry]] = Recent(8)
        self._late_since: Recent[RemoteId, float] = Recent(1000)

    def of(self, remote_id: RemoteId, job: object) -> list[_Entry]:
        """One entry for each item of a job resource.

        Raises:
            BackendUnavailable: A result cannot be had now, or is not there yet; the next call goes on.
            CredentialsRejected, ProtocolError: As `HttpClient.read`.
        """
        handles = wire.handles_of(job)
        kept = self._kept.get(remote_id) or {}
        self._kept.put(remote_id, kept)

        def entry(index: int) -> None:
            if index not in kept:
                kept[index] = self._entry(handles[index])

        ready = [index for index, one in enumerate(handles) if one.compilation_id or one.result_id]
        self._fan.out(entry, ready)
        late = [one for one in handles if _is_late(one)]
        if late and not self._no_results and all(one.status.is_final for one in handles):
            self._wait_for(remote_id, late)
        self._kept.forget([remote_id])
        return [kept[index] if index in kept else _without(one) for index, one in enumerate(handles)]

    def _wait_for(self, remote_id: RemoteId, late: list[ItemHandles]) -> None:
        """Raise while results that are missing may be on their way."""
        now = self._monotonic()
        since = self._late_since.get(remote_id)
        if since is None:
            since = now
            self._late_since.put(remote_id, now)
        completed = [one.completed_at for one in late if one.completed_at is not None]
        old = len(completed) == len(late) and (datetime.now(UTC) - max(completed)).total_seconds() > _LATE_S
        if not old and now - since < _LATE_S:
            raise BackendUnavailable(
                f"{len(late)} items of {remote_id} are COMPLETED and their results are not there yet; ask again",
                retry_after_s=1.0,
            )

    def _entry(self, item: ItemHandles) -> _Entry:
        if item.compilation_id:
            return self._compiled(item.compilation_id)
        if item.result_type not in {"", "PYTKET"}:
            return MissingResult(
                reason=f"its result is of the type {item.result_type}, which qjobs does not read; use qnexus"
            )
        body = self._resource(wire.RESULTS, str(item.result_id))
        if isinstance(body, MissingResult):
            return body
        attributes = wire.member(body, "attributes")
        if not wire.member(attributes, "shots") and not wire.member(attributes, "counts"):
            return MissingResult(reason="its result has neither shots nor counts; use a device that counts")
        return ItemResult(counts=wire.counts_of(attributes))

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

    def _resource(self, where: str, name: str) -> Any:
        """A resource by its id; a `MissingResult` where Nexus has it no more."""
        path = f"{where}/{urllib.parse.quote(name, safe='')}"
        body = self._http.read("GET", path, params=wire.USER, ignore={410, 404})
        if body is None:
            return MissingResult(reason=f"Nexus no longer has {path} (404 or 410)")
        return wire.member(body, "data")


def _is_late(item: ItemHandles) -> bool:
    return item.status is JobStatus.COMPLETED and not item.result_id and not item.compilation_id


def _without(item: ItemHandles) -> MissingResult:
    if _is_late(item):
        return MissingResult(reason=f"it is COMPLETED without a result: {item.words}")
    return MissingResult(reason=item.words)
