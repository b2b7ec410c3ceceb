"""Dispatch: places at a device are filled by jobs of suspended runs, in turns, and nothing is sent that must not be."""

from __future__ import annotations

import random
import threading
from collections.abc import Collection, Sequence

import pytest
from scripted import FINDABLE, OPAQUE, Clock, Fault, ScriptedBackend, ShowingBackend, SteppedBackend
from support import claim, create, ended_owner, sending

import qjobs
from qjobs.backends.base import Backend, Limits, Pricing
from qjobs.errors import (
    BackendUnavailable,
    CredentialsRejected,
    InvalidInput,
    NotSent,
    QJobsError,
    SubmissionRejected,
    SubmissionUnknown,
)
from qjobs.ledger import Ledger
from qjobs.ledger.liveness import lease_owner
from qjobs.ledger.money import Cap
from qjobs.lifecycle import LIVE, UNDER_WAY, JobStatus
from qjobs.model import JobId, JobKind, RemoteRetryStrategy
from qjobs.operations.dispatch import Dispatched, Dispatcher, dispatch
from qjobs.operations.execute import ToSubmit, to_send
from qjobs.operations.retry import RetryPolicy
from qjobs.operations.sensor_pass import sensor_pass

S = JobStatus
TWO = Limits(max_live_jobs=2)
DEFAULT = RemoteRetryStrategy.DEFAULT
FORCE = RemoteRetryStrategy.FORCE_RESUBMIT


class Waiting:
    """A ledger, a clock, a device, and runs that left jobs to the dispatcher."""

    def __init__(self, ledger: Ledger, *backends: ScriptedBackend) -> None:
        self.ledger, self.clock = ledger, Clock()
        self.backends = {backend.name: backend for backend in backends}
        self.rng = random.Random(1)

    def open(self, name: str) -> Backend:
        if name not in self.backends:
            raise InvalidInput(f"there is no backend {name!r}", field="backend")
        return self.backends[name]

    def suspend(
        self,
        run: str,
        count: int = 1,
        *,
        backend: str = "fake",
        strategy: RemoteRetryStrategy = DEFAULT,
        policy: RetryPolicy | None = None,
        job_ids: Sequence[JobId] = (),
    ) -> list[JobId]:
        """A run that is suspended and has not sent these jobs yet."""
        ids = list(job_ids) or [create(self.ledger, f"{run}-{n}", backend=backend) for n in range(count)]
        opened = self.backends.get(backend)
        policy = policy or RetryPolicy.for_backend(opened.lookup if opened else FINDABLE)
        unsent = dict.fromkeys(ids, ToSubmit(backend=backend, policy=policy, strategy=strategy))
        self.ledger.waits.register(run, ids, until="all", now=self.clock.now(), to_send=to_send(unsent))
        return ids

    def dispatch(self, after_s: float = 0.0, *, cleared: Collection[str] | None = None) -> Dispatched:
        self.clock.elapsed_s += after_s
        options = {} if cleared is None else {"cleared": lambda runs: set(runs) & set(cleared)}
        return dispatch(self.ledger, self.open, now=self.clock.now, rng=self.rng, **options)

    def poll(self, after_s: float = 0.0) -> None:
        self.clock.elapsed_s += after_s
        sensor_pass(self.ledger, self.open, now=self.clock.now, rng=self.rng)

    def end_one(self, backend: str = "fake") -> None:
        """The oldest live remote job ends, and this is seen."""
        remote = self.backends[backend].live()[0]
        remote.items = [S.COMPLETED] * len(remote.items)
        self.ledger.schedule.set_next({job.job_id: None for job in self.ledger.open_jobs()})
        self.poll()

    def statuses(self, job_ids: Sequence[JobId]) -> list[JobStatus]:
        return [self.ledger.job(job_id).status for job_id in job_ids]

    def is_over(self, run: str) -> bool:
        return self.ledger.waits.runs(flow_run_id=run)[0].is_over


@pytest.fixture
def waiting(ledger: Ledger) -> Waiting:
    return Waiting(ledger, ScriptedBackend(limits=TWO))


# Places, and whose turn it is


def test_places(waiting: Waiting) -> None:
    """As many are sent as there are places, in their order, and the run is over when the last one is done."""
    ids = waiting.suspend("run", 5)
    assert set(waiting.dispatch().sent["fake"]) == set(ids[:2])
    assert waiting.ledger.dispatches.waiting(ids) == set(ids[2:])
    assert waiting.dispatch().sent == {}, "the device is full"
    for place in range(2, 5):
        waiting.end_one()
        assert waiting.dispatch().sent == {"fake": [ids[place]]}
        assert not waiting.is_over("run")
    for _ in range(2):
        waiting.end_one()
    assert waiting.is_over("run")
    assert len(waiting.backends["fake"].jobs) == 5
    assert waiting.ledger.dispatches.lanes() == []


