"""`qjobs plan` and `qjobs run`."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qjobs import notebook
from qjobs.backends.aer import AerBackend
from qjobs.compiling.compiler import CompileCache, compile_program
from qjobs.errors import InvalidInput
from qjobs.experiments.circuit_list import CircuitList
from qjobs.experiments.sweep import SweepPlan, SweepSpec
from qjobs.ledger import Ledger
from qjobs.operations.batching import pack
from qjobs.paths import data_home, ledger_url
from qjobs.reports.files import write_file, write_parquet


def _load(path: Path) -> SweepSpec | CircuitList:
    spec = notebook.load(path)
    backends = list(spec.backends) if isinstance(spec, SweepSpec) else [spec.backend]
    if backends != ["aer"]:
        raise InvalidInput(
            f"this command runs on aer, and {path} names {', '.join(backends)}; saved blocks need Prefect: "
            "use python -m flows.sweep or python -m flows.run_circuits",
            field="backends",
        )
    return spec


def plan(options: argparse.Namespace) -> int:
    """Check everything and say what would run; nothing is stored, nothing is sent."""
    planned = notebook.expand(_load(options.file))
    programs = list(planned.programs.values())
    with AerBackend() as backend:
        target = backend.target()
        cache = CompileCache(data_home() / "compiled")
        compiled = {each.hash: compile_program(each, target, planned.compile_options, cache) for each in programs}
        items = planned.items(compiled)
        batches = pack(items, {each.hash: each for each in compiled.values()}, backend.limits)
        device = backend.device
    shown: dict[str, Any] = {
        "name": planned.spec.name,
        "backend": "aer",
        "device": device,
        "circuits": len(items),
        "jobs": len(batches),
        "shots": sum(item.shots for item in items),
        "qubits": max(each.n_qubits for each in programs),
        "templates": len(compiled),
    }
    if isinstance(planned, SweepPlan):
        shown["points"] = len(planned.points)
        shown["observables"] = [observable.name for observable in planned.observables]
    _print(shown, as_json=options.json)
    return 0


def run(options: argparse.Namespace) -> int:
    """Run an experiment on the simulator in this process and print what came out."""
    spec = _load(options.file)
    url = ledger_url(options.ledger)
    done = notebook.run(spec, ledger=url, run_id=options.run_id)
    job_ids = [job_id for ids in done.jobs.values() for job_id in ids]
    with Ledger(url) as ledger:
        statuses = Counter(job.status.value for job in ledger.jobs(job_ids=job_ids))
    folder = options.out or data_home() / "results" / spec.name
    report = done.report
    shown: dict[str, Any] = {
        "name": spec.name,
        "run": done.run_id,
        "jobs": dict(statuses),
        "rows": len(report.frame),
        "missing": report.n_missing,
        "reuse": "; ".join(done.summaries),
        "said": list(report.lines),
        "data frame": str(write_parquet(report.frame, folder / "results.parquet")),
    }
    if report.picture:
        shown["picture"] = str(write_file(folder / "landscape.png", report.picture))
    _print(shown, as_json=options.json)
    return 1 if report.n_missing else 0


def _print(shown: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(shown, indent=1))
        return
    for key, value in shown.items():
        lines = value if isinstance(value, list) else [value]
        for line in lines:
            print(f"{key + ':':12} {line}")
