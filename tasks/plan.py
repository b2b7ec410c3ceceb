"""What a run that only plans shows."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext

from blocks import backend_named, compile_cache, ledger_named
from qjobs.experiments.circuit_list import CircuitListPlan
from qjobs.experiments.sweep import SweepPlan
from qjobs.operations.check import Checked, check
from qjobs.reports.files import artifact_key
from qjobs.reports.markdown import plain
from qjobs.reports.plan_report import device_rows, plan_markdown
from tasks.logs import task_logger
from tasks.retrying import READS


@task(
    name="publish-plan",
    description="Work out what would run, what it would cost and how long it would wait; sends nothing.",
    task_run_name="plan {plan.spec.name}",
    timeout_seconds=3600,
    **READS,
)
def publish_plan(plan: SweepPlan | CircuitListPlan, *, ledger: str = "", logical_run: str = "") -> Checked:
    """Make the artifact of a plan. `logical_run` is the run that would be gone on with, where there is one.

    Raises:
        InvalidInput: It cannot be run.
        BackendUnavailable, ProtocolError: A device cannot be read; Prefect runs the task again.
    """
    names = list(plan.spec.backends) if isinstance(plan, SweepPlan) else [plan.spec.backend]
    backends = {name: backend_named(name) for name in names}
    found = check(plan, backends, compile_cache(), ledger_named(ledger), logical_run=logical_run)
    for words, *cells in device_rows(found.devices)[1:]:
        task_logger().info("%s: %s", words, "; ".join(cells))
    if FlowRunContext.get() is not None:
        key = artifact_key(plan.spec.name, "plan")
        create_markdown_artifact(plan_markdown(plan, found), key=key, description=f"Plan of {plain(plan.spec.name)}")
    return found
