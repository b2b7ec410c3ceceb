"""How commands are declared with Typer: options that belong together in dataclasses, an example in every help.

A command is a function with annotations. A parameter whose type is a dataclass stands for the options that are its
fields, so that options which several commands have are written once (`qjobs.cli.options`).
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from qjobs.errors import InvalidInput, QJobsError
from qjobs.redaction import clean_output, remember_environment

__all__ = ["HELP", "Command", "Group", "alone", "called", "command", "commands_of", "group", "spread"]

_NEGATIVE = re.compile(r"-[0-9.]")
"""What is taken for an option at the beginning of a negative number."""
HELP = {"help_option_names": ["-h", "--help"]}
_Function = TypeVar("_Function", bound=Callable[..., int])


@dataclass(frozen=True, slots=True)
class _Done:
    """The exit code that a command returned; help and version return none."""

    code: int


def group(words: str, *, example: str = "") -> typer.Typer:
    """A group of commands, with the words that say what it is for."""
    epilog = f"Example: {example}" if example else None
    return typer.Typer(
        cls=Group, help=words, epilog=epilog, no_args_is_help=True, add_completion=False, context_settings=HELP
    )


def command(app: typer.Typer, name: str, *, example: str) -> Callable[[_Function], _Function]:
    """Add a function to a group as a command: its docstring is the help, and what it returns the exit code."""

    def declare(function: _Function) -> _Function:
        words = inspect.getdoc(function)
        app.command(name, cls=Command, help=words, epilog=f"Example: {example}", context_settings=HELP)(
            spread(function)
        )
        return function

    return declare


def alone(function: Callable[..., int], *, example: str, leave_out: Collection[str] = ()) -> typer.Typer:
    """A program that is one command. Options that are left out have their defaults."""
    app = typer.Typer(add_completion=False)
    app.command(cls=Command, help=inspect.getdoc(function), epilog=f"Example: {example}", context_settings=HELP)(
        spread(function, leave_out=leave_out)
    )
    return app


def spread(function: Callable[..., int], *, leave_out: Collection[str] = ()) -> Callable[..., _Done]:
    """A function for Typer, in which each dataclass among the parameters is replaced by its fields.

    Ctrl-C and a reader of its output that has gone are answered here.
    """
    bundles: dict[str, type] = {}
    parameters: list[inspect.Parameter] = []
    shared: list[inspect.Parameter] = []
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        kind = hints[name]
        if not is_dataclass(kind):
            parameters.append(parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=kind))
            continue
        bundles[name] = kind  # type: ignore[assignment]  # a class, as annotations are
        inner = get_type_hints(kind, include_extras=True)
        for field in fields(kind):
            annotated = inspect.Parameter(
                field.name, parameter.KEYWORD_ONLY, default=field.default, annotation=inner[field.name]
            )
            shared.append(annotated)

    def call(**given: Any) -> _Done:
        arguments = dict(given)
        for name, kind in bundles.items():
            own = {}
            for field in fields(kind):
                if field.name in arguments:
                    own[field.name] = arguments.pop(field.name)
            arguments[name] = kind(**own)
        remember_environment()
        try:
            return _Done(function(**arguments))
        except KeyboardInterrupt:
            print("interrupted; jobs that were submitted go on, see: qjobs jobs list", file=sys.stderr)
            return _Done(130)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is written there at the end
            return _Done(0)

    kept = []
    for parameter in [*parameters, *shared]:
        if parameter.name not in leave_out:
            kept.append(parameter)
    call.__signature__ = inspect.Signature(kept)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in kept}
    call.__name__ = function.__name__
    return call


def called(app: typer.Typer, words: Sequence[str], *, prog: str) -> int:
    """Run a program with the words of its command line; what it prints has no secret that this process knows.

    Returns:
        Exit code: 0 done, 1 something failed, 2 the input cannot be used, 130 interrupted.

    Raises:
        SystemExit: Help was printed (0), or the words cannot be read (2).
    """
    with clean_output():
        return _called(built(app), words, prog=prog)


def _called(program: Any, words: Sequence[str], *, prog: str) -> int:
    try:
        done = program.main(list(words), prog_name=prog, standalone_mode=False)
    except typer.TyperException as error:
        _say_usage(error, prog)
        raise SystemExit(2) from None
    except QJobsError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2 if isinstance(error, InvalidInput) else 1
    if isinstance(done, _Done):
        return done.code
    raise SystemExit(done)


def built(app: typer.Typer, *, rich: bool | None = None) -> Any:
    """The program of a Typer application. Its help is drawn with `rich`: by default on a terminal alone."""
    draws = getattr(sys.stdout, "isatty", bool)() if rich is None else rich  # what stands in for it may have none
    app.rich_markup_mode = "rich" if draws else None
    return typer.main.get_command(app)


def commands_of(program: Any, path: str = "qjobs") -> dict[str, Any]:
    """A program and every command below it, by what one types."""
    found = {path: program}
    for name, below in getattr(program, "commands", {}).items():
        found.update(commands_of(below, f"{path} {name}"))
    return found


def _say_usage(error: typer.TyperException, prog: str) -> None:
    """One line that says what cannot be read; the whole help where a group is called without a command."""
    context = getattr(error, "ctx", None)
    words = error.format_message().strip()
    if words.startswith("Usage:") or not words:
        print(words, file=sys.stderr)
        return
    path = context.command_path if context is not None else prog
    line = " ".join(words.split()).rstrip(".")
    print(f"error: {line[0].lower()}{line[1:]}; see: {path} --help", file=sys.stderr)


class _Light:
    """A command or group whose options are read by `_Reading`; Typer's own way imports pydantic."""

    def get_help_option_names(self, ctx: Any) -> list[str]:
        """In their order."""
        return list(ctx.help_option_names)

    def get_params(self, ctx: Any) -> list[Any]:
        """The options and arguments, and --help."""
        found: list[Any] = super().get_params(ctx)  # type: ignore[misc]  # of Typer's class beside this one
        for parameter in found:
            parameter._runtime_param = _Reading(parameter.type_descriptor)
            parameter.show_default = False  # the words say it
        return found


