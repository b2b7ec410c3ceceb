"""The contract passes right adapters, and catches each of the wrong ones."""

from __future__ import annotations

import pytest
import wrong_answers  # noqa: F401 - it marks its adapters
import wrong_submissions  # noqa: F401
from breaking import WRONG, Adapter, Contract
from right_adapter import RightAdapter

from qjobs.backends.base import (
    Limits,
    Lookup,
    MissingResult,
)
from qjobs.errors import ProtocolError, SubmissionRejected

TESTS = sorted(name for name in dir(Contract) if name.startswith("test_"))


class NoResults(RightAdapter):
    """A syntax checker."""

    limits = Limits(max_items=100, max_shots=10_000, results_kept_s=0)

    def entries(self, remote_id, items):
        return [MissingResult(reason="a syntax checker gives none", permanent=True)] * 2


class ChosenId(RightAdapter):
    """A provider whose ids follow from our keys."""

    lookup = Lookup(chosen_id=True)

    def create(self, batch, key):
        if key in self.keys:
            raise SubmissionRejected("refused", detail="this id is taken")
        return super().create(batch, key)


def run(adapter: Adapter, test: str) -> None:
    try:
        getattr(Contract(), test)(adapter())
    except pytest.skip.Exception as skipped:
        pytest.fail(f"skipped: {skipped}")


@pytest.mark.parametrize("test", [test for test in TESTS if test != "test_no_results"])
def test_right_adapter(test: str) -> None:
    """A right adapter passes every test, and none is skipped."""
    run(RightAdapter, test)


def test_other_right_adapters() -> None:
    """So do those that promise something else."""
    run(NoResults, "test_no_results")
    run(ChosenId, "test_same_key")


@pytest.mark.parametrize(("adapter", "test"), WRONG)
def test_wrong_adapter(adapter: Adapter, test: str) -> None:
    """A wrong adapter fails the test of what it breaks."""
    with pytest.raises((AssertionError, ProtocolError, pytest.fail.Exception)):
        getattr(Contract(), test)(adapter())
