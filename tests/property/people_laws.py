"""What must hold after whatever people did: what the providers know is compared with what the ledgers say.

Nothing of the ledger's own code is used: its file is read as a file.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from people_processes import Done

from qjobs.ledger.rows import decode_result
from qjobs.operations.batching import base_key
from qjobs.testing.servers import ScriptedProvider
from qjobs.testing.store import StoredJob

KILLED, INTERRUPTED = -9, 130
FINAL = {"COMPLETED", "CANCELLED", "ERROR", "DEPLETED", "TERMINATED"}
RISK_TAKEN = "risk taken"
"""Cause of the event by which a person has said that a second remote job is their risk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A remote job: its key, and those of the same wish that were alive when it was made."""

    remote_id: str
    key: str
    wish: str
    alive: tuple[str, ...]
    counts: tuple[dict[str, int], ...]


class Server:
    """A scripted provider that remembers for whom it did what.

    Counts are another for each item of each remote job of each server, so that a result names where it comes from.
    """

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        self.name = name
        self.provider = ScriptedProvider("findable", clock=clock)
        self.store = self.provider.store
        self._create = self.store.create
        self._stop = self.store.stop
        self.store.create = self._made  # type: ignore[method-assign]
        self.store.stop = self._stopped  # type: ignore[method-assign]
        self.made: dict[str, Made] = {}
        self.stopped: list[str] = []
        self.revived: set[str] = set()

    @property
    def url(self) -> str:
        return self.provider.url

    def begin(self, variant: str) -> None:
        self.provider.reset()
        self.store.variant = variant
        self.store.queue_s = 5.0
        self.store.run_s = 20.0
        self.made = {}
        self.stopped = []
        self.revived = set()

    def is_alive(self, remote_id: str) -> bool:
        job = self.store.jobs[remote_id]
        return self.store.is_live(job) and not job.is_forgotten

    def is_running(self, remote_id: str) -> bool:
        """Whether it lives, known or not."""
        return self.store.is_live(self.store.jobs[remote_id])

    def _made(self, body: Mapping[str, Any], key: str) -> str:
        with self.store.lock:
            known = set(self.store.jobs)
            wish = base_key(key)
            alive = [
                each.remote_id for each in self.made.values() if each.wish == wish and self.is_alive(each.remote_id)
            ]
            remote_id = self._create(body, key)
            if remote_id not in known:
                counts = []
                for index, item in enumerate(body["items"]):
                    word = hashlib.sha256(f"{self.name}/{remote_id}/{index}".encode()).digest()
                    ones = 1 + int.from_bytes(word[:4]) % (int(item["shots"]) - 1)
                    counts.append({"0": int(item["shots"]) - ones, "1": ones})
                self.store.jobs[remote_id].outcomes = [{"counts": each} for each in counts]
                self.made[remote_id] = Made(
                    remote_id=remote_id, key=key, wish=wish, alive=tuple(alive), counts=tuple(counts)
                )
            return remote_id

    def _stopped(self, job: StoredJob, chosen: Sequence[int] | None) -> None:
        self._stop(job, chosen)
        self.stopped.append(job.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A job of ours, as a ledger has it."""

    ledger: str
    job_id: str
    wish: str
    status: str
    message: str
    experiment: str
    place: str
    opened_as: str
    epoch: int
    n_items: int


