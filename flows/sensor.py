"""The sensor: one pass polls the jobs that are due, sends what waits for a place, and resumes the runs that are done.

It runs as a flow on a schedule and as a long-lived process (`qjobs sensor`); both do the same pass, and two
at once share the work. Runs are resumed by level: every pass looks at every run that waits, so a missed signal
or a sensor that was down costs a delay and nothing else.
"""

from __future__ import annotations

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
from typing import Annotated

import typer
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.task_runners import ThreadPoolTaskRunner

from blocks import backend_named, ledger_named
from flows._support.ended_tasks import end_task_runs_left_behind
from flows._support.heartbeat import heartbeat
from flows._support.local_server import ServerProblem, served
from flows._support.lost_runs import recover_crashed_runs, recover_lost_runs
from flows._support.old_runs import delete_finished, deployed_as
from flows._support.publish import Publisher
from flows._support.resume import (
    TRANSIENT,
    PassSummary,
    cancel_for_cancelled_runs,
    complete_forms,
    resume_waiting_runs,
    runs_to_send_for,
)
from flows._support.unstarted_runs import recover_unstarted_runs
from qjobs.cli.declaring import alone, called
from qjobs.errors import QJobsError
from qjobs.ledger import Ledger
from qjobs.ledger.dispatches import Entry
from qjobs.ledger.heartbeats import HEARTBEAT_S
from qjobs.ledger.liveness import lease_owner
from qjobs.model import JobId
from qjobs.operations.dispatch import Dispatcher, Enter
from qjobs.operations.poll import utc_now
from qjobs.operations.retry import RetryPolicy
from qjobs.operations.sensor_pass import passes_over
from qjobs.operations.usual_wait import UsualWaits, is_stalled
from qjobs.operations.watch import JobWatch

__all__ = ["PassSummary", "Sensor", "main", "run_once", "sensor"]

_SETTLING_S = 5.0
"""Events younger than this are published in the next pass: see `Outbox.pending`."""
_EVENTS_A_PART = 500
_PARTS_A_PASS = 4
_UPKEEP_S = 60.0
_SLICE_S = 0.5
_PATIENCE_S = 2.0
"""How long a pass waits for backends; one that takes longer goes on beside the next passes."""
_SENDING_S = 10.0
"""How long a pass waits for what it sends; a provider that takes longer holds up its own jobs alone."""
_RETRIES = 1
"""Of a request to Prefect. The next pass does it again; waiting 2, 4, 8, ... s for one run would hold up all."""
_LONGEST_S = 3600.0
"""A sensor that has run for so long as a flow is not trusted to be still at work."""


