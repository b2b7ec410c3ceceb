"""What waiting costs, on a real Prefect server, worker, sensor and job service. Run it with: make bench-waiting

- slots: how full a device with two places is kept by the dispatcher.
- results: 100,000 results come from a slow provider while runs at another one are to be resumed.
- ledger: 10,000 open jobs, which all exist at the service; requests, seconds and memory of passes of the sensor.
- runs: 200 runs of `run-circuits` that wait, suspended, for a machine that is busy. Then it is free and takes half
  a second for a job; how long it takes from a job's completion there to its result in the ledger and to its run.

It ends with 1 if a bound is broken: a request for at least 50 jobs, less than 200 MB, no process of a run that waits,
as many remote jobs as runs.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import postgresql
import sqlalchemy as sa
import waiting_ledger
import waiting_results
import waiting_runs
import waiting_slots
from bounds import Bounds, verdict
from processes import prefect_server
from waiting_ledger import Filled
from waiting_runs import Legs, Waited
from waiting_slots import Kept

JOBS_A_REQUEST = 50
MOST_MB = 200.0
MOST_DELAY_S = 10.0
"""From the end of a job to the moment at which its run is to be resumed, while many results of others come."""
_FEW = 20
"""So many requests are free: jobs that are about to change are watched one by one, a few at a time."""
_WORKER_SHARE = 0.5
"""From this share of the time from completion to running, waiting for the worker is what takes the time."""

Step = tuple[str, Callable[[Legs], datetime], Callable[[Legs], datetime]]
STEPS: Sequence[Step] = (
    ("completed there -> result in the ledger", lambda leg: leg.completed, lambda leg: leg.received),
    ("result in the ledger -> resumed", lambda leg: leg.received, lambda leg: leg.resumed),
    ("resumed -> running (the worker)", lambda leg: leg.resumed, lambda leg: leg.running),
    ("completed there -> running", lambda leg: leg.completed, lambda leg: leg.running),
)


def show_ledger(found: Filled) -> list[str]:
    """Print what passes took; the bounds that they broke."""
    print(f"a ledger of {found.n_jobs} open jobs of one circuit, all of them at the service")
    print(
        f"  made in {found.seconds:.0f} s: the first submitted, the others its copies in the service's database, "
        "each claimed and accepted in the ledger"
    )
    print(f"  {'pass':18} {'s':>7} {'CPU s':>7} {'jobs':>6} {'moved':>6} {'sent':>6} {'requests':>8} {'MB':>6}")
    broken = []
    for each in found.passes:
        print(
            f"  {each.label:18} {each.seconds:7.2f} {each.cpu_s:7.2f} {each.asked:6} {each.moved:6} {each.published:6} "
            f"{each.n_requests:8} {each.memory_mb:6.0f}"
        )
        if each.trouble:
            broken.append(f"{each.label}: {each.trouble}")
        if each.n_requests > max(each.asked / JOBS_A_REQUEST, _FEW):
            broken.append(f"{each.label}: {each.n_requests} requests for {each.asked} jobs: {each.requests}")
    asked = found.passes[:3]
    if [each.asked for each in asked] != [found.n_jobs] * 3:
        broken.append(f"three passes were to ask for {found.n_jobs} jobs: {[each.asked for each in found.passes]}")
    for each in asked:
        print(f"  jobs a request, {each.label}: {each.asked / max(1, each.n_requests):.0f}")
    print(f"  memory of the sensor: {found.before_mb:.0f} MB before, {found.peak_mb:.0f} MB at the most")
    if found.peak_mb >= MOST_MB:
        broken.append(f"the sensor held {found.peak_mb:.0f} MB; {MOST_MB:.0f} MB is the bound")
    return broken


def show_runs(found: Waited) -> list[str]:
    """Print how runs waited and went on; the bounds that they broke."""
    print(f"{found.n_runs} runs of run-circuits, a job each, suspended within {found.suspended_after_s:.0f} s")
    print(f"  processes of runs while all wait   {found.processes:6}")
    for name, before in found.before_mb.items():
        print(f"  memory of the {name:7} before, while all wait {before:8.0f} {found.waiting_mb[name]:6.0f} MB")
    print(f"  remote jobs, results in the ledger {found.remote_jobs:6} {found.results:6}")
    print(
        f"  the machine is free: all are completed {found.ended_after_s:.0f} s later; CPU s a leg {found.leg_cpu_s:.1f}"
    )
    print(f"  {'seconds':42} {'min':>7} {'median':>7} {'90 %':>7} {'max':>7}")
    medians = {}
    if not found.legs:
        return ["no run went on"]
    for label, begin, end in STEPS:
        taken = sorted((end(leg) - begin(leg)).total_seconds() for leg in found.legs)
        ninth = statistics.quantiles(taken, n=10, method="inclusive")[-1] if len(taken) > 1 else taken[0]
        medians[label] = statistics.median(taken)
        print(f"  {label:42} {taken[0]:7.1f} {medians[label]:7.1f} {ninth:7.1f} {taken[-1]:7.1f}")
    if medians[STEPS[2][0]] >= _WORKER_SHARE * medians[STEPS[3][0]]:
        rate = found.n_runs / found.ended_after_s * 60
        print(f"  the worker is what takes the time: it ends {rate:.1f} runs a minute here, whatever the sensor does")
    extra = sum(leg.suspensions - 1 for leg in found.legs)
    print(f"  runs that were resumed too early {extra:8}")
    n = found.n_runs
    wanted = {"processes of runs that wait": (found.processes, 0), "remote jobs": (found.remote_jobs, n)}
    wanted |= {"results": (found.results, n), "completed runs": (found.states.get("Completed", 0), n)}
    if set(found.states) != {"Completed"}:
        print(f"  states of the runs: {found.states}")
    return [f"{name}: {is_} instead of {should}" for name, (is_, should) in wanted.items() if is_ != should]


def show_slots(n_jobs: int) -> list[str]:
    """Measure and print how full the places of a device are kept; the bounds that were broken."""
    print(f"a device with {waiting_slots.PLACES} places and a suspended run of {n_jobs} jobs of 60 s, clock simulated")
    print(
        f"  {'the sensor hears of an end by':26} {'full':>6} {'bound':>6} {'live':>5} {'resumed':>7} {'collects':>8} "
        f"{'passes':>6} {'CPU ms a pass':>13}"
    )
    broken = []
    for way in waiting_slots.WAYS:
        found = waiting_slots.measure(n_jobs, way)
        print(
            f"  {way.label:29} {found.share:6.1%} {way.bound:6.0%} {found.most_live:5} {found.resumed:7} "
            f"{found.collect_tasks:8} {found.n_passes:6} {1000 * found.cpu_s / max(1, found.n_passes):13.1f}"
        )
        broken += [f"{way.label}: {words}" for words in _slots_broken(found)]
    return broken


def show_results(n_results: int) -> list[str]:
    """Measure and print how runs are resumed while many results come; the bounds that were broken."""
    found = waiting_results.measure(n_results)
    delays = sorted(found.delays_s)
    print(
        f"{n_results:,} results come from a slow provider in {found.seconds:.0f} s (CPU {found.cpu_s:.0f} s), and a "
        f"run each second is to be resumed at another: {len(delays)} were, after {statistics.median(delays):.1f} s "
        f"(median) and {delays[-1]:.1f} s (most); the longest pass took {found.longest_pass_s:.1f} s; "
        f"{found.before_mb:.0f} MB before, {found.peak_mb:.0f} MB at the most"
    )
    bounds = Bounds()
    bounds.check("until a run is resumed while results come, at the most", delays[-1], MOST_DELAY_S, "s")
    bounds.check("memory that many results take", found.peak_mb - found.before_mb, MOST_MB, "MB")
    bounds.check("results that are missing", n_results - found.stored, 0)
    return bounds.broken


def _slots_broken(found: Kept) -> list[str]:
    wanted = {
        "live jobs at once": (found.most_live, waiting_slots.PLACES),
        "resumptions": (found.resumed, 1),
        "collect tasks": (found.collect_tasks, 0),
        "remote jobs": (found.remote_jobs, found.n_jobs),
        "jobs sent by the dispatcher": (found.by_dispatcher, found.n_jobs - waiting_slots.PLACES),
        "results": (found.results, found.n_jobs),
    }
    broken = [f"{name}: {is_} instead of {should}" for name, (is_, should) in wanted.items() if is_ != should]
    if found.share <= found.way.bound:
        broken.append(f"the places were full for {found.share:.1%} of the time")
    return broken


@contextlib.contextmanager
def prefect_database(wanted: str) -> Iterator[dict[str, str]]:
    """Settings of a Prefect server for its database: SQLite, or a PostgreSQL of our own.

    Args:
        wanted: "sqlite", "postgresql", or "" for PostgreSQL where it is installed.

    Raises:
        SystemExit: PostgreSQL is wanted and not installed.
    """
    why_not = postgresql.why_not()
    if wanted == "sqlite" or (not wanted and why_not):
        yield {}
        return
    if why_not:
        raise SystemExit(f"error: {why_not}; run .ci/postgresql first")
    with postgresql.server() as url:
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        yield {"PREFECT_API_DATABASE_CONNECTION_URL": url.replace("psycopg", "asyncpg")}


def main() -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="runs that wait (default 200; 0 for none)")
    parser.add_argument("--jobs", type=int, default=10_000, help="open jobs of the ledger (default 10,000; 0 for none)")
    parser.add_argument("--slots", type=int, default=334, help="jobs of the suspended run (default 334; 0 for none)")
    parser.add_argument("--results", type=int, default=100_000, help="results that come meanwhile (default 100,000)")
    parser.add_argument("--job-s", type=float, default=0.5, help="seconds that the machine takes for a job")
    parser.add_argument(
        "--database", choices=("sqlite", "postgresql"), default="", help="Prefect's (default PostgreSQL, if installed)"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder with all logs and databases")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="qjobs-bench-"))
    broken: list[str] = []
    if options.slots:
        broken += show_slots(options.slots)
    if options.results:
        broken += show_results(options.results)
    try:
        if not (options.jobs or options.runs):
            return verdict(broken)
        with prefect_database(options.database) as database, prefect_server(folder, database) as (server, environment):
            print(f"Prefect's server is on {'PostgreSQL' if database else 'SQLite'}")
            if options.jobs:
                broken += show_ledger(waiting_ledger.measure(options.jobs, folder / "ledger", environment))
            if options.runs:
                broken += show_runs(
                    waiting_runs.measure(options.runs, folder / "runs", server, environment, options.job_s)
                )
    finally:
        if options.keep:
            print(f"logs and databases: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return verdict(broken)


if __name__ == "__main__":
    sys.exit(main())