class Book:
    """A ledger's file, read as it is."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path, timeout=20)) as connection:
            return connection.execute(query, values).fetchall()

    def jobs(self) -> list[Row]:
        """Jobs of blocks of these tests, the oldest first."""
        query = (
            "SELECT job_id, key, status, message, experiment, fingerprint, opened_as, epoch, n_items FROM job "
            "WHERE opened_as LIKE 'people/%' ORDER BY rowid"
        )
        return [
            Row(
                ledger=self.name,
                job_id=job_id,
                wish=key,
                status=status,
                message=message,
                experiment=experiment,
                place=fingerprint.partition(" ")[0],
                opened_as=opened_as,
                epoch=epoch,
                n_items=n_items,
            )
            for job_id, key, status, message, experiment, fingerprint, opened_as, epoch, n_items in self.rows(query)
        ]

    def claims(self) -> dict[str, list[str]]:
        """By job, the remote ids of its attempts, first to last."""
        found: dict[str, list[str]] = {}
        for job_id, remote_id in self.rows("SELECT job_id, remote_id FROM attempt ORDER BY job_id, number"):
            found.setdefault(job_id, []).append(remote_id or "")
        return found

    def has_open(self) -> bool:
        """Whether a sensor has anything to do for a job of these tests."""
        has_stray = "EXISTS (SELECT 1 FROM stray WHERE stray.job_id = job.job_id AND ended_at IS NULL)"
        final = ", ".join(f"'{status}'" for status in sorted({*FINAL, "CREATED"}))
        query = (
            f"SELECT 1 FROM job WHERE opened_as LIKE 'people/%' AND "
            f"(next_poll_at IS NOT NULL OR status NOT IN ({final}) OR {has_stray}) LIMIT 1"
        )
        return bool(self.rows(query))

    def strays(self) -> set[str]:
        return {remote_id for (remote_id,) in self.rows("SELECT remote_id FROM stray")}

    def risks(self) -> set[str]:
        """Jobs for which a person took a risk in words."""
        return {job_id for job_id, cause in self.rows("SELECT job_id, cause FROM event") if cause == RISK_TAKEN}


@dataclass
class Laws:
    """The laws of one run of the machine. `sanctioned` are wishes whose remote jobs a person told to end;
    `said` those of which a person said something that is not so; `is_cloned` once two files share a ledger's id."""

    servers: Sequence[Server]
    books: list[Book]
    sanctioned: set[str] = field(default_factory=set)
    said: set[str] = field(default_factory=set)
    is_cloned: bool = False
    _seen_made: dict[str, int] = field(default_factory=dict)
    _seen_stopped: dict[str, int] = field(default_factory=dict)

    def check_done(self, done: Done) -> None:
        """A command ends with 0, 1 or 2 and, where it failed, with one line that says why; never with a traceback."""
        what = f"{' '.join(done.words)} ended with {done.status}: {done.err}"
        assert done.status in {0, 1, 2, KILLED, INTERRUPTED}, what
        assert "Traceback" not in done.err, what
        errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
        assert len(errors) <= 1, what
        if done.status in {1, 2}:
            assert errors or done.out.strip(), what

    def rows(self) -> Iterator[tuple[Book, Row]]:
        for book in self.books:
            for row in book.jobs():
                yield book, row

    def at(self, row: Row) -> Server:
        """The server that a job was planned for."""
        return next(server for server in self.servers if server.url == row.place)

    def check(self) -> None:
        """After each step."""
        wishes = {row.wish: row for _, row in self.rows()}
        for server in self.servers:
            made = list(server.made.values())
            for each in made[self._seen_made.get(server.name, 0) :]:
                self._check_made(server, each, wishes)
            self._seen_made[server.name] = len(made)
            for remote_id in server.stopped[self._seen_stopped.get(server.name, 0) :]:
                self._check_stopped(server, server.made[remote_id])
            self._seen_stopped[server.name] = len(server.stopped)
        self._check_results()

    def _check_made(self, server: Server, made: Made, wishes: Mapping[str, Row]) -> None:
        """One remote job at the most is alive for each wish."""
        assert made.wish in wishes, f"no ledger knows {made}"
        assert wishes[made.wish].place == server.url, f"{made} is at {server.name}, and not where it was planned for"
        others = [each for each in made.alive if not self._is_excused(made, each)]
        assert not others, f"{made.remote_id} was made for {made.wish} while {others} was alive"

    def _is_excused(self, made: Made, other: str) -> bool:
        if made.wish in self.said:
            return True
        owners: dict[str, set[str]] = {made.remote_id: set(), other: set()}
        for book in self.books:
            mine = {row.job_id for row in book.jobs() if row.wish == made.wish}
            if mine & book.risks():
                return True
            if other in book.strays() or made.remote_id in book.strays():
                return True
            for job_id in mine:
                for remote_id in book.claims().get(job_id, ()):
                    owners.setdefault(remote_id, set()).add(book.name)
        return self.is_cloned and owners[made.remote_id] != owners[other]

    def _check_stopped(self, server: Server, made: Made) -> None:
        """Nobody's remote job is cancelled but one's own, and that because a person wished it, or as a stray."""
        is_stray = any(made.remote_id in book.strays() for book in self.books)
        wished = made.wish in self.sanctioned | self.said
        assert wished or is_stray, f"{made.remote_id} of {made.wish} was cancelled at {server.name}, as nobody wished"

    def _check_results(self) -> None:
        """Every result comes from a remote job that was made for the same wish, at its server."""
        for book, row in self.rows():
            if row.wish in self.said:
                continue
            theirs = [m.counts for m in self.at(row).made.values() if m.wish == row.wish]
            known = [json.dumps(each, sort_keys=True) for counts in theirs for each in counts]
            for index, payload in results_of(book, row.job_id):
                counts = json.dumps(payload, sort_keys=True)
                assert counts in known, f"item {index} of {row.job_id} has {counts}, which is of another job"

    def check_end(self) -> None:
        """With healthy providers, after all was followed to its end: all is settled, claimed and stored."""
        for book, row in self.rows():
            self._check_settled(row)
            if row.wish not in self.said:
                self._check_stored(book, row)
        for server in self.servers:
            for made in server.made.values():
                self._check_claimed(server, made)

    def _check_settled(self, row: Row) -> None:
        assert row.status in {*FINAL, "UNKNOWN", "LOST", "CREATED"}, f"in the end {row}"
        if row.status in {"UNKNOWN", "LOST"}:
            assert row.message, f"nothing is said about {row}"

    def _check_stored(self, book: Book, row: Row) -> None:
        """Every result that the provider has of the present epoch is in the ledger."""
        stored = {index for index, _ in results_of(book, row.job_id, row.epoch)}
        for index, status in book.rows("SELECT item_index, status FROM item WHERE job_id = ?", row.job_id):
            assert index not in stored or status == "COMPLETED", f"item {index} of {row} has a result and is {status}"
        server = self.at(row)
        query = "SELECT remote_id, items FROM attempt WHERE job_id = ? AND epoch = ? AND accepted_at IS NOT NULL"
        for remote_id, items in book.rows(query, row.job_id, row.epoch):
            job = server.store.jobs[remote_id]
            if job.is_forgotten:
                continue
            indices = json.loads(items) if items else range(row.n_items)
            for position, index in enumerate(indices):
                is_done = server.store.item_word(job, position) == "DONE"
                assert not is_done or index in stored, f"the result of item {index} of {row} in {remote_id} is lost"

    def _check_claimed(self, server: Server, made: Made) -> None:
        """Every remote job is claimed, or written down to be ended, or its ledger says that nobody can know."""
        if server.store.jobs[made.remote_id].is_forgotten or made.wish in self.said:
            return
        unclaimed = True
        for book in self.books:
            mine = [row for row in book.jobs() if row.wish == made.wish]
            claims = book.claims()
            for row in mine:
                knows = made.remote_id in claims.get(row.job_id, ()) or made.remote_id in book.strays()
                is_open = server.store.variant == "opaque" and (row.status == "UNKNOWN" or row.job_id in book.risks())
                unclaimed = unclaimed and not (knows or is_open)
        assert not unclaimed, f"nobody knows of {made} at {server.name}"


def results_of(book: Book, job_id: str, epoch: int | None = None) -> list[tuple[int, dict[str, int]]]:
    """The counts of a job, by item."""
    query = "SELECT item_index, payload FROM result WHERE job_id = ?"
    values: list[object] = [job_id]
    if epoch is not None:
        query += " AND epoch = ?"
        values.append(epoch)
    return [(index, dict(decode_result(payload).counts or {})) for index, payload in book.rows(query, *values)]
