"""Processes that submit jobs under one cap, to be killed at any moment: what each of them does."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace

import qjobs
from qjobs.backends.base import Answer, Pricing, Snapshot
from qjobs.backends.rest import LostReply, RestBackend
from qjobs.errors import LedgerError, OverCap, QJobsError
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, JobId, RemoteId, RemoteRetryStrategy
from qjobs.operations.retry import RetryPolicy

ESTIMATE = 4.0
COST = 3.25
"""What a job is estimated at, and what it costs in the end, in HQC."""
_POLICY = RetryPolicy(rungs=(), max_submissions=1000)
_GIVES_UP_S = 120.0


class PricedRest(RestBackend):
    """The reference adapter for a provider that bills HQC, and tells so when a job has run."""

    pricing = Pricing(unit="HQC", words="by the item")

    def estimate(self, batch: Batch) -> float | None:
        return ESTIMATE * len(batch.items)

    def status(self, remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Answer]:
        answers = super().status(remote_ids)
        for remote_id, answer in answers.items():
            if isinstance(answer, Snapshot) and answer.status is JobStatus.COMPLETED:
                answers[remote_id] = replace(answer, cost=COST)
        return answers


def opened(url: str) -> PricedRest:
    return PricedRest(url, lost_reply=LostReply.FINDABLE, settle_s=0.5)


def work(ledger_url: str, provider_url: str, job_ids: Sequence[JobId]) -> None:
    """Submit and poll jobs until all have run, or a cap holds what is left and nothing is under way anywhere."""
    until = time.monotonic() + _GIVES_UP_S
    with Ledger(ledger_url) as ledger, contextlib.closing(opened(provider_url)) as backend:
        while time.monotonic() < until:
            before = _statuses(ledger)
            held = {job_id for job_id in job_ids if _is_held(ledger, backend, job_id)}
            with contextlib.suppress(QJobsError):
                qjobs.poll(ledger, backend, job_ids)
            left = {job_id for job_id in job_ids if not before[job_id].is_final}
            is_quiet = all(each.is_final or each is JobStatus.CREATED for each in before.values())
            if is_quiet and held == left and _statuses(ledger) == before:  # so that nothing came free meanwhile
                return
            time.sleep(0.02)
    raise TimeoutError(f"{len(left)} jobs do not end")


def _statuses(ledger: Ledger) -> dict[JobId, JobStatus]:
    return {job.job_id: job.status for job in ledger.jobs()}


def _is_held(ledger: Ledger, backend: PricedRest, job_id: JobId) -> bool:
    """Enter the submission of a job once more; whether a cap holds it."""
    status = ledger.job(job_id).status
    if status not in {JobStatus.CREATED, JobStatus.SUBMITTING, JobStatus.UNKNOWN}:
        return False
    try:
        qjobs.submit(ledger, backend, job_id, strategy=RemoteRetryStrategy.ALLOW_RESUBMIT, policy=_POLICY)
    except OverCap:
        return True
    except LedgerError:
        raise
    except QJobsError:
        return False
    return False
