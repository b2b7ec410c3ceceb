"""Programs of Divi that people register under the entry-point group `qjobs.divi_programs` and name in a form.

What is registered is a function of the backend, the seed and arguments of its own, which returns the program; the
program has `run()`, as those of Divi have. A name is never code to import.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from pydantic import Field, JsonValue

from qjobs.errors import InvalidInput
from qjobs.experiments.forms import CompileInput, Name, RetryInput, read_form
from qjobs.plugins import Registry

__all__ = ["DIVI_PROGRAMS", "DiviProgramSpec", "RunsItself", "load_divi_program"]

DIVI_PROGRAMS = Registry(
    group="qjobs.divi_programs", what="Divi program", name_field="program", arguments_field="arguments"
)


class RunsItself(Protocol):
    """What a registered function returns."""

    def run(self) -> object:
        """Run to the end; every circuit goes to the backend that it was made with."""


class DiviProgramSpec(CompileInput):
    """A registered program of Divi, and where it runs."""

    name: Name = Field(default="divi-program", description="Name of the jobs and of the results.")
    program: str = Field(description="Name under which the program is registered (qjobs.divi_programs).")
    arguments: dict[str, JsonValue] = Field(default_factory=dict, description="Arguments of the program.")
    backend: str = Field(
        default="aer", description="aer, nexus/DEVICE, mqp/RESOURCE, or a block such as aer-backend/NAME."
    )
    shots: int = Field(
        default=1000, ge=1, description="Shots of each circuit for which the program asks for no others."
    )
    exact: bool = Field(default=False, description="Exact expectation values instead of sampled ones (simulators).")
    seed: int | None = Field(
        default=None, ge=0, lt=2**32, description="Makes the program repeatable; of its own for each run if empty."
    )
    retries: RetryInput = Field(default_factory=RetryInput, description="What may be done about failed submissions.")

    def seed_of(self, logical_run: str) -> int:
        """The seed: the one that was given, else one that the logical run has, so that it asks for the same again."""
        if self.seed is not None:
            return self.seed
        return int.from_bytes(hashlib.sha256(f"divi/{logical_run}".encode()).digest()[:4], "big")

    def build(self, backend: Any, logical_run: str) -> RunsItself:
        """The program on a backend.

        Raises:
            InvalidInput: There is none of that name, it does not take these arguments, or it is nothing that runs.
        """
        taken = {"backend", "seed"} & set(self.arguments)
        if taken:
            raise InvalidInput(f"the argument {min(taken)!r} is given by the run; leave it out", field="arguments")
        arguments: Mapping[str, Any] = {**self.arguments, "backend": backend, "seed": self.seed_of(logical_run)}
        made = DIVI_PROGRAMS.build(self.program, arguments)
        if not callable(getattr(made, "run", None)):
            raise InvalidInput(f"the Divi program {self.program!r} returns something without run()", field="program")
        return cast(RunsItself, made)


def load_divi_program(path: Path) -> DiviProgramSpec:
    """Read one from a YAML or JSON file.

    Raises:
        InvalidInput: The file cannot be read or used.
    """
    return read_form(path, DiviProgramSpec)