def test_turns(waiting: Waiting) -> None:
    """Runs take turns: a small one does not wait until a large one is done."""
    large = waiting.suspend("large", 6)
    waiting.clock.elapsed_s += 1.0
    small = waiting.suspend("small", 2)
    waiting.dispatch()
    assert waiting.statuses([large[0], small[0]]) == [S.SUBMITTED] * 2
    for _ in range(2):
        waiting.end_one()
        waiting.dispatch(5.0)
    assert waiting.ledger.dispatches.waiting([*large, *small]) == set(large[2:])


def test_others_count(waiting: Waiting) -> None:
    """Jobs of awake runs take places, and so do those that others have at the provider, where it shows them."""
    awake = create(waiting.ledger, "awake")
    qjobs.submit(waiting.ledger, waiting.backends["fake"], awake, now=waiting.clock.now)
    ids = waiting.suspend("run", 3)
    assert waiting.dispatch().sent == {"fake": ids[:1]}
    shown = ShowingBackend(limits=TWO, name="shown")
    waiting.backends["shown"] = shown
    theirs = waiting.suspend("other", 2, backend="shown")
    shown.strangers = ["x", "y"]
    assert waiting.dispatch().sent == {}
    shown.strangers = ["y"]
    assert waiting.dispatch(5.0).sent == {"shown": theirs[:1]}
    shown.strangers = []
    assert waiting.dispatch(5.0).sent == {"shown": theirs[1:]}


