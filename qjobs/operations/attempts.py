"""What an attempt sends, and under which key."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence

from qjobs.errors import BackendUnavailable
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Attempt, Batch, Item, ItemSpec, Job, Key, RemoteRetryStrategy

__all__ = ["LEAVES_CANCELLED_ALONE", "LOOKED_UP", "batch_of", "items_to_send", "last_attempt", "submission_key"]

LEAVES_CANCELLED_ALONE = frozenset({RemoteRetryStrategy.DEFAULT, RemoteRetryStrategy.ALLOW_RESUBMIT})
"""Strategies that do not send a job whose cancellation was requested."""
LOOKED_UP = "looked up by its key and not found"
"""Message of an attempt whose lost reply was decided so: its request may still arrive."""


def last_attempt(attempts: Sequence[Attempt], epoch: int) -> Attempt | None:
    """The newest attempt of a job's present epoch that was sent; where none was, the newest.

    `attempts` are all attempts of the job, first to last.
    """
    present = [attempt for attempt in attempts if attempt.epoch == epoch]
    for attempt in reversed(present):
        if attempt.sent_at is not None:
            return attempt
    return present[-1] if present else None


def submission_key(job: Job, attempts: Sequence[Attempt], attempt: Attempt) -> Key:
    """The key that goes to the provider with an attempt.

    Attempts that left no remote job and send the same items share one key, so that a request that arrives
    late is found or deduplicated; once a remote job exists the next attempt gets a key of its own.
    """
    accepted = sum(one.number < attempt.number and one.remote_id is not None for one in attempts)
    key = job.key if accepted == 0 else f"{job.key}-{accepted + 1}"
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
    late = [item.label for item in items if item.index in missing and item.status is JobStatus.COMPLETED]
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


def batch_of(ledger: Ledger, job: Job, items: Sequence[Item], indices: tuple[int, ...] | None = None) -> Batch:
    """A job's items as they are sent, all or those of these indices, with their programs."""
    chosen = items if indices is None else [items[index] for index in indices]
    programs = ledger.programs({item.program for item in chosen})
    specs = []
    for item in chosen:
        spec = ItemSpec(
            label=item.label,
            program=item.program,
            shots=item.shots,
            parameters=item.parameters,
            source=item.source,
        )
        specs.append(spec)
    return Batch(number=0, items=tuple(specs), programs=programs, options=job.options, kind=job.kind, name=job.name)
