"""Sweeps: one parametric circuit at many points, as people and flow parameters give it, and worked out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from qjobs.circuits.observables import Estimator
from qjobs.circuits.programs import check_runs
from qjobs.compiling.compiler import CompileOn, CompileOptions
from qjobs.errors import InvalidCircuit, InvalidInput
from qjobs.experiments.amounts import ApproveAbove
from qjobs.experiments.analyses import AnalysisPlan, plan_analysis
from qjobs.experiments.canary_rules import load_rule
from qjobs.experiments.expressions import constants
from qjobs.experiments.forms import (
    MAX_ITEMS,
    AnalysisInput,
    Arguments,
    Axis,
    CircuitInput,
    CompileInput,
    Constants,
    Expression,
    FormInput,
    Name,
    NamedObservable,
    Number,
    ObjectiveInput,
    Observables,
    RecalibrationRule,
    RetryInput,
    ShotsPer,
    VendorBatch,
    Whole,
    many_backends,
    read_form,
)
from qjobs.experiments.measured import COMMON_COLUMNS, Measured, as_measured
from qjobs.experiments.objectives import Objective, load_objective
from qjobs.experiments.points import Point, SweptCircuits, circuits_at, place_points, rows_of
from qjobs.heap import heap_set_aside
from qjobs.model import ItemSpec, Observable, OnRecalibration, Program, ProgramFormat, ProgramHash

__all__ = [
    "OWN_COLUMNS",
    "Point",
    "SweepPlan",
    "SweepSpec",
    "expand_points",
    "expand_sweep",
    "load_sweep",
]

OWN_COLUMNS = ("point_id", "point", "repetition", "counts", "fractions_stderr", *COMMON_COLUMNS)
"""Columns that a sweep's results have besides its parameters and observables."""


class CanaryInput(FormInput):
    """The first circuits, which are sent alone and judged before the others are sent."""

    circuits: Whole = Field(ge=1, description="How many of the first circuits.")
    rule: str = Field(
        default="full-shots",
        description="full-shots (as many counts as shots), outcome (how often some bits come out), or one of your own.",
    )
    arguments: Arguments = Field(
        default_factory=dict, description="Arguments of the rule, as in bits: '00' and at_least: 0.4."
    )


def _as_canary(value: object) -> object:
    """A canary, from the number of its circuits alone."""
    return {"circuits": value} if isinstance(value, int) and not isinstance(value, bool) else value


