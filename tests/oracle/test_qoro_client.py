"""Divi's `QoroService`, unmodified, in two versions, drives our service.

Each check is a function of `qoro_drive/drive_divi.py`, run by an interpreter that has that Divi and nothing of ours.
"""

from __future__ import annotations

import pytest
from qoro_runs import QoroRuns, qoro_checks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(700)]


def test_qoro_check(qoro_runs: QoroRuns, divi_version: str, qoro_check: str) -> None:
    """What the real client takes for granted is so."""
    outcome = qoro_runs.of(divi_version)
    assert qoro_check in outcome.errors, f"it did not run; the client's last words:\n{outcome.log}"
    assert not outcome.errors[qoro_check], outcome.errors[qoro_check]


def test_every_qoro_check_is_shown(qoro_runs: QoroRuns, divi_version: str) -> None:
    """Nothing ran that has no test of its own here."""
    assert set(qoro_runs.of(divi_version).errors) == set(qoro_checks())
