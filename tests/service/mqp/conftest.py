"""The portal's job database on each kind of database, emptied before each test."""

from __future__ import annotations

from collections.abc import Iterator

import postgresql
import pytest
from mqp_parts import Parts

from qjobs.service.mqp.jobs import using


@pytest.fixture(scope="session")
def parts_on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    parts = Parts(f"sqlite:///{tmp_path_factory.mktemp('mqp') / 'service.db'}")
    yield parts
    parts.close()


@pytest.fixture(scope="session")
def parts_on_postgresql(postgresql_url: str) -> Iterator[Parts]:
    with postgresql.database(postgresql_url) as url:
        parts = Parts(url)
        yield parts
        parts.close()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def parts(request: pytest.FixtureRequest) -> Iterator[Parts]:
    """The database that the functions mean in this test."""
    found: Parts = request.getfixturevalue(f"parts_on_{request.param}")
    found.begin()
    with using(found.database):
        yield found
