"""A ledger that cannot be used now, apart from one that cannot be used before something is put right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import postgresql
import pytest
import sqlalchemy as sa
from support import NOW, check_history, claim, create

from qjobs.errors import LedgerAway, LedgerUnavailable
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus

Stopped = Callable[[], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def own_server(postgresql_url: str) -> Iterator[tuple[str, Stopped]]:
    """A PostgreSQL server that this module may stop; where the tests have none, it is missing here too."""
    if why_not := postgresql.why_not():
        pytest.skip(why_not)
    with postgresql.restartable() as own:
        yield own


def end_sessions(url: str) -> None:
    """End all other connections to the server's databases, as its operator can."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        connection.exec_driver_sql(f"{others} AND backend_type = 'client backend'")


def test_restart(own_server: tuple[str, Stopped]) -> None:
    """A server that restarts is away meanwhile, and the next transaction after that works."""
    url, stopped = own_server
    with postgresql.database(url) as own, Ledger(own) as ledger:
        job_id = create(ledger)
        with stopped():
            with pytest.raises(LedgerAway, match="cannot be used now"):
                ledger.job(job_id)
            with pytest.raises(LedgerAway):
                claim(ledger, job_id)
            with pytest.raises(LedgerAway):
                Ledger(own)
        assert ledger.job(job_id).status is JobStatus.CREATED
        claim(ledger, job_id)
        check_history(ledger, job_id)


def test_connection_that_dies(own_server: tuple[str, Stopped]) -> None:
    """A connection that dies inside a transaction is away, nothing of the transaction is kept, and the next works."""
    url, _ = own_server
    with postgresql.database(url) as own, Ledger(own) as ledger:
        job_id = create(ledger)

        def die_inside() -> None:
            with ledger._db.write() as connection:
                connection.execute(sa.text("UPDATE job SET message = 'half done'"))
                end_sessions(url)
                connection.execute(sa.text("SELECT 1"))

        with pytest.raises(LedgerAway):
            die_inside()
        assert ledger.job(job_id).message == ""
        ledger.request_cancel(job_id, now=NOW)


@pytest.mark.parametrize(
    ("url", "is_away"),
    [
        ("postgresql://user:hunter2@127.0.0.1:1/db", True),
        ("postgresql://host:notaport/db", False),
        ("nosuchdatabase://host/db", False),
        ("sqlite:////proc/no/such/ledger.db", False),
    ],
)
def test_which(url: str, is_away: bool) -> None:
    """A server that does not answer may come back; what is written wrongly does not."""
    with pytest.raises(LedgerUnavailable) as caught:
        Ledger(url)
    assert isinstance(caught.value, LedgerAway) is is_away


def test_no_such_database(postgresql_url: str) -> None:
    """A database or a user that the server does not have is not waited for."""
    for change in ({"database": "no_such_database"}, {"username": "nobody_like_that"}):
        url = sa.make_url(postgresql_url).set(**change)
        with pytest.raises(LedgerUnavailable, match="does not exist") as caught:
            Ledger(url.render_as_string(hide_password=False))
        assert not isinstance(caught.value, LedgerAway)
