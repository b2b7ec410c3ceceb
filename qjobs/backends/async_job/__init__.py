"""Any object with the protocol `AsyncJobBackend` of Qoro's Divi, as a backend."""

from qjobs.backends.async_job.answers import STATUSES
from qjobs.backends.async_job.backend import AsyncJob
from qjobs.backends.async_job.objects import AsyncJobObject, ExecutionResult, object_of

__all__ = ["STATUSES", "AsyncJob", "AsyncJobObject", "ExecutionResult", "object_of"]
