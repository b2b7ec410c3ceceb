"""The commands below `qjobs caps`: what may be spent, and how much of it is."""

from __future__ import annotations

from typing import Annotated

import typer

from qjobs.cli.declaring import command, group
from qjobs.cli.options import Shared

app = group("Set and see caps on what jobs may cost.", example="qjobs caps list")

_Name = Annotated[str, typer.Argument(metavar="NAME", help="name of the cap")]


@command(app, "list", example="qjobs caps list")
def list_caps(shared: Shared) -> int:
    """List caps, with what is spent, reserved and left of each.

    Spent is what providers told of submissions that are over; beside it stand the estimates of those of which they
    told nothing. Reserved is what may still be spent. A cost that nobody could tell is never 0: it is counted apart.
    """
    from qjobs.cli import spending as working

    return working.list_caps(shared)


@command(app, "set", example="qjobs caps set lab 500 HQC --monthly --device H2-1")
def set_cap(
    name: _Name,
    amount: Annotated[float, typer.Argument(metavar="AMOUNT", help="from 0")],
    shared: Shared,
    unit: Annotated[
        str,
        typer.Argument(metavar="UNIT", help="as the backend calls it, such as HQC; a cap that exists keeps its own"),
    ] = "",
    owner: Annotated[str | None, typer.Option("--owner", metavar="NAME", help="count jobs of this owner only")] = None,
    run: Annotated[str | None, typer.Option("--run", metavar="ID", help="count jobs of this logical run only")] = None,
    backend: Annotated[
        str | None, typer.Option("--backend", metavar="NAME", help="count jobs of this backend only")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", metavar="NAME", help="count jobs of this device only")
    ] = None,
    monthly: Annotated[
        bool | None, typer.Option("--monthly/--no-monthly", help="count the present month only, in UTC")
    ] = None,
    allow_unknown: Annotated[
        bool | None,
        typer.Option("--allow-unknown/--refuse-unknown", help="send jobs whose cost nobody can tell (default refuse)"),
    ] = None,
    any_name: Annotated[bool, typer.Option("--any-name", help="take names that no job of the ledger has yet")] = False,
) -> int:
    """Set a cap, or change one: what is not named stays as it is.

    A job that it leaves no money for is held, and goes on when money comes free or the cap is raised.
    """
    from qjobs.cli import spending as working

    changes = {
        "owner": owner,
        "logical_run": run,
        "backend": backend,
        "device": device,
        "monthly": monthly,
        "allows_unknown": allow_unknown,
    }
    return working.set_cap(name, amount, unit, changes, shared, any_names=any_name)


@command(app, "remove", example="qjobs caps remove lab")
def remove(name: _Name, shared: Shared) -> int:
    """Remove a cap."""
    from qjobs.cli import spending as working

    return working.remove_cap(name, shared)
