"""A scheduled health check of one device, with the trend of its results.

From the command line: `python -m flows.nightly_benchmark FILE`, with a YAML file of the fields of `HealthCheck`.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run

from blocks import backend_named
from flows._support.command import run_flow
from flows._support.stages import EXPERIMENT, execute_in_flow, raise_first
from flows._support.unknown_jobs import entered_asking
from flows._support.waiting import AUTO, Waiting
from qjobs.errors import InvalidInput
from qjobs.experiments.circuit_list import CircuitListPlan, expand_circuit_list
from qjobs.experiments.health_check import HealthCheck, health_check_circuits, load_health_check, night_seed
from tasks import publish_artifacts
from tasks.artifacts import Published
from tasks.trend import publish_trend

__all__ = ["nightly_benchmark"]


@flow(
    name="nightly-benchmark",
    description="Check the health of a device with GHZ and mirror circuits, and show the trend.",
    flow_run_name="{spec.name}",
    **EXPERIMENT,
)
def nightly_benchmark(
    spec: HealthCheck,
    ledger: str = "",
    logical_run: str = "",
    cancel_remote_jobs: bool = True,
    waiting: Waiting = AUTO,
) -> Published:
    """Run the circuits of a health check as one job, score them, and publish the trend.

    A score below the threshold is a warning in the log and the event `qjobs.benchmark.below`; it does not fail
    the run. Circuits without a result fail it, after everything is published.

    Args:
        spec: The health check.
        ledger: Name of a ledger block; the default ledger if empty.
        logical_run: Id of an earlier run whose jobs are to be found again; a new logical run if empty.
        cancel_remote_jobs: Whether cancelling this run cancels the jobs it made.
        waiting: How the run waits for its jobs.
    """
    with entered_asking(ledger, logical_run):
        identity = logical_run or str(flow_run.id or "")
        seed = spec.seed if spec.seed is not None else night_seed(_start_of(identity))
        plan = expand_circuit_list(health_check_circuits(spec, seed))
        title = f"{spec.name} {backend_named(spec.backend).device}"
        done = execute_in_flow(plan, ledger=ledger, waiting=waiting, identity=identity, title=title)
        ran = done.plan
        assert isinstance(ran, CircuitListPlan)  # noqa: S101 - for the type checker
        shown = replace(ran, spec=ran.spec.model_copy(update={"name": title}))
        published = publish_artifacts(shown, done.jobs, ledger=ledger, note=f"logical run: {identity}")
        trend = publish_trend(spec, done.jobs[spec.backend], ledger=ledger)
        raise_first(done.problems)
        keys = (*trend.artifact_keys, *published.artifact_keys)
        return replace(published, lines=trend.lines, picture=trend.picture, artifact_keys=keys)


def _start_of(identity: str) -> datetime:
    """When a logical run was to start; this run's own time does not change when it is suspended or retried.

    Raises:
        InvalidInput: It is not a flow run that the server knows.
    """
    if identity == str(flow_run.id):
        return flow_run.scheduled_start_time  # type: ignore[no-any-return]
    try:
        with get_client(sync_client=True) as client:
            start = client.read_flow_run(UUID(identity)).expected_start_time
    except (ValueError, ObjectNotFound):
        start = None
    if start is None:
        raise InvalidInput(
            f"the logical run {identity!r} is no flow run of this server, so that its date is unknown; give its seed",
            field="logical_run",
        )
    return start


if __name__ == "__main__":
    sys.exit(run_flow(nightly_benchmark, lambda path: load_health_check(Path(path))))
