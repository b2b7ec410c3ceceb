"""Opening what a name stands for, once per process.

A backend in process keeps its jobs in its own memory, so every task of a process must get the same
object; a ledger keeps its connections.
"""

from __future__ import annotations

import atexit
import logging
import threading
from typing import TYPE_CHECKING

import httpx
from prefect.blocks.core import Block

from blocks.aer import AerBackend
from blocks.ledger import Ledger
from blocks.nexus import nexus_from_environment
from qjobs.backends.base import Backend
from qjobs.backends.mqp.environment import from_environment as mqp_from_environment
from qjobs.backends.opening import check_name, open_aer
from qjobs.backends.qoro.environment import from_environment as qoro_from_environment
from qjobs.errors import BackendUnavailable, InvalidInput
from qjobs.ledger import Ledger as LedgerDatabase
from qjobs.paths import data_home, ledger_url

if TYPE_CHECKING:
    from qjobs.compiling.compiler import CompileCache

__all__ = ["backend_named", "close_all", "compile_cache", "ledger_named"]

logger = logging.getLogger(__name__)

_lock = threading.Lock()
_opening: dict[str, threading.Lock] = {}
"""A lock for each backend: a slow one holds up nobody who opens another."""
_backends: dict[str, Backend] = {}
_ledgers: dict[str, LedgerDatabase] = {}


def backend_named(name: str) -> Backend:
    """The backend of a name: `aer`, `nexus/DEVICE`, `mqp/RESOURCE`, `qoro/TARGET`, or a block: `aer-backend/NAME`.

    `aer/t1_us=80/readout_error=0.02` is the simulator with such noise, in the words of its block. `nexus/DEVICE` is a
    device of the Nexus that the environment points to, as `qnx login` and `qjobs serve` set it up: NEXUS_DOMAIN and its
    like, and QJOBS_NEXUS_TOKEN or the stored login. `mqp/RESOURCE` is a resource of the Munich Quantum Portal at
    MQP_URL, with the token in QJOBS_MQP_TOKEN. `qoro/TARGET` is a simulator cluster or a system of QPUs of Qoro at
    QORO_API_URL, with the key in QORO_API_KEY. A second call with the same name gives the same object, also after the
    block was changed.

    Raises:
        InvalidInput: There is no such block, or it is not a backend.
        BackendUnavailable: The Prefect server, which has the block, does not answer.
    """
    with _lock:
        if name in _backends:
            return _backends[name]
        opening = _opening.setdefault(name, threading.Lock())
    with opening:
        if name not in _backends:
            backend = _open_backend(name)
            logger.info("opened the backend %s: device %s of %s", name, backend.device, backend.name)
            with _lock:
                _backends[name] = backend
        return _backends[name]


def _open_backend(name: str) -> Backend:
    check_name(name)
    if name == "aer":
        return AerBackend().get_backend()
    if name.startswith("aer/"):
        return open_aer(name.removeprefix("aer/"))
    if name.startswith("nexus/"):
        return nexus_from_environment(name.removeprefix("nexus/")).get_backend()
    if name.startswith("mqp/"):
        return mqp_from_environment(name.removeprefix("mqp/"))
    if name.startswith("qoro/"):
        return qoro_from_environment(name.removeprefix("qoro/"))
    try:
        block = Block.load(name)
    except ValueError as error:
        raise InvalidInput(
            f"there is no backend {name!r}; use aer, aer/NOISE, nexus/DEVICE, mqp/RESOURCE or qoro/TARGET, or save a "
            "block and name it as in aer-backend/NAME",
            field="backend",
        ) from error
    except (httpx.HTTPError, OSError, RuntimeError) as error:
        raise BackendUnavailable(
            f"the Prefect server does not say what the block {name!r} is: {type(error).__name__}: {error}"
        ) from error
    opener = getattr(block, "get_backend", None)
    if opener is None:
        raise InvalidInput(f"the block {name!r} is not a backend", field="backend")
    backend: Backend = opener()
    return backend


def ledger_named(name: str = "") -> LedgerDatabase:
    """The ledger of a saved block, `NAME` or `ledger/NAME`; the default ledger for an empty name.

    A second call with the same name gives the same object.

    Raises:
        InvalidInput: There is no such block.
        LedgerUnavailable: The database cannot be opened.
    """
    key = name.removeprefix("ledger/") if name else ledger_url()
    with _lock:
        if key not in _ledgers:
            block = _load_ledger(name) if name else Ledger()
            _ledgers[key] = block.get_ledger()
            logger.info("opened the ledger %s", name or "in its default place")
        return _ledgers[key]


def _load_ledger(name: str) -> Ledger:
    try:
        block: Ledger = Ledger.load(name.removeprefix("ledger/"))  # type: ignore[assignment]  # `load` is synchronous here
    except ValueError as error:
        raise InvalidInput(f"there is no ledger block {name!r}; save one, or leave it empty", field="ledger") from error
    return block


def compile_cache() -> CompileCache:
    """The cache of compiled circuits, in the data directory."""
    from qjobs.compiling.compiler import (
        CompileCache,  # with it comes qiskit: 2 s and 60 MB, which a sensor has no use for
    )

    return CompileCache(data_home() / "compiled")


def close_all() -> None:
    """Close everything that was opened. Idempotent; runs at the end of the process."""
    with _lock:
        while _backends:
            _backends.popitem()[1].close()
        while _ledgers:
            _ledgers.popitem()[1].close()


atexit.register(close_all)
