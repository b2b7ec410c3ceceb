"""A package of one's own that opens names, as `qjobs.backends` has it.

`own/NAME` is what a test has put here; `own/PORT-VARIANT` is a scripted provider, for processes that tests start.
"""

from __future__ import annotations

import re
from pathlib import Path

from qjobs.backends.base import Backend
from qjobs.backends.rest import LostReply, RestBackend
from qjobs.errors import InvalidInput
from qjobs.model import Confirmation

OPENED: dict[str, Backend] = {}
"""What each name opens; whoever puts it here closes it."""


def named(name: str) -> Backend:
    provider = re.fullmatch(r"own/(\d+)-(\w+)", name)
    if provider and name not in OPENED:
        url = f"http://127.0.0.1:{provider[1]}"
        confirm = Confirmation(absent_times=1, absent_apart_s=0.0)
        OPENED[name] = RestBackend(url, lost_reply=LostReply(provider[2]), name="own", settle_s=0.2, confirm=confirm)
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


def close_all() -> None:
    while OPENED:
        OPENED.popitem()[1].close()
