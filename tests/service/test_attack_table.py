"""The attacks of `make attack`, in a short form."""

from __future__ import annotations

import pytest
from attack_table import attack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_attacks() -> None:
    """No attack makes the service fail or large, ends it, shows another user's data, or keeps others waiting."""
    table = attack(150, size=0.05)
    assert not table.wrong, table.wrong
    assert table.is_good(busy=True), table
    assert len(table.lines) > 15
