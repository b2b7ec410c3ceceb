"""Jobs of the Aer backend: their ids, their chunks, and the register of this process's jobs.

A remote id is `aer-<host>-<pid>-<start>-<n>x<items>`. `start` is the process's start in clock ticks
since boot (0 where /proc is missing), so that a process which got the same pid later is told apart.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain, count
from pathlib import Path
from typing import Protocol

from qjobs.backends.aer.tasks import Outcome, Task
from qjobs.backends.base import ItemSnapshot, MissingResult, Result, Snapshot
from qjobs.lifecycle import JobStatus, roll_up
from qjobs.model import Key, RemoteId

_ID = re.compile(r"aer-(?P<host>.+)-(?P<pid>\d+)-(?P<start>\d+)-(?P<n>\d+)x(?P<items>\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a remote id was made, read from the id itself."""

    host: str
    pid: int
    start: int
    n_items: int

    @classmethod
    def of(cls, remote_id: str) -> Origin | None:
        """What the id says; None if it is not one of ours."""
        if (match := _ID.fullmatch(remote_id)) is None:
            return None
        return cls(host=match["host"], pid=int(match["pid"]), start=int(match["start"]), n_items=int(match["items"]))

    @property
    def is_this_host(self) -> bool:
        """Whether the process ran on this machine."""
        return self.host == _host()

    @property
    def is_alive(self) -> bool:
        """Whether the process that made the id still runs on this machine."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        now = _start_ticks(self.pid)
        return now is not None if self.start == 0 else now == self.start


@lru_cache(maxsize=1)
def _host() -> str:
    return socket.gethostname()


def _start_ticks(pid: int) -> int | None:
    """Start of a process (field 22 of proc(5) stat); 0 if it cannot be told, None if it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else 0
    except OSError:
        return 0
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])


class Owner(Protocol):
    """The queue that runs a job: its lock guards the job."""

    lock: threading.Condition

    @property
    def is_closed(self) -> bool:
        """Whether its results are gone."""

    def cancel(self, job: AerJob) -> None:
        """Cancel what has not started."""


@dataclass(slots=True, eq=False)
class Chunk:
    """Consecutive items of a job that one worker runs in one go.

    Guarded by the lock of the queue that owns the job. `items` are shared, frozen snapshots; `tries`
    counts the workers that ended under it.
    """

    job: AerJob
    task: Task | None
    n_items: int
    items: Sequence[ItemSnapshot] = ()
    outcome: Outcome | None = None
    tries: int = 0

    def move(self, status: JobStatus, message: str = "") -> None:
        """Give every item the same status, now."""
        times = dict(self.items[0].times) if self.items else {}
        times[status] = datetime.now(UTC)
        self.items = (ItemSnapshot(status=status, message=message, times=times),) * self.n_items
        self.job.changed = True

    def finish(self, outcome: Outcome) -> None:
        """Take what the worker returned; its failures are single items."""
        self.outcome = outcome
        self.task = None
        self.move(JobStatus.COMPLETED)
        if not outcome.failures:
            return
        items = list(self.items)
        times = dict(items[0].times)
        times[JobStatus.ERROR] = times.pop(JobStatus.COMPLETED)
        for position, failure in outcome.failures.items():
            items[position] = ItemSnapshot(
                status=JobStatus.ERROR, message=failure.message, error_detail=failure.detail, times=times
            )
        self.items = tuple(items)

    @property
    def is_open(self) -> bool:
        """Whether its items can still change."""
        return not self.items[0].status.is_final

    @property
    def status(self) -> JobStatus:
        """Status of its first item: of all, until it is final."""
        return self.items[0].status


