"""Hamiltonian jobs: each is minimised by the hybrid loop, whose circuits run as jobs of the service."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

from qjobs.service.assembly import Service
from qjobs.service.mqp.database import JobDatabase
from qjobs.service.mqp.executions import Executions
from qjobs.service.mqp.records import HamiltonianJob

__all__ = ["HamiltonianRuns"]

logger = logging.getLogger(__name__)

_AT_ONCE = 4


class HamiltonianRuns:
    """Loops that run now, a few side by side."""

    def __init__(self, service: Service, jobs: JobDatabase, executions: Executions) -> None:
        self._service = service
        self._jobs = jobs
        self._executions = executions
        self._stopping = threading.Event()
        self._pool: ThreadPoolExecutor | None = None

    def take(self, job: HamiltonianJob) -> None:
        """Run a job that this process has claimed."""

    def take_up(self, job: HamiltonianJob) -> None:
        """Go on with a job that was claimed before."""

    def cancel(self, job_id: int) -> None:
        """End the loop of a job that was cancelled."""

    def stop(self) -> None:
        """End all loops; they go on after the next start."""
