"""Claims of the portal's job database: statements and time for 60, 1,000 and 10,000 jobs. Run it with: make bench-mqp

Everything is measured in one run, and times are told as ratios beside the seconds:

- ours: `fetch_all_pending_jobs` on SQLite, and on PostgreSQL where its programs are installed;
- loop: a plain loop on Pony ORM over the same jobs, on SQLite (`pony_replica.py`; it needs `pip install pony`).

"over ours" is the time over that of ours on SQLite for the same number of jobs, "a job, over the first" the time per
job over that of the same claim at the smallest number.

Each claim takes every job: there are two of each user. Statements of SQLite are those that the file is asked, BEGIN
and COMMIT included; those of PostgreSQL leave BEGIN and COMMIT out. Exit code 1: a claim of ours took more than three
besides BEGIN and COMMIT.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib.util
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import postgresql
import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).parents[1] / "service" / "mqp"))

from mqp_parts import BELL, Parts, many_users

from qjobs.service.mqp import jobs
from qjobs.service.mqp.jobs import using

MOST_STATEMENTS = 3
_ENDS = ("BEGIN", "COMMIT", "PRAGMA")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one claim took."""

    statements: int
    work: int
    """Statements other than BEGIN and COMMIT."""
    seconds: float


def claim_of_ours(url: str, number: int) -> Claim:
    """A claim of so many jobs on an empty database."""
    parts = Parts(url)
    parts.begin()
    many_users(parts, number // 2, each=2)
    asked: list[str] = []
    if parts.database.db.is_sqlite:
        with parts.database.db.read() as connection:
            connection.connection.driver_connection.set_trace_callback(asked.append)  # type: ignore[union-attr]
    else:
        sa.event.listen(parts.database.db._engine, "before_cursor_execute", lambda *event: asked.append(event[2]))
    asked.clear()
    with using(parts.database):
        found = _timed(lambda: len(jobs.fetch_all_pending_jobs()), number)
    claim = Claim(statements=len(asked), work=_work(asked), seconds=found)
    parts.close()
    return claim


def claim_of_loop(folder: Path, number: int) -> Claim:
    """The same by the loop."""
    from pony_replica import Replica

    replica = Replica(folder / "pony.db", number, BELL)
    asked: list[str] = []
    replica.trace(asked)
    asked.clear()
    found = _timed(lambda: len(replica.claim()), number)
    replica.close()
    return Claim(statements=len(asked), work=_work(asked), seconds=found)


def _timed(claim: object, number: int) -> float:
    assert callable(claim)
    gc.collect()
    start = time.perf_counter()
    taken = claim()
    seconds = time.perf_counter() - start
    if taken != number:
        raise SystemExit(f"a claim took {taken} of {number} jobs")
    return seconds


def _work(asked: list[str]) -> int:
    return sum(not statement.lstrip().upper().startswith(_ENDS) for statement in asked)


@contextlib.contextmanager
def server() -> Iterator[str | None]:
    """URL of a PostgreSQL; None where there can be none."""
    if why_not := postgresql.why_not():
        print(f"(without PostgreSQL: {why_not})")
        yield None
        return
    with postgresql.server() as url:
        yield url


def measure(number: int, url: str | None, with_loop: bool) -> dict[str, Claim]:
    """What each way takes for so many jobs."""
    found: dict[str, Claim] = {}
    with tempfile.TemporaryDirectory(prefix="qjobs-mqp-") as name:
        found["ours, SQLite"] = claim_of_ours(f"sqlite:///{name}/service.db", number)
        if url is not None:
            with postgresql.database(url) as own:
                found["ours, PostgreSQL"] = claim_of_ours(own, number)
        if with_loop:
            found["loop, SQLite"] = claim_of_loop(Path(name), number)
    return found


def main() -> int:
    words = argparse.ArgumentParser(description="Statements and time of claims, as ratios.")
    words.add_argument("sizes", nargs="*", type=int, default=[60, 1_000, 10_000], help="pending jobs, even numbers")
    sizes = words.parse_args().sizes
    with_loop = importlib.util.find_spec("pony") is not None
    if not with_loop:
        print("(without the loop on Pony ORM: .venv/bin/python -m pip install pony)")
    with server() as url:
        measure(sizes[0], url, with_loop)  # imports and first connections
        found = {number: measure(number, url, with_loop) for number in sizes}
    print(f"{'jobs':>7}  {'claim':<17}{'statements':>11}{'seconds':>10}{'over ours':>11}{'a job, over the first':>23}")
    for number, claims in found.items():
        base = claims["ours, SQLite"].seconds
        for name, claim in claims.items():
            first = found[sizes[0]][name].seconds / sizes[0]
            ratios = f"{claim.seconds / base:>10.1f}x{claim.seconds / number / first:>22.2f}x"
            print(f"{number:>7}  {name:<17}{claim.statements:>11}{claim.seconds:>10.3f}{ratios}")
    ours = [claim.work for claims in found.values() for name, claim in claims.items() if name.startswith("ours")]
    print(f"a claim of ours: at most {max(ours)} statements besides BEGIN and COMMIT; the bound is {MOST_STATEMENTS}")
    return 0 if max(ours) <= MOST_STATEMENTS else 1


if __name__ == "__main__":
    sys.exit(main())
