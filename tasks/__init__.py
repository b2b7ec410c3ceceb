"""Prefect tasks: each unpacks, calls one operation of `qjobs`, and logs. One task covers a job, not a circuit."""

# ruff: noqa: E402
from qjobs.paths import use_prefect_home

use_prefect_home()  # before Prefect is imported

from tasks.artifacts import publish_artifacts
from tasks.collect import collect_results
from tasks.compile import compile_circuits
from tasks.divi import publish_divi_program
from tasks.hybrid import publish_hybrid
from tasks.plan import publish_plan
from tasks.submit import submit_job
from tasks.trend import publish_trend
from tasks.wait import wait_for_jobs

__all__ = [
    "collect_results",
    "compile_circuits",
    "publish_artifacts",
    "publish_divi_program",
    "publish_hybrid",
    "publish_plan",
    "publish_trend",
    "submit_job",
    "wait_for_jobs",
]
