"""Short forms of common experiments: the few things that people change, worked out as a sweep.

Every field has a default, so that a form runs as it is: small, on the simulator, within seconds.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, JsonValue

from qjobs.circuits.builders import read_edges
from qjobs.compiling.compiler import Compiler
from qjobs.errors import InvalidInput
from qjobs.experiments.forms import (
    Axis,
    CircuitInput,
    CompileInput,
    FormInput,
    Name,
    Number,
    ObjectiveInput,
    Observables,
    RetryInput,
    Whole,
)
from qjobs.experiments.sweep import SweepSpec, load_sweep
from qjobs.model import RemoteRetryStrategy

__all__ = ["BuilderForm", "QaoaForm", "SweepFile"]

_BACKENDS = "Where it runs: aer, nexus/DEVICE, mqp/RESOURCE, qoro/TARGET, or blocks such as aer-backend/NAME."
_MOST_POINTS = 200


def _edges(graph: str) -> list[tuple[int, int]]:
    """The edges of a graph that is written as `0-1, 1-2`.

    Raises:
        ValueError: It is not written so, or is no simple graph.
    """
    edges = []
    for part in graph.split(","):
        ends = part.strip().split("-")
        if len(ends) != 2 or not all(end.strip().isdecimal() for end in ends):
            raise ValueError(f"{part.strip()!r} is no edge; write pairs of vertices, as in 0-1, 1-2, 2-0")
        edges.append((int(ends[0]), int(ends[1])))
    return read_edges(edges)


def _graph(text: str) -> str:
    _edges(text)
    return text


class _ShortForm(FormInput):
    """What every short form has besides its own fields."""

    backends: list[str] = Field(default=["aer"], min_length=1, description=f"{_BACKENDS} Each runs every point.")
    shots: Whole = Field(default=500, ge=1, description="Shots of a point in each measurement basis.")
    seed: Whole | None = Field(
        default=1, ge=0, description="The same seed gives the same counts on a simulator; drawn anew if empty."
    )
    compiler: Compiler = Field(
        default=Compiler.QISKIT,
        description="Who compiles for the device: qiskit or tket here, remote (a compile job there), or none.",
    )
    strategy: RemoteRetryStrategy = Field(
        default=RemoteRetryStrategy.DEFAULT,
        description="What this run does about jobs that are there already: DEFAULT sends nothing twice, ALLOW_RESUBMIT "
        "sends again what has no remote id, FORCE_RESUBMIT what has no result, FULL_RESTART all, compiling included.",
    )

    def _shared(self) -> dict[str, Any]:
        """The fields of a sweep that these are."""
        return {
            "backends": self.backends,
            "shots": self.shots,
            "seed": self.seed,
            "compile": CompileInput(compiler=self.compiler),
            "retries": RetryInput(strategy=self.strategy),
        }


class QaoaForm(_ShortForm):
    """The landscape of QAOA with one layer, for the largest cut of a graph."""

    name: Name = Field(default="qaoa", description="The same name again reuses the points that are there.")
    graph: Annotated[str, AfterValidator(_graph)] = Field(
        default="0-1, 1-2, 2-3, 3-4, 4-0",
        max_length=10_000,
        description="The edges: pairs of vertices, which are numbered from 0. A vertex is a qubit.",
    )
    gamma_points: Whole = Field(
        default=8, ge=1, le=_MOST_POINTS, description="How many angles gamma, of the phase that the cut gives."
    )
    gamma_max_rad: Number = Field(
        default=round(math.pi, 6), description="The largest angle gamma, in radians; the smallest is 0."
    )
    beta_points: Whole = Field(
        default=6, ge=1, le=_MOST_POINTS, description="How many angles beta, of the mixing rotation."
    )
    beta_max_rad: Number = Field(
        default=round(math.pi / 2, 6), description="The largest angle beta, in radians; the smallest is 0."
    )

    def sweep(self) -> SweepSpec:
        """The sweep of both angles, with the exact values and the largest cut beside the measured ones."""
        edges: JsonValue = [list(edge) for edge in _edges(self.graph)]
        sizes = {"gamma": (self.gamma_points, self.gamma_max_rad), "beta": (self.beta_points, self.beta_max_rad)}
        axes = [
            Axis(name=name, unit="rad", kind="linspace", start=0.0, stop=stop, count=count)
            for name, (count, stop) in sizes.items()
        ]
        return SweepSpec(
            name=self.name,
            circuit=CircuitInput(builder="qaoa-maxcut", arguments={"edges": edges}),
            axes=axes,
            objective=ObjectiveInput(name="maxcut", arguments={"edges": edges, "reference": "qaoa-p1"}),
            **self._shared(),
        )


class BuilderForm(_ShortForm):
    """A registered circuit builder, at the values of its arguments and parameters."""

    name: Name = Field(default="my-builder", description="The same name again reuses the points that are there.")
    builder: str = Field(
        default="ghz", min_length=1, description="Name under which it is registered (entry-point group qjobs.circuits)."
    )
    arguments: dict[str, JsonValue] = Field(
        default_factory=dict, description="Arguments that stay the same at every point, as JSON."
    )
    axes: list[Axis] = Field(
        default=[Axis(name="n_qubits", label="qubits", values=[2, 3, 4, 5])],
        description="What changes from point to point: arguments of the builder, or parameters of its circuit.",
    )
    observables: Observables = Field(
        default_factory=list, description="Measured instead of counts, such as Z0 Z1; counts if there are none."
    )

    def sweep(self) -> SweepSpec:
        """The sweep of its axes, as a grid."""
        circuit = CircuitInput(builder=self.builder, arguments=self.arguments)
        return SweepSpec(
            name=self.name, circuit=circuit, axes=self.axes, observables=self.observables, **self._shared()
        )


class SweepFile(FormInput):
    """A sweep that stands in a file of the project."""

    file: str = Field(
        default="examples/rabi/sweep.yaml", min_length=1, description="Its path from the folder of the project."
    )
    backends: list[str] = Field(default_factory=list, description=f"{_BACKENDS} Those of the file if there are none.")
    shots: Whole | None = Field(
        default=None, ge=1, description="Shots of a point in each measurement basis; those of the file if empty."
    )
    strategy: RemoteRetryStrategy = Field(
        default=RemoteRetryStrategy.DEFAULT,
        description="What this run does about jobs that are there already; DEFAULT: as the file says.",
    )

    def sweep(self, project: Path) -> SweepSpec:
        """The sweep of the file, with what the form says in place of it.

        Raises:
            InvalidInput: The file is not in the folder of the project, or is no sweep.
        """
        path = (project / self.file).resolve()
        if not path.is_relative_to(project.resolve()):
            raise InvalidInput(f"{self.file} is not in the folder of the project; name a file below it", field="file")
        spec = load_sweep(path)
        changes: dict[str, Any] = {}
        if self.backends:
            changes["backends"] = self.backends
        if self.shots is not None:
            changes["shots"] = self.shots
        if self.strategy is not RemoteRetryStrategy.DEFAULT:
            changes["retries"] = {**spec.retries.model_dump(), "strategy": self.strategy}
        return SweepSpec.model_validate({**spec.model_dump(), **changes})
