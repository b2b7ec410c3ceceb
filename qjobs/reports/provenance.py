"""Where results come from: a table of jobs, and a provenance record."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from qjobs.backends.base import Backend
from qjobs.ledger import Ledger
from qjobs.model import Attempt, Job, JobId

_MOST_JOBS = 300
_MOST_CIRCUITS = 300
"""Of each job."""
_PACKAGES = ("qjobs", "qiskit", "qiskit-aer", "pytket", "prefect", "numpy")


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else round((end - start).total_seconds(), 3)


def jobs_table(ledger: Ledger, job_ids: Sequence[JobId]) -> list[dict[str, Any]]:
    """One row per job: name, device, status, queue place, items, results, remote id, times, cost, message, job id."""
    attempts = ledger.last_attempts(job_ids)
    counts = ledger.result_counts(job_ids)
    places = ledger.queue_positions(job_ids)
    rows = []
    for job in ledger.jobs(job_ids=job_ids):
        rows.append(_row(job, attempts.get(job.job_id), counts[job.job_id], places.get(job.job_id)))
    return rows


def _row(job: Job, attempt: Attempt | None, results: int, place: int | None) -> dict[str, Any]:
    accepted = attempt.accepted_at if attempt else None
    return {
        "name": job.name,
        "device": job.device,
        "status": job.status.value,
        "queue place": place,
        "items": job.n_items,
        "results": results,
        "remote id": attempt.remote_id if attempt else None,
        "attempts": attempt.number if attempt else 0,
        "until accepted (s)": _seconds(job.created_at, accepted),
        "until final (s)": _seconds(accepted, job.finished_at),
        "cost": job.cost if job.cost is not None and math.isfinite(job.cost) else None,
        "message": job.message or job.trouble,
        "job id": job.job_id,
    }


def provenance(ledger: Ledger, backends: Mapping[str, Backend], job_ids: Sequence[JobId]) -> dict[str, Any]:
    """Where the results of jobs come from, as JSON without secrets.

    Circuit hashes (as given and as compiled), device snapshots, package versions, seeds, remote ids
    and times. Of many jobs it names the first 300, and how many there are: the ledger has all.
    """
    shown = job_ids[:_MOST_JOBS]
    jobs = []
    attempts = ledger.last_attempts(shown)
    pairs = ledger.programs_of_jobs(shown)
    for job in ledger.jobs(job_ids=shown):
        attempt = attempts.get(job.job_id)
        circuits = []
        for source, sent, n_items in pairs.get(job.job_id, ())[:_MOST_CIRCUITS]:
            circuits.append({"given": source, "sent": sent, "items": n_items})
        jobs.append(
            {
                "job_id": job.job_id,
                "key": job.key,
                "remote_id": attempt.remote_id if attempt else None,
                "device": job.device,
                "status": job.status.value,
                "seed": job.options.seed,
                "circuits": circuits,
                "created_at": job.created_at.isoformat(),
                "sent_at": attempt.sent_at.isoformat() if attempt and attempt.sent_at else None,
                "finished_at": job.finished_at.isoformat() if job.finished_at else None,
            }
        )
    return {
        "jobs": jobs,
        "n_jobs": len(job_ids),
        "devices": {name: _device(backend) for name, backend in backends.items()},
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "ledger": ledger.url,
    }


def _device(backend: Backend) -> dict[str, Any]:
    target = backend.target()
    return {
        "device": backend.device,
        "n_qubits": target.n_qubits,
        "basis_gates": list(target.basis_gates) if target.basis_gates is not None else None,
        "coupling": [list(pair) for pair in target.coupling] if target.coupling is not None else "all to all",
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def provenance_markdown(record: Mapping[str, Any]) -> str:
    """The record as it is shown: a code block of JSON, which can be copied whole."""
    return f"```json\n{json.dumps(record, indent=1)}\n```\n"
