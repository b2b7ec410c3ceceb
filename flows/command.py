"""Running a flow from the command line: read a file, run it here, say what came out."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from prefect.settings import PREFECT_API_URL

from qjobs.errors import InvalidInput, QJobsError

__all__ = ["run_flow"]


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
        published = flow(spec, ledger=options.ledger)
    except QJobsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, InvalidInput) else 1
    _say(published, time.monotonic() - started)
    return 0


def _say(published: Any, seconds: float) -> None:
    where = PREFECT_API_URL.value()
    look = where.removesuffix("/api") if where else "`make ui`, then http://127.0.0.1:4200"
    rows = [
        "",
        f"{published.n_rows - published.n_missing} of {published.n_rows} rows have a result, in {seconds:.1f} s",
        *published.lines,
        f"data frame: {published.parquet}",
        *([f"picture:    {published.picture}"] if published.picture else []),
        f"artifacts:  {', '.join(published.artifact_keys)} (see {look})",
    ]
    print("\n".join(rows))
