"""The `qjobs` command: plan, run, look at jobs, recover them, check the installation. Needs no Prefect.

To add a command, write a function in the module of its group in `qjobs.cli.commands`, with
`@command(app, NAME, example=...)`: annotations say what it takes, options that other commands have too come from
`qjobs.cli.options` (`shared: Shared` gives --ledger and --json), the docstring is the help, and the return value is the
exit code. What the command works with is imported inside the function, so that help and completion stay quick. A new
group is a module with an `app = group(WORDS)`; put its commands into `COMMANDS` below. Bad input is an `InvalidInput`.
Then `python docs/generate.py` writes the page of the command anew.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from qjobs.cli.declaring import HELP, Command, Group, called, spread

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["COMMANDS", "app_of", "main"]

PLUGINS = "qjobs.commands"
"""Entry-point group of further commands: functions from the words behind the name to an exit code."""
COMMANDS = {
    "init": "experiments",
    "schema": "experiments",
    "check": "experiments",
    "plan": "experiments",
    "run": "experiments",
    "results": "results",
    "list": "results",
    "compare": "results",
    "tag": "results",
    "note": "results",
    "watch": "watching",
    "jobs": "jobs",
    "costs": "costs",
    "caps": "caps",
    "reconcile": "recovery",
    "orphans": "recovery",
    "doctor": "health",
    "serve": "service",
}
"""The modules of the commands, in the order of the help."""
_GROUPS = frozenset({"jobs", "caps"})
"""Modules whose commands stand behind the name of their module."""
_PLUGIN_HELP = {
    "approve": "Decide about a run that waits for approval, or asks about an UNKNOWN job; or list those that wait.",
    "sensor": "Ask for every open job, store results, send what waits for a place, and resume runs that are done.",
}
"""Of commands that `flows` adds; to ask them for it would import Prefect."""
_PROG = "qjobs"
_NEW_OBJECTS = 50_000
"""Of so many new objects Python's collector takes note, not of 700: looking at imports cost a tenth of a command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        Exit code: 0 done, 1 something failed, 2 the input cannot be used (nothing was submitted), 130 interrupted.

    Raises:
        SystemExit: Help was printed, or the words cannot be read.
    """
    gc.set_threshold(_NEW_OBJECTS)
    words = list(sys.argv[1:] if arguments is None else arguments)
    return called(app_of(words[:1]), words, prog=_PROG)


def app_of(names: Sequence[str] = ()) -> typer.Typer:
    """The command with the commands that are named; with all, and those of plugins, if one of them is none of ours."""
    app = typer.Typer(cls=Group, context_settings=HELP, no_args_is_help=True)
    app.callback(epilog="Example: qjobs run examples/qaoa_maxcut/sweep.yaml")(_root)
    known = bool(names) and all(name in COMMANDS for name in names) and f"_{_PROG.upper()}_COMPLETE" not in os.environ
    for module in dict.fromkeys(COMMANDS[name] for name in (names if known else COMMANDS)):
        part = importlib.import_module(f"qjobs.cli.commands.{module}").app
        app.add_typer(part, name=module if module in _GROUPS else None)
    if not known:
        _add_plugins(app)
    return app


def _say_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"{_PROG} {version('qjobs')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="print the version and end", is_eager=True, callback=_say_version)
    ] = False,
) -> None:
    """Remote quantum jobs: never lost, never run twice."""


def _add_plugins(app: typer.Typer) -> None:
    from importlib.metadata import entry_points  # a tenth of what `qjobs jobs list` takes

    plugins = typer.Typer()
    for point in entry_points(group=PLUGINS):
        plugins.command(
            point.name,
            cls=Command,
            help=_PLUGIN_HELP.get(point.name, f"See: {_PROG} {point.name} --help."),
            add_help_option=False,
            context_settings={
                "allow_extra_args": True,
                "ignore_unknown_options": True,
                "allow_interspersed_args": False,
            },
        )(spread(_plugin(point)))
    app.add_typer(plugins)


def _plugin(point: EntryPoint) -> Callable[[typer.Context], int]:
    def plugin(context: typer.Context) -> int:
        return int(point.load()(list(context.args)))

    return plugin


if __name__ == "__main__":
    sys.exit(main())
