"""Printing: JSON, and tables that fit a terminal and are lines of tab-separated cells in a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime

__all__ = ["columns_that_fit", "is_terminal", "print_json", "print_table", "short", "time_shown"]

_SHORT = 12
"""Letters of a job id on a terminal: `job-` and eight more, which any command takes for the whole id."""

_BETWEEN = 3
"""Spaces between two columns of a table on a terminal."""


def is_terminal() -> bool:
    """Whether a person reads what is printed."""
    return sys.stdout.isatty()


def print_json(value: object) -> None:
    """Print a value as JSON; datetimes in ISO form."""
    print(json.dumps(value, indent=1, default=_default))


def short(job_id: str) -> str:
    """A job id as it is shown: its beginning on a terminal, the whole in a pipe."""
    return job_id[:_SHORT] if is_terminal() else job_id


def time_shown(at: datetime | None) -> str:
    """A time in UTC, to the minute on a terminal, where the table says that it is UTC."""
    return "" if at is None else f"{at:%m-%d %H:%M}" if is_terminal() else f"{at:%Y-%m-%d %H:%M:%S}"


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = "", *, whole: int = 1, empty: str = ""
) -> None:
    """Print a table that loses nothing: folded on a terminal, and in a pipe one line a row, its cells between tabs.

    Args:
        columns: Their heads.
        rows: As many cells as columns each.
        title: What stands above it.
        whole: So many columns, from the left, are never folded on a terminal.
        empty: What a terminal shows where there is no row; a pipe has the heads alone.
    """
    if is_terminal() and empty and not rows:
        print(empty)
        return
    if is_terminal():
        _draw(columns, rows, title, whole)
        return
    if title:
        print(title)
    for cells in [columns, *rows]:
        print("\t".join(" ".join(_text(cell).split()) for cell in cells))


def columns_that_fit(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> int:
    """How many columns, from the left, a terminal shows without folding a cell, one at the least; in a pipe all."""
    if not is_terminal():
        return len(columns)
    from rich.console import Console

    room = Console().width
    for number, column in enumerate(columns):
        room -= max([len(column), *(len(_text(row[number])) for row in rows)])
        if room < 0:
            return max(number, 1)
        room -= _BETWEEN
    return len(columns)


def _draw(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str, whole: int) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=number < whole)
    for row in rows:
        table.add_row(*(_text(cell) for cell in row))
    console = Console(markup=False, emoji=False, highlight=False)
    if title:
        console.print()
    console.print(table)


def _text(cell: object) -> str:
    if isinstance(cell, datetime) and is_terminal():
        return f"{cell:%Y-%m-%d %H:%M:%S}"
    return "" if cell is None else str(_default(cell))


def _default(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
