"""Prefect blocks: the configuration of backends and of the ledger, saved once and named in flows.

Importing this package registers the block types (entry point `prefect.collections`). Nothing is
opened before a task asks for it.
"""

from blocks.aer import AerBackend
from blocks.async_job import AsyncJobBackend
from blocks.ledger import Ledger
from blocks.mqp import MqpBackend, MqpCredentials
from blocks.nexus import NexusBackend
from blocks.opening import backend_named, compile_cache, ledger_named
from blocks.qoro import QoroBackend, QoroCredentials
from blocks.rest import RestBackend

__all__ = [
    "AerBackend",
    "AsyncJobBackend",
    "Ledger",
    "MqpBackend",
    "MqpCredentials",
    "NexusBackend",
    "QoroBackend",
    "QoroCredentials",
    "RestBackend",
    "backend_named",
    "compile_cache",
    "ledger_named",
]
