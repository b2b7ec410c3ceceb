"""The Munich Quantum Portal, or a service that speaks as it does.

One POST makes a job of many circuits. The portal keeps no key, so a lost reply is opaque, unless a login to the
portal's own list is given: then a key of ours in a comment of the first circuit is looked for in that list.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import httpx

from qjobs.backends.base import (
    Answer,
    Capability,
    Confirmation,
    Fingerprint,
    Journal,
    Limits,
    LiveJob,
    Lookup,
    MissingResult,
    Pricing,
    RemoteJob,
    Result,
    Snapshot,
    Target,
)
from qjobs.backends.fan_out import FanOut, ask_each, raise_if_all_failed
from qjobs.backends.http import HttpClient, Refusal, before_sending, place_of
from qjobs.backends.limiter import Limiter
from qjobs.backends.lru import LruCache
from qjobs.backends.mqp import circuits, wire
from qjobs.backends.mqp.portal import PortalList, PortalLogin
from qjobs.backends.mqp.resources import Resource, resource_in, target_of
from qjobs.errors import (
    CredentialsRejected,
    InvalidInput,
    NotSent,
    ProtocolError,
    QJobsError,
    SubmissionRejected,
    SubmissionUnknown,
)
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, ItemResult, JobKind, Key, RemoteId

logger = logging.getLogger(__name__)

MQP_URL: Final = "https://portal.quantum.lrz.de:4000"
"""As `mqp-client` has it."""
MAX_PER_S: Final = 10.0
"""The most requests a second that the real portal is sent, if nobody says otherwise. It publishes no limit."""
POLL_INTERVAL_S: Final = (2.0, 120.0)
"""Shortest and longest pause between two polls of the real portal, in seconds."""
_LIMITS: Final = Limits(max_items=100, max_live_jobs=2, one_n_shots=True)
"""Two jobs of a user are scheduled on a resource at a time (MQP-Database-Access), and a job has one number of shots.
The portal publishes no limit of circuits; 100 bounds what one lost job can cost."""
_OFFLINE: Final = Confirmation(revocable=frozenset({JobStatus.CANCELLED}), apart_s=180.0)
"""A job that was cancelled because its resource went offline may be put back to PENDING: `cancel_job` of the same."""
_LOOK_AGAIN_S: Final = 60.0
_LONGEST_READ_S: Final = 30.0


class MqpBackend:
    """A resource behind the Munich Quantum Portal.

    Args:
        resource: The resource as the portal names it.
        token: Gives the token of the account; called for every request.
        name: The name that jobs are filed under. Two accounts need two names.
        queued: Whether a job may be sent while the resource is offline, and is then kept for up to a day.
        no_modify: Whether the resource leaves circuits as they are.
        portal: A login to the portal itself, with which lost submissions are looked up.
        verify: True for the usual authorities, False to trust anybody, or the path of a file of certificates.
        timeout_s: How long the answer to a submission may take, in seconds; give the portal two minutes or more.
        limits: What one job may hold; a job has one number of shots whatever they say.
        poll_interval_s: Shortest and longest pause between two polls, in seconds.
        settle_s: How long after a lost reply a job may still appear, in seconds.
        confirm: When reports are believed; if not given, a cancellation is asked about again after three minutes.
        max_per_s: The most requests a second, sustained, of all backends of this `name`; None for no limit.
        rate: What a shot of a circuit costs, in budget units; the portal publishes no prices.
        limiter: Another limiter than the one of this process for the account.

    Raises:
        InvalidInput: There is no resource, `url` is not a URL, or `verify` not a file of certificates.
    """

    capabilities = frozenset({Capability.DURABLE})

    def __init__(
        self,
        resource: str,
        *,
        token: Callable[[], str],
        url: str = MQP_URL,
        name: str = "mqp",
        queued: bool = False,
        no_modify: bool = False,
        portal: PortalLogin | None = None,
        verify: bool | str = True,
        timeout_s: float = 120.0,
        limits: Limits = _LIMITS,
        poll_interval_s: tuple[float, float] = POLL_INTERVAL_S,
        settle_s: float = 60.0,
        confirm: Confirmation = _OFFLINE,
        max_per_s: float | None = None,
        rate: float | None = None,
        limiter: Limiter | None = None,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not resource:
            raise InvalidInput("a resource is needed; the portal lists them", field="resource")
        self.name = name
        self.device = resource
        self.limits = replace(limits, one_n_shots=True)
        self.confirm = confirm
        self.poll_interval_s = poll_interval_s
        self.settle_s = settle_s
        self.pricing = Pricing.of_shots("budget units", rate, otherwise="not known: the portal publishes no prices")
        self.lookup = Lookup(by_key=portal is not None)
        self._queued = queued
        self._no_modify = no_modify
        self._token = token
        self._read_timeout = httpx.Timeout(10.0, read=min(timeout_s, _LONGEST_READ_S))
        shared: dict[str, Any] = {"limiter": limiter, "max_per_s": max_per_s, "sleep": sleep, "verify": verify}
        self._http = HttpClient(url, name=name, headers=self._headers, read_timeout_s=timeout_s, **shared)
        self._list = None if portal is None else PortalList(portal, name=name, monotonic=monotonic, **shared)
        settings = {"no_modify": no_modify, "resource": resource}
        self.fingerprint = Fingerprint(
            place=f"{place_of(url)} as {name}".replace(" | ", " "), settings=json.dumps(settings, sort_keys=True)
        )
        self._fan_out = FanOut()
        self._sent: LruCache[RemoteId, tuple[int, int]] = LruCache(1000)
        """Circuits and shots of a job that was sent here: good for checks, never needed."""

    def _headers(self) -> Mapping[str, str]:
        token = self._token()
        if not token:
            raise CredentialsRejected(
                f"there is no token for {self.name}; make one at the portal, and put it into the block of its "
                "credentials or into QJOBS_MQP_TOKEN"
            )
        return {"authorization": f"Bearer {token}"}

    def submit(self, batch: Batch, key: Key, journal: Journal) -> None:
        """See that the resource is online, or that the job may wait for it; then create the job with one POST."""
        shots = self._shots_of(batch)
        with before_sending():
            form, texts = circuits.written(batch, key if self._list is not None else None)
        self._check_resource()
        body = wire.job_body(
            resource=self.device,
            circuits=texts,
            circuit_format=form,
            shots=shots,
            no_modify=self._no_modify,
            queued=self._queued,
        )
        answer = self._http.submit(wire.JOB, json=body, sending=journal.sending, proves_refusal=wire.proves_refusal)
        try:
            remote_id = wire.id_in(answer)
        except ProtocolError as error:
            raise SubmissionUnknown(f"{self.name} accepted something and answered no id: {error}") from error
        journal.accepted(remote_id)
        self._sent.put(remote_id, (len(texts), shots))
        logger.info("%s: created job %s of %d items, key %s", self.name, remote_id, len(batch.items), key)

    def _shots_of(self, batch: Batch) -> int:
        numbers = {item.shots for item in batch.items}
        words = ""
        if batch.kind is not JobKind.EXECUTE or batch.options.observables:
            words = "the portal runs circuits for counts, and nothing else"
        elif len(numbers) != 1:
            words = f"a job of the portal has one number of shots, and this one has {sorted(numbers)}"
        if words:
            raise SubmissionRejected(f"the job was not sent: {words}", detail=words)
        return numbers.pop()

    def _check_resource(self) -> None:
        """See that the portal takes our token and the resource takes jobs. Whatever fails here, nothing was sent."""
        with before_sending():
            resource = self._resource()
        if isinstance(resource, Refusal):
            raise SubmissionRejected(f"the job was not sent: {self._no_resource(resource)}", detail=resource.words)
        if not (resource.online or self._queued):
            raise NotSent(
                f"{self.device} is offline, and nothing was sent; submit again when it is online, or set queued, with "
                "which the portal keeps a job for up to 24 hours",
                retry_after_s=_LOOK_AGAIN_S,
            )

    def _resource(self) -> Resource | Refusal:
        """The resource as the portal shows it, or the portal's own refusal to.

        Raises:
            BackendUnavailable, CredentialsRejected: Not now.
            ProtocolError: The answer cannot be read.
        """
        answer = self._read(wire.resource_path(self.device))
        if not isinstance(answer, Refusal):
            return resource_in(answer)
        if answer.code == httpx.codes.FORBIDDEN:
            raise CredentialsRejected(f"{self._no_resource(answer)}; renew the credentials in the backend's block")
        return answer

    def _no_resource(self, refusal: Refusal) -> str:
        return f"{self.name} does not show the resource {self.device} ({refusal.code}: {refusal.words})"

    def _read(self, path: str) -> Any:
        return self._http.read("GET", path, timeout=self._read_timeout, proves_refusal=wire.says_itself)

    def find(self, key: Key) -> RemoteId | None:
        """Find a job by the comment in its first circuit, in the portal's list; None without a login to it."""
        return None if self._list is None else self._list.find(key)

    def remote_jobs(self) -> list[RemoteJob] | None:
        """The jobs in the portal's list whose first circuit has such a comment; None without a login to it."""
        return None if self._list is None else self._list.with_keys()

    def live_jobs(self) -> list[LiveJob] | None:
        """The account's circuit jobs that wait or run, from the portal's list; None without a login to it.

        The interface of the jobs themselves counts a resource's pending jobs, which are everybody's and take no place
        of ours.
        """
        return None if self._list is None else self._list.live(self.device)

    def status(self, remote_ids: Sequence[RemoteId]) -> Mapping[RemoteId, Answer]:
        """Ask for each job, eight at a time: the portal has no list of statuses."""
        wanted = list(dict.fromkeys(remote_ids))
        found = ask_each(self._fan_out, wanted, self._answer)
        raise_if_all_failed(found, len(wanted))
        return found

    def _answer(self, remote_id: RemoteId) -> Answer | None:
        """The status of a job, or why it cannot be told; None if the portal itself says that there is no such job."""
        try:
            body = self._read(wire.job_path(remote_id, "status"))
            if isinstance(body, Refusal):
                return self._refusal(body, remote_id)
            status, word = wire.status_in(body)
            message = ""
            if status is JobStatus.CANCELLED:
                message = self._cancel_reason(remote_id)
            elif status is JobStatus.ERROR:
                message = f"{self.name} says {word}, and gives no reason"
            return Snapshot(status=status, remote_status=word, message=message)
        except QJobsError as error:
            return error

    def _refusal(self, refusal: Refusal, remote_id: RemoteId) -> QJobsError | None:
        """What a refusal of one job means; None where there is no such job."""
        if self._is_gone(refusal):
            return None
        words = f"{self.name} does not show job {remote_id} ({refusal.code}: {refusal.words})"
        if refusal.code == httpx.codes.FORBIDDEN:
            return CredentialsRejected(f"{words}; renew the credentials in the backend's block")
        return ProtocolError(words, code=refusal.code)

    def _is_gone(self, refusal: Refusal) -> bool:
        """Whether it is the job that is not there, and not the route: then the resource would not be there either."""
        if not refusal.says_gone:
            return False
        if not refusal.lacks_route:
            return True
        try:
            return isinstance(self._resource(), Resource)
        except QJobsError:
            return False

    def _cancel_reason(self, remote_id: RemoteId) -> str:
        """Why a job was cancelled; asked for only when it was, and nothing rests on it."""
        try:
            answer = self._read(wire.job_path(remote_id, "cancel_reason"))
        except QJobsError as error:
            logger.info("%s: why %s was cancelled is not known: %.500s", self.name, remote_id, error)
            return ""
        return "" if isinstance(answer, Refusal) else wire.reason_in(answer)

    def results(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> Iterator[tuple[int, Result]]:
        """Read the results of a job, which come all at once.

        How many items a job has is known only where it was sent, and of one that has its results: without `items`, any
        other raises.
        """
        known = self._sent.get(remote_id)
        answer = self._read(wire.job_path(remote_id, "result"))
        entries = None if isinstance(answer, Refusal) else wire.results_in(answer)
        wanted = items
        if wanted is None and (known is not None or entries is not None):
            wanted = range(known[0] if known is not None else len(entries or ()))
        if wanted is None:
            raise ProtocolError(f"{self.name} does not say how many circuits job {remote_id} has", code=_code(answer))
        if entries is None:
            why = self._missing(answer if isinstance(answer, Refusal) else None, remote_id)
            yield from ((position, why) for position in dict.fromkeys(wanted))
            return
        if not isinstance(answer, Refusal):
            self._log_moments(remote_id, answer)
        yield from self._entries(entries, list(dict.fromkeys(wanted)), known)

    def _missing(self, refusal: Refusal | None, remote_id: RemoteId) -> MissingResult:
        """Why a job has no results.

        Raises:
            CredentialsRejected, ProtocolError: The portal refused them, and has the job.
        """
        if refusal is not None:
            error = self._refusal(refusal, remote_id)
            if error is not None:
                raise error
            words = f"{self.name} no longer has job {remote_id} ({refusal.code}: {refusal.words})"
            return MissingResult(reason=words, permanent=True)
        now = self._answer(remote_id)
        if not isinstance(now, Snapshot):
            return MissingResult(reason=f"{self.name} has no result of job {remote_id}")
        reason = f"job {remote_id} is {now.remote_status} and has no result"
        if now.message:
            reason = f"{reason}: {now.message}"
        return MissingResult(reason=reason, permanent=now.status is JobStatus.ERROR)

    def _entries(
        self, entries: list[object], wanted: list[int], known: tuple[int, int] | None
    ) -> Iterator[tuple[int, Result]]:
        """The result of each wanted item; an entry that is out of the contract is raised when the others are safe."""
        n_items = known[0] if known is not None else max([*wanted, len(entries) - 1]) + 1
        if n_items != len(entries):
            words = f"{self.name} gave {len(entries)} results for {n_items} circuits; whose they are cannot be told"
            yield from ((position, MissingResult(reason=words)) for position in wanted)
            return
        wrong: ProtocolError | None = None
        sums: dict[int, int] = {}
        counts: dict[int, dict[str, int]] = {}
        for position, entry in enumerate(entries):
            try:
                counts[position] = {} if entry is None else wire.counts_in(entry)
            except ProtocolError as error:
                wrong = error if position in wanted else wrong
                continue
            sums[position] = sum(counts[position].values())
        shots = known[1] if known is not None else max(sums.values(), default=0)
        for position in wanted:
            if position not in counts:
                continue
            if entries[position] is None:
                words = f"{self.name} gave no counts for this circuit, and some for others of its job"
                yield position, MissingResult(reason=words, permanent=True)
            elif sums[position] != shots:
                words = f"its counts make {sums[position]} shots, and those of its job {shots}"
                yield position, MissingResult(reason=words)
            else:
                yield position, ItemResult(counts=counts[position])
        if wrong is not None:
            raise wrong

    def _log_moments(self, remote_id: RemoteId, answer: Mapping[str, Any]) -> None:
        names = ("timestamp_submitted", "timestamp_scheduled", "timestamp_completed")
        moments = [str(wire.moment_in(answer.get(name))) for name in names]
        logger.debug("%s: job %s was submitted, scheduled, completed at %s", self.name, remote_id, ", ".join(moments))

    def cancel(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> None:
        """Ask for the cancellation of a whole job; what becomes of it, the next polls say."""
        try:
            answer = self._http.read(
                "DELETE", wire.job_path(remote_id), timeout=self._read_timeout, proves_refusal=wire.says_itself
            )
            refused = self._refusal(answer, remote_id) if isinstance(answer, Refusal) else None
        except ProtocolError as error:
            refused = None if error.code is None else error  # it was done; the body means nothing
        if refused is not None:
            now = self._answer(remote_id)
            if now is not None and not (isinstance(now, Snapshot) and now.status.is_final):
                raise refused
        logger.info("%s: asked to cancel job %s", self.name, remote_id)

    def estimate(self, batch: Batch) -> float | None:
        """What the user's rate says; None without one, because the portal publishes no prices."""
        return self.pricing.cost_of(batch)

    def target(self) -> Target:
        """Read the resource from the portal: its qubits, its gates as far as Qiskit knows them, its coupled pairs."""
        resource = self._resource()
        if isinstance(resource, Refusal):
            raise ProtocolError(self._no_resource(resource), code=resource.code)
        return target_of(resource)

    def link(self, remote_id: RemoteId) -> str | None:
        """None: the portal publishes no address of the page of a job."""
        return None

    def close(self) -> None:
        """Close all connections. Idempotent."""
        self._fan_out.close()
        self._http.close()
        if self._list is not None:
            self._list.close()


def _code(answer: object) -> int | None:
    return answer.code if isinstance(answer, Refusal) else None
