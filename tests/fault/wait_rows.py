"""Rows of what is waited for: full devices, endless lists, a ledger that is away, results that are there already."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path

from audit_rows import Row, S, Scene
from little_server import LittleServer, endless_pages
from simulation_laws import Violation
from support import a_spec

import qjobs
from qjobs.backends.base import Backend, Limits
from qjobs.backends.limiter import Limiter
from qjobs.backends.nexus import NexusBackend
from qjobs.errors import Busy, LedgerError, QJobsError
from qjobs.ledger import Ledger
from qjobs.model import JobId, Key, RemoteRetryStrategy
from qjobs.operations.execute import ToSubmit, WaitedFor, finish
from qjobs.operations.retry import RetryPolicy
from qjobs.operations.sensor_pass import sensor_pass

DAY_S = 86_400.0
_MOST_PASSES = 60
"""How often a run may look for room on a device in an hour."""


class Over(Exception):
    """The row has seen enough."""


class Stages:
    """The stages of one run on one backend; it counts how often the run comes to its submission in an hour."""

    def __init__(self, scene: Scene, ledger: Ledger) -> None:
        self._scene = scene
        self._ledger = ledger
        self.submissions = 0

    def backend(self, name: str) -> Backend:
        assert name == "model"
        return self._scene.backend

    def submit(self, jobs: Mapping[JobId, ToSubmit]) -> Mapping[JobId, Exception]:
        self.submissions += 1
        if self._scene.elapsed_s > 3600.0:
            raise Over
        if self.submissions > _MOST_PASSES:
            words = f"{self.submissions} submissions in {self._scene.elapsed_s:.0f} s for a slot that stays taken"
            raise Violation(words)
        failed: dict[JobId, Exception] = {}
        for job_id in jobs:
            try:
                qjobs.submit(self._ledger, self._scene.backend, job_id, now=self._scene.now)
            except QJobsError as error:
                failed[job_id] = error
                if isinstance(error, Busy):
                    self._scene.sleep(error.retry_after_s)
        return failed

    def wait(self, waited_for: WaitedFor) -> None:
        scene = self._scene
        backends = {"model": scene.backend}
        clocks = {"now": scene.now, "monotonic": scene.monotonic, "sleep": scene.sleep}
        qjobs.wait(self._ledger, backends, list(waited_for.jobs), until=waited_for.until, timeout_s=900.0, **clocks)

    def collect(self, jobs: Mapping[JobId, str]) -> Mapping[JobId, Exception]:
        return {}


def strangers_slot(folder: Path) -> str:
    """A run that finds a device's only slot taken by an UNKNOWN job says so, or looks again seldom."""
    scene = Scene(folder)
    with scene.stack:
        ledger = scene.open_ledger()
        scene.backend.limits = Limits(max_live_jobs=1)
        scene.a_lost_one(ledger, "stranger", arrives=False)
        stages = Stages(scene, ledger)
        with contextlib.suppress(Over, QJobsError):
            mine = ToSubmit(backend="model", policy=RetryPolicy.for_backend(scene.backend.lookup))
            finish(ledger, {scene.a_job(ledger, "mine"): mine}, stages)
        return ""


def endless_list(folder: Path) -> str:
    """A list whose pages never end is left, with an error."""
    with LittleServer(endless_pages(most=300)) as server:
        limiter = Limiter(time.monotonic, lambda _: None)
        backend = NexusBackend("Aer", url=server.url, token="t", limiter=limiter, sleep=lambda _: None)
        try:
            backend.find(Key("wanted"))
        except QJobsError:
            pass
        finally:
            backend.close()
        pages = server.asked["/api/jobs/v1beta3"]
        return f"{pages} pages of a list were read until it was ended" if pages >= 300 else ""


def ledger_away(folder: Path) -> str:
    """A wait goes on when the database is back."""
    scene = Scene(folder)
    with scene.stack:
        ledger = scene.open_ledger(busy_timeout_s=0.05)
        job_id = scene.a_job(ledger)
        qjobs.submit(ledger, scene.backend, job_id, now=scene.now)
        lock = sqlite3.connect(folder / "ledger.db", isolation_level=None, check_same_thread=False)
        scene.stack.callback(lock.close)

        def away() -> None:
            lock.execute("BEGIN EXCLUSIVE")
            scene.provider.finish()

        scene.after(5.0, away)
        scene.after(60.0, lambda: lock.execute("ROLLBACK"))
        clocks = {"now": scene.now, "monotonic": scene.monotonic, "sleep": scene.sleep}
        try:
            qjobs.wait(ledger, {"model": scene.backend}, [job_id], timeout_s=600.0, **clocks)
        except LedgerError as error:
            return f"the wait ended after {scene.elapsed_s:.0f} s with {error!r}"
        return ""


