"""The blocks of code in README and docs, and which test runs which.

A module of `tests/readme` takes the blocks that it runs with `take`, when it is imported. `test_every_block.py` imports
all of them and finds the blocks that nobody took.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_GENERATED = re.compile(r"<!-- generated: .*?<!-- end -->", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block: its page, its line, its language, its text, and the prose right before it."""

    page: str
    line: int
    language: str
    text: str
    before: str

    @property
    def saved_as(self) -> str:
        """The file that the reader is told to save it as; empty if it is none."""
        found = re.search(r"[Ss]ave (?:this|it)\b.*? as `([^`]+)`[^`]*$", self.before)
        return found[1] if found else ""


TAKEN: set[Block] = set()
"""The blocks that some module runs."""


@cache
def blocks(page: str) -> tuple[Block, ...]:
    """The blocks of a page in their order, without those that `docs/generate.py` writes."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return tuple(_blocks(page, _GENERATED.sub(lambda found: "\n" * found[0].count("\n"), text)))


def _blocks(page: str, text: str) -> Iterator[Block]:
    for found in _FENCE.finditer(text):
        before = " ".join(text[: found.start()].rstrip().rpartition("\n\n")[2].split())
        inside = re.sub(rf"^{found[1]}", "", found[3], flags=re.MULTILINE)
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page=page, line=line, language=found[2], text=inside, before=before)


def take(page: str, *languages: str) -> list[Block]:
    """The blocks of a page that the calling module runs; all languages, if none is named."""
    found = [block for block in blocks(page) if not languages or block.language in languages]
    assert found, f"{page} has no block of {languages}"
    TAKEN.update(found)
    return found


def texts(page: str, *languages: str) -> list[str]:
    """What `take` gives, as texts."""
    return [block.text for block in take(page, *languages)]
