"""For people in a notebook: run an experiment from its file or form, and look at jobs. The command uses the same."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qjobs.backends.base import Backend, Capability
from qjobs.backends.opening import opened as opened_by_name
from qjobs.compiling.compiler import CompileCache
from qjobs.errors import InvalidInput
from qjobs.experiments.circuit_list import CircuitList, CircuitListPlan, expand_circuit_list, load_circuit_list
from qjobs.experiments.forms import naming_lines, read_mapping
from qjobs.experiments.sweep import SweepPlan, SweepSpec, expand_sweep, load_sweep
from qjobs.ledger import Ledger
from qjobs.model import JobId, RemoteRetryStrategy
from qjobs.operations.approval import Ask, approval_of, nobody
from qjobs.operations.execute import DirectStages, execute
from qjobs.operations.plan import end_interruption, interrupted_run
from qjobs.operations.poll import utc_now
from qjobs.operations.wait import Progress
from qjobs.paths import data_home
from qjobs.reports.provenance import jobs_table
from qjobs.reports.run_report import RunReport
from qjobs.results.save import save_run
from qjobs.results.store import Results, SavedRun

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Run", "expand", "jobs", "load", "run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What `run` did.

    `report` has the data frame, the picture and the best points; `saved` says where they are kept; `jobs` are job ids
    by backend; `problems` says what went wrong, by job; `summaries` has a sentence a backend.
    """

    run_id: str
    report: RunReport
    saved: SavedRun
    jobs: Mapping[str, tuple[JobId, ...]]
    problems: Mapping[JobId, Exception]
    summaries: tuple[str, ...]


def load(path: Path) -> SweepSpec | CircuitList:
    """Read a sweep or a circuit list from a YAML or JSON file; a circuit file (.qasm, .qpy) is a list of one.

    Raises:
        InvalidInput: The file cannot be read, or is neither.
    """
    if path.suffix in {".qasm", ".qpy"} or "circuits" in read_mapping(path):
        return load_circuit_list(path)
    return load_sweep(path)


def expand(spec: SweepSpec | CircuitList) -> SweepPlan | CircuitListPlan:
    """Read and check the circuits of an experiment, and work out all that it runs."""
    return expand_sweep(spec) if isinstance(spec, SweepSpec) else expand_circuit_list(spec)


def run(
    experiment: SweepSpec | CircuitList | str | Path,
    *,
    backends: Mapping[str, Backend] | None = None,
    ledger: str | None = None,
    run_id: str = "",
    new: bool = False,
    results: str | Path | None = None,
    say: Callable[[str], object] = print,
    report: Callable[[Progress], None] = lambda _: None,
    ask: Ask = nobody,
) -> Run:
    """Run an experiment in this process and wait for it.

    What the ledger has of a sweep is not run again. A run of the same experiment that was interrupted goes on where it
    was, and so does the one that `run_id` names.

    Args:
        experiment: A sweep, a circuit list, or the path of a file with one.
        backends: Open adapters by the names that the experiment gives them; `aer` and `aer/NOISE` are opened here if
            they are not among them.
        ledger: URL of the ledger; the default ledger if None.
        run_id: Name of the logical run; if empty the one that was interrupted, else a new one.
        new: Run anew, whatever was interrupted.
        results: Where results are kept, a folder or a URL; QJOBS_RESULTS or the home if None.
        say: Called with a line for people, where a run is gone on with.
        report: Called with the progress of each wait.
        ask: Called where a person must approve it (`qjobs.operations.approval`), before anything is sent.

    Raises:
        NotApproved: There is nobody to ask, or it was refused; nothing was sent.
        InvalidInput: It cannot be run, names a backend that is not given, or results cannot be kept there.
    """
    Results(results)  # refused before anything is sent
    if isinstance(experiment, str | Path):
        spec = load(Path(experiment))
        with naming_lines(Path(experiment)):
            plan = expand(spec)
    else:
        spec = experiment
        plan = expand(spec)
    names = list(spec.backends) if isinstance(spec, SweepSpec) else [spec.backend]
    with contextlib.ExitStack() as stack:
        opened = dict(backends or {})
        simulated = [name for name in names if name not in opened and name.partition("/")[0] == "aer"]
        if missing := [name for name in names if name not in opened and name not in simulated]:
            raise InvalidInput(
                f"{', '.join(missing)} is not open here, only {', '.join(['aer', *opened])}; give it as "
                "backends={NAME: ADAPTER}, or use the command: qjobs run FILE",
                field="backends",
            )
        for name in simulated:
            opened[name] = stack.enter_context(opened_by_name(name))
        store = stack.enter_context(Ledger(ledger))
        began = utc_now()
        interrupted = None if new or run_id else interrupted_run(store, plan)
        run_id = interrupted or run_id or f"run-{uuid.uuid4().hex[:12]}"
        entry = run_id
        if interrupted is not None:
            say(f"going on with the run {interrupted} that was interrupted; --new (in Python new=True) runs anew")
            if not any(Capability.DURABLE in opened[name].capabilities for name in names):
                plan = _with_what_died(plan)
                entry = f"run-{uuid.uuid4().hex[:12]}"
        cache = CompileCache(data_home() / "compiled")
        stages = DirectStages(store, opened, cache, report)
        with store.waits.attended(entry):
            approval = approval_of(store, plan, stages.backend, cache, ask, logical_run=run_id)
            done = execute(store, approval.plan, stages, run=entry, identity=run_id, approval=approval)
            saved = save_run(store, done.plan, done.jobs, opened, where=results)
        if interrupted is not None:
            end_interruption(store, interrupted, before=began)
        return Run(
            run_id=run_id,
            report=saved.report,
            saved=saved.run,
            jobs=done.jobs,
            problems=done.problems,
            summaries=done.summaries,
        )


def _with_what_died(plan: SweepPlan | CircuitListPlan) -> SweepPlan | CircuitListPlan:
    """The same experiment, which runs again what ended with the process that simulated it; that costs nothing."""
    if plan.spec.retries.strategy is not RemoteRetryStrategy.DEFAULT:
        return plan
    retries = plan.spec.retries.model_copy(update={"strategy": RemoteRetryStrategy.FORCE_RESUBMIT})
    if isinstance(plan, SweepPlan):
        return replace(plan, spec=plan.spec.model_copy(update={"retries": retries}))
    return replace(plan, spec=plan.spec.model_copy(update={"retries": retries}))


def jobs(*, ledger: str | None = None, limit: int = 50, **filters: Any) -> pd.DataFrame:
    """The newest jobs of a ledger, one row each: name, device, status, items, results, times, cost, job id.

    Args:
        ledger: URL of the ledger; the default ledger if None.
        limit: At most so many.
        filters: As `Ledger.jobs` takes them: `experiment`, `run`, `backend`, `device`, `kind`, `statuses`.
    """
    import pandas as pd

    with Ledger(ledger) as store:
        found: Sequence[JobId] = [job.job_id for job in store.jobs(limit=limit, **filters)]
        return pd.DataFrame(jobs_table(store, found))
