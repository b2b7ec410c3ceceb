"""Caps: what counts for them, what is left, who has to wait, and what is refused."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from scripted import DEDUPLICATED, FINDABLE, OPAQUE, Fault, ScriptedBackend
from standing import LOST, RETRY_FOR_EVER, enter
from support import NOW, a_spec, at, claim, observe, sending

import qjobs
from qjobs.backends.base import Pricing, Snapshot
from qjobs.compiling.compiler import CompileCache
from qjobs.errors import (
    BackendUnavailable,
    InvalidInput,
    NotSent,
    OverCap,
    PolicyLimit,
    StaleJob,
    SubmissionRejected,
    SubmissionUnknown,
)
from qjobs.ledger import Ledger
from qjobs.ledger.money import Cap, CapStanding
from qjobs.lifecycle import JobStatus
from qjobs.model import Attempt, JobId, Price, RemoteId, RemoteRetryStrategy
from qjobs.operations.execute import DirectStages, ToSubmit, WaitedFor, finish
from qjobs.operations.retry import RetryPolicy

S = JobStatus
DEFAULT, ALLOW, FORCE, FULL = RemoteRetryStrategy
LAB = Cap(name="lab", amount=10.0, unit="HQC")
FIVE = Price(amount=5.0, unit="HQC")


class Priced(ScriptedBackend):
    """Costs HQC."""

    pricing = Pricing(unit="HQC", words="by the item")


def jobs(ledger: Ledger, count: int, *, cost: float | None = 5.0, run: str = "run", owner: str = "ada") -> list[JobId]:
    specs = [replace(a_spec(f"{run}-{n}", run=run), cost_estimate=cost, owner=owner) for n in range(count)]
    return ledger.create([replace(spec, logical_run=run) for spec in specs], now=NOW)


def standing(ledger: Ledger, now: datetime = NOW) -> CapStanding:
    (found,) = ledger.caps.all(now=now)
    return found


def parts(ledger: Ledger) -> tuple[float, float, float, int]:
    """What is told, estimated, reserved and unknown."""
    found = standing(ledger)
    return found.told, found.estimated, found.reserved, found.unknown


def sent_for(ledger: Ledger, job_id: JobId, price: Price = FIVE) -> Attempt:
    """A submission that its provider has."""
    attempt = sending(ledger, claim(ledger, job_id, price=price))
    ledger.submissions.accept(attempt, RemoteId(f"remote-{job_id}"), now=NOW)
    return ledger.attempts(job_id)[-1]


def report(ledger: Ledger, attempt: Attempt, status: JobStatus, cost: float | None = None) -> None:
    snapshot = Snapshot(status=status, remote_status="theirs", cost=cost)
    observe(ledger, attempt.job_id, attempt.number, snapshot, now=NOW)


def test_reserve_and_settle(ledger: Ledger) -> None:
    """A claim reserves its estimate, a report settles it to what is told, and money that comes free is spent again."""
    first, second, third = jobs(ledger, 3)
    ledger.caps.put(LAB, now=NOW)
    attempt = sent_for(ledger, first)
    claim(ledger, second, price=FIVE)
    with pytest.raises(OverCap, match=r"would cost 5 HQC, and 10 of 10 are spent.*qjobs caps set lab 15") as held:
        claim(ledger, third, price=FIVE)
    assert (held.value.job_id, ledger.attempts(third), ledger.job(third).status) == (third, [], S.CREATED)
    assert parts(ledger) == (0.0, 0.0, 10.0, 0)
    report(ledger, attempt, S.RUNNING, cost=1.0)
    assert parts(ledger) == (0.0, 0.0, 10.0, 0), "it may still cost what was estimated"
    report(ledger, attempt, S.COMPLETED, cost=2.0)
    assert parts(ledger) == (2.0, 0.0, 5.0, 0)
    with pytest.raises(OverCap):
        claim(ledger, third, price=FIVE)
    claim(ledger, third, price=Price(amount=3.0, unit="HQC"))
    assert standing(ledger).left == 0.0


def test_nothing_told(ledger: Ledger) -> None:
    """Where the provider tells no cost the estimate stands, and is said to be one."""
    (job_id,) = jobs(ledger, 1)
    ledger.caps.put(LAB, now=NOW)
    report(ledger, sent_for(ledger, job_id), S.CANCELLED)
    assert parts(ledger) == (0.0, 5.0, 0.0, 0)


def test_estimate_contradicted(ledger: Ledger) -> None:
    """A cost above the estimate counts at once, is an event, and may put the cap below zero."""
    first, second = jobs(ledger, 2)
    ledger.caps.put(LAB, now=NOW)
    attempt = sent_for(ledger, first)
    for cost in (11.0, 11.0, 12.5):
        report(ledger, attempt, S.RUNNING, cost=cost)
    assert (parts(ledger), standing(ledger).left) == ((0.0, 0.0, 12.5, 0), -2.5)
    events = [event.detail for event in ledger.events(first) if event.cause == "above estimate"]
    assert events == ["attempt 1 costs 11 HQC, and was estimated at 5"]
    with pytest.raises(OverCap, match=r"12\.5 of 10"):
        claim(ledger, second, price=Price(amount=0.5, unit="HQC"))


def test_free(ledger: Ledger) -> None:
    """What is free goes on when nothing is left, in whatever unit."""
    first, second = jobs(ledger, 2)
    ledger.caps.put(replace(LAB, amount=5.0), now=NOW)
    claim(ledger, first, price=FIVE)
    claim(ledger, second, price=Price(amount=0.0))


@pytest.mark.parametrize(
    ("price", "words"),
    [
        (Price(), "nobody can tell what .* would cost on device, and the cap lab .* qjobs caps set lab 10 --allow-un"),
        (None, "nobody can tell"),
        (Price(amount=5.0, unit="credits"), "would cost 5 in credits, and the cap lab .* counts HQC"),
        (Price(amount=5.0), "would cost 5 in a unit that its backend does not name"),
    ],
)
def test_refused(ledger: Ledger, price: Price | None, words: str) -> None:
    """What a cap can never count is refused, and nothing is claimed."""
    (job_id,) = jobs(ledger, 1)
    ledger.caps.put(LAB, now=NOW)
    with pytest.raises(PolicyLimit, match=words):
        claim(ledger, job_id, price=price)
    assert ledger.attempts(job_id) == []


def test_unknown_allowed(ledger: Ledger) -> None:
    """A cap that says so lets an unknown cost pass, counts it apart, and counts what is told of it later."""
    first, second = jobs(ledger, 2, cost=None)
    ledger.caps.put(replace(LAB, allows_unknown=True), now=NOW)
    attempt = sent_for(ledger, first, Price(unit="HQC"))
    sent_for(ledger, second, Price())
    assert parts(ledger) == (0.0, 0.0, 0.0, 2)
    report(ledger, attempt, S.COMPLETED, cost=4.0)
    assert parts(ledger) == (4.0, 0.0, 0.0, 1)


@pytest.mark.parametrize(
    ("scope", "counts"),
    [
        ({}, True),
        ({"owner": "ada"}, True),
        ({"owner": "bob"}, False),
        ({"logical_run": "run"}, True),
        ({"logical_run": "other"}, False),
        ({"backend": "fake", "device": "device"}, True),
        ({"backend": "fake", "device": "elsewhere"}, False),
        ({"owner": "ada", "monthly": True}, True),
    ],
    ids=str,
)
def test_scopes(store: Ledger, scope: dict[str, object], counts: bool) -> None:
    """A cap counts the jobs that have all the words of its scope."""
    first, second = jobs(store, 2)
    store.caps.put(replace(LAB, amount=5.0, **scope), now=NOW, any_names=True)
    claim(store, first, price=FIVE)
    if counts:
        with pytest.raises(OverCap):
            claim(store, second, price=FIVE)
    else:
        claim(store, second, price=FIVE)
    assert standing(store).used == (5.0 if counts else 0.0)


def test_every_cap_counts(store: Ledger) -> None:
    """A job needs the leave of all caps that count it."""
    first, second = jobs(store, 2)
    store.caps.put(LAB, now=NOW)
    store.caps.put(replace(LAB, name="ada", amount=7.0, owner="ada"), now=NOW)
    claim(store, first, price=FIVE)
    with pytest.raises(OverCap, match="held by the cap ada"):
        claim(store, second, price=FIVE)


def test_month(ledger: Ledger) -> None:
    """A monthly cap begins anew with the month, in UTC."""
    first, second = jobs(ledger, 2)
    ledger.caps.put(replace(LAB, amount=5.0, monthly=True), now=NOW)
    claim(ledger, first, price=FIVE, now=datetime(2026, 11, 30, 23, 59, tzinfo=UTC))
    with pytest.raises(OverCap, match="each month"):
        claim(ledger, second, price=FIVE, now=datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC))
    claim(ledger, second, price=FIVE, now=datetime(2026, 12, 1, tzinfo=UTC))
    assert standing(ledger, datetime(2026, 12, 31, tzinfo=UTC)).used == 5.0


def test_not_sent(ledger: Ledger) -> None:
    """What is proved never sent, refused, or said not to exist, holds nothing; a lost reply holds all."""
    ledger.caps.put(LAB, now=NOW)
    released, rejected, lost, expired = jobs(ledger, 4, cost=2.0)
    price = Price(amount=2.0, unit="HQC")
    ledger.submissions.release(claim(ledger, released, price=price), "no route", now=NOW)
    ledger.submissions.reject(sending(ledger, claim(ledger, rejected, price=price)), "too wide", now=NOW)
    unknown = sending(ledger, claim(ledger, lost, price=price))
    ledger.submissions.mark_unknown(unknown, "no reply", now=NOW)
    claim(ledger, expired, price=price, lease_s=1.0)
    assert parts(ledger) == (0.0, 0.0, 4.0, 0)
    ledger.submissions.expire_leases(now=at(2.0))
    assert parts(ledger) == (0.0, 0.0, 2.0, 0)
    qjobs.discard(ledger, lost)
    assert standing(ledger).used == 0.0


def test_lost_then_found(store: Ledger) -> None:
    """A job whose reply was lost keeps its money while it is looked for, and a second submission has its own."""
    backend = Priced(FINDABLE, price=2.5)
    first, second = jobs(store, 2)
    store.caps.put(replace(LAB, amount=5.0), now=NOW)
    backend.faults.append(Fault(LOST, "after"))
    with pytest.raises(BackendUnavailable):
        enter(store, backend, first)
    with pytest.raises(OverCap):
        enter(store, backend, second)
    assert enter(store, backend, first).remote_id == "remote-1"
    assert parts(store) == (0.0, 0.0, 5.0, 0)


def test_same_key(store: Ledger) -> None:
    """A submission of the same key takes over the money of the one whose reply was lost: it is reserved once."""
    backend = Priced(replace(DEDUPLICATED, by_key=False), price=2.5)
    (job_id,) = jobs(store, 1)
    store.caps.put(replace(LAB, amount=5.0), now=NOW)
    backend.faults += [Fault(LOST, "after"), Fault(NotSent("no route"))]
    with pytest.raises(SubmissionUnknown):
        enter(store, backend, job_id, policy=RETRY_FOR_EVER)
    with pytest.raises(NotSent):
        enter(store, backend, job_id, ALLOW, policy=RETRY_FOR_EVER)
    assert parts(store) == (0.0, 5.0, 0.0, 0), "the first may still be there"
    enter(store, backend, job_id, ALLOW, policy=RETRY_FOR_EVER)
    assert parts(store) == (0.0, 0.0, 5.0, 0)
    assert len(backend.jobs) == 1


def test_risk_taken(store: Ledger) -> None:
    """Where a second remote job may exist, both have their money."""
    backend = Priced(OPAQUE, price=2.5)
    (job_id,) = jobs(store, 1)
    store.caps.put(LAB, now=NOW)
    backend.faults.append(Fault(LOST, "after"))
    with pytest.raises(SubmissionUnknown):
        enter(store, backend, job_id)
    enter(store, backend, job_id, ALLOW)
    assert parts(store) == (0.0, 5.0, 5.0, 0)


def test_retry_spends_more(store: Ledger) -> None:
    """What is sent again counts beside what was spent."""
    backend = Priced(price=2.5)
    (job_id,) = jobs(store, 1)
    store.caps.put(replace(LAB, amount=7.0), now=NOW)
    enter(store, backend, job_id)
    backend.report(S.ERROR, S.ERROR)
    qjobs.poll(store, backend, [job_id])
    with pytest.raises(OverCap, match="5 of 7"):
        enter(store, backend, job_id, FORCE)
    assert store.job(job_id).trouble.startswith("held by the cap lab")
    assert len(backend.jobs) == 1


def test_rejected_by_provider(store: Ledger) -> None:
    """A refusal frees the money."""
    backend = Priced(price=2.5)
    (job_id,) = jobs(store, 1)
    store.caps.put(LAB, now=NOW)
    backend.faults.append(Fault(SubmissionRejected("no", detail="too wide")))
    with pytest.raises(SubmissionRejected):
        enter(store, backend, job_id)
    assert standing(store).used == 0.0


def test_late_id(ledger: Ledger) -> None:
    """A remote job whose id came too late counts until it has ended, and then what it cost."""
    (job_id,) = jobs(ledger, 1)
    ledger.caps.put(LAB, now=NOW)
    attempt = sending(ledger, claim(ledger, job_id, price=FIVE))
    ledger.submissions.mark_unknown(attempt, "no reply", now=NOW)
    ledger.submissions.release(attempt, "not found", now=NOW, cause="not found")
    assert standing(ledger).used == 0.0
    with pytest.raises(StaleJob):
        ledger.submissions.accept(attempt, RemoteId("late"), now=NOW)
    assert parts(ledger) == (0.0, 0.0, 5.0, 0)
    (stray,) = ledger.strays.pending([job_id])
    ledger.strays.end(stray, outcome="it is CANCELLED", cost=1.25, now=NOW)
    assert parts(ledger) == (1.25, 0.0, 0.0, 0)


def test_run_cap(store: Ledger) -> None:
    """The max_cost of a run caps all of its jobs: one waits while others may leave some over, and is refused else."""
    backend = Priced(price=2.5)
    policy = RetryPolicy(rungs=(), max_cost=8.0, max_run_cost=8.0)
    first, second = jobs(store, 2)
    (other,) = jobs(store, 1, run="other")
    enter(store, backend, first, policy=policy)
    with pytest.raises(OverCap, match=r"held by the max_cost of its run: .* 5 of 8 HQC"):
        enter(store, backend, second, policy=policy)
    enter(store, backend, other, policy=policy)
    backend.report(S.COMPLETED, S.COMPLETED)
    store.schedule.set_next({first: None})
    qjobs.poll(store, backend, [first])
    if store.job(first).status is S.COMPLETED:
        with pytest.raises(PolicyLimit, match=r"max_cost of its run; allow it with: qjobs jobs retry .* --max-cost 10"):
            enter(store, backend, second, policy=policy)


def test_quota(store: Ledger) -> None:
    """A job that the provider's own quota does not leave enough for is held, and goes on when it gives more."""

    class Limited(Priced):
        left = 4.0

        def quota_left(self) -> Price:
            return Price(amount=self.left, unit="HQC")

    backend = Limited(price=2.5)
    (job_id,) = jobs(store, 1)
    with pytest.raises(OverCap, match=r"held by the quota of fake: the account has 4 HQC left, and .* would cost 5;"):
        enter(store, backend, job_id)
    assert (store.attempts(job_id), store.job(job_id).trouble[:8]) == ([], "held by ")
    backend.left = 5.0
    enter(store, backend, job_id)
    assert store.job(job_id).trouble is None


