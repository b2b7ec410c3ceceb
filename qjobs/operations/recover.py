"""Recover: retry, rerun, reconcile, adopt, discard, and list what nobody claims.

Nothing here decides by itself that a remote job does not exist: what cannot be found stays UNKNOWN, with a sentence
on what a person can do.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from qjobs.backends.base import Backend, Fingerprint, RemoteJob, SteppedBackend
from qjobs.backends.limiter import share_paces
from qjobs.errors import (
    BackendUnavailable,
    Busy,
    CredentialsRejected,
    InvalidInput,
    ProtocolError,
    QJobsError,
    StaleJob,
    WrongBackend,
)
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import (
    Attempt,
    Batch,
    Job,
    JobId,
    JobSpec,
    ProgramHash,
    RemoteId,
    RemoteRetryStrategy,
    Snapshot,
)
from qjobs.operations.attempts import NOT_FOUND, SAME_KEY, batch_of, last_attempt, submission_key
from qjobs.operations.batching import base_key, batch_key
from qjobs.operations.cancel import end_strays
from qjobs.operations.collect import store_ready
from qjobs.operations.look_up import LookUp
from qjobs.operations.poll import check_place, poll, utc_now
from qjobs.operations.retry import Action, RetryPolicy
from qjobs.operations.submit import Submission, submit

__all__ = ["Finding", "Reconciled", "adopt", "discard", "orphans", "reconcile", "rerun", "retry"]

logger = logging.getLogger(__name__)


class Finding(StrEnum):
    """What `reconcile` found of one job."""

    ADOPTED = "adopted"
    """The remote job was found by its key."""
    NOT_FOUND = "not found"
    """The provider can look keys up and does not have it; it stays UNKNOWN."""
    OPAQUE = "opaque"
    """The provider cannot look keys up; it stays UNKNOWN."""
    LATER = "later"
    """The provider cannot be asked now, or it is not certain yet."""
    LATE = "late"
    """A second remote job of it appeared late, and is cancelled while it has not run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """What `reconcile` found of one job; `words` says what a person can do."""

    job_id: JobId
    finding: Finding
    words: str


def retry(
    ledger: Ledger,
    backend: Backend,
    job_id: JobId,
    *,
    statuses: Sequence[JobStatus] | None = None,
    strategy: RemoteRetryStrategy = RemoteRetryStrategy.DEFAULT,
    policy: RetryPolicy | None = None,
    programs: Mapping[ProgramHash, ProgramHash] | None = None,
    now: Callable[[], datetime] = utc_now,
) -> Submission:
    """Retry a job under its own name, or only its items of some statuses.

    Results that are there are kept, and a duplicate is not saved. Items in one of `statuses` and without a result are
    retried; None takes those in ERROR, as Nexus does, or the whole job where it is not at its provider: it was never
    sent, its reply was lost, it was refused, or its provider does not know it any more. Where no item is of these, the
    job is asked for and nothing is sent. The strategy DEFAULT only polls and collects. Where `policy` is None, the
    backend's default caps hold. `programs` is as in `submit`.

    Raises:
        As `submit`.
    """
    job = ledger.job(job_id)
    if strategy is RemoteRetryStrategy.FULL_RESTART or (statuses is None and _is_a_whole(ledger, job)):
        logger.info("%s: retry, %s", job_id, strategy)
        ledger.record_event(job_id, "retry", f"the job, {strategy}", now=now())
        return submit(ledger, backend, job_id, strategy=strategy, policy=policy, programs=programs, now=now)
    wanted = (JobStatus.ERROR,) if statuses is None else statuses
    missing = set(ledger.missing_items(job_id))
    without = [item for item in ledger.items(job_id) if item.index in missing]
    chosen = tuple(item.index for item in without if item.status in wanted)
    if not chosen:
        return _ask_only(ledger, backend, job, wanted, strategy, now)
    logger.info("%s: retry %d items, %s", job_id, len(chosen), strategy)
    ledger.record_event(job_id, "retry", f"{len(chosen)} items, {strategy}", now=now())
    return submit(ledger, backend, job_id, strategy=strategy, policy=policy, only=chosen, now=now)


