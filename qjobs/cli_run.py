"""`qjobs plan` and `qjobs run`."""

from __future__ import annotations

import argparse
import json
import uuid
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qjobs import operations
from qjobs.backends.aer import AerBackend
from qjobs.batching import pack
from qjobs.compile import CompileCache, compile_program
from qjobs.errors import InvalidInput
from qjobs.experiment import CircuitsPlan, CircuitsSpec, expand_circuits, load_circuits
from qjobs.launch import compile_here, launch_circuits, launch_sweep
from qjobs.ledger import Ledger, default_home, default_url
from qjobs.model import JobId, Program
from qjobs.outcome import Outcome, outcome_of, sweep_plan
from qjobs.results import write_file, write_parquet
from qjobs.sweep import SweepPlan, SweepSpec, load_sweep, read_mapping

__all__ = ["plan", "run"]


def _load(path: Path) -> SweepSpec | CircuitsSpec:
    if path.suffix not in {".qasm", ".qpy"} and "circuits" not in read_mapping(path):
        spec = load_sweep(path)
        backends = list(spec.backends)
    else:
        batch = load_circuits(path)
        if batch.backend == "aer":
            return batch
        backends = [batch.backend]
    if backends != ["aer"]:
        raise InvalidInput(
            f"this command runs on aer, and {path} names {', '.join(backends)}; saved blocks need Prefect: "
            "use python -m flows.sweep or python -m flows.run_circuits",
            field="backends",
        )
    return spec


def _programs_of(planned: SweepPlan | CircuitsPlan) -> list[Program]:
    return list((planned.templates if isinstance(planned, SweepPlan) else planned.programs).values())


def plan(options: argparse.Namespace) -> int:
    """Check everything and say what would run; nothing is stored, nothing is sent."""
    spec = _load(options.file)
    planned = sweep_plan(spec) if isinstance(spec, SweepSpec) else expand_circuits(spec)
    backend = AerBackend()
    try:
        how = spec.compile_options() if isinstance(spec, SweepSpec) else spec.options()
        target, cache = backend.target(), CompileCache(default_home() / "compiled")
        compiled = {p.hash: compile_program(p, target, how, cache) for p in _programs_of(planned)}
        items = planned.items(compiled)
        batches = pack(items, {p.hash: p for p in compiled.values()}, backend.limits)
    finally:
        backend.close()
    shown = {
        "name": spec.name,
        "backend": "aer",
        "device": backend.device,
        "circuits": len(items),
        "jobs": len(batches),
        "shots": sum(item.shots for item in items),
        "qubits": max(p.n_qubits for p in _programs_of(planned)),
        "templates": len(compiled),
    }
    if isinstance(planned, SweepPlan):
        shown["points"] = len(planned.points)
        shown["observables"] = [observable.name for observable in planned.observables]
    _print(shown, as_json=options.json)
    return 0


def run(options: argparse.Namespace) -> int:
    """Run a spec on the simulator in this process and print what came out."""
    spec = _load(options.file)
    run_id = options.run_id or f"run-{uuid.uuid4().hex[:12]}"
    backend = AerBackend()
    backend.warm()
    cache = CompileCache(default_home() / "compiled")
    with Ledger(_ledger_url(options.ledger)) as store:
        try:
            if isinstance(spec, SweepSpec):
                stage = compile_here(store, backend, spec.compile_options(), cache, fresh=spec.fresh)
                launched = launch_sweep(store, backend, sweep_plan(spec), name="aer", run=run_id, compile_stage=stage)
            else:
                stage = compile_here(store, backend, spec.options(), cache)
                launched = launch_circuits(
                    store, backend, expand_circuits(spec), run=run_id, identity=run_id, compile_stage=stage
                )
            statuses = _execute(store, backend, launched.job_ids)
        finally:
            backend.close()
        jobs = {"aer": list(launched.job_ids)}
        outcome = outcome_of(store, spec, jobs)
    return _report(options, spec.name, run_id, outcome, launched.summary, statuses)


def _execute(store: Ledger, backend: AerBackend, job_ids: tuple[JobId, ...]) -> Counter[str]:
    unsent = [job.job_id for job in store.jobs(job_ids=job_ids) if not job.status.is_final]
    under_way: list[JobId] = []
    room = backend.limits.max_live_jobs or len(unsent)
    while unsent or under_way:
        while unsent and len(under_way) < room:
            operations.submit(store, backend, unsent[0])
            under_way.append(unsent.pop(0))
        statuses = operations.wait(store, {backend.name: backend}, under_way, until="any" if unsent else "all")
        under_way = [job_id for job_id in under_way if not statuses[job_id].is_final]
    return Counter(job.status.value for job in store.jobs(job_ids=job_ids))


def _report(
    options: argparse.Namespace, name: str, run_id: str, outcome: Outcome, summary: str, statuses: Counter[str]
) -> int:
    folder = options.out or default_home() / "results" / name
    parquet = write_parquet(outcome.frame, folder / "results.parquet")
    picture = write_file(folder / "landscape.png", outcome.picture) if outcome.picture else None
    shown: dict[str, Any] = {
        "name": name,
        "run": run_id,
        "jobs": dict(statuses),
        "rows": len(outcome.frame),
        "missing": outcome.n_missing,
        "reuse": summary,
        "said": list(outcome.lines),
        "data frame": str(parquet),
    }
    if picture is not None:
        shown["picture"] = str(picture)
    _print(shown, as_json=options.json)
    return 1 if outcome.n_missing else 0


def _ledger_url(given: str | None) -> str:
    if given is None:
        return default_url()
    return given if "://" in given else f"sqlite:///{given}"


def _print(shown: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(shown, indent=1))
        return
    for key, value in shown.items():
        lines = value if isinstance(value, list) else [value]
        for line in lines:
            print(f"{key + ':':12} {line}")
