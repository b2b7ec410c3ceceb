"""What a circuit costs on Quantinuum's machines, in HQC.

HQC = 5 + C (N1q + 10 N2q + 5 Nm) / 5000 for each circuit: C shots, N1q one-qubit gates, N2q two-qubit gates, Nm
preparations (also the first, implicit ones), measurements and resets of a qubit. Quantinuum's own guides are at
https://docs.quantinuum.com/systems/user_guide/hardware_user_guide/workflow.html, and the formula with the meaning of
its letters is at https://learn.microsoft.com/azure/quantum/provider-quantinuum. As in pytket-quantinuum's own estimate,
Rz costs nothing (it is done in software).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class GateCounts:
    """What the price of a circuit depends on."""

    one_qubit: int
    two_qubit: int
    prepared_or_measured: int


def gate_name(op: Any) -> str:
    """Pytket's name of an operation, or of the one behind a condition."""
    while op.type.name == "Conditional":
        op = op.op
    return str(op.type.name)


def gate_counts(circuit: Any) -> GateCounts:
    """Count the gates of a pytket circuit; conditional ones count whether they run or not."""
    one = two = measured = 0
    for command in circuit.get_commands():
        name = gate_name(command.op)
        n_qubits = len(command.qubits)
        if name in {"Measure", "Reset"}:
            measured += 1
        elif name in {"Barrier", "Rz", "noop", "Phase"} or not n_qubits:
            continue
        elif n_qubits == 1:
            one += 1
        else:
            two += 1
    return GateCounts(one_qubit=one, two_qubit=two, prepared_or_measured=circuit.n_qubits + measured)


def cost_hqc(counts: GateCounts, n_shots: int) -> float:
    """The price of so many shots.

    >>> cost_hqc(GateCounts(one_qubit=10, two_qubit=5, prepared_or_measured=8), 1000)
    25.0
    """
    weight = counts.one_qubit + 10 * counts.two_qubit + 5 * counts.prepared_or_measured
    return 5 + n_shots * weight / 5000
