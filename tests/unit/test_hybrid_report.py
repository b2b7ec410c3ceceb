"""The report of a hybrid run: what its frame, its picture and its text say."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hybrid_runs import Exactly, a_spec

from qjobs.experiments.hamiltonian import ground_energy
from qjobs.experiments.hybrid import EPOCH_COLUMNS, HybridPlan, expand_hybrid
from qjobs.ledger.epochs import Epoch
from qjobs.model import JobId
from qjobs.operations.hybrid import minimise
from qjobs.reports.hybrid_report import draw_energies, epochs_frame, hybrid_lines, hybrid_markdown


@pytest.fixture(scope="module")
def done() -> tuple[HybridPlan, list[Epoch]]:
    plan = expand_hybrid(a_spec(name="small", epochs=4))
    epochs = minimise(plan, Exactly(plan), logical_run="run", record=lambda _: None).epochs
    return plan, [replace(epoch, job_ids=(JobId(f"job-{epoch.number}"),)) for epoch in epochs]


def test_frame(done: tuple[HybridPlan, list[Epoch]]) -> None:
    """A row per epoch, with its energy, the lowest so far, its jobs and its parameters; types hold without rows too."""
    plan, epochs = done
    frame = epochs_frame(plan, epochs)
    assert list(frame.columns) == [*EPOCH_COLUMNS, "theta_0000", "theta_0001"]
    assert list(frame["epoch"]) == [1, 2, 3, 4]
    assert list(frame["lowest"]) == list(np.minimum.accumulate([epoch.energy for epoch in epochs]))
    assert list(frame["theta_0001"]) == [epoch.params[1] for epoch in epochs]
    assert list(frame["jobs"]) == ["job-1", "job-2", "job-3", "job-4"]
    unknown = epochs_frame(plan, [replace(epochs[0], std_errors=(None,) * len(epochs[0].points))])
    assert math.isnan(unknown["energy_stderr"][0])
    assert dict(epochs_frame(plan, []).dtypes) == dict(frame.dtypes)


def test_picture(done: tuple[HybridPlan, list[Epoch]]) -> None:
    """There is a picture as soon as there is an epoch, with and without the exact energy."""
    plan, epochs = done
    assert draw_energies(plan, [], -1.0) is None
    pictures = [draw_energies(plan, epochs, exact) for exact in (None, -1.0)]
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    assert pictures[0] != pictures[1]


def test_words(done: tuple[HybridPlan, list[Epoch]]) -> None:
    """The result is told in sentences, beside exact diagonalisation, and in a table with a row per epoch."""
    plan, epochs = done
    exact = ground_energy(plan.hamiltonian)
    best = min(epochs, key=lambda epoch: epoch.energy)
    lines = hybrid_lines(plan, epochs, exact)
    assert lines[0] == f"lowest energy: {best.energy:.6f} in epoch {best.number} of 4"
    assert f"exact diagonalisation: {exact:.6f}" in lines[2]
    assert "too many for exact" in hybrid_lines(plan, epochs, None)[2]
    assert hybrid_lines(plan, [], exact) == ["no epoch was recorded"]
    sampled = [replace(epochs[0], std_errors=(0.5, *epochs[0].std_errors[1:]))]
    assert "± 0.500000" in hybrid_lines(plan, sampled, exact)[0]
    text = hybrid_markdown(plan, epochs, exact, "data:image/png;base64,AAAA", ["data frame: `f`"])
    assert "![energy of every epoch](data:image/png;base64,AAAA)" in text
    assert len([line for line in text.splitlines() if "| job-" in line]) == 4
    assert "2 terms on 1 qubits, measured in 1 bases" in text
    assert "- data frame: `f`" in text


def test_long_runs(done: tuple[HybridPlan, list[Epoch]]) -> None:
    """The table of a long run has its last 200 epochs, and says so."""
    plan, epochs = done
    many = [replace(epochs[0], number=number) for number in range(1, 302)]
    text = hybrid_markdown(plan, many, None, None, [])
    assert "The last 200 of 301 epochs" in text
    assert len([line for line in text.splitlines() if "| job-" in line]) == 200
