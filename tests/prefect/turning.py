"""A registered program that speaks to its backend as those of Divi do, without Divi: it turns one qubit, step by step.

The angle of a step follows from the counts of the one before, so that a program that is entered again asks for the same
circuits only if it is answered the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

TURN = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; creg c[1]; ry({angle:.12f}) q[0]; measure q -> c;'


class Turning:
    def __init__(self, backend: Any, seed: int, steps: int) -> None:
        self.backend, self.steps = backend, steps
        self.rng = np.random.default_rng(seed)
        self.min_losses_per_iteration: list[float] = []
        self.best_params: list[float] = []
        self.total_circuit_count = 0

    @property
    def best_loss(self) -> float:
        return min(self.min_losses_per_iteration)

    def run(self) -> None:
        angle = float(self.rng.uniform(0, 1))
        for _ in range(self.steps):
            handle = self.backend.submit_circuits({"turn": TURN.format(angle=angle)})
            self.backend.poll_job_status(handle, loop_until_complete=True)
            (entry,) = self.backend.get_job_results(handle).results
            counts = entry["results"]
            loss = (counts.get("0", 0) - counts.get("1", 0)) / sum(counts.values())
            self.min_losses_per_iteration.append(loss)
            self.best_params = [angle]
            self.total_circuit_count += 1
            angle += 1 + loss


def make(backend: Any, seed: int, steps: int = 2) -> Turning:
    if steps < 1:
        raise ValueError("steps must be 1 or more")
    return Turning(backend, seed, steps)


def install(folder: Path) -> list[Path]:
    """The metadata of this as a package in a folder; what is to be put on the path."""
    metadata = folder / "turning-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: turning\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[qjobs.divi_programs]\nturning = turning:make\n")
    return [folder, Path(__file__).parent]
