"""The executor: a thread that moves jobs through their queues, and the worker processes that run them.

All that lasts is in the database. In memory are only the chunks that workers have, and results that a
slow device has not given back yet; when the service ends, however it ends, `start` puts those items
back into their queues. Each kind of write in a step is one transaction for all jobs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa

from qjobs.backends.aer import Call, OverTime, WorkerEnded, WorkerPool
from qjobs.errors import LedgerError, LedgerUnavailable
from qjobs.ledger.database import Database
from qjobs.lifecycle import JobStatus
from qjobs.service import tables as schema
from qjobs.service.accounts.quotas import Quotas
from qjobs.service.changes import Changes
from qjobs.service.clock import ServiceClock
from qjobs.service.devices import Devices
from qjobs.service.execution.abandoned import Abandoned
from qjobs.service.execution.compiling import CompileOutcome, CompileTask, run_compile
from qjobs.service.execution.outcomes import put_back, store_outcomes
from qjobs.service.execution.pacing import Pacing
from qjobs.service.execution.planning import Planner
from qjobs.service.execution.programs import ItemFailure
from qjobs.service.execution.sharing import SLOW_S, ForNobody, GaveWay, calls_to_end, limits_of
from qjobs.service.execution.simulate import ExecuteOutcome, ExecuteTask, run_execute
from qjobs.service.execution.starting import Started, read_queues, start_items
from qjobs.service.service_lock import ServiceLock
from qjobs.service.settings import Settings
from qjobs.service.store.job_moves import Move, apply_moves, locked, read_items, roll_up_jobs
from qjobs.service.store.jobs import JobStore

logger = logging.getLogger(__name__)
_S = JobStatus
_IDLE_S = 0.5
_SHORTEST_S = 0.005
_AFTER_ERROR_S = 1.0
_DEATHS = 2
_AT_ONCE = 5_000
"""Items moved from SUBMITTED to QUEUED in one transaction."""

_NOT_SENT = "The service lost the item while it started; it runs again."
_RESTARTED = "The service was restarted while the item ran; it runs again."
_WORKER_ENDED = "Its worker process ended; it runs again, alone."
_GAVE_WAY = "Another user waited for a worker; the item runs again."
_SPLIT = "It and its neighbours ran for too long together; it runs again, alone."
_TOO_LONG = (
    "The item ran for more than the {seconds:g} s that {device} gives an item, and was ended; run a smaller circuit, "
    "or take fewer shots."
)
_BLAMED_S = 30.0
"""For how long a user has one worker at most after an item of theirs has ended one."""
_LOST = (
    f"A worker process ended {_DEATHS} times while it ran this item (killed, or out of memory); run a smaller circuit."
)
_USED_UP = "The quota of {quota} is used up for this month; the item was not run."
_FAILED = "The device failed (failure_rate in the device file)."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Returned:
    """What a worker sent back."""

    started: Started
    outcomes: Sequence[CompileOutcome | ExecuteOutcome]
    error: BaseException | None


class Executor:
    """Runs the jobs of the store."""

    def __init__(
        self,
        db: Database,
        clock: ServiceClock,
        devices: Devices,
        changes: Changes,
        jobs: JobStore,
        settings: Settings,
        lock: ServiceLock,
    ) -> None:
        self._db = db
        self._clock = clock
        self._devices = devices
        self._changes = changes
        self._jobs = jobs
        self._lock = lock
        self._workers = WorkerPool(settings.worker_count, preload=("qjobs.circuits.pytket",))
        self._abandoned = Abandoned(db)
        self._pacing = Pacing(clock)
        self._planner = Planner(self._workers.count, Quotas(db, clock, settings))
        self._returned: deque[_Returned] = deque()
        self._running: dict[int, Started] = {}
        self._calls: dict[int, Call] = {}
        self._deaths: dict[str, int] = {}
        self._blamed: dict[str, float] = {}
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._unsure = False

    def start(self) -> None:
        """Put back what ran when the service ended, and begin to work. Idempotent."""
        if self._thread is not None:
            return
        self._stopping = False
        self._recover()
        self._thread = threading.Thread(target=self._serve, name="qjobs-executor", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 30.0) -> None:
        """Begin nothing new and end the workers; what they had runs again after the next start. Idempotent."""
        self._stopping = True
        self._jobs.work.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
            self._thread = None

    def _recover(self) -> None:
        item = schema.job_item
        query = sa.select(item.c.item_uuid).where(item.c.status.in_([_S.RUNNING.value, _S.CANCELLING.value]))
        with self._db.write() as connection:
            uuids = list(connection.scalars(query))
            found = read_items(connection, (), uuids=uuids)
            self._pacing.keep(connection, {item.job_id for item in found})
            changed = put_back(connection, uuids, _S.QUEUED, _RESTARTED, self._clock.now())
        if uuids:
            logger.info("%d items ran when the service ended; they are QUEUED again", len(uuids))
        self._changes.notify_all(changed)

    def _serve(self) -> None:
        try:
            self._workers.warm()
            while not self._stopping and threading.main_thread().is_alive():
                self._jobs.work.clear()
                try:
                    wait_s = self._step()
                except LedgerError as error:
                    self._unsure = True
                    logger.error("the executor cannot reach the database: %s", error)  # noqa: TRY400  # says it all
                    wait_s = _AFTER_ERROR_S
                except Exception:  # boundary: the thread goes on, and what it left open is QUEUED again
                    self._unsure = True
                    logger.exception("a step of the executor failed")
                    wait_s = _AFTER_ERROR_S
                self._jobs.work.wait(wait_s)
        finally:
            self._workers.close()
            self._running.clear()
            self._calls.clear()

    def _step(self) -> float:
        """Do everything that can be done now; return how long to wait for more, in real seconds."""
        if not self._lock.try_acquire():
            raise LedgerUnavailable("another service works on the database; this one waits until that one ends")
        self._workers.tend()
        self._take_outcomes()
        for each in self._abandoned.among(list(self._running.values())):
            logger.warning("job %s: a worker computes for items that nobody waits for", each.chunk.job_id)
            self._end(each, ForNobody("nobody waits for its items"))
        if any(call.ran_s > SLOW_S for call in self._calls.values()):
            self._workers.keep_spare()  # whoever comes now is to wait for no new process
        changed = self._requeue_unsent() if self._unsure else []
        changed += self._store_due()
        changed += self._move_waiting()
        changed += self._start_next()
        self._changes.notify_all(dict.fromkeys(changed))
        return self._wait_s()

    def _take_outcomes(self) -> None:
        """Take what workers sent; a worker that ended gives its items another chance, each alone."""
        while self._returned:
            returned = self._returned.popleft()
            started = returned.started
            if self._running.pop(id(started), None) is None:
                continue
            self._calls.pop(id(started), None)
            match returned.error:
                case None:
                    self._planner.learn(started.chunk.job_id, [outcome.duration_s for outcome in returned.outcomes])
                    self._pacing.hold(started, returned.outcomes)
                case GaveWay() | ForNobody():
                    self._put_back(started, _GAVE_WAY)
                case OverTime():
                    self._over_time(started)
                case WorkerEnded():
                    self._worker_ended(started)
                case error:
                    logger.error("job %s: a worker failed: %s", started.chunk.job_id, error)
                    self._pacing.hold(started, _all_failed(started, error))

    def _put_back(self, started: Started, message: str) -> None:
        """The items of a chunk that was ended go back into their queue, and nothing is held against them."""
        logger.info("job %s: %d items go back into the queue: %s", started.chunk.job_id, len(started.items), message)
        with self._db.write() as connection:
            changed = put_back(connection, list(started.items), _S.QUEUED, message, self._clock.now())
        self._changes.notify_all(changed)

    def _over_time(self, started: Started) -> None:
        """An item that took too long alone has failed; of several each runs again, alone."""
        device = started.chunk.device
        self._blame(started)
        if len(started.items) > 1:
            for uuid in started.items:
                self._deaths.setdefault(uuid, 0)
            self._put_back(started, _SPLIT)
            return
        logger.warning("job %s: an item ran for more than %g s", started.chunk.job_id, device.item_time_s)
        words = _TOO_LONG.format(seconds=device.item_time_s, device=device.name)
        failure = ItemFailure(status="ERROR", message=words)
        self._pacing.hold(started, _outcomes(started, failure, device.item_time_s))

    def _blame(self, started: Started) -> None:
        """A user whose item has cost a worker process has one worker at most for a while."""
        self._workers.keep_spare()
        self._blamed[started.chunk.owner_id] = time.monotonic() + _BLAMED_S

    def _worker_ended(self, started: Started) -> None:
        self._blame(started)
        again: list[str] = []
        dead: list[str] = []
        for uuid in started.items:
            self._deaths[uuid] = self._deaths.get(uuid, 0) + 1
            (again if self._deaths[uuid] < _DEATHS else dead).append(uuid)
        now = self._clock.now()
        with self._db.write() as connection:
            changed = put_back(connection, again, _S.QUEUED, _WORKER_ENDED, now)
            changed += put_back(connection, dead, _S.TERMINATED, _LOST, now)
        logger.warning(
            "job %s: a worker ended; %d items run again, %d are TERMINATED", started.chunk.job_id, len(again), len(dead)
        )
        for uuid in dead:
            del self._deaths[uuid]
        self._changes.notify_all(changed)

    def _requeue_unsent(self) -> list[str]:
        """Items go back into their queues that are RUNNING and nobody has.

        After a step that failed: the reply to a commit may have been lost, and then the items that it
        started were never sent; or a worker ended, and that could not be written. After the workers were
        ended: what waited for one of them.
        """
        has = self._pacing.held()
        for each in self._running.values():
            has.update(each.tries.items())
        item = schema.job_item
        query = sa.select(item.c.item_uuid, item.c.tries).where(item.c.status == _S.RUNNING.value)
        with self._db.write() as connection:
            lost = [uuid for uuid, tries in connection.execute(query) if (uuid, tries) not in has]
            changed = put_back(connection, lost, _S.QUEUED, _NOT_SENT, self._clock.now())
        if lost:
            logger.warning("%d items that no worker has are QUEUED again", len(lost))
        self._unsure = False
        return changed

    def _store_due(self) -> list[str]:
        """Write what is finished, and stop what was asked to stop and is not."""
        now = self._clock.now()
        due = self._pacing.due_outcomes(now)
        with self._db.read() as connection:
            item = schema.job_item
            stopping = list(connection.scalars(sa.select(item.c.item_uuid).where(item.c.status == _S.CANCELLING.value)))
        if not due and not stopping:
            return []
        with self._db.write() as connection:
            changed = store_outcomes(connection, due, now) if due else []
            changed += put_back(connection, stopping, _S.CANCELLED, "The item was cancelled.", now)
        for job_id, number in Counter(each.started.chunk.job_id for each in due).items():
            logger.info("job %s: %d items have come back from their workers", job_id, number)
        for each in due:
            self._deaths.pop(each.uuid, None)
        self._pacing.forget(due)
        return changed

    def _move_waiting(self) -> list[str]:
        """SUBMITTED and RETRYING items whose delay has passed are QUEUED."""
        item = schema.job_item
        now = self._clock.now()
        fresh = (_S.SUBMITTED, _S.RETRYING)
        query = (
            sa.select(item.c.item_uuid, item.c.job_id)
            .where(item.c.status.in_([status.value for status in fresh]), item.c.ready_at <= now)
            .limit(_AT_ONCE)
        )
        with self._db.read() as connection:
            rows = connection.execute(query).all()
        if not rows:
            return []
        with self._db.write() as connection:
            jobs = locked(connection, {row.job_id for row in rows})
            moves = []
            for each in read_items(connection, (), uuids={row.item_uuid for row in rows}):
                if each.status in fresh and each.job_id in jobs:
                    values = {"ready_at": now + self._queue_time(jobs[each.job_id])}
                    moves.append(Move(item=each, status=_S.QUEUED, message="The item is queued.", values=values))
            apply_moves(connection, moves, now)
            return roll_up_jobs(connection, jobs.values(), now)

    def _queue_time(self, job: sa.Row[Any]) -> timedelta:
        device = self._devices.get(job.device)
        seconds = device.queue_time_s if device is not None and job.job_type == "execute" else 0.0
        return timedelta(seconds=min(seconds, 1e9))

    def _start_next(self) -> list[str]:
        now = self._clock.now()
        with self._db.read() as connection:
            queues = read_queues(connection, self._devices, now, partial(self._pacing.last_starts, connection))
            self._pacing.release(connection)
            plan = self._planner.plan(
                connection,
                queues,
                self._pacing.occupied,
                self._running.values(),
                self._deaths,
                self._on_parole(),
                now,
                ahead=not any(call.is_waiting for call in self._calls.values()),
            )
        self._make_room(plan.hungry)
        changed = self._show_positions(queues)
        if not plan.chunks and not plan.depleted:
            return changed
        with self._db.write() as connection:
            changed += _deplete(connection, plan.depleted, now)
            started, moved = start_items(connection, plan.chunks, now)
        self._pacing.begin(started, now)
        for each in started:
            self._send(each)
        return changed + moved

    def _on_parole(self) -> set[str]:
        """The users under whose items a worker has ended of late."""
        now = time.monotonic()
        self._blamed = {owner: until for owner, until in self._blamed.items() if until > now}
        return set(self._blamed)

    def _make_room(self, hungry: Collection[str]) -> None:
        """End what the workers do for users who have more than one, where another user has none."""
        running: list[tuple[str, Call]] = []
        for key, call in self._calls.items():
            running.append((self._running[key].chunk.owner_id, call))
            if call.is_waiting:
                hungry = {*hungry, self._running[key].chunk.owner_id}
        for call in calls_to_end(running, hungry, self._workers.count):
            self._workers.end(call, GaveWay("another user waits"))

    def _end(self, started: Started, error: WorkerEnded) -> None:
        call = self._calls.get(id(started))
        if call is not None:
            self._workers.end(call, error)

    def _send(self, started: Started) -> None:
        """Give a chunk to a worker, without the items that the device fails by itself."""
        self._running[id(started)] = started
        device = started.chunk.device
        task = started.task
        logger.info("job %s: %d items run for %s", started.chunk.job_id, len(started.items), device.name)
        if isinstance(task, CompileTask):
            self._call(run_compile, started, task)
            return
        failed = [uuid for uuid in started.items if device.fails(uuid, started.tries[uuid])]
        if failed:
            failure = ItemFailure(status="ERROR", message=_FAILED)
            outcomes = [ExecuteOutcome(item_uuid=uuid, duration_s=0.0, failure=failure) for uuid in failed]
            self._pacing.hold(started, outcomes)
            task = task.without(failed)
        if task.items:
            self._call(run_execute, started, task)
        else:
            del self._running[id(started)]
            self._jobs.work.set()

    def _call(self, function: Callable[[Any], Any], started: Started, task: CompileTask | ExecuteTask) -> None:
        limits = limits_of(started.chunk.device, self._workers.count)
        self._calls[id(started)] = self._workers.call(function, task, partial(self._done, started), limits)

    def _done(
        self, started: Started, outcomes: Sequence[CompileOutcome | ExecuteOutcome] | None, error: BaseException | None
    ) -> None:
        self._returned.append(_Returned(started=started, outcomes=outcomes or (), error=error))
        self._jobs.work.set()

    def _show_positions(self, queues: Iterable[Any]) -> list[str]:
        """Give the store the places in the queues; return the jobs whose place has changed."""
        found: dict[str, int] = {}
        for queue in queues:
            busy = self._pacing.occupied.get(queue.device.name) if queue.one_at_a_time else None
            waiting = [job.job_id for job in queue.order if job.job_id != busy]
            found.update(zip(waiting, range(1, len(waiting) + 1), strict=True))
        changed = [job_id for job_id, place in found.items() if self._jobs.positions.get(job_id) != place]
        self._jobs.positions = found
        return changed

    def _wait_s(self) -> float:
        """Real seconds until the next moment at which something is due."""
        item = schema.job_item
        now = self._clock.now()
        words = [status.value for status in (_S.SUBMITTED, _S.RETRYING, _S.QUEUED)]
        query = sa.select(sa.func.min(item.c.ready_at)).where(item.c.status.in_(words), item.c.ready_at > now)
        with self._db.read() as connection:
            due: datetime | None = connection.scalar(query)
        moments = [moment for moment in (due, self._pacing.next_due()) if moment is not None]
        if not moments:
            return _IDLE_S
        return min(_IDLE_S, max(_SHORTEST_S, self._clock.real_s((min(moments) - now).total_seconds())))


def _deplete(connection: sa.Connection, depleted: Mapping[str, str], now: datetime) -> list[str]:
    """End the waiting items of these jobs: their owners have used up a quota."""
    if not depleted:
        return []
    jobs = locked(connection, set(depleted))
    moves = [
        Move(item=item, status=_S.DEPLETED, message=_USED_UP.format(quota=depleted[item.job_id]))
        for item in read_items(connection, jobs)
        if item.status is _S.QUEUED
    ]
    apply_moves(connection, moves, now)
    return roll_up_jobs(connection, jobs.values(), now)


def _all_failed(started: Started, error: BaseException) -> list[CompileOutcome | ExecuteOutcome]:
    """The outcome of every item of a chunk whose call itself failed."""
    words = " ".join(str(error).split())
    failure = ItemFailure(
        status="ERROR", message=f"the worker failed: {words}", detail=f"{type(error).__name__}: {words}"
    )
    return _outcomes(started, failure, 0.0)


def _outcomes(started: Started, failure: ItemFailure, duration_s: float) -> list[CompileOutcome | ExecuteOutcome]:
    """The same failure for every item of a chunk."""
    kind = CompileOutcome if started.chunk.is_compile else ExecuteOutcome
    return [kind(item_uuid=uuid, duration_s=duration_s, failure=failure) for uuid in started.items]