class SweepSpec(FormInput):
    """A parametric circuit, the points to run it at, and what to measure there."""

    name: Name = Field(description="Run the same name again and only what is missing is run.")
    circuit: CircuitInput = Field(description="The parametric circuit.")
    axes: list[Axis] = Field(
        default_factory=list,
        description="One entry per parameter; an axis with the name of an argument of the builder is that argument.",
    )
    mode: Literal["grid", "zip", "random", "list"] = Field(
        default="grid",
        description="grid: all combinations; zip: the n-th values together; random: every parameter drawn "
        "uniformly between the lowest and the highest value of its axis; list: the given points.",
    )
    points: list[dict[str, Number]] = Field(default_factory=list, description="For mode list: the points.")
    parameters: dict[str, Expression] = Field(
        default_factory=dict,
        description="Parameters of the circuit that are fixed, or computed from axes and constants: 2*pi*f*t.",
    )
    constants: Constants = Field(default_factory=dict, description="Named numbers for expressions, as in f: 1.5e6.")
    samples: Whole | None = Field(default=None, ge=1, le=MAX_ITEMS, description="For mode random: how many points.")
    seed: Whole | None = Field(
        default=None, ge=0, description="Makes a simulator repeatable; mode random draws with it (0 if empty)."
    )
    shots: Whole = Field(default=1000, ge=1, description="Shots per point, repetition and measurement basis.")
    shots_per: ShotsPer = Field(
        default="basis",
        description="basis: so many shots in each measurement basis; point: in all bases of a point together. Only "
        "observables have several bases; the results say both numbers.",
    )
    repetitions: Whole = Field(default=1, ge=1, description="How often every point is run.")
    observables: Observables = Field(default_factory=list, description="Measured instead of counts.")
    exact: bool = Field(default=False, description="Exact expectation values instead of sampled ones (simulators).")
    objective: ObjectiveInput | None = Field(default=None, description="What the best point is best at.")
    analysis: AnalysisInput | None = Field(default=None, description="A formula that is fitted to the results.")
    backends: list[str] = Field(
        default=["aer"],
        min_length=1,
        description="aer, nexus/DEVICE, mqp/RESOURCE, or blocks such as aer-backend/NAME; each runs every point.",
    )
    compile: CompileInput = Field(default_factory=CompileInput, description="How circuits are compiled.")
    fresh: bool = Field(default=False, description="Run everything anew instead of reusing finished points.")
    retries: RetryInput = Field(default_factory=RetryInput, description="What this run may send again, and how often.")
    canary: Annotated[CanaryInput | None, BeforeValidator(_as_canary)] = Field(
        default=None, description="Send some circuits alone first, and the others only if these are sane."
    )
    vendor_batch: VendorBatch = False
    on_recalibration: RecalibrationRule = OnRecalibration.WARN
    approve_above: ApproveAbove = None

    def compile_options(self) -> CompileOptions:
        """How templates are compiled; exact values need every qubit to stay where it is."""
        return replace(self.compile.options(), keep_qubits=self.exact)

    @model_validator(mode="before")
    @classmethod
    def _as_a_circuit_list(cls, data: Any) -> Any:
        return many_backends(data)

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
        return self