def test_goes_on(store: Ledger) -> None:
    """A run goes on by itself once the cap that holds its jobs is raised."""
    backend = Priced(price=2.5)
    ids = jobs(store, 2)
    store.caps.put(replace(LAB, amount=6.0), now=NOW)
    waits: list[WaitedFor] = []

    class Raised(DirectStages):
        """Whoever sees that nothing goes on raises the cap."""

        def wait(self, waited_for: WaitedFor) -> None:
            waits.append(waited_for)
            backend.report(S.COMPLETED, S.COMPLETED)
            if waited_for.jobs:
                super().wait(waited_for)
            else:
                store.caps.put(replace(LAB, amount=10.0), now=NOW)

    stages = Raised(store, {"fake": backend}, CompileCache(None))
    policy = RetryPolicy(rungs=())
    problems = finish(store, {job_id: ToSubmit(backend="fake", policy=policy) for job_id in ids}, stages)
    assert problems == {}
    assert [bool(each.jobs) for each in waits] == [True, False, True]
    assert len(backend.jobs) == 2
    assert [event.cause for event in store.events(ids[1])][1] == "held"


def test_told_once(store: Ledger) -> None:
    """A job that is held says why, its history has it once, and a claim takes the words away."""
    first, second, third = jobs(store, 3)
    store.caps.put(replace(LAB, amount=7.0), now=NOW)
    claim(store, first, price=FIVE)
    for _ in range(3):
        assert store.caps.hold([second, third], now=NOW) == {second, third}
    assert store.job(second).trouble.startswith("held by the cap lab:")
    assert [event.cause for event in store.events(second)].count("held") == 1
    store.caps.put(replace(LAB, amount=11.0), now=NOW)
    assert store.caps.hold([second, third], now=NOW) == {third}
    claim(store, second, price=FIVE)
    assert store.job(second).trouble is None


