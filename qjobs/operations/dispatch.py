"""Dispatch: send the jobs of suspended runs that wait for a place at their device, as places become free.

A run that is suspended has no process, so that a sensor sends what is left of it: by the same operation, with the same
claim, which counts the places in the ledger. Runs take turns: the next place at a device goes to the run that was
served longest ago, and before these to those that were never served, the longest waiting first.
"""

from __future__ import annotations

import functools
import logging
import math
import random
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias

from qjobs.backends.base import Backend
from qjobs.errors import BackendUnavailable, Busy, CredentialsRejected, LedgerError, QJobsError
from qjobs.ledger import Ledger
from qjobs.ledger.dispatches import Entry, Lane
from qjobs.ledger.liveness import lease_owner
from qjobs.lifecycle import UNDER_WAY, JobStatus
from qjobs.model import JobId, RemoteRetryStrategy
from qjobs.operations.ladder import submit_by_ladder
from qjobs.operations.poll import utc_now
from qjobs.operations.quota import held_by_quota
from qjobs.operations.retry import RetryPolicy
from qjobs.operations.room import room

__all__ = ["Dispatched", "Dispatcher", "Enter", "dispatch"]

logger = logging.getLogger(__name__)

_LANES_AT_ONCE = 8
_SENT_AT_ONCE = 8
_MOST_A_PASS = 100
"""So many jobs of a device without a limit are sent in one pass."""
_ELSEWHERE_S = 5.0
"""After how long a job is looked at again that somebody else is submitting."""
_HELD_S = 30.0
"""After how long a job is looked at again that a cap, or its provider's quota, holds."""
_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 60.0
"""A provider that takes nothing now is tried again after these pauses, by twice as long each time."""
_REFUSED_S = 300.0
"""A pause that only a person can shorten: credentials are refused, or the backend cannot be opened."""

Enter: TypeAlias = Callable[[Entry, RetryPolicy], object]
"""Enters the submission of a job once more, after `entries` times, and raises what `submit` raises."""


@dataclass(slots=True)
class Dispatched:
    """What a pass sent, and what was in the way, both by the names that open the backends.

    `waits` says whether a job waited for a place. Where something was sent, `again_s` is the shortest useful pause
    until it is asked for, in seconds.
    """

    sent: dict[str, list[JobId]] = field(default_factory=dict)
    trouble: dict[str, str] = field(default_factory=dict)
    waits: bool = False
    again_s: float = math.inf


def dispatch(
    ledger: Ledger,
    open_backend: Callable[[str], Backend],
    *,
    enter: Enter | None = None,
    cleared: Callable[[Sequence[str]], Collection[str]] = frozenset,
    now: Callable[[], datetime] = utc_now,
    rng: random.Random | None = None,
) -> Dispatched:
    """Send as many of the waiting jobs as there are free places, of all devices side by side.

    A job is entered as a submit stage is: first with its strategy, then by the ladder of its policy, and within its
    caps. The ladder is for lost replies alone: while nothing was sent, a job waits on, however often it is tried. What
    goes wrong with one job stops no other. What is final for a stage (a refusal, a cap, a reply that nobody can look
    up) ends the job's waiting: its run tells of it when it is resumed.

    Args:
        ledger: Where the jobs wait.
        open_backend: Opens a backend by its name.
        enter: How a submission is entered, where it is not to be called directly.
        cleared: Which of some runs may go on; nothing is sent for the others. All by default.
        now: The clock.
        rng: Spreads pauses.

    Raises:
        LedgerError: The ledger cannot be used.
    """
    with closing(Dispatcher(ledger, open_backend, enter=enter, cleared=cleared, now=now, rng=rng)) as dispatcher:
        return dispatcher.run_pass()


