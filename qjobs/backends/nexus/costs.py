"""What a job will cost, in HQC.

HQC = 5 + C (N1q + 10 N2q + 5 Nm) / 5000 a circuit: https://learn.microsoft.com/azure/quantum/pricing, with C shots, N1q
one-qubit gates, N2q two-qubit gates, and Nm preparations, measurements and resets of a qubit. Rz is done in software
and costs nothing, as in pytket-quantinuum. Emulators are billed by the same formula. Syntax checkers are free:
https://learn.microsoft.com/azure/quantum/provider-quantinuum.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from qjobs.backends.base import Pricing
from qjobs.errors import InvalidCircuit
from qjobs.model import Batch, JobKind, Program, ProgramHash

if TYPE_CHECKING:
    from pytket.circuit import Circuit

_BILLED: Final = re.compile(r"(?i)H[12]-\d+E?")
"""H-series machines and their emulators at Quantinuum. Nexus bills its own emulators (H1-1LE) and simulators by time,
and Helios by what a program does while it runs."""
_ONE_QUBIT: Final = "PhasedX"
_TWO_QUBITS: Final = frozenset({"ZZMax", "ZZPhase"})
_SPAM: Final = frozenset({"Measure", "Reset"})
_UNIT: Final = "HQC"
_FORMULA: Final = (
    "for each circuit 5 + shots x (one-qubit gates + 10 x two-qubit gates + 5 x preparations, measurements and resets) "
    "/ 5000"
)
_FREE: Final = frozenset({"Rz", "Barrier", "noop", "Phase"})


def is_syntax_checker(device: str) -> bool:
    """Whether a device only checks programs: Quantinuum's names of these end in SC."""
    return device.upper().endswith("SC")


def estimate_hqc(
    device: str, config: Mapping[str, Any], batch: Batch, circuit_of: Callable[[Program], Circuit]
) -> float | None:
    """The cost of a job on a machine; None where it cannot be counted, or the device bills otherwise."""
    if batch.kind is not JobKind.EXECUTE:
        return None
    if is_syntax_checker(device):
        return 0.0
    if not _is_billed(device, config):
        return None
    weights: dict[ProgramHash, int] = {}
    for name in {item.program for item in batch.items}:
        try:
            weight = weight_of(circuit_of(batch.programs[name]))
        except InvalidCircuit:
            weight = None
        if weight is None:
            return None
        weights[name] = weight
    return sum(5 + item.shots * weights[item.program] / 5000 for item in batch.items)


def _is_billed(device: str, config: Mapping[str, Any]) -> bool:
    """Whether a device is paid for by the formula."""
    return config["type"] == "QuantinuumConfig" and _BILLED.fullmatch(device) is not None


def pricing_of(device: str, config: Mapping[str, Any]) -> Pricing:
    """How a device is paid for."""
    if is_syntax_checker(device):
        return Pricing(unit=_UNIT, words="free: a syntax checker")
    if not _is_billed(device, config):
        return Pricing(unit=_UNIT, words="billed by time, or by what a program does: nobody can tell before it has run")
    return Pricing(unit=_UNIT, words=_FORMULA)


def weight_of(circuit: Circuit) -> int | None:
    """N1q + 10 N2q + 5 Nm of a circuit; None unless it is made of native gates. A conditional gate counts as one.

    >>> from pytket.circuit import Circuit
    >>> weight_of(Circuit(2, 2).PhasedX(1, 0, 0).ZZPhase(0.5, 0, 1).Rz(1, 0).measure_all())
    31
    """
    weight: int = 5 * circuit.n_qubits
    for command in circuit.get_commands():
        op: Any = command.op
        while op.type.name == "Conditional":
            op = op.op
        name = op.type.name
        if name in _SPAM:
            weight += 5
        elif name == _ONE_QUBIT:
            weight += 1
        elif name in _TWO_QUBITS:
            weight += 10
        elif name not in _FREE and command.qubits:
            return None
    return weight
