"""The parts of Qoro in the service, put together once."""

from __future__ import annotations

from dataclasses import dataclass

from qjobs.service.assembly import Service
from qjobs.service.executions import Executions
from qjobs.service.qoro.jobs import QoroJobs
from qjobs.service.qoro.runs import PROJECT, Runs

__all__ = ["Qoro"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Qoro:
    """Everything that the routes of Qoro need."""

    service: Service
    jobs: QoroJobs
    executions: Executions
    runs: Runs

    @classmethod
    def open(cls, service: Service) -> Qoro:
        """Put the parts together; nothing runs until `runs` is started."""
        jobs = QoroJobs(service.db, service.clock, part_size=service.settings.max_items)
        executions = Executions(service, PROJECT)
        return cls(service=service, jobs=jobs, executions=executions, runs=Runs(service, jobs, executions))
