"""The faults of an audit, each in a scenario of its own: none of them is there."""

from __future__ import annotations

from pathlib import Path

import pytest
from audit_rows import Row, all_rows


@pytest.mark.parametrize("row", all_rows(), ids=lambda row: f"#{row.number} {row.what}")
def test_row(row: Row, tmp_path: Path) -> None:
    """Nothing of it is seen."""
    assert row.seen(tmp_path) == ""
