"""Progress while jobs run: log lines and one artifact that is updated in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext

from qjobs.ledger import Ledger
from qjobs.model import JobId
from qjobs.operations.poll import utc_now
from qjobs.operations.usual_wait import UsualWaits
from qjobs.operations.wait import Progress
from qjobs.reports.markdown import plain
from qjobs.reports.progress import progress_words
from tasks.logs import Logger

_EVERY_S = 1.0


def show_progress(ledger: Ledger, job_ids: Sequence[JobId], key: str, usual: UsualWaits) -> None:
    """Show the progress of a flow run that is about to be suspended; the sensor keeps this artifact current."""
    percent, description = progress_words(ledger, job_ids, usual, utc_now())
    create_progress_artifact(percent, key=key, description=plain(description))


class ProgressArtifact:
    """Says how many circuits are done and what the others wait for, at most once a second.

    No artifact is made if `key` is empty or no flow runs.
    """

    def __init__(
        self,
        ledger: Ledger,
        job_ids: Sequence[JobId],
        key: str,
        logger: Logger,
        monotonic: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._job_ids = list(job_ids)
        self._logger = logger
        self._key = key if FlowRunContext.get() is not None else ""
        self._monotonic = monotonic
        self._usual = UsualWaits(ledger, monotonic)
        self._last = monotonic()
        self._artifact: UUID | None = None
        self._trouble: dict[str, str] = {}
        self._shown = -1

    def update(self, progress: Progress) -> None:
        """Take a report of the wait; most of them change nothing that is shown."""
        for backend, words in progress.trouble.items():
            if self._trouble.get(backend) != words:
                self._logger.warning("%s cannot be polled: %s; the jobs go on and so does the wait", backend, words)
        self._trouble = dict(progress.trouble)
        if self._monotonic() - self._last >= _EVERY_S:
            self._shown = len(self._job_ids) - len(progress.open)
            self._show()

    def finish(self) -> None:
        """Show the end, unless it is shown already."""
        if self._shown != len(self._job_ids) or self._artifact is None:
            self._show()

    def _show(self) -> None:
        self._last = self._monotonic()
        percent, description = progress_words(self._ledger, self._job_ids, self._usual, utc_now())
        self._logger.info("%s", description)
        if not self._key:
            return
        if self._artifact is None:
            self._artifact = create_progress_artifact(percent, key=self._key, description=plain(description))  # type: ignore[assignment]
        else:
            update_progress_artifact(self._artifact, percent, description=plain(description))
