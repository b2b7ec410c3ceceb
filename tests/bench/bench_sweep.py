"""Sweeps over what a user could write by hand, and beside their bounds. Run it with: make bench

Everything is measured in one run, with Prefect's server up, every program warm, and the rows interleaved: each round
runs each row once, and the medians are compared.

- by hand: every way of `by_hand.py` (Aer's counts, Aer's probabilities, qulacs), in this process and on all cores. The
  fastest is the baseline. A way that was three times slower than the fastest of its kind is not run again.
- library: plan, submit, wait, collect, data frame, picture and file through `qjobs` without Prefect.
- sweep: the Prefect flow, from the call to its published artifacts.
- a task per circuit: a Prefect flow that runs one task for every point (300 points only, once).
- expectation values, noise, different circuits: work of other kinds, through the library.

It ends with 1 if a bound is broken. With QJOBS_BENCH_POINTS it is a trial of one round, of which nothing is judged.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import by_hand
import sweep_work
from bounds import Bounds
from processes import prefect_server

LIBRARY_MS = 0.15
"""What the library may cost over the baseline, in ms a point."""
FLOW_S = 0.5
"""What the flow may cost over the library, at any size."""
LIBRARY_OF_COUNTS = 0.6
"""Library over Aer with counts, from `LARGE` points on."""
LARGE = 1000
FLOW_OF_COUNTS = 1.0
"""Flow over Aer with counts at 300 points."""
SMALL = 300
_SLOWER = 3.0
_LIBRARY = "library, without Prefect"
_FLOW = "sweep, end to end"


@dataclass(slots=True)
class Rows:
    """Calls that are measured in turn."""

    calls: dict[str, Callable[[], object]]
    families: Sequence[set[str]] = ()
    taken: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)

    def measure(self, rounds: int) -> None:
        """Each call once a round; of a family only those that are near its fastest go on after the first."""
        for call in self.calls.values():
            call()  # imports, caches, workers
        for number in range(rounds):
            for name, call in self.calls.items():
                if number and self._is_slow(name):
                    continue
                cpu = time.process_time()
                start = time.perf_counter()
                call()
                self.taken.setdefault(name, []).append(time.perf_counter() - start)
                self.cpu.setdefault(name, []).append(time.process_time() - cpu)

    def _is_slow(self, name: str) -> bool:
        families = [family for family in self.families if name in family]
        fastest = [min(self.taken[each][0] for each in family) for family in families]
        return bool(fastest) and all(self.taken[name][0] > _SLOWER * each for each in fastest)

    def median(self, name: str) -> float:
        """Wall time in seconds."""
        return statistics.median(self.taken[name])

    def fastest(self, names: Sequence[str]) -> str:
        """The one with the smallest median."""
        return min(names, key=self.median)

    def show(self, n_points: int, base: str) -> None:
        """Every row: seconds, ms a point, processor time of this process, and how often the baseline."""
        print(f"    {'':44} {'s':>8} {'ms a point':>11} {'CPU s here':>11} {'of baseline':>11}  runs")
        for name, taken in self.taken.items():
            median = self.median(name)
            cpu = statistics.median(self.cpu[name])
            each = 1000 * median / n_points
            print(
                f"    {name:44} {median:8.3f} {each:11.3f} {cpu:11.3f} {median / self.median(base):11.2f}  {len(taken)}"
            )


def hand_rows(work: by_hand.Work, pool: by_hand.Pool) -> dict[str, Callable[[], object]]:
    """Every way that applies, in one process and on all cores."""
    rows: dict[str, Callable[[], object]] = {}
    for name, way in by_hand.ways_of(work).items():
        rows[f"{name}, one process"] = partial(way, work)
        rows[f"{name}, {by_hand.CORES} processes"] = partial(pool, way, work)
    return rows


def measure_sweep(size: int, rounds: int, home: Path, pool: by_hand.Pool, bounds: Bounds) -> None:
    """The example at one size: the library, the flow, and every way by hand."""
    spec = sweep_work.spec_of(size)
    hand = hand_rows(sweep_work.by_hand_of(spec), pool)
    counts = {name for name in hand if any(name.startswith(each) for each in by_hand.AER_COUNTS)}
    calls: dict[str, Callable[[], object]] = {
        **hand,
        _LIBRARY: partial(sweep_work.through_library, spec, home),
        _FLOW: partial(sweep_work.through_flow, spec),
    }
    rows = Rows(calls=calls, families=(set(hand), counts))
    rows.measure(rounds)
    base = rows.fastest(list(hand))
    aer = rows.fastest(list(counts))
    print(f"\n{size} points, {spec.shots} shots; baseline: {base}")
    rows.show(size, base)
    library = rows.median(_LIBRARY)
    flow = rows.median(_FLOW)
    at = f"{size} points"
    bounds.check(
        f"{at}: library over the baseline", 1000 * (library - rows.median(base)) / size, LIBRARY_MS, "ms a point"
    )
    bounds.check(f"{at}: flow over the library", flow - library, FLOW_S, "s")
    if size >= LARGE:
        bounds.check(f"{at}: library, of Aer with counts", library / rows.median(aer), LIBRARY_OF_COUNTS)
    if size <= SMALL:
        bounds.check(f"{at}: flow, of Aer with counts", flow / rows.median(aer), FLOW_OF_COUNTS)
        start = time.perf_counter()
        sweep_work.task_per_circuit(spec)()
        taken = time.perf_counter() - start
        print(f"  {'a task per circuit, of Aer with counts (no bound)':62} {taken / rows.median(aer):8.1f}")


def measure_kind(
    label: str, kind: sweep_work.Kind, rounds: int, home: Path, pool: by_hand.Pool, bounds: Bounds
) -> None:
    """Work of another kind: the library and every way by hand."""
    hand = hand_rows(kind.work, pool)
    calls: Mapping[str, Callable[[], object]] = {**hand, _LIBRARY: partial(kind.through_library, home)}
    rows = Rows(calls=dict(calls), families=(set(hand),))
    rows.measure(rounds)
    base = rows.fastest(list(hand))
    n_points = kind.work.n_points
    print(f"\n{label}, {n_points} circuits; baseline: {base}")
    rows.show(n_points, base)
    over = 1000 * (rows.median(_LIBRARY) - rows.median(base)) / n_points
    bounds.check(f"{label}: library over the baseline", over, LIBRARY_MS, "ms a circuit")


def main() -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    trial = os.environ.get("QJOBS_BENCH_POINTS", "")
    sizes = [int(size) for size in (trial or "300 1000 3000").split()]
    parser.add_argument(
        "--points", type=int, nargs="*", default=sizes, help="default: QJOBS_BENCH_POINTS or 300 1000 3000"
    )
    rounds = 1 if trial else 7
    parser.add_argument("--repeat", type=int, default=rounds, help="rounds, of which the medians are taken (default 7)")
    kinds = [] if trial else list(sweep_work.KINDS)
    parser.add_argument("--kinds", nargs="*", choices=sweep_work.KINDS, default=kinds)
    options = parser.parse_args()
    bounds = Bounds()
    pool = by_hand.Pool()
    with tempfile.TemporaryDirectory(prefix="qjobs-bench-") as name:
        home = Path(name)
        os.environ["QJOBS_HOME"] = str(home / "qjobs")
        os.environ.pop("QJOBS_LEDGER", None)
        os.environ["PREFECT_LOGGING_LEVEL"] = "WARNING"
        with prefect_server(home, {}) as (_, variables):
            os.environ.update(variables)
            start = time.perf_counter()
            sweep_work.through_flow(sweep_work.spec_of(40))
            taken = time.perf_counter() - start
            print(f"first sweep of this process (imports, workers, 40 points): {taken:.2f} s")
            for size in options.points:
                measure_sweep(size, options.repeat, home, pool, bounds)
            for kind in options.kinds:
                made = sweep_work.KINDS[kind]()
                measure_kind(kind, made, options.repeat, home, pool, bounds)
                made.close()
        sweep_work.close()
    pool.close()
    code = bounds.verdict()
    return 0 if trial else code


if __name__ == "__main__":
    sys.exit(main())
