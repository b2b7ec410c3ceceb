"""Qoro's cloud, or a service that speaks as it does.

A job is made in steps: an id, then fragments with circuits, of which the last one lets it run. The id is in the ledger
before anything can run, so that a lost reply never needs a person, although Qoro has no list of jobs and keeps no key.

- The reply with the id is lost: an empty job stays behind, which can never run. Another id is asked for.
- The reply to a fragment that is not the last is lost: nobody can tell whether it arrived. That job is deleted, and
  another one is made.
- The reply to the last fragment is lost: the job is asked for. Whatever is not PENDING shows that it arrived. A job
  that is PENDING may wait in the queue, or for its last fragment, which Qoro does not tell apart: after `settle_s` it
  is cancelled. Where Qoro does that, it has not run, and another one is made; where it refuses, it ran, and is kept.

Qoro does not show the live jobs of an account, so that those of others do not count for the limits.
"""

from __future__ import annotations

import json
import logging
import threading
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
    Lookup,
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
from qjobs.backends.qoro import wire
from qjobs.backends.qoro.fragments import MAX_BYTES, fragments_of
from qjobs.backends.qoro.labels import Label, labels_of, read_label
from qjobs.backends.qoro.results import Results
from qjobs.backends.qoro.targets import (
    CLUSTERS,
    DEFAULT_CLUSTER,
    SYSTEMS,
    QoroTarget,
    TargetKind,
    as_target,
    clusters_in,
    systems_in,
)
from qjobs.backends.qoro.wire import Credits
from qjobs.errors import (
    AlreadyRuns,
    BackendUnavailable,
    CredentialsRejected,
    InvalidInput,
    ProtocolError,
    QJobsError,
    SubmissionRejected,
    SubmissionUnknown,
)
from qjobs.lifecycle import JobStatus
from qjobs.model import (
    Batch,
    JobKind,
    Key,
    Price,
    RemoteId,
)

logger = logging.getLogger(__name__)

QORO_URL: Final = "https://app.qoroquantum.net/api"
"""As `qoro-divi` has it."""
MAX_PER_S: Final = 10.0
"""The most requests a second that the real cloud is sent, if nobody says otherwise. It publishes no limit."""
POLL_INTERVAL_S: Final = (3.0, 120.0)
"""Shortest and longest pause between two polls of the real cloud, in seconds."""
_LIMITS: Final = Limits(max_items=1000)
"""Qoro publishes no limit of circuits in a job; this one bounds what one job can cost."""
_CONFIRM: Final = Confirmation()
_LONGEST_READ_S: Final = 60.0


