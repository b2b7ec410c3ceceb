"""Running a flow from the command line: read a file, run it here, say what came out."""

from __future__ import annotations

import argparse
import inspect
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import httpx
from prefect import Flow
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    get_current_settings,
    temporary_settings,
)
from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS as STARTUP_TIMEOUT

from blocks import ledger_named
from flows._support.local_server import LocalServer, ServerProblem, local_server
from qjobs.cli.caps import with_retries
from qjobs.cli.parser import add_retry_options
from qjobs.errors import InvalidInput, LedgerError, QJobsError
from qjobs.ledger import Ledger
from qjobs.notebook import expand
from qjobs.operations.plan import end_interruption, interrupted_run
from qjobs.operations.poll import utc_now

_STARTUP_S = 120
"""How long Prefect's own server may take to start on a busy machine; Prefect gives it 20 s."""


def _interrupted(store: Ledger, spec: Any) -> str | None:
    return interrupted_run(store, expand(spec))


def run_flow(
    flow: Any,
    load: Callable[[str], Any],
    arguments: Sequence[str] | None = None,
    *,
    experiment: bool = False,
    interrupted: Callable[[Ledger, Any], str | None] = _interrupted,
) -> int:
    """Run `flow` on the file that is named on the command line.

    An `experiment` is a sweep, a list of circuits or a hybrid run: strategies and caps can be given, and a run of it
    that was interrupted is gone on with. `interrupted` finds that one.

    Without PREFECT_API_URL it is told to the server of this machine, which stays (`flows._support.local_server`).

    Returns:
        Exit code: 0 done, 1 the run failed, 2 the input cannot be used (nothing was run).
    """
    parser = argparse.ArgumentParser(description=flow.description)
    parser.add_argument("file", help="YAML or JSON file with the flow's parameters")
    parser.add_argument("--ledger", default="", help="name of a ledger block (default: QJOBS_LEDGER)")
    has_logical_run = "logical_run" in inspect.signature(flow).parameters
    if has_logical_run:
        parser.add_argument("--logical-run", default="", help="name of an earlier run whose jobs are to be found again")
    if experiment:
        parser.add_argument("--new", action="store_true", help="run anew what an interrupted run left unfinished")
        add_retry_options(parser)
    options = parser.parse_args(arguments)
    started = time.monotonic()
    try:
        spec = load(options.file)
        if experiment:
            spec = with_retries(spec, options)
    except InvalidInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    run_ids: list[str] = []
    try:
        with (
            local_server(_say_aside) as server,
            temporary_settings(_settings(server)),
            without_heartbeat(),
            _gone_on_with(spec, options, interrupted) as logical_run,
        ):
            named = {"logical_run": logical_run} if has_logical_run else {}
            published = _run(flow, run_ids, spec, ledger=options.ledger, **named)
            page = _page()
    except QJobsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, InvalidInput) else 1
    except ServerProblem as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except httpx.TransportError as error:
        words = f"Prefect's server does not answer any more ({type(error).__name__}: {error})"
        print(f"error: {words}; what was sent is in the ledger, and the same command goes on with it", file=sys.stderr)
        return 1
    _say(published, time.monotonic() - started, page, run_ids)
    return 0


@contextmanager
def _gone_on_with(spec: Any, options: argparse.Namespace, find: Callable[[Ledger, Any], str | None]) -> Iterator[str]:
    """The logical run that is entered: the one that was named, or that a killed command left unfinished; else none.

    However the run ends, the interrupted one is over then, unless jobs of it are still open.
    """
    given: str = getattr(options, "logical_run", "")
    interrupted = None
    began = utc_now()
    if not given and not getattr(options, "new", True):
        store = ledger_named(options.ledger)
        interrupted = find(store, spec)
    if interrupted is None:
        yield given
        return
    print(f"going on with the run {interrupted} that was interrupted; --new runs anew", file=sys.stderr)
    try:
        yield interrupted
    except (InvalidInput, LedgerError):
        raise
    except QJobsError:
        end_interruption(store, interrupted, before=began)
        raise
    end_interruption(store, interrupted, before=began)


def without_heartbeat() -> AbstractContextManager[Any]:
    """No heartbeat of Prefect's, unless its frequency was set: stopping it takes up to a second at the end of a run.

    Nobody listens to it here: whoever started the command sees it end.
    """
    chosen = "heartbeat_frequency" in get_current_settings().flows.model_fields_set
    return nullcontext() if chosen else temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})


def _settings(server: LocalServer | None) -> Mapping[Any, Any]:
    """Prefect's settings for the run: the server that was found, or patience with the one that Prefect starts."""
    if server is not None:
        return {PREFECT_API_URL: server.api_url}
    return {STARTUP_TIMEOUT: max(STARTUP_TIMEOUT.value(), _STARTUP_S)}


def _say_aside(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _run(flow: Any, run_ids: list[str], spec: Any, **given: str) -> Any:
    """What a flow returns; the id of its run is put into a list."""
    if not isinstance(flow, Flow):
        return flow(spec, **given)
    state: Any = flow(spec, **given, return_state=True)
    run_ids.append(str(state.state_details.flow_run_id))
    return state.result()


def _page() -> str:
    """Where the server's pages are; empty for a server that ends with the run."""
    return (PREFECT_API_URL.value() or "").removesuffix("/api")


def _say(published: Any, seconds: float, page: str, run_ids: Sequence[str]) -> None:
    artifacts = f"{page}/artifacts/key" if page else "make ui, then http://127.0.0.1:4200/artifacts/key"
    rows = [
        "",
        f"{published.n_rows - published.n_missing} of {published.n_rows} rows have a result, in {seconds:.1f} s",
        *published.lines,
        f"data frame: {published.parquet}",
        *([f"picture:    {published.picture}"] if published.picture else []),
        *(f"artifact:   {artifacts}/{key}" for key in published.artifact_keys),
        *(f"Prefect UI: {page}/runs/flow-run/{run_id}" for run_id in run_ids if page),
    ]
    print("\n".join(rows))
