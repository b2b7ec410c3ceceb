"""Growth: 1,000 to 100,000 points, and as many jobs of one circuit. Run it with: make bench-scale

Each size runs in a process of its own, which has run a small sweep before. Costs are CPU time of that process and its
children, so that other work on the machine counts little; wall time stands beside them.

- flow: the Prefect flow of the example, from the call to its published artifacts, its server up before. Peak memory is
  that of the flow's process.
- library: the same through `qjobs` without Prefect.
- jobs: a provider in this process that takes one circuit a job, with and without a limit of live jobs: plan, submit,
  poll (with the results, as they come), collect, data frame.

Exit code 1 if a bound breaks.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bounds import Bounds
from processes import prefect_server

ROOT = Path(__file__).parents[2]
SIZES = (1_000, 10_000, 100_000)
GROWTH = 1.10
"""What a point, or a job, may cost more than in a tenth of the size."""
MOST_MB = 1000.0
LIVE = 64
"""Live jobs that the provider with a limit takes."""
SHOTS = 100


def cpu_s() -> float:
    """CPU time of this process and of those of its children that have ended."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def points(kind: str, size: int, home: Path) -> dict[str, float]:
    """Run the example with `size` points, as a flow or through the library."""
    from bench_sweep import spec_of, through_library

    from blocks.opening import close_all

    def library(n: int) -> None:
        through_library(spec_of(n), home)

    def flow(n: int) -> None:
        from flows._support.command import without_heartbeat
        from flows.sweep import sweep

        with without_heartbeat():  # as the command does
            assert sweep(spec_of(n)).n_missing == 0

    run = {"flow": flow, "library": library}[kind]
    run(40)
    close_all()  # the workers' CPU time counts once they have ended
    cpu = cpu_s()
    start = time.perf_counter()
    run(size)
    seconds = time.perf_counter() - start
    close_all()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"all": cpu_s() - cpu, "wall": seconds, "peak_mb": peak}


def jobs(size: int, live: int | None, home: Path) -> dict[str, float]:
    """Run `size` jobs of one circuit, at most `live` at a time."""
    from one_each import OneEach

    from qjobs.compiling.compiler import CompileCache
    from qjobs.experiments.sweep import SweepSpec, expand_sweep
    from qjobs.ledger import Ledger
    from qjobs.operations.execute import DirectStages, execute
    from qjobs.reports.run_report import report_of

    spent: dict[str, float] = {}

    @contextlib.contextmanager
    def spending(what: str) -> Iterator[None]:
        before = cpu_s()
        try:
            yield
        finally:
            spent[what] = spent.get(what, 0.0) + cpu_s() - before

    class Timed(DirectStages):
        def submit(self, *args: Any, **kwargs: Any) -> Any:
            with spending("submit"):
                return super().submit(*args, **kwargs)

        def wait(self, *args: Any, **kwargs: Any) -> Any:
            with spending("poll"):
                return super().wait(*args, **kwargs)

        def collect(self, *args: Any, **kwargs: Any) -> Any:
            with spending("collect"):
                return super().collect(*args, **kwargs)

    def run(n: int) -> None:
        text = (
            'OPENQASM 3.0; include "stdgates.inc"; input float[64] a; qubit[2] q; bit[2] c; rx(a) q[0]; '
            "cx q[0], q[1]; c = measure q;"
        )
        axis = {"name": "a", "kind": "linspace", "start": 0.0, "stop": 3.0, "count": n}
        spec = {"name": "jobs", "circuit": {"openqasm": text}, "axes": [axis], "shots": SHOTS, "backends": ["one"]}
        backend = OneEach(live)
        with Ledger(f"sqlite:///{home}/{uuid.uuid4().hex}.db") as store:
            stages = Timed(store, {"one": backend}, CompileCache(home / "cache"))
            plan = expand_sweep(SweepSpec.model_validate(spec))
            with spending("all"):
                done = execute(store, plan, stages, run=uuid.uuid4().hex)
            with spending("frame"):
                report = report_of(store, plan, done.jobs, home / "jobs.parquet")
        assert (report.n_rows, report.n_missing, len(backend.asked)) == (n, 0, n)

    run(20)
    spent.clear()
    start = time.perf_counter()
    run(size)
    spent["plan"] = spent["all"] - spent["submit"] - spent["poll"] - spent.get("collect", 0.0)
    spent["all"] += spent["frame"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**spent, "wall": time.perf_counter() - start, "peak_mb": peak}


def in_child(*arguments: str) -> dict[str, float]:
    """What a process of its own has measured."""
    with tempfile.TemporaryDirectory(prefix="qjobs-scale-") as folder:
        places = os.pathsep.join(str(place) for place in (ROOT, ROOT / "tests"))  # Prefect's settings name another
        environment = {**os.environ, "QJOBS_HOME": folder, "PYTHONPATH": places}
        command = [sys.executable, __file__, "--child", *arguments, "--home", folder]
        ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return found


def grow(title: str, unit: str, sizes: list[int], bounds: Bounds, measure: Callable[[int], dict[str, float]]) -> None:
    """Measure each size, and say what one more costs beside one less in a tenth of the size."""
    print(f"\n{title}", flush=True)
    before: dict[str, float] = {}
    for size in sizes:
        found = measure(size)
        each = {name: found[name] / size * 1e3 for name in found if name not in {"wall", "peak_mb"}}
        parts = ", ".join(f"{name} {value:.3f}" for name, value in each.items() if name != "all")
        print(
            f"  {size:7,} {unit}s: {each['all']:.3f} ms of CPU a {unit} ({found['wall'] / size * 1e3:.3f} ms wall)"
            f"{f': {parts}' if parts else ''}; peak {found['peak_mb']:.0f} MB",
            flush=True,
        )
        if before:
            bounds.check(f"a {unit} beside one of a tenth of {size:,}", each["all"] / before["all"], GROWTH)
        if unit == "point" or size == max(sizes):
            bounds.check(f"peak memory with {size:,} {unit}s (MB)", found["peak_mb"], MOST_MB)
        before = each


def main() -> int:
    """Measure and print; 1 if a bound breaks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--only", nargs="*", choices=["flow", "library", "jobs"], default=["flow", "library", "jobs"])
    parser.add_argument("--child", nargs="*")
    parser.add_argument("--home", type=Path)
    options = parser.parse_args()
    if options.child:
        kind, size = options.child[0], int(options.child[1])
        if kind == "jobs":
            live = int(options.child[2])
            print(json.dumps(jobs(size, live or None, options.home)))
        else:
            print(json.dumps(points(kind, size, options.home)))
        return 0
    bounds = Bounds()
    os.environ.pop("QJOBS_LEDGER", None)
    os.environ["PREFECT_LOGGING_LEVEL"] = "WARNING"
    with tempfile.TemporaryDirectory(prefix="qjobs-scale-") as folder:
        if "flow" in options.only:
            with prefect_server(Path(folder), {}) as (_, environment):
                os.environ.update(environment)
                words = "flow, end to end"
                grow(words, "point", options.sizes, bounds, lambda size: in_child("flow", str(size)))
        if "library" in options.only:
            grow("library", "point", options.sizes, bounds, lambda size: in_child("library", str(size)))
        if "jobs" in options.only:
            for live in (0, LIVE):
                words = f"jobs of one circuit, {f'at most {live} live' if live else 'as many live as there are'}"
                sizes = [size for size in options.sizes if not live or size < max(SIZES)]
                grow(words, "job", sizes, bounds, lambda size, live=live: in_child("jobs", str(size), str(live)))
    return bounds.verdict()


if __name__ == "__main__":
    sys.exit(main())
