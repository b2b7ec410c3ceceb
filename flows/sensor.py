"""The sensor: one pass asks for every open job, tells what happened, and resumes the runs whose jobs are done.

It runs as a flow on a schedule and as a long-lived process (`qjobs sensor`); both do the same pass, and two
at once share the work. Runs are resumed by level: every pass looks at every run that waits, so a missed signal
or a sensor that was down costs a delay and nothing else.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger
from prefect.task_runners import ThreadPoolTaskRunner

from blocks import backend_named, ledger_named
from flows.telling import Telling
from qjobs import operations
from qjobs.errors import LedgerUnavailable, QJobsError
from qjobs.history import is_stalled, usual_wait
from qjobs.ledger import Ledger
from qjobs.ledger_waits import AtDeadline, Waiting
from qjobs.sensor import sensor_pass

__all__ = ["Passed", "main", "sensor", "watch"]

_RUNS_A_REQUEST = 200
_SETTLING_S = 5.0
"""Events younger than this are told in the next pass: see `Ledger.untold_events`."""


@dataclass(slots=True)
class Passed:
    """What a pass did."""

    asked: int = 0
    moved: dict[str, str] = field(default_factory=dict)
    resumed: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    """Runs that wait no longer, because they ended or were deleted."""
    told: int = 0
    trouble: dict[str, str] = field(default_factory=dict)

    @property
    def says_something(self) -> bool:
        """Whether anything happened."""
        return bool(self.moved or self.resumed or self.ended or self.trouble)


def watch(store: Ledger, client: SyncPrefectClient, *, say: Callable[[str], None] = lambda _: None) -> Passed:
    """One pass.

    Args:
        store: The ledger.
        client: Where the flow runs are.
        say: For what a person may want to know.
    """
    report = sensor_pass(store, backend_named)
    passed = Passed(
        asked=report.asked,
        moved={job_id: str(status) for job_id, status in report.moved.items()},
        trouble=dict(report.trouble),
    )
    for step in (_note_stalled, _serve_waits, _tell):
        try:
            step(store, client, passed)
        except (LedgerUnavailable, OSError, RuntimeError, ValueError) as error:  # the next pass does it again
            passed.trouble[step.__name__.strip("_")] = f"{type(error).__name__}: {error}"
    for line in _lines(passed):
        say(line)
    return passed


def _lines(passed: Passed) -> list[str]:
    return [
        *(f"{job_id} is {status}" for job_id, status in passed.moved.items()),
        *(f"resumed the flow run {run}" for run in passed.resumed),
        *(f"the flow run {run} waits no longer" for run in passed.ended),
        *(f"{name}: {words}" for name, words in passed.trouble.items()),
    ]


def _note_stalled(store: Ledger, _client: SyncPrefectClient, _passed: Passed) -> None:
    """Say once of a job that it takes far longer than its device usually does."""
    present = operations.utc_now()
    known = {}
    for job in store.open_jobs():
        where = (job.backend, job.device)
        if where not in known:
            known[where] = usual_wait(store, *where)
        if is_stalled(job, known[where], present) and not store.was_noted(job.job_id, "stalled"):
            usual = known[where]
            assert usual is not None  # noqa: S101  # for the type checker: `is_stalled` has looked
            words = f"{job.device} usually takes {usual.median_s:.0f} s, and 90 % within {usual.ninth_decile_s:.0f} s"
            store.note(job.job_id, "stalled", words, now=present)


def _serve_waits(store: Ledger, client: SyncPrefectClient, passed: Passed) -> None:
    waits = store.waits()
    telling = Telling(store, client)
    for start in range(0, len(waits), _RUNS_A_REQUEST):
        part = waits[start : start + _RUNS_A_REQUEST]
        runs = _runs(client, [wait.flow_run_id for wait in part])
        for wait in part:
            try:
                _serve(store, client, wait, runs.get(wait.flow_run_id), passed)
            except (QJobsError, OSError, RuntimeError, ValueError) as error:  # one bad row stops no other
                passed.trouble[f"flow run {wait.flow_run_id}"] = f"{type(error).__name__}: {error}"
        telling.show_progress([wait for wait in part if wait.flow_run_id not in {*passed.resumed, *passed.ended}])


def _runs(client: SyncPrefectClient, ids: Sequence[str]) -> dict[str, FlowRun]:
    chosen = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(each) for each in ids]))
    found = client.read_flow_runs(flow_run_filter=chosen, limit=_RUNS_A_REQUEST)
    return {str(run.id): run for run in found}


def _serve(store: Ledger, client: SyncPrefectClient, wait: Waiting, run: FlowRun | None, passed: Passed) -> None:
    """Do for one waiting run what its state and its jobs ask for."""
    state = run.state if run is not None else None
    if run is None or (state is not None and state.is_final()):
        if run is not None and state is not None and state.is_cancelled():
            _cancel_jobs_of(store, run, wait)
        store.end_wait(wait.flow_run_id)
        passed.ended.append(wait.flow_run_id)
        return
    late = wait.deadline_at is not None and operations.utc_now() >= wait.deadline_at
    if late:
        _at_deadline(store, wait)
    go_on = wait.is_over or (late and wait.at_deadline is AtDeadline.GO_ON)
    if go_on and state is not None and state.is_paused():
        try:
            answer = client.resume_flow_run(run.id)
        except ObjectNotFound:
            store.end_wait(wait.flow_run_id)
            passed.ended.append(wait.flow_run_id)
            return
        if answer.status is SetStateStatus.ACCEPT:
            passed.resumed.append(wait.flow_run_id)
        else:
            words = getattr(answer.details, "reason", None) or answer.status
            passed.trouble[f"flow run {wait.flow_run_id}"] = f"it cannot be resumed: {words}"


def _cancel_jobs_of(store: Ledger, run: FlowRun, wait: Waiting) -> None:
    """A suspended run has no process that its cancellation hook could run in."""
    if not (run.parameters or {}).get("cancel_remote_jobs", True):
        return
    for job in store.jobs(job_ids=wait.open_ids):
        if job.run == wait.flow_run_id:  # jobs of other runs were only waited for
            store.request_cancel(job.job_id, now=operations.utc_now())
            store.schedule({job.job_id: operations.utc_now()})


def _at_deadline(store: Ledger, wait: Waiting) -> None:
    present = operations.utc_now()
    for job in store.jobs(job_ids=wait.open_ids):
        if not store.was_noted(job.job_id, "deadline"):
            store.note(
                job.job_id, "deadline", f"a run has waited until {wait.deadline_at}: {wait.at_deadline}", now=present
            )
        if wait.at_deadline is AtDeadline.CANCEL and job.cancel_requested_at is None:
            store.request_cancel(job.job_id, now=present)
            store.schedule({job.job_id: present})


def _tell(store: Ledger, client: SyncPrefectClient, passed: Passed) -> None:
    telling = Telling(store, client)
    while events := store.untold_events(before=operations.utc_now() - timedelta(seconds=_SETTLING_S)):
        passed.told += telling.tell(events)
        store.told(events)


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
    store, logger = ledger_named(ledger), get_run_logger()
    ends_at = time.monotonic() + for_s
    with get_client(sync_client=True) as client:
        while True:
            watch(store, client, say=logger.info)
            if time.monotonic() + pause_s > ends_at:
                return
            for _ in range(max(1, round(pause_s))):
                time.sleep(pause_s / max(1, round(pause_s)))


def main(arguments: Sequence[str] | None = None) -> int:
    """`qjobs sensor`: the same pass in a long-lived process, until it is told to end."""
    parser = argparse.ArgumentParser(prog="qjobs sensor", description=sensor.description)
    parser.add_argument("--ledger", default="", help="name of a ledger block (default: QJOBS_LEDGER)")
    parser.add_argument("--every", type=float, default=5.0, metavar="S", help="pause between passes (default 5 s)")
    parser.add_argument("--once", action="store_true", help="one pass only")
    parser.add_argument("--json", action="store_true", help="print one JSON object a pass")
    options = parser.parse_args(arguments)
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    store = ledger_named(options.ledger)
    with get_client(sync_client=True) as client:
        while not over.is_set():
            passed = watch(store, client, say=lambda line: None if options.json else print(line, flush=True))
            if options.json and (passed.says_something or options.once):
                print(json.dumps(asdict(passed)), flush=True)
            if options.once:
                break
            over.wait(options.every)
    return 0


if __name__ == "__main__":
    sys.exit(main())
