"""Circuit lists: circuits to run as they are, as people and flow parameters give them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, JsonValue, model_validator

from qjobs.circuits.programs import check_runs
from qjobs.compiling.compiler import CompileOn, CompileOptions
from qjobs.errors import InvalidInput
from qjobs.experiments.amounts import ApproveAbove
from qjobs.experiments.forms import (
    CircuitInput,
    CompileInput,
    Constants,
    Name,
    NamedObservable,
    Number,
    Observables,
    RecalibrationRule,
    RetryInput,
    ShotsPer,
    VendorBatch,
    Whole,
    one_backend,
    read_form,
)
from qjobs.experiments.measured import COMMON_COLUMNS, Measured, as_measured
from qjobs.model import ItemSpec, OnRecalibration, Program, ProgramHash

OWN_COLUMNS = frozenset({"label", "counts", "expvals", *COMMON_COLUMNS})
"""Columns that the results of a circuit list may have besides observables and metadata."""


def _metadata(given: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Refuse what cannot be a column of its own."""
    for name, value in given.items():
        if name in OWN_COLUMNS:
            raise ValueError(f"the results have a column {name!r} already; take another name")
        if isinstance(value, dict | list):
            raise ValueError(f"{name!r} must be a number, a text, or true or false, so that it fits into a column")  # noqa: TRY004
    return given


class CircuitEntry(CircuitInput):
    """A circuit of the list, with its label, its shots, the values of its parameters, and what is said about it."""

    label: str | None = Field(default=None, max_length=200, description="Names the result; c0, c1, ... by default.")
    shots: Whole | None = Field(default=None, ge=1, description="Shots of this circuit, where they differ.")
    parameters: dict[str, Number] = Field(default_factory=dict, description="Values of its parameters (rad).")
    observables: Observables = Field(
        default_factory=list, description="Measured instead of counts; those of the list if empty."
    )
    metadata: Annotated[dict[str, JsonValue], AfterValidator(_metadata)] = Field(
        default_factory=dict, description="Columns of its row in the results, as in family: ghz; they change nothing."
    )


class CircuitList(CompileInput):
    """Circuits to run on one backend."""

    name: Name = Field(default="circuits", description="Name of the jobs and of the results.")
    circuits: list[CircuitEntry] = Field(min_length=1, description="What to run.")
    shots: Whole = Field(
        default=1000, ge=1, description="Shots of every circuit that has none of its own, per measurement basis."
    )
    shots_per: ShotsPer = Field(
        default="basis",
        description="basis: so many shots in each measurement basis; point: in all bases of a circuit together. Only "
        "observables have several bases; the results say both numbers.",
    )
    observables: Observables = Field(default_factory=list, description="Measured instead of counts, at every circuit.")
    constants: Constants = Field(default_factory=dict, description="Named numbers for expressions, as in f: 1.5e6.")
    backend: str = Field(
        default="aer", description="aer, nexus/DEVICE, mqp/RESOURCE, or a block such as aer-backend/NAME."
    )
    seed: Whole | None = Field(default=None, ge=0, description="Makes a simulator repeatable.")
    retries: RetryInput = Field(default_factory=RetryInput, description="What this run may send again, and how often.")
    vendor_batch: VendorBatch = False
    on_recalibration: RecalibrationRule = OnRecalibration.WARN
    approve_above: ApproveAbove = None

    @model_validator(mode="before")
    @classmethod
    def _as_a_sweep(cls, data: Any) -> Any:
        return one_backend(data)

    @model_validator(mode="after")
    def _labels_once(self) -> CircuitList:
        taken = set()
        for label in self.labels():
            if label in taken:
                raise ValueError(f"the label {label!r} is used twice; results are found by their label")
            taken.add(label)
        return self

    def labels(self) -> list[str]:
        """Labels of all circuits, in order."""
        return [entry.label or f"c{index}" for index, entry in enumerate(self.circuits)]


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitListPlan:
    """A circuit list, read and checked: what is sent by hash, and the program of every entry.

    `measured` has how every entry is measured, where one of them has observables; else it is empty.
    """

    spec: CircuitList
    programs: Mapping[ProgramHash, Program]
    sources: tuple[ProgramHash, ...]
    measured: tuple[Measured, ...] = ()

    @property
    def compile_options(self) -> CompileOptions:
        """How the circuits are compiled."""
        return self.spec.options()

    @property
    def compile_on(self) -> CompileOn:
        """Where they are compiled."""
        return self.spec.compile_on

    @property
    def definition(self) -> str:
        """A hash of all that gives the results their meaning except the backend."""
        circuits: list[object] = []
        for item in self.items(self.programs):
            circuits.append([item.label, item.source, item.shots, item.parameters])
        for one in self.measured:
            circuits.append([[each.name, each.terms] for each in one.observables])
        text = json.dumps(["qjobs-circuits-1", circuits, self.spec.seed, self.compile_options.as_json()])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def labels(self) -> list[str]:
        """Labels of all items, in the order of `items`: those of the circuits, and of their measurement bases."""
        labels: list[str] = []
        for index in range(len(self.sources)):
            labels += self.labels_of(index).values()
        return labels

    def labels_of(self, index: int) -> dict[str, str]:
        """The labels of the items of a circuit by measurement basis; "" where counts are asked for."""
        label = self.spec.circuits[index].label or f"c{index}"
        if not self.measured:
            return {"": label}
        return {basis: f"{label}/{basis}" if basis else label for basis in self.measured[index].templates}

    def items(self, compiled: Mapping[ProgramHash, Program]) -> list[ItemSpec]:
        """The items of every circuit, in order: one, or one per measurement basis.

        `compiled` has the circuit that is sent for each source's hash.
        """
        items = []
        for index, (entry, source) in enumerate(zip(self.spec.circuits, self.sources, strict=True)):
            # -0.0 is 0.0, as in sweeps.
            parameters = tuple(sorted((name, value + 0.0) for name, value in entry.parameters.items()))
            wanted = entry.shots or self.spec.shots
            shots = {"": wanted}
            templates = {"": source}
            if self.measured:
                one = self.measured[index]
                shots = one.shots(wanted, self.spec.shots_per)
                templates = {basis: template.hash for basis, template in one.templates.items()}
            for basis, label in self.labels_of(index).items():
                item = ItemSpec(
                    label=label,
                    program=compiled[templates[basis]].hash,
                    source=templates[basis],
                    shots=shots[basis],
                    parameters=parameters,
                )
                items.append(item)
        return items


