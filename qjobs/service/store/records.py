"""Projects, definitions of properties and documents, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

PropertyValue = bool | int | float | str

Projects = sa.Select[tuple[str]]
"""A subselect of ids of projects."""


class DocumentKind(StrEnum):
    """What a document is; also its `type` on the wire."""

    CIRCUIT = "circuit"
    QIR = "qir"
    WASM = "wasm"
    HUGR = "hugr"
    GPU_DECODER_CONFIG = "gpu_decoder_config"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project."""

    project_id: str
    owner_id: str
    name: str
    description: str
    properties: Mapping[str, PropertyValue]
    created_at: datetime
    modified_at: datetime
    archived: bool
    contents_modified_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PropertyDefinition:
    """A property that things in a project may have."""

    property_id: str
    project_id: str
    name: str
    description: str
    property_type: str
    required: bool
    color: str
    created_at: datetime
    modified_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A program or another file in a project, without its contents."""

    document_id: str
    kind: DocumentKind
    project_id: str
    owner_id: str
    name: str
    description: str
    properties: Mapping[str, PropertyValue]
    created_at: datetime
    modified_at: datetime


def document_of(**row: Any) -> Document:
    """The document of a row of `schema.document`."""
    return Document(**{**row, "kind": DocumentKind(row["kind"])})
