"""`qjobs costs`: what jobs cost."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from qjobs.cli.declaring import command, group
from qjobs.cli.options import JobFilters, Shared

app = group("See what jobs cost.")


class By(StrEnum):
    """As `qjobs.ledger.costs.CostGroup` has them; with that comes a database."""

    MONTH = "month"
    DEVICE = "device"
    OWNER = "owner"
    PROJECT = "project"
    EXPERIMENT = "experiment"


@command(app, "costs", example="qjobs costs --by owner --by month --since 2026-01-01")
def costs(
    filters: JobFilters,
    shared: Shared,
    by: Annotated[
        list[By] | None,
        typer.Option(
            "--by", metavar="GROUP", help=f"a line for each {', '.join(By)}; may be repeated (default month, device)"
        ),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="print CSV")] = False,
) -> int:
    """Show what jobs cost: estimates beside what the providers told, in their units.

    The month is that in which a job was made, in UTC. Costs of different backends are never added up, and a cost that
    nobody told is never 0: such jobs are counted instead.
    """
    from qjobs.cli import costs as working

    return working.costs(filters, shared, by=list(by or (By.MONTH, By.DEVICE)), as_csv=as_csv)
