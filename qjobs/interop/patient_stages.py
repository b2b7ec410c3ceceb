"""Stages of this process for programs of other libraries: they wait for a provider, and a cancellation ends them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from qjobs.backends.base import Backend
from qjobs.compiling.compiler import CompileCache
from qjobs.errors import BackendUnavailable
from qjobs.ledger import Ledger
from qjobs.model import JobId
from qjobs.operations.execute import DirectStages, ToSubmit, WaitedFor
from qjobs.operations.wait import pause
from qjobs.paths import data_home

__all__ = ["PatientStages"]

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S = 2.0
_LONGEST_PAUSE_S = 60.0


class PatientStages(DirectStages):
    """Stages on one backend, known by `name`.

    `pause` is called for every pause, with seconds, at least once a second; what it raises ends the stage. `passed` is
    called after each poll.
    """

    def __init__(
        self,
        ledger: Ledger,
        name: str,
        backend: Backend,
        pause: Callable[[float], None],
        passed: Callable[[], object],
    ) -> None:
        super().__init__(ledger, {name: backend}, CompileCache(data_home() / "compiled"))
        self._pause = pause
        self._passed = passed

    def submit(self, jobs: Mapping[JobId, ToSubmit]) -> Mapping[JobId, Exception]:
        """Submit jobs; what cannot be reached is tried again. The policy caps how often something is sent."""
        failed = dict(super().submit(jobs))
        pause_s = _FIRST_PAUSE_S
        while away := {job_id for job_id, error in failed.items() if isinstance(error, BackendUnavailable)}:
            logger.warning("%d jobs cannot be sent now: %s", len(away), failed[min(away)])
            pause(pause_s, self._pause)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            for job_id in away:
                del failed[job_id]
            failed.update(super().submit({job_id: jobs[job_id] for job_id in jobs if job_id in away}))
        return failed

    def wait(self, waited_for: WaitedFor) -> None:
        """Poll in this thread."""
        self.wait_here(waited_for, passed=self._passed, sleep=self._pause)
