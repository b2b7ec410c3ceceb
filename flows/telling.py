"""Telling people what happens to jobs: Prefect events, and the artifacts of runs that are suspended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import Artifact
from prefect.events import emit_event

from qjobs.history import UsualWait, expected, usual_wait
from qjobs.ledger import Ledger
from qjobs.ledger_waits import Waiting
from qjobs.model import Event, Job
from qjobs.operations import utc_now
from tasks.artifacts import artifact_key
from tasks.progress import progress_of

__all__ = ["Telling"]

_OWN_NAMES = {"parked", "stalled", "deadline", "contradiction"}
"""Causes that are events of their own, although the job's status stays as it was."""


class Telling:
    """Tells of jobs in Prefect.

    An event is named `qjobs.job.STATUS` (or `qjobs.job.parked`, `.stalled`, `.deadline`, `.contradiction`); its
    resource is `qjobs.job.JOB_ID`, with the labels `qjobs.backend`, `qjobs.device`, `qjobs.experiment`; related is
    the flow run that made the job.

    Args:
        store: The ledger.
        client: The Prefect server.
    """

    def __init__(self, store: Ledger, client: SyncPrefectClient) -> None:
        self._store, self._client = store, client
        self._usual: dict[tuple[str, str], UsualWait | None] = {}

    def tell(self, events: Sequence[Event]) -> int:
        """Emit an event for each that moved a job or says something of it; how many were emitted."""
        chosen = [event for event in events if event.old is not event.new or event.cause in _OWN_NAMES]
        jobs = {job.job_id: job for job in self._store.jobs(job_ids=list({event.job_id for event in chosen}))}
        for event in chosen:
            self._emit(event, jobs[event.job_id])
        return len(chosen)

    def _emit(self, event: Event, job: Job) -> None:
        name = event.cause if event.old is event.new else event.new.lower()
        run = {"prefect.resource.id": f"prefect.flow-run.{job.run}", "prefect.resource.role": "flow-run"}
        emit_event(
            event=f"qjobs.job.{name}",
            occurred=event.at,
            resource={
                "prefect.resource.id": f"qjobs.job.{job.job_id}",
                "prefect.resource.name": job.name,
                "qjobs.backend": job.backend,
                "qjobs.device": job.device,
                "qjobs.experiment": job.experiment,
            },
            related=[run] if _is_uuid(job.run) else [],
            payload={"old": event.old, "new": event.new, "cause": event.cause, "detail": event.detail},
        )

    def show_progress(self, waits: Sequence[Waiting]) -> None:
        """Keep the progress artifacts of suspended runs current: what is done, queue positions, and when it may end."""
        if not waits:
            return
        ids = [UUID(wait.flow_run_id) for wait in waits]
        chosen = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=ids))
        known = {
            (str(each.flow_run_id), each.key): each for each in self._client.read_artifacts(artifact_filter=chosen)
        }
        for wait in waits:
            jobs = self._store.jobs(job_ids=wait.job_ids)
            key = artifact_key(jobs[0].experiment or jobs[0].name, "progress")
            percent, words = progress_of(self._store, wait.job_ids)
            self._show(
                known.get((wait.flow_run_id, key)), wait.flow_run_id, key, percent, f"{words}{self._more(wait, jobs)}"
            )

    def _more(self, wait: Waiting, jobs: Sequence[Job]) -> str:
        places = self._store.queue_positions(wait.open_ids)
        open_jobs = [job for job in jobs if job.job_id in wait.open_ids]
        end = expected([(job, self._usually(job)) for job in open_jobs], utc_now())
        troubles = sorted({job.trouble for job in open_jobs if job.trouble})
        return "".join(
            [
                f"; next in the queue is place {min(places.values())}" if places else "",
                f"; usually done by {end:%Y-%m-%d %H:%M} UTC" if end else "",
                f"; {'; '.join(troubles)}" if troubles else "",
            ]
        )

    def _usually(self, job: Job) -> UsualWait | None:
        where = (job.backend, job.device)
        if where not in self._usual:
            self._usual[where] = usual_wait(self._store, *where)
        return self._usual[where]

    def _show(self, old: Artifact | None, run: str, key: str, percent: float, words: str) -> None:
        if old is None:
            made: Any = ArtifactCreate(key=key, type="progress", data=percent, description=words, flow_run_id=UUID(run))
            self._client.create_artifact(made)
        elif old.description != words:
            self._client.update_artifact(old.id, ArtifactUpdate(data=percent, description=words))


def _is_uuid(word: str) -> bool:
    try:
        UUID(word)
    except ValueError:
        return False
    return True
