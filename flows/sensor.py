"""The sensor: one pass asks for every open job, tells what happened, and resumes the runs whose jobs are done.

It runs as a flow on a schedule and as a long-lived process (`qjobs sensor`); both do the same pass, and two
at once share the work. Runs are resumed by level: every pass looks at every run that waits, so a missed signal
or a sensor that was down costs a delay and nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import timedelta

from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.task_runners import ThreadPoolTaskRunner

from blocks import backend_named, ledger_named
from flows.alive import alive
from flows.deploy import NO_SERVER
from flows.reaping import reap
from flows.runs import TRANSIENT, Passed, cancel_for_cancelled_runs, serve_waits
from flows.telling import Telling
from qjobs.errors import QJobsError
from qjobs.following import Following
from qjobs.history import UsualWaits, is_stalled
from qjobs.ledger import Ledger
from qjobs.ledger_runners import BEAT_S
from qjobs.liveness import lease_owner
from qjobs.model import JobId
from qjobs.polling import utc_now
from qjobs.sensor import sensor_pass

__all__ = ["Passed", "Sensor", "main", "sensor", "watch"]

_SETTLING_S = 5.0
"""Events younger than this are told in the next pass: see `Ledger.untold_events`."""
_EVENTS_A_PART, _PARTS_A_PASS = 500, 4
_LOOK_AROUND_S = 60.0
_SLICE_S = 0.5
_RETRIES = 1
"""Of a request to Prefect. The next pass does it again; waiting 2, 4, 8, ... s for one run would hold up all."""
_LONGEST_S = 3600.0
"""A sensor that has run for so long as a flow is not trusted to be still at work."""


class Sensor:
    """A sensor and what it keeps between its passes. Close it when done.

    Args:
        store: The ledger.
        client: Where the flow runs are.
        say: For what a person may want to know.
        monotonic: Clock.
    """

    def __init__(
        self,
        store: Ledger,
        client: SyncPrefectClient,
        *,
        say: Callable[[str], None] = lambda _: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._client, self._say, self._monotonic = store, client, say, monotonic
        self._usual = UsualWaits(store, monotonic)
        self._telling = Telling(store, client, self._usual)
        self._wake = threading.Event()
        self._following = Following(store, backend_named, self._wake)
        self._changed: set[JobId] = set()
        self._trouble: dict[str, str] = {}
        self._look_around_at = -math.inf

    def look(self) -> Passed:
        """One pass. What fails in it, because a database or a server is away, is said and done in the next one."""
        self._wake.clear()
        passed = Passed()
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: min(_RETRIES, PREFECT_CLIENT_MAX_RETRIES.value())}):
            for step in (self._ask, self._look_around, self._serve_waits, self._tell):
                try:
                    step(passed)
                except TRANSIENT as error:
                    passed.trouble[step.__name__.strip("_").replace("_", " ")] = f"{type(error).__name__}: {error}"
        for line in passed.lines(self._trouble):
            self._say(line)
        self._trouble = dict(passed.trouble)
        return passed

    def _ask(self, passed: Passed) -> None:
        self._following.make_due()
        report = sensor_pass(self._store, backend_named)
        passed.asked = len(report.asked)
        passed.moved = {job_id: str(status) for job_id, status in report.moved.items()}
        passed.trouble.update(report.trouble)
        self._following.follow(report.soon)
        self._changed |= report.asked

    def rest(self, seconds: float, over: threading.Event | None = None) -> None:
        """Pause until the next pass: shorter if a job that is watched changes, or when it is all over."""
        ends_at = self._monotonic() + seconds
        while (left := ends_at - self._monotonic()) > 0 and not (over is not None and over.is_set()):
            if self._wake.wait(min(_SLICE_S, left)):
                return

    def close(self) -> None:
        """Watch nothing any more. Idempotent."""
        self._following.end()

    def _serve_waits(self, passed: Passed) -> None:
        serve_waits(self._store, self._client, self._telling, passed, self._changed)
        self._changed = set()

    def _tell(self, passed: Passed) -> None:
        """Tell what has not been told yet; thousands of events take some passes, so that none is held up."""
        before = utc_now() - timedelta(seconds=_SETTLING_S)
        for _ in range(_PARTS_A_PASS):
            events = self._store.untold_events(before=before, limit=_EVENTS_A_PART)
            passed.told += self._telling.tell(events)
            self._store.told(events)
            if len(events) < _EVENTS_A_PART:
                return

    def _look_around(self, passed: Passed) -> None:
        """What is worth a look at every job, but not in every pass."""
        if self._monotonic() < self._look_around_at:
            return
        reap(self._store, self._client, passed)
        cancel_for_cancelled_runs(self._store, self._client)
        self._note_stalled()
        self._look_around_at = self._monotonic() + _LOOK_AROUND_S

    def _note_stalled(self) -> None:
        """Say once of a job that it takes far longer than its device usually does."""
        present = utc_now()
        stalled = {
            job.job_id: usual
            for job in self._store.open_jobs()
            if (usual := self._usual.of(job)) is not None and is_stalled(job, usual, present)
        }
        noted = self._store.noted(list(stalled), "stalled")
        for job_id, usual in stalled.items():
            if job_id not in noted:
                words = f"its device usually takes {usual.median_s:.0f} s, and 90 % within {usual.ninth_decile_s:.0f} s"
                self._store.note(job_id, "stalled", words, now=present)


def watch(store: Ledger, client: SyncPrefectClient, *, say: Callable[[str], None] = lambda _: None) -> Passed:
    """One pass of a sensor that is opened for it.

    Args:
        store: The ledger.
        client: Where the flow runs are.
        say: For what a person may want to know.
    """
    with contextlib.closing(Sensor(store, client, say=say)) as opened:
        return opened.look()


@flow(
    name="sensor",
    description="Ask for every open job, store results, and resume the runs whose jobs are done.",
    flow_run_name="sensor",
    task_runner=ThreadPoolTaskRunner(max_workers=1),  # type: ignore[arg-type]
    retries=0,
    timeout_seconds=None,
    validate_parameters=True,
    persist_result=False,
    log_prints=False,
    on_cancellation=[],
)
def sensor(ledger: str = "", for_s: float = 0.0, pause_s: float = 5.0) -> None:
    """Pass over the ledger, again and again for so long.

    Args:
        ledger: Name of a ledger block; the default ledger if empty.
        for_s: How long to go on, in seconds; 0 for one pass.
        pause_s: Between two passes, in seconds.
    """
    logger, store = get_run_logger(), ledger_named(ledger)
    if other := _other_sensor(store):
        logger.info("the sensor of the flow run %s is at work: nothing to be done here", other)
        return
    ends_at = time.monotonic() + for_s
    with (
        alive(ledger),
        get_client(sync_client=True) as client,
        contextlib.closing(Sensor(store, client, say=logger.info)) as opened,
    ):
        while True:
            opened.look()
            if time.monotonic() + pause_s > ends_at:
                return
            opened.rest(pause_s)


def _other_sensor(store: Ledger) -> str | None:
    """The flow run of another sensor that is at work.

    Prefect has limits of concurrency for this, but a run whose machine broke down holds its place in a limit for
    five minutes, and in a queue for ever.
    """
    present = utc_now()
    for runner in store.runners():
        is_scheduled = runner.flow == sensor.name and runner.flow_run_id != ""
        recent = present - runner.since < timedelta(seconds=_LONGEST_S)
        if is_scheduled and recent and runner.is_at_work(present, PREFECT_API_URL.value() or ""):
            return runner.flow_run_id
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """`qjobs sensor`: the same pass in a long-lived process, until it is told to end."""
    parser = argparse.ArgumentParser(prog="qjobs sensor", description=sensor.description)
    parser.add_argument("--ledger", default="", help="name of a ledger block (default: QJOBS_LEDGER)")
    parser.add_argument("--every", type=float, default=5.0, metavar="S", help="pause between passes (default 5 s)")
    parser.add_argument("--once", action="store_true", help="one pass only")
    parser.add_argument("--json", action="store_true", help="print one JSON object a pass")
    options = parser.parse_args(arguments)
    if not PREFECT_API_URL.value():  # a server of its own would know none of the runs that wait
        print(f"error: {NO_SERVER}", file=sys.stderr)
        return 2
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())

    def say(line: str) -> None:
        if not options.json:
            print(line, flush=True)

    store = ledger_named(options.ledger)
    with (
        get_client(sync_client=True) as client,
        contextlib.closing(Sensor(store, client, say=say)) as opened,
        _heard_of(store) as say_so,
    ):
        while not over.is_set():
            say_so()
            passed = opened.look()
            if options.json and (passed.says_something or options.once):
                print(json.dumps(asdict(passed)), flush=True)
            if options.once:
                break
            opened.rest(options.every, over)
    return 0


@contextlib.contextmanager
def _heard_of(store: Ledger) -> Iterator[Callable[[], None]]:
    """What a long-lived sensor calls before each pass, so that `qjobs doctor` knows that it is at work."""
    owner, server, last = lease_owner(), PREFECT_API_URL.value() or "", -math.inf

    def say_so() -> None:
        nonlocal last
        if time.monotonic() - last >= BEAT_S:
            with contextlib.suppress(QJobsError):  # a ledger that is away is said by the pass
                store.beat("", owner, flow=sensor.name, server=server, now=utc_now())
                last = time.monotonic()

    try:
        yield say_so
    finally:
        with contextlib.suppress(QJobsError):
            store.end_runner("", owner)


if __name__ == "__main__":
    sys.exit(main())
