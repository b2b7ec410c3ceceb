"""Bodies of requests of Nexus's clients, checked.

Characters and numbers that cannot be stored were refused before (`web.guard`); here shapes and types are checked. What
stands beside the attributes (the `type` of a resource, relationships other than the project) is never read.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StrictBool,
    StrictInt,
    model_validator,
)

from qjobs.lifecycle import JobStatus
from qjobs.model import RemoteRetryStrategy

_INT64 = 2**63
_LONGEST_TEXT = 4096


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Read(_Wire):
    """Attributes that are all read: what is not, and asks for something, is refused by its name.

    Times may come back from an answer: nobody can change them.
    """

    @model_validator(mode="before")
    @classmethod
    def _refuse_unread(cls, given: Any) -> Any:
        if isinstance(given, dict):
            known = {*cls.model_fields, "timestamps"}
            unread = [name for name, value in given.items() if name not in known and value not in (None, {}, [])]
            if unread:
                raise ValueError(f"there is no {str(unread[0])[:80]!r} here; there are {', '.join(cls.model_fields)}")
        return given


Name = Annotated[str, Field(max_length=4096)]
Description = Annotated[str, Field(max_length=65_536)]
PropertyName = Annotated[str, Field(max_length=1024)]


def _property(value: object) -> bool | int | float | str:
    """The value as it came: 1, 1.0, true and "1" are four values."""
    if isinstance(value, bool | float) or (isinstance(value, int) and -_INT64 <= value < _INT64):
        return value
    if isinstance(value, str) and len(value) <= _LONGEST_TEXT:
        return value
    raise ValueError(f"a property is true, false, a number of 64 bits or a text of up to {_LONGEST_TEXT} characters")


PropertyValue = Annotated[bool | int | float | str, PlainValidator(_property)]
Properties = Annotated[dict[PropertyName, PropertyValue], Field(max_length=1000)]


class Identifier(_Wire):
    """What a relationship points to."""

    id: str = Field(max_length=64)


class Relationship(_Wire):
    """A relationship to one thing."""

    data: Identifier


class InProject(_Wire):
    """Relationships of what is made in a project."""

    project: Relationship


A = TypeVar("A", bound=BaseModel)
R = TypeVar("R", bound=BaseModel)


class Resource(_Wire, Generic[A, R]):
    """A JSON:API resource of a request."""

    attributes: A
    relationships: R


class Posted(_Wire, Generic[A]):
    """Body that makes something in a project."""

    data: Resource[A, InProject]

    @property
    def attributes(self) -> A:
        """Its attributes."""
        return self.data.attributes

    @property
    def project_id(self) -> str:
        """The project in which to make it."""
        return self.data.relationships.project.data.id


class LooseResource(_Wire, Generic[A]):
    """A JSON:API resource whose relationships do not matter."""

    attributes: A


class Change(_Wire, Generic[A]):
    """Body that changes something, or makes a project."""

    data: LooseResource[A]

    @property
    def attributes(self) -> A:
        """Its attributes."""
        return self.data.attributes


class ProjectAttributes(_Read):
    """A new project; longer names do not fit PostgreSQL's index."""

    name: str = Field(min_length=1, max_length=500)
    description: Description | None = None
    properties: Properties | None = None


class ProjectChange(_Read):
    """Changes of a project; null keeps what there is."""

    name: str | None = Field(default=None, min_length=1, max_length=500)
    description: Description | None = None
    archived: StrictBool | None = None


class PropertyAttributes(_Read):
    """A new definition of a property."""

    name: str = Field(min_length=1, max_length=1024)
    description: Description | None = None
    property_type: Literal["bool", "int", "float", "string"]
    required: StrictBool = False
    color: str = Field(default="#0072b2", pattern=r"^#[0-9a-fA-F]{6}$")


class Annotations(_Wire):
    """Name, description and properties of something new."""

    name: Name
    description: Description | None = None
    properties: Properties | None = None


class AnnotationsChange(_Read):
    """Changes of a program; null and what is absent stay as they are."""

    name: Name | None = None
    description: Description | None = None
    properties: Properties | None = None


class CircuitAttributes(Annotations):
    """A circuit: the keys of `pytket.Circuit.to_dict()` beside the annotations."""

    model_config = ConfigDict(extra="allow", frozen=True)

    qubits: list[Any]
    bits: list[Any]
    commands: list[Any]
    phase: str
    implicit_permutation: list[Any]

    def circuit(self) -> dict[str, Any]:
        """The circuit alone."""
        own = {"name", "description", "properties", "timestamps"}
        fields = {name: getattr(self, name) for name in type(self).model_fields if name not in own}
        return {name: value for name, value in {**(self.model_extra or {}), **fields}.items() if name not in own}


def _decodable(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("contents must be base64") from error
    return text


class FileAttributes(_Read, Annotations):
    """A file: its contents are base64."""

    contents: Annotated[str, AfterValidator(_decodable)]


class JobAttributes(_Read, Annotations):
    """A new job; the job store checks its definition."""

    job_type: Literal["compile", "execute"]
    definition: dict[str, Any]


class CancelBody(_Read):
    """Which items to cancel; all of them by default."""

    item_ids: list[Annotated[StrictInt, Field(ge=1, lt=2**31)]] | None = Field(default=None, max_length=10_000)


class RetryBody(_Read):
    """How to retry a job."""

    remote_retry_strategy: RemoteRetryStrategy = RemoteRetryStrategy.DEFAULT
    retry_status: list[JobStatus] | None = Field(default=None, max_length=100)
    user_group: str | None = Field(default=None, max_length=4096)


class RerunBody(_Read):
    """The name of the new job."""

    name: Name


class TeamAttributes(_Read):
    """What a new team is called."""

    name: str = Field(min_length=1, max_length=1000)
    display_name: str | None = Field(default=None, max_length=1000)
    description: str | None = Field(default=None, max_length=10_000)


class TeamAssignment(_Read):
    """Body: a team gets a role."""

    team_id: str
    role_id: str
    resource_id: str


class UserAssignment(_Read):
    """Body: a user gets a role."""

    for_user_id: str
    role_id: str
    resource_id: str


class BackendPropertyBody(_Read):
    """A question about a backend."""

    backend_config: dict[str, Any]
    property: str = Field(max_length=100)