class Dispatcher:
    """A dispatcher of many passes; a device whose provider is slow holds up no other. Close it when done.

    The arguments are those of `dispatch`.
    """

    def __init__(
        self,
        ledger: Ledger,
        open_backend: Callable[[str], Backend],
        *,
        enter: Enter | None = None,
        cleared: Callable[[Sequence[str]], Collection[str]] = frozenset,
        now: Callable[[], datetime] = utc_now,
        rng: random.Random | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._open_backend = open_backend
        self._enter = enter or self._enter_here
        self._cleared = cleared
        self._now = now
        self._rng = rng or random.Random()  # noqa: S311
        self._monotonic = monotonic
        self._pool = ThreadPoolExecutor(_LANES_AT_ONCE)
        self._under_way: dict[tuple[str, str, str], Future[_LanePass]] = {}

    def run_pass(self, patience_s: float | None = None) -> Dispatched:
        """Send what there is room for. A device that takes longer than `patience_s` seconds is told of by a later pass.

        Raises:
            LedgerError: The ledger cannot be used.
        """
        done = Dispatched()
        present = self._now()
        for lane in self._ledger.dispatches.lanes():
            done.waits = True
            key = (lane.backend, lane.device, lane.opened_as)
            if lane.trouble:
                done.trouble[lane.opened_as] = lane.trouble
            if key not in self._under_way and (lane.due_at is None or lane.due_at <= present):
                one = _LanePass(
                    self._ledger, self._open_backend, self._enter, self._cleared, self._now, self._rng, lane
                )
                self._under_way[key] = self._pool.submit(functools.partial(copy_context().run, one.run))
        ends_at = None if patience_s is None else self._monotonic() + patience_s
        for key, future in list(self._under_way.items()):
            left_s = None if ends_at is None else max(0.0, ends_at - self._monotonic())
            try:
                lane_pass = future.result(timeout=left_s)
            except TimeoutError:
                continue
            except BaseException:
                del self._under_way[key]
                raise
            del self._under_way[key]
            lane_pass.tell(done)
        if done.sent:
            logger.info("sent %d jobs that waited for a place", sum(len(job_ids) for job_ids in done.sent.values()))
        return done

    def _enter_here(self, entry: Entry, policy: RetryPolicy) -> None:
        submit_by_ladder(
            self._ledger,
            self._open_backend(entry.terms.opened_as),
            entry.job_id,
            run=entry.entries + 1,
            policy=policy,
            strategy=entry.terms.strategy,
            programs=entry.terms.programs,
            now=self._now,
        )

    def close(self) -> None:
        """Wait for what is being sent. Idempotent."""
        self._pool.shutdown()


@dataclass(slots=True)
class _LanePass:
    """One pass over the jobs that wait for one device."""

    ledger: Ledger
    open_backend: Callable[[str], Backend]
    enter: Enter
    cleared: Callable[[Sequence[str]], Collection[str]]
    now: Callable[[], datetime]
    rng: random.Random
    lane: Lane
    owner: str = field(default_factory=lease_owner)
    served: set[str] = field(default_factory=set)
    sent: list[JobId] = field(default_factory=list)
    trouble: Exception | None = None
    pause_s: float = math.inf

    def run(self) -> _LanePass:
        try:
            self._run(self.open_backend(self.lane.opened_as))
        except LedgerError:
            raise
        except Exception as error:  # it cannot be opened, or nobody can be asked; whatever it is, it concerns it alone
            self.trouble = error
        self.ledger.dispatches.serve(self.lane, self.served, now=self.now())
        if self.trouble is not None:
            self._park(self.trouble)
        return self

    def tell(self, done: Dispatched) -> None:
        """Add what came of it to the report of a pass."""
        name = self.lane.opened_as
        if self.sent:
            done.sent.setdefault(name, []).extend(self.sent)
            done.again_s = min(done.again_s, self.pause_s)
        if self.trouble is not None:
            done.trouble[name] = _words(self.trouble)
        elif self.sent:
            done.trouble.pop(name, None)

    def _run(self, backend: Backend) -> None:
        self.pause_s = backend.poll_interval_s[0]
        self.ledger.dispatches.release(self.lane, self.owner)
        chosen = [entry for entry in self._in_place() if self._take(entry)]
        chosen = self._that_may_start(backend, chosen + self._next(self._room(backend)))
        if len(chosen) <= 1:
            for entry in chosen:
                self._send(entry)
            return
        with ThreadPoolExecutor(min(len(chosen), _SENT_AT_ONCE)) as pool:
            sending = [pool.submit(functools.partial(copy_context().run, self._send, entry)) for entry in chosen]
        for each in sending:
            each.result()

    def _that_may_start(self, backend: Backend, chosen: Sequence[Entry]) -> list[Entry]:
        """Those that the provider's quota does not hold; the others wait on."""
        ids = [entry.job_id for entry in chosen]
        held = held_by_quota(self.ledger, lambda _: backend, ids, since=self.now(), now=self.now)
        due_at = self.now() + timedelta(seconds=_HELD_S)
        for entry in chosen:
            if entry.job_id in held:
                self.ledger.dispatches.put_back(entry, due_at=due_at, counts=False)
        return [entry for entry in chosen if entry.job_id not in held]

    def _room(self, backend: Backend) -> int:
        """How many jobs the device takes now. The claim counts once more, together with whoever else sends."""
        left = room(self.ledger, backend, now=self.now)
        return min(_MOST_A_PASS if each is None else each for each in (left.on_device, left.of_account))

    def _in_place(self) -> list[Entry]:
        """Jobs that were sent and of which it is not known what came of it; those that are there are done with."""
        found = []
        for entry in self.ledger.dispatches.due_in_place(self.lane, now=self.now()):
            if entry.status is JobStatus.SUBMITTING:
                due_at = self.now() + timedelta(seconds=_ELSEWHERE_S)
                self.ledger.dispatches.put_back(entry, due_at=due_at, counts=False)
            elif entry.status in UNDER_WAY and _is_plain(entry):
                self.ledger.dispatches.finish(entry)
            else:
                found.append(entry)
        if not found:
            return []
        cleared = self._cleared_of([entry.flow_run_id for entry in found])
        return [entry for entry in found if entry.flow_run_id in cleared]

    def _next(self, room: int) -> list[Entry]:
        """The next jobs, as many as there is room for, each taken; runs take turns."""
        chosen: list[Entry] = []
        jobs: set[JobId] = set()
        turns = deque(self.ledger.dispatches.turns(self.lane)) if room > 0 else deque()
        while turns and len(chosen) < room:
            some = [turns.popleft().flow_run_id for _ in range(min(len(turns), room))]
            cleared = self._cleared_of(some)
            queues = deque(deque(self._wanted(run, room - len(chosen))) for run in some if run in cleared)
            while queues and len(chosen) < room:
                queue = queues.popleft()
                if not queue:
                    continue
                entry = queue.popleft()
                if entry.job_id not in jobs and self._take(entry):  # two runs may wait for one job
                    chosen.append(entry)
                    jobs.add(entry.job_id)
                queues.append(queue)
        return chosen

    def _cleared_of(self, runs: Iterable[str]) -> Collection[str]:
        return self.cleared(list(dict.fromkeys(runs)))

    def _wanted(self, run: str, limit: int) -> list[Entry]:
        """The next jobs of a run; those of which nothing is to be sent any more wait no longer."""
        while True:
            found = self.ledger.dispatches.due(self.lane, run, now=self.now(), limit=limit)
            over = [entry for entry in found if entry.status.is_final and _is_plain(entry)]
            for entry in over:
                self.ledger.dispatches.finish(entry)
            if len(over) < len(found) or not found:
                return [entry for entry in found if entry not in over]

    def _take(self, entry: Entry) -> bool:
        return self.ledger.dispatches.take(entry, owner=self.owner, now=self.now())

    def _send(self, entry: Entry) -> None:
        """Enter the submission of one job, and say what becomes of its waiting."""
        dispatches = self.ledger.dispatches
        policy = RetryPolicy.from_json(entry.terms.policy)
        if not dispatches.is_held(entry, self.owner):  # a pass may take minutes, and its run is over by now
            return
        if self.ledger.caps.hold([entry.job_id], now=self.now()):
            dispatches.put_back(entry, due_at=self.now() + timedelta(seconds=_HELD_S), counts=False)
            return
        try:
            self.enter(entry, policy)
        except LedgerError:
            raise
        except Busy as error:
            due_at = self.now() + timedelta(seconds=error.retry_after_s)
            dispatches.put_back(entry, due_at=due_at, counts=False)
        except (BackendUnavailable, CredentialsRejected) as error:
            self._failed(entry, policy, error)
        except QJobsError as error:
            logger.warning(
                "%s: %s: %s; its run tells of it when it is resumed", entry.job_id, type(error).__name__, error
            )
            dispatches.finish(entry)
        else:
            dispatches.finish(entry)
            self.served.add(entry.flow_run_id)
            self.sent.append(entry.job_id)

    def _failed(self, entry: Entry, policy: RetryPolicy, error: BackendUnavailable | CredentialsRejected) -> None:
        """A reply was lost: the next rung of the ladder, or the end of it. Else nothing was sent: the job waits on."""
        dispatches = self.ledger.dispatches
        attempts = self.ledger.attempts(entry.job_id)
        is_lost = bool(attempts) and attempts[-1].status is JobStatus.UNKNOWN and not attempts[-1].is_reserved
        if not is_lost or isinstance(error, CredentialsRejected):
            dispatches.put_back(entry, due_at=None, counts=False)
            if self.lane.trouble != _words(error):
                self.ledger.record_event(entry.job_id, "parked", _words(error), now=self.now())
            self.trouble = error
        elif entry.entries < len(policy.rungs):
            due_at = self.now() + timedelta(seconds=policy.rungs[entry.entries].delay_s * self.rng.uniform(1.0, 1.2))
            dispatches.put_back(entry, due_at=due_at, counts=True)
            logger.warning("%s: %s; the next rung is due at %s", entry.job_id, error, due_at)
        else:
            logger.warning("%s: %s; its run tells of it when it is resumed", entry.job_id, error)
            dispatches.finish(entry)

    def _park(self, error: Exception) -> None:
        pause_s = _REFUSED_S
        if isinstance(error, BackendUnavailable):
            doubled_s = _FIRST_PAUSE_S * 2.0 ** min(self.lane.failures, 10)
            pause_s = max(error.retry_after_s or 0.0, min(doubled_s, _LONGEST_PAUSE_S))
        due_at = self.now() + timedelta(seconds=pause_s * self.rng.uniform(1.0, 1.2))
        if self.lane.trouble != _words(error):
            logger.warning("%s: nothing is sent before %s: %s", self.lane.opened_as, due_at, _words(error))
        self.ledger.dispatches.park(self.lane, due_at=due_at, trouble=_words(error))


def _is_plain(entry: Entry) -> bool:
    """Whether nothing but a first submission is wished for, so that a job which is at its provider, or over, is done.

    Once a wish for more was entered, it counts as granted: nothing is sent a second time because a process died.
    """
    return entry.entries > 0 or entry.terms.strategy is RemoteRetryStrategy.DEFAULT


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
