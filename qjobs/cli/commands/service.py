"""`qjobs serve` and its own commands."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Annotated

import typer

from qjobs.cli.declaring import HELP, Group, command, group, spread
from qjobs.cli.options import TOKEN_DAYS, ServeOptions, ServicePlace, positive

app = group("Run the local job service.")
_serve = typer.Typer(cls=Group, invoke_without_command=True, add_completion=False, context_settings=HELP)
_users = group("Manage who may sign in; the service may be running.", example="qjobs serve users list")
app.add_typer(_serve, name="serve")
_serve.add_typer(_users, name="users")

Email = Annotated[str, typer.Argument(metavar="EMAIL", help="the user's e-mail address")]


def serve(context: typer.Context, options: ServeOptions) -> int:
    """Run the local job service.

    Clients of Quantinuum Nexus, of the Munich Quantum Portal and of Qoro can use it.
    """
    context.obj = options
    if context.invoked_subcommand is not None:
        return 0
    from qjobs.cli import serve as working

    return working.serve(options)


_serve.callback(help=inspect.getdoc(serve), epilog="Example: qjobs serve --port 8470 --clock-speed 60")(spread(serve))


def _place(context: typer.Context, given: ServicePlace) -> ServicePlace:
    """Where the service is: said behind the command, or behind `serve`."""
    above: ServicePlace = context.find_object(ServeOptions) or given
    return replace(given, data=given.data or above.data, database=given.database or above.database)


@command(_users, "add", example="qjobs serve users add ada@example.org --group lab")
def add(
    context: typer.Context,
    email: Email,
    place: ServicePlace,
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="the name to show (default: the address up to the @)")
    ] = "",
    group: Annotated[
        list[str] | None,
        typer.Option("--group", metavar="GROUP", help="a group that the user is in; may be repeated"),
    ] = None,
) -> int:
    """Add a user; asks for the password, or reads it from standard input."""
    from qjobs.cli import serve as working

    return working.add_user(_place(context, place), email, name=name, groups=group or [])


@command(_users, "list", example="qjobs serve users list")
def list_users(
    context: typer.Context,
    place: ServicePlace,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> int:
    """List the users."""
    from qjobs.cli import serve as working

    return working.list_users(_place(context, place), as_json=as_json)


@command(_users, "remove", example="qjobs serve users remove ada@example.org")
def remove(context: typer.Context, email: Email, place: ServicePlace) -> int:
    """Remove a user; their jobs and results stay."""
    from qjobs.cli import serve as working

    return working.remove_user(_place(context, place), email)


@command(_users, "revoke", example="qjobs serve users revoke ada@example.org")
def revoke(context: typer.Context, email: Email, place: ServicePlace) -> int:
    """Sign a user out everywhere: all of their sessions and tokens end, and the password stays."""
    from qjobs.cli import serve as working

    return working.revoke(_place(context, place), email)


@command(_users, "join", example="qjobs serve users join ada@example.org TEAM_ID")
def join(
    context: typer.Context,
    email: Email,
    team_id: Annotated[str, typer.Argument(metavar="TEAM_ID", help="the team's id")],
    place: ServicePlace,
) -> int:
    """Make a user a member of a team."""
    from qjobs.cli import serve as working

    return working.join_team(_place(context, place), email, team_id)


@command(_users, "token", example="qjobs serve users token ada@example.org --days 7")
def token(
    context: typer.Context,
    email: Email,
    place: ServicePlace,
    days: Annotated[
        float,
        typer.Option("--days", metavar="N", parser=positive, help=f"its lifetime (default {TOKEN_DAYS})"),
    ] = TOKEN_DAYS,
) -> int:
    """Print a token for a user's clients of the Munich Quantum Portal."""
    from qjobs.cli import serve as working

    return working.issue_token(_place(context, place), email, days=days)
