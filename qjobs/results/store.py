"""Where results are kept, a folder a run: `NAME/DATE-DEFINITION/`, and `NAME/latest`, which names the newest.

Nothing is ever overwritten. A run counts from the moment at which its `record.json` is there, which is written last:
what a killed process leaves is passed over. All of it works in a folder and behind any URL that fsspec knows.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import logging
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qjobs.errors import InvalidInput, StorageFull
from qjobs.paths import private_folder, results_url, shared_bits
from qjobs.redaction import remember_url, without_known
from qjobs.reports.files import is_of_store, is_url, read_parquet, write_file

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LATEST", "METADATA_KEY", "RECORD", "NewRun", "Results", "SavedRun", "load"]

logger = logging.getLogger(__name__)

RECORD = "record.json"
LATEST = "latest"
METADATA_KEY = "qjobs"
"""Under which a Parquet file has the record of its run, as JSON."""
_RUN = re.compile(r"\d{4}-\d{2}-\d{2}-\d{6}\.\d{3}-.+")
_DEFINITION = 8
"""Digits of the definition in the name of a folder."""
_ASIDE = re.compile(r"[^A-Za-z0-9 ._-]+")


@dataclass(frozen=True)
class SavedRun:
    """The results of one run.

    `url` is its folder, a path or a URL, and `run` the name of that, DATE-DEFINITION. `record` says where the results
    come from: spec, versions, devices, commit, job ids, files.
    """

    name: str
    run: str
    url: str
    record: Mapping[str, Any] = field(repr=False)

    @property
    def file(self) -> str:
        """The Parquet file with the data frame, a path or a URL."""
        return f"{self.url}/{self.record['files']['frame']}"

    @property
    def picture(self) -> str | None:
        """The picture, if there is one."""
        return self._beside("picture")

    @property
    def fits(self) -> str | None:
        """The JSON file with what was fitted, if anything was."""
        return self._beside("fits")

    def _beside(self, what: str) -> str | None:
        name = self.record["files"].get(what)
        return f"{self.url}/{name}" if name else None

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The data frame, as it was saved; it is read once."""
        return read_parquet(self.file)


@dataclass(frozen=True, slots=True)
class NewRun:
    """A folder for the files of a run, which nobody else has."""

    store: Results
    name: str
    run: str

    @property
    def url(self) -> str:
        """The folder, a path or a URL."""
        return f"{self.store.url}/{folder_of(self.name)}/{self.run}"

    def file(self, name: str) -> str:
        """The place of a file in it."""
        return f"{self.url}/{name}"

    def finish(self, record: Mapping[str, Any]) -> SavedRun:
        """Say that all files are there: the run counts from now on, and `latest` names the newest one.

        Raises:
            StorageFull: The record cannot be written; the run does not count.
        """
        whole = {"name": self.name, "run": self.run, **record}
        write_file(self.file(RECORD), without_known(json.dumps(whole, indent=1)).encode(), private=True)
        self.store.point_to_latest(self.name)
        return SavedRun(self.name, self.run, self.url, whole)


