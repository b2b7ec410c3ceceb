"""The report of a hybrid run: its data frame, the curve of its energy, and the table of its convergence."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qjobs.experiments.hybrid import HybridPlan
from qjobs.ledger.epochs import Epoch
from qjobs.reports.markdown import picture, plain, table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["draw_energies", "epochs_frame", "hybrid_lines", "hybrid_markdown"]

_DPI = 110
_MOST_ROWS = 200


def epochs_frame(plan: HybridPlan, epochs: Sequence[Epoch]) -> pd.DataFrame:
    """One row per epoch, in order.

    Columns: epoch (from 1), energy and its standard error energy_stderr (0 where it is exact, NaN where it is not
    known), in the unit of the Hamiltonian; lowest, the lowest energy so far; points, how many were evaluated; jobs,
    their ids joined by commas; recorded_at; and one per parameter, in radians.
    """
    import pandas as pd

    lowest = [min(epoch.energy for epoch in epochs[: number + 1]) for number in range(len(epochs))]
    columns: dict[str, pd.Series] = {
        "epoch": pd.Series([epoch.number for epoch in epochs], dtype="int64"),
        "energy": pd.Series([epoch.energy for epoch in epochs], dtype="float64"),
        "energy_stderr": pd.Series([epoch.std_error for epoch in epochs], dtype="float64"),
        "lowest": pd.Series(lowest, dtype="float64"),
        "points": pd.Series([len(epoch.points) for epoch in epochs], dtype="int64"),
        "jobs": pd.Series([",".join(epoch.job_ids) for epoch in epochs], dtype="str"),
        "recorded_at": pd.Series([epoch.at for epoch in epochs], dtype="datetime64[us, UTC]"),
    }
    for index, name in enumerate(plan.circuit.parameters):
        columns[name] = pd.Series([epoch.params[index] for epoch in epochs], dtype="float64")
    return pd.DataFrame(columns)


def draw_energies(plan: HybridPlan, epochs: Sequence[Epoch], exact: float | None) -> bytes | None:
    """The energy of every epoch with its standard error, and the exact lowest energy as a line; PNG.

    None where there is no epoch.
    """
    if not epochs:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.6), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    numbers = [epoch.number for epoch in epochs]
    errors = [epoch.std_error or 0.0 for epoch in epochs]
    axes.errorbar(numbers, [epoch.energy for epoch in epochs], yerr=errors, fmt=".-", capsize=2, label="measured")
    if exact is not None:
        axes.axhline(exact, color="black", linestyle="--", linewidth=1, label="exact diagonalisation")
    axes.set_xlabel("epoch")
    axes.set_ylabel("energy (unit of the Hamiltonian)")
    axes.set_title(f"{plan.spec.name} on {plan.spec.backend}: {plan.spec.optimiser.kind}, {plan.spec.ansatz.kind}")
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def hybrid_lines(plan: HybridPlan, epochs: Sequence[Epoch], exact: float | None) -> list[str]:
    """The result in sentences."""
    if not epochs:
        return ["no epoch was recorded"]
    best = min(epochs, key=lambda epoch: epoch.energy)
    lines = [
        f"lowest energy: {_energy(best)} in epoch {best.number} of {len(epochs)}",
        f"last energy:   {_energy(epochs[-1])}",
    ]
    if exact is not None:
        off = best.energy - exact
        lines.append(f"exact diagonalisation: {exact:.6f}; the lowest energy is {off:+.6f} from it")
    else:
        lines.append(f"{plan.hamiltonian.n_qubits} qubits are too many for exact diagonalisation here")
    return lines


def _energy(epoch: Epoch) -> str:
    if epoch.std_error == 0:
        return f"{epoch.energy:.6f}"
    error = "an unknown error" if epoch.std_error is None else f"{epoch.std_error:.6f}"
    return f"{epoch.energy:.6f} ± {error}"


def hybrid_markdown(
    plan: HybridPlan, epochs: Sequence[Epoch], exact: float | None, image: str | None, files: Sequence[str]
) -> str:
    """The report: the result, the curve at the address `image`, how it was made, and the table of convergence."""
    spec = plan.spec
    first, *others = hybrid_lines(plan, epochs, exact)
    parts = [f"# {plain(spec.name)}", "", f"**{plain(first)}**", "", *(f"- {plain(line)}" for line in others), ""]
    if image is not None:
        parts += [picture("energy of every epoch", image), ""]
    energies = "exact energies" if spec.exact else f"{spec.shots} shots per point and basis"
    parts.append(
        f"{len(plan.hamiltonian.terms)} terms on {plan.hamiltonian.n_qubits} qubits, measured in {len(plan.templates)} "
        f"bases; {spec.ansatz.kind} ansatz with {len(plan.circuit.parameters)} parameters; {spec.optimiser.kind}; "
        f"{energies}; on {plain(spec.backend)}.\n"
    )
    if spec.hamiltonian.source:
        parts += [f"Hamiltonian: {plain(spec.hamiltonian.source)}.", ""]
    parts += [f"- {line}" for line in files]
    rows = []
    for epoch in epochs[-_MOST_ROWS:]:
        above = "" if exact is None else f"{epoch.energy - exact:+.6f}"
        error = "" if epoch.std_error is None else f"{epoch.std_error:.6f}"
        jobs = plain(", ".join(epoch.job_ids))
        rows.append([str(epoch.number), f"{epoch.energy:.6f}", error, above, str(len(epoch.points)), jobs])
    parts += ["", *table(["epoch", "energy", "standard error", "above exact", "points", "jobs"], rows)]
    if len(epochs) > _MOST_ROWS:
        parts += ["", f"The last {_MOST_ROWS} of {len(epochs)} epochs; the data frame has all."]
    return "\n".join(parts) + "\n"
