"""A logger that works inside and outside of Prefect runs, and what Prefect's own one says of our errors."""

from __future__ import annotations

import logging
from typing import TypeAlias

from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger

from qjobs.errors import QJobsError

Logger: TypeAlias = "logging.Logger | logging.LoggerAdapter[logging.Logger]"


def task_logger() -> Logger:
    """The run's logger, or the plain one where a task's function is called without Prefect."""
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("qjobs")


def _without_traceback(record: logging.LogRecord) -> bool:
    """Leave the traceback of an error of ours to the flow run, which fails with it.

    Prefect logs one for each task run whose retries are exhausted, and in it one for every error behind it; the words
    of ours name the reason.
    """
    if record.exc_info and isinstance(record.exc_info[1], QJobsError):
        record.exc_info = None
    return True


logging.getLogger("prefect.task_runs").addFilter(_without_traceback)
