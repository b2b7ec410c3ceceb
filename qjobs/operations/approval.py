"""Approval: what would cost more than a threshold is asked of a person before anything of it is sent.

The threshold is `approve_above` of the experiment, and QJOBS_APPROVE_ABOVE for all that this home runs; what is above
either of them is asked. A cost that nobody can tell is above every threshold. The decision becomes an event of every
job that it is about.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from qjobs.backends.base import Backend
from qjobs.compiling.compiler import CompileCache
from qjobs.errors import InvalidInput, NotApproved
from qjobs.experiments.amounts import Amount
from qjobs.experiments.circuit_list import CircuitListPlan, expand_circuit_list
from qjobs.experiments.sweep import SweepPlan, expand_sweep
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId
from qjobs.operations.check import APPROVED, Checked, check
from qjobs.operations.plan import ExperimentPlan
from qjobs.operations.poll import utc_now

__all__ = ["SETTING", "Approval", "Ask", "Decision", "Question", "Verdict", "approval_of", "nobody", "record_decision"]

logger = logging.getLogger(__name__)

SETTING = "QJOBS_APPROVE_ABOVE"
_REFUSED = "refused"


class Verdict(StrEnum):
    """What a person says."""

    APPROVE = "approve"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a person has decided: `by` is who, `through` where they were asked.

    With `shots` they approve the experiment with so many shots.
    """

    verdict: Verdict
    by: str
    through: str
    shots: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked: may this be sent? `found` says what, and `why` that it costs more than a threshold.

    `key` stands for what would be sent and for its estimate: where either is another, so is the key. `shots` are those
    that a change would begin with.
    """

    plan: ExperimentPlan
    found: Checked
    why: str
    key: str
    shots: int


Ask = Callable[[Question], Decision]
"""Asks a person; it may end the process, and is called again with the same question when the run is entered again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """The experiment that may be sent, its shots changed where that was decided; no decision where none was needed."""

    plan: ExperimentPlan
    decision: Decision | None = None
    why: str = ""


def nobody(question: Question) -> Decision:
    """Ask nobody.

    Raises:
        NotApproved: Always.
    """
    raise NotApproved(
        f"{question.plan.spec.name}: {question.why}, and there is nobody here to ask; nothing was sent. Run it at a "
        "terminal with: qjobs run FILE; say yes beforehand with: qjobs run FILE --yes; or start it from a deployment, "
        "which asks in Prefect's form"
    )


def approval_of(
    ledger: Ledger,
    plan: ExperimentPlan,
    open_backend: Callable[[str], Backend],
    cache: CompileCache,
    ask: Ask,
    *,
    logical_run: str,
) -> Approval:
    """Ask whether an experiment may be sent, where it would cost more than a threshold.

    What the ledger has of it, and jobs that were approved before, cost nothing more. Where the shots are changed so
    that it would cost more than what was shown, it is asked again.

    Raises:
        InvalidInput: It cannot be run, or a threshold cannot be used.
        NotApproved: There is nobody to ask.
    """
    limits = _thresholds(plan)
    if not limits:
        return Approval(plan=plan)
    names = list(plan.spec.backends) if isinstance(plan, SweepPlan) else [plan.spec.backend]
    backends = {name: open_backend(name) for name in names}
    while True:
        found = check(plan, backends, cache, ledger, logical_run=logical_run, with_approved=False)
        why = _why(found, limits)
        if not why:
            return Approval(plan=plan)
        key = _key(plan, found)
        decision = ask(Question(plan=plan, found=found, why=why, key=key, shots=plan.spec.shots))
        logger.info("%s: %s was decided by %s: %s", plan.spec.name, decision.verdict, decision.by, why)
        if decision.verdict is Verdict.REFUSE or decision.shots in {None, plan.spec.shots}:
            return Approval(plan=plan, decision=decision, why=why)
        why = f"{why}; the shots were changed from {plan.spec.shots} to {decision.shots}"
        plan = _with_shots(plan, decision.shots or 1)
        changed = check(plan, backends, cache, ledger, logical_run=logical_run, with_approved=False)
        if _costs_no_more(changed, found):
            return Approval(plan=plan, decision=decision, why=why)


