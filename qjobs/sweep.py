"""SweepSpec: one parametric circuit at many points. Pure, but for reading the files a spec names."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, JsonValue, ValidationError, model_validator

from qjobs.builders import build_circuit
from qjobs.circuits import check_runs, read_circuit, to_qiskit
from qjobs.compile import CompileOptions, Compiler
from qjobs.errors import InvalidInput
from qjobs.model import ItemSpec, Observable, Program, ProgramFormat, ProgramHash
from qjobs.objectives import Objective, load_objective
from qjobs.observables import Estimator, measured_in, parse_observable

__all__ = [
    "Axis",
    "CircuitInput",
    "CompileInput",
    "NamedObservable",
    "ObjectiveInput",
    "Point",
    "SweepPlan",
    "SweepSpec",
    "expand",
    "explain",
    "load_sweep",
    "read_mapping",
]

MAX_ITEMS = 1_000_000
"""Points times repetitions that one sweep may have."""

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")]


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CircuitInput(_Input):
    """A circuit: as text, as a file, or by the name of a registered builder."""

    openqasm: str | None = Field(default=None, description="OpenQASM 2 or 3 text.", title="OpenQASM")
    file: str | None = Field(default=None, description="Path of a .qasm, .qpy or pytket .json file.")
    builder: str | None = Field(default=None, description="Name of a registered circuit builder.")
    arguments: dict[str, JsonValue] = Field(default_factory=dict, description="Arguments of the builder.")

    @model_validator(mode="after")
    def _one_source(self) -> CircuitInput:
        if sum(value is not None for value in (self.openqasm, self.file, self.builder)) != 1:
            raise ValueError("give the circuit in one way: openqasm, file or builder")
        if self.arguments and self.builder is None:
            raise ValueError("arguments are for a builder; leave them out")
        return self

    def read(self, folder: Path | None = None) -> Program:
        """The circuit.

        Args:
            folder: Where a relative `file` is looked for; the working directory if None.

        Raises:
            InvalidCircuit: It cannot be read.
            InvalidInput: There is no such builder.
        """
        if self.openqasm is not None:
            return read_circuit(self.openqasm, field="circuit.openqasm")
        if self.file is not None:
            return read_circuit((folder or Path()) / self.file, field="circuit.file")
        return build_circuit(self.builder or "", self.arguments)


class Axis(_Input):
    """One parameter and its values."""

    name: str = Field(min_length=1, description="The circuit's parameter.")
    kind: Literal["values", "linspace", "random"] = Field(default="values", description="Where the values come from.")
    values: list[FiniteFloat] | None = Field(default=None, description="For kind values: the values, in radians.")
    start: FiniteFloat | None = Field(default=None, description="For linspace and random: the first or lowest value.")
    stop: FiniteFloat | None = Field(default=None, description="For linspace and random: the last or highest value.")
    count: int | None = Field(default=None, ge=1, le=MAX_ITEMS, description="For linspace and random: how many.")
    endpoint: bool = Field(default=True, description="For linspace: whether stop is the last value.")
    seed: int = Field(default=0, ge=0, description="For random: seed of the values.")

    @model_validator(mode="after")
    def _complete(self) -> Axis:
        if self.kind == "values":
            if not self.values:
                raise ValueError(f"the axis {self.name!r} has no values; give values, or another kind")
        elif self.start is None or self.stop is None or self.count is None:
            raise ValueError(f"the axis {self.name!r} is {self.kind}; give start, stop and count")
        return self

    def points(self) -> list[float]:
        """The axis' values, in order."""
        if self.kind == "values" or self.start is None or self.stop is None or self.count is None:
            return list(self.values or ())
        if self.kind == "random":
            rng = random.Random(f"{self.name}/{self.seed}")  # noqa: S311
            return [rng.uniform(self.start, self.stop) for _ in range(self.count)]
        steps = self.count - 1 if self.endpoint else self.count
        width = self.stop - self.start
        return [self.start + width * n / steps if steps else self.start for n in range(self.count)]


class NamedObservable(_Input):
    """An observable with the name of its column."""

    name: Name = Field(description="Column of the results.")
    terms: str = Field(min_length=1, description="A sum such as 0.5*Z0 Z1 - X2, or 0.5*ZZI.")


class ObjectiveInput(_Input):
    """What the best point is best at: a registered objective, or one of the observables."""

    name: str = Field(description="A registered objective, or the name of an observable of this sweep.")
    arguments: dict[str, JsonValue] = Field(default_factory=dict, description="Arguments of a registered objective.")
    goal: Literal["maximize", "minimize"] = Field(default="maximize", description="Which way is better.")


