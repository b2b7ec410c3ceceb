"""The pace of an account, shared by all processes of a ledger: slices, pauses for all, a ledger that is away."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from scripted import Clock
from support import NOW, create

import qjobs
from qjobs.backends.limiter import Limiter, limiter_for, share_paces
from qjobs.backends.rest import LostReply, RestBackend
from qjobs.errors import BackendUnavailable, LedgerUnavailable
from qjobs.ledger import Ledger
from qjobs.ledger.paces import Paces
from qjobs.model import PaceSlice, RemoteId
from qjobs.testing.faults import Action, Fault, Route
from qjobs.testing.servers import ScriptedProvider

ACCOUNT = "https://provider.test as lab"
BURST_S = 10.0


class Counted:
    """Paces that count what they are asked."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self.paces = Paces(ledger._db, now=clock.now)
        self.asked: Counter[str] = Counter()

    def take(self, account: str, *, max_per_s: float | None, burst_s: float, unused: int = 0) -> PaceSlice:
        self.asked["take"] += 1
        return self.paces.take(account, max_per_s=max_per_s, burst_s=burst_s, unused=unused)

    def look(self, account: str) -> PaceSlice:
        self.asked["look"] += 1
        return self.paces.look(account)

    def hold(self, account: str, seconds: float) -> None:
        self.asked["hold"] += 1
        self.paces.hold(account, seconds)


@pytest.fixture
def counted(ledger: Ledger, clock: Clock) -> Iterator[Counted]:
    made = Counted(ledger, clock)
    yield made
    made.paces.close()


def of_process(clock: Clock, pace: Counted, max_per_s: float | None = None) -> Limiter:
    """The limiter of a process."""
    return Limiter(clock.monotonic, clock.sleep, max_per_s, account=ACCOUNT, pace=pace)


@pytest.mark.parametrize("per_s", [20.0, 0.5])
def test_together(clock: Clock, counted: Counted, per_s: float) -> None:
    """Of processes in turns no more get through than one may send, but for the burst, and none of it is lost."""
    several = [of_process(clock, counted, per_s) for _ in range(3)]
    n_sent = int(per_s * 30)
    for n in range(n_sent):
        assert several[n % 3].wait(0.0)
    assert clock.elapsed_s == pytest.approx(30.0 - BURST_S, abs=2 * max(1.0, 1 / per_s))


def test_cost(clock: Clock, counted: Counted) -> None:
    """The ledger is not asked for each request: a second's worth at a time, and for news once a second at most."""
    one = of_process(clock, counted, 100.0)
    for _ in range(1000):
        assert one.wait(0.0)
    assert clock.elapsed_s == pytest.approx(0.0)
    assert counted.asked == {"take": 10}
    for _ in range(50):  # far below the rate
        clock.sleep(0.1)
        assert one.wait(0.0)
    assert counted.asked.total() <= 10 + 6


def test_given_back(clock: Clock, counted: Counted) -> None:
    """Turns that a process does not use are there for the others."""
    idle, busy = of_process(clock, counted, 10.0), of_process(clock, counted, 10.0)
    for _ in range(100):  # the account has no burst left
        assert busy.wait(0.0)
    clock.sleep(1.0)
    assert idle.wait(0.0)
    clock.sleep(7.0)
    before = clock.elapsed_s
    assert idle.wait(0.0)  # its slice ran out: nine turns are given back
    for _ in range(69):
        assert busy.wait(0.0)
    assert clock.elapsed_s - before <= 1.0


def test_lowest_rate(clock: Clock, counted: Counted) -> None:
    """The lowest rate holds for processes that know a higher one or none, until nobody has told it for ten minutes."""
    slow, fast, free = (of_process(clock, counted, rate) for rate in (1.0, 1000.0, None))
    assert slow.wait(0.0)
    for limiter in (fast, free):
        for _ in range(10):
            assert limiter.wait(0.0)
    assert clock.elapsed_s == pytest.approx(11.0, abs=2.0)
    clock.sleep(700.0)
    before = clock.elapsed_s
    for _ in range(500):
        assert free.wait(0.0)
    assert clock.elapsed_s == before


def test_hold_for_all(clock: Clock, counted: Counted) -> None:
    """A pause that one process is asked for holds for the others, whether they have a rate or not."""
    told, other, free = (of_process(clock, counted, rate) for rate in (50.0, 50.0, None))
    assert all(limiter.wait(0.0) for limiter in (told, other, free))
    told.hold(100.0)
    clock.sleep(1.0)
    assert not other.wait(5.0)
    assert not free.wait(5.0)
    assert other.remaining_s() == pytest.approx(99.0)
    told.hold(10.0)
    assert not of_process(clock, counted).wait(5.0), "a shorter one does not shorten it"
    clock.sleep(99.5)
    assert all(limiter.wait(0.0) for limiter in (told, other, free))


def test_away(ledger: Ledger, clock: Clock, counted: Counted) -> None:
    """While the ledger is away each process keeps to the rate by itself, and asks again when it is back."""
    one = of_process(clock, counted, 10.0)
    assert one.wait(0.0)
    counted.paces.close()
    for _ in range(299):
        assert one.wait(0.0)
    assert clock.elapsed_s == pytest.approx(20.0, abs=1.0)
    assert counted.asked["take"] <= 5 + 20, "it is not asked for each request"
    one.hold(3.0)
    assert one.remaining_s() == 3.0
    counted.paces = Paces(ledger._db, now=clock.now)
    clock.sleep(9.0)
    before = counted.asked["take"]
    for _ in range(30):
        assert one.wait(0.0)
    assert counted.asked["take"] > before
    assert counted.paces.look(ACCOUNT).per_s == 10.0


