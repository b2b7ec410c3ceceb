"""Markdown whose words come from users and providers: they are shown as they were written, and never act as markup."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from urllib.parse import quote, urlsplit

__all__ = ["address", "cell", "code", "link", "picture", "plain", "table"]

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MARKS = re.compile(r"[\\`*_\[\]|~!#@]|:(?=//)|(?<=www)\.", re.IGNORECASE)
_UNSEEN = {"Cc", "Cf", "Zl", "Zp"}
"""Categories of characters that show nothing, and that break lines or turn the direction of what follows."""
_LINKED = frozenset({"http", "https", "file", "s3", "gs", "gcs", "az", "abfs"})
_IN_ADDRESS = ":/?#@!$&'*+,;=%~-._"
"""What an address keeps; brackets, spaces and angles would end it."""


def plain(text: object) -> str:
    r"""Text in one line, as it was written: nothing of it is HTML, a link, a picture, emphasis or the end of a cell.

    >>> plain("<b>a|b</b> ![x](http://host)")
    '&lt;b&gt;a\\|b&lt;/b&gt; \\!\\[x\\](http\\://host)'
    """
    line = _one_line(text)
    escaped = "".join(_ENTITIES.get(character, character) for character in line)
    return _MARKS.sub(lambda found: "\\" + found[0], escaped)


def code(text: object) -> str:
    """Text in one line as code, which is good to copy; backticks in it are kept, a bar cannot end a cell.

    >>> code("results/my sweep")
    '`results/my sweep`'
    """
    line = _one_line(text).replace("|", "\\|")
    fence = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    return f"{fence} {line} {fence}" if line.startswith("`") or line.endswith("`") else f"{fence}{line}{fence}"


def cell(value: object) -> object:
    """A value for a table artifact of Prefect's, whose first interface makes a link of what looks like one.

    >>> cell("[here](javascript:x)"), cell(3)
    ('[here] (javascript:x)', 3)
    """
    return _one_line(value).replace("](", "] (") if isinstance(value, str) else value


def address(place: str) -> str | None:
    """An address as it can stand in a link, or None where it is none that a page should lead to.

    >>> address("s3://bucket/a (b)")
    's3://bucket/a%20%28b%29'
    >>> address("javascript:alert(1)")
    """
    return quote(place, safe=_IN_ADDRESS) if urlsplit(place).scheme.lower() in _LINKED else None


def link(words: object, place: str) -> str:
    """A link; the words alone where the place has no address.

    >>> link("job 1", "https://host/jobs/1")
    '[job 1](https://host/jobs/1)'
    >>> link("job 1", "javascript:alert(1)")
    'job 1'
    """
    found = address(place)
    return plain(words) if found is None else f"[{plain(words)}]({found})"


def picture(words: object, address: str) -> str:
    """A picture at an address of our own making, such as `data:`."""
    return f"![{plain(words)}]({address})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table. Its cells are markdown already: `plain`, `code` or `link` have made them."""
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        lines.append(f"| {' | '.join(row)} |")
    return lines


def _one_line(text: object) -> str:
    line = " ".join(str(text).split())
    return "".join(character for character in line if unicodedata.category(character) not in _UNSEEN)
