"""Jobs that stand as the rows of the decision table say, and entering their submission again."""

from __future__ import annotations

import pytest
from scripted import Fault, ScriptedBackend
from support import at, create

import qjobs
from qjobs.errors import (
    BackendUnavailable,
    NotSent,
    SubmissionRejected,
    SubmissionUnknown,
)
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId, RemoteId, RemoteRetryStrategy
from qjobs.operations.retry import RetryPolicy
from qjobs.operations.submit import Submission

DEFAULT = RemoteRetryStrategy.DEFAULT
S = JobStatus
LOST = SubmissionUnknown("the connection broke")
RETRY_FOR_EVER = RetryPolicy(rungs=(), max_submissions=100)


def enter(
    ledger: Ledger,
    backend: ScriptedBackend,
    job_id: JobId,
    strategy: RemoteRetryStrategy = DEFAULT,
    *,
    after_s: float = 1.0,
    policy: RetryPolicy | None = None,
) -> Submission:
    return qjobs.submit(ledger, backend, job_id, strategy=strategy, policy=policy, now=lambda: at(after_s))


def a_job(ledger: Ledger, standing: str, backend: ScriptedBackend, key: str = "key", *, fingerprint: str = "") -> JobId:
    """A job of two items that stands so."""
    job_id = create(ledger, key, fingerprint=fingerprint)
    broken = BackendUnavailable("502")
    faults = {
        "not sent": (Fault(NotSent("no route")), NotSent),
        "rejected": (Fault(SubmissionRejected("no", detail="too wide")), SubmissionRejected),
        "lost, exists": (Fault(LOST, "after"), (BackendUnavailable, SubmissionUnknown)),
        "lost, does not exist": (Fault(LOST), (BackendUnavailable, SubmissionUnknown)),
        "reserved": (Fault(broken, "reserved"), BackendUnavailable),
        "step lost, runs": (Fault(LOST, "after"), BackendUnavailable),
        "step lost, waits": (Fault(LOST), BackendUnavailable),
    }
    if standing == "new":
        return job_id
    if standing in faults:
        fault, error = faults[standing]
        backend.faults.append(fault)
        with pytest.raises(error):
            enter(ledger, backend, job_id)
        return job_id
    enter(ledger, backend, job_id)
    ends = {"open": (S.RUNNING, S.QUEUED), "incomplete": (S.COMPLETED, S.ERROR), "complete": (S.COMPLETED,) * 2}
    kind, _, then = standing.partition(", ")
    backend.report(*ends.get(kind, (S.RUNNING, S.QUEUED)))
    if kind == "forgotten":
        backend.hidden.add(newest(backend))
    qjobs.poll(ledger, backend, [job_id], now=lambda: at(1))
    if standing == "complete":
        qjobs.collect(ledger, backend, job_id, now=lambda: at(1))
    if then == "alive again":
        backend.hidden.clear()
        backend.report(S.COMPLETED, S.RUNNING)
    elif then == "gone" or kind == "forgotten":
        backend.hidden.add(newest(backend))
        backend.report(S.COMPLETED, S.ERROR)
    return job_id


def newest(backend: ScriptedBackend) -> RemoteId:
    """The remote job that was made last."""
    return list(backend.jobs)[-1]
