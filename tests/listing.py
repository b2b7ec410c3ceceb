"""A scripted provider that lists its jobs by our keys, and that may hide some from every route by a key."""

from __future__ import annotations

from collections.abc import Callable

from scripted import FINDABLE, ScriptedBackend

from qjobs.backends.base import Confirmation, Journal, Lookup, PlainJournal, RemoteJob
from qjobs.model import Batch, Key, RemoteId


class Listing(ScriptedBackend):
    """Shows its jobs with their keys. `unfound` are left out by `find`, `unlisted` by the list."""

    def __init__(self, lookup: Lookup = FINDABLE, *, confirm: Confirmation | None = None) -> None:
        super().__init__(lookup)
        self.confirm = confirm or self.confirm
        self.unfound: set[RemoteId] = set()
        self.unlisted: set[RemoteId] = set()
        self.after_listing: Callable[[], None] = lambda: None
        self.before_post: Callable[[], None] = lambda: None

    def submit(self, batch: Batch, key: Key, journal: Journal) -> None:
        def sending() -> None:
            journal.sending()
            self.before_post()

        steps = PlainJournal(accepted=journal.accepted, sending=sending, preparing=journal.preparing)
        super().submit(batch, key, steps)

    def find(self, key: Key) -> RemoteId | None:
        self._trouble()
        for job in self.jobs.values():
            if job.key == key and job.remote_id not in self.unfound and self.lookup.can_find:
                return job.remote_id
        return None

    def remote_jobs(self) -> list[RemoteJob]:
        shown = [job for job in self.jobs.values() if job.remote_id not in self.unlisted]
        listed = [RemoteJob(remote_id=job.remote_id, key=job.key, n_items=len(job.items)) for job in shown]
        self.after_listing()
        return listed

    def arrives(self, batch: Batch, key: Key) -> RemoteId:
        """Let a request that was on its way arrive now."""
        remote_id = RemoteId(f"remote-{len(self.jobs) + 1}")
        self._make(remote_id, batch, key)
        return remote_id
