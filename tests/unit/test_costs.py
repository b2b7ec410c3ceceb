"""The statement of costs: what was estimated beside what providers told."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from support import NOW, a_spec, claim, observe, sending, whole

from qjobs.ledger import Ledger
from qjobs.ledger.costs import CostGroup
from qjobs.ledger.job_filter import JobFilter
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId, RemoteId

Said = tuple[int, str, str]


def a_job(
    ledger: Ledger,
    key: str,
    *,
    estimate: float | None = 10.0,
    cost: float | None = None,
    status: JobStatus | None = JobStatus.COMPLETED,
    days: int = 0,
    **words: str,
) -> JobId:
    """A job that was sent and is `status` at its provider; it was never sent where that is None."""
    now = NOW + timedelta(days=days)
    spec = replace(a_spec(key), cost_estimate=estimate, **words)
    (job_id,) = ledger.create([spec], now=now)
    if status is not None:
        attempt = sending(ledger, claim(ledger, job_id, now=now), now=now)
        ledger.submissions.accept(attempt, RemoteId(f"remote-{key}"), now=now)
        observe(ledger, job_id, attempt.number, whole(status, cost=cost), now=now)
    return job_id


def test_lines(store: Ledger) -> None:
    """Each backend has a line of its own in each group, and what nobody told is counted and never 0."""
    a_job(store, "a", cost=9.5, owner="ada")
    a_job(store, "b", cost=0.1, owner="ada")
    a_job(store, "c", owner="ada")  # its cost was not told
    a_job(store, "d", owner="ada", cost=0.2, status=JobStatus.RUNNING)
    a_job(store, "e", owner="ada", estimate=None, status=None)  # not sent
    a_job(store, "f", owner="ada", backend="other", cost=7.0)
    a_job(store, "g", owner="bob", estimate=0.0)  # free, and so not unknown
    lines = store.costs(JobFilter(), [CostGroup.OWNER])
    told_apart = [(line.groups, line.backend) for line in lines]
    assert told_apart == [(("ada",), "fake"), (("ada",), "other"), (("bob",), "fake")]
    ada, other, bob = lines
    assert (ada.jobs, ada.submissions, ada.circuits) == (5, 4, 10)
    assert (ada.estimate, ada.no_estimate) == (40.0, 1)
    assert ada.cost == pytest.approx(9.8, abs=1e-12)
    assert (ada.told_of, ada.unknown, ada.unfinished) == (30.0, 1, 1)
    assert (other.estimate, other.cost, other.told_of) == (10.0, 7.0, 10.0)
    assert (bob.estimate, bob.cost, bob.told_of, bob.unknown) == (0.0, None, None, 0)


def test_months(store: Ledger) -> None:
    """A job counts in the month in which it was made, and filters choose the jobs."""
    a_job(store, "a", cost=1.0)
    a_job(store, "b", cost=2.0, days=31)
    a_job(store, "c", cost=4.0, days=31, device="H2-1")
    by_month = store.costs(JobFilter(), [CostGroup.MONTH])
    assert [(line.groups, line.cost) for line in by_month] == [(("2025-03",), 1.0), (("2025-04",), 6.0)]
    (line,) = store.costs(JobFilter(since=NOW + timedelta(days=1), device="H2-1"), [])
    assert (line.groups, line.jobs, line.cost) == ((), 1, 4.0)


def test_every_submission_counts(store: Ledger) -> None:
    """A job that was sent twice costs twice what was told, and both submissions are counted."""
    job_id = a_job(store, "a", cost=3.0, status=JobStatus.ERROR)
    again = sending(store, claim(store, job_id, JobStatus.ERROR))
    store.submissions.accept(again, RemoteId("remote-again"), now=NOW)
    observe(store, job_id, again.number, whole(JobStatus.COMPLETED, cost=4.0), now=NOW)
    (line,) = store.costs(JobFilter(), [])
    assert (line.jobs, line.submissions, line.cost) == (1, 2, 7.0)


def test_command(qjobs: Callable[..., Said], tmp_path: Path) -> None:
    """The command prints a table, CSV and JSON of the same numbers."""
    path = tmp_path / "ledger.db"
    with Ledger(f"sqlite:///{path}") as ledger:
        a_job(ledger, "a", estimate=1234.5, cost=1200.25, project="dimers")
        a_job(ledger, "b", project="dimers")
    code, out, _ = qjobs("costs", "--by", "project", "--ledger", path)
    assert (code, out.splitlines()[1].split("\t")) == (
        0,
        ["dimers", "fake", "2", "2", "4", "1,244.50", "1,200.25, 1 unknown"],
    )
    code, out, _ = qjobs("costs", "--by", "project", "--csv", "--ledger", path)
    (row,) = csv.DictReader(io.StringIO(out))
    assert (row["project"], row["backend"], float(row["cost"]), row["unknown"]) == ("dimers", "fake", 1200.25, "1")
    code, out, _ = qjobs("costs", "--json", "--ledger", path)
    (line,) = json.loads(out)
    assert (line["month"], line["device"], line["estimate"]) == ("2025-03", "device", 1244.5)
    assert qjobs("costs", "--csv", "--json", "--ledger", path)[0] == 2
    code, out, _ = qjobs("costs", "--owner", "nobody", "--ledger", path)
    assert (code, out.startswith("no such jobs in ")) == (0, True)
