"""Noise of a simulated device: after gates, in measurements, and while a qubit waits.

Nothing here imports qiskit at module level, because parents import it too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from qjobs.backends.aer.gates import BASIS_1Q, BASIS_2Q
from qjobs.errors import InvalidCircuit, InvalidInput

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

__all__ = ["NoiseSpec", "noise_model", "relaxed"]

_IN_S: Final = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "ps": 1e-12}
_PROBABILITIES: Final = ("depolarizing_1q", "depolarizing_2q", "readout")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseSpec:
    """A noise model: probabilities from 0 to 1, and times in microseconds.

    `depolarizing_1q` and `depolarizing_2q` follow every gate on one or two qubits (gates on more
    qubits are decomposed first); `readout` flips each measured bit, both ways. `t1_us` and `t2_us` act on a qubit
    while a `delay` of the circuit lasts, and on nothing else; `t2_us` is at most twice `t1_us`. Without `t1_us` nothing
    decays to 0; without `t2_us` phases are lost by that decay alone.

    Raises:
        InvalidInput: A value is not a probability, or not a time that can be.
    """

    depolarizing_1q: float = 0.0
    depolarizing_2q: float = 0.0
    readout: float = 0.0
    t1_us: float | None = None
    t2_us: float | None = None

    def __post_init__(self) -> None:
        for name in _PROBABILITIES:
            value = getattr(self, name)
            if not _is_number(value) or not 0 <= value <= 1:
                raise InvalidInput(f"noise: {name} must be a probability from 0 to 1, not {value!r}", field=name)
        for name in ("t1_us", "t2_us"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and 0 < value < math.inf):
                raise InvalidInput(f"noise: {name} must be a time above 0 in microseconds, not {value!r}", field=name)
        if self.t1_us is not None and self.t2_us is not None and self.t2_us > 2 * self.t1_us:
            raise InvalidInput(
                f"noise: t2_us must be at most twice t1_us, which is {2 * self.t1_us:g}, not {self.t2_us:g}",
                field="t2_us",
            )

    def __str__(self) -> str:
        """Every digit of every value. Times that are not set are left out: so it was written before there were any."""
        given = []
        for name in (*_PROBABILITIES, "t1_us", "t2_us"):
            value = getattr(self, name)
            if value is not None:
                given.append(f"{name}={float(value)!r}")
        return f"NoiseSpec({', '.join(given)})"

    @property
    def tag(self) -> str:
        """Short name of these values, for example `noise-0.001-0.01-0.02` or `noise-0-0-0-t1-80us-t2-60us`."""
        tag = f"noise-{self.depolarizing_1q:g}-{self.depolarizing_2q:g}-{self.readout:g}"
        tag += "" if self.t1_us is None else f"-t1-{self.t1_us:g}us"
        return tag + ("" if self.t2_us is None else f"-t2-{self.t2_us:g}us")

    @property
    def relaxes(self) -> bool:
        """Whether a qubit changes while it waits."""
        return self.t1_us is not None or self.t2_us is not None

    @property
    def on_gates(self) -> bool:
        """Whether any gate or delay is noisy, which makes the state a mixed one."""
        return bool(self.depolarizing_1q or self.depolarizing_2q) or self.relaxes


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@lru_cache(maxsize=16)
def noise_model(spec: NoiseSpec, *, noiseless: frozenset[str] = frozenset()) -> Any:
    """Aer's noise model of these values; the gates in `noiseless` have none."""
    from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error

    model = NoiseModel()
    if spec.depolarizing_1q:
        noisy = [name for name in BASIS_1Q if name not in noiseless]
        model.add_all_qubit_quantum_error(depolarizing_error(spec.depolarizing_1q, 1), noisy)
    if spec.depolarizing_2q:
        noisy = [name for name in BASIS_2Q if name not in noiseless]
        model.add_all_qubit_quantum_error(depolarizing_error(spec.depolarizing_2q, 2), noisy)
    if spec.readout:
        p = spec.readout
        model.add_all_qubit_readout_error(ReadoutError([[1 - p, p], [p, 1 - p]]))
    return model


def relaxed(circuit: QuantumCircuit, noise: NoiseSpec) -> QuantumCircuit:
    """The circuit with what T1 and T2 do during each delay, in blocks too; the same object if that is nothing.

    Raises:
        InvalidCircuit: The length of a delay is a symbol, or is given in samples of a device (`dt`).
    """
    from qiskit.circuit import ControlFlowOp

    if not noise.relaxes:
        return circuit
    found = circuit.copy_empty_like()
    for instruction in circuit.data:
        operation = instruction.operation
        if isinstance(operation, ControlFlowOp):
            operation = operation.replace_blocks([relaxed(block, noise) for block in operation.blocks])
            found.append(operation, instruction.qubits, instruction.clbits)
            continue
        found.append(instruction)
        if operation.name == "delay" and (length_s := _length_s(operation)):
            found.append(_relaxation(noise.t1_us, noise.t2_us, length_s), instruction.qubits)
    return found


def _length_s(delay: Any) -> float:
    unit = delay.unit
    if unit not in _IN_S:
        raise InvalidCircuit(
            f"a simulated device with T1 or T2 needs delays in s, ms, us, ns or ps, and one is given in {unit!r}"
        )
    try:
        return float(delay.duration) * _IN_S[unit]
    except TypeError as error:
        raise InvalidCircuit(
            f"the length of a delay is the symbol {delay.duration}; make it an argument of the circuit's builder"
        ) from error


@lru_cache(maxsize=4096)
def _relaxation(t1_us: float | None, t2_us: float | None, length_s: float) -> Any:
    from qiskit_aer.noise import thermal_relaxation_error

    t1 = math.inf if t1_us is None else t1_us * 1e-6
    t2 = 2 * t1 if t2_us is None else t2_us * 1e-6
    return thermal_relaxation_error(t1, t2, length_s).to_instruction()
