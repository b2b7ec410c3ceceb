"""Being told instead of asking: for a few jobs at a time, where the backend can watch one."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from qjobs.backends.base import Snapshot
from qjobs.errors import QJobsError
from qjobs.model import RemoteId

__all__ = ["MOST", "Watchers", "Watches"]

MOST = 4
"""Jobs of one wait that are watched; many are asked for at once instead."""
_LEG_S = 30.0
"""How long a watcher outlives the wait that it serves, at the most."""


@runtime_checkable
class Watches(Protocol):
    """A backend that can be told by its provider when a job changes."""

    def watch(
        self, remote_id: RemoteId, *, timeout_s: float, changed: Callable[[Snapshot], None] = lambda _: None
    ) -> Snapshot | None:
        """Wait until a job is final, calling `changed` with each new snapshot; what was seen last."""


class Watchers:
    """Threads that say when it is worth to ask. They write nothing down: what counts is the poll that follows.

    Args:
        wake: Set whenever something is noticed.
    """

    def __init__(self, wake: threading.Event | None = None) -> None:
        self._lock = threading.Lock()
        self._followed: set[RemoteId] = set()  # ever; a job is watched by one thread, once
        self._active = 0
        self._changed: set[RemoteId] = set()
        self._wake, self._over = wake or threading.Event(), threading.Event()

    def follow(self, backend: Watches, remote_ids: Sequence[RemoteId]) -> None:
        """Watch these jobs too; those that are watched already go on."""
        for remote_id in remote_ids:
            with self._lock:
                if remote_id in self._followed:
                    continue
                self._followed.add(remote_id)
                self._active += 1
            threading.Thread(target=self._run, args=(backend, remote_id), daemon=True).start()

    @property
    def active(self) -> int:
        """How many jobs are watched now."""
        with self._lock:
            return self._active

    def noticed(self) -> set[RemoteId]:
        """The jobs that have changed since this was asked last."""
        with self._lock:
            changed, self._changed = self._changed, set()
        return changed

    def end(self) -> None:
        """The wait is over. Idempotent; the threads end by themselves."""
        self._over.set()

    def _run(self, backend: Watches, remote_id: RemoteId) -> None:
        # A closed client raises RuntimeError; polling goes on without us in every case.
        with contextlib.suppress(QJobsError, RuntimeError):
            while not self._over.is_set():
                seen = backend.watch(remote_id, timeout_s=_LEG_S, changed=lambda _: self._note(remote_id))
                if seen is None or seen.status.is_final:
                    break
        with self._lock:
            self._active -= 1

    def _note(self, remote_id: RemoteId) -> None:
        with self._lock:
            self._changed.add(remote_id)
        self._wake.set()
