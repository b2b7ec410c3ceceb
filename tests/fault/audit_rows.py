"""Faults that no random schedule comes to: one small scenario for each, played by the real operations.

    PYTHONPATH=.:tests python tests/fault/audit_rows.py

prints one line a row: what was seen if the fault is there, and that it is not otherwise. `make faults` prints them with
its table; `test_audit_rows.py` asserts the same rows, and that each shows its fault when its mending is taken back.
"""

from __future__ import annotations

import logging
import random
import re
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from model_backend import BACKEND, ModelBackend
from model_provider import Kind, Provider
from simulation_laws import Violation
from support import NOW, a_spec

from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId, Key, RemoteRetryStrategy

if TYPE_CHECKING:
    from model_provider import Remote

S = JobStatus


class NoLaws:
    """The scenario itself says what must hold."""

    def risk_was_taken(self, _: JobId) -> bool:
        return False

    def check_cancel(self, _: Remote, __: object) -> None:
        pass


@dataclass
class Scene:
    """What surrounds a provider in a row: ledgers in files, a clock that only sleeping moves, and no faults."""

    folder: Path
    traits: frozenset[str] = frozenset()
    variant: Kind = Kind.FINDABLE
    rng: random.Random = field(default_factory=lambda: random.Random(1))
    laws: NoLaws = field(default_factory=NoLaws)
    current: None = None
    elapsed_s: float = 0.0
    tick: int = 0
    said: list[str] = field(default_factory=list)
    ledgers: list[Ledger] = field(default_factory=list)
    stack: ExitStack = field(default_factory=ExitStack)
    alarms: list[tuple[float, Callable[[], object]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.provider = Provider(self, self.variant)
        self.backend = ModelBackend(self.provider)

    @property
    def ledger(self) -> Scene:
        """What the provider asks for rows."""
        return self

    def open_ledger(self, name: str = "ledger", **options: float) -> Ledger:
        ledger = self.stack.enter_context(Ledger(f"sqlite:///{self.folder / name}.db", **options))
        self.ledgers.append(ledger)
        return ledger

    def rows(self, query: str, *values: object) -> list[tuple]:
        found = []
        for ledger in self.ledgers:
            with ledger._db.read() as connection:
                found += connection.exec_driver_sql(query, values).fetchall()
        return found

    def owner(self, key: Key) -> tuple[JobId, int]:
        ours = re.sub(r"(?<=.)(-\d+)?(\.[0-9a-f]{8})?$", "", key)
        job_id, epoch = self.rows("SELECT job_id, epoch FROM job WHERE key = ?", ours)[0]
        return JobId(job_id), epoch

    def index_of(self, label: str) -> int:
        return zlib.crc32(label.encode())

    def say(self, words: str) -> None:
        self.said.append(words)

    def happens(self, _: float) -> bool:
        return False

    def break_law(self, words: str) -> NoReturn:
        raise Violation(words)

    def point(self, _: str) -> None:
        pass

    def sleep(self, seconds: float) -> None:
        self.elapsed_s += float(seconds)
        due = [act for at_s, act in self.alarms if at_s <= self.elapsed_s]
        self.alarms = [(at_s, act) for at_s, act in self.alarms if at_s > self.elapsed_s]
        for act in due:
            act()

    def after(self, seconds: float, act: Callable[[], object]) -> None:
        self.alarms.append((self.elapsed_s + seconds, act))

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.elapsed_s)

    def monotonic(self) -> float:
        return self.elapsed_s

    def a_job(self, ledger: Ledger, key: str = "job", n_items: int = 3) -> JobId:
        """A job that is planned."""
        return ledger.create([a_spec(key, n_items=n_items, backend=BACKEND)], now=self.now())[0]

    def a_lost_one(self, ledger: Ledger, key: str = "job", *, arrives: bool) -> JobId:
        """A job whose reply was lost; it `arrives` at the provider, or does not."""
        job_id = self.a_job(ledger, key)
        submissions = ledger.submissions
        claim = {"strategy": RemoteRetryStrategy.DEFAULT, "owner": "somebody", "lease_s": 60.0, "now": self.now()}
        attempt = submissions.claim(job_id, expected=JobStatus.CREATED, **claim)
        submissions.renew(attempt, lease_s=60.0, now=self.now(), sending=True)
        if arrives:
            self.provider.make(ledger.job(job_id).key, job_id, 1, tuple(range(3)), None)
        submissions.mark_unknown(attempt, "the reply was dropped", now=self.now())
        return job_id

    def report(self, *statuses: JobStatus, of: int = -1) -> None:
        """Let the newest remote job (or the `of`-th) be in these statuses."""
        list(self.provider.jobs.values())[of].become(statuses, self.elapsed_s)


@dataclass(frozen=True)
class Row:
    """One fault: `play` says what was seen, or nothing where the promise holds."""

    number: str
    what: str
    play: Callable[[Path], str]

    def seen(self, folder: Path) -> str:
        """What was seen, in one line."""
        try:
            words = self.play(folder)
        except Violation as error:
            words = str(error)
        return re.sub(r"job-[0-9a-f]{32}", "job-...", " ".join(words.split()))[:300]


def all_rows() -> tuple[Row, ...]:
    """The rows of every subject."""
    import habit_rows  # these are built on this module
    import plan_rows
    import wait_rows
    import word_rows

    found = (*habit_rows.ROWS, *plan_rows.ROWS, *wait_rows.ROWS, *word_rows.ROWS)
    return tuple(sorted(found, key=lambda row: row.number.zfill(2)))


@dataclass(frozen=True)
class Played:
    """A row that was played, and what was seen."""

    row: Row
    words: str

    def line(self) -> str:
        """One line."""
        found = f"found: {self.words}" if self.words else "not found"
        return f"#{self.row.number:3} {self.row.what}: {found}"

    def problems(self) -> list[str]:
        """What was seen, if anything."""
        return [self.line()] if self.words else []


def play_all(every: int = 1) -> Iterator[Played]:
    """Play every row, or every n-th."""
    for row in all_rows()[::every]:
        with tempfile.TemporaryDirectory() as folder:
            yield Played(row, row.seen(Path(folder)))


def main() -> int:
    """Print the rows; 1 if a fault is there."""
    logging.disable(logging.CRITICAL)
    bad = 0
    for played in play_all():
        print(played.line(), flush=True)
        bad += bool(played.words)
    print(f"{bad} rows show their fault")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.modules["audit_rows"] = sys.modules["__main__"]  # the rows of each subject import this one
    sys.exit(main())
