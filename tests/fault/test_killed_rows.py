"""The rows in which the job service, or its workers, are killed: runs that wait, and runs that are suspended."""

from __future__ import annotations

from collections.abc import Iterator

import killed_rows
import pytest
import sensor_rows
from killed_rows import KilledProvider, KilledRow

from qjobs.ledger import Ledger

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KilledProvider]:
    with killed_rows.running(tmp_path_factory.mktemp("killed")) as provider:
        yield provider


@pytest.mark.parametrize("row", killed_rows.ROWS, ids=lambda row: row.name)
def test_row(row: KilledRow, provider: KilledProvider, one_ledger: Ledger) -> None:
    """One remote job in the service's own database, and every result."""
    seen = killed_rows.play(row, provider, one_ledger)
    assert seen.problems() == [], seen


@pytest.mark.parametrize("row", killed_rows.SENSOR_ROWS, ids=lambda row: row.name)
def test_suspended_row(row: KilledRow, provider: KilledProvider, one_ledger: Ledger) -> None:
    """The same of a run that ends after its submission; the sensor does the rest."""
    seen = sensor_rows.play(row, provider, one_ledger, play_one=killed_rows.play)
    assert seen.problems() == [], seen
