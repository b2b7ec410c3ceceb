"""Bodies of requests of the portal's clients, checked for their shapes; the job module checks what they ask for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

__all__ = ["CircuitJobBody", "HamiltonianJobBody", "LoginBody"]

_LONGEST_NAME = 1000
Name = Annotated[str, Field(min_length=1, max_length=_LONGEST_NAME)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CircuitJobBody(_Body):
    """A job of circuits: Python's or JSON's list of OpenQASM texts in a text, or one bare text."""

    resource_name: Name
    circuit: Annotated[str, Field(min_length=1, repr=False)]
    circuit_format: Literal["qasm", "qasm3"] = "qasm"
    shots: Annotated[StrictInt, Field(ge=1)]
    no_modify: StrictBool = False
    queued: StrictBool = False


class HamiltonianJobBody(_Body):
    """A Hamiltonian to minimise."""

    resource_name: Name
    interaction_str: Annotated[str, Field(min_length=1)]
    coefficients_str: Annotated[str, Field(min_length=1)]


class LoginBody(BaseModel):
    """How a person signs in at the portal's website; other fields are not read."""

    identity: Annotated[str, Field(max_length=_LONGEST_NAME)]
    secret: Annotated[str, Field(max_length=_LONGEST_NAME, repr=False)]
