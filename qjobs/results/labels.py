"""Tags and notes of experiments, kept beside their results: each change is a small file, so that none is lost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from qjobs.errors import InvalidInput
from qjobs.results.store import Results

__all__ = ["Labels", "Note", "label", "labels_of"]

_FOLDER = "labels"
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What somebody wrote, and when."""

    at: datetime
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """The tags of an experiment in the order in which they were given, and its notes, oldest first."""

    tags: tuple[str, ...]
    notes: tuple[Note, ...]


def label(
    results: Results,
    name: str,
    *,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
    note: str = "",
    now: datetime | None = None,
) -> Labels:
    """Add tags, take tags away, or add a note; what the experiment has then.

    Raises:
        InvalidInput: There is no such experiment, or a tag has other letters than `A-Z a-z 0-9 . _ : / -`.
        StorageFull: It cannot be written.
    """
    for tag in (*add, *remove):
        if not _TAG.fullmatch(tag):
            raise InvalidInput(f"the tag {tag!r} may have letters, digits and . _ : / - only, up to 64", field="tag")
    if add or remove or note.strip():
        at = now or datetime.now(UTC)
        entry = {"at": at.isoformat(), "add": list(add), "remove": list(remove), "note": note.strip()}
        results.add(name, _FOLDER, entry, now=at)
    return labels_of(results, name)


def labels_of(results: Results, name: str) -> Labels:
    """The tags and notes of an experiment."""
    tags: dict[str, None] = {}
    notes = []
    for entry in results.entries(name, _FOLDER):
        tags.update(dict.fromkeys(entry["add"]))
        for tag in entry["remove"]:
            tags.pop(tag, None)
        if entry["note"]:
            notes.append(Note(at=datetime.fromisoformat(entry["at"]), text=entry["note"]))
    return Labels(tags=tuple(tags), notes=tuple(notes))
