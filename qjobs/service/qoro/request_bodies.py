"""Bodies of requests of Qoro's clients, checked for their shapes; fields that are not known are not read."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator

__all__ = ["FragmentBody", "InitBody", "JobType", "ParameterSet", "SettingsBody"]

_LONGEST_NAME = 1000
Name = Annotated[StrictStr, Field(min_length=1, max_length=_LONGEST_NAME)]
Packed = Annotated[StrictStr, Field(min_length=1)]
"""Base64 of gzip of a text."""
Number = StrictInt | StrictFloat


class JobType(StrEnum):
    """What a job has for a result."""

    EXECUTE = "EXECUTE"
    EXPECTATION = "EXPECTATION"


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class SettingsBody(BaseModel):
    """How a simulator is to compute; all of it is kept, and none of it changes what is computed here.

    Every circuit is simulated exactly. What asks for another answer is refused: noise.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _check(cls, given: Any) -> Any:
        if isinstance(given, dict):
            for name in ("noisy_device", "noise_model"):
                if given.get(name) is not None:
                    raise ValueError(f"{name}: simulator clusters have no noise here; take a QPU system that has")
        return given


class InitBody(_Body):
    """A new job, still without circuits.

    Divi 0.13 sends `execution_configuration`, newer versions `maestro_config` or `device_config`.
    """

    tag: Annotated[StrictStr, Field(max_length=_LONGEST_NAME)] = ""
    job_type: JobType
    use_packing: StrictBool | None = None
    simulator_cluster: Name | None = None
    qpu_system_name: Name | None = None
    execution_configuration: SettingsBody | None = None
    maestro_config: SettingsBody | None = None
    device_config: dict[str, Any] | None = None


class ParameterSet(_Body):
    """One row of a template: the label of its circuit, and a value for each parameter."""

    label: Name
    values: list[Number]


class FragmentBody(_Body):
    """Circuits to add to a job: either complete ones by label, or a template with the rows that complete it."""

    circuits: dict[Name, Packed] | None = None
    circuit_template: Packed | None = None
    parameter_names: list[Name] = []
    parameter_sets: list[ParameterSet] = []
    mode: Literal["append"] = "append"
    finalized: Literal["true", "false"] = "false"
    shots: Annotated[StrictInt, Field(ge=1)] | None = None
    shot_groups: list[Annotated[list[StrictInt], Field(min_length=3, max_length=3)]] | None = None
    observables: Packed | None = None
    circuit_ham_map: list[Annotated[list[StrictInt], Field(min_length=2, max_length=2)]] | None = None

    @model_validator(mode="after")
    def _check(self) -> FragmentBody:
        if (self.circuits is None) == (self.circuit_template is None):
            raise ValueError("send either circuits, or a circuit_template with its parameter_sets")
        if self.circuit_template is not None and not self.parameter_sets:
            raise ValueError("a circuit_template needs at least one parameter set")
        if self.shots is not None and self.shot_groups is not None:
            raise ValueError("send either shots or shot_groups")
        if len(set(self.parameter_names)) < len(self.parameter_names):
            raise ValueError("parameter_names holds a name twice")
        return self
