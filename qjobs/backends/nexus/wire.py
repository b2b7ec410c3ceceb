"""JSON of Nexus and our values: the one status table, bodies of jobs, results as counts.

Contract: the REST interface that the client qnexus speaks (0.39 and newer).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from qjobs.backends.base import ItemSnapshot, Snapshot
from qjobs.errors import ProtocolError
from qjobs.lifecycle import JobStatus

__all__ = [
    "CIRCUITS",
    "COMPILATIONS",
    "JOBS",
    "OLDEST_FIRST",
    "PROJECTS",
    "PROPERTIES",
    "RESULTS",
    "STATUSES",
    "USER",
    "ItemHandles",
    "circuit_body",
    "counts_of",
    "handles_of",
    "job_body",
    "member",
    "property_body",
    "resources",
    "snapshot_of",
    "text",
]

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
_MAX_BITS: Final = 100_000


def member(body: object, *path: str) -> Any:
    """What stands in nested objects at `path`; None where it or a part of the way is missing."""
    for name in path:
        if not isinstance(body, Mapping):
            return None
        body = body.get(name)
    return body


def text(body: object, *path: str) -> str:
    """The same, which must be a text that is not empty.

    Raises:
        ProtocolError: It is not.
    """
    found = member(body, *path)
    if not isinstance(found, str) or not found:
        raise ProtocolError(f"Nexus answered without {'.'.join(path)}")
    return found


def resources(body: object) -> list[Mapping[str, Any]]:
    """The resources of a list.

    Raises:
        ProtocolError: It is none.
    """
    found = member(body, "data")
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise ProtocolError("Nexus answered without a list of data")
    return found


# --- jobs ---------------------------------------------------------------------------------------------


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
    """The body that creates a job; `definition` is completed by its own type."""
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
    shown = member(job, "attributes", "status")
    one = _item_snapshot(shown)
    entries = member(job, "attributes", "definition", "items") if with_items else None
    items = None
    if isinstance(entries, list) and entries and all(member(entry, "status") is not None for entry in entries):
        items = tuple(_item_snapshot(member(entry, "status")) for entry in entries)
    return Snapshot(
        status=one.status,
        remote_status=text(shown, "status"),
        message=f"{one.message} {one.error_detail}".strip() if one.error_detail else one.message,
        items=items,
        queue_position=one.queue_position,
        cost=one.cost,
    )


def _item_snapshot(shown: object) -> ItemSnapshot:
    word = text(shown, "status")
    if word not in STATUSES:
        raise ProtocolError(f"Nexus answered the unknown status {word!r}; the job keeps its last one")
    message, detail, position, cost = (
        member(shown, name) for name in ("message", "error_detail", "queue_position", "cost")
    )
    times = {status: _moment(member(shown, name)) for name, status in _TIMES.items()}
    return ItemSnapshot(
        status=STATUSES[word],
        message=message if isinstance(message, str) else "",
        error_detail=detail if isinstance(detail, str) and detail else None,
        queue_position=position if type(position) is int else None,
        cost=float(cost) if type(cost) in {int, float} else None,
        times={status: at for status, at in times.items() if at is not None},
    )


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
    """What an item of a job has by now: where its result is, of which type, and why there is none."""

    status: JobStatus
    result_id: str | None
    result_type: str
    compilation_id: str | None
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
        one = _item_snapshot(member(entry, "status"))
        kind, result, compilation = (member(entry, name) for name in ("result_type", "result_id", "compilation_id"))
        words = " ".join(part for part in (one.message, one.error_detail) if part)
        found.append(
            ItemHandles(
                status=one.status,
                result_id=result if isinstance(result, str) else None,
                result_type=kind if isinstance(kind, str) else "",
                compilation_id=compilation if isinstance(compilation, str) else None,
                completed_at=one.times.get(JobStatus.COMPLETED),
                words=words or f"it is {one.status}",
            )
        )
    return found


# --- results ------------------------------------------------------------------------------------------


def counts_of(attributes: object) -> dict[str, int]:
    """Counts of pytket's `BackendResult.to_dict()`, bit 0 rightmost, the first register rightmost.

    A column of the table is the bit of the same position in `bits`; registers are ordered by their names, as
    pytket orders a circuit's bits. A bit that the table leaves out below a register's highest one is 0.

    Raises:
        ProtocolError: It is no table of outcomes.
    """
    try:
        bits = [(str(name), tuple(index)) for name, index in member(attributes, "bits") or ()]
        outcomes: Counter[tuple[int, ...]] = Counter()
        shots, counted = member(attributes, "shots"), member(attributes, "counts")
        if shots:
            width = shots["width"]
            outcomes.update(map(tuple, shots["array"]))
        else:
            width = counted[0]["outcome"]["width"]
            for entry in counted:
                (row,) = entry["outcome"]["array"]
                if entry["outcome"]["width"] != width or type(entry["count"]) is not int:
                    raise ValueError("the outcomes have several widths")  # noqa: TRY301
                outcomes[tuple(row)] += entry["count"]
        if len(set(bits)) != width or len(bits) != width or any(max(index) > _MAX_BITS for _, index in bits):
            raise ValueError(f"{len(bits)} bits and {width} columns")  # noqa: TRY301
        columns = [column for _, column in sorted(_filled(bits).items(), reverse=True)]
        return _joined(outcomes, columns, width)
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise ProtocolError(f"Nexus answered a result that is no table of outcomes: {error!r}") from error


def _filled(bits: Sequence[tuple[str, tuple[int, ...]]]) -> dict[tuple[str, tuple[int, ...]], int | None]:
    """Every bit with its column, None for one that the table leaves out."""
    found: dict[tuple[str, tuple[int, ...]], int | None] = {}
    for name, index in bits:
        if len(index) == 1:
            found |= {(name, (lower,)): None for lower in range(index[0]) if (name, (lower,)) not in found}
    return found | {bit: column for column, bit in enumerate(bits)}


def _joined(outcomes: Mapping[tuple[int, ...], int], columns: Sequence[int | None], width: int) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for row, count in outcomes.items():
        if len(row) != (width + 7) // 8 or any(type(byte) is not int or not 0 <= byte < 256 for byte in row):
            raise ValueError("an outcome is no row of bytes")
        digits = "".join(f"{byte:08b}" for byte in row)
        counts["".join("0" if column is None else digits[column] for column in columns)] += count
    return dict(counts)
