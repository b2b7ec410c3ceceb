"""Known faults of the packages that constraints.txt pins: a list kept as data, so that it is checked without a network.

python tests/audit/advisories.py                 says which pins are known to be faulty (exit code 1)
python tests/audit/advisories.py --refresh       takes the list anew from https://osv.dev, one download
python tests/audit/advisories.py --refresh FILE  the same from a file of that download, all.zip
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("advisories.json")
SOURCE = "https://osv-vulnerabilities.storage.googleapis.com/PyPI/all.zip"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;]+)")
_SHOWN = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """A known fault: the package, and the versions that have it.

    `ranges` are pairs of the first version that has it and the first that does not; `last` of the last that has it,
    where nobody has mended it yet. Empty texts stand for "from the beginning" and "all later ones".
    """

    id: str
    package: str
    summary: str
    ranges: tuple[tuple[str, str], ...]
    last: str = ""

    def is_about(self, version: Version) -> bool:
        """Whether a version has the fault."""
        if self.last and version > Version(self.last):
            return False
        for first, mended in self.ranges:
            if version >= Version(first or "0") and (not mended or version < Version(mended)):
                return True
        return False


def pins(*files: Path) -> dict[str, str]:
    """The versions that files of constraints pin, by the normal form of the package's name."""
    found = {}
    for file in files or (ROOT / "constraints.txt",):
        for line in file.read_text(encoding="utf-8").splitlines():
            if pin := _PIN.match(line):
                found[canonicalize_name(pin[1])] = pin[2]
    return found


def known(file: Path = LIST) -> list[Advisory]:
    """The list."""
    rows = json.loads(file.read_text(encoding="utf-8"))["advisories"]
    return [Advisory(**{**row, "ranges": tuple((a, b) for a, b in row["ranges"])}) for row in rows]


def origin(file: Path = LIST) -> str:
    """Where the list comes from, when, and how it is taken anew."""
    content = json.loads(file.read_text(encoding="utf-8"))
    return f"the list is of {content['taken']}: {content['source']}; --refresh takes it anew from OSV"


def faulty(pinned: Mapping[str, str], advisories: list[Advisory]) -> list[str]:
    """A line for each pin that is known to be faulty, with what to do."""
    lines = []
    for each in advisories:
        version = pinned.get(each.package)
        if version is not None and each.is_about(Version(version)):
            mended = max((end for _, end in each.ranges if end), key=Version, default="")
            what = (
                f"pin {mended} or newer" if mended else "no version mends it: leave it out, or say here why it may stay"
            )
            lines.append(f"{each.package}=={version}: {each.id}, {each.summary}; {what}")
    return lines


def refresh(archive: bytes, pinned: Mapping[str, str], now: datetime) -> str:
    """The list anew, as JSON: every advisory of OSV's archive about a package that is pinned."""
    found: list[Advisory] = []
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        for name in files.namelist():
            found += _advisories(json.loads(files.read(name)), pinned)
    rows = [asdict(each) for each in sorted(found, key=lambda each: (each.package, each.id))]
    return json.dumps({"source": SOURCE, "taken": f"{now:%Y-%m-%d}", "advisories": rows}, indent=1) + "\n"


def _advisories(entry: Mapping[str, object], pinned: Mapping[str, str]) -> Iterator[Advisory]:
    if entry.get("withdrawn"):
        return
    summary = str(entry.get("summary") or entry.get("details") or "")
    for affected in entry.get("affected", []):  # type: ignore[attr-defined]  # as OSV's schema has it
        package = canonicalize_name(affected["package"]["name"])
        if affected["package"]["ecosystem"] != "PyPI" or package not in pinned:
            continue
        ranges: list[tuple[str, str]] = []
        last = ""
        for each in affected.get("ranges", []):
            if each["type"] != "ECOSYSTEM":
                continue
            first = ""
            for event in each["events"]:
                if "introduced" in event:
                    first = _version(event["introduced"])
                    ranges.append((first, ""))
                elif "fixed" in event:
                    ranges[-1] = (first, _version(event["fixed"]))
                elif "last_affected" in event:
                    last = _version(event["last_affected"])
        if ranges:
            short = " ".join(summary.split())[:_SHOWN]
            yield Advisory(id=str(entry["id"]), package=package, summary=short, ranges=tuple(ranges), last=last)


def _version(text: str) -> str:
    """A version, or nothing for 0 and for what is none."""
    try:
        return "" if Version(text) == Version("0") else text
    except InvalidVersion:
        return ""


def main() -> int:
    """Check the pins, or take the list anew."""
    parser = argparse.ArgumentParser(description="Known faults of the packages that constraints.txt pins.")
    parser.add_argument("--refresh", nargs="?", const=SOURCE, metavar="FILE", help="take the list anew")
    place = parser.parse_args().refresh
    if place:
        archive = urllib.request.urlopen(SOURCE).read() if place == SOURCE else Path(place).read_bytes()
        LIST.write_text(refresh(archive, pins(), datetime.now(UTC)), encoding="utf-8")
    lines = faulty(pins(), known())
    print("\n".join(lines) or f"{len(pins())} pins, {len(known())} advisories, none of them about a pin's version")
    print(origin())
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