@dataclass(slots=True, eq=False)
class AerJob:
    """One job of this process. Everything that changes is guarded by the owner's lock."""

    remote_id: RemoteId
    key: Key
    owner: Owner
    chunks: list[Chunk] = field(default_factory=list)
    changed: bool = True
    was_read: bool = False
    """Whether every item was asked for since the job is final."""
    dropped: str = ""
    _unread: set[int] | None = None
    _snapshot: Snapshot | None = None

    def snapshot(self) -> Snapshot:
        """The job now; the same object until something changes."""
        with self.owner.lock:
            if self._snapshot is None or self.changed:
                self._snapshot = self._new_snapshot()
                self.changed = False
            return self._snapshot

    def _new_snapshot(self) -> Snapshot:
        items = tuple(chain.from_iterable(chunk.items for chunk in self.chunks))
        distinct = {id(item): item for item in items}.values()
        status = roll_up(item.status for item in distinct)
        done = sum(item.status.is_final for item in items)
        if status.is_final:
            words = [item.message for item in distinct if item.message]
            message = words[0] if words else ""
        else:
            message = f"{done} of {len(items)} items done"
        return Snapshot(status=status, remote_status=status.value, message=message, items=items)

    def wait(self, timeout_s: float) -> bool:
        """Wait until the job is final, for `timeout_s` seconds at the most; whether it is."""
        with self.owner.lock:
            return self.owner.lock.wait_for(lambda: not self.is_open, timeout_s)

    def results(self, chosen: Sequence[int] | None = None) -> Iterator[tuple[int, Result]]:
        """One entry for each chosen item, or for each, in order."""
        with self.owner.lock:
            parts = [(chunk.items, chunk.outcome) for chunk in self.chunks]
            dropped = self.dropped
            self._note_reading(chosen)
        wanted = None if chosen is None else frozenset(chosen)
        start = 0
        for items, outcome in parts:
            positions = [each for each in range(len(items)) if wanted is None or start + each in wanted]
            rows = outcome.results() if outcome and positions else [None] * len(items)
            for each in positions:
                yield start + each, rows[each] or _missing(items[each], dropped)
            start += len(items)

    def _note_reading(self, chosen: Sequence[int] | None) -> None:
        if self.is_open:
            return
        if self._unread is None:
            self._unread = set(range(sum(chunk.n_items for chunk in self.chunks)))
        if chosen is None:
            self._unread.clear()
        self._unread.difference_update(chosen or ())
        self.was_read = not self._unread

    def drop(self, why: str) -> None:
        """Forget the results, not the statuses."""
        self.dropped = why
        for chunk in self.chunks:
            chunk.outcome = chunk.task = None

    @property
    def is_open(self) -> bool:
        """Whether any item can still change."""
        return any(chunk.is_open for chunk in self.chunks)

    @property
    def size_bytes(self) -> int:
        """Size of the results that are kept."""
        return sum(len(chunk.outcome.payload) for chunk in self.chunks if chunk.outcome)


def _missing(item: ItemSnapshot, dropped: str) -> MissingResult:
    if item.status is JobStatus.COMPLETED:
        return MissingResult(reason=dropped, permanent=True)
    return MissingResult(reason=item.message or f"the item is {item.status.value}")


class Register:
    """The jobs that this process made, by id and by key; shared by all its Aer backends.

    Statuses are kept for as long as the process runs (about 16 bytes an item); results are not.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._by_id: dict[RemoteId, AerJob] = {}
        self._by_key: dict[tuple[str, str, Key], AerJob] = {}

    def by_id(self, remote_id: RemoteId) -> AerJob | None:
        """The job of this id."""
        with self._lock:
            return self._by_id.get(remote_id)

    def by_key(self, name: str, device: str, key: Key) -> AerJob | None:
        """The job that was made with this key, unless its backend is closed and its results are gone."""
        with self._lock:
            return self._known(name, device, key)

    def _known(self, name: str, device: str, key: Key) -> AerJob | None:
        job = self._by_key.get((name, device, key))
        return None if job is None or job.owner.is_closed else job

    def all(self, name: str, device: str) -> list[AerJob]:
        """The jobs of a backend whose results are not gone."""
        with self._lock:
            mine = [job for (of, on, _), job in self._by_key.items() if (of, on) == (name, device)]
            return [job for job in mine if not job.owner.is_closed]

    def add(self, name: str, device: str, key: Key, tasks: Sequence[Task], owner: Owner) -> tuple[AerJob, bool]:
        """Make the job of a key, once, with every item QUEUED.

        Returns:
            The job, and whether this call made it.
        """
        with self._lock:
            if (known := self._known(name, device, key)) is not None:
                return known, False
            start = _start_ticks(os.getpid()) or 0
            n_items = sum(len(task.items) for task in tasks)
            remote_id = RemoteId(f"aer-{_host()}-{os.getpid()}-{start}-{next(self._numbers)}x{n_items}")
            job = AerJob(remote_id=remote_id, key=key, owner=owner)
            job.chunks = [Chunk(job=job, task=task, n_items=len(task.items)) for task in tasks]
            for chunk in job.chunks:
                chunk.move(JobStatus.QUEUED)
            self._by_id[remote_id] = self._by_key[name, device, key] = job
            return job, True


_register = Register()


def register() -> Register:
    """The register of this process."""
    return _register


def _forget_parent() -> None:
    global _register  # noqa: PLW0603
    _register = Register()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)
