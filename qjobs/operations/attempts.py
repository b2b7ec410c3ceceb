"""What an attempt sends, and under which key."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from qjobs.errors import BackendUnavailable
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Attempt, Batch, ItemSpec, Job, Key, RemoteRetryStrategy

__all__ = ["GENTLE", "LOOKED_UP", "batch_of", "items_to_send", "last_attempt", "submission_key"]

GENTLE = frozenset({RemoteRetryStrategy.DEFAULT, RemoteRetryStrategy.ALLOW_RESUBMIT})
"""Strategies that leave a job alone whose cancellation was asked for."""
LOOKED_UP = "looked up by its key and not found"
"""Message of an attempt whose lost reply was decided so: its request may still arrive."""


def last_attempt(ledger: Ledger, job: Job) -> Attempt | None:
    """The newest attempt of the job's present epoch that was sent; where none was, the newest."""
    attempts = [attempt for attempt in ledger.attempts(job.job_id) if attempt.epoch == job.epoch]
    chosen = [attempt for attempt in attempts if attempt.sent_at is not None] or attempts
    return chosen[-1] if chosen else None


def submission_key(job: Job, attempts: Sequence[Attempt], attempt: Attempt) -> Key:
    """The key that goes to the provider with an attempt.

    Attempts that left no remote job and send the same items share one key, so that a request that arrives
    late is found or deduplicated; once a remote job exists the next attempt gets a key of its own.
    """
    accepted = sum(1 for a in attempts if a.number < attempt.number and a.remote_id is not None)
    key = job.key if accepted == 0 else f"{job.key}-{accepted + 1}"
    if attempt.items is not None:
        key = f"{key}.{hashlib.sha256(repr(attempt.items).encode()).hexdigest()[:8]}"
    return Key(key)


def items_to_send(
    ledger: Ledger, job: Job, strategy: RemoteRetryStrategy, only: Sequence[int] | None
) -> tuple[int, ...]:
    """The items that an attempt without a restart sends; those that were never sent always go along.

    One that follows a lost request sends the same items as that: both carry the same key, and the provider
    may answer with either.
    """
    before = [a for a in ledger.attempts(job.job_id) if a.epoch == job.epoch]
    if before and before[-1].remote_id is None and before[-1].message == LOOKED_UP:
        return tuple(range(job.n_items)) if before[-1].items is None else before[-1].items
    items = ledger.items(job.job_id)
    unwanted = {i.index for i in items if i.cancel_requested_at is not None and strategy in GENTLE}
    chosen = {i.index for i in items if only is None or i.index in only or i.status is JobStatus.CREATED}
    missing = ledger.missing_items(job.job_id)
    late = [i.label for i in items if i.index in missing and i.status is JobStatus.COMPLETED]
    if late and only is None:  # it ran, and it was paid for
        raise BackendUnavailable(
            f"{len(late)} items of {job.job_id} are COMPLETED and their results are not there yet (the first is "
            f"{late[0]}); enter again, or retry with the status COMPLETED to run them once more"
        )
    return tuple(index for index in missing if index in chosen - unwanted)


def batch_of(ledger: Ledger, job: Job, indices: tuple[int, ...] | None) -> Batch:
    """A job's items as they are sent, all or those of these indices, with their programs."""
    items = ledger.items(job.job_id)
    chosen = items if indices is None else [items[index] for index in indices]
    programs = ledger.programs({item.program for item in chosen})
    specs = tuple(
        ItemSpec(
            label=item.label,
            program=item.program,
            shots=item.shots,
            parameters=item.parameters,
            source=item.source,
        )
        for item in chosen
    )
    return Batch(number=0, items=specs, programs=programs, options=job.options, kind=job.kind, name=job.name)
