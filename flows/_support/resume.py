"""What the sensor does about flow runs: it resumes those whose jobs are done, and cancels jobs of cancelled runs.

By level: every pass looks at every run that waits, so a signal that was missed costs a delay and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_logger
from prefect.states import Scheduled

from flows._support.asking import APPROVAL, FOUND, UNKNOWN, asked_about, asking_runs, complete, key_of
from flows._support.publish import Publisher, is_uuid
from flows._support.run_ledger import stamp_for
from qjobs.errors import QJobsError
from qjobs.ledger import Ledger
from qjobs.ledger.suspended_runs import AtDeadline, SuspendedRun
from qjobs.lifecycle import FINAL, JobStatus
from qjobs.model import Job, JobId, RemoteRetryStrategy
from qjobs.operations.poll import utc_now

TRANSIENT = (QJobsError, httpx.HTTPError, ObjectNotFound, OSError, RuntimeError, ValueError)
"""What never ends a sensor: it is logged, and the next pass tries again. Prefect's client raises httpx's errors."""
_RUNS_A_REQUEST = 200
_AT_ONCE = 4
_MOST_CRASHES = 3
TOO_OFTEN = "it crashed too often and is not started again; its logs say why, and Retry in Prefect starts it"


@dataclass(slots=True)
class PassSummary:
    """What a pass did."""

    asked: int = 0
    moved: dict[str, str] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)
    """Jobs of suspended runs that got a place at their device."""
    resumed: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    """Runs that wait no longer, because they ended or were deleted."""
    lost: list[str] = field(default_factory=list)
    """Runs whose process ended without reporting it."""
    published: int = 0
    trouble: dict[str, str] = field(default_factory=dict)

    @property
    def is_news(self) -> bool:
        """Whether anything happened."""
        return bool(self.moved or self.sent or self.resumed or self.ended or self.lost or self.trouble)

    def lines(self, known: Mapping[str, str]) -> list[str]:
        """What a person may want to know; `known` is the trouble of the pass before, which is not repeated."""
        return [
            *(f"{job_id} is {status}" for job_id, status in self.moved.items()),
            *(f"{job_id} is sent" for job_id in self.sent),
            *(f"the process of the flow run {run} is gone" for run in self.lost),
            *(f"resumed the flow run {run}" for run in self.resumed),
            *(f"the flow run {run} waits no longer" for run in self.ended),
            *(f"{name}: {words}" for name, words in self.trouble.items() if known.get(name) != words),
        ]


def resume_waiting_runs(
    store: Ledger, client: SyncPrefectClient, publisher: Publisher, done: PassSummary, changed: set[JobId]
) -> None:
    """Resume, end or restart every waiting run, by its state and its jobs, and keep its artifacts current.

    Of the jobs in `changed` something new may be known.
    """
    waits = store.waits.runs()
    for start in range(0, len(waits), _RUNS_A_REQUEST):
        part = waits[start : start + _RUNS_A_REQUEST]
        runs = runs_by_id(client, [wait.flow_run_id for wait in part])

        def handle(wait: SuspendedRun, runs: Mapping[str, FlowRun] = runs) -> None:
            try:
                _handle(store, client, wait, runs.get(wait.flow_run_id), done)
            except TRANSIENT as error:  # one bad row stops no other
                done.trouble[f"flow run {wait.flow_run_id}"] = f"{type(error).__name__}: {error}"

        with ThreadPoolExecutor(_AT_ONCE) as pool:  # resuming takes a server half a second
            handled = [pool.submit(copy_context().run, handle, wait) for wait in part]  # with the client's settings
        for future in handled:
            future.result()
        over = {*done.resumed, *done.ended}
        publisher.show_progress([wait for wait in part if wait.flow_run_id not in over], changed)


def runs_to_send_for(store: Ledger, client: SyncPrefectClient, ids: Sequence[str], trouble: dict[str, str]) -> set[str]:
    """Those of these runs that still wait, suspended, with this ledger: jobs may be sent for them, and for no others.

    A run that crashed meanwhile waits as well, as long as it would be started again. What is in the way is added to
    `trouble`.
    """
    found: set[str] = set()
    try:
        runs = runs_by_id(client, [run for run in ids if is_uuid(run)])
    except TRANSIENT as error:
        trouble["dispatch"] = f"{type(error).__name__}: {error}"
        return found
    for run_id, run in runs.items():
        try:
            is_suspended = run.state is not None and run.state.is_paused()
            if is_suspended or (_is_crashed(run) and may_start_again(client, run)):
                stamp_for(store, client, run)
                found.add(run_id)
        except TRANSIENT as error:  # what is wrong with one run keeps no other from its turn
            trouble[f"flow run {run_id}"] = f"{type(error).__name__}: {error}"
    return found


def runs_by_id(client: SyncPrefectClient, ids: Sequence[str], states: Sequence[StateType] = ()) -> dict[str, FlowRun]:
    """The flow runs that the server knows, by their ids; only those in `states`, if any are given."""
    found: dict[str, FlowRun] = {}
    for start in range(0, len(ids), _RUNS_A_REQUEST):
        chosen = FlowRunFilter(
            id=FlowRunFilterId(any_=[UUID(each) for each in ids[start : start + _RUNS_A_REQUEST]]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states))) if states else None,
        )
        runs = client.read_flow_runs(flow_run_filter=chosen, limit=_RUNS_A_REQUEST)
        found.update({str(run.id): run for run in runs})
    return found


def _handle(
    store: Ledger, client: SyncPrefectClient, wait: SuspendedRun, run: FlowRun | None, done: PassSummary
) -> None:
    """Resume, end or restart one waiting run, by its state and its jobs."""
    state = run.state if run is not None else None
    late = wait.deadline_at is not None and utc_now() >= wait.deadline_at
    go_on = wait.is_over or (late and wait.at_deadline is AtDeadline.GO_ON)
    if run is not None and _is_crashed(run) and may_start_again(client, run):
        if go_on and start_again(client, run, "its jobs are done"):
            done.resumed.append(wait.flow_run_id)
        return
    if run is None and wait.server.rstrip("/") != str(client.api_url).rstrip("/"):
        words = f"the server {client.api_url} does not know it; it was suspended on {wait.server or 'another one'}"
        done.trouble[f"flow run {wait.flow_run_id}"] = f"{words}. Start a sensor with that PREFECT_API_URL"
        return
    if run is None or (state is not None and state.is_final()):
        if run is not None and state is not None and state.is_cancelled():
            _cancel_jobs_of(store, run)
        store.waits.end(wait.flow_run_id)
        done.ended.append(wait.flow_run_id)
        return
    if late:
        _at_deadline(store, wait)
    if go_on and state is not None and state.is_paused():
        form = key_of(run)
        asked = asked_about(form)
        if asked is not None and store.job(asked).status is JobStatus.UNKNOWN:
            return  # a person decides
        try:
            if asked is not None:
                complete(client, run.id, form)
            answer = client.resume_flow_run(run.id, run_input=FOUND if asked is not None else None)
        except ObjectNotFound:
            store.waits.end(wait.flow_run_id)
            done.ended.append(wait.flow_run_id)
            return
        if answer.status is SetStateStatus.ACCEPT:
            done.resumed.append(wait.flow_run_id)
        else:
            words = getattr(answer.details, "reason", None) or answer.status
            done.trouble[f"flow run {wait.flow_run_id}"] = f"it cannot be resumed: {words}"


def _is_crashed(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_crashed()


def may_start_again(client: SyncPrefectClient, run: FlowRun) -> bool:
    """Whether a run that crashed is worth another start: it is, until it has crashed some times."""
    states = client.request("GET", "/flow_run_states/", params={"flow_run_id": str(run.id)}).json()
    return [state["type"] for state in states].count(StateType.CRASHED.value) <= _MOST_CRASHES


def start_again(client: SyncPrefectClient, run: FlowRun, words: str) -> bool:
    """Have a crashed run started again; False if it is not crashed any more, as another sensor was faster."""
    if not _is_crashed(client.read_flow_run(run.id)):
        return False
    client.set_flow_run_state(run.id, Scheduled(message=words), force=True)
    return True


def go_on_if_possible(client: SyncPrefectClient, run: FlowRun, words: str, done: PassSummary) -> None:
    """Start a crashed run again, or tell that it has crashed too often."""
    if not may_start_again(client, run):
        done.trouble[f"flow run {run.id}"] = TOO_OFTEN
    elif start_again(client, run, words):
        done.resumed.append(str(run.id))


def _at_deadline(store: Ledger, wait: SuspendedRun) -> None:
    """Record once for each job that this run has waited too long for it; cancel the job where that is the policy."""
    present = utc_now()
    words = f"the flow run {wait.flow_run_id} has waited until {wait.deadline_at}: {wait.at_deadline}"
    recorded = store.jobs_with_event(wait.open_ids, "deadline", words)
    for job in store.jobs(job_ids=wait.open_ids):
        if job.job_id not in recorded:
            store.record_event(job.job_id, "deadline", words, now=present)
        if wait.at_deadline is AtDeadline.CANCEL and job.cancel_requested_at is None:
            _cancel(store, job)


def complete_forms(client: SyncPrefectClient) -> None:
    """Complete the forms of runs whose process was killed while it stored one: nothing else could resume them."""
    for run in asking_runs(client, APPROVAL, UNKNOWN):
        if complete(client, run.id, key_of(run)):
            get_logger("qjobs").warning("the form of the flow run %s was incomplete, and is complete now", run.id)


def cancel_for_cancelled_runs(store: Ledger, client: SyncPrefectClient) -> None:
    """Cancel the open jobs of runs that were cancelled in Prefect, if their hook could not.

    A suspended run has no process that its cancellation hook could run in, and the hook of another may die with
    its worker.
    """
    ids = [run for run in store.runs_with_open_jobs() if is_uuid(run)]
    for run in runs_by_id(client, ids, [StateType.CANCELLED]).values():
        _cancel_jobs_of(store, run)


def _cancel_jobs_of(store: Ledger, run: FlowRun) -> None:
    """Cancel the jobs that a cancelled run made, once no other run waits for them.

    What was sent since then, because a person retried it, goes on. A first attempt is no retry: a dispatcher that had
    asked before has sent it since.
    """
    if run.state is None or not (run.parameters or {}).get("cancel_remote_jobs", True):
        return
    open_jobs = store.jobs(run=str(run.id), statuses=set(JobStatus) - FINAL)
    shared = store.waits.jobs_of_others([job.job_id for job in open_jobs], str(run.id))
    jobs = [job for job in open_jobs if job.cancel_requested_at is None and job.job_id not in shared]
    attempts = store.last_attempts([job.job_id for job in jobs])
    for job in jobs:
        attempt = attempts.get(job.job_id)
        sent_at = max((at for at in (attempt.sent_at, attempt.accepted_at) if at), default=None) if attempt else None
        is_first = attempt is not None and attempt.number == 1 and attempt.strategy is RemoteRetryStrategy.DEFAULT
        if is_first or (sent_at or job.created_at) <= run.state.timestamp:
            _cancel(store, job)


def _cancel(store: Ledger, job: Job) -> None:
    present = utc_now()
    if not store.request_cancel(job.job_id, now=present).status.is_final:
        store.schedule.set_next({job.job_id: present}, trouble=job.trouble)