class QoroBackend:
    """A simulator cluster or a system of QPUs behind Qoro's cloud, as a `SteppedBackend`.

    Args:
        target: The cluster or the system, as Qoro lists it.
        token: Gives the API key of the account; called for every request.
        kind: Which of the two `target` is; looked up in Qoro's lists before the first job if None.
        name: The name that jobs are filed under. Two accounts need two names.
        packing: Whether Qoro may run several circuits on one QPU at a time.
        verify: True for the usual authorities, False to trust anybody, or the path of a file of certificates.
        timeout_s: How long the answer to a step of a submission may take, in seconds; give the cloud 100 or more.
        limits: What one job may hold.
        fragment_bytes: The most that one request of a submission may hold, in bytes.
        poll_interval_s: Shortest and longest pause between two polls, in seconds.
        settle_s: How long a job is waited for that is PENDING after a lost reply, in seconds, before it is cancelled.
        confirm: When reports are believed.
        max_per_s: The most requests a second, sustained, of all backends of this `name`; None for no limit.
        rate: What a shot of a circuit costs, in credits; Qoro publishes no prices.
        limiter: Another limiter than the one of this process for the account.

    Raises:
        InvalidInput: There is no target, `url` is not a URL, or `verify` not a file of certificates.
    """

    lookup = Lookup()

    def __init__(
        self,
        target: str,
        *,
        token: Callable[[], str],
        kind: TargetKind | None = None,
        url: str = QORO_URL,
        name: str = "qoro",
        packing: bool = False,
        verify: bool | str = True,
        timeout_s: float = 120.0,
        limits: Limits = _LIMITS,
        fragment_bytes: int = MAX_BYTES,
        poll_interval_s: tuple[float, float] = POLL_INTERVAL_S,
        settle_s: float = 120.0,
        confirm: Confirmation = _CONFIRM,
        max_per_s: float | None = None,
        rate: float | None = None,
        limiter: Limiter | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not target:
            raise InvalidInput("a cluster or a system is needed; Qoro lists them", field="target")
        self.name = name
        self.device = target
        self.limits = limits
        self.confirm = confirm
        self.poll_interval_s = poll_interval_s
        self.settle_s = settle_s
        self.pricing = Pricing.of_shots("credits", rate, otherwise="not known: Qoro publishes no prices")
        self.capabilities = frozenset({Capability.DURABLE, Capability.EXACT_EXPVALS})
        if kind is TargetKind.SYSTEM:
            self.capabilities -= {Capability.EXACT_EXPVALS}
        self._kind = kind
        self._packing = packing
        self._fragment_bytes = fragment_bytes
        self._token = token
        self._read_timeout = httpx.Timeout(10.0, read=min(timeout_s, _LONGEST_READ_S))
        self._http = HttpClient(
            f"{url.rstrip('/')}/",
            name=name,
            headers=self._headers,
            read_timeout_s=timeout_s,
            limiter=limiter,
            max_per_s=max_per_s,
            sleep=sleep,
            verify=verify,
        )
        settings = {"packing": packing, "target": target}
        self.fingerprint = Fingerprint(
            place=f"{place_of(url)} as {name}".replace(" | ", " "), settings=json.dumps(settings, sort_keys=True)
        )
        self._fan_out = FanOut()
        self._found: QoroTarget | None = None
        self._lock = threading.Lock()
        self._sent: LruCache[RemoteId, tuple[Label, ...]] = LruCache(1000)
        """What was sent here, as the labels have it: good for checks, and where a job gives no results at all."""
        self._before: LruCache[RemoteId, Credits] = LruCache(1000)
        self._after: LruCache[RemoteId, str] = LruCache(1000)

    def _headers(self) -> Mapping[str, str]:
        token = self._token()
        if not token:
            raise CredentialsRejected(
                f"there is no API key for {self.name}; make one at Qoro, and put it into the block of its credentials "
                "or into QORO_API_KEY"
            )
        return {"authorization": f"Bearer {token}"}

    def submit(self, batch: Batch, key: Key, journal: Journal) -> None:
        """Get an id, then send the fragments; the last one lets the job run.

        An id whose reply is lost is an empty job that never runs: another one is asked for.
        """
        fragments = self._fragments(batch)
        journal.preparing()
        before = self._credits_before()
        target = self._checked_target(batch)
        body = wire.init_body(target, tag=key, expvals=bool(batch.options.observables), packing=self._packing)
        answer = self._prepared(wire.INIT, body)
        try:
            remote_id = wire.id_in(answer)
        except ProtocolError as error:
            raise BackendUnavailable(f"{error}; nothing can run yet") from error
        journal.reserved(remote_id)
        logger.info("%s: reserved job %s for %d items, key %s", self.name, remote_id, len(batch.items), key)
        if before is not None:
            self._before.put(remote_id, before)
        self._go_on(remote_id, batch, fragments, journal)

    def resume(self, remote_id: RemoteId, batch: Batch, key: Key, journal: Journal) -> None:
        """Send the only fragment of a job that has none yet.

        Raises:
            SubmissionRejected: Qoro no longer has the job, or it was ended there; or it has several fragments, and
                nobody can tell which of them arrived. It is to be abandoned, and another one made.
        """
        fragments = self._fragments(batch)
        body = self._read(wire.job_path(remote_id, "status"))
        if isinstance(body, Refusal):
            refusal = self._refusal(body, remote_id)
            if refusal is not None:
                raise refusal
            raise SubmissionRejected(f"{self.name} has no reservation {remote_id}", detail=body.words)
        status, word = wire.status_in(body)
        if status is JobStatus.CANCELLED:
            raise SubmissionRejected(f"{self.name} has ended the reservation {remote_id}", detail="it was cancelled")
        if word != wire.OPEN:
            journal.sending()
            journal.accepted(remote_id)
            return
        if len(fragments) > 1:
            words = f"nobody can tell which of its {len(fragments)} fragments arrived"
            raise SubmissionRejected(f"the reservation {remote_id} cannot be gone on with", detail=words)
        self._go_on(remote_id, batch, fragments, journal)

    def _fragments(self, batch: Batch) -> list[dict[str, Any]]:
        if batch.kind is not JobKind.EXECUTE:
            words = "Qoro runs circuits, and compiles them only for itself"
            raise SubmissionRejected(f"the job was not sent: {words}", detail=words)
        with before_sending():
            return fragments_of(batch, self._fragment_bytes)

    def _go_on(
        self, remote_id: RemoteId, batch: Batch, fragments: Sequence[Mapping[str, Any]], journal: Journal
    ) -> None:
        path = wire.job_path(remote_id, "add_circuits")
        for fragment in fragments[:-1]:
            journal.preparing()
            self._prepared(path, fragment, may_be_empty=True)
        self._http.submit(
            path, json=fragments[-1], sending=journal.sending, proves_refusal=wire.proves_refusal, may_be_empty=True
        )
        journal.accepted(remote_id)
        labels = []
        for position, text in enumerate(labels_of(batch)):
            label = read_label(text)
            if label is not None:
                labels.append(replace(label, position=position, observables=batch.options.observables))
        self._sent.put(remote_id, tuple(labels))
        logger.info(
            "%s: created job %s of %d items in %d fragments", self.name, remote_id, len(batch.items), len(fragments)
        )

    def _prepared(self, path: str, body: Mapping[str, Any], *, may_be_empty: bool = False) -> Any:
        """The answer to a step after which nothing can run; what becomes of one that is lost does not matter."""
        try:
            return self._http.submit(path, json=body, proves_refusal=wire.says_itself, may_be_empty=may_be_empty)
        except SubmissionUnknown as error:
            raise BackendUnavailable(f"{error}; nothing can run yet") from error

    def _credits_before(self) -> Credits | None:
        """The credits before a job; with this Qoro says whether it takes our key, before anything is made."""
        try:
            return self.credits()
        except CredentialsRejected:
            raise
        except QJobsError as error:
            logger.info("%s: the credits are not known: %.500s", self.name, error)
            return None

    def quota_left(self) -> Price:
        """The credits that the account may still spend."""
        return Price(amount=float(self.credits().balance), unit=self.pricing.unit)

    def credits(self) -> Credits:
        """The credits of the account, as Qoro has them now.

        Raises:
            BackendUnavailable, CredentialsRejected, ProtocolError: They cannot be read.
        """
        return wire.credits_in(self._got(wire.CREDITS))

    def _checked_target(self, batch: Batch) -> QoroTarget:
        """The target of a batch. Whatever fails here, nothing was sent."""
        with before_sending():
            found = self._target()
        words = ""
        if found is None:
            words = f"Qoro lists no cluster and no system of the name {self.device}"
        elif batch.options.observables and found.gives_expvals is False:
            words = f"{self.device} gives no expectation values; remove exact, and sample them"
        if words or found is None:
            raise SubmissionRejected(f"the job was not sent: {words}", detail=words)
        return found

    def _target(self) -> QoroTarget | None:
        """The target as Qoro lists it, which is asked once; None where it lists none of the name."""
        with self._lock:
            if self._found is None:
                self._found = self._listed_target()
            return self._found

    def _listed_target(self) -> QoroTarget | None:
        found: list[QoroTarget] = []
        if self._kind is not TargetKind.SYSTEM:
            found += clusters_in(self._got(CLUSTERS))
        if self._kind is not TargetKind.CLUSTER:
            found += systems_in(self._got(SYSTEMS))
        for target in found:
            if target.name == self.device:
                return target
        kind = self._kind or (TargetKind.CLUSTER if self.device == DEFAULT_CLUSTER else None)
        return None if kind is None else QoroTarget(name=self.device, kind=kind)

    def _got(self, path: str) -> Any:
        return self._http.read("GET", path, timeout=self._read_timeout)

    def _read(self, path: str) -> Any:
        return self._http.read("GET", path, timeout=self._read_timeout, proves_refusal=wire.says_itself)

    def abandon(self, remote_id: RemoteId) -> None:
        """Cancel and delete a job that was not finalised; one that is not there is as good.

        Raises:
            AlreadyRuns: It runs, or has run.
        """
        now = self._answer(remote_id)
        if isinstance(now, Snapshot) and now.remote_status == wire.OPEN:
            try:
                self.cancel(remote_id)
            except ProtocolError as error:  # it runs; or Qoro deletes such a job, and does not cancel it
                logger.info("%s: %s is not cancelled: %.500s", self.name, remote_id, error)
            now = self._answer(remote_id)
        if isinstance(now, QJobsError):
            raise now
        if now is None:
            return
        is_dead = now.status is JobStatus.CANCELLED
        if not is_dead and now.remote_status != wire.OPEN:
            raise AlreadyRuns(f"{self.name} does not end {remote_id}, which is {now.remote_status}")
        answer = self._http.read(
            "DELETE", wire.job_path(remote_id), timeout=self._read_timeout, proves_refusal=wire.says_itself
        )
        refused = self._refusal(answer, remote_id) if isinstance(answer, Refusal) else None
        if refused is not None and not is_dead:
            raise refused
        logger.info("%s: abandoned job %s", self.name, remote_id)

    def find(self, key: Key) -> RemoteId | None:
        """None: Qoro keeps the key as a tag, and finds nothing by it."""
        return None

    def remote_jobs(self) -> list[RemoteJob] | None:
        """None: Qoro has no list of jobs."""
        return None

    def status(self, remote_ids: Sequence[RemoteId]) -> Mapping[RemoteId, Answer]:
        """Ask for each job, eight at a time; a job that waits for its last fragment is SUBMITTED, as one in the queue.

        The message of a final job has the credits of the account before and after it, as far as they are known.
        """
        wanted = list(dict.fromkeys(remote_ids))
        found = ask_each(self._fan_out, wanted, self._answer)
        raise_if_all_failed(found, len(wanted))
        return found

    def _answer(self, remote_id: RemoteId) -> Answer | None:
        """The status of a job, or why it cannot be told; None if Qoro itself says that there is no such job."""
        try:
            body = self._read(wire.job_path(remote_id, "status"))
            if isinstance(body, Refusal):
                return self._refusal(body, remote_id)
            status, word = wire.status_in(body)
            words = []
            if status.is_final:
                if status not in {JobStatus.COMPLETED, JobStatus.CANCELLED}:
                    words.append(f"{self.name} says {word}, and gives no reason")
                words.append(self._credits_after(remote_id))
            return Snapshot(status=status, remote_status=word, message="; ".join(filter(None, words)))
        except QJobsError as error:
            return error

    def _credits_after(self, remote_id: RemoteId) -> str:
        """The credits before and after a job, in words; asked for once, and nothing rests on them."""
        known = self._after.get(remote_id)
        if known is not None:
            return known
        try:
            after = self.credits()
        except QJobsError as error:
            logger.info("%s: the credits after %s are not known: %.500s", self.name, remote_id, error)
            return ""
        before = self._before.get(remote_id)
        words = f"the account has {after.balance} credits"
        if before is not None:
            words = f"{words}, and had {before.balance} before this job"
        logger.info("%s: %s is final; %s", self.name, remote_id, words)
        self._after.put(remote_id, words)
        return words

    def _refusal(self, refusal: Refusal, remote_id: RemoteId) -> QJobsError | None:
        """What a refusal of one job means; None where there is no such job."""
        if self._is_gone(refusal):
            return None
        words = f"{self.name} refuses what was asked about job {remote_id} ({refusal.code}: {refusal.words})"
        if refusal.code == httpx.codes.FORBIDDEN:
            return CredentialsRejected(f"{words}; renew the credentials in the backend's block")
        return ProtocolError(words, code=refusal.code)

    def _is_gone(self, refusal: Refusal) -> bool:
        """Whether it is the job that is not there, and not the route: then there would be no lists either."""
        if not refusal.says_gone:
            return False
        if not refusal.lacks_route:
            return True
        try:
            clusters_in(self._got(CLUSTERS))
        except QJobsError:
            return False
        return True

    def results(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> Iterator[tuple[int, Result]]:
        """Read the results of a job, page by page; each is given as soon as its page is here.

        How many items a job has is known only where it was sent, and of one that has results: without `items`, any
        other raises.
        """
        known = self._sent.get(remote_id)
        reading = Results(self.name, remote_id, known, None if items is None else list(dict.fromkeys(items)))
        offset = 0
        while True:
            path = f"{wire.job_path(remote_id, 'resultsV2')}?limit={wire.PAGE}&offset={offset}"
            answer = self._http.read(
                "GET", path, timeout=self._read_timeout, ignore={400}, proves_refusal=wire.says_itself
            )
            if isinstance(answer, Refusal):
                refusal = self._refusal(answer, remote_id)
                if refusal is not None:
                    raise refusal
                words = f"{self.name} no longer has job {remote_id} ({answer.code}: {answer.words})"
                yield from reading.rest(words, permanent=True)
                return
            if answer is None:
                break
            rows, has_more = wire.page_in(answer)
            yield from reading.page(rows)
            if not has_more:
                break
            if not rows:
                raise ProtocolError(f"{self.name} promises more results of {remote_id} than it has")
            offset += len(rows)
        if reading.is_complete:
            reading.check()
            return
        yield from self._missing(remote_id, reading)
        reading.check()

    def _missing(self, remote_id: RemoteId, reading: Results) -> Iterator[tuple[int, Result]]:
        """Why the rest of the items have no result."""
        now = self._answer(remote_id)
        if not isinstance(now, Snapshot):
            yield from reading.rest(f"{self.name} has no result of job {remote_id}", permanent=False)
            return
        failed = now.status in {JobStatus.ERROR, JobStatus.DEPLETED, JobStatus.TERMINATED}
        reason = f"job {remote_id} is {now.remote_status} and has no result"
        if failed:
            reason = f"{reason}: {now.message}"
        forgotten = now.status is JobStatus.COMPLETED and reading.has_some
        yield from reading.rest(reason, permanent=failed or forgotten)

    def cancel(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> None:
        """Ask for the cancellation of a whole job; what becomes of it, the next polls say."""
        try:
            answer = self._http.read(
                "POST",
                wire.job_path(remote_id, "cancel"),
                timeout=self._read_timeout,
                proves_refusal=wire.says_itself,
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
        """What the user's rate says; None without one, because Qoro publishes no prices."""
        return self.pricing.cost_of(batch)

    def target(self) -> Target:
        """Read the target from Qoro's lists: its name, and how many qubits its widest QPU has."""
        found = self._target()
        if found is None:
            raise ProtocolError(f"{self.name} lists no cluster and no system of the name {self.device}")
        return as_target(found)

    def link(self, remote_id: RemoteId) -> str | None:
        """None: Qoro publishes no address of the page of a job."""
        return None

    def close(self) -> None:
        """Close all connections. Idempotent."""
        self._fan_out.close()
        self._http.close()
