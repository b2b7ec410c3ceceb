"""`qjobs plan` and `qjobs run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qjobs.cli.declaring import command, group
from qjobs.cli.options import ExperimentFile, Retries, Shared

CheckedFile = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="a sweep, batch, hybrid run or health check, or a circuit (.qasm, .qpy)"),
]

app = group("Plan and run experiments.")


@command(app, "init", example="qjobs init my-project")
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="where; files that are there are never overwritten")],
) -> int:
    """Lay out a project with flows, tasks, blocks, deployments and examples."""
    from qjobs.cli import input as working

    return working.init(folder)


@command(app, "schema", example="qjobs schema sweep")
def schema(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="sweep, circuits, hybrid or health-check (default sweep)")
    ] = "sweep",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="write the schemas of all kinds into this folder instead"),
    ] = None,
) -> int:
    """Print the JSON Schema of a kind of file, by which editors complete and check."""
    from qjobs.cli import input as working

    return working.schema(kind, out)


@command(app, "plan", example="qjobs plan examples/qaoa_maxcut/sweep.yaml")
def plan(file: CheckedFile, shared: Shared) -> int:
    """Say what a file would run: jobs, shots, cost, free slots, the usual wait, and what would be reused.

    Everything about the file is checked. Nothing is stored, nothing is sent and nothing is spent.
    """
    from qjobs.cli import input as working

    return working.check(file, shared)


@command(app, "check", example="qjobs check examples/qaoa_maxcut/sweep.yaml")
def check(file: CheckedFile, shared: Shared) -> int:
    """The same as `qjobs plan`."""
    from qjobs.cli import input as working

    return working.check(file, shared)


@command(app, "run", example="qjobs run examples/qaoa_maxcut/sweep.yaml")
def run(
    file: ExperimentFile,
    retries: Retries,
    shared: Shared,
    run_id: Annotated[
        str,
        typer.Option(
            "--run-id", metavar="NAME", help="name of the logical run; the same name finds the same jobs again"
        ),
    ] = "",
    new: Annotated[
        bool, typer.Option("--new", help="run anew what an interrupted run of this file left unfinished")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="approve what it costs beforehand, above any threshold")] = False,
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="DIR", help="keep the results here, a folder or a URL (default: QJOBS_RESULTS)"),
    ] = None,
) -> int:
    """Run a sweep or a batch and wait for it in this process.

    The same command goes on with a run that was interrupted, and runs no point of a sweep twice. What would cost more
    than `approve_above` is asked at the terminal first.
    """
    from qjobs.cli import run as working

    return working.run(file, retries, shared, run_id=run_id, new=new, yes=yes, out=out)
