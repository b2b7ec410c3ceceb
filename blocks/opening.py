"""Opening what a name stands for, once per process.

A backend in process keeps its jobs in its own memory, so every task of a process must get the same
object; a ledger keeps its connections.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

import httpx
from prefect.blocks.core import Block

from blocks.aer import AerBackend
from blocks.ledger import Ledger
from blocks.nexus import nexus_from_environment
from qjobs.backends.base import Backend
from qjobs.errors import BackendUnavailable, InvalidInput
from qjobs.ledger import Ledger as LedgerDatabase
from qjobs.paths import data_home, ledger_url

if TYPE_CHECKING:
    from qjobs.compiling.compiler import CompileCache

__all__ = ["backend_named", "compile_cache", "ledger_named"]


class _Closable(Protocol):
    def close(self) -> None: ...


_T = TypeVar("_T", bound=_Closable)
_lock = threading.Lock()
_open: dict[tuple[str, str], _Closable] = {}


def backend_named(name: str) -> Backend:
    """The backend of a name: `aer`, `nexus/DEVICE`, or a saved block such as `aer-backend/NAME`.

    `nexus/DEVICE` is a device of the Nexus that the environment points to, as `qnx login` and `qjobs serve`
    set it up: NEXUS_DOMAIN and its like, and QJOBS_NEXUS_TOKEN or the stored login.

    Raises:
        InvalidInput: There is no such block, or it is not a backend.
        BackendUnavailable: The Prefect server, which has the block, is away.
    """
    if name == "aer":
        return _once(("backend", name), lambda: AerBackend().get_backend())
    if name.startswith("nexus/"):
        return _once(("backend", name), lambda: nexus_from_environment(name.removeprefix("nexus/")).get_backend())
    return _once(("backend", name), lambda: _load_backend(name))


def _load_backend(name: str) -> Backend:
    try:
        block = Block.load(name)
    except ValueError as error:
        raise InvalidInput(
            f"there is no backend {name!r}; use aer or nexus/DEVICE, or save a block and name it as in "
            "aer-backend/NAME",
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
    """The ledger of a saved block; the default ledger for an empty name.

    Raises:
        LedgerUnavailable: It cannot be opened.
    """
    if not name:
        return _once(("ledger", ledger_url()), lambda: Ledger().get_ledger())
    return _once(("ledger", name.removeprefix("ledger/")), lambda: _load_ledger(name))


def _load_ledger(name: str) -> LedgerDatabase:
    try:
        block = Ledger.load(name.removeprefix("ledger/"))
    except ValueError as error:
        raise InvalidInput(f"there is no ledger block {name!r}; save one, or leave it empty", field="ledger") from error
    opened: LedgerDatabase = block.get_ledger()  # type: ignore[union-attr]  # `load` is synchronous here
    return opened


def compile_cache() -> CompileCache:
    """The cache of compiled circuits, in the data directory."""
    from qjobs.compiling.compiler import (
        CompileCache,  # with it comes qiskit: 2 s and 60 MB, which a sensor has no use for
    )

    return CompileCache(data_home() / "compiled")


def _once(key: tuple[str, str], make: Callable[[], _T]) -> _T:
    with _lock:
        if key not in _open:
            _open[key] = make()
        return _open[key]  # type: ignore[return-value]  # a key always holds what its maker made


def close_all() -> None:
    """Close everything that was opened. Idempotent; runs at the end of the process."""
    with _lock:
        while _open:
            _open.popitem()[1].close()


atexit.register(close_all)
