"""The log of the service, from which an operator sees what happened."""

from __future__ import annotations

import logging
from contextlib import closing
from pathlib import Path

import pytest
from own_service import AER, EVERYTHING, FLIP, OwnService

from qjobs.model import RemoteRetryStrategy


def test_moves_of_a_job(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Every move of a job is logged, with its id, its status and its reason."""
    caplog.set_level(logging.INFO, "qjobs.service")
    with closing(OwnService(tmp_path)) as own:
        job = own.submit([FLIP], AER, shots=1)
        own.service.executor.start()
        own.finish(job)
        own.service.executor.stop()
        own.store.retry(EVERYTHING, job, RemoteRetryStrategy.FULL_RESTART)
        own.store.cancel(EVERYTHING, job)
        again = own.store.rerun(EVERYTHING, job, "again", own.user)
        own.store.delete(EVERYTHING, job)
    messages = iter([record.getMessage() for record in caplog.records])
    for expected in (
        f"job {job} accepted from {own.user.email}: execute on Aer, items: 1",
        f"job {job}: SUBMITTED -> QUEUED",
        f"job {job}: QUEUED -> RUNNING",
        f"item 1 of job {job}: RUNNING -> COMPLETED",
        f"job {job}: RUNNING -> COMPLETED: The job is completed.",
        f"job {job}: COMPLETED -> RETRYING",
        f"job {job}: retry requested with FULL_RESTART, items to run: 1",
        f"item 1 of job {job}: RETRYING -> CANCELLED: The item was cancelled before it ran.",
        f"job {job}: RETRYING -> CANCELLED",
        f"job {again} accepted",
        f"job {again} is a rerun of job {job}",
        f"job {job} deleted",
    ):
        assert any(message.startswith(expected) for message in messages), f"not logged, or not in its place: {expected}"
