"""The pinned packages: none of a version with a known fault, each with a licence."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from advisories import ROOT, Advisory, faulty, known, pins, refresh
from packaging.version import Version


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-prefect-3.8.txt"])
def test_pins(name: str) -> None:
    """No pinned version has a fault that the list knows."""
    assert faulty(pins(ROOT / name), known()) == []


def test_list() -> None:
    """Every advisory is about a package that is pinned, and its versions can be read."""
    pinned = pins()
    assert len(known()) > 20
    for each in known():
        assert each.package in pinned, f"{each.package} is pinned no more; take the list anew"
        each.is_about(Version("1"))


def test_faulty() -> None:
    """A pin inside of a range is told with what mends it; one before, at or after its end is not."""
    advisory = Advisory(id="X-1", package="them", summary="it leaks", ranges=(("1.2", "1.4"), ("2.0", "2.1")))
    for version, is_faulty in {
        "1.1": False,
        "1.2": True,
        "1.3.9": True,
        "1.4": False,
        "2.0": True,
        "2.1": False,
    }.items():
        assert bool(faulty({"them": version}, [advisory])) is is_faulty
    assert faulty({"them": "1.3"}, [advisory]) == ["them==1.3: X-1, it leaks; pin 2.1 or newer"]


def test_refresh(tmp_path: Path) -> None:
    """The list is taken from OSV's archive: what is pinned, without what was withdrawn."""
    events = [{"introduced": "0"}, {"fixed": "1.2"}, {"introduced": "2.0"}, {"last_affected": "2.3"}]
    affected = [
        {"package": {"ecosystem": "PyPI", "name": "Th_em"}, "ranges": [{"type": "ECOSYSTEM", "events": events}]},
        {"package": {"ecosystem": "PyPI", "name": "others"}, "ranges": [{"type": "ECOSYSTEM", "events": events}]},
    ]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("A.json", json.dumps({"id": "A", "summary": "it\nleaks", "affected": affected}))
        files.writestr("B.json", json.dumps({"id": "B", "withdrawn": "2026-01-01", "affected": affected}))
    file = tmp_path / "list.json"
    file.write_text(refresh(archive.getvalue(), {"th-em": "2.2"}, datetime.now(UTC)))
    (found,) = known(file)
    assert (found.id, found.package, found.summary) == ("A", "th-em", "it leaks")
    assert (found.ranges, found.last) == ((("", "1.2"), ("2.0", "")), "2.3")
    told = {version for version in ("1.1", "1.2", "2.2", "2.4") if faulty({"th-em": version}, [found])}
    assert told == {"1.1", "2.2"}
