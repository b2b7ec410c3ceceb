"""`qjobs plan` and `qjobs run`."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qjobs import notebook
from qjobs.backends.base import Backend
from qjobs.cli.caps import with_retries
from qjobs.cli.opening import opened
from qjobs.compiling.compiler import CompileCache, Compiler, compile_program
from qjobs.experiments.circuit_list import CircuitList
from qjobs.experiments.sweep import SweepPlan, SweepSpec
from qjobs.ledger import Ledger
from qjobs.model import ItemSpec
from qjobs.operations.batching import pack
from qjobs.paths import data_home, ledger_url
from qjobs.reports.files import write_file


def _names(spec: SweepSpec | CircuitList) -> list[str]:
    return list(spec.backends) if isinstance(spec, SweepSpec) else [spec.backend]


@contextlib.contextmanager
def _open(names: Sequence[str]) -> Iterator[dict[str, Backend]]:
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(opened(name)) for name in names}


def plan(options: argparse.Namespace) -> int:
    """Check everything and say what would run; nothing is stored, nothing is sent."""
    planned = notebook.expand(notebook.load(options.file))
    programs = list(planned.programs.values())
    cache = CompileCache(data_home() / "compiled")
    devices = []
    items: list[ItemSpec] = []
    n_jobs = 0
    with _open(_names(planned.spec)) as backends:
        for backend in backends.values():
            devices.append(backend.device)
            compiled = dict(planned.programs)
            if planned.compile_options.compiler is not Compiler.REMOTE:
                target = backend.target()
                for each in programs:
                    compiled[each.hash] = compile_program(each, target, planned.compile_options, cache)
            here = planned.items(compiled)
            n_jobs += len(pack(here, {each.hash: each for each in compiled.values()}, backend.limits))
            items += here
    shown: dict[str, Any] = {
        "name": planned.spec.name,
        "backend": ", ".join(_names(planned.spec)),
        "device": ", ".join(devices),
        "circuits": len(items),
        "jobs": n_jobs,
        "shots": sum(item.shots for item in items),
        "qubits": max(each.n_qubits for each in programs),
        "templates": len(programs),
    }
    if isinstance(planned, SweepPlan):
        shown["points"] = len(planned.points)
        shown["observables"] = [observable.name for observable in planned.observables]
    _print(shown, as_json=options.json)
    return 0


def run(options: argparse.Namespace) -> int:
    """Run an experiment, wait for it in this process, and print what came out.

    A run of the same experiment that was interrupted goes on.
    """
    spec = with_retries(notebook.load(options.file), options)
    url = ledger_url(options.ledger)
    folder = options.out or data_home() / "results" / spec.name
    others = [name for name in _names(spec) if name != "aer"]  # which the library opens, and warms
    with _open(others) as backends:
        done = notebook.run(
            spec,
            backends=backends,
            ledger=url,
            run_id=options.run_id,
            new=options.new,
            file=folder / "results.parquet",
            say=lambda line: print(line, file=sys.stderr),
        )
    job_ids = [job_id for ids in done.jobs.values() for job_id in ids]
    with Ledger(url) as ledger:
        statuses = Counter(job.status.value for job in ledger.jobs(job_ids=job_ids))
    report = done.report
    problems = {job_id: " ".join(str(error).split()) for job_id, error in done.problems.items()}
    shown: dict[str, Any] = {
        "name": spec.name,
        "run": done.run_id,
        "jobs": dict(statuses),
        "rows": report.n_rows,
        "missing": report.n_missing,
        "reuse": "; ".join(done.summaries),
        "said": list(report.lines),
        "problems": problems if options.json else [f"{job_id}: {words}" for job_id, words in problems.items()],
        "data frame": str(report.file),
    }
    if report.picture:
        shown["picture"] = str(write_file(folder / "landscape.png", report.picture))
    _print(shown, as_json=options.json)
    return 1 if report.n_missing or problems else 0


def _print(shown: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(shown, indent=1))
        return
    for key, value in shown.items():
        lines = value if isinstance(value, list) else [value]
        for line in lines:
            print(f"{key + ':':12} {line}")
