"""Programs of a batch, uploaded to Nexus before its job; each program with its parameters once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from qjobs.backends.fan_out import FanOut
from qjobs.backends.http import HttpClient
from qjobs.backends.lru import LruCache
from qjobs.backends.nexus import wire
from qjobs.backends.nexus.programs import Templates
from qjobs.model import Batch, ItemSpec, JobKind, ProgramHash

logger = logging.getLogger(__name__)

_RENEW_CLAIM_S: Final = 15.0
_REMEMBERED: Final = 10_000

_Circuit = tuple[ProgramHash, tuple[tuple[str, float], ...]]
"""What tells a circuit from others: a program and its parameters."""


class Uploads:
    """Uploads programs, and remembers which it has uploaded. Safe to use from many threads."""

    def __init__(
        self, http: HttpClient, fan_out: FanOut, templates: Templates, *, monotonic: Callable[[], float]
    ) -> None:
        self._http = http
        self._fan_out = fan_out
        self._templates = templates
        self._monotonic = monotonic
        self._uploaded: LruCache[_Circuit, str] = LruCache(_REMEMBERED)

    def ids_of(self, batch: Batch, project_id: str, preparing: Callable[[], None]) -> list[str]:
        """Nexus's id of the program of each item, in the order of the items; uploaded first where it is new.

        `preparing` is called every 15 s meanwhile, to keep the claim on the job.

        Raises:
            InvalidCircuit: A program cannot be written for Nexus.
            BackendUnavailable, CredentialsRejected, ProtocolError: As `HttpClient.read`.
        """
        ids: dict[_Circuit, str] = {}
        new: dict[_Circuit, ItemSpec] = {}
        for item in batch.items:
            circuit = _circuit_of(item)
            program_id = self._uploaded.get(circuit)
            if program_id is None:
                new[circuit] = item
            else:
                ids[circuit] = program_id
        renewed_at = self._monotonic()

        def keep_claim() -> None:
            nonlocal renewed_at
            if self._monotonic() - renewed_at >= _RENEW_CLAIM_S:
                preparing()
                renewed_at = self._monotonic()

        def upload(item: ItemSpec) -> str:
            return self._upload(batch, item, project_id)

        for circuit, program_id in zip(new, self._fan_out.map(upload, new.values(), keep_claim), strict=True):
            self._uploaded.put(circuit, program_id)
            ids[circuit] = program_id
        if new:
            logger.debug("uploaded %d programs to the project %s", len(new), project_id)
        return [ids[_circuit_of(item)] for item in batch.items]

    def forget(self, batch: Batch) -> None:
        """Upload the programs of this batch again the next time."""
        self._uploaded.forget(_circuit_of(item) for item in batch.items)

    def _upload(self, batch: Batch, item: ItemSpec, project_id: str) -> str:
        template = self._templates.of(batch.programs[item.program])
        circuit = template.unbound if batch.kind is JobKind.COMPILE else template.bound(dict(item.parameters))
        body = wire.circuit_body(circuit, name=item.label or item.program[:12], project_id=project_id)
        return wire.text(self._http.read("POST", wire.CIRCUITS, content=body), "data", "id")


def _circuit_of(item: ItemSpec) -> _Circuit:
    return item.program, tuple(sorted(item.parameters))
