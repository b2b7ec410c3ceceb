"""A device with a few places and a suspended run of many more jobs: how much of its time the places are full.

The clock is simulated, and moves from pass to pass: what would take hours takes a minute. The ledger, the operations
that the flow and the sensor call, and their order are the real ones.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from launching import circuits
from scripted import ScriptedBackend

from qjobs.backends.base import Answer, Backend, Limits, Snapshot
from qjobs.compiling.compiler import CompileCache
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, JobId, Key, RemoteId
from qjobs.operations.dispatch import Dispatcher
from qjobs.operations.execute import DirectStages, ToSubmit, WaitedFor, execute, to_send
from qjobs.operations.poll import utc_now
from qjobs.operations.sensor_pass import sensor_pass
from qjobs.operations.watch import JobWatch

PLACES = 2
_JOB_S = (50.0, 70.0)
_PASS_EVERY_S = 10.0
_RUN = "run"
_WOKEN_S = 5.0
"""How long a watcher may take to say that a job has changed, in real seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How the sensor hears of the end of a job, and the least share of the time that the places are then full."""

    label: str
    bound: float
    watches: bool = False
    adapts: bool = False
    """Whether it looks again as soon as it is useful, or every ten seconds whatever happens."""


WAYS = (
    Way(label="passes every 10 s", bound=0.90),
    Way(label="a list that tells at once", bound=0.95, adapts=True),
    Way(label="a web socket", bound=0.95, watches=True),
)


@dataclass(slots=True)
class Kept:
    """What was seen: times in seconds of the device's clock, but for `seconds` and `cpu_s`, which are ours."""

    way: Way
    n_jobs: int
    n_passes: int = 0
    share: float = 0.0
    device_s: float = 0.0
    most_live: int = 0
    remote_jobs: int = 0
    by_run: int = 0
    by_dispatcher: int = 0
    resumed: int = 0
    collect_tasks: int = 0
    results: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0


class Clock:
    """Time that passes move; it begins now, because a run writes down the real time."""

    def __init__(self) -> None:
        self.began = utc_now()
        self.elapsed_s = 0.0

    def now(self) -> datetime:
        return self.began + timedelta(seconds=self.elapsed_s)


class Device(ScriptedBackend):
    """Every job starts at once and takes about a minute."""

    def __init__(self, clock: Clock) -> None:
        limits = Limits(max_items=1, max_live_jobs=PLACES)
        super().__init__(limits=limits, poll_interval_s=(2.0, 1200.0))
        self.clock = clock
        self.rng = random.Random(1)
        self.starts: dict[RemoteId, float] = {}
        self.ends: dict[RemoteId, float] = {}
        self.moved = threading.Condition()

    def _make(self, remote_id: RemoteId, batch: Batch, key: Key) -> None:
        super()._make(remote_id, batch, key)
        self.starts[remote_id] = self.clock.elapsed_s
        self.ends[remote_id] = self.clock.elapsed_s + self.rng.uniform(*_JOB_S)
        self.jobs[remote_id].items = [JobStatus.RUNNING]

    def move_on(self) -> None:
        """What has come to its end by now has ended."""
        with self.moved:
            for remote_id, ends_at in self.ends.items():
                if ends_at <= self.clock.elapsed_s:
                    self.jobs[remote_id].items = [JobStatus.COMPLETED]
            self.moved.notify_all()

    def status(self, remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Answer]:
        self.move_on()
        return super().status(remote_ids)

    def next_end(self) -> float | None:
        return min((at for at in self.ends.values() if at > self.clock.elapsed_s), default=None)

    def most_at_once(self) -> int:
        """The most jobs that were alive at one time."""
        steps = sorted([(at, 1) for at in self.starts.values()] + [(at, -1) for at in self.ends.values()])
        live = 0
        most = 0
        for _, step in steps:
            live += step
            most = max(most, live)
        return most


class TellingDevice(Device):
    """It says when a job has ended."""

    def watch(
        self, remote_id: RemoteId, *, timeout_s: float, changed: Callable[[Snapshot], None] = lambda _: None
    ) -> Snapshot | None:
        with self.moved:
            self.moved.wait_for(lambda: self.jobs[remote_id].status.is_final, timeout=timeout_s)
        changed(self.snapshot(remote_id))
        return self.snapshot(remote_id)


