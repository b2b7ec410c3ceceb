"""Ladder: the submission of a job as a stage that may be run again, each time by the next rung of its policy.

The submit task and the dispatcher enter a job by it, so that its history tells the same of both.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeAlias

from qjobs.backends.base import Backend
from qjobs.ledger import Ledger
from qjobs.model import JobId, ProgramHash, RemoteRetryStrategy
from qjobs.operations.poll import utc_now
from qjobs.operations.retry import RetryPolicy, climbing
from qjobs.operations.submit import Submission, submit

__all__ = ["submit_by_ladder"]

Logger: TypeAlias = "logging.Logger | logging.LoggerAdapter[logging.Logger]"

logger = logging.getLogger(__name__)


def submit_by_ladder(
    ledger: Ledger,
    backend: Backend,
    job_id: JobId,
    *,
    run: int,
    policy: RetryPolicy,
    strategy: RemoteRetryStrategy = RemoteRetryStrategy.DEFAULT,
    programs: Mapping[ProgramHash, ProgramHash] | None = None,
    log: Logger = logger,
    now: Callable[[], datetime] = utc_now,
) -> Submission:
    """Submit a job in the `run`-th run of its submit stage, counted from 1.

    The first run uses `strategy`. Each later one is a retry: it uses its rung of `policy`, and is written to `log` and
    into the job's history as `retry`. `programs` is as in `qjobs.operations.submit.submit`.

    Raises:
        BackendUnavailable: Transient, or a job that was looked up and not found, which a later rung may send again.
        Busy, SubmissionRejected, SubmissionUnknown, JobLost, CredentialsRejected, WrongBackend, PolicyLimit,
            Recalibrated: As `qjobs.operations.submit.submit`.
    """
    if run > 1:
        strategy = policy.strategy_for(run)
        log.warning("retry %d of %s uses the rung %s", run - 1, job_id, strategy)
        ledger.record_event(job_id, "retry", f"retry {run - 1} of the submit stage, rung {strategy}", now=now())
    with climbing(policy, run, backend.lookup):
        return submit(ledger, backend, job_id, strategy=strategy, policy=policy, programs=programs, now=now)
