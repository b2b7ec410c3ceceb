"""Prefect flows: what people run, from the command line, from Prefect's UI or on a schedule."""

from qjobs.paths import use_prefect_home

use_prefect_home()  # before any module here imports Prefect
