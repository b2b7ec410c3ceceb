"""Running a flow from the command line: read a file, run it here, say what came out."""

from __future__ import annotations

import inspect
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from prefect import Flow
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    get_current_settings,
    temporary_settings,
)

from blocks import backend_named, ledger_named
from blocks.opening import close_all
from flows._support.local_server import LocalServer, ServerProblem, local_server
from qjobs.backends.base import Capability
from qjobs.cli.caps import command_again, with_retries
from qjobs.cli.declaring import alone, called
from qjobs.cli.interrupted import left_behind
from qjobs.cli.options import FlowOptions
from qjobs.errors import InvalidInput, LedgerError, QJobsError
from qjobs.experiments.forms import at_its_line
from qjobs.ledger import Ledger
from qjobs.model import RemoteRetryStrategy
from qjobs.notebook import expand
from qjobs.operations.plan import end_interruption, interrupted_run
from qjobs.operations.poll import utc_now
from qjobs.paths import ledger_url

SAID_BELOW = {"said_below": True}
"""For lines of a run's log that the end of the command says too."""
FormFile = Annotated[str, typer.Argument(metavar="FILE", help="YAML or JSON file with the flow's parameters")]
_EXAMPLES = {
    "sweep": "examples/qaoa_maxcut/sweep.yaml",
    "run_circuits": "examples/bell/circuits.yaml",
    "hybrid": "examples/h2/hybrid.yaml",
}


def _module(flow: Any) -> str:
    return str(getattr(flow, "name", flow.__name__)).replace("-", "_")


def _words(flow: Any, file: str) -> list[str]:
    return ["python", "-m", f"flows.{_module(flow)}", file]


def _has_logical_run(flow: Any) -> bool:
    return "logical_run" in inspect.signature(flow).parameters


def run_flow(
    flow: Any,
    load: Callable[[str], Any],
    arguments: Sequence[str] | None = None,
    *,
    experiment: bool = False,
    work_out: Callable[[Any], Any] = expand,
    interrupted: Callable[[Ledger, Any], str | None] = interrupted_run,
) -> int:
    """Run `flow` on the file that is named on the command line.

    An `experiment` is a sweep, a list of circuits or a hybrid run: strategies and caps can be given, and a run of it
    that was interrupted is gone on with. `work_out` checks it and makes its plan; by that, `interrupted` finds the run.

    Without PREFECT_API_URL it is told to the server of this machine, which stays (`flows._support.local_server`).

    Returns:
        Exit code: 0 done, 1 the run failed, 2 the input cannot be used (nothing was run).
    """

    def command(file: FormFile, options: FlowOptions) -> int:
        return run_file(flow, load, file, options, experiment=experiment, work_out=work_out, interrupted=interrupted)

    command.__doc__ = inspect.getdoc(flow) if flow.description is None else flow.description
    left_out = (
        set() if experiment else {field.name for field in fields(FlowOptions)} - {"ledger", "create", "logical_run"}
    )
    if not _has_logical_run(flow):
        left_out |= {"logical_run"}
    module = _module(flow)
    prog = f"python -m flows.{module}"
    program = alone(command, example=f"{prog} {_EXAMPLES.get(module, 'FILE')}", leave_out=left_out)
    return called(program, sys.argv[1:] if arguments is None else arguments, prog=prog)


