"""Names of files and artifacts, and files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from qjobs.errors import QJobsError, StorageFull
from qjobs.paths import private_file, private_folder

if TYPE_CHECKING:
    import pandas as pd
    from fsspec import AbstractFileSystem

logger = logging.getLogger(__name__)

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_WITH_BUCKETS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss"}
"""Protocols without folders, where making the folder of a file would make a bucket of a mistyped name."""


def slug(name: str) -> str:
    """A name in lower case letters, digits and hyphens, as addresses and keys take it.

    >>> slug("nexus/H1-1E")
    'nexus-h1-1e'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def artifact_key(name: str, what: str) -> str:
    """The key of an artifact: the same for every run of a name, so that its versions line up in the UI.

    >>> artifact_key("My sweep 2", "report")
    'my-sweep-2-report'
    """
    return f"{slug(name)}-{what}"


def is_url(place: Path | str) -> bool:
    """Whether a place is a URL such as s3://BUCKET/FILE, and no path on this machine."""
    return "://" in str(place)


@contextlib.contextmanager
def whole_file(place: Path | str, *, private: bool = False) -> Iterator[BinaryIO]:
    """A file to write into, which takes the place of an older one of its name once all of it is written.

    Args:
        place: A path, or a URL that fsspec knows. What is cut off while it is sent to a URL is removed there.
        private: Whether a file at a path, and folders that are made for it, are for their owner alone; a URL's own
            rights hold there.

    Raises:
        StorageFull: There is no room, or the place cannot be written; an older file at a path is still there.
    """
    with _file_at_url(str(place)) if is_url(place) else _file_at_path(Path(place), private) as file:
        yield file


@contextlib.contextmanager
def _file_at_url(url: str) -> Iterator[BinaryIO]:
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(url)
        if _WITH_BUCKETS.isdisjoint(_protocols(system)):
            system.makedirs(path.rpartition("/")[0], exist_ok=True)
        try:
            with system.open(path, "wb") as file:
                yield file
        except BaseException:
            with contextlib.suppress(Exception):
                system.rm_file(path)
            raise
    except Exception as error:
        if not is_of_store(error):
            raise
        words = f"{url} cannot be written: {error}; what the ledger has stored is intact"
        raise StorageFull(words) from error
    logger.info("wrote %s", url)


def _protocols(system: AbstractFileSystem) -> tuple[str, ...]:
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)


def is_of_store(error: Exception) -> bool:
    """Whether an error comes from the place behind a URL: an OSError, or one of a class that its client brings.

    The clients of S3 and of Google have classes of their own for credentials that are missing and servers that do not
    answer.
    """
    ours = isinstance(error, QJobsError | ValueError) or type(error).__module__ == "builtins"
    return isinstance(error, OSError) or not ours


@contextlib.contextmanager
def _file_at_path(path: Path, private: bool) -> Iterator[BinaryIO]:
    part = path.with_name(f".{path.name[:200]}.{uuid.uuid4().hex}.part")
    try:
        if private:
            private_folder(path.parent)
            private_file(part)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StorageFull(
                f"no room to write {path} ({error.strerror}); what the ledger has stored is intact: "
                "free some space and run it again"
            ) from error
        raise StorageFull(
            f"{path} cannot be written: {error.strerror}; what the ledger has stored is intact"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    logger.info("wrote %s, %d bytes", path, path.stat().st_size)


def write_file(place: Path | str, content: bytes, *, private: bool = False) -> str:
    """Write a file whole or not at all; its place. Place and `private` are those of `whole_file`.

    Raises:
        StorageFull: As `whole_file`.
    """
    with whole_file(place, private=private) as file:
        file.write(content)
    return str(place)


def write_parquet(
    frame: pd.DataFrame, place: Path | str, metadata: Mapping[str, str] | None = None, *, private: bool = False
) -> str:
    """Write a frame as Parquet, whole or not at all; its place.

    Raises:
        StorageFull: As `whole_file`.
    """
    return stream_parquet([frame], place, metadata, private=private)


def read_parquet(place: Path | str) -> pd.DataFrame:
    """Read a frame that was written as Parquet, through the same client that wrote it; all of it is in memory."""
    import fsspec
    import pandas as pd

    # Given a URL, pandas takes Arrow's own clients for S3 and GCS, which have settings and credentials of their own.
    with fsspec.open(str(place), "rb") as file:
        return pd.read_parquet(file)


def stream_parquet(
    frames: Iterable[pd.DataFrame],
    place: Path | str,
    metadata: Mapping[str, str] | None = None,
    *,
    private: bool = False,
) -> str:
    """Write frames that have the same columns one below the other as one Parquet file, whole or not at all.

    One frame at a time is in memory. There is at least one. `metadata` is kept in the file, beside its columns.

    Raises:
        StorageFull: As `whole_file`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer: pq.ParquetWriter | None = None
    with whole_file(place, private=private) as file:
        try:
            for frame in frames:
                if writer is None:
                    table = pa.Table.from_pandas(frame, preserve_index=False)
                    kept = {**(table.schema.metadata or {}), **(metadata or {})}
                    writer = pq.ParquetWriter(file, table.schema.with_metadata(kept))
                else:
                    table = pa.Table.from_pandas(frame, schema=writer.schema, preserve_index=False)
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()
    return str(place)
