"""JSON of the Munich Quantum Portal and our values: the paths, the one status table, what is sent and what is read.

Contract: the REST interface that the published clients `mqp-client` 0.1.5 and `mqss-client` 0.2.1 speak. Where they
leave something open, every shape that they would take is taken.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import httpx

from qjobs.errors import ProtocolError
from qjobs.lifecycle import JobStatus
from qjobs.model import RemoteId
from qjobs.redaction import bounded, redacted

JOB: Final = "/v1/job"
RESOURCES: Final = "/v1/resources"

STATUSES: Final[dict[str, JobStatus]] = {
    "PENDING": JobStatus.SUBMITTED,
    "WAITING": JobStatus.QUEUED,
    "FAILED": JobStatus.ERROR,
    "COMPLETED": JobStatus.COMPLETED,
    "CANCELLED": JobStatus.CANCELLED,
}
"""PENDING is known to the portal alone, WAITING was given to its scheduler: `mqp-qiskit-provider`, job.py."""
_ABSENT: Final = frozenset({"", "None", "null"})
"""Texts that stand for nothing: the portal writes some values of Python as text."""
_MOMENTS: Final = ("%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S")
_GATEWAYS_CODES: Final = frozenset({401, 403, 407, 408, 421, 425, 429, 499})
"""What gateways answer by themselves, also after they have passed a request on."""
_SHOWN: Final = 100


def job_path(remote_id: RemoteId, what: str = "") -> str:
    """The path of a job, or of `what` of it.

    >>> job_path(RemoteId("7"), "status"), job_path(RemoteId("a/b"))
    ('/v1/job/7/status', '/v1/job/a%2Fb')
    """
    path = f"{JOB}/{urllib.parse.quote(remote_id, safe='')}"
    return f"{path}/{what}" if what else path


def resource_path(name: str) -> str:
    """The path of a resource."""
    return f"{RESOURCES}/{urllib.parse.quote(name, safe='')}"


def job_body(
    *, resource: str, circuits: Sequence[str], circuit_format: str, shots: int, no_modify: bool, queued: bool
) -> dict[str, Any]:
    """The body that creates a job of many circuits: they go as the repr of a list, as `mqp-qiskit-provider` sends them.

    >>> job_body(resource="r", circuits=["a", "b"], circuit_format="qasm", shots=1, no_modify=False, queued=False)[
    ...     "circuit"
    ... ]
    "['a', 'b']"
    """
    return {
        "resource_name": resource,
        "circuit": str(list(circuits)),
        "circuit_format": circuit_format,
        "shots": shots,
        "no_modify": no_modify,
        "queued": queued,
    }


def says_itself(response: httpx.Response) -> bool:
    """Whether a body is an error of the portal as far as can be told: an object with `detail` or `error`.

    Gateways write pages, or `message` alone. Good enough for a request that may be sent again.
    """
    body = _object_in(response)
    return _is_words(body.get("detail")) or _is_words(body.get("error"))


def proves_refusal(response: httpx.Response) -> bool:
    """Whether an answer to the POST of a job proves that the portal itself refused it, so that there is no job.

    It does with a 4xx and a JSON object whose `detail` is a text or a list of `{"msg"}`, which is FastAPI's form and
    that of `qjobs serve`; gateways write `message`. With a code that gateways answer by themselves, also after they
    have passed a request on, it does only with a `code` in words beside it, as `qjobs serve` writes. The bodies of the
    real portal are not published: one of another form leaves the job UNKNOWN, which costs a decision and never a job.
    """
    if not response.is_client_error or not response.headers.get("content-type", "").startswith("application/json"):
        return False
    body = _object_in(response)
    if not _is_words(body.get("detail")):
        return False
    code = body.get("code")
    return response.status_code not in _GATEWAYS_CODES or (isinstance(code, str) and bool(code))


def _object_in(response: httpx.Response) -> Mapping[str, Any]:
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, Mapping) else {}


def _is_words(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(each, Mapping) and isinstance(each.get("msg"), str) for each in value)
    return isinstance(value, str) and bool(value)


def id_in(body: object) -> RemoteId:
    """The id of a job that was made: a text, or the number that it is in the portal's database.

    Raises:
        ProtocolError: There is none.
    """
    found = _member(body, "uuid")
    if type(found) is int:
        return RemoteId(str(found))
    if isinstance(found, str) and found:
        return RemoteId(found)
    raise ProtocolError("the portal answered without a uuid")


def status_in(body: object) -> tuple[JobStatus, str]:
    """Our status and the portal's own word.

    Raises:
        ProtocolError: There is no word, or one that is not in the contract; the job keeps its last status.
    """
    word = _member(body, "status")
    if not isinstance(word, str):
        raise ProtocolError("the portal answered without a status")
    if word not in STATUSES:
        shown = bounded(redacted(word), _SHOWN)
        raise ProtocolError(f"the portal answered the unknown status {shown!r}; the job keeps its last one")
    return STATUSES[word], word


def reason_in(body: object) -> str:
    """Why a job was cancelled, in the portal's words; empty where it does not say."""
    found = _member(body, "cancel_reason")
    if not isinstance(found, str) or found in _ABSENT:
        return ""
    return bounded(redacted(found), 2_000)


