"""The model provider of the simulation: remote jobs in memory, and a fate for every call."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crashing_ledger import BACKEND
from simulation_laws import Violation

from qjobs.backends.base import ItemSnapshot, Limits, MissingResult, RemoteJob, Snapshot, Target, nothing
from qjobs.errors import (
    BackendUnavailable,
    CredentialsRejected,
    NotSent,
    ProtocolError,
    SubmissionRejected,
    SubmissionUnknown,
)
from qjobs.lifecycle import FINAL, JobStatus, roll_up
from qjobs.model import Batch, ItemResult, JobId, Key, LostReply, RemoteId, RemoteRetryStrategy

if TYPE_CHECKING:
    from simulation import World

KINDS = tuple(LostReply)
LATEST_S = {LostReply.FINDABLE: 20.0, LostReply.DEDUPLICATED: 120.0, LostReply.OPAQUE: 60.0}
"""How late a submission may arrive, which is what `settle_s` promises."""
SUBMIT_FATES = (
    "not sent",
    "429",
    "401",
    "rejected",
    "lost before",
    "lost after",
    "lost after",
    "late",
    "late",
    "no name",
    "error after",
    "dies, late",
)
READ_FATES = ("unavailable", "429", "401", "protocol", "left out")
S = JobStatus


class Crash(BaseException):
    """The process ends here."""


@dataclass
class Remote:
    """A job at the provider; `items` are the indices of our items."""

    remote_id: RemoteId
    key: Key
    job_id: JobId
    epoch: int
    items: tuple[int, ...]
    statuses: list[JobStatus]
    serial: int
    fetches: int = 0
    cancelling: set[int] = field(default_factory=set)  # positions

    @property
    def live(self) -> bool:
        return any(status not in FINAL for status in self.statuses)


@dataclass
class Provider:
    """What is true at the provider, and what is still on its way there."""

    world: World
    variant: LostReply
    jobs: dict[RemoteId, Remote] = field(default_factory=dict)
    coming: list[tuple[float, JobId, Callable[[], object]]] = field(default_factory=list)
    happened: Counter[str] = field(default_factory=Counter)

    def fate(self, call: str, fates: Sequence[str]) -> str:
        self.happened[call] += 1
        if not self.world.happens(self.world.p_fault):
            return "works"
        fate = self.world.rng.choice(fates)
        self.happened[f"{call}: {fate}"] += 1
        self.world.say(f"      {call}: {fate}")
        return fate

    def by_key(self, key: Key) -> Remote | None:
        return next((job for job in self.jobs.values() if job.key == key), None)

    def owner(self, key: Key) -> tuple[JobId, int]:
        """Whose submission is under way: our job and its epoch."""
        ours = re.sub(r"(?<=.)(-\d+)?(\.[0-9a-f]{8})?$", "", key)
        ((job_id, epoch),) = self.world.ledger.rows("SELECT job_id, epoch FROM job WHERE key = ?", ours)
        return JobId(job_id), epoch

    def make(self, key: Key, job_id: JobId, epoch: int, items: tuple[int, ...], strategy: str | None) -> Remote:
        """A submission has arrived."""
        if self.variant is LostReply.DEDUPLICATED and (known := self.by_key(key)):
            return known
        serial = len(self.jobs) + 1
        remote = Remote(RemoteId(f"remote-{serial}"), key, job_id, epoch, items, [S.QUEUED] * len(items), serial)
        mine = [job for job in self.jobs.values() if job.job_id == job_id]
        self.jobs[remote.remote_id] = remote
        self.world.say(
            f"      {remote.remote_id} made for {job_id}, items {items}, key {key[-6:] if '-' in key else 1}"
        )
        if self.world.laws.risk_was_taken(job_id):
            return remote
        for other in mine:
            if other.live and set(other.items) & set(items):
                raise Violation(f"two live remote jobs of one item: {other} and {remote}")
            if strategy is RemoteRetryStrategy.DEFAULT and other.epoch == epoch:
                raise Violation(f"DEFAULT submitted a second time: {other} and {remote}")
        return remote

    def later(self, arrive: Callable[[], object], job_id: JobId) -> None:
        delay_s = self.world.rng.random() * LATEST_S[self.variant]
        self.coming.append((self.world.elapsed_s + delay_s, job_id, arrive))

    def deliver(self) -> None:
        due = sorted((each for each in self.coming if each[0] <= self.world.elapsed_s), key=lambda each: each[0])
        self.coming = [each for each in self.coming if each[0] > self.world.elapsed_s]
        for _, _, arrive in due:
            arrive()

    def fits(self, job_id: JobId, remote_id: RemoteId) -> bool:
        """Whether a remote job has the items of the job's last attempt."""
        rows = self.world.ledger.rows("SELECT items FROM attempt WHERE job_id = ? ORDER BY number DESC", job_id)
        ((n,),) = self.world.ledger.rows("SELECT n_items FROM job WHERE job_id = ?", job_id)
        sent = tuple(map(int, re.findall(r"\d+", rows[0][0] or ""))) if rows else ()
        return self.jobs[remote_id].items == (sent or tuple(range(n)))

    def is_certain(self, job_id: JobId) -> bool:
        """Whether no unclaimed remote job of it exists or will."""
        claimed = {r for (r,) in self.world.ledger.rows("SELECT remote_id FROM attempt WHERE remote_id IS NOT NULL")}
        unclaimed = [j for j in self.jobs.values() if j.job_id == job_id and j.remote_id not in claimed]
        under_way = [p for p in self.world.paused if p.job_id == job_id]
        return not unclaimed and not under_way and not any(of == job_id for _, of, _ in self.coming)

    # What the provider does by itself

    def progress(self) -> None:
        open_ones = [job for job in self.jobs.values() if job.live]
        if not open_ones:
            return
        job = self.world.rng.choice(open_ones)
        for n, status in enumerate(job.statuses):
            ended = (S.CANCELLED, S.COMPLETED)
            after = ended if n in job.cancelling else (S.RUNNING, S.COMPLETED, S.COMPLETED, S.ERROR)
            if status not in FINAL and self.world.rng.random() < 0.8:
                job.statuses[n] = self.world.rng.choice(after)
        self.world.say(f"  {job.remote_id} is {[str(s) for s in job.statuses]}")

    def interfere(self) -> None:
        """The provider ends a job on its own account, or finishes what it had called cancelled."""
        newest = {job.job_id: job for job in self.jobs.values()}.values()
        revived = [(job, n) for job in newest for n, status in enumerate(job.statuses) if status is S.CANCELLED]
        if revived and self.world.rng.random() < 0.5:
            job, n = self.world.rng.choice(revived)
            job.statuses[n] = S.COMPLETED
            self.happened["completed after all"] += 1
            self.world.say(f"  {job.remote_id} after all: {[str(s) for s in job.statuses]}")
            return
        open_ones = [job for job in self.jobs.values() if job.live]
        if open_ones:
            job = self.world.rng.choice(open_ones)
            word = self.world.rng.choice((S.CANCELLED, S.TERMINATED, S.DEPLETED, S.ERROR))
            job.statuses = [status if status in FINAL else word for status in job.statuses]
            self.world.say(f"  {job.remote_id} ends: {[str(s) for s in job.statuses]}")

    def finish(self) -> None:
        for job in self.jobs.values():
            ends = [S.CANCELLED if n in job.cancelling else S.COMPLETED for n in range(len(job.statuses))]
            job.statuses = [s if s in FINAL else end for s, end in zip(job.statuses, ends, strict=True)]