def load_sweep(path: Path) -> SweepSpec:
    """Read a sweep from a YAML or JSON file; a circuit file is found beside it.

    The text of an OpenQASM file is put into the spec, which then says all by itself.

    Raises:
        InvalidInput: The file, or the circuit it names, cannot be read or is not a sweep.
    """
    spec = read_form(path, SweepSpec)
    if spec.circuit.file is None:
        return spec
    program = spec.circuit.read(path.parent)
    if program.format in {ProgramFormat.OPENQASM2, ProgramFormat.OPENQASM3}:
        return spec.model_copy(update={"circuit": CircuitInput(openqasm=program.payload.decode())})
    return spec.model_copy(update={"circuit": spec.circuit.beside(path)})


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """A sweep, worked out: its points, and the circuits there, one unless a builder's arguments are swept.

    `definition` is a hash of all that gives a result its meaning except the point and the backend.
    `job_name` is what its jobs are called, where that is not the experiment's name. `analysis` is no part of the
    definition, and neither are labels and units: they change nothing of what is run.
    """

    spec: SweepSpec
    points: tuple[Point, ...]
    circuits: tuple[Measured, ...]
    objective: Objective | None
    definition: str
    job_name: str = ""
    analysis: AnalysisPlan | None = None

    @property
    def parameters(self) -> tuple[str, ...]:
        """The parameters in the order in which the axes, or the first point, give them."""
        given = [axis.name for axis in self.spec.axes] or list(self.spec.points[0] if self.spec.points else ())
        have = dict(self.points[0].parameters)
        return tuple(dict.fromkeys(name for name in (*given, *have) if name in have))

    @property
    def source(self) -> Program:
        """The circuit of the first point."""
        return self.circuits[0].source

    @property
    def templates(self) -> Mapping[str, Program]:
        """What is sent of the first point, by measurement basis; "" where counts or exact values are asked for."""
        return self.circuits[0].templates

    @property
    def observables(self) -> tuple[Observable, ...]:
        """The observables on the first point's circuit; their names are those of all points."""
        return self.circuits[0].observables

    @property
    def estimator(self) -> Estimator | None:
        """The estimator of the first point; None where no observable is sampled."""
        return self.circuits[0].estimator

    @property
    def programs(self) -> dict[ProgramHash, Program]:
        """The templates of all circuits by their hash."""
        found = {}
        for circuit in self.circuits:
            found.update({template.hash: template for template in circuit.templates.values()})
        return found

    @property
    def compile_options(self) -> CompileOptions:
        """How the templates are compiled."""
        return self.spec.compile_options()

    @property
    def compile_on(self) -> CompileOn:
        """Where they are compiled."""
        return self.spec.compile.compile_on

    def items(self, compiled: Mapping[ProgramHash, Program]) -> list[ItemSpec]:
        """Every item, in order of repetition, circuit, basis and point (so that a template's points stand together).

        `compiled` has the circuit that is sent for each template's hash.
        """
        items = []
        shots = [circuit.shots(self.spec.shots, self.spec.shots_per) for circuit in self.circuits]
        for repetition, number, basis, points in self._groups():
            template = self.circuits[number].templates[basis]
            program = compiled[template.hash]
            first = points[0].parameters if points[0].given is None else points[0].given
            takes_all = {name for name, _ in first} <= set(program.parameters)
            for point in points:
                parameters = point.parameters if point.given is None else point.given
                if not takes_all:
                    parameters = tuple(pair for pair in parameters if pair[0] in program.parameters)
                item = ItemSpec(
                    label=self.label(point, repetition, basis),
                    program=program.hash,
                    source=template.hash,
                    shots=shots[number][basis],
                    parameters=parameters,
                )
                items.append(item)
        return items

    def labels(self) -> list[str]:
        """Labels of all items, in the order of `items`."""
        labels = []
        for repetition, _, basis, points in self._groups():
            labels += [self.label(point, repetition, basis) for point in points]
        return labels

    def bases(self, point: Point) -> Mapping[str, Program]:
        """What is sent of a point, by measurement basis, in order."""
        return self.circuits[point.circuit].templates

    def _groups(self) -> Iterable[tuple[int, int, str, Sequence[Point]]]:
        """Repetition, number of the circuit, basis, and the points of that circuit."""
        points: list[Sequence[Point]] = [self.points]
        if len(self.circuits) > 1:
            sorted_out: list[list[Point]] = [[] for _ in self.circuits]
            for point in self.points:
                sorted_out[point.circuit].append(point)
            points = [*sorted_out]
        for repetition in range(self.spec.repetitions):
            for number, circuit in enumerate(self.circuits):
                for basis in circuit.templates:
                    yield repetition, number, basis, points[number]

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
    with heap_set_aside():
        rows = _rows(spec)
        swept = circuits_at(spec.circuit, rows, folder)
        points = _points(spec, rows, swept)
    objective = _objective(spec, points[0])
    wanted = list(spec.observables)
    if objective is not None and objective.observable:
        wanted.append(NamedObservable(name=objective.name, terms=objective.observable))
    _check_columns([name for name, _ in points[0].parameters], [each.name for each in wanted])
    checked: set[int] = set()
    for point in points:
        if point.circuit not in checked:
            checked.add(point.circuit)
            names = [name for name, _ in (point.parameters if point.given is None else point.given)]
            _check_circuit(spec, swept.sources[point.circuit], names, need_counts=not wanted)
    circuits = tuple(as_measured(source, wanted, exact=spec.exact) for source in swept.sources)
    if spec.exact and len({source.n_qubits for source in swept.sources}) > 1:
        raise InvalidInput(
            "exact values need circuits of one number of qubits; sample them, or give every size a sweep of its own",
            field="exact",
        )
    for circuit in circuits:
        circuit.shots(spec.shots, spec.shots_per)
    _check_canary(spec, points, circuits)
    return SweepPlan(
        spec=spec,
        points=points,
        circuits=circuits,
        objective=objective,
        definition=_definition(spec, swept, circuits, wanted),
        analysis=_analysis(spec, points, [each.name for each in wanted]),
    )


