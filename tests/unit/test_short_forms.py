"""Short forms: the sweeps that they make, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from qjobs.errors import InvalidInput
from qjobs.experiments.short_forms import BuilderForm, QaoaForm, SweepFile
from qjobs.experiments.sweep import expand_sweep, load_sweep
from qjobs.model import RemoteRetryStrategy

ROOT = Path(__file__).parents[2]


def test_qaoa() -> None:
    """The landscape has the points, the graph and the exact values of its form."""
    spec = QaoaForm(graph="0-1, 1-2,2-0", gamma_points=3, beta_points=2, shots=7, strategy="FORCE_RESUBMIT").sweep()
    plan = expand_sweep(spec)
    assert (len(plan.points), plan.source.n_qubits, spec.shots) == (6, 3, 7)
    assert plan.objective is not None
    assert plan.objective.best_possible == 2.0
    assert plan.objective.reference is not None
    assert spec.retries.strategy is RemoteRetryStrategy.FORCE_RESUBMIT


@pytest.mark.parametrize("graph", ["", "0-1,", "0", "0-0", "0-1, 1-0", "a-b", "0-1-2", "-1-2"])
def test_no_graph(graph: str) -> None:
    """A text that is no simple graph is refused."""
    with pytest.raises(ValidationError, match="graph"):
        QaoaForm(graph=graph)


def test_builder() -> None:
    """A builder's arguments are swept, and observables are measured where they are given."""
    assert expand_sweep(BuilderForm().sweep()).objective is None
    plan = expand_sweep(BuilderForm(observables=["Z0 Z1"]).sweep())
    assert [circuit.source.n_qubits for circuit in plan.circuits] == [2, 3, 4, 5]
    assert [each.name for each in plan.observables] == ["Z0 Z1"]


def test_file() -> None:
    """The file's sweep is run, and what the form says stands in place of what the file says."""
    found = load_sweep(ROOT / "examples/rabi/sweep.yaml")
    assert SweepFile(file="examples/rabi/sweep.yaml").sweep(ROOT) == found
    changed = SweepFile(backends=["nexus/H1-1E"], shots=9, strategy="ALLOW_RESUBMIT").sweep(ROOT)
    assert (changed.backends, changed.shots, changed.retries.strategy) == (["nexus/H1-1E"], 9, "ALLOW_RESUBMIT")
    assert changed.axes == found.axes


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "not there": ({"file": "nowhere.yaml"}, "nowhere.yaml"),
    "outside": ({"file": "../sweep.yaml"}, "not in the folder of the project"),
    "elsewhere": ({"file": "/etc/hostname"}, "not in the folder of the project"),
    "no sweep": ({"file": "examples/bell/circuits.yaml"}, "circuit"),
    "backend twice": ({"backends": ["aer", "aer"]}, "named twice"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file(case: str) -> None:
    """A file that is not there, not in the project or no sweep is refused, and so are values that do not fit it."""
    given, words = BAD[case]
    with pytest.raises((InvalidInput, ValidationError), match=words):
        SweepFile(**given).sweep(ROOT)
