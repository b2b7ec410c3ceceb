"""The fault table for the adapter of the Munich Quantum Portal, without a login to the portal's list and with one.

The rows are those of `table.py`, as far as this provider can have them: it tells no items of a job apart, so that a job
fails as a whole. The others are its own: resources that go offline, jobs that it queues again, results that come late.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import driving
import provider_rows
from driving import Clock, Following, Seen
from mqp_portal import IDENTITY, SECRET, TOKEN, MqpPortal
from provider_rows import Row, coded, fault

from qjobs.backends.mqp import MqpBackend, PortalLogin
from qjobs.ledger import Ledger
from qjobs.testing.faults import Action, Route

KINDS = ("mqp", "mqp-list")
_LIST = "mqp-list"
_OFFLINE = "the resource is offline for maintenance"
_GONE = fault(Route.SUBMIT, Action.DROP_AFTER)


def _has_it(row: Row) -> bool:
    """Whether this provider can do what a row is about."""
    of_items = row.broken or row.withheld or row.stuck or row.requeues
    return not of_items and Action.NO_ITEMS not in {each.action for each in row.faults}


def _as_often(row: Row) -> Row:
    """The row with half as many endless lists: this one says at once that it has too many pages to be read."""
    if Action.ENDLESS not in {each.action for each in row.faults}:
        return row
    faults = [replace(each, times=2) if each.action is Action.ENDLESS else each for each in row.faults]
    return replace(row, name=row.name.replace("x4", "x2"), faults=tuple(faults))


ROWS = (
    *(_as_often(row) for row in provider_rows.ROWS if _has_it(row)),
    Row(name="resource: 502 x9", faults=(coded(Route.RESOURCE, 502, 9),)),
    Row(name="resource: 401 x2", faults=(coded(Route.RESOURCE, 401, 2),)),
    Row(name="resource: 404 of a gateway x2", faults=(coded(Route.RESOURCE, 404, 2),)),
    Row(name="resource: JSON cut x4", faults=(fault(Route.RESOURCE, Action.CUT, 4),)),
    Row(name="resource: dropped x3", faults=(fault(Route.RESOURCE, Action.DROP_BEFORE, 3),)),
    Row(name="resource: offline for 90 s", there=((0.0, "close"), (90.0, "open"))),
    Row(name="status: 404 of a gateway x5", faults=(coded(Route.STATUS, 404, 5),), recorded="ProtocolError"),
    Row(name="cancelled as offline, queued again", there=((0.0, "requeues"), (2.0, "offline"))),
    Row(name="cancelled as offline for good", there=((2.0, "offline"),), gone="maintenance"),
    Row(name="the job fails", there=((0.0, "break"),), gone="says FAILED"),
    Row(name="its results come 60 s late", there=((0.0, "delay"),)),
    Row(name="reply dropped, login 503 x2", faults=(_GONE, coded(Route.TOKENS, 503, 2)), lost="made"),
    Row(name="reply dropped, login 401", faults=(_GONE, coded(Route.TOKENS, 401)), lost="made"),
    Row(name="reply dropped, list 401 x3", faults=(_GONE, coded(Route.FIND, 401, 3)), lost="made"),
)


class _Portal:
    """What a run needs to know of the portal, by the name of its kind."""

    def __init__(self, kind: str, portal: MqpPortal) -> None:
        self.kind = kind
        self.portal = portal
        self.url = portal.url
        store = portal.store
        self._acts: dict[str, Callable[[], object]] = {
            "delete": functools.partial(portal.to_all, store.forget),
            "close": functools.partial(self._set_online, online=False),
            "open": functools.partial(self._set_online, online=True),
            "offline": functools.partial(portal.go_offline, _OFFLINE),
            "requeues": functools.partial(portal.have, requeues=1, requeue_s=60.0),
            "break": functools.partial(portal.have, broken={1: "the laser went off"}),
            "delay": functools.partial(setattr, store, "results_late_s", 60.0),
        }

    @property
    def ids(self) -> list[str]:
        return self.portal.ids

    @property
    def created(self) -> int:
        return self.portal.created

    @property
    def n_asked(self) -> int:
        return self.portal.n_asked

    def end_faults(self) -> None:
        self.portal.end_faults()

    def prepare(self, row: Row, clock: Clock) -> None:
        """Forget everything before, and misbehave as the row says."""
        portal = self.portal
        portal.reset()
        portal.store.clock = clock.monotonic
        portal.store.results_late_s = 0.0
        portal.inject(*row.faults)
        for seconds, what in row.there:
            portal.store.do_late(seconds, self._acts[what])

    def _set_online(self, *, online: bool) -> None:
        self.portal.ways.online = online


class _MqpRun(driving.Run):
    provider: _Portal

    @property
    def login(self) -> dict[str, str] | None:
        if self.provider.kind != _LIST:
            return None
        return {"identity": IDENTITY, "secret": SECRET, "url": self.provider.portal.list_url}

    @property
    def settings(self) -> dict[str, object]:
        return {**super().settings, "token": TOKEN, "portal": self.login}

    def backend(self, timeout_s: float) -> MqpBackend:
        self.adapter = self.provider.kind
        return MqpBackend(
            "QExa",
            url=self.provider.url,
            name=self.name,
            token=lambda: TOKEN,
            portal=PortalLogin(**self.login) if self.login else None,
            timeout_s=timeout_s,
            poll_interval_s=(1.0, 10.0),
            limiter=self.limiter,
            sleep=self.clock.sleep,
            monotonic=self.clock.monotonic,
        )


def play(row: Row, provider: _Portal, ledger: Ledger, *, jump_s: float = 0.0, follow: Following | None = None) -> Seen:
    """Run one row, on a portal that forgets everything before."""
    clock = Clock(jump_s=jump_s)
    provider.prepare(row, clock)
    run = _MqpRun(row, provider, ledger, clock, follow)
    try:
        return run.see()
    finally:
        run.close()


@contextmanager
def running(kind: str) -> Iterator[_Portal]:
    """The portal, for one of the two kinds."""
    with MqpPortal(queue_s=5.0, run_s=10.0) as portal:
        yield _Portal(kind, portal)
