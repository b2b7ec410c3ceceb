"""Sweeps: one parametric circuit at many points, as people and flow parameters give it, and worked out."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import Field, FiniteFloat, ValidationError, model_validator

from qjobs.circuits.observables import Estimator, measured_in, parse_observable
from qjobs.circuits.programs import check_runs, read_circuit, to_qiskit
from qjobs.compiling.compiler import CompileOn, CompileOptions
from qjobs.errors import InvalidInput
from qjobs.experiments.forms import (
    MAX_ITEMS,
    Axis,
    CircuitInput,
    CompileInput,
    FormInput,
    Name,
    NamedObservable,
    ObjectiveInput,
    RetryInput,
    explain,
    read_mapping,
)
from qjobs.experiments.objectives import Objective, load_objective
from qjobs.heap import heap_set_aside
from qjobs.model import ItemSpec, Observable, Program, ProgramFormat, ProgramHash

__all__ = [
    "OWN_COLUMNS",
    "Point",
    "SweepPlan",
    "SweepSpec",
    "expand_points",
    "expand_sweep",
    "load_sweep",
    "templates_of",
]

OWN_COLUMNS = (
    "point_id",
    "point",
    "repetition",
    "counts",
    "backend",
    "device",
    "shots",
    "status",
    "message",
    "cost",
    "job_id",
    "submitted_at",
    "completed_at",
)
"""Columns that a sweep's results have besides its parameters and observables."""


class SweepSpec(FormInput):
    """A parametric circuit, the points to run it at, and what to measure there."""

    name: Name = Field(description="Run the same name again and only what is missing is run.")
    circuit: CircuitInput = Field(description="The parametric circuit.")
    axes: list[Axis] = Field(default_factory=list, description="One entry per parameter.")
    mode: Literal["grid", "zip", "random", "list"] = Field(
        default="grid",
        description="grid: all combinations; zip: the n-th values together; random: every parameter drawn "
        "uniformly between the lowest and the highest value of its axis; list: the given points.",
    )
    points: list[dict[str, FiniteFloat]] = Field(default_factory=list, description="For mode list: the points.")
    samples: int | None = Field(default=None, ge=1, le=MAX_ITEMS, description="For mode random: how many points.")
    seed: int | None = Field(
        default=None, ge=0, description="Makes a simulator repeatable; mode random draws with it (0 if empty)."
    )
    shots: int = Field(default=1000, ge=1, description="Shots per point, repetition and measurement basis.")
    repetitions: int = Field(default=1, ge=1, description="How often every point is run.")
    observables: list[NamedObservable] = Field(default_factory=list, description="Measured instead of counts.")
    exact: bool = Field(default=False, description="Exact expectation values instead of sampled ones (simulators).")
    objective: ObjectiveInput | None = Field(default=None, description="What the best point is best at.")
    backends: list[str] = Field(
        default=["aer"],
        min_length=1,
        description="aer, nexus/DEVICE, mqp/RESOURCE, or blocks such as aer-backend/NAME; each runs every point.",
    )
    compile: CompileInput = Field(default_factory=CompileInput, description="How circuits are compiled.")
    fresh: bool = Field(default=False, description="Run everything anew instead of reusing finished points.")
    retries: RetryInput = Field(default_factory=RetryInput, description="What this run may send again, and how often.")

    def compile_options(self) -> CompileOptions:
        """How templates are compiled; exact values need every qubit to stay where it is."""
        return replace(self.compile.options(), keep_qubits=self.exact)

    @model_validator(mode="after")
    def _consistent(self) -> SweepSpec:
        names = [axis.name for axis in self.axes]
        if len(set(names)) != len(names):
            raise ValueError("two axes have the same name; give each parameter one axis")
        if (self.mode == "list") != bool(self.points) or (self.mode == "list" and self.axes):
            raise ValueError("mode list takes points and no axes; every other mode takes axes and no points")
        if (self.mode == "random") != (self.samples is not None):
            raise ValueError("mode random needs samples: how many points to draw; no other mode takes them")
        endless = [axis.name for axis in self.axes if axis.kind != "values" and axis.count is None]
        if endless and self.mode != "random":
            raise ValueError(f"the axis {endless[0]!r} needs count; only mode random does without")
        if self.mode == "zip":
            lengths = {axis.name: len(axis.points()) for axis in self.axes}
            if len(set(lengths.values())) > 1:
                shown = ", ".join(f"{name} has {length}" for name, length in lengths.items())
                raise ValueError(f"mode zip needs axes of one length, and {shown}")
        if len(set(self.backends)) != len(self.backends):
            raise ValueError("a backend is named twice; use repetitions to run it more often")
        if self.exact and not (self.observables or self.objective):
            raise ValueError("exact needs observables or an objective")
        labels = [observable.name for observable in self.observables]
        if len(set(labels)) != len(labels):
            raise ValueError("two observables have the same name; results are found by their name")
        return self