def _ask_only(
    ledger: Ledger,
    backend: Backend,
    job: Job,
    wanted: Sequence[JobStatus],
    strategy: RemoteRetryStrategy,
    now: Callable[[], datetime],
) -> Submission:
    """Send nothing, and say why; what the ledger takes for over may be alive there again, and then it is followed."""
    job_id = job.job_id
    asked = Submission(job_id=job_id, action=Action.RETURN, reason="", status=job.status, remote_id=None)
    if not _is_a_whole(ledger, job):
        asked = submit(ledger, backend, job_id, now=now)  # DEFAULT, which sends nothing of a job that was sent
        if asked.status is not job.status:
            return asked
    missing = set(ledger.missing_items(job_id))
    there = sorted({str(item.status) for item in ledger.items(job_id) if item.index in missing})
    words = f"no item without a result is {', '.join(wanted)}"
    if there:
        words += (
            f", they are {', '.join(there)}; name them with: qjobs jobs retry {job_id} --status {there[0]} "
            f"--strategy {strategy}"
        )
    return replace(asked, action=Action.RETURN, reason=words)


def _is_a_whole(ledger: Ledger, job: Job) -> bool:
    """Whether no remote job of the present epoch tells a job's items apart: it is retried as a whole."""
    if job.status in {JobStatus.CREATED, JobStatus.UNKNOWN, JobStatus.LOST}:
        return True
    last = last_attempt(ledger.attempts(job.job_id), job.epoch)
    return last is None or last.remote_id is None


def rerun(ledger: Ledger, job_id: JobId, name: str, *, run: str = "", now: Callable[[], datetime] = utc_now) -> JobId:
    """A new job of the same definition under a new name, from any state of the old one. Sends nothing.

    Returns:
        The new job, in CREATED.

    Raises:
        InvalidInput: The name is empty.
    """
    if not name.strip():
        raise InvalidInput("a rerun needs a name of its own", field="name")
    job = ledger.job(job_id)
    batch = batch_of(ledger, job)
    sources = {item.source for item in batch.items if item.source is not None}
    programs = {**ledger.programs(sources), **batch.programs}
    identity = f"rerun/{job_id}/{uuid.uuid4().hex}"
    key = batch_key(
        identity,
        0,
        batch.items,
        batch.options,
        backend=job.backend,
        device=job.device,
        ledger=ledger.key_prefix,
        fingerprint=Fingerprint.of(job.fingerprint),
        kind=job.kind,
    )
    spec = JobSpec(
        key=key,
        backend=job.backend,
        device=job.device,
        name=name,
        batch=Batch(number=0, items=batch.items, programs=programs, options=batch.options, kind=job.kind),
        kind=job.kind,
        run=run,
        logical_run=run or identity,
        project=job.project,
        owner=job.owner,
        cost_estimate=job.cost_estimate,
        opened_as=job.opened_as,
        fingerprint=job.fingerprint,
        definition=job.definition,
        compiled_with=job.compiled_with,
        properties={**job.properties, "rerun_of": job_id},
    )
    (new,) = ledger.create([spec], now=now())
    logger.info("%s: rerun as %s, %s", job_id, new, name)
    return new


def reconcile(
    ledger: Ledger,
    backends: Mapping[str, Backend],
    *,
    job_ids: Sequence[JobId] | None = None,
    now: Callable[[], datetime] = utc_now,
) -> list[Reconciled]:
    """Settle UNKNOWN jobs and submissions whose lease ran out, where their providers can look them up.

    What is found is adopted, and its results are fetched; all else stays UNKNOWN. A remote job that appears after its
    job was sent again is told, and cancelled while it has not run. Nothing is sent. `backends` maps names to backends;
    jobs of others are left alone. `job_ids` names the only jobs to look at; None takes all.

    Returns:
        One entry per UNKNOWN job of these backends, and one per remote job that appeared late.
    """
    share_paces(ledger.paces)
    ledger.submissions.expire_leases(now=now(), job_ids=job_ids)
    found = []
    for job in ledger.jobs(job_ids=job_ids, statuses=[JobStatus.UNKNOWN]):
        if job.backend in backends:
            found.append(_reconcile(ledger, backends[job.backend], job, now))
            logger.info("%s: %s, %s", job.job_id, found[-1].finding, found[-1].words)
    for backend in backends.values():
        found += _late_ones(ledger, backend, job_ids, now)
    return found


