"""What people fill in, in a form, in YAML or in JSON: circuits, axes, observables; and error texts for it."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    ValidationError,
    model_validator,
)

from qjobs.circuits.builders import build_circuit
from qjobs.circuits.programs import read_circuit
from qjobs.compiling.compiler import CompileOn, CompileOptions, Compiler
from qjobs.errors import InvalidInput
from qjobs.model import Program, RemoteRetryStrategy

MAX_ITEMS = 1_000_000
"""Points times repetitions times backends that one sweep may have."""

_PLAIN_WORDS = {
    "extra_forbidden": "there is no such field",
    "missing": "it is missing",
    "string_pattern_mismatch": "use letters, digits, blanks, '.', '_' and '-', and begin with a letter or a digit",
}
"""For pydantic's own words, where they are a programmer's."""


def _finite(arguments: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Refuse NaN and infinity: JSON, in which specs are kept, has neither."""
    try:
        json.dumps(arguments, allow_nan=False)
    except ValueError as error:
        raise ValueError("NaN and infinity cannot be given") from error
    return arguments


Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")]
_Arguments = Annotated[dict[str, JsonValue], AfterValidator(_finite)]


class FormInput(BaseModel):
    """Base of every form: unknown fields are refused, values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CircuitInput(FormInput):
    """A circuit: as text, as a file, or by the name of a registered builder."""

    openqasm: str | None = Field(default=None, description="OpenQASM 2 or 3 text.", title="OpenQASM")
    file: str | None = Field(default=None, description="Path of a .qasm, .qpy or pytket .json file.")
    builder: str | None = Field(default=None, description="Name of a registered circuit builder.")
    arguments: _Arguments = Field(default_factory=dict, description="Arguments of the builder.")

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
    kind: Literal["values", "linspace", "random"] = Field(default="values", description="Where the values come from.")
    values: list[FiniteFloat] | None = Field(default=None, description="For kind values: the values, in radians.")
    start: FiniteFloat | None = Field(default=None, description="For linspace and random: the first or lowest value.")
    stop: FiniteFloat | None = Field(default=None, description="For linspace and random: the last or highest value.")
    count: int | None = Field(
        default=None, ge=1, le=MAX_ITEMS, description="For linspace and random: how many; mode random needs none."
    )
    endpoint: bool = Field(default=True, description="For linspace: whether stop is the last value.")
    seed: int = Field(default=0, ge=0, description="For random: seed of the values.")

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
        return self

    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value it may have: what mode random draws between."""
        if self.start is None or self.stop is None:
            values = self.values or []
            return min(values), max(values)
        return min(self.start, self.stop), max(self.start, self.stop)

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
            values.append(self.stop if n == steps else self.start + width * (n // common) / (steps // common))
        return values


class NamedObservable(FormInput):
    """An observable with the name of its column."""

    name: Name = Field(description="Column of the results.")
    terms: str = Field(min_length=1, description="A sum such as 0.5*Z0 Z1 - X2, or 0.5*ZZI.")


class ObjectiveInput(FormInput):
    """What the best point is best at: a registered objective, or one of the observables."""

    name: str = Field(description="A registered objective, or the name of an observable of this sweep.")
    arguments: _Arguments = Field(default_factory=dict, description="Arguments of a registered objective.")
    goal: Literal["maximize", "minimize"] = Field(default="maximize", description="Which way is better.")


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
        default=None, ge=0, description="The most that one job may cost, in the provider's unit; no cap if empty."
    )
    resend_unfound: bool = Field(
        default=True, description="Whether a job whose reply was lost is sent again once it is certain that it is lost."
    )


def explain(error: ValidationError, what: str) -> InvalidInput:
    """One readable error out of pydantic's list: a line per problem, where there are several."""
    problems = []
    field = None
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        where = ".".join(str(part) for part in detail["loc"])
        words = _PLAIN_WORDS.get(detail["type"]) or detail["msg"].removeprefix("Value error, ")
        problems.append(f"{where}: {words}" if where else words)
        field = field or where or None
    text = f" {problems[0]}" if len(problems) == 1 else "".join(f"\n- {problem}" for problem in problems)
    return InvalidInput(f"{what} cannot be used:{text}", field=field)


def read_mapping(path: Path) -> dict[str, JsonValue]:
    """The mapping in a YAML or JSON file.

    Raises:
        InvalidInput: The file cannot be read, or holds something else.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}; check the path") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, or a date such as 2025-99-99
        raise InvalidInput(f"{path} is neither YAML nor JSON: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise InvalidInput(f"{path} must hold a mapping that begins with name:, as in examples/")
    return data
