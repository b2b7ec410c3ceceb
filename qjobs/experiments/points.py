"""The points of a sweep: what its axes say, the circuit of each point, and what that circuit is given there."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qjobs.circuits.builders import BUILDERS
from qjobs.errors import InvalidCircuit, InvalidInput
from qjobs.experiments.expressions import evaluate_all, names_in
from qjobs.experiments.forms import MAX_ITEMS, Axis, CircuitInput
from qjobs.model import JsonValue, Program

__all__ = ["MAX_CIRCUITS", "Point", "SweptCircuits", "circuits_at", "place_points", "rows_of"]

MAX_CIRCUITS = 10_000
"""Different circuits that one sweep over a builder's arguments may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One point: a stable id, its place in the sweep, and its values by name: axes and computed parameters.

    `circuit` is the number of its circuit, where a builder's arguments are swept. `given` has what the circuit's
    parameters are given there, in radians, where that is not `parameters`.
    """

    point_id: str
    index: int
    parameters: tuple[tuple[str, float], ...]
    circuit: int = 0
    given: tuple[tuple[str, float], ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweptCircuits:
    """The circuits of a sweep, each once, and the number of that of each row; `arguments` are the swept ones."""

    sources: tuple[Program, ...]
    numbers: Sequence[int]
    arguments: tuple[str, ...] = ()


def rows_of(
    axes: Sequence[Axis], mode: str, points: Sequence[Mapping[str, float]], samples: int | None, seed: int | None
) -> list[dict[str, float]]:
    """The values of the axes at every point; one row without any where there are no axes.

    Raises:
        InvalidInput: There are too many.
    """
    if mode == "list":
        rows = [dict(point) for point in points]
    elif mode == "random":
        rng = random.Random(f"sweep/{seed or 0}")  # noqa: S311
        rows = []
        for _ in range(samples or 0):
            rows.append({axis.name: axis.draw(rng) for axis in axes})
    else:
        names = [axis.name for axis in axes]
        columns = [axis.points() for axis in axes]
        if mode == "grid" and math.prod(len(column) for column in columns) > MAX_ITEMS:
            raise InvalidInput(f"the grid has more than {MAX_ITEMS} points; cut it into several", field="axes")
        combined = itertools.product(*columns) if mode == "grid" else zip(*columns, strict=True)
        rows = [dict(zip(names, values, strict=True)) for values in combined]
    return rows or [{}]


def circuits_at(circuit: CircuitInput, rows: Sequence[Mapping[str, float]], folder: Path | None) -> SweptCircuits:
    """The circuit of every row. An axis with the name of an argument of the circuit's builder is that argument.

    Raises:
        InvalidInput: A circuit cannot be read or built, or there are too many.
    """
    arguments: tuple[str, ...] = ()
    if circuit.builder is not None:
        taken = BUILDERS.arguments(circuit.builder)
        arguments = tuple(name for name in rows[0] if name in taken)
    if given := [name for name in arguments if name in circuit.arguments]:
        raise InvalidInput(
            f"{given[0]!r} is an axis and stands in the builder's arguments too; leave it out of one of them",
            field=f"circuit.arguments.{given[0]}",
        )
    if not arguments:
        return SweptCircuits(sources=(circuit.read(folder),), numbers=[0] * len(rows))
    numbers: dict[tuple[float, ...], int] = {}
    sources = []
    of_rows = []
    for row in rows:
        values = tuple(row.get(name, math.nan) for name in arguments)
        if values not in numbers:
            if len(numbers) == MAX_CIRCUITS:
                raise InvalidInput(f"the sweep has more than {MAX_CIRCUITS} different circuits; cut it", field="axes")
            numbers[values] = len(numbers)
            sources.append(_built(circuit, dict(zip(arguments, values, strict=True))))
        of_rows.append(numbers[values])
    return SweptCircuits(sources=tuple(sources), numbers=of_rows, arguments=arguments)


def _built(circuit: CircuitInput, swept: Mapping[str, float]) -> Program:
    """The circuit with these arguments, the whole numbers among them as such."""
    values: dict[str, JsonValue] = {}
    for name, value in swept.items():
        values[name] = int(value) if value.is_integer() else value
    try:
        return circuit.model_copy(update={"arguments": {**circuit.arguments, **values}}).read()
    except InvalidInput as error:
        shown = ", ".join(f"{name}={value}" for name, value in values.items())
        raise type(error)(f"at {shown}: {error}", field="axes") from error


def place_points(
    rows: Sequence[Mapping[str, float]], circuits: SweptCircuits, expressions: Mapping[str, str]
) -> tuple[Point, ...]:
    """The points, each with its id: a hash of the circuit and of what it is given.

    `expressions` has the parameters that are computed at each point, from its axes.

    Raises:
        InvalidInput: One is given twice, an expression has no value, or they have different parameters or none that is
            finite.
    """
    names = set(rows[0])
    for index, row in enumerate(rows):
        if row.keys() != names:
            raise InvalidInput(f"point {index} has other parameters than point 0; give each the same", field="points")
    computed = _computed(rows, expressions)
    not_given = _not_given(names, circuits, expressions)
    points: dict[str, Point] = {}
    encode = json.JSONEncoder().encode
    all_given = not not_given and not circuits.arguments
    for index, row in enumerate(rows):
        # -0.0 is 0.0, so that equal points have equal ids.
        values = [(name, value + 0.0) for name, value in row.items()]
        for name, column in computed.items():
            values.append((name, column[index] + 0.0))
        parameters = tuple(sorted(values))
        if not all(math.isfinite(value) for _, value in parameters):
            raise InvalidInput(f"point {index} is too large for a number; take a smaller range", field="axes")
        number = circuits.numbers[index]
        source = circuits.sources[number]
        given = None if all_given else tuple(pair for pair in parameters if pair[0] in source.parameters)
        bound = parameters if given is None else given
        identity = [source.hash, [[name, value.hex()] for name, value in bound]]
        if not_given:
            identity.append([[name, value.hex()] for name, value in parameters if name in not_given])
        point_id = hashlib.sha256(encode(identity).encode()).hexdigest()[:16]
        if point_id in points:
            shown = ", ".join(f"{name}={value:g}" for name, value in parameters) or "without parameters"
            raise InvalidInput(f"the point {shown} is in the sweep twice; use repetitions instead", field="axes")
        points[point_id] = Point(point_id=point_id, index=index, parameters=parameters, circuit=number, given=given)
    return tuple(points.values())


def _computed(rows: Sequence[Mapping[str, float]], expressions: Mapping[str, str]) -> dict[str, list[float]]:
    """The computed parameters, a column each."""
    columns = {}
    for name, text in expressions.items():
        field = f"parameters.{name}"
        if name in rows[0]:
            raise InvalidInput(f"{name!r} is an axis and stands under parameters too; leave it out of one", field=field)
        try:
            columns[name] = evaluate_all(text, rows)
        except ValueError as error:
            raise InvalidInput(f"the parameter {name!r}: {error}", field=field) from error
    return columns


def _not_given(names: set[str], circuits: SweptCircuits, expressions: Mapping[str, str]) -> set[str]:
    """The axes that no circuit has as a parameter: they stand in expressions, or are arguments of the builder.

    Raises:
        InvalidCircuit: There is another one, or a computed parameter that no circuit has.
    """
    known: set[str] = set()
    for source in circuits.sources:
        known.update(source.parameters)
    helpers = set(circuits.arguments)
    for text in expressions.values():
        helpers |= names_in(text)
    if circuits.arguments and (unknown := sorted((names | set(expressions)) - known - helpers)):
        raise InvalidCircuit(f"none of the sweep's circuits has a parameter {unknown[0]!r}; leave it out", field="axes")
    return (names & helpers) - known
