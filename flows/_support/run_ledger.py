"""Which ledger a flow run belongs to: written into its labels in Prefect, where every worker can see it.

A run that was suspended, or that crashed, may be entered again by a worker with another ledger, in which none of its
jobs are: it would send them all again. So the first entry writes the ledger's id and its newest event into the labels,
and every later one compares. A newest event that is older than the one in the labels tells of an older copy, and so
does an event of that number that was written at another time: the copy has gone on by itself.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext, SyncClientContext
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from blocks import ledger_named
from flows._support.ended_tasks import end_task_runs_of_earlier_process
from flows._support.heartbeat import heartbeat
from flows._support.publish import is_uuid
from qjobs.errors import InvalidInput, QJobsError, WrongLedger
from qjobs.ledger import Ledger

__all__ = ["TAG", "entered", "ledger_label", "ledger_tag", "stamp", "stamp_for", "tags_of_others", "unchanged"]

_ID = "qjobs.ledger"
_PLACE = "qjobs.ledger-place"
_EVENT = "qjobs.ledger-event"
_EVENT_AT = "qjobs.ledger-event-at"
_FILE = "qjobs.file"
TAG = "qjobs-ledger-"
"""What the tags of deployments begin with that name their ledger."""
_NOTHING_SENT = "Nothing was sent"
_NO_SUCH_ROUTE = {404, 405}


@contextlib.contextmanager
def entered(ledger: str, logical_run: str = "") -> Iterator[None]:
    """The body of a flow that sends jobs: it has the ledger that it began with, and says that it lives.

    An error of ours leaves it without the errors behind it, each of which Prefect would log with a traceback.

    Raises:
        WrongLedger: The run, or the logical run that it goes on with, belongs to another ledger; nothing was sent.
    """
    try:
        with _entered(ledger, logical_run):
            yield
    except QJobsError as error:
        get_run_logger().debug("behind it:", exc_info=error.__cause__)
        raise error from None


@contextlib.contextmanager
def _entered(ledger: str, logical_run: str) -> Iterator[None]:
    store = ledger_named(ledger)
    run = _deployed_run()
    if run is not None:
        _end_task_runs(run)
    if logical_run and is_uuid(logical_run) and (run is None or logical_run != str(run.id)):
        _compare_logical(store, logical_run)
    if run is not None:
        _compare(store, run)
        if not ledger:
            _say_other_deployment(store, run)
        if ledger_label(run):
            stamp(store)
        else:
            _write_first(store, run)
    with heartbeat(ledger), store.waits.attended(str(flow_run.id or "")):
        yield


def _end_task_runs(run: FlowRun) -> None:
    """End the task runs of a process of the run that crashed; nothing but what people see depends on it."""
    try:
        with _client() as client:
            n_ended = end_task_runs_of_earlier_process(client, run)
    except (httpx.HTTPError, OSError, RuntimeError) as error:
        get_run_logger().warning("its earlier task runs could not be ended: %s: %s", type(error).__name__, error)
    else:
        if n_ended:
            get_run_logger().info("ended %d task runs of a process of this run that is gone", n_ended)


def stamp(store: Ledger) -> None:
    """Write into the labels of the present run, if it is deployed, that this ledger has it, up to the newest event.

    A run that is not deployed cannot be entered by another process. What goes wrong is logged.
    """
    run = _deployed_run()
    if run is None:
        return
    try:
        _write(store, run)
    except (httpx.HTTPError, OSError, RuntimeError) as error:
        message = "the newest event of the ledger could not be written into the labels of the run: %s: %s"
        get_run_logger().warning(message, type(error).__name__, error)


def _write_first(store: Ledger, run: FlowRun) -> None:
    """Nothing may be sent before the labels say where; only a server that has no labels is excused."""
    try:
        _write(store, run)
    except httpx.HTTPStatusError as error:
        if error.response.status_code not in _NO_SUCH_ROUTE:
            raise
        message = "this Prefect server keeps no labels of runs: start all its workers with the ledger %s"
        get_run_logger().warning(message, _place(store))


def stamp_for(store: Ledger, client: SyncPrefectClient, run: FlowRun) -> None:
    """The same for another run, of which jobs are about to be sent: none may be by a ledger that it does not belong to.

    Raises:
        WrongLedger: The run belongs to another ledger, or to a newer copy of this one.
        HTTPError: The server does not take it now.
    """
    _compare(store, run)
    try:
        client.update_flow_run_labels(run.id, _labels(store))
    except httpx.HTTPStatusError as error:
        if error.response.status_code not in _NO_SUCH_ROUTE:
            raise


def _write(store: Ledger, run: FlowRun) -> None:
    with _client() as client:
        client.update_flow_run_labels(run.id, _labels(store))


def _labels(store: Ledger) -> dict[str, bool | int | float | str]:
    newest = store.newest_event_id()
    at = store.event_at(newest)
    return {
        _ID: store.ledger_id,
        _PLACE: _place(store),
        _EVENT: newest,
        _EVENT_AT: at.isoformat() if at else "",
    }


def unchanged(file: str, content: str) -> None:
    """Hold the present run, if it is deployed, to what its file said when it was entered first.

    `content` is a hash of it, which is written into the labels of the run. Another one later would be another
    experiment, whose jobs nobody asked this run for.

    Raises:
        InvalidInput: The file says something else by now; nothing was sent.
    """
    run = _deployed_run()
    if run is None:
        return
    known = run.labels.get(_FILE)
    if known is None:
        with _client() as client:
            client.update_flow_run_labels(run.id, {_FILE: content})
    elif known != content:
        raise InvalidInput(
            f"{file} was changed after this run began. {_NOTHING_SENT}. Put it back as it was and press Retry, or "
            "start a new run, which reuses the points that are there",
            field="file",
        )


def ledger_label(run: FlowRun) -> str:
    """Id of the ledger that a run belongs to; empty if it has not come to our code yet."""
    return str(run.labels.get(_ID, ""))


def ledger_tag(store: Ledger) -> str:
    """The tag of what is deployed for this ledger."""
    return f"{TAG}{store.ledger_id}"


def tags_of_others(store: Ledger, tags: Sequence[str]) -> list[str]:
    """The tags of other ledgers among those of a deployment, or of a run that it made."""
    return [tag for tag in tags if tag.startswith(TAG) and tag != ledger_tag(store)]


def _deployed_run() -> FlowRun | None:
    """The present run, as it was when it was entered, if something outside this process could start it again."""
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    return run if run is not None and run.deployment_id is not None else None


@contextlib.contextmanager
def _client() -> Iterator[SyncPrefectClient]:
    """The client of the present run: opening another one takes longer than what is asked of it."""
    with SyncClientContext.get_or_create() as context:
        yield context.client


def _compare_logical(store: Ledger, logical_run: str) -> None:
    try:
        with _client() as client:
            earlier = client.read_flow_run(UUID(logical_run))
    except ObjectNotFound:  # it ran elsewhere, or was deleted
        return
    _compare(store, earlier)


def _compare(store: Ledger, run: FlowRun) -> None:
    wanted = ledger_label(run)
    if not wanted:
        return
    place = run.labels.get(_PLACE, "an unknown place")
    if wanted != store.ledger_id:
        raise WrongLedger(
            f"the flow run {run.id} has its jobs in the ledger {_short(wanted)}, {place}; this worker has "
            f"{_short(store.ledger_id)}, {_place(store)}. {_NOTHING_SENT}. Start a worker with that ledger (set "
            "QJOBS_LEDGER or QJOBS_HOME as it was there), end this one or give it the same, and press Retry. If that "
            "ledger is lost for good, look at the provider for what was sent, and start a new run",
            wanted_id=wanted,
            found_id=store.ledger_id,
        )
    known, newest = int(run.labels.get(_EVENT, 0)), store.newest_event_id()
    known_at, at = run.labels.get(_EVENT_AT), store.event_at(known)
    other = f"ends with event {newest}" if newest < known else f"has another event {known}, of {at}"
    if newest < known or (known_at and at and at.isoformat() != known_at):
        raise WrongLedger(
            f"the ledger {_place(store)} {other}, and the flow run {run.id} has seen event {known} of "
            f"it: this is an older copy, in which jobs that were sent may be missing. {_NOTHING_SENT}. Put the newest "
            "copy back and press Retry. If there is none, run the flow reconcile, which lists the remote jobs that the "
            "ledger does not know, and then start a new run",
            wanted_id=wanted,
            found_id=store.ledger_id,
        )


def _say_other_deployment(store: Ledger, run: FlowRun) -> None:
    if tags_of_others(store, run.tags):
        message = "this was deployed for another ledger than that of this worker, %s, %s; see: qjobs doctor"
        get_run_logger().warning(message, _short(store.ledger_id), _place(store))


def _place(store: Ledger) -> str:
    """Where a ledger is; a file may have the same path on another machine."""
    return f"{store.url} on {socket.gethostname()}" if store.url.startswith("sqlite") else store.url


def _short(ledger_id: str) -> str:
    return ledger_id[:8]
