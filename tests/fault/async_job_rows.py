"""The fault table for objects with Divi's protocol: one that can look for a label, and one that cannot.

The rows are those of `table.py`, as far as such a provider can have them: it tells no items of a job apart, so that a
job fails as a whole, and no error of the object proves that nothing was made.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import driving
import httpx
import provider_rows
from async_provider import AsyncProvider, FindingObject, HttpObject
from driving import Clock, Following, Seen
from provider_rows import Row

from qjobs.backends.async_job import AsyncJob
from qjobs.ledger import Ledger
from qjobs.testing.faults import Action, Route

KINDS = ("async-job", "async-job-find")
OBJECTS = {"async-job": HttpObject, "async-job-find": FindingObject}


def _has_it(row: Row) -> bool:
    """Whether this provider can do what a row is about."""
    of_items = row.broken or row.withheld or row.stuck or row.requeues
    return not of_items and {Action.NO_ITEMS, Action.ENDLESS}.isdisjoint({each.action for each in row.faults})


def _unproved(row: Row) -> Row:
    """The row as it is where a refusal of a submission proves nothing: it was never made, and nobody knows."""
    if not any(each.proved and each.route is Route.SUBMIT for each in row.faults):
        return row
    faults = tuple(replace(each, times=1) for each in row.faults)
    return replace(row, lost="never", faults=faults)


def _as_often(row: Row) -> Row:
    """The row with fewer answers that cannot be read: this object asks once where the other clients ask three times."""
    if not any(each.route is Route.FIND and each.action is Action.NOT_JSON for each in row.faults):
        return row
    faults = [replace(each, times=2) if each.route is Route.FIND else each for each in row.faults]
    return replace(row, name=row.name.replace("x4", "x2"), faults=tuple(faults))


ROWS = (
    *(_as_often(_unproved(row)) for row in provider_rows.ROWS if _has_it(row)),
    Row(name="the job fails", there=((0.0, "break"),), gone="says FAILED"),
)


class _Provider:
    """What a run needs to know of the provider, by the name of its kind."""

    def __init__(self, kind: str, provider: AsyncProvider) -> None:
        self.kind = kind
        self.provider = provider
        self.url = provider.url
        self._acts: dict[str, Callable[[], object]] = {"delete": self._delete, "break": self._break}

    @property
    def ids(self) -> list[str]:
        return self.provider.ids

    @property
    def created(self) -> int:
        return self.provider.created

    @property
    def n_asked(self) -> int:
        return self.provider.n_asked

    def end_faults(self) -> None:
        self.provider.end_faults()

    def prepare(self, row: Row, clock: Clock) -> None:
        """Forget everything before, and misbehave as the row says."""
        provider = self.provider
        provider.reset()
        provider.store.clock = clock.monotonic
        provider.inject(*row.faults)
        for seconds, what in row.there:
            provider.store.do_late(seconds, self._acts[what])

    def _delete(self) -> None:
        for job_id in list(self.provider.store.jobs):
            self.provider.store.forget(job_id)

    def _break(self) -> None:
        self.provider.have(broken={1: "the laser went off"})


class _AsyncJobRun(driving.Run):
    provider: _Provider

    @functools.cached_property
    def clients(self) -> list[httpx.Client]:
        """What the objects of this run have open."""
        return []

    def backend(self, timeout_s: float) -> AsyncJob:
        self.adapter = self.provider.kind
        target = OBJECTS[self.provider.kind](self.provider.url, timeout_s=timeout_s)
        self.clients.append(target.http)
        return AsyncJob(target, name=self.name, poll_interval_s=(1.0, 10.0))

    def close(self) -> None:
        super().close()
        for client in self.clients:
            client.close()


def play(
    row: Row, provider: _Provider, ledger: Ledger, *, jump_s: float = 0.0, follow: Following | None = None
) -> Seen:
    """Run one row, on a provider that forgets everything before."""
    clock = Clock(jump_s=jump_s)
    provider.prepare(row, clock)
    run = _AsyncJobRun(row, provider, ledger, clock, follow)
    try:
        return run.see()
    finally:
        run.close()


@contextmanager
def running(kind: str) -> Iterator[_Provider]:
    """The provider, for one of the two kinds."""
    with AsyncProvider(queue_s=5.0, run_s=10.0) as provider:
        yield _Provider(kind, provider)
