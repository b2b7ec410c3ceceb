"""A logger that works inside and outside of Prefect runs, and what Prefect's own one says of our errors."""

from __future__ import annotations

import logging
from typing import TypeAlias
from weakref import WeakSet

from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger

from qjobs.errors import InvalidInput, QJobsError

Logger: TypeAlias = "logging.Logger | logging.LoggerAdapter[logging.Logger]"


def task_logger() -> Logger:
    """The run's logger, or the plain one where a task's function is called without Prefect."""
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("qjobs")


def _of_a_task(record: logging.LogRecord) -> bool:
    """Leave the traceback of an error of ours to the flow run, which fails with it."""
    if record.exc_info and isinstance(record.exc_info[1], QJobsError):
        record.exc_info = None
    return True


def _of_a_flow(record: logging.LogRecord) -> bool:
    """Keep the first traceback of an error of ours, none of a user's mistake; Prefect's engine logs it once more."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, QJobsError):
        if error in _shown or isinstance(error, InvalidInput):
            record.exc_info = None
        _shown.add(error)
    return True


_shown: WeakSet[QJobsError] = WeakSet()
# The words of an error of ours name the reason; its traceback is for developers, and one of them is enough.
logging.getLogger("prefect.task_runs").addFilter(_of_a_task)
logging.getLogger("prefect.flow_runs").addFilter(_of_a_flow)