def record_decision(ledger: Ledger, approval: Approval, *, new: Sequence[JobId], to_send: Sequence[JobId]) -> None:
    """Write a decision into the history of its jobs, before any is sent: those `to_send`, of which a run made `new`.

    A refusal cancels the new ones, none of which was sent.

    Raises:
        NotApproved: It was refused.
    """
    decision = approval.decision
    if decision is None:
        return
    present = utc_now()
    words = f"by {decision.by}, {decision.through}: {approval.why}"
    if decision.verdict is Verdict.APPROVE:
        noted = ledger.jobs_with_event(to_send, APPROVED, words)
        ledger.record_events([job_id for job_id in to_send if job_id not in noted], APPROVED, words, now=present)
        return
    unsent = [job.job_id for job in ledger.jobs(job_ids=new, statuses=[JobStatus.CREATED])]
    ledger.record_events(unsent, _REFUSED, words, now=present)
    for job_id in unsent:
        ledger.request_cancel(job_id, now=present)
    raise NotApproved(f"{approval.plan.spec.name} was refused {words}; nothing was sent")


def _thresholds(plan: ExperimentPlan) -> list[tuple[str, Amount]]:
    """The thresholds that hold, by the name of where they stand."""
    found = []
    if plan.spec.approve_above is not None:
        found.append(("approve_above", Amount.read(plan.spec.approve_above)))
    if setting := os.environ.get(SETTING):
        try:
            found.append((SETTING, Amount.read(setting)))
        except ValueError as error:
            raise InvalidInput(f"{SETTING}={setting} cannot be used: {error}", field=SETTING) from error
    return found


def _why(found: Checked, limits: Sequence[tuple[str, Amount]]) -> str:
    """Why it must be asked; empty where all is below every threshold.

    Raises:
        InvalidInput: A threshold of the experiment has another unit than a device.
    """
    costs: dict[str, float] = defaultdict(float)
    for each in found.devices:
        unit = each.outlook.pricing.unit
        for name, limit in limits:
            if limit.unit and unit and limit.unit != unit and name != SETTING:
                raise InvalidInput(
                    f"{name} is in {limit.unit}, and {each.name} is paid for in {unit}; give the amount in {unit}, or "
                    "without a unit",
                    field=name,
                )
        if each.cost is None:
            for name, limit in limits:
                if not limit.unit or limit.unit == unit or not unit:
                    return f"nobody can tell what it would cost on {each.name}, and {name} is {limit}"
            continue
        costs[unit] += each.cost
    for name, limit in limits:
        for unit, cost in costs.items():
            if cost > limit.value and limit.unit in {"", unit}:
                return f"it would cost {Amount(value=cost, unit=unit)}, and {name} is {limit}"
    return ""


def _key(plan: ExperimentPlan, found: Checked) -> str:
    """What stands for a plan and its estimate."""
    told: list[object] = [plan.definition, sorted(plan.labels())]
    for each in found.devices:
        told.append([each.name, each.device, each.reused, each.jobs, each.shots, each.size_bytes, each.cost])
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _costs_no_more(changed: Checked, found: Checked) -> bool:
    """Whether it costs at most what was shown, on every device."""
    for new, old in zip(changed.devices, found.devices, strict=True):
        if new.cost is None or old.cost is None:
            if new.shots > old.shots:
                return False
        elif new.cost > old.cost:
            return False
    return True


def _with_shots(plan: ExperimentPlan, shots: int) -> ExperimentPlan:
    """The same experiment with another number of shots, for every circuit of a list too."""
    if isinstance(plan, CircuitListPlan):
        entries = [entry.model_copy(update={"shots": None}) for entry in plan.spec.circuits]
        return expand_circuit_list(plan.spec.model_copy(update={"shots": shots, "circuits": entries}))
    changed = expand_sweep(plan.spec.model_copy(update={"shots": shots}))
    return replace(changed, job_name=plan.job_name)
