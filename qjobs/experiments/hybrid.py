"""Hybrid runs: a Hamiltonian, an ansatz and an optimiser, as people and flow parameters give them, and worked out."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from qjobs.circuits.ansatz import hamiltonian_variational, hardware_efficient
from qjobs.circuits.observables import Estimator, measured_in
from qjobs.circuits.programs import program_from_qiskit, to_qiskit
from qjobs.errors import InvalidInput
from qjobs.experiments.forms import (
    CircuitInput,
    CompileInput,
    Constants,
    FormInput,
    Name,
    Number,
    RetryInput,
    Whole,
    read_form,
)
from qjobs.experiments.hamiltonian import Hamiltonian, HamiltonianInput
from qjobs.experiments.measured import Measured, templates_of
from qjobs.experiments.sweep import SweepPlan, SweepSpec, expand_points
from qjobs.model import JsonValue, Program

__all__ = [
    "EPOCH_COLUMNS",
    "AnsatzInput",
    "HybridPlan",
    "HybridSpec",
    "OptimiserInput",
    "epoch_definition",
    "epoch_sweep",
    "expand_hybrid",
    "load_hybrid",
]

EPOCH_COLUMNS = ("epoch", "energy", "energy_stderr", "lowest", "points", "jobs", "recorded_at")
"""Columns that the epochs of a run have besides the ansatz's parameters."""
_START_RANGE = math.pi / 4
"""Without initial values each parameter begins within this distance of 0, in radians."""
_MAX_EPOCHS = 1000


class AnsatzInput(FormInput):
    """The parametric circuit whose state is varied."""

    kind: Literal["hardware-efficient", "hamiltonian-variational", "circuit"] = Field(
        default="hardware-efficient",
        description="hardware-efficient: layers of Y rotations and a chain of CX; hamiltonian-variational: a product "
        "state and layers of evolution by the Hamiltonian's own terms; circuit: one of your own.",
    )
    layers: int = Field(default=1, ge=1, le=100, description="Layers of the first two kinds.")
    circuit: CircuitInput | None = Field(default=None, description="For kind circuit: a parametric circuit.")

    @model_validator(mode="after")
    def _consistent(self) -> AnsatzInput:
        if (self.kind == "circuit") != (self.circuit is not None):
            raise ValueError("kind circuit takes a circuit; no other kind does")
        return self


class OptimiserInput(FormInput):
    """How the next parameters are chosen."""

    kind: Literal["spsa", "cobyla"] = Field(
        default="spsa",
        description="spsa: steps along random directions, for sampled energies; cobyla: linear models in a trust "
        "region, for exact or quiet ones.",
    )
    step: Number = Field(
        default=0.3, gt=0, le=10, allow_inf_nan=False, description="Size of the first steps, in radians."
    )
    perturbation: Number = Field(
        default=0.2, gt=0, le=10, allow_inf_nan=False, description="spsa: distance of its points, in radians."
    )
    pairs: int = Field(default=1, ge=1, le=1000, description="spsa: pairs of points in an epoch.")
    calibration: int = Field(default=10, ge=1, le=1000, description="spsa: pairs of points in the first epoch.")
    tolerance: float = Field(
        default=1e-3, gt=0, le=1, allow_inf_nan=False, description="cobyla: it ends at steps this small, in radians."
    )


class HybridSpec(CompileInput):
    """A variational minimisation: each epoch is one batch of circuits, and the next follows from its energies."""

    name: Name = Field(default="hybrid", description="Name of the jobs and of the results.")
    hamiltonian: HamiltonianInput = Field(description="What is minimised.")
    ansatz: AnsatzInput = Field(default_factory=AnsatzInput, description="The parametric circuit.")
    optimiser: OptimiserInput = Field(default_factory=OptimiserInput, description="How parameters are chosen.")
    epochs: Whole = Field(default=50, ge=1, le=_MAX_EPOCHS, description="Epochs at the most; raise it to go on later.")
    initial: list[Number] | None = Field(
        default=None, description="First values of the parameters, in radians; drawn near 0 if empty."
    )
    constants: Constants = Field(default_factory=dict, description="Named numbers for expressions, as in angle: pi/8.")
    shots: Whole = Field(default=2000, ge=1, description="Shots per point and measurement basis.")
    exact: bool = Field(default=False, description="Exact energies instead of sampled ones (simulators).")
    seed: Whole | None = Field(
        default=None, ge=0, lt=2**63, description="Makes the run repeatable; of its own for each run if empty."
    )
    backend: str = Field(default="aer", description="aer, nexus/DEVICE, or a block such as aer-backend/NAME.")
    retries: RetryInput = Field(default_factory=RetryInput, description="What this run may send again, and how often.")


@dataclass(frozen=True, slots=True, kw_only=True)
class HybridPlan:
    """A hybrid run, read and checked.

    `circuit` is the ansatz, without a measurement; `templates` has what is sent, by measurement basis, or the ansatz
    itself by "" where energies are exact and `estimator` is None. `definition` is a hash of all that gives the epochs
    their meaning; how many there may be is not part of it.
    """

    spec: HybridSpec
    hamiltonian: Hamiltonian
    circuit: Program
    templates: Mapping[str, Program]
    estimator: Estimator | None
    definition: str

    def seed(self, logical_run: str) -> int:
        """Seed of the start and of the directions: the one that was given, else one that the logical run has."""
        if self.spec.seed is not None:
            return self.spec.seed
        return int.from_bytes(hashlib.sha256(f"hybrid/{logical_run}".encode()).digest()[:7], "big")

    def start(self, logical_run: str) -> tuple[float, ...]:
        """First values of the parameters, in the order of `circuit.parameters`, in radians."""
        if self.spec.initial is not None:
            return tuple(self.spec.initial)
        rng = np.random.default_rng([self.seed(logical_run), 1])
        drawn = rng.uniform(-_START_RANGE, _START_RANGE, len(self.circuit.parameters))
        return tuple(float(value) for value in drawn)