def _check_canary(spec: SweepSpec, points: Sequence[Point], circuits: Sequence[Measured]) -> None:
    """Refuse a canary whose rule is none, or that leaves no circuit for afterwards."""
    if spec.canary is None:
        return
    load_rule(spec.canary.rule, spec.canary.arguments)
    n_circuits = spec.repetitions * sum(len(circuits[point.circuit].templates) for point in points)
    if spec.canary.circuits >= n_circuits:
        raise InvalidInput(
            f"the sweep has {n_circuits} circuits, and canary is {spec.canary.circuits} of them; give fewer, so that "
            "some are sent afterwards",
            field="canary",
        )


def _check_circuit(spec: SweepSpec, source: Program, names: Sequence[str], *, need_counts: bool) -> None:
    """Check that a circuit can be run with parameters of these names, and name the key that says otherwise."""
    field = "circuit"
    try:
        check_runs(source, need_counts=need_counts)
        field = "axes" if spec.axes else "points" if spec.points else "circuit"
        check_runs(source, need_counts=False, parameters=names)
    except InvalidCircuit as error:
        raise InvalidCircuit(str(error), field=field) from error


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


def _analysis(spec: SweepSpec, points: Sequence[Point], observables: Sequence[str]) -> AnalysisPlan | None:
    if spec.analysis is None:
        return None
    values: dict[str, set[float]] = {name: set() for name in parameters_in_order(spec)}
    for point in points:
        for name, value in point.parameters:
            if name in values:  # not one that is computed from others
                values[name].add(value)
    n_values = {name: len(each) for name, each in values.items()}
    together = spec.mode in {"zip", "list"}
    return plan_analysis(spec.analysis, n_values, observables, together=together, is_grid=spec.mode == "grid")


def parameters_in_order(spec: SweepSpec) -> list[str]:
    """Names of the parameters of a sweep, as they were given."""
    return [axis.name for axis in spec.axes] if spec.axes else list(spec.points[0] if spec.points else ())


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
    """The points of a sweep over one circuit, each with its id.

    Raises:
        InvalidInput: There are too many, one is given twice, or they have different parameters or none that is finite.
    """
    rows = _rows(spec)
    return _points(spec, rows, SweptCircuits(sources=(source,), numbers=[0] * len(rows)))


def _rows(spec: SweepSpec) -> list[dict[str, float]]:
    return rows_of(spec.axes, spec.mode, spec.points, spec.samples, spec.seed)


def _points(spec: SweepSpec, rows: Sequence[Mapping[str, float]], swept: SweptCircuits) -> tuple[Point, ...]:
    total = len(rows) * spec.repetitions * len(spec.backends)
    if total > MAX_ITEMS:
        raise InvalidInput(f"the sweep has {total} circuits and the most is {MAX_ITEMS}; cut it into several")
    with constants(spec.constants):
        return place_points(rows, swept, spec.parameters)


def _definition(
    spec: SweepSpec, swept: SweptCircuits, circuits: Sequence[Measured], wanted: Sequence[NamedObservable]
) -> str:
    """What is run decides: constants, and how a number was written, are in the points.

    A sweep over a builder's arguments has its circuits in the points too, so that another size adds points only.
    """
    is_shared = spec.shots_per == "point" and any(len(circuit.templates) > 1 for circuit in circuits)
    common = [
        ["point", spec.shots] if is_shared else spec.shots,
        spec.seed,
        spec.exact,
    ]
    how = spec.compile.model_dump(mode="json", exclude={"compile_on"})
    if swept.arguments:
        fixed = [spec.circuit.builder, spec.circuit.arguments, sorted(swept.arguments)]
        observables = [[each.name, " ".join(each.terms.split())] for each in wanted]
        text = json.dumps(["qjobs-swept-1", fixed, *common, observables, how], sort_keys=True)
    else:
        terms = [[observable.name, observable.terms] for observable in circuits[0].observables]
        text = json.dumps(["qjobs-definition-1", swept.sources[0].hash, *common, terms, how])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
