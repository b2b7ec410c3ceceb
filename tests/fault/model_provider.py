"""The model provider of the simulation: remote jobs in memory, what it does by itself, and its character.

This is what is true at the provider. How the project speaks to it is `model_backend`, and nothing else.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NoReturn, Protocol

from qjobs.lifecycle import FINAL, JobStatus, roll_up
from qjobs.model import JobId, Key, Lookup, RemoteId, RemoteRetryStrategy
from qjobs.operations.batching import base_key

if TYPE_CHECKING:
    import random

    from crashing_ledger import SimulatedLedger
    from simulation_laws import Laws
    from simulation_money import Money
    from simulation_world import Process


class Kind(StrEnum):
    """What a provider can do about a submission whose reply was lost."""

    DEDUPLICATED = "deduplicated"
    """A second submission of a key returns the first job, which can be looked up by the key too."""
    TOKEN = "token"
    """A second submission of a key returns the first job for `TOKEN_S` seconds, and nothing can be looked up."""
    FINDABLE = "findable"
    """A job can be looked up by its key."""
    OPAQUE = "opaque"
    """Nothing of it."""
    STEPPED = "stepped"
    """Nothing of it; but it takes a job in steps, and gives an id before anything can run."""
    FRAGMENTED = "fragmented"
    """As STEPPED, with fragments that cannot be counted; what waits in the queue looks as what is not finalised, only
    whole jobs are cancelled, also when they have begun, and no items are told (Qoro)."""


TOKEN_S = 600.0
LOOKUPS = {
    Kind.DEDUPLICATED: Lookup(token_lifetime_s=math.inf, by_key=True),
    Kind.TOKEN: Lookup(token_lifetime_s=TOKEN_S),
    Kind.FINDABLE: Lookup(by_key=True),
    Kind.OPAQUE: Lookup(),
    Kind.STEPPED: Lookup(),
    Kind.FRAGMENTED: Lookup(),
}
KINDS = (Kind.DEDUPLICATED, Kind.TOKEN, Kind.FINDABLE, Kind.OPAQUE, Kind.STEPPED)
"""Those that are drawn. FRAGMENTED is asked for, so that a seed stays the schedule that it was."""
LATEST_S = {
    Kind.FINDABLE: 20.0,
    Kind.DEDUPLICATED: 120.0,
    Kind.TOKEN: 60.0,
    Kind.OPAQUE: 60.0,
    Kind.STEPPED: 30.0,
    Kind.FRAGMENTED: 30.0,
}
"""How late a submission may arrive, which is what `settle_s` promises."""
REQUEUED_S = 60.0
"""Within so many seconds the provider may queue a job again that it had called ERROR or CANCELLED."""
TRAITS = {
    "requeues": "queues again by itself what it called ERROR or CANCELLED (#3)",
    "retried there": "somebody presses Retry at the provider (#2)",
    "forgets": "a job is deleted, or forgotten: no status, no results (#14, #15)",
    "keeps back": "one COMPLETED item of a job never gets a result (#13)",
    "open item": "a job that is final shows one item open for ever (#16)",
    "refuses one": "one job cannot be read or cancelled (#17)",
    "alternates": "items are told in one report and not in another (#12)",
    "lies": "a look-up is answered 200 and empty for a job that is there (#30)",
    "gateway": "a gateway answers 401 or 429 after the job was made (#34)",
    "breaks": "the adapter breaks before anything is sent (#24)",
    "talks": "messages of 12 kB (#25)",
    "switched": "the name of the backend points to another server for a while (#10)",
    "slow": "jobs lie in the queue for days (#21)",
    "streams": "results come in any order, and stop in the middle",
    "blinks": "says for a while that it does not know a job that it has (LOST)",
    "sleeps": "a sender is stopped right before its POST, and its lease runs out (#4)",
    "chooses": "people send failed items again while others run (#1)",
}
NOT_OF = {Kind.FRAGMENTED: frozenset({"requeues", "retried there"})}
"""Traits that a kind has not: Qoro queues nothing again, and nobody can press Retry there."""
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
    "breaks after",
    "dies, late",
)
READ_FATES = ("unavailable", "429", "401", "protocol", "left out")
S = JobStatus
_REQUEUED = (S.ERROR, S.CANCELLED)
_HERE = 1
_ELSEWHERE = 2


class Crash(BaseException):
    """The process ends here."""


class Surroundings(Protocol):
    """What a provider needs of the schedule, or of the row, in which it is."""

    rng: random.Random
    traits: frozenset[str]
    ledger: SimulatedLedger
    laws: Laws
    current: Process | None
    elapsed_s: float
    tick: int
    money: Money | None

    def say(self, words: str) -> None: ...
    def happens(self, probability: float) -> bool: ...
    def point(self, where: str) -> None: ...
    def sleep(self, where: str) -> None: ...
    def break_law(self, words: str) -> NoReturn: ...
    def index_of(self, label: str) -> int: ...
    def owner(self, key: Key) -> tuple[JobId, int]: ...


@dataclass
class Remote:
    """A job at the provider; `items` are the indices of our items, positions count them from 0."""

    remote_id: RemoteId
    key: Key
    job_id: JobId
    epoch: int
    items: tuple[int, ...]
    statuses: list[JobStatus]
    serial: int
    server: int = _HERE
    made_s: float = 0.0
    final_s: float | None = None
    fetches: int = 0
    cancelling: set[int] = field(default_factory=set)
    moves: Counter[int] = field(default_factory=Counter)
    gone: bool = False
    hides: bool = False  # it is there, and the provider says that it does not know it
    hid: bool = False
    is_open: bool = False  # it is reserved, and nothing of it can run
    fragments: int = 0  # how many arrived before the last one
    left_out: int = 0  # how many answers in a row left it out though it is there
    absences: int = 0  # how many of these may count together
    unlisted: bool = False  # the next list is without it
    requeued: str = ""  # by whom
    requeued_tick: int = 0
    kept: int | None = None  # the position whose result never comes
    stuck: int | None = None  # the position that is shown as open for ever
    refuses: str = ""
    lies: int = 0
    hidden: str = ""  # the number of the fault by which a look-up did not find it
    gateway: bool = False
    reserved_with: RemoteRetryStrategy | None = None
    woke: bool = False  # its sender slept while another one sent
    told: bool = False  # and written down
    after_all: bool = False  # it was COMPLETED after it had ended

    @property
    def live(self) -> bool:
        return not (self.gone or self.is_open) and any(status not in FINAL for status in self.statuses)

    @property
    def completed(self) -> set[int]:
        """The indices of our items that have run."""
        return {index for index, status in zip(self.items, self.statuses, strict=True) if status is S.COMPLETED}

    def become(self, statuses: Sequence[JobStatus], elapsed_s: float) -> None:
        self.moves.update(n for n, (old, new) in enumerate(zip(self.statuses, statuses, strict=True)) if old != new)
        if self.final_s is None or self.statuses != list(statuses):
            self.final_s = elapsed_s if all(status in FINAL for status in statuses) else None
        self.statuses = list(statuses)


@dataclass
class Provider:
    """What is true at the provider, and what is still on its way there."""

    world: Surroundings
    variant: Kind
    server: int = _HERE
    jobs: dict[RemoteId, Remote] = field(default_factory=dict)
    coming: list[tuple[float, JobId, Callable[[], object]]] = field(default_factory=list)
    happened: Counter[str] = field(default_factory=Counter)
    sendings: Counter[JobId] = field(default_factory=Counter)
    p_fault: float = 0.0

    def __post_init__(self) -> None:
        self.variant = Kind(self.variant)

    @property
    def takes_steps(self) -> bool:
        return self.variant in {Kind.STEPPED, Kind.FRAGMENTED}

    @property
    def tells_items(self) -> bool:
        """Whether it says anything of an item, a result too, before the whole job is final."""
        return self.variant is not Kind.FRAGMENTED

    def fate(self, call: str, fates: Sequence[str]) -> str:
        self.happened[call] += 1
        if not self.world.happens(self.p_fault):
            return "works"
        fate = self.world.rng.choice(fates)
        self.happened[f"{call}: {fate}"] += 1
        self.world.say(f"      {call}: {fate}")
        return fate

    def by_key(self, key: Key) -> Remote | None:
        return next((job for job in self.jobs.values() if job.key == key and not job.gone), None)

    def look_up(self, key: Key) -> Remote | None:
        """As `by_key`, but the answer may be a lie."""
        found = self.by_key(key)
        if found and found.lies and self.world.happens(0.7):
            found.lies -= 1
            found.hidden = "#30"
            found.unlisted = True  # the other route lies too
            self.world.say(f"      {found.remote_id} is there, and the answer is empty")
            return None
        return found

    def make(
        self,
        key: Key,
        job_id: JobId,
        epoch: int,
        items: tuple[int, ...],
        sender: Process | None,
        *,
        late: bool = False,
        woke: bool = False,
    ) -> Remote:
        """A submission has arrived."""
        known = self.by_key(key)
        lifetime_s = LOOKUPS[self.variant].token_lifetime_s
        if known and lifetime_s is not None and self.world.elapsed_s - known.made_s < lifetime_s:
            return known
        remote = self._new(key, job_id, epoch, items)
        remote.woke = woke
        shown = key.removeprefix(base_key(key)) or 1
        self.world.say(f"      {remote.remote_id} made for {job_id}, items {items}, key {shown}")
        self._check_pairs(remote, sender, late=late)
        return remote

    def _new(self, key: Key, job_id: JobId, epoch: int, items: tuple[int, ...]) -> Remote:
        serial = len(self.jobs) + 1
        queued = [S.QUEUED] * len(items)
        remote = Remote(RemoteId(f"remote-{serial}"), key, job_id, epoch, items, queued, serial, self.server)
        remote.made_s = self.world.elapsed_s
        self._give_character(remote)
        self.jobs[remote.remote_id] = remote
        return remote

    def reserve(self, key: Key, job_id: JobId, epoch: int, items: tuple[int, ...], sender: Process | None) -> Remote:
        """An id for a job of which nothing can run yet."""
        remote = self._new(key, job_id, epoch, items)
        remote.is_open = True
        remote.reserved_with = sender.strategy if sender else None
        remote.statuses = [S.SUBMITTED] * len(items)
        self.world.say(f"      {remote.remote_id} reserved for {job_id}, items {items}")
        return remote

    def set_going(self, remote: Remote, sender: Process | None, *, late: bool, woke: bool) -> None:
        """The last step has arrived: from now on it may run, unless it was ended before."""
        if remote.gone or not remote.is_open or all(status in FINAL for status in remote.statuses):
            return
        remote.is_open = False
        remote.woke = woke
        remote.made_s = self.world.elapsed_s
        remote.become([S.QUEUED] * len(remote.items), self.world.elapsed_s)
        self.world.say(f"      {remote.remote_id} may run{', late' if late else ''}")
        self._check_pairs(remote, sender, late=late)

    def _check_pairs(self, remote: Remote, sender: Process | None, *, late: bool) -> None:
        if self.world.laws.risk_was_taken(remote.job_id):
            return
        for other in self.jobs.values():
            if other is not remote and other.job_id == remote.job_id and not other.is_open:
                self._check_pair(other, remote, sender, late=late)

    def _give_character(self, remote: Remote) -> None:
        traits = self.world.traits
        if "keeps back" in traits:
            remote.kept = self.world.rng.randrange(len(remote.items))
        if "open item" in traits and len(remote.items) > 1:
            remote.stuck = self.world.rng.randrange(len(remote.items))
        if "refuses one" in traits and not any(job.refuses for job in self.jobs.values()):
            remote.refuses = self.world.rng.choice(("status 403", "status word", "cancel 403", "cancel 500"))

    def _check_pair(self, other: Remote, remote: Remote, sender: Process | None, *, late: bool) -> None:
        """No second remote job beside a live one, unless nobody could have known of that."""
        if remote.woke or other.woke or other.hides or other.hid:
            return  # what must become of it is a law of the end
        cause = "#34 " if other.gateway else f"{other.hidden} ".lstrip()
        if other.live and set(other.items) & set(remote.items):
            if other.requeued:
                if sender is None or other.requeued_tick > sender.tick:
                    return  # it was queued again while this one was under way
                if other.left_out:
                    return  # one answer without a job that is stored as final is believed
                cause = "#2 queued again before this was sent: "
            self.world.break_law(f"{cause}two live remote jobs of one item: {other} and {remote}")
        strategy = remote.reserved_with or (sender.strategy if sender else None)  # to go on with it is no new wish
        is_default = strategy is RemoteRetryStrategy.DEFAULT and not late
        may_be_ended = self.takes_steps or self._was_ended_as_stray(other)
        never_ran = may_be_ended and roll_up(other.statuses) is S.CANCELLED and S.COMPLETED not in other.statuses
        if is_default and other.epoch == remote.epoch and not (other.gone or never_ran):
            self.world.break_law(f"{cause}DEFAULT submitted a second time: {other} and {remote}")

    def _was_ended_as_stray(self, other: Remote) -> bool:
        query = "SELECT ended_at FROM stray WHERE remote_id = ? AND ended_at IS NOT NULL"
        return bool(self.world.ledger.rows(query, other.remote_id))

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

    def is_certain(self, job_id: JobId, paused: Sequence[Process]) -> bool:
        """Whether no unclaimed remote job of it exists or will."""
        query = "SELECT remote_id FROM attempt WHERE accepted_at IS NOT NULL AND status <> 'LOST'"
        claimed = {remote_id for (remote_id,) in self.world.ledger.rows(query)}
        unclaimed = False
        for job in self.jobs.values():
            is_there = not (job.gone or job.is_open)
            unclaimed = unclaimed or (job.job_id == job_id and job.remote_id not in claimed and is_there)
        under_way = [p for p in paused if p.job_id == job_id]
        return not unclaimed and not under_way and not any(of == job_id for _, of, _ in self.coming)

    # What the provider does by itself

    def _tell(self, job: Remote, what: str) -> None:
        self.world.say(f"  {job.remote_id} {what}: {[str(s) for s in job.statuses]}")

    def progress(self) -> None:
        open_ones = [job for job in self.jobs.values() if job.live]
        if not open_ones:
            return
        self.progress_of(self.world.rng.choice(open_ones))

    def progress_of(self, job: Remote) -> None:
        """A job goes on."""
        statuses = list(job.statuses)
        for n, status in enumerate(statuses):
            ended = (S.CANCELLED, S.COMPLETED)
            after = ended if n in job.cancelling else (S.RUNNING, S.COMPLETED, S.COMPLETED, S.ERROR)
            if status not in FINAL and self.world.rng.random() < 0.8:
                statuses[n] = self.world.rng.choice(after)
        job.become(statuses, self.world.elapsed_s)
        self._tell(job, "is")

    def interfere(self) -> None:
        """The provider ends a job on its own account, or finishes what it had called cancelled."""
        newest = {job.job_id: job for job in self.jobs.values() if not (job.gone or job.is_open)}.values()
        revived = [(job, n) for job in newest for n, status in enumerate(job.statuses) if status is S.CANCELLED]
        if revived and self.world.rng.random() < 0.5:
            job, n = self.world.rng.choice(revived)
            statuses = list(job.statuses)
            statuses[n] = S.COMPLETED
            final_s = job.final_s
            job.become(statuses, self.world.elapsed_s)
            job.final_s = final_s  # what it queues again, it queues again soon after the end
            job.after_all = True
            job.requeued = ""  # from now on it is as if it had been cancelled too late
            self.happened["completed after all"] += 1
            self._tell(job, "after all")
            return
        open_ones = [job for job in self.jobs.values() if job.live]
        if open_ones:
            job = self.world.rng.choice(open_ones)
            word = self.world.rng.choice((S.CANCELLED, S.TERMINATED, S.DEPLETED, S.ERROR))
            job.become([status if status in FINAL else word for status in job.statuses], self.world.elapsed_s)
            self._tell(job, "ends")

    def queue_again(self, by: str) -> None:
        """A job that was ERROR or CANCELLED runs once more: by itself soon after, by a person whenever."""
        found = []
        for job in self.jobs.values():
            soon = by != "itself" or (job.final_s is not None and self.world.elapsed_s - job.final_s < REQUEUED_S)
            if soon and not (job.live or job.gone or job.is_open) and set(job.statuses) & set(_REQUEUED):
                found.append(job)
        if not found:
            return
        job = self.world.rng.choice(found)
        job.become([S.QUEUED if s in _REQUEUED else s for s in job.statuses], self.world.elapsed_s)
        job.cancelling = set()
        job.requeued = by
        self.world.tick += 1
        job.requeued_tick = self.world.tick
        self.happened["queued again"] += 1
        self._tell(job, f"is queued again by {by}")

    def forget(self) -> None:
        """A job is deleted by a person, or forgotten."""
        there = [job for job in self.jobs.values() if not job.gone]
        if there:
            job = self.world.rng.choice(there)
            job.gone = True
            if job.final_s is None:
                job.final_s = self.world.elapsed_s  # no queue of it is left
            self.happened["forgotten"] += 1
            self._tell(job, "is gone")

    def blink(self) -> None:
        """A job that is there is not known for a while, and known again."""
        hidden = [job for job in self.jobs.values() if job.hides]
        for job in hidden:
            job.hides = False
            self._tell(job, "is known again")
        live = [job for job in self.jobs.values() if job.live and job.told]
        if live and not hidden:
            job = self.world.rng.choice(live)
            job.hides = job.hid = True
            self.happened["hidden"] += 1
            self._tell(job, "is said not to be known")

    def finish(self) -> None:
        for job in self.jobs.values():
            if job.gone or job.is_open:
                continue
            ends = [S.CANCELLED if n in job.cancelling else S.COMPLETED for n in range(len(job.statuses))]
            job.become(
                [s if s in FINAL else end for s, end in zip(job.statuses, ends, strict=True)], self.world.elapsed_s
            )


def another_server(world: Surroundings, variant: Kind, usual: int) -> Provider:
    """Another server with jobs of other people under the same remote ids, often of the `usual` size."""
    other = Provider(world, variant, _ELSEWHERE)
    for serial in range(1, 7):
        remote_id = RemoteId(f"remote-{serial}")
        size = world.rng.choice((usual, usual, 1, 2, 3))
        items = tuple(range(size))
        word = world.rng.choice((S.COMPLETED, S.COMPLETED, S.RUNNING, S.ERROR))
        job = Remote(remote_id, Key(f"other{serial}"), JobId("theirs"), 1, items, [word] * size, serial, _ELSEWHERE)
        other.jobs[remote_id] = job
    return other
