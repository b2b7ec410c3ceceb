"""The parts of the portal in the service, put together once."""

from __future__ import annotations

from dataclasses import dataclass

from qjobs.service.assembly import Service
from qjobs.service.executions import Executions
from qjobs.service.mqp.database import JobDatabase
from qjobs.service.mqp.device_resources import DeviceResources
from qjobs.service.mqp.scheduler import Scheduler

__all__ = ["PROJECT", "Portal"]

PROJECT = "Munich Quantum Portal"
"""The project of a user in which the jobs are that work for those of the portal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Portal:
    """Everything that the portal's routes need."""

    service: Service
    jobs: JobDatabase
    executions: Executions
    scheduler: Scheduler

    @classmethod
    def open(cls, service: Service) -> Portal:
        """Put the parts together, with the devices as resources; the scheduler does nothing until it is started.

        Raises:
            LedgerError: The database cannot be written.
        """
        jobs = JobDatabase(service.db, now=service.clock.now)
        resources = DeviceResources(jobs, service.devices.all, service.settings.max_items)
        resources.save_changes(service.clock.now())
        executions = Executions(service, PROJECT)
        scheduler = Scheduler(service, jobs, resources, executions)
        return cls(service=service, jobs=jobs, executions=executions, scheduler=scheduler)
