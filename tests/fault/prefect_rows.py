"""Rows in which a process of Prefect is killed: real tests, each run as it is, with its outcome as a line of the table.

Each of them starts a Prefect server, and asserts itself that there is one remote job, with every result.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = {
    "Prefect's server killed while a run waits": "tests/fault/test_killed_prefect.py::test_server",
    "Prefect's worker and its run killed": "tests/prefect/test_lost_runs.py::test_broken_machine",
}


@dataclass(frozen=True)
class PrefectSeen:
    """What became of a test: what it said, where it failed."""

    name: str
    took_s: float
    words: str

    def line(self) -> str:
        """Its line of the table."""
        outcome = "failed" if self.words else f"1 remote job, 0 results lost, in {self.took_s:.0f} s"
        return f"{self.name:42} {'prefect':13} {outcome}"

    def problems(self) -> list[str]:
        """Where it breaks the rule."""
        return [f"{self.name}, prefect: {self.words}"] if self.words else []


def play(name: str) -> PrefectSeen:
    """Run one row."""
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", ROWS[name]]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    return PrefectSeen(name, time.monotonic() - began, done.stdout[-3000:] if done.returncode else "")


def play_all() -> Iterator[PrefectSeen]:
    for name in ROWS:
        yield play(name)
