"""`qjobs plan` and `qjobs run`."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qjobs.cli.opening import opened
from qjobs.errors import QJobsError
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.paths import data_home, ledger_url

if TYPE_CHECKING:  # with them come circuits
    from qjobs.backends.base import Backend
    from qjobs.experiments.circuit_list import CircuitList
    from qjobs.experiments.sweep import SweepSpec
    from qjobs.model import ItemSpec

_AER = "aer"
_SQLITE = "sqlite:///"


def _names(spec: SweepSpec | CircuitList) -> list[str]:
    from qjobs.experiments.sweep import SweepSpec

    return list(spec.backends) if isinstance(spec, SweepSpec) else [spec.backend]


@contextlib.contextmanager
def _open(names: Sequence[str]) -> Iterator[dict[str, Backend]]:
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(opened(name)) for name in names}


def plan(options: argparse.Namespace) -> int:
    """Check everything and say what would run; nothing is stored, nothing is sent."""
    from qjobs import notebook
    from qjobs.compiling.compiler import CompileCache, Compiler
    from qjobs.experiments.sweep import SweepPlan
    from qjobs.operations.batching import pack
    from qjobs.operations.compile_many import compile_many

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
                how = planned.compile_options
                compiled.update(compile_many(programs, backend.target(), how, cache, on=planned.compile_on))
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
    url = ledger_url(options.ledger)
    with contextlib.ExitStack() as stack:
        started: dict[str, Backend] = {}
        if _will_simulate(options.file, url):  # its processes import Aer while this one imports the rest
            started[_AER] = stack.enter_context(_warm_simulator())
        return _run(options, url, started)


def _will_simulate(path: Path, url: str) -> bool:
    """A guess, from the words of the file alone, whether points are to be simulated.

    A sweep that has run before is likely to find its points; if it does not, the simulator starts a little later.
    """
    import yaml

    try:
        form = {} if path.suffix in {".qasm", ".qpy"} else yaml.safe_load(path.read_text(encoding="utf-8"))
        if _AER not in form.get("backends", [form.get("backend", _AER)]):
            return False
        if ("axes" not in form and "points" not in form) or form.get("fresh"):
            return True
        if url.startswith(_SQLITE) and not Path(url.removeprefix(_SQLITE)).exists():
            return True
        with Ledger(url) as ledger:
            return not ledger.jobs(experiment=str(form["name"]), statuses=[JobStatus.COMPLETED], limit=1)
    except (QJobsError, OSError, ValueError, KeyError, AttributeError, TypeError, yaml.YAMLError):
        return False  # whoever reads the file in earnest says what is wrong with it


@contextlib.contextmanager
def _warm_simulator() -> Iterator[Backend]:
    from qjobs.backends.aer import AerBackend

    with AerBackend() as simulator:
        simulator.warm()
        yield simulator


def _run(options: argparse.Namespace, url: str, started: Mapping[str, Backend]) -> int:
    from qjobs import notebook
    from qjobs.cli.caps import with_retries
    from qjobs.reports.files import write_file

    spec = with_retries(notebook.load(options.file), options)
    others = [name for name in _names(spec) if name != _AER]  # which the library opens
    folder = options.out or data_home() / "results" / spec.name
    with _open(others) as backends:
        done = notebook.run(
            spec,
            backends={**backends, **started},
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
