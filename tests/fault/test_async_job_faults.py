"""The fault table of objects with Divi's protocol: opaque, and with a search for a label."""

from __future__ import annotations

from collections.abc import Iterator

import async_job_rows
import pytest
import sensor_rows
from provider_rows import Row
from table import first_of_each, one_of_each

from qjobs.ledger import Ledger


@pytest.fixture(scope="module", params=["async-job", pytest.param("async-job-find", marks=pytest.mark.slow)])
def provider(request: pytest.FixtureRequest) -> Iterator[object]:
    with async_job_rows.running(request.param) as provider:
        yield provider


@pytest.mark.parametrize("row", one_of_each(async_job_rows.ROWS))
def test_row(row: Row, provider: object, one_ledger: Ledger) -> None:
    """One remote job, and the outcome that the row states: UNKNOWN where a reply was lost."""
    seen = async_job_rows.play(row, provider, one_ledger)
    assert seen.problems() == [], seen


@pytest.mark.slow
@pytest.mark.parametrize("row", first_of_each(sensor_rows.of_sensor("async-job", async_job_rows.ROWS)))
def test_suspended_row(row: Row, provider: object, one_ledger: Ledger) -> None:
    """The same of a run that ends after its submission; the sensor does the rest."""
    seen = sensor_rows.play(row, provider, one_ledger, play_one=async_job_rows.play)
    assert seen.problems() == [], seen
