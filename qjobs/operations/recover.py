"""Recover: retry, rerun, reconcile, adopt, discard, and list what nobody claims.

Nothing here decides by itself that a remote job does not exist: what cannot be found stays UNKNOWN, with a sentence
on what a person can do.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from qjobs.backends.base import Backend, RemoteJob
from qjobs.errors import BackendUnavailable, Busy, CredentialsRejected, InvalidInput, ProtocolError, StaleJob
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Attempt, Batch, Job, JobId, JobSpec, LostReply, RemoteId, RemoteRetryStrategy
from qjobs.operations.attempts import batch_of, submission_key
from qjobs.operations.batching import batch_key
from qjobs.operations.poll import poll, utc_now
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
    """The provider cannot be asked now."""


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
    statuses: Sequence[JobStatus] = (JobStatus.ERROR,),
    strategy: RemoteRetryStrategy = RemoteRetryStrategy.DEFAULT,
    policy: RetryPolicy | None = None,
    now: Callable[[], datetime] = utc_now,
) -> Submission:
    """Retry a job under its own name, or only its items of some statuses.

    Results that are there are kept, and a duplicate is not saved. By default items in ERROR are
    retried, as Nexus does. Items in one of `statuses` and without a result are retried. The strategy DEFAULT only polls
    and collects. Where `policy` is None, the backend's default caps hold.

    Raises:
        As `submit`.
    """
    if strategy is RemoteRetryStrategy.FULL_RESTART:
        return submit(ledger, backend, job_id, strategy=strategy, policy=policy, now=now)
    missing = set(ledger.missing_items(job_id))
    chosen = tuple(item.index for item in ledger.items(job_id) if item.index in missing and item.status in statuses)
    if not chosen:
        return Submission(
            job_id=job_id,
            action=Action.RETURN,
            reason=f"no item without a result is {', '.join(statuses)}",
            status=ledger.job(job_id).status,
            remote_id=None,
        )
    logger.info("%s: retry %d items, %s", job_id, len(chosen), strategy)
    ledger.record_event(job_id, "retry", f"{len(chosen)} items, {strategy}", now=now())
    return submit(ledger, backend, job_id, strategy=strategy, policy=policy, only=chosen, now=now)


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
    batch = batch_of(ledger, job, ledger.items(job_id))
    sources = {item.source for item in batch.items if item.source is not None}
    programs = {**ledger.programs(sources), **batch.programs}
    identity = f"rerun/{job_id}/{uuid.uuid4().hex}"
    key = batch_key(identity, 0, batch.items, batch.options, backend=job.backend, device=job.device, kind=job.kind)
    spec = JobSpec(
        key=key,
        backend=job.backend,
        device=job.device,
        name=name,
        batch=Batch(number=0, items=batch.items, programs=programs, options=batch.options, kind=job.kind),
        kind=job.kind,
        run=run,
        project=job.project,
        owner=job.owner,
        cost_estimate=job.cost_estimate,
        opened_as=job.opened_as,
        definition=job.definition,
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

    What is found by its key is adopted; all else stays UNKNOWN. Nothing is sent. `backends` maps names to backends;
    jobs of others are left alone. `job_ids` names the only jobs to look at; None takes all.

    Returns:
        One entry per UNKNOWN job of these backends.
    """
    ledger.submissions.expire_leases(now=now(), job_ids=job_ids)
    found = []
    for job in ledger.jobs(job_ids=job_ids, statuses=[JobStatus.UNKNOWN]):
        if job.backend in backends:
            found.append(_reconcile(ledger, backends[job.backend], job, now))
            logger.info("%s: %s, %s", job.job_id, found[-1].finding, found[-1].words)
    return found


def _reconcile(ledger: Ledger, backend: Backend, job: Job, now: Callable[[], datetime]) -> Reconciled:
    if backend.lost_reply is LostReply.OPAQUE:
        words = (
            f"{backend.name} cannot look it up, so check {backend.device} yourself; if it is there: "
            f"qjobs jobs adopt {job.job_id} ITS_ID; if it is not: qjobs jobs discard {job.job_id}"
        )
        return Reconciled(job_id=job.job_id, finding=Finding.OPAQUE, words=words)
    attempt = ledger.last_attempts([job.job_id])[job.job_id]
    try:
        remote_id = backend.find(submission_key(job, ledger.attempts(job.job_id), attempt))
        if remote_id is not None:
            ledger.submissions.accept(attempt, remote_id, now=now(), cause="reconcile")
            poll(ledger, backend, [job.job_id], now=now)
            return Reconciled(job_id=job.job_id, finding=Finding.ADOPTED, words=f"it is {remote_id}")
    except (BackendUnavailable, CredentialsRejected, ProtocolError, StaleJob) as error:
        return Reconciled(job_id=job.job_id, finding=Finding.LATER, words=str(error))
    words = (
        f"{backend.name} does not have it; send it again with: qjobs jobs retry {job.job_id} --status CREATED "
        f"--strategy ALLOW_RESUBMIT; or: qjobs jobs discard {job.job_id}"
    )
    return Reconciled(job_id=job.job_id, finding=Finding.NOT_FOUND, words=words)


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
    return ledger.job(job_id)


def _why_not_ours(ledger: Ledger, backend: Backend, job: Job, attempt: Attempt, remote_id: RemoteId) -> str:
    """Why a remote job cannot be that of `attempt`; empty if it can."""
    sent = job.n_items if attempt.items is None else len(attempt.items)
    snapshot = backend.status([remote_id]).get(remote_id)
    if snapshot is None:
        return f"{backend.name} does not know it"
    if snapshot.items is not None and len(snapshot.items) != sent:
        return f"it has {len(snapshot.items)} items, and {sent} were sent"
    key = submission_key(job, ledger.attempts(job.job_id), attempt)
    for listed in backend.remote_jobs() or []:
        if listed.remote_id == remote_id and listed.key != key:
            return "it carries another key"
    return ""


def discard(ledger: Ledger, job_id: JobId, *, now: Callable[[], datetime] = utc_now) -> Job:
    """Put an UNKNOWN job back to where it was before it was sent: a person says that its remote job does not exist.

    Raises:
        InvalidInput: The job is not UNKNOWN.
        Busy: Another process decided about it meanwhile.
    """
    job = ledger.job(job_id)
    attempt = ledger.last_attempts([job_id]).get(job_id)
    if attempt is None or attempt.status is not JobStatus.UNKNOWN:
        raise InvalidInput(f"{job_id} is {job.status}; only an UNKNOWN job can be discarded", field="job_id")
    try:
        ledger.submissions.release(
            attempt, "a person says that no remote job exists", now=now(), cause="discarded by a person"
        )
    except StaleJob as error:
        raise _decided_already(job_id, error) from error
    logger.info("%s: discarded", job_id)
    return ledger.job(job_id)


def _decided_already(job_id: JobId, error: StaleJob) -> Busy:
    return Busy(f"another process decided about {job_id} first ({error}); see: qjobs jobs show {job_id}", job_id=job_id)


def orphans(ledger: Ledger, backend: Backend) -> list[RemoteJob]:
    """Remote jobs with a key of ours that no row of the ledger claims.

    Raises:
        InvalidInput: The provider cannot list them.
        BackendUnavailable: It cannot be asked now.
    """
    found = backend.remote_jobs()
    if found is None:
        raise InvalidInput(f"{backend.name} cannot list jobs by our keys; check {backend.device} yourself")
    claimed = ledger.remote_ids(backend.name)
    return [job for job in found if job.remote_id not in claimed]
