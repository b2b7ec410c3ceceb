"""An example of an adapter for a provider that takes a job in steps: an id, then items, then the last items.

It speaks to the routes /steps of `qjobs.testing.servers`. Nothing can run before the last step, and there is no key to
look a job up by; what makes a lost reply safe is that the id is written down before anything can run.
"""

from __future__ import annotations

import logging
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import httpx

from qjobs.backends.base import Answer, Confirmation, Journal, Limits, Lookup, RemoteJob, Result, Target
from qjobs.backends.http import HttpClient, Refusal
from qjobs.backends.limiter import Limiter
from qjobs.backends.rest import LostReply, RestBackend, body_of, proves_refusal
from qjobs.errors import AlreadyRuns, BackendUnavailable, ProtocolError, SubmissionRejected, SubmissionUnknown
from qjobs.model import Batch, Key, RemoteId

__all__ = ["SteppedRestBackend"]

logger = logging.getLogger(__name__)

_LIMITS = Limits(max_items=300, max_shots=10_000)
_CONFIRM = Confirmation()


class SteppedRestBackend:
    """A `SteppedBackend`: what is not about steps is done by a `RestBackend` of the same provider.

    Args:
        url: Where the provider is.
        name: The name that jobs are filed under.
        timeout_s: How long an answer may take, in seconds.
        items_per_step: How many items a step takes.
        settle_s: How long after a lost reply a step may still arrive, in seconds.
        confirm: When what the provider reports is believed.
        token: The bearer token; none is sent if empty.
        limiter: Another limiter than the one of this process for the account.
    """

    lookup = Lookup()

    def __init__(
        self,
        url: str,
        *,
        name: str = "stepped",
        timeout_s: float = 30.0,
        limits: Limits = _LIMITS,
        items_per_step: int = 100,
        settle_s: float = 30.0,
        confirm: Confirmation = _CONFIRM,
        poll_interval_s: tuple[float, float] = (0.05, 1.0),
        token: str = "",
        limiter: Limiter | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rest = RestBackend(
            url,
            lost_reply=LostReply.OPAQUE,
            name=name,
            timeout_s=timeout_s,
            limits=limits,
            settle_s=settle_s,
            confirm=confirm,
            poll_interval_s=poll_interval_s,
            token=(lambda: token) if token else None,
            limiter=limiter,
            sleep=sleep,
        )
        self.name = name
        self.device = self._rest.device
        self.fingerprint = self._rest.fingerprint
        self.capabilities = self._rest.capabilities
        self.limits = limits
        self.settle_s = settle_s
        self.confirm = confirm
        self.poll_interval_s = poll_interval_s
        self._items_per_step = items_per_step
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._http = HttpClient(
            url, name=name, headers=lambda: headers, read_timeout_s=timeout_s, limiter=limiter, sleep=sleep
        )

    def submit(self, batch: Batch, key: Key, journal: Journal) -> None:
        """Get an id, then add the items; the last ones let the job run.

        An id whose reply is lost is an empty job that never runs: another one is asked for.
        """
        journal.preparing()
        answer = self._prepared("/steps", {})
        if not isinstance(answer, dict) or not isinstance(answer.get("id"), str) or not answer["id"]:
            raise BackendUnavailable(f"{self.name} answered no id; nothing can run yet")
        remote_id = RemoteId(answer["id"])
        journal.reserved(remote_id)
        logger.info("%s: reserved job %s for %d items, key %s", self.name, remote_id, len(batch.items), key)
        self._go_on(remote_id, batch, 0, journal)

    def resume(self, remote_id: RemoteId, batch: Batch, key: Key, journal: Journal) -> None:
        """Go on after the items that the provider has; if it has them all, the job exists and is accepted.

        Raises:
            SubmissionRejected: The provider no longer has the reservation, or it was ended there, or holds more than
                our items.
        """
        job = self._http.read("GET", f"/jobs/{_quoted(remote_id)}", proves_refusal=proves_refusal)
        if isinstance(job, Refusal):
            raise SubmissionRejected(f"{self.name} has no reservation {remote_id}", detail=job.words)
        status = job.get("status") if isinstance(job, dict) else None
        items = job.get("items") if isinstance(job, dict) else None
        if not isinstance(items, list):
            raise ProtocolError(f"{self.name} does not say how far {remote_id} is")
        if status == "STOPPED":
            raise SubmissionRejected(f"{self.name} has ended the reservation {remote_id}", detail="it was cancelled")
        if status != "OPEN":
            journal.sending()
            journal.accepted(remote_id)
            return
        if len(items) >= len(batch.items):
            raise SubmissionRejected(f"the reservation {remote_id} cannot be gone on with", detail="it has all items")
        self._go_on(remote_id, batch, len(items), journal)

    def _go_on(self, remote_id: RemoteId, batch: Batch, start: int, journal: Journal) -> None:
        path = f"/steps/{_quoted(remote_id)}"
        n_items = len(batch.items)
        while start + self._items_per_step < n_items:
            journal.preparing()
            end = start + self._items_per_step
            self._prepared(path, {**_part(batch, start, end), "final": False})
            start = end
        last = {**_part(batch, start, n_items), "final": True}
        self._http.submit(path, json=last, sending=journal.sending, proves_refusal=proves_refusal)
        journal.accepted(remote_id)
        logger.info("%s: created job %s of %d items", self.name, remote_id, n_items)

    def _prepared(self, path: str, body: dict[str, Any]) -> Any:
        """The answer to a step after which nothing can run; one that is lost may be entered again."""
        try:
            return self._http.submit(path, json=body, proves_refusal=proves_refusal)
        except SubmissionUnknown as error:
            raise BackendUnavailable(f"{error}; nothing can run yet") from error

    def abandon(self, remote_id: RemoteId) -> None:
        """Delete the reservation; one that is not there is as good."""
        path = f"/steps/{_quoted(remote_id)}"
        answer = self._http.read("DELETE", path, proves_refusal=proves_refusal)
        if isinstance(answer, Refusal) and answer.code != httpx.codes.NOT_FOUND:
            runs = answer.code == httpx.codes.CONFLICT
            raise (AlreadyRuns if runs else ProtocolError)(
                f"{self.name} does not end {remote_id}: {answer.words}", code=answer.code
            )
        logger.info("%s: abandoned job %s", self.name, remote_id)

    def find(self, key: Key) -> RemoteId | None:
        """None: the provider keeps no keys."""
        return None

    def remote_jobs(self) -> list[RemoteJob] | None:
        """None: the provider keeps no keys."""
        return None

    def status(self, remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Answer]:
        """The status of many jobs; one that is reserved is SUBMITTED, in the provider's word OPEN."""
        return self._rest.status(remote_ids)

    def results(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> Iterator[tuple[int, Result]]:
        """As `RestBackend.results`."""
        return self._rest.results(remote_id, items)

    def cancel(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> None:
        """Ask for cancellation; a reserved job is ended by it."""
        self._rest.cancel(remote_id, items)

    def estimate(self, batch: Batch) -> float | None:
        """None: the interface has no prices."""
        return self._rest.estimate(batch)

    def target(self) -> Target:
        """Name the device; it takes any gate on any qubits."""
        return self._rest.target()

    def link(self, remote_id: RemoteId) -> str | None:
        """The address of the job itself."""
        return self._rest.link(remote_id)

    def close(self) -> None:
        """Close all connections. Idempotent."""
        self._rest.close()
        self._http.close()


def _quoted(remote_id: RemoteId) -> str:
    return urllib.parse.quote(remote_id, safe="")


def _part(batch: Batch, start: int, end: int) -> dict[str, Any]:
    return body_of(replace(batch, items=batch.items[start:end]))
