"""Forms of Prefect's about a run: what they hold, and how one is completed that a kill left unfinished.

A form is made of inputs of the run, under keys that its suspended state names. Prefect deletes what is stored under
them in the moment in which the run is suspended, so that they are stored after it. A process that is killed in between
leaves a run that nothing can resume. So the form is also kept before, under a key that the state does not name, and
whoever meets the run completes it: its process, the sensor, or `qjobs approve`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.context import FlowRunContext
from prefect.input.run_input import keyset_from_base_key

from qjobs.model import JobId

__all__ = [
    "APPROVAL",
    "FOUND",
    "UNKNOWN",
    "Form",
    "answer_to",
    "asked_about",
    "asking_runs",
    "complete",
    "key_of",
    "keyset_of",
    "run_that_can_ask",
]

APPROVAL = "approval-"
"""What the keys of forms begin with that ask for approval; what stands for the plan and its estimate follows."""
UNKNOWN = "unknown-"
"""The same where a job is UNKNOWN; the job, the submission and the number of the question follow."""
FOUND = {"decision": "wait", "decided_by": "the sensor, because it was found"}
"""What such a form is filled in with once its job is not UNKNOWN any more: the run goes on."""
_KEPT = "-kept"
_SCHEMA = "-schema"
_MOST = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A form: the key that its inputs have in common, the JSON schema of its answer, and a text in Markdown."""

    key: str
    schema: str
    description: str

    def keep(self, client: SyncPrefectClient, run_id: UUID) -> None:
        """Keep it, before the run is suspended."""
        kept = json.dumps({"description": self.description, "schema": self.schema})
        if not _create(client, run_id, f"{self.key}{_KEPT}", kept):
            client.delete_flow_run_input(run_id, f"{self.key}{_KEPT}")
            _create(client, run_id, f"{self.key}{_KEPT}", kept)


def run_that_can_ask() -> FlowRun | None:
    """The present run, if it can be suspended: it is deployed, and no run of another's task."""
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    if run is None or run.deployment_id is None or run.parent_task_run_id is not None:
        return None
    return run


def keyset_of(key: str) -> dict[str, str]:
    """The keys of a form's inputs, by the part of it that each is."""
    return {str(part): name for part, name in keyset_from_base_key(key).items()}


def key_of(run: FlowRun) -> str:
    """The key of the form that a run waits with; empty where it waits with none."""
    keyset = run.state.state_details.run_input_keyset if run.state is not None and run.state.is_paused() else None
    schema = str((keyset or {}).get("schema", ""))
    return schema.removesuffix(_SCHEMA) if schema.endswith(_SCHEMA) else ""


def asking_runs(client: SyncPrefectClient, *beginnings: str) -> list[FlowRun]:
    """The runs that wait with a form whose key begins so, the newest first."""
    paused = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED])))
    found = client.read_flow_runs(flow_run_filter=paused, limit=_MOST)
    asking = [run for run in found if key_of(run).startswith(beginnings)]
    return sorted(asking, key=lambda run: str(run.created), reverse=True)


def asked_about(key: str) -> JobId | None:
    """The UNKNOWN job that a form of this key asks about; None where it asks about something else."""
    return JobId(key.removeprefix(UNKNOWN).rsplit("-", 2)[0]) if key.startswith(UNKNOWN) else None


def complete(client: SyncPrefectClient, run_id: UUID, key: str) -> bool:
    """Store what a form lacks of what was kept of it; whether anything was missing. A second call does nothing."""
    keyset = keyset_of(key)
    if _read(client, run_id, keyset["schema"]) is not None:  # it is stored last
        return False
    text = _read(client, run_id, f"{key}{_KEPT}")
    if text is None:
        return False
    kept = json.loads(text)
    for part in ("description", "schema"):
        _create(client, run_id, keyset[part], kept[part])
    return True


def answer_to(client: SyncPrefectClient, run_id: UUID, key: str) -> str | None:
    """What a person has filled in, as JSON; None where nobody has."""
    return _read(client, run_id, keyset_of(key)["response"])


def _read(client: SyncPrefectClient, run_id: UUID, key: str) -> str | None:
    try:
        return client.read_flow_run_input(run_id, key)
    except httpx.HTTPStatusError as error:
        if error.response.status_code != httpx.codes.NOT_FOUND:
            raise
        return None


def _create(client: SyncPrefectClient, run_id: UUID, key: str, value: str) -> bool:
    """Store an input; False where there is one of this key."""
    try:
        client.create_flow_run_input(run_id, key, value)
    except httpx.HTTPStatusError as error:
        if error.response.status_code != httpx.codes.CONFLICT:
            raise
        return False
    return True