@pytest.mark.parametrize("jump_s", [-864_000.0, 864_000.0])
def test_clock_jumps(ledger: Ledger, clock: Clock, jump_s: float) -> None:
    """A wall clock that is set back, or forward, holds nobody up for long."""
    moment = [NOW]
    with closing(Paces(ledger._db, now=lambda: moment[0])) as paces:
        paces.take(ACCOUNT, max_per_s=10.0, burst_s=BURST_S)
        paces.hold(ACCOUNT, 3000.0)
        moment[0] = NOW + timedelta(seconds=jump_s)
        found = paces.take(ACCOUNT, max_per_s=10.0, burst_s=BURST_S)
    assert (found.turns, found.closed_for_s) == (10, 0.0)
    assert found.start_in_s <= 0.0


def test_queue_of_slices(ledger: Ledger, clock: Clock) -> None:
    """Slices are handed out for half a minute ahead, one behind the other, and no further."""
    with closing(Paces(ledger._db, now=clock.now)) as paces:
        starts = [paces.take(ACCOUNT, max_per_s=5.0, burst_s=BURST_S) for _ in range(60)]
    given = [each.start_in_s for each in starts if each.turns]
    assert given == pytest.approx([n - BURST_S for n in range(41)])
    assert {each.turns for each in starts} == {5, 0}
    assert starts[-1].start_in_s == pytest.approx(1.0)


def test_closed(ledger_url: str) -> None:
    """A ledger that was closed opens no connection for a limiter that still knows it."""
    with Ledger(ledger_url) as ledger:
        ledger.paces.look(ACCOUNT)
    with pytest.raises(LedgerUnavailable, match="was closed"):
        ledger.paces.look(ACCOUNT)


def ask(url: str, provider_url: str, n_times: int, replies: object) -> None:
    """What a process does: it asks for a job that is not there, so many times."""
    try:
        with Ledger(url) as ledger:
            share_paces(ledger.paces)
            backend = RestBackend(provider_url, lost_reply=LostReply.OPAQUE, name="lab", max_per_s=5.0)
            with closing(backend):
                for _ in range(n_times):
                    try:
                        backend.status([RemoteId("none")])
                    except BackendUnavailable as error:
                        replies.put(("held", error.retry_after_s > 1000.0))
                    else:
                        replies.put(("asked", True))
    except BaseException:
        replies.put(("failed", traceback.format_exc()))
        raise


@pytest.mark.slow
def test_processes(ledger_url: str) -> None:
    """Processes at once send no more than one may, and one that is killed holds up nobody."""
    context = multiprocessing.get_context("spawn")
    replies = context.Queue()
    with ScriptedProvider("opaque") as provider, Ledger(ledger_url):
        started = datetime.now(UTC)
        workers = [context.Process(target=ask, args=(ledger_url, provider.url, 25, replies)) for _ in range(3)]
        killed = context.Process(target=ask, args=(ledger_url, provider.url, 10_000, context.Queue()))
        for worker in (*workers, killed):
            worker.start()
        assert replies.get(timeout=60) == ("asked", True)
        os.kill(killed.pid, signal.SIGKILL)
        assert [replies.get(timeout=60) for _ in range(3 * 25 - 1)] == [("asked", True)] * 74
        for worker in (*workers, killed):
            worker.join(60)
        elapsed_s = (datetime.now(UTC) - started).total_seconds()
        assert [worker.exitcode for worker in workers] == [0, 0, 0]
        assert 75 <= provider.asked["status"] <= 5.0 * (elapsed_s + BURST_S)


def test_told_by_another(ledger_url: str) -> None:
    """A 429 that one process is told keeps the next one from asking at all."""
    context = multiprocessing.get_context("spawn")
    fault = Fault(route=Route.STATUS, action=Action.CODE_BEFORE, code=429, retry_after="3000", times=99)
    with ScriptedProvider("opaque") as provider, Ledger(ledger_url) as ledger:
        provider.inject(fault)
        replies = context.Queue()
        for _ in range(2):
            ask_alone(context, ledger_url, provider.url, replies)
            assert replies.get(timeout=30) == ("held", True)
        assert provider.asked["status"] == 1
        assert ledger.paces.look(f"{provider.url} as lab").closed_for_s > 1000.0


def ask_alone(context: multiprocessing.context.BaseContext, *given: object) -> None:
    url, provider_url, replies = given
    worker = context.Process(target=ask, args=(url, provider_url, 1, replies))
    worker.start()
    worker.join(60)
    assert worker.exitcode == 0


def test_shared_by_operations(store: Ledger) -> None:
    """Whoever works with a ledger shares the pace through it, without a word of the caller."""
    with ScriptedProvider("findable") as provider:
        backend = RestBackend(provider.url, lost_reply=LostReply.FINDABLE, name="fake", device="device", max_per_s=9.0)
        share_paces(None)
        with closing(backend):
            qjobs.submit(store, backend, create(store))
        assert store.paces.look(f"{provider.url} as fake").per_s == 9.0
        assert limiter_for(provider.url, "fake")._shared_pace() is store.paces
        share_paces(None)