def _reconcile(ledger: Ledger, backend: Backend, job: Job, now: Callable[[], datetime]) -> Reconciled:
    attempts = ledger.attempts(job.job_id)
    attempt = attempts[-1]
    if attempt.remote_id is None and not backend.lookup.can_find:
        words = (
            f"{backend.name} cannot look it up, so check {backend.device} yourself; if it is there: "
            f"qjobs jobs adopt {job.job_id} ITS_ID; if it is not: qjobs jobs discard {job.job_id}"
        )
        return Reconciled(job_id=job.job_id, finding=Finding.OPAQUE, words=words)
    try:
        check_place(job, backend)
        look_up = LookUp(ledger, backend, job, attempts, now)
        if attempt.is_reserved:
            words = (
                f"{attempt.remote_id} is reserved and nothing of it has run; go on with: qjobs jobs retry {job.job_id}"
            )
            return Reconciled(job_id=job.job_id, finding=Finding.LATER, words=words)
        if attempt.remote_id is None:
            remote_id = look_up.adopt(attempt, cause="reconcile")
        else:
            remote_id = attempt.remote_id if look_up.adopt_by_id(attempt, cancel_now=False) else None
        if remote_id is not None:
            poll(ledger, backend, [job.job_id], now=now)
            store_ready(ledger, backend, [job.job_id], now=now)
            return Reconciled(job_id=job.job_id, finding=Finding.ADOPTED, words=f"it is {remote_id}")
        if attempt.remote_id is None and not look_up.is_deduplicated():
            look_up.check_absence_is_certain(attempt)  # else the advice would be refused
    except (BackendUnavailable, Busy, CredentialsRejected, ProtocolError, StaleJob, WrongBackend) as error:
        return Reconciled(job_id=job.job_id, finding=Finding.LATER, words=str(error))
    words = (
        f"{backend.name} does not have it; send it again with: qjobs jobs retry {job.job_id} "
        f"--strategy ALLOW_RESUBMIT; or: qjobs jobs discard {job.job_id}"
    )
    return Reconciled(job_id=job.job_id, finding=Finding.NOT_FOUND, words=words)


def _late_ones(
    ledger: Ledger, backend: Backend, job_ids: Sequence[JobId] | None, now: Callable[[], datetime]
) -> list[Reconciled]:
    """Remote jobs that appeared after their job was looked up, not found and sent again: told, and cancelled."""
    candidates = ledger.jobs(job_ids=job_ids, backend=backend.name, device=backend.device)
    sent_again: set[JobId] = set()
    for cause in (NOT_FOUND, SAME_KEY):
        sent_again |= ledger.jobs_with_event([job.job_id for job in candidates], cause)
    sent_again |= {attempt.job_id for attempt in ledger.lost_and_replaced([job.job_id for job in candidates])}
    if not sent_again:
        return []
    found = []
    try:
        listed = backend.remote_jobs() or []
        by_key = {}  # read after the list and before the claims: what is being sent now is no late one
        for job in ledger.jobs(job_ids=sorted(sent_again)):
            if job.status not in {JobStatus.SUBMITTING, JobStatus.UNKNOWN}:
                by_key[job.key] = job.job_id
        for lost in _unclaimed(ledger, backend, listed):
            job_id = by_key.get(base_key(lost.key))
            if job_id is None:
                continue
            words = f"{lost.remote_id} appeared after the job was sent again"
            if ledger.strays.record(job_id, lost.remote_id, why=words, now=now()):
                found.append(Reconciled(job_id=job_id, finding=Finding.LATE, words=f"{words}; it is cancelled"))
                logger.error("%s: %s: two remote jobs were made of it; the late one is cancelled", job_id, words)
        end_strays(ledger, backend, sorted(sent_again), now=now)
    except QJobsError as error:
        logger.warning("%s: late jobs cannot be looked for: %s", backend.name, error)
    return found


def adopt(
    ledger: Ledger,
    backend: Backend,
    job_id: JobId,
    remote_id: RemoteId,
    *,
    now: Callable[[], datetime] = utc_now,
) -> Job:
    """Make a remote job that a person names the remote job of an UNKNOWN job.

    Returns:
        The job after one poll.

    Raises:
        InvalidInput: The job is not UNKNOWN; the provider does not know the id; it is another job's; or
            its key or its number of items is not ours.
        Busy: Another process decided about it meanwhile.
    """
    job = ledger.job(job_id)
    attempt = ledger.last_attempts([job_id]).get(job_id)
    if attempt is None or attempt.status is not JobStatus.UNKNOWN:
        raise InvalidInput(f"{job_id} is {job.status}; only an UNKNOWN job can adopt a remote job", field="job_id")
    check_place(job, backend)
    owner = ledger.job_of_remote(backend.name, remote_id)
    if owner is not None:
        raise InvalidInput(f"{remote_id} already belongs to {owner}", field="remote_id")
    problem = _why_not_ours(ledger, backend, job, attempt, remote_id)
    if problem:
        raise InvalidInput(f"{remote_id} is not {job_id}: {problem}", field="remote_id")
    try:
        ledger.submissions.accept(attempt, remote_id, now=now(), cause="adopted by a person")
    except StaleJob as error:
        raise _decided_already(job_id, error) from error
    logger.info("%s: adopted %s", job_id, remote_id)
    poll(ledger, backend, [job_id], now=now)
    store_ready(ledger, backend, [job_id], now=now)
    return ledger.job(job_id)