def results_in(body: object) -> list[object] | None:
    """One entry for each circuit of a job, in their order; None where there is no result yet.

    The portal answers a JSON text of one object or of a list of objects; an object by itself and a list are taken too.

    Raises:
        ProtocolError: It is none of these.
    """
    if not isinstance(body, Mapping) or "result" not in body:
        raise ProtocolError("the portal answered without a result")
    found: object = body["result"]
    if isinstance(found, str):
        if found.strip() in _ABSENT:
            return None
        try:
            found = json.loads(found)
        except (ValueError, RecursionError) as error:
            raise ProtocolError(f"the portal answered a result that is not JSON: {error}") from error
    match found:
        case None:
            return None
        case dict():
            return [found]
        case list() if found:
            return list(found)
        case _:
            raise ProtocolError("the portal answered a result that is neither counts nor a list of counts")


def counts_in(entry: object) -> dict[str, int]:
    """The counts of one circuit, registers joined without a space. Keys are as Qiskit has them: bit 0 rightmost.

    Source: `mqp-qiskit-provider` gives them to Qiskit's `Counts` as they are. Keys of another form (hexadecimal ones,
    whose width nobody can tell) are refused.

    Raises:
        ProtocolError: It is not a histogram of bit strings of one width.
    """
    if not isinstance(entry, Mapping) or not entry:
        raise ProtocolError("the portal answered a result without counts")
    counts: dict[str, int] = {}
    for name, number in entry.items():
        word = str(name).replace(" ", "")
        if not word or not set(word) <= {"0", "1"}:
            shown = bounded(redacted(str(name)), _SHOWN)
            raise ProtocolError(f"the portal answered counts of {shown!r}, which is not a bit string")
        if type(number) is not int or number < 0:
            raise ProtocolError("the portal answered counts that are not whole numbers from 0")
        if number:
            counts[word] = counts.get(word, 0) + number
    if len({len(word) for word in counts}) > 1:
        raise ProtocolError("the portal answered counts of bit strings of several widths")
    return counts


def moment_in(value: object) -> datetime | None:
    """A moment of the portal: naive, of a clock whose zone it does not say; so good for comparing only.

    None for what stands for nothing, and for what nobody can read.

    >>> moment_in("2025-03-01 10:00:00.123456"), moment_in("None")
    (datetime.datetime(2025, 3, 1, 10, 0, 0, 123456), None)
    """
    if not isinstance(value, str) or value.strip() in _ABSENT:
        return None
    for form in _MOMENTS:
        try:
            return datetime.strptime(value.strip(), form)  # noqa: DTZ007 - it says no zone
        except ValueError:
            continue
    return None


def _member(body: object, name: str) -> Any:
    return body.get(name) if isinstance(body, Mapping) else None