def results_at_once(folder: Path) -> str:
    """The results of items that are done are stored while another one runs."""
    scene = Scene(folder)
    with scene.stack:
        ledger = scene.open_ledger()
        spec = a_spec("job", n_items=5, backend=scene.backend.name)
        (job_id,) = ledger.create([spec], now=scene.now())
        qjobs.submit(ledger, scene.backend, job_id, now=scene.now)
        scene.report(S.COMPLETED, S.COMPLETED, S.COMPLETED, S.COMPLETED, S.RUNNING)
        for _ in range(20):
            sensor_pass(ledger, lambda _: scene.backend, now=scene.now, rng=scene.rng)
            scene.sleep(DAY_S / 10)
        stored = ledger.result_counts([job_id])[job_id]
        return "" if stored == 4 else f"{stored} of 4 results are stored after two days, because the fifth item runs"


def long_queue(folder: Path) -> str:
    """After days in a queue a job may be sent again."""
    scene = Scene(folder)
    with scene.stack:
        ledger = scene.open_ledger()
        job_id = scene.a_job(ledger, n_items=1)
        qjobs.submit(ledger, scene.backend, job_id, now=scene.now)
        scene.sleep(2 * DAY_S)
        scene.report(S.ERROR)
        qjobs.poll(ledger, scene.backend, [job_id], now=scene.now)
        scene.sleep(600.0)
        force = RemoteRetryStrategy.FORCE_RESUBMIT
        try:
            qjobs.submit(ledger, scene.backend, job_id, strategy=force, now=scene.now)
        except QJobsError as error:
            return repr(error)
        return ""


def item_retried(folder: Path) -> str:
    """To retry a failed item of a job that runs ends none of the others."""
    scene = Scene(folder)
    with scene.stack:
        ledger = scene.open_ledger()
        job_id = scene.a_job(ledger)
        qjobs.submit(ledger, scene.backend, job_id, now=scene.now)
        scene.report(S.ERROR, S.RUNNING, S.QUEUED)
        qjobs.poll(ledger, scene.backend, [job_id], now=scene.now)
        force = RemoteRetryStrategy.FORCE_RESUBMIT
        with contextlib.suppress(QJobsError):
            qjobs.retry(ledger, scene.backend, job_id, strategy=force, now=scene.now)
        first, *later = scene.provider.jobs.values()
        ended = [index for index in first.cancelling if index]
        sent = [job.items for job in later]
        return f"item 0 was to be retried: items {ended} are ended, and sent are {sent}" if ended else ""


def lying_list(folder: Path) -> str:
    """Look-ups that are answered 200 and empty, one less than are believed, let no second job be sent."""
    scene = Scene(folder)
    with scene.stack:
        ledger = scene.open_ledger()
        job_id = scene.a_lost_one(ledger, arrives=True)
        (remote,) = scene.provider.jobs.values()
        scene.sleep(2 * scene.backend.settle_s)
        times = scene.backend.confirm.absent_times
        remote.lies = times - 1
        scene.happens = lambda probability: probability > 0
        words = ""
        for _ in range(times):
            try:
                qjobs.submit(ledger, scene.backend, job_id, strategy=RemoteRetryStrategy.ALLOW_RESUBMIT, now=scene.now)
            except QJobsError as error:
                words = repr(error)
            scene.sleep(60.0)
        n_jobs = len(scene.provider.jobs)
        return f"{n_jobs} remote jobs of one wish {words}" if n_jobs > 1 else ""


ROWS = (
    Row("1", "FORCE_RESUBMIT of one failed item while others run", item_retried),
    Row("18", "a stranger's UNKNOWN job in the only slot", strangers_slot),
    Row("19", "paging that never ends", endless_list),
    Row("21", "a retry after two days in the queue", long_queue),
    Row("22", "the database is away for a minute while a flow waits", ledger_away),
    Row("23", "four of five results are there", results_at_once),
    Row("30", "two look-ups answer 200 and empty", lying_list),
)
