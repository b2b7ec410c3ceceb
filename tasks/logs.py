"""A logger that works inside and outside of Prefect runs."""

from __future__ import annotations

import logging
from typing import TypeAlias

from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger

Logger: TypeAlias = "logging.Logger | logging.LoggerAdapter[logging.Logger]"


def task_logger() -> Logger:
    """The run's logger, or the plain one where a task's function is called without Prefect."""
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("qjobs")