class Sensor:
    """A sensor and what it keeps between its passes. Close it when done.

    `say` gets what a person may want to know. `enter` enters the submission of a job that waited for a place, where the
    operation is not to be called directly.
    """

    def __init__(
        self,
        store: Ledger,
        client: SyncPrefectClient,
        *,
        say: Callable[[str], None] = lambda _: None,
        enter: Enter | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._client = client
        self._say = say
        self._monotonic = monotonic
        self._usual = UsualWaits(store, monotonic)
        self._publisher = Publisher(store, client, self._usual)
        self._wake = threading.Event()
        self._job_watch = JobWatch(store, backend_named, self._wake)
        self._passes = passes_over(store, backend_named, news=self._wake.set)
        self._patience_s: float | None = None
        self._not_cleared: dict[str, str] = {}
        self._dispatcher = Dispatcher(
            store,
            backend_named,
            enter=enter,
            cleared=lambda runs: runs_to_send_for(store, client, runs, self._not_cleared),
        )
        self._soon_s = math.inf
        """After how many seconds a device at which jobs wait for a place is worth the next pass."""
        self._changed: set[JobId] = set()
        self._trouble: dict[str, str] = {}
        self._found_by_upkeep: dict[str, str] = {}
        self._upkeep_at = -math.inf

    def run_pass(self, patience_s: float | None = None) -> PassSummary:
        """One pass. What fails in it, because a database or a server is away, is reported and done in the next one.

        A backend that takes longer than `patience_s` seconds is not waited for: a later pass tells what came of it.
        """
        self._wake.clear()
        self._patience_s = patience_s
        self._soon_s = math.inf
        done = PassSummary()
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: min(_RETRIES, PREFECT_CLIENT_MAX_RETRIES.value())}):
            for step in (self._poll, self._dispatch, self._upkeep, self._resume, self._publish):
                try:
                    step(done)
                except TRANSIENT as error:
                    done.trouble[step.__name__.strip("_").replace("_", " ")] = f"{type(error).__name__}: {error}"
        for line in done.lines(self._trouble):
            self._say(line)
        self._trouble = dict(done.trouble)
        return done

    def _poll(self, done: PassSummary) -> None:
        self._job_watch.make_due()
        report = self._passes.run_pass(self._patience_s)
        done.asked = len(report.asked)
        done.moved = {job_id: str(status) for job_id, status in report.moved.items()}
        done.trouble.update(report.trouble)
        self._job_watch.watch(report.soon)
        self._changed |= report.asked | report.stored
        for at in report.again_at.values():
            self._soon_s = min(self._soon_s, (at - utc_now()).total_seconds())

    def _dispatch(self, done: PassSummary) -> None:
        """Send what waits for a place, by the places that are free now."""
        self._not_cleared.clear()
        found = self._dispatcher.run_pass(_SENDING_S)
        done.trouble.update(self._not_cleared)
        done.trouble.update({f"sending to {name}": words for name, words in found.trouble.items()})
        for job_ids in found.sent.values():
            done.sent += job_ids
            self._changed.update(job_ids)
        self._soon_s = min(self._soon_s, found.again_s)
        self._job_watch.watch(found.sent)

    def pause(self, seconds: float, over: threading.Event | None = None) -> None:
        """Pause until the next pass: shorter if a job that is watched changes, or when it is all over.

        Where jobs wait for a place at a device, it is no longer than the pause until that device is to be asked.
        """
        ends_at = self._monotonic() + min(seconds, max(self._soon_s, _SLICE_S))
        while (left := ends_at - self._monotonic()) > 0 and not (over is not None and over.is_set()):
            if self._wake.wait(min(_SLICE_S, left)):
                return

    def close(self) -> None:
        """Watch nothing any more, and begin nothing; what is under way is waited for. Idempotent."""
        self._job_watch.end()
        self._dispatcher.close()
        self._passes.close()

    def _resume(self, done: PassSummary) -> None:
        resume_waiting_runs(self._store, self._client, self._publisher, done, self._changed)
        self._changed = set()

    def _publish(self, done: PassSummary) -> None:
        """Publish what is pending; thousands of events take some passes, so that none is held up."""
        before = utc_now() - timedelta(seconds=_SETTLING_S)
        for _ in range(_PARTS_A_PASS):
            events = self._store.outbox.pending(before=before, limit=_EVENTS_A_PART)
            done.published += self._publisher.publish(events)
            self._store.outbox.mark_sent(events)
            if len(events) < _EVENTS_A_PART:
                return

    def _upkeep(self, done: PassSummary) -> None:
        """What looks at every job and run, and need not be done in every pass."""
        if self._monotonic() < self._upkeep_at:
            done.trouble.update(self._found_by_upkeep)
            return
        found = PassSummary(lost=done.lost, resumed=done.resumed)
        recover_lost_runs(self._store, self._client, found)
        recover_unstarted_runs(self._store, self._client, found)
        recover_crashed_runs(self._store, self._client, found)
        self._found_by_upkeep = found.trouble
        done.trouble.update(found.trouble)
        cancel_for_cancelled_runs(self._store, self._client)
        complete_forms(self._client)
        end_task_runs_left_behind(self._client)
        self._record_stalled()
        self._upkeep_at = self._monotonic() + _UPKEEP_S

    def _record_stalled(self) -> None:
        """Say once of a job that it takes far longer than its device usually does."""
        present = utc_now()
        stalled = {
            job.job_id: usual
            for job in self._store.open_jobs()
            if (usual := self._usual.of(job)) is not None and is_stalled(job, usual, present)
        }
        noted = self._store.jobs_with_event(list(stalled), "stalled")
        for job_id, usual in stalled.items():
            if job_id not in noted:
                words = f"its device usually takes {usual.median_s:.0f} s, and 90 % within {usual.ninth_decile_s:.0f} s"
                self._store.record_event(job_id, "stalled", words, now=present)


def run_once(store: Ledger, client: SyncPrefectClient, *, say: Callable[[str], None] = lambda _: None) -> PassSummary:
    """One pass of a sensor that is opened for it."""
    with contextlib.closing(Sensor(store, client, say=say)) as opened:
        return opened.run_pass()


