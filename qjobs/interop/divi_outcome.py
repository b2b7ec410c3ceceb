"""What a program of Divi came to, in values of ours."""

from __future__ import annotations

from typing import Any

import numpy as np

from qjobs.reports.program_report import ProgramOutcome

__all__ = ["outcome_of"]


def outcome_of(program: Any) -> ProgramOutcome:
    """Read what a program that has run tells of itself; what it lacks is left empty."""
    best = getattr(program, "best_loss", None)
    circuits = getattr(program, "total_circuit_count", None)
    return ProgramOutcome(
        losses=_floats(getattr(program, "min_losses_per_iteration", ())),
        best_loss=None if best is None else float(best),
        best_params=_floats(getattr(program, "best_params", ())),
        n_circuits=None if circuits is None else int(circuits),
        solution=_solution(program),
    )


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in np.asarray(values, dtype=float).ravel())


def _solution(program: Any) -> str:
    try:
        found = getattr(program, "solution", None)
    except RuntimeError:  # of a program that decodes none
        return ""
    return "" if found is None else str(found)