class CompileInput(_Input):
    """How circuits are compiled for the device."""

    compiler: Compiler = Field(default=Compiler.QISKIT, description="qiskit, tket, or none to send as they are.")
    level: int = Field(default=1, ge=0, le=3, description="Optimisation level, 0 to 3 (tket: 0 to 2).")

    def options(self) -> CompileOptions:
        """As the compile stage takes it."""
        return CompileOptions(compiler=self.compiler, level=self.level)


class SweepSpec(_Input):
    """A parametric circuit, the points to run it at, and what to measure there."""

    name: Name = Field(description="Run the same name again and only what is missing is run.")
    circuit: CircuitInput = Field(description="The parametric circuit.")
    axes: list[Axis] = Field(default_factory=list, description="One entry per parameter.")
    mode: Literal["grid", "zip", "random", "list"] = Field(
        default="grid",
        description="grid: all combinations; zip: the n-th values together; random: samples drawn from the grid "
        "of the axes' ranges; list: the given points.",
    )
    points: list[dict[str, FiniteFloat]] = Field(default_factory=list, description="For mode list: the points.")
    samples: int | None = Field(default=None, ge=1, le=MAX_ITEMS, description="For mode random: how many points.")
    seed: int | None = Field(default=None, ge=0, description="Makes a simulator and mode random repeatable.")
    shots: int = Field(default=1000, ge=1, description="Shots per point, repetition and measurement basis.")
    repetitions: int = Field(default=1, ge=1, description="How often every point is run.")
    observables: list[NamedObservable] = Field(default_factory=list, description="Measured instead of counts.")
    exact: bool = Field(default=False, description="Exact expectation values instead of sampled ones (simulators).")
    objective: ObjectiveInput | None = Field(default=None, description="What the best point is best at.")
    backends: list[str] = Field(
        default=["aer"], min_length=1, description="aer, or blocks such as aer-backend/NAME; each runs every point."
    )
    compile: CompileInput = Field(default_factory=CompileInput, description="How circuits are compiled.")
    fresh: bool = Field(default=False, description="Run everything anew instead of reusing finished points.")

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
        if self.mode == "random" and self.samples is None:
            raise ValueError("mode random needs samples: how many points to draw")
        if self.mode == "zip" and len({len(axis.points()) for axis in self.axes}) > 1:
            lengths = ", ".join(f"{axis.name} has {len(axis.points())}" for axis in self.axes)
            raise ValueError(f"mode zip needs axes of one length, and {lengths}")
        if len(set(self.backends)) != len(self.backends):
            raise ValueError("a backend is named twice; use repetitions to run it more often")
        if self.exact and not (self.observables or self.objective):
            raise ValueError("exact needs observables or an objective")
        labels = [observable.name for observable in self.observables]
        if len(set(labels)) != len(labels):
            raise ValueError("two observables have the same name; results are found by their name")
        return self


def explain(error: ValidationError, what: str) -> InvalidInput:
    """One readable error out of pydantic's list."""
    problems = []
    for detail in error.errors(include_url=False, include_context=False):
        where = ".".join(str(part) for part in detail["loc"])
        words = detail["msg"].removeprefix("Value error, ")
        problems.append(f"{where}: {words}" if where else words)
    return InvalidInput(f"{what} cannot be used: " + "; ".join(problems), field=problems[0].split(":")[0])


def read_mapping(path: Path) -> dict[str, JsonValue]:
    """The mapping in a YAML or JSON file.

    Raises:
        InvalidInput: The file cannot be read, or holds something else.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}; check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is neither YAML nor JSON: {error}") from error
    if not isinstance(data, dict):
        raise InvalidInput(f"{path} must hold a mapping that begins with name:, as in examples/")
    return data


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
    return spec.model_copy(update={"circuit": CircuitInput(file=str(path.parent / spec.circuit.file))})


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
    """

    spec: SweepSpec
    source: Program
    points: tuple[Point, ...]
    templates: Mapping[str, Program]
    observables: tuple[Observable, ...]
    estimator: Estimator | None
    objective: Objective | None
    definition: str

    def items(self, compiled: Mapping[ProgramHash, Program]) -> list[ItemSpec]:
        """Every item, in order of repetition, basis and point (so that a template's points stand together).

        Args:
            compiled: From a template's hash to the circuit that is sent for it.
        """
        found: list[ItemSpec] = []
        for repetition in range(self.spec.repetitions):
            for basis, template in self.templates.items():
                program = compiled[template.hash]
                names = set(program.parameters)
                found.extend(
                    ItemSpec(
                        label=self.label(point, repetition, basis),
                        program=program.hash,
                        source=template.hash,
                        shots=self.spec.shots,
                        parameters=tuple((name, value) for name, value in point.parameters if name in names),
                    )
                    for point in self.points
                )
        return found

    def labels(self) -> list[str]:
        """Labels of all items, in the order of `items`."""
        return [
            self.label(point, repetition, basis)
            for repetition in range(self.spec.repetitions)
            for basis in self.templates
            for point in self.points
        ]

    @staticmethod
    def label(point: Point, repetition: int, basis: str) -> str:
        """Label of an item; stable from run to run."""
        return f"{point.point_id}/{repetition}/{basis}" if basis else f"{point.point_id}/{repetition}"


