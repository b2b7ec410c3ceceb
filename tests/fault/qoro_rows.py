"""The fault table of Qoro: an id first, then fragments with circuits, and the last one lets the job run.

The rows are those of the kit's provider with steps, as far as Qoro can have them: it tells no items of a job apart, and
a fragment that is lost cannot be gone on after. The others are its own: a job that waits in the queue looks as one that
waits for its last fragment, and a cancellation that comes too late.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import driving
import stepped_rows
from driving import Clock, Following, Seen
from provider_rows import Row, coded, fault
from qoro_cloud import CLUSTER, TOKEN, QoroCloud

from qjobs.backends.qoro import QoroBackend
from qjobs.ledger import Ledger
from qjobs.testing.faults import Action, Route

SETTLE_S = 30.0
TWO_EACH = 700
"""Bytes of a fragment that has two of the row's circuits."""
_LAST_IS_LOST = fault(Route.FINALISE, Action.DROP_AFTER)


def _has_it(row: Row) -> bool:
    """Whether Qoro can do what a row is about."""
    of_items = row.withheld or row.stuck or row.requeues or row.again
    kinds = {(each.route, each.action) for each in row.faults}
    of_lists = {Action.NO_ITEMS, Action.ENDLESS} & {action for _, action in kinds}
    return not (of_items or of_lists or Route.JOB in {route for route, _ in kinds})


HALF_WAY = Row(
    name="last step dropped, the cancel comes half-way",
    faults=(_LAST_IS_LOST,),
    there=((0.0, "half"),),
    gone="CANCELLED",
)
"""One item of it has run, and is paid for: it is kept, and nothing is sent anew."""
ROWS = (
    *(row for row in stepped_rows.ROWS if _has_it(row)),
    Row(name="targets: 502 x9", faults=(coded(Route.RESOURCE, 502, 9),)),
    Row(name="targets: 401 x2", faults=(coded(Route.RESOURCE, 401, 2),)),
    Row(name="targets: JSON cut x4", faults=(fault(Route.RESOURCE, Action.CUT, 4),)),
    Row(name="status: 404 of a gateway x5", faults=(coded(Route.STATUS, 404, 5),), recorded="ProtocolError"),
    Row(name="last step dropped, its status 502 x7", faults=(_LAST_IS_LOST, coded(Route.STATUS, 502, 7))),
    Row(name="last step dropped, waits in a long queue", faults=(_LAST_IS_LOST,), there=((0.0, "queue"),)),
    Row(
        name="last step lost, cancel 502 x4",
        faults=(fault(Route.FINALISE, Action.DROP_BEFORE), coded(Route.CANCEL, 502, 4)),
    ),
    Row(
        name="last step lost, cancelled, reply dropped",
        faults=(fault(Route.FINALISE, Action.DROP_BEFORE), fault(Route.CANCEL, Action.DROP_AFTER)),
    ),
    Row(name="last step dropped, it ran before the cancel", faults=(_LAST_IS_LOST,), there=((0.0, "overtake"),)),
    Row(
        name="second step lost, cancel and delete lost",
        faults=(
            fault(Route.ADD, Action.DROP_AFTER),
            fault(Route.CANCEL, Action.DROP_AFTER),
            fault(Route.ABANDON, Action.DROP_AFTER),
        ),
    ),
    Row(
        name="second step lost, delete 502 x4",
        faults=(fault(Route.ADD, Action.DROP_AFTER), coded(Route.ABANDON, 502, 4)),
    ),
    Row(
        name="all three steps lost",
        faults=tuple(fault(r, Action.DROP_AFTER) for r in (Route.INIT, Route.ADD, Route.FINALISE)),
    ),
    HALF_WAY,
    Row(name="its results come 60 s late", there=((0.0, "delay"),)),
)


