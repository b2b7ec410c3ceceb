"""JSON of Nexus and our values: the paths, the one status table, what is sent and what is read.

Contract: the REST interface that the client qnexus speaks (0.39 and newer).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from qjobs.backends.base import ItemSnapshot, Snapshot
from qjobs.errors import ProtocolError
from qjobs.lifecycle import JobStatus

CIRCUITS: Final = "/api/circuits/v1beta2"
COMPILATIONS: Final = "/api/compilations/v1beta3"
JOBS: Final = "/api/jobs/v1beta3"
PROJECTS: Final = "/api/projects/v1beta2"
PROPERTIES: Final = "/api/property_definitions/v1beta2"
RESULTS: Final = "/api/results/v1beta3"
USER: Final = {"scope": "user"}
OLDEST_FIRST: Final = {"sort": "timestamps.created"}

STATUSES: Final[dict[str, JobStatus]] = {
    "SUBMITTED": JobStatus.SUBMITTED,
    "QUEUED": JobStatus.QUEUED,
    "RUNNING": JobStatus.RUNNING,
    "RETRYING": JobStatus.RETRYING,
    "CANCELLING": JobStatus.CANCELLING,
    "COMPLETED": JobStatus.COMPLETED,
    "CANCELLED": JobStatus.CANCELLED,
    "ERROR": JobStatus.ERROR,
    "DEPLETED": JobStatus.DEPLETED,
    "TERMINATED": JobStatus.TERMINATED,
}
_TIMES: Final = {
    "submitted_time": JobStatus.SUBMITTED,
    "queued_time": JobStatus.QUEUED,
    "running_time": JobStatus.RUNNING,
    "completed_time": JobStatus.COMPLETED,
    "cancelled_time": JobStatus.CANCELLED,
    "error_time": JobStatus.ERROR,
}


def member(body: object, *path: str) -> Any:
    """The value at `path` in nested objects; None where it, or an object on the way to it, is missing."""
    for name in path:
        if not isinstance(body, Mapping):
            return None
        body = body.get(name)
    return body


def text(body: object, *path: str) -> str:
    """The value at `path`, which must be a text that is not empty.

    Raises:
        ProtocolError: It is something else, or missing.
    """
    found = member(body, *path)
    if not isinstance(found, str) or not found:
        raise ProtocolError(f"Nexus answered without {'.'.join(path)}")
    return found


def resources(body: object) -> list[Mapping[str, Any]]:
    """The resources in the answer to a request for a list.

    Raises:
        ProtocolError: There is no list of them.
    """
    found = member(body, "data")
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise ProtocolError("Nexus answered without a list of data")
    return found


def circuit_body(circuit: str, *, name: str, project_id: str) -> bytes:
    """The body that uploads a circuit; `circuit` is pytket's JSON, which is not parsed again."""
    about = _compact({"name": name, "properties": {}})
    rest = _compact({"type": "circuit", "relationships": _in_project(project_id)})
    return f'{{"data":{{"attributes":{about[:-1]},{circuit[1:]},{rest[1:]}}}'.encode()


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _in_project(project_id: str) -> dict[str, Any]:
    return {"project": {"data": {"id": project_id, "type": "project"}}}


def property_body(*, name: str, description: str, project_id: str) -> dict[str, Any]:
    """The body that defines a property of a project's jobs: a text that may be left out."""
    attributes = {
        "name": name,
        "description": description,
        "property_type": "string",
        "required": False,
        "color": "#0072b2",
    }
    return {"data": {"type": "property", "attributes": attributes, "relationships": _in_project(project_id)}}


def job_body(
    *,
    name: str,
    description: str,
    properties: Mapping[str, str],
    project_id: str,
    job_type: str,
    definition: Mapping[str, Any],
) -> dict[str, Any]:
    """The body that creates a job; the type of `definition` is added to it."""
    return {
        "data": {
            "type": "job",
            "relationships": _in_project(project_id),
            "attributes": {
                "name": name,
                "description": description,
                "properties": dict(properties),
                "job_type": job_type,
                "definition": {"job_definition_type": f"{job_type}_job_definition", **definition},
            },
        }
    }


def snapshot_of(job: object, *, with_items: bool) -> Snapshot:
    """A job resource as a snapshot.

    Raises:
        ProtocolError: A status word is unknown, or the body is outside the contract.
    """
    whole = _item_snapshot(member(job, "attributes", "status"))
    items = None
    if with_items:
        entries = member(job, "attributes", "definition", "items")
        if isinstance(entries, list) and entries and all(member(entry, "status") is not None for entry in entries):
            items = tuple(_item_snapshot(member(entry, "status")) for entry in entries)
    return Snapshot(
        status=whole.status,
        remote_status=text(job, "attributes", "status", "status"),
        message=_words_of(whole),
        items=items,
        queue_position=whole.queue_position,
        cost=whole.cost,
    )


def _words_of(item: ItemSnapshot) -> str:
    return f"{item.message} {item.error_detail or ''}".strip()


def _item_snapshot(shown: object) -> ItemSnapshot:
    """What the status object of a job, or of an item of one, says."""
    word = text(shown, "status")
    if word not in STATUSES:
        raise ProtocolError(f"Nexus answered the unknown status {word!r}; the job keeps its last one")
    position = member(shown, "queue_position")
    cost = member(shown, "cost")
    times = {}
    for name, status in _TIMES.items():
        moment = _moment(member(shown, name))
        if moment is not None:
            times[status] = moment
    return ItemSnapshot(
        status=STATUSES[word],
        message=_text_or_empty(shown, "message"),
        error_detail=_text_or_empty(shown, "error_detail") or None,
        queue_position=position if type(position) is int else None,
        cost=float(cost) if type(cost) in {int, float} else None,
        times=times,
    )


def _text_or_empty(body: object, name: str) -> str:
    found = member(body, name)
    return found if isinstance(found, str) else ""


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemHandles:
    """What an item of a job has by now: where its result is, of which type, and in `words` why there is none."""

    status: JobStatus
    result_id: str
    result_type: str
    compilation_id: str
    completed_at: datetime | None
    words: str


def handles_of(job: object) -> list[ItemHandles]:
    """The items of a job resource.

    Raises:
        ProtocolError: The body is outside the contract.
    """
    entries = member(job, "attributes", "definition", "items")
    if not isinstance(entries, list) or not entries:
        raise ProtocolError("Nexus answered a job without items")
    found = []
    for entry in entries:
        item = _item_snapshot(member(entry, "status"))
        found.append(
            ItemHandles(
                status=item.status,
                result_id=_text_or_empty(entry, "result_id"),
                result_type=_text_or_empty(entry, "result_type"),
                compilation_id=_text_or_empty(entry, "compilation_id"),
                completed_at=item.times.get(JobStatus.COMPLETED),
                words=_words_of(item) or f"it is {item.status}",
            )
        )
    return found
