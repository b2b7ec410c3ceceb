"""`qjobs watch`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from qjobs.cli.declaring import command, group
from qjobs.cli.options import JobFilters, Shared, positive

app = group("Watch jobs.")


@command(app, "watch", example="qjobs watch --experiment qaoa-maxcut")
def watch(
    filters: JobFilters,
    shared: Shared,
    jobs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[JOB]", help="ids or short ids (default: every job that is under way)"),
    ] = None,
    every: Annotated[
        float, typer.Option("--every", metavar="S", parser=positive, help="seconds between two looks (default 1)")
    ] = 1.0,
) -> int:
    """Watch jobs until they have ended.

    It shows where they wait, in which place of the queue, and how long their device usually takes. It reads the
    ledger alone: Ctrl-C ends the watch and nothing else.
    """
    from qjobs.cli import jobs as listing
    from qjobs.cli import watch as working

    try:
        return working.watch(jobs or [], listing.chosen(filters), shared, every_s=every)
    except KeyboardInterrupt:
        print("the watch has ended; the jobs go on as before", file=sys.stderr)
        return 130
