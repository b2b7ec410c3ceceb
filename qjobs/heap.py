"""Memory: left out of garbage collection while many objects are made, and bounded where strangers make them."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path

__all__ = ["collection_paused", "heap_set_aside", "held_bytes", "limit_memory"]

_lock = threading.Lock()
_n_inside = 0
_n_paused = 0


@contextlib.contextmanager
def heap_set_aside() -> Iterator[None]:
    """Set aside what this process has, while a sweep makes some objects for each point.

    Python's collector looks at every object again and again while others are made; the half million that come with
    qiskit and Prefect cost a quarter of a sweep's time so. They are collected as ever afterwards. A process that has
    set its objects aside itself (`gc.freeze`) is left as it is. Safe in many threads, and inside of itself.
    """
    global _n_inside  # noqa: PLW0603
    with _lock:
        is_ours = _n_inside > 0 or gc.get_freeze_count() == 0
        if is_ours:
            _n_inside += 1
            if _n_inside == 1:
                gc.freeze()
    try:
        yield
    finally:
        if is_ours:
            with _lock:
                _n_inside -= 1
                if _n_inside == 0:
                    gc.unfreeze()


@contextlib.contextmanager
def collection_paused() -> Iterator[None]:
    """Collect no garbage while one large text is parsed, which makes none and leaves a million objects.

    A process whose collector is off already is left as it is. Safe in many threads, and inside of itself.
    """
    global _n_paused  # noqa: PLW0603
    with _lock:
        is_ours = _n_paused > 0 or gc.isenabled()
        if is_ours:
            _n_paused += 1
            gc.disable()
    try:
        yield
    finally:
        if is_ours:
            with _lock:
                _n_paused -= 1
                if _n_paused == 0:
                    gc.enable()


@cache
def held_bytes() -> int:
    """What this process had asked for when this was first called; 0 where the system does not say."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def limit_memory(more_bytes: int) -> None:
    """From now on let this process have so many bytes beyond `held_bytes`; without effect where that is 0.

    The kernel refuses what would be more (RLIMIT_DATA), and the caller meets a MemoryError.
    """
    held = held_bytes()
    if not held:
        return
    import resource  # not on Windows

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = held + more_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
