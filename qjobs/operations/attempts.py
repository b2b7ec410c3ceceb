"""What an attempt sends, under which key, and whether the caps of the policy allow it."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Collection, Sequence
from datetime import datetime

from qjobs.backends.base import Backend, Priced
from qjobs.errors import BackendUnavailable, PolicyLimit
from qjobs.ledger import Ledger
from qjobs.lifecycle import NOT_MOVED_BY_WAITING, JobStatus
from qjobs.model import Attempt, Batch, Item, ItemSpec, Job, Key, Price, RemoteRetryStrategy
from qjobs.operations.retry import RetryPolicy

__all__ = [
    "LEAVES_CANCELLED_ALONE",
    "LOOKED_UP",
    "NOT_FOUND",
    "REPLACED",
    "RISK_TAKEN",
    "SAME_KEY",
    "batch_of",
    "check_caps",
    "check_cost",
    "items_to_send",
    "last_attempt",
    "price_of",
    "submission_key",
]

logger = logging.getLogger(__name__)

LEAVES_CANCELLED_ALONE = frozenset({RemoteRetryStrategy.DEFAULT, RemoteRetryStrategy.ALLOW_RESUBMIT})
"""Strategies that do not send a job whose cancellation was requested."""
LOOKED_UP = "looked up by its key and not found"
"""Message of an attempt whose lost reply was decided so: its request may still arrive."""
REPLACED = "looked up by its key and not found; other circuits take the place of its own"
"""As `LOOKED_UP`, before circuits that were compiled anew are sent: they get a key of their own."""
NOT_FOUND = "not found"
RISK_TAKEN = "risk taken"
SAME_KEY = "same key"
"""Causes of the events that say how a lost reply was decided, before the job was sent again."""


def last_attempt(attempts: Sequence[Attempt], epoch: int) -> Attempt | None:
    """The newest attempt of a job's present epoch that was sent or is open; where there is none, the newest.

    `attempts` are all attempts of the job, first to last.
    """
    present = [attempt for attempt in attempts if attempt.epoch == epoch]
    for attempt in reversed(present):
        if attempt.sent_at is not None or not attempt.status.is_final:
            return attempt
    return present[-1] if present else None


def submission_key(job: Job, attempts: Sequence[Attempt], attempt: Attempt) -> Key:
    """The key that goes to the provider with an attempt.

    Attempts that left no remote job and send the same items share one key, so that a request that arrives
    late is found or deduplicated. Once a remote job exists, or other circuits are sent, the next attempt gets a key of
    its own.
    """
    others = 0
    for one in attempts:
        others += one.number < attempt.number and (one.accepted_at is not None or one.message == REPLACED)
    key = job.key if others == 0 else f"{job.key}-{others + 1}"
    if attempt.items is not None:
        key = f"{key}.{hashlib.sha256(repr(attempt.items).encode()).hexdigest()[:8]}"
    return Key(key)


def items_to_send(
    job: Job,
    attempts: Sequence[Attempt],
    items: Sequence[Item],
    missing: Collection[int],
    strategy: RemoteRetryStrategy,
    only: Sequence[int] | None,
) -> tuple[int, ...]:
    """Indices of the items that an attempt without a restart sends; those that were never sent always go along.

    One that follows a lost request sends the same items as that: both carry the same key, and the provider
    may answer with either. `attempts` come first to last, `items` in order; `missing` are the indices of the items
    without a result. DEFAULT and ALLOW_RESUBMIT leave out items whose cancellation was requested. `only` limits what is
    sent again; None for all.

    Raises:
        BackendUnavailable: Items are COMPLETED and their results are still to come.
    """
    before = [attempt for attempt in attempts if attempt.epoch == job.epoch]
    if before and before[-1].remote_id is None and before[-1].message == LOOKED_UP:
        return tuple(range(job.n_items)) if before[-1].items is None else before[-1].items
    late = []
    for item in items:
        if item.index in missing and item.status is JobStatus.COMPLETED and item.no_result is None:
            late.append(item.label)
    if late and only is None:  # it ran, and it was paid for
        raise BackendUnavailable(
            f"{len(late)} items of {job.job_id} are COMPLETED and their results are not there yet (the first is "
            f"{late[0]}); collect again later, or run them once more with: qjobs jobs retry {job.job_id} "
            "--status COMPLETED --strategy FORCE_RESUBMIT"
        )
    chosen = []
    for item in items:
        cancelled = item.cancel_requested_at is not None and strategy in LEAVES_CANCELLED_ALONE
        named = only is None or item.index in only or item.status is JobStatus.CREATED
        if item.index in missing and named and not cancelled:
            chosen.append(item.index)
    return tuple(chosen)


def batch_of(ledger: Ledger, job: Job, indices: Collection[int] | None = None, specs: Sequence[ItemSpec] = ()) -> Batch:
    """A job's items as they are sent, all or those of these indices, with their programs.

    `specs` are all items of the job, where they have been read before.
    """
    items = specs or ledger.item_specs(job.job_id)
    if indices is not None:
        items = [items[index] for index in indices]
    programs = ledger.programs({item.program for item in items})
    return Batch(number=0, items=tuple(items), programs=programs, options=job.options, kind=job.kind, name=job.name)


def check_caps(
    ledger: Ledger,
    job: Job,
    attempts: Sequence[Attempt],
    policy: RetryPolicy,
    present: datetime,
    strategy: RemoteRetryStrategy = RemoteRetryStrategy.FORCE_RESUBMIT,
) -> None:
    """Refuse a further submission of a job that is above a cap of the policy; lost ones count too.

    `strategy` is what the caller asked for.

    Raises:
        PolicyLimit: It was submitted too often, or was tried for too long.
    """
    if not attempts:
        return
    events = ledger.events(job.job_id, of_items=False)
    sent = sum(attempt.sent_at is not None for attempt in attempts)
    sent += sum(event.cause in {NOT_FOUND, RISK_TAKEN, SAME_KEY} for event in events)
    if not sent:
        return
    if sent >= policy.max_submissions:
        command = _again(ledger, job, strategy, f"--max-submissions {sent + 1}")
        raise PolicyLimit(
            f"{job.job_id} was submitted {sent} times and the policy allows {policy.max_submissions}; see its history "
            f"with: qjobs jobs show {job.job_id}; or allow one more with: {command}",
            job_id=job.job_id,
        )
    tried_s = _tried_s(attempts, present)
    if tried_s > policy.max_total_s:
        command = _again(ledger, job, strategy, f"--max-total-s {tried_s + 3600:.0f}")
        raise PolicyLimit(
            f"{tried_s:.0f} s were spent trying to submit {job.job_id}, and the policy allows {policy.max_total_s:g}; "
            f"allow an hour more with: {command}",
            job_id=job.job_id,
        )


def _again(ledger: Ledger, job: Job, strategy: RemoteRetryStrategy, cap: str) -> str:
    """The command that sends a job again under another cap.

    It names the statuses of the job's items where it would not find them itself.
    """
    if strategy is RemoteRetryStrategy.FULL_RESTART:
        return f"qjobs jobs retry {job.job_id} --strategy FULL_RESTART {cap}"
    missing = set(ledger.missing_items(job.job_id))
    found = sorted({item.status for item in ledger.items(job.job_id) if item.index in missing})
    chosen = [] if job.status in NOT_MOVED_BY_WAITING or JobStatus.ERROR in found else found
    named = "".join(f" --status {status}" for status in chosen)
    return f"qjobs jobs retry {job.job_id}{named} --strategy FORCE_RESUBMIT {cap}"


def price_of(backend: Backend, batch: Batch) -> Price:
    """What a batch will cost, as far as its backend can tell."""
    unit = backend.pricing.unit if isinstance(backend, Priced) else ""
    return Price(amount=backend.estimate(batch), unit=unit)


def check_cost(backend: Backend, job: Job, policy: RetryPolicy, batch: Batch, attempts: Sequence[Attempt] = ()) -> None:
    """Refuse a submission, the first one too, with which a job would cost more than the policy allows.

    Raises:
        PolicyLimit: It would, or nobody can tell what it would cost.
    """
    if policy.max_cost is None:
        return
    estimate = backend.estimate(batch)
    if estimate is None:
        raise PolicyLimit(
            f"nobody can tell what {job.job_id} would cost on {job.device}, and it is capped at {policy.max_cost:g}; "
            f"it is not sent; send it without a cap with: qjobs jobs retry {job.job_id} --strategy FORCE_RESUBMIT",
            job_id=job.job_id,
        )
    cost = (job.cost or 0.0) + estimate
    if cost > policy.max_cost:
        raise PolicyLimit(
            f"{job.job_id} would cost {cost:g} in all, which is more than the policy's {policy.max_cost:g}; allow it "
            f"with: qjobs jobs retry {job.job_id} --strategy FORCE_RESUBMIT --max-cost {math.ceil(cost)}; or send less",
            job_id=job.job_id,
        )


def _tried_s(attempts: Sequence[Attempt], present: datetime) -> float:
    """How long a job was tried to be submitted, in seconds; the time after an answer does not count."""
    tried_s = 0.0
    began: datetime | None = None
    for attempt in attempts:
        began = began or attempt.claimed_at
        refused_at = attempt.finished_at if attempt.sent_at is not None else None
        until = attempt.accepted_at or refused_at
        if until is not None:
            tried_s += (until - began).total_seconds()
            began = None
    return tried_s if began is None else tried_s + (present - began).total_seconds()