class ModelBackend:
    """The adapter to it; every call has a fate, and its process may die before and after the effect."""

    name = BACKEND
    device = "device"
    limits = Limits()
    exact_expvals = False
    cancels_items = True
    compiles = False
    outlives_us = True
    poll_interval_s = (1.0, 10.0)

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.world = provider.world
        self.lost_reply = provider.variant
        self.settle_s = LATEST_S[self.lost_reply] + 0.1

    def submit(
        self, batch: Batch, key: Key, created: Callable[[RemoteId], None], sending: Callable[[], None] = nothing
    ) -> None:
        provider = self.provider
        process = self.world.current
        job_id, epoch = provider.owner(key)
        strategy = process.strategy if process else RemoteRetryStrategy.DEFAULT
        items = tuple(int(item.label.rpartition("-")[2]) for item in batch.items)
        self.world.point("submit: before")
        sending()
        fate = provider.fate("submit", SUBMIT_FATES)
        match fate:
            case "not sent" | "429":
                raise NotSent(fate, retry_after_s=2.0)
            case "401":
                raise CredentialsRejected("401")
            case "rejected":
                raise SubmissionRejected("422", detail="no such gate")
            case "lost before":
                raise SubmissionUnknown("no reply")
            case "late" | "dies, late":
                provider.later(lambda: provider.make(key, job_id, epoch, items, None), job_id)
                if fate == "late" or process is None:
                    raise SubmissionUnknown("timed out")
                self.world.crash(process, "submit: under way")
        remote = provider.make(key, job_id, epoch, items, strategy)
        self.world.point("submit: reply")
        if fate == "lost after":
            raise SubmissionUnknown("the reply was lost")
        if fate == "no name":
            return
        created(remote.remote_id)
        if not self.world.ledger.rows("SELECT 1 FROM attempt WHERE remote_id = ?", remote.remote_id):
            raise Violation(f"{remote.remote_id} was told and is not written down")
        if fate == "error after":
            raise SubmissionUnknown("cut off")

    def _asked(self, call: str) -> str:
        self.world.point(f"{call}: before")
        fate = self.provider.fate(call, READ_FATES)
        match fate:
            case "unavailable" | "429":
                raise BackendUnavailable(fate, retry_after_s=2.0 if fate == "429" else None)
            case "401":
                raise CredentialsRejected("401")
            case "protocol":
                raise ProtocolError("an unknown word")
        return fate

    def find(self, key: Key) -> RemoteId | None:
        self._asked("find")
        found = None if self.lost_reply is LostReply.OPAQUE else self.provider.by_key(key)
        self.world.point("find: reply")
        return found and found.remote_id

    def status(self, remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Snapshot]:
        left_out = self._asked("status") == "left out"
        known = [each for each in remote_ids if each in self.provider.jobs]
        answer = {each: self._snapshot(self.provider.jobs[each]) for each in known[left_out:]}
        self.world.point("status: reply")
        return answer

    @staticmethod
    def _snapshot(job: Remote) -> Snapshot:
        shown = [S.CANCELLING if n in job.cancelling and s not in FINAL else s for n, s in enumerate(job.statuses)]
        items = tuple(ItemSnapshot(status=status) for status in shown)
        return Snapshot(status=roll_up(shown), remote_status=f"their {roll_up(shown)}", items=items)

    def results(self, remote_id: RemoteId) -> list[ItemResult | MissingResult]:
        late = self._asked("results") == "left out"
        job = self.provider.jobs[remote_id]
        job.fetches += 1  # each answer differs, so that a result that was written twice shows
        answer = [
            ItemResult(counts={"0": job.serial, "1": index, "10": job.fetches})
            if status is S.COMPLETED and not late
            else MissingResult(reason=f"it is {status}")
            for index, status in zip(job.items, job.statuses, strict=True)
        ]
        self.world.point("results: reply")
        return answer

    def remote_jobs(self) -> list[RemoteJob] | None:
        self._asked("remote_jobs")
        if self.lost_reply is LostReply.OPAQUE:
            return None
        return [RemoteJob(remote_id=j.remote_id, key=j.key, n_items=len(j.items)) for j in self.provider.jobs.values()]

    def cancel(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> None:
        lost = self._asked("cancel") == "left out"
        job = self.provider.jobs[remote_id]
        chosen = set(range(len(job.items)) if items is None else items)
        job.cancelling |= chosen
        self.provider.happened["cancel items"] += items is not None
        if self.world.rng.random() < 0.6:
            job.statuses = [
                S.CANCELLED if n in chosen and status not in FINAL else status for n, status in enumerate(job.statuses)
            ]
        self.world.say(f"      {remote_id} cancelled: {[str(s) for s in job.statuses]}")
        self.world.point("cancel: reply")
        if lost:
            raise BackendUnavailable("the reply was lost")

    def target(self) -> Target:
        return Target(name=self.device)

    def close(self) -> None:
        pass