def expand(spec: SweepSpec, folder: Path | None = None) -> SweepPlan:
    """Work out a sweep's points and templates.

    Raises:
        InvalidInput: Unknown or unbound parameters, an observable of the wrong width, a point twice, no
            measurement where counts are asked for.
    """
    source = spec.circuit.read(folder)
    points = _points(spec, source)
    objective = _objective(spec)
    named = [*spec.observables]
    if objective is not None and objective.observable and objective.name not in {o.name for o in named}:
        named.append(NamedObservable(name=objective.name, terms=objective.observable))
    observables = tuple(parse_observable(o.name, o.terms, source.n_qubits) for o in named)
    check_runs(source, need_counts=not observables, parameters=[name for name, _ in points[0].parameters])
    estimator = Estimator(observables) if observables and not spec.exact else None
    templates = {"": source}
    if estimator is not None:
        circuit = to_qiskit(source)
        templates = {basis: read_circuit(measured_in(circuit, basis)) for basis in estimator.bases}
    return SweepPlan(
        spec=spec,
        source=source,
        points=points,
        templates=templates,
        observables=observables,
        estimator=estimator,
        objective=objective,
        definition=_definition(spec, source, observables),
    )


def _objective(spec: SweepSpec) -> Objective | None:
    wish = spec.objective
    if wish is None:
        return None
    if wish.name in {observable.name for observable in spec.observables}:
        if wish.arguments:
            raise InvalidInput("an observable as objective takes no arguments", field="objective.arguments")
        return Objective(name=wish.name, observable="")
    return load_objective(wish.name, wish.arguments)


def _points(spec: SweepSpec, source: Program) -> tuple[Point, ...]:
    rows = _rows(spec)
    total = len(rows) * spec.repetitions * len(spec.backends)
    if total > MAX_ITEMS:
        raise InvalidInput(f"the sweep has {total} circuits and the most is {MAX_ITEMS}; cut it into several")
    points: dict[str, Point] = {}
    for index, row in enumerate(rows):
        parameters = tuple(sorted(row.items()))
        if set(row) != set(rows[0]):
            raise InvalidInput(f"point {index} has other parameters than point 0; give each the same", field="points")
        text = json.dumps([source.hash, [[name, value.hex()] for name, value in parameters]])
        point_id = hashlib.sha256(text.encode()).hexdigest()[:12]
        if point_id in points:
            shown = ", ".join(f"{name}={value:g}" for name, value in parameters)
            raise InvalidInput(f"the point {shown} stands in the sweep twice; use repetitions instead", field="axes")
        points[point_id] = Point(point_id=point_id, index=index, parameters=parameters)
    return tuple(points.values())


def _rows(spec: SweepSpec) -> list[dict[str, float]]:
    """Parameters of every point; -0.0 is 0.0, so that equal points have equal ids."""
    if spec.mode == "list":
        rows: list[Sequence[tuple[str, float]]] = [list(point.items()) for point in spec.points]
    elif spec.mode == "random":
        rng = random.Random(f"sweep/{spec.seed or 0}")  # noqa: S311
        drawn = [(axis.name, axis.points()) for axis in spec.axes]
        ranges = [(name, min(values), max(values)) for name, values in drawn]
        rows = [[(name, rng.uniform(low, high)) for name, low, high in ranges] for _ in range(spec.samples or 0)]
    else:
        columns = [[(axis.name, value) for value in axis.points()] for axis in spec.axes]
        if spec.mode == "grid" and math.prod(len(column) for column in columns) > MAX_ITEMS:
            raise InvalidInput(f"the grid has more than {MAX_ITEMS} points; cut it into several", field="axes")
        rows = list(itertools.product(*columns) if spec.mode == "grid" else zip(*columns, strict=True))
        rows = rows or [[]]
    return [{name: value + 0.0 for name, value in row} for row in rows]


def _definition(spec: SweepSpec, source: Program, observables: Sequence[Observable]) -> str:
    text = json.dumps(
        [
            "qjobs-definition-1",
            source.hash,
            spec.shots,
            spec.seed,
            spec.exact,
            [[o.name, o.terms] for o in observables],
            spec.compile.model_dump(mode="json"),
        ]
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]
