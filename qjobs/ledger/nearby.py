"""Ledgers that a person may have meant: looked at without opening them as ledgers, so that none is changed."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qjobs.paths import data_home, project_root, user_home

__all__ = ["OtherLedger", "other_ledgers"]

_SQLITE = "sqlite:///"


@dataclass(frozen=True, slots=True)
class OtherLedger:
    """A ledger on this machine that has jobs."""

    path: Path
    n_jobs: int

    @property
    def words(self) -> str:
        """How many jobs it has, and how to list them."""
        jobs = "1 job" if self.n_jobs == 1 else f"{self.n_jobs} jobs"
        return f"The ledger {self.path} has {jobs}: qjobs jobs list --ledger {self.path}"


def other_ledgers(url: str) -> list[OtherLedger]:
    """The ledgers with jobs: of the home, of the project that one stands in or qjobs is installed in, and the user's.

    `url` is that of the ledger that was looked at, which is left out.
    """
    looked_at = Path(url.removeprefix(_SQLITE)).resolve() if url.startswith(_SQLITE) else None
    found = []
    for path in dict.fromkeys(_places()):
        n_jobs = _jobs_in(path) if path.resolve() != looked_at else 0
        if n_jobs:
            found.append(OtherLedger(path, n_jobs))
    return found


def _places() -> Iterator[Path]:
    yield data_home() / "ledger.db"
    for root in (project_root(), project_root(Path(sys.prefix))):
        if root is not None:
            yield root / ".qjobs" / "ledger.db"
    yield user_home() / "ledger.db"


def _jobs_in(path: Path) -> int:
    """How many jobs it has; 0 where it is no ledger, or cannot be read now."""
    with contextlib.suppress(sqlite3.Error, OSError):
        if path.is_file():
            with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
                return int(connection.execute("SELECT count(*) FROM job").fetchone()[0])
    return 0
