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

from qjobs.paths import private_folder

logger = logging.getLogger(__name__)

_DIGEST_BYTES: Final = 32
_RESCAN_PUTS: Final = 32
_STALE_TMP_S: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStats:
    """Look-ups of one cache object, and what its folder holds now."""

    hits: int
    misses: int
    entries: int
    size_bytes: int


class CompileCache:
    """Bytes under a key, in one folder; several threads and processes may use it at once.

    Writes are atomic. When the folder outgrows `max_bytes`, the entries used least recently are
    removed. A damaged entry is a miss and is removed. No failure of the disk is raised: what cannot
    be stored is compiled again. Nothing is created before the first `put`.
    The folder is the cache's own; `max_bytes` bounds all entries together.
    """

    def __init__(self, folder: Path, max_bytes: int = 256 * 1024 * 1024) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._hits = 0
        self._misses = 0
        self._puts = 0
        self._size_bytes = 0

    def get(self, key: str) -> bytes | None:
        """The bytes under `key` (hexadecimal digits), or None."""
        value = self._read(self._entry(key))
        with self._lock:
            if value is None:
                self._misses += 1
            else:
                self._hits += 1
        return value

    def put(self, key: str, value: bytes) -> None:
        """Store `value` under `key`, in place of what was there; a full disk is only logged.

        `key` is hexadecimal digits; a value of more than `max_bytes` is not stored.
        """
        if len(value) + _DIGEST_BYTES > self._max_bytes:
            return
        try:
            private_folder(self._folder)
            self._write(self._entry(key), hashlib.sha256(value).digest() + value)
        except OSError as error:
            logger.warning("compiled circuit not cached in %s: %s", self._folder, error)
            return
        with self._lock:
            self._puts += 1
            self._size_bytes += len(value) + _DIGEST_BYTES
            # Other processes write too, so the size is measured anew now and then.
            if self._puts % _RESCAN_PUTS == 1 or self._size_bytes > self._max_bytes:
                self._size_bytes = self._evict()

    def discard(self, key: str) -> None:
        """Forget an entry that turned out to be unusable."""
        with contextlib.suppress(OSError):
            self._entry(key).unlink()

    def stats(self) -> CacheStats:
        """What this object has looked up, and what the folder holds now."""
        sizes = [size for _, size, _ in self._entries()]
        return CacheStats(hits=self._hits, misses=self._misses, entries=len(sizes), size_bytes=sum(sizes))

    def _entry(self, key: str) -> Path:
        if not key.isalnum():
            raise ValueError(f"cache key {key!r}: use hexadecimal digits")
        return self._folder / f"{key}.bin"

    def _read(self, path: Path) -> bytes | None:
        try:
            content = path.read_bytes()
        except OSError:
            return None
        value = content[_DIGEST_BYTES:]
        if hashlib.sha256(value).digest() != content[:_DIGEST_BYTES]:
            logger.warning("damaged compiled circuit removed: %s", path)
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
        """Time of last use, size and path of every entry."""
        try:
            paths = list(self._folder.glob("*.bin"))
        except OSError:
            return
        for path in paths:
            with contextlib.suppress(OSError):  # another process evicted it
                found = path.stat()
                yield found.st_mtime, found.st_size, path

    def _evict(self) -> int:
        entries = sorted(self._entries())
        total = sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if total <= self._max_bytes:
                break
            with contextlib.suppress(OSError):
                path.unlink()
            logger.debug("evicted %s, %d bytes", path, size)
            total -= size
        with contextlib.suppress(OSError):  # left behind by a process that was killed while writing
            for path in self._folder.glob("*.tmp"):
                if path.stat().st_mtime < time.time() - _STALE_TMP_S:
                    path.unlink()
        return total
