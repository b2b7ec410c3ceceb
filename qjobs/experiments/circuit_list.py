"""Circuit lists: circuits to run as they are, as people and flow parameters give them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, FiniteFloat, ValidationError, model_validator

from qjobs.circuits.programs import check_runs
from qjobs.compiling.compiler import CompileOn, CompileOptions
from qjobs.errors import InvalidInput
from qjobs.experiments.forms import CircuitInput, CompileInput, Name, RetryInput, explain, read_mapping
from qjobs.model import ItemSpec, Program, ProgramHash


class CircuitEntry(CircuitInput):
    """A circuit of the list, with its label, its shots and the values of its parameters."""

    label: str | None = Field(default=None, max_length=200, description="Names the result; c0, c1, ... by default.")
    shots: int | None = Field(default=None, ge=1, description="Shots of this circuit, where they differ.")
    parameters: dict[str, FiniteFloat] = Field(default_factory=dict, description="Values of its parameters (rad).")


class CircuitList(CompileInput):
    """Circuits to run on one backend."""

    name: Name = Field(default="circuits", description="Name of the jobs and of the results.")
    circuits: list[CircuitEntry] = Field(min_length=1, description="What to run.")
    shots: int = Field(default=1000, ge=1, description="Shots of every circuit that has none of its own.")
    backend: str = Field(
        default="aer", description="aer, nexus/DEVICE, mqp/RESOURCE, or a block such as aer-backend/NAME."
    )
    seed: int | None = Field(default=None, ge=0, description="Makes a simulator repeatable.")
    retries: RetryInput = Field(default_factory=RetryInput, description="What this run may send again, and how often.")

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
    """A circuit list, read and checked: its programs by hash, and the program of every entry."""

    spec: CircuitList
    programs: Mapping[ProgramHash, Program]
    sources: tuple[ProgramHash, ...]

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
        circuits = []
        for item in self.items(self.programs):
            circuits.append([item.label, item.source, item.shots, item.parameters])
        text = json.dumps(["qjobs-circuits-1", circuits, self.spec.seed, self.compile_options.as_json()])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def labels(self) -> list[str]:
        """Labels of all circuits, in order."""
        return self.spec.labels()

    def items(self, compiled: Mapping[ProgramHash, Program]) -> list[ItemSpec]:
        """One item per circuit, in order; `compiled` has the circuit that is sent for each source's hash."""
        items = []
        for label, entry, source in zip(self.spec.labels(), self.spec.circuits, self.sources, strict=True):
            # -0.0 is 0.0, as in sweeps.
            parameters = tuple(sorted((name, value + 0.0) for name, value in entry.parameters.items()))
            item = ItemSpec(
                label=label,
                program=compiled[source].hash,
                source=source,
                shots=entry.shots or self.spec.shots,
                parameters=parameters,
            )
            items.append(item)
        return items


def expand_circuit_list(spec: CircuitList, folder: Path | None = None) -> CircuitListPlan:
    """Read and check every circuit; the same text is read once.

    Raises:
        InvalidInput: A circuit cannot be read or run; the message names its place.
    """
    programs: dict[ProgramHash, Program] = {}
    read: dict[str, Program] = {}
    sources = []
    for index, entry in enumerate(spec.circuits):
        source = CircuitInput(
            openqasm=entry.openqasm, file=entry.file, builder=entry.builder, arguments=entry.arguments
        )
        key = source.model_dump_json()
        try:
            if key not in read:
                read[key] = source.read(folder)
            check_runs(read[key], parameters=entry.parameters)
        except InvalidInput as error:
            where = f"circuits.{index}"
            raise type(error)(f"{entry.label or where}: {error}", field=where) from error
        programs[read[key].hash] = read[key]
        sources.append(read[key].hash)
    return CircuitListPlan(spec=spec, programs=programs, sources=tuple(sources))


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
    data = read_mapping(path)
    try:
        spec = CircuitList.model_validate(data)
    except ValidationError as error:
        raise explain(error, str(path)) from error
    return spec.model_copy(update={"circuits": [entry.beside(path) for entry in spec.circuits]})
