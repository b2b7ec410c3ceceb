"""Prefect blocks: the configuration of backends and of the ledger, saved once and named in flows.

Importing this package registers the block types (entry point `prefect.collections`). Nothing is
opened before a task asks for it.
"""

# ruff: noqa: E402
from qjobs.paths import use_prefect_home

use_prefect_home()  # before Prefect is imported

from blocks.aer import AerBackend
from blocks.async_job import AsyncJobBackend
from blocks.ledger import Ledger
from blocks.mqp import MqpBackend, MqpCredentials
from blocks.nexus import NexusBackend, NexusCredentials
from blocks.opening import backend_named, compile_cache, ledger_named
from blocks.qoro import QoroBackend, QoroCredentials
from blocks.rest import RestBackend, RestCredentials

__all__ = [
    "AerBackend",
    "AsyncJobBackend",
    "Ledger",
    "MqpBackend",
    "MqpCredentials",
    "NexusBackend",
    "NexusCredentials",
    "QoroBackend",
    "QoroCredentials",
    "RestBackend",
    "RestCredentials",
    "backend_named",
    "compile_cache",
    "ledger_named",
]
