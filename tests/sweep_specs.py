"""Sweeps of a small circuit, and the words with which others are refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from qjobs.errors import InvalidInput
from qjobs.experiments.forms import explain
from qjobs.experiments.sweep import SweepPlan, SweepSpec, expand_sweep

QASM = """OPENQASM 3.0;
include "stdgates.inc";
input float[64] a;
input float[64] b;
qubit[2] q;
bit[2] c;
rx(a) q[0];
ry(b) q[1];
cx q[0], q[1];
c = measure q;
"""
UNMEASURED = QASM.replace("c = measure q;\n", "")
A = {"name": "a", "values": [0.1, 0.2, 0.3]}
B = {"name": "b", "values": [1.0, 2.0]}


def spec(**values: Any) -> SweepSpec:
    """A sweep of two axes with 3 and 2 values."""
    given = {"name": "s", "circuit": {"openqasm": QASM}, "axes": [A, B]}
    return SweepSpec.model_validate({**given, **values})


def rows(plan: SweepPlan) -> list[tuple[float, ...]]:
    """Parameters of every point."""
    return [tuple(value for _, value in point.parameters) for point in plan.points]


def ids(plan: SweepPlan) -> list[str]:
    """Ids of every point."""
    return [point.point_id for point in plan.points]


def refused(**values: Any) -> str:
    """Why the form is refused."""
    with pytest.raises(ValidationError) as caught:
        spec(**values)
    return str(explain(caught.value, "s"))


def unusable(**values: Any) -> str:
    """Why the sweep cannot be worked out."""
    with pytest.raises(InvalidInput) as caught:
        expand_sweep(spec(**values))
    return str(caught.value)
