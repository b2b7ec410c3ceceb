"""Fixtures of all tests: a PostgreSQL of our own, and a fresh ledger on each of the two databases."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import postgresql
import pytest
from hypothesis import HealthCheck, settings
from support import empty

from qjobs.ledger import Ledger
from qjobs.paths import use_prefect_home
from qjobs.redaction import forget_all

use_prefect_home()  # before a test imports Prefect, whose data then stay in the home of this checkout

settings.register_profile(
    "qjobs",
    deadline=None,
    derandomize=True,
    print_blob=True,
    # The ledger of a test serves all its examples; the tests empty it between them themselves.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("qjobs")


def _missing(what: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"{what}; run .ci/postgresql first")
    pytest.skip(f"{what}: apt-get install postgresql, or set QJOBS_TEST_POSTGRESQL to a server's URL")


collect_ignore = ["bench/pony_replica.py"]
"""It has no tests, and needs a package that `make bench-mqp` installs."""


_UNIT = Path(__file__).parent / "unit"
LONGEST = (
    "readme/test_readme.py",
    "browser/test_forms_in_the_browser.py",
    "browser/test_from_the_form.py",
    "readme/test_walked_pages.py",
    "oracle/test_divi.py",
    "fault/test_kills.py",
    "readme/test_gallery.py",
    "unit/test_cli_interrupted.py",
    "service/test_attack_table.py",
    "service/test_fuzz.py",
    "unit/test_project_layout.py",
)
"""Files with a minute or more of slow tests. They come first: workers take whole files, and one that gets a long file
last leaves the others idle."""


def _can_be_slow(path: Path) -> bool:
    """Whether a file may have slow tests; one of unit tests says so in its own text."""
    return _UNIT not in path.parents or "mark.slow" in path.read_text(encoding="utf-8")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Slow tests alone: the thousands of unit tests that are not are not even read, which takes a quarter minute."""
    is_left_out = config.option.markexpr == "slow" and collection_path.suffix == ".py"
    return True if is_left_out and not _can_be_slow(collection_path) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """No slow test is left out by it; of the slow ones the longest files come first."""
    if config.option.markexpr == "slow":
        ranks = {_UNIT.parent / name: rank for rank, name in enumerate(LONGEST)}
        items.sort(key=lambda item: ranks.get(item.path, len(ranks)))
    for item in items:
        if item.get_closest_marker("slow") and not _can_be_slow(item.path):
            raise pytest.UsageError(f"{item.nodeid} is slow, and its file does not say so: name pytest.mark.slow there")


@pytest.fixture(autouse=True)
def _no_secrets_of_others() -> Iterator[None]:
    """What one test's credentials were is a word like any other in the next."""
    yield
    forget_all()


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """URL of a real PostgreSQL on which databases may be made: `QJOBS_TEST_POSTGRESQL`, else one of our own."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        _missing("psycopg is not installed")
    given = os.environ.get("QJOBS_TEST_POSTGRESQL")
    if given:
        yield given
        return
    if why_not := postgresql.why_not():
        _missing(why_not)
    with postgresql.server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database without a table, one per test, on each kind of database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.db'}"
        return
    with postgresql.database(request.getfixturevalue("postgresql_url")) as url:
        yield url


@pytest.fixture(scope="session")
def postgresql_ledger(postgresql_url: str) -> Iterator[Ledger]:
    """One ledger for many tests: a database of its own costs each a quarter of a second."""
    with postgresql.database(postgresql_url) as url, Ledger(url) as ledger:
        yield ledger


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger on each kind of database."""
    if request.param == "sqlite":
        with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
            yield ledger
        return
    ledger = request.getfixturevalue("postgresql_ledger")
    empty(ledger)
    yield ledger


@pytest.fixture(scope="module")
def one_ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """One ledger on SQLite for all tests of a module."""
    with Ledger(f"sqlite:///{tmp_path_factory.mktemp('one') / 'ledger.db'}") as ledger:
        yield ledger


@pytest.fixture
def store(one_ledger: Ledger) -> Ledger:
    """That ledger, emptied: making one takes longer than most tests."""
    empty(one_ledger)
    return one_ledger
