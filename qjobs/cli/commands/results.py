"""`qjobs results`, `compare`, `list`, `tag` and `note`."""

from __future__ import annotations

from typing import Annotated

import typer

from qjobs.cli.declaring import command, group
from qjobs.cli.options import Shared

app = group("Look at saved results.")

Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="the experiment, for its newest run, or NAME/DATE-DEFINITION, or an unambiguous beginning of that",
    ),
]
Experiment = Annotated[str, typer.Argument(metavar="NAME", help="the experiment")]


@command(app, "results", example="qjobs results qaoa-maxcut --csv")
def results(
    run: Run,
    as_csv: Annotated[bool, typer.Option("--csv", help="all rows as CSV")] = False,
    as_parquet: Annotated[
        bool, typer.Option("--parquet", help="all rows as Parquet; without --out, where it is")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="all rows and the record as JSON")] = False,
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="write to this file or URL (default: print)")] = "-",
    picture: Annotated[
        str, typer.Option("--picture", metavar="FILE", help="draw the picture again, into a .png, .svg or .pdf file")
    ] = "",
    dark: Annotated[bool, typer.Option("--dark", help="with --picture: for dark pages")] = False,
    paper: Annotated[bool, typer.Option("--paper", help="with --picture: as wide as a column of a paper")] = False,
) -> int:
    """Show the saved results of an experiment, give them to other programs, or draw their picture again."""
    from qjobs.cli import results as working

    if picture:
        return working.draw(run, picture, dark=dark, for_paper=paper)
    return working.results(run, as_csv=as_csv, as_parquet=as_parquet, as_json=as_json, out=out)


@command(app, "compare", example="qjobs compare qaoa-maxcut qaoa-maxcut")
def compare(
    a: Run,
    b: Run,
    picture: Annotated[
        str,
        typer.Option("--picture", metavar="FILE", help="where the picture is written (default: beside b's results)"),
    ] = "",
    as_csv: Annotated[bool, typer.Option("--csv", help="print all points as CSV")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> int:
    """Put two runs side by side, with differences in standard errors."""
    from qjobs.cli import results as working

    return working.compare(a, b, picture=picture, as_csv=as_csv, as_json=as_json)


@command(app, "list", example="qjobs list")
def list_experiments(
    shared: Shared,
    tag: Annotated[str, typer.Option("--tag", metavar="TAG", help="only experiments with this tag")] = "",
) -> int:
    """List experiments, with their tags and notes."""
    from qjobs.cli import results as working

    return working.list_experiments(shared, tag=tag)


@command(app, "tag", example="qjobs tag qaoa-maxcut for-the-paper")
def tag(
    name: Experiment,
    tags: Annotated[list[str] | None, typer.Argument(metavar="TAG", help="a tag to give")] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", metavar="TAG", help="a tag to take away; may be repeated")
    ] = None,
) -> int:
    """Give an experiment tags, or take them away; show those that it has."""
    from qjobs.cli import results as working

    return working.tag(name, tags or (), remove or ())


@command(app, "note", example="qjobs note qaoa-maxcut 'the laser was off until noon'")
def note(
    name: Experiment,
    text: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="the note")] = None,
) -> int:
    """Add a note to an experiment, or show its notes."""
    from qjobs.cli import results as working

    return working.note(name, " ".join(text or ()))
