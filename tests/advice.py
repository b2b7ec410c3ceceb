"""The commands that messages tell people to enter: found in the sources, and in a message."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qjobs.cli.declaring import built
from qjobs.cli.main import app_of

ROOT = Path(__file__).parents[1]
PACKAGES = ("qjobs", "blocks", "tasks", "flows")
_COMMAND = re.compile(
    r"(?:qjobs (?:jobs|plan|run|reconcile|orphans|sensor|watch|doctor|serve|ledger)|python -m (?:flows|qjobs)\.\w+"
    r"|prefect (?:server|worker|block|deploy|config|work-pool)|make (?=(?:ui|deploy|worker|setup|serve|sweep|docs)\b))"
    r"(?: ?(?:--[a-z-]+|'[^']*'|[\w./{}@+:-]+))*"
)
_STOPS = re.compile(r" (?:or|and|and then|while|with|to|for|at|in|is|goes|runs|it|which|if|knows)\b.*")

_OF_HELP = {"epilog", "example"}


def commands_in(text: str) -> list[str]:
    """The commands of a message, as it prints them, in order."""
    found = []
    for line in text.splitlines():
        for match in _COMMAND.finditer(line):
            command = _STOPS.sub("", match[0]).rstrip(" .,:")
            if len(command.split()) > 1:
                found.append(command)
    return found


def advice() -> dict[str, set[str]]:
    """Every command in a string of the sources that is no docstring, with {} for what a message fills in, and where."""
    found: dict[str, set[str]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for text in _strings(ast.parse(path.read_text())):
                for command in commands_in(text):
                    found.setdefault(command, set()).add(str(path.relative_to(ROOT)))
    return found


def parse(words: list[str]) -> dict[str, Any]:
    """What `qjobs` reads from the words of a command line, without doing it."""
    program = built(app_of())
    context = program.make_context("qjobs", list(words))
    while hasattr(program, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        if not rest and program.invoke_without_command:
            break
        name, program, rest = program.resolve_command(context, rest)
        context = program.make_context(name, rest, parent=context)
    return context.params


def _strings(tree: ast.AST) -> Iterator[str]:
    inner = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for each in body if isinstance(body, list) else []:
            if isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant):
                inner.add(each.value)  # a docstring
        if isinstance(node, ast.JoinedStr):
            inner.update(node.values)
        if isinstance(node, ast.keyword) and node.arg in _OF_HELP:  # tests/unit/test_cli_help.py runs the examples
            inner.add(node.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) and node not in inner:
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inner:
            yield node.value
