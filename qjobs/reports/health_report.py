"""The runs of a health check, read from the ledger."""

from __future__ import annotations

from collections import defaultdict
from itertools import islice

from qjobs.experiments.health_check import HealthCheckRun, scores
from qjobs.ledger import Ledger
from qjobs.model import Job, JobKind

__all__ = ["MOST_RUNS", "health_check_runs"]

MOST_RUNS = 90
"""Runs that a trend shows; the ledger has them all."""


def health_check_runs(
    ledger: Ledger, *, experiment: str, backend: str, device: str, most: int = MOST_RUNS
) -> list[HealthCheckRun]:
    """The latest runs of a health check on one device, oldest first.

    Args:
        ledger: Where their jobs are.
        experiment: Name of the health check.
        backend: Name of the adapter, as jobs are filed under it.
        device: Name of the device.
        most: How many.
    """
    jobs_of: dict[str, list[Job]] = defaultdict(list)
    for job in ledger.jobs(experiment=experiment, backend=backend, device=device, kind=JobKind.EXECUTE):
        jobs_of[job.run].append(job)
    scored = (one for run, jobs in jobs_of.items() if (one := _run(ledger, run, jobs)).scores)
    return sorted(islice(scored, most), key=lambda run: run.at)


def _run(ledger: Ledger, run: str, jobs: list[Job]) -> HealthCheckRun:
    found = []
    for job in jobs:
        results = ledger.results(job.job_id, epoch=job.epoch)
        for item in ledger.items(job.job_id):
            result = results.get(item.index)
            found.append((item.label, result.counts if result is not None else None))
    return HealthCheckRun(run=run, at=max(job.finished_at or job.created_at for job in jobs), scores=scores(found))
