"""What people, flows and sensors do in a simulated schedule, and how the clock goes on."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import qjobs
from qjobs.backends.base import Capability
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId, RemoteId, RemoteRetryStrategy
from qjobs.operations import recover as recovery
from qjobs.operations.retry import RetryPolicy
from qjobs.operations.sensor_pass import sensor_pass

if TYPE_CHECKING:
    from simulation_world import Process, World

MAX_JOBS = 3
STRATEGIES = tuple(RemoteRetryStrategy)
STATUS_SETS = (None, None, (JobStatus.ERROR,), (JobStatus.ERROR, JobStatus.CANCELLED), tuple(JobStatus))
DAY_S = 86_400.0


class People:
    """Everything that somebody may do next. `wished` are the items whose cancellation a person asked for."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ledger = world.ledger
        self.backend = world.backend
        self.rng = world.rng
        self.runs: dict[JobId, int] = {}
        self.wished: set[tuple[JobId, int]] = set()

    def do(self, name: str, job_id: JobId) -> None:
        getattr(self, f"do_{name}")(job_id)

    def do_submit(self, job_id: JobId, strategy: RemoteRetryStrategy | None = None) -> Process:
        policy = RetryPolicy.for_backend(self.backend.lookup)
        if strategy is None:
            self.runs[job_id] = self.runs.get(job_id, 0) + 1
            strategy = policy.strategy_for(self.runs[job_id])
        policy = RetryPolicy(rungs=policy.rungs, max_submissions=self.rng.choice((3, 12)))
        return self._submit(job_id, strategy, policy)

    def _submit(self, job_id: JobId, strategy: RemoteRetryStrategy, policy: RetryPolicy) -> Process:
        now = self.world.now
        return self.world.start(
            "submit",
            lambda: qjobs.submit(self.ledger, self.backend, job_id, strategy=strategy, policy=policy, now=now),
            job_id=job_id,
            strategy=strategy,
            policy=policy,
        )

    def do_force(self, job_id: JobId) -> None:
        self.do_submit(job_id, self.rng.choice(STRATEGIES))

    def _submit_again(self, job_id: JobId) -> None:
        self.do_submit(job_id, RemoteRetryStrategy.ALLOW_RESUBMIT)

    def do_restart(self, job_id: JobId) -> Process:
        """The last way out, with no cap in its way."""
        policy = RetryPolicy(rungs=(), max_submissions=99, max_total_s=1e9)
        return self._submit(job_id, RemoteRetryStrategy.FULL_RESTART, policy)

    def do_retry(self, job_id: JobId) -> None:
        self._retry(job_id, self.rng.choice(STRATEGIES), self.rng.choice(STATUS_SETS))

    def _retry(
        self,
        job_id: JobId,
        strategy: RemoteRetryStrategy,
        statuses: Sequence[JobStatus] | None,
        policy: RetryPolicy | None = None,
    ) -> Process:
        policy = policy or RetryPolicy(rungs=(), max_submissions=12)
        chosen = None
        if strategy is not RemoteRetryStrategy.FULL_RESTART and statuses is not None:
            rows = self.ledger.rows("SELECT item_index, status FROM item WHERE job_id = ?", job_id)
            chosen = frozenset(index for index, status in rows if status in statuses)
            self._wish_what_is_requested(job_id)
        return self.world.start(
            "retry",
            lambda: recovery.retry(
                self.ledger,
                self.backend,
                job_id,
                statuses=statuses,
                strategy=strategy,
                policy=policy,
                now=self.world.now,
            ),
            job_id=job_id,
            strategy=strategy,
            policy=policy,
            chosen=chosen,
        )

    def _wish_what_is_requested(self, job_id: JobId) -> None:
        """What is to be cancelled already, for whatever reason, may be passed on by anybody."""
        query = (
            "SELECT item_index FROM item JOIN job USING (job_id) "
            "WHERE job_id = ? AND coalesce(job.cancel_requested_at, item.cancel_requested_at) IS NOT NULL"
        )
        self.wished |= {(job_id, index) for (index,) in self.ledger.rows(query, job_id)}

    def do_poll(self, _: JobId) -> None:
        for _ in range(14 if "alternates" in self.world.traits and not self.world.calm else 1):
            self.world.start("poll", lambda: qjobs.poll(self.ledger, self.backend, self.world.jobs, now=self.world.now))

    def do_complete(self, job_id: JobId) -> Process:
        act = functools.partial(qjobs.collect, self.ledger, self.backend, job_id, now=self.world.now)
        return self.world.start("complete", act, job_id=job_id)

    def do_collect(self, job_id: JobId) -> None:
        act = functools.partial(qjobs.collect, self.ledger, self.backend, job_id, partial=True, now=self.world.now)
        self.world.start("collect", lambda: len(act().results), job_id=job_id)

    def do_cancel(self, job_id: JobId) -> None:
        self.wished |= {(job_id, index) for index in range(self.ledger.job(job_id).n_items)}
        act = functools.partial(qjobs.cancel, self.ledger, self.backend, job_id, now=self.world.now)
        self.world.start("cancel", act, job_id=job_id)

    def do_cancel_items(self, job_id: JobId) -> None:
        if Capability.CANCEL_ITEMS not in self.backend.capabilities:
            self.do_cancel(job_id)
            return
        items = [self.rng.randrange(self.ledger.job(job_id).n_items)]
        self.wished |= {(job_id, index) for index in items}
        act = functools.partial(qjobs.cancel, self.ledger, self.backend, job_id, items=items, now=self.world.now)
        self.world.start(f"cancel {items}", act, job_id=job_id)

    def do_reconcile(self, _: JobId) -> None:
        backends = {self.backend.name: self.backend}
        jobs = list(self.world.jobs)
        self.world.start(
            "reconcile", lambda: recovery.reconcile(self.ledger, backends, job_ids=jobs, now=self.world.now)
        )

    def do_rerun(self, job_id: JobId) -> None:
        jobs = self.world.jobs
        if len(jobs) < MAX_JOBS:
            known = set(jobs)
            act = functools.partial(recovery.rerun, self.ledger, job_id, "again", now=self.world.now)
            self.world.start("rerun", act, job_id=job_id)
            rows = self.ledger.rows("SELECT job_id FROM job ORDER BY rowid")
            jobs += [JobId(each) for (each,) in rows if each not in known]

    def do_sensor(self, _: JobId) -> None:
        rng = random.Random(self.world.tick)
        act = functools.partial(sensor_pass, self.ledger, lambda _: self.backend, now=self.world.now, rng=rng)
        self.world.start("sensor", act)

    def do_advice(self, _: JobId) -> None:
        """Enter what the last message printed, while nothing else has happened."""
        advice = self.world.laws.advice
        if advice is None:
            return
        self.world.say(f"  as it was printed: qjobs jobs {' '.join(advice.words)}")
        job_id, options = advice.job_id, advice.options
        match advice.verb:
            case "retry":
                policy = None
                if "max-submissions" in options:
                    policy = RetryPolicy(rungs=(), max_submissions=int(options["max-submissions"]))
                if "max-total-s" in options:
                    policy = RetryPolicy(rungs=(), max_submissions=12, max_total_s=float(options["max-total-s"]))
                strategy = RemoteRetryStrategy(options.get("strategy", "DEFAULT"))
                statuses = [JobStatus(options["status"])] if "status" in options else None
                process = self._retry(job_id, strategy, statuses, policy)
                self.world.laws.check_advice(process)
            case "adopt":
                self.do_adopt(job_id)
            case "discard":
                self.do_discard(job_id)
            case "cancel":
                self.do_cancel(job_id)

    def do_adopt(self, job_id: JobId) -> None:
        provider = self.world.provider
        right = [r.remote_id for r in provider.jobs.values() if r.job_id == job_id and not r.gone]
        claimed = {r for (r,) in self.ledger.rows("SELECT remote_id FROM attempt WHERE remote_id IS NOT NULL")}
        wrong = [r.remote_id for r in provider.jobs.values() if r.job_id != job_id]
        if not self.backend.lookup.can_find:  # where nothing shows the content, a person has looked
            right = [each for each in right if provider.fits(job_id, each)]
            wrong = [each for each in wrong if each in claimed]
        remote_id = self.rng.choice([*right, *right, *wrong, RemoteId("no such job")])
        act = functools.partial(recovery.adopt, self.ledger, self.backend, job_id, remote_id, now=self.world.now)
        self.world.start(f"adopt {remote_id}", act, job_id=job_id)

    def do_discard(self, job_id: JobId) -> None:
        if self.world.provider.is_certain(job_id, self.world.paused):  # a person looked: nothing is there, or coming
            act = functools.partial(recovery.discard, self.ledger, job_id, now=self.world.now)
            self.world.start("discard", act, job_id=job_id)

    def do_orphans(self, _: JobId) -> None:
        self.world.start("orphans", lambda: len(recovery.orphans(self.ledger, self.backend)))

    def do_advance(self, _: JobId) -> None:
        seconds = self.rng.choice((1.0, 5.0, 9.0, 21.0, 70.0, 310.0))
        self.world.advance(2 * DAY_S if "slow" in self.world.traits and self.rng.random() < 0.5 else seconds)

    # What happens at the provider, by itself or by people

    def do_progress(self, _: JobId) -> None:
        self.world.provider.progress()

    def do_interfere(self, _: JobId) -> None:
        self.world.provider.interfere()

    def do_trait(self, job_id: JobId) -> None:
        """Something that only a provider, or people, of this character do."""
        traits = self.world.traits
        provider = self.world.provider
        if "requeues" in traits:
            provider.queue_again("itself")
        if "retried there" in traits:
            provider.queue_again("a person")
        if "forgets" in traits and self.rng.random() < 0.4:
            provider.forget()
        if "switched" in traits:
            self.world.switch()
        if "blinks" in traits:
            self._blink(job_id)
        if "sleeps" in traits:
            self.world.advance(310.0)
            self._look_again(job_id)
        if "lies" in traits:
            self._look_again(job_id)
        if "chooses" in traits:
            provider.progress()
            self.do_poll(job_id)
            self._retry(job_id, RemoteRetryStrategy.FORCE_RESUBMIT, (JobStatus.ERROR,))

    def _look_again(self, job_id: JobId) -> None:
        """As often as an absence must be seen before it is believed, and once more."""
        for _ in range(4):
            self._submit_again(job_id)
            self.world.advance(40.0)

    def _blink(self, job_id: JobId) -> None:
        self.world.provider.blink()
        for _ in range(self.rng.choice((1, 3, 4))):
            self.world.advance(21.0)
            self.do_poll(job_id)
        if self.rng.random() < 0.5:
            self.do_submit(job_id, RemoteRetryStrategy.FORCE_RESUBMIT)
        else:
            self.do_submit(job_id, RemoteRetryStrategy.DEFAULT)
            self.do_advice(job_id)


ACTIONS = [
    *["submit"] * 6,
    *["force"] * 4,
    *["retry"] * 3,
    *["poll"] * 4,
    *["progress"] * 5,
    *["advance"] * 4,
    *["complete"] * 2,
    *["cancel"] * 2,
    *["cancel_items"] * 2,
    *["reconcile"] * 2,
    *["sensor"] * 3,
    *["advice"] * 3,
    "collect",
    "adopt",
    "discard",
    "rerun",
    "orphans",
    "interfere",
]
WITH_TRAITS = [*ACTIONS, *["trait"] * 4]