def run_file(
    flow: Any,
    load: Callable[[str], Any],
    file: str,
    options: FlowOptions,
    *,
    experiment: bool,
    work_out: Callable[[Any], Any] = expand,
    interrupted: Callable[[Ledger, Any], str | None] = interrupted_run,
    command: Sequence[str] = (),
) -> int:
    """Run `flow` on a file, as `run_flow` does, with options that were read already.

    `command` are the words that run it again, if these are not the flow's own.
    """
    started = time.monotonic()
    try:
        spec = load(file)
        plan = None
        if experiment:
            spec = with_retries(spec, options)
            plan = work_out(spec)
        if not options.ledger:
            _check_ledger(create=options.create)
    except InvalidInput as error:
        print(f"error: {at_its_line(error, Path(file))}", file=sys.stderr)
        return 2
    except QJobsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    run_ids: list[str] = []
    began = utc_now()
    try:
        with (
            local_server(_say_aside) as server,
            temporary_settings(_settings(server)),
            without_heartbeat(),
            _without_what_follows(),
            _gone_on_with(plan, options, interrupted if experiment else None) as logical_run,
        ):
            named = {"logical_run": logical_run} if _has_logical_run(flow) else {}
            published = _run(flow, run_ids, spec, ledger=options.ledger, **named)
            page = _page()
    except InvalidInput as error:
        print(f"error: {at_its_line(error, Path(file))}", file=sys.stderr)
        return 2
    except QJobsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ServerProblem as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        _say_left_behind(command or _words(flow, file), spec, options, began)
        close_all()  # what simulates here would hold the process until it is done
        return 130
    except httpx.TransportError as error:
        words = f"Prefect's server does not answer any more ({type(error).__name__}: {error})"
        print(f"error: {words}; what was sent is in the ledger, and the same command goes on with it", file=sys.stderr)
        return 1
    _say(published, time.monotonic() - started, page, run_ids)
    return 0


def _say_left_behind(words: Sequence[str], spec: Any, options: FlowOptions, began: datetime) -> None:
    """What Ctrl-C leaves behind."""
    others = {"--ledger": options.ledger, "--logical-run": options.logical_run}
    names = getattr(spec, "backends", None) or [spec.backend]
    first = command_again(words, options, others)
    try:
        if options.strategy is None and not any(_goes_on(name) for name in names):
            # What ended here is simulated again.
            options = replace(options, strategy=RemoteRetryStrategy.FORCE_RESUBMIT)
        again = command_again(words, options, others)
        store = ledger_named(options.ledger)
        lines = left_behind(store, spec.name, began=began, goes_on=_goes_on, again=again, first=first)
    except QJobsError as error:
        lines = ["interrupted", f"the ledger cannot be read: {error}"]
    for line in lines:
        _say_aside(line)


def _goes_on(name: str) -> bool:
    """Whether the jobs of a backend go on without this process."""
    return Capability.DURABLE in backend_named(name).capabilities


def _check_ledger(*, create: bool) -> None:
    """Refuse a ledger that is not there, before a server is started; or make it."""
    url = ledger_url(create=create)
    if create:
        Ledger(url).close()


@contextmanager
def _gone_on_with(plan: Any, options: FlowOptions, find: Callable[[Ledger, Any], str | None] | None) -> Iterator[str]:
    """The logical run that is entered: the one that was named, or that a killed command left unfinished; else none.

    However the run ends, the interrupted one is over then, unless jobs of it are still open.
    """
    given = options.logical_run
    interrupted = None
    began = utc_now()
    if find is not None and not given and not options.new:
        store = ledger_named(options.ledger)
        interrupted = find(store, plan)
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


@contextmanager
def _without_what_follows() -> Iterator[None]:
    """Keep from the terminal what the end of the command says: Prefect's server has it all the same."""
    handlers = list(logging.getLogger().handlers)
    for handler in handlers:
        handler.addFilter(_is_news)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    return not getattr(record, "said_below", False) and not record.getMessage().startswith("View at http")


def _settings(server: LocalServer | None) -> Mapping[Any, Any]:
    """Prefect's settings for the run: the server that was found, if there is one."""
    return {} if server is None else {PREFECT_API_URL: server.api_url}


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


def _picture(published: Any) -> list[str]:
    """Where the picture is, or why there is none; nothing of what has no pictures."""
    told = published.picture or getattr(published, "why_no_picture", "")
    return [f"picture:    {told}"] if told else []


def _say(published: Any, seconds: float, page: str, run_ids: Sequence[str]) -> None:
    artifacts = f"{page}/artifacts/key" if page else "make ui, then http://127.0.0.1:4200/artifacts/key"
    rows = [
        "",
        f"{published.n_rows - published.n_missing} of {published.n_rows} rows have a result, in {seconds:.1f} s",
        *published.lines,
        f"data frame: {published.parquet}",
        *_picture(published),
        *(f"artifact:   {artifacts}/{key}" for key in published.artifact_keys),
        *(f"Prefect UI: {page}/runs/flow-run/{run_id}" for run_id in run_ids if page),
    ]
    print("\n".join(rows))
