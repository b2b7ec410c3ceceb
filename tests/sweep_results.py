"""Sweeps of one qubit with made-up results, for what is shown of results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from support import NOW, at

from qjobs.experiments.objectives import Objective
from qjobs.experiments.sweep import SweepPlan, SweepSpec, expand_sweep
from qjobs.lifecycle import JobStatus
from qjobs.model import ExecuteOptions, Item, ItemResult, Job, JobId, JobKind, Key, ProgramHash
from qjobs.reports.frames import Found, sweep_frame

QASM = """OPENQASM 3.0;
include "stdgates.inc";
input float[64] a;
input float[64] b;
qubit[1] q;
bit[1] c;
rx(a) q[0];
rz(b) q[0];
c = measure q;
"""
X = {"name": "a", "values": [0.1, 0.2, 0.3]}
Y = {"name": "b", "values": [1.0, 2.0]}
Z = [{"name": "z", "terms": "Z0"}]


def plan_of(**values: Any) -> SweepPlan:
    """A sweep of 3 x 2 points with 100 shots each."""
    given = {"name": "s", "circuit": {"openqasm": QASM}, "axes": [X, Y], "shots": 100}
    return expand_sweep(SweepSpec.model_validate({**given, **values}))


def a_job(backend: str = "aer", **values: Any) -> Job:
    """A completed job."""
    fields: dict[str, Any] = {
        "job_id": JobId(f"job-{backend}"),
        "key": Key("key"),
        "kind": JobKind.EXECUTE,
        "backend": backend,
        "device": f"{backend}-device",
        "name": "s",
        "experiment": "s",
        "run": "run",
        "logical_run": "run",
        "project": "",
        "owner": "",
        "status": JobStatus.COMPLETED,
        "message": "",
        "epoch": 1,
        "n_items": 1,
        "options": ExecuteOptions(),
        "properties": {},
        "opened_as": "fake",
        "fingerprint": "",
        "definition": "",
        "compiled_with": "",
        "cost_estimate": None,
        "cost": None,
        "cancel_requested_at": None,
        "next_poll_at": None,
        "trouble": None,
        "created_at": NOW,
        "finished_at": NOW,
    }
    return Job(**{**fields, **values})


def an_item(label: str, **values: Any) -> Item:
    """A completed item."""
    fields: dict[str, Any] = {
        "job_id": JobId("job"),
        "index": 0,
        "label": label,
        "program": ProgramHash("p" * 64),
        "source": None,
        "parameters": (),
        "shots": 100,
        "status": JobStatus.COMPLETED,
        "queue_position": None,
        "message": "",
        "error_detail": None,
        "cost": None,
        "cancel_requested_at": None,
        "no_result": None,
        "times": {JobStatus.SUBMITTED: at(1), JobStatus.COMPLETED: at(5)},
    }
    return Item(**{**fields, **values})


FAILED = {"status": JobStatus.ERROR, "times": {JobStatus.SUBMITTED: at(1)}}
Made = dict[tuple[str, str], Found]


def all_found(plan: SweepPlan, result: Callable[[int], ItemResult | None], **values: Any) -> Made:
    """One item per label and backend; `result` gives the n-th item's result."""
    found: Made = {}
    for backend in plan.spec.backends:
        for n, label in enumerate(plan.labels()):
            one = result(n)
            found[backend, label] = Found(
                job=a_job(backend), item=an_item(label, **(values if one else FAILED)), result=one
            )
    return found


def counted(n: int) -> ItemResult:
    """<Z> = 1 - n/5 from 100 shots."""
    return ItemResult(counts={word: k for word, k in (("0", 100 - 10 * n), ("1", 10 * n)) if k})


def frame_of(plan: SweepPlan, values: list[float], errors: list[float] | float = 0.1) -> pd.DataFrame:
    """A frame with these values of the objective."""
    frame = sweep_frame(plan, {})
    assert plan.objective is not None
    frame[plan.objective.name] = values
    frame[f"{plan.objective.name}_stderr"] = errors
    return frame


def with_goal(goal: str, **values: Any) -> SweepPlan:
    """The sweep with <Z> as its objective."""
    return plan_of(observables=Z, objective={"name": "z", "goal": goal}, **values)


def with_reference(plan: SweepPlan, **values: Any) -> SweepPlan:
    """The sweep with the value of `a` as the exact value of its objective."""
    objective = Objective(name="z", observable="Z0", reference=lambda point: point["a"], **values)
    object.__setattr__(plan, "objective", objective)
    return plan
