"""The main job end to end, over bare Aer on the same circuits. Run it with: make bench

Everything is measured in one run, in one process, with Prefect's server up and every program warm:

- bare Aer: the fastest of four ways to batch the compiled template, with `get_counts` for every point;
- library: plan, submit, wait, collect, data frame and picture through `qjobs` without Prefect;
- sweep: the Prefect flow, from the call to its published artifacts;
- a task per circuit: a Prefect flow that runs one task for every point (300 points only).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench_service import timed
from processes import prefect_server

EXAMPLE = Path(__file__).parents[2] / "examples" / "qaoa_maxcut" / "sweep.yaml"


def spec_of(points: int) -> Any:
    """The example with `points` points: its 20 gammas, and as many betas as it takes."""
    from qjobs.experiments.sweep import SweepSpec, load_sweep

    data = load_sweep(EXAMPLE).model_dump()
    data["axes"][1]["count"] = points // data["axes"][0]["count"]
    data["name"] = f"bench-{points}"
    data["fresh"] = True
    return SweepSpec.model_validate(data)


def bare_aer(spec: Any, repeat: int) -> dict[str, float]:
    """Seconds per way to run the compiled template at every point, counts included."""
    from qiskit_aer import AerSimulator

    from blocks import backend_named
    from qjobs.circuits.programs import bind, to_qiskit
    from qjobs.compiling.compiler import compile_program
    from qjobs.experiments.sweep import expand_sweep

    plan = expand_sweep(spec)
    (template,) = plan.templates.values()
    program = compile_program(template, backend_named("aer").target(), spec.compile_options())
    circuit = to_qiskit(program)
    binds = [{p: [dict(point.parameters)[p.name] for point in plan.points] for p in circuit.parameters}]

    def run(simulator: Any, circuits: Any, **kwargs: Any) -> Callable[[], object]:
        def call() -> object:
            result = simulator.run(circuits, shots=spec.shots, **kwargs).result()
            return [result.get_counts(n) for n in range(len(plan.points))]

        return call

    statevector = {"method": "statevector", "runtime_parameter_bind_enable": True}
    two = {"max_parallel_experiments": os.cpu_count() or 1}
    ways = {
        "list of circuits": lambda: run(
            AerSimulator(**two), [bind(program, dict(p.parameters)) for p in plan.points]
        )(),
        "parameter_binds": run(AerSimulator(), circuit, parameter_binds=binds),
        "parameter_binds, parallel": run(AerSimulator(**two), circuit, parameter_binds=binds),
        "runtime binding": run(AerSimulator(**statevector), circuit, parameter_binds=binds),
    }
    return {name: timed(call, repeat) for name, call in ways.items()}


def through_library(spec: Any, folder: Path) -> None:
    """The same work without Prefect, into a ledger of its own."""
    from blocks import backend_named, compile_cache
    from qjobs.experiments.sweep import expand_sweep
    from qjobs.ledger import Ledger
    from qjobs.operations.execute import DirectStages, execute
    from qjobs.reports.run_report import report_of

    plan = expand_sweep(spec)
    with Ledger(f"sqlite:///{folder}/{uuid.uuid4().hex}.db") as store:
        stages = DirectStages(store, {"aer": backend_named("aer")}, compile_cache())
        done = execute(store, plan, stages, run=uuid.uuid4().hex)
        outcome = report_of(store, plan, done.jobs, folder / "bench.parquet")
        assert outcome.n_missing == 0


def task_per_circuit(spec: Any) -> Callable[[], object]:
    """What people write first: one Prefect task for each circuit."""
    from prefect import flow, task
    from prefect.cache_policies import NO_CACHE
    from qiskit_aer import AerSimulator

    from qjobs.circuits.programs import bind
    from qjobs.experiments.sweep import expand_sweep

    plan = expand_sweep(spec)
    (template,) = plan.templates.values()
    simulator = AerSimulator()

    @task(cache_policy=NO_CACHE, persist_result=False)
    def one(parameters: dict[str, float]) -> dict[str, int]:
        result = simulator.run(bind(template, parameters), shots=spec.shots).result()
        counts: dict[str, int] = result.get_counts()
        return counts

    @flow(name="task-per-circuit")
    def every() -> int:
        return len([f.result() for f in [one.submit(dict(p.parameters)) for p in plan.points]])

    return every


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = [int(size) for size in os.environ.get("QJOBS_BENCH_POINTS", "300 3000").split()]
    parser.add_argument(
        "--points", type=int, nargs="*", default=default, help="default: QJOBS_BENCH_POINTS or 300 3000"
    )
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="qjobs-bench-") as name:
        home = Path(name)
        os.environ["QJOBS_HOME"] = str(home / "qjobs")
        os.environ.pop("QJOBS_LEDGER", None)
        os.environ["PREFECT_LOGGING_LEVEL"] = "WARNING"
        with prefect_server(home, {}) as (_, environment):
            os.environ.update(environment)
            measure(options.points, options.repeat, home)


def measure(sizes: list[int], repeat: int, home: Path) -> None:
    """One table per size; the sweep's ratio is over the fastest bare way."""
    from blocks.opening import close_all
    from flows._support.command import without_heartbeat
    from flows.sweep import sweep

    def flow(spec: Any) -> None:
        with without_heartbeat():  # as the command does
            sweep(spec)

    start = time.perf_counter()
    flow(spec_of(40))
    print(f"first sweep of this process (imports, workers, 40 points): {time.perf_counter() - start:.2f} s")
    for size in sizes:
        spec = spec_of(size)
        times = repeat if size <= 1000 else min(3, repeat)
        ways = bare_aer(spec, times)
        fastest = min(ways.values())
        rows = {f"bare Aer, {name}": seconds for name, seconds in ways.items()}
        rows["library, without Prefect"] = timed(lambda spec=spec: through_library(spec, home), times)
        rows["sweep, end to end"] = timed(lambda spec=spec: flow(spec), times)
        if size <= 300:
            rows["a task per circuit"] = timed(task_per_circuit(spec), 1)
        print(f"\n{size} points, {spec.shots} shots, median of {times}; ratios over the fastest bare Aer")
        for label, seconds in rows.items():
            print(f"  {label:34} {seconds:8.3f} s  {seconds / fastest:7.2f}")
    close_all()


if __name__ == "__main__":
    main()
