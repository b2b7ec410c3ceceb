"""What people fill in, in a form, in YAML or in JSON: circuits, axes, observables; and error texts for it."""

from __future__ import annotations

import contextlib
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)

from qjobs.circuits.builders import build_circuit
from qjobs.circuits.programs import read_circuit
from qjobs.compiling.compiler import CompileOn, CompileOptions, Compiler
from qjobs.errors import InvalidInput
from qjobs.experiments.expressions import check_name, constants, evaluate, read_number, read_whole
from qjobs.experiments.plain_words import in_plain_words, plain_error
from qjobs.experiments.yaml_file import read_file
from qjobs.model import OnRecalibration, Program, RemoteRetryStrategy

MAX_ITEMS = 1_000_000
"""Points times repetitions times backends that one sweep may have."""


def _finite(arguments: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Refuse NaN and infinity: JSON, in which specs are kept, has neither."""
    try:
        json.dumps(arguments, allow_nan=False)
    except ValueError as error:
        raise ValueError("NaN and infinity cannot be given") from error
    return arguments


Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")]
_Words = Annotated[str, Field(max_length=100, pattern=r"^[^\r\n|$]*$")]
"""One line of text, without the signs that tables and formulas are made of."""
Arguments = Annotated[dict[str, JsonValue], AfterValidator(_finite)]
Number = Annotated[FiniteFloat, BeforeValidator(read_number)]
"""A number, in files also as `pi/2` or `2*pi*f` with a constant f."""
Whole = Annotated[int, BeforeValidator(read_whole)]
"""A whole number, in files also as `1e4`."""
Constants = Annotated[dict[str, FiniteFloat], Field(title="Constants")]
"""Numbers with names, for the expressions of a form."""
_Form = TypeVar("_Form", bound=BaseModel)


def _expression(value: object) -> object:
    """The text of an expression, from a number or a text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return repr(value)


Expression = Annotated[str, BeforeValidator(_expression)]
"""A number or an expression, which is evaluated at every point."""


VendorBatch = Annotated[
    bool,
    Field(
        description="All jobs of a run on a device are one batch there, and run one after the other. Only Quantinuum's "
        "machines on Nexus have batches; elsewhere each job runs by itself."
    ),
]


RecalibrationRule = Annotated[
    OnRecalibration,
    Field(
        description="What is done where the device was recalibrated after compiling, before a job is sent: warn tells "
        "of it, recompile compiles anew and sends that, fail sends nothing."
    ),
]


class FormInput(BaseModel):
    """Base of every form: unknown fields are refused, values cannot be changed.

    Where a form has constants, the expressions in it can use them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="wrap")
    @classmethod
    def _in_plain_words(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            if isinstance(data, Mapping) and "constants" in cls.model_fields and data.get("constants"):
                values = _constants(cls.__name__, data["constants"])
                with constants(values):
                    return handler({**data, "constants": values})
            return handler(data)
        except ValidationError as error:
            raise in_plain_words(error, cls) from None


def _constants(form: str, given: object) -> dict[str, float]:
    """The constants by their names; each may use those above it."""
    if not isinstance(given, Mapping):
        raise plain_error(form, ("constants",), "it must be a mapping of names to numbers, as in {f: 1.5e6}", given)
    values: dict[str, float] = {}
    for name, value in given.items():
        try:
            check_name(str(name))
            values[str(name)] = evaluate(str(value), values) if not isinstance(value, float) else value
        except ValueError as error:
            raise plain_error(form, ("constants", str(name)), str(error), value) from None
    return values


def _unless_empty(text: object) -> object:
    """None for an empty text, which is what a form in a browser gives for a field that was cleared."""
    return None if text == "" else text


_Text = Annotated[str | None, BeforeValidator(_unless_empty)]


class CircuitInput(FormInput):
    """A circuit: as text, as a file, or by the name of a registered builder."""

    openqasm: _Text = Field(default=None, description="OpenQASM 2 or 3 text.", title="OpenQASM")
    file: _Text = Field(default=None, description="Path of a .qasm, .qpy or pytket .json file.")
    builder: _Text = Field(default=None, description="Name of a registered circuit builder.")
    arguments: Arguments = Field(default_factory=dict, description="Arguments of the builder.")

    @model_validator(mode="after")
    def _one_source(self) -> CircuitInput:
        if [self.openqasm, self.file, self.builder].count(None) != 2:
            raise ValueError("give the circuit in one way: openqasm, file or builder")
        if self.arguments and self.builder is None:
            raise ValueError("arguments are for a builder; leave them out")
        return self

    def read(self, folder: Path | None = None) -> Program:
        """The circuit; a relative `file` is looked for in `folder`, or in the working directory if None.

        Raises:
            InvalidCircuit: It cannot be read.
            InvalidInput: There is no such builder.
        """
        if self.openqasm is not None:
            return read_circuit(self.openqasm, field="circuit.openqasm")
        if self.file is not None:
            return read_circuit((folder or Path()) / self.file, field="circuit.file")
        return build_circuit(self.builder or "", self.arguments)

    def beside(self, path: Path) -> Self:
        """The same, with a relative file found beside `path` from any working directory."""
        if self.file is None:
            return self
        return self.model_copy(update={"file": str(path.parent.absolute() / self.file)})


class Axis(FormInput):
    """One parameter and its values, or in mode random its range."""

    name: str = Field(min_length=1, description="The circuit's parameter.")
    label: _Words = Field(default="", description="Words for it in pictures and reports; its name if empty.")
    unit: _Words = Field(default="", description="Unit of its values in pictures and reports, such as us or rad.")
    kind: Literal["values", "linspace", "logspace", "random"] = Field(
        default="values",
        description="Where the values come from: a list; even steps (linspace); even ratios (logspace); or drawn.",
    )
    values: list[Number] | None = Field(
        default=None, description="For kind values: what the circuit takes; angles in radians."
    )
    start: Number | None = Field(default=None, description="For the other kinds: the first or lowest value.")
    stop: Number | None = Field(
        default=None, description="For the other kinds: the last or highest value (logspace: no exponent either)."
    )
    count: Whole | None = Field(
        default=None, ge=1, le=MAX_ITEMS, description="For the other kinds: how many; mode random needs none."
    )
    endpoint: bool = Field(default=True, description="For linspace and logspace: whether stop is the last value.")
    seed: Whole = Field(default=0, ge=0, description="For random: seed of the values.")

    @model_validator(mode="after")
    def _complete(self) -> Axis:
        if self.kind == "values":
            if not self.values:
                raise ValueError(f"the axis {self.name!r} has no values; give values, or another kind")
            if [self.start, self.stop, self.count] != [None, None, None]:
                raise ValueError(
                    f"the axis {self.name!r} is of kind values; start, stop and count are for the other kinds"
                )
            return self
        if self.values is not None:
            raise ValueError(f"the axis {self.name!r} is of kind {self.kind}; values are for the kind values")
        if self.start is None or self.stop is None:
            raise ValueError(f"the axis {self.name!r} is of kind {self.kind}; give start, stop and count")
        if self.kind == "logspace" and min(self.start, self.stop) <= 0:
            raise ValueError(
                f"the axis {self.name!r} is of kind logspace; start and stop are its first and last value (no "
                "exponents), and must be above 0"
            )
        return self

    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value it may have: what mode random draws between."""
        if self.start is None or self.stop is None:
            values = self.values or []
            return min(values), max(values)
        return min(self.start, self.stop), max(self.start, self.stop)

    def draw(self, rng: random.Random) -> float:
        """A value between the ends, as mode random draws it: evenly, of a logspace evenly in its logarithm."""
        low, high = self.ends()
        if self.kind != "logspace":
            return rng.uniform(low, high)
        return min(max(low * math.pow(high / low, rng.random()), low), high)

    def points(self) -> list[float]:
        """The axis' values, in order; a finer linspace has the values of a coarser one to the last bit."""
        if self.start is None or self.stop is None or self.count is None:
            return list(self.values or ())
        if self.kind == "random":
            rng = random.Random(f"{self.name}/{self.seed}")  # noqa: S311
            return [rng.uniform(self.start, self.stop) for _ in range(self.count)]
        steps = max(self.count - 1 if self.endpoint else self.count, 1)
        width = self.stop - self.start
        values = []
        for n in range(self.count):
            common = math.gcd(n, steps)
            if n == steps:
                values.append(self.stop)
            elif self.kind == "logspace":
                exponent = (n // common) / (steps // common)
                values.append(self.start * math.pow(self.stop / self.start, exponent))
            else:
                values.append(self.start + width * (n // common) / (steps // common))
        return values


class NamedObservable(FormInput):
    """An observable with the name of its column."""

    name: str = Field(
        min_length=1,
        max_length=200,
        pattern=r"^[A-Za-z0-9.+-][A-Za-z0-9 ._*+-]*$",
        description="Column of the results.",
    )
    terms: str = Field(min_length=1, description="A sum such as 0.5*Z0 Z1 - X2, or 0.5*ZZI.")


def _observables(given: object) -> object:
    """Observables as the form has them, also where they are texts alone, or come by their names."""
    if isinstance(given, str):
        given = [given]
    if isinstance(given, Mapping) and not given.keys() >= {"name", "terms"}:
        return [{"name": name, "terms": terms} for name, terms in given.items()]
    if not isinstance(given, list | tuple):
        raise ValueError("give a list such as [Z0 Z1, X0], or names with terms, as in {zz: Z0 Z1}")  # noqa: TRY004
    return [{"name": " ".join(each.split()), "terms": each} if isinstance(each, str) else each for each in given]


def _observables_once(observables: list[NamedObservable]) -> list[NamedObservable]:
    names: set[str] = set()
    for observable in observables:
        if observable.name in names:
            raise ValueError(
                f"two observables have the same name, {observable.name!r}; results are found by their name"
            )
        names.add(observable.name)
    return observables


Observables = Annotated[list[NamedObservable], BeforeValidator(_observables), AfterValidator(_observables_once)]
"""Observables, in files also as `[Z0 Z1, X0]` and `{zz: Z0 Z1}`."""
ShotsPer = Literal["basis", "point"]
"""Whether the shots are those of each measurement basis, or of all bases of a point together."""


class ObjectiveInput(FormInput):
    """What the best point is best at: a registered objective, or one of the observables."""

    name: str = Field(description="A registered objective, or the name of an observable of this sweep.")
    arguments: Arguments = Field(default_factory=dict, description="Arguments of a registered objective.")
    goal: Literal["maximize", "minimize"] = Field(default="maximize", description="Which way is better.")


class AnalysisInput(FormInput):
    """A formula to fit to the results along one axis: a registered analysis."""

    name: str = Field(description="cosine, exponential-decay, parabola, rabi, ramsey, t1, or one of your own.")
    arguments: Arguments = Field(default_factory=dict, description="Arguments of the analysis.")
    axis: str | None = Field(default=None, description="Along which axis, where several vary.")
    observable: str | None = Field(default=None, description="What is fitted; every observable if empty.")
    start: dict[str, FiniteFloat] = Field(
        default_factory=dict, description="Where the fit begins, by parameter of the formula; searched for if empty."
    )


class CompileInput(FormInput):
    """How circuits are compiled for the device."""

    compiler: Compiler = Field(default=Compiler.QISKIT, description="qiskit, tket, remote (a compile job), or none.")
    level: int = Field(default=1, ge=0, le=3, description="Optimisation level, 0 to 3 (tket: 0 to 2).")
    compile_on: CompileOn = Field(
        default=CompileOn.AUTO,
        description="Where many different circuits are compiled: this process, processes of this machine, dask (the "
        "cluster at QJOBS_DASK_SCHEDULER), or auto (processes where it pays). The results are the same.",
    )

    def options(self) -> CompileOptions:
        """As the compile stage takes it."""
        return CompileOptions(compiler=self.compiler, level=self.level)


_COMPILE_KEYS = ("compiler", "level", "compile_on")


def one_backend(data: Any) -> Any:
    """A form for one backend with the keys of a sweep: `backends` with one name, and a mapping `compile`.

    Raises:
        ValidationError: There are several backends, or a key is given in both ways.
    """
    if not isinstance(data, Mapping):
        return data
    data = dict(data)
    backends = data.get("backends")
    if "backends" in data and isinstance(backends, list):
        _refuse_both(data, "backend", "backends")
        if len(backends) != 1:
            words = "circuits as they are run on one backend; name one, or make a file for each"
            raise plain_error("CircuitList", ("backends",), words, backends)
        data["backend"] = data.pop("backends")[0]
    if isinstance(data.get("compile"), Mapping):
        for key in _COMPILE_KEYS:
            _refuse_both(data, key, "compile")
        data.update(data.pop("compile"))
    return data


def many_backends(data: Any) -> Any:
    """A sweep's form with the keys of a circuit list: `backend`, and how circuits are compiled without `compile`.

    Raises:
        ValidationError: A key is given in both ways.
    """
    if not isinstance(data, Mapping):
        return data
    data = dict(data)
    if "backend" in data:
        _refuse_both(data, "backend", "backends")
        data["backends"] = [data.pop("backend")]
    elif isinstance(data.get("backends"), str):
        data["backends"] = [data["backends"]]
    flat = {key: data.pop(key) for key in _COMPILE_KEYS if key in data}
    for key in flat:
        _refuse_both({**data, **flat}, key, "compile")
    if flat:
        data["compile"] = flat
    return data


def _refuse_both(data: Mapping[str, Any], first: str, second: str) -> None:
    if first in data and second in data:
        raise plain_error("form", (first,), f"{first} and {second} say the same; leave one of them out", data[first])


class RetryInput(FormInput):
    """What may be sent again, and how often."""

    strategy: RemoteRetryStrategy = Field(
        default=RemoteRetryStrategy.DEFAULT,
        description="What this run does about jobs that are there already: DEFAULT sends nothing twice, ALLOW_RESUBMIT "
        "sends again what has no remote id, FORCE_RESUBMIT what has no result, FULL_RESTART all, compiling included.",
    )
    ladder: list[RemoteRetryStrategy] = Field(
        default_factory=list, description="Strategies of the first, second, ... retry; the backend's own if empty."
    )
    delays_s: list[Annotated[FiniteFloat, Field(ge=0)]] = Field(
        default=[2.0, 10.0, 60.0], min_length=1, description="Pauses before the retries of the ladder, in seconds."
    )
    max_submissions: int = Field(default=3, ge=1, description="The most submissions of one job, the first included.")
    max_total_s: float = Field(
        default=86_400.0, gt=0, description="The most seconds spent trying to submit a job; its queue does not count."
    )
    max_cost: float | None = Field(
        default=None,
        ge=0,
        description="The most that all jobs of the run may cost, with every retry, in the provider's unit; no cap if "
        "empty.",
    )
    resend_unfound: bool = Field(
        default=True, description="Whether a job whose reply was lost is sent again once it is certain that it is lost."
    )


def explain(
    error: ValidationError, what: str, line: Callable[[tuple[str | int, ...]], int | None] = lambda _: None
) -> InvalidInput:
    """One readable error out of pydantic's list: a line per problem, where there are several.

    `line` has the line of the file in which something stands, by its place.
    """
    problems = []
    field = None
    for detail in in_plain_words(error, FormInput).errors(include_url=False, include_context=False):
        place = detail["loc"][:-1] if detail["loc"][-1:] == ("[key]",) else detail["loc"]
        where = ".".join(str(part) for part in place)
        number = line(place)
        shown = where if number is None else f"line {number}, {where}"
        problems.append(f"{shown}: {detail['msg']}" if shown else detail["msg"])
        field = field or where or None
    text = f" {problems[0]}" if len(problems) == 1 else "".join(f"\n- {problem}" for problem in problems)
    return InvalidInput(f"{what} cannot be used:{text}", field=field)


def read_mapping(path: Path) -> dict[str, JsonValue]:
    """The mapping in a YAML or JSON file.

    Raises:
        InvalidInput: The file cannot be read, or holds something else.
    """
    return read_file(path).data


def read_form(path: Path, form: type[_Form]) -> _Form:
    """A form from a YAML or JSON file.

    Raises:
        InvalidInput: The file cannot be read or used; the message names the lines.
    """
    file = read_file(path)
    try:
        return form.model_validate(file.data)
    except ValidationError as error:
        raise explain(error, str(path), file.line) from error


def at_its_line(error: InvalidInput, path: Path) -> InvalidInput:
    """An error that was found behind the form, with the file and the line of what it is about, where that is known."""
    if str(path) in str(error) or not error.field:
        return error
    try:
        line = read_file(path).line(error.field.split("."))
    except InvalidInput:
        return error
    if line is None:
        return error
    return type(error)(f"{path}, line {line}: {error}", field=error.field)


@contextlib.contextmanager
def naming_lines(path: Path) -> Iterator[None]:
    """Errors about the input that leave this name the file and the line, where they are known.

    Raises:
        InvalidInput: As it was raised inside, with these words before its own.
    """
    try:
        yield
    except InvalidInput as error:
        found = at_its_line(error, path)
        if found is error:
            raise
        raise found from error