def load_sweep(path: Path) -> SweepSpec:
    """Read a sweep from a YAML or JSON file; a circuit file is found beside it.

    The text of an OpenQASM file is put into the spec, which then says all by itself.

    Raises:
        InvalidInput: The file, or the circuit it names, cannot be read or is not a sweep.
    """
    data = read_mapping(path)
    try:
        spec = SweepSpec.model_validate(data)
    except ValidationError as error:
        raise explain(error, str(path)) from error
    if spec.circuit.file is None:
        return spec
    program = spec.circuit.read(path.parent)
    if program.format in {ProgramFormat.OPENQASM2, ProgramFormat.OPENQASM3}:
        return spec.model_copy(update={"circuit": CircuitInput(openqasm=program.payload.decode())})
    return spec.model_copy(update={"circuit": spec.circuit.beside(path)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One point: a stable id, its place in the sweep, and its parameters by name, in radians."""

    point_id: str
    index: int
    parameters: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """A sweep, worked out: its points and one template per measurement basis.

    `templates` maps a basis ("" where counts or exact values are asked for) to its circuit;
    `definition` is a hash of all that gives a result its meaning except the point and the backend.
    `job_name` is what its jobs are called, where that is not the experiment's name.
    """

    spec: SweepSpec
    source: Program
    points: tuple[Point, ...]
    templates: Mapping[str, Program]
    observables: tuple[Observable, ...]
    estimator: Estimator | None
    objective: Objective | None
    definition: str
    job_name: str = ""

    @property
    def programs(self) -> dict[ProgramHash, Program]:
        """The templates by their hash."""
        return {template.hash: template for template in self.templates.values()}

    @property
    def compile_options(self) -> CompileOptions:
        """How the templates are compiled."""
        return self.spec.compile_options()

    @property
    def compile_on(self) -> CompileOn:
        """Where they are compiled."""
        return self.spec.compile.compile_on

    def items(self, compiled: Mapping[ProgramHash, Program]) -> list[ItemSpec]:
        """Every item, in order of repetition, basis and point (so that a template's points stand together).

        `compiled` has the circuit that is sent for each template's hash.
        """
        items = []
        names = [name for name, _ in self.points[0].parameters]
        for repetition, basis in itertools.product(range(self.spec.repetitions), self.templates):
            template = self.templates[basis]
            program = compiled[template.hash]
            takes_all = set(names) <= set(program.parameters)
            for point in self.points:
                parameters = point.parameters
                if not takes_all:
                    parameters = tuple(pair for pair in parameters if pair[0] in program.parameters)
                item = ItemSpec(
                    label=self.label(point, repetition, basis),
                    program=program.hash,
                    source=template.hash,
                    shots=self.spec.shots,
                    parameters=parameters,
                )
                items.append(item)
        return items

    def labels(self) -> list[str]:
        """Labels of all items, in the order of `items`."""
        return [self.label(point, repetition, basis) for repetition, basis, point in self._places()]

    def _places(self) -> Iterable[tuple[int, str, Point]]:
        """Repetition, basis and point of every item."""
        return itertools.product(range(self.spec.repetitions), self.templates, self.points)

    @staticmethod
    def label(point: Point, repetition: int, basis: str) -> str:
        """Label of an item; stable from run to run."""
        return f"{point.point_id}/{repetition}/{basis}" if basis else f"{point.point_id}/{repetition}"


def expand_sweep(spec: SweepSpec, folder: Path | None = None) -> SweepPlan:
    """Work out a sweep's points and templates.

    Raises:
        InvalidInput: Unknown or unbound parameters, an observable of the wrong width, a point twice, two
            columns of one name, no measurement where counts are asked for.
    """
    source = spec.circuit.read(folder)
    with heap_set_aside():
        points = expand_points(spec, source)
    objective = _objective(spec, points[0])
    observables = [parse_observable(each.name, each.terms, source.n_qubits) for each in spec.observables]
    if objective is not None and objective.observable:
        observables.append(parse_observable(objective.name, objective.observable, source.n_qubits))
    parameters = [name for name, _ in points[0].parameters]
    _check_columns(parameters, [observable.name for observable in observables])
    check_runs(source, need_counts=not observables, parameters=parameters)
    estimator = Estimator(observables) if observables and not spec.exact else None
    return SweepPlan(
        spec=spec,
        source=source,
        points=points,
        templates=templates_of(source, estimator),
        observables=tuple(observables),
        estimator=estimator,
        objective=objective,
        definition=_definition(spec, source, observables),
    )


def templates_of(source: Program, estimator: Estimator | None) -> dict[str, Program]:
    """The circuits of one point by the basis they are measured in; without an estimator, the circuit as it is."""
    if estimator is None:
        return {"": source}
    circuit = to_qiskit(source)
    return {basis: read_circuit(measured_in(circuit, basis)) for basis in estimator.bases}


def _objective(spec: SweepSpec, point: Point) -> Objective | None:
    wish = spec.objective
    if wish is None:
        return None
    names = {observable.name for observable in spec.observables}
    if wish.name in names:
        if wish.arguments:
            raise InvalidInput("an observable as objective takes no arguments", field="objective.arguments")
        return Objective(name=wish.name, observable="", goal=wish.goal)
    objective = load_objective(wish.name, wish.arguments)
    if not objective.observable:
        raise InvalidInput(f"the objective {wish.name!r} has no observable to measure", field="objective.name")
    if objective.reference is not None:
        try:
            objective.reference(dict(point.parameters))
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(
                f"the reference of the objective {wish.name!r} cannot be evaluated at the sweep's points "
                f"({type(error).__name__}: {error}); leave it out, or name the parameters as it needs them",
                field="objective.arguments",
            ) from error
    return objective


def _check_columns(parameters: Sequence[str], observables: Sequence[str]) -> None:
    """Every column of the results needs a name of its own."""
    taken = set(OWN_COLUMNS)

    def take(column: str, kind: str, name: str) -> None:
        if column in taken:
            raise InvalidInput(
                f"the {kind} {name!r} needs another name: the results have a column {column!r} already",
                field=f"{kind}s",
            )
        taken.add(column)

    for name in parameters:
        take(name, "parameter", name)
    for name in observables:
        take(name, "observable", name)
        take(f"{name}_stderr", "observable", name)


def expand_points(spec: SweepSpec, source: Program) -> tuple[Point, ...]:
    """The points of a sweep over a circuit, each with its id.

    Raises:
        InvalidInput: There are too many, one is given twice, or they have different parameters or none that is finite.
    """
    rows = _rows(spec)
    total = len(rows) * spec.repetitions * len(spec.backends)
    if total > MAX_ITEMS:
        raise InvalidInput(f"the sweep has {total} circuits and the most is {MAX_ITEMS}; cut it into several")
    points: dict[str, Point] = {}
    names = set(rows[0])
    encode = json.JSONEncoder().encode
    for index, row in enumerate(rows):
        # -0.0 is 0.0, so that equal points have equal ids.
        parameters = tuple(sorted((name, value + 0.0) for name, value in row.items()))
        if row.keys() != names:
            raise InvalidInput(f"point {index} has other parameters than point 0; give each the same", field="points")
        if not all(math.isfinite(value) for _, value in parameters):
            raise InvalidInput(f"point {index} is too large for a number; take a smaller range", field="axes")
        text = encode([source.hash, [[name, value.hex()] for name, value in parameters]])
        point_id = hashlib.sha256(text.encode()).hexdigest()[:16]
        if point_id in points:
            shown = ", ".join(f"{name}={value:g}" for name, value in parameters) or "without parameters"
            raise InvalidInput(f"the point {shown} is in the sweep twice; use repetitions instead", field="axes")
        points[point_id] = Point(point_id=point_id, index=index, parameters=parameters)
    return tuple(points.values())


def _rows(spec: SweepSpec) -> list[dict[str, float]]:
    """Parameters of every point."""
    if spec.mode == "list":
        rows = list(spec.points)
    elif spec.mode == "random":
        rows = _random_rows(spec)
    else:
        names = [axis.name for axis in spec.axes]
        columns = [axis.points() for axis in spec.axes]
        if spec.mode == "grid" and math.prod(len(column) for column in columns) > MAX_ITEMS:
            raise InvalidInput(f"the grid has more than {MAX_ITEMS} points; cut it into several", field="axes")
        combined = itertools.product(*columns) if spec.mode == "grid" else zip(*columns, strict=True)
        rows = [dict(zip(names, values, strict=True)) for values in combined]
    return rows or [{}]


def _random_rows(spec: SweepSpec) -> list[dict[str, float]]:
    rng = random.Random(f"sweep/{spec.seed or 0}")  # noqa: S311
    ends = {axis.name: axis.ends() for axis in spec.axes}
    rows = []
    for _ in range(spec.samples or 0):
        rows.append({name: rng.uniform(low, high) for name, (low, high) in ends.items()})
    return rows


def _definition(spec: SweepSpec, source: Program, observables: Sequence[Observable]) -> str:
    text = json.dumps(
        [
            "qjobs-definition-1",
            source.hash,
            spec.shots,
            spec.seed,
            spec.exact,
            [[observable.name, observable.terms] for observable in observables],
            spec.compile.model_dump(mode="json", exclude={"compile_on"}),
        ]
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]