def test_limit_holds(ledger: Ledger) -> None:
    """Dispatchers and awake runs at once never have more live jobs together than the device takes."""
    backend = ScriptedBackend(limits=Limits(max_live_jobs=3))
    most: list[int] = []
    backend.before_submit = lambda: most.append(len(ledger.jobs(statuses=LIVE)))
    waiting = Waiting(ledger, backend)
    for run in ("a", "b"):
        waiting.suspend(run, 6)
    awake = [create(ledger, f"awake-{n}") for n in range(6)]

    def submit_all() -> None:
        for job_id in awake:
            try:
                qjobs.submit(ledger, backend, job_id, now=waiting.clock.now)
            except QJobsError:
                continue

    threads = [threading.Thread(target=act) for act in (waiting.dispatch, submit_all, waiting.dispatch)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(backend.jobs) == len(ledger.jobs(statuses=LIVE)) == 3
    assert max(most) == 3


# What is not sent


def test_not_cleared(waiting: Waiting) -> None:
    """Nothing is sent for a run that may not go on; the others get its turn."""
    gone = waiting.suspend("gone", 2)
    waiting.clock.elapsed_s += 1.0
    here = waiting.suspend("here", 2)
    assert set(waiting.dispatch(cleared=["here"]).sent["fake"]) == set(here)
    assert waiting.statuses(gone) == [S.CREATED] * 2


def test_cancelled(waiting: Waiting) -> None:
    """A job that was cancelled is not sent, and its run does not wait for it."""
    ids = waiting.suspend("run", 3)
    for job_id in ids[:2]:
        waiting.ledger.request_cancel(job_id, now=waiting.clock.now())
    assert waiting.dispatch().sent == {"fake": ids[2:]}
    assert waiting.statuses(ids[:2]) == [S.CANCELLED] * 2
    waiting.end_one()
    assert waiting.is_over("run")


def test_wait_ended(waiting: Waiting) -> None:
    """A run that is awake again, or over, has nothing sent for it."""
    ids = waiting.suspend("awake", 2)
    waiting.ledger.waits.register("awake", ids, until="all", now=waiting.clock.now(), held_by=lease_owner())
    waiting.suspend("over", 2)
    waiting.ledger.waits.end("over")
    assert waiting.dispatch() == Dispatched()
    assert waiting.backends["fake"].jobs == {}


def test_over_meanwhile(ledger: Ledger) -> None:
    """A run that is over while a pass sends for it gets no more jobs sent than were under way."""
    backend = ScriptedBackend()
    waiting = Waiting(ledger, backend)
    ids = waiting.suspend("run", 20)
    backend.before_submit = lambda: ledger.waits.end("run")
    waiting.dispatch()
    assert 1 <= len(backend.jobs) <= 8
    assert waiting.statuses(ids).count(S.CREATED) >= 12


def test_sent_by_another(waiting: Waiting) -> None:
    """A job that two runs wait for is sent once."""
    ids = waiting.suspend("one", 1)
    waiting.suspend("two", job_ids=ids)
    waiting.dispatch()
    waiting.dispatch()
    assert len(waiting.backends["fake"].jobs) == 1
    assert waiting.ledger.dispatches.waiting(ids) == set()
    waiting.end_one()
    assert (waiting.is_over("one"), waiting.is_over("two")) == (True, True)


# What goes wrong


@pytest.mark.parametrize("error", [NotSent("too many jobs", retry_after_s=3.0), CredentialsRejected("401")])
def test_not_sent(waiting: Waiting, error: QJobsError) -> None:
    """What the provider does not take now waits on, however often it is tried, and is told of once."""
    ids = waiting.suspend("run", 2, policy=RetryPolicy(rungs=(), max_submissions=1))
    backend = waiting.backends["fake"]
    for _ in range(6):
        backend.faults += [Fault(error)] * 2
        found = waiting.dispatch(400.0)
        assert list(found.trouble) == ["fake"]
        assert waiting.dispatch(1.0).trouble == found.trouble, "it is not tried again at once"
        assert waiting.statuses(ids) == [S.CREATED] * 2
        backend.faults.clear()
    causes = [event.cause for job_id in ids for event in waiting.ledger.events(job_id)]
    assert causes.count("parked") == 2, "once for each job"
    assert set(waiting.dispatch(400.0).sent["fake"]) == set(ids)
    assert waiting.dispatch(1.0).trouble == {}


def test_one_refused(waiting: Waiting) -> None:
    """A refused job waits no longer, and stops no other; its run tells of it."""
    ids = waiting.suspend("run", 4)
    waiting.backends["fake"].faults += [Fault(SubmissionRejected("no", detail="too wide"))]
    waiting.dispatch()
    waiting.dispatch()
    assert sorted(waiting.statuses(ids)) == [S.CREATED, S.ERROR, S.SUBMITTED, S.SUBMITTED]
    for _ in range(3):
        if waiting.backends["fake"].live():
            waiting.end_one()
        waiting.dispatch()
    assert waiting.is_over("run")


def test_lost_reply(waiting: Waiting) -> None:
    """A lost reply is looked up by the rungs of the policy, and never sent twice while others go on."""
    ids = waiting.suspend("run", 3)
    backend = waiting.backends["fake"]
    backend.faults += [Fault(SubmissionUnknown("the connection broke"), "after")]
    waiting.dispatch()
    assert sorted(waiting.statuses(ids)) == [S.CREATED, S.SUBMITTED, S.UNKNOWN]
    waiting.dispatch(5.0)
    assert sorted(waiting.statuses(ids)) == [S.CREATED, S.QUEUED, S.SUBMITTED]
    waiting.end_one()
    waiting.dispatch(60.0)
    assert len(backend.jobs) == 3
    assert waiting.ledger.dispatches.lanes() == []


def test_never_made(waiting: Waiting) -> None:
    """A job whose reply was lost and that was never made is sent again, once, by the rung that may; each is told."""
    ids = waiting.suspend("run", 1)
    waiting.backends["fake"].faults += [Fault(SubmissionUnknown("the connection broke"))]
    for _ in range(12):
        waiting.dispatch(15.0)
    assert waiting.statuses(ids) == [S.SUBMITTED]
    assert len(waiting.backends["fake"].jobs) == 1
    told = [event.detail for event in waiting.ledger.events(ids[0]) if event.cause == "retry"]
    rungs = RetryPolicy.for_backend(FINDABLE).rungs
    assert told == [f"retry {n} of the submit stage, rung {rungs[n - 1].strategy}" for n in (1, 2, 3)]


def test_opaque(ledger: Ledger) -> None:
    """Where nobody can look a lost reply up, it is left to a person, and the run is resumed to say so."""
    waiting = Waiting(ledger, ScriptedBackend(OPAQUE, limits=TWO))
    ids = waiting.suspend("run", 2)
    waiting.backends["fake"].faults += [Fault(SubmissionUnknown("the connection broke"), "after"), None]
    for _ in range(3):
        waiting.dispatch(100.0)
    waiting.end_one()
    assert S.UNKNOWN in waiting.statuses(ids)
    assert len(waiting.backends["fake"].jobs) == 2
    for remote in waiting.backends["fake"].live():
        remote.items = [S.COMPLETED] * len(remote.items)
    waiting.ledger.schedule.set_next(dict.fromkeys(ids))
    waiting.poll(1.0)
    assert waiting.is_over("run")


def test_capped(ledger: Ledger) -> None:
    """A job that would cost more than its policy allows is not sent."""
    waiting = Waiting(ledger, ScriptedBackend(limits=TWO, price=3.0))
    ids = waiting.suspend("run", 1, policy=RetryPolicy(rungs=(), max_cost=5.0))
    assert waiting.dispatch().sent == {}
    assert waiting.statuses(ids) == [S.CREATED]
    assert waiting.is_over("run")


def test_held(ledger: Ledger) -> None:
    """A job that a cap leaves no money for waits on, says why, uses up no rung, and goes on when the cap is raised."""
    backend = ScriptedBackend(limits=TWO, price=3.0)
    backend.pricing = Pricing(unit="HQC", words="by the item")
    waiting = Waiting(ledger, backend)
    ids = waiting.suspend("run", 2)
    ledger.caps.put(Cap(name="lab", amount=7.0, unit="HQC"), now=waiting.clock.now())
    (sent,) = waiting.dispatch().sent["fake"]
    (held,) = set(ids) - {sent}
    assert waiting.dispatch(31.0).sent == {}
    assert ledger.dispatches.waiting(ids) == {held}
    assert ledger.job(held).trouble.startswith("held by the cap lab")
    assert (ledger.attempts(held), waiting.is_over("run")) == ([], False)
    ledger.caps.put(Cap(name="lab", amount=12.0, unit="HQC"), now=waiting.clock.now())
    assert waiting.dispatch(31.0).sent == {"fake": [held]}


def test_held_by_quota(ledger: Ledger) -> None:
    """Jobs that the provider's quota would not start wait, by one question a pass; where it does not tell, they go."""

    class Guarded(ScriptedBackend):
        why = "its quota is used up"
        n_asked = 0

        def why_not_started(self, kind: JobKind) -> str:
            self.n_asked += 1
            self._trouble()
            return self.why

    backend = Guarded()
    waiting = Waiting(ledger, backend)
    ids = waiting.suspend("run", 3)
    assert (waiting.dispatch().sent, backend.n_asked) == ({}, 1)
    assert {ledger.job(job_id).trouble for job_id in ids} == {"held by the quota of fake: its quota is used up"}
    assert (ledger.dispatches.waiting(ids), waiting.is_over("run")) == (set(ids), False)
    backend.why = ""
    assert set(waiting.dispatch(31.0).sent["fake"]) == set(ids)
    assert backend.n_asked == 2, "the claims take the same answer"
    assert [ledger.job(job_id).trouble for job_id in ids] == [None] * 3
    more = waiting.suspend("more", 2)
    backend.why = "its quota is used up"
    backend.troubles.append(BackendUnavailable("not now"))
    assert set(waiting.dispatch(31.0).sent["fake"]) == set(more)
    assert backend.n_asked == 3, "it is left alone for a while"


def test_no_such_backend(waiting: Waiting) -> None:
    """A backend that cannot be opened holds up its own jobs alone."""
    waiting.suspend("lost", 1, backend="gone")
    ids = waiting.suspend("run", 1)
    found = waiting.dispatch()
    assert found.sent == {"fake": ids}
    assert "there is no backend 'gone'" in found.trouble["gone"]


# Strategies, and processes that die


def test_forced(waiting: Waiting) -> None:
    """A wish for more than a first submission is granted once, also where the sensor dies after it was sent."""
    (job_id,) = waiting.suspend("first", 1)
    backend = waiting.backends["fake"]
    waiting.dispatch()
    backend.report(S.ERROR, S.ERROR)
    waiting.poll(60.0)
    assert waiting.statuses([job_id]) == [S.ERROR]
    waiting.suspend("again", job_ids=[job_id], strategy=FORCE)
    assert not waiting.is_over("again")
    (lane,) = waiting.ledger.dispatches.lanes()
    (entry,) = waiting.ledger.dispatches.due(lane, "again", now=waiting.clock.now(), limit=9)
    assert waiting.ledger.dispatches.take(entry, owner=ended_owner(), now=waiting.clock.now())
    qjobs.submit(waiting.ledger, backend, job_id, strategy=FORCE, now=waiting.clock.now)  # and then it died
    waiting.dispatch(1.0)
    assert (len(backend.jobs), sum(job.cancels for job in backend.jobs.values())) == (2, 0)
    assert waiting.ledger.dispatches.lanes() == []


@pytest.mark.parametrize("moment", ["taken", "claimed", "sending"])
def test_killed(waiting: Waiting, moment: str) -> None:
    """What a killed sensor held goes on at once: sent if it was not, looked up if it may have been."""
    (job_id,) = waiting.suspend("run", 1)
    (lane,) = waiting.ledger.dispatches.lanes()
    (entry,) = waiting.ledger.dispatches.due(lane, "run", now=waiting.clock.now(), limit=9)
    assert waiting.ledger.dispatches.take(entry, owner=ended_owner(), now=waiting.clock.now())
    assert not waiting.ledger.dispatches.take(entry, owner=lease_owner(), now=waiting.clock.now())
    if moment != "taken":
        attempt = claim(waiting.ledger, job_id, owner=ended_owner(), now=waiting.clock.now())
        if moment == "sending":
            sending(waiting.ledger, attempt, now=waiting.clock.now())
    for _ in range(12):
        waiting.poll(15.0)
        waiting.dispatch()
    assert waiting.statuses([job_id])[0] in UNDER_WAY
    assert len(waiting.backends["fake"].jobs) == 1


def test_held_elsewhere(waiting: Waiting) -> None:
    """What another sensor is sending is left alone, until it has been silent for ten minutes."""
    waiting.suspend("run", 1)
    (lane,) = waiting.ledger.dispatches.lanes()
    (entry,) = waiting.ledger.dispatches.due(lane, "run", now=waiting.clock.now(), limit=9)
    assert waiting.ledger.dispatches.take(entry, owner="elsewhere:1", now=waiting.clock.now())
    assert waiting.dispatch(5.0).sent == {}
    assert len(waiting.dispatch(600.0).sent["fake"]) == 1


def test_steps(ledger: Ledger) -> None:
    """A job that was reserved, and of which nothing can run, is gone on with."""
    backend = SteppedBackend(limits=TWO)
    waiting = Waiting(ledger, backend)
    ids = waiting.suspend("run", 1)
    backend.faults += [Fault(NotSent("no route"), "reserved")]
    waiting.dispatch()
    assert waiting.statuses(ids) == [S.UNKNOWN]
    waiting.dispatch(100.0)
    assert waiting.statuses(ids) == [S.SUBMITTED]
    assert (len(backend.jobs), backend.reserved) == (1, {})


def test_slow_provider(ledger: Ledger) -> None:
    """A provider that takes its time holds up no other, and is told of when it has answered."""
    slow = ScriptedBackend(name="slow", limits=TWO)
    answers = threading.Event()
    slow.before_submit = lambda: answers.wait(20.0)
    waiting = Waiting(ledger, ScriptedBackend(limits=TWO), slow)
    fast_ids = waiting.suspend("fast", 1)
    slow_ids = waiting.suspend("slow", 1, backend="slow")
    dispatcher = Dispatcher(ledger, waiting.open, now=waiting.clock.now, rng=waiting.rng)
    first = dispatcher.run_pass(0.5)
    assert first.sent in ({"fake": fast_ids}, {})
    answers.set()
    found = [*first.sent, *dispatcher.run_pass().sent]
    dispatcher.close()
    assert sorted(found) == ["fake", "slow"]
    assert waiting.statuses(slow_ids) == [S.SUBMITTED]


def test_polled_often(ledger: Ledger) -> None:
    """A device for which jobs wait is asked often enough that its places are not idle; another one at its own pace."""
    waiting = Waiting(ledger, ScriptedBackend(limits=Limits(max_live_jobs=1), poll_interval_s=(1.0, 1200.0)))
    ids = waiting.suspend("run", 2)
    waiting.clock.elapsed_s += 86_400.0  # it waited for a day before it was sent
    waiting.dispatch()
    waiting.poll()
    for _ in range(10):
        waiting.poll(10.0)
    report = sensor_pass(ledger, waiting.open, now=waiting.clock.now, rng=waiting.rng)
    assert report.asked == set()
    due = ledger.job(ids[0]).next_poll_at
    assert due is not None
    assert 1.0 <= (due - waiting.clock.now()).total_seconds() <= 3.0
    waiting.ledger.waits.end("run")
    waiting.poll(10.0)
    due = ledger.job(ids[0]).next_poll_at
    assert due is not None
    assert 8.0 < (due - waiting.clock.now()).total_seconds() < 20.0, "a tenth of the time that the provider has it"


def test_unavailable_is_no_rung(waiting: Waiting) -> None:
    """A provider that is away for hours while nothing was sent costs time and nothing else."""
    ids = waiting.suspend("run", 1)
    backend = waiting.backends["fake"]
    backend.faults += [Fault(BackendUnavailable("502"), "preparing")] * 9
    for _ in range(10):
        waiting.dispatch(100.0)
    assert waiting.statuses(ids) == [S.SUBMITTED]
