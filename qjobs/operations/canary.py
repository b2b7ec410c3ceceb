"""Canary: the first circuits of a sweep are sent alone and judged, and only then the others.

They are points of the sweep as any other: their results are kept and reused.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from qjobs.errors import CanaryFailed
from qjobs.experiments.canary_rules import Tried, load_rule
from qjobs.experiments.sweep import SweepPlan
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId
from qjobs.operations.plan import ExperimentPlan
from qjobs.operations.poll import utc_now

__all__ = ["canary_labels", "judge", "unsent"]

logger = logging.getLogger(__name__)

_FAILED = "canary failed"
_MOST_TOLD = 3


def canary_labels(plan: ExperimentPlan) -> list[str]:
    """The labels of the circuits that are sent alone; none where nobody asked for it."""
    if not isinstance(plan, SweepPlan) or plan.spec.canary is None:
        return []
    return plan.labels()[: plan.spec.canary.circuits]


def unsent(ledger: Ledger, job_ids: Sequence[JobId]) -> list[JobId]:
    """Those of some jobs that were never sent."""
    return [job.job_id for job in ledger.jobs(job_ids=job_ids, statuses=[JobStatus.CREATED])]


def judge(
    ledger: Ledger, plan: SweepPlan, tried: Mapping[str, Mapping[str, JobId]], *, others: Sequence[JobId]
) -> None:
    """Judge the first circuits of a sweep on every backend: they have results, which the rule finds sane.

    Where one is not, the `others` that were never sent are cancelled.

    Args:
        ledger: Where the results are.
        plan: The sweep, which has a canary.
        tried: The job of each of the first circuits, by backend and label.
        others: The jobs of the other circuits.

    Raises:
        CanaryFailed: One of them has no result, or none that is sane.
    """
    found = [f"{name}: {words}" for name, jobs in tried.items() for words in _wrong(ledger, plan, jobs)]
    if not found:
        logger.info("%s: the first circuits are sane; the others are sent", plan.spec.name)
        return
    more = f", and {len(found) - _MOST_TOLD} more" if len(found) > _MOST_TOLD else ""
    words = "; ".join(found[:_MOST_TOLD]) + more
    kept = unsent(ledger, others)
    present = utc_now()
    ledger.record_events(kept, _FAILED, words, now=present)
    for job_id in kept:
        ledger.request_cancel(job_id, now=present)
    raise CanaryFailed(
        f"the first circuits of {plan.spec.name} are not sane, and the others were not sent ({len(kept)} jobs): "
        f"{words}. Mend the circuits or the rule, and run it again; what has results is reused"
    )


def _wrong(ledger: Ledger, plan: SweepPlan, jobs: Mapping[str, JobId]) -> list[str]:
    """What is wrong with the first circuits on one backend."""
    assert plan.spec.canary is not None  # noqa: S101 - for the type checker
    rule = load_rule(plan.spec.canary.rule, plan.spec.canary.arguments)
    found = []
    for job_id in dict.fromkeys(jobs.values()):
        results = ledger.results(job_id)
        for item in ledger.items(job_id):
            if jobs.get(item.label) != job_id:
                continue
            result = results.get(item.index)
            if result is None:
                found.append(f"{item.label} has no result ({item.message or item.status})")
                continue
            parameters = dict(item.parameters)
            words = rule(Tried(label=item.label, shots=item.shots, parameters=parameters, result=result))
            if words:
                found.append(f"{item.label}: {words}")
    return found