def load_hybrid(path: Path) -> HybridSpec:
    """Read a hybrid run from a YAML or JSON file; files that it names are found beside it.

    The content of a Hamiltonian's file is put into the spec.

    Raises:
        InvalidInput: The file, or one that it names, cannot be read or used.
    """
    spec = read_form(path, HybridSpec)
    changes: dict[str, object] = {"hamiltonian": spec.hamiltonian.inlined(path.parent)}
    if spec.ansatz.circuit is not None:
        changes["ansatz"] = spec.ansatz.model_copy(update={"circuit": spec.ansatz.circuit.beside(path)})
    return spec.model_copy(update=changes)


def expand_hybrid(spec: HybridSpec, folder: Path | None = None) -> HybridPlan:
    """Read and check the Hamiltonian and the ansatz, and work out what is measured.

    Raises:
        InvalidInput: One of them cannot be used, or they do not fit each other.
    """
    hamiltonian = spec.hamiltonian.read(folder)
    circuit = _bare(_ansatz(spec.ansatz, hamiltonian, folder))
    if circuit.n_qubits != hamiltonian.n_qubits:
        raise InvalidInput(
            f"the ansatz has {circuit.n_qubits} qubits and the Hamiltonian {hamiltonian.n_qubits}; give them the same",
            field="ansatz.circuit",
        )
    if not circuit.parameters:
        raise InvalidInput("the ansatz has no parameters, so that nothing can be varied", field="ansatz.circuit")
    if taken := set(EPOCH_COLUMNS).intersection(circuit.parameters):
        raise InvalidInput(
            f"the parameter {min(taken)!r} needs another name: the results have a column of it already",
            field="ansatz.circuit",
        )
    if spec.initial is not None and len(spec.initial) != len(circuit.parameters):
        raise InvalidInput(
            f"there are {len(spec.initial)} initial values, and the ansatz has {len(circuit.parameters)} parameters: "
            f"{', '.join(circuit.parameters[:5])}{', ...' if len(circuit.parameters) > 5 else ''}",
            field="initial",
        )
    estimator = None if spec.exact else Estimator([hamiltonian.observable])
    return HybridPlan(
        spec=spec,
        hamiltonian=hamiltonian,
        circuit=circuit,
        templates=templates_of(circuit, estimator),
        estimator=estimator,
        definition=_definition(spec, hamiltonian, circuit),
    )


def _ansatz(wish: AnsatzInput, hamiltonian: Hamiltonian, folder: Path | None) -> Program:
    try:
        match wish.kind:
            case "hardware-efficient":
                return program_from_qiskit(hardware_efficient(hamiltonian.n_qubits, wish.layers))
            case "hamiltonian-variational":
                return program_from_qiskit(hamiltonian_variational(dict(hamiltonian.terms), wish.layers))
            case "circuit":
                assert wish.circuit is not None  # noqa: S101 - the form has checked it
                return wish.circuit.read(folder)
    except ValueError as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"the ansatz cannot be built: {error}", field="ansatz.layers") from error


def _bare(circuit: Program) -> Program:
    """The ansatz without the measurements at its end."""
    if not circuit.measured:
        return circuit
    measured = measured_in(to_qiskit(circuit), "Z" * circuit.n_qubits)
    return program_from_qiskit(measured.remove_final_measurements(inplace=False))


def _definition(spec: HybridSpec, hamiltonian: Hamiltonian, circuit: Program) -> str:
    parts: list[JsonValue] = [
        "qjobs-hybrid-1",
        hamiltonian.as_json(),
        circuit.hash,
        spec.optimiser.model_dump(mode="json"),
        None if spec.initial is None else list(spec.initial),
        spec.shots,
        spec.exact,
        spec.seed,
        spec.backend,
        spec.options().as_json(),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def epoch_definition(plan: HybridPlan, logical_run: str, number: int) -> str:
    """Under what the jobs of an epoch are found again: no other run, and no other epoch, shares them."""
    text = json.dumps(["qjobs-epoch-1", plan.definition, logical_run, number])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def epoch_sweep(plan: HybridPlan, logical_run: str, number: int, points: Sequence[Sequence[float]]) -> SweepPlan:
    """An epoch as a sweep over its points, each once; `points` has a value per parameter, in radians."""
    names = plan.circuit.parameters
    rows = [dict(zip(names, point, strict=True)) for point in dict.fromkeys(tuple(point) for point in points)]
    hybrid = plan.spec
    spec = SweepSpec(
        name=hybrid.name,
        circuit=CircuitInput(builder=hybrid.ansatz.kind) if hybrid.ansatz.circuit is None else hybrid.ansatz.circuit,
        mode="list",
        points=rows,
        seed=hybrid.seed,
        shots=hybrid.shots,
        backends=[hybrid.backend],
        compile=CompileInput(compiler=hybrid.compiler, level=hybrid.level, compile_on=hybrid.compile_on),
        retries=hybrid.retries,
    )
    return SweepPlan(
        spec=spec.model_copy(update={"exact": hybrid.exact}),
        points=expand_points(spec, plan.circuit),
        circuits=(
            Measured(
                source=plan.circuit,
                templates=plan.templates,
                observables=(plan.hamiltonian.observable,),
                estimator=plan.estimator,
            ),
        ),
        objective=None,
        definition=epoch_definition(plan, logical_run, number),
        job_name=f"{hybrid.name} epoch {number}",
    )
