"""Any object that has the protocol `AsyncJobBackend` of Qoro's Divi, as a backend of ours.

Nothing of Divi is imported: an object is taken by its methods. It is told to send once, and it is never asked to send
again: the protocol has no key and no list of jobs, so a lost reply is opaque, unless the object can `find_job`, and
jobs that others have on the device are not seen.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from threading import Event, Thread
from typing import Any, Final

from qjobs.backends.async_job.answers import (
    CONFLICT,
    GONE,
    STATUSES,
    code_of,
    described,
    entry_of,
    meaning,
    says_gone,
    word_of,
)
from qjobs.backends.async_job.objects import (
    AsyncJobObject,
    ExecutionResult,
    check_protocol,
    check_sends_once,
    parameters_of,
)
from qjobs.backends.base import (
    Answer,
    Capability,
    Confirmation,
    Fingerprint,
    Journal,
    Limits,
    Lookup,
    MissingResult,
    RemoteJob,
    Result,
    Snapshot,
    Target,
)
from qjobs.backends.fan_out import FanOut, ask_each, raise_if_all_failed
from qjobs.backends.lru import LruCache
from qjobs.backends.shot_groups import shot_groups
from qjobs.errors import (
    CredentialsRejected,
    InvalidCircuit,
    InvalidInput,
    NotSent,
    ProtocolError,
    QJobsError,
    SubmissionRejected,
    SubmissionUnknown,
)
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, ItemSpec, JobKind, JsonValue, Key, RemoteId
from qjobs.redaction import bounded, redacted

__all__ = ["AsyncJob"]

logger = logging.getLogger(__name__)

_LIMITS: Final = Limits(max_items=100)
"""The protocol has no limit of circuits; 100 bounds what one lost job can cost."""
_CONFIRM: Final = Confirmation()
_NONE_COMES: Final = frozenset({JobStatus.ERROR, JobStatus.DEPLETED, JobStatus.TERMINATED})
"""Statuses after which no result comes. A cancelled job may be put back by its provider."""
_RENEW_S: Final = 30.0
"""How often the claim on a job is renewed while the object sends, in seconds."""
_LABEL: Final = re.compile(r"[A-Za-z0-9.-]+\.(\d{1,9})")


class AsyncJob:
    """A backend over an object that has Divi's protocol `AsyncJobBackend`.

    The object itself decides how long its requests may take; give it time-outs. Its `submit_circuits` is called once
    a submission, and nothing interrupts it. Every method of it may be called from several threads at once, as Divi
    does. What it raises counts as follows: an error of `qjobs.errors` is what it says; after `submit_circuits` was
    called, any other one means that a job may exist. Of other calls, an error with a `response` is read by the code of
    that; one that says that an answer cannot be read (`ValueError`, `TypeError`, ...) is a `ProtocolError`; any other
    means that the provider cannot be asked now.

    Args:
        target: The object; `close` leaves it open.
        name: The name that jobs are filed under. It stands for the server and the account behind the object, which
            nobody can see from outside: the same in every process, and another one for another account.
        device: The machine behind it; the name if empty.
        settings: What else changes the meaning of a result: a noise model, a mitigation. Never a secret.
        limits: What one job may hold. Where `submit_circuits` has no `shot_groups`, every item has the shots of the
            object, whatever they say.
        poll_interval_s: Shortest and longest pause between two polls, in seconds.
        settle_s: How long after a lost reply a job may still appear, in seconds.
        confirm: When reports are believed.

    Raises:
        InvalidInput: The object lacks a method, runs circuits without a job, or is known to send twice.
    """

    capabilities = frozenset({Capability.DURABLE})

    def __init__(
        self,
        target: AsyncJobObject,
        *,
        name: str,
        device: str = "",
        settings: Mapping[str, JsonValue] | None = None,
        limits: Limits = _LIMITS,
        poll_interval_s: tuple[float, float] = (2.0, 60.0),
        settle_s: float = 60.0,
        confirm: Confirmation = _CONFIRM,
    ) -> None:
        check_protocol(target)
        check_sends_once(target)
        if not name.strip():
            raise InvalidInput("give a name, the same in every process: jobs are found again by it", field="name")
        self.name = name
        self.device = device or name
        self.poll_interval_s = poll_interval_s
        self.settle_s = settle_s
        self.confirm = confirm
        self._object = target
        self._find = getattr(target, "find_job", None)
        self._takes_groups = "shot_groups" in parameters_of(target.submit_circuits)
        self.lookup = Lookup(by_key=callable(self._find))
        self.limits = limits if self._takes_groups else replace(limits, max_shots=target.shots, one_n_shots=True)
        words = json.dumps({"device": self.device, **(settings or {})}, sort_keys=True)
        self.fingerprint = Fingerprint(place=f"async-job as {name}".replace(" | ", " "), settings=words)
        self._fan_out = FanOut()
        self._sent: LruCache[RemoteId, tuple[int, ...]] = LruCache(1000)
        """Shots of the items of a job that was sent here: good for checks, never needed."""

    def submit(self, batch: Batch, key: Key, journal: Journal) -> None:
        """Create one job with one call of `submit_circuits`; circuit i has the label `KEY.i`.

        The call runs in a thread of its own. What interrupts the caller meanwhile, a time-out or Ctrl-C, is held back
        until the object has answered, so that its request is not cut and the id is not lost; a second one is not.
        """
        try:
            options = self._options(batch)
            circuits = {f"{key}.{position}": _text(batch, item) for position, item in enumerate(batch.items)}
        except InvalidCircuit as error:
            raise SubmissionRejected(f"the job was not sent: {error}", detail=str(error)) from error
        future, may_leave = self._prepared(circuits, options)
        try:
            journal.sending()
        except BaseException:
            future.cancel()
            raise
        finally:
            may_leave.set()
        held = _until_done(future, journal, self.name)
        if (failed := future.exception()) is not None:
            raise held or self._failure(failed) from failed
        remote_id = self._id_in(future.result())
        journal.accepted(remote_id)
        self._sent.put(remote_id, tuple(item.shots for item in batch.items))
        logger.info("%s: created job %s of %d items, key %s", self.name, remote_id, len(batch.items), key)
        if held is not None:
            raise held

    def _options(self, batch: Batch) -> dict[str, Any]:
        """What goes to `submit_circuits` besides the circuits.

        Raises:
            SubmissionRejected: The object cannot do what the batch wants.
        """
        words = ""
        shots = [item.shots for item in batch.items]
        usual = self._object.shots
        if batch.kind is not JobKind.EXECUTE or batch.options.observables:
            words = (
                "an AsyncJobBackend is asked for counts, and nothing else here: it keeps no observables with its job, "
                "so that a new process could not read expectation values"
            )
        elif not self._takes_groups and set(shots) != {usual}:
            words = f"each circuit is run {usual} times there, and this job has items of {sorted(set(shots))} shots"
        if words:
            raise SubmissionRejected(f"the job was not sent: {words}", detail=words)
        return {} if set(shots) == {usual} else {"shot_groups": shot_groups(shots)}

    def _prepared(self, circuits: Mapping[str, str], options: Mapping[str, Any]) -> tuple[Future[Any], Event]:
        """A thread that calls `submit_circuits` as soon as it may, unless its future is cancelled before."""
        future: Future[Any] = Future()
        may_leave = Event()

        def send() -> None:
            may_leave.wait()
            if not future.set_running_or_notify_cancel():
                return
            try:
                answer = self._object.submit_circuits(circuits, **options)
            except BaseException as error:  # whatever it is, the caller decides what it means
                future.set_exception(error)
            else:  # the id is in the log even where nobody waits for it any more
                logger.info("%s: submit_circuits gave job %s", self.name, getattr(answer, "job_id", None))
                future.set_result(answer)

        Thread(target=send, name=f"{self.name}-submit", daemon=True).start()
        return future, may_leave

    def _failure(self, error: BaseException) -> QJobsError:
        """What it means that `submit_circuits` raised: only an error of ours proves that there is no job."""
        if isinstance(error, NotSent | SubmissionRejected | CredentialsRejected | SubmissionUnknown):
            return error
        return SubmissionUnknown(
            f"submit_circuits of {self.name} raised {described(error)}; this does not prove that no job was made"
        )

    def _id_in(self, answer: object) -> RemoteId:
        job_id = getattr(answer, "job_id", None)
        if not isinstance(job_id, str) or not job_id:
            shown = bounded(redacted(repr(job_id)), 200)
            raise SubmissionUnknown(f"{self.name} accepted something, and gave the job id {shown}")
        return RemoteId(job_id)

    def find(self, key: Key) -> RemoteId | None:
        """Find a job by the label of its first circuit, where the object can `find_job`."""
        if not callable(self._find):
            return None
        try:
            found = self._find(f"{key}.0")
        except Exception as error:  # an object may raise anything
            raise meaning(error, f"{self.name} cannot be asked for a label") from error
        if found is None:
            return None
        if not isinstance(found, str) or not found:
            raise ProtocolError(f"{self.name} found a job without an id")
        return RemoteId(found)

    def remote_jobs(self) -> list[RemoteJob] | None:
        """None: the protocol has no list of jobs."""
        return None

    def status(self, remote_ids: Sequence[RemoteId]) -> Mapping[RemoteId, Answer]:
        """Ask for each job once, eight at a time, without the object's own loop."""
        wanted = list(dict.fromkeys(remote_ids))
        found = ask_each(self._fan_out, wanted, self._answer)
        raise_if_all_failed(found, len(wanted))
        return found

    def _answer(self, remote_id: RemoteId) -> Answer | None:
        """The status of a job, or why it cannot be told; None if the provider says that there is no such job."""
        try:
            said = self._object.poll_job_status(
                ExecutionResult(job_id=remote_id), loop_until_complete=False, verbose=False
            )
        except Exception as error:  # an object may raise anything
            return None if says_gone(error, GONE) else meaning(error, f"{self.name} does not show job {remote_id}")
        word = word_of(said)
        if word not in STATUSES:
            shown = bounded(redacted(word), 100)
            return ProtocolError(f"{self.name} answered the unknown status {shown!r}; the job keeps its last one")
        status = STATUSES[word]
        message = f"{self.name} says {word}, and gives no reason" if status in _NONE_COMES else ""
        return Snapshot(status=status, remote_status=word, message=message)

    def results(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> Iterator[tuple[int, Result]]:
        """Read the results of a completed job, which come all at once.

        How many items a job has is known only where it was sent, and of one that is completed: without `items`, any
        other raises.
        """
        now = self._answer(remote_id)
        if isinstance(now, QJobsError):
            raise now
        shots = self._sent.get(remote_id)
        found: Mapping[int, object] = {}
        if now is None:
            why = MissingResult(reason=f"{self.name} no longer has job {remote_id}", permanent=True)
        elif now.status is not JobStatus.COMPLETED:
            reason = f"job {remote_id} is {now.remote_status} and has no result"
            why = MissingResult(reason=reason, permanent=now.status in _NONE_COMES)
        else:
            why = MissingResult(reason=f"{self.name} gave no result of it with those of its job {remote_id}")
            try:
                found = self._read_results(remote_id)
            except _NoMore as error:
                why = MissingResult(reason=str(error), permanent=True)
        wanted = items
        if wanted is None and (shots is not None or found):
            wanted = range(len(shots) if shots is not None else max(found) + 1)
        if wanted is None:
            raise ProtocolError(f"{self.name} does not say how many circuits job {remote_id} has")
        wrong: ProtocolError | None = None
        for position in dict.fromkeys(wanted):
            n_shots = shots[position] if shots is not None and position < len(shots) else None
            try:
                entry = entry_of(found[position], n_shots) if position in found else why
            except ProtocolError as error:  # raised when the others are safe
                wrong = error
            else:
                yield position, entry
        if wrong is not None:
            raise wrong

    def _read_results(self, remote_id: RemoteId) -> dict[int, object]:
        """What `get_job_results` gives, by position.

        Raises:
            _NoMore: The provider has deleted them.
            BackendUnavailable, CredentialsRejected, ProtocolError: They cannot be read.
        """
        try:
            done = self._object.get_job_results(ExecutionResult(job_id=remote_id))
        except Exception as error:  # an object may raise anything
            what = f"{self.name} gives no results of job {remote_id}"
            if says_gone(error, {410}):  # a 404 of a job that it has just shown proves nothing
                raise _NoMore(f"{what}: {described(error)}") from error
            raise meaning(error, what) from error
        entries = getattr(done, "results", None)
        if not isinstance(entries, list | tuple):
            raise ProtocolError(f"{self.name} gave no list of results of job {remote_id}")
        found: dict[int, object] = {}
        for entry in entries:
            label = entry.get("label") if isinstance(entry, Mapping) else None
            ours = _LABEL.fullmatch(label) if isinstance(label, str) else None
            if ours is None or int(ours[1]) in found:
                shown = bounded(redacted(repr(label)), 100)
                raise ProtocolError(f"job {remote_id} of {self.name} has a result of {shown}, which is no label of it")
            found[int(ours[1])] = entry.get("results")
        return found

    def cancel(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> None:
        """Ask for the cancellation of a whole job; a conflict says that it is final, which is as good."""
        try:
            self._object.cancel_job(ExecutionResult(job_id=remote_id))
        except Exception as error:  # an object may raise anything
            if code_of(error) != CONFLICT:
                now = self._answer(remote_id)
                if now is not None and not (isinstance(now, Snapshot) and now.status.is_final):
                    raise meaning(error, f"{self.name} does not cancel job {remote_id}") from error
        logger.info("%s: asked to cancel job %s", self.name, remote_id)

    def estimate(self, batch: Batch) -> float | None:
        """None: the protocol has no prices."""
        return None

    def target(self) -> Target:
        """Name the device; nothing else is known of it."""
        return Target(name=self.device)

    def link(self, remote_id: RemoteId) -> str | None:
        """None: the protocol has no pages."""
        return None

    def close(self) -> None:
        """Let no poll begin any more. The object stays open. Idempotent."""
        self._fan_out.close()


class _NoMore(Exception):
    """The results of a job are deleted."""


def _text(batch: Batch, item: ItemSpec) -> str:
    from qjobs.circuits.templates import written_openqasm2

    return written_openqasm2(batch.programs[item.program], dict(item.parameters))


def _until_done(future: Future[Any], journal: Journal, name: str) -> BaseException | None:
    """Wait for the answer to a submission, and keep the claim on its job; returns what interrupted this thread.

    Nothing that the journal says now can call the request back, so that its refusal is only logged.
    """
    held: BaseException | None = None
    renewed_at = time.monotonic()
    while not future.done():
        try:
            wait([future], timeout=1.0)
            if time.monotonic() - renewed_at >= _RENEW_S:
                renewed_at = time.monotonic()
                journal.preparing()
        except QJobsError as error:
            logger.warning("%s: a claim could not be renewed while its request is under way: %s", name, error)
        except BaseException as error:
            if held is not None:
                raise
            held = error
            logger.warning("%s: %s is held back until the submission is answered", name, type(error).__name__)
    return held