def _why_not_ours(ledger: Ledger, backend: Backend, job: Job, attempt: Attempt, remote_id: RemoteId) -> str:
    """Why a remote job cannot be that of `attempt`; empty if it can."""
    sent = job.n_items if attempt.items is None else len(attempt.items)
    snapshot = backend.status([remote_id]).get(remote_id)
    if isinstance(snapshot, QJobsError):
        raise snapshot
    if snapshot is None:
        return f"{backend.name} does not know it"
    if isinstance(backend, SteppedBackend) and snapshot.status is JobStatus.SUBMITTED:
        return f"nothing of it runs, and nothing ever will by itself; go on with: qjobs jobs retry {job.job_id}"
    if snapshot.items is not None and len(snapshot.items) != sent:
        return f"it has {len(snapshot.items)} items, and {sent} were sent"
    key = submission_key(job, ledger.attempts(job.job_id), attempt)
    for listed in backend.remote_jobs() or []:
        if listed.remote_id == remote_id and listed.key != key:
            return "it carries another key"
    return ""


def discard(ledger: Ledger, job_id: JobId, *, now: Callable[[], datetime] = utc_now) -> Job:
    """Put an UNKNOWN or LOST job back to where it was before it was sent: a person says that it does not exist there.

    Raises:
        InvalidInput: The job is neither; or the provider has reserved it, so that it can be gone on with.
        Busy: Another process decided about it meanwhile.
    """
    job = ledger.job(job_id)
    attempt = ledger.last_attempts([job_id]).get(job_id)
    if attempt is None or attempt.status not in {JobStatus.UNKNOWN, JobStatus.LOST}:
        raise InvalidInput(f"{job_id} is {job.status}; only an UNKNOWN or LOST job can be discarded", field="job_id")
    if attempt.is_reserved:
        raise InvalidInput(
            f"{job_id} is reserved as {attempt.remote_id} and has not run; go on with: qjobs jobs retry {job_id}",
            field="job_id",
        )
    words = "a person says that no remote job exists"
    try:
        ledger.submissions.release(attempt, words, now=now(), cause="discarded by a person")
    except StaleJob as error:
        raise _decided_already(job_id, error) from error
    logger.info("%s: discarded", job_id)
    return ledger.job(job_id)


def _decided_already(job_id: JobId, error: StaleJob) -> Busy:
    return Busy(f"another process decided about {job_id} first ({error}); see: qjobs jobs show {job_id}", job_id=job_id)


def orphans(ledger: Ledger, backend: Backend) -> list[RemoteJob]:
    """Remote jobs with a key of this ledger that no row of it claims; those of other ledgers are not ours to judge.

    One that was to be cancelled and has ended is left out, unless it is alive there again.

    Raises:
        InvalidInput: The provider cannot list them.
        BackendUnavailable: It cannot be asked now.
    """
    found = backend.remote_jobs()
    if found is None:
        raise InvalidInput(f"{backend.name} cannot list jobs by our keys; check {backend.device} yourself")
    unclaimed = _unclaimed(ledger, backend, found)
    ended = ledger.strays.ended([base_key(job.key) for job in unclaimed]) & {job.remote_id for job in unclaimed}
    answers = backend.status(sorted(ended)) if ended else {}
    for remote_id, answer in answers.items():
        if isinstance(answer, Snapshot) and not answer.status.is_final:
            ended.discard(remote_id)
    return [job for job in unclaimed if job.remote_id not in ended]


def _unclaimed(ledger: Ledger, backend: Backend, listed: Sequence[RemoteJob]) -> list[RemoteJob]:
    claimed = ledger.remote_ids([base_key(job.key) for job in listed])
    unclaimed = [job for job in listed if job.remote_id not in claimed]
    known = ledger.known_keys([base_key(job.key) for job in unclaimed])  # keys of older versions name no ledger
    mine = f"{ledger.key_prefix}-"
    return [job for job in unclaimed if job.key.startswith(mine) or base_key(job.key) in known]
