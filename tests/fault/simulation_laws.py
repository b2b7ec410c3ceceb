"""What must hold in every simulated schedule, after every step and in the end.

A law that an audit was needed to find begins with the number of the fault that it is about, as "#12".
"""

from __future__ import annotations

import json
import re
import zlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qjobs.errors import BackendUnavailable, InvalidInput, JobLost, PolicyLimit, ProtocolError
from qjobs.lifecycle import FINAL, LIVE, UNDER_WAY, JobStatus
from qjobs.model import JobId, RemoteRetryStrategy
from qjobs.operations.recover import orphans

if TYPE_CHECKING:
    from model_provider import Remote
    from simulation_world import Process, World

S = JobStatus
LONGEST_CELL = 10_000
_CELLS = (("job", "message"), ("job", "trouble"), ("attempt", "message"), ("item", "message"), ("event", "detail"))


class Violation(BaseException):
    """A law is broken; no `except Exception` of the code under test may swallow it."""


def demand(holds: bool, words: str) -> None:
    if not holds:
        raise Violation(words)


@dataclass(frozen=True)
class Advice:
    """A command that was printed, such as `retry JOB --strategy FORCE_RESUBMIT`."""

    words: tuple[str, ...]

    @property
    def verb(self) -> str:
        return self.words[0]

    @property
    def job_id(self) -> JobId:
        return JobId(self.words[1])

    @property
    def options(self) -> dict[str, str]:
        pairs = zip(self.words, self.words[1:], strict=False)
        return {name[2:]: value for name, value in pairs if name.startswith("--")}


