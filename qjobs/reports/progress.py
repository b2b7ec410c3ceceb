"""What is shown of jobs that are under way: how many circuits are done, and the table of jobs."""

from __future__ import annotations

import json
from collections.abc import Sequence

from qjobs.ledger import Ledger
from qjobs.model import JobId
from qjobs.reports.provenance import jobs_table

_MAX_TABLE_ROWS = 300


def progress_of(ledger: Ledger, job_ids: Sequence[JobId]) -> tuple[float, str]:
    """How much is done, in percent and in words."""
    counts = ledger.item_counts(job_ids)
    total = sum(counts.values())
    done = sum(count for status, count in counts.items() if status.is_final)
    words = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    return 100.0 * done / max(total, 1), f"{done} of {total} circuits are done ({words})"


def jobs_shown(ledger: Ledger, job_ids: Sequence[JobId], name: str) -> tuple[str, str]:
    """The table of jobs of a run, as JSON, and its description."""
    shown, words = cut_table(ledger, job_ids, name)
    return json.dumps(shown), words


def cut_table(ledger: Ledger, job_ids: Sequence[JobId], name: str) -> tuple[list[dict[str, object]], str]:
    """The first rows of the table of jobs of a run, as many as Prefect's UI draws well, and its description."""
    shown = jobs_table(ledger, job_ids[:_MAX_TABLE_ROWS])
    more = "" if len(job_ids) == len(shown) else f", the first {len(shown)} of {len(job_ids)}; the ledger has all"
    return shown, f"Jobs of {name}{more}"
