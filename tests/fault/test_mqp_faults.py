"""The fault table of the adapter of the Munich Quantum Portal, opaque and with the portal's list."""

from __future__ import annotations

from collections.abc import Iterator

import mqp_rows
import pytest
import sensor_rows
from provider_rows import Row
from table import first_of_each, one_of_each

from qjobs.ledger import Ledger


@pytest.fixture(scope="module", params=[pytest.param("mqp", marks=pytest.mark.slow), "mqp-list"])
def provider(request: pytest.FixtureRequest) -> Iterator[object]:
    with mqp_rows.running(request.param) as provider:
        yield provider


@pytest.mark.parametrize("row", one_of_each(mqp_rows.ROWS, slow={"deleted there in the queue (#15)"}))
def test_row(row: Row, provider: object, one_ledger: Ledger) -> None:
    """One remote job, and the outcome that the row states."""
    seen = mqp_rows.play(row, provider, one_ledger)
    assert seen.problems() == [], seen


@pytest.mark.slow
@pytest.mark.parametrize("row", first_of_each(sensor_rows.of_sensor("mqp", mqp_rows.ROWS)))
def test_suspended_row(row: Row, provider: object, one_ledger: Ledger) -> None:
    """The same of a run that ends after its submission; the sensor does the rest."""
    seen = sensor_rows.play(row, provider, one_ledger, play_one=mqp_rows.play)
    assert seen.problems() == [], seen