class _Cloud:
    """What a run needs to know of Qoro.

    A job that it has let run and that was cancelled while it waited has cost nothing: it is not counted.
    """

    def __init__(self, cloud: QoroCloud) -> None:
        self.cloud = cloud
        self.url = cloud.url
        store = cloud.store
        self._acts: dict[str, Callable[[], object]] = {
            "delete": self._delete,
            "delay": functools.partial(setattr, store, "results_late_s", 60.0),
            "queue": functools.partial(setattr, store, "queue_s", 3600.0),
            "overtake": functools.partial(self._overtake, self._begin),
            "half": functools.partial(self._overtake, self._begin_and_do_one),
        }

    @property
    def ids(self) -> list[str]:
        found = []
        for job_id in self.cloud.ids:
            job = self.cloud.store.jobs[job_id]
            never_began = job.stopped and max(job.stopped.values()) < job.starts_at
            if not never_began:
                found.append(job_id)
        return found

    @property
    def created(self) -> int:
        return len(self.ids)

    @property
    def n_asked(self) -> int:
        return self.cloud.n_asked

    def end_faults(self) -> None:
        self.cloud.end_faults()

    def prepare(self, row: Row, clock: Clock) -> None:
        """Forget everything before, and misbehave as the row says."""
        cloud = self.cloud
        cloud.reset()
        cloud.store.clock = clock.monotonic
        cloud.store.results_late_s = 0.0
        cloud.store.queue_s = 5.0
        cloud.inject(*row.faults)
        cloud.have(broken=dict(row.broken))
        for seconds, what in row.there:
            cloud.store.do_late(seconds, self._acts[what])

    def _delete(self) -> None:
        for job_id in list(self.cloud.store.jobs):
            self.cloud.store.forget(job_id)

    def _overtake(self, begin: Callable[[], object]) -> None:
        """The job begins right when it is cancelled."""
        self.cloud.store.queue_s = 300.0
        self.cloud.before_cancel = begin

    def _begin(self) -> None:
        """It begins, and what runs is not cancelled."""
        store = self.cloud.store
        for job in store.jobs.values():
            job.starts_at = store.clock()
            job.ends_at = job.starts_at + 10.0
        self.cloud.ways.uncancellable = frozenset({"RUNNING"})

    def _begin_and_do_one(self) -> None:
        """It begins, and one item of it is done by now."""
        for job in self.cloud.store.jobs.values():
            job.starts_at = self.cloud.store.clock()
            job.kept.add(1)
        self.cloud.store.results_late_s = -3600.0  # there at once, though others of its job have not run


class _QoroRun(driving.Run):
    adapter = "qoro"
    provider: _Cloud

    @property
    def decides(self) -> bool:
        return False

    @property
    def settings(self) -> dict[str, object]:
        return {**super().settings, "token": TOKEN, "fragment_bytes": TWO_EACH, "settle_s": SETTLE_S}

    def backend(self, timeout_s: float) -> QoroBackend:
        return QoroBackend(
            CLUSTER,
            url=self.provider.url,
            name=self.name,
            token=lambda: TOKEN,
            fragment_bytes=TWO_EACH,
            settle_s=SETTLE_S,
            timeout_s=timeout_s,
            poll_interval_s=(1.0, 10.0),
            confirm=self.confirm,
            limiter=self.limiter,
            sleep=self.clock.sleep,
        )


def play(row: Row, provider: _Cloud, ledger: Ledger, *, jump_s: float = 0.0, follow: Following | None = None) -> Seen:
    """Run one row, on a cloud that forgets everything before."""
    clock = Clock(jump_s=jump_s)
    provider.prepare(row, clock)
    run = _QoroRun(row, provider, ledger, clock, follow)
    try:
        return run.see()
    finally:
        run.close()


@contextmanager
def running() -> Iterator[_Cloud]:
    """Qoro, in a thread."""
    with QoroCloud(queue_s=5.0, run_s=10.0) as cloud:
        yield _Cloud(cloud)
