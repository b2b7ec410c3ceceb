"""The real clients of the Munich Quantum Portal, unmodified, drive our service.

Each check is a function of `portal_drive/drive_*.py`, run by an interpreter that has that client and nothing of ours.
"""

from __future__ import annotations

import pytest
from portal_runs import PortalRuns, portal_checks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_portal_check(portal_runs: PortalRuns, portal_check: str) -> None:
    """What the real client takes for granted is so."""
    client, _, name = portal_check.partition(".")
    outcome = portal_runs.of(client)
    assert name in outcome.errors, f"it did not run; the client's last words:\n{outcome.log}"
    assert not outcome.errors[name], outcome.errors[name]


def test_every_portal_check_is_shown(portal_runs: PortalRuns, portal_client: str) -> None:
    """Nothing ran that has no test of its own here."""
    expected = {check for check in portal_checks() if check.startswith(f"{portal_client}.")}
    assert {f"{portal_client}.{name}" for name in portal_runs.of(portal_client).errors} == expected
