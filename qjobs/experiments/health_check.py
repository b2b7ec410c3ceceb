"""The health check of one device: what people give, its GHZ and mirror circuits, and their labels. Pure.

A circuit's label says everything that scoring needs, so that the ledger alone holds the history:
`ghz 4 #0`, and `mirror 4 depth 8 #0: 0110` with the bit string that is right.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, field_validator

from qjobs.circuits.builders import ghz
from qjobs.circuits.mirror import mirror_circuit
from qjobs.experiments.circuit_list import CircuitEntry, CircuitList
from qjobs.experiments.forms import CompileInput, Name, RetryInput, read_form

_MOST_QUBITS = 100
_LABEL = re.compile(r"(?P<family>ghz|mirror) (?P<size>\d+)(?: depth (?P<depth>\d+))? #\d+(?:: (?P<expected>[01]+))?")


class HealthCheck(CompileInput):
    """A health check of one device."""

    name: Name = Field(default="nightly-benchmark", description="Name of the jobs; runs of one name make one trend.")
    backend: str = Field(
        default="aer", description="aer, nexus/DEVICE, mqp/RESOURCE, or a block such as aer-backend/NAME."
    )
    sizes: list[int] = Field(default=[2, 4, 6], min_length=1, max_length=50, description="Numbers of qubits, 2 to 100.")
    depth: int = Field(
        default=8, ge=2, le=500, multiple_of=2, description="Layers of a mirror circuit, both halves together."
    )
    shots: int = Field(default=500, ge=1, description="Shots of every circuit.")
    repetitions: int = Field(default=3, ge=1, le=1000, description="Circuits of every kind and size.")
    seed: int | None = Field(
        default=None, ge=0, description="Seed of the circuits; the UTC date on which the run was to start if empty."
    )
    min_success: float = Field(
        default=0.5, ge=0, le=1, description="The run warns of a success probability below this."
    )
    retries: RetryInput = Field(default=RetryInput(), description="What this run may send again, and how often.")

    @field_validator("sizes")
    @classmethod
    def _sizes_once(cls, sizes: list[int]) -> list[int]:
        if min(sizes) < 2 or max(sizes) > _MOST_QUBITS:
            raise ValueError(f"a size is a number of qubits, 2 to {_MOST_QUBITS}")
        if len(set(sizes)) != len(sizes):
            raise ValueError("give every size once; raise repetitions for more circuits of a size")
        return sizes


def load_health_check(path: Path) -> HealthCheck:
    """Read a health check from a YAML or JSON file.

    Raises:
        InvalidInput: The file cannot be read or is no health check.
    """
    return read_form(path, HealthCheck)


def night_seed(at: datetime) -> int:
    """The seed of a night: its date in UTC.

    >>> night_seed(datetime(2026, 3, 1, 2, 30, tzinfo=UTC))
    20260301
    """
    return int(f"{at.astimezone(UTC):%Y%m%d}")


def health_check_circuits(spec: HealthCheck, seed: int) -> CircuitList:
    """The circuits of a health check as one circuit list; another size changes none of the other circuits.

    `seed` is that of the mirror circuits, and of a simulator.
    """
    from qiskit import qasm2

    entries = []
    for size in spec.sizes:
        text = qasm2.dumps(ghz(size))
        for number in range(spec.repetitions):
            entries.append(CircuitEntry(openqasm=text, label=f"ghz {size} #{number}"))
    for size in spec.sizes:
        for number in range(spec.repetitions):
            rng = random.Random(f"{seed}/mirror/{size}/{spec.depth}/{number}")  # noqa: S311
            made = mirror_circuit(size, spec.depth, rng)
            label = f"mirror {size} depth {spec.depth} #{number}: {made.expected}"
            entries.append(CircuitEntry(openqasm=qasm2.dumps(made.circuit), label=label))
    return CircuitList(
        name=spec.name,
        circuits=entries,
        shots=spec.shots,
        backend=spec.backend,
        seed=seed,
        compiler=spec.compiler,
        level=spec.level,
        compile_on=spec.compile_on,
        retries=spec.retries,
    )


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Series:
    """What is followed over time: circuits of one kind (`ghz` or `mirror`), size and depth (0 for `ghz`)."""

    family: str
    size: int
    depth: int = 0

    @property
    def name(self) -> str:
        """For tables and legends."""
        return f"GHZ {self.size}" if self.family == "ghz" else f"mirror {self.size}, depth {self.depth}"


def read_label(label: str) -> tuple[Series, tuple[str, ...]] | None:
    """The series of a circuit and its right bit strings; None if it is no circuit of a health check.

    >>> read_label("mirror 3 depth 8 #0: 011")
    (Series(family='mirror', size=3, depth=8), ('011',))
    """
    match = _LABEL.fullmatch(label)
    if match is None:
        return None
    series = Series(family=match["family"], size=int(match["size"]), depth=int(match["depth"] or 0))
    if match["expected"]:
        return series, (match["expected"],)
    return series, ("0" * series.size, "1" * series.size)
