"""The faults of an audit, each in a scenario of its own: none of them is there, and each is without its mending."""

from __future__ import annotations

from pathlib import Path

import pytest
import reverted_tests
from audit_rows import Row, all_rows
from reverted_rows import MENDINGS, Mending, shown_by, without


@pytest.mark.parametrize("row", all_rows(), ids=lambda row: f"#{row.number} {row.what}")
def test_row(row: Row, tmp_path: Path) -> None:
    """Nothing of it is seen."""
    assert row.seen(tmp_path) == ""


def test_every_number() -> None:
    """Each of the audit's findings has a seed, a row or a test that breaks without its mending."""
    assert [number for number, places in shown_by().items() if not places] == []


@pytest.mark.slow
@pytest.mark.parametrize("mending", MENDINGS, ids=lambda each: f"#{each.number} {each.row}")
def test_without_mending(mending: Mending, tmp_path: Path) -> None:
    """The row sees what it is there for."""
    assert without(mending, tmp_path) != ""


@pytest.mark.slow
@pytest.mark.parametrize("mending", reverted_tests.MENDINGS, ids=lambda each: f"#{each.number} {each.test}")
def test_fails_without_mending(mending: reverted_tests.TestMending) -> None:
    """The test of a finding fails without its mending; those with a Prefect server are run by the module's command."""
    if mending.server:
        pytest.skip("python tests/fault/reverted_tests.py runs it")
    done = reverted_tests.without(mending)
    assert reverted_tests.breaks(done), done.stdout[-2000:] + done.stderr[-2000:]
