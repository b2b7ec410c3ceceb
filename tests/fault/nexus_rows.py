"""The fault table for the Nexus adapter: a real `qjobs serve`, with a proxy in between that misbehaves.

The rows are those of `table.py`, as far as a proxy can play them, and some that only Nexus has. Time is virtual
for the operations and real for the service, so a pause of theirs lasts a moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import driving
import provider_rows
from driving import N_ITEMS, Clock, Following, Seen
from provider_rows import IN_QUEUE, Row, coded, fault

from qjobs.backends.nexus import NexusBackend
from qjobs.ledger import Ledger
from qjobs.service.running import RunningService
from qjobs.testing.faults import Action, Route
from qjobs.testing.proxy import FaultyProxy, Whims

_MOMENT_S = 0.01
_SHORTEST_TIMEOUT_S = 1.0
_HEALED_S = 20.0
"""When a job that failed is queued again by itself."""


def _as_often(row: Row) -> Row:
    """The row with enough faults for four downloads at a time, each of which is tried again by itself."""
    if not row.recorded or row.faults[0].route is not Route.RESULTS:
        return row
    fault = replace(row.faults[0], times=12)
    return replace(row, name=f"{row.name.rpartition(' x')[0]} x12", faults=(fault,))


ROWS = (
    *(_as_often(row) for row in provider_rows.ROWS if Action.NO_ITEMS not in {each.action for each in row.faults}),
    Row(name="submit: made, 500", faults=(fault(Route.SUBMIT, Action.CODE_AFTER, code=500),), lost="made"),
    Row(name="submit: 401, no new token", faults=(coded(Route.SUBMIT, 401), coded(Route.TOKENS, 503, 6)), lost="never"),
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


class NexusProvider:
    """What a row needs to know of a provider: the proxy, and the service behind it."""

    def __init__(self, service: RunningService) -> None:
        self.token = service.sign_in()
        self.proxy = FaultyProxy(service.url)

    @property
    def url(self) -> str:
        return self.proxy.url

    @property
    def ids(self) -> list[str]:
        return self.proxy.created

    @property
    def created(self) -> int:
        return len(self.proxy.created)

    @property
    def n_asked(self) -> int:
        return self.proxy.asked.total()

    def prepare(self, row: Row, clock: Clock) -> None:
        """Forget everything before, but for what the service has; and misbehave as the row says."""
        proxy = self.proxy
        proxy.reset()
        proxy.clock = clock.monotonic
        proxy.inject(*row.faults)
        whims = proxy.whims
        whims.withheld = set(row.withheld) | row.stuck | set(row.broken)
        if IN_QUEUE in row.there:
            whims.words = OfAll("QUEUED")
            whims.item_words = OfAll(dict.fromkeys(range(N_ITEMS), "QUEUED"))
        if row.broken:
            whims.words = OfAll("ERROR")
        if row.broken or row.stuck:
            whims.item_words = OfAll({**dict.fromkeys(row.broken, "ERROR"), **dict.fromkeys(row.stuck, "RUNNING")})
        for seconds, what in row.there:
            proxy.do_at(seconds, self._delete if what == "delete" else self._heal)
        if row.requeues:
            proxy.do_at(_HEALED_S, self._heal)

    def end_faults(self) -> None:
        self.proxy.inject()

    def _delete(self) -> None:
        self.proxy.whims.forgotten.update(self.proxy.created)

    def _heal(self) -> None:
        self.proxy.whims = Whims()


class OfAll(dict):
    """What is said of every job alike."""

    def __init__(self, value: object) -> None:
        super().__init__()
        self._value = value

    def __bool__(self) -> bool:
        return True

    def __contains__(self, _: object) -> bool:
        return True

    def __getitem__(self, _: object) -> object:
        return self._value

    def get(self, *_: object) -> object:
        return self._value


class _NexusRun(driving.Run):
    adapter = "nexus"

    @property
    def settings(self) -> dict[str, object]:
        return {**super().settings, "token": self.provider.token, "project": "faults"}

    def backend(self, timeout_s: float) -> NexusBackend:
        return NexusBackend(
            "Aer",
            url=self.provider.url,
            name=self.name,
            token=self.provider.token,
            project="faults",
            timeout_s=max(timeout_s, _SHORTEST_TIMEOUT_S),
            poll_interval_s=(1.0, 10.0),
            confirm=self.confirm,
            limiter=self.limiter,
            sleep=self.clock.sleep,
            monotonic=self.clock.monotonic,
        )


def play(
    row: Row, provider: NexusProvider, ledger: Ledger, *, jump_s: float = 0.0, follow: Following | None = None
) -> Seen:
    """Run one row; the proxy forgets everything before, the service does not."""
    clock = Clock(jump_s=jump_s, moment_s=_MOMENT_S)
    provider.prepare(row, clock)
    run = _NexusRun(row, provider, ledger, clock, follow)
    try:
        return run.see()
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
