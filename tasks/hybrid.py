"""The last stage of a hybrid run: its curve, its table and its files, made from the ledger alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import task

from blocks import backend_named, ledger_named
from qjobs.backends.base import Backend
from qjobs.experiments.hamiltonian import ground_energy
from qjobs.experiments.hybrid import HybridPlan
from qjobs.ledger import Ledger
from qjobs.model import JobId
from qjobs.reports.hybrid_report import draw_energies, epochs_frame, hybrid_lines, hybrid_markdown
from qjobs.results.save import origin, save_frame
from tasks.artifacts import Published, data_address, files_of, published, show
from tasks.logs import task_logger
from tasks.retrying import READS


@task(
    name="publish-hybrid",
    description="Write the epochs and the energy curve, and show report, jobs and provenance in the UI.",
    task_run_name="publish {plan.spec.name}",
    timeout_seconds=3600,
    **READS,
)
def publish_hybrid(plan: HybridPlan, logical_run: str, *, ledger: str = "") -> Published:
    """Save the epochs of a logical run and make its artifacts; a second call saves them anew.

    Raises:
        StorageFull: A file cannot be written; the epochs are in the ledger.
    """
    store = ledger_named(ledger)
    name = plan.spec.name
    epochs = store.epochs.of_run(logical_run)
    exact = ground_energy(plan.hamiltonian)
    job_ids = list(dict.fromkeys(job_id for epoch in epochs for job_id in epoch.job_ids))
    lines = hybrid_lines(plan, epochs, exact)
    picture = draw_energies(plan, epochs, exact)
    jobs, backends = {plan.spec.backend: job_ids}, {plan.spec.backend: backend_named(plan.spec.backend)}
    record = _origin(store, plan, jobs, backends, logical_run)
    saved = save_frame(name, plan.definition, epochs_frame(plan, epochs), picture, record, lines)
    files = files_of(saved, f"logical run: {logical_run}")
    report = hybrid_markdown(plan, epochs, exact, data_address(picture), files)
    keys = show(store, saved, jobs, backends, report)
    task_logger().info("wrote %s", saved.file)
    return published(saved, keys)


def _origin(
    store: Ledger,
    plan: HybridPlan,
    jobs: Mapping[str, Sequence[JobId]],
    backends: Mapping[str, Backend],
    logical_run: str,
) -> dict[str, Any]:
    return origin(
        store,
        "hybrid",
        plan.spec,
        plan.definition,
        jobs,
        backends,
        key=["epoch"],
        parameters=plan.circuit.parameters,
        logical_run=logical_run,
    )
