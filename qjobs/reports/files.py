"""Names of files and artifacts, and files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from qjobs.errors import StorageFull

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


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


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write into, which takes the place of an older one of its name once all of it is written.

    Raises:
        StorageFull: There is no room, or the path cannot be written; an older file of that name is still there.
    """
    part = path.with_name(f".{path.name[:200]}.{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:
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


def write_file(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all.

    Raises:
        StorageFull: As `whole_file`.
    """
    with whole_file(path) as file:
        file.write(content)
    return path


def write_parquet(frame: pd.DataFrame, path: Path) -> Path:
    """Write a frame as Parquet, whole or not at all.

    Raises:
        StorageFull: As `whole_file`.
    """
    return stream_parquet([frame], path)


def stream_parquet(frames: Iterable[pd.DataFrame], path: Path) -> Path:
    """Write frames that have the same columns one below the other as one Parquet file, whole or not at all.

    One frame at a time is in memory. There is at least one.

    Raises:
        StorageFull: As `whole_file`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer: pq.ParquetWriter | None = None
    with whole_file(path) as file:
        try:
            for frame in frames:
                if writer is None:
                    table = pa.Table.from_pandas(frame, preserve_index=False)
                    writer = pq.ParquetWriter(file, table.schema)
                else:
                    table = pa.Table.from_pandas(frame, schema=writer.schema, preserve_index=False)
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()
    return path
