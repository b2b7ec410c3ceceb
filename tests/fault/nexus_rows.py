"""The fault table for the Nexus adapter: a real `qjobs serve`, with a proxy in between that misbehaves.

The rows are those of `table.py`, as far as a proxy can play them, and some that only Nexus has. Time is virtual
for the operations and real for the service, so a pause of theirs lasts a moment.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import table
from provider_rows import coded, fault
from table import Clock, Row, Seen

from qjobs.backends.nexus import NexusBackend
from qjobs.backends.rest import LostReply
from qjobs.ledger import Ledger
from qjobs.service.running import RunningService
from qjobs.testing.faults import Action, Route
from qjobs.testing.proxy import FaultyProxy

_MOMENT_S = 0.01
_SHORTEST_TIMEOUT_S = 1.0


def _as_often(row: Row) -> Row:
    """The row with enough faults for four downloads at a time, each of which is tried again by itself."""
    if not row.recorded or row.faults[0].route is not Route.RESULTS:
        return row
    fault = replace(row.faults[0], times=12)
    return replace(row, name=f"{row.name.rpartition(' x')[0]} x12", faults=(fault,))


ROWS = (
    *(_as_often(row) for row in table.ROWS if not (row.broken or row.there or row.gone)),
    Row(name="submit: made, 500", faults=(fault(Route.SUBMIT, Action.CODE_AFTER, code=500),), lost="made"),
    Row(name="submit: 401 once", faults=(coded(Route.SUBMIT, 401),)),
    Row(name="submit: 401, no new token", faults=(coded(Route.SUBMIT, 401), coded(Route.TOKENS, 503, 6))),
    Row(name="upload: 503 x9", faults=(coded(Route.UPLOAD, 503, 9),)),
    Row(name="upload: done, reply dropped", faults=(fault(Route.UPLOAD, Action.DROP_AFTER, 2),)),
    Row(name="upload: JSON cut x4", faults=(fault(Route.UPLOAD, Action.CUT, 4),)),
    Row(name="upload: 401 x3", faults=(coded(Route.UPLOAD, 401, 3),)),
    Row(name="tokens: 502 x3", faults=(coded(Route.TOKENS, 502, 3),)),
    Row(name="tokens: 401 x2", faults=(coded(Route.TOKENS, 401, 2),)),
    Row(
        name="status: JSON cut and unknown word",
        faults=(fault(Route.STATUS, Action.CUT), fault(Route.STATUS, Action.UNKNOWN_WORD, 3)),
    ),
)


class _Clock(Clock):
    """Virtual time in which the service gets a moment of real time with every pause."""

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        time.sleep(min(seconds, _MOMENT_S))


class NexusProvider:
    """What a row needs to know of a provider: the proxy, and the service behind it."""

    def __init__(self, service: RunningService) -> None:
        self.token = service.sign_in()
        self.proxy = FaultyProxy(service.url)

    @property
    def url(self) -> str:
        return self.proxy.url

    @property
    def store(self) -> SimpleNamespace:
        return SimpleNamespace(variant=LostReply.FINDABLE, jobs=self.proxy.created)

    @property
    def created(self) -> int:
        return len(self.proxy.created)

    @property
    def asked(self) -> object:
        return self.proxy.asked


class _NexusRun(table._Run):
    def _backend(self, timeout_s: float) -> NexusBackend:
        return NexusBackend(
            "Aer",
            url=self.provider.url,
            name=f"nexus-{self.run[:8]}",
            token=self.provider.token,
            project="faults",
            timeout_s=max(timeout_s, _SHORTEST_TIMEOUT_S),
            poll_interval_s=(1.0, 10.0),
            limiter=self.limiter,
            sleep=self.clock.sleep,
            monotonic=self.clock.monotonic,
        )


def play(row: Row, provider: NexusProvider, ledger: Ledger) -> Seen:
    """Run one row; the proxy forgets everything before, the service does not."""
    clock = _Clock()
    provider.proxy.reset()
    provider.proxy.clock = clock.monotonic
    provider.proxy.inject(*row.faults)
    run = _NexusRun(row, provider, ledger, clock)
    try:
        return replace(run.see(), adapter="nexus")
    finally:
        run.close()


@contextmanager
def running(folder: Path) -> Iterator[NexusProvider]:
    """The service and its proxy."""
    options = ("--submit-delay", "0.02", "--workers", "1")
    with RunningService(folder, options=options) as service:
        provider = NexusProvider(service)
        with provider.proxy:
            yield provider
