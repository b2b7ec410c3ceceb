"""Compiled circuits on disk: addressed by content, bounded, safe to share between processes."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["CacheStats", "CompileCache"]

_log = logging.getLogger(__name__)

_DIGEST_BYTES: Final = 32
_COUNTER_MAX_BYTES: Final = 4 * 1024 * 1024
_RESCAN_PUTS: Final = 32
_STALE_TMP_S: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStats:
    """What a cache has done and holds.

    `hits` and `misses` are of this object, `lifetime_hits` and `lifetime_misses` of the folder, by
    all processes (past 4 million look-ups of a kind both are halved, so that the rate stays true).
    """

    hits: int
    misses: int
    entries: int
    size_bytes: int
    lifetime_hits: int
    lifetime_misses: int

    @property
    def hit_rate(self) -> float:
        """Share of this object's look-ups that were hits; 0 before the first."""
        return self.hits / max(1, self.hits + self.misses)

    @property
    def lifetime_hit_rate(self) -> float:
        """Share of the folder's look-ups that were hits; 0 before the first."""
        return self.lifetime_hits / max(1, self.lifetime_hits + self.lifetime_misses)


class CompileCache:
    """Bytes under a key, in one folder; several threads and processes may use it at once.

    Writes are atomic. The entries used least recently go when the folder outgrows `max_bytes`. A
    damaged entry is a miss and is removed. No failure of the disk is raised: what cannot be stored
    is compiled again. Nothing is created before the first `put`.

    Args:
        folder: Where entries live; the cache's own.
        max_bytes: Bound on all entries together, in bytes.
    """

    def __init__(self, folder: Path, max_bytes: int = 256 * 1024 * 1024) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._counts = {"hits": 0, "misses": 0}
        self._unsaved = {"hits": 0, "misses": 0}
        self._puts = 0
        self._size_bytes = 0

    def get(self, key: str) -> bytes | None:
        """The bytes under `key`, or None; counts as a look-up.

        Args:
            key: Hexadecimal digits.
        """
        value = self._read(self._entry(key))
        self._count("misses" if value is None else "hits")
        return value

    def put(self, key: str, value: bytes) -> None:
        """Store `value` under `key`, in place of what was there; a full disk is only logged.

        Args:
            key: Hexadecimal digits.
            value: At most `max_bytes`; more is not stored.
        """
        if len(value) + _DIGEST_BYTES > self._max_bytes:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._write(self._entry(key), hashlib.sha256(value).digest() + value)
        except OSError as error:
            _log.warning("compiled circuit not cached in %s: %s", self._folder, error)
            return
        with self._lock:
            self._save_counts()
            self._puts += 1
            self._size_bytes += len(value) + _DIGEST_BYTES
            # Other processes write too: what we believe of the size is renewed now and then.
            if self._puts % _RESCAN_PUTS == 1 or self._size_bytes > self._max_bytes:
                self._size_bytes = self._evict()

    def discard(self, key: str) -> None:
        """Forget an entry that turned out to be unusable."""
        with contextlib.suppress(OSError):
            self._entry(key).unlink()

    def stats(self) -> CacheStats:
        """Counts and size, read from the folder now."""
        sizes = [size for _, size, _ in self._entries()]
        with self._lock:
            return CacheStats(
                **self._counts,
                entries=len(sizes),
                size_bytes=sum(sizes),
                lifetime_hits=self._saved("hits") + self._unsaved["hits"],
                lifetime_misses=self._saved("misses") + self._unsaved["misses"],
            )

    def _entry(self, key: str) -> Path:
        if not key.isalnum():
            raise ValueError(f"cache key {key!r}: use hexadecimal digits")
        return self._folder / f"{key}.bin"

    def _read(self, path: Path) -> bytes | None:
        try:
            content = path.read_bytes()
        except OSError:
            return None
        digest, value = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(value).digest() != digest:
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # the time of last use, by which entries are evicted
        return value

    def _write(self, path: Path, content: bytes) -> None:
        handle, name = tempfile.mkstemp(dir=self._folder, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        try:
            paths = list(self._folder.glob("*.bin"))
        except OSError:
            return
        for path in paths:
            with contextlib.suppress(OSError):  # another process evicted it
                found = path.stat()
                yield found.st_mtime, found.st_size, path

    def _evict(self) -> int:
        entries = sorted(self._entries(), key=lambda entry: entry[:2])
        total = sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if total <= self._max_bytes:
                break
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size
        with contextlib.suppress(OSError):  # left behind by a process that was killed while writing
            for path in self._folder.glob("*.tmp"):
                if path.stat().st_mtime < time.time() - _STALE_TMP_S:
                    path.unlink()
        return total

    def _count(self, kind: str) -> None:
        with self._lock:
            self._counts[kind] += 1
            self._unsaved[kind] += 1
            if self._folder.is_dir():
                self._save_counts()

    def _save_counts(self) -> None:
        """One appended byte per look-up: atomic between processes, and the size is the count."""
        for kind, count in self._unsaved.items():
            if not count:
                continue
            with contextlib.suppress(OSError), (self._folder / kind).open("ab", buffering=0) as file:
                file.write(b"." * count)
                self._unsaved[kind] = 0
                if file.tell() > _COUNTER_MAX_BYTES:
                    self._halve()

    def _halve(self) -> None:
        for kind in self._counts:
            os.truncate(self._folder / kind, self._saved(kind) // 2)

    def _saved(self, kind: str) -> int:
        try:
            return (self._folder / kind).stat().st_size
        except OSError:
            return 0