def expand_circuit_list(spec: CircuitList, folder: Path | None = None) -> CircuitListPlan:
    """Read and check every circuit; the same text is read once.

    Raises:
        InvalidInput: A circuit cannot be read or run; the message names its place.
    """
    wanted = [each.observables or spec.observables for each in spec.circuits]
    programs: dict[ProgramHash, Program] = {}
    read: dict[str, Program] = {}
    known: dict[tuple[ProgramHash, str], Measured] = {}
    sources = []
    measured = []
    for index, entry in enumerate(spec.circuits):
        source = CircuitInput(
            openqasm=entry.openqasm, file=entry.file, builder=entry.builder, arguments=entry.arguments
        )
        key = source.model_dump_json()
        try:
            if key not in read:
                read[key] = source.read(folder)
            program = read[key]
            check_runs(program, need_counts=not wanted[index], parameters=entry.parameters)
            if any(wanted):
                as_it_is = program.hash, "\n".join(f"{each.name}: {each.terms}" for each in wanted[index])
                if as_it_is not in known:
                    known[as_it_is] = as_measured(program, wanted[index])
                measured.append(known[as_it_is])
                measured[-1].shots(entry.shots or spec.shots, spec.shots_per)
        except InvalidInput as error:
            where = f"circuits.{index}"
            raise type(error)(f"{entry.label or where}: {error}", field=where) from error
        templates = measured[-1].templates if measured else {"": program}
        programs.update({template.hash: template for template in templates.values()})
        sources.append(program.hash)
    plan = CircuitListPlan(spec=spec, programs=programs, sources=tuple(sources), measured=tuple(measured))
    _check_columns(spec, wanted)
    if len(set(plan.labels())) != len(plan.labels()):
        raise InvalidInput("a label ends like the measurement basis of another circuit; take another", field="circuits")
    return plan


def _check_columns(spec: CircuitList, wanted: Sequence[Sequence[NamedObservable]]) -> None:
    """Every column of the results needs a name of its own."""
    measured = {each.name for observables in wanted for each in observables}
    measured |= {f"{name}_stderr" for name in measured}
    if taken := measured & OWN_COLUMNS:
        raise InvalidInput(f"the results have a column {min(taken)!r} already; rename it", field="observables")
    for index, entry in enumerate(spec.circuits):
        if twice := measured & entry.metadata.keys():
            words = f"{min(twice)!r} is metadata and an observable; rename one of them"
            raise InvalidInput(words, field=f"circuits.{index}.metadata")


def load_circuit_list(path: Path) -> CircuitList:
    """Read a circuit list from a YAML or JSON file, or take one circuit file as a list of one.

    Relative circuit files are found beside the list's own file.

    Raises:
        InvalidInput: The file cannot be read or is no circuit list.
    """
    if path.suffix in {".qasm", ".qpy"}:
        entry = CircuitEntry(file=str(path.absolute()), label=path.stem[:200])
        name = re.sub(r"[^A-Za-z0-9]+", "-", path.stem).strip("-")[:200]
        return CircuitList(name=name or "circuits", circuits=[entry])
    spec = read_form(path, CircuitList)
    return spec.model_copy(update={"circuits": [entry.beside(path) for entry in spec.circuits]})