class _Suspended(Exception):
    """The process of the run has ended."""


class _Stages(DirectStages):
    """The stages of a run that is suspended when it waits; it counts what the run does by itself."""

    def __init__(self, ledger: Ledger, backend: Backend, folder: Path, kept: Kept) -> None:
        super().__init__(ledger, {"fake": backend}, CompileCache(folder / "compiled"))
        self._kept = kept

    def submit(self, jobs: Mapping[JobId, ToSubmit]) -> Mapping[JobId, Exception]:
        self._kept.by_run += len(jobs)
        return super().submit(jobs)

    def collect(self, jobs: Mapping[JobId, str]) -> Mapping[JobId, Exception]:
        self._kept.collect_tasks += len(jobs)
        return super().collect(jobs)

    def wait(self, waited_for: WaitedFor) -> None:
        unsent = waited_for.unsent
        both = [*waited_for.jobs, *unsent]
        self._ledger.waits.register(_RUN, both, until="all", now=utc_now(), to_send=to_send(unsent))
        raise _Suspended


def measure(n_jobs: int, way: Way) -> Kept:
    """Let a run of so many jobs be suspended, and passes of the sensor send them."""
    kept = Kept(way=way, n_jobs=n_jobs)
    clock = Clock()
    device = (TellingDevice if way.watches else Device)(clock)
    began = time.perf_counter()
    cpu_s = time.process_time()
    with tempfile.TemporaryDirectory(prefix="qjobs-bench-") as folder, Ledger(f"sqlite:///{folder}/ledger.db") as store:
        stages = _Stages(store, device, Path(folder), kept)
        plan = circuits(n_jobs)

        def leg() -> bool:
            """A process of the run; whether it came to its end."""
            with contextlib.suppress(_Suspended), store.waits.attended(_RUN):
                execute(store, plan, stages, run=_RUN)
                return True
            return False

        has_ended = leg()
        while not has_ended:
            _follow(store, device, clock, kept)
            kept.resumed += 1
            has_ended = leg()
        kept.results = sum(store.result_counts([job.job_id for job in store.jobs()]).values())
    kept.remote_jobs = len(device.jobs)
    kept.most_live = device.most_at_once()
    kept.device_s = max(device.ends.values()) - min(device.starts.values())
    busy_s = sum(device.ends[each] - device.starts[each] for each in device.ends)
    kept.share = busy_s / (PLACES * kept.device_s)
    kept.seconds = time.perf_counter() - began
    kept.cpu_s = time.process_time() - cpu_s
    return kept


def _follow(store: Ledger, device: Device, clock: Clock, kept: Kept) -> None:
    """Passes of the sensor until the run is to be resumed."""
    wake = threading.Event()
    watch = JobWatch(store, lambda _: device, wake, clock.now)
    rng = random.Random(1)
    with contextlib.closing(Dispatcher(store, lambda _: device, now=clock.now, rng=rng)) as dispatcher:
        while True:
            wake.clear()
            watch.make_due()
            report = sensor_pass(store, lambda _: device, now=clock.now, rng=rng)
            found = dispatcher.run_pass()
            watch.watch(report.soon)
            watch.watch(found.sent)
            kept.n_passes += 1
            kept.by_dispatcher += sum(len(job_ids) for job_ids in found.sent.values())
            (run,) = store.waits.runs(flow_run_id=_RUN)
            if run.is_over:
                break
            pause_s = _PASS_EVERY_S
            if kept.way.adapts:
                at = [(each - clock.now()).total_seconds() for each in report.again_at.values()]
                pause_s = min(pause_s, found.again_s, *at)
            _pause(device, clock, wake, max(pause_s, 0.5))
    watch.end()


def _pause(device: Device, clock: Clock, wake: threading.Event, pause_s: float) -> None:
    """The clock goes on to the next pass, or to the moment at which a watcher asks for one."""
    ends_at = clock.elapsed_s + pause_s
    while isinstance(device, TellingDevice):
        next_end = device.next_end()
        if next_end is None or next_end >= ends_at:
            break
        clock.elapsed_s = next_end
        device.move_on()
        if wake.wait(_WOKEN_S):
            return
    clock.elapsed_s = ends_at
    device.move_on()
