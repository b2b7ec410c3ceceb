"""The table of jobs: JSON, with a row per job."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import sqlalchemy as sa
from support import create, raw, sent

from qjobs.ledger import Ledger, tables
from qjobs.reports.provenance import jobs_table


def test_jobs_table(ledger: Ledger) -> None:
    """Every job has a row with its status, attempts, remote id and times."""
    created = create(ledger, "one")
    accepted, _ = sent(ledger, "two")
    rows = jobs_table(ledger, [created, accepted])
    json.dumps(rows, allow_nan=False)
    assert [row["job id"] for row in rows] == [created, accepted]
    assert [row["status"] for row in rows] == ["CREATED", "SUBMITTED"]
    assert [row["remote id"] for row in rows] == [None, "remote-1"]
    assert [row["attempts"] for row in rows] == [0, 1]
    assert [row["results"] for row in rows] == [0, 0]
    assert [row["until accepted (s)"] for row in rows] == [None, 0.0]


@pytest.mark.parametrize("cost", [math.nan, math.inf, 1.5])
def test_costs(tmp_path: Path, cost: float) -> None:
    """A cost that is no finite number is an empty cell."""
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        job_id = create(ledger)
        raw(ledger, sa.update(tables.JOB).values(cost=cost))
        rows = jobs_table(ledger, [job_id])
        json.dumps(rows, allow_nan=False)
        assert rows[0]["cost"] == (1.5 if cost == 1.5 else None)