class Laws:
    """The laws of one schedule; it remembers what was true before."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.advice: Advice | None = None
        self._last_event = 0
        self._last_status: dict[JobId, str | None] = defaultdict(lambda: None)
        self._results: dict[tuple[JobId, int, int], bytes] = {}

    def risk_was_taken(self, job_id: JobId) -> bool:
        """Whether a caller accepted in words that a second remote job may exist."""
        return self._was("risk taken", job_id)

    def _was(self, cause: str, job_id: JobId) -> bool:
        return bool(self.world.ledger.rows("SELECT 1 FROM event WHERE job_id = ? AND cause = ?", job_id, cause))

    def _remotes(self, job_id: JobId) -> list[Remote]:
        return [remote for remote in self.world.provider.jobs.values() if remote.job_id == job_id]

    def _last_remote(self, job_id: JobId) -> Remote | None:
        """The remote job of the last attempt, if it has one."""
        query = "SELECT remote_id FROM attempt WHERE job_id = ? AND sent_at IS NOT NULL ORDER BY number DESC"
        rows = self.world.ledger.rows(query, job_id)
        return self.world.provider.jobs.get(rows[0][0]) if rows and rows[0][0] else None

    def is_gone(self, job_id: JobId) -> bool:
        """Whether the remote job of a job is gone, and results of it are missing for ever."""
        remote = self._last_remote(job_id)
        return remote is not None and remote.gone and bool(self.world.ledger.missing_items(job_id))

    def check(self) -> None:
        self._check_history()
        self._check_attempts()
        self._check_results()
        if "alternates" in self.world.traits:
            self._check_moves()

    def _check_history(self) -> None:
        """Every change of a status has one event with a cause.

        What is final is left by a claim, or if it was queued again, or given up while its provider did not know it, or
        if it was said of the whole job before its items were told apart, of which this one has its result.
        """
        query = "SELECT id, job_id, item_index, old, new, cause, detail FROM event WHERE id > ? ORDER BY id"
        for number, job_id, index, old, new, cause, detail in self.world.ledger.rows(query, self._last_event):
            self._last_event = number
            demand(bool(cause), f"event {number} has no cause")
            left_final = old in FINAL and new != old and (old, new) != (S.CANCELLED, S.COMPLETED)
            if left_final and cause == "alive again" and old != S.COMPLETED:
                remotes = self._remotes(job_id)
                told_apart = new == S.COMPLETED and any(index in remote.completed for remote in remotes)
                came_back = any(remote.requeued or remote.hid for remote in remotes)
                left_final = not (told_apart or came_back)
            self._check_cause(job_id, old, new, cause, detail)
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

    def _check_cause(self, job_id: JobId, old: str, new: str, cause: str, detail: str) -> None:
        """What an event says was so at the provider."""
        remotes = {remote.remote_id: remote for remote in self._remotes(job_id)}
        if new == S.LOST and old != new:
            was_away = any(remote.gone or remote.hid for remote in remotes.values())
            demand(was_away, f"{job_id} is LOST, and its remote job never was")
        if cause == "never ran":
            remote = remotes.get(detail.partition(" ")[0])
            ran = remote is not None and (remote.live or S.COMPLETED in remote.statuses) and not remote.gone
            demand(not ran, f"{job_id} says that it never ran: {remote}")

    def _check_attempts(self) -> None:
        live: dict[str, int] = defaultdict(int)
        query = "SELECT job_id, status, message, remote_id FROM attempt"
        for job_id, status, message, remote_id in self.world.ledger.rows(query):
            live[job_id] += status in LIVE
            broke = status == S.UNKNOWN and remote_id is None and "the adapter broke" in message
            demand(not broke, f"#24 {job_id} is UNKNOWN, and nothing was sent: {message[:100]}")
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
            ours = self.world.provider
            demand(counts["11"] == ours.server, f"#10 {job_id}[{index}] got a result of another server: {counts}")
            remote = ours.jobs[f"remote-{counts['0']}"]
            demand(remote.job_id == job_id and counts["1"] == index, f"{job_id}[{index}] got a result of {remote}")
        self._results = now

    def _check_moves(self) -> None:
        """No more events of an item than moves that were made."""
        query = (
            "SELECT job_id, item_index, count(*) FROM event WHERE item_index IS NOT NULL AND old <> new "
            "GROUP BY job_id, item_index"
        )
        for job_id, index, count in self.world.ledger.rows(query):
            most = 3 + self.world.n_pauses  # a report of the whole job may come before its items are told apart;
            # and whoever was stopped with an old answer tells of it
            for remote in self._remotes(job_id):
                most += 1 + sum(n for position, n in remote.moves.items() if remote.items[position] == index)
            demand(count <= most, f"#12 {count} events of {job_id}[{index}], which moved {most} times at the most")

    def check_cancel(self, remote: Remote, positions: Iterable[int]) -> None:
        """A process that was to retry chosen items ends no others."""
        process = self.world.current
        if process is None or process.chosen is None:
            return
        for position in positions:
            index = remote.items[position]
            ended = remote.statuses[position] not in FINAL and index not in process.chosen
            wished = (remote.job_id, index) in self.world.people.wished
            words = f"#1 {process.name} of items {process.chosen} cancels item {index}, which is well, of {remote}"
            if ended and not wished:
                self.world.break_law(words)

    def read_advice(self, process: Process) -> None:
        """The commands that a process prints; one of them may be entered next."""
        self.advice = None
        outcome = process.outcome
        words = [str(outcome) if isinstance(outcome, Exception) else getattr(outcome, "reason", "")]
        if isinstance(outcome, list):
            words = [getattr(each, "words", "") for each in outcome]
        words = [each for each in words if "wait for them, then" not in each]
        found = re.findall(r"qjobs jobs ((?:retry|adopt|discard|cancel) [^;:,)]+)", "; ".join(words))
        if found:
            self.advice = Advice(tuple(self.world.rng.choice(found).split()))

    def check_advice(self, process: Process) -> None:
        """What was printed does something, where it is entered at once."""
        outcome = process.outcome
        refused = isinstance(outcome, InvalidInput)
        nothing = getattr(outcome, "reason", "").startswith("no item without a result")
        forced = process.strategy is RemoteRetryStrategy.FORCE_RESUBMIT
        nothing = nothing or (forced and isinstance(outcome, JobLost))  # which is what advises it
        demand(not (refused or nothing), f"#20 {process.name} was entered as it was printed: {outcome}")

    def check_outcome(self, process: Process) -> None:
        """What a process may not say."""
        if not isinstance(process.outcome, PolicyLimit) or "were spent trying" not in str(process.outcome):
            return
        limit_s = process.policy.max_total_s if process.policy else 86_400.0
        queued_s = 0.0
        for remote in self._remotes(process.job_id):
            if not remote.told:
                continue  # nobody knew that it was in a queue
            queued_s += (self.world.elapsed_s if remote.final_s is None else remote.final_s) - remote.made_s
        ours_s = self.world.elapsed_s - queued_s
        demand(ours_s > limit_s, f"#21 only {ours_s:.0f} s were ours, {queued_s:.0f} s its queue's: {process.outcome}")

    # In the end

    def check_stored(self) -> None:
        """After passes of a healthy sensor: what an item of a running job has is stored."""
        if not self.world.provider.tells_items:
            return
        rows = self.world.ledger.rows(
            "SELECT remote_id, job_id, status, epoch FROM attempt WHERE remote_id IS NOT NULL"
        )
        stored = {(job_id, epoch, index) for job_id, epoch, index in self._results}
        for remote_id, job_id, status, epoch in rows:
            remote = self.world.provider.jobs[remote_id]
            if status not in UNDER_WAY or remote.refuses or remote.gone:
                continue
            for position, (index, word) in enumerate(zip(remote.items, remote.statuses, strict=True)):
                is_there = word is S.COMPLETED and position not in (remote.kept, remote.stuck)
                words = f"#23 the result of item {index} of {remote} lies at the provider"
                demand(not is_there or (job_id, epoch, index) in stored, words)

    def check_live(self) -> None:
        """After rounds with a healthy provider: what runs is counted on, or is ended, or a person was told of it."""
        rows = self.world.ledger.rows(
            "SELECT remote_id, status, epoch, number FROM attempt WHERE remote_id IS NOT NULL"
        )
        counted_on = {remote_id for remote_id, status, _, _ in rows if status in LIVE}
        words = dict(self.world.ledger.rows("SELECT job_id, status FROM job"))
        for remote in self.world.provider.jobs.values():
            if not remote.live or len(remote.cancelling) == len(remote.items) or remote.refuses:
                continue
            if remote.remote_id in counted_on or self.risk_was_taken(remote.job_id):
                continue
            if words[remote.job_id] == S.UNKNOWN and not self.world.backend.lookup.can_find:
                continue
            if remote.requeued:
                continue  # nobody has asked for it yet: `check_queued_again`
            others = [each for each in self._remotes(remote.job_id) if each.live and each is not remote]
            cause = "#4 " if remote.woke or any(each.woke for each in others) else self._cause_of(remote)
            raise Violation(f"{cause}{remote} runs, and nobody counts on it or ends it; beside it are {others}")

    def _cause_of(self, remote: Remote) -> str:
        return "#34 " if remote.gateway else f"{remote.hidden} ".lstrip()

    def check_steps(self) -> None:
        """Where the provider takes steps, a lost reply is always decided without a person."""
        if not self.world.provider.takes_steps:
            return
        for job_id, word in self.world.ledger.rows("SELECT job_id, status FROM job"):
            refused = any(remote.refuses for remote in self._remotes(job_id))
            demand(word != S.UNKNOWN or refused, f"{job_id} takes steps and is UNKNOWN in the end")

    def check_final(self) -> None:
        """After rounds with a healthy provider: what is final there, or gone, is final here."""
        jobs = self.world.ledger.rows("SELECT job_id, status FROM job")
        refused = any(remote.refuses or remote.gone for remote in self.world.provider.jobs.values())
        for job_id, word in jobs:
            remote = self._last_remote(job_id)
            if word not in UNDER_WAY or (remote and remote.refuses):
                continue
            cause = "#17 one job is refused, and " if refused else ""
            if remote and remote.stuck is not None:
                cause = "#16 one item is shown open for ever: "
            if remote and remote.gone:
                cause = "#15 it is gone: "
            if word != S.UNKNOWN:
                raise Violation(f"{cause}{job_id} is still {word} as {remote}")

    def check_queued_again(self, by: str, number: str) -> None:
        """What was queued again there ends here as it ended there."""
        epochs = dict(self.world.ledger.rows("SELECT job_id, epoch FROM job"))
        for job_id in self.world.jobs:
            remote = self._last_remote(job_id)
            if remote is None or remote.requeued != by or remote.gone or remote.refuses:
                continue
            items = dict(self.world.ledger.rows("SELECT item_index, status FROM item WHERE job_id = ?", job_id))
            for position, (index, word) in enumerate(zip(remote.items, remote.statuses, strict=True)):
                if position == remote.stuck:
                    continue  # it is shown open for ever, and ended here
                known = items[index]
                words = f"{number} item {index} was queued again by {by} and is {word}; here it is {known}: {remote}"
                is_stored = (remote.job_id, remote.epoch, index) in self._results
                anew = epochs[job_id] > remote.epoch  # which was wished since
                by_person = by == "a person"
                may_differ = (by_person and anew) or (is_stored and (by_person or anew))
                demand(word is not S.COMPLETED or known == word or may_differ, words)

    def check_end(self) -> None:
        """After a round with a healthy provider: all is claimed, settled and stored."""
        world = self.world
        attempts = world.ledger.rows("SELECT job_id, remote_id, epoch FROM attempt WHERE remote_id IS NOT NULL")
        claimed = {remote_id: (job_id, epoch) for job_id, remote_id, epoch in attempts}
        demand(len(claimed) == len(attempts), f"a remote job belongs to two attempts: {attempts}")
        self.check_final()
        status = dict(world.ledger.rows("SELECT job_id, status FROM job"))
        epochs = dict(world.ledger.rows("SELECT job_id, epoch FROM job"))
        for remote in world.provider.jobs.values():
            if remote.gone or remote.refuses:
                continue
            if remote.remote_id not in claimed:
                self._check_unclaimed(remote, status[remote.job_id])
                continue
            job_id, epoch = claimed[remote.remote_id]
            demand(job_id == remote.job_id, f"{remote} is claimed by {job_id}")
            if epoch != epochs[job_id]:
                continue
            for position, (index, word) in enumerate(zip(remote.items, remote.statuses, strict=True)):
                never = position in (remote.kept, remote.stuck)
                if word is S.COMPLETED and not never:
                    demand((job_id, epoch, index) in self._results, f"the result of item {index} of {remote} is lost")
        if "talks" in world.traits:
            self._check_cells()

    def _check_cells(self) -> None:
        for table, column in _CELLS:
            for (length,) in self.world.ledger.rows(f"SELECT max(length({column})) FROM {table}"):
                demand((length or 0) <= LONGEST_CELL, f"#25 {length} characters in {table}.{column}")

    def _check_unclaimed(self, remote: Remote, status: str) -> None:
        """What no attempt claims was written down to be ended, or is what an UNKNOWN job or a stated risk is about."""
        if remote.is_open or self._is_stray(remote, status):
            return
        cause = "#4 " if remote.woke else self._cause_of(remote)
        can_find = self.world.backend.lookup.can_find
        known = status == S.UNKNOWN and not can_find
        told = self._was("contradiction", remote.job_id) and remote.woke
        demand(
            known or told or self.risk_was_taken(remote.job_id), f"{cause}nobody knows of {remote}; its job is {status}"
        )
        if can_find:
            listed = {each.remote_id for each in orphans(self.world.ledger, self.world.backend)}
            demand(remote.remote_id in listed, f"{cause}{remote} is claimed by nobody and not listed")

    def _is_stray(self, remote: Remote, status: str) -> bool:
        """Whether it was to be ended, and was; one that an UNKNOWN job may be, by its token, waits for a person."""
        rows = self.world.ledger.rows("SELECT ended_at FROM stray WHERE remote_id = ?", remote.remote_id)
        if rows:
            self.world.provider.happened["stray"] += 1
            may_be_it = status == S.UNKNOWN and self.world.backend.lookup.token_lifetime_s is not None
            demand(may_be_it or rows[0][0] is not None, f"{remote} is to be ended for ever")
        return bool(rows)

    def check_ways_out(self, collected: dict[JobId, object], restarted: dict[JobId, object]) -> None:
        """Weeks later: nothing is waited for that cannot come, and a restart is a way out."""
        for job_id, outcome in collected.items():
            remote = self._last_remote(job_id)
            waits = isinstance(outcome, BackendUnavailable | ProtocolError)
            if remote and not remote.gone and remote.kept is not None:
                demand(not waits, f"#13 weeks later a result that never comes is waited for: {outcome!r}")
        for job_id, outcome in restarted.items():
            refused = isinstance(outcome, ProtocolError | BackendUnavailable)
            demand(not refused, f"#14 the remote job is gone, and FULL_RESTART of {job_id} says {outcome!r}")
