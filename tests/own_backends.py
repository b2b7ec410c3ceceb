"""A package of one's own that opens names, as `qjobs.backends` has it: `own/NAME` is what a test has put here."""

from __future__ import annotations

from pathlib import Path

from qjobs.backends.base import Backend
from qjobs.errors import InvalidInput

OPENED: dict[str, Backend] = {}
"""What each name opens; whoever puts it here closes it."""


def named(name: str) -> Backend:
    if name not in OPENED:
        raise InvalidInput(f"own_backends does not know {name}", field="backend")
    return OPENED[name]


def install(folder: Path, target: str = "own_backends:named") -> Path:
    """The metadata of that package in a folder, which is to be put on the path."""
    metadata = folder / "own_backends-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: own-backends\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[qjobs.backends]\nown = {target}\n")
    return folder
