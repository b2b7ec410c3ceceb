"""Showing people what happens to jobs: Prefect events, and the artifacts of runs that are suspended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import Artifact
from prefect.client.schemas.sorting import ArtifactSort
from prefect.events import Event as PrefectEvent

from qjobs.ledger import Ledger
from qjobs.ledger.suspended_runs import SuspendedRun
from qjobs.model import Event, Job, JobId
from qjobs.operations.poll import utc_now
from qjobs.operations.usual_wait import UsualWaits
from qjobs.reports.files import artifact_key
from qjobs.reports.markdown import plain
from qjobs.reports.progress import jobs_shown, progress_words

_OWN_NAMES = {"parked", "stalled", "deadline", "contradiction"}
"""Causes that are events of their own, although the job's status stays as it was."""
_KEYS = {"progress": "progress", "table": "jobs"}
_NAMESPACE = uuid5(NAMESPACE_URL, "qjobs.job")
_EVENTS_A_REQUEST = 200
_RUNS_A_REQUEST = 20
"""A server gives 200 artifacts at a time, and a run that was suspended again has several of a key."""


class Publisher:
    """Publishes what happens to jobs in Prefect.

    An event is named `qjobs.job.STATUS` (or `qjobs.job.parked`, `.stalled`, `.deadline`, `.contradiction`); its
    resource is `qjobs.job.JOB_ID`, with the labels `qjobs.backend`, `qjobs.device`, `qjobs.experiment`; related is
    the flow run that made the job.
    """

    def __init__(self, store: Ledger, client: SyncPrefectClient, usual: UsualWaits) -> None:
        self._store = store
        self._client = client
        self._usual = usual
        self._shown: set[str] = set()

    def publish(self, events: Sequence[Event]) -> int:
        """Record an event for each that moved a job or says something of it; how many there were.

        They are there when this returns. Publishing one again makes no second one: its id is the event's own.

        Raises:
            OSError, RuntimeError: The server did not take them.
        """
        chosen = [event for event in events if event.old is not event.new or event.cause in _OWN_NAMES]
        jobs = {job.job_id: job for job in self._store.jobs(job_ids=list({event.job_id for event in chosen}))}
        for start in range(0, len(chosen), _EVENTS_A_REQUEST):
            part = [_prefect_event(event, jobs[event.job_id]) for event in chosen[start : start + _EVENTS_A_REQUEST]]
            self._client.request("POST", "/events", json=[each.model_dump(mode="json") for each in part])
        return len(chosen)

    def show_progress(self, waits: Sequence[SuspendedRun], changed: set[JobId]) -> None:
        """Keep the artifacts of suspended runs current: how far they are and when they may end, and their jobs.

        Runs that are seen for the first time are shown in any case. Of the jobs in `changed` something new may be
        known.
        """
        chosen = [w for w in waits if w.flow_run_id not in self._shown or not changed.isdisjoint(w.job_ids)]
        for start in range(0, len(chosen), _RUNS_A_REQUEST):
            part = chosen[start : start + _RUNS_A_REQUEST]
            known = self._artifacts([wait.flow_run_id for wait in part])
            for wait in part:
                jobs = self._store.jobs(job_ids=wait.job_ids)
                name = jobs[0].experiment or jobs[0].name
                percent, words = progress_words(self._store, wait.job_ids, self._usual, utc_now())
                progress = ("progress", percent, plain(f"{words}{_troubles(wait, jobs)}"))
                for kind, data, description in (progress, ("table", *jobs_shown(self._store, wait.job_ids, name))):
                    key = artifact_key(name, _KEYS[kind])
                    self._show(known.get((wait.flow_run_id, key)), wait.flow_run_id, key, kind, data, description)
                self._shown.add(wait.flow_run_id)

    def _artifacts(self, runs: Sequence[str]) -> dict[tuple[str, str], Artifact]:
        """The newest artifact of each run and key."""
        chosen = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(run) for run in runs]))
        found = self._client.read_artifacts(artifact_filter=chosen, sort=ArtifactSort.UPDATED_DESC)
        known: dict[tuple[str, str], Artifact] = {}
        for each in found:
            known.setdefault((str(each.flow_run_id), each.key or ""), each)
        return known

    def _show(self, old: Artifact | None, run: str, key: str, kind: str, data: Any, words: str) -> None:
        if old is None:
            made: Any = ArtifactCreate(key=key, type=kind, data=data, description=words, flow_run_id=UUID(run))
            self._client.create_artifact(made)
        elif (old.description, old.data) != (words, data):
            self._client.update_artifact(old.id, ArtifactUpdate(data=data, description=words))


def _troubles(wait: SuspendedRun, jobs: Sequence[Job]) -> str:
    """What is in the way of the jobs that are open."""
    return "".join(
        f"; {words}" for words in sorted({job.trouble for job in jobs if job.trouble and job.job_id in wait.open_ids})
    )


def _prefect_event(event: Event, job: Job) -> PrefectEvent:
    name = event.cause if event.old is event.new else event.new.lower()
    run = {"prefect.resource.id": f"prefect.flow-run.{job.run}", "prefect.resource.role": "flow-run"}
    return PrefectEvent.model_validate(
        {
            "id": uuid5(_NAMESPACE, f"{job.job_id}/{event.event_id}"),
            "event": f"qjobs.job.{name}",
            "occurred": event.at,
            "resource": {
                "prefect.resource.id": f"qjobs.job.{job.job_id}",
                "prefect.resource.name": job.name,
                "qjobs.backend": job.backend,
                "qjobs.device": job.device,
                "qjobs.experiment": job.experiment,
            },
            "related": [run] if is_uuid(job.run) else [],
            "payload": {"old": event.old, "new": event.new, "cause": event.cause, "detail": event.detail},
        }
    )


def is_uuid(word: str) -> bool:
    """Whether a run may be one of Prefect's."""
    try:
        UUID(word)
    except ValueError:
        return False
    return True
