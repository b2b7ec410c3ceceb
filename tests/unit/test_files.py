"""Files: written whole or not at all."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qjobs.errors import StorageFull
from qjobs.reports.files import write_file, write_parquet


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        problem = done.stderr.strip() if done.returncode else ""
    except FileNotFoundError as error:
        problem = str(error)
    if problem:
        if os.environ.get("CI") and os.geteuid() == 0:
            pytest.fail(f"no tmpfs although this is root: {problem}")
        pytest.skip(f"a tmpfs cannot be mounted: {problem}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_full_disk(small_disk: Path) -> None:
    """A full disk leaves the old file as it was, and needs no room for a third copy."""
    path = small_disk / "results.parquet"
    write_file(path, b"old" * 1000)
    with pytest.raises(StorageFull, match=r"no room to write .*results\.parquet.*the ledger has stored is intact"):
        write_file(path, b"n" * 200_000)
    assert path.read_bytes() == b"old" * 1000
    assert [p.name for p in small_disk.iterdir()] == ["results.parquet"]
    frame = pd.DataFrame({"x": np.random.default_rng(0).random(20_000)})
    with pytest.raises(StorageFull):
        write_parquet(frame, path)
    assert path.read_bytes() == b"old" * 1000
    write_file(path, b"n" * 40_000)  # there is no room for a third copy: the new file is moved, not written twice
    assert path.read_bytes() == b"n" * 40_000


def test_unwritable_paths(tmp_path: Path) -> None:
    """A path that cannot be written is named."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageFull, match=r"cannot be written: .*the ledger has stored is intact"):
        write_file(tmp_path / "file" / "results.parquet", b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageFull, match="folder cannot be written"):
        write_file(tmp_path / "folder", b"x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]