def test_at_once(ledger: Ledger) -> None:
    """Of many that claim at once no more get through than there is money for."""
    ids = jobs(ledger, 12)
    ledger.caps.put(replace(LAB, amount=22.0), now=NOW)

    def try_claim(job_id: JobId) -> bool:
        try:
            claim(ledger, job_id, price=FIVE)
        except OverCap:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(try_claim, ids)) == 4
    assert standing(ledger).used == 20.0


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"amount": -1.0}, "amount"),
        ({"amount": math.nan}, "amount"),
        ({"amount": math.inf}, "amount"),
        ({"unit": " "}, "unit"),
        ({"name": "a b"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "-x"}, "name"),
    ],
    ids=str,
)
def test_bad_caps(values: dict[str, object], field: str) -> None:
    """A cap that means nothing is refused."""
    with pytest.raises(InvalidInput) as refused:
        replace(LAB, **values)
    assert refused.value.field == field


def test_unknown_owner(store: Ledger) -> None:
    """A cap for an owner of whom there is no job is refused, with the owners that there are."""
    jobs(store, 1)
    with pytest.raises(InvalidInput, match=r"no job has the owner 'adda'.*there are: ada; add --any-name"):
        store.caps.put(replace(LAB, owner="adda"), now=NOW)
    assert store.caps.all(now=NOW) == []
    store.caps.put(replace(LAB, owner="adda"), now=NOW, any_names=True)
    assert store.caps.remove("lab")
    assert not store.caps.remove("lab")
