"""`qjobs plan` and `qjobs run`."""

from __future__ import annotations

import argparse
import contextlib
import json
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qjobs.backends.aer import AerBackend
from qjobs.compiling.compiler import CompileCache, compile_program
from qjobs.errors import Busy, InvalidInput, WaitTimeout
from qjobs.experiments.circuit_list import CircuitList, CircuitListPlan, expand_circuit_list, load_circuit_list
from qjobs.experiments.forms import read_mapping
from qjobs.experiments.sweep import SweepPlan, SweepSpec, expand_sweep, load_sweep
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId, Program
from qjobs.operations import plan as operations
from qjobs.operations.batching import pack
from qjobs.operations.launch import compile_here, launch_circuits, launch_sweep
from qjobs.paths import data_home, ledger_url
from qjobs.reports.files import write_file, write_parquet
from qjobs.reports.run_report import RunReport, report_of

__all__ = ["plan", "run"]


def _load(path: Path) -> SweepSpec | CircuitList:
    if path.suffix not in {".qasm", ".qpy"} and "circuits" not in read_mapping(path):
        spec = load_sweep(path)
        backends = list(spec.backends)
    else:
        batch = load_circuit_list(path)
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


def _programs_of(planned: SweepPlan | CircuitListPlan) -> list[Program]:
    return list((planned.templates if isinstance(planned, SweepPlan) else planned.programs).values())


def plan(options: argparse.Namespace) -> int:
    """Check everything and say what would run; nothing is stored, nothing is sent."""
    spec = _load(options.file)
    planned = expand_sweep(spec) if isinstance(spec, SweepSpec) else expand_circuit_list(spec)
    backend = AerBackend()
    try:
        how = spec.compile_options() if isinstance(spec, SweepSpec) else spec.options()
        target, cache = backend.target(), CompileCache(data_home() / "compiled")
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
    planned = expand_sweep(spec) if isinstance(spec, SweepSpec) else expand_circuit_list(spec)
    run_id = options.run_id or f"run-{uuid.uuid4().hex[:12]}"
    cache = CompileCache(data_home() / "compiled")
    with Ledger(ledger_url(options.ledger)) as store:
        with AerBackend() as backend:
            backend.warm()
            if isinstance(planned, SweepPlan):
                how, fresh = planned.spec.compile_options(), planned.spec.fresh
                stage = compile_here(store, backend, how, cache, fresh=fresh)
                launched = launch_sweep(store, backend, planned, name="aer", run=run_id, compile_stage=stage)
            else:
                stage = compile_here(store, backend, planned.spec.options(), cache)
                launched = launch_circuits(store, backend, planned, run=run_id, identity=run_id, compile_stage=stage)
            statuses = _execute(store, backend, launched.job_ids)
        outcome = report_of(store, planned, {"aer": list(launched.job_ids)})
    return _report(options, spec.name, run_id, outcome, launched.summary, statuses)


def _execute(store: Ledger, backend: AerBackend, job_ids: tuple[JobId, ...]) -> Counter[str]:
    unsent = [job.job_id for job in store.jobs(job_ids=job_ids) if not job.status.is_final]
    under_way: list[JobId] = []
    room = backend.limits.max_live_jobs or len(unsent)
    while unsent or under_way:
        busy_s = 0.0
        while unsent and len(under_way) < room and not busy_s:
            try:
                operations.submit(store, backend, unsent[0])
            except Busy as error:  # another process sends it, or fills the device
                busy_s = min(error.retry_after_s, 1.0)
            else:
                under_way.append(unsent.pop(0))
        if not under_way:
            time.sleep(busy_s)
            continue
        timeout_s = busy_s or None
        with contextlib.suppress(WaitTimeout):
            until = "any" if unsent else "all"
            operations.wait(store, {backend.name: backend}, under_way, until=until, timeout_s=timeout_s)
        under_way = [job.job_id for job in store.open_jobs(job_ids=under_way) if job.status is not JobStatus.UNKNOWN]
    return Counter(job.status.value for job in store.jobs(job_ids=job_ids))


def _report(
    options: argparse.Namespace, name: str, run_id: str, outcome: RunReport, summary: str, statuses: Counter[str]
) -> int:
    folder = options.out or data_home() / "results" / name
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


def _print(shown: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(shown, indent=1))
        return
    for key, value in shown.items():
        lines = value if isinstance(value, list) else [value]
        for line in lines:
            print(f"{key + ':':12} {line}")
