"""Record what a terminal shows in the first ten minutes: `PYTHONPATH=.:tests python tests/readme/record.py`.

The first hour is followed in a copy of the checkout, command by command, up to `LAST`. Paths, ids and times are written
as they are in every recording, so that only what the commands say changes the file.
"""

from __future__ import annotations

import getpass
import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from snippets import ROOT, Block, blocks
from walking import Reader, a_copy

PAGE = "docs/first-hour.md"
LAST = "## Compare two runs"
"""The heading before which the recording ends."""
RECORDING = ROOT / "docs" / "first-ten-minutes.txt"
HEAD = "What a terminal shows to a reader of first-hour.md. Made by: python tests/readme/record.py\n"
_RULES = (
    (r"\d{4}-\d\d-\d\d-\d{6}\.\d{3}-", "2026-01-01-120000.000-"),
    (r"\d{4}-\d\d-\d\d([ T])\d\d:\d\d:\d\d(\.\d+)?", r"2026-01-01\g<1>12:00:00"),
    (r"\b\d\d:\d\d:\d\d(\.\d{3})?\b", "12:00:00"),
    (r"job-[0-9a-f]{32}", "job-0123456789abcdef0123456789abcdef"),
    (r"\bjob-[0-9a-f]{8}\b", "job-01234567"),
    (r"\brun-[0-9a-f]{12}\b", "run-0123456789ab"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "01234567-89ab-cdef-0123-456789abcdef"),
    (r"[0-9a-f]{8}-[0-9a-f]{32}", "01234567-0123456789abcdef0123456789abcdef"),
    (r"(127\.0\.0\.1:|PORT=|--port )\d+", r"\g<1>8470"),
    (r"aer-[\w.]+-\d+-\w+-", "aer-here-1234-56789-"),
    (r"process \d+", "process 1234"),
    (r"in \d+\.\d s", "in 5.0 s"),
    (r"(password) \S+", r"\1 ..."),
)


def written(folder: Path, said: list[tuple[str, str]]) -> str:
    """The recording of commands and what they printed."""
    parts = [HEAD]
    for command, printed in said:
        shown = printed.replace(str(folder), "/home/me/qjobs").replace(getpass.getuser() + "@", "me@")
        for pattern, plain in _RULES:
            shown = re.sub(pattern, plain, shown)
        typed = command.replace(".venv/bin/python -c ", "python: ")
        parts.append(f"$ {typed}\n{shown.strip()}\n")
    return "\n".join(parts)


def first_blocks() -> list[Block]:
    """The blocks that are recorded."""
    end = (ROOT / PAGE).read_text(encoding="utf-8").partition(LAST)[0].count("\n")
    return [block for block in blocks(PAGE) if block.line <= end]


def recorded(folder: Path) -> str:
    """Follow the page in a copy of the checkout, which is made at `folder`."""
    said: list[tuple[str, str]] = []
    reader = Reader(a_copy(folder), lambda command, printed: said.append((command, printed)))
    try:
        for block in first_blocks():
            reader.follow(block)
    finally:
        reader.close()
    return written(folder, said)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        RECORDING.write_text(recorded(Path(place) / "qjobs"), encoding="utf-8")
