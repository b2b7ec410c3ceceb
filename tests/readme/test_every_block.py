"""No block of code in README or docs is shown that no test runs."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from snippets import PAGES, ROOT, TAKEN, blocks

ELSEWHERE = {
    ("docs/divi.md", "bash"): "tests/oracle/test_divi.py",
    ("docs/divi.md", "python"): "tests/oracle/test_divi.py",
    ("docs/mqp.md", "python"): "tests/service/mqp/test_mqp_binding.py",
}
"""Blocks that a test outside this folder reads from the page and runs."""
NOT_RUN = {
    ("docs/architecture.md", "text"): "how the code was before; the functions are gone",
    ("docs/mqp.md", "text"): "a folder and a token of the reader's own; tests/oracle/portal_drive does the same",
    (
        "docs/qoro-service.md",
        "python",
    ): "needs Divi in an environment of its own; tests/oracle/qoro_drive does the same",
    ("docs/where-things-are.md", "text"): "names of files and no command; tests/unit/test_results.py has them",
}
"""Blocks that are not run as they stand, and why."""


@pytest.fixture(scope="module", autouse=True)
def claims() -> None:
    for module in Path(__file__).parent.glob("test_*.py"):
        importlib.import_module(module.stem)


def test_every_block() -> None:
    """Each block is run by a test, or is named here with the reason why not."""
    left = []
    for page in PAGES:
        for block in blocks(page):
            if block not in TAKEN and not {(page, block.language)} & (ELSEWHERE.keys() | NOT_RUN.keys()):
                left.append(f"{page}, line {block.line}: {block.language or 'no language'}")
    assert not left, "nobody runs these: take them in a test of tests/readme"


def test_exceptions() -> None:
    """Whoever is said to run a block elsewhere reads that page, and no exception is out of date."""
    for (page, language), test in ELSEWHERE.items():
        text = (ROOT / test).read_text()
        assert Path(page).name in text
        assert f"```{language}" in text
    for page, language in ELSEWHERE.keys() | NOT_RUN.keys():
        assert [block for block in blocks(page) if block.language == language and block not in TAKEN], (page, language)
