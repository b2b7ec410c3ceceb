"""The fault table of the adapter of Qoro: a lost reply at each of the three steps, and all that others have."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import qoro_rows
import sensor_rows
from provider_rows import Row
from table import first_of_each, one_of_each

from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus


@pytest.fixture(scope="module")
def provider() -> Iterator[object]:
    with qoro_rows.running() as provider:
        yield provider


@pytest.mark.parametrize("row", one_of_each(qoro_rows.ROWS, slow={"deleted there in the queue (#15)"}))
def test_row(row: Row, provider: object, one_ledger: Ledger) -> None:
    """One remote job, and the outcome that the row states."""
    seen = qoro_rows.play(row, provider, one_ledger)
    assert seen.problems() == [], seen


def test_half_way(provider: object, one_ledger: Ledger) -> None:
    """What has run of a job before its cancellation is kept, and is not paid for twice."""
    before = {job.job_id for job in one_ledger.jobs()}
    seen = qoro_rows.play(qoro_rows.HALF_WAY, provider, one_ledger)
    (job_id,) = {job.job_id for job in one_ledger.jobs()} - before
    assert seen.created == 1
    assert set(one_ledger.results(job_id)) == {1}
    assert seen.status is JobStatus.CANCELLED


@pytest.mark.slow
@pytest.mark.parametrize("row", first_of_each(sensor_rows.of_sensor("qoro", qoro_rows.ROWS)))
def test_suspended_row(row: Row, provider: object, one_ledger: Ledger) -> None:
    """The same of a run that ends after its submission; the sensor does the rest."""
    seen = sensor_rows.play(row, provider, one_ledger, play_one=qoro_rows.play)
    assert seen.problems() == [], seen