class Command(_Light, TyperCommand):
    """A command of Typer's that imports little. A negative number is a number, and not an option that is not there."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words of the command line."""
        try:
            return super().parse_args(ctx, list(args))
        except typer.TyperException as error:
            if not _NEGATIVE.fullmatch(str(getattr(error, "option_name", ""))):
                raise
        ctx.ignore_unknown_options = True
        return super().parse_args(ctx, args)


class Group(_Light, TyperGroup):
    """A group of Typer's that imports little."""


class _Reading:
    """Reads the value of one option or argument from the words of the command line."""

    def __init__(self, descriptor: Any) -> None:
        self._kind = descriptor.annotation
        self._info = descriptor.parameter_info

    def coerce(self, value: Any, *, param: Any, ctx: Any) -> Any:
        """The value as the command gets it; what is no text is a default already."""
        is_many = param.multiple or param.nargs == -1
        if value is None:
            return () if is_many else None
        try:
            if is_many:
                (kind,) = get_args(self._kind)
                return [self._read(kind, text) for text in value]
            return self._read(self._kind, value)
        except ValueError as error:
            raise typer.BadParameter(str(error), ctx=ctx, param=param) from error

    def _read(self, kind: Any, text: Any) -> Any:
        if not isinstance(text, str):
            return text
        if self._info.parser is not None:
            return self._info.parser(text)
        kind = get_origin(kind) or kind
        if issubclass(kind, Enum):
            return _member(kind, text)
        if kind in (int, float):
            return self._within(_number(kind, text))
        return Path(text) if issubclass(kind, Path) else text

    def _within(self, number: float) -> float:
        low, high = self._info.min, self._info.max
        if (low is not None and number < low) or (high is not None and number > high):
            if high is None:
                raise ValueError(f"{number} is below {low}")
            raise ValueError(f"{number} is not from {low} to {high}")
        return number


def _number(kind: type[int] | type[float], text: str) -> float:
    try:
        return kind(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a {'whole number' if kind is int else 'number'}") from error


def _member(kind: type[Enum], text: str) -> Enum:
    for member in kind:
        if str(member.value).lower() == text.lower():
            return member
    raise ValueError(f"{text!r} is not one of {', '.join(str(member.value) for member in kind)}")
