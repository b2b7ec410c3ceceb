"""A service's database that an older version wrote goes on working."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from own_service import EVERYTHING, state

from qjobs.ledger.database import Database
from qjobs.service.assembly import Service
from qjobs.service.settings import Settings
from qjobs.service.tables import SERVICE

OLD_FILE = Path(__file__).parents[1] / "ledgers" / "service_schema_3.db"


@pytest.fixture
def upgraded(tmp_path: Path) -> Iterator[Service]:
    """A service that is opened in the data folder of an older version."""
    shutil.copy(OLD_FILE, tmp_path / "service.db")
    service = Service.open(Settings(data=tmp_path))
    yield service
    service.close()


def definitions(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """What SQLite says of the columns of each table."""
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    with engine.connect() as connection:
        names = sa.inspect(connection).get_table_names()
        return {
            name: [tuple(row)[1:] for row in connection.exec_driver_sql(f"PRAGMA table_info({name})")] for name in names
        }


def test_as_a_new_one(upgraded: Service, tmp_path: Path) -> None:
    """It has the tables and columns of a new one, and a copy of the older one is kept."""
    Database(f"sqlite:///{tmp_path / 'new.db'}", SERVICE).close()
    new = definitions(tmp_path / "new.db")
    found = definitions(tmp_path / "service.db")
    assert {name: sorted(map(str, of)) for name, of in found.items()} == {
        name: sorted(map(str, of)) for name, of in new.items()
    }
    assert sum("rotates" in str(of) for of in found.values()) == 1
    assert not any("rotates" in str(of) for of in definitions(tmp_path / "service.db.schema-3.bak").values())


def test_signed_in(upgraded: Service) -> None:
    """Who was signed in still is, with a refresh token that stays the same, as their program knows no other."""
    for token in ("refresh-of-ada", "refresh-of-ada", "token-of-bob"):
        assert upgraded.sessions.refresh(token).refresh is None
    assert upgraded.accounts.user_of_refresh("token-of-bob") == upgraded.accounts.user("bob@localhost.test")


def test_short_password(upgraded: Service) -> None:
    """A password that is too short today still signs in, and new sessions rotate where that is asked for."""
    tokens = upgraded.sessions.login("ada@localhost.test", "secret", rotates=True)
    again = upgraded.sessions.refresh(tokens.refresh).refresh
    assert again not in {None, tokens.refresh}
    upgraded.accounts.set_password("ada@localhost.test", "secret")


def test_job_waits(upgraded: Service) -> None:
    """A job that waited waits."""
    with upgraded.db.read() as connection:
        (job_id,) = connection.scalars(sa.text("SELECT job_id FROM service_job"))
    assert upgraded.jobs.record(EVERYTHING, job_id).status == "SUBMITTED"
    assert state(upgraded.jobs.items(job_id)) == ["SUBMITTED"]
