"""Many small objects: what was there before them is left out of garbage collection meanwhile."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

__all__ = ["heap_set_aside"]

_lock = threading.Lock()
_n_inside = 0


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