@flow(
    name="sensor",
    description="Ask for every open job, store results, send what waits for a place, and resume runs that are done.",
    flow_run_name="sensor",
    task_runner=ThreadPoolTaskRunner(max_workers=1),  # type: ignore[arg-type]
    retries=0,
    timeout_seconds=None,
    validate_parameters=True,
    persist_result=False,
    log_prints=False,
    on_cancellation=[],
)
def sensor(ledger: str = "", for_s: float = 0.0, pause_s: float = 5.0, keep_hours: float = 0.0) -> None:
    """Pass over the ledger, again and again for so long.

    Args:
        ledger: Name of a ledger block; the default ledger if empty.
        for_s: How long to go on, in seconds; 0 for one pass.
        pause_s: Between two passes, in seconds.
        keep_hours: After how many hours finished runs of this deployment are deleted in Prefect; 0 to keep them. Those
            that failed or crashed are kept in any case.
    """
    logger = get_run_logger()
    store = ledger_named(ledger)
    if other := _other_sensor(store):
        logger.info("the sensor of the flow run %s is at work: nothing to be done here", other)
        return
    ends_at = time.monotonic() + for_s
    with (
        heartbeat(ledger),
        get_client(sync_client=True) as client,
        contextlib.closing(Sensor(store, client, say=logger.info, enter=_by_task(ledger))) as opened,
    ):
        if keep_hours > 0 and (deployment := deployed_as()):
            delete_finished(client, deployment, older_than=timedelta(hours=keep_hours))
        while True:
            is_last = time.monotonic() + pause_s > ends_at
            opened.run_pass(None if is_last else _PATIENCE_S)
            if is_last:
                return
            opened.pause(pause_s)


def _by_task(ledger: str) -> Enter:
    """Enter submissions as task runs of the present flow run; what a run of the stage leaves, the next pass goes on."""

    def enter(entry: Entry, policy: RetryPolicy) -> None:
        from tasks.submit import submit_job  # with it come circuits, which a sensor that sends nothing has no use for

        terms = entry.terms
        submit_job.with_options(retries=0)(
            entry.job_id,
            backend=terms.opened_as,
            ledger=ledger,
            policy=policy,
            strategy=terms.strategy,
            programs=dict(terms.programs),
            before=entry.entries,
        )

    return enter


def _other_sensor(store: Ledger) -> str | None:
    """The flow run of another sensor that is at work.

    Prefect has limits of concurrency for this, but a run whose machine broke down holds its place in a limit for
    five minutes, and in a queue for ever.
    """
    present = utc_now()
    for runner in store.heartbeats.runners():
        is_scheduled = runner.flow == sensor.name and runner.flow_run_id != ""
        recent = present - runner.since < timedelta(seconds=_LONGEST_S)
        if is_scheduled and recent and runner.is_at_work(present, PREFECT_API_URL.value() or ""):
            return runner.flow_run_id
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """`qjobs sensor`: the same pass in a long-lived process, until it is told to end."""
    program = alone(_sense, example="qjobs sensor --every 30")
    return called(program, sys.argv[1:] if arguments is None else arguments, prog="qjobs sensor")


def _sense(
    ledger: Annotated[
        str, typer.Option("--ledger", metavar="NAME", help="name of a ledger block (default: QJOBS_LEDGER)")
    ] = "",
    every: Annotated[float, typer.Option("--every", metavar="S", help="pause between passes (default 5 s)")] = 5.0,
    once: Annotated[bool, typer.Option("--once", help="one pass only")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object a pass")] = False,
) -> int:
    """Ask for every open job, store results, send what waits for a place, and resume runs that are done."""
    try:
        with served(lambda line: print(line, file=sys.stderr, flush=True)):
            return _run(ledger, every, once=once, as_json=as_json)
    except ServerProblem as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run(ledger: str, every: float, *, once: bool, as_json: bool) -> int:
    """Passes until it is told to end."""
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())

    def say(line: str) -> None:
        if not as_json:
            print(line, flush=True)

    store = ledger_named(ledger)
    with (
        get_client(sync_client=True) as client,
        contextlib.closing(Sensor(store, client, say=say)) as opened,
        _heard_of(store) as say_so,
    ):
        while not over.is_set():
            say_so()
            done = opened.run_pass(None if once else _PATIENCE_S)
            if as_json and (done.is_news or once):
                print(json.dumps(asdict(done)), flush=True)
            if once:
                break
            opened.pause(every, over)
    return 0


@contextlib.contextmanager
def _heard_of(store: Ledger) -> Iterator[Callable[[], None]]:
    """What a long-lived sensor calls before each pass, so that `qjobs doctor` knows that it is at work."""
    owner = lease_owner()
    server = PREFECT_API_URL.value() or ""
    last = -math.inf

    def say_so() -> None:
        nonlocal last
        if time.monotonic() - last >= HEARTBEAT_S:
            with contextlib.suppress(QJobsError):  # a ledger that is away is said by the pass
                store.heartbeats.record("", owner, flow=sensor.name, server=server, now=utc_now())
                last = time.monotonic()

    try:
        yield say_so
    finally:
        with contextlib.suppress(QJobsError):
            store.heartbeats.end("", owner)


if __name__ == "__main__":
    sys.exit(main())
