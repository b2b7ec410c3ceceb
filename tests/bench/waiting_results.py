"""Many results come from a slow provider while runs at another one are to be resumed: what that costs these.

The ledger and the passes are those of the sensor. The providers are scripted, and the clock is the real one.
"""

from __future__ import annotations

import contextlib
import resource
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from launching import circuits
from scripted import ScriptedBackend

import qjobs
from qjobs.backends.base import Answer, Limits, Result
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, JobId, Key, RemoteId
from qjobs.operations.plan import find_existing, plan_missing
from qjobs.operations.poll import utc_now
from qjobs.operations.sensor_pass import passes_over

_ITEMS = 5000
"""Items of each large job."""
_PART = 100
_PART_S = 0.02
"""How long the slow provider takes for so many results."""
_END_EVERY_S = 1.0
"""How often a job of the other provider ends."""
_PATIENCE_S = 2.0
_PAUSE_S = 0.5


@dataclass(slots=True)
class Came:
    """What was seen, in seconds.

    `delays_s` are from the end of a small job to the moment at which its run was to be resumed.
    """

    n_results: int
    n_runs: int
    seconds: float = 0.0
    cpu_s: float = 0.0
    delays_s: list[float] = field(default_factory=list)
    longest_pass_s: float = 0.0
    before_mb: float = 0.0
    peak_mb: float = 0.0
    stored: int = 0


class _Slow(ScriptedBackend):
    """All its jobs have ended, and every result takes its time."""

    def __init__(self) -> None:
        super().__init__(name="slow", limits=Limits(max_items=_ITEMS), poll_interval_s=(0.2, 1.0))

    def _make(self, remote_id: RemoteId, batch: Batch, key: Key) -> None:
        super()._make(remote_id, batch, key)
        self.jobs[remote_id].items = [JobStatus.COMPLETED] * len(batch.items)

    def results(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> Iterator[tuple[int, Result]]:
        for number, entry in enumerate(super().results(remote_id, items)):
            if number % _PART == 0:
                time.sleep(_PART_S)
            yield entry


class _Quick(ScriptedBackend):
    """One of its jobs after the other ends, a second apart."""

    def __init__(self) -> None:
        super().__init__(name="quick", limits=Limits(max_items=1), poll_interval_s=(0.2, 1.0))
        self.ended_at: dict[RemoteId, float] = {}
        self.began = 0.0

    def status(self, remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Answer]:
        for number, remote_id in enumerate(self.jobs, start=1):
            ends_at = self.began + number * _END_EVERY_S
            if remote_id not in self.ended_at and time.monotonic() >= ends_at:
                self.ended_at[remote_id] = ends_at
                self.jobs[remote_id].items = [JobStatus.COMPLETED]
        return super().status(remote_ids)


def _sent(store: Ledger, backend: ScriptedBackend, run: str, n_items: int) -> list[JobId]:
    plan = circuits(n_items, name=run)
    existing = find_existing(store, backend, plan, run=run, identity=run)
    store.add_programs(plan.programs.values())
    same = {each: each for each in plan.programs}
    made = plan_missing(store, backend, plan, existing, same, run=run, logical_run=run, opened_as=backend.name)
    for job_id in made.new:
        qjobs.submit(store, backend, job_id)
    store.waits.register(run, made.new, until="all", now=utc_now())
    return list(made.new)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(n_results: int, n_runs: int = 20) -> Came:
    """Bring `n_results` results of one run while `n_runs` others of one job each are to be resumed."""
    came = Came(n_results=n_results, n_runs=n_runs)
    slow = _Slow()
    quick = _Quick()
    opened = {"slow": slow, "quick": quick}
    with (
        tempfile.TemporaryDirectory(prefix="qjobs-bench-") as folder,
        Ledger(f"sqlite:///{folder}/l.db") as store,
    ):
        many = _sent(store, slow, "many", n_results)
        for number in range(n_runs):
            _sent(store, quick, f"run-{number}", 1)
        came.before_mb = _peak_mb()
        wake = threading.Event()
        with contextlib.closing(passes_over(store, opened.__getitem__, news=wake.set)) as passes:
            began = quick.began = time.monotonic()
            cpu_s = time.process_time()
            waiting = {f"run-{number}" for number in range(n_runs)} | {"many"}
            while waiting:
                wake.clear()
                pass_began = time.monotonic()
                passes.run_pass(_PATIENCE_S)
                came.longest_pass_s = max(came.longest_pass_s, time.monotonic() - pass_began)
                over = {run.flow_run_id for run in store.waits.runs() if run.is_over} & waiting
                for run in over - {"many"}:
                    ended_at = began + (int(run.removeprefix("run-")) + 1) * _END_EVERY_S
                    came.delays_s.append(time.monotonic() - ended_at)
                waiting -= over
                wake.wait(_PAUSE_S)
            came.seconds = time.monotonic() - began
            came.cpu_s = time.process_time() - cpu_s
        came.peak_mb = _peak_mb()
        came.stored = sum(store.result_counts(many).values())
    return came
