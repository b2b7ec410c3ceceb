"""The faults of an audit, each in a scenario of its own: none of them is there, and each is without its mending."""

from __future__ import annotations

from pathlib import Path

import pytest
from audit_rows import Row, all_rows
from reverted_rows import MENDINGS, Mending, without


@pytest.mark.parametrize("row", all_rows(), ids=lambda row: f"#{row.number} {row.what}")
def test_row(row: Row, tmp_path: Path) -> None:
    """Nothing of it is seen."""
    assert row.seen(tmp_path) == ""


@pytest.mark.slow
@pytest.mark.parametrize("mending", MENDINGS, ids=lambda each: f"#{each.number} {each.row}")
def test_without_mending(mending: Mending, tmp_path: Path) -> None:
    """The row sees what it is there for."""
    assert without(mending, tmp_path) != ""
