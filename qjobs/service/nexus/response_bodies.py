"""Bodies of Nexus's answers, made of our values (docs/nexus.md, "Bodies and lists")."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastapi import Response

from qjobs.service.devices import Device, Devices
from qjobs.service.store.definitions import OBSERVABLES
from qjobs.service.store.job_records import ItemRecord, JobRecord, status_body
from qjobs.service.store.records import Document, DocumentKind, Project, PropertyDefinition

_SYSTEMS = uuid.UUID("5b0fae44-6a5f-5d0e-8d68-0f3f1d6c1f0a")
"""Ids of systems and snapshots are derived from their names, so that they stay the same."""


def timestamps(record: Document | JobRecord | Project | PropertyDefinition) -> dict[str, str]:
    """When something was created and last changed; Python 3.10 reads `+00:00`, but no `Z`."""
    return {"created": record.created_at.isoformat(), "modified": record.modified_at.isoformat()}


def json_response(
    data: Mapping[str, Any],
    text: bytes,
    status_code: int = 200,
    *,
    attributes: Mapping[str, Any] | None = None,
    included: Sequence[Mapping[str, Any]] | None = None,
) -> Response:
    """An answer about a thing whose attributes are a JSON text already: it is not read and written again.

    Args:
        data: The thing without its attributes.
        text: Its attributes, a JSON object.
        attributes: More of them, with other names.
        status_code: Of the answer.
        included: What goes with it.
    """
    more = _json(attributes or {})
    whole = text if more == b"{}" else text[:-1] + b"," + more[1:]
    end = b"" if included is None else b',"included":' + _json(included)
    content = b'{"data":' + _json(data)[:-1] + b',"attributes":' + whole + b"}" + end + b"}"
    return Response(content, status_code, media_type="application/json")


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def pointer(kind: str, resource_id: str) -> dict[str, Any]:
    """A relationship to one thing."""
    return {"data": {"id": resource_id, "type": kind}}


def project_body(project: Project) -> dict[str, Any]:
    """A project."""
    return {
        "id": project.project_id,
        "type": "project",
        "attributes": {
            "name": project.name,
            "properties": dict(project.properties),
            "description": project.description or None,
            "timestamps": timestamps(project),
            "archived": project.archived,
            "contents_modified": project.contents_modified_at.isoformat(),
        },
        "relationships": {},
    }


def property_body(definition: PropertyDefinition) -> dict[str, Any]:
    """A definition of a property."""
    return {
        "id": definition.property_id,
        "type": "property",
        "attributes": {
            "name": definition.name,
            "description": definition.description or None,
            "property_type": definition.property_type,
            "required": definition.required,
            "color": definition.color,
            "properties": {},
            "timestamps": timestamps(definition),
        },
        "relationships": {"project": pointer("project", definition.project_id)},
    }


def document_body(document: Document, contents: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A program, without its contents where none are given."""
    return {
        "id": document.document_id,
        "type": document.kind,
        "attributes": {
            **(contents or {}),
            "name": document.name,
            "properties": dict(document.properties),
            "description": document.description or None,
            "timestamps": timestamps(document),
        },
        "relationships": {"project": pointer("project", document.project_id)},
    }


def job_body(
    job: JobRecord,
    device: Device | None,
    items: Sequence[ItemRecord] | None = None,
    kinds: Mapping[str, DocumentKind] | None = None,
) -> dict[str, Any]:
    """A job; in lists without its items."""
    relationships: dict[str, Any] = {"project": pointer("project", job.project_id)}
    if device is not None:
        relationships["system"] = pointer("system", _id_of("system", device.name))
    definition = {key: value for key, value in job.definition.items() if key != OBSERVABLES}
    if items is not None:
        definition["items"] = [_item(job, item) for item in items]
        relationships["programs"] = {"data": _programs([item.program_id for item in items], kinds or {})}
    return {
        "id": job.job_id,
        "type": "job",
        "attributes": {
            "name": job.name,
            "description": job.description,
            "properties": dict(job.properties),
            "job_type": job.job_type,
            "definition": definition,
            "timestamps": timestamps(job),
            "status": status_body(job),
        },
        "relationships": relationships,
    }


def _programs(program_ids: Iterable[str], kinds: Mapping[str, DocumentKind]) -> list[dict[str, str]]:
    return [{"id": found, "type": str(kinds.get(found, "circuit"))} for found in dict.fromkeys(program_ids)]


def _item(job: JobRecord, item: ItemRecord) -> dict[str, Any]:
    body: dict[str, Any] = {"program_id": item.program_id}
    if job.job_type == "execute":
        body["n_shots"] = item.n_shots
        given = {"max_cost": item.max_cost, "n_qubits": item.n_qubits}
        body |= {name: value for name, value in given.items() if value is not None}
    body |= {
        "item_id": item.item_id,
        "item_uuid": item.item_uuid,
        "external_handle": item.external_handle,
        "status": _item_status(item),
    }
    if job.job_type == "execute":
        body["has_runtime_traces"] = False
    found = {"result_id": item.result_id, "result_type": item.result_type, "compilation_id": item.compilation_id}
    return body | {name: value for name, value in found.items() if value is not None}


def _item_status(item: ItemRecord) -> dict[str, Any]:
    """An item's status without an empty `cost`, which the client's `cost_confidence()` would take for a number."""
    return {name: value for name, value in status_body(item).items() if name != "cost" or value is not None}


def system_body(device: Device) -> dict[str, Any]:
    """What a job runs on."""
    return {
        "id": _id_of("system", device.name),
        "type": "system",
        "attributes": {"name": device.name, "provider_name": device.issuer},
    }


def snapshot_body(devices: Devices, name: str) -> dict[str, Any]:
    """The device of a result, as it is now; a device that left the device file is known by its name alone."""
    device = devices.get(name)
    info = {**_UNKNOWN, "device_name": name} if device is None else device.info()
    return {"id": _id_of("backend_snapshot", name), "type": "backend_snapshot", "attributes": info}


_UNKNOWN: Mapping[str, Any] = {
    "name": "UnknownBackend",
    "device_name": None,
    "version": "0",
    "gate_set": [],
    "n_cl_reg": None,
    "device": {"nodes": [], "edges": [], "n_nodes": 0, "fully_connected": True},
    "supports_fast_feedforward": False,
    "supports_reset": False,
    "supports_midcircuit_measurement": False,
    "misc": {},
}


def _id_of(kind: str, name: str) -> str:
    return str(uuid.uuid5(_SYSTEMS, f"{kind} {name}"))
