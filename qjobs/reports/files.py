"""Names of files and artifacts, and files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

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


def write_file(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all.

    Raises:
        StorageFull: There is no room, or the path cannot be written; an older file of that name is still there.
    """
    part = path.with_name(f".{path.name[:200]}.{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:
            file.write(content)
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
    logger.info("wrote %s, %d bytes", path, len(content))
    return path


def write_parquet(frame: pd.DataFrame, path: Path) -> Path:
    """Write a frame as Parquet, whole or not at all.

    Raises:
        StorageFull: As `write_file`.
    """
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return write_file(path, buffer.getvalue())