class Results:
    """The results of many experiments, in one place.

    Args:
        where: A folder, or a URL that fsspec knows (s3://BUCKET/FOLDER); QJOBS_RESULTS or the home where None.

    Raises:
        InvalidInput: The URL is of a kind that cannot be opened here.
    """

    def __init__(self, where: str | Path | None = None) -> None:
        import fsspec

        given = results_url() if where is None else str(where)
        remember_url(given)
        if not is_url(given):
            given = str(Path(given).expanduser().absolute())
        elif given.startswith(("file://", "local://")):
            given = given.partition("://")[2]
        self.url = given.rstrip("/")
        try:
            self._system, self._root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise InvalidInput(
                f"results cannot be kept at {self.url}: {error}; give a folder, or a URL whose package is installed",
                field="results",
            ) from error
        self._is_local = not is_url(self.url)

    def begin(self, name: str, definition: str, *, now: datetime | None = None) -> NewRun:
        """A new folder for a run of an experiment, made by nobody else: two processes get two.

        Raises:
            StorageFull: It cannot be made.
        """
        at = (now or datetime.now(UTC)).astimezone(UTC)
        stem = f"{at:%Y-%m-%d-%H%M%S}.{at.microsecond // 1000:03}-{definition[:_DEFINITION]}"
        if not self._is_local:  # an object store has no folders that could be claimed
            return NewRun(self, name, f"{stem}-{secrets.token_hex(4)}")
        number = 1
        while True:
            run = stem if number == 1 else f"{stem}-{number:02}"
            try:
                _make(Path(self._path(name, run)))
            except FileExistsError:
                number += 1
            except OSError as error:
                words = f"the folder {self.url}/{folder_of(name)}/{run} cannot be made: {error.strerror or error}"
                raise StorageFull(f"{words}; what the ledger has stored is intact") from error
            else:
                return NewRun(self, name, run)

    def names(self) -> list[str]:
        """The experiments that have a folder here, in alphabetical order."""
        return sorted(self._list(self._root))

    def runs(self, name: str) -> list[str]:
        """The complete runs of an experiment by the names of their folders, newest first."""
        found = []
        with self._reached():
            for run in self._list(self._path(name)):
                if _RUN.fullmatch(run) and self._system.exists(self._path(name, run, RECORD)):
                    found.append(run)
        return sorted(found, reverse=True)

    def find(self, words: str) -> SavedRun:
        """The newest run of NAME, or the run NAME/DATE-DEFINITION, of which an unambiguous beginning is enough.

        Raises:
            InvalidInput: There is no such experiment, no complete run of it, or more than one run that begins so.
        """
        name, _, beginning = words.rstrip("/").partition("/")
        runs = self.runs(name)
        if not runs:
            raise InvalidInput(self._no_results(name), field="name")
        if beginning in {"", LATEST}:
            return self.read(name, runs[0])
        fitting = [run for run in runs if run.startswith(beginning)]
        if beginning in fitting:
            fitting = [beginning]
        if len(fitting) != 1:
            raise InvalidInput(
                f"{len(fitting)} runs of {name} begin with {beginning}; it has {', '.join(runs[:10])}", field="name"
            )
        return self.read(name, fitting[0])

    def read(self, name: str, run: str) -> SavedRun:
        """A run of an experiment, by the name of its folder."""
        with self._reached():
            record = json.loads(self._system.cat_file(self._path(name, run, RECORD)))
        return SavedRun(record["name"], run, f"{self.url}/{folder_of(name)}/{run}", record)

    def point_to_latest(self, name: str) -> None:
        """Have `latest` name the newest run: a link in a folder, else a file with its name.

        Whoever finishes last looks again after it has written, so that the newest run is named whatever the order.
        """
        named = ""
        while True:
            runs = self.runs(name)
            if not runs or runs[0] == named:
                return
            named = runs[0]
            if self._is_local:
                _link(Path(self._path(name, LATEST)), named)
            else:
                write_file(f"{self.url}/{folder_of(name)}/{LATEST}", named.encode())

    def add(self, name: str, folder: str, entry: Mapping[str, Any], *, now: datetime) -> None:
        """Put a small JSON file into a folder of an experiment; its name is new.

        Raises:
            InvalidInput: The experiment has no results.
            StorageFull: It cannot be written.
        """
        if not self.runs(name):
            raise InvalidInput(self._no_results(name), field="name")
        file = f"{now.astimezone(UTC):%Y-%m-%d-%H%M%S.%f}-{secrets.token_hex(4)}.json"
        write_file(
            f"{self.url}/{folder_of(name)}/{folder}/{file}", without_known(json.dumps(entry)).encode(), private=True
        )

    def entries(self, name: str, folder: str) -> list[dict[str, Any]]:
        """What was put there, oldest first."""
        found = []
        for file in sorted(self._list(self._path(name, folder))):
            if file.endswith(".json"):
                with self._reached():
                    found.append(json.loads(self._system.cat_file(self._path(name, folder, file))))
        return found

    def _no_results(self, name: str) -> str:
        near = difflib.get_close_matches(name, self.names(), n=1)
        hint = f"; did you mean {near[0]}?" if near else "; see: qjobs list"
        return f"there are no results of {name!r} in {self.url}{hint}"

    def _path(self, name: str, *more: str) -> str:
        return "/".join([self._root.rstrip("/"), folder_of(name), *more])

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if self._is_local or not is_of_store(error):
                raise
            raise InvalidInput(
                f"the results at {self.url} cannot be read: {error}; check the address and the credentials",
                field="results",
            ) from error

    def _list(self, path: str) -> list[str]:
        """Names in a folder; none where there is no such folder."""
        self._system.invalidate_cache()  # others write there too
        with self._reached(), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found = []
            for each in self._system.ls(path, detail=False):
                name = str(each).rstrip("/").rpartition("/")[2]
                if name and not name.startswith("."):
                    found.append(name)
            return found
        return []


def _make(folder: Path) -> None:
    """Make a folder that is not there yet, for its owner alone."""
    private_folder(folder.parent)
    folder.mkdir()
    folder.chmod(0o700 | shared_bits())


def folder_of(name: str) -> str:
    """The name of an experiment's folder: its own, with a hyphen for what a folder cannot have in its name.

    Raises:
        InvalidInput: Nothing is left of it.
    """
    folder = _ASIDE.sub("-", name).lstrip(".").strip()
    if not folder:
        raise InvalidInput(f"{name!r} is no name of an experiment; give letters and digits", field="name")
    return folder


def _link(link: Path, target: str) -> None:
    """Make a link, or turn it; a file system without links has none."""
    part = link.with_name(f".{link.name}.{secrets.token_hex(4)}")
    try:
        part.symlink_to(target)
        part.replace(link)
    except OSError as error:
        logger.warning("%s cannot be made a link to %s: %s", link, target, error)
        with contextlib.suppress(OSError):
            part.unlink()


def load(name: str, *, where: str | Path | None = None) -> SavedRun:
    """The newest results of an experiment, or those of NAME/DATE-DEFINITION: `load(NAME).frame` is the data frame.

    Args:
        name: The experiment, or one of its runs.
        where: Where results are kept; QJOBS_RESULTS or the home where None.

    Raises:
        InvalidInput: There are none.
    """
    return Results(where).find(name)
