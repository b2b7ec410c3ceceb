"""Running a flow from the command line: read a file, run it here, say what came out."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    get_current_settings,
    temporary_settings,
)
from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS as STARTUP_TIMEOUT

from qjobs.errors import InvalidInput, QJobsError

_STARTUP_S = 120
"""How long Prefect's own server may take to start on a busy machine; Prefect gives it 20 s."""


def run_flow(flow: Any, load: Callable[[str], Any], arguments: Sequence[str] | None = None) -> int:
    """Run `flow` on the file that is named on the command line.

    Returns:
        Exit code: 0 done, 1 the run failed, 2 the input cannot be used (nothing was run).
    """
    parser = argparse.ArgumentParser(description=flow.description)
    parser.add_argument("file", help="YAML or JSON file with the flow's parameters")
    parser.add_argument("--ledger", default="", help="name of a ledger block (default: QJOBS_LEDGER)")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    try:
        spec = load(options.file)
    except InvalidInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        patience = {STARTUP_TIMEOUT: max(STARTUP_TIMEOUT.value(), _STARTUP_S)}
        with without_heartbeat(), temporary_settings(patience):
            published = flow(spec, ledger=options.ledger)
    except QJobsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, InvalidInput) else 1
    _say(published, time.monotonic() - started)
    return 0


def without_heartbeat() -> AbstractContextManager[Any]:
    """No heartbeat of Prefect's, unless its frequency was set: stopping it takes up to a second at the end of a run.

    Nobody listens to it here: whoever started the command sees it end.
    """
    chosen = "heartbeat_frequency" in get_current_settings().flows.model_fields_set
    return nullcontext() if chosen else temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})


def _say(published: Any, seconds: float) -> None:
    where = PREFECT_API_URL.value()
    page = f"{where.removesuffix('/api') if where else 'http://127.0.0.1:4200'}/artifacts/key"
    first = "" if where else "make ui, then "
    rows = [
        "",
        f"{published.n_rows - published.n_missing} of {published.n_rows} rows have a result, in {seconds:.1f} s",
        *published.lines,
        f"data frame: {published.parquet}",
        *([f"picture:    {published.picture}"] if published.picture else []),
        *(f"artifact:   {first}{page}/{key}" for key in published.artifact_keys),
    ]
    print("\n".join(rows))
