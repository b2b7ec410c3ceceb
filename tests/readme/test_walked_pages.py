"""Pages that are followed from top to bottom, each command as it stands, in a copy of the checkout."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from record import RECORDING, first_blocks, written
from snippets import take, texts
from walking import Reader, a_copy, loosely

FIRST_HOUR = take("docs/first-hour.md")
GUIDES = {name: take(f"docs/{name}.md") for name in ("own-experiment", "aer", "nexus-adapter")}
LAB, LAB_TEST, *_ = take("docs/adapters.md", "python")
(RUN_LAB_TEST,) = take("docs/adapters.md", "sh")
(LOADED,) = texts("docs/where-things-are.md", "python")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def said() -> list[tuple[str, str]]:
    return []


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, said: list[tuple[str, str]]) -> Iterator[Reader]:
    if not (Path(sys.prefix) / ".ready").exists():
        if os.environ.get("CI"):
            pytest.fail("run make setup first: the pages use .venv")
        pytest.skip("no .venv: run make setup, or make test, which does")
    follower = Reader(
        a_copy(tmp_path_factory.mktemp("reader") / "qjobs"), lambda command, printed: said.append((command, printed))
    )
    yield follower
    follower.close()


def test_first_hour(reader: Reader, said: list[tuple[str, str]]) -> None:
    """The first hour can be had as it stands, and a terminal shows what is recorded of it."""
    recorded = first_blocks()
    for block in recorded:
        reader.follow(block)
    if not RECORDING.exists():
        pytest.fail("run: PYTHONPATH=.:tests python tests/readme/record.py")
    heads, now = zip(*(part.partition("\n")[::2] for part in _commands(written(reader.folder, said))), strict=True)
    recorded_heads, then = zip(*(part.partition("\n")[::2] for part in _commands(RECORDING.read_text())), strict=True)
    assert heads == recorded_heads, "run: PYTHONPATH=.:tests python tests/readme/record.py"
    for head, shown, before in zip(heads, now, then, strict=True):
        lines, old = ({loosely(line) for line in text.splitlines() if line.strip()} for text in (shown, before))
        assert len(lines & old) >= 0.5 * len(old), f"{head}\n{shown}\nis recorded as\n{before}"
    for block in FIRST_HOUR[len(recorded) :]:
        reader.follow(block)
    reader.end_others()


def _commands(recording: str) -> list[str]:
    """The parts of a recording, each of which begins with a command."""
    return re.split(r"^\$ ", recording, flags=re.MULTILINE)[1:]


def test_loaded(reader: Reader) -> None:
    """What was saved is loaded and compared in Python."""
    done, printed = reader._run(f".venv/bin/python -c '{LOADED}'")
    assert done == 0, printed


@pytest.mark.parametrize("name", GUIDES)
def test_guide(reader: Reader, name: str) -> None:
    """Every file of the page can be saved, every command typed."""
    for block in GUIDES[name]:
        if block.language != "toml":
            reader.follow(block)
    reader.end_others()


def test_lab(reader: Reader) -> None:
    """The adapter of the page keeps the contract."""
    for block in (LAB, LAB_TEST, RUN_LAB_TEST):
        reader.follow(block)
    assert re.search(r"3\d passed", reader.printed)
