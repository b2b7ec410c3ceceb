"""What must hold in every simulated schedule, after every step and in the end."""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from typing import TYPE_CHECKING

from qjobs.lifecycle import FINAL, LIVE, JobStatus
from qjobs.model import JobId, LostReply
from qjobs.operations.recover import orphans

if TYPE_CHECKING:
    from model_provider import Remote
    from simulation import World

S = JobStatus


class Violation(BaseException):
    """A law is broken; no `except Exception` of the code under test may swallow it."""


def demand(holds: bool, words: str) -> None:
    if not holds:
        raise Violation(words)


class Laws:
    """The laws of one schedule; it remembers what was true before."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._last_event = 0
        self._last_status: dict[JobId, str | None] = defaultdict(lambda: None)
        self._results: dict[tuple[JobId, int, int], bytes] = {}

    def risk_was_taken(self, job_id: JobId) -> bool:
        """Whether a caller accepted in words that a second remote job may exist."""
        return self._was("risk taken", job_id)

    def _was(self, cause: str, job_id: JobId) -> bool:
        return bool(self.world.ledger.rows("SELECT 1 FROM event WHERE job_id = ? AND cause = ?", job_id, cause))

    def check(self) -> None:
        self._check_history()
        self._check_attempts()
        self._check_results()

    def _check_history(self) -> None:
        """Every change of a status has one event with a cause; final is left by a claim only."""
        query = "SELECT id, job_id, item_index, old, new, cause FROM event WHERE id > ? ORDER BY id"
        for number, job_id, index, old, new, cause in self.world.ledger.rows(query, self._last_event):
            self._last_event = number
            demand(bool(cause), f"event {number} has no cause")
            left_final = old in FINAL and new != old and (old, new) != (S.CANCELLED, S.COMPLETED)
            if index is not None:
                demand(not left_final, f"an item left {old} for {new} by {cause}")
                continue
            before = self._last_status[job_id]
            demand(old == before, f"the history of {job_id} is broken: {before}, then {old} -> {new} by {cause}")
            demand(not left_final or new == S.SUBMITTING, f"{old} was left for {new} by {cause}")
            self._last_status[job_id] = new
        for job_id, status in self.world.ledger.rows("SELECT job_id, status FROM job"):
            told = self._last_status[job_id]
            demand(told == status, f"{job_id} is {status}, and its last event says {told}")

    def _check_attempts(self) -> None:
        live: dict[str, int] = defaultdict(int)
        for job_id, status in self.world.ledger.rows("SELECT job_id, status FROM attempt"):
            live[job_id] += status in LIVE
        for job_id, status in self.world.ledger.rows("SELECT job_id, status FROM job"):
            demand(live[job_id] <= 1, f"{job_id} has {live[job_id]} live attempts")
            demand((live[job_id] == 1) == (status in LIVE), f"{job_id} is {status} with {live[job_id]} live attempts")

    def _check_results(self) -> None:
        """A result that was stored stays, unchanged, and is what the provider has for that very item."""
        rows = self.world.ledger.rows("SELECT job_id, epoch, item_index, payload FROM result")
        now = {(job_id, epoch, index): payload for job_id, epoch, index, payload in rows}
        for where, payload in self._results.items():
            demand(where in now, f"the result {where} is lost")
            demand(now[where] == payload, f"the result {where} changed")
        for (job_id, _, index), payload in now.items():
            counts = json.loads(zlib.decompress(payload))["counts"]
            remote = self.world.provider.jobs[f"remote-{counts['0']}"]
            demand(remote.job_id == job_id and counts["1"] == index, f"{job_id}[{index}] got a result of {remote}")
        self._results = now

    def check_end(self) -> None:
        """After a round with a healthy provider: all is claimed, settled and stored."""
        world = self.world
        attempts = world.ledger.rows("SELECT job_id, remote_id, epoch FROM attempt WHERE remote_id IS NOT NULL")
        claimed = {remote_id: (job_id, epoch) for job_id, remote_id, epoch in attempts}
        demand(len(claimed) == len(attempts), f"a remote job belongs to two attempts: {attempts}")
        status = dict(world.ledger.rows("SELECT job_id, status FROM job"))
        epochs = dict(world.ledger.rows("SELECT job_id, epoch FROM job"))
        for job_id, word in status.items():
            demand(word not in LIVE or word == S.UNKNOWN, f"{job_id} is still {word}")
        for remote in world.provider.jobs.values():
            if remote.remote_id not in claimed:
                self._check_unclaimed(remote, status[remote.job_id])
                continue
            job_id, epoch = claimed[remote.remote_id]
            demand(job_id == remote.job_id, f"{remote} is claimed by {job_id}")
            if epoch != epochs[job_id]:
                continue
            for index, word in zip(remote.items, remote.statuses, strict=True):
                if word is S.COMPLETED:
                    demand((job_id, epoch, index) in self._results, f"the result of item {index} of {remote} is lost")

    def _check_unclaimed(self, remote: Remote, status: str) -> None:
        if self.world.provider.variant is LostReply.OPAQUE:
            known = status == S.UNKNOWN or self.risk_was_taken(remote.job_id)
            demand(known, f"nobody knows of {remote}; its job is {status}")
            return
        demand(status != S.UNKNOWN, f"{remote} was not found")
        self.world.provider.happened["orphan"] += 1
        listed = {each.remote_id for each in orphans(self.world.ledger, self.world.backend)}
        demand(remote.remote_id in listed, f"{remote} is claimed by nobody and not listed")
        # A straggler, after its attempt was decided: the next submission of its key is deduplicated to it.
        late = self.world.provider.variant is LostReply.DEDUPLICATED and self._was("not found", remote.job_id)
        demand(late, f"nobody claims {remote}; its job is {status}")
