"""Which process runs which flow run, and when one that records nothing is at work or gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from support import NOW, at, ended_owner

from qjobs.ledger import Ledger
from qjobs.ledger.heartbeats import HEARTBEAT_S, Runner
from qjobs.ledger.liveness import lease_owner

SERVER = "http://127.0.0.1:4200/api"
OWNERS: dict[str, Callable[[], str]] = {
    "alive": lease_owner,
    "ended": ended_owner,
    "elsewhere": lambda: "elsewhere:1:1",
}


@pytest.fixture(scope="module", params=OWNERS)
def owner(request: pytest.FixtureRequest) -> tuple[str, Runner]:
    """A process that is alive, has ended, or is on another machine; and what it recorded."""
    name = OWNERS[request.param]()
    return request.param, Runner(
        flow_run_id="run", owner=name, flow="sweep", server=SERVER, since=NOW, heartbeat_at=NOW
    )


def test_record(ledger: Ledger) -> None:
    """A heartbeat is one row for a run and a process, from its start to its last sign of life."""
    ledger.heartbeats.record("run", "host:1:1", flow="sweep", server=SERVER, now=NOW)
    ledger.heartbeats.record("run", "host:2:1", flow="sweep", server=SERVER, now=at(1))
    ledger.heartbeats.record("run", "host:1:1", flow="sweep", server=SERVER, now=at(30))
    first, second = ledger.heartbeats.runners()
    expected = Runner(flow_run_id="run", owner="host:1:1", flow="sweep", server=SERVER, since=NOW, heartbeat_at=at(30))
    assert first == expected
    assert second == replace(expected, owner="host:2:1", since=at(1), heartbeat_at=at(1))


def test_end(ledger: Ledger) -> None:
    """A process that ends takes its own row only, and to end again does no harm."""
    for name in ("host:1:1", "host:2:1"):
        ledger.heartbeats.record("run", name, flow="sweep", server=SERVER, now=NOW)
    for _ in range(2):
        ledger.heartbeats.end("run", "host:1:1")
    assert [runner.owner for runner in ledger.heartbeats.runners()] == ["host:2:1"]


def test_at_work(owner: tuple[str, Runner]) -> None:
    """At work for a server is who has not ended and recorded a heartbeat within three times its pace."""
    kind, runner = owner
    recent = at(3 * HEARTBEAT_S - 1)
    assert runner.is_at_work(recent, f"{SERVER}/") == (kind != "ended")
    assert not runner.is_at_work(at(3 * HEARTBEAT_S), SERVER)
    assert not runner.is_at_work(recent, "http://another.test/api")


@pytest.mark.parametrize(
    ("silent", "gone"),
    [
        (timedelta(minutes=1), set()),
        (timedelta(minutes=1, seconds=1), {"ended"}),
        (timedelta(minutes=10), {"ended"}),
        (timedelta(minutes=10, seconds=1), {"ended", "elsewhere"}),
        (timedelta(days=9), {"ended", "elsewhere"}),
    ],
)
def test_gone(owner: tuple[str, Runner], silent: timedelta, gone: set[str]) -> None:
    """Gone is who has ended a minute ago, or was silent for ten and is not proved alive."""
    kind, runner = owner
    assert runner.is_gone(NOW + silent) == (kind in gone)
